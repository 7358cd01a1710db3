//! What `rtrec report` takes on the command line, and in which order it was given.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};

use super::super::common::explain::Explained;
use super::super::common::windows::{ViewArgs, WindowArgs};
use crate::report::FilterArg;
use crate::report::analysis::latency::PairWord;
use crate::report::{Format, export};

/// The options as clap sees them.
#[derive(Args, Debug, Clone, Default)]
#[command(after_help = "Examples:\n  rtrec report\n  rtrec report -i host.dat -i guest.dat -t\n  \
    rtrec report -F 'sched_switch: next_prio < 100' --head 20\n  \
    rtrec report --from 12.5 --to 13 --comm 'kworker/*' --format json")]
pub(super) struct Options {
    #[command(flatten)]
    pub(super) files: FileArgs,
    #[command(flatten)]
    pub(super) lists: ListArgs,
    #[command(flatten)]
    pub(super) analysis: AnalysisArgs,
    #[command(flatten)]
    pub(super) select: SelectArgs,
    #[command(flatten)]
    pub(super) layout: LayoutArgs,
    #[command(flatten)]
    pub(super) time: TimeArgs,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

// Which files.
#[derive(Args, Debug, Clone, Default)]
pub(super) struct FileArgs {
    /// Read this file, - for standard input; several files are merged by time [default: trace.dat]
    #[arg(short = 'i', value_name = "FILE", help_heading = "File")]
    pub(super) input: Vec<PathBuf>,
    /// Files to read, if there is no -i; - is standard input
    #[arg(value_name = "FILES")]
    pub(super) files: Vec<PathBuf>,
    /// Read kernel symbols from this file too
    #[arg(long, value_name = "FILE", help_heading = "Symbols")]
    pub(super) kallsyms: Option<PathBuf>,
    /// Name addresses of programs in stacks and probes by the memory maps in the file (record --proc-map)
    ///
    /// With --windows: also name functions in samples whose debug file was missing when they were recorded.
    #[arg(long, help_heading = "Symbols")]
    pub(super) user_symbols: bool,
}

// What is said of files instead of printing their records.
#[derive(Args, Debug, Clone, Default)]
pub(super) struct ListArgs {
    /// Print the byte order of the file and of this machine, and exit
    #[arg(short = 'e', help_heading = "Instead of records")]
    pub(super) endian: bool,
    /// Print the page size of the file and of this machine, and exit
    #[arg(short = 'p', help_heading = "Instead of records")]
    pub(super) page_size: bool,
    /// Print the addresses and names of the kernel's functions, and exit
    #[arg(short = 'f', help_heading = "Instead of records")]
    pub(super) functions: bool,
    /// Print the format strings of trace_printk, and exit
    #[arg(short = 'P', help_heading = "Instead of records")]
    pub(super) printk: bool,
    /// List the events, and exit
    #[arg(short = 'E', help_heading = "Instead of records")]
    pub(super) list_events: bool,
    /// Print the formats of all events, and exit
    #[arg(long, help_heading = "Instead of records")]
    pub(super) events: bool,
    /// Print the formats of the events that match ([SYSTEM:]REGEX), and exit
    #[arg(long, value_name = "REGEX", help_heading = "Instead of records")]
    pub(super) event: Option<String>,
    /// Check that the formats of all events can be parsed, and exit
    #[arg(long, help_heading = "Instead of records")]
    pub(super) check_events: bool,
    /// List the CPUs that have data, and exit
    #[arg(long, help_heading = "Instead of records")]
    pub(super) cpus: bool,
    /// List the CPUs that have data, with the time of each one's first record, and exit
    #[arg(long, help_heading = "Instead of records")]
    pub(super) first_event: bool,
    /// List the CPUs that have data, with the time of each one's last record, and exit
    #[arg(long, help_heading = "Instead of records")]
    pub(super) last_event: bool,
    /// Print the buffer statistics of the recording, and exit
    #[arg(long, help_heading = "Instead of records")]
    pub(super) stat: bool,
    /// Print the uname of the recorded machine, and exit
    #[arg(long, help_heading = "Instead of records")]
    pub(super) uname: bool,
    /// Print the version of the recorder, and exit
    #[arg(long, help_heading = "Instead of records")]
    pub(super) version: bool,
    /// Print the filters as rtrec understands them, and exit
    #[arg(short = 'T', long = "filter-test", help_heading = "Instead of records")]
    pub(super) filter_test: bool,
}

// Questions that are asked of the records.
#[derive(Args, Debug, Clone, Default)]
pub(super) struct AnalysisArgs {
    /// Count records and losses by event, task and CPU, with the times of the first and the last
    #[arg(long, help_heading = "Instead of records")]
    pub(super) summary: bool,
    /// Count the calls and the time of each function in the function graph
    #[arg(long, help_heading = "Instead of records")]
    pub(super) graph_stats: bool,
    /// Show how long calls take, for each pair of an entry event and a return event
    ///
    /// Pairs are NAME and NAME__return (probes), and sys_enter_NAME and sys_exit_NAME. With --threshold, each call
    /// that took that long is printed too.
    #[arg(long, help_heading = "Instead of records")]
    pub(super) latency: bool,
    /// Show how long it takes from one event to the other, as --latency does: START..STOP, each [SYSTEM:]EVENT
    #[arg(long, value_name = "START..STOP", value_parser = pair, help_heading = "Instead of records")]
    pub(super) pair: Vec<PairWord>,
    /// Show where tasks spend their time (asleep, waiting, in interrupts, system calls, functions), with stacks
    #[arg(long, help_heading = "Instead of records")]
    pub(super) profile: bool,
    /// With --profile: count interrupts for their CPU, not for the task that they interrupted
    #[arg(short = 'G', requires = "profile", help_heading = "Instead of records")]
    pub(super) global: bool,
    /// With --profile: measure the time from START to the END that has the same value
    ///
    /// HOOK is [SYSTEM:]START,FIELD[,PIDFIELD]/[SYSTEM:]END,FIELD[,FLAGS]. Flag g counts the time for no task, gp for
    /// the CPU.
    #[arg(short = 'H', value_name = "HOOK", requires = "profile", help_heading = "Instead of records")]
    pub(super) hook: Vec<String>,
    /// With --profile: show tasks of the same name as one task
    #[arg(long, requires = "profile", help_heading = "Instead of records")]
    pub(super) by_comm: bool,
    /// Show response-time windows: tables of all, and a time line of each slow one
    #[arg(long, help_heading = "Instead of records")]
    pub(super) windows: bool,
    #[command(flatten)]
    pub(super) window: WindowArgs,
    #[command(flatten)]
    pub(super) view: ViewArgs,
}

// Which records.
#[derive(Args, Debug, Clone, Default)]
pub(super) struct SelectArgs {
    /// Keep only records that match EVENTS[:EXPR]; with several -F, records that match any of them
    ///
    /// EXPR compares fields, COMM, CPU, numbers and "texts" by == != < > <= >= and joins comparisons by && || !.
    /// Texts match by ~ "glob", =~ "basic regular expression" (in any case) and =~ /regular expression/; !~ keeps
    /// what does not match.
    #[arg(short = 'F', value_name = "FILTER", allow_hyphen_values = true, help_heading = "Selection")]
    pub(super) filter: Vec<String>,
    /// Drop the records that match a later -F, instead of keeping them
    #[arg(short = 'v', num_args = 0, default_missing_value = "true", help_heading = "Selection")]
    pub(super) invert: Vec<bool>,
    /// Keep only these tasks, by pid; commas separate several
    #[arg(long, value_delimiter = ',', value_name = "PID", allow_negative_numbers = true, help_heading = "Selection")]
    pub(super) pid: Vec<i32>,
    /// Keep only tasks whose names match this glob; commas separate several
    #[arg(long, value_delimiter = ',', value_name = "GLOB", help_heading = "Selection")]
    pub(super) comm: Vec<String>,
    /// With --pid or --comm: also keep the children of those tasks
    #[arg(long, help_heading = "Selection")]
    pub(super) follow_children: bool,
    /// Keep only these CPUs, for example 0,2-5
    #[arg(long, value_name = "LIST", help_heading = "Selection")]
    pub(super) cpu: Vec<String>,
    /// Keep only events that match ([SYSTEM:]GLOB); commas separate several
    #[arg(long, value_delimiter = ',', value_name = "GLOB", help_heading = "Selection")]
    pub(super) only_event: Vec<String>,
    /// Drop records from hard interrupts
    #[arg(short = 'I', help_heading = "Selection")]
    pub(super) no_hardirq: bool,
    /// Drop records from soft interrupts
    #[arg(short = 'S', help_heading = "Selection")]
    pub(super) no_softirq: bool,
    /// Keep only records from this time on
    ///
    /// TIME is seconds (or ticks) as printed, +1.5s after the first record, -1s before the last record, or a time of
    /// day: 10:31:05 or "2026-03-29 10:31:05".
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = "Selection")]
    pub(super) from: Option<String>,
    /// Keep only records up to this time; TIME is as for --from
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = "Selection")]
    pub(super) to: Option<String>,
    /// Print only the first N records
    #[arg(long, value_name = "N", help_heading = "Selection")]
    pub(super) head: Option<u64>,
    /// Print only the last N records
    #[arg(long, value_name = "N", help_heading = "Selection")]
    pub(super) tail: Option<u64>,
}

// How records look.
#[derive(Args, Debug, Clone, Default)]
pub(super) struct LayoutArgs {
    /// Print all nine decimals of the time
    #[arg(short = 't', help_heading = "Layout")]
    pub(super) full_time: bool,
    /// Print the raw fields of all events
    #[arg(short = 'R', help_heading = "Layout")]
    pub(super) raw: bool,
    /// Print the raw fields of events that match
    #[arg(short = 'r', value_name = "REGEX", help_heading = "Layout")]
    pub(super) raw_event: Vec<String>,
    /// Use no plugins for events that match
    #[arg(short = 'n', value_name = "REGEX", help_heading = "Layout")]
    pub(super) ignore_plugin: Vec<String>,
    /// Use no plugins at all
    #[arg(short = 'N', help_heading = "Layout")]
    pub(super) no_plugins: bool,
    /// Use no system-wide plugins
    #[arg(short = 'L', help_heading = "Layout")]
    pub(super) no_system_plugins: bool,
    /// Set an option of a plugin, or toggle it if there is no value
    ///
    /// Functions and stacks: ftrace:parent, ftrace:indent, ftrace:offset. Function graphs: fgraph:tailprint,
    /// fgraph:depth, fgraph:retval-skip, fgraph:retval-dec, fgraph:retval-hex; fgraph:kernel prints them as the
    /// kernel's trace file does, fgraph:abstime and fgraph:proc add columns to that, fgraph:cpu=0 and
    /// fgraph:duration=0 remove columns.
    #[arg(short = 'O', value_name = "[PLUGIN:]VAR[=VALUE]", help_heading = "Layout")]
    pub(super) option: Vec<String>,
    /// Print the narrow layout of latency traces
    #[arg(short = 'l', help_heading = "Layout")]
    pub(super) narrow: bool,
    /// Add the time since the line before
    #[arg(long, help_heading = "Layout")]
    pub(super) ts_diff: bool,
    /// Add to each switch how long the next task had waited since its wake-up, and print a summary; one file only
    #[arg(short = 'w', help_heading = "Layout")]
    pub(super) wakeup: bool,
    /// Mark where sub-buffers begin
    #[arg(long, help_heading = "Layout")]
    pub(super) boundary: bool,
    /// Colour tasks, events, losses and long durations
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto", help_heading = "Layout")]
    pub(super) color: ColorArg,
    /// Print above the lines what their columns mean
    #[arg(long, help_heading = "Layout")]
    pub(super) legend: bool,
    /// Print where records lie in their sub-buffers, and what lies between them
    #[arg(long, help_heading = "Layout")]
    pub(super) debug: bool,
    /// Print in this format
    #[arg(long, value_parser = format_names(), default_value = "text", value_name = "FORMAT", help_heading = "Layout")]
    pub(super) format: FormatArg,
    /// With --format json or csv: print these fields of each record; commas separate several
    ///
    /// There are ts, time, cpu, pid, comm, event, system, flags, text, buffer, file, schema, and the fields of the
    /// events.
    #[arg(long, value_delimiter = ',', value_name = "FIELD", help_heading = "Layout")]
    pub(super) fields: Vec<String>,
    /// Print exactly what this version of trace-cmd prints
    #[arg(long, value_enum, value_name = "VERSION", help_heading = "trace-cmd")]
    pub(super) compat: Option<CompatArg>,
}

// How times are made.
#[derive(Args, Debug, Clone, Default)]
pub(super) struct TimeArgs {
    /// Add this to the times of the file before it; if it comes first, to those of all files
    #[arg(long, value_name = "TICKS", allow_negative_numbers = true, help_heading = "Time")]
    pub(super) ts_offset: Vec<i64>,
    /// Convert the times of the file before it by this clock frequency; if it comes first, of all files
    #[arg(long, value_name = "HZ", help_heading = "Time")]
    pub(super) ts2secs: Vec<u64>,
    /// Do not add the date that record --date stored
    #[arg(long, help_heading = "Time")]
    pub(super) nodate: bool,
    /// Print the time of day, as seconds since 1970; files that rtrec recorded have it
    #[arg(long, conflicts_with = "raw_ts", help_heading = "Time")]
    pub(super) wall_clock: bool,
    /// Print times without any correction
    #[arg(long, help_heading = "Time")]
    pub(super) raw_ts: bool,
    /// Subtract the time of the first record from all times
    #[arg(long, help_heading = "Time")]
    pub(super) align_ts: bool,
    /// Warn when a record is older than the one before it
    #[arg(long, help_heading = "Time")]
    pub(super) ts_check: bool,
}

// How the report runs.
#[derive(Args, Debug, Clone, Default)]
pub(super) struct RunArgs {
    /// Do not start a pager ($RTREC_PAGER, $PAGER or less) when stdout is a terminal
    #[arg(long, help_heading = "Output")]
    pub(super) no_pager: bool,
    /// Decode with N threads; the output is the same [default: one for each CPU]
    #[arg(long, value_name = "N", help_heading = "Readers")]
    pub(super) threads: Option<usize>,
    /// Print no warnings
    #[arg(short = 'q', help_heading = "Output")]
    pub(super) quiet: bool,
    /// Accepted for trace-cmd's sake; has no effect
    #[arg(short = 'V', long, num_args = 0..=1, require_equals = true, value_name = "LEVEL", help_heading = "trace-cmd")]
    pub(super) verbose: Option<Option<String>>,
}

/// Lines of text, or a format of the registry.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum FormatArg {
    #[default]
    Text,
    Export(&'static Format),
}

impl FormatArg {
    /// The name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            FormatArg::Text => TEXT,
            FormatArg::Export(format) => format.name,
        }
    }

    pub(super) fn is_json(self) -> bool {
        self.name() == "json"
    }
}

const TEXT: &str = "text";

fn format_names() -> impl TypedValueParser<Value = FormatArg> {
    let text = PossibleValue::new(TEXT).help("Lines for people");
    let formats = export::FORMATS.iter().map(|format| PossibleValue::new(format.name).help(format.about));
    PossibleValuesParser::new(std::iter::once(text).chain(formats))
        .map(|name| export::named(&name).map_or(FormatArg::Text, FormatArg::Export))
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
    pub(super) options: Options,
    pub(super) placed: Vec<Placed>,
}

impl FromArgMatches for ReportArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let options = Options::from_arg_matches(matches)?;
        let mut placed: Vec<(usize, Placed)> = Vec::new();
        let at = |id: &str| matches.indices_of(id).into_iter().flatten().collect::<Vec<usize>>();
        placed.extend(at("input").into_iter().zip(options.files.input.iter().cloned().map(Placed::Input)));
        placed.extend(at("filter").into_iter().zip(options.select.filter.iter().cloned().map(Placed::Filter)));
        placed.extend(at("invert").into_iter().zip(options.select.invert.iter().map(|_| Placed::Invert)));
        placed.extend(at("ts_offset").into_iter().zip(options.time.ts_offset.iter().copied().map(Placed::TsOffset)));
        placed.extend(at("ts2secs").into_iter().zip(options.time.ts2secs.iter().copied().map(Placed::Ts2Secs)));
        placed.sort_by_key(|(at, _)| *at);
        Ok(ReportArgs { options, placed: placed.into_iter().map(|(_, placed)| placed).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = ReportArgs::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for ReportArgs {
    fn augment_args(command: Command) -> Command {
        Options::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Options::augment_args_for_update(command)
    }
}

impl Options {
    pub(super) fn shows_windows(&self) -> bool {
        let AnalysisArgs { windows, window, view, .. } = &self.analysis;
        *windows || window.any() || view.top.is_some() || view.min.is_some()
    }
}

/// The files, and what was said about each.
pub(super) struct Plan {
    pub(super) paths: Vec<PathBuf>,
    pub(super) offsets: Vec<i64>,
    pub(super) hz: Vec<Option<u64>>,
    pub(super) filters: Vec<FilterArg>,
}

pub(super) fn plan(args: &ReportArgs) -> Result<Plan, Explained> {
    let mut plan = Plan { paths: Vec::new(), offsets: Vec::new(), hz: Vec::new(), filters: Vec::new() };
    if !args.options.files.input.is_empty() && !args.options.files.files.is_empty() {
        return Err(Explained::new("files are given both with -i and without").row("try", "give all of them with -i"));
    }
    if args.options.select.invert.len() > 1 {
        return Err(
            Explained::new("-v may be given once").row("try", "put it before the first -F that is to drop records")
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
        plan.paths.clone_from(&args.options.files.files);
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
