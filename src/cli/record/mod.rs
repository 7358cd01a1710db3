//! `rtrec record`: arguments to settings, and the words on stderr while it runs.
//!
//! [`args`] is what clap sees, [`placed`] makes settings of it, [`tell`] has the words, [`daemon`] the way to the background.

mod args;
pub(super) mod daemon;
mod placed;
mod tell;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use clap::ArgMatches;

pub(super) use args::{RecordArgs, SetupArgs};
pub(super) use placed::setup;
pub(super) use tell::Stderr;

use super::{explain, rt, say, say_raw};
use crate::record::{self, Outcome, Settings};
use crate::rt::{WindowSettings, Windows};

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
    let (settings, windows) = rt::add(settings, &args.windows, &args.inside, &pids, &[])?;
    Ok((settings, Some(windows)))
}

/// Records, and says how it went.
pub(super) fn record(settings: &Settings, windows: Option<&WindowSettings>, watch: &Stderr) -> ExitCode {
    let outcome = match windows {
        Some(windows) => record::run(settings, &mut Windows::new(windows, watch), watch),
        None => record::run(settings, &mut record::Alone, watch),
    };
    match outcome {
        Ok(outcome) => {
            watch.tell(&outcome, settings);
            if let Some(trouble) = &outcome.trouble {
                say_raw(&explain::record_error(trouble).text(watch.name));
            }
            ExitCode::from(status(&outcome))
        }
        Err(error) => {
            watch.clear_live();
            let explained = explain::record_error(&error);
            say_raw(&explained.text(watch.name));
            ExitCode::from(explained.status)
        }
    }
}

/// The command's status; a recording without a command ends well by any of its stops. Trouble that left a trace is 1.
pub(super) fn status(outcome: &Outcome) -> u8 {
    match outcome.ending.map_or(0, record::Ending::status) {
        0 => u8::from(outcome.trouble.is_some()),
        status => status,
    }
}
