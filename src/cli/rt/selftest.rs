//! `rtrec rt selftest`: a load whose windows are known goes through each source that this kernel supports.
//!
//! The load is rtrec itself. It writes down when each window began and ended; the report must have exactly those, with a
//! split that adds up, and call slow exactly those that were.

use std::ffi::{OsString, c_long};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::super::common::say::{print_line, say};
use crate::rt::EARLY_NS;
use crate::tracefs::Tracefs;
use crate::windows::{MARKER_SYSCALL_START, MARKER_SYSCALL_STOP};

/// Slow from here on.
const THRESHOLD_NS: i64 = 20_000_000;
/// Busy and sleep of each window, in milliseconds.
const PATTERN: [(u64, u64); 6] = [(0, 2), (4, 2), (8, 2), (0, 30), (2, 2), (8, 30)];

/// A sleep in which the thread leaves its CPU for sure.
const LONG_SLEEP_MS: u64 = 30;

/// Arguments of `rt selftest`.
#[derive(Debug, Args)]
pub(super) struct SelftestArgs {
    /// Be the load: how, and where its readings go
    #[arg(long, hide = true, num_args = 2, value_names = ["HOW", "FILE"])]
    load: Option<Vec<String>>,
    /// Keep the traces in this folder
    #[arg(long, value_name = "DIR", help_heading = "File")]
    keep: Option<PathBuf>,
}

/// How the load marks its windows.
#[derive(Clone, Copy)]
struct TestCase {
    name: &'static str,
    args: &'static [&'static str],
}

const TEST_CASES: [TestCase; 6] = [
    TestCase { name: "magic", args: &["--window-magic"] },
    TestCase { name: "marker", args: &["--window-marker"] },
    TestCase { name: "syscall", args: &["--window-syscall", "0:clock_nanosleep"] },
    TestCase { name: "tracepoint", args: &["--window", MARKS] },
    TestCase { name: "probe", args: &[] },
    TestCase { name: "in-kernel", args: &["--in-kernel", "--window-magic"] },
];

/// Windows between two tracepoints: system calls nobody else makes, distinguished by their number.
const MARKS: &str = "raw_syscalls:sys_enter[id == 761203101]..raw_syscalls:sys_enter[id == 761203102]";

/// Runs the subcommand.
pub(super) fn run(args: &SelftestArgs) -> ExitCode {
    if let Some([how, file]) = args.load.as_deref() {
        return match load(how, Path::new(file)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say!("rtrec rt: the load failed: {error}");
                ExitCode::from(2)
            }
        };
    }
    let Ok(program) = std::env::current_exe() else {
        say!("rtrec rt: the program's own file cannot be found");
        return ExitCode::from(2);
    };
    let Ok(folder) = tempfile::tempdir() else {
        say!("rtrec rt: no temporary folder can be made");
        return ExitCode::from(2);
    };
    let folder = args.keep.clone().unwrap_or_else(|| folder.path().to_owned());
    let mut failed = 0;
    for case in &TEST_CASES {
        let (verdict, text) = match unsupported(case) {
            Some(reason) => ("skipped", reason),
            None => match check(case, &program, &folder) {
                Ok(text) => ("ok", text),
                Err(text) => {
                    failed += 1;
                    ("FAILED", text)
                }
            },
        };
        print_line(&format!("{:<11} {verdict:<8} {text}", case.name));
    }
    ExitCode::from(u8::from(failed > 0))
}

/// Why this kernel cannot.
fn unsupported(case: &TestCase) -> Option<String> {
    let root = Tracefs::find().ok()?;
    let top = root.top();
    match case.name {
        "marker" if top.option("copy_trace_marker").is_none() => {
            Some("this kernel does not copy texts into instances (6.16 on)".to_owned())
        }
        "marker" if !top.is_tracing().unwrap_or(false) => {
            Some("the top-level buffer is off, which refuses texts".to_owned())
        }
        "probe" if !top.path("uprobe_events").exists() => {
            Some("this kernel was built without CONFIG_UPROBE_EVENTS".to_owned())
        }
        "in-kernel" => {
            let lacks = top.lacks().options();
            (!lacks.is_empty()).then(|| format!("this kernel was built without {}", lacks.join(", ")))
        }
        _ => None,
    }
}

/// Records the load and compares; words for either verdict.
fn check(case: &TestCase, program: &Path, folder: &Path) -> Result<String, String> {
    let (readings, trace) = (folder.join(format!("{}.txt", case.name)), folder.join(format!("{}.dat", case.name)));
    // What the kernel does not find slow is not there to be compared.
    let threshold = if case.name == "in-kernel" { "0ns" } else { "20ms" };
    let mut args: Vec<OsString> = ["rt", "-q", "--threshold", threshold, "-o"].map(OsString::from).to_vec();
    args.push(trace.clone().into());
    args.extend(case.args.iter().map(OsString::from));
    if case.name == "probe" {
        let program = program.display();
        args.extend(["--window".into(), format!("{program}:rtrec_selftest_begin..rtrec_selftest_end").into()]);
    }
    args.extend(["--".into(), program.into()]);
    args.extend(["rt", "selftest", "--load", case.name].map(OsString::from));
    args.push(readings.clone().into());
    let recorded = run_rtrec(program, &args)?;
    if !recorded.status.success() {
        return Err(String::from_utf8_lossy(&recorded.stderr).trim().to_owned());
    }
    let mut args: Vec<OsString> =
        ["report", "--windows", "--min", "0", "--format", "json"].map(OsString::from).to_vec();
    args.push(trace.into());
    let report = run_rtrec(program, &args)?;
    let windows: Vec<Value> = String::from_utf8_lossy(&report.stdout)
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("the report cannot be read: {error}"))?;
    let readings = std::fs::read_to_string(&readings).map_err(|error| format!("no readings of the load: {error}"))?;
    compare(&readings, &windows, if case.name == "in-kernel" { EARLY_NS as i64 } else { 0 })
}

fn run_rtrec(program: &Path, args: &[OsString]) -> Result<Output, String> {
    Command::new(program).args(args).output().map_err(|error| format!("{} cannot be run: {error}", program.display()))
}

/// Whether the windows are those of the readings; they may be early as a whole by so much.
fn compare(readings: &str, windows: &[Value], early: i64) -> Result<String, String> {
    let readings_read: Vec<Vec<i64>> = readings
        .lines()
        .map(|line| line.split(' ').filter_map(|number_text| number_text.parse().ok()).collect())
        .collect();
    if readings_read.len() != PATTERN.len() || windows.len() != readings_read.len() {
        return Err(format!(
            "{} windows were made, {} of {} are reported",
            PATTERN.len(),
            windows.len(),
            readings_read.len()
        ));
    }
    let (mut slow, mut worst) = (0, 0);
    for (number, (expected, window)) in readings_read.iter().zip(windows).enumerate() {
        let int = |value: &Value, key: &str| value[key].as_i64().unwrap_or(-1);
        let [before, begun, ending, after] = expected[..] else { return Err("a reading is torn".to_owned()) };
        let (start, duration) = (int(window, "start"), int(window, "duration"));
        let end = start + duration;
        let is_long_enough = (ending - begun..=after - before).contains(&duration);
        if !(before - early..=begun).contains(&start) || !(ending - early..=after).contains(&end) || !is_long_enough {
            return Err(format!("window {} is told as {start} to {end}, but was {expected:?}", number + 1));
        }
        let split = &window["split"];
        let sum = int(split, "on_cpu") + int(split, "blocked") + int(split, "runnable");
        worst = worst.max((sum - duration).abs() * 1000 / duration.max(1));
        slow += i64::from(duration >= THRESHOLD_NS);
        // A short sleep may be over before the thread has left its CPU.
        if PATTERN[number].1 >= LONG_SLEEP_MS && int(split, "blocked") == 0 {
            return Err(format!("window {} slept {} ms, but is told as {split}", number + 1, PATTERN[number].1));
        }
    }
    if worst > 10 {
        return Err(format!("the split of a window is off by {worst} per mille"));
    }
    Ok(format!("{} windows, {slow} of them slow, as they were; splits off by {worst} per mille at most", windows.len()))
}

/// Where windows between probes begin.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rtrec_selftest_begin(number: u64) -> u64 {
    std::hint::black_box(number)
}

/// Where they end; other code than that of the beginning, lest they become one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn rtrec_selftest_end(number: u64) -> u64 {
    std::hint::black_box(number).wrapping_add(1)
}

/// The load: windows by the pattern, marked in this way.
fn load(how: &str, file: &Path) -> std::io::Result<()> {
    let mut out = std::fs::File::create(file)?;
    let mut marker = match how {
        "marker" => Some(std::fs::File::options().write(true).open(marker_file()?)?),
        _ => None,
    };
    let mut lines = String::new();
    for (number, (busy, sleep)) in PATTERN.into_iter().enumerate() {
        let before = now();
        edge(how, true, number as u64, marker.as_mut())?;
        let begun = now();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(busy) {
            std::hint::spin_loop();
        }
        std::thread::sleep(Duration::from_millis(sleep));
        let ending = now();
        edge(how, false, number as u64, marker.as_mut())?;
        let after = now();
        // The window of a system call lies somewhere inside.
        let [first, second, third, fourth] =
            if how == "syscall" { [begun, ending, begun, ending] } else { [before, begun, ending, after] };
        lines.push_str(&format!("{first} {second} {third} {fourth}\n"));
    }
    out.write_all(lines.as_bytes())
}

fn marker_file() -> std::io::Result<PathBuf> {
    let root = Tracefs::find().map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(root.top().path("trace_marker"))
}

fn edge(how: &str, begins: bool, number: u64, marker: Option<&mut std::fs::File>) -> std::io::Result<()> {
    match (how, marker) {
        ("marker", Some(marker)) => marker.write_all(if begins { b"start 20\n" } else { b"stop\n" })?,
        ("syscall", _) => {}
        ("probe", _) => {
            std::hint::black_box(if begins { rtrec_selftest_begin(number) } else { rtrec_selftest_end(number) });
        }
        _ => {
            let call = if begins { MARKER_SYSCALL_START } else { MARKER_SYSCALL_STOP };
            // SAFETY: the kernel implements no such call and answers with an error; the arguments are numbers.
            unsafe { nix::libc::syscall(call as c_long, 20 as c_long, 20 as c_long) };
        }
    }
    Ok(())
}

/// Nanoseconds of the clock that traces are recorded by.
fn now() -> i64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    time.map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}
