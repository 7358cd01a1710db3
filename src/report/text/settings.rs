//! How records look as lines.

use std::fmt;
use std::sync::Arc;

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

/// Which columns, and how.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// Nine digits of time instead of six rounded ones (`-t`).
    pub full_time: bool,
    /// The narrow layout (`-l`).
    pub latency: bool,
    /// Time since the line before (`--ts-diff`).
    pub diff: bool,
    /// Events that are printed as raw fields.
    pub raw: RawEvents,
    /// Ticks without unit, whatever the clock (`--raw-ts`).
    pub bare_ticks: bool,
    /// With the escapes that terminals show as colours.
    pub colour: bool,
}

/// What is printed besides the columns.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TextSettings {
    /// Columns of a line.
    pub columns: Columns,
    /// Begin with a heading: the number of CPUs, the names of columns.
    pub heading: bool,
    /// Say what the columns mean.
    pub legend: bool,
    /// Mark where sub-buffers begin.
    pub boundaries: bool,
    /// Say where records lie in their sub-buffers, and what lies between them; with `boundaries`.
    pub dump: bool,
    /// Say how long tasks waited to run, at each switch and at the end; of a single file.
    pub wakeups: bool,
}
