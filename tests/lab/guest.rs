//! The lab itself: what a guest offers, commands and files going in and out, the real trace-cmd in it.

use xtask::Result;
use xtask::lab::{Guest, Request};

xtask::lab_tests! {
    the_guest_offers_what_a_tracer_needs,
    a_command_comes_back_with_its_exact_output_and_status,
    files_survive_the_way_in_and_out,
    trace_cmd_records_and_reports_events,
    [V6_12] trace_cmd_records_and_reports_a_function_graph,
    [V6_12] a_kernel_that_panics_is_told_with_its_last_words,
}

fn the_guest_offers_what_a_tracer_needs(guest: &mut Guest) -> Result<()> {
    let tracers = guest.text("cat /sys/kernel/tracing/available_tracers")?;
    assert!(tracers.split_whitespace().any(|name| name == "function_graph"), "{tracers}");
    let mounts = guest.text("cat /proc/mounts")?;
    assert!(mounts.contains(" /sys/kernel/tracing tracefs "), "{mounts}");
    assert_eq!(guest.text("nproc")?, "2\n");
    guest.text("ping -c 1 127.0.0.1")?;
    // 126 and 127 would be a program that cannot be started: one that needs libraries, say.
    let version = guest.sh("rtrec --version")?;
    assert!(version.code().is_some_and(|code| code <= 2), "{version}");
    Ok(())
}

fn a_command_comes_back_with_its_exact_output_and_status(guest: &mut Guest) -> Result<()> {
    let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    guest.write("/tmp/bytes", 0o600, &bytes)?;
    let both = guest.sh("cat /tmp/bytes; printf '\\377\\0' >&2; exit 37")?;
    assert_eq!((both.code(), both.stderr.as_slice()), (Some(37), b"\xff\0".as_slice()));
    assert!(both.stdout == bytes, "{} bytes came", both.stdout.len());

    use std::os::unix::process::ExitStatusExt;
    assert_eq!(guest.sh("kill -TERM $$")?.status.signal(), Some(15));

    let brief = std::time::Duration::from_millis(500);
    let endless = guest.run(&Request::sh("echo begun; sleep 1000; echo never").timeout(brief))?;
    assert!(endless.timed_out && endless.stdout == b"begun\n", "{endless}");
    let refused = guest.run(&Request::new(["no-such-program"])).unwrap_err().to_string();
    assert!(refused.contains("no-such-program"), "{refused}");
    Ok(())
}

fn files_survive_the_way_in_and_out(guest: &mut Guest) -> Result<()> {
    for round in 0..3_u8 {
        let bytes: Vec<u8> = (0..3_000_001_u32).map(|i| (i ^ (i >> 8)) as u8 ^ round).collect();
        guest.write("/tmp/deep/down/file", 0o640, &bytes)?;
        assert_eq!(guest.text("stat -c '%a %s' /tmp/deep/down/file")?, "640 3000001\n");
        guest.text("mv /tmp/deep/down/file /tmp/moved")?;
        assert!(guest.read("/tmp/moved")? == bytes, "round {round}");
    }
    // A file of the kernel's, which does not say how long it is.
    assert!(guest.read("/proc/version")?.starts_with(b"Linux version "));
    Ok(())
}

fn trace_cmd_records_and_reports_events(guest: &mut Guest) -> Result<()> {
    guest.text("trace-cmd record -e sched_switch -o t.dat ls /")?;
    let report = guest.text("trace-cmd report -i t.dat")?;
    // Only the plugin prints the switch in this form.
    assert!(report.lines().any(|l| l.contains("sched_switch:") && l.contains(" ==> ")), "{report}");
    assert!(guest.read("/tmp/t.dat")?.starts_with(b"\x17\x08\x44tracing"));
    Ok(())
}

fn trace_cmd_records_and_reports_a_function_graph(guest: &mut Guest) -> Result<()> {
    let minutes = std::time::Duration::from_secs(240);
    let record = "trace-cmd record -p function_graph -g do_sys_openat2 -o t.dat ls /";
    guest.run(&Request::sh(record).timeout(minutes))?.check()?;
    let report = guest.run(&Request::sh("trace-cmd report -i t.dat").timeout(minutes))?.check()?;
    let graph = report.stdout_text();
    assert!(graph.contains("do_sys_openat2() {") && graph.contains(" us "), "{graph}");
    Ok(())
}

fn a_kernel_that_panics_is_told_with_its_last_words(guest: &mut Guest) -> Result<()> {
    let error = guest.sh("echo c > /proc/sysrq-trigger").unwrap_err().to_string();
    assert!(error.contains("is gone") && error.contains("sysrq triggered crash"), "{error}");
    assert!(!guest.is_alive());
    // The next test gets a fresh one.
    let refused = guest.sh("true").unwrap_err().to_string();
    assert!(refused.contains("gone since an earlier command"), "{refused}");
    Ok(())
}
