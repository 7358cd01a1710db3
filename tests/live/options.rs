//! The options of `record`, one by one, on the running kernel; tracefs is compared before and after each.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};

use crate::common::{Alone, Recorder, listing, records, rtrec, run, stderr, stdout, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rtrec::dat::Dat;

fn report(dir: &Path, words: &[&str]) -> String {
    let output = rtrec().current_dir(dir).arg("report").args(words).output().unwrap();
    assert!(output.status.success(), "report {words:?}: {}", stderr(&output));
    stdout(&output)
}

/// Records with these words and compares tracefs before and after.
fn recorded(alone: &Alone, dir: &Path, words: &[&str]) -> Output {
    let before = alone.snapshot();
    let output = rtrec().current_dir(dir).args(["record", "-o", "a.dat"]).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", stderr(&output));
    alone.assert_as_before(&before);
    output
}

fn refused(alone: &Alone, dir: &Path, words: &[&str], said: &str) {
    let before = alone.snapshot();
    let output = rtrec().current_dir(dir).args(["record", "-o", "a.dat"]).args(words).arg("true").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{words:?}: {}", stderr(&output));
    assert!(stderr(&output).contains(said), "{words:?} should say {said:?}:\n{}", stderr(&output));
    alone.assert_as_before(&before);
    assert!(!dir.join("a.dat").exists());
}

fn start(dir: &Path, words: &[&str]) -> Recorder {
    let all: Vec<&str> = ["record", "-q", "-o", "a.dat"].iter().chain(words).copied().collect();
    Recorder::start(dir, &all)
}

fn interrupt(recorder: Recorder) -> Output {
    recorder.send(Signal::SIGINT);
    recorder.output()
}

/// The real trace-cmd, oldest and newest, if the cache has them, reads a file.
fn peers(dir: &Path, words: &[&str]) -> Vec<String> {
    let programs = xtask::peers::TraceCmd::ALL.into_iter().filter_map(|peer| peer.program().ok());
    programs
        .map(|program| {
            let output = Command::new(&program).current_dir(dir).arg("report").args(words).output().unwrap();
            assert!(output.status.success(), "{}: {}", program.display(), stderr(&output));
            assert!(output.stderr.is_empty(), "{} complains: {}", program.display(), stderr(&output));
            stdout(&output)
        })
        .collect()
}

#[test]
fn what_cannot_be_honoured_is_refused_with_a_reason() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let network = "network or from a guest is not there yet";
    let cases: &[(&[&str], &str)] = &[
        (&["-N", "host:12345"], network),
        (&["-V", "3:823"], network),
        (&["-A", "guest"], network),
        (&["--proxy", "3:823"], network),
        (&["--name", "guest"], network),
        (&["--tsync-interval", "-1"], network),
        (&["--nofifos"], network),
        (&["-t"], "-t is refused"),
        (&["-G"], "-G is refused: it shapes the printed profile"),
        (&["--by-comm"], "--by-comm is refused"),
        (&["-S"], "-S belongs to --profile"),
        (&["-H", "sched:sched_switch"], "is no hook"),
        (&["-H", "a,b/c,d,x,y"], "is no hook"),
        (&["-H", "a,b/c,d,x"], "no flags of a hook"),
        (&["--file-version", "6", "--compression", "zstd"], "--compression needs --file-version 7"),
        (&["--file-version", "5"], "there are 6 and 7"),
        (&["--date", "--ts-offset", "5"], "--date and --ts-offset"),
        (&["--poll", "-s", "10"], "cannot be used with"),
        (&["--user", "no-such-user"], "there is no user no-such-user"),
        (&["--func-stack"], "needs -p function and a filter"),
        (&["-C", "mono", "--tsc2nsec"], "the clock mono counts none"),
        (&["--notimeout"], "--notimeout is refused: "),
        (&["--verbose=loud"], "possible values: none, crit, err, warn, info"),
        (&["-r", "100"], "100 is not in 0..=99"),
        (&["--temp", "/no/such/dir"], "/no/such/dir cannot be written"),
        (&["--duration", "3 days"], "is no unit of time"),
        (&["--mode", "999"], "three octal digits"),
    ];
    for (words, said) in cases {
        let words = [&["-e", "sched"], *words].concat();
        refused(&alone, folder.path(), &words, said);
    }
}

#[test]
fn sub_buffers_have_the_size_asked_for() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    if !alone.root.join("buffer_subbuf_size_kb").exists() {
        return refused(&alone, folder.path(), &["-e", "sched", "--subbuf-size", "8"], "kernel 6.8 or newer");
    }
    recorded(&alone, folder.path(), &["-e", "sched", "--subbuf-size", "8", "-b", "2M", "ls", "/"]);
    assert!(report(folder.path(), &["-p", "a.dat"]).starts_with("file page size is 8192"));
    assert!(report(folder.path(), &["a.dat"]).contains("sched_process_exit:"));
    // In an instance the top-level buffer keeps its own.
    recorded(&alone, folder.path(), &["-B", "rtrec-test", "--subbuf-size", "16", "-e", "sched", "ls", "/"]);
    assert!(report(folder.path(), &["a.dat"]).contains("sched_process_exit:"));
    peers(folder.path(), &["-i", "a.dat"]).iter().for_each(|text| assert!(text.contains("sched_process_exit:")));
}

#[test]
fn readers_have_the_priority_asked_for() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let before = alone.snapshot();
    let mut permitted = true;
    for priority in [Some("7"), Some("0"), None] {
        let mut words = vec!["-e", "sched"];
        words.extend(priority.into_iter().flat_map(|priority| ["-r", priority]));
        let mut child = start(folder.path(), &words);
        let mut refused = false;
        wait_until("the recording", || {
            refused = child.0.try_wait().unwrap().is_some();
            refused || records(folder.path())
        });
        if refused {
            let output = child.output();
            assert!(stderr(&output).contains("cannot have the priority 7: "), "{}", stderr(&output));
            println!("this machine permits no priority");
            permitted = false;
            continue;
        }
        let real_time = permitted && priority != Some("0");
        let policy = if real_time { nix::libc::SCHED_FIFO } else { nix::libc::SCHED_OTHER };
        let tasks = procfs_tasks(child.0.id());
        // Readers are called by their CPU's number.
        let is_reader = |name: &str| name.strip_prefix("rtrec/").is_some_and(|cpu| cpu.parse::<u32>().is_ok());
        let readers: Vec<&(String, i32)> = tasks.iter().filter(|task| is_reader(&task.0)).collect();
        assert!(!readers.is_empty(), "{tasks:?}");
        assert!(readers.iter().all(|task| task.1 == policy), "-r {priority:?}: {tasks:?}");
        assert!(interrupt(child).status.success());
    }
    alone.assert_as_before(&before);
}

/// Name and scheduling policy of each thread.
fn procfs_tasks(pid: u32) -> Vec<(String, i32)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .flatten()
        .filter_map(|task| {
            let comm = std::fs::read_to_string(task.path().join("comm")).ok()?;
            let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
            // Behind the name: state is field 3, the policy field 41.
            let policy = stat.rsplit_once(") ")?.1.split(' ').nth(38)?.parse().ok()?;
            Some((comm.trim_end().to_owned(), policy))
        })
        .collect()
}

#[test]
fn every_pace_of_reading_brings_the_same() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "i=0; while [ $i -lt 2000 ]; do echo mark $i; i=$((i+1)); done > {}/trace_marker",
        alone.root.display()
    );
    for pace in [&["-s", "0"][..], &["-s", "20000"], &["--poll"], &["--nosplice"]] {
        let words = [&["--verbose", "-e", "irq"], pace, &["sh", "-c", &script]].concat();
        let output = recorded(&alone, folder.path(), &words);
        let text = report(folder.path(), &["a.dat"]);
        let marks = text.lines().filter(|line| line.contains("mark ")).count();
        assert_eq!(marks, 2000, "{pace:?}: {}", stderr(&output));
        assert_eq!(stderr(&output).contains("is read by read (asked for)"), pace == ["--nosplice"]);
    }
}

#[test]
fn settings_stay_with_k_and_are_taken_over_with_capital_k() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let before = alone.snapshot();
    let output = run(folder.path(), &["record", "-q", "-k", "-e", "irq:softirq_entry", "-C", "mono", "true"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(alone.read("set_event"), "irq:softirq_entry\n");
    assert_eq!(alone.read("tracing_on"), "0\n");
    assert!(alone.read("trace_clock").contains("[mono]"));
    // -K needs no events of its own, keeps those of others, and leaves everything as it was.
    alone.write("events/sched/sched_process_exit/enable", "1");
    let output = run(folder.path(), &["record", "-q", "-K", "-e", "sched:sched_process_exec", "-o", "a.dat", "true"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = report(folder.path(), &["a.dat"]);
    assert!(text.contains("sched_process_exec:") && text.contains("sched_process_exit:"), "{text}");
    assert!(alone.read("set_event").contains("softirq_entry") && alone.read("set_event").contains("process_exec"));
    alone.write("set_event", "\n");
    alone.write("trace_clock", "local");
    alone.write("tracing_on", "1");
    alone.assert_as_before(&before);
}

#[test]
fn the_command_runs_as_the_user_asked_for() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let script = "id -u; id -g; id -G; echo $HOME $USER $LOGNAME";
    let output = recorded(&alone, folder.path(), &["-e", "sched", "--user", "nobody", "sh", "-c", script]);
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let told = stdout(&output);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], nobody.uid.to_string());
    assert_eq!(lines[1], nobody.gid.to_string());
    assert_eq!(lines[2], nobody.gid.to_string(), "root's groups are gone");
    assert_eq!(lines[3], format!("{} nobody nobody", nobody.dir.display()));
    assert_eq!(folder.path().join("a.dat").metadata().unwrap().uid(), 0);
}

#[test]
fn rtrecs_own_threads_are_in_the_trace_when_asked() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    for (words, own) in [(&["--no-filter"][..], true), (&[], false)] {
        let words = [&["-s", "10000", "-e", "raw_syscalls"], words, &["sleep", "0.3"]].concat();
        recorded(&alone, folder.path(), &words);
        let text = report(folder.path(), &["a.dat"]);
        let calls = text.lines().filter(|line| line.trim_start().starts_with("rtrec/")).count();
        assert_eq!(calls > 0, own, "{words:?}: {calls}");
    }
}

#[test]
fn the_table_of_names_and_the_folder_of_temporary_files_are_as_asked() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let before = alone.snapshot();
    let temp = scratch.path().to_str().unwrap();
    let child = start(folder.path(), &["-e", "sched", "--cmdlines-size", "20000", "--temp", temp]);
    wait_until("the recording", || records(scratch.path()));
    // The kernel rounds up to what its pages hold.
    assert!(alone.read("saved_cmdlines_size").trim().parse::<u32>().unwrap() >= 20_000);
    assert!(!listing(scratch.path()).is_empty(), "temporary files are there");
    assert!(listing(folder.path()).iter().all(|name| !name.contains("cpu")), "{:?}", listing(folder.path()));
    assert!(interrupt(child).status.success());
    assert!(listing(scratch.path()).is_empty());
    assert_eq!(listing(folder.path()), ["a.dat"]);
    alone.assert_as_before(&before);
}

/// The time of the first record, in seconds.
fn first_time(text: &str) -> f64 {
    let line = text.lines().find(|line| line.contains("]") && line.contains(": ")).unwrap_or_else(|| panic!("{text}"));
    let times = line.split_whitespace().filter_map(|word| word.strip_suffix(':')?.parse::<f64>().ok());
    times.into_iter().next().unwrap_or_else(|| panic!("{line}"))
}

fn wall_seconds() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

#[test]
fn dates_and_offsets_move_the_times() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    for version in ["7", "6"] {
        recorded(&alone, folder.path(), &["-e", "sched", "--date", "--file-version", version, "true"]);
        let now = wall_seconds();
        let texts = [vec![report(folder.path(), &["a.dat"])], peers(folder.path(), &["-i", "a.dat"])].concat();
        for text in texts {
            let away = now - first_time(&text);
            assert!((0.0..5.0).contains(&away), "{away} s away in version {version}");
        }
        assert!(first_time(&report(folder.path(), &["--nodate", "a.dat"])) < now / 2.0);
    }
    recorded(&alone, folder.path(), &["-e", "sched", "--ts-offset", "1000000000000000", "true"]);
    let moved = first_time(&report(folder.path(), &["a.dat"]));
    assert!((1e6..1e9).contains(&moved), "{moved}");
    peers(folder.path(), &["-i", "a.dat"]).iter().for_each(|text| assert!((first_time(text) - moved).abs() < 1.0));
}

#[test]
fn cycles_are_shown_in_nanoseconds_or_refused() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    if !alone.read("trace_clock").contains("x86-tsc") {
        return refused(&alone, folder.path(), &["-e", "sched", "-C", "tsc2nsec"], "no clock tsc2nsec");
    }
    let before = alone.snapshot();
    let output = run(folder.path(), &["record", "-e", "sched", "-C", "tsc2nsec", "-o", "a.dat", "sleep", "0.2"]);
    alone.assert_as_before(&before);
    if !output.status.success() {
        assert!(stderr(&output).contains("how cycles become nanoseconds is not known"), "{}", stderr(&output));
        return;
    }
    let dat = Dat::open(&folder.path().join("a.dat")).unwrap();
    assert!(dat.options.tsc2nsec.is_some_and(|scale| scale.mult > 0));
    assert_eq!(dat.buffers[0].clock, "tsc2nsec");
    let spent = |text: &str| {
        let times = text
            .lines()
            .filter_map(|line| line.split_whitespace().find_map(|word| word.strip_suffix(':')?.parse::<f64>().ok()));
        let (first, last) = times.fold((f64::MAX, 0.0_f64), |(first, last), time| (first.min(time), last.max(time)));
        last - first
    };
    for text in [vec![report(folder.path(), &["a.dat"])], peers(folder.path(), &["-i", "a.dat"])].concat() {
        assert!((0.15..5.0).contains(&spent(&text)), "{} s", spent(&text));
    }
    recorded(&alone, folder.path(), &["-e", "sched", "-C", "x86-tsc", "--tsc2nsec", "true"]);
    assert!(Dat::open(&folder.path().join("a.dat")).unwrap().options.tsc2nsec.is_some());
}

#[test]
fn maps_of_the_command_and_of_processes_are_stored() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let maps = || {
        let dat = Dat::open(&folder.path().join("a.dat")).unwrap();
        dat.options.proc_maps.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect::<Vec<_>>()
    };
    // A command that is over in no time, one that gets signals, one that ends by a signal.
    for (script, status) in [("exit 0", 0), ("trap : USR1; kill -USR1 $$; exit 3", 3), ("kill -TERM $$", 143)] {
        let before = alone.snapshot();
        let output =
            run(folder.path(), &["record", "-q", "-F", "-e", "sched", "--proc-map", "-o", "a.dat", "sh", "-c", script]);
        assert_eq!(output.status.code(), Some(status), "{script}: {}", stderr(&output));
        alone.assert_as_before(&before);
        let maps = maps();
        assert!(maps.len() == 1 && maps[0].contains("libc"), "{script}: {maps:?}");
    }
    peers(folder.path(), &["-i", "a.dat"]);
    let mut sleeper = Command::new("sleep").arg("1").spawn().unwrap();
    recorded(&alone, folder.path(), &["-e", "sched", "--proc-map", "-P", &sleeper.id().to_string()]);
    sleeper.wait().unwrap();
    let maps = maps();
    let head = format!("{:x} ", sleeper.id());
    assert!(maps[0].starts_with(&head) && maps[0].contains("/sleep\n"), "{head} in {maps:?}");
    refused(&alone, tempfile::tempdir().unwrap().path(), &["-e", "no:such", "--proc-map"], "no event matches");
}

#[test]
fn version_6_is_read_by_every_trace_cmd() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let words = ["-e", "sched", "-B", "rtrec-test", "-e", "raw_syscalls", "ls", "/"];
    recorded(&alone, folder.path(), &[&["--file-version", "6"], &words[..]].concat());
    let dat = Dat::open(&folder.path().join("a.dat")).unwrap();
    assert_eq!((dat.version, dat.buffers.len(), dat.notes.len()), (6, 2, 0), "{:?}", dat.notes);
    let own = report(folder.path(), &["--compat", "3.4", "a.dat"]);
    assert!(own.contains("rtrec-test: ") && own.contains("sys_enter:") && own.contains("sched_process_exit:"));
    for text in peers(folder.path(), &["-i", "a.dat"]) {
        assert_eq!(text.lines().count(), own.lines().count());
    }
}

#[test]
fn a_recording_in_the_background_ends_by_a_signal_to_its_pid_file() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let before = alone.snapshot();
    let output = run(folder.path(), &["record", "--daemonize", "-e", "sched", "-o", "a.dat"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(alone.read("tracing_on"), "1\n", "it returns once recording is running");
    let pid_file = Path::new("/var/run/rtrec-record.pid");
    let pid: i32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    let second = run(folder.path(), &["record", "--daemonize", "-B", "rtrec-test", "-e", "sched", "-o", "b.dat"]);
    assert_eq!(second.status.code(), Some(2));
    assert!(stderr(&second).contains(&format!("as process {pid}")), "{}", stderr(&second));
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    wait_until("its end", || !pid_file.exists());
    alone.assert_as_before(&before);
    assert!(report(folder.path(), &["a.dat"]).contains("sched_switch:"));
    // What fails before recording is told as ever.
    let wrong = run(folder.path(), &["record", "--daemonize", "-e", "no:such", "-o", "b.dat"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("no event matches") && !pid_file.exists(), "{}", stderr(&wrong));
}

#[test]
fn a_recording_ends_when_its_time_is_up() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let begun = std::time::Instant::now();
    recorded(&alone, folder.path(), &["-e", "sched", "--duration", "300ms"]);
    let took = begun.elapsed().as_secs_f64();
    assert!((0.3..20.0).contains(&took), "{took} s");
    // The command goes on, and its status counts.
    let before = alone.snapshot();
    let script = "sleep 1; exit 5";
    let output = run(folder.path(), &["record", "-q", "-e", "sched", "--duration", "0.2", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    alone.assert_as_before(&before);
}

#[test]
fn a_profile_has_its_events_and_hooks() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let hook = "sched:sched_wakeup,pid/sched:sched_switch,next_pid,s";
    if !alone.read("available_tracers").contains("function_graph") {
        recorded(&alone, folder.path(), &["--profile", "-H", hook, "-b", "8M", "ls", "/"]);
        let events = report(folder.path(), &["-E", "a.dat"]);
        for event in ["sched:sched_switch", "irq:softirq_raise", "raw_syscalls:sys_enter", "exceptions:page_fault_user"]
        {
            assert!(events.contains(event), "{event} in\n{events}");
        }
        assert!(report(folder.path(), &["a.dat"]).contains("kernel_stack:"));
    }
    recorded(&alone, folder.path(), &["--profile", "-S", "-p", "nop", "-H", hook, "ls", "/"]);
    let dat = Dat::open(&folder.path().join("a.dat")).unwrap();
    assert_eq!(dat.options.hooks, [hook.as_bytes()]);
    let events = report(folder.path(), &["-E", "a.dat"]);
    assert!(events.contains("sched:sched_wakeup") && !events.contains("raw_syscalls"), "{events}");
    peers(folder.path(), &["-i", "a.dat"]);
}

#[test]
fn function_tracing_is_switched_off_and_back() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    if !alone.root.join("options/function-trace").exists() {
        return println!("NOT RUN: this kernel has no option function-trace");
    }
    let before = alone.snapshot();
    let child = start(folder.path(), &["-d", "-e", "sched"]);
    wait_until("the recording", || records(folder.path()));
    assert_eq!(alone.read("options/function-trace"), "0\n");
    assert!(interrupt(child).status.success());
    alone.assert_as_before(&before);
}

#[test]
fn existing_instances_keep_what_they_had() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let clean = alone.snapshot();
    let instance = alone.root.join("instances/rtrec-test");
    std::fs::create_dir(&instance).unwrap();
    alone.write("instances/rtrec-test/events/irq/enable", "1");
    alone.write("instances/rtrec-test/buffer_size_kb", "300");
    alone.write("instances/rtrec-test/trace_clock", "mono");
    let before = alone.snapshot();
    let words = ["-B", "rtrec-test", "-e", "sched", "-b", "1M", "-C", "global", "-v", "-e", "sched_stat*", "ls", "/"];
    let output = rtrec().current_dir(folder.path()).args(["record", "-q", "-o", "a.dat"]).args(words).output().unwrap();
    let after = std::panic::catch_unwind(|| alone.assert_as_before(&before));
    // Two recorders at once, each on an instance of its own.
    let one = start(folder.path(), &["-B", "rtrec-test", "-e", "sched"]);
    wait_until("the first", || records(folder.path()));
    let two = run(folder.path(), &["record", "-q", "-B", "rtrec-two", "-e", "sched", "-o", "b.dat", "true"]);
    let one = interrupt(one);
    let both = std::panic::catch_unwind(|| alone.assert_as_before(&before));
    std::fs::remove_dir(&instance).unwrap();
    assert!(output.status.success() && one.status.success() && two.status.success(), "{}", stderr(&output));
    after.unwrap();
    both.unwrap();
    alone.assert_as_before(&clean);
    assert!(report(folder.path(), &["b.dat"]).contains("rtrec-two: "));
}

#[test]
fn files_belong_to_who_asked_and_lead_nowhere_else() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.dat");
    let owner = |path: &Path| {
        let metadata = path.metadata().unwrap();
        (metadata.uid(), metadata.gid(), metadata.permissions().mode() & 0o777)
    };
    recorded(&alone, folder.path(), &["-e", "sched", "true"]);
    assert_eq!(owner(&path), (0, 0, 0o600));
    recorded(&alone, folder.path(), &["-e", "sched", "--mode", "640", "true"]);
    assert_eq!(owner(&path), (0, 0, 0o640));
    let sudo = |words: &[&str]| {
        let mut command = rtrec();
        command.current_dir(folder.path()).env("SUDO_UID", "65534").env("SUDO_GID", "65533").args(words);
        command.output().unwrap()
    };
    assert!(sudo(&["record", "-q", "-e", "sched", "-o", "a.dat", "true"]).status.success());
    assert_eq!(owner(&path), (65534, 65533, 0o600));
    // A folder that is open to all, and in it a link that another user has put there.
    let open = folder.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o1777)).unwrap();
    let link = open.join("link");
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(65534), None).unwrap();
    let planted = link.join("x.dat").display().to_string();
    let output = run(folder.path(), &["record", "-e", "sched", "-o", &planted, "true"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("belongs to another user"), "{}", stderr(&output));
    // A copy with the setuid bit, run by somebody else.
    let copy = folder.path().join("rtrec");
    std::fs::copy(env!("CARGO_BIN_EXE_rtrec"), &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o4755)).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(&copy);
    std::os::unix::process::CommandExt::uid(&mut command, 65534);
    let output = command.current_dir("/").args(["record", "-e", "sched", "-o", "/tmp/x.dat", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("more rights than its user has"), "{}", stderr(&output));
}

#[test]
fn formats_of_all_events_are_stored_when_asked() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let stored = |words: &[&str]| {
        recorded(&alone, folder.path(), &[words, &["-e", "sched:sched_switch", "true"]].concat());
        report(folder.path(), &["-E", "a.dat"]).lines().filter(|line| !line.starts_with("ftrace:")).count()
    };
    assert_eq!(stored(&["--verbose=warn"]), 1);
    let all = alone.read("available_events").lines().count();
    assert_eq!(stored(&["-a", "--debug"]), all);
}
