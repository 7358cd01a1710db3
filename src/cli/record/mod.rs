//! `rtrec record`: arguments to settings, and the words on stderr while it runs.
//!
//! | file | what is inside |
//! | --- | --- |
//! | `mod.rs` | the steps: settings, windows, record, in the background if asked |
//! | [`args`] | what clap sees |
//! | [`placed`] | options whose meaning depends on those before them: from their order to settings |
//!
//! Imported by `cli` and, for the options of a set-up, by `cli::stream`; imports `cli::common`. The next option: a field in [`args`];
//! if its place counts also a variant of `Placed` in [`placed`].

mod args;
mod placed;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use clap::ArgMatches;

pub(super) use args::{RecordArgs, SetupArgs};
pub(super) use placed::setup;

use super::common::recording::record;
use super::common::say::say;
use super::common::stderr::Stderr;
use super::common::{daemon, inside};
use crate::record::Settings;
use crate::rt::WindowSettings;

/// Runs the subcommand.
pub(super) fn run(args: RecordArgs, matches: &ArgMatches, verbose: bool) -> ExitCode {
    let settings = placed::settings(&args, matches);
    let settings = settings.and_then(|(settings, idle)| Ok((with_windows(settings, &args)?, idle)));
    let ((settings, windows), idle_invert) = match settings {
        Ok(settings) => settings,
        Err(sentence) => {
            say!("rtrec record: {sentence}");
            return ExitCode::from(2);
        }
    };
    let quiet = args.setup.quiet;
    let watch = Stderr {
        name: "record",
        quiet,
        verbose: !quiet && (verbose || args.setup.is_verbose() || idle_invert),
        live: !quiet && !args.daemonize && settings.capture.command.is_empty() && std::io::stderr().is_terminal(),
        started: None,
    };
    if args.daemonize {
        return daemon::run(Path::new(daemon::PID_FILE), "record", |started| {
            record(&settings, windows.as_ref(), &Stderr { started: Some(started), ..watch })
        });
    }
    record(&settings, windows.as_ref(), &watch)
}

/// Adds what windows need, in a buffer of their own.
fn with_windows(settings: Settings, args: &RecordArgs) -> Result<(Settings, Option<WindowSettings>), String> {
    if !args.windows.any() {
        return Ok((settings, None));
    }
    let pids: Vec<i32> = settings.setup.pids().collect();
    let (settings, windows) = inside::add(settings, &args.windows, &args.inside, &pids, &[])?;
    Ok((settings, Some(windows)))
}
