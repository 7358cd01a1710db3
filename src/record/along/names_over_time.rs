//! The names of tasks over time, and the trace clock beside the wall clock: a small instance of its own watches both.
//!
//! The kernel keeps the last name of a pid only. So the instance records every new task and every renaming, and a thread
//! takes them out once a second. Markers written between two looks at other clocks tell how those run beside
//! the trace clock, at the start and at the end. All of it is a help: without it a recording is merely poorer.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use byteorder::NativeEndian;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::time::{ClockId, clock_gettime};

use crate::dat::own::{ClockReading, ClockReadings, NameChange, NameChanges};
use crate::tracefs::buffer::{BufferStats, RawBuffer};
use crate::tracefs::events::{EventName, Selection};
use crate::tracefs::{Error, Instance, Operation, Tracefs, Undo};
use crate::wire::abi::Abi;
use crate::wire::format::{EventFormat, Field};
use crate::wire::subbuf::Layout;

/// Holds the renamings of one second; a storm of 2000 new tasks a second and CPU fits. A new instance has 1410, and
/// making it smaller takes 8 ms on 6.18, so that is done for the memory of large machines only.
const SIZE_KB: u64 = 128;
const MANY_CPUS: usize = 8;
const DRAIN_EVERY_MS: u16 = 1000;
/// Changes that are kept: those of some 200,000 tasks, in 70 MB.
const MOST_CHANGES: usize = 1 << 19;
/// Looks at the clocks, of which the quickest counts.
const CLOCK_CHECKS: u32 = 20;
const MARKER_PREFIX: &str = "rtrec clock ";

/// A watch on names and clocks that is running.
pub struct NamesRecorder {
    instance: Instance,
    clock: String,
    checks: Vec<ClockCheck>,
    stop: Arc<EventFd>,
    // Before `undo`: the thread's files must be closed before the instance can go.
    thread: Option<JoinHandle<Collected>>,
    undo: Undo,
}

/// What it has seen.
#[derive(Debug, Default)]
pub struct NamesAndClocks {
    /// The names.
    pub names: NameChanges,
    /// The clocks.
    pub clocks: ClockReadings,
}

/// Other clocks read around a marker.
#[derive(Clone, Copy)]
struct ClockCheck {
    number: u32,
    realtime_ns: i64,
    monotonic_ns: i64,
    width_ns: u64,
}

impl NamesRecorder {
    /// Starts watching, by the clock named.
    ///
    /// `undo` is an empty journal that is its own.
    pub fn start(root: &Tracefs, clock: &str, mut undo: Undo) -> Result<Self, Error> {
        let instance = root.instance(&format!("rtrec-{}", std::process::id()));
        instance.make(&mut undo)?;
        // Nothing of it has to be put back, since it goes as a whole.
        let mut within = Undo::new();
        let cpus = instance.cpus()?;
        if cpus.len() > MANY_CPUS {
            instance.set_buffer_size_kb(SIZE_KB, &mut within)?;
        }
        let set = instance.set_clock(clock, &mut within);
        within.forget();
        set?;
        let events_by_id = NameEvents::of(root)?;
        let events = events_by_id.events.iter().filter(|event| event.name.system != "ftrace");
        let selection = Selection { events: events.map(|event| event.name.clone()).collect(), ..Selection::default() };
        instance.enable_events(&selection, true)?;
        instance.tracing_on()?;
        let layout = instance.subbuf_layout()?;
        let buffers: Vec<RawBuffer> = cpus
            .into_iter()
            .map(|cpu| instance.raw_buffer(cpu, layout.subbuf_bytes as usize))
            .collect::<Result<_, _>>()?;
        let failed = |error: io::Error| Error::new(Operation::Open, instance.dir(), error);
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let stop = Arc::new(EventFd::from_value_and_flags(0, flags).map_err(|errno| failed(errno.into()))?);
        let stopped_by = Arc::clone(&stop);
        let collector = Collector { events_by_id, layout, buffers, collected: Collected::default() };
        let thread = thread::Builder::new().name("rtrec/names".to_owned()).spawn(move || collector.run(&stopped_by));
        let thread = Some(thread.map_err(failed)?);
        let mut history = NamesRecorder { instance, clock: clock.to_owned(), checks: Vec::new(), stop, thread, undo };
        history.check_clocks()?;
        Ok(history)
    }

    /// Looks at the clocks around a marker, a few times; the quickest look is the best.
    fn check_clocks(&mut self) -> Result<(), Error> {
        let marker = self.instance.marker()?;
        let first = self.checks.len() as u32;
        for number in first..first + CLOCK_CHECKS {
            let (monotonic, realtime) = (now(ClockId::CLOCK_MONOTONIC), now(ClockId::CLOCK_REALTIME));
            let text = format!("{MARKER_PREFIX}{number}");
            let written = nix::unistd::write(&marker, text.as_bytes());
            let (realtime_after, monotonic_after) = (now(ClockId::CLOCK_REALTIME), now(ClockId::CLOCK_MONOTONIC));
            written.map_err(|errno| Error::new(Operation::Write, &self.instance.path("trace_marker"), errno.into()))?;
            self.checks.push(ClockCheck {
                number,
                realtime_ns: realtime + (realtime_after - realtime) / 2,
                monotonic_ns: monotonic + (monotonic_after - monotonic) / 2,
                width_ns: realtime_after.abs_diff(realtime),
            });
        }
        Ok(())
    }

    /// Stops watching, removes the instance (35 ms on 6.18) and tells what was seen.
    pub fn finish(mut self) -> NamesAndClocks {
        let _ = self.check_clocks();
        let _ = self.instance.tracing_off();
        let collected = self.join();
        let cpus = self.instance.cpus().unwrap_or_default();
        let stats: Vec<BufferStats> = cpus.into_iter().flat_map(|cpu| self.instance.stats(cpu)).collect();
        let lost = stats.iter().map(BufferStats::lost).sum::<u64>() + collected.dropped;
        let (start, end) = self.checks.split_at(self.checks.len().min(CLOCK_CHECKS as usize));
        let readings = [start, end].into_iter().filter_map(|checks| best(checks, &collected.marks)).collect();
        let clock = self.clock.clone();
        NamesAndClocks {
            names: NameChanges { clock: clock.clone(), lost, changes: in_order(collected.changes) },
            clocks: ClockReadings { clock, readings },
        }
    }

    fn join(&mut self) -> Collected {
        let _ = self.stop.write(1);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for NamesRecorder {
    fn drop(&mut self) {
        self.join();
        self.undo.run();
    }
}

fn now(clock: ClockId) -> i64 {
    clock_gettime(clock).map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

/// The quickest look whose marker has been found.
fn best(checks: &[ClockCheck], marks: &HashMap<u32, u64>) -> Option<ClockReading> {
    let found = checks.iter().filter_map(|check| Some((check, *marks.get(&check.number)?)));
    let (check, ticks) = found.min_by_key(|(check, _)| check.width_ns)?;
    let ClockCheck { realtime_ns, monotonic_ns, width_ns, .. } = *check;
    Some(ClockReading { ticks, realtime_ns, monotonic_ns, width_ns })
}

/// By time; a first renaming also tells the name from before.
fn in_order(mut changes: Vec<(NameChange, Option<Vec<u8>>)>) -> Vec<NameChange> {
    changes.sort();
    let mut known = std::collections::HashSet::new();
    let mut all = Vec::with_capacity(changes.len());
    for (change, before) in changes {
        let first = known.insert(change.pid);
        if first && let Some(name) = before {
            all.push(NameChange { ticks: 0, pid: change.pid, name });
        }
        all.push(change);
    }
    all.sort();
    all
}

/// One event and where in it pid and names are.
struct Event {
    name: EventName,
    id: u16,
    pid: Option<Field>,
    comm: Field,
    before: Option<Field>,
}

/// The events that tell names, and the marker.
struct NameEvents {
    events: Vec<Event>,
}

impl NameEvents {
    fn of(root: &Tracefs) -> Result<NameEvents, Error> {
        let top = root.top();
        let mut events = vec![event(&top, "ftrace", "print", None, "buf", None)];
        events.push(event(&top, "task", "task_newtask", Some("pid"), "comm", None));
        events.push(event(&top, "task", "task_rename", Some("pid"), "newcomm", Some("oldcomm")));
        if events.iter().skip(1).all(Option::is_none) {
            events.push(event(&top, "sched", "sched_process_fork", Some("child_pid"), "child_comm", None));
        }
        Ok(NameEvents { events: events.into_iter().flatten().collect() })
    }
}

fn event(
    top: &Instance,
    system: &str,
    name: &str,
    pid: Option<&str>,
    comm: &str,
    before: Option<&str>,
) -> Option<Event> {
    let name = EventName { system: system.to_owned(), event: name.to_owned() };
    let format = EventFormat::parse(system, &top.event_format(&name).ok()?, Abi::HOST).ok()?;
    let field = |name: Option<&str>| name.and_then(|name| format.field(name)).cloned();
    let comm = field(Some(comm))?;
    // The names of 7.0 are dynamic texts; located alike.
    Some(Event { name, id: format.id, pid: field(pid), comm, before: field(before) })
}

/// What has been collected out of the instance.
#[derive(Default)]
struct Collected {
    /// A name, and the one before it if known.
    changes: Vec<(NameChange, Option<Vec<u8>>)>,
    /// Number of a marker, and when it was written.
    marks: HashMap<u32, u64>,
    /// Changes that were dropped for want of room.
    dropped: u64,
}

impl Collected {
    /// Days of a busy machine do not fit: the oldest changes go.
    fn forget_oldest(&mut self, most: usize) {
        if self.changes.len() > most + most / 4 {
            self.changes.sort();
            let too_many = self.changes.len() - most;
            self.changes.drain(..too_many);
            self.dropped += too_many as u64;
        }
    }
}

/// Takes the records out.
struct Collector {
    events_by_id: NameEvents,
    layout: Layout,
    buffers: Vec<RawBuffer>,
    collected: Collected,
}

impl Collector {
    fn run(mut self, stop: &EventFd) -> Collected {
        loop {
            let mut fds = [PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
            let stopped = poll(&mut fds, PollTimeout::from(DRAIN_EVERY_MS)).is_ok_and(|ready| ready > 0);
            self.drain();
            self.collected.forget_oldest(MOST_CHANGES);
            if stopped {
                return self.collected;
            }
        }
    }

    fn drain(&mut self) {
        let mut page = vec![0; self.layout.subbuf_bytes as usize];
        for buffer in &mut self.buffers {
            while matches!(buffer.read_subbuf(&mut page), Ok(true)) {
                take_page(&self.events_by_id, &self.layout, &page, &mut self.collected);
            }
        }
    }
}

fn take_page(events_by_id: &NameEvents, layout: &Layout, page: &[u8], collected: &mut Collected) {
    let Ok(head) = layout.head(page) else { return };
    let mut walk = layout.walk(&head);
    while let Some(Ok(found)) = walk.next::<NativeEndian>(page) {
        let Some(data) = page.get(found.start as usize..(found.start + found.len) as usize) else { return };
        let id = Abi::HOST.u16(data);
        let Some(event) = events_by_id.events.iter().find(|event| Some(event.id) == id) else { continue };
        let text = event.comm.text(data, Abi::HOST);
        let Some(pid) = &event.pid else {
            let number =
                std::str::from_utf8(text).ok().and_then(|text| text.trim().strip_prefix(MARKER_PREFIX)?.parse().ok());
            collected.marks.extend(number.map(|number: u32| (number, found.ticks)));
            continue;
        };
        let pid = pid.int(data, Abi::HOST).unwrap_or(0) as i32;
        let change = NameChange { ticks: found.ticks, pid, name: text.to_vec() };
        let before = event.before.as_ref().map(|field| field.text(data, Abi::HOST).to_vec());
        collected.changes.push((change, before));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_changes_go_and_are_counted() {
        let change = |ticks| (NameChange { ticks, pid: 1, name: b"a".to_vec() }, None);
        let mut collected = Collected { changes: (0..125).rev().map(change).collect(), ..Collected::default() };
        collected.forget_oldest(100);
        assert_eq!((collected.changes.len(), collected.dropped), (125, 0));
        collected.changes.push(change(200));
        collected.forget_oldest(100);
        assert_eq!((collected.changes.len(), collected.dropped, collected.changes[0].0.ticks), (100, 26, 26));
    }

    #[test]
    fn a_first_renaming_tells_the_name_before_it() {
        let change = |ticks, pid, name: &[u8]| NameChange { ticks, pid, name: name.to_vec() };
        let changes = vec![
            (change(20, 7, b"ls"), Some(b"sh".to_vec())),
            (change(30, 7, b"x"), Some(b"ls".to_vec())),
            (change(10, 8, b"sh"), None),
            (change(40, 8, b"cat"), Some(b"sh".to_vec())),
        ];
        let all = in_order(changes);
        let names: Vec<(u64, i32, &[u8])> = all.iter().map(|c| (c.ticks, c.pid, c.name.as_slice())).collect();
        assert_eq!(names, [(0, 7, &b"sh"[..]), (10, 8, b"sh"), (20, 7, b"ls"), (30, 7, b"x"), (40, 8, b"cat")]);
    }

    #[test]
    fn the_quickest_look_whose_marker_was_found_counts() {
        let check = |number, width_ns| ClockCheck { number, realtime_ns: i64::from(number), monotonic_ns: 0, width_ns };
        let checks = [check(0, 500), check(1, 90), check(2, 40)];
        let marks = HashMap::from([(0, 1000), (1, 1100)]);
        let reading = best(&checks, &marks).unwrap();
        assert_eq!((reading.ticks, reading.realtime_ns), (1100, 1));
        assert!(best(&checks[2..], &marks).is_none());
    }
}
