//! Recording on the running kernel: events, markers, instances, processes, endings, and tracefs left as it was found.
//!
//! These tests need root and tracefs, nothing else of the kernel. Where it has function_graph or not makes no difference.

use std::os::unix::process::ExitStatusExt;
use std::process::Child;

use crate::common::{Alone, Recorder, listing, records, rtrec, run, stderr, stdout, wait_until};
use nix::sys::signal::Signal;

fn report(dir: &std::path::Path, words: &[&str]) -> String {
    let output = rtrec().current_dir(dir).arg("report").args(words).output().unwrap();
    assert!(output.status.success(), "report {words:?}: {}", stderr(&output));
    stdout(&output)
}

#[test]
fn a_command_is_recorded_from_its_exec_to_its_exit() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let before = alone.snapshot();
    let output = run(folder.path(), &["record", "-e", "sched", "-e", "raw_syscalls", "-o", "a.dat", "ls", "/"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("proc\n"), "the command's output is its own");
    alone.assert_as_before(&before);
    assert_eq!(listing(folder.path()), ["a.dat"]);
    let text = report(folder.path(), &["a.dat"]);
    assert!(text.starts_with("cpus="));
    assert!(text.contains("sched_process_exec:") && text.contains("sched_process_exit:"));
    let own = text.lines().filter(|line| line.trim_start().starts_with("rtrec") && line.contains("sys_enter:")).count();
    // Between exec's start and the new name the command itself is called rtrec.
    assert!(own <= 10, "rtrec traces its own system calls: {text}");
}

#[test]
fn the_commands_status_becomes_rtrecs() {
    let _alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    for (script, status) in [("exit 0", 0), ("exit 1", 1), ("exit 77", 77), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
    {
        let output = run(folder.path(), &["record", "-q", "-e", "sched", "sh", "-c", script]);
        assert_eq!(output.status.code(), Some(status), "{script}: {}", stderr(&output));
    }
}

#[test]
fn a_failed_exec_puts_everything_back_and_leaves_no_file() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let before = alone.snapshot();
    for (command, status, said) in [
        ("./script", 127, "ENOENT"),
        ("/etc/passwd", 126, "EACCES"),
        ("no-such-command", 127, "ENOENT"),
        ("/tmp", 126, "EISDIR"),
    ] {
        let output = run(folder.path(), &["record", "-e", "sched", command]);
        assert_eq!(output.status.code(), Some(status), "{command}");
        assert!(stderr(&output).contains(said) && stderr(&output).contains("cannot be run"), "{}", stderr(&output));
        alone.assert_as_before(&before);
        assert_eq!(listing(folder.path()), ["script"]);
    }
}

#[test]
fn what_the_kernel_refuses_is_explained_and_undone() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let before = alone.snapshot();
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["-e", "sched:sched_switch", "-f", "prev_pidd == 1"],
            &["sched:sched_switch was refused", "Field not found", "^", "EINVAL"],
        ),
        (&["-e", "sched:sched_switch", "-R", "nonsense"], &["trigger for sched:sched_switch was refused", "EINVAL"]),
        (&["-e", "sched:sched_swich"], &["no event matches", "sched:sched_switch"]),
        (&["-e", "no:such"], &["no event matches no:such"]),
        (&["-p", "nonsense"], &["no tracer nonsense", "nop"]),
        (&["-e", "sched", "-C", "sundial"], &["no clock sundial", "mono"]),
        (&["-e", "sched", "-O", "stacktracee"], &["no trace option stacktracee", "stacktrace"]),
        (&["-e", "sched", "-P", "2000000000"], &["process 2000000000", "ESRCH"]),
        (&["-e", "sched", "-c"], &["-c follows the children"]),
        (&["-f", "x == 1", "-e", "sched"], &["-f is the filter of an event"]),
        (&["-e", "sched", "-o", "/dev/full"], &["/dev/full cannot be written", "device"]),
        (&["-e", "sched", "-o", "/no/such/dir/x"], &["/no/such/dir/x cannot be written", "ENOENT"]),
        (&["-e", "sched", "-o", "/"], &["/ cannot be written", "EISDIR"]),
        (&[], &["no event and no tracer"]),
    ];
    for (words, said) in cases {
        let output = rtrec().current_dir(folder.path()).arg("record").args(*words).arg("true").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", stderr(&output));
        for said in *said {
            assert!(stderr(&output).contains(said), "{words:?} should say {said:?}:\n{}", stderr(&output));
        }
        alone.assert_as_before(&before);
        assert!(listing(folder.path()).is_empty());
    }
}

#[test]
fn what_others_had_set_comes_back() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let clean = alone.snapshot();
    let cpus = alone.read("tracing_cpumask");
    let settings: &[(&str, &str, &str)] = &[
        ("tracing_on", "0\n", "1\n"),
        ("trace_clock", "mono\n", "local\n"),
        ("events/sched/sched_switch/filter", "prev_pid == 7\n", "0\n"),
        ("events/irq/enable", "1\n", "0\n"),
        ("set_event_pid", "1\n", "\n"),
        ("options/stacktrace", "1\n", "0\n"),
        ("tracing_cpumask", "1\n", &cpus),
        ("buffer_size_kb", "256\n", "1408\n"),
    ];
    for (file, value, _) in settings {
        alone.write(file, value);
    }
    let before = alone.snapshot();
    let words = [
        "record",
        "-q",
        "-e",
        "sched",
        "-C",
        "global",
        "-b",
        "512",
        "-M",
        "3",
        "-O",
        "nostacktrace",
        "-F",
        "-c",
        "true",
    ];
    let output = run(folder.path(), &words);
    let after = std::panic::catch_unwind(|| alone.assert_as_before(&before));
    for (file, _, back) in settings {
        alone.write(file, back);
    }
    alone.write("set_event_pid", "");
    assert!(output.status.success(), "{}", stderr(&output));
    after.unwrap();
    alone.assert_as_before(&clean);
}

#[test]
fn a_signal_ends_a_recording_and_the_file_is_complete() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::start(folder.path(), &["record", "-e", "sched", "-o", "a.dat"]);
        wait_until("it records", || records(folder.path()));
        recorder.send(signal);
        let output = recorder.output();
        assert_eq!(output.status.code(), Some(0), "{signal}: {}", stderr(&output));
        alone.assert_as_before(&before);
        assert_eq!(listing(folder.path()), ["a.dat"]);
        assert!(report(folder.path(), &["a.dat"]).contains("sched_switch:"));
    }
}

#[test]
fn a_signal_reaches_the_command_and_its_trace_is_kept() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::start(folder.path(), &["record", "-e", "sched", "-o", "a.dat", "sleep", "60"]);
    wait_until("the command runs", || records(folder.path()));
    recorder.send(Signal::SIGTERM);
    let output = recorder.output();
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
    alone.assert_as_before(&before);
    assert!(report(folder.path(), &["a.dat"]).contains("sleep"));
}

#[test]
fn the_end_of_the_reader_of_stderr_harms_nothing() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::start(folder.path(), &["-v", "record", "-e", "sched", "-o", "a.dat", "sleep", "0.3"]);
    drop(recorder.0.stderr.take());
    drop(recorder.0.stdout.take());
    let status = recorder.0.wait().unwrap();
    assert!(status.signal().is_none(), "{status}");
    alone.assert_as_before(&before);
    assert_eq!(listing(folder.path()), ["a.dat"]);
}

#[test]
fn a_second_recorder_is_refused_and_told_who_is_first() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let first = Recorder::start(folder.path(), &["record", "-q", "-e", "sched", "-o", "first.dat"]);
    wait_until("the first records", || records(folder.path()));
    let second = run(folder.path(), &["record", "-e", "irq", "-o", "second.dat", "true"]);
    assert_eq!(second.status.code(), Some(2));
    let said = stderr(&second);
    assert!(said.contains("in use") && said.contains(&format!("rtrec (pid {})", first.0.id())), "{said}");
    // An instance of one's own is free.
    let third = run(folder.path(), &["record", "-q", "-B", "rtrec-test", "-e", "sched", "-o", "third.dat", "true"]);
    assert!(third.status.success(), "{}", stderr(&third));
    first.send(Signal::SIGINT);
    assert!(first.output().status.success());
    alone.assert_as_before(&before);
    assert_eq!(listing(folder.path()), ["first.dat", "third.dat"]);
}

#[test]
fn markers_and_instances_are_in_the_file() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let root = alone.root.display();
    let script =
        format!("echo from the top > {root}/trace_marker; echo from below > {root}/instances/rtrec-test/trace_marker");
    let words = [
        "record",
        "-q",
        "-e",
        "sched:sched_switch",
        "-B",
        "rtrec-test",
        "-e",
        "raw_syscalls",
        "-o",
        "a.dat",
        "sh",
        "-c",
        &script,
    ];
    let output = run(folder.path(), &words);
    assert!(output.status.success(), "{}", stderr(&output));
    alone.assert_as_before(&before);
    let text = report(folder.path(), &["a.dat"]);
    let line =
        |words: &str| text.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("{words} in:\n{text}"));
    assert!(!line("from the top").trim_start().starts_with("rtrec-test:"));
    assert!(line("from below").trim_start().starts_with("rtrec-test:"));
    assert!(line("sys_enter:").trim_start().starts_with("rtrec-test:"));
}

#[test]
fn only_the_command_is_traced_when_asked_and_its_children_with_c() {
    let _alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    // `exec` alone keeps the pid; the subshell's child has another.
    let script = "/bin/true; exec /bin/echo done";
    for (follow, children) in [(&["-F"][..], false), (&["-F", "-c"][..], true)] {
        let mut words = vec!["record", "-q", "-e", "sched:sched_process_exec", "-o", "a.dat"];
        words.extend(follow);
        words.extend(["sh", "-c", script]);
        assert!(run(folder.path(), &words).status.success());
        let text = report(folder.path(), &["a.dat"]);
        assert!(text.contains("filename=/bin/echo"), "{text}");
        assert_eq!(text.contains("filename=/bin/true"), children, "{text}");
    }
}

#[test]
fn a_recording_of_processes_ends_with_them() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let mut sleeper = std::process::Command::new("sleep").arg("1").spawn().unwrap();
    let pid = sleeper.id().to_string();
    let output = run(folder.path(), &["record", "-q", "-e", "sched", "-P", &pid, "-o", "a.dat"]);
    sleeper.wait().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    alone.assert_as_before(&before);
    assert!(report(folder.path(), &["a.dat"]).contains("sleep"));
}

#[test]
fn every_way_out_of_the_kernel_brings_the_same() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let root = alone.root.display();
    let script = format!("i=0; while [ $i -lt 3000 ]; do echo mark $i; i=$((i+1)); done > {root}/trace_marker");
    for way in ["best", "splice", "read"] {
        for compression in ["zstd", "zlib", "none"] {
            let words = [
                "record",
                "-b",
                "4096",
                "-e",
                "irq",
                "--reader",
                way,
                "--compression",
                compression,
                "-o",
                "a.dat",
                "sh",
                "-c",
                &script,
            ];
            let output = run(folder.path(), &words);
            assert!(output.status.success(), "{}", stderr(&output));
            let text = report(folder.path(), &["a.dat"]);
            let marks: Vec<&str> = text.lines().filter_map(|line| line.split_once("mark ").map(|(_, n)| n)).collect();
            let wanted: Vec<String> = (0..3000).map(|n| n.to_string()).collect();
            assert_eq!(marks, wanted, "{way} {compression}");
        }
    }
    alone.assert_as_before(&before);
}

#[test]
fn every_record_that_the_kernel_kept_is_reported() {
    let _alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let load = "for i in 1 2 3 4 5 6 7 8 9 10; do find /usr/include -type f | xargs cat | wc -c; done";
    let output =
        run(folder.path(), &["-v", "record", "-e", "sched", "-e", "raw_syscalls", "-o", "a.dat", "sh", "-c", load]);
    assert!(output.status.success(), "{}", stderr(&output));
    // `rtrec record: CPU 0: 379 events read, 0 left, 0 lost; …`
    let said = stderr(&output);
    let counts = |word: &str| -> u64 {
        said.lines()
            .filter_map(|line| {
                line.split([':', ',', ';']).find_map(|part| part.trim().strip_suffix(word)?.trim().parse::<u64>().ok())
            })
            .sum()
    };
    let (read, left) = (counts("events read"), counts("left"));
    assert!(read > 10_000 && left == 0, "{said}");
    let text = report(folder.path(), &["a.dat"]);
    let reported = text.lines().skip(1).filter(|line| !line.contains("EVENTS DROPPED]")).count() as u64;
    assert_eq!(reported, read, "{said}");
}

/// Processes that do nothing, as fast as they can, until dropped.
struct Busy(Vec<Child>);

impl Busy {
    fn start(count: usize) -> Busy {
        let spin = || std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        Busy((0..count).map(|_| spin()).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
}

#[test]
fn a_short_command_under_load_is_never_missed() {
    let _alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let busy = Busy::start(4);
    let texts: Vec<String> = (0..20)
        .map(|_| {
            let output =
                run(folder.path(), &["record", "-q", "-e", "sched:sched_process_*", "-F", "-o", "a.dat", "true"]);
            assert!(output.status.success(), "{}", stderr(&output));
            report(folder.path(), &["a.dat"])
        })
        .collect();
    drop(busy);
    for text in texts {
        assert!(text.contains("sched_process_exec:") && text.contains("sched_process_exit:"), "{text}");
    }
}

#[test]
fn an_empty_trace_says_why() {
    let _alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["record", "-e", "sched:sched_switch", "-f", "prev_pid == 2000000000", "true"]);
    assert!(output.status.success());
    assert!(stderr(&output).contains("empty: no event passed its filter"), "{}", stderr(&output));
    let output = run(folder.path(), &["record", "-e", "sched:sched_process_exec", "-f", "pid == 1", "true"]);
    assert!(stderr(&output).contains("trace is empty"), "{}", stderr(&output));
}

#[test]
fn a_long_recording_is_cut_into_files_that_hold_every_record_once() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let root = alone.root.display();
    let script = format!(
        "i=0; while [ $i -lt 3000 ]; do echo mark $i > {root}/trace_marker; i=$((i+1)); [ $((i % 500)) = 0 ] && sleep 0.6; done"
    );
    for way in ["best", "splice"] {
        let words = [
            "record", "-q", "-b", "4096", "-e", "sched", "--reader", way, "--rotate", "600ms", "-o", "r.dat", "sh",
            "-c", &script,
        ];
        let output = run(folder.path(), &words);
        assert!(output.status.success() || output.status.code() == Some(1), "{}", stderr(&output));
        let files = listing(folder.path());
        assert!(files.len() > 2 && files[0] == "r.dat.0001", "{files:?}");
        let mut marks: Vec<u32> = Vec::new();
        for file in &files {
            let text = report(folder.path(), &[file]);
            marks.extend(text.lines().filter_map(|line| line.split_once("mark ")?.1.trim().parse::<u32>().ok()));
            std::fs::remove_file(folder.path().join(file)).unwrap();
        }
        marks.sort_unstable();
        assert_eq!(marks, (0..3000).collect::<Vec<_>>(), "{way}");
        alone.assert_as_before(&before);
    }
}

#[test]
fn only_the_last_files_of_a_rotation_are_kept() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let words = ["record", "-q", "-e", "sched", "--rotate", "300ms", "--keep-files", "2", "-o", "r.dat", "sleep", "3"];
    assert!(run(folder.path(), &words).status.success());
    let files = listing(folder.path());
    assert!(files.len() == 2 && files[0].as_str() > "r.dat.0001", "{files:?}");
    alone.assert_as_before(&before);
}

#[test]
fn a_flight_recorder_keeps_the_end() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let root = alone.root.display();
    let script = format!(
        "i=0; while [ $i -lt 60 ]; do echo mark $i > {root}/trace_marker; cat /proc/self/maps; sleep 0.1; i=$((i+1)); done >/dev/null"
    );
    for (tail, most) in [(&["--tail", "1s"][..], 45), (&["-m", "2048"], 60), (&["--tail", "4M"], 60)] {
        let words = ["record", "-q", "-b", "64", "-e", "sched", "-e", "raw_syscalls"];
        let words: Vec<&str> = words.iter().chain(tail).chain(&["-o", "t.dat", "sh", "-c", &script]).copied().collect();
        let output = run(folder.path(), &words);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(listing(folder.path()), ["t.dat"]);
        let text = report(folder.path(), &["t.dat"]);
        let marks: Vec<u32> =
            text.lines().filter_map(|line| line.split_once("mark ")?.1.trim().parse::<u32>().ok()).collect();
        assert!(marks.contains(&59), "{tail:?}: {marks:?}");
        assert!(marks.len() <= most, "{tail:?}: {marks:?}");
        alone.assert_as_before(&before);
    }
}

#[test]
fn a_recording_ends_with_the_event_that_was_waited_for() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let until = "sched:sched_process_exec if filename == \"/bin/true\"";
    let script = "/bin/echo one; /bin/true; sleep 1; /bin/echo two; exit 5";
    let output = run(folder.path(), &["record", "--until", until, "-e", "sched", "-o", "a.dat", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(5), "the command goes on: {}", stderr(&output));
    assert!(stderr(&output).contains("--until") && stdout(&output).contains("two"), "{}", stderr(&output));
    let text = report(folder.path(), &["a.dat"]);
    let execs: Vec<&str> = text.lines().filter(|line| line.contains("sched_process_exec:")).collect();
    assert!(execs.last().unwrap().contains("/bin/true") && text.contains("/bin/echo"), "{execs:?}");
    alone.assert_as_before(&before);
}

#[test]
fn a_trace_may_be_wanted_only_if_the_command_fails() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let words = ["record", "-q", "--only-if-failed", "-e", "sched", "-o", "a.dat"];
    let output = rtrec().current_dir(folder.path()).args(words).arg("true").output().unwrap();
    assert!(output.status.success() && listing(folder.path()).is_empty(), "{}", stderr(&output));
    let output = rtrec().current_dir(folder.path()).args(words).arg("false").output().unwrap();
    assert_eq!((output.status.code(), listing(folder.path())), (Some(1), vec!["a.dat".to_owned()]));
    assert!(report(folder.path(), &["a.dat"]).contains("sched_process_exit"));
    alone.assert_as_before(&before);
}

#[test]
fn a_recording_stops_at_its_size() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let script = "i=0; while [ $i -lt 3000 ]; do /bin/true; i=$((i+1)); done";
    let words = ["record", "--max-size", "300K", "-b", "128", "-e", "raw_syscalls", "-o", "a.dat", "sh", "-c", script];
    let output = run(folder.path(), &words);
    assert!(stderr(&output).contains("--max-size"), "{}", stderr(&output));
    assert!(report(folder.path(), &["a.dat"]).lines().count() > 1000);
    alone.assert_as_before(&before);
}
