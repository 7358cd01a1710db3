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
struct NameLearner {
    abi: Abi,
    /// By event id: pairs of pid and comm.
    events: Vec<(u16, Vec<(Int, Text)>)>,
}

impl Tracker for NameLearner {
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
    let tracker = Box::new(NameLearner { abi, events });
    (!ids.is_empty()).then_some(Tracked { ids, tracker, only_names: true })
}

#[cfg(test)]
mod tests {
    use crate::decode::Compat;
    use crate::decode::testing::{Set, bytes};
    use crate::plugins::testing::Look;

    const SWITCH: &str = "sched:sched_switch";

    fn switch(record: &str) -> String {
        Look::of("6.12", &[SWITCH]).text(bytes(record))
    }

    #[test]
    fn a_switch_shows_who_leaves_in_which_state_and_who_comes() {
        // Records of 6.12.95: tests/fixtures/v6-instances.
        let sleeps = "36010102c000000074726163652d636d6400000000000000c0000000780000000100000000000000737761707065722f31000000\
            000000000000000078000000";
        assert_eq!(switch(sleeps), "trace-cmd:192 [120] S ==> swapper/1:0 [120]");
        let idles = "3601010200000000737761707065722f3100000000000000000000007800000000000000000000007263755f707265656d707400\
            000000001200000078000000";
        assert_eq!(switch(idles), "swapper/1:0 [120] R ==> rcu_preempt:18 [120]");
        let idle_kthread = "36010102120000007263755f707265656d7074000000000012000000780000008000000000000000737761707065722f31\
            000000000000000000000078000000";
        assert_eq!(switch(idle_kthread), "rcu_preempt:18 [120] I ==> swapper/1:0 [120]");
        let ends = "36010102c200000063617400000000000000000000000000c2000000780000002000000000000000737761707065722f30000000\
            000000000000000078000000";
        assert_eq!(switch(ends), "cat:194 [120] Z ==> swapper/0:0 [120]");
    }

    fn leaves(compat: Compat, state: i64) -> String {
        let look = Look::of("6.12", &[SWITCH]).compat(compat);
        let record = look.record(SWITCH, &[("prev_pid", 5), ("prev_state", state)]);
        let text = look.text(record);
        text.split(' ').nth(2).unwrap().to_owned()
    }

    #[test]
    fn states_are_the_letters_of_the_events_own_table() {
        // { 0x01, "S" }, { 0x02, "D" }, { 0x04, "T" }, { 0x08, "t" }, { 0x10, "X" }, { 0x20, "Z" }, { 0x40, "P" }, { 0x80, "I" }
        let states = [1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80].map(|state| leaves(Compat::Rtrec, state));
        assert_eq!(states.concat(), "SDTtXZPI");
        assert_eq!(leaves(Compat::Rtrec, 0x81), "S|I");
    }

    #[test]
    fn a_task_that_was_preempted_could_run_on() {
        // 0x100 is TASK_REPORT_MAX: preempted, in no state.
        assert_eq!(leaves(Compat::Rtrec, 0x100), "R");
        assert_eq!(leaves(Compat::Rtrec, 0), "R");
    }

    #[test]
    fn trace_cmd_3_1_has_the_same_letters_for_all_kernels() {
        let states = [1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80].map(|state| leaves(Compat::V31, state));
        assert_eq!(states.concat(), "SDTtZXxW");
    }

    #[test]
    fn a_wakeup_shows_whom_and_where() {
        // Records of 6.12.95: tests/fixtures/v7-wakeup and v7-profile.
        let look = || Look::of("6.12", &["sched:sched_wakeup"]);
        let migration = "39010103b10000006d6967726174696f6e2f3100000000001a0000000000000001000000";
        let record = bytes(migration);
        let id = look().record("sched:sched_wakeup", &[]);
        let record = [&id[..2], &record[2..]].concat();
        assert_eq!(look().text(record), "migration/1:26 [0] CPU:001");
        let record = look().record_of(
            "sched:sched_wakeup",
            &[("comm", Set::Bytes(b"aa")), ("pid", Set::Int(5)), ("prio", Set::Int(-1)), ("target_cpu", Set::Int(12))],
        );
        assert_eq!(look().text(record), "aa:5 [-1] CPU:012");
    }

    #[test]
    fn an_old_kernel_says_whether_the_task_was_asleep() {
        let text = crate::decode::testing::format_text("6.12", "sched:sched_wakeup");
        let (before, after) = text.split_once("\tfield:int target_cpu;").unwrap();
        let after = after.replacen("offset:32;", "offset:36;", 1);
        let old =
            format!("{before}\tfield:int success;\toffset:32;\tsize:4;\tsigned:1;\n\tfield:int target_cpu;{after}");
        let look = Look::of("6.12", &[]).format("sched", &old);
        let record = look.record("sched:sched_wakeup", &[("pid", 5), ("prio", 120), ("success", 1), ("target_cpu", 3)]);
        assert_eq!(look.text(record), ":5 [120] success=1 CPU:003");
    }

    #[test]
    fn waking_is_left_to_its_print_fmt() {
        let look = Look::of("6.12", &["sched:sched_waking"]);
        let record = look.record("sched:sched_waking", &[("pid", 5), ("prio", 120), ("target_cpu", 3)]);
        assert_eq!(look.text(record), "comm= pid=5 prio=120 target_cpu=003");
    }

    /// A switch from task 5, called `first`, to task 6, called `second`.
    fn named(look: &Look, first: &str, second: &str) -> Vec<u8> {
        let fields = [
            ("prev_comm", Set::Bytes(first.as_bytes())),
            ("prev_pid", Set::Int(5)),
            ("next_comm", Set::Bytes(second.as_bytes())),
            ("next_pid", Set::Int(6)),
        ];
        look.record_of(SWITCH, &fields)
    }

    #[test]
    fn names_of_both_tasks_are_known_after_their_record() {
        let look = Look::of("6.12", &[SWITCH]);
        let record = named(&look, "one", "two");
        let (_, names) = look.texts_and_names(&[(0, 0, record.clone()), (0, 0, record)]);
        assert_eq!((names.known(5, 1), names.known(6, 1)), (Some(&b"one"[..]), Some(&b"two"[..])));
        assert_eq!(names.known(7, 1), None);
        // As in trace-cmd, which prints the name of the task before it looks at the event.
        assert_eq!(names.known(5, 0), None);
    }

    #[test]
    fn the_first_name_of_a_task_stays() {
        let look = Look::of("6.12", &[SWITCH]);
        let records = [(0, 0, named(&look, "one", "two")), (0, 0, named(&look, "three", "two"))];
        let (_, names) = look.texts_and_names(&records);
        assert_eq!(names.known(5, 1), Some(&b"one"[..]));
    }

    #[test]
    fn a_name_that_the_file_has_is_not_learned() {
        let look = Look::of("6.12", &[SWITCH]).tasks("5 stored\n");
        let record = named(&look, "one", "two");
        let (_, names) = look.texts_and_names(&[(0, 0, record)]);
        assert_eq!((names.known(5, 1), names.known(6, 1)), (Some(&b"stored"[..]), Some(&b"two"[..])));
    }
}
