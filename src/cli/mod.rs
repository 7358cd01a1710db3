//! Arguments in, settings out; errors become words and exit codes here and nowhere else.
//!
//! | file or folder | what is inside |
//! | --- | --- |
//! | `mod.rs` | the command line as a whole: the list of subcommands |
//! | `common` | what several subcommands need: options, words for errors, stderr, pager, units |
//! | `record`, `stream`, `rt` | recording to a file, to a terminal or pipe, of windows |
//! | `probe` | `uprobe`, `kprobe` and `probe` |
//! | [`report`] | traces as text, JSON or CSV, and analyses |
//! | `symbols` | `symbolize` and `debuginfo` |
//! | `restore`, `reset` | traces and settings of recorders that were killed |
//! | [`manual`] | what man pages say beyond the help |
//!
//! Imports all floors below; imported by `main` alone, which calls [`main`](fn@main). Only this folder knows clap, writes to
//! standard output and chooses an exit code.
//!
//! The next subcommand: a file with its arguments and `run`, a `mod` line, a variant of `Command` and its line in
//! [`main`](fn@main), and its page in [`manual`].

mod common;
pub mod manual;
mod probe;
mod record;
pub mod report;
mod reset;
mod restore;
mod rt;
mod stream;
mod symbols;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Record the Linux kernel's traces and report them.
#[derive(Debug, Parser)]
#[command(name = "rtrec", version, max_term_width = 100, infer_long_args = true)]
struct Cli {
    /// Print more about what rtrec does
    #[arg(short = 'v', long = "verbose", help_heading = "Output")]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Record(Box<record::RecordArgs>),
    Stream(Box<stream::StreamArgs>),
    Uprobe(Box<probe::UprobeArgs>),
    Kprobe(Box<probe::KprobeArgs>),
    Probe(probe::ProbeArgs),
    Symbolize(symbols::SymbolizeArgs),
    Debuginfo(symbols::DebuginfoArgs),
    /// Print trace.dat files: as text, JSON or CSV, or analysed
    Report(Box<report::ReportArgs>),
    Rt(Box<rt::RtArgs>),
    Restore(restore::RestoreArgs),
    Reset(reset::ResetArgs),
}

/// The whole command line, for help texts and man pages.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let matches = command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let (_, of_command) = matches.subcommand().expect("clap insists on a subcommand");
    match cli.command {
        Command::Record(args) => record::run(*args, of_command, cli.verbose),
        Command::Stream(args) => stream::run(*args, of_command, cli.verbose),
        Command::Uprobe(args) => probe::uprobe(&args, cli.verbose),
        Command::Kprobe(args) => probe::kprobe(&args, cli.verbose),
        Command::Probe(args) => probe::manage(&args),
        Command::Symbolize(args) => symbols::symbolize(args),
        Command::Debuginfo(args) => symbols::debuginfo(&args),
        Command::Report(args) => report::run(*args),
        Command::Rt(args) => rt::run(*args, cli.verbose),
        Command::Restore(args) => restore::run(&args),
        Command::Reset(args) => reset::run(&args, cli.verbose),
    }
}
