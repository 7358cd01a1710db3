//! What a recording is asked to be. Plain values; nothing here has looked at the machine.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::dat::chunks::Compression;

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
    pub graph_functions: Vec<String>,
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
    /// What bounds it.
    pub limits: Limits,
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
    /// Events in the order given.
    pub events: Vec<EventSettings>,
    /// Functions to trace.
    pub function_filters: Vec<String>,
    /// Functions to leave out.
    pub function_notrace: Vec<String>,
    /// Trace options, `no` in front switches one off.
    pub options: Vec<String>,
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
}

impl BufferSettings {
    /// Whether anything is to be recorded in it.
    pub fn records(&self) -> bool {
        self.tracer.is_some() || self.events.iter().any(|event| !event.disable)
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
    /// The kernel filter, several joined by `&&`.
    pub filter: Option<String>,
    /// Triggers.
    pub triggers: Vec<String>,
    /// Switch the events off instead (`-v` before it).
    pub disable: bool,
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
            limits: Limits::default(),
        }
    }
}
