//! Probes for the time of a trace, their hits printed as they come.

use std::ffi::OsString;
use std::process::ExitCode;

use super::super::common::explain;
use super::super::common::live::{Printer, failure};
use super::super::common::recording::status;
use super::super::common::say::{say, say_raw};
use super::super::common::stderr::Stderr;
use super::args::{KprobeArgs, LiveArgs, UprobeArgs};
use super::count::Counter;
use super::{latency, list};
use crate::probe::{self, Kind, ProbeError, Resolver, Spec};
use crate::record::{self, Outcome, Receiver, Settings};
use crate::report::{OwnedView, TextSettings};
use crate::setup::{BufferSettings, EventSettings};
use crate::tracefs::Tracefs;

/// Runs `rtrec uprobe`.
pub(in crate::cli) fn uprobe(args: &UprobeArgs, verbose: bool) -> ExitCode {
    if let Some(pattern) = &args.list {
        return list::of_binary(pattern, &args.words);
    }
    run(Kind::Uprobe, &args.live, &args.words, None, &args.command, verbose)
}

/// Runs `rtrec kprobe`.
pub(in crate::cli) fn kprobe(args: &KprobeArgs, verbose: bool) -> ExitCode {
    if let Some(pattern) = &args.list {
        return list::of_kernel(pattern, args.live.tracefs.as_deref());
    }
    run(Kind::Kprobe, &args.live, &args.words, args.maxactive, &args.command, verbose)
}

fn run(
    kind: Kind,
    args: &LiveArgs,
    words: &[String],
    maxactive: Option<u32>,
    command: &[OsString],
    verbose: bool,
) -> ExitCode {
    let name = kind.name();
    let specs = match specs(kind, args, words, maxactive) {
        Ok(specs) => specs,
        Err(error) => return fail(name, &error),
    };
    if args.dry_run {
        return dry_run(name, &specs, args);
    }
    if args.only_command && command.is_empty() {
        say!("rtrec {name}: -F is the command's hits only, but there is no command; put it after --");
        return ExitCode::from(2);
    }
    if args.latency {
        return latency::run(args, specs, command);
    }
    let settings = settings(args, specs, command);
    let watch = Stderr {
        name,
        quiet: args.quiet,
        verbose: !args.quiet && (verbose || args.verbose),
        live: false,
        started: None,
    };
    if args.count {
        let mut counter = Counter::new(name);
        let outcome = trace(&settings, args, &watch, &mut counter);
        return ended(name, outcome, &settings, &watch, |outcome| {
            counter.print();
            status(outcome)
        });
    }
    let mut printer = Printer::new(view(args), args.stderr, true);
    let outcome = trace(&settings, args, &watch, &mut printer);
    ended(name, outcome, &settings, &watch, |outcome| {
        printer.failed.as_ref().map_or_else(|| status(outcome), |error| failure(error, outcome))
    })
}

fn trace(
    settings: &Settings,
    args: &LiveArgs,
    watch: &Stderr,
    receiver: &mut dyn Receiver,
) -> Result<Outcome, record::Error> {
    match args.output {
        Some(_) => record::stream_and_keep(settings, args.delay, watch, receiver),
        None => record::stream(settings, args.delay, watch, receiver),
    }
}

fn ended(
    name: &str,
    outcome: Result<Outcome, record::Error>,
    settings: &Settings,
    watch: &Stderr,
    status: impl FnOnce(&Outcome) -> u8,
) -> ExitCode {
    match outcome {
        Ok(outcome) => {
            let status = status(&outcome);
            watch.print_summary(&outcome, settings);
            ExitCode::from(status)
        }
        Err(error) => {
            let explained = explain::record::error(&error);
            say_raw(&explained.text(name));
            ExitCode::from(explained.status)
        }
    }
}

pub(super) fn fail(name: &str, error: &ProbeError) -> ExitCode {
    let explained = explain::probe::error(error);
    say_raw(&explained.text(name));
    ExitCode::from(explained.status)
}

/// The specs of the command line: one, or entry and return.
fn specs(kind: Kind, args: &LiveArgs, words: &[String], maxactive: Option<u32>) -> Result<Vec<Spec>, ProbeError> {
    let spec = named(kind, args.name.as_deref(), words)?;
    let mut specs = match (args.returns, args.both) {
        (true, _) => vec![spec.returning()?],
        _ if args.latency => latency::entry_and_return(spec)?.into(),
        (_, true) => {
            let mut back = Spec { arguments: Vec::new(), ..spec.clone() }.returning()?;
            back.event = back.event.map(|event| format!("{event}__return"));
            vec![spec, back]
        }
        _ => vec![spec],
    };
    specs.iter_mut().filter(|spec| spec.returns).for_each(|spec| spec.maxactive = maxactive.or(spec.maxactive));
    Ok(specs)
}

/// The target and arguments as separate words, with a name of their own.
pub(super) fn named(kind: Kind, name: Option<&str>, words: &[String]) -> Result<Spec, ProbeError> {
    let (target, arguments) = words.split_first().map_or(("", &[][..]), |(target, rest)| (target.as_str(), rest));
    let target = name.map_or_else(|| target.to_owned(), |name| format!("{name}={target}"));
    Ok(Spec::of(kind, &target, arguments.to_vec())?)
}

fn dry_run(name: &str, specs: &[Spec], args: &LiveArgs) -> ExitCode {
    let root = match Tracefs::open(args.tracefs.as_deref()) {
        Ok(root) => root,
        Err(source) => return fail(name, &ProbeError::Tracefs(source)),
    };
    let limit = args.max_probes.unwrap_or(probe::USUAL_LIMIT);
    let mut resolver = Resolver::new(&root.top(), probe::session_group()).limited_to(limit);
    for spec in specs {
        match resolver.resolve(spec) {
            Ok(probes) => list::print_lines(&probes, name),
            Err(error) => return fail(name, &error),
        }
    }
    ExitCode::SUCCESS
}

pub(super) fn settings(args: &LiveArgs, specs: Vec<Spec>, command: &[OsString]) -> Settings {
    let events = specs.into_iter().map(|spec| EventSettings {
        word: spec.text.clone(),
        filter: if spec.returns && args.both { None } else { args.filter.clone() },
        triggers: args.trigger.clone(),
        probe: Some(spec),
        ..EventSettings::default()
    });
    // A buffer of its own: what others record in the top one goes on.
    let buffer = BufferSettings {
        instance: Some(probe::session_group()),
        events: events.collect(),
        size_kb: args.buffer_size,
        clock: args.clock.clone(),
        pids: args.pid.clone(),
        ..BufferSettings::default()
    };
    let mut settings = Settings::default();
    settings.setup.tracefs = args.tracefs.clone();
    settings.setup.buffers.push(buffer);
    settings.setup.only_command = args.only_command;
    settings.setup.follow_children = args.follow_children;
    settings.setup.max_probes = args.max_probes;
    settings.capture.command = command.to_vec();
    settings.capture.duration = args.duration;
    settings.file.output = args.output.clone().unwrap_or_default();
    settings
}

fn view(args: &LiveArgs) -> OwnedView {
    let mut text = TextSettings::default();
    text.columns.full_time = args.full_time;
    args.format.view(text, Vec::new())
}
