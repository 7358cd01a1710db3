//! Response-time windows inside the kernel: around its functions, judged offline and by the kernel itself.

use serde_json::Value;
use xtask::Result;
use xtask::lab::Guest;

use crate::record::{assert_as_before, first_snapshot, sh, text};

xtask::lab_tests! {
    writes_that_wait_for_a_pipe_are_the_slow_ones,
    the_kernel_finds_the_windows_that_are_found_offline,
    windows_of_programs_and_system_calls_are_judged_in_the_kernel,
    what_was_overwritten_before_a_snapshot_is_said,
    only_slow_windows_are_kept,
    a_killed_session_is_put_back,
    every_source_of_windows_passes_its_own_test,
}

/// Slow from here on, in milliseconds; the slow writes wait for three times as long.
const THRESHOLD: &str = "150ms";
const THRESHOLD_NS: i64 = 150_000_000;

/// Fast writes to a file, and two to a pipe that is full for a while; their writers are in the file `slow`.
const WRITES: &str = r#"cat > writes.sh <<'END'
rm -f slow
waits() {
    (dd if=/dev/zero bs=65536 count=1 2>/dev/null; exec sh -c 'echo $$ >> slow; exec dd if=/dev/zero bs=4096 count=1 2>/dev/null') |
        (usleep 450000; cat > /dev/null)
}
for i in 1 2 3 4 5; do echo fast > file; done
waits
for i in 1 2 3; do echo fast > file; usleep 1000; done
waits
echo fast > file
END
"#;

fn windows(guest: &mut Guest, file: &str, words: &str) -> Result<Vec<Value>> {
    let lines = text(guest, &format!("rtrec report --windows --format json {words} {file}"))?;
    Ok(lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect())
}

fn int(value: &Value, key: &str) -> i64 {
    value[key].as_i64().unwrap_or_else(|| panic!("{key} in {value}"))
}

/// The threads whose writes had to wait.
fn writers(guest: &mut Guest) -> Result<Vec<i64>> {
    let tids: Vec<i64> = text(guest, "cat slow")?.lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(tids.len(), 2);
    Ok(tids)
}

/// Asserts that the windows are those of the writers, blocked in the pipe.
fn assert_blocked_writes(windows: &[Value], writers: &[i64]) {
    let tids: Vec<i64> = windows.iter().map(|window| int(window, "tid")).collect();
    assert_eq!(tids, writers, "{windows:#?}");
    for window in windows {
        let (duration, split) = (int(window, "duration"), &window["split"]);
        assert!(duration >= THRESHOLD_NS && int(split, "blocked") >= THRESHOLD_NS / 2, "{window}");
        assert_eq!(int(split, "blocked") + int(split, "on_cpu") + int(split, "runnable"), duration, "{window}");
        assert_eq!(int(window, "lost"), 0, "{window}");
        let steps = window["steps"].as_array().expect("steps");
        let out = steps.iter().find(|step| step["step"] == "out S").unwrap_or_else(|| panic!("no sleep in {window}"));
        assert!(out["stack"].to_string().contains("pipe_write"), "{out}");
        assert_eq!(steps.last().expect("a last step")["step"], "stop");
    }
}

fn writes_that_wait_for_a_pipe_are_the_slow_ones(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    text(guest, &format!("{WRITES} rtrec rt -q --window vfs_write --threshold {THRESHOLD} -o a.dat -- sh writes.sh"))?;
    assert_as_before(guest, &before, "windows around a function")?;
    let writers = writers(guest)?;
    assert_blocked_writes(&windows(guest, "a.dat", "")?, &writers);
    let all = windows(guest, "a.dat", "--min 0")?;
    assert!(all.len() >= 11, "{} windows", all.len());
    Ok(())
}

fn the_kernel_finds_the_windows_that_are_found_offline(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    let rt = format!("rtrec rt -q --window vfs_write --threshold {THRESHOLD}");
    text(guest, &format!("{WRITES} {rt} -o off.dat -- {rt} --in-kernel -o in.dat -- sh writes.sh"))?;
    assert_as_before(guest, &before, "windows judged in the kernel")?;
    let writers = writers(guest)?;
    let judged = windows(guest, "in.dat", "")?;
    assert_blocked_writes(&judged, &writers);
    // What rtrec itself wrote was traced offline too.
    let mut offline = windows(guest, "off.dat", "")?;
    offline.retain(|window| window["comm"] == "dd");
    assert_blocked_writes(&offline, &writers);
    for (judged, offline) in judged.iter().zip(&offline) {
        // Two probes at one place are hit one behind the other, and an interrupt may come between.
        for key in ["start", "duration"] {
            let apart = (int(judged, key) - int(offline, key)).abs();
            assert!(apart < 20_000_000, "{key} of {judged}\n{offline}");
        }
    }
    let report = text(guest, "rtrec report --windows in.dat")?;
    let row = report.lines().find(|line| line.starts_with("vfs_write ")).unwrap_or_else(|| panic!("{report}"));
    let counts: Vec<&str> = row.split_whitespace().collect();
    assert!(counts[1].parse::<u32>().is_ok_and(|closed| closed >= 11) && counts[2] == "2", "{report}");
    assert!(report.contains("0 open or begun anew, 0 with lost events\n"), "{report}");
    assert!(report.contains("up to ms |---"), "{report}");
    let theirs = text(guest, "trace-cmd report -i in.dat 2>/dev/null")?;
    assert_eq!(theirs.matches(" vfs_write__return:").count(), 2, "{theirs}");
    Ok(())
}

fn windows_of_programs_and_system_calls_are_judged_in_the_kernel(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    // All of them are slow, so all are there.
    text(guest, "rtrec rt -q --in-kernel --window calls:work --threshold 0ns -o calls.dat -- calls 25")?;
    let calls = windows(guest, "calls.dat", "")?;
    assert_eq!(calls.len(), 25, "{calls:#?}");
    assert!(calls.iter().all(|window| window["recorded"].is_null()), "{calls:#?}");
    // Of the shell itself, not of the programs it starts.
    let own = "i=0; while [ $i -lt 9 ]; do echo x > file; i=$((i+1)); done; sh -c 'echo x > file; echo x > file'; true";
    let words = "--in-kernel --window-syscall 0:write --threshold 0ns";
    text(guest, &format!("rtrec rt -q {words} -o own.dat -- sh -c \"{}\"", own.replace('$', "\\$")))?;
    let writes = windows(guest, "own.dat", "")?;
    assert_eq!(writes.len(), 9, "{writes:#?}");
    let tracepoints = "sched:sched_waking[pid > 0]..sched:sched_switch[prev_state == 1]";
    text(
        guest,
        &format!("rtrec rt -q --in-kernel --window '{tracepoints}' -o points.dat -- sh -c 'usleep 1000 | cat'"),
    )?;
    for (words, said) in [
        ("--window-marker true", "--only-slow"),
        ("--window-magic --sample 1ms true", "--sample"),
        ("--window sched:sched_switch..sched:sched_switch true", "ends where the next begins"),
        ("--window 'sched:sched_switch[nonsense == 1]..sched:sched_waking' true", "nonsense"),
    ] {
        let refused = sh(guest, &format!("rtrec rt -q --in-kernel {words}"))?;
        assert!(refused.code() == Some(2) && refused.stderr_text().contains(said), "{words}: {refused}");
    }
    assert_as_before(guest, &before, "windows of programs and system calls")
}

fn what_was_overwritten_before_a_snapshot_is_said(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    // Buffers of a few pages, and somebody who fills them many times while the writers wait.
    let noise = "(while [ ! -e done ]; do cat /proc/stat > /dev/null; done) & sh writes.sh; touch done; wait";
    let rt = format!("rtrec rt -q -b 16 --in-kernel --window vfs_write --threshold {THRESHOLD} -o a.dat");
    text(guest, &format!("{WRITES} {rt} -- sh -c '{noise}'"))?;
    assert_as_before(guest, &before, "buffers that are too small")?;
    let writers = writers(guest)?;
    let told = windows(guest, "a.dat", "")?;
    for writer in &writers {
        let window = told.iter().find(|window| int(window, "tid") == *writer);
        let window = window.unwrap_or_else(|| panic!("nothing of {writer} in {told:#?}"));
        assert!(window["recorded"] == false || int(window, "lost") > 0, "{window}");
        assert!(int(window, "duration") >= THRESHOLD_NS, "{window}");
    }
    let report = text(guest, "rtrec report --windows a.dat")?;
    assert!(report.contains("more slow without records") || !report.contains(" 0 with lost events"), "{report}");
    Ok(())
}

fn only_slow_windows_are_kept(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    let rt = format!("rtrec rt -q --only-slow --window vfs_write --threshold {THRESHOLD} -o a.dat");
    text(guest, &format!("{WRITES} {rt} -- sh writes.sh"))?;
    assert_as_before(guest, &before, "--only-slow")?;
    let writers = writers(guest)?;
    assert_blocked_writes(&windows(guest, "a.dat", "")?, &writers);
    let written = text(guest, "rtrec report a.dat | grep -c ' vfs_write__return:'")?;
    assert_eq!(written, "2\n");
    Ok(())
}

fn a_killed_session_is_put_back(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    for words in ["--in-kernel --window-syscall 0:read", "--only-slow"] {
        let rt = format!(
            "rtrec rt -q {words} --window vfs_write --threshold {THRESHOLD} -o a.dat -- sh -c 'echo $$ > pid; exec sleep 1000'"
        );
        let kill = "while [ ! -s pid ]; do usleep 20000; done; kill -9 $p; wait $p; kill $(cat pid); rm pid";
        text(guest, &format!("{rt} & p=$!; {kill}; true"))?;
        let left = text(guest, "cat /sys/kernel/tracing/dynamic_events; ls /sys/kernel/tracing/instances")?;
        assert!(left.contains("vfs_write") && left.contains("rtrec_rt_"), "{left}");
        sh(guest, "rtrec reset --stale /tmp")?.check()?;
        assert_eq!(text(guest, "cat /sys/kernel/tracing/dynamic_events; ls /sys/kernel/tracing/instances")?, "");
        sh(guest, "rm -rf /tmp/.a*")?;
        assert_as_before(guest, &before, &format!("a killed session with {words}"))?;
    }
    Ok(())
}

fn every_source_of_windows_passes_its_own_test(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    let mut test = sh(guest, "rtrec rt selftest")?;
    for _ in 0..2 {
        // An emulated machine may stand still for so long that a snapshot comes too late.
        if test.success()
            || test.stdout_text().lines().any(|line| line.contains("FAILED") && !line.starts_with("in-kernel"))
        {
            break;
        }
        println!("once more: {test}");
        test = sh(guest, "rtrec rt selftest")?;
    }
    let said = test.stdout_text();
    assert!(test.success(), "{test}");
    for way in ["magic", "syscall", "tracepoint", "probe", "in-kernel"] {
        assert!(said.lines().any(|line| line.starts_with(way) && line.contains(" ok ")), "{way}: {test}");
    }
    println!("{said}");
    assert_as_before(guest, &before, "the test of itself")
}
