//! Windows cut out of traces that other recorders made, against pairs found in the records one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

const FILES: [&str; 3] = ["v7-profile", "v7-none-multibuf-tsc", "v6-instances"];

fn report(words: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_rtrec")).arg("report").args(words).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code() != Some(2), text(&output.stdout), text(&output.stderr))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Start and duration of each call of a thread, by thread and number of the call.
fn calls(records: &[Value]) -> BTreeMap<(i64, i64), Vec<(u64, u64)>> {
    let (mut open, mut all) = (BTreeMap::new(), BTreeMap::new());
    for record in records.iter().filter(|record| record["system"] == "raw_syscalls") {
        let key = (record["pid"].as_i64().unwrap(), record["fields"]["id"].as_i64().unwrap());
        let time = record["ts"].as_u64().unwrap();
        match record["event"].as_str().unwrap() {
            "sys_enter" => drop(open.insert(key, time)),
            _ => {
                if let Some(start) = open.remove(&key) {
                    all.entry(key).or_insert_with(Vec::new).push((start, time - start));
                }
            }
        }
    }
    all
}

#[test]
fn windows_around_system_calls_are_the_pairs_of_their_events() {
    let mut compared = 0;
    for name in FILES {
        let file = format!("{}/tests/fixtures/{name}/trace.dat", env!("CARGO_MANIFEST_DIR"));
        let (good, text, _) = report(&["-q", "--format", "json", "--only-event", "raw_syscalls:*", &file]);
        assert!(good);
        let records = lines(&text);
        // Where a buffer's events were lost, what is open is another matter.
        if records.is_empty() || records.iter().any(|record| record.get("lost").is_some()) {
            continue;
        }
        let calls = calls(&records);
        let numbers: BTreeSet<i64> = calls.keys().map(|key| key.1).collect();
        for number in numbers {
            let window = format!("0:{number}");
            let words = ["-q", "--windows", "--window-syscall", &window, "--min", "0", "--format", "json", &file];
            let (good, text, said) = report(&words);
            if !good {
                assert!(said.contains("does not tell nanoseconds"), "{said}");
                continue;
            }
            let mut found: BTreeMap<(i64, i64), Vec<(u64, u64)>> = BTreeMap::new();
            for window in lines(&text).iter().filter(|window| window["open"] == false) {
                let time = |key: &str| window[key].as_u64().unwrap();
                found
                    .entry((window["tid"].as_i64().unwrap(), number))
                    .or_default()
                    .push((time("start"), time("duration")));
                let split = &window["split"];
                let sum: u64 =
                    ["on_cpu", "blocked", "runnable"].iter().map(|part| split[*part].as_u64().unwrap()).sum();
                assert_eq!(sum, time("duration"), "{name}: {window}");
                let steps = window["steps"].as_array().unwrap();
                assert_eq!((&steps[0]["step"], &steps[steps.len() - 1]["step"]), (&"start".into(), &"stop".into()));
            }
            let wanted: BTreeMap<_, _> =
                calls.iter().filter(|(key, _)| key.1 == number).map(|(k, v)| (*k, v.clone())).collect();
            assert_eq!(found, wanted, "{name}: call {number}");
            compared += wanted.values().map(Vec::len).sum::<usize>();
        }
    }
    assert!(compared > 100, "only {compared} windows were compared");
}

#[test]
fn windows_of_a_thread_are_picked_without_losing_its_wakers() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v7-profile/trace.dat");
    let words = ["-q", "--windows", "--window-syscall", "0:0", "--min", "0", "--format", "json", file];
    let all = lines(&report(&words).1);
    let tid = all[0]["tid"].as_i64().unwrap();
    let own: Vec<&Value> = all.iter().filter(|window| window["tid"] == tid).collect();
    let picked = lines(&report(&[&["--pid", &tid.to_string()], &words[..]].concat()).1);
    assert!(!picked.is_empty() && picked.len() == own.len());
    for (picked, own) in picked.iter().zip(own) {
        assert_eq!(
            (&picked["start"], &picked["split"], &picked["steps"]),
            (&own["start"], &own["split"], &own["steps"])
        );
    }
    let (good, _, said) = report(&["--windows", "--window-syscall", "0:0", "--comm", "x", file]);
    assert!(!good && said.contains("--pid"), "{said}");
}

#[test]
fn a_trace_without_windows_says_how_to_name_them() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v7-profile/trace.dat");
    let (good, text, said) = report(&["--windows", file]);
    assert!(!good && text.is_empty());
    assert!(said.contains("was recorded without windows") && said.contains("--window-syscall"), "{said}");
    let (good, _, said) = report(&["--window", "no:such..event:x", file]);
    assert!(!good && said.contains("neither an event nor a probe"), "{said}");
    let (good, _, said) = report(&["--format", "folded", file]);
    assert!(!good && said.contains("--windows"), "{said}");
}
