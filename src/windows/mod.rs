//! Response-time windows: from one point of a thread's work to another, and all that the thread did in between.
//!
//! Owns: what windows are ([`Definition`]), the words for them ([`spec`], [`marker`]), and the [`engine`] that cuts them out
//! of records and says where the time went. Does not own: where records come from or what is made of the windows; the
//! recorder and the report both feed the engine.
//! Units: nanoseconds, those of the trace clock. A window lasts from its start event to its stop event.
//!
//! ```text
//!   start ──── out ···· waking ─── in ──── enter ──── stop
//!     on-CPU     blocked     runnable       on-CPU
//! ```
//!
//! | file or folder | what is inside |
//! | --- | --- |
//! | `mod.rs` | what is asked for: definitions, sources, thresholds, the session that a file stores |
//! | [`spec`], [`marker`], [`syscalls`] | windows on a command line, by texts in `trace_marker`, by system calls |
//! | [`engine`], `thread`, `steps` | records in, windows out; one thread and its open windows; the records of a window |
//! | [`samples`] | stacks that perf took, as the file has them |
//!
//! May import: `decode`, `wire`, `spread`. May be imported by: `report`, `rt`, `cli`. The next source of windows: a variant of
//! [`Source`], its words in [`spec`], and what opens and closes it in the [`engine`].

pub mod engine;
pub mod marker;
pub mod samples;
pub mod spec;
mod steps;
pub mod syscalls;
mod thread;

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::spread::StoredSpread;

/// The threshold of windows that say nothing else.
pub const DEFAULT_THRESHOLD_NS: u64 = 500_000_000;

/// What rows of histograms count in: microseconds.
pub const NS_PER_ROW: u64 = 1000;

/// The marker system calls of programs built for diagnose-tools.
pub const MAGIC_START: u64 = 761_203_101;
/// The second of them.
pub const MAGIC_STOP: u64 = 761_203_102;

/// From when on a window is worth a look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Threshold {
    /// As the session says.
    #[default]
    Session,
    /// So many nanoseconds.
    Fixed(u64),
    /// What a field of the start event says, in units of so many nanoseconds.
    Field {
        /// The field.
        name: String,
        /// The length of its unit.
        unit_ns: u64,
    },
}

/// Events that open or close windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// The system of the event.
    pub system: String,
    /// Its name.
    pub event: String,
    /// An expression that must hold.
    pub filter: Option<String>,
}

/// What opens and closes windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// Two points; several events may stand for one.
    Points {
        /// Open it.
        start: Vec<Point>,
        /// Close it.
        stop: Vec<Point>,
    },
    /// A system call, from entry to exit.
    Syscall {
        /// Its number on the recorded machine.
        nr: u64,
    },
    /// Texts written to `trace_marker`.
    Marker,
    /// The marker system calls.
    Magic,
}

/// One kind of windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// What the user wrote.
    pub name: String,
    /// What opens and closes them.
    pub source: Source,
    /// Only threads of this process; 0 is the recorded command.
    pub process: Option<i32>,
    /// From when on they are worth a look.
    pub threshold: Threshold,
}

/// What is known of a thread when recording begins or ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The thread.
    pub tid: i32,
    /// Its process.
    pub tgid: i32,
    /// Numbers of the process in the namespaces it lives in, outermost first, if there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inner_pids: Vec<i32>,
    /// Its cgroup, if it is not the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
}

/// What was asked for at recording time, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The windows.
    pub definitions: Vec<Definition>,
    /// The threshold of those that say nothing else.
    pub threshold_ns: u64,
    /// The recorded command.
    #[serde(default)]
    pub command: Option<i32>,
    /// Distance of samples.
    #[serde(default)]
    pub sample_ns: Option<u64>,
    /// How user stacks were taken: none, fp or dwarf.
    #[serde(default)]
    pub user_stack: String,
    /// Threads known at the start and at the end.
    #[serde(default)]
    pub tasks: Vec<Task>,
    /// Only windows over their threshold were written.
    #[serde(default)]
    pub only_slow: Option<OnlySlow>,
}

/// What became of the windows that were not written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnlySlow {
    /// Bytes that a thread's records may take while a window is open.
    pub buffer_bytes: u64,
    /// Counts by kind of window.
    pub kinds: BTreeMap<String, Tally>,
    /// Stops without a start.
    pub stray_stops: u64,
    /// Windows begun anew.
    pub restarts: u64,
    /// Windows whose thread ended.
    pub discarded: u64,
    /// Windows still open at the end.
    pub open: u64,
    /// Records that did not fit.
    pub dropped: u64,
    /// Records lost in the kernel.
    pub lost: u64,
    /// The slow windows, as they were known when all records were there; they are stored beside the counts.
    #[serde(skip)]
    pub windows: Vec<Kept>,
    /// What is only known where the kernel has judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_kernel: Option<InKernel>,
}

/// What is known of windows that the kernel has judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InKernel {
    /// Snapshots that were taken.
    pub snapshots: u64,
    /// Slow windows whose records had been overwritten before a snapshot could be taken.
    pub unrecorded: Vec<Unrecorded>,
    /// Events that found no room in a table of threads: of their windows nothing is known.
    pub unseen: u64,
    /// How often the tables were emptied, with the windows that were open then.
    pub emptied: u64,
}

/// A slow window without records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unrecorded {
    /// Its thread.
    pub tid: i32,
    /// When it began.
    pub start: u64,
    /// When it ended.
    pub end: u64,
    /// Index of its definition.
    pub definition: usize,
}

/// A slow window whose records may not all have been kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its thread.
    pub tid: i32,
    /// The thread's process, if known.
    #[serde(default)]
    pub tgid: Option<i32>,
    /// When it began.
    pub start: u64,
    /// When it ended.
    pub end: u64,
    /// Index of its definition.
    pub definition: usize,
    /// Where the time went.
    pub split: Split,
    /// Losses inside.
    pub lost: u64,
    /// Records that did not fit.
    pub dropped: u64,
}

/// Windows of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many were closed.
    pub closed: u64,
    /// How many of them were slow.
    pub slow: u64,
    /// Their time in all.
    pub total_ns: u64,
    /// The shortest.
    pub min_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// How long they took; `None` where nobody saw each of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<StoredSpread>,
    /// Where the kernel counts: how many took more than half of that power of two, in nanoseconds, up to all of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub powers: BTreeMap<u32, u64>,
}

impl Kept {
    /// As it is stored.
    pub fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

impl Tally {
    /// Counts one.
    pub fn add(&mut self, duration: u64, slow: bool) {
        self.min_ns = if self.closed == 0 { duration } else { self.min_ns.min(duration) };
        self.max_ns = self.max_ns.max(duration);
        self.total_ns = self.total_ns.saturating_add(duration);
        self.closed += 1;
        self.slow += u64::from(slow);
    }
}

impl Session {
    /// As it is stored.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What was stored; `None` if it cannot be understood.
    pub fn decode(bytes: &[u8]) -> Option<Session> {
        serde_json::from_slice(bytes).ok()
    }

    /// With what became of the windows, where only slow ones were kept: counts, and lines about the slow ones.
    pub fn with_outcome(mut self, counts: &[u8], lines: &[u8]) -> Session {
        let Ok(counts) = serde_json::from_slice::<OnlySlow>(counts) else { return self };
        // A recorder that was killed may have left less than a line at the end.
        let windows: Vec<Kept> =
            lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        let known: HashSet<i32> = self.tasks.iter().map(|task| task.tid).collect();
        let tgids = windows.iter().filter_map(|kept| Some((kept.tid, kept.tgid?)));
        let new: BTreeMap<i32, i32> = tgids.filter(|(tid, _)| !known.contains(tid)).collect();
        self.tasks.extend(new.into_iter().map(|(tid, tgid)| Task { tid, tgid, ..Task::default() }));
        self.only_slow = Some(OnlySlow { windows, ..counts });
        self
    }
}

/// Where the time of a thread went, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Running, interrupts included and, on a virtual machine, time that the host took away: CPU-time clocks leave that out.
    pub on_cpu: u64,
    /// Asleep or waiting for something.
    pub blocked: u64,
    /// Ready to run, but not running.
    pub runnable: u64,
    /// In interrupts that came while it was running.
    pub interrupts: u64,
}

impl Split {
    /// What came after `before`.
    pub fn since(&self, before: &Split) -> Split {
        Split {
            on_cpu: self.on_cpu - before.on_cpu,
            blocked: self.blocked - before.blocked,
            runnable: self.runnable - before.runnable,
            interrupts: self.interrupts - before.interrupts,
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.on_cpu.saturating_add(self.blocked).saturating_add(self.runnable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_stored_and_understood_again() {
        let point =
            Point { system: "sched".into(), event: "sched_switch".into(), filter: Some("prev_pid == 7".into()) };
        let session = Session {
            definitions: vec![Definition {
                name: "a..b".into(),
                source: Source::Points { start: vec![point.clone()], stop: vec![point] },
                process: Some(0),
                threshold: Threshold::Field { name: "thr".into(), unit_ns: 1_000_000 },
            }],
            threshold_ns: DEFAULT_THRESHOLD_NS,
            command: Some(4711),
            tasks: vec![Task { tid: 3, tgid: 2, inner_pids: vec![1], cgroup: Some("/a".into()) }],
            ..Session::default()
        };
        assert_eq!(Session::decode(&session.encode()), Some(session));
        assert_eq!(Session::decode(b"{"), None);
    }

    #[test]
    fn times_that_cannot_be_do_no_harm() {
        let split = Split { on_cpu: u64::MAX, blocked: 1, runnable: u64::MAX, interrupts: 0 };
        assert_eq!(split.total(), u64::MAX);
    }

    #[test]
    fn what_became_of_windows_is_understood_up_to_a_torn_line() {
        let kept = |tid| Kept { tid, tgid: Some(2), start: 1, end: 9, ..Kept::default() };
        let mut lines = [kept(3).line(), kept(4).line(), kept(5).line()].concat();
        lines.truncate(lines.len() - 5);
        let counts = serde_json::to_vec(&OnlySlow { open: 7, ..OnlySlow::default() }).unwrap();
        let session = Session { tasks: vec![Task { tid: 3, tgid: 1, ..Task::default() }], ..Session::default() };
        let all = session.clone().with_outcome(&counts, &lines);
        let told = all.only_slow.unwrap();
        assert_eq!((told.open, told.windows), (7, vec![kept(3), kept(4)]));
        let tasks: Vec<(i32, i32)> = all.tasks.iter().map(|task| (task.tid, task.tgid)).collect();
        assert_eq!(tasks, [(3, 1), (4, 2)]);
        assert_eq!(session.clone().with_outcome(b"", &lines), session);
    }
}
