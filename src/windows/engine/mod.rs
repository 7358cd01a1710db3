//! Cuts windows out of records that come in order of time.
//!
//! Rules: per thread; a second start restarts; a stop without a start is counted; the end of the thread discards; windows
//! of one definition and label do not nest, others overlap freely.
//!
//! Where the time went is known from the scheduler's events. A switch-in that is missing does no harm: whatever a thread
//! does in its own context proves that it runs, and what [`Engine::seen_running`] knows from elsewhere proves it earlier.
//!
//! | file | what is inside |
//! | --- | --- |
//! | `mod.rs` | the engine: from meanings of records to windows |
//! | `window_events` | what a record opens or closes |
//!
//! Imported by `report::analysis::windows` and `rt`; imports `decode::meaning`, the rest of `windows` and `wire`. The next event
//! that says where time goes: a meaning (`decode::meaning`), and what it does to a thread here.

mod window_events;

use std::collections::HashMap;

use self::window_events::{BoundPoint, WindowEvent};
pub use super::steps::{Step, Steps};
use super::thread::{OpenWindow, State, Thread};
use super::{Threshold, TimeSplit, WindowConfig, WindowDefinition, WindowSource};
use crate::decode::meaning::{Edge, Meaning, is_runnable};
use crate::wire::abi::Abi;
use crate::wire::filter::FilterError;
use crate::wire::format::{EventFormat, Field};
use crate::wire::record::Record;

/// Flag of clone: the child is a thread of the same process.
const CLONE_THREAD: u64 = 0x0001_0000;

/// A window.
#[derive(Clone, Debug)]
pub struct Window {
    /// Index of its definition.
    pub definition: usize,
    /// Its label.
    pub label: Option<String>,
    /// Its thread.
    pub tid: i32,
    /// The thread's process, if known.
    pub tgid: Option<i32>,
    /// When it began.
    pub start: u64,
    /// When it ended; of an open one: the last time seen.
    pub end: u64,
    /// From when on it is slow.
    pub threshold: u64,
    /// Where the time went.
    pub split: TimeSplit,
    /// Losses inside.
    pub lost: u64,
    /// Steps that did not fit.
    pub dropped: u64,
}

impl Window {
    /// How long it took.
    pub fn duration(&self) -> u64 {
        // What a file says of a window need not be true.
        self.end.saturating_sub(self.start)
    }

    /// Whether it is worth a look.
    pub fn is_slow(&self) -> bool {
        self.duration() >= self.threshold
    }
}

/// Takes what the engine finds.
pub trait WindowSink {
    /// A window was closed; `steps` makes a copy of its records.
    fn closed(&mut self, window: Window, steps: &dyn Fn() -> Steps);
}

/// What was counted besides windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Stops without a start.
    pub stray_stops: u64,
    /// Windows begun anew.
    pub restarts: u64,
    /// Windows whose thread ended.
    pub discarded: u64,
    /// Starts and stops seen, by definition.
    pub starts: u64,
}

/// Where a record comes from.
#[derive(Clone, Copy, Debug)]
pub struct RecordOrigin {
    /// Which stream: one per CPU and buffer.
    pub stream: u32,
    /// The event.
    pub id: u16,
    /// The task.
    pub pid: i32,
}

#[derive(Debug)]
struct EventMeaning {
    meaning: Meaning,
    points: Vec<BoundPoint>,
}

/// What was last seen of a stream.
#[derive(Clone, Copy, Debug, Default)]
struct StreamState {
    time: u64,
    pid: i32,
    /// Threads that a stack after it belongs to.
    stack_owners: [Option<i32>; 2],
    /// Who has just left its CPU, if nothing was heard of anybody since.
    switched_out: Option<i32>,
    /// Its CPU went idle then, and nobody was seen on it since.
    idle_since: Option<u64>,
    /// When something of it was lost last.
    last_loss: u64,
}

/// The engine of one trace.
#[derive(Debug)]
pub struct Engine {
    definitions: Vec<WindowDefinition>,
    session_threshold: u64,
    command: Option<i32>,
    abi: Abi,
    events: Vec<Option<EventMeaning>>,
    threads: HashMap<i32, Thread>,
    tgids: HashMap<i32, i32>,
    /// The trace says which clones are threads.
    clone_flags_known: bool,
    streams: Vec<StreamState>,
    counts: Counts,
    max_bytes: usize,
    /// Times at which threads were seen running, by thread and in order, from elsewhere than the records.
    pub seen_running: HashMap<i32, Vec<u64>>,
    /// By definition, which have thresholds that events give.
    marker: Option<usize>,
    magic: Option<usize>,
    syscalls: Vec<(u64, usize)>,
    last: u64,
    /// Number of the record being taken.
    record_number: u64,
    /// Its stream.
    stream: usize,
    /// It says that its CPU is idle.
    now_idle: bool,
}

impl Engine {
    /// For the session's windows in records of these events. A thread's records take at most `max_bytes`.
    pub fn new<'f>(
        session: &WindowConfig,
        formats: impl Iterator<Item = &'f EventFormat>,
        abi: Abi,
        max_bytes: usize,
    ) -> Result<Engine, (String, FilterError)> {
        let mut engine = Engine {
            definitions: session.definitions.clone(),
            session_threshold: session.threshold_ns,
            command: session.command,
            abi,
            events: Vec::new(),
            threads: HashMap::new(),
            tgids: session.tasks.iter().map(|task| (task.tid, task.tgid)).collect(),
            clone_flags_known: false,
            streams: Vec::new(),
            counts: Counts::default(),
            max_bytes,
            seen_running: HashMap::new(),
            marker: session.definitions.iter().position(|def| def.source == WindowSource::Marker),
            magic: session.definitions.iter().position(|def| def.source == WindowSource::Magic),
            syscalls: Vec::new(),
            last: 0,
            record_number: 0,
            stream: 0,
            now_idle: false,
        };
        for (index, definition) in session.definitions.iter().enumerate() {
            if let WindowSource::Syscall { nr } = definition.source {
                engine.syscalls.push((nr, index));
            }
        }
        for format in formats {
            engine.bind(format)?;
        }
        Ok(engine)
    }

    /// What the event says; `None` if its format is unknown.
    pub fn meaning(&self, id: u16) -> Option<&Meaning> {
        self.events.get(usize::from(id))?.as_ref().map(|event| &event.meaning)
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many windows are open, and in how many threads.
    pub fn open(&self) -> (usize, usize) {
        let open = self.threads.values().map(|thread| thread.open.len()).filter(|count| *count > 0);
        open.fold((0, 0), |(windows, threads), count| (windows + count, threads + 1))
    }

    /// When the oldest open window began.
    pub fn oldest(&self) -> Option<u64> {
        self.threads.values().flat_map(|thread| &thread.open).map(|open| open.start).min()
    }

    /// Threads with open windows, and when the oldest of each began.
    pub fn open_threads(&self) -> impl Iterator<Item = (i32, u64)> {
        let oldest = |(tid, thread): (&i32, &Thread)| Some((*tid, thread.open.iter().map(|open| open.start).min()?));
        self.threads.iter().filter_map(oldest)
    }

    /// The process of a thread.
    pub fn tgid(&self, tid: i32) -> Option<i32> {
        self.tgids.get(&tid).copied()
    }

    /// Takes the next record.
    pub fn take(&mut self, origin: RecordOrigin, record: &Record<'_>, finds: &mut dyn WindowSink) {
        self.last = self.last.max(record.ticks);
        self.record_number += 1;
        let at = origin.stream as usize;
        if self.streams.len() <= at {
            self.streams.resize(at + 1, StreamState::default());
        }
        let events = std::mem::take(&mut self.events);
        self.stream = at;
        if let Some(Some(event)) = events.get(usize::from(origin.id)) {
            self.event(event, origin, record, finds);
        }
        self.events = events;
        let stream = &mut self.streams[at];
        (stream.time, stream.pid) = (record.ticks, origin.pid);
        if origin.pid != 0 && !self.now_idle {
            stream.idle_since = None;
        }
        self.now_idle = false;
    }

    fn event(&mut self, event: &EventMeaning, origin: RecordOrigin, record: &Record<'_>, finds: &mut dyn WindowSink) {
        let (pid, now, abi) = (origin.pid, record.ticks, self.abi);
        let int = |field: &Field| field.int(record.data, abi).unwrap_or(0);
        let task = |field: &Field| int(field) as u32 as i32;
        let switched_out = self.streams[origin.stream as usize].switched_out;
        match event.meaning {
            Meaning::Stack { .. } => return self.stack(origin, record),
            // Whoever takes samples of threads that leave copies their stacks: that is no sign that they run again.
            Meaning::Fault { kernel: true } if switched_out == Some(pid) => return,
            _ => self.streams[origin.stream as usize].switched_out = None,
        }
        let mut other = None;
        match &event.meaning {
            Meaning::Switch { prev, state, next, .. } => {
                let (prev, next) = (task(prev), task(next));
                self.note_running(prev, now);
                self.streams[origin.stream as usize].switched_out = Some(prev);
                let away = if is_runnable(int(state)) { State::Runnable } else { State::Blocked };
                self.thread(prev).set_state(away, now);
                self.thread(next).set_state(State::Running, now);
                self.step(prev, origin, record);
                self.step(next, origin, record);
                let stream = &mut self.streams[origin.stream as usize];
                (stream.stack_owners, stream.idle_since) = ([Some(prev), None], (next == 0).then_some(now));
                self.now_idle = next == 0;
            }
            Meaning::Wake { pid: woken, .. } => {
                let woken = task(woken);
                self.note_running(pid, now);
                self.thread(woken).woken(now);
                other = Some(woken);
            }
            Meaning::Interrupt(edge) => {
                self.note_running(pid, now);
                self.thread(pid).interrupt(*edge == Edge::Entry, now);
            }
            Meaning::SyscallEnter { .. } | Meaning::SyscallExit { .. } => {
                self.note_running(pid, now);
                self.thread(pid).no_interrupt(now);
            }
            Meaning::Born { child, flags, .. } => {
                self.note_running(pid, now);
                self.task_created(pid, task(child), flags.as_ref().map(int));
            }
            _ => self.note_running(pid, now),
        }
        let window_events = self.window_events(event, origin, record);
        if !matches!(event.meaning, Meaning::Switch { .. }) {
            let stack_owners = [Some(pid), other.filter(|other| *other != pid)];
            stack_owners.into_iter().flatten().for_each(|tid| self.step(tid, origin, record));
            self.streams[origin.stream as usize].stack_owners = stack_owners;
        }
        for window_event in window_events {
            match window_event.starts {
                true => self.start(window_event, origin, record),
                false => self.stop(&window_event, origin, record, finds),
            }
        }
        if let Meaning::Exit { pid } = &event.meaning {
            self.exit(task(pid), now);
        }
    }

    fn thread(&mut self, tid: i32) -> &mut Thread {
        self.threads.entry(tid).or_default()
    }

    /// The thread does something, so it runs now, perhaps for a while.
    fn note_running(&mut self, tid: i32, now: u64) {
        let thread = self.threads.entry(tid).or_default();
        if let Some(since) = thread.away_since()
            && let Some(times) = self.seen_running.get(&tid)
            && let Some(time) = times.get(times.partition_point(|time| *time <= since)).filter(|time| **time < now)
        {
            thread.runs(*time);
        }
        // A switch that nobody saw is one from idle, on kernels that forget those: the thread has been running since it
        // was woken, or since the CPU had nothing else to do; but not while somebody else was seen there.
        let stream = self.streams.get(self.stream).copied().unwrap_or_default();
        if let Some(since) = thread.away_since().filter(|since| *since > stream.last_loss) {
            let from = if thread.was_woken() { Some(since) } else { stream.idle_since };
            let from = from.map(|from| from.max(since).max(stream.time));
            from.filter(|from| thread.is_runnable() && *from < now).inspect(|from| thread.runs(*from));
        }
        thread.runs(now);
    }

    fn step(&mut self, tid: i32, origin: RecordOrigin, record: &Record<'_>) {
        let (max, record_number) = (self.max_bytes, self.record_number);
        if let Some(thread) = self.threads.get_mut(&tid).filter(|thread| !thread.open.is_empty()) {
            thread.push(record_number, record, origin.stream, max);
        }
    }

    /// A stack belongs to the record before it on its CPU.
    fn stack(&mut self, origin: RecordOrigin, record: &Record<'_>) {
        let stream = self.streams[origin.stream as usize];
        if stream.pid == origin.pid {
            stream.stack_owners.into_iter().flatten().for_each(|tid| self.step(tid, origin, record));
        }
    }

    fn task_created(&mut self, parent: i32, child: i32, flags: Option<u64>) {
        let inherits = match flags {
            Some(flags) => flags & CLONE_THREAD != 0,
            // The other event says it better, if there is one; the guess is only as good as the program is threaded.
            None if self.clone_flags_known => return,
            None => true,
        };
        let tgid_of_child = if inherits { self.tgids.get(&parent).copied() } else { Some(child) };
        tgid_of_child.and_then(|tgid| self.tgids.insert(child, tgid));
    }

    fn start(&mut self, window_event: WindowEvent, origin: RecordOrigin, record: &Record<'_>) {
        let usual = match self.definitions[window_event.definition].threshold {
            Threshold::Fixed(ns) => ns,
            _ => self.session_threshold,
        };
        let (max, record_number) = (self.max_bytes, self.record_number);
        let thread = self.threads.entry(window_event.tid).or_default();
        let known = thread
            .open
            .iter()
            .position(|open| open.definition == window_event.definition && open.label == window_event.label);
        if let Some(at) = known {
            thread.open.remove(at);
            self.counts.restarts += 1;
            thread.drop_unneeded();
        }
        self.counts.starts += 1;
        let open = OpenWindow {
            definition: window_event.definition,
            label: window_event.label,
            start: record.ticks,
            threshold: window_event.threshold.unwrap_or(usual),
            before: thread.time_split(record.ticks),
            first: thread.push(record_number, record, origin.stream, max),
            start_record: (origin.stream, record.data.into()),
            dropped: thread.dropped(),
            lost: 0,
        };
        thread.open.push(open);
    }

    fn stop(
        &mut self,
        window_event: &WindowEvent,
        origin: RecordOrigin,
        record: &Record<'_>,
        finds: &mut dyn WindowSink,
    ) {
        let tgid = self.tgid(window_event.tid);
        let (max, record_number) = (self.max_bytes, self.record_number);
        let open = self.threads.get_mut(&window_event.tid).and_then(|thread| {
            let at = thread
                .open
                .iter()
                .position(|open| open.definition == window_event.definition && open.label == window_event.label)?;
            Some((at, thread))
        });
        let Some((at, thread)) = open else {
            self.counts.stray_stops += 1;
            return;
        };
        // It is there already, unless somebody else ended the window.
        thread.push(record_number, record, origin.stream, max);
        let open = thread.open.remove(at);
        let split = thread.time_split(record.ticks).since(&open.before);
        let window = open.window(window_event.tid, tgid, record.ticks, split, thread.dropped());
        let thread = &*thread;
        finds.closed(window, &|| thread.steps_of(&open));
        if let Some(thread) = self.threads.get_mut(&window_event.tid) {
            thread.drop_unneeded();
        }
    }

    fn exit(&mut self, tid: i32, now: u64) {
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        thread.time_split(now);
        self.counts.discarded += thread.open.len() as u64;
        self.threads.remove(&tid);
    }

    /// Records of a stream were lost before `now`. Returns when the last record before the gap was: windows that ended
    /// since have the loss inside too.
    pub fn lost(&mut self, stream: u32, count: u64, now: u64) -> u64 {
        let from = self.streams.get(stream as usize).map_or(0, |stream| stream.time);
        for open in self.threads.values_mut().flat_map(|thread| &mut thread.open) {
            if open.start < now {
                open.lost += count.max(1);
            }
        }
        if let Some(stream) = self.streams.get_mut(stream as usize) {
            *stream = StreamState { last_loss: now, time: stream.time, pid: stream.pid, ..StreamState::default() };
        }
        from
    }

    /// Nobody knows any more whether the windows that are open still are.
    pub fn forget_open(&mut self) {
        for thread in self.threads.values_mut() {
            thread.open.clear();
            thread.drop_unneeded();
        }
    }

    /// The windows that are open, with their records, oldest first.
    pub fn still_open(&mut self) -> Vec<(Window, Steps)> {
        let (last, tgids) = (self.last, &self.tgids);
        let mut all = Vec::new();
        for (tid, thread) in &mut self.threads {
            for open in thread.open.clone() {
                let split = thread.time_split(last).since(&open.before);
                let window = open.window(*tid, tgids.get(tid).copied(), last, split, thread.dropped());
                all.push((window, thread.steps_of(&open)));
            }
        }
        all.sort_by_key(|(window, _)| (window.start, window.tid));
        all
    }
}

impl OpenWindow {
    fn window(&self, tid: i32, tgid: Option<i32>, end: u64, split: TimeSplit, dropped: u64) -> Window {
        Window {
            definition: self.definition,
            label: self.label.clone(),
            tid,
            tgid,
            start: self.start,
            end: end.max(self.start),
            threshold: self.threshold,
            split,
            lost: self.lost,
            dropped: dropped - self.dropped,
        }
    }
}

#[cfg(test)]
mod tests;
