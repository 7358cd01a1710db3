//! Recording with function tracers, which only the lab's kernels have, and the same text from the real trace-cmd.

use std::time::Duration;

use xtask::Result;
use xtask::lab::{Guest, Outcome, Request};

use crate::judge::Fetched;

xtask::lab_tests! {
    the_main_job_yields_a_graph_of_the_successor,
    the_way_out_is_the_best_the_kernel_has,
    tracefs_is_as_before_however_a_recording_ends,
    what_others_had_set_for_functions_comes_back,
    functions_are_chosen_by_name_glob_and_expression,
    old_names_find_their_successors,
    trace_cmd_reads_what_was_recorded_and_prints_the_same,
    [V6_12, Latest] graphs_work_in_an_instance_too,
}

/// A guest's emulated processor takes its time.
pub(super) const PATIENCE: Duration = Duration::from_secs(240);

pub(super) fn sh(guest: &mut Guest, script: &str) -> Result<Outcome> {
    guest.run(&Request::sh(script).timeout(PATIENCE))
}

pub(super) fn text(guest: &mut Guest, script: &str) -> Result<String> {
    Ok(sh(guest, script)?.check()?.stdout_text())
}

/// Every control file that a recording may touch, by name and content.
const SNAPSHOT: &str = r"cd /sys/kernel/tracing
/usr/lib/lab/agent contents tracing_on current_tracer trace_clock tracing_cpumask buffer_percent max_graph_depth tracing_thresh \
    set_event set_event_pid set_ftrace_pid set_ftrace_filter set_ftrace_notrace set_graph_function set_graph_notrace \
    kprobe_events uprobe_events dynamic_events saved_cmdlines_size buffer_size_kb options/* events/enable events/*/enable \
    events/sched/*/filter events/sched/*/trigger /proc/sys/kernel/ftrace_enabled /proc/sys/kernel/kptr_restrict
ls instances";

fn snapshot(guest: &mut Guest) -> Result<String> {
    text(guest, SNAPSHOT)
}

/// A snapshot of a kernel whose buffers have seen their first use, after which their size reads differently.
pub(crate) fn first_snapshot(guest: &mut Guest) -> Result<String> {
    guest.text("echo 1408 > /sys/kernel/tracing/buffer_size_kb")?;
    snapshot(guest)
}

pub(crate) fn assert_as_before(guest: &mut Guest, before: &str, after_what: &str) -> Result<()> {
    let after = snapshot(guest)?;
    let changed: Vec<String> = before
        .lines()
        .zip(after.lines())
        .filter(|(before, after)| before != after)
        .map(|(before, after)| format!("{before}\n  -> {after}"))
        .collect();
    assert!(
        changed.is_empty() && before.lines().count() == after.lines().count(),
        "after {after_what}:\n{}",
        changed.join("\n")
    );
    let left = guest.text("ls -A /tmp | grep rtrec- || true")?;
    assert!(left.is_empty(), "after {after_what} there is {left}");
    Ok(())
}

fn the_main_job_yields_a_graph_of_the_successor(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    let recorded = sh(guest, "rtrec record -p function_graph -g do_sys_open ls /")?.check()?;
    assert!(recorded.stdout_text().contains("proc\n"), "{recorded}");
    let said = recorded.stderr_text();
    assert!(said.contains("do_sys_open") && said.contains("do_sys_openat2"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_as_before(guest, &before, "the main job")?;
    let graph = text(guest, "rtrec report")?;
    let opened =
        graph.lines().position(|line| line.contains("|  do_sys_openat2() {")).unwrap_or_else(|| panic!("{graph}"));
    // Another CPU's line may come between.
    let task = |line: &str| line.split_once(']').map(|(task, _)| task.trim().to_owned());
    let opener = task(graph.lines().nth(opened).unwrap_or_default());
    let callee = graph.lines().skip(opened + 1).find(|line| task(line) == opener).unwrap_or_default();
    assert!(callee.contains("funcgraph_entry:") && callee.contains("|    "), "{callee}\n{graph}");
    assert!(graph.lines().any(|line| line.contains(" ls-") && line.contains("funcgraph_exit:")), "{graph}");
    // A function or two at the edge of a task switch may still carry its name.
    let own = graph.lines().filter(|line| line.contains(" rtrec-"));
    assert!(!own.into_iter().any(|line| line.contains("do_sys_open")), "rtrec traces itself: {graph}");
    // The old name exists too: traced by itself it stays silent, and rtrec says so.
    let exact = sh(guest, "rtrec record --exact -p function_graph -l do_sys_open -g do_sys_open ls /")?;
    assert!(exact.success() && !exact.stderr_text().contains("do_sys_openat2"), "{exact}");
    assert_as_before(guest, &before, "the main job with --exact")
}

fn the_way_out_is_the_best_the_kernel_has(guest: &mut Guest) -> Result<()> {
    let release = guest.text("uname -r")?;
    let mapped = !release.starts_with("6.1.");
    let recorded = sh(guest, "rtrec record -v -p function_graph -l 'vfs_o*' -g do_sys_open ls /")?.check()?;
    let said = recorded.stderr_text();
    let way = if mapped { "is read by mmap of trace_pipe_raw" } else { "is read by splice (mmap: " };
    assert!(said.contains(&format!("CPU 0 {way}")) && said.contains(&format!("CPU 1 {way}")), "{release}{said}");
    println!("on {}: {}", release.trim(), said.lines().find(|line| line.contains(way)).unwrap_or_default());
    Ok(())
}

fn tracefs_is_as_before_however_a_recording_ends(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    guest.text("printf '#!/no/such\n' > bad; chmod +x bad")?;
    // With a filter the kernel patches few functions, which an emulated processor is glad of.
    let graph = "rtrec record -p function_graph -l vfs_open -g do_sys_openat2 -e sched:sched_switch";
    let cases = [
        (format!("{graph} true"), 0, ""),
        (format!("{graph} sh -c 'exit 3'"), 3, ""),
        (format!("{graph} ./bad"), 127, "ENOENT"),
        (format!("{graph} no-such-command"), 127, "ENOENT"),
        (format!("{graph} -f 'prev_pidd == 1' true"), 2, "Field not found"),
        (format!("{graph} -g no_such_function true"), 2, "no_such_function"),
        (format!("{graph} -g do_sys_openat22 true"), 2, "do_sys_openat2"),
        (format!("{graph} -n 'nosuch*' true"), 2, "nosuch*"),
        (format!("{graph} -O no_such_option true"), 2, "no_such_option"),
        ("rtrec record -p nonsense true".to_owned(), 2, "function_graph"),
        (format!("{graph} -o /no/such/dir/x true"), 2, "ENOENT"),
        (
            format!(
                "{graph} & p=$!; while ! grep -q 1 /sys/kernel/tracing/tracing_on || ! grep -q graph /sys/kernel/tracing/current_tracer; do :; done; sleep 1; kill -INT $p; wait $p"
            ),
            0,
            "",
        ),
        (
            format!(
                "{graph} & p=$!; while ! grep -q graph /sys/kernel/tracing/current_tracer; do :; done; sleep 1; kill -TERM $p; wait $p"
            ),
            0,
            "",
        ),
        (
            format!(
                "{graph} sleep 100 & p=$!; while ! grep -q graph /sys/kernel/tracing/current_tracer; do :; done; sleep 1; kill -TERM $p; wait $p"
            ),
            143,
            "",
        ),
    ];
    for (command, status, said) in cases {
        let ended = sh(guest, &command)?;
        assert_eq!(ended.code(), Some(status), "{command}: {ended}");
        assert!(ended.stderr_text().contains(said), "{command} should say {said}: {ended}");
        assert_as_before(guest, &before, &command)?;
    }
    Ok(())
}

fn what_others_had_set_for_functions_comes_back(guest: &mut Guest) -> Result<()> {
    let clean = first_snapshot(guest)?;
    guest.text(
        "cd /sys/kernel/tracing; echo vfs_read > set_ftrace_filter; echo 'vfs_rmdir:traceoff' >> set_ftrace_filter; echo 'ksys_*' > set_ftrace_notrace; \
         echo vfs_open > set_graph_function; echo 3 > max_graph_depth; echo 1 > set_ftrace_pid; echo mono > trace_clock; \
         echo function > current_tracer; echo 1 > events/irq/enable; echo 'prev_pid==1' > events/sched/sched_switch/filter",
    )?;
    let before = snapshot(guest)?;
    let record = "rtrec record -q -p function_graph -g do_sys_open -l 'vfs_r*' -n vfs_read --max-graph-depth 5 -C local -e sched -O nofuncgraph-irqs -F ls /";
    sh(guest, record)?.check()?;
    assert_as_before(guest, &before, record)?;
    guest.text(
        "cd /sys/kernel/tracing; echo nop > current_tracer; echo '!vfs_rmdir:traceoff' >> set_ftrace_filter; for f in set_ftrace_filter set_ftrace_notrace \
         set_graph_function set_ftrace_pid; do : > $f; done; echo 0 > max_graph_depth; echo 0 > events/enable; \
         echo 0 > events/sched/sched_switch/filter",
    )?;
    let clock = clean.lines().find_map(|line| line.strip_prefix("trace_clock: ")).unwrap_or("[local]");
    let clock = clock.split(['[', ']']).nth(1).unwrap_or("local");
    guest.text(&format!("echo {clock} > /sys/kernel/tracing/trace_clock"))?;
    assert_as_before(guest, &clean, "cleaning up")
}

fn functions_are_chosen_by_name_glob_and_expression(guest: &mut Guest) -> Result<()> {
    // The names after `function:`, each once.
    let names = "rtrec report -O fgraph:tailprint -O ftrace:parent=0 -O ftrace:indent=0 t.dat | sed -n 's/.*: function: *//p' | sort -u";
    let cases = [
        ("-l vfs_open -l vfs_read", "", &["vfs_open", "vfs_read"][..]),
        ("-l 'VFS_OPE?'", "", &["vfs_open"]),
        (r"-l '^vfs_\(open\|read\)$'", "", &["vfs_open", "vfs_read"]),
        ("-l 'vfs_r*' -n vfs_readv -n 'vfs_rename*'", "vfs_read", &[]),
    ];
    for (words, among, exactly) in cases {
        sh(guest, &format!("rtrec record -q -p function {words} -F -o t.dat sh -c 'read x < /proc/uptime'"))?
            .check()?;
        let found = text(guest, names)?;
        let found: Vec<&str> = found.split_whitespace().collect();
        assert!(exactly.is_empty() || found == exactly, "{words}: {found:?}");
        assert!(among.is_empty() || found.contains(&among), "{words}: {found:?}");
    }
    Ok(())
}

fn old_names_find_their_successors(guest: &mut Guest) -> Result<()> {
    for (old, new) in
        [("do_fork", "kernel_clone"), ("sys_openat", "__x64_sys_openat"), ("do_IRQ", "__common_interrupt")]
    {
        let recorded = sh(guest, &format!("rtrec record -p function_graph -l {old} sh -c 'ls / | cat'"))?;
        let said = recorded.stderr_text();
        assert!(recorded.success() && said.contains(old) && said.contains(new), "{old}: {recorded}");
        let refused = sh(guest, &format!("rtrec record --exact -p function_graph -l {old} true"))?;
        assert_eq!(refused.code(), Some(2), "{old}: {refused}");
    }
    Ok(())
}

fn trace_cmd_reads_what_was_recorded_and_prints_the_same(guest: &mut Guest) -> Result<()> {
    let cases = [
        "-p function_graph -g do_sys_open -F ls /",
        "-p function_graph -l 'vfs_*' -l 'do_sys*' --max-graph-depth 4 -e sched -e irq -e timer ls /",
        "-p function -l 'vfs_r*' -e syscalls -F -c sh -c 'ls / | cat; cat /proc/uptime'",
        "-e sched -e raw_syscalls -e kmem -T sh -c 'ls / | cat'",
        "-e sched:sched_switch -B other -e irq -e raw_syscalls -b 256 sh -c 'echo hello > /sys/kernel/tracing/trace_marker; ls /'",
        "-C mono -e all sh -c 'ls / | cat; cat /proc/uptime'",
        "--compression none -e sched ls /",
        "--compression zlib -e sched ls /",
    ];
    let mut differences = Vec::new();
    for words in cases {
        sh(guest, &format!("rtrec record -q -o t.dat {words}"))?.check()?;
        let fetched = Fetched::new(guest, &["t.dat"])?;
        if let Some(said) = fetched.fault("", "t.dat", true)? {
            differences.push(format!("{words}:\n{said}"));
        }
        assert!(fetched.by_trace_cmd("", "t.dat")?.lines().count() > 10, "{words}");
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

fn graphs_work_in_an_instance_too(guest: &mut Guest) -> Result<()> {
    let before = first_snapshot(guest)?;
    sh(guest, "rtrec record -q -B mine -p function_graph -l vfs_open -e sched:sched_switch -o t.dat ls /")?.check()?;
    assert_as_before(guest, &before, "a graph in an instance")?;
    let graph = text(guest, "rtrec report t.dat")?;
    assert!(graph.lines().any(|line| line.starts_with("mine:") && line.contains("vfs_open();")), "{graph}");
    Ok(())
}
