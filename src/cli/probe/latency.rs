//! How long calls take: entry and return of each place recorded, then paired.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use super::super::common::explain;
use super::super::common::recording::status;
use super::super::common::say::{say, say_raw};
use super::super::common::stderr::Stderr;
use super::super::report;
use super::args::LiveArgs;
use super::live;
use crate::probe::{ProbeError, Spec};
use crate::record::{self, Outcome, Settings};

/// The stack pointer, by which each return finds its entry.
const STACK_POINTER: &str = "sp=%sp:x64";

/// Entry and return of one place.
pub(super) fn entry_and_return(entry: Spec) -> Result<[Spec; 2], ProbeError> {
    let mut back = Spec { arguments: Vec::new(), ..entry.clone() }.returning()?;
    back.event = back.event.map(|event| format!("{event}__return"));
    Ok([entry, back].map(|spec| Spec { arguments: vec![STACK_POINTER.to_owned()], ..spec }))
}

/// Records and prints the durations.
pub(super) fn run(args: &LiveArgs, specs: Vec<Spec>, command: &[OsString]) -> ExitCode {
    let name = specs.first().map_or("uprobe", |spec| spec.kind.name());
    let watch = Stderr { name, quiet: args.quiet, verbose: !args.quiet && args.verbose, live: false, started: None };
    // A file nobody asked for goes where temporary files go, and away at the end.
    let folder = match &args.output {
        Some(_) => None,
        None => match tempfile::tempdir() {
            Ok(folder) => Some(folder),
            Err(error) => {
                say!("rtrec {name}: no temporary folder could be made: {error}");
                return ExitCode::from(2);
            }
        },
    };
    let mut settings = live::settings(args, specs, command);
    if let Some(folder) = &folder {
        settings.file.output = folder.path().join("latency.dat");
    }
    match record::run(&settings, &mut record::Alone, &watch) {
        Ok(outcome) => print_latency(args, &settings, &watch, &outcome),
        Err(error) => {
            let explained = explain::record::error(&error);
            say_raw(&explained.text(name));
            ExitCode::from(explained.status)
        }
    }
}

fn print_latency(args: &LiveArgs, settings: &Settings, watch: &Stderr, outcome: &Outcome) -> ExitCode {
    watch.print_summary(outcome, settings);
    let path: Option<&PathBuf> = outcome.files.last();
    let reported =
        path.map_or(ExitCode::SUCCESS, |path| report::durations(path, args.threshold, args.format.is("json")));
    // Its own trouble counts where the command had none.
    if status(outcome) == 0 { reported } else { ExitCode::from(status(outcome)) }
}
