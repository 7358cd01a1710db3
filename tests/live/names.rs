//! Names over time and the time of day, which every recording brings, on the running kernel.

use std::path::Path;
use std::process::Command;

use crate::common::{Alone, rtrec, run, stderr, stdout};
use rtrec::dat::Dat;

fn report(dir: &Path, words: &[&str]) -> String {
    let output = rtrec().current_dir(dir).arg("report").args(words).output().unwrap();
    assert!(output.status.success(), "report {words:?}: {}", stderr(&output));
    stdout(&output)
}

/// The times of all lines, as printed.
fn times(text: &str) -> Vec<f64> {
    let time = |line: &str| line.split_whitespace().find_map(|word| word.strip_suffix(':')?.parse::<f64>().ok());
    text.lines().filter_map(time).collect()
}

#[test]
fn a_task_has_the_name_it_had_at_the_time() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let before = alone.snapshot();
    let script = "true; printf one > /proc/self/comm; true; printf two > /proc/self/comm; exec ls /";
    let words = ["record", "-q", "-F", "-e", "raw_syscalls", "-o", "a.dat", "sh", "-c", script];
    let output = run(folder.path(), &words);
    assert!(output.status.success(), "{}", stderr(&output));
    alone.assert_as_before(&before);
    let text = report(folder.path(), &["a.dat"]);
    let task = |line: &str| line.split_once(" [").map(|(task, _)| task.trim().rsplit_once('-').unwrap().0.to_owned());
    let mut names: Vec<String> = text.lines().skip(1).filter_map(task).collect();
    names.dedup();
    assert_eq!(names, ["rtrec", "sh", "one", "two", "ls"], "{text}");
    let json = report(folder.path(), &["--format", "json", "a.dat"]);
    assert!(json.contains("\"comm\":\"one\"") && json.contains("\"comm\":\"ls\""));
    // Like trace-cmd, which knows one name only, when asked to be like it.
    let text = report(folder.path(), &["--compat", "3.4", "a.dat"]);
    assert!(!text.contains(" one-"), "{text}");
}

#[test]
fn every_file_tells_the_time_of_day() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let before = alone.snapshot();
    for (clock, seconds) in [("local", "0.1"), ("mono", "1.3"), ("boot", "0.1")] {
        let words = ["record", "-q", "-C", clock, "-e", "sched", "-o", "a.dat", "sleep", seconds];
        assert!(run(folder.path(), &words).status.success());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        alone.assert_as_before(&before);
        let times = times(&report(folder.path(), &["--wall-clock", "-t", "a.dat"]));
        let last = times.last().copied().unwrap_or_default();
        assert!((0.0..10.0).contains(&(now - last)), "{clock}: {last} at {now}");
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
        // In the middle of a long pause.
        let gap = times.windows(2).max_by(|a, b| (a[1] - a[0]).total_cmp(&(b[1] - b[0]))).unwrap();
        let middle = f64::midpoint(gap[0], gap[1]);
        let told = jiff::Timestamp::from_nanosecond((middle * 1e9) as i128).unwrap();
        let here = told.to_zoned(jiff::tz::TimeZone::system()).strftime("%F %T%.f").to_string();
        let time = here.split_once(' ').unwrap().1;
        let expected = times.iter().filter(|time| **time > middle).count();
        for from in [&told.to_string(), &here, time] {
            let later = report(folder.path(), &["--from", from, "a.dat"]);
            assert_eq!(self::times(&later).len(), expected, "{clock}: from {from}: {later}");
        }
        let readings = Dat::open(&folder.path().join("a.dat")).unwrap().clock_readings().unwrap();
        assert_eq!((readings.clock.as_str(), readings.readings.len()), (clock, 2));
        if clock == "mono" {
            let off = readings.readings[0].monotonic_ns - readings.readings[0].ticks as i64;
            assert!(off.unsigned_abs() < 1_000_000, "{off} ns beside CLOCK_MONOTONIC");
        }
    }
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v7-zstd-events/trace.dat");
    let output = rtrec().args(["report", "--wall-clock"]).arg(old).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("does not tell the time of day"), "{}", stderr(&output));
}

#[test]
fn other_readers_step_over_what_is_rtrecs_own() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    for compression in ["zstd", "zlib", "none"] {
        let words = ["record", "-q", "-e", "sched", "--compression", compression, "-o", "a.dat", "ls", "/"];
        let before = alone.snapshot();
        assert!(run(folder.path(), &words).status.success());
        alone.assert_as_before(&before);
        let names = Dat::open(&folder.path().join("a.dat")).unwrap().name_changes().unwrap();
        assert!(names.changes.iter().any(|change| change.name == b"ls"), "{compression}: {names:?}");
        // Debian's 3.1 reads no zlib.
        let readers = xtask::peers::TraceCmd::ALL.into_iter().skip(usize::from(compression == "zlib"));
        for peer in readers.filter_map(|peer| peer.program().ok()) {
            let output =
                Command::new(&peer).current_dir(folder.path()).args(["report", "-i", "a.dat"]).output().unwrap();
            assert!(output.status.success() && output.stderr.is_empty(), "{}: {}", peer.display(), stderr(&output));
            assert!(stdout(&output).contains("sched_process_exit:"));
        }
    }
}
