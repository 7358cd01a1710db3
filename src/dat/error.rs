//! What can be wrong with a trace.dat file.

use std::borrow::Cow;
use std::fmt;
use std::io;

/// Why a file could not be opened at all.
#[derive(Debug)]
#[non_exhaustive]
pub enum DatError {
    /// The system refused.
    Io(io::Error),
    /// A directory, FIFO or device.
    NotRegular(&'static str),
    /// No bytes.
    Empty,
    /// Not a trace.dat file; what it looks like, if known.
    NotTraceDat(Option<&'static str>),
    /// A version other than 6 and 7.
    Version(String),
    /// The file ends inside its header, or a field of it cannot be.
    Header(&'static str),
    /// A page size that cannot be; the second number is it with its bytes swapped, if that one could be.
    PageSize(u32, Option<u32>),
    /// Compressed in a way this program does not know.
    Algorithm(String),
    /// Nothing but the header could be found.
    NothingFound,
}

impl fmt::Display for DatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DatError::Io(error) => write!(f, "{error}"),
            DatError::NotRegular(what) => write!(f, "it is {what}, not a regular file"),
            DatError::Empty => f.write_str("the file is empty"),
            DatError::NotTraceDat(Some(what)) => {
                write!(f, "not a trace.dat file: it looks like {what}")
            }
            DatError::NotTraceDat(None) => f.write_str("not a trace.dat file"),
            DatError::Version(version) => {
                write!(f, "trace.dat version {version} is not known (6 and 7 are)")
            }
            DatError::Header(what) => write!(f, "the file header is damaged: {what}"),
            DatError::PageSize(size, Some(swapped)) => {
                write!(f, "page size {size} cannot be; is the byte order wrong ({swapped} swapped)?")
            }
            DatError::PageSize(size, None) => write!(f, "page size {size} cannot be"),
            DatError::Algorithm(name) => write!(f, "compression {name:?} is not known (zstd, zlib and none are)"),
            DatError::NothingFound => f.write_str("nothing after the file header could be read"),
        }
    }
}

impl std::error::Error for DatError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DatError::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for DatError {
    fn from(error: io::Error) -> DatError {
        DatError::Io(error)
    }
}

/// Damage that was met and passed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Offset in the file.
    pub offset: u64,
    /// What is wrong, and what was done.
    pub what: Cow<'static, str>,
}

impl Note {
    /// A note on the bytes at `offset`.
    pub fn new(offset: u64, what: impl Into<Cow<'static, str>>) -> Note {
        Note { offset, what: what.into() }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:#x}: {}", self.offset, self.what)
    }
}
