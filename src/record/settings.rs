//! What a recording is asked to be. Plain values; nothing here has looked at the machine.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use nix::poll::PollTimeout;

use crate::dat::chunks::Compression;
use crate::probe::Spec;
use crate::windows::Session;

/// One recording.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The tracefs root; found or mounted when not given.
    pub tracefs: Option<PathBuf>,
    /// The file to write.
    pub output: PathBuf,
    /// The command to run and its arguments; empty: record until told to stop.
    pub command: Vec<OsString>,
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
    /// Store the formats of all events, not only of the enabled ones.
    pub all_formats: bool,
    /// How the file is compressed.
    pub compression: Compression,
    /// Which way data leaves the kernel.
    pub reader: ReaderChoice,
    /// The longest time a reader sleeps; zero wakes it for every record.
    pub interval: Option<Duration>,
    /// Readers look again and again instead of sleeping.
    pub poll: bool,
    /// SCHED_FIFO priority of the readers; 0 leaves them as they are, without one they are raised as far as permitted
    /// and as long as they take a modest share of their CPUs.
    pub priority: Option<u32>,
    /// Record a stack with every traced function.
    pub func_stack: bool,
    /// Switch function tracing off.
    pub function_off: Option<FunctionOff>,
    /// Leave the settings as the recording had them.
    pub keep: bool,
    /// Take the kernel's settings as they are, and add to them.
    pub keep_before: bool,
    /// Run the command as this user.
    pub user: Option<String>,
    /// Leave rtrec's own threads in the trace.
    pub no_filter: bool,
    /// Entries of the kernel's table of names.
    pub cmdlines_size: Option<u32>,
    /// Where temporary files go.
    pub temp: Option<PathBuf>,
    /// Store the wall clock's offset, for reports by date.
    pub date: bool,
    /// Ticks that a report is to add to every time.
    pub ts_offset: Option<i64>,
    /// Store how to turn cycles into nanoseconds.
    pub tsc2nsec: bool,
    /// Version of the file.
    pub file_version: FileVersion,
    /// Pairs of events whose distance `report --profile` measures.
    pub hooks: Vec<String>,
    /// Tracing all functions of the whole system is meant.
    pub all_functions: bool,
    /// End the recording after this time.
    pub duration: Option<Duration>,
    /// Permissions of the file; 0600 if not given.
    pub mode: Option<u32>,
    /// What bounds it.
    pub limits: Limits,
    /// How many places a glob of probes may mean, if not as many as usual.
    pub max_probes: Option<usize>,
    /// Response-time windows.
    pub windows: Option<WindowSettings>,
}

/// Response-time windows and what is recorded for their sake.
#[derive(Clone, Debug, Default)]
pub struct WindowSettings {
    /// Which there are.
    pub session: Session,
    /// Distance of samples in CPU time.
    pub sample: Option<Duration>,
    /// How stacks of programs are taken with samples.
    pub user_stack: UserStack,
    /// Samples that cost more than they tell are meant.
    pub forced: bool,
    /// Keep slow windows only; a thread's records may take so many bytes while a window is open.
    pub only_slow: Option<u64>,
    /// The kernel judges which are slow, and takes snapshots.
    pub in_kernel: bool,
    /// Where counts of windows are written down now and then.
    pub status: Option<PathBuf>,
}

/// How stacks of programs are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserStack {
    /// Not at all.
    None,
    /// By frame pointers.
    #[default]
    FramePointers,
    /// By copies of so many bytes of the stack, which are unwound by the programs' unwind tables.
    Dwarf(u32),
}

/// What bounds a recording in time and space.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Stop when this many bytes were written.
    pub max_bytes: Option<u64>,
    /// Keep the last of it only.
    pub tail: Tail,
    /// Begin a new file now and then.
    pub rotation: Option<Rotation>,
    /// Stop when the disk has less left than this; `None`: when it is nearly full.
    pub free_bytes: Option<u64>,
    /// Stop when this event happens: its word, and the filter it must pass.
    pub until: Option<(String, Option<String>)>,
    /// Throw the trace away unless the command fails.
    pub only_if_failed: bool,
}

impl Limits {
    /// Whether something bounds the size of what is kept.
    pub fn bounds_size(&self) -> bool {
        self.max_bytes.is_some() || self.tail.bytes.is_some() || self.tail.time.is_some()
    }
}

/// How much of each CPU's records is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Bytes of sub-buffers.
    pub bytes: Option<u64>,
    /// Time.
    pub time: Option<Duration>,
}

/// When a new file is begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// When so many bytes were written.
    pub bytes: Option<u64>,
    /// When so much time has passed.
    pub time: Option<Duration>,
    /// How many files are kept; the oldest are removed.
    pub keep: Option<u32>,
}

impl Settings {
    /// How the readers work.
    pub fn pace(&self) -> Pace {
        Pace { interval: self.interval, poll: self.poll, priority: self.priority }
    }

    /// Whether something keeps the recording from growing without end.
    pub fn is_bounded(&self) -> bool {
        self.duration.is_some() || self.limits.bounds_size()
    }
}

/// How readers work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// The longest time a reader sleeps.
    pub interval: Option<Duration>,
    /// Readers look again and again instead of sleeping.
    pub poll: bool,
    /// SCHED_FIFO priority, 0 for none; without one it is raised as far as permitted.
    pub priority: Option<u32>,
}

impl Pace {
    /// The longest sleep; `usual` if nothing was said. Zero means that the kernel wakes for every record.
    pub fn longest_sleep(self, usual_ms: u16) -> PollTimeout {
        let asked = self.interval.filter(|interval| !interval.is_zero());
        let ms = asked.map_or(u128::from(usual_ms), |interval| interval.as_micros().div_ceil(1000));
        PollTimeout::try_from(ms.min(60_000)).unwrap_or(PollTimeout::from(usual_ms))
    }

    /// The priority as the readers take it: one that never sleeps is not raised unasked.
    pub fn reader_priority(self) -> Option<u32> {
        self.priority.or(self.poll.then_some(0))
    }

    /// Whether a reader may let the buffer fill after a wake-up that brought little.
    pub fn may_pause(self) -> bool {
        !self.poll && self.interval.is_none_or(|interval| !interval.is_zero())
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

/// Version of a trace.dat file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileVersion {
    /// One sequence, nothing packed: for readers before trace-cmd 3.0.
    V6,
    /// Sections.
    #[default]
    V7,
}

/// Which way data leaves the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReaderChoice {
    /// The mapping where the kernel offers it, else splice, else read.
    #[default]
    Best,
    /// Splice, else read.
    Splice,
    /// Read only.
    Read,
}

/// What one buffer records.
#[derive(Clone, Debug, Default)]
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
    /// Trace only the command and its processes, if there are any, and what they start.
    pub follows: bool,
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

impl Default for Settings {
    fn default() -> Self {
        Settings {
            tracefs: None,
            output: PathBuf::from("trace.dat"),
            command: Vec::new(),
            buffers: vec![BufferSettings::default()],
            graph_functions: Vec::new(),
            only_command: false,
            follow_children: false,
            exact_names: false,
            ignore_unknown_events: false,
            all_formats: false,
            compression: Compression::Zstd,
            reader: ReaderChoice::Best,
            interval: None,
            poll: false,
            priority: None,
            func_stack: false,
            function_off: None,
            keep: false,
            keep_before: false,
            user: None,
            no_filter: false,
            cmdlines_size: None,
            temp: None,
            date: false,
            ts_offset: None,
            tsc2nsec: false,
            file_version: FileVersion::V7,
            hooks: Vec::new(),
            all_functions: false,
            duration: None,
            mode: None,
            limits: Limits::default(),
            windows: None,
            max_probes: None,
        }
    }
}
