//! Which windows are shown, and how; why there are none.

use std::fmt;

use crate::windows::WindowConfig;

/// In which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WindowOrder {
    /// Windows as they began.
    #[default]
    Start,
    /// The longest window first.
    Duration,
    /// As they began; inside of each, the steps that took longest first.
    Gap,
}

/// What the tables are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupBy {
    /// Kinds of windows and their labels.
    #[default]
    Kind,
    /// Threads.
    Thread,
    /// Labels alone.
    Label,
}

/// Which time stacks are folded for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StackTime {
    /// Samples.
    OnCpu,
    /// From switch-out to running again.
    OffCpu,
    /// Both.
    #[default]
    Wall,
}

/// What of it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WindowSettings {
    /// What windows are; as the file says if `None`.
    pub sessions: Vec<Option<WindowConfig>>,
    /// A threshold for windows that say nothing else, in place of the recording's.
    pub threshold_ns: Option<u64>,
    /// Only windows that took so long are shown, whatever their threshold.
    pub min_ns: Option<u64>,
    /// Only windows of these threads or processes, if any are named.
    pub threads: Vec<i32>,
    /// At most so many windows.
    pub top: Option<usize>,
    /// Their order.
    pub sort: WindowOrder,
    /// Tables.
    pub by: GroupBy,
    /// Stacks are asked for: those of CPU time need samples.
    pub stacks: bool,
    /// Look up functions of programs that had no name when they were sampled, in the same builds of their files.
    pub user_symbols: bool,
    /// Show every interrupt and timer, not one line for each that changed nothing.
    pub all_steps: bool,
    /// Which time of stacks.
    pub time: StackTime,
}

/// Why there is no such report.
#[derive(Debug)]
#[non_exhaustive]
pub enum WindowError {
    /// The file was recorded without windows, and none were named.
    NoWindows(String),
    /// Stacks of CPU time were wanted, but the file has no samples.
    NoSamples(String),
    /// Its clock does not count nanoseconds.
    Clock(String),
    /// The filter of a point.
    Filter(String, String),
}

impl fmt::Display for WindowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WindowError::NoWindows(file) => write!(f, "{file} was recorded without windows"),
            WindowError::NoSamples(file) => write!(f, "{file} has no samples, so the stacks of CPU time are not known"),
            WindowError::Clock(file) => write!(f, "the clock of {file} does not tell nanoseconds"),
            WindowError::Filter(text, error) => write!(f, "the filter {text:?} was refused: {error}"),
        }
    }
}

impl std::error::Error for WindowError {}
