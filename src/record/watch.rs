//! What a recording tells while it runs. The engine prints nothing itself.

use std::time::Duration;

use crate::record::capture::reader::Way;
use crate::tracefs;
use crate::windows::OnlySlow;

/// Listens to a recording.
pub trait Watch: Sync {
    /// Something worth a line.
    fn note(&self, note: Note);

    /// How far it is; called a few times a second when [`Watch::wants_progress`].
    fn progress(&self, _progress: &Progress) {}

    /// Whether [`Watch::progress`] is to be called.
    fn wants_progress(&self) -> bool {
        false
    }
}

/// Listens to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Watch for Silent {
    fn note(&self, _note: Note) {}
}

/// Something worth a line.
#[derive(Debug)]
#[non_exhaustive]
pub enum Note {
    /// A function of this name does its work elsewhere on this kernel.
    Successor {
        /// The name as given.
        name: String,
        /// What this kernel routes the work through.
        successors: Vec<String>,
        /// Whether the name as given exists too.
        both: bool,
    },
    /// A probe is not quite what was asked for.
    Probe {
        /// As asked for.
        target: String,
        /// What is different.
        note: String,
    },
    /// How a CPU's data leaves the kernel.
    Way {
        /// Instance name; `None` for the top-level buffer.
        instance: Option<String>,
        /// The CPU.
        cpu: u32,
        /// The way taken.
        way: Way,
        /// Why not a better one.
        because: Option<String>,
    },
    /// `/proc/kallsyms` shows no addresses: functions will have no names in the report.
    NoSymbols,
    /// A file that only helps could not be used.
    Hindered {
        /// What will be missing.
        what: &'static str,
        /// The kernel's answer.
        source: tracefs::Error,
    },
    /// A file of several is complete.
    Rotated(std::path::PathBuf),
    /// Recorders that are no more have left control files changed: how many.
    Leftovers(usize),
    /// Threads of a process are born faster than they can be found, so some and what they start may be missing.
    ThreadsMissed,
    /// Samples are asked for so often that they slow the program down.
    CostlySamples(Duration),
    /// Samples were taken.
    Sampled {
        /// How many.
        samples: u64,
        /// How many the kernel had no room for.
        lost: u64,
        /// How many have stacks that are not whole.
        incomplete: u64,
        /// The CPU time it took to take and name them.
        cost: Duration,
    },
    /// Something that belongs to the trace could not be written.
    Unwritten {
        /// What is missing.
        what: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Somebody asked how many windows there were so far.
    WindowsSoFar(Box<OnlySlow>),
    /// Slow windows that had been overwritten before a snapshot could be taken of them: how many.
    WindowsOverwritten(usize),
    /// Recording has begun.
    Started,
    /// A control file could not be put back.
    NotPutBack(tracefs::Error),
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
