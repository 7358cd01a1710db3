//! Arguments in, settings out; errors become words and exit codes here and nowhere else.
//!
//! One file per subcommand. Only this module knows clap and writes to standard output.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod report;

#[derive(Parser, Debug)]
#[command(name = "rtrec", version, about = "Records the Linux kernel's traces and reports them")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Print trace.dat files as text
    Report(report::ReportArgs),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Report(args) => report::run(args),
    }
}
