//! `cargo xtask`: the project's chores.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use xtask::kernels::Kernel;
use xtask::peers::TraceCmd;
use xtask::{Result, setup, vm};

/// Chores of the rtrec project: set up, try out, test.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Install and fetch what the other chores need: QEMU, kernels, releases of trace-cmd.
    Setup,
    /// Fetch the releases of trace-cmd that the tests compare with, and say where they are.
    Peers,
    /// Run a command on one of the lab's kernels.
    ///
    /// Example: cargo xtask vm --kernel 6.12 -- sh -c 'uname -r; rtrec --version'
    Vm(VmArguments),
}

#[derive(Debug, clap::Args)]
struct VmArguments {
    /// The kernel to boot: 6.1, 6.12 or latest.
    #[arg(long, default_value = "6.12")]
    kernel: Kernel,
    /// The folder that files brought out come to.
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// Put this file into the guest's /tmp before the command runs.
    #[arg(long, value_name = "FILE")]
    put: Vec<PathBuf>,
    /// Bring this file out of the guest after the command; a relative name lies in /tmp.
    #[arg(long, value_name = "FILE")]
    get: Vec<String>,
    /// Kill the command if it takes longer than this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// The command to run, in the guest's /tmp.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Setup => setup::everything().map(|()| ExitCode::SUCCESS),
        Chore::Peers => peers(),
        Chore::Vm(arguments) => vm::run(&arguments.into()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("xtask: {error}");
        ExitCode::from(2)
    })
}

impl From<VmArguments> for vm::Settings {
    fn from(typed: VmArguments) -> Self {
        let VmArguments {
            kernel,
            out,
            put,
            get,
            timeout,
            command,
        } = typed;
        Self {
            kernel,
            command,
            put,
            get,
            out,
            timeout: Duration::from_secs(timeout),
        }
    }
}

fn peers() -> Result<ExitCode> {
    for peer in TraceCmd::ALL {
        println!("{}", peer.fetch()?.join("bin/trace-cmd").display());
    }
    Ok(ExitCode::SUCCESS)
}
