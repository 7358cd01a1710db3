//! Tests of the engine: records as a kernel writes them, fed one by one.

use super::*;
use crate::windows::{
    MARKER_SYSCALL_START, MARKER_SYSCALL_STOP, Threshold, WindowConfig, WindowDefinition, WindowSource,
};

const ABI: Abi = Abi { endian: crate::wire::abi::Endian::Little, long_bytes: 8 };
const MS: u64 = 1_000_000;

/// Formats with the fields at the places of 6.18.
fn formats() -> Vec<EventFormat> {
    let common = "field:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
        field:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n\
        field:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n\
        field:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n";
    let one = |system: &str, name: &str, id: u16, fields: &[(&str, u16, u16)]| {
        let own: String = fields
            .iter()
            .map(|(decl, at, size)| format!("field:{decl};\toffset:{at};\tsize:{size};\tsigned:1;\n"))
            .collect();
        let text = format!("name: {name}\nID: {id}\nformat:\n{common}{own}\nprint fmt: \"\"\n");
        EventFormat::parse(system, text.as_bytes(), ABI).unwrap()
    };
    vec![
        one(
            "sched",
            "sched_switch",
            1,
            &[("pid_t prev_pid", 8, 4), ("long prev_state", 16, 8), ("pid_t next_pid", 24, 4)],
        ),
        one("sched", "sched_waking", 2, &[("pid_t pid", 8, 4)]),
        one("raw_syscalls", "sys_enter", 3, &[("long id", 8, 8), ("unsigned long args[6]", 16, 48)]),
        one("raw_syscalls", "sys_exit", 4, &[("long id", 8, 8), ("long ret", 16, 8)]),
        one("ftrace", "print", 5, &[("unsigned long ip", 8, 8), ("char buf[]", 16, 0)]),
        one("sched", "sched_process_exit", 6, &[("pid_t pid", 8, 4)]),
        one("task", "task_newtask", 7, &[("pid_t pid", 8, 4), ("unsigned long clone_flags", 16, 8)]),
        one("irq_vectors", "local_timer_entry", 8, &[("int vector", 8, 4)]),
        one("irq_vectors", "local_timer_exit", 9, &[("int vector", 8, 4)]),
        one("ftrace", "kernel_stack", 10, &[("int size", 8, 4), ("unsigned long caller[]", 16, 0)]),
        one("exceptions", "page_fault_kernel", 13, &[("unsigned long address", 8, 8)]),
        one("app", "begin", 11, &[("int id", 8, 4), ("int thr", 12, 4)]),
        one("app", "end", 12, &[("int id", 8, 4)]),
    ]
}

#[derive(Default)]
struct All(Vec<(Window, Steps)>);

impl WindowSink for All {
    fn closed(&mut self, window: Window, steps: &dyn Fn() -> Steps) {
        self.0.push((window, steps()));
    }
}

struct Feed {
    engine: Engine,
    found: All,
}

impl Feed {
    fn new(definitions: Vec<WindowDefinition>, command: Option<i32>) -> Feed {
        let session = WindowConfig { definitions, threshold_ns: 500 * MS, command, ..WindowConfig::default() };
        let formats = formats();
        Feed { engine: Engine::new(&session, formats.iter(), ABI, 1 << 20).unwrap(), found: All::default() }
    }

    fn record(&mut self, cpu: u32, ms: u64, id: u16, pid: i32, words: &[u64]) {
        let mut data = id.to_le_bytes().to_vec();
        data.extend([0, 0]);
        data.extend(pid.to_le_bytes());
        words.iter().for_each(|word| data.extend(word.to_le_bytes()));
        self.bytes(cpu, ms, id, pid, &data);
    }

    fn bytes(&mut self, cpu: u32, ms: u64, id: u16, pid: i32, data: &[u8]) {
        let record = Record { ticks: ms * MS, cpu, data };
        self.engine.take(RecordOrigin { stream: cpu, id, pid }, &record, &mut self.found);
    }

    fn marker(&mut self, ms: u64, pid: i32, text: &str) {
        let mut data = [5, 0, 0, 0].to_vec();
        data.extend(pid.to_le_bytes());
        data.extend([0; 8]);
        data.extend(text.as_bytes());
        data.push(0);
        self.bytes(0, ms, 5, pid, &data);
    }

    fn switch(&mut self, cpu: u32, ms: u64, prev: i32, state: u64, next: i32) {
        self.record(cpu, ms, 1, prev, &[prev as u64, state, next as u64]);
    }

    fn enter(&mut self, ms: u64, pid: i32, nr: u64, args: [u64; 2]) {
        self.record(0, ms, 3, pid, &[nr, args[0], args[1], 0, 0, 0, 0]);
    }

    fn exit(&mut self, ms: u64, pid: i32, nr: u64) {
        self.record(0, ms, 4, pid, &[nr, 0]);
    }

    fn found_windows(&self) -> Vec<(i32, u64, u64, u64)> {
        self.found.0.iter().map(|(w, _)| (w.tid, w.start / MS, w.end / MS, w.threshold / MS)).collect()
    }
}

fn plain(source: WindowSource) -> WindowDefinition {
    WindowDefinition { name: "x".into(), source, process: None, threshold: Threshold::Session }
}

#[test]
fn the_rules_of_markers() {
    let mut feed = Feed::new(vec![plain(WindowSource::Marker)], None);
    feed.marker(1, 7, "stop\n");
    feed.marker(2, 7, "start 20\n");
    feed.marker(3, 7, "start\n");
    feed.marker(4, 8, "start 9 30");
    feed.marker(5, 7, "start 1 inner");
    feed.marker(6, 7, "stop inner");
    feed.marker(9, 7, "stop");
    feed.marker(10, 9, "stop");
    feed.marker(11, 7, "start");
    feed.record(0, 12, 6, 7, &[7]);
    feed.marker(13, 7, "stop");
    feed.marker(14, 8, "start");
    assert_eq!(feed.found_windows(), [(7, 5, 6, 1), (7, 3, 9, 500), (9, 4, 10, 30)]);
    assert_eq!(feed.found.0[0].0.label.as_deref(), Some("inner"));
    let wanted = Counts { stray_stops: 2, restarts: 1, discarded: 1, starts: 6 };
    assert_eq!(feed.engine.counts(), wanted);
    let open = feed.engine.still_open();
    assert_eq!((open.len(), open[0].0.tid, open[0].0.start), (1, 8, 14 * MS));
    // A restart begins with its own start: start, inner start and stop, stop.
    assert_eq!(feed.found.0[1].1.steps.len(), 4);
}

#[test]
fn time_is_split_and_stacks_belong_to_the_step_before() {
    let mut feed = Feed::new(vec![plain(WindowSource::Syscall { nr: 230 })], None);
    feed.enter(100, 7, 230, [0; 2]);
    feed.record(0, 101, 8, 7, &[236]);
    feed.record(0, 103, 9, 7, &[236]);
    feed.switch(0, 110, 7, 1, 0);
    feed.record(0, 110, 10, 7, &[2, 0xaaaa, 0xbbbb]);
    // Its stack is copied after the switch was recorded.
    feed.record(0, 111, 13, 7, &[0x1000]);
    feed.record(1, 160, 2, 5, &[7]);
    feed.record(1, 160, 10, 5, &[1, 0xcccc]);
    feed.switch(0, 163, 0, 0, 7);
    feed.exit(170, 7, 230);
    let (window, steps) = &feed.found.0[0];
    let split = TimeSplit { on_cpu: 17 * MS, blocked: 50 * MS, runnable: 3 * MS, interrupts: 2 * MS };
    assert_eq!((window.duration(), window.split, window.lost), (70 * MS, split, 0));
    let ids: Vec<u8> = steps.iter().map(|(_, _, data)| data[0]).collect();
    assert_eq!(ids, [3, 8, 9, 1, 10, 2, 10, 1, 4]);
}

#[test]
fn a_missing_switch_in_does_no_harm() {
    let mut feed = Feed::new(vec![plain(WindowSource::Syscall { nr: 0 })], None);
    // Woken on an idle CPU whose leaving idle is not recorded: it runs from the waking on.
    feed.enter(0, 7, 0, [0; 2]);
    feed.switch(0, 10, 7, 2, 0);
    feed.record(1, 30, 2, 5, &[7]);
    feed.enter(50, 7, 1, [0; 2]);
    // Preempted, then taken over by a CPU that went idle later.
    feed.switch(0, 60, 7, 0, 9);
    feed.switch(1, 65, 8, 1, 0);
    feed.record(1, 80, 4, 7, &[1, 0]);
    // Preempted, and nobody knows of an idle CPU: it waited until it did something.
    feed.switch(1, 90, 7, 0, 9);
    feed.exit(99, 7, 0);
    let split = feed.found.0[0].0.split;
    assert_eq!(split, TimeSplit { on_cpu: 65 * MS, blocked: 20 * MS, runnable: 14 * MS, interrupts: 0 });
    // Woken, but another one was seen on that CPU since.
    let mut feed = Feed::new(vec![plain(WindowSource::Syscall { nr: 0 })], None);
    feed.enter(0, 7, 0, [0; 2]);
    feed.switch(0, 10, 7, 1, 9);
    feed.record(0, 20, 2, 9, &[7]);
    feed.enter(40, 9, 1, [0; 2]);
    feed.exit(50, 7, 0);
    let split = TimeSplit { on_cpu: 20 * MS, blocked: 10 * MS, runnable: 20 * MS, interrupts: 0 };
    assert_eq!(feed.found.0[0].0.split, split);
    // Samples know better.
    let mut feed = Feed::new(vec![plain(WindowSource::Syscall { nr: 0 })], None);
    feed.engine.seen_running.insert(7, vec![5 * MS, 25 * MS, 60 * MS]);
    feed.enter(0, 7, 0, [0; 2]);
    feed.switch(0, 10, 7, 1, 9);
    feed.exit(50, 7, 0);
    assert_eq!(feed.found.0[0].0.split, TimeSplit { on_cpu: 35 * MS, blocked: 15 * MS, ..TimeSplit::default() });
}

#[test]
fn marker_calls_tell_their_threshold_first_or_second() {
    let mut feed = Feed::new(vec![plain(WindowSource::Magic)], None);
    for (at, args) in [(0, [0x7ffd_0000_0000, 20]), (100, [30, 0]), (200, [0x7ffd_0000_0000, 0])] {
        feed.enter(at, 7, MARKER_SYSCALL_START, args);
        feed.exit(at, 7, MARKER_SYSCALL_START);
        feed.enter(at + 50, 7, MARKER_SYSCALL_STOP, [0; 2]);
        feed.exit(at + 50, 7, MARKER_SYSCALL_STOP);
    }
    // Refused by a filter of the program: only the exits are recorded.
    feed.exit(300, 7, MARKER_SYSCALL_START);
    feed.exit(340, 7, MARKER_SYSCALL_STOP);
    let durations: Vec<(u64, u64)> = feed.found.0.iter().map(|(w, _)| (w.duration() / MS, w.threshold / MS)).collect();
    assert_eq!(durations, [(50, 20), (50, 30), (50, 0), (40, 500)]);
}

#[test]
fn windows_of_a_process_are_those_of_its_threads() {
    let definition = WindowDefinition { process: Some(0), ..plain(WindowSource::Syscall { nr: 5 }) };
    let mut feed = Feed::new(vec![definition], Some(100));
    feed.engine.tgids.insert(100, 100);
    feed.record(0, 0, 7, 100, &[101, CLONE_THREAD]);
    feed.record(0, 0, 7, 101, &[102, CLONE_THREAD]);
    feed.record(0, 0, 7, 102, &[103, 0]);
    for pid in [100, 101, 102, 103, 200] {
        feed.enter(1, pid, 5, [0; 2]);
        feed.exit(2, pid, 5);
    }
    assert_eq!(feed.found_windows().iter().map(|found_windows| found_windows.0).collect::<Vec<_>>(), [100, 101, 102]);
    assert_eq!(feed.engine.tgid(103), Some(103));
}

#[test]
fn points_have_filters_and_thresholds_of_their_own() {
    let point = |event: &str, filter: Option<&str>| super::super::Point {
        system: "app".into(),
        event: event.into(),
        filter: filter.map(str::to_owned),
    };
    let source = WindowSource::Points { start: vec![point("begin", Some("id < 3"))], stop: vec![point("end", None)] };
    let threshold = Threshold::Field { name: "thr".into(), unit_ns: MS };
    let mut feed = Feed::new(vec![WindowDefinition { threshold, ..plain(source) }], None);
    for id in 1..=3_u64 {
        feed.record(0, id * 100, 11, 7, &[id | (id * 11) << 32]);
        feed.record(0, id * 100 + 12, 12, 7, &[id]);
    }
    assert_eq!(feed.found_windows(), [(7, 100, 112, 11), (7, 200, 212, 22)]);
    assert_eq!(feed.found.0.iter().map(|(w, _)| w.is_slow()).collect::<Vec<_>>(), [true, false]);
    assert_eq!(feed.engine.counts().stray_stops, 1);
    let bad = WindowSource::Points { start: vec![point("begin", Some("id <"))], stop: vec![] };
    let session = WindowConfig { definitions: vec![plain(bad)], ..WindowConfig::default() };
    assert!(Engine::new(&session, formats().iter(), ABI, 1).is_err());
}

#[test]
fn losses_are_inside_of_windows_that_were_open() {
    let mut feed = Feed::new(vec![plain(WindowSource::Marker)], None);
    feed.marker(1, 7, "start");
    assert_eq!(feed.engine.lost(0, 5, 4 * MS), MS);
    feed.marker(4, 8, "start");
    feed.marker(5, 7, "stop");
    feed.marker(6, 8, "stop");
    assert_eq!(feed.found.0.iter().map(|(w, _)| w.lost).collect::<Vec<_>>(), [5, 0]);
}

#[test]
fn a_start_is_kept_though_the_steps_behind_it_are_dropped() {
    let session = WindowConfig { definitions: vec![plain(WindowSource::Syscall { nr: 5 })], ..WindowConfig::default() };
    let engine = Engine::new(&session, formats().iter(), ABI, 2000).unwrap();
    let mut feed = Feed { engine, found: All::default() };
    feed.enter(1, 7, 5, [0; 2]);
    (2..200).for_each(|ms| feed.exit(ms, 7, 6));
    feed.exit(200, 7, 5);
    let (window, steps) = &feed.found.0[0];
    let times: Vec<u64> = steps.iter().map(|(time, ..)| time / MS).collect();
    assert_eq!((times[0], *times.last().unwrap()), (1, 200));
    assert!(window.dropped > 100 && window.dropped as usize + times.len() == 201, "{}", window.dropped);
}
