//! Why a binary does not have what was asked for.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a binary does not have what was asked for.
#[derive(Debug)]
#[non_exhaustive]
pub enum BinaryError {
    /// It cannot be read.
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no ELF file, or a damaged one.
    NotElf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Its debug information is damaged.
    Dwarf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl fmt::Display for BinaryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BinaryError::Open { path, source } => write!(f, "{} cannot be read: {source}", path.display()),
            BinaryError::NotElf { path, what } => write!(f, "{} is no program or library: {what}", path.display()),
            BinaryError::Dwarf { path, what } => {
                write!(f, "the debug information of {} is damaged: {what}", path.display())
            }
        }
    }
}

impl std::error::Error for BinaryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BinaryError::Open { source, .. } => Some(source),
            _ => None,
        }
    }
}
