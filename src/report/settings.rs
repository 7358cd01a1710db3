//! What to report, and how.

use std::fmt;
use std::sync::Arc;

use super::line::Columns;
use super::profile::Profile;
use super::{latency, windows};
use crate::plugins::Style;

/// A test on system and name of an event.
type EventTest = dyn Fn(&str, &str) -> bool + Send + Sync;

/// Which events are printed as raw fields.
#[derive(Clone, Default)]
pub struct RawEvents {
    test: Option<Arc<EventTest>>,
    all: bool,
}

impl RawEvents {
    /// All of them.
    pub fn all() -> RawEvents {
        RawEvents { test: None, all: true }
    }

    /// Those for which `test(system, name)` holds.
    pub fn when(test: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> RawEvents {
        RawEvents { test: Some(Arc::new(test)), all: false }
    }

    pub(super) fn holds(&self, system: &str, name: &str) -> bool {
        self.all || self.test.as_ref().is_some_and(|test| test(system, name))
    }

    pub(super) fn is_all(&self) -> bool {
        self.all
    }
}

impl fmt::Debug for RawEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.all || self.test.is_some() { "RawEvents(..)" } else { "RawEvents" })
    }
}

/// What comes out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Lines for people, as trace-cmd prints them.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
    /// Comma separated values with a heading.
    Csv,
    /// Counts per event, task and CPU.
    Summary,
    /// Counts and times per function.
    GraphStats,
    /// Where tasks spend their time.
    Profile,
    /// Response-time windows.
    Windows,
    /// How long calls take, by pairs of events.
    Latency,
}

impl Format {
    /// Whether records are printed one by one.
    pub(super) fn has_records(self) -> bool {
        matches!(self, Format::Text | Format::Json | Format::Csv)
    }
}

/// What to report, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Threads in all; the output does not depend on it.
    pub threads: usize,
    /// Texts of events.
    pub style: Style,
    /// Columns of a line.
    pub columns: Columns,
    /// Add the stored wall-clock offset.
    pub with_date: bool,
    /// Begin with a heading: the number of CPUs, the names of columns.
    pub heading: bool,
    /// Say what the columns mean.
    pub legend: bool,
    /// Apply no correction at all.
    pub raw_time: bool,
    /// Show the time of day, which files of rtrec's tell.
    pub wall_clock: bool,
    /// Subtract the first time of all files.
    pub align: bool,
    /// Mark where sub-buffers begin.
    pub boundaries: bool,
    /// Say where records lie in their sub-buffers, and what lies between them; with `boundaries`.
    pub dump: bool,
    /// Records to print at most.
    pub head: Option<u64>,
    /// Print only that many, the last ones.
    pub tail: Option<u64>,
    /// Last time wanted.
    pub to: Option<u64>,
    /// Ticks to add, per file.
    pub offsets: Vec<i64>,
    /// Frequency of the clock, per file.
    pub hz: Vec<Option<u64>>,
    /// Note records that are older than the one before.
    pub ts_check: bool,
    /// Say how long tasks waited to run, at each switch and at the end; with [`Format::Text`] and a single file.
    pub wakeups: bool,
    /// What comes out.
    pub format: Format,
    /// Fields of JSON and CSV; the usual ones if empty.
    pub fields: Vec<String>,
    /// What [`Format::Profile`] shows.
    pub profile: Profile,
    /// What [`Format::Windows`] shows.
    pub windows: windows::WindowSettings,
    /// What [`Format::Latency`] shows.
    pub latency: latency::LatencySettings,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            style: Style::default(),
            columns: Columns::default(),
            with_date: true,
            heading: true,
            legend: false,
            raw_time: false,
            wall_clock: false,
            align: false,
            boundaries: false,
            dump: false,
            head: None,
            tail: None,
            to: None,
            offsets: Vec::new(),
            hz: Vec::new(),
            ts_check: false,
            wakeups: false,
            format: Format::Text,
            fields: Vec::new(),
            profile: Profile::default(),
            windows: windows::WindowSettings::default(),
            latency: latency::LatencySettings::default(),
        }
    }
}
