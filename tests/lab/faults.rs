//! What goes wrong around a recorder, on the lab's kernels: with function graphs, with splice (6.1) and the mapping.
//!
//! Each test prints rows of the fault table (see `cargo xtask faults`).

use std::path::Path;

use xtask::Result;
use xtask::lab::Guest;

use crate::common::faults::{Random, bytes_in_whole_chunks, raw_bytes, row};
use crate::judge::Fetched;
use crate::record::{assert_as_before, first_snapshot, sh, text};

xtask::lab_tests! {
    a_killed_recorder_loses_nothing_that_had_reached_the_disk,
    a_full_disk_leaves_a_trace_up_to_then,
    a_second_interrupt_still_puts_the_kernel_back,
    readers_that_were_stopped_and_meddlers_end_nothing,
    processors_may_go_and_come,
    an_unfiltered_graph_of_everything_stays_controllable,
}

/// Processes that start, read and switch, as long as the script runs.
const LOAD: &str = "cd /tmp; rm -rf .a* a.dat; (while :; do ls -l / /proc/self; cat /proc/stat; done > /dev/null 2>&1) & l=$!; \
    trap 'kill $l; wait $l' EXIT; ";

/// Kills of each kind of recording, on each kernel.
const KILLS: usize = 8;

fn a_killed_recorder_loses_nothing_that_had_reached_the_disk(guest: &mut Guest) -> Result<()> {
    // Somebody else's settings, which have to come back too.
    guest.text("cd /sys/kernel/tracing; echo vfs_read > set_ftrace_filter; echo vfs_write > set_graph_function")?;
    let before = first_snapshot(guest)?;
    let graph = "-p function_graph -g do_sys_openat2 -l do_sys_openat2 -l vfs_open -e sched:sched_switch";
    let instance = "-b 64 -e sched -e raw_syscalls -B mine -e irq";
    // A graph takes its time to be switched on and off here.
    for (what, words, longest) in [("with a graph", graph, 6000), ("with events", instance, 3000)] {
        let mut random = Random(0x9e37_79b9 + longest);
        let (mut expected, mut recovered) = (0, 0);
        for number in 0..KILLS {
            // Half of them once it records, however long this guest takes to get there.
            let wait = match number % 2 {
                0 => format!("usleep {}", random.below(longest) * 1000),
                _ => format!(
                    "while ! ls -A | grep -q names; do usleep 20000; done; usleep {}",
                    random.below(1500) * 1000
                ),
            };
            let (whole, restored) = killed_after(guest, words, &wait)?;
            sh(guest, "rtrec reset --stale /tmp")?.check()?;
            assert_as_before(guest, &before, &format!("a kill after {wait} of {words}"))?;
            expected += whole;
            recovered += restored;
        }
        assert_eq!(expected, recovered);
        assert!(expected > 0, "no kill came late enough");
        row(&format!("SIGKILL {what}"), KILLS, format!("{expected} bytes"), format!("{recovered} bytes"));
    }
    guest.text("cd /sys/kernel/tracing; : > set_ftrace_filter; : > set_graph_function")?;
    Ok(())
}

/// Kills a recorder after a command that waits; the bytes it had written and those restored.
fn killed_after(guest: &mut Guest, words: &str, wait: &str) -> Result<(u64, u64)> {
    let record = format!("{LOAD}rtrec record -q {words} -o a.dat & p=$!; {wait}; kill -9 $p; wait $p; true");
    sh(guest, &record)?.check()?;
    let folder = tempfile::tempdir().expect("a folder");
    for name in text(guest, "ls -A /tmp")?.lines().filter(|name| name.contains(".cpu")) {
        put(folder.path(), name, &guest.read(&format!("/tmp/{name}"))?);
    }
    let whole = bytes_in_whole_chunks(folder.path());
    let restored = sh(guest, "cd /tmp; rtrec restore a.dat")?;
    if whole == 0 {
        return Ok((0, 0));
    }
    restored.check()?;
    put(folder.path(), "a.dat", &guest.read("/tmp/a.dat")?);
    assert_printed_alike(guest)?;
    Ok((whole, raw_bytes(folder.path(), "a.dat")))
}

fn put(folder: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(folder.join(name), bytes).expect("a file is written");
}

/// `trace-cmd report` prints what rtrec prints of `/tmp/a.dat`; the number of lines.
fn assert_printed_alike(guest: &mut Guest) -> Result<usize> {
    let fetched = Fetched::new(guest, &["a.dat"])?;
    assert_eq!(fetched.fault("", "a.dat", false)?, None);
    Ok(fetched.by_rtrec("", "a.dat")?.lines().count())
}

fn a_full_disk_leaves_a_trace_up_to_then(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    let script = format!(
        "{LOAD}mkdir -p small; mount -t tmpfs -o size=12m small small; cd small; \
         timeout 60 rtrec record --compression none --free-space 1 -b 512 -e raw_syscalls -e sched -e kmem -o a.dat 2> ../said; \
         echo status $?; cat ../said; cp a.dat /tmp; cd /tmp; umount -l small"
    );
    let ended = sh(guest, &script)?.check()?;
    assert!(ended.stdout_text().contains("ENOSPC"), "{ended}");
    assert_as_before(guest, &before, "a full disk")?;
    let lines = assert_printed_alike(guest)?;
    assert!(lines > 10_000, "{lines}");
    row("ENOSPC while recording", 1, "more than 10000 events", lines);
    Ok(())
}

fn a_second_interrupt_still_puts_the_kernel_back(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    for _ in 0..3 {
        let script = format!(
            "{LOAD}rtrec record -q -b 4096 --compression none -e sched -e raw_syscalls -o a.dat & p=$!; \
             while ! ls -A | grep -q names; do usleep 50000; done; sleep 1; kill -INT $p; usleep 20000; kill -INT $p; \
             wait $p; echo $?; ls -A | grep -q rtrec- && rtrec restore a.dat; true"
        );
        sh(guest, &script)?.check()?;
        assert_as_before(guest, &before, "two interrupts")?;
        assert_printed_alike(guest)?;
    }
    row("SIGINT twice", 3, "a trace, restored or whole", "3 traces");
    Ok(())
}

/// Runs a recording in an instance while `meddle` happens.
fn meddled(guest: &mut Guest, words: &str, meddle: &str) -> Result<()> {
    let script = format!(
        "{LOAD}rtrec record {words} -e raw_syscalls -e sched -o a.dat > said 2>&1 & p=$!; \
         while ! ls -A | grep -q names; do usleep 50000; done; sleep 1; t=/sys/kernel/tracing; i=$t/instances/mine; \
         ( {meddle} ) > /dev/null 2>&1; sleep 1; kill -INT $p; wait $p || {{ echo status $?; cat said; exit 1; }}"
    );
    sh(guest, &script)?.check()?;
    let lines = assert_printed_alike(guest)?;
    assert!(lines > 10, "{meddle}: {lines} lines");
    Ok(())
}

fn readers_that_were_stopped_and_meddlers_end_nothing(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    let cases = [
        ("readers stopped (SIGSTOP)", "for n in 1 2 3; do kill -STOP $p; sleep 1; kill -CONT $p; usleep 300000; done"),
        ("buffer cleared by another", ": > $i/trace"),
        ("buffer resized by another", "echo 4096 > $i/buffer_size_kb"),
        ("buffer switched off by another", "echo 0 > $i/tracing_on"),
        ("instance removed by another", "rmdir $i"),
    ];
    for (fault, meddle) in cases {
        meddled(guest, "-B mine -b 64", meddle)?;
        assert_as_before(guest, &before, fault)?;
        row(fault, 1, "goes on", "goes on");
    }
    Ok(())
}

fn processors_may_go_and_come(guest: &mut Guest) -> Result<()> {
    let cpu = "/sys/devices/system/cpu/cpu1/online";
    let before = first_snapshot(guest)?;
    let cycles = format!("for n in 1 2 3; do echo 0 > {cpu}; usleep 300000; echo 1 > {cpu}; usleep 300000; done");
    for words in ["-b 256", "-b 256 -B mine"] {
        meddled(guest, words, &cycles)?;
        assert_as_before(guest, &before, "processors that go and come")?;
        // It is traced again once it is back.
        let last = text(guest, "cd /tmp; rtrec report a.dat | tail -2000 | grep -c '\\[001\\]'")?;
        assert!(last.trim().parse::<u32>().is_ok_and(|lines| lines > 0), "{last}");
    }
    row("CPU unplugged and plugged", 6, "goes on", "goes on");
    guest.text(&format!("echo 0 > {cpu}"))?;
    let recorded = meddled(guest, "-b 256", &format!("echo 1 > {cpu}; usleep 300000; echo 0 > {cpu}"));
    guest.text(&format!("echo 1 > {cpu}"))?;
    recorded?;
    assert_as_before(guest, &before, "a processor that was away")?;
    row("CPU away at the start", 1, "goes on", "goes on");
    Ok(())
}

fn an_unfiltered_graph_of_everything_stays_controllable(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    let script = format!(
        "{LOAD}(sleep 60; kill -INT $(cat pid)) & sh -c 'echo $$ > pid; exec rtrec record -b 64 -p function_graph --all-functions -o a.dat' 2> said; \
         echo \"status $?\"; cut -d' ' -f1 /proc/uptime; cat said"
    );
    let ended = sh(guest, &script)?.check()?;
    assert_as_before(guest, &before, "a graph of everything")?;
    let said = ended.stdout_text();
    assert!(said.contains("status 0"), "{said}");
    println!("{}", said.lines().take(20).collect::<Vec<_>>().join("\n"));
    let how = if said.contains("swamp") || said.contains("no time") { "ends by itself" } else { "ends at SIGINT" };
    row("function_graph of everything, tiny buffers", 1, "ends by itself or at SIGINT", how);
    Ok(())
}
