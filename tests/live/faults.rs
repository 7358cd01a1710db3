//! What goes wrong around a recorder on the running kernel: full disks, vanished folders, meddlers. Kills are in `kills.rs`.
//!
//! Each test prints a row of the fault table: fault, tries, expected, recovered, tracefs as before. `cargo xtask faults`
//! runs them with many tries and shows the table.

use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::common::faults::{Load, Small, bytes_in_whole_chunks, events, raw_bytes, row, tries};
use crate::common::{Alone, Recorder, listing, records, rtrec, run, stderr, stdout, wait_until};
use nix::sys::signal::Signal;

/// Makes enough records to fill a few megabytes, and ends with status 3.
const FILLING: &str = "i=0; while [ $i -lt 30 ]; do cat /proc/self/maps /proc/self/status; find /usr/share -name '*.x'; i=$((i+1)); done >/dev/null; exit 3";

#[test]
fn a_disk_too_small_for_the_formats_leaves_what_can_be_restored_elsewhere() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let small = Small::mount(folder.path(), "1m");
    let words = ["record", "-b", "512", "-e", "raw_syscalls", "--free-space", "1", "-o", "a.dat", "sh", "-c", FILLING];
    let output = run(&small.0, &words);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("ENOSPC") && stderr(&output).contains("rtrec restore"), "{}", stderr(&output));
    alone.assert_as_before(&before);
    let whole = bytes_in_whole_chunks(&small.0);
    let target = folder.path().join("b.dat");
    let output = run(&small.0, &["restore", "a.dat", "-o", target.to_str().unwrap()]);
    // There is no room for the whole beside its parts, but where it is to go.
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(raw_bytes(folder.path(), "b.dat"), whole);
    assert!(whole > 0 && events(folder.path(), "b.dat") > 0);
    row("disk too small for the formats", 1, format!("{whole} bytes"), format!("{whole} bytes"));
}

#[test]
fn a_disk_that_becomes_full_leaves_a_complete_trace_up_to_then() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let small = Small::mount(folder.path(), "12m");
    let words = [
        "record",
        "--compression",
        "none",
        "--free-space",
        "1",
        "-b",
        "512",
        "-e",
        "raw_syscalls",
        "-o",
        "a.dat",
        "sh",
        "-c",
        FILLING,
    ];
    let output = run(&small.0, &words);
    assert_eq!(output.status.code(), Some(3), "the command's own status: {}", stderr(&output));
    assert!(stderr(&output).contains("ENOSPC"), "{}", stderr(&output));
    alone.assert_as_before(&before);
    assert_eq!(listing(&small.0), ["a.dat"]);
    let kept = events(&small.0, "a.dat");
    assert!(kept > 10_000, "{kept}");
    row("ENOSPC while recording", 1, "more than 10000 events", kept);
}

#[test]
fn a_recording_stops_before_the_disk_is_full() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let small = Small::mount(folder.path(), "48m");
    let words = ["record", "--compression", "none", "--free-space", "36M", "-e", "raw_syscalls", "-o", "a.dat"];
    let _load = Load::start();
    let output = Recorder::start(&small.0, &words).output();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("the disk has only"), "{}", stderr(&output));
    alone.assert_as_before(&before);
    assert_eq!(listing(&small.0), ["a.dat"]);
    let kept = events(&small.0, "a.dat");
    assert!(kept > 1000, "{kept}");
    row("free-space guard", 1, "stops by itself", format!("{kept} events"));
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_not_a_death() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    // In blocks of 512 or 1024 bytes: enough for the formats, not for the records.
    let line = format!(
        "ulimit -f 4000; exec {} record --compression none -e raw_syscalls -o a.dat sh -c \"{}\"",
        env!("CARGO_BIN_EXE_rtrec"),
        FILLING.replace('$', "\\$")
    );
    let output = Command::new("sh").current_dir(folder.path()).args(["-c", &line]).output().unwrap();
    assert!(output.status.code().is_some(), "{:?}: {}", output.status, stderr(&output));
    assert!(stderr(&output).contains("EFBIG"), "{}", stderr(&output));
    alone.assert_as_before(&before);
    if listing(folder.path()) != ["a.dat"] {
        let output = run(folder.path(), &["restore", "a.dat"]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let kept = events(folder.path(), "a.dat");
    assert!(kept > 10_000, "{kept}");
    row("EFBIG while recording", 1, "more than 10000 events", kept);
}

#[test]
fn a_folder_that_vanishes_is_said_and_the_kernel_put_back() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let doomed = folder.path().join("doomed");
    fs::create_dir(&doomed).unwrap();
    let recorder = Recorder::start(folder.path(), &["record", "-e", "sched", "-o", "doomed/a.dat"]);
    wait_until("it records", || records(&doomed));
    std::thread::sleep(Duration::from_millis(200));
    fs::remove_dir_all(&doomed).unwrap();
    recorder.send(Signal::SIGINT);
    let output = recorder.output();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("ENOENT"), "{}", stderr(&output));
    alone.assert_as_before(&before);
    row("folder vanishes", 1, "a message", "a message");
}

#[test]
fn a_second_interrupt_ends_it_at_once_and_the_kernel_is_put_back() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let mut abandoned = 0;
    let tries = 5;
    let _load = Load::start();
    for _ in 0..tries {
        let folder = tempfile::tempdir().unwrap();
        let words =
            ["record", "-b", "16M", "--compression", "none", "-e", "raw_syscalls", "-e", "sched", "-o", "a.dat"];
        let recorder = Recorder::start(folder.path(), &words);
        wait_until("it records", || records(folder.path()));
        std::thread::sleep(Duration::from_millis(300));
        recorder.send(Signal::SIGINT);
        std::thread::sleep(Duration::from_millis(1));
        recorder.send(Signal::SIGINT);
        let asked = Instant::now();
        let output = recorder.output();
        assert!(asked.elapsed() < Duration::from_secs(20));
        alone.assert_as_before(&before);
        if output.status.code() == Some(130) {
            abandoned += 1;
            let output = run(folder.path(), &["restore", "a.dat"]);
            assert!(output.status.success(), "{}", stderr(&output));
        }
        assert_eq!(listing(folder.path()), ["a.dat"]);
        assert!(events(folder.path(), "a.dat") > 0);
    }
    row("SIGINT twice", tries, "a trace, restored or whole", format!("{tries} traces, {abandoned} of them restored"));
}

#[test]
fn a_recorder_that_was_stopped_for_a_while_counts_what_it_missed() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let words = ["-v", "record", "-B", "rtrec-test", "-b", "32", "-e", "raw_syscalls", "-o", "a.dat"];
    let load = Load::start();
    let recorder = Recorder::start(folder.path(), &words);
    wait_until("it records", || records(folder.path()));
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(200));
        recorder.send(Signal::SIGSTOP);
        std::thread::sleep(Duration::from_millis(300));
        recorder.send(Signal::SIGCONT);
    }
    std::thread::sleep(Duration::from_millis(200));
    recorder.send(Signal::SIGINT);
    let output = recorder.output();
    drop(load);
    assert!(output.status.success(), "{}", stderr(&output));
    alone.assert_as_before(&before);
    let (read, lost) = (counted(&output, "events read"), counted(&output, "lost"));
    let text = stdout(&run(folder.path(), &["report", "a.dat"]));
    let (kept, told, uncounted) = kept_and_lost(&text);
    assert!(lost > 0, "{}", stderr(&output));
    assert_eq!(kept, read, "{}", stderr(&output));
    // A sub-buffer that is full to its last byte has no room for the number, only for the mark.
    assert!(if uncounted { told < lost } else { told == lost }, "{told} of {lost}");
    row("readers stopped (SIGSTOP)", 3, format!("{read} read, {lost} lost"), format!("{kept} kept, {told} lost"));
}

/// The sum over CPUs of a number in the words of `-v`.
fn counted(output: &Output, word: &str) -> u64 {
    let said = stderr(output);
    let parts = said.lines().filter(|line| line.contains("events read")).flat_map(|line| line.split([':', ',', ';']));
    parts.filter_map(|part| part.trim().strip_suffix(word)?.trim().parse::<u64>().ok()).sum()
}

/// Records in a report, and those it says were lost.
fn kept_and_lost(text: &str) -> (u64, u64, bool) {
    let (mut kept, mut lost, mut uncounted) = (0, 0, false);
    for line in text.lines().filter(|line| !line.contains("cpus=")) {
        match line.split_once("EVENTS DROPPED]") {
            Some((before, _)) => match before.rsplit('[').next().unwrap().trim().parse::<u64>() {
                Ok(count) => lost += count,
                Err(_) => uncounted = true,
            },
            None => kept += 1,
        }
    }
    (kept, lost, uncounted)
}

#[test]
fn what_meddlers_do_to_the_buffer_ends_nothing() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let instance = alone.root.join("instances/rtrec-test");
    let meddlings: &[(&str, &str, &str)] = &[
        ("buffer cleared by another", "trace", ""),
        ("buffer resized by another", "buffer_size_kb", "4096"),
        ("events switched off by another", "set_event", ""),
        ("buffer switched off by another", "tracing_on", "0"),
    ];
    for (fault, file, text) in meddlings {
        for way in ["best", "splice", "read"] {
            let folder = tempfile::tempdir().unwrap();
            let load = Load::start();
            let words = ["record", "-B", "rtrec-test", "--reader", way, "-e", "raw_syscalls", "-o", "a.dat"];
            let recorder = Recorder::start(folder.path(), &words);
            wait_until("it records", || records(folder.path()));
            std::thread::sleep(Duration::from_millis(200));
            // The kernel may refuse; then nothing has changed.
            let _ = fs::write(instance.join(file), text);
            let _ = fs::remove_dir(&instance);
            std::thread::sleep(Duration::from_millis(200));
            recorder.send(Signal::SIGINT);
            let output = recorder.output();
            drop(load);
            assert!(output.status.success(), "{fault}, {way}: {}", stderr(&output));
            assert_eq!(listing(folder.path()), ["a.dat"]);
            let report = run(folder.path(), &["report", "a.dat"]);
            assert!(report.status.success(), "{fault}, {way}: {}", stderr(&report));
            alone.assert_as_before(&before);
        }
        row(fault, 3, "goes on", "goes on");
    }
    row("instance removed by another", 12, "refused by the kernel (EBUSY)", "refused");
}

#[test]
fn thousands_of_children_are_followed() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let script = "i=0; while [ $i -lt 2000 ]; do /bin/true; i=$((i+1)); done";
    let words =
        ["record", "-q", "-F", "-c", "-e", "sched:sched_process_exec", "-e", "sched:sched_process_exit", "-o", "a.dat"];
    let output = rtrec().current_dir(folder.path()).args(words).args(["sh", "-c", script]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    alone.assert_as_before(&before);
    let text = stdout(&run(folder.path(), &["report", "a.dat"]));
    let execs = text.lines().filter(|line| line.contains("filename=/bin/true")).count();
    assert_eq!(execs, 2000);
    row("2000 children", 1, "2000 execs", format!("{execs} execs"));
}

#[test]
fn a_short_command_is_whole_however_busy_the_machine() {
    let count = tries(8);
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let _loads = [Load::start(), Load::start(), Load::start()];
    for _ in 0..count {
        let words = ["record", "-q", "-e", "sched:sched_process_exec", "-e", "sched:sched_process_exit", "-o", "a.dat"];
        let output = run(folder.path(), &[words.as_slice(), &["env", "rtrec_test=1", "true"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let text = stdout(&run(folder.path(), &["report", "a.dat"]));
        // `env` becomes `true`: two execs of one process, then its exit.
        let of_env = text.lines().find(|line| line.contains("sched_process_exec") && line.contains("/env "));
        let pid =
            of_env.and_then(|line| line.split("pid=").nth(1)?.split(' ').next()).unwrap_or_else(|| panic!("{text}"));
        let has = |event: &str, word: &str| {
            text.lines()
                .any(|line| line.contains(event) && line.contains(word) && line.contains(&format!("pid={pid} ")))
        };
        assert!(has("sched_process_exec", "/true "), "{pid}: {text}");
        assert!(has("sched_process_exit", "comm=true "), "{pid}: {text}");
    }
    drop(_loads);
    alone.assert_as_before(&before);
    row("short commands under load", count, format!("{count} execs and exits"), format!("{count} execs and exits"));
}
