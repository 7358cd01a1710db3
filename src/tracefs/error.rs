//! What went wrong with a control file: the operation, the file, the text written, the kernel's errno, and
//! what the kernel said about it in its `error_log`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::error_log::LogEntry;

/// What was being done to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Opening it.
    Open,
    /// Reading it.
    Read,
    /// Writing it.
    Write,
    /// Mapping it.
    Map,
    /// Mounting the file system.
    Mount,
    /// Making an instance.
    MakeInstance,
    /// Removing an instance.
    RemoveInstance,
}

impl Operation {
    fn verb(self) -> &'static str {
        match self {
            Operation::Open => "open",
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Map => "map",
            Operation::Mount => "mount",
            Operation::MakeInstance => "make instance",
            Operation::RemoveInstance => "remove instance",
        }
    }
}

/// A failed operation on tracefs.
#[derive(Debug)]
pub struct Error {
    /// What was tried.
    pub operation: Operation,
    /// On which file.
    pub path: PathBuf,
    /// The text that was written, if any.
    pub wrote: Option<String>,
    /// The kernel's answer.
    pub source: io::Error,
    /// The kernel's explanation of exactly this write, when it gave one.
    pub log: Option<Box<LogEntry>>,
}

impl Error {
    pub(crate) fn new(operation: Operation, path: &Path, source: io::Error) -> Self {
        Error { operation, path: path.to_owned(), wrote: None, source, log: None }
    }

    pub(crate) fn write(path: &Path, text: &str, source: io::Error) -> Self {
        Error { wrote: Some(text.trim_end().to_owned()), ..Error::new(Operation::Write, path, source) }
    }

    /// The errno, when the kernel gave one.
    pub fn errno(&self) -> Option<nix::errno::Errno> {
        self.source.raw_os_error().map(nix::errno::Errno::from_raw)
    }

    /// Whether the kernel forbids this file: EPERM or EACCES.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.errno(), Some(nix::errno::Errno::EPERM | nix::errno::Errno::EACCES))
    }

    /// Whether the file does not exist on this kernel.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.operation.verb(), self.path.display())?;
        if let Some(text) = &self.wrote {
            write!(f, " ({text:?})")?;
        }
        write!(f, ": {}", self.source)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
