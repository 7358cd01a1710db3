//! The time line of a window: one line a step, stacks with the step they belong to.

use super::page::{ShownWindow, WindowsReport};
use super::settings::WindowOrder;
use crate::decode::Scene;
use crate::decode::meaning::{Edge, Meaning, frames, is_runnable};
use crate::report::reading::lane::Lane;
use crate::windows::engine::Window;
use crate::windows::samples::{Sample, Samples};
use crate::wire::record::Record;

/// Letters of states a thread leaves its CPU in, by bit.
const STATES: [char; 8] = ['S', 'D', 'T', 't', 'X', 'Z', 'P', 'I'];

/// Functions of the tracer itself, which stand on top of stacks that it takes.
const TRACER: [&str; 8] = [
    "trace_event_raw_event_",
    "__traceiter_",
    "trace_event_buffer_",
    "event_triggers_",
    "__bpf_trace_",
    "__ftrace_trace_stack",
    "__trace_stack",
    "stacktrace_trigger",
];

/// A step, ready to be shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// Since the window began.
    pub(super) offset: u64,
    /// Since the step before.
    pub(super) since: u64,
    pub(super) step: String,
    pub(super) detail: String,
    /// Function names; innermost first for the kernel's, outermost first for samples.
    pub(super) stack: Vec<String>,
    pub(super) cpu: u32,
    /// Samples that are shown as one.
    pub(super) count: u64,
    /// The detail is the next or previous thread, which a stack says better.
    brief: bool,
}

/// Samples of a thread within a window.
pub(super) fn samples_of<'s>(samples: &'s Samples, window: &Window) -> impl Iterator<Item = &'s Sample> {
    let from = samples.samples.partition_point(|sample| sample.time < window.start);
    let inside = samples.samples[from..].iter().take_while(|sample| sample.time <= window.end);
    inside.filter(|sample| sample.tid == window.tid)
}

/// The names of a sample's stack, the outermost first.
pub(super) fn names(samples: &Samples, stack: u32) -> impl Iterator<Item = &str> {
    let stack = samples.stacks.get(stack as usize).map_or(&[][..], Vec::as_slice);
    stack.iter().filter_map(|name| samples.names.get(*name as usize)).map(String::as_str)
}

/// A switch is reported by perf so much after the tracepoint reports it, at most.
const LATER_NS: u64 = 1_000_000;

/// Gives steps out of a CPU the stack that perf took there, which goes on into the program.
fn where_it_left(lines: &mut [Line], samples: &Samples, window: &Window) {
    let mut outs: Vec<&mut Line> = lines.iter_mut().filter(|line| line.step.starts_with("out ")).collect();
    let ends: Vec<u64> = outs.iter().skip(1).map(|line| line.offset).chain([u64::MAX]).collect();
    for (line, next) in outs.iter_mut().zip(ends) {
        let time = window.start.saturating_add(line.offset);
        let end = window.start.saturating_add(next).min(time.saturating_add(LATER_NS));
        let from = samples.outs.partition_point(|out| out.time < time);
        let near = samples.outs[from..].iter().take_while(|out| out.time < end);
        if let Some(out) = near.into_iter().find(|out| out.tid == window.tid) {
            let mut stack: Vec<String> = names(samples, out.stack).map(str::to_owned).collect();
            stack.reverse();
            line.stack = stack;
        }
    }
}

/// The steps of a window; for people, what changed nothing becomes few of them.
pub(super) fn lines(page: &WindowsReport<'_>, shown: &ShownWindow, brief: bool) -> Vec<Line> {
    let window = &shown.window;
    let mut drawing = TimeLine { page, window, lines: Vec::new(), called: None, last: window.start };
    let mut samples = page.samples.into_iter().flat_map(|samples| samples_of(samples, window)).peekable();
    let count = shown.steps.steps.len();
    for (index, (time, stream, data)) in shown.steps.iter().enumerate() {
        while let Some(sample) = samples.next_if(|sample| sample.time < time) {
            drawing.sample(sample);
        }
        let place = match index {
            0 => StepKind::Start,
            last if last + 1 == count && !shown.open => StepKind::Stop,
            _ => StepKind::Between,
        };
        drawing.record(time, stream, data, place);
    }
    samples.for_each(|sample| drawing.sample(sample));
    let mut lines = drawing.lines;
    if let Some(samples) = page.samples {
        where_it_left(&mut lines, samples, window);
    }
    if brief {
        lines = compact(lines);
    }
    if page.settings.sort == WindowOrder::Gap {
        lines.sort_by_key(|line| std::cmp::Reverse(line.since));
    }
    lines
}

/// Function of the timer that takes samples.
const SAMPLING_TIMER: &str = "perf_swevent_hrtimer";

/// Makes one line of each interrupt in which nothing else happened, and of equal samples after each other. The interrupts
/// that took the samples go.
pub(super) fn compact(lines: Vec<Line>) -> Vec<Line> {
    let mut out: Vec<Line> = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = &lines[at];
        let Some(count) = interrupt(&lines[at..]) else {
            add(&mut out, line.clone());
            at += 1;
            continue;
        };
        let inside = &lines[at..at + count];
        let timers: Vec<&str> =
            inside.iter().filter(|line| line.step == "timer in").map(|line| function(&line.detail)).collect();
        let took = inside[count - 1].offset - line.offset;
        inside.iter().filter(|line| line.step == "sample").for_each(|line| add(&mut out, line.clone()));
        let is_sampling = !timers.is_empty() && timers.iter().all(|name| name.starts_with(SAMPLING_TIMER));
        if !is_sampling {
            let names = if timers.is_empty() { String::new() } else { format!(" ({})", timers.join(", ")) };
            let step = line.step.trim_end_matches(" in").to_owned();
            out.push(Line { step, detail: format!("{}{names}   {} ms", line.detail, ms(took)), ..line.clone() });
        }
        at += count;
    }
    let mut before = 0;
    for line in &mut out {
        line.since = line.offset.saturating_sub(before);
        before = line.offset;
    }
    out
}

/// Adds a line, or one more to the sample before it.
fn add(out: &mut Vec<Line>, line: Line) {
    match out.last_mut().filter(|last| line.step == "sample" && last.step == "sample" && last.stack == line.stack) {
        Some(last) => last.count += line.count,
        None => out.push(line),
    }
}

/// How many lines make up an interrupt that begins here, if nothing but timers and samples are in it.
fn interrupt(lines: &[Line]) -> Option<usize> {
    let sort = lines.first()?.step.strip_suffix(" in").filter(|sort| matches!(*sort, "irq" | "softirq"))?;
    for (at, line) in lines.iter().enumerate().skip(1) {
        match line.step.strip_suffix(" out") {
            Some(end) if end == sort => return Some(at + 1),
            _ if matches!(line.step.as_str(), "timer in" | "timer out" | "sample") => {}
            _ if line.step == "fault" && line.detail.contains("copy_from_user_nmi") => {}
            _ => return None,
        }
    }
    None
}

/// The function in the text of a timer's event.
fn function(text: &str) -> &str {
    let name = text.split_once("function=").map_or(text, |(_, rest)| rest);
    name.split([' ', '/']).next().unwrap_or(name)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StepKind {
    Start,
    Between,
    Stop,
}

/// Whether a step is called by the name of its event and no word of ours.
fn is_named(meaning: &Meaning) -> bool {
    use Meaning::{Call, Exec, FunctionEntry, FunctionExit, Other};
    matches!(meaning, Call { .. } | Exec { .. } | FunctionEntry { .. } | FunctionExit { .. } | Other)
}

/// A record of a window.
struct SeenRecord<'s> {
    time: u64,
    cpu: u32,
    id: u16,
    lane: &'s Lane,
    data: &'s [u8],
}

impl SeenRecord<'_> {
    /// The event's text.
    fn text(&self) -> String {
        let mut out = Vec::new();
        let record = Record { ticks: self.time, cpu: self.cpu, data: self.data };
        let (trace, names) = (&*self.lane.trace, &*self.lane.names);
        let scene = Scene { trace, names, seq: u64::MAX, exit: None, aux: 0 };
        self.lane.decoders.get(self.id).iter().for_each(|decoder| decoder.text(&record, &scene, &mut out));
        String::from_utf8_lossy(out.trim_ascii()).into_owned()
    }

    /// The event's name.
    fn event(&self) -> String {
        self.lane.trace.formats.get(self.id).map_or("?", |format| format.name.as_str()).to_owned()
    }
}

struct TimeLine<'d, 'p> {
    page: &'d WindowsReport<'p>,
    window: &'d Window,
    lines: Vec<Line>,
    /// The system call under way, and when it began.
    called: Option<(u64, u64)>,
    last: u64,
}

impl TimeLine<'_, '_> {
    fn push(&mut self, time: u64, cpu: u32, step: String, detail: String) -> &mut Line {
        let line = Line {
            offset: time.saturating_sub(self.window.start),
            since: time.saturating_sub(self.last),
            step,
            detail,
            cpu,
            count: 1,
            ..Line::default()
        };
        self.last = time.max(self.last);
        self.lines.push(line);
        self.lines.last_mut().expect("just pushed")
    }

    fn sample(&mut self, sample: &Sample) {
        let Some(samples) = self.page.samples else { return };
        let stack: Vec<String> = names(samples, sample.stack).map(str::to_owned).collect();
        if let Some(line) = self.lines.last_mut().filter(|line| line.step == "sample" && line.stack == stack) {
            line.count += 1;
            self.last = sample.time.max(self.last);
            return;
        }
        self.push(sample.time, sample.cpu, "sample".to_owned(), String::new()).stack = stack;
    }

    fn record(&mut self, time: u64, stream: u32, data: &[u8], place: StepKind) {
        let Some((cpu, lane)) = self.page.origin(stream) else { return };
        let seen = SeenRecord { time, cpu, id: lane.common.id(data), lane, data };
        let page = self.page;
        let Some(meaning) = page.engine.meaning(seen.id) else { return };
        if let Meaning::Stack { kernel, callers, size } = meaning {
            let addresses = frames(callers, size.as_ref(), data, lane.trace.abi);
            let name = |address: &u64| match lane.trace.kallsyms.lookup(*address) {
                Some(symbol) if *kernel => String::from_utf8_lossy(symbol.name).into_owned(),
                _ => format!("{address:#x}"),
            };
            let names: Vec<String> = addresses.iter().map(name).collect();
            return self.stack(time, cpu, without_tracer_frames(names, *kernel));
        }
        let (mut step, mut detail, mut brief) = self.step(meaning, &seen);
        let pid = lane.common.pid(data);
        if pid != self.window.tid && !matches!(meaning, Meaning::Switch { .. } | Meaning::Wake { .. }) {
            detail.push_str(&format!("  (by {})", self.task(pid, time)));
        }
        if place != StepKind::Between {
            let word = if place == StepKind::Start { "start" } else { "stop" };
            if !matches!(meaning, Meaning::Print { .. }) {
                detail = if is_named(meaning) { format!("{step}: {detail}") } else { detail };
            }
            (step, brief) = (word.to_owned(), false);
        }
        self.push(time, cpu, step, detail).brief = brief;
    }

    /// What a record is called, what it says, and whether its stack says that better.
    fn step(&mut self, meaning: &Meaning, seen: &SeenRecord<'_>) -> (String, String, bool) {
        let SeenRecord { time, cpu, lane, data, .. } = *seen;
        let (tid, abi) = (self.window.tid, lane.trace.abi);
        let called = self.called;
        match meaning {
            Meaning::Switch { prev, state, next, .. } => {
                let int = |field: &crate::wire::format::Field| field.int(data, abi).unwrap_or(0);
                if int(prev) as u32 as i32 == tid {
                    let next = int(next) as u32 as i32;
                    // Who took the CPU is what a thread that could go on waits for.
                    let letters = letter(int(state));
                    let brief = !is_runnable(int(state));
                    (format!("out {letters}"), format!("to {}", self.task(next, time)), brief)
                } else {
                    ("in".to_owned(), format!("on CPU {cpu}"), true)
                }
            }
            Meaning::Wake { pid, .. } => {
                let woken = pid.int(data, abi).unwrap_or(0) as u32 as i32;
                if woken == tid {
                    let waker = lane.common.pid(data);
                    ("woken".to_owned(), format!("by {} on CPU {cpu}", self.task(waker, time)), false)
                } else {
                    ("wakes".to_owned(), self.task(woken, time), false)
                }
            }
            Meaning::SyscallEnter { id, args } => {
                let nr = id.int(data, abi).unwrap_or(0);
                self.called = Some((nr, time));
                let args = args.as_ref().map_or_else(String::new, |args| arguments(args, data, abi));
                ("enter".to_owned(), format!("{}({args})", self.call(nr)), false)
            }
            Meaning::SyscallExit { id, ret } => {
                let nr = id.int(data, abi).unwrap_or(0);
                let ret = ret.as_ref().and_then(|ret| ret.int(data, abi)).unwrap_or(0) as i64;
                self.called = None;
                let took = called.filter(|(begun, _)| *begun == nr).map(|(_, begun)| time.saturating_sub(begun));
                let took = took.map_or_else(String::new, |took| format!("   {} ms", ms(took)));
                ("exit".to_owned(), format!("{} = {}{took}", self.call(nr), result(ret)), false)
            }
            Meaning::Interrupt(edge) => {
                let name = seen.event();
                let sort = if name.starts_with("softirq") { "softirq" } else { "irq" };
                let what = match name.trim_end_matches("_entry").trim_end_matches("_exit") {
                    "irq_handler" | "softirq" => seen.text(),
                    vector => vector.to_owned(),
                };
                (format!("{sort} {}", if *edge == Edge::Entry { "in" } else { "out" }), what, false)
            }
            Meaning::Timer(edge) => {
                (format!("timer {}", if *edge == Edge::Entry { "in" } else { "out" }), seen.text(), false)
            }
            Meaning::Fault { .. } => ("fault".to_owned(), seen.text(), false),
            Meaning::Print { text } => {
                ("marker".to_owned(), String::from_utf8_lossy(text.text(data, abi).trim_ascii()).into_owned(), false)
            }
            _ => (seen.event(), seen.text(), false),
        }
    }

    /// Gives a stack to the step before it.
    fn stack(&mut self, time: u64, cpu: u32, stack: Vec<String>) {
        match self.lines.last_mut().filter(|line| line.stack.is_empty() && line.step != "sample") {
            Some(line) => line.stack = stack,
            None => self.push(time, cpu, "stack".to_owned(), String::new()).stack = stack,
        }
    }

    fn task(&self, tid: i32, time: u64) -> String {
        if tid == 0 { "<idle>".to_owned() } else { format!("{}-{tid}", self.page.comm(tid, time)) }
    }

    fn call(&self, nr: u64) -> String {
        match nr {
            crate::windows::MARKER_SYSCALL_START => return "window start".to_owned(),
            crate::windows::MARKER_SYSCALL_STOP => return "window stop".to_owned(),
            _ => {}
        }
        let name = self.page.machine.and_then(|machine| machine.name(nr));
        name.map_or_else(|| format!("syscall {nr}"), str::to_owned)
    }
}

impl Line {
    /// What stands after the step.
    pub(super) fn text(&self, reversed: bool) -> String {
        let mut text = if self.brief && !self.stack.is_empty() { String::new() } else { self.detail.clone() };
        if self.count > 1 {
            text.push_str(&format!("x{}", self.count));
        }
        if !self.stack.is_empty() {
            if !text.is_empty() {
                text.push_str("  ");
            }
            let names: Vec<&str> = match reversed {
                true => self.stack.iter().rev().map(String::as_str).collect(),
                false => self.stack.iter().map(String::as_str).collect(),
            };
            text.push_str(&names.join(";"));
        }
        text
    }
}

/// Leaves the tracer's own functions out.
fn without_tracer_frames(names: Vec<String>, kernel: bool) -> Vec<String> {
    let is_tracer_frame = |name: &String| kernel && TRACER.iter().any(|prefix| name.starts_with(prefix));
    names.into_iter().skip_while(is_tracer_frame).collect()
}

fn letter(state: u64) -> String {
    if is_runnable(state) {
        return if state & 0x100 != 0 { "R+" } else { "R" }.to_owned();
    }
    (0..8).filter(|bit| state & (1 << bit) != 0).map(|bit| STATES[bit]).collect()
}

/// Numbers of errors have names; other results are numbers.
fn result(ret: i64) -> String {
    match ret {
        -4095..=-1 => {
            let errno = nix::errno::Errno::from_raw(-ret as i32);
            if errno == nix::errno::Errno::UnknownErrno { ret.to_string() } else { format!("{ret} {errno:?}") }
        }
        0..=65535 => ret.to_string(),
        _ => format!("{ret:#x}"),
    }
}

/// The arguments, in hex unless small.
fn arguments(args: &crate::wire::format::Field, data: &[u8], abi: crate::wire::abi::Abi) -> String {
    let bytes = usize::from(abi.long_bytes.max(1));
    let all = args.bytes(data, abi).chunks_exact(bytes).filter_map(|word| abi.ulong(word));
    let text = |word: u64| if word < 10 { word.to_string() } else { format!("{word:#x}") };
    all.map(text).collect::<Vec<_>>().join(", ")
}

/// Milliseconds with three decimals.
pub(super) fn ms(ns: u64) -> String {
    let us = ns.saturating_add(500) / 1000;
    format!("{}.{:03}", us / 1000, us % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(offset: u64, step: &str, detail: &str) -> Line {
        Line { offset, step: step.into(), detail: detail.into(), count: 1, ..Line::default() }
    }

    #[test]
    fn interrupts_without_effect_are_one_line_and_those_of_samples_none() {
        let sample = |offset| Line { stack: vec!["main".into()], ..line(offset, "sample", "") };
        let all = vec![
            line(0, "start", ""),
            line(1_000, "irq in", "local_timer"),
            line(2_000, "timer in", "hrtimer=0x1 function=perf_swevent_hrtimer/0x0"),
            sample(2_500),
            line(3_000, "timer out", "hrtimer=0x1"),
            line(4_000, "irq out", "local_timer"),
            line(5_000, "irq in", "local_timer"),
            line(6_000, "timer in", "hrtimer=0x1 function=perf_swevent_hrtimer/0x0"),
            sample(6_500),
            line(7_000, "irq out", "local_timer"),
            line(8_000, "irq in", "irq=5"),
            line(12_000, "irq out", "irq=5"),
            line(13_000, "softirq in", "vec=1"),
            line(14_000, "wakes", "x"),
            line(15_000, "softirq out", "vec=1"),
        ];
        let shown: Vec<(u64, String, String, u64)> =
            compact(all).into_iter().map(|line| (line.since, line.step, line.detail, line.count)).collect();
        let shown: Vec<(u64, &str, &str, u64)> =
            shown.iter().map(|(a, b, c, d)| (*a, b.as_str(), c.as_str(), *d)).collect();
        let wanted = [
            (0, "start", "", 1),
            (2_500, "sample", "", 2),
            (5_500, "irq", "irq=5   0.004 ms", 1),
            (5_000, "softirq in", "vec=1", 1),
            (1_000, "wakes", "x", 1),
            (1_000, "softirq out", "vec=1", 1),
        ];
        assert_eq!(shown, wanted);
    }

    #[test]
    fn states_and_results_have_names() {
        assert_eq!([0, 0x100, 1, 2, 0x82].map(letter), ["R", "R+", "S", "D", "DI"].map(str::to_owned));
        assert_eq!(
            [0, -2, -4096, 70_000].map(result),
            ["0", "-2 ENOENT", "0xfffffffffffff000", "0x11170"].map(str::to_owned)
        );
        let stack = ["trace_event_raw_event_sched_switch", "__traceiter_sched_switch", "__schedule", "schedule"];
        assert_eq!(without_tracer_frames(stack.map(str::to_owned).to_vec(), true), ["__schedule", "schedule"]);
    }
}
