//! What `rtrec record` and `rtrec stream` take on the command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::super::limits::LimitArgs;
use super::super::rt::InsideArgs;
use super::super::units::{duration, octal, size_kb};
use super::super::windows::WindowArgs;
use crate::dat::chunks::Compression;
use crate::record::{FileVersion, ReaderChoice};

/// What is traced, and how: the same for a file and for a stream.
#[derive(Debug, Args)]
pub(in crate::cli) struct SetupArgs {
    /// Tracer: function, function_graph, …; for the current instance
    #[arg(short = 'p', long, value_name = "TRACER", action = ArgAction::Append)]
    pub(super) tracer: Vec<String>,
    /// Event, system, or glob of them: sched, sched:sched_switch, 'irq:*', all
    #[arg(short = 'e', long, value_name = "EVENT", action = ArgAction::Append)]
    pub(super) event: Vec<String>,
    /// Kernel filter for the last -e; several are joined by &&
    #[arg(short = 'f', long, value_name = "FILTER", action = ArgAction::Append)]
    pub(super) filter: Vec<String>,
    /// Trigger for the last -e, e.g. stacktrace
    #[arg(short = 'R', long, value_name = "TRIGGER", action = ArgAction::Append)]
    pub(super) trigger: Vec<String>,
    /// Switch off the events of every later -e, until the next -B; with no -e behind it: say more
    #[arg(short = 'v', action = ArgAction::Append, num_args = 0, default_missing_value = "true", value_name = "")]
    pub(super) invert: Vec<bool>,
    /// Graph root: trace what this function calls
    #[arg(short = 'g', long = "graph-function", value_name = "FUNC", action = ArgAction::Append)]
    pub(super) graph_function: Vec<String>,
    /// Trace only these functions (name, glob, basic regular expression, or command with colons)
    #[arg(short = 'l', long = "function", value_name = "FUNC", action = ArgAction::Append)]
    pub(super) function: Vec<String>,
    /// Leave these functions out
    #[arg(short = 'n', long = "notrace", value_name = "FUNC", action = ArgAction::Append)]
    pub(super) notrace: Vec<String>,
    /// The -l, -n and -g behind it are functions of this module; with none of them: all functions of the module
    #[arg(long, value_name = "MODULE", action = ArgAction::Append)]
    pub(super) module: Vec<String>,
    /// Trace all functions of the whole system, however long
    #[arg(long)]
    pub(super) all_functions: bool,
    /// Record a stack with every traced function; needs -p function and -l
    #[arg(long)]
    pub(super) func_stack: bool,
    /// Switch function tracing off by the option function-trace, or for the whole system where there is none
    #[arg(short = 'd')]
    pub(super) no_function_trace: bool,
    /// Switch function tracing off by the option and for the whole system
    #[arg(short = 'D')]
    pub(super) no_functions_at_all: bool,
    /// Trace option; no in front switches it off
    #[arg(short = 'O', long = "option", value_name = "OPT", action = ArgAction::Append)]
    pub(super) option: Vec<String>,
    /// Record a stack trace with every event
    #[arg(short = 'T', long = "stacktrace", action = ArgAction::Append, num_args = 0, default_missing_value = "true", value_name = "")]
    pub(super) stacktrace: Vec<bool>,
    /// Size of each CPU's buffer in KiB; 64M and 1G are understood
    #[arg(short = 'b', long = "buffer-size", value_name = "KB", value_parser = size_kb, action = ArgAction::Append)]
    pub(super) buffer_size: Vec<u64>,
    /// Size of a sub-buffer in KiB, the piece in which data leaves the kernel (kernel 6.8 on)
    #[arg(long, value_name = "KB", value_parser = size_kb, action = ArgAction::Append)]
    pub(super) subbuf_size: Vec<u64>,
    /// Trace clock: local, global, mono, …; tsc2nsec is x86-tsc shown in nanoseconds
    #[arg(short = 'C', long, value_name = "CLOCK", action = ArgAction::Append)]
    pub(super) clock: Vec<String>,
    /// Store how the CPU's cycles become nanoseconds, for the clock that is set
    #[arg(long)]
    pub(super) tsc2nsec: bool,
    /// Trace these processes only
    #[arg(short = 'P', long, value_name = "PID", value_delimiter = ',', action = ArgAction::Append)]
    pub(super) pid: Vec<i32>,
    /// Trace the command only
    #[arg(short = 'F', long = "only-command")]
    pub(super) only_command: bool,
    /// Trace the children of the traced processes too
    #[arg(short = 'c', long = "follow-children")]
    pub(super) follow_children: bool,
    /// Leave rtrec's own threads in the trace
    #[arg(long)]
    pub(super) no_filter: bool,
    /// Run the command as this user: with its groups, HOME, USER and LOGNAME
    #[arg(long, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// Use this instance for the options that follow; made when it does not exist, and then removed at the end
    #[arg(short = 'B', long = "instance", value_name = "NAME", action = ArgAction::Append)]
    pub(super) instance: Vec<String>,
    /// CPUs to trace, as a hex mask; -1 is all
    #[arg(short = 'M', long = "cpumask", value_name = "MASK", allow_hyphen_values = true, action = ArgAction::Append)]
    pub(super) cpumask: Vec<String>,
    /// How deep graphs go
    #[arg(long, value_name = "N", action = ArgAction::Append)]
    pub(super) max_graph_depth: Vec<u32>,
    /// Record what a profile needs: switches and wake-ups with stacks, interrupts, page faults, execs, system calls, and
    /// a graph of depth 1 if there is no -p
    #[arg(long, action = ArgAction::Append, num_args = 0, default_missing_value = "true", value_name = "")]
    pub(super) profile: Vec<bool>,
    /// With --profile: record only what the command line lists
    #[arg(short = 'S')]
    pub(super) profile_listed: bool,
    /// Measure from one event to another in a profile: [SYSTEM:]EVENT,FIELD[,PID]/[SYSTEM:]EVENT,FIELD[,FLAGS]; both are
    /// recorded. Flags: p pinned to a CPU, s with stack, g global
    #[arg(short = 'H', long = "hook", value_name = "HOOK", action = ArgAction::Append)]
    pub(super) hook: Vec<String>,
    /// Unknown events are no error
    #[arg(short = 'i', long = "ignore-unknown")]
    pub(super) ignore_unknown: bool,
    /// Take function names literally, even where this kernel does their work elsewhere
    #[arg(long)]
    pub(super) exact: bool,
    /// End the recording after this time: 30s, 10min, 500ms; a bare number is seconds. The command goes on
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) duration: Option<Duration>,
    /// Entries of the kernel's table of task names (it has 128)
    #[arg(long, value_name = "N")]
    pub(super) cmdlines_size: Option<u32>,
    /// SCHED_FIFO priority of the readers, 1 to 99; 0 leaves them as they are. Without it those of a file run at priority 1, each on
    /// its CPU, where that is permitted, and like everybody else while one takes most of its CPU
    #[arg(short = 'r', long = "priority", value_name = "PRIO", value_parser = clap::value_parser!(u32).range(0..=99))]
    pub(super) priority: Option<u32>,
    /// Longest time a reader sleeps, in microseconds; 0 wakes it for every record
    #[arg(short = 's', long = "interval", value_name = "USEC")]
    pub(super) interval: Option<u64>,
    /// The tracefs folder, if not the mounted one
    #[arg(long, value_name = "DIR")]
    pub(super) tracefs: Option<PathBuf>,
    /// No words but errors
    #[arg(short = 'q', long)]
    pub(in crate::cli) quiet: bool,
    /// Say more about what is done; with none, crit, err or warn (0 to 3) no more than usual
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "info",
        value_parser = ["none", "crit", "err", "warn", "info", "debug", "all", "0", "1", "2", "3", "4", "5", "6"])]
    verbose: Option<String>,
    /// As --verbose
    #[arg(long, hide = true)]
    debug: bool,
    /// rtrec's own words go to stderr, stdout is the command's
    #[arg(long)]
    pub(in crate::cli) stderr: bool,
    #[command(flatten)]
    pub(super) probes: ProbeArgs,
    #[command(flatten)]
    pub(super) refused: RefusedArgs,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    pub(super) command: Vec<OsString>,
}

/// Probes that are made for the recording.
#[derive(Debug, Args)]
#[command(next_help_heading = "Probes")]
pub(super) struct ProbeArgs {
    /// Probe in the kernel: '[NAME=][MODULE:]FUNCTION[+OFFSET][%return] [ARGUMENT …]'. Probes are events: -f and -R
    /// behind one belong to it
    #[arg(long, value_name = "SPEC", action = ArgAction::Append)]
    pub(super) kprobe: Vec<String>,
    /// Probe in a program or library: '[NAME=]BINARY:SYMBOL[+OFFSET][%return] [ARGUMENT …]', BINARY:0xOFFSET,
    /// BINARY:FILE:LINE; a process id may stand for BINARY
    #[arg(long, value_name = "SPEC", action = ArgAction::Append)]
    pub(super) uprobe: Vec<String>,
    /// Static probe of a program or library: BINARY:PROVIDER:NAME
    #[arg(long, value_name = "SPEC", action = ArgAction::Append)]
    pub(super) usdt: Vec<String>,
    /// Probe at entry or return of a kernel function, through ftrace (kernel 6.5 on)
    #[arg(long, value_name = "SPEC", action = ArgAction::Append)]
    pub(super) fprobe: Vec<String>,
    /// Probe at a tracepoint, with its raw arguments (kernel 6.5 on)
    #[arg(long, value_name = "SPEC", action = ArgAction::Append)]
    pub(super) tprobe: Vec<String>,
    /// Probe at another event: 'SYSTEM:EVENT [ARGUMENT …]' (kernel 5.15 on)
    #[arg(long, value_name = "SPEC", action = ArgAction::Append)]
    pub(super) eprobe: Vec<String>,
    /// How many places a glob of probes may mean [default: 100]
    #[arg(long, value_name = "N")]
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
/// Runs COMMAND and records what was asked for until it ends; without a command, until Ctrl-C or until the processes of
/// -P end. The command's exit status becomes rtrec's. Options after COMMAND belong to it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rtrec record -p function_graph -g do_sys_open ls\n  rtrec record -e sched -e 'irq:*' -f 'irq != 0' -o irq.dat sleep 1\n  rtrec record -e syscalls -F -c make\n  rtrec record -e sched -B locks -e lock -b 16M --duration 10s"
)]
pub(in crate::cli) struct RecordArgs {
    #[command(flatten)]
    pub(super) setup: SetupArgs,
    /// Output file
    #[arg(short = 'o', long, value_name = "FILE", default_value = "trace.dat")]
    pub(super) output: PathBuf,
    /// Permissions of the output file, in octal
    #[arg(long, value_name = "OCTAL", value_parser = octal, default_value = "600")]
    pub(super) mode: u32,
    /// Folder of temporary files, if not that of the output
    #[arg(long, value_name = "DIR")]
    pub(super) temp: Option<PathBuf>,
    /// Store the formats of all events, not only of the enabled ones
    #[arg(short = 'a', long = "all-formats")]
    pub(super) all_formats: bool,
    /// zstd, zlib, none or any [default: any]
    #[arg(long, value_name = "NAME")]
    pub(super) compression: Option<Compression>,
    /// Version of the file: 7, or 6 for readers before trace-cmd 3.0
    #[arg(long, value_name = "6|7", value_parser = file_version, default_value = "7")]
    pub(super) file_version: FileVersion,
    /// Let reports show the date: store what is to be added to the trace clock
    #[arg(long)]
    pub(super) date: bool,
    /// Let reports add so many ticks to every time
    #[arg(long, value_name = "TICKS", allow_negative_numbers = true)]
    pub(super) ts_offset: Option<i64>,
    /// Store the memory maps of the processes of -P, or of the command when it ends
    #[arg(long, action = ArgAction::Append, num_args = 0, default_missing_value = "true", value_name = "")]
    pub(super) proc_map: Vec<bool>,
    /// Do not put the kernel's settings back at the end; tracing itself stays off
    #[arg(short = 'k', long = "keep")]
    pub(super) keep: bool,
    /// Take the kernel's settings as they are and add to them; includes -k
    #[arg(short = 'K', long = "keep-before")]
    pub(super) keep_before: bool,
    /// Which way data leaves the kernel: best, splice or read
    #[arg(long, value_name = "WAY", value_parser = reader)]
    pub(super) reader: Option<ReaderChoice>,
    /// Read the buffers instead of mapping or splicing them
    #[arg(long, conflicts_with = "reader")]
    pub(super) nosplice: bool,
    /// Look for data again and again instead of sleeping: no wake-ups of other CPUs, but each reader takes a CPU
    #[arg(long, conflicts_with = "interval")]
    pub(super) poll: bool,
    /// Return once recording is running; SIGINT or SIGTERM to the process in /var/run/rtrec-record.pid ends it
    #[arg(long)]
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
