//! Options of `record` that need function tracers, latency tracers or modules, on kernels that have them.

use std::time::Duration;

use xtask::Result;
use xtask::lab::{Guest, Outcome, Request};

use crate::judge::Fetched;
use crate::record::{assert_as_before, first_snapshot};

xtask::lab_tests! {
    all_functions_without_a_limit_are_refused,
    stacks_of_functions_need_a_filter,
    functions_of_a_module_are_chosen,
    function_tracing_is_switched_off_for_the_whole_system,
    the_worst_case_is_stored_as_text,
    a_profile_is_recorded_with_its_graph,
    older_kernels_say_what_they_lack,
    version_6_and_the_date_are_read_by_trace_cmd,
    names_and_clocks_are_in_the_file,
    a_stream_prints_functions_and_events,
    [Latest] arguments_of_functions_have_names,
}

const PATIENCE: Duration = Duration::from_secs(240);

fn sh(guest: &mut Guest, script: &str) -> Result<Outcome> {
    guest.run(&Request::sh(script).timeout(PATIENCE))
}

fn text(guest: &mut Guest, script: &str) -> Result<String> {
    Ok(sh(guest, script)?.check()?.stdout_text())
}

fn refused(guest: &mut Guest, before: &str, words: &str, said: &str) -> Result<()> {
    let ended = sh(guest, &format!("rtrec record {words} true"))?;
    assert_eq!(ended.code(), Some(2), "{words}: {ended}");
    assert!(ended.stderr_text().contains(said), "{words} should say {said}: {ended}");
    assert_as_before(guest, before, words)
}

fn all_functions_without_a_limit_are_refused(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    let said = "traces every function of the system";
    for words in [
        "-p function",
        "-p function_graph",
        "-p function -e sched",
        "-p function -n vfs_read",
        "-p function -l schedule:traceoff:5",
        "-p function -g vfs_read",
        "-B other -p function",
    ] {
        refused(guest, &before, words, said)?;
    }
    // With a limit it is begun: what fails then fails for another reason.
    for words in ["--all-functions", "--duration 1s", "-F", "-P 1", "-l vfs_read", "--max-graph-depth 2", "-d"] {
        let words = format!("-p function_graph {words} -e no:such");
        refused(guest, &before, &words, "no event matches no:such")?;
    }
    sh(guest, "rtrec record -q -p function_graph -g vfs_read cat /proc/uptime")?.check()?;
    assert_as_before(guest, &before, "-g")
}

fn stacks_of_functions_need_a_filter(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    refused(guest, &before, "-p function -F --func-stack", "needs -p function and a filter")?;
    refused(guest, &before, "-p function_graph -l vfs_open --func-stack", "needs -p function and a filter")?;
    sh(guest, "rtrec record -q -p function -l vfs_open --func-stack cat /proc/uptime")?.check()?;
    assert_as_before(guest, &before, "--func-stack")?;
    let report = text(guest, "rtrec report")?;
    assert!(report.contains("kernel_stack:") && report.contains("=> do_sys"), "{report}");
    Ok(())
}

fn functions_of_a_module_are_chosen(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    refused(guest, &before, "-p function --module no_such_module", "no function of a module no_such_module")?;
    let has =
        "sed -n 's/.* \\[\\(.*\\)\\]$/\\1/p' /sys/kernel/tracing/available_filter_functions | sort | uniq -c | sort -n";
    let modules = text(guest, has)?;
    let Some(module) = modules.lines().filter_map(|line| line.split_whitespace().nth(1)).find(|m| !m.starts_with("__"))
    else {
        println!("NOT RUN on {}: no module is loaded", guest.text("uname -r")?.trim());
        return Ok(());
    };
    let lists = "cat /sys/kernel/tracing/set_ftrace_filter";
    let all = text(guest, &format!("rtrec record -q -p function --module {module} {lists}"))?;
    assert!(all.lines().count() > 0 && all.lines().all(|line| line.ends_with(&format!(" [{module}]"))), "{all}");
    assert_as_before(guest, &before, "--module")?;
    let name = all.lines().next().and_then(|line| line.split(' ').next()).unwrap_or_default().to_owned();
    let one = text(guest, &format!("rtrec record -q -p function --module {module} -l {name} {lists}"))?;
    assert_eq!(one, format!("{name} [{module}]\n"));
    assert_as_before(guest, &before, "--module -l")?;
    refused(guest, &before, &format!("-p function --module {module} -l vfs_read"), "traces no function vfs_read")
}

fn function_tracing_is_switched_off_for_the_whole_system(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    let look = "sh -c 'cat /proc/sys/kernel/ftrace_enabled /sys/kernel/tracing/options/function-trace'";
    let both = text(guest, &format!("rtrec record -q -e sched -D {look}"))?;
    assert_eq!(both, "0\n0\n");
    assert_as_before(guest, &before, "-D")?;
    let option = text(guest, &format!("rtrec record -q -e sched -d {look}"))?;
    assert_eq!(option, "1\n0\n");
    assert_as_before(guest, &before, "-d")
}

fn the_worst_case_is_stored_as_text(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    let available = guest.text("cat /sys/kernel/tracing/available_tracers")?;
    let known = ["irqsoff", "preemptoff", "preemptirqsoff", "wakeup", "wakeup_rt", "wakeup_dl"];
    let mut seen = 0;
    for tracer in known.into_iter().filter(|tracer| available.split_whitespace().any(|name| name == *tracer)) {
        seen += 1;
        for version in ["7", "7 --compression none", "6"] {
            // Without its functions a latency tracer costs little.
            let words = format!("-p {tracer} -d --file-version {version}");
            sh(guest, &format!("rtrec record -q {words} -o t.dat sleep 0.3"))?.check()?;
            assert_as_before(guest, &before, &words)?;
            let own = text(guest, "rtrec report t.dat")?;
            assert!(own.contains(&format!("# tracer: {tracer}\n")), "{words}: {own}");
            let other = text(guest, "trace-cmd report -i t.dat 2>/dev/null")?;
            assert!(other.contains(&format!("# tracer: {tracer}\n")), "{words}: {other}");
        }
        refused(guest, &before, &format!("-p {tracer} -B other -e sched"), "keeps one text")?;
    }
    // Debian builds none; tests/files/written.rs has what a text becomes.
    if seen == 0 {
        println!("NOT RUN on {}: it has no latency tracer", guest.text("uname -r")?.trim());
        refused(guest, &before, "-p wakeup", "no tracer wakeup")?;
    }
    Ok(())
}

fn a_profile_is_recorded_with_its_graph(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    // A filter that matches few, since each function that is named to the kernel takes an emulated processor 0.07 s.
    sh(guest, "rtrec record -q --profile -l 'vfs_r*' -b 8M ls /")?.check()?;
    assert_as_before(guest, &before, "--profile")?;
    let report = text(guest, "rtrec report")?;
    for event in ["sched_switch:", "kernel_stack:", "sys_enter:", "funcgraph_"] {
        assert!(report.contains(event), "{event} in {}", report.lines().take(50).collect::<String>());
    }
    Ok(())
}

fn older_kernels_say_what_they_lack(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    if guest.sh("test -e /sys/kernel/tracing/buffer_subbuf_size_kb")?.success() {
        sh(guest, "rtrec record -q -e sched --subbuf-size 16 ls /")?.check()?;
        assert_as_before(guest, &before, "--subbuf-size")?;
        assert!(text(guest, "rtrec report -p")?.starts_with("file page size is 16384"));
        return Ok(());
    }
    refused(guest, &before, "-e sched --subbuf-size 16", "kernel 6.8 or newer")
}

fn version_6_and_the_date_are_read_by_trace_cmd(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    let words = "-e sched -p function -l 'vfs_r*' -F --date --file-version 6 -B other -e irq";
    sh(guest, &format!("rtrec record -q {words} ls /"))?.check()?;
    assert_as_before(guest, &before, words)?;
    let seconds: f64 = guest.text("date +%s")?.trim().parse().unwrap();
    for report in ["rtrec report", "trace-cmd report"] {
        let text = text(guest, report)?;
        let mut times = text
            .lines()
            .filter_map(|line| line.split_whitespace().find_map(|word| word.strip_suffix(':')?.parse::<f64>().ok()));
        let last = times.next_back().unwrap_or_default();
        assert!((seconds - last).abs() < 60.0, "{report}: {last} at {seconds}");
    }
    Ok(())
}

fn names_and_clocks_are_in_the_file(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    let script = "cat /proc/self/comm; sleep 0.1; exec cat /proc/self/comm";
    sh(guest, &format!("rtrec record -q -e sched -o t.dat sh -c '{script}'"))?.check()?;
    assert_as_before(guest, &before, "names")?;
    let report = text(guest, "rtrec report --wall-clock t.dat")?;
    let seconds: f64 = guest.text("date +%s")?.trim().parse().unwrap();
    let line = report.lines().find(|line| line.contains("sched_process_exec:")).unwrap_or_default();
    let time = line.split_whitespace().find_map(|word| word.strip_suffix(':')?.parse::<f64>().ok());
    assert!(time.is_some_and(|time| (seconds - time).abs() < 120.0), "{seconds}: {line}");
    let quiet = sh(guest, "trace-cmd report -i t.dat > /dev/null")?.check()?;
    assert!(quiet.stderr_text().is_empty(), "{quiet}");
    Ok(())
}

fn a_stream_prints_functions_and_events(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    for words in ["-p function_graph -l 'vfs_o*' -l 'vfs_r*'", "-p function -l 'vfs_o*' -l 'vfs_r*'"] {
        let script = "cat /proc/uptime > /dev/null; sleep 0.5; cat /proc/uptime > /dev/null";
        let printed =
            text(guest, &format!("rtrec stream -q {words} -e sched:sched_process_exec -F -c sh -c '{script}'"))?;
        assert_as_before(guest, &before, words)?;
        assert!(printed.contains("vfs_open") && printed.contains("sched_process_exec:"), "{words}: {printed}");
        let times: Vec<f64> = printed
            .lines()
            .filter_map(|line| line.split_whitespace().find_map(|word| word.strip_suffix(':')?.parse().ok()))
            .collect();
        assert!(times.len() > 10 && times.is_sorted(), "{words}: {printed}");
    }
    Ok(())
}

fn arguments_of_functions_have_names(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    let graph = "-p function_graph -O funcgraph-args -g do_sys_openat2";
    let functions = "-p function -O func-args -l vfs_open";
    for (words, compat, expected) in [
        (graph, "do_sys_openat2(dfd=4294967196, filename=0x", "do_sys_openat2(dfd=-100, filename=0x"),
        (functions, "vfs_open(path=0x", "vfs_open(path=0x"),
    ] {
        sh(guest, &format!("rtrec record -q {words} cat /proc/uptime"))?.check()?;
        assert_as_before(guest, &before, words)?;
        let report = text(guest, "rtrec report")?;
        assert!(report.contains(expected), "{words}: {report}");
        let fetched = Fetched::new(guest, &["trace.dat"])?;
        let theirs = fetched.by_trace_cmd("", "trace.dat")?;
        let ours = fetched.by_rtrec("--compat 3.4", "trace.dat")?;
        assert!(theirs.contains(compat) && theirs == ours, "{words}: trace-cmd:\n{theirs}\nrtrec:\n{ours}");
        let stream = text(guest, &format!("rtrec stream {words} cat /proc/uptime"))?;
        assert!(stream.contains(expected), "{words}: {stream}");
        assert_as_before(guest, &before, words)?;
    }
    // Megabytes that nobody would read are not stored.
    let sizes = "rtrec record -q -p function -l vfs_open -o with.dat -O func-args cat /proc/uptime &&
        rtrec record -q -p function -l vfs_open -o without.dat cat /proc/uptime && stat -c %s with.dat without.dat";
    let sizes = text(guest, &format!("cd /tmp && {sizes} | paste -s"))?;
    let sizes: Vec<u64> = sizes.split_whitespace().filter_map(|size| size.parse().ok()).collect();
    assert!(sizes.len() == 2 && sizes[0] > sizes[1] + 500_000, "{sizes:?}");
    Ok(())
}
