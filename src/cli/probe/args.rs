//! What `rtrec uprobe`, `rtrec kprobe` and `rtrec probe` take on the command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::super::common::live::RecordFormat;
use super::super::common::units::{duration, size_kb};

/// What both kinds of probes take.
#[derive(Debug, Args)]
pub(in crate::cli) struct LiveArgs {
    /// Probe the return of the function; the same as %return after TARGET
    #[arg(short = 'r', long = "return", conflicts_with = "both", help_heading = "Probes")]
    pub(super) returns: bool,
    /// Probe entry and return: the events NAME and NAME__return; the arguments belong to the entry
    #[arg(long, help_heading = "Probes")]
    pub(super) both: bool,
    /// Also write the records to this file, as rtrec record does
    #[arg(short = 'o', long, value_name = "FILE", help_heading = "File")]
    pub(super) output: Option<PathBuf>,
    /// Print only the number of hits of each probe
    #[arg(long, help_heading = "Instead of records")]
    pub(super) count: bool,
    /// Probe entry and return, and print at the end how long the calls took (as report --latency does)
    #[arg(long, conflicts_with_all = ["count", "returns", "both"], help_heading = "Instead of records")]
    pub(super) latency: bool,
    /// With --latency: also print each call that took this long: 10ms, 500us; milliseconds without a unit
    #[arg(long, value_name = "TIME", requires = "latency", value_parser = super::super::common::windows::threshold,
        help_heading = "Instead of records")]
    pub(super) threshold: Option<u64>,
    /// Print the lines for uprobe_events or kprobe_events, and change nothing
    #[arg(long, help_heading = "Output")]
    pub(super) dry_run: bool,
    /// Give the event this name: NAME or GROUP/NAME
    #[arg(long, value_name = "NAME", help_heading = "Probes")]
    pub(super) name: Option<String>,
    /// Filter the hits by their arguments in the kernel
    #[arg(short = 'f', long, value_name = "FILTER", help_heading = "What to record")]
    pub(super) filter: Option<String>,
    /// Set a trigger on the probe, for example stacktrace
    #[arg(short = 'R', long, value_name = "TRIGGER", help_heading = "What to record")]
    pub(super) trigger: Vec<String>,
    /// Trace only COMMAND
    #[arg(short = 'F', long = "only-command", help_heading = "What to record")]
    pub(super) only_command: bool,
    /// Trace only these processes and their threads; commas separate several
    #[arg(short = 'P', long, value_name = "PID", value_delimiter = ',', help_heading = "What to record")]
    pub(super) pid: Vec<i32>,
    /// Also trace the children of the processes of -P, or of the command of -F
    #[arg(short = 'c', long = "follow-children", help_heading = "What to record")]
    pub(super) follow_children: bool,
    /// Fail if the glob of a probe matches more than N places [default: 100]
    #[arg(long, value_name = "N", help_heading = "Probes")]
    pub(super) max_probes: Option<usize>,
    /// Stop after this time: 30s, 10min, 500ms; seconds without a unit. COMMAND goes on
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Limits")]
    pub(super) duration: Option<Duration>,
    /// Set the size of each CPU's buffer: KiB, or 64M, 1G [default: the kernel's, usually 1408]
    #[arg(short = 'b', long = "buffer-size", value_name = "KB", value_parser = size_kb, help_heading = "Buffers")]
    pub(super) buffer_size: Option<u64>,
    /// Set the trace clock: local, global, mono, …
    #[arg(short = 'C', long, value_name = "CLOCK", help_heading = "Buffers")]
    pub(super) clock: Option<String>,
    /// Wait this long before printing a hit, so that the hits of all CPUs are in order of time
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "500ms", help_heading = "Layout")]
    pub(super) delay: Duration,
    /// Print in this format: text, json or csv
    #[arg(long, value_name = "FORMAT", value_parser = super::super::common::live::format, default_value = "text",
        help_heading = "Layout")]
    pub(super) format: RecordFormat,
    /// Print all nine decimals of the time
    #[arg(short = 't', long, help_heading = "Layout")]
    pub(super) full_time: bool,
    /// Print the hits to stderr; stdout belongs to COMMAND
    #[arg(long, help_heading = "Output")]
    pub(super) stderr: bool,
    /// Use the tracefs in this folder, not the mounted one
    #[arg(long, value_name = "DIR", help_heading = "Kernel settings")]
    pub(super) tracefs: Option<PathBuf>,
    /// Print nothing but errors
    #[arg(short = 'q', long, help_heading = "Output")]
    pub(super) quiet: bool,
    /// Print more about what rtrec does
    #[arg(long, help_heading = "Output")]
    pub(super) verbose: bool,
}

/// Probe a program or library and print the hits
///
/// TARGET is BINARY:PLACE. BINARY is a path, the name of a program in PATH, the name of a library (libc), or a
/// process id. A process id stands for the mapped file that has PLACE, in the mount namespace of that process. PLACE
/// is SYMBOL, SYMBOL+OFFSET, a glob of symbols, FILE:LINE, or 0xOFFSET in the file; %return after it probes the
/// return. usdt:BINARY:PROVIDER:NAME is a static probe.
///
/// An argument is a variable of the source (n, t->id, in.label), if there is debug information; without arguments all
/// parameters are recorded then. $arg1 to $arg6 are the argument registers. An argument that begins with one of
/// % $ @ + - \ goes to the kernel unchanged: size=%di:u32, text=+0(%si):string, $retval, $comm.
///
/// The probes are removed when the trace ends.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rtrec uprobe bash:readline%return '+0($retval):string'\n  rtrec uprobe ./prog:main.c:120 count t->name -- ./prog\n  rtrec uprobe 'libc:*alloc' --count -- ls\n  rtrec uprobe --list '*req*' ./server"
)]
pub(in crate::cli) struct UprobeArgs {
    #[command(flatten)]
    pub(super) live: LiveArgs,
    /// List what can be probed: --list GLOB BINARY, or --list BINARY for all; usdt:BINARY lists static probes
    #[arg(long, value_name = "PATTERN", help_heading = "Instead of records")]
    pub(super) list: Option<String>,
    /// What to probe, and the arguments to record
    #[arg(value_name = "TARGET [ARGUMENT …]", required_unless_present = "list", num_args = 1..)]
    pub(super) words: Vec<String>,
    /// Command to run, and its arguments
    #[arg(value_name = "COMMAND", last = true)]
    pub(super) command: Vec<OsString>,
}

/// Probe the kernel and print the hits
///
/// TARGET is FUNCTION, FUNCTION+OFFSET, MODULE:FUNCTION or a glob of functions; %return after it probes the return.
///
/// An argument is a variable of the source (count, file->f_path.dentry->d_name.name:string), if the kernel has BTF. An
/// argument that begins with one of % $ @ + - \ goes to the kernel unchanged: flags=%si:x32, $arg2, $retval, $comm.
///
/// The probes are removed when the trace ends.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rtrec kprobe do_sys_openat2 filename:ustring -- ls\n  rtrec kprobe vfs_read%return '$retval:s64' --duration 5s\n  rtrec kprobe vfs_write file->f_path.dentry->d_name.name:string count\n  rtrec kprobe --list 'tcp_*'"
)]
pub(in crate::cli) struct KprobeArgs {
    #[command(flatten)]
    pub(super) live: LiveArgs,
    /// List the kernel functions that match this glob
    #[arg(long, value_name = "PATTERN", help_heading = "Instead of records")]
    pub(super) list: Option<String>,
    /// Follow at most N calls at once in a return probe, 1 to 4096
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096), help_heading = "Probes")]
    pub(super) maxactive: Option<u32>,
    /// What to probe, and the arguments to record
    #[arg(value_name = "TARGET [ARGUMENT …]", required_unless_present = "list", num_args = 1..)]
    pub(super) words: Vec<String>,
    /// Command to run, and its arguments
    #[arg(value_name = "COMMAND", last = true)]
    pub(super) command: Vec<OsString>,
}

/// Define probes that stay until they are removed
///
/// Probes are in the group rtrec, unless --name gives another. rtrec record takes them as events: -e rtrec:NAME.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rtrec probe add --uprobe libc:malloc 'size=$arg1'\n  rtrec record -e rtrec:malloc -- ls\n  rtrec probe del malloc\n  rtrec probe del --stale"
)]
pub(in crate::cli) struct ProbeArgs {
    /// Use the tracefs in this folder, not the mounted one
    #[arg(long, value_name = "DIR", global = true, help_heading = "Kernel settings")]
    pub(super) tracefs: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) action: Action,
}

/// What to do with probes.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Action {
    /// Define probes
    Add(AddArgs),
    /// Remove probes
    Del(DelArgs),
    /// List probes
    List(ListArgs),
    /// Show a probe: its definition, its fields, the number of its hits
    Show {
        /// Name of the probe, or GROUP:NAME
        name: String,
    },
}

/// What `rtrec probe add` takes.
#[derive(Debug, Args)]
pub(in crate::cli) struct AddArgs {
    /// Probe a program or library, as rtrec uprobe does; this is the default
    #[arg(long, group = "kind", help_heading = "Probes")]
    pub(super) uprobe: bool,
    /// Probe a kernel function, as rtrec kprobe does
    #[arg(long, group = "kind", help_heading = "Probes")]
    pub(super) kprobe: bool,
    /// Define a static probe (USDT): BINARY:PROVIDER:NAME
    #[arg(long, group = "kind", help_heading = "Probes")]
    pub(super) usdt: bool,
    /// Probe the entry or return of a kernel function through ftrace (kernel 6.5 and later)
    #[arg(long, group = "kind", help_heading = "Probes")]
    pub(super) fprobe: bool,
    /// Probe a tracepoint and take its raw arguments (kernel 6.5 and later)
    #[arg(long, group = "kind", help_heading = "Probes")]
    pub(super) tprobe: bool,
    /// Probe another event: SYSTEM:EVENT (kernel 5.15 and later)
    #[arg(long, group = "kind", help_heading = "Probes")]
    pub(super) eprobe: bool,
    /// Give the event this name: NAME or GROUP/NAME
    #[arg(long, value_name = "NAME", help_heading = "Probes")]
    pub(super) name: Option<String>,
    /// Fail if the glob of a probe matches more than N places
    #[arg(long, value_name = "N", default_value_t = crate::probe::USUAL_LIMIT, help_heading = "Probes")]
    pub(super) max_probes: usize,
    /// Print the lines that define the probes, and change nothing
    #[arg(long, help_heading = "Output")]
    pub(super) dry_run: bool,
    /// What to probe, and the arguments to record
    #[arg(value_name = "TARGET [ARGUMENT …]", required = true, num_args = 1..)]
    pub(super) words: Vec<String>,
}

/// What `rtrec probe del` takes.
#[derive(Debug, Args)]
pub(in crate::cli) struct DelArgs {
    /// Names or globs of probes in the group rtrec; GROUP:NAME for another group
    #[arg(value_name = "NAME", required_unless_present_any = ["all", "stale"])]
    pub(super) names: Vec<String>,
    /// Remove all probes of the group rtrec
    #[arg(long, help_heading = "Selection")]
    pub(super) all: bool,
    /// Remove the probes of recorders that were killed
    #[arg(long, help_heading = "Selection")]
    pub(super) stale: bool,
}

/// What `rtrec probe list` takes.
#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// List the probes of others too
    #[arg(short = 'a', long, help_heading = "Selection")]
    pub(super) all: bool,
}
