//! `rtrec report --latency` against durations taken from the text that trace-cmd printed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v7-zstd-events").join(name)
}

fn latency(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rtrec"));
    command.arg("report").args(arguments).arg(fixture("trace.dat")).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Durations in microseconds by call, from lines such as `ls-12 [000] 1.000002: sys_enter_brk: …`.
fn durations_of_text() -> BTreeMap<String, Vec<u64>> {
    let report = fs::read_to_string(fixture("trace.report")).unwrap();
    let mut open: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut durations: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in report.lines() {
        let Some((task, rest)) = line.split_once(" [") else { continue };
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        let Some(at) = words.iter().position(|word| word.starts_with("sys_e")) else { continue };
        let time: String = words[at - 1].chars().filter(char::is_ascii_digit).collect();
        let time: u64 = time.parse().unwrap();
        let event = words[at].trim_end_matches(':');
        let task = task.rsplit('-').next().unwrap().trim().to_owned();
        if let Some(call) = event.strip_prefix("sys_enter_") {
            open.insert((task, call.to_owned()), time);
        } else if let Some(call) = event.strip_prefix("sys_exit_")
            && let Some(start) = open.remove(&(task, call.to_owned()))
        {
            durations.entry(call.to_owned()).or_default().push(time - start);
        }
    }
    durations
}

#[test]
fn every_pair_has_the_durations_of_the_text() {
    let wanted = durations_of_text();
    assert!(wanted.len() > 10, "{wanted:?}");
    let lines = text(&latency(&["--latency", "--format", "json"]));
    let mut seen = 0;
    for line in lines.lines() {
        let figures: serde_json::Value = serde_json::from_str(line).unwrap();
        let call = figures["entry"].as_str().unwrap().strip_prefix("syscalls:sys_enter_").unwrap();
        assert_eq!(figures["return"], format!("syscalls:sys_exit_{call}"));
        let Some(durations) = wanted.get(call) else {
            assert_eq!(figures["calls"], 0, "{line}");
            continue;
        };
        assert_eq!(figures["calls"], durations.len() as u64, "{line}");
        // The text has microseconds only, and each of its two times is rounded.
        for (name, value) in [("min", durations.iter().min()), ("max", durations.iter().max())] {
            let ns = figures[name].as_u64().unwrap();
            assert!(ns.abs_diff(value.unwrap() * 1000) <= 1000, "{name} of {line}: {value:?}");
        }
        seen += 1;
    }
    assert_eq!(seen, wanted.len());
}

#[test]
fn slow_calls_are_told_one_by_one() {
    let durations = durations_of_text();
    let longest = durations.values().flatten().max().copied().unwrap();
    let told = text(&latency(&["--latency", "--threshold", &format!("{}us", longest - 1)]));
    let slow: Vec<&str> = told.lines().take_while(|line| !line.trim_start().starts_with("calls")).collect();
    assert_eq!(slow.len(), 1, "{told}");
    assert!(slow[0].contains(": syscalls:sys_enter_") && told.contains("slow"), "{told}");
}

#[test]
fn two_events_are_named_or_refused() {
    let named = text(&latency(&["--pair", "softirq_entry..irq:softirq_exit"]));
    let row = named.lines().nth(1).unwrap();
    assert!(row.trim_start().starts_with("154 ") && row.ends_with("softirq_entry..irq:softirq_exit"), "{named}");
    assert!(named.contains("@") && named.contains(" count\n"), "{named}");
    let refused = latency(&["--pair", "softirq_entry..nothing"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("no pair of events softirq_entry and nothing"), "{said}");
}
