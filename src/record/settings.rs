//! What a recording is asked to be. Plain values; nothing here has looked at the machine.

use std::ffi::OsString;
use std::path::PathBuf;

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
        }
    }
}
