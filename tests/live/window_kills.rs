//! SIGKILL of a recorder of windows: what windows were asked for, samples and slow windows are in what it leaves.
//!
//! A report of the recording under way shows some windows, then the recorder is killed: whatever was shown is there yet,
//! in a report of what it left as well as once that is restored, without a word about windows.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::{Alone, Recorder, listing, run, stderr, stdout, wait_until};
use serde_json::Value;

/// A program with windows that goes on until it is dropped.
struct Windows(Child);

impl Windows {
    fn start(folder: &Path) -> Windows {
        let path = folder.join("windows");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/windows.c");
        let mut cc = Command::new("cc");
        let built = cc.args(["-O2", "-pthread", "-fno-omit-frame-pointer", "-o"]).arg(&path).arg(source);
        assert!(built.status().expect("cc starts").success());
        Windows(Command::new(path).current_dir(folder).args(["own", "2", "1000000", "0"]).spawn().unwrap())
    }
}

/// A process that goes to sleep for good when it is told to, and is woken when it is dropped.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Sleeper {
        let words = ["-c", "read line; exec sleep 100000"];
        Sleeper(Command::new("sh").args(words).stdin(Stdio::piped()).spawn().expect("sh starts"))
    }

    /// Lets it sleep; the time when it does.
    fn sleeps(&mut self) -> i64 {
        self.0.stdin.as_mut().unwrap().write_all(b"now\n").unwrap();
        let file = format!("/proc/{}/syscall", self.0.id());
        let number = format!("{} ", nix::libc::SYS_clock_nanosleep);
        wait_until("it sleeps", || fs::read_to_string(&file).is_ok_and(|call| call.starts_with(&number)));
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
        now.tv_sec() * 1_000_000_000 + now.tv_nsec()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Puts back what a recorder left, however the test ends.
struct PutBack<'f>(&'f Path);

impl Drop for PutBack<'_> {
    fn drop(&mut self) {
        let _ = run(self.0, &["reset", "--stale", "."]);
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is older than that is written, whichever CPU it is from.
const SETTLED_NS: i64 = 3_000_000_000;

/// The windows of a report by thread and start, and what is said of the report.
fn windows(folder: &Path) -> (BTreeMap<(i64, i64), Value>, String) {
    let output = run(folder, &["report", "--windows", "--format", "json", "a.dat"]);
    let read = |line: &str| -> Option<Value> { serde_json::from_str(line).ok() };
    let all = stdout(&output).lines().filter_map(read).filter(|window| window["open"] == false).collect::<Vec<_>>();
    let key = |window: &Value| (window["tid"].as_i64().unwrap(), window["start"].as_i64().unwrap());
    (all.into_iter().map(|window| (key(&window), window)).collect(), stderr(&output))
}

fn samples(window: &Value) -> u64 {
    window["samples"].as_array().unwrap().iter().map(|sample| sample["count"].as_u64().unwrap()).sum()
}

/// When what happened in it.
fn outline(window: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    steps(window).iter().map(|step| (&step["offset"], &step["step"]))
}

fn steps(window: &Value) -> &Vec<Value> {
    window["steps"].as_array().unwrap()
}

/// Kills a recorder once a report shows windows with samples, or, if one that never closes is open meanwhile, windows with
/// all their steps. The summary of the restored trace.
fn killed(more: &[&str], holds_one_open: bool) -> String {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let _put_back = PutBack(folder);
    let program = Windows::start(folder);
    let pid = program.0.id().to_string();
    let window = format!("./windows:work_begin..work_end@{pid}:3ms");
    let mut sleeper = holds_one_open.then(Sleeper::start);
    let sleeping = sleeper.as_ref().map_or_else(|| pid.clone(), |sleeper| sleeper.0.id().to_string());
    let nap = format!("{sleeping}:clock_nanosleep:100s");
    let pids = format!("{pid},{sleeping}");
    let mut words = vec!["rt", "-q", "--window", &window, "--sample", "500us", "-o", "a.dat", "-p", &pids];
    if holds_one_open {
        words.extend(["--window-syscall", &nap]);
    }
    let recorder = Recorder::start(folder, &[&words[..], more].concat());
    wait_until("windows are shown", || !windows(folder).0.is_empty());
    let since = sleeper.as_mut().map_or(0, Sleeper::sleeps);
    let mut shown = BTreeMap::new();
    wait_until("a report shows windows with samples", || {
        shown = windows(folder).0;
        // One CPU's data may be written before that of another. Where it ends a stop may be missing, and a later one be
        // taken for it.
        let last = shown.keys().map(|key| key.1).max().unwrap_or(0);
        shown.retain(|key, window| key.1 + window["duration"].as_i64().unwrap() < last - SETTLED_NS);
        shown.retain(|key, _| key.1 > since);
        let is_whole = |window: &&Value| samples(window) > 0 && (since == 0 || is_complete(window));
        shown.values().filter(is_whole).count() > 5
    });
    recorder.killed();
    drop((program, sleeper));
    let reset = run(folder, &["reset", "--stale", "."]);
    assert!(reset.status.success(), "{}", stderr(&reset));
    alone.assert_as_before(&before);
    let (left, said) = windows(folder);
    let restore = run(folder, &["restore", "a.dat"]);
    assert!(restore.status.success(), "{}", stderr(&restore));
    assert_eq!(listing(folder), ["a.dat", "own", "windows"]);
    let (restored, _) = windows(folder);
    assert_eq!(left.keys().collect::<Vec<_>>(), restored.keys().collect::<Vec<_>>(), "{said}");
    for (key, window) in &left {
        for part in ["duration", "split", "samples", "pid", "lost"] {
            assert_eq!(window[part], restored[key][part], "{part} of {window}");
        }
        // Names in them may differ: only one of the two is read while those threads live.
        assert!(outline(window).eq(outline(&restored[key])), "{window}, then {}", restored[key]);
    }
    for (key, window) in &shown {
        let there = restored.get(key).unwrap_or_else(|| panic!("{window} is missing"));
        assert_eq!((&there["duration"], &there["threshold"]), (&window["duration"], &3_000_000.into()));
        assert_eq!((&there["kind"], &there["split"]), (&window["kind"], &window["split"]), "{window}, then {there}");
        assert!(!is_complete(window) || steps(there).len() >= steps(window).len(), "{window}, then {there}");
        // Samples of the last moment may have come after what was shown.
        assert!(samples(there) >= samples(window), "{window}, then {there}");
        assert_eq!(there["pid"].to_string(), pid);
    }
    assert!(restored.values().all(|window| window["duration"].as_u64().unwrap() >= 3_000_000));
    let stacks: Vec<String> = restored.values().map(|window| window["samples"].to_string()).collect();
    assert!(stacks.iter().any(|stack| stack.contains(r#""request","parse","burn""#)), "{stacks:?}");
    stdout(&run(folder, &["report", "--windows", "a.dat"])).lines().next().unwrap().to_owned()
}

/// Whether all that happened in it is there, as far as can be told.
fn is_complete(window: &Value) -> bool {
    let kind = |step: Option<&Value>| step.is_some_and(|step| step["step"] == "start" || step["step"] == "stop");
    steps(window).len() > 2 && kind(steps(window).first()) && kind(steps(window).last())
}

fn closed_and_slow(summary: &str) -> (u64, u64) {
    let numbers: Vec<u64> = summary.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    (numbers[0], numbers[1])
}

#[test]
fn a_killed_recorder_leaves_its_windows_and_samples() {
    let summary = killed(&[], false);
    let (closed, slow) = closed_and_slow(&summary);
    assert!(closed > slow && slow > 5, "{summary}");
}

#[test]
fn a_killed_recorder_of_slow_windows_leaves_them_and_its_counts() {
    let summary = killed(&["--only-slow"], false);
    // Those that were not slow are known by the counts only.
    let (closed, slow) = closed_and_slow(&summary);
    assert!(closed > slow && slow > 5, "{summary}");
}

#[test]
fn slow_windows_survive_while_an_older_one_is_open() {
    let summary = killed(&["--only-slow"], true);
    let (closed, slow) = closed_and_slow(&summary);
    assert!(closed > slow && slow > 5, "{summary}");
}
