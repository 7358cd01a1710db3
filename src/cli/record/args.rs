//! What `rtrec record` and `rtrec stream` take on the command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::super::common::inside::InsideArgs;
use super::super::common::limits::LimitArgs;
use super::super::common::units::{duration, octal, size_kb};
use super::super::common::windows::WindowArgs;
use crate::dat::chunks::Compression;
use crate::record::{FileVersion, ReaderChoice};

/// What is traced, and how: the same for a file and for a stream.
#[derive(Debug, Args)]
pub(in crate::cli) struct SetupArgs {
    /// Trace with this tracer in the current instance: function, function_graph, irqsoff, …
    #[arg(short = 'p', long, value_name = "TRACER", action = ArgAction::Append, help_heading = "What to record")]
    pub(super) tracer: Vec<String>,
    /// Record this event, system, or glob of them: sched:sched_switch, sched, 'irq:*', all
    #[arg(short = 'e', long, value_name = "EVENT", action = ArgAction::Append, help_heading = "What to record")]
    pub(super) event: Vec<String>,
    /// Filter the events of the last -e in the kernel; several filters are joined by &&
    #[arg(short = 'f', long, value_name = "FILTER", action = ArgAction::Append, help_heading = "What to record")]
    pub(super) filter: Vec<String>,
    /// Set a trigger on the events of the last -e, for example stacktrace
    #[arg(short = 'R', long, value_name = "TRIGGER", action = ArgAction::Append, help_heading = "What to record")]
    pub(super) trigger: Vec<String>,
    /// Disable the events of every later -e, until the next -B; without a later -e, the same as --verbose
    #[arg(short = 'v', action = ArgAction::Append, num_args = 0, default_missing_value = "true", value_name = "",
        help_heading = "What to record")]
    pub(super) invert: Vec<bool>,
    /// Start function graphs at this function: trace everything that it calls
    #[arg(short = 'g', long = "graph-function", value_name = "FUNC", action = ArgAction::Append,
        help_heading = "Function tracing")]
    pub(super) graph_function: Vec<String>,
    /// Trace only functions that match: a name, glob, basic regular expression, or filter command with colons
    #[arg(short = 'l', long = "function", value_name = "FUNC", action = ArgAction::Append,
        help_heading = "Function tracing")]
    pub(super) function: Vec<String>,
    /// Do not trace functions that match, even if -l names them
    #[arg(short = 'n', long = "notrace", value_name = "FUNC", action = ArgAction::Append,
        help_heading = "Function tracing")]
    pub(super) notrace: Vec<String>,
    /// Look in this module for the -l, -n and -g that follow; if none follows, trace all its functions
    #[arg(long, value_name = "MODULE", action = ArgAction::Append, help_heading = "Function tracing")]
    pub(super) module: Vec<String>,
    /// Permit tracing every function of the system without a limit
    #[arg(long, help_heading = "Function tracing")]
    pub(super) all_functions: bool,
    /// Record a stack trace at every traced function; needs -p function and -l
    #[arg(long, help_heading = "Function tracing")]
    pub(super) func_stack: bool,
    /// Turn function tracing off: clear the option function-trace, or ftrace_enabled if there is no such option
    #[arg(short = 'd', help_heading = "Function tracing")]
    pub(super) no_function_trace: bool,
    /// Turn function tracing off: clear both the option function-trace and ftrace_enabled (whole system)
    #[arg(short = 'D', help_heading = "Function tracing")]
    pub(super) no_functions_at_all: bool,
    /// Set this trace option in the current instance; no in front clears it: nosym-offset
    #[arg(short = 'O', long = "option", value_name = "OPT", action = ArgAction::Append, help_heading = "Buffers")]
    pub(super) option: Vec<String>,
    /// Record a stack trace with every event; the same as -O stacktrace
    #[arg(short = 'T', long = "stacktrace", action = ArgAction::Append, num_args = 0, default_missing_value = "true", value_name = "",
        help_heading = "What to record")]
    pub(super) stacktrace: Vec<bool>,
    /// Set the size of each CPU's buffer: KiB, or 64M, 1G [default: the kernel's, usually 1408]
    #[arg(short = 'b', long = "buffer-size", value_name = "KB", value_parser = size_kb, action = ArgAction::Append,
        help_heading = "Buffers")]
    pub(super) buffer_size: Vec<u64>,
    /// Set the size of a sub-buffer, the unit that readers take, in KiB (kernel 6.8 and later)
    #[arg(long, value_name = "KB", value_parser = size_kb, action = ArgAction::Append, help_heading = "Buffers")]
    pub(super) subbuf_size: Vec<u64>,
    /// Set the trace clock: local, global, mono, …; tsc2nsec is x86-tsc, reported in nanoseconds
    #[arg(short = 'C', long, value_name = "CLOCK", action = ArgAction::Append, help_heading = "Buffers")]
    pub(super) clock: Vec<String>,
    /// Store how to convert CPU cycles to nanoseconds; needs the clock x86-tsc
    #[arg(long, help_heading = "Buffers")]
    pub(super) tsc2nsec: bool,
    /// Trace only these processes and their threads; commas separate several
    #[arg(short = 'P', long, value_name = "PID", value_delimiter = ',', action = ArgAction::Append,
        help_heading = "What to record")]
    pub(super) pid: Vec<i32>,
    /// Trace only COMMAND
    #[arg(short = 'F', long = "only-command", help_heading = "What to record")]
    pub(super) only_command: bool,
    /// Also trace the children of the processes of -P, or of the command of -F
    #[arg(short = 'c', long = "follow-children", help_heading = "What to record")]
    pub(super) follow_children: bool,
    /// Also trace rtrec's own threads, which are left out otherwise
    #[arg(long, help_heading = "What to record")]
    pub(super) no_filter: bool,
    /// Run COMMAND as this user, with the user's groups, HOME, USER and LOGNAME
    #[arg(long, value_name = "NAME", help_heading = "Process")]
    pub(super) user: Option<String>,
    /// Apply the options that follow to this instance, not to the top-level buffer
    ///
    /// An instance that does not exist is made, and removed at the end. The options -c, -d, -D, -F, -g, -i and those
    /// of files, readers and limits apply to the whole recording.
    #[arg(short = 'B', long = "instance", value_name = "NAME", action = ArgAction::Append, help_heading = "Buffers")]
    pub(super) instance: Vec<String>,
    /// Trace only these CPUs: a hexadecimal mask, -1 for all
    #[arg(short = 'M', long = "cpumask", value_name = "MASK", allow_hyphen_values = true, action = ArgAction::Append,
        help_heading = "What to record")]
    pub(super) cpumask: Vec<String>,
    /// Limit function graphs to N levels of calls
    #[arg(long, value_name = "N", action = ArgAction::Append, help_heading = "Function tracing")]
    pub(super) max_graph_depth: Vec<u32>,
    /// Record the events that report --profile needs
    ///
    /// These are sched_switch and sched_wakeup with stacks, interrupts, softirqs, user page faults, execs and system
    /// calls; without -p also function_graph of depth 1.
    #[arg(long, action = ArgAction::Append, num_args = 0, default_missing_value = "true", value_name = "",
        help_heading = "What to record")]
    pub(super) profile: Vec<bool>,
    /// With --profile: record only the events that the command line lists
    #[arg(short = 'S', help_heading = "What to record")]
    pub(super) profile_listed: bool,
    /// Measure the time between two events for report --profile, and record both events
    ///
    /// HOOK is [SYSTEM:]START,FIELD[,PIDFIELD]/[SYSTEM:]END,FIELD[,FLAGS]. FLAGS are p (pinned to a CPU), s (with
    /// stack) and g (global).
    #[arg(short = 'H', long = "hook", value_name = "HOOK", action = ArgAction::Append, help_heading = "What to record")]
    pub(super) hook: Vec<String>,
    /// Ignore an -e that matches no event, instead of failing
    #[arg(short = 'i', long = "ignore-unknown", help_heading = "What to record")]
    pub(super) ignore_unknown: bool,
    /// Take function names literally; otherwise do_sys_open, for example, also traces do_sys_openat2
    #[arg(long, help_heading = "Function tracing")]
    pub(super) exact: bool,
    /// Stop recording after this time: 30s, 10min, 500ms; seconds without a unit. COMMAND goes on
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Limits")]
    pub(super) duration: Option<Duration>,
    /// Let the kernel remember the names of N tasks (saved_cmdlines_size, usually 128)
    #[arg(long, value_name = "N", help_heading = "Kernel settings")]
    pub(super) cmdlines_size: Option<u32>,
    /// Run the readers at this SCHED_FIFO priority, 1 to 99; 0 leaves their scheduling unchanged
    ///
    /// By default each reader of a file runs at priority 1 on its own CPU, if that is permitted. A reader that takes
    /// most of its CPU runs at normal priority until it takes less.
    #[arg(short = 'r', long = "priority", value_name = "PRIO", value_parser = clap::value_parser!(u32).range(0..=99),
        help_heading = "Readers")]
    pub(super) priority: Option<u32>,
    /// Let a reader sleep no longer than this, in microseconds; 0 wakes it for every record [default: 1000000]
    #[arg(short = 's', long = "interval", value_name = "USEC", help_heading = "Readers")]
    pub(super) interval: Option<u64>,
    /// Use the tracefs in this folder, not the mounted one
    #[arg(long, value_name = "DIR", help_heading = "Kernel settings")]
    pub(super) tracefs: Option<PathBuf>,
    /// Print nothing but errors
    #[arg(short = 'q', long, help_heading = "Output")]
    pub(in crate::cli) quiet: bool,
    /// Print more about what rtrec does; the levels none, crit, err and warn (0 to 3) add nothing
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "info",
        value_parser = ["none", "crit", "err", "warn", "info", "debug", "all", "0", "1", "2", "3", "4", "5", "6"],
        help_heading = "Output")]
    verbose: Option<String>,
    /// As --verbose
    #[arg(long, hide = true)]
    debug: bool,
    /// Print rtrec's own output to stderr; stdout belongs to COMMAND
    #[arg(long, help_heading = "Output")]
    pub(in crate::cli) stderr: bool,
    #[command(flatten)]
    pub(super) probes: ProbeArgs,
    #[command(flatten)]
    pub(super) refused: RefusedArgs,
    /// Command to run, and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    pub(super) command: Vec<OsString>,
}

/// Probes that are made for the recording.
#[derive(Debug, Args)]
pub(super) struct ProbeArgs {
    /// Probe a kernel function: '[NAME=][MODULE:]FUNCTION[+OFFSET][%return] [ARGUMENT …]'
    ///
    /// Every probe is an event: an -f or -R after it applies to it.
    #[arg(long, value_name = "SPEC", action = ArgAction::Append, help_heading = "Probes")]
    pub(super) kprobe: Vec<String>,
    /// Probe a program or library: '[NAME=]BINARY:SYMBOL[+OFFSET][%return] [ARGUMENT …]'
    ///
    /// The place may also be BINARY:0xOFFSET or BINARY:FILE:LINE, and BINARY may be a process id.
    #[arg(long, value_name = "SPEC", action = ArgAction::Append, help_heading = "Probes")]
    pub(super) uprobe: Vec<String>,
    /// Record a static probe (USDT) of a program or library: BINARY:PROVIDER:NAME
    #[arg(long, value_name = "SPEC", action = ArgAction::Append, help_heading = "Probes")]
    pub(super) usdt: Vec<String>,
    /// Probe the entry or return of a kernel function through ftrace (kernel 6.5 and later)
    #[arg(long, value_name = "SPEC", action = ArgAction::Append, help_heading = "Probes")]
    pub(super) fprobe: Vec<String>,
    /// Probe a tracepoint and take its raw arguments (kernel 6.5 and later)
    #[arg(long, value_name = "SPEC", action = ArgAction::Append, help_heading = "Probes")]
    pub(super) tprobe: Vec<String>,
    /// Probe another event: 'SYSTEM:EVENT [ARGUMENT …]' (kernel 5.15 and later)
    #[arg(long, value_name = "SPEC", action = ArgAction::Append, help_heading = "Probes")]
    pub(super) eprobe: Vec<String>,
    /// Fail if the glob of a probe matches more than N places [default: 100]
    #[arg(long, value_name = "N", help_heading = "Probes")]
    pub(super) max_probes: Option<usize>,
}

/// Options of trace-cmd that are refused, each with its reason.
#[derive(Debug, Args)]
pub(super) struct RefusedArgs {
    #[arg(short = 'N', hide = true, value_name = "HOST:PORT")]
    pub(super) host: Option<String>,
    #[arg(short = 'V', hide = true, value_name = "CID:PORT")]
    pub(super) vsock: Option<String>,
    #[arg(short = 'A', hide = true, value_name = "GUEST")]
    pub(super) guest: Option<String>,
    #[arg(long, hide = true, value_name = "VSOCK")]
    pub(super) proxy: Option<String>,
    #[arg(long, hide = true, value_name = "NAME")]
    pub(super) name: Option<String>,
    #[arg(long, hide = true, value_name = "MS", allow_hyphen_values = true)]
    pub(super) tsync_interval: Option<String>,
    #[arg(long, hide = true)]
    pub(super) nofifos: bool,
    #[arg(long, hide = true)]
    pub(super) notimeout: bool,
    #[arg(short = 'G', hide = true)]
    pub(super) global_irqs: bool,
    #[arg(long, hide = true)]
    pub(super) by_comm: bool,
}

impl SetupArgs {
    /// Whether more is to be said.
    pub(in crate::cli) fn is_verbose(&self) -> bool {
        let more = |level: &str| matches!(level, "info" | "debug" | "all" | "4" | "5" | "6");
        self.debug || self.verbose.as_deref().is_some_and(more)
    }
}

impl RefusedArgs {
    /// The first of them that was given, and why it cannot be honoured.
    pub(super) fn reason(&self) -> Result<(), String> {
        let network = "recording over the network or from a guest is not there yet; record into a file and copy it";
        let printed = "it shapes the printed profile, which has its own command; the recording is the same without it";
        for (given, option, reason) in [
            (self.host.is_some(), "-N", network),
            (self.vsock.is_some(), "-V", network),
            (self.guest.is_some(), "-A", network),
            (self.proxy.is_some(), "--proxy", network),
            (self.name.is_some(), "--name", network),
            (self.tsync_interval.is_some(), "--tsync-interval", network),
            (self.nofifos, "--nofifos", network),
            (self.notimeout, "--notimeout", "there is no time-out to switch off: guests are not traced"),
            (self.global_irqs, "-G", printed),
            (self.by_comm, "--by-comm", printed),
        ] {
            if given {
                return Err(format!("{option} is refused: {reason}"));
            }
        }
        Ok(())
    }
}

/// Record a trace into a file
///
/// Records until COMMAND ends; without a command, until Ctrl-C or until the processes of -P end. The exit status is
/// that of COMMAND. Options after COMMAND belong to it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rtrec record -p function_graph -g do_sys_open ls\n  rtrec record -e sched -e 'irq:*' -f 'irq != 0' -o irq.dat sleep 1\n  rtrec record -e syscalls -F -c make\n  rtrec record -e sched -B locks -e lock -b 16M --duration 10s"
)]
pub(in crate::cli) struct RecordArgs {
    #[command(flatten)]
    pub(super) setup: SetupArgs,
    /// Write the trace to this file
    #[arg(short = 'o', long, value_name = "FILE", default_value = "trace.dat", help_heading = "File")]
    pub(super) output: PathBuf,
    /// Set the permissions of the output file, in octal
    #[arg(long, value_name = "OCTAL", value_parser = octal, default_value = "600", help_heading = "File")]
    pub(super) mode: u32,
    /// Keep temporary files in this folder [default: the folder of the output file]
    #[arg(long, value_name = "DIR", help_heading = "File")]
    pub(super) temp: Option<PathBuf>,
    /// Store the formats of all events, not only of the recorded ones
    #[arg(short = 'a', long = "all-formats", help_heading = "File")]
    pub(super) all_formats: bool,
    /// Compress the file with zstd or zlib, or not at all (none); any means zstd [default: any]
    #[arg(long, value_name = "NAME", help_heading = "File")]
    pub(super) compression: Option<Compression>,
    /// Write this version of the format; readers older than trace-cmd 3.0 need 6
    #[arg(long, value_name = "6|7", value_parser = file_version, default_value = "7", help_heading = "File")]
    pub(super) file_version: FileVersion,
    /// Store the offset from the trace clock to the time of day, so that reports show the date
    #[arg(long, help_heading = "File")]
    pub(super) date: bool,
    /// Store an offset that reports add to every time, in ticks of the trace clock
    #[arg(long, value_name = "TICKS", allow_negative_numbers = true, help_heading = "File")]
    pub(super) ts_offset: Option<i64>,
    /// Store the memory maps of the processes of -P, or of COMMAND when it ends
    #[arg(long, action = ArgAction::Append, num_args = 0, default_missing_value = "true", value_name = "",
        help_heading = "File")]
    pub(super) proc_map: Vec<bool>,
    /// Do not restore the kernel's settings at the end; only tracing is switched off
    #[arg(short = 'k', long = "keep", help_heading = "Kernel settings")]
    pub(super) keep: bool,
    /// Add to the kernel's present settings instead of resetting them first; includes -k
    #[arg(short = 'K', long = "keep-before", help_heading = "Kernel settings")]
    pub(super) keep_before: bool,
    /// Take data from the kernel this way: best (mmap, else splice, else read), splice or read [default: best]
    #[arg(long, value_name = "WAY", value_parser = reader, help_heading = "Readers")]
    pub(super) reader: Option<ReaderChoice>,
    /// Take data with read(2); the same as --reader read
    #[arg(long, conflicts_with = "reader", help_heading = "Readers")]
    pub(super) nosplice: bool,
    /// Poll the buffers instead of sleeping: no wake-ups on the traced CPUs, but each reader uses a whole CPU
    #[arg(long, conflicts_with = "interval", help_heading = "Readers")]
    pub(super) poll: bool,
    /// Return once recording runs; SIGINT or SIGTERM to the process in /var/run/rtrec-record.pid ends it
    #[arg(long, help_heading = "Process")]
    pub(super) daemonize: bool,
    #[arg(short = 't', hide = true)]
    pub(super) tcp: bool,
    #[command(flatten)]
    pub(super) limits: LimitArgs,
    #[command(flatten)]
    pub(super) windows: WindowArgs,
    #[command(flatten)]
    pub(super) inside: InsideArgs,
}

fn reader(word: &str) -> Result<ReaderChoice, String> {
    match word {
        "mmap" | "best" => Ok(ReaderChoice::Best),
        "splice" => Ok(ReaderChoice::Splice),
        "read" => Ok(ReaderChoice::Read),
        _ => Err("there are best, splice and read".to_owned()),
    }
}

fn file_version(word: &str) -> Result<FileVersion, String> {
    match word {
        "6" => Ok(FileVersion::V6),
        "7" => Ok(FileVersion::V7),
        _ => Err("there are 6 and 7".to_owned()),
    }
}
