//! What each event of a trace says about the thread it happened to.

use crate::wire::abi::Abi;
use crate::wire::format::{EventFormat, Field};

/// An interrupt's beginning or end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// It begins.
    Entry,
    /// It ends.
    Exit,
}

/// What an event says.
#[derive(Clone, Debug)]
pub enum Role {
    /// `sched_switch`.
    Switch {
        /// Who leaves.
        prev: Field,
        /// How.
        state: Field,
        /// Who comes.
        next: Field,
    },
    /// `sched_waking` or `sched_wakeup`: somebody is woken.
    Wake {
        /// Who.
        pid: Field,
    },
    /// `sys_enter`.
    SysEnter {
        /// Which call.
        id: Field,
        /// With what.
        args: Option<Field>,
    },
    /// `sys_exit`.
    SysExit {
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
    /// A thread is born.
    Born {
        /// It.
        child: Field,
        /// Flags of clone, if told.
        flags: Option<Field>,
    },
    /// A thread ends.
    Exit {
        /// It.
        pid: Field,
    },
    /// Anything else that happened in a thread.
    Other,
}

impl Role {
    /// What the event says.
    pub fn of(format: &EventFormat) -> Role {
        Role::find(format).unwrap_or(Role::Other)
    }

    fn find(format: &EventFormat) -> Option<Role> {
        let field = |name: &str| format.field(name).cloned();
        let edge = |name: &str| match (name.ends_with("_entry"), name.ends_with("_exit")) {
            (true, _) => Some(Edge::Entry),
            (_, true) => Some(Edge::Exit),
            _ => None,
        };
        Some(match (format.system.as_str(), format.name.as_str()) {
            ("sched", "sched_switch") => {
                Role::Switch { prev: field("prev_pid")?, state: field("prev_state")?, next: field("next_pid")? }
            }
            ("sched", "sched_waking" | "sched_wakeup" | "sched_wakeup_new") => Role::Wake { pid: field("pid")? },
            ("raw_syscalls", "sys_enter") => Role::SysEnter { id: field("id")?, args: field("args") },
            ("raw_syscalls", "sys_exit") => Role::SysExit { id: field("id")?, ret: field("ret") },
            ("irq", "irq_handler_entry" | "softirq_entry") => Role::Interrupt(Edge::Entry),
            ("irq", "irq_handler_exit" | "softirq_exit") => Role::Interrupt(Edge::Exit),
            ("irq_vectors", name) => Role::Interrupt(edge(name)?),
            ("timer", "timer_expire_entry" | "hrtimer_expire_entry") => Role::Timer(Edge::Entry),
            ("timer", "timer_expire_exit" | "hrtimer_expire_exit") => Role::Timer(Edge::Exit),
            ("exceptions", "page_fault_user") => Role::Fault { kernel: false },
            ("exceptions", "page_fault_kernel") => Role::Fault { kernel: true },
            ("ftrace", "print") => Role::Print { text: field("buf")? },
            ("ftrace", "kernel_stack") => Role::Stack { kernel: true, callers: field("caller")?, size: field("size") },
            ("ftrace", "user_stack") => Role::Stack { kernel: false, callers: field("caller")?, size: None },
            ("task", "task_newtask") => Role::Born { child: field("pid")?, flags: Some(field("clone_flags")?) },
            ("sched", "sched_process_fork") => Role::Born { child: field("child_pid")?, flags: None },
            ("sched", "sched_process_exit") => Role::Exit { pid: field("pid")? },
            _ => return None,
        })
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
