//! Probes in the kernel, by name, on kernels that have them; the recorded file as trace-cmd reads it.

use std::time::Duration;

use xtask::Result;
use xtask::lab::{Guest, Outcome, Request};

use crate::record::{assert_as_before, first_snapshot};

xtask::lab_tests! {
    a_kernel_probe_takes_registers_as_they_are,
    arguments_of_kernel_functions_have_names,
    trace_cmd_reads_recorded_probes_alike,
    function_and_tracepoint_probes_are_events,
    a_user_program_s_probes_count_its_calls,
    refusals_show_the_kernel_s_caret,
}

const PATIENCE: Duration = Duration::from_secs(240);
/// Reads a file by read(2), which not every cat does.
const READER: &str = "dd if=/proc/uptime bs=100 count=3";

fn sh(guest: &mut Guest, script: &str) -> Result<Outcome> {
    guest.run(&Request::sh(script).timeout(PATIENCE))
}

fn text(guest: &mut Guest, script: &str) -> Result<String> {
    Ok(sh(guest, script)?.check()?.stdout_text())
}

fn definitions(guest: &mut Guest) -> Result<String> {
    text(guest, "cd /sys/kernel/tracing; cat kprobe_events uprobe_events dynamic_events")
}

fn has_btf(guest: &mut Guest) -> Result<bool> {
    Ok(sh(guest, "test -e /sys/kernel/btf/vmlinux")?.code() == Some(0))
}

fn a_kernel_probe_takes_registers_as_they_are(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    let hits = text(guest, &format!("rtrec kprobe -q -F vfs_read count=%dx:u64 -- {READER} 2>/dev/null"))?;
    assert!(hits.lines().any(|line| line.contains("vfs_read:") && line.ends_with("count=100")), "{hits}");
    let hits = text(guest, &format!("rtrec kprobe -q -F 'vfs_read%return' '$retval:s64' -- {READER} 2>/dev/null"))?;
    assert!(hits.lines().filter(|line| line.contains("vfs_read__return:")).count() >= 2, "{hits}");
    assert_eq!(definitions(guest)?, "");
    assert_as_before(guest, &before, "kprobe")
}

fn arguments_of_kernel_functions_have_names(guest: &mut Guest) -> Result<()> {
    if !has_btf(guest)? {
        println!("NOT RUN on {}: it has no BTF", guest.text("uname -r")?.trim());
        return Ok(());
    }
    let opened = text(guest, "rtrec kprobe -q -F do_sys_openat2 filename:ustring 'how->flags' -- cat /proc/uptime")?;
    assert!(opened.contains("filename=\"/proc/uptime\" flags="), "{opened}");
    let written = "rtrec kprobe -q -F vfs_write 'file->f_path.dentry->d_name.name:string' count \
                   -- sh -c 'echo word > /tmp/somewhere'";
    let written = text(guest, written)?;
    assert!(written.contains("name=\"somewhere\" count=5"), "{written}");
    let wrong = sh(guest, "rtrec kprobe vfs_write cuont -- true")?;
    assert!(wrong.code() == Some(2) && wrong.stderr_text().contains("count"), "{wrong}");
    assert_eq!(definitions(guest)?, "");
    Ok(())
}

fn trace_cmd_reads_recorded_probes_alike(guest: &mut Guest) -> Result<()> {
    let record = "rtrec record -q -F --kprobe 'vfs_read count=%dx:u64' --kprobe 'vfs_read%return ret=$retval:s64' \
                  -f 'ret > 0' -e sched:sched_process_exec";
    sh(guest, &format!("{record} {READER}"))?.check()?;
    let own = text(guest, "rtrec report | grep 'vfs_read'")?;
    let other = text(guest, "trace-cmd report -i trace.dat 2>/dev/null | grep 'vfs_read'")?;
    let bare = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    assert!(own.lines().count() >= 3, "{own}");
    assert!(own.lines().filter(|line| line.contains("ret=")).all(|line| !line.contains("ret=0")), "{own}");
    assert_eq!(bare(&own), bare(&other));
    assert_eq!(definitions(guest)?, "");
    Ok(())
}

fn function_and_tracepoint_probes_are_events(guest: &mut Guest) -> Result<()> {
    let readme = text(guest, "cat /sys/kernel/tracing/README")?;
    let probes = "--fprobe vfs_read --fprobe 'vfs_read%return' --tprobe sched_process_exec";
    let ended = sh(guest, &format!("rtrec record -q -F {probes} {READER}"))?;
    if readme.contains("f[:[<group>/]") && readme.contains("t[:[<group>/]") {
        ended.check()?;
        let report = text(guest, "rtrec report")?;
        for event in [" vfs_read:", " vfs_read__return:", " sched_process_exec:"] {
            assert!(report.contains(event), "{event}: {report}");
        }
    } else {
        assert!(ended.code() == Some(2) && ended.stderr_text().contains("CONFIG_FPROBE_EVENTS"), "{ended}");
    }
    // Fields of another event.
    sh(guest, "rtrec record -q --eprobe 'sched:sched_process_exec who=pid' -o e.dat true")?.check()?;
    let report = text(guest, "rtrec report e.dat")?;
    assert!(report.contains("who="), "{report}");
    assert_eq!(definitions(guest)?, "");
    Ok(())
}

fn a_user_program_s_probes_count_its_calls(guest: &mut Guest) -> Result<()> {
    for (program, target) in [("calls", "calls:work"), ("calls-pie", "calls-pie:work%return")] {
        let counted = text(guest, &format!("rtrec uprobe -q --count {target} -- {program} 25"))?;
        assert!(counted.lines().any(|line| line.trim().starts_with("25  rtrec_")), "{target}: {counted}");
    }
    assert_eq!(definitions(guest)?, "");
    Ok(())
}

fn refusals_show_the_kernel_s_caret(guest: &mut Guest) -> Result<()> {
    let refused = sh(guest, "rtrec kprobe vfs_read a=%nosuch -- true")?;
    let said = refused.stderr_text();
    assert!(refused.code() == Some(2) && said.contains("Invalid register name") && said.contains("^"), "{refused}");
    let refused = sh(guest, "rtrec kprobe vfs_raed -- true")?;
    assert!(refused.stderr_text().contains("nearest vfs_read"), "{refused}");
    assert_eq!(definitions(guest)?, "");
    Ok(())
}
