//! The scheduler: who runs after whom, who wakes whom.
//!
//! Also the source of names: while trace-cmd prints these events it notes the comm of each pid that has none yet.

use crate::wire::abi::Abi;
use crate::wire::format::EventFormat;
use crate::wire::record::Record;
use crate::wire::text;

use crate::decode::field::{Int, Text};
use crate::decode::{Compat, Context, Family, Plugin, Scene, Then, Tracked, Tracker};

/// The registry's entry.
pub const FAMILY: Family = Family {
    name: "sched_switch",
    about: "Prints sched_switch, sched_wakeup and sched_wakeup_new as `comm:pid [prio]`.",
    bind: |context, format| bind(context, format),
    tracker: |context| learner(context),
    ..Family::NONE
};

/// States of a task by bit, for events that do not bring a table of their own.
const STATES: [u8; 8] = *b"SDTtXZPI";
/// The same as trace-cmd 3.1 has them for all events.
const OLD_STATES: [u8; 8] = *b"SDTtZXxW";

fn bind(context: &Context<'_>, format: &EventFormat) -> Option<Box<dyn Plugin>> {
    if format.system != "sched" {
        return None;
    }
    let abi = context.trace.abi;
    let lte = context.compat != Compat::Rtrec;
    let int = |name| Int::find(format, name, abi);
    match format.name.as_str() {
        "sched_switch" => Some(Box::new(Switch {
            lte,
            prev_comm: Text::find(format, "prev_comm", abi),
            prev_pid: int("prev_pid")?,
            prev_prio: int("prev_prio")?,
            prev_state: int("prev_state")?,
            next_comm: Text::find(format, "next_comm", abi),
            next_pid: int("next_pid")?,
            next_prio: int("next_prio")?,
            states: if context.compat == Compat::V31 { OLD_STATES } else { states(&format.print_fmt) },
        })),
        "sched_wakeup" | "sched_wakeup_new" => Some(Box::new(Wakeup {
            lte,
            comm: Text::find(format, "comm", abi),
            pid: int("pid")?,
            prio: int("prio")?,
            success: int("success"),
            target_cpu: int("target_cpu"),
        })),
        _ => None,
    }
}

/// The letters in the event's own table of flags: the first of each name, by bit.
fn states(print_fmt: &str) -> [u8; 8] {
    let Some(start) = print_fmt.find("__print_flags(") else { return STATES };
    let mut states = [0; 8];
    for entry in print_fmt[start..].split('{').skip(1) {
        let Some((value, rest)) = entry.split_once(',') else { break };
        let value = crate::wire::bytes::c_integer(value.as_bytes());
        let letter = rest.split('"').nth(1).and_then(|name| name.bytes().next());
        let bit = value.filter(|value| value.is_power_of_two()).map(|value| value.trailing_zeros() as usize);
        if let (Some(bit), Some(letter)) = (bit, letter)
            && let Some(slot) = states.get_mut(bit)
        {
            *slot = letter;
        }
        if entry.contains(')') {
            break;
        }
    }
    if states == [0; 8] { STATES } else { states }
}

struct Switch {
    lte: bool,
    prev_comm: Option<Text>,
    prev_pid: Int,
    prev_prio: Int,
    prev_state: Int,
    next_comm: Option<Text>,
    next_pid: Int,
    next_prio: Int,
    states: [u8; 8],
}

impl Plugin for Switch {
    fn text(&self, record: &Record<'_>, _: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        let data = record.data;
        task(&self.prev_comm, self.prev_pid, data, self.lte, out);
        out.extend_from_slice(b" [");
        text::signed(out, i64::from(self.prev_prio.raw(data) as i32));
        out.extend_from_slice(b"] ");
        self.state(data, out);
        out.extend_from_slice(b" ==> ");
        task(&self.next_comm, self.next_pid, data, self.lte, out);
        out.extend_from_slice(b" [");
        text::signed(out, i64::from(self.next_prio.raw(data) as i32));
        out.push(b']');
        Then::Done
    }
}

impl Switch {
    #[inline]
    fn state(&self, data: &[u8], out: &mut Vec<u8>) {
        let state = self.prev_state.raw(data) & 0xff;
        if state == 0 {
            return out.push(b'R');
        }
        let start = out.len();
        for (bit, &letter) in self.states.iter().enumerate() {
            if state >> bit & 1 == 1 && letter != 0 {
                if out.len() > start {
                    out.push(b'|');
                }
                out.push(letter);
            }
        }
        if out.len() == start {
            out.push(b'R');
        }
    }
}

struct Wakeup {
    lte: bool,
    comm: Option<Text>,
    pid: Int,
    prio: Int,
    success: Option<Int>,
    target_cpu: Option<Int>,
}

impl Plugin for Wakeup {
    fn text(&self, record: &Record<'_>, _: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        let data = record.data;
        task(&self.comm, self.pid, data, self.lte, out);
        out.extend_from_slice(b" [");
        self.prio.put(data, self.lte, out);
        out.push(b']');
        if let Some(success) = self.success {
            out.extend_from_slice(b" success=");
            success.put(data, self.lte, out);
        }
        if let Some(cpu) = self.target_cpu {
            out.extend_from_slice(b" CPU:");
            text::dec_zeros(out, cpu.raw(data), 3);
        }
        Then::Done
    }
}

#[inline]
fn task(comm: &Option<Text>, pid: Int, data: &[u8], lte: bool, out: &mut Vec<u8>) {
    if let Some(comm) = comm {
        comm.put(data, out);
        out.push(b':');
    }
    pid.put(data, lte, out);
}

/// Learns the names that events bring.
struct Learner {
    abi: Abi,
    /// By event id: pairs of pid and comm.
    events: Vec<(u16, Vec<(Int, Text)>)>,
}

impl Tracker for Learner {
    fn observe(&mut self, record: &Record<'_>, scene: &Scene<'_>) -> u32 {
        let id = self.abi.u16(record.data);
        if let Some((_, pairs)) = self.events.iter().find(|event| Some(event.0) == id) {
            for (pid, comm) in pairs {
                let pid = pid.raw(record.data) as i32;
                if !scene.names.is_known(pid) {
                    scene.names.learn(pid, comm.get(record.data), scene.seq);
                }
            }
        }
        0
    }
}

/// The tracker that learns names.
fn learner(context: &Context<'_>) -> Option<Tracked> {
    let abi = context.trace.abi;
    let mut events = Vec::new();
    let named = ["sched_switch", "sched_wakeup", "sched_wakeup_new"].map(|event| context.format("sched", event));
    for format in named.into_iter().flatten() {
        let pair = |pid, comm| Some((Int::find(format, pid, abi)?, Text::find(format, comm, abi)?));
        let pairs: Vec<_> = match format.name.as_str() {
            "sched_switch" => {
                [pair("prev_pid", "prev_comm"), pair("next_pid", "next_comm")].into_iter().flatten().collect()
            }
            _ => pair("pid", "comm").into_iter().collect(),
        };
        if !pairs.is_empty() {
            events.push((format.id, pairs));
        }
    }
    let mut ids: Vec<u16> = events.iter().map(|event| event.0).collect();
    ids.sort_unstable();
    let tracker = Box::new(Learner { abi, events });
    (!ids.is_empty()).then_some(Tracked { ids, tracker, only_names: true })
}
