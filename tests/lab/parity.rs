//! The same recordings printed by the guest's trace-cmd and by rtrec in its manner, whoever recorded them.

use std::time::Duration;

use xtask::Result;
use xtask::lab::{Guest, Request};

use crate::judge::{Fetched, difference};

xtask::lab_tests! {
    function_tracers_are_printed_alike,
    probes_and_stacks_are_printed_alike,
    instances_are_printed_alike,
    odd_clocks_are_printed_alike,
    the_kernel_s_own_graph_is_printed_alike,
}

/// A guest's emulated processor takes its time.
const PATIENCE: Duration = Duration::from_secs(240);

/// What is recorded: small, but with switches, interrupts, files and a pipe.
const LOAD: &str = "sh -c 'ls / | cat > /dev/null; read x < /proc/uptime'";

/// Records with both tools and compares what both print. The words may use what `setup` made; each view is a set of
/// options of `report`.
fn compare(guest: &mut Guest, setup: &str, cases: &[&str], views: &[&str]) -> Result<()> {
    guest.text(setup)?;
    let mut differences = Vec::new();
    for tool in ["rtrec", "trace-cmd"] {
        for words in cases {
            let record = format!("set -f; {tool} record -q -o t.dat {words} {LOAD}");
            guest.run(&Request::sh(&record).timeout(PATIENCE))?.check()?;
            let fetched = Fetched::new(guest, &["t.dat"])?;
            for view in views {
                // trace-cmd's recorders now and then miss so short a load on an emulated processor.
                if let Some(said) = fetched.fault(view, "t.dat", tool == "rtrec")? {
                    differences.push(format!("{tool} record {words}, report {view}:\n{said}"));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

fn function_tracers_are_printed_alike(guest: &mut Guest) -> Result<()> {
    let mut cases = vec![
        "-p function_graph -l vfs_open -l vfs_read -e sched:sched_switch",
        "-p function -l vfs_r* -e irq",
        "-p function -l vfs_open -O func_stack_trace",
    ];
    // Not every kernel can tell what functions returned.
    if guest.text("ls /sys/kernel/tracing/options")?.lines().any(|option| option == "funcgraph-retval") {
        cases.push("-p function_graph -l vfs_open -l vfs_read -O funcgraph-retval");
    }
    compare(guest, "true", &cases, &["", "-R -t"])
}

fn probes_and_stacks_are_printed_alike(guest: &mut Guest) -> Result<()> {
    let setup = "cd /sys/kernel/tracing; \
        echo 'p:mine/open do_sys_openat2 dfd=%di:s32 file=+0(%si):ustring flags=+0(%dx):x64' >> kprobe_events; \
        echo 'r:mine/opened do_sys_openat2 ret=$retval:s64 comm=$comm' >> kprobe_events; \
        echo 'p:mine/array vfs_open first=+0(%di):x16[4] bits=+0(%di):b4@2/32 name=$comm at=+0(%di):symbol' >> kprobe_events";
    let cases = [
        "-e mine -e sched:sched_switch",
        "-e mine -e sched:sched_switch -T",
        "-e sched:sched_waking -R stacktrace -e raw_syscalls -e timer",
    ];
    // With -R trace-cmd reads on behind short stacks.
    let outcome =
        compare(guest, setup, &cases[..1], &["", "-R"]).and_then(|()| compare(guest, "true", &cases[1..], &["", "-t"]));
    guest.text("echo > /sys/kernel/tracing/kprobe_events")?;
    outcome
}

fn instances_are_printed_alike(guest: &mut Guest) -> Result<()> {
    let cases = [
        "-e sched:sched_switch -B other -e irq -e raw_syscalls -B third -p function -l vfs_open",
        "-B only -e sched:sched_switch -e timer",
    ];
    compare(guest, "true", &cases, &["", "-l"])
}

fn odd_clocks_are_printed_alike(guest: &mut Guest) -> Result<()> {
    let offered = guest.text("cat /sys/kernel/tracing/trace_clock")?;
    let clocks = ["global", "boot", "counter", "x86-tsc", "mono", "mono_raw", "uptime", "perf", "tai"];
    let words: Vec<String> = clocks
        .iter()
        .filter(|clock| offered.split(['[', ']', ' ', '\n']).any(|name| name == **clock))
        .map(|clock| format!("-C {clock} -e sched:sched_switch -e irq"))
        .collect();
    assert!(words.len() >= 8, "{offered}");
    compare(guest, "true", &words.iter().map(String::as_str).collect::<Vec<_>>(), &["", "-t --ts-diff"])
}

/// Shows the same records by the kernel's `trace` file and, once trace-cmd has taken them out, by `-O fgraph:kernel`.
fn the_kernel_s_own_graph_is_printed_alike(guest: &mut Guest) -> Result<()> {
    let record = "cd /sys/kernel/tracing; echo 0 > tracing_on; echo 8192 > buffer_size_kb; echo > trace
        for f in do_sys_openat2 vfs_read schedule; do echo $f >> set_graph_function; done
        echo function_graph > current_tracer; echo 1 > events/sched/enable; echo 1 > events/irq/enable
        echo 1 > tracing_on; (cat /etc/passwd; sleep 0.01; ls /; echo words > trace_marker) > /dev/null &
        cat /proc/interrupts > /dev/null; ls / > /dev/null; wait; echo 0 > tracing_on; echo 0 > events/enable";
    guest.run(&Request::sh(record).timeout(PATIENCE))?.check()?;
    let views = [
        ("", ""),
        ("funcgraph-abstime", "-O fgraph:abstime"),
        ("funcgraph-proc", "-O fgraph:proc"),
        ("funcgraph-proc funcgraph-abstime", "-O fgraph:proc -O fgraph:abstime"),
        ("funcgraph-tail", "-O fgraph:tailprint"),
        ("nofuncgraph-cpu", "-O fgraph:cpu=0"),
        ("nofuncgraph-duration", "-O fgraph:duration=0"),
    ];
    for (number, (options, _)) in views.iter().enumerate() {
        let back = options
            .split_whitespace()
            .map(|option| option.strip_prefix("no").map_or(format!("no{option}"), str::to_owned));
        let back = back.collect::<Vec<_>>().join(" ");
        let script = format!(
            "cd /sys/kernel/tracing; for o in {options}; do echo $o > trace_options; done
             cat trace > /tmp/theirs.{number}; for o in {back}; do echo $o > trace_options; done"
        );
        guest.run(&Request::sh(&script).timeout(PATIENCE))?.check()?;
    }
    let extract =
        "cd /tmp; trace-cmd extract -o k.dat > /dev/null 2>&1; cd /sys/kernel/tracing; echo nop > current_tracer
        echo > set_graph_function; echo > trace; echo 1408 > buffer_size_kb; echo 1 > tracing_on";
    guest.run(&Request::sh(extract).timeout(PATIENCE))?.check()?;
    let names: Vec<String> = (0..views.len()).map(|number| format!("theirs.{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).chain(["k.dat"]).collect();
    let fetched = Fetched::new(guest, &names)?;
    let mut differences = Vec::new();
    for ((_, view), name) in views.iter().zip(names) {
        let (theirs, ours) = (fetched.text(name), fetched.by_rtrec(&format!("-O fgraph:kernel {view}"), "k.dat")?);
        if ours != theirs {
            differences.push(format!("{view}:\n{}", difference("rtrec", &ours, "the kernel", &theirs)));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let theirs = fetched.text("theirs.0");
    assert!(theirs.contains("/* words */") && theirs.contains("=>  "), "a mark and banners: {theirs}");
    Ok(())
}
