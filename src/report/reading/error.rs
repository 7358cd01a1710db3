//! Why files cannot be read as asked.

use std::fmt;

use super::select::SelectError;
use crate::dat::DatError;
use crate::decode::StyleError;

/// Why there are no records.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// A file that could not be opened, by its path.
    Open(String, DatError),
    /// An option about plugins.
    Style(StyleError),
    /// A file without a time of day.
    NoWallClock(String),
    /// A selection that names what there is not.
    Select(SelectError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Open(path, error) => write!(f, "{path} could not be read: {error}"),
            ReadError::Style(error) => write!(f, "{error}"),
            ReadError::NoWallClock(file) => write!(f, "{file} does not tell the time of day"),
            ReadError::Select(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ReadError::Open(_, error) => Some(error),
            ReadError::Style(error) => Some(error),
            ReadError::Select(error) => Some(error),
            ReadError::NoWallClock(_) => None,
        }
    }
}
