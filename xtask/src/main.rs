//! `cargo xtask`: the project's chores.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::peers::TraceCmd;

/// Chores of the rtrec project: set up, try out, test.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Fetch the releases of trace-cmd that the tests compare with, and say where they are.
    Peers,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Peers => peers(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("xtask: {error}");
        ExitCode::from(2)
    })
}

fn peers() -> xtask::Result<ExitCode> {
    for peer in TraceCmd::ALL {
        println!("{}", peer.fetch()?.join("bin/trace-cmd").display());
    }
    Ok(ExitCode::SUCCESS)
}
