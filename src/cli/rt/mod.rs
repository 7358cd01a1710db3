//! `rtrec rt`: record response-time windows, in one step.
//!
//! | file | what is inside |
//! | --- | --- |
//! | `mod.rs` | its arguments, and a recording in the foreground |
//! | `session` | `start`, `status`, `stop` and `report`: recordings with a name, in the background |
//! | `selftest` | `selftest`: each source of windows, tried on this machine |
//!
//! Imported by `cli`; imports `cli::common` and no other subcommand. The next command of `rt`: a variant of its subcommands here,
//! and its page in `cli::manual`.

mod selftest;
mod session;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::common::inside::{InsideArgs, add};
use super::common::recording::record;
use super::common::say::say;
use super::common::stderr::Stderr;
use super::common::units::{duration, size_kb};
use super::common::windows::WindowArgs;
use crate::record::Settings;
use crate::rt::WindowSettings;

/// Record response-time windows
///
/// Records what threads do in windows and around them: switches and wake-ups with stacks, system calls, interrupts,
/// page faults and samples. rtrec report --windows then shows where slow windows spent their time.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rtrec rt --window-magic --threshold 20ms ./server\n  rtrec rt --window-syscall 0:fsync:10ms --sample 1ms -- postgres -D data\n  rtrec rt --window-marker -p 4711 --duration 30s\n  rtrec rt --in-kernel --window vfs_write:100ms --duration 1min\n  rtrec report --windows"
)]
#[command(args_conflicts_with_subcommands = true, subcommand_precedence_over_arg = true)]
pub(in crate::cli) struct RtArgs {
    #[command(flatten)]
    what: RecordingArgs,
    #[command(subcommand)]
    session: Option<SessionCommand>,
}

/// What is recorded.
#[derive(Debug, Args)]
struct RecordingArgs {
    #[command(flatten)]
    windows: WindowArgs,
    #[command(flatten)]
    inside: InsideArgs,
    /// Record these events too, besides those of the time lines; commas separate several
    #[arg(long, value_name = "EVENT", value_delimiter = ',', help_heading = "What to record")]
    with: Vec<String>,
    /// Record these running processes: all their threads, and what they start; commas separate several
    #[arg(short = 'p', long, value_name = "PID", value_delimiter = ',', help_heading = "What to record")]
    pid: Vec<i32>,
    /// Write the trace to this file [default: trace.dat, or NAME.dat of a session]
    #[arg(short = 'o', long, value_name = "FILE", help_heading = "File")]
    output: Option<PathBuf>,
    /// Set the size of each CPU's buffer: KiB, or 64M, 1G [default: 8M]
    #[arg(short = 'b', long = "buffer-size", value_name = "KB", value_parser = size_kb, help_heading = "Buffers")]
    buffer_size: Option<u64>,
    /// Stop recording after this time: 30s, 10min, 500ms; seconds without a unit. COMMAND goes on
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Limits")]
    duration: Option<Duration>,
    /// Run COMMAND as this user, with the user's groups, HOME, USER and LOGNAME
    #[arg(long, value_name = "NAME", help_heading = "Process")]
    user: Option<String>,
    /// Use the tracefs in this folder, not the mounted one
    #[arg(long, value_name = "DIR", help_heading = "Kernel settings")]
    tracefs: Option<PathBuf>,
    /// Print nothing but errors
    #[arg(short = 'q', long, help_heading = "Output")]
    quiet: bool,
    /// Print more about what rtrec does
    #[arg(long, help_heading = "Output")]
    verbose: bool,
    /// Command to run, and its arguments
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    command: Vec<OsString>,
}

/// Recordings with a name, in the background.
#[derive(Debug, Subcommand)]
enum SessionCommand {
    /// Record a session in the background, under a name
    Start(Box<session::StartArgs>),
    /// Show the running sessions
    Status(session::StatusArgs),
    /// End a session and complete its file
    Stop(session::StopArgs),
    /// Show the windows of a session, running or ended, or of a file
    Report(session::ReportArgs),
    /// Check every source of windows on this machine with a program whose windows are known
    Selftest(selftest::SelftestArgs),
}

fn settings(args: &RecordingArgs, name: Option<&str>) -> Result<(Settings, WindowSettings), String> {
    if !args.windows.any() {
        return Err(
            "no window is named; there are --window, --window-syscall, --window-marker and --window-magic".to_owned()
        );
    }
    let mut settings = Settings::default();
    settings.setup.tracefs = args.tracefs.clone();
    settings.file.output = args.output.clone().unwrap_or_else(|| format!("{}.dat", name.unwrap_or("trace")).into());
    settings.capture.command = args.command.clone();
    settings.capture.duration = args.duration;
    settings.capture.user = args.user.clone();
    let (mut settings, windows) = add(settings, &args.windows, &args.inside, &args.pid, &args.with)?;
    if let (Some(size_kb), Some(own)) = (args.buffer_size, settings.setup.buffers.last_mut()) {
        own.size_kb = Some(size_kb);
    }
    Ok((settings, windows))
}

/// Runs the subcommand.
pub(in crate::cli) fn run(args: RtArgs, verbose: bool) -> ExitCode {
    match args.session {
        Some(SessionCommand::Start(args)) => session::start(&args, verbose),
        Some(SessionCommand::Status(args)) => session::status(&args),
        Some(SessionCommand::Stop(args)) => session::stop(&args),
        Some(SessionCommand::Report(args)) => session::report(&args),
        Some(SessionCommand::Selftest(args)) => selftest::run(&args),
        None => match settings(&args.what, None) {
            Ok((settings, windows)) => record(&settings, Some(&windows), &args.what.watch(verbose)),
            Err(sentence) => {
                say!("rtrec rt: {sentence}");
                ExitCode::from(2)
            }
        },
    }
}

impl RecordingArgs {
    fn watch(&self, verbose: bool) -> Stderr {
        Stderr {
            name: "rt",
            quiet: self.quiet,
            verbose: !self.quiet && (verbose || self.verbose),
            live: false,
            started: None,
        }
    }
}
