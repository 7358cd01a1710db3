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
//! line after the bar (see [`plugins`](crate::plugins)), which exit belongs to which entry (see `merge`).
//!
//! What a line says depends on those before it of the same CPU, so one thread writes them all.

use std::io::{self, Write};

use crate::decode::{Compat, Decoder};
use crate::report::reading::batch::{Batch, Walk};
use crate::report::reading::lane::Lane;
use crate::report::reading::record::{Loss, Opened, Origin, Record};
use crate::wire::abi::Abi;
use crate::wire::format::EventFormat;
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
struct GraphColumns {
    time: bool,
    cpu: bool,
    task: bool,
    duration: bool,
    tail: bool,
}

/// What is known of a CPU.
#[derive(Clone, Debug)]
struct CpuState {
    cpu: u32,
    pid: Option<i32>,
    /// Level of the function it is in; below 0: in none.
    level: i64,
    /// The function that was entered at each level.
    entered: Vec<u64>,
}

/// What a record is about.
enum GraphRecord {
    Entry,
    Exit,
    /// An event; whether it is printed with its name.
    Remark(bool),
}

pub(super) struct KernelGraph<'r> {
    opened: Opened<'r>,
    /// By stream.
    states: Vec<CpuState>,
    look: GraphColumns,
    cpu_width: usize,
    out: Vec<u8>,
}

/// Whether this is how the graph is to be shown. trace-cmd does not know it.
pub(super) fn is_wanted(lanes: &[Lane]) -> bool {
    let asked = |lane: &Lane| lane.decoders.style().compat == Compat::Rtrec && lane.decoders.is_on("fgraph", "kernel");
    lanes.first().is_some_and(asked)
}

/// The names of the columns.
pub(super) fn heading(lanes: &[Lane]) -> String {
    let GraphColumns { time, cpu, task, duration, .. } = GraphColumns::of(lanes);
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

impl<'r> KernelGraph<'r> {
    pub(super) fn new(opened: Opened<'r>) -> KernelGraph<'r> {
        let state = |origin: &Origin| CpuState { cpu: origin.cpu, pid: None, level: -1, entered: Vec::new() };
        let states: Vec<CpuState> = opened.origins.iter().map(state).collect();
        let highest = states.iter().map(|state| state.cpu).max().unwrap_or(0);
        let cpu_width = highest.max(1).to_string().len();
        KernelGraph { opened, states, look: GraphColumns::of(opened.lanes), cpu_width, out: Vec::new() }
    }

    /// Prints the records of a batch.
    pub(super) fn take(&mut self, batch: &Batch, to: &mut dyn Write) -> io::Result<()> {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let opened = self.opened;
        batch.walk(opened, true, &mut Lines { graph: self, left: batch.skip, out: &mut out });
        let written = to.write_all(&out);
        self.out = out;
        written
    }

    fn record(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        let Some(state) = self.states.get_mut(record.stream as usize) else { return };
        let (lane, data, pid) = (record.lane, record.bytes.data, record.pid());
        let before = state.pid.replace(pid);
        if let Some(before) = before.filter(|before| *before != pid) {
            out.extend_from_slice(RULE);
            put_cpu(state.cpu, self.cpu_width, out);
            put_task(record, before, out);
            out.extend_from_slice(b" => ");
            put_task(record, pid, out);
            out.push(b'\n');
            out.extend_from_slice(RULE);
            out.push(b'\n');
        }
        out.extend_from_slice(&lane.prefix);
        if self.look.time {
            let us = record.time() / 1000;
            text::dec_right(out, us / 1_000_000, 5);
            out.push(b'.');
            text::dec_zeros(out, us % 1_000_000, 6);
            out.extend_from_slice(b" |  ");
        }
        if self.look.cpu {
            put_cpu(state.cpu, self.cpu_width, out);
        }
        if self.look.task {
            put_task(record, pid, out);
            out.extend_from_slice(b" | ");
        }
        let decoder = record.decoder();
        let part = decoder.map_or(GraphRecord::Remark(false), part);
        let format = decoder.map(Decoder::format);
        let abi = lane.trace.abi;
        match part {
            GraphRecord::Entry => {
                let (function, level) = place(format, data, abi);
                match &record.exit {
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
                put_call(record, out);
            }
            GraphRecord::Exit => {
                let (function, level) = place(format, data, abi);
                state.level = level - 1;
                let matches = was_entered(&mut state.entered, level, function);
                self.look.put_duration(took(format, data, abi), out);
                put_call(record, out);
                if !matches && !self.look.tail {
                    out.extend_from_slice(b" /* ");
                    if !lane.trace.kallsyms.put(function, false, out) {
                        text::hex0x(out, function);
                    }
                    out.extend_from_slice(b" */");
                }
            }
            GraphRecord::Remark(by_name) => {
                self.look.put_duration(None, out);
                if state.level > 0 {
                    text::blanks(out, 2 * (state.level + 1).min(100) as usize);
                }
                remark(record, by_name, out);
            }
        }
        out.push(b'\n');
    }
}

/// The lines of one batch.
struct Lines<'l, 'r> {
    graph: &'l mut KernelGraph<'r>,
    /// Records that are still left out.
    left: usize,
    out: &'l mut Vec<u8>,
}

impl Walk for Lines<'_, '_> {
    fn record(&mut self, record: &Record<'_>) {
        let start = self.out.len();
        self.graph.record(record, self.out);
        if self.left > 0 {
            self.left -= 1;
            self.out.truncate(start);
        }
    }

    fn lost(&mut self, loss: &Loss<'_>) {
        if self.left == 0 {
            lost(loss, self.out);
        }
    }
}

fn lost(loss: &Loss<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"CPU:");
    text::dec(out, loss.cpu.into());
    out.extend_from_slice(b" [LOST ");
    if let Lost::Count(count) = loss.lost {
        text::dec(out, count);
        out.push(b' ');
    }
    out.extend_from_slice(b"EVENTS]\n");
}

/// An event that is no function's.
fn remark(record: &Record<'_>, by_name: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"/* ");
    if let Some(decoder) = record.decoder() {
        if by_name {
            out.extend_from_slice(decoder.format().name.as_bytes());
            out.extend_from_slice(b": ");
            decoder.generic_text(&record.bytes, &record.scene(), out);
        } else {
            put_event_text(decoder, record, out);
        }
    }
    while out.last() == Some(&b'\n') {
        out.pop();
    }
    out.extend_from_slice(b" */");
}

impl GraphColumns {
    fn of(lanes: &[Lane]) -> GraphColumns {
        let on = |name| lanes.first().is_some_and(|lane| lane.decoders.is_on("fgraph", name));
        GraphColumns {
            time: on("abstime"),
            cpu: on("cpu"),
            task: on("proc"),
            duration: on("duration"),
            tail: on("tailprint"),
        }
    }

    /// The mark and the number, or nothing, up to the bar; the kernel has no room for more than so many digits.
    fn put_duration(self, nanos: Option<u64>, out: &mut Vec<u8>) {
        if !self.duration {
            return;
        }
        let start = out.len();
        if let Some(nanos) = nanos {
            out.extend_from_slice(&[text::duration_mark(nanos), b' ']);
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

fn part(decoder: &Decoder) -> GraphRecord {
    let format = decoder.format();
    match (format.system.as_str(), format.name.as_str()) {
        ("ftrace", "funcgraph_entry" | "fgraph_retaddr_entry") => GraphRecord::Entry,
        ("ftrace", "funcgraph_exit") => GraphRecord::Exit,
        // What programs and the kernel write into the trace is printed without a name.
        ("ftrace", _) => GraphRecord::Remark(false),
        _ => GraphRecord::Remark(true),
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
const MAX_LEVELS: i64 = 256;

fn enter(entered: &mut Vec<u64>, level: i64, function: u64) {
    if level >= MAX_LEVELS {
        return;
    }
    let Ok(at) = usize::try_from(level) else { return };
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

/// What the function's line says after the bar.
fn put_call(record: &Record<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    record.text(out);
    let bar = out[start..].windows(3).position(|text| text == b"|  ");
    if let Some(bar) = bar {
        out.drain(start..start + bar + 3);
    }
}

/// What was written into the trace, without whose words they are.
fn put_event_text(decoder: &Decoder, record: &Record<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    record.text(out);
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
fn put_task(record: &Record<'_>, pid: i32, out: &mut Vec<u8>) {
    let comm = record.lane.comm(pid, record.seq, record.time());
    let mut task = Vec::with_capacity(TASK_WIDTH);
    text::padded(&mut task, &comm[..comm.len().min(NAME_WIDTH)], 0, b' ');
    task.push(b'-');
    text::signed(&mut task, pid.into());
    let blanks = TASK_WIDTH.saturating_sub(task.len());
    text::blanks(out, blanks / 2);
    out.extend_from_slice(&task);
    text::blanks(out, blanks - blanks / 2);
}
