//! What a record is: the one place that says "this event is a switch, a wake-up, an interrupt, a system call, a stack".
//!
//! Everything that draws conclusions from records asks here: response-time windows, the analyses of a report, selection.
//! [`Meaning::of`] looks at an event's format once and hands out the fields that matter; whoever asks reads them from each
//! record. What was lost is no event; readers hear of it beside the records.
//!
//! | file | what is inside |
//! | --- | --- |
//! | `mod.rs` | [`Meaning`], and what its fields say |
//! | [`pairs`] | which events are the beginning and the end of one thing, as their names tell |
//!
//! Imported by `windows` and `report`; imports `decode::formats` and `wire`. A new meaning is a variant
//! here and an arm in `find`.

pub mod pairs;

use crate::wire::abi::Abi;
use crate::wire::format::{EventFormat, Field};

/// A beginning or an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// It begins.
    Entry,
    /// It ends.
    Exit,
}

/// Which of the events that wake a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// `sched_waking`: somebody begins to wake it.
    Waking,
    /// `sched_wakeup`: it is on a run queue.
    Woken,
    /// `sched_wakeup_new`: it is on a run queue for the first time.
    New,
}

/// What an event says.
#[derive(Clone, Debug)]
pub enum Meaning {
    /// `sched_switch`.
    Switch {
        /// Who leaves the CPU.
        prev: Field,
        /// In which state.
        state: Field,
        /// Who comes.
        next: Field,
        /// The priority of who comes.
        next_prio: Option<Field>,
        /// The names of both, who leaves first.
        comms: Option<Box<(Field, Field)>>,
    },
    /// A task is woken.
    Wake {
        /// By which event.
        kind: Wake,
        /// Which task.
        pid: Field,
        /// Its name.
        comm: Option<Field>,
        /// Its priority.
        prio: Option<Field>,
        /// Whether it was asleep, in kernels that say so.
        success: Option<Field>,
    },
    /// `sys_enter`.
    SyscallEnter {
        /// Which call.
        id: Field,
        /// With what.
        args: Option<Field>,
    },
    /// `sys_exit`.
    SyscallExit {
        /// Which call.
        id: Field,
        /// Its result.
        ret: Option<Field>,
    },
    /// An interrupt of any sort.
    Interrupt(Edge),
    /// A timer's function within one.
    Timer(Edge),
    /// A page fault.
    Fault {
        /// The kernel's, not the program's.
        kernel: bool,
    },
    /// A text in `trace_marker`.
    Print {
        /// The text.
        text: Field,
    },
    /// A stack that belongs to the record before.
    Stack {
        /// The kernel's, not the program's.
        kernel: bool,
        /// Its frames.
        callers: Field,
        /// How many there are.
        size: Option<Field>,
    },
    /// A task is born.
    Born {
        /// It.
        child: Field,
        /// Whose child it is, if not of the task that the record is of.
        parent: Option<Field>,
        /// Flags of clone.
        flags: Option<Field>,
    },
    /// A task begins another program.
    Exec {
        /// It.
        pid: Field,
    },
    /// A task ends.
    Exit {
        /// It.
        pid: Field,
    },
    /// The function tracer's record of a call.
    Call {
        /// The function.
        ip: Field,
    },
    /// The function graph's record of an entry.
    FunctionEntry {
        /// The function.
        func: Field,
    },
    /// The function graph's record of an exit.
    FunctionExit {
        /// The function.
        func: Field,
        /// When it was called and when it returned, in nanoseconds.
        times: Option<Box<(Field, Field)>>,
    },
    /// Anything else that happened in a task.
    Other,
}

impl Meaning {
    /// What the event says.
    pub fn of(format: &EventFormat) -> Meaning {
        Meaning::find(format).unwrap_or(Meaning::Other)
    }

    fn find(format: &EventFormat) -> Option<Meaning> {
        let field = |name: &str| format.field(name).cloned();
        let both = |a: &str, b: &str| Some(Box::new((field(a)?, field(b)?)));
        let wake = |kind: Wake| {
            let (comm, prio, success) = (field("comm"), field("prio"), field("success"));
            Some(Meaning::Wake { kind, pid: field("pid")?, comm, prio, success })
        };
        Some(match (format.system.as_str(), format.name.as_str()) {
            ("sched", "sched_switch") => Meaning::Switch {
                prev: field("prev_pid")?,
                state: field("prev_state")?,
                next: field("next_pid")?,
                next_prio: field("next_prio"),
                comms: both("prev_comm", "next_comm"),
            },
            ("sched", "sched_waking") => wake(Wake::Waking)?,
            ("sched", "sched_wakeup") => wake(Wake::Woken)?,
            ("sched", "sched_wakeup_new") => wake(Wake::New)?,
            ("raw_syscalls", "sys_enter") => Meaning::SyscallEnter { id: field("id")?, args: field("args") },
            ("raw_syscalls", "sys_exit") => Meaning::SyscallExit { id: field("id")?, ret: field("ret") },
            ("irq", "irq_handler_entry" | "softirq_entry") => Meaning::Interrupt(Edge::Entry),
            ("irq", "irq_handler_exit" | "softirq_exit") => Meaning::Interrupt(Edge::Exit),
            ("irq_vectors", name) => Meaning::Interrupt(edge(name)?),
            ("timer", "timer_expire_entry" | "hrtimer_expire_entry") => Meaning::Timer(Edge::Entry),
            ("timer", "timer_expire_exit" | "hrtimer_expire_exit") => Meaning::Timer(Edge::Exit),
            ("exceptions", "page_fault_user") => Meaning::Fault { kernel: false },
            ("exceptions", "page_fault_kernel") => Meaning::Fault { kernel: true },
            ("ftrace", "print") => Meaning::Print { text: field("buf")? },
            ("ftrace", "kernel_stack") => {
                Meaning::Stack { kernel: true, callers: field("caller")?, size: field("size") }
            }
            ("ftrace", "user_stack") => Meaning::Stack { kernel: false, callers: field("caller")?, size: None },
            ("ftrace", "function") => Meaning::Call { ip: field("ip")? },
            ("ftrace", "funcgraph_entry" | "fgraph_retaddr_entry") => Meaning::FunctionEntry { func: field("func")? },
            ("ftrace", "funcgraph_exit") => {
                Meaning::FunctionExit { func: field("func")?, times: both("calltime", "rettime") }
            }
            ("task", "task_newtask") => {
                Meaning::Born { child: field("pid")?, parent: None, flags: Some(field("clone_flags")?) }
            }
            ("sched", "sched_process_fork") => {
                Meaning::Born { child: field("child_pid")?, parent: field("parent_pid"), flags: None }
            }
            ("sched", "sched_process_exec") => Meaning::Exec { pid: field("pid")? },
            ("sched", "sched_process_exit") => Meaning::Exit { pid: field("pid")? },
            _ => return None,
        })
    }
}

fn edge(name: &str) -> Option<Edge> {
    match (name.ends_with("_entry"), name.ends_with("_exit")) {
        (true, _) => Some(Edge::Entry),
        (_, true) => Some(Edge::Exit),
        _ => None,
    }
}

/// The frames of a stack, innermost first. A word of all ones ends it in old kernels, zeros in stacks of programs.
pub fn frames(callers: &Field, size: Option<&Field>, data: &[u8], abi: Abi) -> Vec<u64> {
    let bytes = usize::from(abi.long_bytes.max(1));
    let most = size.and_then(|size| size.int(data, abi)).map_or(usize::MAX, |count| count as usize);
    let all = data.get(usize::from(callers.offset)..).unwrap_or(&[]);
    let words = all.chunks_exact(bytes).take(most).map(|word| abi.ulong(word).unwrap_or(0));
    let ones = if bytes == 4 { u64::from(u32::MAX) } else { u64::MAX };
    words.take_while(|word| *word != ones && *word != 0).collect()
}

/// Whether a thread that leaves in this state could go on.
pub fn could_go_on(state: u64) -> bool {
    // The low bits say what it waits for; those above only that it was preempted.
    state & 0xff == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::testing::{ABI, bytes, format, format_text};

    fn of(event: &str) -> Meaning {
        Meaning::of(&format("6.12", event))
    }

    #[test]
    fn a_switch_says_who_leaves_and_who_comes() {
        let Meaning::Switch { prev, state, next, next_prio, comms } = of("sched:sched_switch") else { panic!() };
        // A record of 6.12.95: trace-cmd:192 [120] S ==> swapper/1:0 [120]
        let record = bytes(
            "36010102c000000074726163652d636d6400000000000000c0000000780000000100000000000000737761707065722f31000000\
            000000000000000078000000",
        );
        let int = |field: &Field| field.int(&record, ABI);
        assert_eq!((int(&prev), int(&state), int(&next)), (Some(192), Some(1), Some(0)));
        assert_eq!(next_prio.as_ref().and_then(int), Some(120));
        let (leaves, comes) = *comms.unwrap();
        assert_eq!((leaves.text(&record, ABI), comes.text(&record, ABI)), (&b"trace-cmd"[..], &b"swapper/1"[..]));
    }

    #[test]
    fn three_events_wake_a_task() {
        let kind = |event: &str| match of(event) {
            Meaning::Wake { kind, pid, comm, prio, success } => {
                assert_eq!((pid.name.as_str(), comm.is_some(), prio.is_some()), ("pid", true, true));
                assert!(success.is_none(), "kernels since 4.3 do not say");
                kind
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(kind("sched:sched_waking"), Wake::Waking);
        assert_eq!(kind("sched:sched_wakeup"), Wake::Woken);
        assert_eq!(kind("sched:sched_wakeup_new"), Wake::New);
    }

    #[test]
    fn system_calls_begin_and_end() {
        let Meaning::SyscallEnter { id, args } = of("raw_syscalls:sys_enter") else { panic!() };
        assert_eq!((id.name.as_str(), args.map(|args| args.elem_bytes)), ("id", Some(8)));
        let Meaning::SyscallExit { id, ret } = of("raw_syscalls:sys_exit") else { panic!() };
        assert_eq!((id.name.as_str(), ret.map(|ret| ret.signed)), ("id", Some(true)));
    }

    #[test]
    fn interrupts_begin_and_end_by_whatever_name() {
        let entries = ["irq:irq_handler_entry", "irq:softirq_entry", "irq_vectors:local_timer_entry"];
        let exits = ["irq:irq_handler_exit", "irq:softirq_exit", "irq_vectors:reschedule_exit"];
        for (entry, exit) in entries.iter().zip(exits) {
            assert!(matches!(of(entry), Meaning::Interrupt(Edge::Entry)), "{entry}");
            assert!(matches!(of(exit), Meaning::Interrupt(Edge::Exit)), "{exit}");
        }
        assert!(matches!(of("irq:softirq_raise"), Meaning::Other), "that it is due is no interrupt");
        assert!(matches!(of("irq_vectors:vector_alloc"), Meaning::Other), "nor is the setting up of one");
    }

    #[test]
    fn functions_of_timers_begin_and_end() {
        for name in ["timer:timer_expire", "timer:hrtimer_expire"] {
            assert!(matches!(of(&format!("{name}_entry")), Meaning::Timer(Edge::Entry)), "{name}");
            assert!(matches!(of(&format!("{name}_exit")), Meaning::Timer(Edge::Exit)), "{name}");
        }
        assert!(matches!(of("timer:hrtimer_start"), Meaning::Other));
    }

    #[test]
    fn faults_are_the_kernels_or_the_programs() {
        assert!(matches!(of("exceptions:page_fault_user"), Meaning::Fault { kernel: false }));
        assert!(matches!(of("exceptions:page_fault_kernel"), Meaning::Fault { kernel: true }));
    }

    #[test]
    fn a_text_of_a_program_is_the_rest_of_its_record() {
        let Meaning::Print { text } = of("ftrace:print") else { panic!() };
        let record = bytes("05000000c1000000dfac8281ffffffff7374617274206f6620776f726b0a0000");
        assert_eq!(text.text(&record, ABI), b"start of work\n");
    }

    #[test]
    fn stacks_are_the_kernels_or_the_programs() {
        let Meaning::Stack { kernel: true, callers, size } = of("ftrace:kernel_stack") else { panic!() };
        assert_eq!((callers.offset, size.map(|size| size.offset)), (16, Some(8)));
        let Meaning::Stack { kernel: false, callers, size: None } = of("ftrace:user_stack") else { panic!() };
        assert_eq!(callers.name, "caller");
    }

    #[test]
    fn two_events_say_that_a_task_is_born() {
        let Meaning::Born { child, parent, flags } = of("sched:sched_process_fork") else { panic!() };
        assert_eq!((child.name.as_str(), parent.map(|parent| parent.name)), ("child_pid", Some("parent_pid".into())));
        assert!(flags.is_none());
        let Meaning::Born { child, parent: None, flags } = of("task:task_newtask") else { panic!() };
        assert_eq!((child.name.as_str(), flags.map(|flags| flags.name)), ("pid", Some("clone_flags".into())));
    }

    #[test]
    fn tasks_begin_programs_and_end() {
        assert!(matches!(of("sched:sched_process_exec"), Meaning::Exec { pid } if pid.name == "pid"));
        assert!(matches!(of("sched:sched_process_exit"), Meaning::Exit { pid } if pid.name == "pid"));
    }

    #[test]
    fn the_tracers_records_are_calls_entries_and_exits() {
        assert!(matches!(of("ftrace:function"), Meaning::Call { ip } if ip.name == "ip"));
        assert!(matches!(of("ftrace:funcgraph_entry"), Meaning::FunctionEntry { func } if func.offset == 8));
        let Meaning::FunctionExit { func, times } = of("ftrace:funcgraph_exit") else { panic!() };
        let (called, returned) = *times.unwrap();
        assert_eq!((func.offset, called.offset, returned.offset), (8, 24, 32));
        let retaddr = Meaning::of(&format(crate::decode::testing::TEXTS, "ftrace:fgraph_retaddr_entry"));
        assert!(matches!(retaddr, Meaning::FunctionEntry { .. }));
    }

    #[test]
    fn an_event_of_that_name_in_another_system_is_another_event() {
        for event in
            ["sched:sched_switch", "raw_syscalls:sys_enter", "irq:softirq_entry", "ftrace:print", "task:task_newtask"]
        {
            let text = format_text("6.12", event);
            let other = EventFormat::parse("mine", text.as_bytes(), ABI).unwrap();
            assert!(matches!(Meaning::of(&other), Meaning::Other), "{event}");
        }
    }

    #[test]
    fn an_event_without_the_fields_that_matter_means_nothing() {
        let text = format_text("6.12", "sched:sched_switch").replace("prev_state;", "state;");
        let changed = EventFormat::parse("sched", text.as_bytes(), ABI).unwrap();
        assert!(matches!(Meaning::of(&changed), Meaning::Other));
    }

    #[test]
    fn a_kernels_stack_has_as_many_frames_as_it_counts() {
        let Meaning::Stack { callers, size, .. } = of("ftrace:kernel_stack") else { panic!() };
        let record = |size: u8| {
            bytes(&format!(
                "04000000aa000000{size:02x}00000000000000 0100000000000000 0200000000000000 0300000000000000"
            ))
        };
        assert_eq!(frames(&callers, size.as_ref(), &record(2), ABI), [1, 2]);
        assert_eq!(frames(&callers, size.as_ref(), &record(9), ABI), [1, 2, 3], "the record ends before");
    }

    #[test]
    fn ones_and_zeros_end_a_stack() {
        let callers = format("6.12", "ftrace:user_stack").field("caller").unwrap().clone();
        let at = usize::from(callers.offset);
        let with = |words: [u64; 3]| [vec![0; at], words.iter().flat_map(|word| word.to_le_bytes()).collect()].concat();
        assert_eq!(frames(&callers, None, &with([7, 0, 8]), ABI), [7]);
        assert_eq!(frames(&callers, None, &with([7, u64::MAX, 8]), ABI), [7]);
        let small = Abi { long_bytes: 4, ..ABI };
        assert_eq!(frames(&callers, None, &with([7 | 8 << 32, 0xffff_ffff, 9]), small), [7, 8]);
    }

    #[test]
    fn only_what_it_waits_for_keeps_a_task_from_going_on() {
        // 0x100 is TASK_REPORT_MAX: preempted.
        assert!(could_go_on(0) && could_go_on(0x100));
        assert!(!could_go_on(1) && !could_go_on(2) && !could_go_on(0x80));
    }
}
