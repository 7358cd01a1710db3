//! `rtrec record`: arguments to settings, and the words on stderr while it runs.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, ArgMatches, Args};

use super::limits::LimitArgs;
use super::units::{human_bytes, size_kb};
use super::{explain, say, say_raw};
use crate::dat::chunks::Compression;
use crate::record::{
    self, BufferSettings, EventSettings, Note, Outcome, Progress, ReaderChoice, Settings, Stop, Watch,
};

/// Record a trace into a file
///
/// Runs COMMAND and records what was asked for until it ends; without a command, until Ctrl-C or until the processes of
/// -P end. The command's exit status becomes rtrec's. Options after COMMAND belong to it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rtrec record -p function_graph -g do_sys_open ls\n  rtrec record -e sched -e 'irq:*' -f 'irq != 0' -o irq.dat sleep 1\n  rtrec record -e syscalls -F -c make"
)]
pub(super) struct RecordArgs {
    /// Tracer: function, function_graph, …; for the current instance
    #[arg(short = 'p', long, value_name = "TRACER", action = ArgAction::Append)]
    tracer: Vec<String>,
    /// Event, system, or glob of them: sched, sched:sched_switch, 'irq:*', all
    #[arg(short = 'e', long, value_name = "EVENT", action = ArgAction::Append)]
    event: Vec<String>,
    /// Kernel filter for the last -e; several are joined by &&
    #[arg(short = 'f', long, value_name = "FILTER", action = ArgAction::Append)]
    filter: Vec<String>,
    /// Trigger for the last -e, e.g. stacktrace
    #[arg(short = 'R', long, value_name = "TRIGGER", action = ArgAction::Append)]
    trigger: Vec<String>,
    /// Switch off the events of every later -e, until the next -B; with no -e behind it: say more
    #[arg(short = 'v', action = ArgAction::Append, num_args = 0, default_missing_value = "true", value_name = "")]
    invert: Vec<bool>,
    /// Graph root: trace what this function calls
    #[arg(short = 'g', long = "graph-function", value_name = "FUNC")]
    graph_function: Vec<String>,
    /// Trace only these functions (name, glob, basic regular expression, or command with colons)
    #[arg(short = 'l', long = "function", value_name = "FUNC", action = ArgAction::Append)]
    function: Vec<String>,
    /// Leave these functions out
    #[arg(short = 'n', long = "notrace", value_name = "FUNC", action = ArgAction::Append)]
    notrace: Vec<String>,
    /// Trace option; no in front switches it off
    #[arg(short = 'O', long = "option", value_name = "OPT", action = ArgAction::Append)]
    option: Vec<String>,
    /// Record a stack trace with every event
    #[arg(short = 'T', long = "stacktrace", action = ArgAction::Append, num_args = 0, default_missing_value = "true", value_name = "")]
    stacktrace: Vec<bool>,
    /// Size of each CPU's buffer in KiB; 64M and 1G are understood
    #[arg(short = 'b', long = "buffer-size", value_name = "KB", value_parser = size_kb, action = ArgAction::Append)]
    buffer_size: Vec<u64>,
    /// Trace clock: local, global, mono, …
    #[arg(short = 'C', long, value_name = "CLOCK", action = ArgAction::Append)]
    clock: Vec<String>,
    /// Trace these processes only
    #[arg(short = 'P', long, value_name = "PID", value_delimiter = ',', action = ArgAction::Append)]
    pid: Vec<i32>,
    /// Trace the command only
    #[arg(short = 'F', long = "only-command")]
    only_command: bool,
    /// Trace the children of the traced processes too
    #[arg(short = 'c', long = "follow-children")]
    follow_children: bool,
    /// Use this instance for the options that follow; made when it does not exist, and then removed at the end
    #[arg(short = 'B', long = "instance", value_name = "NAME", action = ArgAction::Append)]
    instance: Vec<String>,
    /// CPUs to trace, as a hex mask; -1 is all
    #[arg(short = 'M', long = "cpumask", value_name = "MASK", allow_hyphen_values = true, action = ArgAction::Append)]
    cpumask: Vec<String>,
    /// How deep graphs go
    #[arg(long, value_name = "N", action = ArgAction::Append)]
    max_graph_depth: Vec<u32>,
    /// Output file
    #[arg(short = 'o', long, value_name = "FILE", default_value = "trace.dat")]
    output: PathBuf,
    /// Store the formats of all events, not only of the enabled ones
    #[arg(short = 'a', long = "all-formats")]
    all_formats: bool,
    /// Unknown events are no error
    #[arg(short = 'i', long = "ignore-unknown")]
    ignore_unknown: bool,
    /// Take function names literally, even where this kernel does their work elsewhere
    #[arg(long)]
    exact: bool,
    /// zstd, zlib, none or any
    #[arg(long, value_name = "NAME", default_value = "any")]
    compression: Compression,
    /// Do not map the buffers: splice, or read
    #[arg(long, value_name = "WAY", value_parser = reader)]
    reader: Option<ReaderChoice>,
    /// The tracefs folder, if not the mounted one
    #[arg(long, value_name = "DIR")]
    tracefs: Option<PathBuf>,
    /// No words but errors
    #[arg(short = 'q', long)]
    quiet: bool,
    /// Say more about what is done
    #[arg(long)]
    verbose: bool,
    #[command(flatten)]
    limits: LimitArgs,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    command: Vec<OsString>,
}

fn reader(word: &str) -> Result<ReaderChoice, String> {
    match word {
        "mmap" | "best" => Ok(ReaderChoice::Best),
        "splice" => Ok(ReaderChoice::Splice),
        "read" => Ok(ReaderChoice::Read),
        _ => Err("there are best, splice and read".to_owned()),
    }
}

/// An option whose meaning depends on those before it.
enum Placed {
    Instance(String),
    Event(String),
    Filter(String),
    Trigger(String),
    Invert,
    Tracer(String),
    Function(String),
    Notrace(String),
    Option(String),
    Size(u64),
    Clock(String),
    Pid(i32),
    Mask(String),
    Depth(u32),
}

/// All placed options in the order of the command line.
fn placed(args: &RecordArgs, matches: &ArgMatches) -> Vec<Placed> {
    let mut all: Vec<(usize, Placed)> = Vec::new();
    fn add<T: Clone>(
        all: &mut Vec<(usize, Placed)>,
        matches: &ArgMatches,
        id: &str,
        values: &[T],
        make: impl Fn(T) -> Placed,
    ) {
        let places = matches.indices_of(id).into_iter().flatten();
        all.extend(places.zip(values).map(|(place, value)| (place, make(value.clone()))));
    }
    add(&mut all, matches, "instance", &args.instance, Placed::Instance);
    add(&mut all, matches, "event", &args.event, Placed::Event);
    add(&mut all, matches, "filter", &args.filter, Placed::Filter);
    add(&mut all, matches, "trigger", &args.trigger, Placed::Trigger);
    add(&mut all, matches, "invert", &args.invert, |_| Placed::Invert);
    add(&mut all, matches, "tracer", &args.tracer, Placed::Tracer);
    add(&mut all, matches, "function", &args.function, Placed::Function);
    add(&mut all, matches, "notrace", &args.notrace, Placed::Notrace);
    add(&mut all, matches, "option", &args.option, Placed::Option);
    add(&mut all, matches, "stacktrace", &args.stacktrace, |_| Placed::Option("stacktrace".to_owned()));
    add(&mut all, matches, "buffer_size", &args.buffer_size, Placed::Size);
    add(&mut all, matches, "clock", &args.clock, Placed::Clock);
    add(&mut all, matches, "pid", &args.pid, Placed::Pid);
    add(&mut all, matches, "cpumask", &args.cpumask, Placed::Mask);
    add(&mut all, matches, "max_graph_depth", &args.max_graph_depth, Placed::Depth);
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, placed)| placed).collect()
}

/// What the options say; an error is a sentence.
fn settings(args: &RecordArgs, matches: &ArgMatches) -> Result<(Settings, bool), String> {
    let mut buffers = vec![BufferSettings::default()];
    let mut at = 0;
    let mut invert = false;
    let mut idle_invert = false;
    for option in placed(args, matches) {
        let buffer = &mut buffers[at];
        match option {
            Placed::Instance(name) => {
                at = buffers.iter().position(|b| b.instance.as_deref() == Some(name.as_str())).unwrap_or(buffers.len());
                if at == buffers.len() {
                    buffers.push(BufferSettings { instance: Some(name), ..Default::default() });
                }
                invert = false;
            }
            Placed::Event(word) => {
                idle_invert &= !invert;
                buffer.events.push(EventSettings { word, disable: invert, ..Default::default() });
            }
            Placed::Filter(filter) => {
                let event = buffer.events.last_mut().ok_or("-f is the filter of an event; put it behind an -e")?;
                event.filter = Some(joined(event.filter.take(), &filter));
            }
            Placed::Trigger(trigger) => {
                let event = buffer.events.last_mut().ok_or("-R is the trigger of an event; put it behind an -e")?;
                event.triggers.push(trigger);
            }
            Placed::Invert => (invert, idle_invert) = (true, true),
            Placed::Tracer(tracer) => {
                if buffer.tracer.replace(tracer.trim().to_owned()).is_some() {
                    return Err("a buffer has one tracer; -p was given twice".to_owned());
                }
            }
            Placed::Function(word) => buffer.function_filters.push(word),
            Placed::Notrace(word) => buffer.function_notrace.push(word),
            Placed::Option(option) => buffer.options.push(option),
            Placed::Size(size_kb) => buffer.size_kb = Some(size_kb),
            Placed::Clock(clock) => buffer.clock = Some(clock),
            Placed::Pid(pid) => buffer.pids.push(pid),
            Placed::Mask(mask) => buffer.cpumask = Some(cpumask(&mask)?),
            Placed::Depth(depth) => buffer.max_graph_depth = Some(depth),
        }
    }
    // The first clock is the default of all instances.
    let clock = buffers.iter().find_map(|buffer| buffer.clock.clone());
    buffers.iter_mut().for_each(|buffer| buffer.clock = buffer.clock.take().or_else(|| clock.clone()));
    let settings = Settings {
        tracefs: args.tracefs.clone(),
        output: args.output.clone(),
        command: args.command.clone(),
        buffers,
        graph_functions: args.graph_function.clone(),
        only_command: args.only_command,
        follow_children: args.follow_children,
        exact_names: args.exact,
        ignore_unknown_events: args.ignore_unknown,
        all_formats: args.all_formats,
        compression: args.compression,
        reader: args.reader.unwrap_or_default(),
        limits: args.limits.settings(u64::from(record::configured_cpus())),
    };
    if settings.only_command && settings.command.is_empty() {
        return Err("-F traces the command only, but there is no command".to_owned());
    }
    Ok((settings, idle_invert))
}

/// `a`, then `(a)&&(b)`, as trace-cmd joins the filters of one event.
fn joined(before: Option<String>, filter: &str) -> String {
    match before {
        None => filter.to_owned(),
        Some(before) if before.contains("&&(") => format!("{before}&&({filter})"),
        Some(before) => format!("({before})&&({filter})"),
    }
}

/// `tracing_cpumask` takes hex digits; all ones stand for every CPU.
fn cpumask(mask: &str) -> Result<String, String> {
    if mask == "-1" {
        let count = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_CONF).ok().flatten().unwrap_or(1);
        let groups = (count as usize).div_ceil(32);
        let last = count as usize - (groups - 1) * 32;
        let first = if last >= 32 { u32::MAX } else { (1u32 << last) - 1 };
        let rest = std::iter::repeat_n(format!("{:08x}", u32::MAX), groups - 1);
        return Ok(std::iter::once(format!("{first:x}")).chain(rest).collect::<Vec<_>>().join(","));
    }
    let digits = mask.trim_start_matches("0x");
    let fits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit() || b == b',');
    fits.then(|| digits.to_owned())
        .ok_or_else(|| format!("{mask:?} is no mask of CPUs; write it in hex, or -1 for all"))
}

/// Runs the subcommand.
pub(super) fn run(args: RecordArgs, matches: &ArgMatches, verbose: bool) -> ExitCode {
    let (settings, idle_invert) = match settings(&args, matches) {
        Ok(settings) => settings,
        Err(sentence) => {
            say!("rtrec record: {sentence}");
            return ExitCode::from(2);
        }
    };
    let watch = Stderr {
        quiet: args.quiet,
        verbose: !args.quiet && (verbose || args.verbose || idle_invert),
        live: !args.quiet && settings.command.is_empty() && std::io::stderr().is_terminal(),
    };
    match record::run(&settings, &watch) {
        Ok(outcome) => {
            watch.tell(&outcome, &settings);
            if let Some(trouble) = &outcome.trouble {
                say_raw(&explain::record_error(trouble).text("record"));
            }
            ExitCode::from(status(&outcome))
        }
        Err(error) => {
            watch.clear_live();
            let explained = explain::record_error(&error);
            say_raw(&explained.text("record"));
            ExitCode::from(explained.status)
        }
    }
}

/// The command's status; a recording without a command ends well by any of its stops. Trouble that left a trace is 1.
fn status(outcome: &Outcome) -> u8 {
    match outcome.ending.map_or(0, record::child::Ending::status) {
        0 => u8::from(outcome.trouble.is_some()),
        status => status,
    }
}

/// Why a recording ended before its time, if it did.
fn stop_words(stop: Stop, has_command: bool) -> Option<String> {
    match stop {
        Stop::Signal(signal) => has_command.then(|| format!("stopped by signal {signal}")),
        Stop::SizeReached => Some("stopped at the size of --max-size".to_owned()),
        Stop::DiskNearlyFull { free } => Some(format!("stopped, since the disk has only {} left", human_bytes(free))),
        Stop::Triggered => Some("stopped by the event of --until, or by whoever switched the buffer off".to_owned()),
        Stop::Swamped => {
            Some("stopped, since tracing functions left the machine no time (-l, -g, -F or -P trace less)".to_owned())
        }
        Stop::CommandEnded(_) | Stop::ProcessesEnded | Stop::ReaderFailed => None,
    }
}

/// rtrec's own words, on stderr: stdout belongs to the command.
struct Stderr {
    quiet: bool,
    verbose: bool,
    live: bool,
}

impl Watch for Stderr {
    fn note(&self, note: Note) {
        match note {
            Note::Started if self.live => say!("recording; Ctrl-C ends it"),
            note => {
                let told = if self.quiet { None } else { explain::note(&note, self.verbose) };
                told.into_iter().for_each(|line| say!("rtrec record: {line}"));
            }
        }
    }

    fn progress(&self, progress: &Progress) {
        let seconds = progress.elapsed.as_secs_f64();
        let mut line = format!("\r{seconds:7.1} s  {:>9}", human_bytes(progress.bytes));
        if progress.lost > 0 {
            line.push_str(&format!("  {} events lost", progress.lost));
        }
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "{line}\x1b[K").and_then(|()| err.flush());
    }

    fn wants_progress(&self) -> bool {
        self.live
    }
}

impl Stderr {
    fn clear_live(&self) {
        if self.live {
            say_raw("\r\x1b[K");
        }
    }

    /// The closing words: what was written, what was lost and what would have helped.
    fn tell(&self, outcome: &Outcome, settings: &Settings) {
        self.clear_live();
        if self.quiet {
            return;
        }
        if self.verbose {
            self.tell_counters(outcome);
        }
        for buffer in &outcome.buffers {
            for cpu in buffer.cpus.iter().filter(|cpu| cpu.stats.lost() > 0) {
                let name = buffer.instance.as_deref().map_or(String::new(), |name| format!("{name} "));
                say!("rtrec record: {name}CPU {}: {} events lost", cpu.cpu, lost_kinds(&cpu.stats));
            }
        }
        if outcome.lost() > 0 {
            let now = settings.buffers.iter().find_map(|buffer| buffer.size_kb).unwrap_or(1408);
            say!("rtrec record: a larger buffer would have helped: -b {}", now.saturating_mul(8));
        }
        if let Some(empty) = &outcome.empty {
            say!("rtrec record: {}", explain::emptiness(empty));
        }
        let files: Vec<String> = outcome.files.iter().map(|path| path.display().to_string()).collect();
        let files = if files.is_empty() { "nothing kept".to_owned() } else { files.join(", ") };
        if let Some(why) = stop_words(outcome.stop, !settings.command.is_empty()) {
            say!("rtrec record: {why}; {files} holds what was recorded up to then");
        }
        if settings.command.is_empty() || self.verbose {
            let raw: u64 = outcome.cpus().map(|cpu| cpu.raw_bytes).sum();
            let seconds = outcome.elapsed.as_secs_f64();
            say!("rtrec record: {} of trace data in {seconds:.1} s, in {files}", human_bytes(raw));
        }
    }

    fn tell_counters(&self, outcome: &Outcome) {
        for buffer in &outcome.buffers {
            let name = buffer.instance.as_deref().map_or(String::new(), |name| format!("{name} "));
            for cpu in &buffer.cpus {
                say!(
                    "rtrec record: {name}CPU {}: {} events read, {} left, {} lost; {} raw, {} in the file, {} wake-ups",
                    cpu.cpu,
                    cpu.stats.read,
                    cpu.stats.entries,
                    cpu.stats.lost(),
                    human_bytes(cpu.raw_bytes),
                    human_bytes(cpu.file_bytes),
                    cpu.wakeups
                );
            }
        }
    }
}

/// `12 (overrun) + 3 (dropped)`, in the kernel's words.
fn lost_kinds(stats: &crate::tracefs::buffer::BufferStats) -> String {
    let kinds = [("overrun", stats.overrun), ("commit overrun", stats.commit_overrun), ("dropped", stats.dropped)];
    let parts: Vec<String> =
        kinds.iter().filter(|(_, count)| *count > 0).map(|(kind, count)| format!("{count} ({kind})")).collect();
    parts.join(" + ")
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    fn parse(line: &str) -> Result<(Settings, bool), String> {
        let words = std::iter::once("record").chain(line.split_whitespace());
        let matches =
            RecordArgs::augment_args(Command::new("record")).try_get_matches_from(words).map_err(|e| e.to_string())?;
        settings(&RecordArgs::from_arg_matches(&matches).unwrap(), &matches)
    }

    #[test]
    fn filters_and_triggers_belong_to_the_event_before_them() {
        let (settings, _) = parse("-e a -f x==1 -f y==2 -f z==3 -e b -R stacktrace -e c cmd").unwrap();
        let events = &settings.buffers[0].events;
        assert_eq!(events[0].filter.as_deref(), Some("(x==1)&&(y==2)&&(z==3)"));
        assert_eq!(
            (events[1].filter.as_deref(), events[1].triggers.as_slice()),
            (None, &["stacktrace".to_owned()][..])
        );
        assert!(events[2].filter.is_none() && events[2].triggers.is_empty());
        assert!(parse("-f x==1 -e a cmd").is_err() && parse("-R x -e a cmd").is_err());
    }

    #[test]
    fn an_instance_takes_the_options_behind_it() {
        let (settings, _) =
            parse("-e a -b 64 -B one -e b -p function -C mono -B two -e c -b 1M -B one -e d cmd").unwrap();
        let [top, one, two] = &settings.buffers[..] else { panic!() };
        assert_eq!((top.size_kb, one.size_kb, two.size_kb), (Some(64), None, Some(1024)));
        assert_eq!((one.instance.as_deref(), two.instance.as_deref()), (Some("one"), Some("two")));
        assert_eq!(one.events.iter().map(|event| event.word.as_str()).collect::<Vec<_>>(), ["b", "d"]);
        assert_eq!(one.tracer.as_deref(), Some("function"));
        assert!([top, one, two].iter().all(|buffer| buffer.clock.as_deref() == Some("mono")));
    }

    #[test]
    fn v_inverts_what_follows_until_the_next_instance() {
        let (settings, verbose) = parse("-e a -v -e b -B x -e c cmd").unwrap();
        assert!(!settings.buffers[0].events[0].disable && settings.buffers[0].events[1].disable);
        assert!(!settings.buffers[1].events[0].disable && !verbose);
        let (settings, verbose) = parse("-e a -v cmd").unwrap();
        assert!(!settings.buffers[0].events[0].disable && verbose, "with nothing to invert it asks for more words");
    }

    #[test]
    fn options_behind_the_command_are_the_commands() {
        let (settings, _) = parse("-e sched ls -l -e --verbose -- -o x").unwrap();
        assert_eq!(settings.command, ["ls", "-l", "-e", "--verbose", "--", "-o", "x"]);
        assert_eq!(settings.buffers[0].events.len(), 1);
        let (settings, _) = parse("-esched -p function -- -odd-name -x").unwrap();
        assert_eq!(settings.command, ["-odd-name", "-x"]);
        assert!(parse("-e sched --no-such-option ls").is_err());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert!(parse("-p function -p nop cmd").is_err());
        assert!(parse("-e a -F").is_err());
        assert!(parse("-e a -M xyz cmd").is_err());
        assert!(parse("-e a -b 0 cmd").is_err());
        assert!(parse("-e a -P x cmd").is_err());
        assert_eq!(parse("-e a -P 1,2 -P 3 cmd").unwrap().0.buffers[0].pids, [1, 2, 3]);
        assert_eq!(parse("-e a -M 0x3 cmd").unwrap().0.buffers[0].cpumask.as_deref(), Some("3"));
    }
}
