//! Records, says how it went, gives the exit status.

use std::process::ExitCode;

use super::explain;
use super::say::say_raw;
use super::stderr::Stderr;
use crate::record::{self, Outcome, Settings};
use crate::rt::{WindowSettings, Windows};

/// Records, and says how it went.
pub(in crate::cli) fn record(settings: &Settings, windows: Option<&WindowSettings>, watch: &Stderr) -> ExitCode {
    let outcome = match windows {
        Some(windows) => record::run(settings, &mut Windows::new(windows, watch), watch),
        None => record::run(settings, &mut record::Alone, watch),
    };
    match outcome {
        Ok(outcome) => {
            watch.print_summary(&outcome, settings);
            if let Some(trouble) = &outcome.trouble {
                say_raw(&explain::record::error(trouble).text(watch.name));
            }
            ExitCode::from(status(&outcome))
        }
        Err(error) => {
            watch.clear_live();
            let explained = explain::record::error(&error);
            say_raw(&explained.text(watch.name));
            ExitCode::from(explained.status)
        }
    }
}

/// The command's status; a recording without a command ends well by any of its stops. Trouble that left a trace is 1.
pub(in crate::cli) fn status(outcome: &Outcome) -> u8 {
    match outcome.ending.map_or(0, record::Ending::status) {
        0 => u8::from(outcome.trouble.is_some()),
        status => status,
    }
}
