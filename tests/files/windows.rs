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

/// The stacks of a flame graph with the microseconds of each that are not those of what it called.
fn stacks_of(picture: &str) -> BTreeMap<String, i64> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(picture, options).unwrap();
    // Depth, place and width of each frame, and its name.
    let mut frames: Vec<(i64, i64, i64, String)> = Vec::new();
    for frame in document.descendants().filter(|node| node.has_tag_name("g") || node.has_tag_name("a")) {
        let child = |name: &str| frame.children().find(|child| child.has_tag_name(name));
        let (Some(title), Some(rect)) = (child("title"), child("rect")) else { continue };
        // Place and width in microseconds are in a name space of their own.
        let number = |key: &str| -> i64 {
            let is_own =
                |own: &roxmltree::Attribute<'_, '_>| own.name() == key && own.namespace().is_some() == (key != "y");
            rect.attributes().find(is_own).unwrap().value().parse().unwrap()
        };
        let name = title.text().unwrap().rsplit_once(" (").unwrap().0.to_owned();
        frames.push((-number("y"), number("x"), number("w"), name));
    }
    frames.sort();
    let mut stacks = BTreeMap::new();
    let mut above: Vec<(i64, i64, i64, String)> = Vec::new();
    for (depth, at, width, name) in frames {
        // The caller is the frame one level below that holds it.
        let caller = above.iter().rev().find(|own| own.0 < depth && own.1 <= at && at + width <= own.1 + own.2);
        let path = match caller {
            Some((.., caller)) if caller.is_empty() => name,
            Some((.., caller)) => {
                *stacks.entry(caller.clone()).or_insert(0) -= width;
                format!("{caller};{name}")
            }
            None => String::new(),
        };
        if !path.is_empty() {
            *stacks.entry(path.clone()).or_insert(0) += width;
        }
        above.push((depth, at, width, path));
    }
    stacks.retain(|_, us| *us != 0);
    stacks
}

#[test]
fn a_flame_graph_is_a_picture_of_the_folded_stacks() {
    let mut compared = 0;
    for (time, format) in [("wall", "v7-profile"), ("off-cpu", "v7-profile"), ("off-cpu", "v7-profile-pairs")] {
        let file = format!("{}/tests/fixtures/{format}/trace.dat", env!("CARGO_MANIFEST_DIR"));
        let words = ["-q", "--windows", "--window-syscall", "0:0", "--window-syscall", "0:230", "--min", "0", "--time"];
        let (good, folded, said) = report(&[&words[..], &[time, "--format", "folded", &file]].concat());
        assert!(good, "{said}");
        let (good, picture, said) = report(&[&words[..], &[time, "--format", "flamegraph", &file]].concat());
        assert!(good, "{said}");
        let drawn = stacks_of(&picture);
        for line in folded.lines() {
            let (stack, us) = line.rsplit_once(' ').unwrap();
            assert_eq!(drawn.get(stack), us.parse().ok().as_ref(), "{stack}");
            compared += 1;
        }
        assert_eq!(drawn.len(), folded.lines().count(), "{time}");
    }
    assert!(compared >= 5, "only {compared} stacks were compared");
}

#[test]
fn stacks_of_cpu_time_need_samples() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v7-profile/trace.dat");
    for format in ["folded", "flamegraph"] {
        let words = ["--windows", "--window-syscall", "0:0", "--time", "on-cpu", "--format", format, file];
        let (good, text, said) = report(&words);
        assert!(!good && text.is_empty() && said.contains("no samples") && said.contains("--sample"), "{said}");
    }
    let (good, _, said) = report(&["--format", "flamegraph", file]);
    assert!(!good && said.contains("--windows"), "{said}");
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
