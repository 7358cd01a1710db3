//! `rtrec restore`: completes the trace of a recorder that was killed or ran out of disk.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::units::human_bytes;
use super::{say, say_raw};
use crate::control::Leftover;
use crate::dat::unsealed::Family;
use crate::record::file::restore;

/// Complete the trace of a recorder that was killed or ran out of disk
///
/// FILE is the file that was being recorded, one of the temporary files beside it, or a folder in which to look for such
/// files. What had reached the disk is put together; the temporary files are removed when that has worked.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// Where to look
    #[arg(value_name = "FILE", default_value = "trace.dat")]
    file: PathBuf,
    /// The file to write [default: the one that was being recorded]
    #[arg(short = 'o', long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The tracefs folder, where it cannot be found
    #[arg(long, value_name = "DIR")]
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
