//! Response-time windows on the running kernel, against what the program says of itself.
//!
//! The machine may be busy, so nothing here depends on how long anything takes: the program writes down when each of its
//! windows began and ended, and what rtrec reports must lie between its readings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Alone, Recorder, run, stderr, stdout, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;

const THRESHOLD_NS: i64 = 20_000_000;

/// One window as the program saw it: before and after its begin, before and after its end.
struct Own {
    tid: i64,
    at: [i64; 4],
}

impl Own {
    fn holds(&self, window: &Value) -> bool {
        let (start, duration) = (int(window, "start"), int(window, "duration"));
        let end = start + duration;
        int(window, "tid") == self.tid
            && (self.at[0]..=self.at[1]).contains(&start)
            && (self.at[2]..=self.at[3]).contains(&end)
    }
}

fn int(value: &Value, key: &str) -> i64 {
    value[key].as_i64().unwrap_or_else(|| panic!("{key} in {value}"))
}

/// A test program, built with or without frame pointers.
fn program(folder: &Path, frame_pointers: bool) -> PathBuf {
    let path = folder.join("windows");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/windows.c");
    let how = if frame_pointers { "-fno-omit-frame-pointer" } else { "-fomit-frame-pointer" };
    let built = Command::new("cc").args(["-O2", "-g", "-pthread", how, "-o"]).arg(&path).arg(source).status();
    assert!(built.expect("cc starts").success());
    path
}

fn own(folder: &Path) -> Vec<Own> {
    let text = std::fs::read_to_string(folder.join("own")).unwrap();
    let line = |line: &str| {
        let numbers: Vec<i64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        Own { tid: numbers[0], at: numbers[1..5].try_into().unwrap() }
    };
    text.lines().map(line).collect()
}

fn reported(folder: &Path, words: &[&str]) -> Vec<Value> {
    let output = run(folder, &[&["report", "--windows", "--format", "json", "a.dat"], words].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Asserts that each window is reported once, and as slow exactly if it was.
fn assert_matches(own: &[Own], windows: &[Value], only_slow: bool) {
    for one in own {
        let count = windows.iter().filter(|window| one.holds(window)).count();
        let (surely, perhaps) = (one.at[2] - one.at[1] >= THRESHOLD_NS, one.at[3] - one.at[0] >= THRESHOLD_NS);
        match only_slow {
            true => assert!(count == 1 || !surely && count == 0, "{} of {:?}", count, one.at),
            false => assert_eq!(count, 1, "{:?}", one.at),
        }
        assert!(!only_slow || perhaps || count == 0, "{:?} was not slow", one.at);
    }
    // All sleep, but a short sleep may be over before the thread has left its CPU.
    assert!(windows.iter().any(|window| int(&window["split"], "blocked") > 0));
    for window in windows {
        assert!(own.iter().any(|one| one.holds(window)), "nobody had {window}");
        let split = &window["split"];
        let sum = int(split, "on_cpu") + int(split, "blocked") + int(split, "runnable");
        assert_eq!(sum, int(window, "duration"), "{split}");
        assert_eq!(int(window, "lost"), 0);
    }
}

fn record(folder: &Path, words: &[&str], command: &[&str]) {
    let words = [&["rt", "--threshold", "20ms", "-o", "a.dat"], words, &["--", "./windows", "own"], command].concat();
    let output = run(folder, &words);
    assert!(output.status.success() && !stderr(&output).contains("lost"), "{}", stderr(&output));
}

#[test]
fn windows_of_every_source_are_those_of_the_program() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    program(folder, true);
    let before = alone.snapshot();
    for (words, mode) in [
        (&["--window-magic"][..], "2"),
        (&["--window-magic"], "3"),
        (&["--window", "./windows:work_begin..work_end@0"], "0"),
        (&["--window-magic", "--only-slow"], "2"),
    ] {
        record(folder, words, &["4", "5", mode]);
        alone.assert_as_before(&before);
        let (own, only_slow) = (own(folder), words.contains(&"--only-slow"));
        assert_eq!(own.len(), 20);
        assert_matches(&own, &reported(folder, if only_slow { &[] } else { &["--min", "0"] }), only_slow);
        assert_matches(&own, &reported(folder, &[]), true);
    }
}

#[test]
fn markers_go_to_the_instance_too_where_the_kernel_can() {
    let alone = Alone::with_tracefs();
    if !alone.root.join("options/copy_trace_marker").exists() {
        println!("NOT RUN: this kernel has no copy_trace_marker");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    program(folder.path(), true);
    let before = alone.snapshot();
    record(folder.path(), &["--window-marker"], &["2", "4", "1"]);
    alone.assert_as_before(&before);
    assert_matches(&own(folder.path()), &reported(folder.path(), &["--min", "0"]), false);
}

#[test]
fn a_window_around_a_system_call_has_its_sleep_and_its_waker() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    program(folder, true);
    let before = alone.snapshot();
    record(folder, &["--window-syscall", "0:clock_nanosleep"], &["2", "3", "0"]);
    alone.assert_as_before(&before);
    let windows = reported(folder, &["--min", "0"]);
    let mut by_thread: BTreeMap<i64, Vec<&Value>> = BTreeMap::new();
    windows.iter().for_each(|window| by_thread.entry(int(window, "tid")).or_default().push(window));
    assert_eq!(by_thread.len(), 2);
    let mut wakers = 0;
    for windows in by_thread.values() {
        assert_eq!(windows.len(), 3);
        assert!(int(windows[2], "duration") >= 30_000_000);
        for window in windows {
            let steps = window["steps"].as_array().unwrap();
            let step = |name: &str| steps.iter().find(|step| step["step"] == name);
            let stack = |name: &str| step(name).unwrap_or_else(|| panic!("{name} in {window}"))["stack"].to_string();
            assert!(stack("out S").contains("do_nanosleep"), "{window}");
            // This kernel has now and then no stack of a wake-up from idle.
            let woken = step("woken").unwrap_or_else(|| panic!("woken in {window}"));
            assert!(woken["stack"].is_null() || stack("woken").contains("hrtimer_wakeup"), "{window}");
            wakers += usize::from(!woken["stack"].is_null());
            assert_eq!(steps.last().unwrap()["step"], "stop");
        }
    }
    assert!(wakers > 0, "{by_thread:?}");
    let text = stdout(&run(folder, &["report", "--windows", "a.dat"]));
    assert!(
        text.starts_with("windows: 6 closed, ") && text.contains("over 20.000 ms, 0 open, 0 with lost events"),
        "{text}"
    );
    let folded = stdout(&run(folder, &["report", "--windows", "--format", "folded", "--time", "off-cpu", "a.dat"]));
    assert!(folded.lines().any(|line| line.starts_with("windows;") && line.contains(";do_nanosleep;")), "{folded}");
    let words = ["report", "--windows", "--format", "flamegraph", "--time", "off-cpu", "a.dat"];
    let picture = stdout(&run(folder, &words));
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(&picture, options).unwrap();
    let titles: Vec<&str> =
        document.descendants().filter(|node| node.has_tag_name("title")).flat_map(|n| n.text()).collect();
    assert!(titles.iter().any(|title| title.starts_with("do_nanosleep (")), "{titles:?}");
    assert!(picture.contains("time off CPU in "), "{picture}");
}

#[test]
fn samples_have_whole_stacks_without_frame_pointers() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    program(folder, false);
    let before = alone.snapshot();
    let words = ["--window-magic", "--sample", "500us", "--user-stack", "dwarf"];
    record(folder, &words, &["1", "12", "2"]);
    alone.assert_as_before(&before);
    let windows = reported(folder, &["--min", "0"]);
    assert_matches(&own(folder), &windows, false);
    let samples = windows.iter().flat_map(|window| window["samples"].as_array().unwrap());
    let stack = |sample: &Value| {
        let names: Vec<String> =
            sample["stack"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
        names.join(";")
    };
    let stacks: Vec<String> = samples.map(stack).collect();
    assert!(stacks.iter().any(|stack| stack.contains("thr;request;parse;burn")), "{stacks:#?}");
    // Where it slept is known from the kernel down to the program's first function.
    let steps = windows.iter().flat_map(|window| window["steps"].as_array().unwrap());
    let left: Vec<String> =
        steps.filter(|step| step["step"] == "out S").map(|step| step["stack"].to_string()).collect();
    let whole = |stack: &String| stack.contains("do_nanosleep") && stack.contains(r#""request","thr","start_thread""#);
    assert!(!left.is_empty() && left.iter().all(whole), "{left:#?}");
    let folded = stdout(&run(folder, &["report", "--windows", "--format", "folded", "--time", "off-cpu", "a.dat"]));
    assert!(folded.contains(";start_thread;thr;request;") && folded.contains(";do_nanosleep;"), "{folded}");
    // Other readers step over what only rtrec knows.
    let text = stdout(&run(folder, &["report", "a.dat"]));
    assert!(text.starts_with("cpus=") && text.contains("sched_switch"), "{text}");
}

#[test]
fn stacks_go_on_past_functions_whose_return_is_probed() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    program(folder, false);
    let before = alone.snapshot();
    record(
        folder,
        &["--window", "./windows:request@0", "--sample", "500us", "--user-stack", "dwarf"],
        &["2", "12", "0"],
    );
    alone.assert_as_before(&before);
    let windows = reported(folder, &["--min", "0"]);
    assert_eq!(windows.len(), 24, "threads can be started as if nobody looked");
    let stacks = stacks(folder);
    let burning: Vec<&String> = stacks.iter().filter(|stack| stack.contains("request;parse;burn")).collect();
    assert!(
        !burning.is_empty() && burning.iter().all(|stack| stack.contains(";thr;request;parse;burn")),
        "{stacks:#?}"
    );
}

/// The stacks of the samples in all windows.
fn stacks(folder: &Path) -> Vec<String> {
    let windows = reported(folder, &["--min", "0"]);
    let samples = windows.iter().flat_map(|window| window["samples"].as_array().unwrap());
    let stack = |sample: &Value| {
        let names: Vec<&str> = sample["stack"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        names.join(";")
    };
    samples.map(stack).collect()
}

#[test]
fn functions_get_names_from_a_debug_file_that_comes_later() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    program(folder, true);
    let objcopy = |words: &[&str]| {
        let done = Command::new("objcopy").args(words).current_dir(folder).status();
        assert!(done.expect("objcopy starts").success());
    };
    objcopy(&["--only-keep-debug", "windows", "windows.debug"]);
    objcopy(&["--strip-all", "--add-gnu-debuglink=windows.debug", "windows"]);
    std::fs::rename(folder.join("windows.debug"), folder.join("later")).unwrap();
    let before = alone.snapshot();
    record(folder, &["--window-magic", "--sample", "500us"], &["1", "12", "2"]);
    alone.assert_as_before(&before);
    let stacks = |words: &[&str]| {
        let words = [&["--min", "0"], words].concat();
        reported(folder, &words).iter().map(|window| window["samples"].to_string()).collect::<String>()
    };
    let unnamed = stacks(&["--user-symbols"]);
    assert!(unnamed.contains("[windows+0x") && !unnamed.contains("burn"), "{unnamed}");
    std::fs::rename(folder.join("later"), folder.join("windows.debug")).unwrap();
    assert!(!stacks(&[]).contains("burn"), "only if asked for");
    let named = stacks(&["--user-symbols"]);
    assert!(named.contains(r#""thr","request","parse","burn""#) && !named.contains("[windows+"), "{named}");
    // Another build says nothing about the one that ran.
    program(folder, false);
    assert!(!stacks(&["--user-symbols"]).contains("burn"));
}

#[test]
fn what_cannot_be_meant_is_refused_and_changes_nothing() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    program(folder, true);
    let before = alone.snapshot();
    for (words, said) in [
        (&["true"][..], "no window is named"),
        (&["--window-syscall", "0:read"], "there is none"),
        (&["--window-syscall", "0:no_such_call", "true"], "no system call"),
        (&["--window-syscall", "999999999:read"], "ESRCH"),
        (&["--window", "./windows:nothing..work_end", "true"], "no function nothing"),
        (&["--window", "./windows:work_begin+2..work_end", "true"], "no instruction of"),
        (&["--window", "./windows:work_begin..work_end@999999999"], "ESRCH"),
        (&["--window-magic", "-p", "999999999"], "ESRCH"),
        (&["--window", "a..", "true"], "is missing"),
        (&["--window-magic", "--sample", "5us", "true"], "the shortest is 10µs"),
        (&["--window-magic", "--sample", "100us", "--user-stack", "dwarf", "true"], "the shortest is 500µs"),
        (&["--window-magic", "--threshold", "soon", "true"], "needs a unit"),
    ] {
        let output = run(folder, &[&["rt"], words].concat());
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(stderr(&output).contains(said), "{words:?}: {}", stderr(&output));
        assert!(!folder.join("trace.dat").exists());
    }
    alone.assert_as_before(&before);
}

#[test]
fn a_kernel_that_cannot_judge_windows_is_told_from_one_that_can() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let before = alone.snapshot();
    let words =
        ["rt", "-q", "--in-kernel", "--window-syscall", "0:clock_nanosleep", "--threshold", "0ns", "sleep", "0.1"];
    let output = run(folder, &words);
    alone.assert_as_before(&before);
    if alone.root.join("events/sched/sched_switch/hist").exists() {
        assert!(output.status.success(), "{}", stderr(&output));
    } else {
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("CONFIG_HIST_TRIGGERS") && said.contains("--only-slow"), "{said}");
        assert!(!folder.join("trace.dat").exists());
    }
    let output = run(folder, &["rt", "--in-kernel", "--window-marker", "true"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("texts in trace_marker"), "{}", stderr(&output));
    alone.assert_as_before(&before);
}

#[test]
fn with_a_threshold_of_nothing_every_window_is_slow() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    program(folder, true);
    let before = alone.snapshot();
    for more in [&[][..], &["--only-slow"]] {
        record(folder, &[&["--window-syscall", "0:clock_nanosleep:0"], more].concat(), &["2", "3", "0"]);
        assert_eq!(reported(folder, &[]).len(), 6, "{more:?}");
    }
    alone.assert_as_before(&before);
}

#[test]
fn whoever_may_not_trace_is_told_so() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::set_permissions(folder, PermissionsExt::from_mode(0o777)).unwrap();
    let binary = folder.join("rtrec");
    std::fs::copy(crate::common::rtrec().get_program(), &binary).unwrap();
    let before = alone.snapshot();
    for (words, file) in [
        (&["--window-magic", "true"][..], "/tracing"),
        (&["--window-magic", "-p", "1"], "/tracing"),
        (&["start", "rtrec-test", "--window-magic", "true"], "/run/rtrec"),
    ] {
        let mut command = Command::new(&binary);
        let output = command.current_dir(folder).arg("rt").args(words).uid(65_534).gid(65_534).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(file) && said.contains("ermission denied") && said.contains("root"), "{said}");
    }
    assert_eq!(crate::common::listing(folder), ["rtrec"]);
    alone.assert_as_before(&before);
}

#[test]
fn of_two_sessions_of_one_name_one_records() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let before = alone.snapshot();
    let name = format!("rtrec-test-{}", std::process::id());
    let mut sleep = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = sleep.id().to_string();
    let start = |out: &'static str| run(folder, &["rt", "start", &name, "--window-magic", "-p", &pid, "-o", out]);
    let mut outputs = std::thread::scope(|scope| {
        let tries = ["a.dat", "b.dat"].map(|out| scope.spawn(move || start(out)));
        tries.map(|one| one.join().unwrap())
    });
    let stopped = run(folder, &["rt", "stop", &name]);
    let again = run(folder, &["rt", "stop", &name]);
    let _ = std::fs::remove_file(format!("/run/rtrec/rt/{name}.json"));
    let _ = sleep.kill();
    let _ = sleep.wait();
    alone.assert_as_before(&before);
    outputs.sort_by_key(|output| output.status.code());
    let codes = outputs.each_ref().map(|output| output.status.code());
    assert_eq!(codes, [Some(0), Some(2)], "{outputs:?}");
    assert!(stderr(&outputs[1]).contains("already"), "{outputs:?}");
    assert!(stopped.status.success() && !again.status.success(), "{stopped:?}, {again:?}");
    assert_eq!(crate::common::listing(folder).len(), 1, "{:?}", crate::common::listing(folder));
}

#[test]
fn a_stop_that_never_comes_is_an_open_window() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let before = alone.snapshot();
    // It does not hear the signal that ends the recording, or its sleep would end with it.
    let command = ["sh", "-c", "trap '' INT; echo started > started; exec sleep 4"];
    let words = [&["rt", "-q", "--window-syscall", "0:clock_nanosleep", "-o", "a.dat"][..], &command].concat();
    let recorder = Recorder::start(folder, &words);
    wait_until("the command runs", || folder.join("started").exists());
    std::thread::sleep(std::time::Duration::from_millis(1000));
    recorder.send(Signal::SIGINT);
    let output = recorder.output();
    alone.assert_as_before(&before);
    let text = stdout(&run(folder, &["report", "--windows", "a.dat"]));
    assert!(text.contains(" 1 open"), "{text}\n{}", stderr(&output));
    assert!(text.contains("open for") && text.contains("do_nanosleep"), "{text}");
}
