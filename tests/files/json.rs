//! The schema of JSON lines: what `docs/json.md` promises, on every fixture.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name).join("trace.dat")
}

fn lines(arguments: &[&str], file: &Path) -> Vec<String> {
    let program = env!("CARGO_BIN_EXE_rtrec");
    let output = Command::new(program).args(["report", "--format", "json"]).args(arguments).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// What a value is, as far as the schema promises it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Number,
    Text,
    Array,
    Object,
    Null,
}

/// Reads one value, strictly; what it is and what follows. Keys of objects are handed to `key`.
fn value<'a>(text: &'a str, depth: usize, key: &mut dyn FnMut(usize, &str, Kind)) -> (Kind, &'a str) {
    match text.as_bytes()[0] {
        b'"' => (Kind::Text, string(text).1),
        b'n' => (Kind::Null, text.strip_prefix("null").unwrap()),
        b'[' => {
            let mut rest = &text[1..];
            while !rest.starts_with(']') {
                rest = value(rest, depth, key).1;
                rest = rest.strip_prefix(',').unwrap_or(rest);
            }
            (Kind::Array, &rest[1..])
        }
        b'{' => {
            let mut rest = &text[1..];
            while !rest.starts_with('}') {
                let (name, after) = string(rest);
                let (kind, after) = value(after.strip_prefix(':').unwrap(), depth + 1, key);
                key(depth, name, kind);
                rest = after.strip_prefix(',').unwrap_or(after);
            }
            (Kind::Object, &rest[1..])
        }
        _ => {
            let end = text.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap();
            assert!(text[..end].parse::<i128>().is_ok(), "{text}");
            (Kind::Number, &text[end..])
        }
    }
}

fn string(text: &str) -> (&str, &str) {
    let inside = text.strip_prefix('"').unwrap_or_else(|| panic!("no string: {text}"));
    let mut escaped = false;
    let end = inside.find(|c: char| {
        assert!(c as u32 >= 0x20 && c != '\x7f', "a control character: {text:?}");
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    let end = end.unwrap();
    (&inside[..end], &inside[end + 1..])
}

/// Keys of the line itself, in order.
fn keys(line: &str) -> Vec<(String, Kind)> {
    let mut found = Vec::new();
    let (kind, rest) = value(line, 0, &mut |depth, name, kind| {
        if depth == 0 {
            found.push((name.to_owned(), kind));
        }
    });
    assert_eq!((kind, rest), (Kind::Object, ""), "{line}");
    found
}

const FILES: [&str; 5] =
    ["v6-instances", "v7-fgraph-probes", "v7-lost-allformats", "v7-none-multibuf-tsc", "v7-profile"];

#[test]
fn each_line_has_the_promised_fields_in_the_promised_order() {
    let number = |name: &str| (name.to_owned(), Kind::Number);
    let text = |name: &str| (name.to_owned(), Kind::Text);
    let promised = [
        number("ts"),
        number("cpu"),
        number("pid"),
        text("comm"),
        text("system"),
        text("event"),
        text("flags"),
        ("fields".to_owned(), Kind::Object),
    ];
    let mut losses = BTreeSet::new();
    for name in FILES {
        for line in lines(&[], &fixture(name)) {
            match keys(&line).as_slice() {
                [lost, cpu] if lost.0 == "lost" => {
                    assert_eq!(*cpu, number("cpu"));
                    losses.insert(lost.1);
                }
                found => assert_eq!(found, promised, "{line}"),
            }
        }
    }
    assert_eq!(losses.into_iter().collect::<Vec<_>>(), [Kind::Number, Kind::Null]);
}

#[test]
fn every_field_can_be_asked_for_and_is_in_the_document() {
    const ALL: [&str; 12] =
        ["schema", "ts", "time", "cpu", "pid", "comm", "system", "event", "flags", "text", "buffer", "file"];
    let document = include_str!("../../docs/json.md");
    for name in ALL {
        assert!(document.contains(&format!("`{name}`")), "{name}");
    }
    assert!(document.starts_with("# JSON lines and CSV of `rtrec report`, schema 1\n"));
    let asked = ALL.join(",") + ",next_pid,no_such_field";
    let lines = lines(&["--fields", &asked], &fixture("v6-instances"));
    let line = lines.iter().find(|line| line.contains(r#""event":"sched_switch""#)).unwrap();
    let found: Vec<String> = keys(line).into_iter().map(|key| key.0).collect();
    assert_eq!(found.join(","), asked);
    assert!(line.starts_with(r#"{"schema":1,"ts":"#) && line.ends_with(r#","no_such_field":null}"#), "{line}");
    assert!(line.contains(r#""file":"trace.dat","next_pid":"#), "{line}");
}
