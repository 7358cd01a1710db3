//! The function graph as the kernel's own `trace` file shows it (`-O fgraph:kernel`).
//!
//! ```text
//!  0)               |  do_sys_openat2() {
//!  0)   1.993 us    |    getname();
//!  ------------------------------------------
//!  0)     cat-208    =>  kworker-47
//!  ------------------------------------------
//!
//!  0)               |      /* sched_switch: prev_comm=cat ... */
//! ```
//! Owns: its columns, the banner where a CPU changes tasks, other events as remarks. Does not own: what stands in a function's
//! line behind the bar (see [`plugins`](crate::plugins)), which exit belongs to which entry (see `merge`).
//!
//! What a line says depends on those before it of the same CPU, so one thread writes them all.

use std::io::{self, Write};

use super::Lane;
use super::line::slice;
use super::merge::{Batch, Item, Mark, NO_EXIT};
use crate::plugins::{Compat, Decoder, Scene, mark};
use crate::wire::abi::Abi;
use crate::wire::format::EventFormat;
use crate::wire::record::Record;
use crate::wire::subbuf::Lost;
use crate::wire::text;

const RULE: &[u8] = b" ------------------------------------------\n";
/// Columns of a task in its column and in banners, and of its name there.
const TASK_WIDTH: usize = 14;
const NAME_WIDTH: usize = 7;
/// Columns before the bar.
const DURATION_WIDTH: usize = 14;
/// The kernel shows as many digits of a duration as fit here.
const NUMBER_WIDTH: usize = 8;

/// Which columns there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    time: bool,
    cpu: bool,
    task: bool,
    duration: bool,
    tail: bool,
}

/// What is known of a CPU.
#[derive(Clone, Debug)]
struct State {
    cpu: u32,
    lane: u32,
    pid: Option<i32>,
    /// Level of the function it is in; below 0: in none.
    level: i64,
    /// The function that was entered at each level.
    entered: Vec<u64>,
}

/// What a record is about.
enum Part {
    Entry,
    Exit,
    /// An event; whether it is told with its name.
    Remark(bool),
}

pub(super) struct KernelGraph<'a, 't> {
    lanes: &'a [Lane<'t>],
    states: Vec<State>,
    look: Look,
    cpu_width: usize,
    skip: u64,
    out: Vec<u8>,
}

/// Whether this is how the graph is to be shown. trace-cmd does not know it.
pub(super) fn is_wanted(lanes: &[Lane<'_>]) -> bool {
    let asked =
        |lane: &Lane<'_>| lane.decoders.style().compat == Compat::Rtrec && lane.decoders.is_on("fgraph", "kernel");
    lanes.first().is_some_and(asked)
}

/// The names of the columns.
pub(super) fn heading(lanes: &[Lane<'_>]) -> String {
    let Look { time, cpu, task, duration, .. } = Look::of(lanes);
    let part = |on: bool, text: &'static str| if on { text } else { "" };
    format!(
        "# tracer: function_graph\n#\n#{}{}{}{}               FUNCTION CALLS\n#{}{}{}{}               |   |   |   |\n",
        part(time, "     TIME       "),
        part(cpu, " CPU"),
        part(task, "  TASK/PID       "),
        part(duration, "  DURATION   "),
        part(time, "      |         "),
        part(cpu, " |  "),
        part(task, "   |    |        "),
        part(duration, "   |   |      "),
    )
}

impl<'a, 't> KernelGraph<'a, 't> {
    /// `skip`: records at the beginning that are not printed.
    pub(super) fn new(lanes: &'a [Lane<'t>], origins: &[(u32, u32)], skip: u64) -> KernelGraph<'a, 't> {
        let state = |&(cpu, lane): &(u32, u32)| State { cpu, lane, pid: None, level: -1, entered: Vec::new() };
        let highest = origins.iter().map(|(cpu, _)| *cpu).max().unwrap_or(0);
        let cpu_width = highest.max(1).to_string().len();
        let states = origins.iter().map(state).collect();
        KernelGraph { lanes, states, look: Look::of(lanes), cpu_width, skip, out: Vec::new() }
    }

    /// Prints the records of a batch.
    pub(super) fn take(&mut self, batch: &Batch, to: &mut dyn Write) -> io::Result<()> {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let mut marks = batch.marks.iter().peekable();
        for (index, item) in batch.items.iter().enumerate() {
            while let Some((_, mark)) = marks.next_if(|(at, _)| *at as usize <= index) {
                if self.skip == 0 {
                    self.lost(item, *mark, &mut out);
                }
            }
            let start = out.len();
            self.record(batch, index, item, &mut out);
            if self.skip > 0 {
                self.skip -= 1;
                out.truncate(start);
            }
        }
        let written = to.write_all(&out);
        self.out = out;
        written
    }

    fn lost(&self, item: &Item, mark: Mark, out: &mut Vec<u8>) {
        let Some(state) = self.states.get(item.stream as usize) else { return };
        let Mark::Lost(lost) = mark else { return };
        out.extend_from_slice(b"CPU:");
        text::dec(out, state.cpu.into());
        out.extend_from_slice(b" [LOST ");
        if let Lost::Count(count) = lost {
            text::dec(out, count);
            out.push(b' ');
        }
        out.extend_from_slice(b"EVENTS]\n");
    }

    fn record(&mut self, batch: &Batch, index: usize, item: &Item, out: &mut Vec<u8>) {
        let Some(state) = self.states.get_mut(item.stream as usize) else { return };
        let lane = &self.lanes[state.lane as usize];
        let data = slice(batch, item.chunk, item.start, item.len);
        let seq = batch.first + index as u64;
        let record = Record { ticks: item.time, cpu: state.cpu, data };
        let exit = batch.exits.get(item.exit as usize).filter(|_| item.exit != NO_EXIT);
        let exit = exit.map(|exit| Record {
            ticks: exit.ticks,
            cpu: state.cpu,
            data: slice(batch, exit.chunk, exit.start, exit.len),
        });
        let pid = lane.common.pid(data);
        let before = state.pid.replace(pid);
        if let Some(before) = before.filter(|before| *before != pid) {
            out.extend_from_slice(RULE);
            put_cpu(state.cpu, self.cpu_width, out);
            put_task(lane, before, seq, item.time, out);
            out.extend_from_slice(b" => ");
            put_task(lane, pid, seq, item.time, out);
            out.push(b'\n');
            out.extend_from_slice(RULE);
            out.push(b'\n');
        }
        out.extend_from_slice(&lane.prefix);
        if self.look.time {
            let us = item.time / 1000;
            text::dec_right(out, us / 1_000_000, 5);
            out.push(b'.');
            text::dec_zeros(out, us % 1_000_000, 6);
            out.extend_from_slice(b" |  ");
        }
        if self.look.cpu {
            put_cpu(state.cpu, self.cpu_width, out);
        }
        if self.look.task {
            put_task(lane, pid, seq, item.time, out);
            out.extend_from_slice(b" | ");
        }
        let id = lane.common.id(data);
        let decoder = lane.decoders.get(id);
        let abi = lane.trace.abi;
        let scene = Scene { trace: lane.trace, names: lane.names, seq, exit, aux: item.aux };
        match decoder.map_or(Part::Remark(false), |decoder| part(decoder)) {
            Part::Entry => {
                let format = decoder.map(Decoder::format);
                let (function, level) = place(format, data, abi);
                match &scene.exit {
                    Some(exit) => {
                        state.level = level - 1;
                        enter(&mut state.entered, level, 0);
                        let exit_format = lane.decoders.get(lane.common.id(exit.data)).map(Decoder::format);
                        self.look.put_duration(took(exit_format, exit.data, abi), out);
                    }
                    None => {
                        state.level = level;
                        enter(&mut state.entered, level, function);
                        self.look.put_duration(None, out);
                    }
                }
                put_call(decoder, &record, &scene, out);
            }
            Part::Exit => {
                let format = decoder.map(Decoder::format);
                let (function, level) = place(format, data, abi);
                state.level = level - 1;
                let matches = was_entered(&mut state.entered, level, function);
                self.look.put_duration(took(format, data, abi), out);
                put_call(decoder, &record, &scene, out);
                if !matches && !self.look.tail {
                    out.extend_from_slice(b" /* ");
                    if !lane.trace.kallsyms.put(function, false, out) {
                        text::hex0x(out, function);
                    }
                    out.extend_from_slice(b" */");
                }
            }
            Part::Remark(by_name) => {
                self.look.put_duration(None, out);
                if state.level > 0 {
                    text::blanks(out, 2 * (state.level + 1).min(100) as usize);
                }
                out.extend_from_slice(b"/* ");
                if let Some(decoder) = decoder {
                    if by_name {
                        out.extend_from_slice(decoder.format().name.as_bytes());
                        out.extend_from_slice(b": ");
                        decoder.generic_text(&record, &scene, out);
                    } else {
                        put_words(decoder, &record, &scene, out);
                    }
                }
                while out.last() == Some(&b'\n') {
                    out.pop();
                }
                out.extend_from_slice(b" */");
            }
        }
        out.push(b'\n');
    }
}

impl Look {
    fn of(lanes: &[Lane<'_>]) -> Look {
        let on = |name| lanes.first().is_some_and(|lane| lane.decoders.is_on("fgraph", name));
        Look { time: on("abstime"), cpu: on("cpu"), task: on("proc"), duration: on("duration"), tail: on("tailprint") }
    }

    /// The mark and the number, or nothing, up to the bar; the kernel has no room for more than so many digits.
    fn put_duration(self, nanos: Option<u64>, out: &mut Vec<u8>) {
        if !self.duration {
            return;
        }
        let start = out.len();
        if let Some(nanos) = nanos {
            out.extend_from_slice(&[mark(nanos), b' ']);
            let number = out.len();
            text::dec(out, nanos / 1000);
            if out.len() - number < NUMBER_WIDTH - 1 {
                out.push(b'.');
                text::dec_zeros(out, nanos % 1000, 3);
                out.truncate(number + NUMBER_WIDTH);
            }
            out.extend_from_slice(b" us");
        }
        let width = out.len() - start;
        text::blanks(out, DURATION_WIDTH.saturating_sub(width));
        out.extend_from_slice(b"|  ");
    }
}

fn part(decoder: &Decoder<'_>) -> Part {
    let format = decoder.format();
    match (format.system.as_str(), format.name.as_str()) {
        ("ftrace", "funcgraph_entry" | "fgraph_retaddr_entry") => Part::Entry,
        ("ftrace", "funcgraph_exit") => Part::Exit,
        // What programs and the kernel write into the trace is told without a name.
        ("ftrace", _) => Part::Remark(false),
        _ => Part::Remark(true),
    }
}

fn number(format: Option<&EventFormat>, name: &str, data: &[u8], abi: Abi) -> Option<u64> {
    format?.field(name)?.int(data, abi)
}

/// Function and level of an entry or exit.
fn place(format: Option<&EventFormat>, data: &[u8], abi: Abi) -> (u64, i64) {
    let level = number(format, "depth", data, abi).map_or(0, |level| i64::from(level as i32));
    (number(format, "func", data, abi).unwrap_or(0), level)
}

fn took(format: Option<&EventFormat>, data: &[u8], abi: Abi) -> Option<u64> {
    Some(number(format, "rettime", data, abi)?.wrapping_sub(number(format, "calltime", data, abi)?))
}

/// Levels that are kept in mind; the kernel's own stack of calls is shorter.
const MOST_LEVELS: i64 = 256;

fn enter(entered: &mut Vec<u64>, level: i64, function: u64) {
    let Some(at) = usize::try_from(level).ok().filter(|_| level < MOST_LEVELS) else { return };
    if entered.len() <= at {
        entered.resize(at + 1, 0);
    }
    entered[at] = function;
}

/// Whether that function was entered at that level last; whichever it was has ended.
fn was_entered(entered: &mut [u64], level: i64, function: u64) -> bool {
    let slot = usize::try_from(level).ok().and_then(|at| entered.get_mut(at));
    slot.is_some_and(|slot| std::mem::take(slot) == function)
}

/// What the function's line says behind the bar.
fn put_call(decoder: Option<&Decoder<'_>>, record: &Record<'_>, scene: &Scene<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    if let Some(decoder) = decoder {
        decoder.text(record, scene, out);
    }
    let bar = out[start..].windows(3).position(|text| text == b"|  ");
    if let Some(bar) = bar {
        out.drain(start..start + bar + 3);
    }
}

/// What was written into the trace, without whose words they are.
fn put_words(decoder: &Decoder<'_>, record: &Record<'_>, scene: &Scene<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    decoder.text(record, scene, out);
    if matches!(decoder.format().name.as_str(), "print" | "bprint" | "bputs")
        && let Some(speaker) = out[start..].windows(2).position(|text| text == b": ")
    {
        out.drain(start..start + speaker + 2);
    }
}

fn put_cpu(cpu: u32, width: usize, out: &mut Vec<u8>) {
    out.push(b' ');
    text::dec_right(out, cpu.into(), width);
    out.extend_from_slice(b") ");
}

/// Name and pid in the middle of their column.
fn put_task(lane: &Lane<'_>, pid: i32, seq: u64, time: u64, out: &mut Vec<u8>) {
    let comm = lane.comm(pid, seq, time);
    let mut task = Vec::with_capacity(TASK_WIDTH);
    text::padded(&mut task, &comm[..comm.len().min(NAME_WIDTH)], 0, b' ');
    task.push(b'-');
    text::signed(&mut task, pid.into());
    let blanks = TASK_WIDTH.saturating_sub(task.len());
    text::blanks(out, blanks / 2);
    out.extend_from_slice(&task);
    text::blanks(out, blanks - blanks / 2);
}
