//! What is worth a line while windows are recorded. Whoever asked for it finds the words.

use std::io;
use std::time::Duration;

use crate::windows::WindowCounts;

/// Hears how the recording of windows goes.
pub trait WindowObserver: Sync {
    /// Something worth a line.
    fn window_note(&self, note: Note);
}

/// Something worth a line.
#[derive(Debug)]
#[non_exhaustive]
pub enum Note {
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
        source: io::Error,
    },
    /// Somebody asked how many windows there were so far.
    WindowsSoFar(Box<WindowCounts>),
    /// Slow windows that had been overwritten before a snapshot could be taken of them: how many.
    WindowsOverwritten(usize),
}
