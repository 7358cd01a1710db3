//! What a recording has brought.

use std::path::PathBuf;
use std::time::Duration;

use crate::record::error::Error;
use crate::tracefs::buffer::BufferStats;

/// What a recording has brought.
#[derive(Debug)]
pub struct Outcome {
    /// What went wrong without preventing a trace: it holds what was recorded up to then.
    pub trouble: Option<Error>,
    /// The files that were written, oldest first; none when the trace was not wanted in the end.
    pub files: Vec<PathBuf>,
    /// How the command ended; `None` without one.
    pub ending: Option<Ending>,
    /// Why recording stopped.
    pub stop: Stop,
    /// How long the buffers were being written.
    pub elapsed: Duration,
    /// The buffers, top level first.
    pub buffers: Vec<BufferOutcome>,
    /// Why there is not a single record, if so.
    pub empty: Option<Emptiness>,
}

impl Outcome {
    /// Records that nobody will ever see, over all buffers.
    pub fn lost(&self) -> u64 {
        self.cpus().map(|cpu| cpu.stats.lost()).sum()
    }

    /// All CPUs of all buffers.
    pub fn cpus(&self) -> impl Iterator<Item = &CpuOutcome> {
        self.buffers.iter().flat_map(|buffer| &buffer.cpus)
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl Ending {
    /// The status a shell would show: 128 + signal for a killed one.
    pub fn status(self) -> u8 {
        match self {
            Ending::Exited(status) => status as u8,
            Ending::Killed(signal) => 128u8.saturating_add(signal as u8),
        }
    }
}

/// Why recording stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The command ended.
    CommandEnded(Ending),
    /// The traced processes ended.
    ProcessesEnded,
    /// A signal came.
    Signal(i32),
    /// Nobody reads what is printed any more.
    OutputClosed,
    /// The time asked for is over.
    TimeIsUp,
    /// A reader could not go on.
    ReaderFailed,
    /// As much as was wanted has been written.
    SizeReached,
    /// The disk is nearly full.
    DiskNearlyFull {
        /// Bytes left.
        free: u64,
    },
    /// The buffer was switched off: the event waited for has happened.
    Triggered,
    /// Function tracing left the machine no time.
    Swamped,
}

/// What one buffer has brought.
#[derive(Clone, Debug)]
pub struct BufferOutcome {
    /// Instance name; `None` for the top-level buffer.
    pub instance: Option<String>,
    /// Its CPUs.
    pub cpus: Vec<CpuOutcome>,
}

/// What one CPU has brought.
#[derive(Clone, Copy, Debug)]
pub struct CpuOutcome {
    /// The CPU.
    pub cpu: u32,
    /// The kernel's counters at the end.
    pub stats: BufferStats,
    /// Bytes of sub-buffers taken.
    pub raw_bytes: u64,
    /// Bytes of them in the file.
    pub file_bytes: u64,
    /// How often its reader was woken.
    pub wakeups: u64,
    /// How often the reader lost its raised priority, since it took too much of its CPU.
    pub lowered: u64,
}

/// Why a trace has no records, as far as can be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Emptiness {
    /// Somebody or a trigger switched the buffer off.
    SwitchedOff,
    /// None of these functions was called where graphs begin.
    NotCalled(Vec<String>),
    /// Only these processes were traced, and they did nothing that was asked for.
    OnlyThese {
        /// They.
        pids: Vec<i32>,
        /// What they start was traced, too.
        children: bool,
    },
    /// Filters were set on the events.
    Filtered,
    /// Only some CPUs were traced.
    Masked,
    /// What was asked for did not happen.
    Quiet,
}
