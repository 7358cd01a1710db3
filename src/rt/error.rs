//! Why windows cannot be recorded as asked for. Knows no options; words for users are found elsewhere.

use std::fmt;
use std::time::Duration;

use crate::record;

/// Why windows cannot be recorded as asked for.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Samples are wanted more often than the kernel or the machine can.
    SampleTooOften {
        /// As asked for.
        period: Duration,
        /// The shortest that is taken.
        least: Duration,
        /// Because of the copies of stacks.
        stacks: bool,
    },
    /// Windows cannot be judged in the kernel.
    InKernel(Refusal),
}

/// Why windows cannot be judged in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The kernel lacks options.
    Lacks(Vec<&'static str>),
    /// Windows that texts start and stop.
    Texts,
    /// A window with several places at one of its ends.
    ManyPlaces(String, usize),
    /// A window that ends where the next begins.
    SamePoint(String),
    /// Samples, which have to be read all the time.
    Samples,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Lacks(options) => write!(f, "this kernel cannot judge windows: it lacks {}", options.join(", ")),
            Refusal::Texts => write!(f, "the kernel cannot judge windows told by texts in trace_marker"),
            Refusal::ManyPlaces(name, count) => {
                write!(f, "the kernel cannot judge the window {name}: it has {count} places at one end")
            }
            Refusal::SamePoint(name) => {
                write!(f, "the kernel cannot judge the window {name}, which ends where the next begins")
            }
            Refusal::Samples => write!(f, "samples have to be read all the time"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::SampleTooOften { period, least, stacks } => {
                let what = if *stacks { "copies of stacks cannot be taken" } else { "samples cannot be taken" };
                write!(f, "{what} every {period:?}; the shortest is {least:?}")
            }
            Error::InKernel(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for record::Error {
    fn from(error: Error) -> Self {
        record::Error::Companion(Box::new(error))
    }
}

impl From<Refusal> for record::Error {
    fn from(refusal: Refusal) -> Self {
        Error::InKernel(refusal).into()
    }
}
