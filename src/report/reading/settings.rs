//! What is read, and in which time: settings of every report, whatever comes out.

use crate::decode::Style;

/// How files are read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReadSettings {
    /// Threads in all; the records do not depend on it.
    pub threads: usize,
    /// Texts of events.
    pub style: Style,
    /// Add the stored wall-clock offset.
    pub with_date: bool,
    /// Apply no correction at all.
    pub raw_time: bool,
    /// Give the time of day, which files of rtrec's have.
    pub wall_clock: bool,
    /// Subtract the first time of all files.
    pub align: bool,
    /// Ticks to add, per file.
    pub offsets: Vec<i64>,
    /// Frequency of the clock, per file.
    pub hz: Vec<Option<u64>>,
    /// Records at most.
    pub head: Option<u64>,
    /// Only that many records, the last ones.
    pub tail: Option<u64>,
    /// Last time wanted.
    pub to: Option<u64>,
    /// Note records that are older than the one before.
    pub check_order: bool,
    /// Say where sub-buffers begin.
    pub boundaries: bool,
    /// Make one record of a function's entry and the exit that follows it, for whoever draws them as one line.
    pub fold_leaves: bool,
}

impl Default for ReadSettings {
    fn default() -> ReadSettings {
        ReadSettings {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            style: Style::default(),
            with_date: true,
            raw_time: false,
            wall_clock: false,
            align: false,
            offsets: Vec::new(),
            hz: Vec::new(),
            head: None,
            tail: None,
            to: None,
            check_order: false,
            boundaries: false,
            fold_leaves: false,
        }
    }
}
