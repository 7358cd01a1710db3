//! What the kernel is asked for. Plain values; nothing here has looked at the machine.

use std::path::PathBuf;

use crate::probe::Spec;

/// What is set up: the buffers, and what they have in common.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The tracefs root; found or mounted when not given.
    pub tracefs: Option<PathBuf>,
    /// What each buffer records; the first is the top-level one.
    pub buffers: Vec<BufferSettings>,
    /// Functions where graphs begin. The kernel has one list for all instances.
    pub graph_functions: Vec<FunctionWord>,
    /// Trace the command only.
    pub only_command: bool,
    /// Trace the children of traced processes too.
    pub follow_children: bool,
    /// Take names of functions literally, even where a kernel has moved their work elsewhere.
    pub exact_names: bool,
    /// Unknown events are no error.
    pub ignore_unknown_events: bool,
    /// Record a stack with every traced function.
    pub func_stack: bool,
    /// Switch function tracing off.
    pub function_off: Option<FunctionOff>,
    /// Tracing all functions of the whole system is meant.
    pub all_functions: bool,
    /// Take the kernel's settings as they are, and add to them.
    pub keep_before: bool,
    /// Leave rtrec's own threads in the trace.
    pub no_filter: bool,
    /// Entries of the kernel's table of names.
    pub cmdlines_size: Option<u32>,
    /// The clock has to count cycles.
    pub tsc2nsec: bool,
    /// How many places a glob of probes may mean, if not as many as usual.
    pub max_probes: Option<usize>,
    /// The kernel switches the buffers off when this event happens: its name, and the filter it must pass.
    pub until: Option<(String, Option<String>)>,
    /// Readers are woken for every record, instead of when the buffer fills.
    pub wake_for_every_record: bool,
}

impl Default for Settings {
    /// The top-level buffer, of which nothing is asked yet.
    fn default() -> Self {
        Settings {
            tracefs: None,
            buffers: vec![BufferSettings::default()],
            graph_functions: Vec::new(),
            only_command: false,
            follow_children: false,
            exact_names: false,
            ignore_unknown_events: false,
            func_stack: false,
            function_off: None,
            all_functions: false,
            keep_before: false,
            no_filter: false,
            cmdlines_size: None,
            tsc2nsec: false,
            max_probes: None,
            until: None,
            wake_for_every_record: false,
        }
    }
}

impl Settings {
    /// Processes that are traced, of all buffers.
    pub fn pids(&self) -> impl Iterator<Item = i32> {
        self.buffers.iter().flat_map(|buffer| buffer.pids.iter().copied())
    }
}

/// How function tracing is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionOff {
    /// By the option `function-trace` of the buffer; for the whole system where there is no such option.
    Option,
    /// By both.
    Both,
}

/// What one buffer records.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct BufferSettings {
    /// Instance name; `None` for the top-level buffer.
    pub instance: Option<String>,
    /// Tracer.
    pub tracer: Option<String>,
    /// A kernel without the tracer does without.
    pub optional_tracer: bool,
    /// Events in the order given.
    pub events: Vec<EventSettings>,
    /// Functions to trace.
    pub function_filters: Vec<FunctionWord>,
    /// Functions to leave out.
    pub function_notrace: Vec<FunctionWord>,
    /// Trace options, `no` in front switches one off.
    pub options: Vec<String>,
    /// Trace options that are set where the kernel has them.
    pub optional_options: Vec<String>,
    /// Size of each CPU's buffer in KiB.
    pub size_kb: Option<u64>,
    /// Trace clock.
    pub clock: Option<String>,
    /// Processes to trace.
    pub pids: Vec<i32>,
    /// Depth of graphs.
    pub max_graph_depth: Option<u32>,
    /// CPUs to trace, as `tracing_cpumask` takes them.
    pub cpumask: Option<String>,
    /// Size of a sub-buffer in KiB.
    pub subbuf_size_kb: Option<u64>,
    /// Store the memory maps of the traced processes.
    pub proc_map: bool,
    /// Trace the command, too, and what traced threads start, whatever the settings for all buffers say.
    pub with_children: bool,
}

/// A user's word for functions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionWord {
    /// A name, glob, regular expression or command.
    pub word: String,
    /// Only functions of this module.
    pub module: Option<String>,
}

/// The pseudo clock: cycles, with what turns them into nanoseconds in the file.
pub const TSC2NSEC: &str = "tsc2nsec";

/// Tracers that keep the worst case only; what they have is a text, not records.
const LATENCY_TRACERS: [&str; 6] = ["irqsoff", "preemptoff", "preemptirqsoff", "wakeup", "wakeup_rt", "wakeup_dl"];

impl BufferSettings {
    /// Whether anything is to be recorded in it.
    pub fn records(&self) -> bool {
        self.tracer.is_some() || self.proc_map || self.events.iter().any(|event| !event.disable)
    }

    /// Whether its tracer keeps the worst case only, as a text.
    pub fn keeps_worst_case(&self) -> bool {
        self.tracer.as_deref().is_some_and(|tracer| LATENCY_TRACERS.contains(&tracer))
    }

    /// Whether its tracer traces functions.
    pub fn traces_functions(&self) -> bool {
        self.tracer.as_deref().is_some_and(|tracer| tracer.starts_with("function"))
    }
}

/// One `-e` with what belongs to it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct EventSettings {
    /// The word given: a name or glob of systems and events.
    pub word: String,
    /// It is no error if this kernel has no such event.
    pub optional: bool,
    /// The kernel filter, several joined by `&&`.
    pub filter: Option<String>,
    /// Triggers.
    pub triggers: Vec<String>,
    /// Switch the events off instead (`-v` before it).
    pub disable: bool,
    /// The events are probes that are made for this recording.
    pub probe: Option<Spec>,
}
