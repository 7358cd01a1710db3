//! `rtrec report`: trace.dat files as text, JSON or CSV.
//!
//! The letters are trace-cmd's. Options whose place counts (`-i`, `-F`, `-v`, `--ts-offset`, `--ts2secs`) are put in order
//! by their position on the command line.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};

use super::windows::{ByArg, FoldedArg, Resolve, SortArg, ViewArgs, WindowArgs};
use crate::dat::{ids, own};
use crate::plugins::{Compat, Ignore, PluginSet, PluginSetting};
use crate::report::latency::{LatencySettings, PairWord};
use crate::report::lists;
use crate::report::select::describe;
use crate::report::windows::{By, FoldedTime, Form, Sort, WindowError, WindowSettings};
use crate::report::{
    self, FilterArg, Format, Gate, Hook, Input, Lane, Profile, RawEvents, ReportError, SelectError, Selection,
    Settings, Unit,
};
use crate::symbols::names::UserNames;
use crate::windows::spec::{Place, PlacedWindow};
use crate::windows::syscalls::Machine;
use crate::windows::{Point, Session, Source};
use crate::wire::abi::Endian;
use crate::wire::pattern::Pattern;
use crate::wire::tables::Kallsyms;

/// The options as clap sees them.
#[derive(Args, Debug, Clone, Default)]
#[command(after_help = "Examples:\n  rtrec report\n  rtrec report -i host.dat -i guest.dat -t\n  \
    rtrec report -F 'sched_switch: next_prio < 100' --head 20\n  \
    rtrec report --from 12.5 --to 13 --comm 'kworker/*' --format json")]
struct Flat {
    /// File to read; several are merged by time [default: trace.dat]
    #[arg(short = 'i', value_name = "FILE")]
    input: Vec<PathBuf>,
    /// Files to read, when no -i is given
    #[arg(value_name = "FILES")]
    files: Vec<PathBuf>,

    /// Say which byte order the file has, and stop
    #[arg(short = 'e', help_heading = "Instead of records")]
    endian: bool,
    /// Say which page size the file has, and stop
    #[arg(short = 'p', help_heading = "Instead of records")]
    page_size: bool,
    /// Print the function map, and stop
    #[arg(short = 'f', help_heading = "Instead of records")]
    functions: bool,
    /// Print the strings of trace_printk, and stop
    #[arg(short = 'P', help_heading = "Instead of records")]
    printk: bool,
    /// List the events, and stop
    #[arg(short = 'E', help_heading = "Instead of records")]
    list_events: bool,
    /// Print the stored formats of all events, and stop
    #[arg(long, help_heading = "Instead of records")]
    events: bool,
    /// Print the stored formats of matching events ([SYSTEM:]REGEX), and stop
    #[arg(long, value_name = "REGEX", help_heading = "Instead of records")]
    event: Option<String>,
    /// Check that all formats can be read
    #[arg(long, help_heading = "Instead of records")]
    check_events: bool,
    /// List the CPUs that have data, and stop
    #[arg(long, help_heading = "Instead of records")]
    cpus: bool,
    /// As --cpus, with the time of each CPU's first record
    #[arg(long, help_heading = "Instead of records")]
    first_event: bool,
    /// As --cpus, with the time of each CPU's last record
    #[arg(long, help_heading = "Instead of records")]
    last_event: bool,
    /// Print the buffer statistics of the recording, and stop
    #[arg(long, help_heading = "Instead of records")]
    stat: bool,
    /// Print the uname of the recorded machine, and stop
    #[arg(long, help_heading = "Instead of records")]
    uname: bool,
    /// Print the version of the recorder, and stop
    #[arg(long, help_heading = "Instead of records")]
    version: bool,
    /// Print the filters as they were understood, and stop
    #[arg(short = 'T', long = "filter-test", help_heading = "Instead of records")]
    filter_test: bool,
    /// Count records, losses and time per event, task and CPU instead of printing them
    #[arg(long, help_heading = "Instead of records")]
    summary: bool,
    /// Count calls and time per function of the function graph instead of printing records
    #[arg(long, help_heading = "Instead of records")]
    graph_stats: bool,
    /// Show how long calls take: figures of each pair of events NAME and NAME__return (probes) or sys_enter_NAME and
    /// sys_exit_NAME; with --threshold also each call that took so long
    #[arg(long, help_heading = "Instead of records")]
    latency: bool,
    /// As --latency, of these two events ([SYSTEM:]EVENT)
    #[arg(long, value_name = "START..STOP", value_parser = pair, help_heading = "Instead of records")]
    pair: Vec<PairWord>,
    /// Show where tasks spend their time: asleep, waiting to run, in interrupts, system calls and functions, with stacks
    #[arg(long, help_heading = "Instead of records")]
    profile: bool,
    /// With --profile: count interrupts for their CPU and not for the task they interrupted
    #[arg(short = 'G', requires = "profile", help_heading = "Instead of records")]
    global: bool,
    /// With --profile: the time from START to END with the same value, as [SYSTEM:]START,FIELD[,PIDFIELD]/[SYSTEM:]END,FIELD[,FLAGS];
    /// flag g counts it for no task, gp for the CPU
    #[arg(short = 'H', value_name = "HOOK", requires = "profile", help_heading = "Instead of records")]
    hook: Vec<String>,
    /// With --profile: show tasks of the same name as one
    #[arg(long, requires = "profile", help_heading = "Instead of records")]
    by_comm: bool,

    /// Show response-time windows: figures of all, the time line of the slow ones
    #[arg(long, help_heading = "Instead of records")]
    windows: bool,
    /// The windows of a session that is being recorded
    #[arg(long, hide = true, value_name = "FILE")]
    windows_of: Option<PathBuf>,
    #[command(flatten)]
    window: WindowArgs,
    #[command(flatten)]
    view: ViewArgs,

    /// Keep records that match EVENTS[:EXPR]; several are alternatives
    #[arg(short = 'F', value_name = "FILTER", help_heading = "Selection", allow_hyphen_values = true)]
    filter: Vec<String>,
    /// Drop what the -F after this match, instead of keeping it
    #[arg(short = 'v', num_args = 0, default_missing_value = "true", help_heading = "Selection")]
    invert: Vec<bool>,
    /// Only these tasks, by number; comma separated
    #[arg(long, value_delimiter = ',', value_name = "PID", help_heading = "Selection", allow_negative_numbers = true)]
    pid: Vec<i32>,
    /// Only tasks with these names (globs); comma separated
    #[arg(long, value_delimiter = ',', value_name = "GLOB", help_heading = "Selection")]
    comm: Vec<String>,
    /// With --pid or --comm: also the children of those tasks
    #[arg(long, help_heading = "Selection")]
    follow_children: bool,
    /// Only these CPUs, such as 0,2-5
    #[arg(long, value_name = "LIST", help_heading = "Selection")]
    cpu: Vec<String>,
    /// Only these events ([SYSTEM:]GLOB); comma separated
    #[arg(long, value_delimiter = ',', value_name = "GLOB", help_heading = "Selection")]
    only_event: Vec<String>,
    /// Leave out what ran in hard interrupts
    #[arg(short = 'I', help_heading = "Selection")]
    no_hardirq: bool,
    /// Leave out what ran in soft interrupts
    #[arg(short = 'S', help_heading = "Selection")]
    no_softirq: bool,
    /// Only records from this time on (seconds as printed, or ticks)
    #[arg(long, value_name = "TIME", help_heading = "Selection")]
    from: Option<String>,
    /// Only records up to this time
    #[arg(long, value_name = "TIME", help_heading = "Selection")]
    to: Option<String>,
    /// Stop after so many records
    #[arg(long, value_name = "N", help_heading = "Selection")]
    head: Option<u64>,
    /// Print only so many records, the last ones
    #[arg(long, value_name = "N", help_heading = "Selection")]
    tail: Option<u64>,

    /// Print all digits of the time
    #[arg(short = 't', help_heading = "Layout")]
    full_time: bool,
    /// Print raw fields of all events
    #[arg(short = 'R', help_heading = "Layout")]
    raw: bool,
    /// Print raw fields of matching events
    #[arg(short = 'r', value_name = "REGEX", help_heading = "Layout")]
    raw_event: Vec<String>,
    /// Ignore the plugins of matching events
    #[arg(short = 'n', value_name = "REGEX", help_heading = "Layout")]
    ignore_plugin: Vec<String>,
    /// Use no plugins at all
    #[arg(short = 'N', help_heading = "Layout")]
    no_plugins: bool,
    /// Use no plugins of the system
    #[arg(short = 'L', help_heading = "Layout")]
    no_system_plugins: bool,
    /// Set an option of a plugin; without a value it is turned: ftrace:parent, ftrace:indent, ftrace:offset (of functions
    /// and stacks), fgraph:tailprint, fgraph:depth, fgraph:retval-skip, fgraph:retval-dec, fgraph:retval-hex
    #[arg(short = 'O', value_name = "[PLUGIN:]VAR[=VALUE]", help_heading = "Layout")]
    option: Vec<String>,
    /// Narrow layout
    #[arg(short = 'l', help_heading = "Layout")]
    narrow: bool,
    /// Add the time since the line before
    #[arg(long, help_heading = "Layout")]
    ts_diff: bool,
    /// Add to each switch how long its next task waited since it was woken, and sum up at the end; one file only
    #[arg(short = 'w', help_heading = "Layout")]
    wakeup: bool,
    /// Mark where sub-buffers begin
    #[arg(long, help_heading = "Layout")]
    boundary: bool,
    /// Format of the output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Layout")]
    format: FormatArg,
    /// Fields of each record for --format json or csv: ts, time, cpu, pid, comm, event, system, flags, text, buffer, file,
    /// schema, or a field of the event; comma separated
    #[arg(long, value_delimiter = ',', value_name = "FIELD", help_heading = "Layout")]
    fields: Vec<String>,
    /// Print what this version of trace-cmd prints
    #[arg(long, value_enum, value_name = "VERSION", help_heading = "Layout")]
    compat: Option<CompatArg>,

    /// Add this to the times of the file before (of all, when first)
    #[arg(long, value_name = "TICKS", help_heading = "Time", allow_negative_numbers = true)]
    ts_offset: Vec<i64>,
    /// Frequency of the clock of the file before (of all, when first)
    #[arg(long, value_name = "HZ", help_heading = "Time")]
    ts2secs: Vec<u64>,
    /// Do not add the stored date
    #[arg(long, help_heading = "Time")]
    nodate: bool,
    /// Print the time of day, as seconds since 1970; every file that rtrec recorded tells it
    #[arg(long, conflicts_with = "raw_ts", help_heading = "Time")]
    wall_clock: bool,
    /// Print times without any correction
    #[arg(long, help_heading = "Time")]
    raw_ts: bool,
    /// Let the first record have time 0
    #[arg(long, help_heading = "Time")]
    align_ts: bool,
    /// Warn when a record is older than the one before
    #[arg(long, help_heading = "Time")]
    ts_check: bool,

    /// Read kernel symbols from this file too
    #[arg(long, value_name = "FILE")]
    kallsyms: Option<PathBuf>,
    /// Name user addresses (user stacks, user probes) by the memory maps in the file: record with --proc-map
    #[arg(long)]
    user_symbols: bool,
    /// Threads to use; the output is the same
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Do not warn
    #[arg(short = 'q')]
    quiet: bool,
    /// Say more; accepted for trace-cmd's sake
    #[arg(short = 'V', long, num_args = 0..=1, require_equals = true, value_name = "LEVEL")]
    verbose: Option<Option<String>>,
    /// Say where records lie in their sub-buffers, and what lies between them
    #[arg(long)]
    debug: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FormatArg {
    #[default]
    Text,
    Json,
    Csv,
    /// Stacks with their time; with --windows
    Folded,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum CompatArg {
    #[value(name = "3.1")]
    V31,
    #[value(name = "3.4")]
    V34,
}

/// Something whose place on the command line counts.
#[derive(Clone, Debug)]
enum Placed {
    Input(PathBuf),
    Filter(String),
    Invert,
    TsOffset(i64),
    Ts2Secs(u64),
}

/// Arguments of `rtrec report`.
#[derive(Debug, Clone, Default)]
pub struct ReportArgs {
    flat: Flat,
    placed: Vec<Placed>,
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

/// What went wrong, in the words of style: what, where, and what to do.
struct Failure {
    what: String,
    lines: Vec<(&'static str, String)>,
}

impl Failure {
    fn new(what: impl Into<String>) -> Failure {
        Failure { what: what.into(), lines: Vec::new() }
    }

    fn with(mut self, label: &'static str, text: impl Into<String>) -> Failure {
        self.lines.push((label, text.into()));
        self
    }

    fn print(&self) {
        eprintln!("rtrec report: {}", self.what);
        for (label, text) in &self.lines {
            eprintln!("  {label:<7} {text}");
        }
    }
}

/// Runs `rtrec report`.
pub fn run(args: ReportArgs) -> ExitCode {
    let mut out = Stdout { failed: None };
    let result = report(&args, &mut out);
    match (result, out.failed) {
        // Whoever reads us has seen enough.
        (_, Some(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        (_, Some(error)) => {
            Failure::new("the output could not be written").with("system", error.to_string()).print();
            ExitCode::from(2)
        }
        (Ok(code), None) => code,
        (Err(failure), None) => {
            failure.print();
            ExitCode::from(2)
        }
    }
}

/// Standard output that remembers its first error.
struct Stdout {
    failed: Option<io::Error>,
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Sizes are ours: nothing between us and the descriptor that would cut them into lines.
        let fd = io::stdout();
        match nix::unistd::write(&fd, bytes) {
            Ok(n) => Ok(n),
            Err(nix::errno::Errno::EINTR) => Err(ErrorKind::Interrupted.into()),
            Err(errno) => {
                let error = io::Error::from(errno);
                self.failed = Some(io::Error::from(errno));
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The files, and what was said about each.
struct Plan {
    paths: Vec<PathBuf>,
    offsets: Vec<i64>,
    hz: Vec<Option<u64>>,
    filters: Vec<FilterArg>,
}

fn plan(args: &ReportArgs) -> Result<Plan, Failure> {
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

/// Lets user addresses have names, by the maps and build ids that the files store.
fn name_users(inputs: &mut [Input]) {
    for input in inputs {
        let maps: Vec<String> =
            input.dat.options.proc_maps.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
        let ids = input.dat.own_payload(own::BUILD_IDS).unwrap_or_default();
        let users = Arc::new(UserNames::new(maps.iter().map(String::as_str), &String::from_utf8_lossy(&ids)));
        if users.is_empty() {
            let tip = "so user addresses have no names (rtrec record --proc-map stores them)";
            eprintln!("rtrec report: {} stores no memory maps, {tip}", input.path);
        }
        input.trace.user = Some(users);
    }
}

/// The durations of the calls in a file, as `rtrec report --latency` tells them.
pub(in crate::cli) fn durations(path: &Path, threshold: Option<u64>, json: bool) -> ExitCode {
    let mut flat = Flat { latency: true, files: vec![path.to_owned()], ..Flat::default() };
    flat.window.threshold = threshold;
    if json {
        flat.format = FormatArg::Json;
    }
    run(ReportArgs { flat, placed: Vec::new() })
}

fn report(args: &ReportArgs, out: &mut Stdout) -> Result<ExitCode, Failure> {
    let flat = &args.flat;
    let plan = plan(args)?;
    let mut inputs = Vec::new();
    for path in &plan.paths {
        inputs.push(open(path)?);
    }
    if let Some(path) = &flat.kallsyms {
        add_symbols(&mut inputs, path)?;
    }
    if flat.user_symbols {
        name_users(&mut inputs);
    }
    let mut settings = settings(flat, &plan)?;
    if flat.shows_windows() {
        settings.format = Format::Windows;
        settings.windows = window_settings(flat, &inputs)?;
    }
    // Errors of writing are kept in `out`.
    if let Some(code) = file_lists(flat, &inputs, out)? {
        return Ok(code);
    }
    let mut selection = selection(flat, &plan)?;
    if flat.shows_windows() {
        // Who woke a thread and what ran in its place belongs to its windows, so threads are not picked by their records.
        settings.windows.threads = std::mem::take(&mut selection.pids);
        if !selection.comms.is_empty() || !selection.filters.is_empty() || !selection.events.is_empty() {
            return Err(Failure::new("windows need all records of the file")
                .with("try", "--pid PID for the windows of a thread or process, --min and --top for fewer of them"));
        }
    }
    if flat.filter_test {
        let lines = describe(&inputs, &selection, settings.style.compat).map_err(|error| select_failure(&error))?;
        for line in lines {
            let _ = writeln!(out, " '{line}'");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let names = report::names(&inputs);
    let lanes = report::lanes(&inputs, &names, &settings).map_err(report_failure)?;
    if flat.cpus || flat.first_event || flat.last_event {
        let _ = lists::cpus(&inputs, &lanes, (flat.first_event, flat.last_event), flat.full_time, out);
        return Ok(ExitCode::SUCCESS);
    }
    print_records(flat, &inputs, &lanes, selection, settings, out)
}

fn print_records<'t>(
    flat: &Flat,
    inputs: &'t [Input],
    lanes: &[Lane<'t>],
    mut selection: Selection,
    mut settings: Settings,
    out: &mut Stdout,
) -> Result<ExitCode, Failure> {
    let raw = lanes.iter().any(|lane| lane.unit == Unit::Raw);
    let time = |text: &Option<String>| match text {
        Some(text) => parse_time(text, raw).map(Some).ok_or_else(|| {
            Failure::new("a time could not be read")
                .with("time", text)
                .with("try", "seconds as printed, such as 12.345")
        }),
        None => Ok(None),
    };
    selection.from = time(&flat.from)?.unwrap_or(0);
    settings.to = time(&flat.to)?;
    let gate = Gate::new(inputs, lanes, &selection, settings.style.compat).map_err(|error| select_failure(&error))?;
    let outcome = report::run(inputs, lanes, gate, &settings, out).map_err(report_failure)?;
    if flat.quiet {
        return Ok(ExitCode::SUCCESS);
    }
    for missing in inputs.iter().filter_map(|input| input.trace.user.as_ref()).flat_map(|users| users.missing()) {
        eprintln!("rtrec report: no names: {missing}");
    }
    for (file, note) in &outcome.notes {
        eprintln!("rtrec report: {}: {note}", inputs[*file].path);
    }
    Ok(if outcome.notes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn open(path: &Path) -> Result<Input, Failure> {
    Input::open(path).map_err(|error| {
        let failure = Failure::new(format!("{} could not be read", path.display())).with("reason", error.to_string());
        let cpu0 = path.with_file_name(format!(
            "{}.cpu0",
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        ));
        if cpu0.exists() {
            failure.with("note", format!("{} exists: the recording is going on, or was killed", cpu0.display()))
        } else {
            failure
        }
    })
}

fn add_symbols(inputs: &mut [Input], path: &Path) -> Result<(), Failure> {
    let more = fs::read(path).map_err(|error| {
        Failure::new(format!("{} could not be read", path.display())).with("reason", error.to_string())
    })?;
    for input in inputs {
        let mut text = input.trace.kallsyms.text().to_vec();
        if text.last().is_some_and(|byte| *byte != b'\n') {
            text.push(b'\n');
        }
        text.extend_from_slice(&more);
        input.trace.kallsyms = Kallsyms::new(text);
    }
    Ok(())
}

/// The options that say something about files and need no records.
fn file_lists(flat: &Flat, inputs: &[Input], out: &mut Stdout) -> Result<Option<ExitCode>, Failure> {
    let event = match &flat.event {
        Some(text) => Some(event_pattern(text)?),
        None => None,
    };
    let asked = flat.endian
        || flat.page_size
        || flat.functions
        || flat.printk
        || flat.list_events
        || flat.events
        || flat.check_events
        || flat.stat
        || flat.uname
        || flat.version
        || event.is_some();
    if !asked {
        return Ok(None);
    }
    let (mut bad, mut headed) = (Vec::new(), false);
    for input in inputs {
        let dat = &input.dat;
        let order = |endian: Endian| if endian == Endian::Little { "little" } else { "big" };
        let host = crate::wire::abi::Abi::HOST.endian;
        let mut print = |out: &mut Stdout| -> io::Result<()> {
            if flat.endian {
                return writeln!(out, "file is {} endian and host is {} endian", order(dat.abi.endian), order(host));
            }
            if flat.page_size {
                let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
                return writeln!(out, "file page size is {}, and host page size is {page}", dat.layout.subbuf_bytes);
            }
            if flat.functions {
                return lists::functions(input, out);
            }
            if flat.printk {
                return lists::printk(input, out);
            }
            if flat.list_events {
                return lists::events(input, out);
            }
            if flat.events || event.is_some() {
                return lists::formats(input, event.as_ref(), out);
            }
            if flat.check_events {
                bad.extend(lists::bad_events(input));
                return Ok(());
            }
            if !headed {
                report::heading(inputs, out)?;
                headed = true;
            }
            let text = |id: u16| if id == ids::UNAME { &dat.options.uname } else { &dat.options.version };
            for (wanted, id) in [(flat.uname, ids::UNAME), (flat.version, ids::VERSION)] {
                if let Some(text) = text(id).as_ref().filter(|_| wanted) {
                    out.write_all(text)?;
                    out.write_all(b"\n")?;
                }
            }
            Ok(())
        };
        let _ = print(out);
    }
    if flat.stat {
        if !headed {
            let _ = report::heading(inputs, out);
        }
        let _ = lists::stat(inputs, out);
    }
    for line in &bad {
        eprintln!("rtrec report: {line}");
    }
    Ok(Some(if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }))
}

fn event_pattern(text: &str) -> Result<(Option<Pattern>, Pattern), Failure> {
    let compile = |text: &str| Pattern::anywhere(text).map_err(pattern_failure);
    match text.split_once(':') {
        Some((system, event)) => Ok((Some(compile(system)?), compile(event)?)),
        None => Ok((None, compile(text)?)),
    }
}

fn pattern_failure(error: crate::wire::pattern::PatternError) -> Failure {
    Failure::new("a pattern could not be read").with("pattern", &error.pattern).with("reason", error.what)
}

fn report_failure(error: ReportError) -> Failure {
    match error {
        ReportError::Style(error) => Failure::new("an option of a plugin was refused")
            .with("reason", error.to_string())
            .with("try", "rtrec report --help lists them at -O"),
        error @ ReportError::NoWallClock(_) => {
            Failure::new(error.to_string()).with("try", "recording with rtrec, or with trace-cmd record --date")
        }
        error @ ReportError::NoPair(_) => Failure::new(error.to_string())
            .with("try", "rtrec report -E lists the events, --pair START..STOP names two of them"),
        ReportError::Windows(error @ WindowError::NoWindows(_)) => Failure::new(error.to_string())
            .with("try", "naming them: --window-marker, --window-syscall 0:read, --window START..STOP"),
        error => Failure::new(error.to_string()),
    }
}

fn select_failure(error: &SelectError) -> Failure {
    match error {
        SelectError::Filter(text, fault) => Failure::new("a filter was refused").with("filter", text).with(
            "",
            format!("{}^ {fault}", " ".repeat(text.get(..fault.at).map_or(0, |before| before.chars().count()))),
        ),
        SelectError::NoEvent(text) => Failure::new("a filter names no event of the file")
            .with("filter", text)
            .with("try", "rtrec report -E lists the events"),
        SelectError::Pattern(error) => pattern_failure(error.clone()),
    }
}

fn settings(flat: &Flat, plan: &Plan) -> Result<Settings, Failure> {
    let mut settings = Settings::default();
    if let Some(threads) = flat.threads {
        settings.threads = threads.clamp(1, 256);
    }
    settings.columns.full_time = flat.full_time;
    settings.style.nanoseconds = flat.full_time;
    settings.columns.latency = flat.narrow;
    settings.columns.diff = flat.ts_diff;
    settings.columns.bare_ticks = flat.raw_ts;
    if flat.raw {
        settings.columns.raw = RawEvents::all();
    } else if !flat.raw_event.is_empty() {
        let patterns = words(&flat.raw_event)?;
        settings.columns.raw = RawEvents::when(move |system, name| any(&patterns, system, name));
    }
    settings.style.compat = match flat.compat {
        None => Compat::Rtrec,
        Some(CompatArg::V31) => Compat::V31,
        Some(CompatArg::V34) => Compat::V34,
    };
    settings.style.plugins = if flat.no_plugins {
        PluginSet::None
    } else if flat.no_system_plugins {
        PluginSet::NoSystem
    } else {
        PluginSet::All
    };
    if !flat.ignore_plugin.is_empty() {
        let patterns = words(&flat.ignore_plugin)?;
        settings.style.ignore = Ignore::when(move |system, name| any(&patterns, system, name));
    }
    settings.style.options = flat.option.iter().map(|text| PluginSetting::parse(text)).collect();
    settings.with_date = !flat.nodate;
    settings.raw_time = flat.raw_ts;
    settings.wall_clock = flat.wall_clock;
    settings.align = flat.align_ts;
    settings.boundaries = flat.boundary || flat.debug;
    settings.dump = flat.debug;
    settings.head = flat.head;
    settings.tail = flat.tail;
    settings.offsets.clone_from(&plan.offsets);
    settings.hz.clone_from(&plan.hz);
    settings.ts_check = flat.ts_check;
    settings.format = match flat.format {
        FormatArg::Text => Format::Text,
        FormatArg::Json => Format::Json,
        FormatArg::Csv => Format::Csv,
        FormatArg::Folded if flat.shows_windows() => Format::Windows,
        FormatArg::Folded => {
            return Err(
                Failure::new("--format folded is for windows").with("try", "rtrec report --windows --format folded")
            );
        }
    };
    if flat.summary {
        settings.format = Format::Summary;
    }
    if flat.graph_stats {
        settings.format = Format::GraphStats;
    }
    if flat.latency || !flat.pair.is_empty() {
        settings.format = Format::Latency;
        settings.latency = LatencySettings {
            pairs: flat.pair.clone(),
            threshold: flat.window.threshold,
            json: flat.format == FormatArg::Json,
        };
    }
    if flat.profile {
        settings.format = Format::Profile;
        settings.profile = Profile { global: flat.global, by_comm: flat.by_comm, hooks: hooks(&flat.hook)? };
    }
    settings.fields.clone_from(&flat.fields);
    settings.wakeups = flat.wakeup;
    if flat.wakeup && settings.format != Format::Text {
        return Err(Failure::new("-w adds to the text of records and has no place in other formats")
            .with("try", "--format json --fields time,event,pid,next_pid"));
    }
    Ok(settings)
}

impl Flat {
    fn shows_windows(&self) -> bool {
        self.windows || self.window.any() || self.view.top.is_some() || self.view.min.is_some()
    }
}

/// Finds events in a file's formats; places of probes in what its recorder stored.
struct OfFile<'a> {
    input: &'a Input,
    stored: Option<Session>,
}

impl Resolve for OfFile<'_> {
    fn has_event(&self, system: &str, event: &str) -> bool {
        self.input.trace.formats.find(system, event).is_some()
    }

    fn probe(&mut self, place: &Place, returns: bool, window: &PlacedWindow) -> Result<Point, String> {
        let definitions = self.stored.iter().flat_map(|stored| &stored.definitions);
        let same = definitions.filter(|definition| window.text.starts_with(&definition.name)).find_map(|definition| {
            let Source::Points { start, stop } = &definition.source else { return None };
            let stops = returns || window.stop.as_ref() == Some(place);
            if stops { stop.first() } else { start.first() }.cloned()
        });
        same.ok_or_else(|| format!("{} has neither an event nor a probe {:?}", self.input.path, place.word))
    }
}

fn window_settings(flat: &Flat, inputs: &[Input]) -> Result<WindowSettings, Failure> {
    let mut sessions = Vec::new();
    let running = flat.windows_of.as_ref().and_then(|path| {
        let session = Session::decode(&fs::read(path).ok()?)?;
        let counts = fs::read(path.with_extension("status")).ok();
        let only_slow = counts.and_then(|counts| serde_json::from_slice(&counts).ok());
        Some(Session { only_slow, ..session })
    });
    for input in inputs {
        let machine = input.dat.options.uname.as_deref().and_then(Machine::of_uname);
        let stored = input.dat.own_payload(own::WINDOWS).and_then(|bytes| Session::decode(&bytes));
        if let (Some(running), None) = (&running, &stored) {
            sessions.push(Some(running.clone()));
            continue;
        }
        let mut of_file = OfFile { input, stored };
        let session = flat.window.any().then(|| flat.window.session(machine, &mut of_file)).transpose();
        sessions.push(session.map_err(|reason| {
            Failure::new("a window could not be understood")
                .with("reason", reason)
                .with("try", "rtrec report -E lists the events")
        })?);
    }
    Ok(WindowSettings {
        sessions,
        threshold_ns: flat.window.threshold,
        min_ns: flat.view.min,
        threads: Vec::new(),
        all_steps: flat.view.all_steps,
        top: flat.view.top,
        sort: match flat.view.sort {
            None | Some(SortArg::Start) => Sort::Start,
            Some(SortArg::Duration) => Sort::Duration,
            Some(SortArg::Gap) => Sort::Gap,
        },
        by: match flat.view.by {
            None | Some(ByArg::Kind) => By::Kind,
            Some(ByArg::Thread) => By::Thread,
            Some(ByArg::Label) => By::Label,
        },
        form: match flat.format {
            FormatArg::Text => Form::Text,
            FormatArg::Json => Form::Json,
            FormatArg::Folded => Form::Folded,
            FormatArg::Csv => {
                return Err(Failure::new("windows have no CSV").with("try", "--format json, one object a window"));
            }
        },
        folded: match flat.view.folded {
            Some(FoldedArg::OnCpu) => FoldedTime::OnCpu,
            Some(FoldedArg::OffCpu) => FoldedTime::OffCpu,
            None | Some(FoldedArg::Wall) => FoldedTime::Wall,
        },
    })
}

fn pair(text: &str) -> Result<PairWord, String> {
    PairWord::parse(text).ok_or_else(|| "two events belong here: START..STOP".to_owned())
}

fn hooks(texts: &[String]) -> Result<Vec<Hook>, Failure> {
    let read = |text: &String| {
        Hook::parse(text).map_err(|error| {
            Failure::new("a hook could not be read")
                .with("reason", error.to_string())
                .with("try", "-H hrtimer_expire_entry,hrtimer/hrtimer_expire_exit,hrtimer")
        })
    };
    texts.iter().map(read).collect()
}

fn words(patterns: &[String]) -> Result<Vec<Pattern>, Failure> {
    patterns.iter().map(|text| Pattern::whole(text).map_err(pattern_failure)).collect()
}

fn any(patterns: &[Pattern], system: &str, name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(system.as_bytes()) || pattern.matches(name.as_bytes()))
}

fn selection(flat: &Flat, plan: &Plan) -> Result<Selection, Failure> {
    let mut cpus = Vec::new();
    for list in &flat.cpu {
        match cpu_list(list) {
            Some(more) => cpus.extend(more),
            None => {
                return Err(Failure::new("a list of CPUs could not be read").with("list", list).with("try", "0,2-5"));
            }
        }
    }
    Ok(Selection {
        filters: plan.filters.clone(),
        pids: flat.pid.clone(),
        comms: flat.comm.clone(),
        follow_children: flat.follow_children,
        cpus,
        events: flat.only_event.clone(),
        without_hardirq: flat.no_hardirq,
        without_softirq: flat.no_softirq,
        from: 0,
    })
}

/// `0,2-5` or `0:2-5`.
fn cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.split([',', ':']) {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (first.trim().parse().ok()?, last.trim().parse().ok()?),
            None => {
                let one: u32 = part.trim().parse().ok()?;
                (one, one)
            }
        };
        if first > last || last >= 1 << 20 {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// Seconds with decimals as nanoseconds; a bare integer is ticks when the clock has no unit.
fn parse_time(text: &str, raw: bool) -> Option<u64> {
    if raw && !text.contains('.') {
        return text.parse().ok();
    }
    let (seconds, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 9 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: u64 = format!("{decimals:0<9}").parse().ok()?;
    let seconds: u64 = if seconds.is_empty() { 0 } else { seconds.parse().ok()? };
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Cli {
        #[command(flatten)]
        report: ReportArgs,
    }

    fn planned(line: &str) -> Plan {
        let words = line.split(' ').filter(|word| !word.is_empty());
        plan(&Cli::parse_from(["report"].into_iter().chain(words)).report)
            .unwrap_or_else(|failure| panic!("{}", failure.what))
    }

    #[test]
    fn filters_belong_to_the_file_before_them_and_invert_after_v() {
        let plan = planned("-F a -i one -F b -v -F c -i two --ts-offset -5 -F d");
        let told: Vec<_> = plan.filters.iter().map(|f| (f.text.as_str(), f.negative, f.file)).collect();
        assert_eq!(told, [("a", false, None), ("b", false, Some(0)), ("c", true, Some(0)), ("d", true, Some(1))]);
        assert_eq!(plan.offsets, [0, -5]);
        assert_eq!(planned("--ts2secs 100 x y").hz, [Some(100), Some(100)]);
        assert_eq!(planned("").paths, [PathBuf::from("trace.dat")]);
    }

    #[test]
    fn clap_finds_nothing_wrong_with_the_arguments() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn times_and_cpu_lists_are_read() {
        assert_eq!(parse_time("12.345", false), Some(12_345_000_000));
        assert_eq!(parse_time(".000000001", false), Some(1));
        assert_eq!(parse_time("3", false), Some(3_000_000_000));
        assert_eq!(parse_time("116119811379", true), Some(116_119_811_379));
        assert_eq!(parse_time("1.2.3", false), None);
        assert_eq!(cpu_list("0,2-4"), Some(vec![0, 2, 3, 4]));
        assert_eq!(cpu_list("4-2"), None);
    }
}
