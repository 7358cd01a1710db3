//! `rtrec rt start`, `status`, `stop` and `report`: recordings with a name, in the background.
//!
//! `/run/rtrec/rt/NAME.pid` is locked as long as the session lives, so a name is taken exactly while somebody records under
//! it. Beside it: `.json` with what was asked for, `.status` with counts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, FromArgMatches};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{AccessFlags, Pid, access};
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

use super::super::common::recording::record;
use super::super::common::say::{print_line, say};
use super::super::common::stderr::Stderr;
use super::super::common::{daemon, explain};
use super::{RecordingArgs, settings};
use crate::record::Settings;
use crate::rt::WindowSettings;
use crate::setup::threads;
use crate::spread::StoredSpread;
use crate::windows::WindowCounts;

/// Where sessions are known.
const FOLDER: &str = "/run/rtrec/rt";
/// How long a file may take to be completed.
const MAX_STOP_TIME: Duration = Duration::from_secs(120);

/// Arguments of `rt start`.
#[derive(Debug, Args)]
pub(super) struct StartArgs {
    /// Name of the session: letters, digits, - _ and ., at most 64
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    #[command(flatten)]
    what: RecordingArgs,
}

/// Arguments of `rt status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Show only this session
    #[arg(value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// Print one JSON object for each session
    #[arg(long, help_heading = "Layout")]
    json: bool,
}

/// Arguments of `rt stop`.
#[derive(Debug, Args)]
pub(super) struct StopArgs {
    /// Name of the session
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
}

/// Arguments of `rt report`.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Name of a session, or a file [default: trace.dat]
    #[arg(value_name = "NAME|FILE")]
    what: Option<String>,
    /// Options for rtrec report
    #[arg(value_name = "OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

fn name(word: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let good = (1..=64).contains(&word.len()) && !word.starts_with(['.', '-']) && word.chars().all(fits);
    good.then(|| word.to_owned()).ok_or_else(|| "a name has letters, digits, - and _, 64 at most".to_owned())
}

/// What is known of a session.
#[derive(Debug, Deserialize, Serialize)]
struct SessionState {
    name: String,
    pid: i32,
    output: PathBuf,
    windows: Vec<String>,
    threshold_ns: u64,
    sample_ns: Option<u64>,
    only_slow: bool,
    pids: Vec<i32>,
    command: Vec<String>,
}

/// The same, with what was found out now.
#[derive(Debug, Serialize)]
struct SessionStatus {
    #[serde(flatten)]
    state: SessionState,
    active: bool,
    threads: usize,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "with_percentiles")]
    counts: Option<WindowCounts>,
}

/// Counts with percentiles in the place of all that they are made of.
fn with_percentiles<S: Serializer>(counts: &Option<WindowCounts>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut value = serde_json::to_value(counts).map_err(S::Error::custom)?;
    for (name, tally) in counts.iter().flat_map(|counts| &counts.kinds) {
        let spread = tally.spread.as_ref().and_then(StoredSpread::spread);
        let (Some(spread), Some(shown)) = (spread, value["kinds"][name].as_object_mut()) else { continue };
        shown.remove("spread");
        for (key, percent) in [("p50_ns", 50.0), ("p90_ns", 90.0), ("p99_ns", 99.0)] {
            shown.insert(key.to_owned(), spread.percentile(percent).into());
        }
    }
    value.serialize(serializer)
}

fn file(name: &str, extension: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{name}.{extension}"))
}

/// Whether somebody records under this name.
fn is_active(name: &str) -> bool {
    let Ok(file) = File::open(file(name, "pid")) else { return false };
    Flock::lock(file, FlockArg::LockSharedNonblock).is_err()
}

fn read_state(name: &str) -> Option<SessionState> {
    serde_json::from_slice(&fs::read(file(name, "json")).ok()?).ok()
}

/// Records in the background.
pub(super) fn start(args: &StartArgs, verbose: bool) -> ExitCode {
    let writable = || access(FOLDER, AccessFlags::W_OK).map_err(std::io::Error::from);
    if let Err(error) = fs::create_dir_all(FOLDER).and_then(|()| writable()) {
        say!("rtrec rt: {FOLDER} cannot be written: {error}");
        say!("  try     running as root: that is where sessions are known, and tracefs is root's too");
        return ExitCode::from(2);
    }
    if is_active(&args.name) {
        let holder = read_state(&args.name).map_or_else(String::new, |state| format!(", by process {}", state.pid));
        say!("rtrec rt: the session {} is being recorded already{holder}", args.name);
        say!("  try     rtrec rt stop {}", args.name);
        return ExitCode::from(2);
    }
    daemon::run(&file(&args.name, "pid"), "rt", |started| {
        // What has the process' number in its name is made here, in the process that records.
        let settings = settings(&args.what, Some(&args.name)).and_then(|(mut settings, mut windows)| {
            let path = std::path::absolute(&settings.file.output).map_err(|error| error.to_string())?;
            settings.file.output = path;
            windows.status = Some(file(&args.name, "status"));
            write_state(&args.name, &settings, &windows)
                .map_err(|error| format!("{FOLDER} cannot be written: {error}"))?;
            Ok((settings, windows))
        });
        let code = match settings {
            Ok((settings, windows)) => {
                record(&settings, Some(&windows), &Stderr { started: Some(started), ..args.what.watch(verbose) })
            }
            Err(sentence) => {
                say!("rtrec rt: {sentence}");
                ExitCode::from(2)
            }
        };
        let _ = fs::remove_file(file(&args.name, "status"));
        code
    })
}

/// Writes down what was asked for.
fn write_state(name: &str, settings: &Settings, windows: &WindowSettings) -> std::io::Result<()> {
    let state = SessionState {
        name: name.to_owned(),
        pid: std::process::id() as i32,
        output: settings.file.output.clone(),
        windows: windows.session.definitions.iter().map(|definition| definition.name.clone()).collect(),
        threshold_ns: windows.session.threshold_ns,
        sample_ns: windows.sample.map(|period| period.as_nanos() as u64),
        only_slow: windows.only_slow.is_some(),
        pids: settings.setup.pids().collect(),
        command: settings.capture.command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
    };
    fs::write(file(name, "json"), serde_json::to_vec(&state)?)
}

/// Shows what runs.
pub(super) fn status(args: &StatusArgs) -> ExitCode {
    let mut names: Vec<String> = match &args.name {
        Some(name) => vec![name.clone()],
        None => {
            let files = fs::read_dir(FOLDER).into_iter().flatten().flatten();
            let name = |file: fs::DirEntry| file.file_name().to_str()?.strip_suffix(".json").map(str::to_owned);
            files.filter_map(name).collect()
        }
    };
    names.sort();
    let mut shown = false;
    for name in names {
        let active = is_active(&name);
        if !active && args.name.is_none() {
            continue;
        }
        let Some(state) = read_state(&name) else { continue };
        shown = true;
        let counts = fs::read(file(&name, "status")).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let threads = state.pids.iter().map(|pid| threads::of_process(*pid).len()).sum();
        let status = SessionStatus { state, active, threads, counts };
        let text = if args.json { serde_json::to_string(&status).unwrap_or_default() } else { status.text() };
        print_line(&text);
    }
    if !shown && let Some(name) = &args.name {
        say!("rtrec rt: there is no session {name}");
        return ExitCode::from(2);
    }
    if !shown && !args.json {
        print_line("no session is being recorded");
    }
    ExitCode::SUCCESS
}

impl SessionStatus {
    fn text(&self) -> String {
        let state = &self.state;
        let ms = |ns: u64| format!("{}.{:03} ms", ns / 1_000_000, ns % 1_000_000 / 1000);
        let mut text = match self.active {
            true => format!("{}  active, process {}, into {}", state.name, state.pid, state.output.display()),
            false => format!("{}  ended, in {}", state.name, state.output.display()),
        };
        text.push_str(&format!("\n  windows    {}", state.windows.join(", ")));
        text.push_str(&format!("\n  threshold  {}", ms(state.threshold_ns)));
        if let Some(period) = state.sample_ns {
            text.push_str(&format!("\n  sample     every {} of CPU time", ms(period)));
        }
        if !state.pids.is_empty() {
            let pids: Vec<String> = state.pids.iter().map(ToString::to_string).collect();
            text.push_str(&format!("\n  processes  {} with {} threads", pids.join(", "), self.threads));
        }
        if !state.command.is_empty() {
            text.push_str(&format!("\n  command    {}", state.command.join(" ")));
        }
        if let Some(counts) = &self.counts {
            text.push_str(&format!("\n  so far     {}", explain::record::window_counts(counts)));
        }
        text
    }
}

/// Ends a session.
pub(super) fn stop(args: &StopArgs) -> ExitCode {
    let state = if is_active(&args.name) { read_state(&args.name) } else { None };
    let Some(state) = state else {
        say!("rtrec rt: no session {} is being recorded", args.name);
        return ExitCode::from(2);
    };
    if let Err(errno) = kill(Pid::from_raw(state.pid), Signal::SIGINT) {
        say!("rtrec rt: process {} cannot be stopped: {}", state.pid, errno.desc());
        return ExitCode::from(2);
    }
    let asked = Instant::now();
    while is_active(&args.name) {
        if asked.elapsed() > MAX_STOP_TIME {
            say!("rtrec rt: process {} is ending, but still completes {}", state.pid, state.output.display());
            return ExitCode::from(1);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    print_line(&state.output.display().to_string());
    ExitCode::SUCCESS
}

/// Shows the windows of a session.
pub(super) fn report(args: &ReportArgs) -> ExitCode {
    let mut arguments = vec!["report".to_owned(), "--windows".to_owned()];
    let mut path = args.what.clone().filter(|what| !what.starts_with('-'));
    let options = args.what.iter().filter(|what| what.starts_with('-')).chain(&args.options).cloned();
    if let Some(state) = path.as_ref().filter(|path| !Path::new(path).exists()).and_then(|name| read_state(name)) {
        path = Some(state.output.display().to_string());
    }
    arguments.extend(options);
    arguments.extend(path);
    let command = crate::cli::report::ReportArgs::augment_args(clap::Command::new("report"));
    let matches = command.try_get_matches_from(arguments);
    match matches.and_then(|matches| crate::cli::report::ReportArgs::from_arg_matches(&matches)) {
        Ok(args) => crate::cli::report::run(args),
        Err(error) => {
            let _ = error.print();
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_files() {
        assert_eq!(name("web-1_a.b"), Ok("web-1_a.b".to_owned()));
        for bad in ["", ".", "..", "-x", "a/b", "a b", &"x".repeat(65)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
