//! `cargo xtask`: the project's chores.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use xtask::kernels::Kernel;
use xtask::peers::TraceCmd;
use xtask::{Result, bench, bench_record, demo, faults, fuzz, setup, suite, vm};

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
    /// The main job from nothing: record a function graph of ls, and report it.
    Demo,
    /// Run all checks and tests, on this kernel and on the lab's; without a part's name, all parts.
    Test(TestArguments),
    /// Run a command on one of the lab's kernels.
    ///
    /// Example: cargo xtask vm --kernel 6.12 -- sh -c 'uname -r; rtrec --version'
    Vm(VmArguments),
    /// Run the fuzz targets, each for some minutes, from seeds taken from the fixtures.
    ///
    /// Example: nice -n 19 cargo xtask fuzz print_fmt --minutes 10
    Fuzz(FuzzArguments),
    /// Measure rtrec beside every release of trace-cmd that is here.
    ///
    /// Example: cargo xtask bench report --big
    Bench(BenchArguments),
    /// Try what goes wrong around a recorder, natively and on the lab's kernels, and print one table.
    ///
    /// Example: cargo xtask faults --tries 1000 --native
    Faults(FaultsArguments),
    /// Run a command with its output thrown away; print its microseconds, those of CPU, peak KiB and status.
    #[command(hide = true)]
    Measure {
        /// Stop the clock when the line after the heading is there.
        #[arg(long)]
        first_line: bool,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
struct FuzzArguments {
    /// The targets: dat, subbuf, format, print_fmt, filter, report; all if none is named.
    target: Vec<String>,
    /// Minutes for each target.
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u32,
}

#[derive(Debug, clap::Args)]
struct FaultsArguments {
    /// Kills at random moments, natively.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    tries: usize,
    /// Only on this kernel of the lab; may be given several times.
    #[arg(long, conflicts_with = "native")]
    kernel: Vec<Kernel>,
    /// Only natively.
    #[arg(long)]
    native: bool,
}

#[derive(Debug, clap::Args)]
struct BenchArguments {
    /// What to measure: report or record.
    #[arg(value_parser = ["report", "record"])]
    what: String,
    /// record: on this kernel of the lab instead of natively.
    #[arg(long)]
    kernel: Option<Kernel>,
    /// record: only tools with this in their name.
    #[arg(long)]
    tool: Option<String>,
    /// Use this file instead of recording one; may be given several times.
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Record ten times as much: about 500 MB of sub-buffers instead of 50 MB.
    #[arg(long)]
    big: bool,
    /// Runs of each command; the median counts.
    #[arg(long, value_name = "N", default_value_t = 5)]
    runs: usize,
}

#[derive(Debug, clap::Args)]
struct TestArguments {
    /// Formatting, lints, documentation, licences.
    #[arg(long)]
    checks: bool,
    /// The tests on this machine's kernel.
    #[arg(long)]
    native: bool,
    /// The tests on the lab's kernels.
    #[arg(long)]
    lab: bool,
    /// Only this kernel of the lab: 6.1, 6.12 or latest; may be given several times, and stands for --lab.
    #[arg(long)]
    kernel: Vec<Kernel>,
    /// Only the tests of the folders with changes since origin/main; a change of unknown effect runs everything.
    #[arg(long)]
    changed: bool,
    /// Do not fail because a kernel of the lab could not be had; RTREC_ALLOW_NOT_RUN=1 does the same.
    #[arg(long)]
    allow_not_run: bool,
    /// Only tests with this in their name.
    filter: Option<String>,
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
        Chore::Demo => demo::run(),
        Chore::Test(arguments) => arguments.settings().and_then(|settings| suite::run(&settings)),
        Chore::Vm(arguments) => vm::run(&arguments.into()),
        Chore::Fuzz(FuzzArguments { target, minutes }) => fuzz::run(&fuzz::Settings { targets: target, minutes }),
        Chore::Faults(FaultsArguments { tries, kernel, native }) => {
            faults::run(&faults::Settings { tries, kernels: kernel, native })
        }
        Chore::Bench(BenchArguments { what, kernel, tool, runs, .. }) if what == "record" => {
            bench_record::run(&bench_record::Settings { kernel, runs, tool })
        }
        Chore::Bench(BenchArguments { file, big, runs, .. }) => {
            bench::report(&bench::Settings { files: file, big, runs })
        }
        Chore::Measure { first_line, command } => bench::measure(&command, first_line),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("xtask: {error}");
        ExitCode::from(2)
    })
}

impl TestArguments {
    fn settings(self) -> Result<suite::Settings> {
        let wants_lab = self.lab || !self.kernel.is_empty();
        // A filter is for tests: the other checks do not heed it, so they run only when named or when nothing is.
        let all = !(self.checks || self.native || wants_lab);
        let kernels = if self.kernel.is_empty() { Kernel::ALL.to_vec() } else { self.kernel };
        let chosen = if self.changed { suite::Chosen::by_changes()? } else { suite::Chosen::All };
        Ok(suite::Settings {
            checks: self.checks || (all && self.filter.is_none()),
            native: self.native || all,
            lab: if wants_lab || all { kernels } else { Vec::new() },
            chosen,
            filter: self.filter,
            allow_not_run: self.allow_not_run || suite::allowed_by_environment(),
        })
    }
}

impl From<VmArguments> for vm::Settings {
    fn from(typed: VmArguments) -> Self {
        let VmArguments { kernel, out, put, get, timeout, command } = typed;
        Self { kernel, command, put, get, out, timeout: Duration::from_secs(timeout) }
    }
}

fn peers() -> Result<ExitCode> {
    for peer in TraceCmd::ALL {
        println!("{}", peer.fetch()?.join("bin/trace-cmd").display());
    }
    Ok(ExitCode::SUCCESS)
}
