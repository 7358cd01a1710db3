//! What `rtrec uprobe`, `rtrec kprobe` and `rtrec probe` take on the command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::super::units::{duration, size_kb};
use crate::report::Format;

/// What both kinds of probes take.
#[derive(Debug, Args)]
pub(in crate::cli) struct LiveArgs {
    /// Probe the function's return: as %return behind TARGET
    #[arg(short = 'r', long = "return", conflicts_with = "both")]
    pub(super) returns: bool,
    /// Probe entry and return: two events, NAME and NAME__return; arguments are those of the entry
    #[arg(long)]
    pub(super) both: bool,
    /// Keep the records in FILE too, as rtrec record would
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Only count the hits of each probe
    #[arg(long)]
    pub(super) count: bool,
    /// Probe entry and return and tell at the end how long the calls took, as rtrec report --latency does for any file
    #[arg(long, conflicts_with_all = ["count", "returns", "both"])]
    pub(super) latency: bool,
    /// With --latency: also tell each call that took so long: 10ms, 500us; a bare number is milliseconds
    #[arg(long, value_name = "TIME", requires = "latency", value_parser = super::super::windows::threshold)]
    pub(super) threshold: Option<u64>,
    /// Print the lines for uprobe_events or kprobe_events, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Name of the event, or GROUP/NAME
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Kernel filter on the arguments
    #[arg(short = 'f', long, value_name = "FILTER")]
    pub(super) filter: Option<String>,
    /// Trigger, e.g. stacktrace
    #[arg(short = 'R', long, value_name = "TRIGGER")]
    pub(super) trigger: Vec<String>,
    /// The command's hits only
    #[arg(short = 'F', long = "only-command")]
    pub(super) only_command: bool,
    /// Hits of these processes only
    #[arg(short = 'P', long, value_name = "PID", value_delimiter = ',')]
    pub(super) pid: Vec<i32>,
    /// Hits of the children of those processes too
    #[arg(short = 'c', long = "follow-children")]
    pub(super) follow_children: bool,
    /// How many places a glob may mean [default: 100]
    #[arg(long, value_name = "N")]
    pub(super) max_probes: Option<usize>,
    /// End after this time: 30s, 10min, 500ms; a bare number is seconds
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) duration: Option<Duration>,
    /// Size of each CPU's buffer in KiB; 64M and 1G are understood
    #[arg(short = 'b', long = "buffer-size", value_name = "KB", value_parser = size_kb)]
    pub(super) buffer_size: Option<u64>,
    /// Trace clock: local, global, mono, …
    #[arg(short = 'C', long, value_name = "CLOCK")]
    pub(super) clock: Option<String>,
    /// How late a hit may be printed, so that all CPUs' hits are in order
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "500ms")]
    pub(super) delay: Duration,
    /// text, json or csv
    #[arg(long, value_name = "FORMAT", value_parser = super::super::stream::format, default_value = "text")]
    pub(super) format: Format,
    /// Print all digits of the time
    #[arg(short = 't', long)]
    pub(super) full_time: bool,
    /// The hits go to stderr, stdout is the command's
    #[arg(long)]
    pub(super) stderr: bool,
    /// The tracefs folder, if not the mounted one
    #[arg(long, value_name = "DIR")]
    pub(super) tracefs: Option<PathBuf>,
    /// No words but errors
    #[arg(short = 'q', long)]
    pub(super) quiet: bool,
    /// Say more about what is done
    #[arg(long)]
    pub(super) verbose: bool,
}

/// Probe a program or library and print the hits
///
/// TARGET is BINARY:PLACE. BINARY is a path, the name of a program in PATH or of a library (libc), or the id of a process,
/// which stands for the mapped file that has PLACE, in its own mount namespace. PLACE is SYMBOL, SYMBOL+OFFSET, a glob of
/// symbols, FILE:LINE, or 0xOFFSET of the file; %return behind it probes the return. usdt:BINARY:PROVIDER:NAME is a
/// static probe.
///
/// An argument is a name of the source (n, t->id, in.label), where there is debug information; without arguments all
/// parameters are captured then. $arg1 to $arg6 are the argument registers. What begins with %, $, @, +, - or \ is passed
/// to the kernel as it is: size=%di:u32, text=+0(%si):string, $retval, $comm.
///
/// Probes are defined for the time of the trace and removed afterwards.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rtrec uprobe bash:readline%return '+0($retval):string'\n  rtrec uprobe ./prog:main.c:120 count t->name -- ./prog\n  rtrec uprobe 'libc:*alloc' --count -- ls\n  rtrec uprobe --list '*req*' ./server"
)]
pub(in crate::cli) struct UprobeArgs {
    #[command(flatten)]
    pub(super) live: LiveArgs,
    /// List what of a binary could be probed: symbols that match, or static probes for usdt:BINARY; --list BINARY alone
    /// lists all
    #[arg(long, value_name = "PATTERN")]
    pub(super) list: Option<String>,
    /// What to probe, and its arguments
    #[arg(value_name = "TARGET [ARGUMENT …]", required_unless_present = "list", num_args = 1..)]
    pub(super) words: Vec<String>,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", last = true)]
    pub(super) command: Vec<OsString>,
}

/// Probe the kernel and print the hits
///
/// TARGET is FUNCTION, FUNCTION+OFFSET, MODULE:FUNCTION or a glob of functions; %return behind it probes the return.
///
/// An argument is a name of the source (count, file->f_path.dentry->d_name.name:string), where the kernel has BTF. What
/// begins with %, $, @, +, - or \ is passed to the kernel as it is: flags=%si:x32, $arg2, $retval, $comm.
///
/// Probes are defined for the time of the trace and removed afterwards.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rtrec kprobe do_sys_openat2 filename:ustring -- ls\n  rtrec kprobe vfs_read%return '$retval:s64' --duration 5s\n  rtrec kprobe vfs_write file->f_path.dentry->d_name.name:string count\n  rtrec kprobe --list 'tcp_*'"
)]
pub(in crate::cli) struct KprobeArgs {
    #[command(flatten)]
    pub(super) live: LiveArgs,
    /// List the functions that match
    #[arg(long, value_name = "PATTERN")]
    pub(super) list: Option<String>,
    /// How many calls a return probe follows at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(super) maxactive: Option<u32>,
    /// What to probe, and its arguments
    #[arg(value_name = "TARGET [ARGUMENT …]", required_unless_present = "list", num_args = 1..)]
    pub(super) words: Vec<String>,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", last = true)]
    pub(super) command: Vec<OsString>,
}

/// Define probes that stay until they are removed
///
/// Their names are in the group rtrec, unless another is given. Recordings name them as events: -e rtrec:NAME.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rtrec probe add --uprobe libc:malloc 'size=$arg1'\n  rtrec record -e rtrec:malloc -- ls\n  rtrec probe del malloc\n  rtrec probe del --stale"
)]
pub(in crate::cli) struct ProbeArgs {
    /// The tracefs folder, if not the mounted one
    #[arg(long, value_name = "DIR", global = true)]
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
    /// Show a probe: its definition, its fields, how often it was hit
    Show {
        /// Its name, or GROUP:NAME
        name: String,
    },
}

/// What `rtrec probe add` takes.
#[derive(Debug, Args)]
pub(in crate::cli) struct AddArgs {
    /// In a program or library (the usual kind): as rtrec uprobe
    #[arg(long, group = "kind")]
    pub(super) uprobe: bool,
    /// In the kernel: as rtrec kprobe
    #[arg(long, group = "kind")]
    pub(super) kprobe: bool,
    /// A static probe: BINARY:PROVIDER:NAME
    #[arg(long, group = "kind")]
    pub(super) usdt: bool,
    /// At entry or return of a kernel function, through ftrace
    #[arg(long, group = "kind")]
    pub(super) fprobe: bool,
    /// At a tracepoint, with its raw arguments
    #[arg(long, group = "kind")]
    pub(super) tprobe: bool,
    /// At another event: SYSTEM:EVENT
    #[arg(long, group = "kind")]
    pub(super) eprobe: bool,
    /// Name of the event, or GROUP/NAME
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// How many places a glob may mean
    #[arg(long, value_name = "N", default_value_t = crate::probe::USUAL_LIMIT)]
    pub(super) max_probes: usize,
    /// Print the lines, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// What to probe, and its arguments
    #[arg(value_name = "TARGET [ARGUMENT …]", required = true, num_args = 1..)]
    pub(super) words: Vec<String>,
}

/// What `rtrec probe del` takes.
#[derive(Debug, Args)]
pub(in crate::cli) struct DelArgs {
    /// Names or globs of probes in the group rtrec; GROUP:NAME for another group
    #[arg(value_name = "NAME", required_unless_present_any = ["all", "stale"])]
    pub(super) names: Vec<String>,
    /// All probes of the group rtrec
    #[arg(long)]
    pub(super) all: bool,
    /// The probes of recorders that were killed
    #[arg(long)]
    pub(super) stale: bool,
}

/// What `rtrec probe list` takes.
#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// Those of others too
    #[arg(short = 'a', long)]
    pub(super) all: bool,
}
