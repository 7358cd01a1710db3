//! `rtrec restore`: completes the trace of a recorder that was killed or ran out of disk.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::common::say::{say, say_raw};
use super::common::units::human_bytes;
use crate::control::Leftover;
use crate::dat::unsealed::Family;
use crate::record::file::restore;

/// Complete the trace of a recorder that was killed or ran out of disk
///
/// FILE is the file that was being recorded, one of the temporary files beside it, or a folder that may hold such
/// files. rtrec builds the trace from what had reached the disk, and then removes the temporary files.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The file that was being recorded, one of its temporary files, or a folder
    #[arg(value_name = "FILE", default_value = "trace.dat")]
    file: PathBuf,
    /// Write the trace to this file [default: the file that was being recorded]
    #[arg(short = 'o', long, value_name = "FILE", help_heading = "File")]
    output: Option<PathBuf>,
    /// Use the tracefs in this folder, not the mounted one
    #[arg(long, value_name = "DIR", help_heading = "Kernel settings")]
    tracefs: Option<PathBuf>,
}

/// Runs the subcommand.
pub(super) fn run(args: &RestoreArgs) -> ExitCode {
    let found = match find(&args.file) {
        Ok(found) if !found.is_empty() => found,
        Ok(_) => return failed(&args.file, "there is no unfinished recording", "a folder in which to look"),
        Err(error) => return failed(&args.file, &error.to_string(), "the file that was being recorded, or its folder"),
    };
    let (void, found): (Vec<_>, Vec<_>) = found.into_iter().partition(|leftover| leftover.data.is_void());
    void.iter().filter(|leftover| leftover.is_litter()).for_each(|leftover| drop(leftover.data.family.remove()));
    if found.is_empty() {
        say!(
            "rtrec restore: {}: its recorder had recorded nothing that is not in a complete file",
            args.file.display()
        );
        let reset = void.iter().any(Leftover::needs_reset);
        if reset {
            say!("rtrec restore: control files are still as it left them: rtrec reset --stale puts them back");
        }
        return ExitCode::SUCCESS;
    }
    if found.len() > 1 && args.output.is_some() {
        return failed(&args.file, "several recordings were left here; -o can name one only", "naming one of them");
    }
    let mut status = ExitCode::SUCCESS;
    for leftover in &found {
        if !restored(leftover, args) {
            status = ExitCode::from(2);
        }
    }
    status
}

fn find(path: &Path) -> std::io::Result<Vec<Leftover>> {
    match Family::of(path) {
        Some(family) => Ok(vec![Leftover::open(family)?]),
        None => Leftover::find(path),
    }
}

fn failed(path: &Path, cause: &str, tip: &str) -> ExitCode {
    say_raw(&format!("rtrec restore: nothing to restore at {}\n  cause   {cause}\n  try     {tip}\n", path.display()));
    ExitCode::from(2)
}

fn restored(leftover: &Leftover, args: &RestoreArgs) -> bool {
    let begin = &leftover.data.begin;
    if leftover.data.is_alive() {
        say!(
            "rtrec restore: {} is being recorded by process {}; rtrec report shows what it has",
            begin.output,
            begin.pid
        );
        return false;
    }
    match restore::restore(leftover, args.tracefs.as_deref(), args.output.as_deref()) {
        Ok((path, restored)) => {
            say!("rtrec restore: {} of trace data in {}", human_bytes(restored.raw_bytes), path.display());
            if !restored.has_formats {
                say!(
                    "rtrec restore: the formats of its events were never written, and the kernel it recorded is not running"
                );
            }
            if leftover.needs_reset() {
                say!("rtrec restore: control files are still as it left them: rtrec reset --stale puts them back");
            }
            true
        }
        Err(error) => {
            say_raw(&format!(
                "rtrec restore: {} could not be completed\n  cause   {error}\n  kept    all that was there\n",
                begin.output
            ));
            false
        }
    }
}
