//! What `rtrec report` takes on the command line, and in which order it was given.

use std::path::PathBuf;

use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};

use super::super::windows::{ViewArgs, WindowArgs};
use super::failure::Failure;
use crate::report::FilterArg;
use crate::report::analysis::latency::PairWord;

/// The options as clap sees them.
#[derive(Args, Debug, Clone, Default)]
#[command(after_help = "Examples:\n  rtrec report\n  rtrec report -i host.dat -i guest.dat -t\n  \
    rtrec report -F 'sched_switch: next_prio < 100' --head 20\n  \
    rtrec report --from 12.5 --to 13 --comm 'kworker/*' --format json")]
pub(super) struct Flat {
    /// File to read; several are merged by time [default: trace.dat]
    #[arg(short = 'i', value_name = "FILE")]
    pub(super) input: Vec<PathBuf>,
    /// Files to read, when no -i is given
    #[arg(value_name = "FILES")]
    pub(super) files: Vec<PathBuf>,

    /// Say which byte order the file has, and stop
    #[arg(short = 'e', help_heading = "Instead of records")]
    pub(super) endian: bool,
    /// Say which page size the file has, and stop
    #[arg(short = 'p', help_heading = "Instead of records")]
    pub(super) page_size: bool,
    /// Print the function map, and stop
    #[arg(short = 'f', help_heading = "Instead of records")]
    pub(super) functions: bool,
    /// Print the strings of trace_printk, and stop
    #[arg(short = 'P', help_heading = "Instead of records")]
    pub(super) printk: bool,
    /// List the events, and stop
    #[arg(short = 'E', help_heading = "Instead of records")]
    pub(super) list_events: bool,
    /// Print the stored formats of all events, and stop
    #[arg(long, help_heading = "Instead of records")]
    pub(super) events: bool,
    /// Print the stored formats of matching events ([SYSTEM:]REGEX), and stop
    #[arg(long, value_name = "REGEX", help_heading = "Instead of records")]
    pub(super) event: Option<String>,
    /// Check that all formats can be read
    #[arg(long, help_heading = "Instead of records")]
    pub(super) check_events: bool,
    /// List the CPUs that have data, and stop
    #[arg(long, help_heading = "Instead of records")]
    pub(super) cpus: bool,
    /// As --cpus, with the time of each CPU's first record
    #[arg(long, help_heading = "Instead of records")]
    pub(super) first_event: bool,
    /// As --cpus, with the time of each CPU's last record
    #[arg(long, help_heading = "Instead of records")]
    pub(super) last_event: bool,
    /// Print the buffer statistics of the recording, and stop
    #[arg(long, help_heading = "Instead of records")]
    pub(super) stat: bool,
    /// Print the uname of the recorded machine, and stop
    #[arg(long, help_heading = "Instead of records")]
    pub(super) uname: bool,
    /// Print the version of the recorder, and stop
    #[arg(long, help_heading = "Instead of records")]
    pub(super) version: bool,
    /// Print the filters as they were understood, and stop
    #[arg(short = 'T', long = "filter-test", help_heading = "Instead of records")]
    pub(super) filter_test: bool,
    /// Count records, losses and time per event, task and CPU instead of printing them
    #[arg(long, help_heading = "Instead of records")]
    pub(super) summary: bool,
    /// Count calls and time per function of the function graph instead of printing records
    #[arg(long, help_heading = "Instead of records")]
    pub(super) graph_stats: bool,
    /// Show how long calls take: figures of each pair of events NAME and NAME__return (probes) or sys_enter_NAME and
    /// sys_exit_NAME; with --threshold also each call that took so long
    #[arg(long, help_heading = "Instead of records")]
    pub(super) latency: bool,
    /// As --latency, of these two events ([SYSTEM:]EVENT)
    #[arg(long, value_name = "START..STOP", value_parser = pair, help_heading = "Instead of records")]
    pub(super) pair: Vec<PairWord>,
    /// Show where tasks spend their time: asleep, waiting to run, in interrupts, system calls and functions, with stacks
    #[arg(long, help_heading = "Instead of records")]
    pub(super) profile: bool,
    /// With --profile: count interrupts for their CPU and not for the task they interrupted
    #[arg(short = 'G', requires = "profile", help_heading = "Instead of records")]
    pub(super) global: bool,
    /// With --profile: the time from START to END with the same value, as [SYSTEM:]START,FIELD[,PIDFIELD]/[SYSTEM:]END,FIELD[,FLAGS];
    /// flag g counts it for no task, gp for the CPU
    #[arg(short = 'H', value_name = "HOOK", requires = "profile", help_heading = "Instead of records")]
    pub(super) hook: Vec<String>,
    /// With --profile: show tasks of the same name as one
    #[arg(long, requires = "profile", help_heading = "Instead of records")]
    pub(super) by_comm: bool,

    /// Show response-time windows: figures of all, the time line of the slow ones
    #[arg(long, help_heading = "Instead of records")]
    pub(super) windows: bool,
    #[command(flatten)]
    pub(super) window: WindowArgs,
    #[command(flatten)]
    pub(super) view: ViewArgs,

    /// Keep records that match EVENTS[:EXPR]; several are alternatives. In EXPR: == != < > <= >= && || !, fields, COMM, CPU, numbers
    /// and "texts"; ~ "glob", =~ "basic expression" in any case, =~ /expression/, !~ for what does not match
    #[arg(short = 'F', value_name = "FILTER", help_heading = "Selection", allow_hyphen_values = true)]
    pub(super) filter: Vec<String>,
    /// Drop what the -F after this match, instead of keeping it
    #[arg(short = 'v', num_args = 0, default_missing_value = "true", help_heading = "Selection")]
    pub(super) invert: Vec<bool>,
    /// Only these tasks, by number; comma separated
    #[arg(long, value_delimiter = ',', value_name = "PID", help_heading = "Selection", allow_negative_numbers = true)]
    pub(super) pid: Vec<i32>,
    /// Only tasks with these names (globs); comma separated
    #[arg(long, value_delimiter = ',', value_name = "GLOB", help_heading = "Selection")]
    pub(super) comm: Vec<String>,
    /// With --pid or --comm: also the children of those tasks
    #[arg(long, help_heading = "Selection")]
    pub(super) follow_children: bool,
    /// Only these CPUs, such as 0,2-5
    #[arg(long, value_name = "LIST", help_heading = "Selection")]
    pub(super) cpu: Vec<String>,
    /// Only these events ([SYSTEM:]GLOB); comma separated
    #[arg(long, value_delimiter = ',', value_name = "GLOB", help_heading = "Selection")]
    pub(super) only_event: Vec<String>,
    /// Leave out what ran in hard interrupts
    #[arg(short = 'I', help_heading = "Selection")]
    pub(super) no_hardirq: bool,
    /// Leave out what ran in soft interrupts
    #[arg(short = 'S', help_heading = "Selection")]
    pub(super) no_softirq: bool,
    /// Only records from this time on: seconds as printed (or ticks), +1.5s after the first record, -1s before the last,
    /// 10:31:05 or "2026-03-29 10:31:05" by the time of day
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = "Selection")]
    pub(super) from: Option<String>,
    /// Only records up to this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = "Selection")]
    pub(super) to: Option<String>,
    /// Stop after so many records
    #[arg(long, value_name = "N", help_heading = "Selection")]
    pub(super) head: Option<u64>,
    /// Print only so many records, the last ones
    #[arg(long, value_name = "N", help_heading = "Selection")]
    pub(super) tail: Option<u64>,

    /// Print all digits of the time
    #[arg(short = 't', help_heading = "Layout")]
    pub(super) full_time: bool,
    /// Print raw fields of all events
    #[arg(short = 'R', help_heading = "Layout")]
    pub(super) raw: bool,
    /// Print raw fields of matching events
    #[arg(short = 'r', value_name = "REGEX", help_heading = "Layout")]
    pub(super) raw_event: Vec<String>,
    /// Ignore the plugins of matching events
    #[arg(short = 'n', value_name = "REGEX", help_heading = "Layout")]
    pub(super) ignore_plugin: Vec<String>,
    /// Use no plugins at all
    #[arg(short = 'N', help_heading = "Layout")]
    pub(super) no_plugins: bool,
    /// Use no plugins of the system
    #[arg(short = 'L', help_heading = "Layout")]
    pub(super) no_system_plugins: bool,
    /// Set an option of a plugin; without a value it is turned: ftrace:parent, ftrace:indent, ftrace:offset (of functions
    /// and stacks), fgraph:tailprint, fgraph:depth, fgraph:retval-skip, fgraph:retval-dec, fgraph:retval-hex; fgraph:kernel shows
    /// function graphs as the kernel's trace file does, with columns by fgraph:abstime, fgraph:proc, fgraph:cpu=0 and
    /// fgraph:duration=0
    #[arg(short = 'O', value_name = "[PLUGIN:]VAR[=VALUE]", help_heading = "Layout")]
    pub(super) option: Vec<String>,
    /// Narrow layout
    #[arg(short = 'l', help_heading = "Layout")]
    pub(super) narrow: bool,
    /// Add the time since the line before
    #[arg(long, help_heading = "Layout")]
    pub(super) ts_diff: bool,
    /// Add to each switch how long its next task waited since it was woken, and sum up at the end; one file only
    #[arg(short = 'w', help_heading = "Layout")]
    pub(super) wakeup: bool,
    /// Mark where sub-buffers begin
    #[arg(long, help_heading = "Layout")]
    pub(super) boundary: bool,
    /// Format of the output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Layout")]
    pub(super) format: FormatArg,
    /// Fields of each record for --format json or csv: ts, time, cpu, pid, comm, event, system, flags, text, buffer, file,
    /// schema, or a field of the event; comma separated
    #[arg(long, value_delimiter = ',', value_name = "FIELD", help_heading = "Layout")]
    pub(super) fields: Vec<String>,
    /// Print what this version of trace-cmd prints
    #[arg(long, value_enum, value_name = "VERSION", help_heading = "Layout")]
    pub(super) compat: Option<CompatArg>,

    /// Add this to the times of the file before (of all, when first)
    #[arg(long, value_name = "TICKS", help_heading = "Time", allow_negative_numbers = true)]
    pub(super) ts_offset: Vec<i64>,
    /// Frequency of the clock of the file before (of all, when first)
    #[arg(long, value_name = "HZ", help_heading = "Time")]
    pub(super) ts2secs: Vec<u64>,
    /// Do not add the stored date
    #[arg(long, help_heading = "Time")]
    pub(super) nodate: bool,
    /// Print the time of day, as seconds since 1970; every file that rtrec recorded tells it
    #[arg(long, conflicts_with = "raw_ts", help_heading = "Time")]
    pub(super) wall_clock: bool,
    /// Print times without any correction
    #[arg(long, help_heading = "Time")]
    pub(super) raw_ts: bool,
    /// Let the first record have time 0
    #[arg(long, help_heading = "Time")]
    pub(super) align_ts: bool,
    /// Warn when a record is older than the one before
    #[arg(long, help_heading = "Time")]
    pub(super) ts_check: bool,

    /// Read kernel symbols from this file too
    #[arg(long, value_name = "FILE")]
    pub(super) kallsyms: Option<PathBuf>,
    /// Name user addresses (user stacks, user probes) by the memory maps in the file: record with --proc-map. With --windows:
    /// name functions in samples whose debug file was not there when they were recorded
    #[arg(long)]
    pub(super) user_symbols: bool,
    /// Colours: of tasks, events, losses and what takes long
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto", help_heading = "Layout")]
    pub(super) color: ColorArg,
    /// Say above the lines what their columns mean
    #[arg(long, help_heading = "Layout")]
    pub(super) legend: bool,
    /// Do not show long text on a terminal through $RTREC_PAGER, $PAGER or less
    #[arg(long, help_heading = "Layout")]
    pub(super) no_pager: bool,
    /// Threads to use; the output is the same
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,
    /// Do not warn
    #[arg(short = 'q')]
    pub(super) quiet: bool,
    /// Say more; accepted for trace-cmd's sake
    #[arg(short = 'V', long, num_args = 0..=1, require_equals = true, value_name = "LEVEL")]
    pub(super) verbose: Option<Option<String>>,
    /// Say where records lie in their sub-buffers, and what lies between them
    #[arg(long)]
    pub(super) debug: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum FormatArg {
    #[default]
    Text,
    Json,
    Csv,
    /// Stacks with their time; with --windows
    Folded,
    /// The same as an SVG picture; with --windows
    Flamegraph,
}

#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ColorArg {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CompatArg {
    #[value(name = "3.1")]
    V31,
    #[value(name = "3.4")]
    V34,
}

/// Something whose place on the command line counts.
#[derive(Clone, Debug)]
pub(super) enum Placed {
    Input(PathBuf),
    Filter(String),
    Invert,
    TsOffset(i64),
    Ts2Secs(u64),
}

/// Arguments of `rtrec report`.
#[derive(Debug, Clone, Default)]
pub struct ReportArgs {
    pub(super) flat: Flat,
    pub(super) placed: Vec<Placed>,
}

impl FromArgMatches for ReportArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flat = Flat::from_arg_matches(matches)?;
        let mut placed: Vec<(usize, Placed)> = Vec::new();
        let at = |id: &str| matches.indices_of(id).into_iter().flatten().collect::<Vec<usize>>();
        placed.extend(at("input").into_iter().zip(flat.input.iter().cloned().map(Placed::Input)));
        placed.extend(at("filter").into_iter().zip(flat.filter.iter().cloned().map(Placed::Filter)));
        placed.extend(at("invert").into_iter().zip(flat.invert.iter().map(|_| Placed::Invert)));
        placed.extend(at("ts_offset").into_iter().zip(flat.ts_offset.iter().copied().map(Placed::TsOffset)));
        placed.extend(at("ts2secs").into_iter().zip(flat.ts2secs.iter().copied().map(Placed::Ts2Secs)));
        placed.sort_by_key(|(at, _)| *at);
        Ok(ReportArgs { flat, placed: placed.into_iter().map(|(_, placed)| placed).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = ReportArgs::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for ReportArgs {
    fn augment_args(command: Command) -> Command {
        Flat::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flat::augment_args_for_update(command)
    }
}

impl Flat {
    pub(super) fn shows_windows(&self) -> bool {
        self.windows || self.window.any() || self.view.top.is_some() || self.view.min.is_some()
    }
}

/// The files, and what was said about each.
pub(super) struct Plan {
    pub(super) paths: Vec<PathBuf>,
    pub(super) offsets: Vec<i64>,
    pub(super) hz: Vec<Option<u64>>,
    pub(super) filters: Vec<FilterArg>,
}

pub(super) fn plan(args: &ReportArgs) -> Result<Plan, Failure> {
    let mut plan = Plan { paths: Vec::new(), offsets: Vec::new(), hz: Vec::new(), filters: Vec::new() };
    if !args.flat.input.is_empty() && !args.flat.files.is_empty() {
        return Err(Failure::new("files are given both with -i and without").with("try", "give all of them with -i"));
    }
    if args.flat.invert.len() > 1 {
        return Err(
            Failure::new("-v may be given once").with("try", "put it before the first -F that is to drop records")
        );
    }
    let (mut all_hz, mut all_offset, mut negative) = (None, 0_i64, false);
    for placed in &args.placed {
        match placed {
            Placed::Input(path) => {
                plan.paths.push(path.clone());
                plan.offsets.push(all_offset);
                plan.hz.push(all_hz);
            }
            Placed::Invert => negative = true,
            Placed::Filter(text) => {
                plan.filters.push(FilterArg { text: text.clone(), negative, file: plan.paths.len().checked_sub(1) });
            }
            Placed::TsOffset(n) => match plan.offsets.last_mut() {
                Some(offset) => *offset = *n,
                None => all_offset = *n,
            },
            Placed::Ts2Secs(n) => match plan.hz.last_mut() {
                Some(hz) => *hz = Some(*n),
                None => all_hz = Some(*n),
            },
        }
    }
    if plan.paths.is_empty() {
        plan.paths.clone_from(&args.flat.files);
    }
    if plan.paths.is_empty() {
        plan.paths.push("trace.dat".into());
    }
    plan.offsets.resize(plan.paths.len(), all_offset);
    plan.hz.resize(plan.paths.len(), all_hz);
    Ok(plan)
}

pub(super) fn pair(text: &str) -> Result<PairWord, String> {
    PairWord::parse(text).ok_or_else(|| "two events belong here: START..STOP".to_owned())
}
