//! What a recording lets its user know while it runs. The recorder prints nothing itself.

use std::path::PathBuf;
use std::time::Duration;

use crate::{setup, tracefs};

/// Hears how a recording goes.
pub trait Observer: Sync {
    /// Something worth a line.
    fn note(&self, note: Note);

    /// How far it is; called a few times a second when [`Observer::wants_progress`].
    fn progress(&self, _progress: &Progress) {}

    /// Whether [`Observer::progress`] is to be called.
    fn wants_progress(&self) -> bool {
        false
    }
}

/// Wants to know nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn note(&self, _note: Note) {}
}

/// Something worth a line.
#[derive(Debug)]
#[non_exhaustive]
pub enum Note {
    /// Something about the set-up.
    Setup(setup::Note),
    /// How a CPU's data leaves the kernel.
    ReadMethod {
        /// Instance name; `None` for the top-level buffer.
        instance: Option<String>,
        /// The CPU.
        cpu: u32,
        /// The way taken.
        method: ReadMethod,
        /// Why not a better one.
        because: Option<String>,
    },
    /// `/proc/kallsyms` shows no addresses: functions will have no names in the report.
    NoSymbols,
    /// A file of several is complete.
    Rotated(PathBuf),
    /// Recorders that are no more have left control files changed: how many.
    Leftovers(usize),
    /// Recording has begun.
    Started,
    /// A control file could not be put back.
    NotPutBack(tracefs::Error),
}

impl From<setup::Note> for Note {
    fn from(note: setup::Note) -> Self {
        Note::Setup(note)
    }
}

/// The way data leaves the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMethod {
    /// `trace_pipe_raw` mapped into memory: nothing is copied by the kernel.
    Mapped,
    /// Whole sub-buffers moved into a pipe.
    Spliced,
    /// One `read` per sub-buffer.
    Read,
}

impl ReadMethod {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            ReadMethod::Mapped => "mmap",
            ReadMethod::Spliced => "splice",
            ReadMethod::Read => "read",
        }
    }
}

/// How far a recording is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Since tracing was switched on.
    pub elapsed: Duration,
    /// Bytes of sub-buffers taken so far.
    pub bytes: u64,
    /// Records lost so far, as far as is known.
    pub lost: u64,
}
