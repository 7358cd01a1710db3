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
pub fn is_runnable(state: u64) -> bool {
    // The low bits say what it waits for; those above only that it was preempted.
    state & 0xff == 0
}
