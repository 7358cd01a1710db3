//! `rtrec stream` on the running kernel: the same lines as a file gives, in order, soon, and tracefs left as it was.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::Instant;

use crate::common::{Alone, rtrec, run, stderr, stdout};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn marks(alone: &Alone, count: u32, pause: &str) -> String {
    let marker = alone.root.join("trace_marker");
    format!("i=0; while [ $i -lt {count} ]; do echo mark $i > {}; {pause} i=$((i+1)); done", marker.display())
}

fn numbers(text: &str) -> Vec<u32> {
    text.lines().filter_map(|line| line.split_once("mark ")?.1.trim().parse().ok()).collect()
}

fn times(text: &str) -> Vec<f64> {
    let time = |line: &str| line.split_whitespace().find_map(|word| word.strip_suffix(':')?.parse::<f64>().ok());
    text.lines().filter_map(time).collect()
}

#[test]
fn every_record_is_printed_once_and_in_order() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let before = alone.snapshot();
    for delay in ["50ms", "500ms"] {
        let script = marks(&alone, 400, "[ $((i % 50)) != 0 ] || sleep 0.05;");
        let words = ["stream", "-q", "-t", "-b", "8M", "--delay", delay, "-e", "sched", "sh", "-c", &script];
        let output = run(folder.path(), &words);
        assert!(output.status.success(), "{}", stderr(&output));
        alone.assert_as_before(&before);
        let text = stdout(&output);
        assert_eq!(numbers(&text), (0..400).collect::<Vec<_>>());
        let times = times(&text);
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{delay}: not in order");
        let names = ["sched_switch:", "sched_process_exec:", " sleep-"];
        assert!(names.iter().all(|name| text.contains(name)), "{delay}");
    }
    assert!(crate::common::listing(folder.path()).is_empty());
}

#[test]
fn lines_come_while_the_command_runs() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let script = format!("{}; sleep 30", marks(&alone, 3, ""));
    let mut child = rtrec()
        .args(["stream", "-q", "-e", "irq:softirq_entry", "-f", "vec == 99", "--delay", "200ms", "sh", "-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let seen: Vec<String> = lines.by_ref().take(3).map(Result::unwrap).collect();
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    assert_eq!(numbers(&seen.join("\n")), [0, 1, 2]);
    // SIGINT ends the stream and the command.
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    alone.assert_as_before(&before);
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let mut child = rtrec()
        .args(["stream", "-e", "sched", "--delay", "20ms", "sleep", "60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("sched_"));
    drop(lines);
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
    alone.assert_as_before(&before);
}

#[test]
fn other_formats_and_layouts_are_those_of_report() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let before = alone.snapshot();
    let script = marks(&alone, 5, "");
    let stream = |words: &[&str]| {
        let words = [&["stream", "-q", "-e", "sched:sched_process_exec"], words, &["sh", "-c", &script]].concat();
        let output = run(folder.path(), &words);
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        alone.assert_as_before(&before);
        stdout(&output)
    };
    let json = stream(&["--format", "json"]);
    assert!(json.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{json}");
    assert!(json.contains("\"event\":\"sched_process_exec\""));
    let csv = stream(&["--format", "csv", "--fields", "cpu,event"]);
    assert!(csv.starts_with("cpu,event\n") && csv.matches("cpu,event").count() == 1, "{csv}");
    assert!(stream(&["--raw"]).contains(" old_pid="));
    assert!(stream(&["-B", "rtrec-test", "-e", "sched"]).contains("rtrec-test: "));
    // Clocks of other units, and buffers by different clocks.
    for words in [&["-C", "counter"][..], &["-C", "mono", "-B", "rtrec-test", "-C", "local", "-e", "sched"]] {
        let words = [words, &["--delay", "20ms"]].concat();
        assert_eq!(numbers(&stream(&words)), [0, 1, 2, 3, 4], "{words:?}");
    }
    assert!(stream(&["--stderr"]).is_empty());
    for (words, said) in [
        (&["-o", "x.dat"][..], "-o is refused: a stream writes no file"),
        (&["--compression", "zstd"], "--compression is refused"),
        (&["--date"], "--date is refused"),
        (&["-k"], "-k is refused"),
        (&["--poll"], "--poll is refused"),
        (&["-p", "wakeup"], "a latency tracer keeps the worst case"),
        (&["-e", "no:such"], "no event matches"),
    ] {
        let words = [&["stream", "-e", "sched"], words, &["true"]].concat();
        let output = run(folder.path(), &words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(stderr(&output).contains(said), "{words:?}: {}", stderr(&output));
        alone.assert_as_before(&before);
    }
}

#[test]
fn what_is_lost_is_said() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let before = alone.snapshot();
    // A sink that nobody empties for a second: the smallest buffers overflow meanwhile.
    let load = "i=0; while [ $i -lt 60 ]; do cat /proc/self/maps > /dev/null; i=$((i+1)); done";
    let script =
        format!("rtrec=$1; \"$rtrec\" stream -b 8 -e raw_syscalls --delay 20ms sh -c '{load}' | (sleep 2; cat)");
    let output = std::process::Command::new("sh")
        .current_dir(folder.path())
        .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_rtrec")])
        .output()
        .unwrap();
    alone.assert_as_before(&before);
    assert!(stdout(&output).contains("EVENTS DROPPED]"), "{}", stderr(&output));
    assert!(stderr(&output).contains("events lost"), "{}", stderr(&output));
}
