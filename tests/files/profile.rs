//! `rtrec report --profile` against the text that trace-cmd printed.
//!
//! Every folder of `tests/fixtures` with files named `trace.profile*` is a case. trace-cmd leaves two things to chance: the
//! order of events with the same name and time, and that of groups. Both sides are put in one order before they are
//! compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn rtrec(arguments: &[&str], file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rtrec")).args(["report", "--profile"]).args(arguments).arg(file).output().unwrap()
}

fn text(arguments: &[&str], file: &Path) -> String {
    let output = rtrec(arguments, file);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Options by the end of the expected file's name.
const VIEWS: [(&str, &[&str]); 5] = [
    ("", &[]),
    ("-G", &["-G"]),
    ("-by-comm", &["--by-comm"]),
    ("-G-by-comm", &["-G", "--by-comm"]),
    ("-H", &["-H", "irq_handler_entry,irq/irq_handler_exit,irq,gp"]),
];

/// Name and time of the event that a block begins with; `None` where the order is certain.
fn chance(block: &str) -> Option<(&str, &str)> {
    let line = block.strip_prefix("  Event: ")?.lines().next()?;
    let name = line.split(':').next().filter(|name| *name != "sched_switch")?;
    let total = line.split("Total: ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or("");
    Some((name, total))
}

/// A text with everything that is left to chance in one order.
fn ordered(text: &str) -> String {
    let mut blocks: Vec<String> = Vec::new();
    for line in text.lines() {
        let starts = !line.starts_with(' ') || line.starts_with("  Event:");
        match blocks.last_mut().filter(|_| !starts) {
            Some(block) => block.push_str(&format!("{line}\n")),
            None => blocks.push(format!("{line}\n")),
        }
    }
    let runs: Vec<String> = blocks
        .chunk_by(|a, b| chance(a).is_some() && chance(a) == chance(b))
        .flat_map(|run| {
            let mut run = run.to_vec();
            if run.len() > 1 {
                run.sort();
            }
            run
        })
        .collect();
    let joined = runs.concat();
    let mut sections: Vec<&str> = joined.split("\n\n").map(|section| section.trim_end_matches('\n')).collect();
    let first = sections.iter().position(|section| section.starts_with("group: "));
    let count = sections.iter().filter(|section| section.starts_with("group: ")).count();
    if let Some(first) = first {
        sections[first..first + count].sort_unstable();
    }
    sections.join("\n\n")
}

#[test]
fn profiles_are_trace_cmds() {
    let mut compared = 0;
    for name in ["v7-profile", "v7-profile-pairs"] {
        let case = fixture(name);
        for (view, arguments) in VIEWS {
            let Ok(theirs) = fs::read_to_string(case.join(format!("trace.profile{view}"))) else { continue };
            let ours = text(&[&["--compat", "3.4"], arguments].concat(), &case.join("trace.dat"));
            let (ours, theirs) = (ordered(&ours), ordered(&theirs));
            let differs = ours.lines().zip(theirs.lines()).find(|(a, b)| a != b);
            assert!(ours == theirs, "{name} {view}: {differs:#?}\n{ours}");
            compared += 1;
        }
    }
    assert_eq!(compared, 7);
}

#[test]
fn the_default_differs_by_the_lines_about_hooks_only() {
    let file = fixture("v7-profile-pairs").join("trace.dat");
    let compat = text(&["--compat", "3.4"], &file);
    let (hooks, rest) = compat.split_once('\n').unwrap();
    assert_eq!(hooks, "start (null):block_rq_issue:sector ((null)) end (null):block_rq_complete:sector (g)");
    assert_eq!(text(&[], &file), rest);
    for threads in ["1", "2", "5"] {
        assert_eq!(text(&["--threads", threads], &file), rest);
    }
}

#[test]
fn a_selection_applies_before_anything_is_counted() {
    let file = fixture("v7-profile-pairs").join("trace.dat");
    let only = text(&["--only-event", "irq_handler_*"], &file);
    assert!(only.contains("Event: irq_handler_entry:0x0 (2)") && !only.contains("sched_switch"), "{only}");
    assert_eq!(text(&["--pid", "12345"], &file), "cpus=2\n");
}

#[test]
fn several_files_are_profiled_one_by_one() {
    let file = fixture("v7-profile-pairs").join("trace.dat");
    let one = text(&[], &file);
    let both = text(&["-i", file.to_str().unwrap(), "-i"], &file);
    let body = one.strip_prefix("cpus=2\n").unwrap();
    let heading = "trace.dat: cpus=2\n".repeat(2);
    assert_eq!(both, format!("{heading}\ntrace.dat:\n{body}\ntrace.dat:\n{body}"));
}

#[test]
fn hooks_that_make_no_sense_are_refused() {
    let file = fixture("v7-profile-pairs").join("trace.dat");
    for (hook, words) in [
        ("a,b", "does not name two events"),
        ("nosuch,x/irq_handler_exit,irq", "no file has the events of the hook: nosuch and irq_handler_exit"),
        ("irq_handler_entry,nosuch/irq_handler_exit,irq", "irq_handler_entry has no field nosuch that is a number"),
        ("irq_handler_entry,name/irq_handler_exit,irq", "no field name that is a number"),
    ] {
        let output = rtrec(&["-H", hook], &file);
        assert_eq!(output.status.code(), Some(2), "{hook}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(words), "{hook}: {output:?}");
    }
}
