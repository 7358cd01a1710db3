//! The windows that were found in a file, and what it takes to show them.

use std::collections::HashMap;

use super::settings::WindowSettings;
use crate::report::reading::lane::Lane;
use crate::report::reading::record::Opened;
use crate::windows::engine::{Engine, Steps, Window, WindowSink};
use crate::windows::samples::Samples;
use crate::windows::syscalls::Machine;
use crate::windows::{SlowWindow, Unrecorded, WindowConfig, WindowCounts};

/// A closed window, slow or not.
#[derive(Clone, Debug)]
pub(super) struct ClosedWindow {
    pub(super) definition: u32,
    pub(super) label: u32,
    pub(super) tid: i32,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) slow: bool,
    pub(super) lost: u64,
}

/// A window to show.
pub(super) struct ShownWindow {
    pub(super) window: Window,
    pub(super) steps: Steps,
    pub(super) open: bool,
    /// Its place among the closed ones.
    pub(super) place: usize,
}

/// The windows found so far.
#[derive(Default)]
pub(super) struct FoundWindows {
    pub(super) closed: Vec<ClosedWindow>,
    pub(super) labels: Vec<Option<String>>,
    pub(super) shown: Vec<ShownWindow>,
    pub(super) min_ns: Option<u64>,
    pub(super) threads: Vec<i32>,
    /// Where only slow windows were kept: those of which the recorder knew, by thread, start and definition.
    pub(super) recorded: HashMap<(i32, u64, usize), SlowWindow>,
}

impl FoundWindows {
    pub(super) fn recorded_outcome(&self, window: &Window) -> Option<&SlowWindow> {
        self.recorded.get(&(window.tid, window.start, window.definition))
    }

    pub(super) fn wants(&self, window: &Window) -> bool {
        let named = |pid: i32| self.threads.contains(&pid);
        self.threads.is_empty() || named(window.tid) || window.tgid.is_some_and(named)
    }
}

impl WindowSink for FoundWindows {
    fn closed(&mut self, window: Window, steps: &dyn Fn() -> Steps) {
        // A recorder that was killed, or is at work, has not written every stop; one of later does not stand for it.
        if !self.wants(&window) || self.recorded_outcome(&window).is_some_and(|kept| kept.end != window.end) {
            return;
        }
        let label = self.labels.iter().position(|label| *label == window.label).unwrap_or_else(|| {
            self.labels.push(window.label.clone());
            self.labels.len() - 1
        });
        let slow = self.min_ns.map_or(window.is_slow(), |min| window.duration() >= min);
        let place = self.closed.len();
        self.closed.push(ClosedWindow {
            definition: window.definition as u32,
            label: label as u32,
            tid: window.tid,
            start: window.start,
            end: window.end,
            slow,
            lost: window.lost,
        });
        if slow {
            self.shown.push(ShownWindow { window, steps: steps(), open: false, place });
        }
    }
}

/// What is needed to show the windows of a file.
pub(super) struct WindowsReport<'p> {
    pub(super) file: Option<&'p str>,
    pub(super) opened: Opened<'p>,
    pub(super) number: usize,
    pub(super) session: &'p WindowConfig,
    pub(super) engine: &'p Engine,
    pub(super) found: &'p FoundWindows,
    pub(super) samples: Option<&'p Samples>,
    pub(super) settings: &'p WindowSettings,
    pub(super) machine: Option<Machine>,
    /// Slow windows, in the order asked for.
    pub(super) shown: Vec<ShownWindow>,
    /// Windows that had not ended.
    pub(super) open: Vec<ShownWindow>,
}

impl<'p> WindowsReport<'p> {
    /// CPU and lane of a stream.
    pub(super) fn origin(&self, stream: u32) -> Option<(u32, &'p Lane)> {
        let origin = self.opened.origins.get(stream as usize)?;
        Some((origin.cpu, self.opened.lanes.get(origin.lane as usize)?))
    }

    /// The name of a thread then.
    pub(super) fn comm(&self, tid: i32, time: u64) -> String {
        let lane = self.opened.lane_of(self.number);
        lane.map_or_else(String::new, |lane| String::from_utf8_lossy(lane.comm(tid, u64::MAX, time)).into_owned())
    }

    /// What the recording counted of windows it did not keep.
    pub(super) fn only_slow(&self) -> Option<&'p WindowCounts> {
        self.session.only_slow.as_ref()
    }

    /// Slow windows that the kernel has found, but whose records it had overwritten.
    pub(super) fn unrecorded(&self) -> Vec<&'p Unrecorded> {
        let kernel = self.only_slow().and_then(|kept| kept.in_kernel.as_ref());
        let wanted = |one: &&Unrecorded| {
            let named = |pid: i32| self.settings.threads.contains(&pid);
            let min = self.settings.min_ns.is_none_or(|min| one.end.saturating_sub(one.start) >= min);
            min && (self.settings.threads.is_empty() || named(one.tid) || self.engine.tgid(one.tid).is_some_and(named))
        };
        kernel.map_or(Vec::new(), |kernel| kernel.unrecorded.iter().filter(wanted).collect())
    }

    pub(super) fn kind(&self, definition: usize) -> &'p str {
        self.session.definitions.get(definition).map_or("", |definition| definition.name.as_str())
    }
}
