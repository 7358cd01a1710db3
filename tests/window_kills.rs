//! SIGKILL of a recorder of windows: what windows were asked for, samples and slow windows are in what it leaves.
//!
//! A report of the recording under way shows some windows, then the recorder is killed: whatever was shown is there yet,
//! in a report of what it left as well as once that is restored, without a word about windows.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command};

use common::{Alone, Recorder, listing, run, stderr, stdout, wait_until};
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

/// Kills a recorder once a report shows windows with samples; the windows that it showed, and the summary of the restored
/// trace.
fn killed(more: &[&str]) -> String {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let _put_back = PutBack(folder);
    let program = Windows::start(folder);
    let pid = program.0.id().to_string();
    let window = format!("./windows:work_begin..work_end@{pid}:3ms");
    let words = ["rt", "-q", "--window", &window, "--sample", "500us", "-o", "a.dat", "-p", &pid];
    let recorder = Recorder::start(folder, &[&words[..], more].concat());
    let mut shown = BTreeMap::new();
    wait_until("a report shows windows with samples", || {
        shown = windows(folder).0;
        // One CPU's data may be written before that of another. Where it ends a stop may be missing, and a later one be
        // taken for it.
        let last = shown.keys().map(|key| key.1).max().unwrap_or(0);
        shown.retain(|key, window| key.1 + window["duration"].as_i64().unwrap() < last - SETTLED_NS);
        shown.values().filter(|window| samples(window) > 0).count() > 5
    });
    recorder.killed();
    drop(program);
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
    }
    for (key, window) in &shown {
        let there = restored.get(key).unwrap_or_else(|| panic!("{window} is missing"));
        assert_eq!((&there["duration"], &there["threshold"]), (&window["duration"], &3_000_000.into()));
        assert_eq!((&there["kind"], &there["split"]), (&window["kind"], &window["split"]), "{window}, then {there}");
        // Samples of the last moment may have come after what was shown.
        assert!(samples(there) >= samples(window), "{window}, then {there}");
        assert_eq!(there["pid"].to_string(), pid);
    }
    assert!(restored.values().all(|window| window["duration"].as_u64().unwrap() >= 3_000_000));
    let stacks: Vec<String> = restored.values().map(|window| window["samples"].to_string()).collect();
    assert!(stacks.iter().any(|stack| stack.contains(r#""request","parse","burn""#)), "{stacks:?}");
    stdout(&run(folder, &["report", "--windows", "a.dat"])).lines().next().unwrap().to_owned()
}

fn closed_and_slow(summary: &str) -> (u64, u64) {
    let numbers: Vec<u64> = summary.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    (numbers[0], numbers[1])
}

#[test]
fn a_killed_recorder_leaves_its_windows_and_samples() {
    let summary = killed(&[]);
    let (closed, slow) = closed_and_slow(&summary);
    assert!(closed > slow && slow > 5, "{summary}");
}

#[test]
fn a_killed_recorder_of_slow_windows_leaves_them_and_its_counts() {
    let summary = killed(&["--only-slow"]);
    // Those that were not slow are known by the counts only.
    let (closed, slow) = closed_and_slow(&summary);
    assert!(closed > slow && slow > 5, "{summary}");
}
