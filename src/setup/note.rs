//! What is worth a line while buffers are set up. Whoever asked for it finds the words.

use crate::tracefs;

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
    /// Threads of a process are born faster than they can be found, so some and what they start may be missing.
    ThreadsMissed,
    /// A file that only helps could not be used.
    Unavailable {
        /// What will be missing.
        what: &'static str,
        /// The kernel's answer.
        source: tracefs::Error,
    },
}

/// Hears notes as they come.
pub type Notes<'a> = &'a dyn Fn(Note);
