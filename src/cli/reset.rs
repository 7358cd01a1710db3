//! `rtrec reset --stale`: puts back what recorders that were killed had changed.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::common::say::say;
use crate::control::{Leftover, UndoResult};
use crate::tracefs::undo::Step;

/// Reset the control files that killed recorders left changed
///
/// Each recorder keeps a journal of its changes beside its data. For every recorder that no longer runs, reset undoes
/// the journal from its end: settings get their old values, and instances and probes that were made are removed. It
/// leaves alone what somebody else has changed since, and everything of running recorders.
#[derive(Debug, Args)]
pub(super) struct ResetArgs {
    /// Undo the changes of killed recorders; reset does nothing else so far
    #[arg(long, required = true, help_heading = "Selection")]
    stale: bool,
    /// Print what would be done, and change nothing
    #[arg(long, help_heading = "Output")]
    dry_run: bool,
    /// Print every setting
    #[arg(long, help_heading = "Output")]
    verbose: bool,
    /// Files that were being recorded, or folders, besides those that this machine knows of
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Runs the subcommand.
pub(super) fn run(args: &ResetArgs, verbose: bool) -> ExitCode {
    let verbose = verbose || args.verbose || args.dry_run;
    let mut status = ExitCode::SUCCESS;
    let mut found = Leftover::registered();
    for path in &args.paths {
        match Leftover::find(path) {
            Ok(more) => found.extend(more),
            Err(error) => {
                say!("rtrec reset: {}: {error}", path.display());
                status = ExitCode::from(2);
            }
        }
    }
    if !args.dry_run {
        found.iter().filter(|leftover| leftover.is_litter()).for_each(|leftover| drop(leftover.data.family.remove()));
    }
    found.retain(Leftover::needs_reset);
    // The same journal may be known here and named by the user.
    found.sort_by_key(|leftover| (leftover.data.begin.pid, leftover.data.begin.start_ticks));
    found.dedup_by_key(|leftover| (leftover.data.begin.pid, leftover.data.begin.start_ticks));
    if found.is_empty() {
        say!("rtrec reset: no killed recorder has left anything");
    }
    for leftover in &found {
        if !reset(leftover, args.dry_run, verbose) {
            status = ExitCode::from(1);
        }
    }
    status
}

/// Puts back what killed recorders left, their probes among it, for another subcommand; the exit status.
pub(super) fn reset_stale(command: &str) -> u8 {
    let mut found = Leftover::registered();
    found.retain(Leftover::needs_reset);
    if found.is_empty() {
        say!("rtrec {command}: no killed recorder has left anything");
    }
    let complete = found.iter().map(|leftover| reset(leftover, false, false)).filter(|complete| !complete).count();
    u8::from(complete > 0)
}

fn reset(leftover: &Leftover, dry_run: bool, verbose: bool) -> bool {
    let begin = &leftover.data.begin;
    if dry_run {
        leftover.steps.iter().rev().for_each(|step| say!("rtrec reset: would put back {}", describe(step)));
        return true;
    }
    let mut complete = true;
    let fates = leftover.put_back();
    for (step, fate) in &fates {
        match fate {
            UndoResult::Done | UndoResult::AlreadyGone if !verbose => {}
            UndoResult::Done => say!("rtrec reset: put back {}", describe(step)),
            UndoResult::AlreadyGone => say!("rtrec reset: gone meanwhile: {}", step.path().display()),
            UndoResult::ChangedSince => say!("rtrec reset: left alone, changed since: {}", step.path().display()),
            UndoResult::Failed(errors) => {
                complete = false;
                errors.iter().for_each(|error| say!("rtrec reset: could not be put back: {error}"));
            }
        }
    }
    let done = fates.iter().filter(|(_, fate)| matches!(fate, UndoResult::Done)).count();
    say!("rtrec reset: {done} settings of process {} put back ({})", begin.pid, begin.output);
    if complete {
        forget(leftover);
    }
    complete
}

/// What is put back is not to be put back again; without data nothing of the recorder is needed any more.
fn forget(leftover: &Leftover) {
    let family = &leftover.data.family;
    let gone = if leftover.data.is_void() { family.remove() } else { leftover.forget_steps() };
    if let Err(error) = gone {
        say!("rtrec reset: {}: {error}", family.journal().display());
    }
    if !leftover.data.is_void() {
        say!("rtrec reset: its trace is still to be completed: rtrec restore {}", leftover.data.output().display());
    }
}

fn describe(step: &Step) -> String {
    let path = step.path().display();
    match step {
        Step::Value { value, .. } => format!("{path}: {value}"),
        Step::List { lines, .. } => format!("{path}: {} lines", lines.len()),
        Step::Commands { lines, .. } => format!("{path}: {}", lines.join("; ")),
        Step::Undefine { group, event, .. } => format!("{path}: {group}/{event} removed"),
        Step::RemoveInstance { .. } => format!("{path}: removed"),
    }
}
