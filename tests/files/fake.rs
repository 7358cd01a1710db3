//! Recordings on a folder that looks like tracefs of a machine with 128 CPUs: masks, reading, what fails half way.
//!
//! Plain files keep what lies behind a shorter value, so a setting is its file's first word.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use byteorder::{ByteOrder, NativeEndian};

const CPUS: usize = 128;
const HEADER_PAGE: &str = "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n\
    \tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n\
    \tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n\
    \tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;\n";
const FILES: [(&str, &str); 18] = [
    ("tracing_on", "1\n"),
    ("current_tracer", "nop\n"),
    ("available_tracers", "function nop\n"),
    ("trace_clock", "[local] global mono\n"),
    ("trace", ""),
    ("buffer_size_kb", "1408\n"),
    ("buffer_percent", "0\n"),
    ("set_event", ""),
    ("set_event_pid", ""),
    ("set_event_notrace_pid", ""),
    ("saved_cmdlines", "1 init\n"),
    ("printk_formats", ""),
    ("trace_options", "overwrite\nevent-fork\n"),
    ("options/overwrite", "1\n"),
    ("events/header_page", HEADER_PAGE),
    ("events/header_event", "# compressed entry header\n"),
    ("events/enable", "0\n"),
    ("events/ftrace/function/format", "name: function\nID: 1\n"),
];
const FORMAT: &str = "name: sched_switch\nID: 300\nformat:\n\
    \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
    \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\nprint fmt: \"%d\", REC->common_pid\n";

/// A sub-buffer of one record, at a time of its own.
fn subbuf(cpu: u64) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    NativeEndian::write_u64(&mut bytes, 1_000_000_000 + cpu * 1000);
    NativeEndian::write_u64(&mut bytes[8..], 12);
    NativeEndian::write_u32(&mut bytes[16..], 2);
    NativeEndian::write_u16(&mut bytes[20..], 300);
    NativeEndian::write_u32(&mut bytes[24..], cpu as u32 + 1);
    bytes
}

fn fake() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("tracefs");
    let put = |name: &str, bytes: &[u8]| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    FILES.iter().for_each(|(name, text)| put(name, text.as_bytes()));
    put("tracing_cpumask", [["ffffffff"; CPUS / 32].join(","), "\n".into()].concat().as_bytes());
    for (file, text) in [("enable", "0\n"), ("filter", "none\n"), ("trigger", ""), ("format", FORMAT), ("id", "300\n")]
    {
        put(&format!("events/sched/sched_switch/{file}"), text.as_bytes());
    }
    put("events/sched/enable", b"0\n");
    for cpu in 0..CPUS {
        put(&format!("per_cpu/cpu{cpu}/trace_pipe_raw"), &subbuf(cpu as u64));
        put(&format!("per_cpu/cpu{cpu}/stats"), b"entries: 0\noverrun: 0\nread events: 1\n");
        put(&format!("per_cpu/cpu{cpu}/buffer_size_kb"), b"1408\n");
    }
    (folder, root)
}

fn record(folder: &Path, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rtrec"));
    command.current_dir(folder).args(["record", "--tracefs", "tracefs", "-o", "a.dat"]);
    command.args(words.split_whitespace()).output().unwrap()
}

/// The first word of every setting.
fn settings(root: &Path) -> BTreeMap<String, String> {
    let names = FILES.iter().map(|(name, _)| *name).filter(|name| !["trace", "set_event"].contains(name));
    let names = names.chain(["tracing_cpumask"]);
    let word = |name: &str| {
        let text = fs::read_to_string(root.join(name)).unwrap_or_default();
        text.split_whitespace().next().unwrap_or_default().trim_matches(['[', ']']).to_owned()
    };
    names.map(|name| (name.to_owned(), word(name))).collect()
}

const WORDS: &str = "--reader read -b 2816 -C mono -O nooverwrite -e sched:sched_switch";

#[test]
fn every_one_of_128_processors_is_read_once_and_in_order() {
    let (folder, root) = fake();
    let before = settings(&root);
    let output = record(folder.path(), &format!("{WORDS} true"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(settings(&root), before);
    let dat = rtrec::dat::Dat::open(&folder.path().join("a.dat")).unwrap();
    let cpus: Vec<u32> = dat.buffers[0].cpus.iter().map(|cpu| cpu.cpu).collect();
    assert_eq!(cpus, (0..CPUS as u32).collect::<Vec<_>>());
    let mut report = Command::new(env!("CARGO_BIN_EXE_rtrec"));
    let output = report.current_dir(folder.path()).args(["report", "a.dat"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let seen: Vec<usize> = text.lines().filter_map(|line| line.split_once('[')?.1.get(..3)?.parse().ok()).collect();
    assert_eq!(seen, (0..CPUS).collect::<Vec<_>>());
}

#[test]
fn a_mask_with_commas_chooses_processors() {
    let (folder, root) = fake();
    fs::write(root.join("tracing_cpumask"), "80000001,00000000,00000010,00000002\n").unwrap();
    let output = record(folder.path(), &format!("{WORDS} true"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let dat = rtrec::dat::Dat::open(&folder.path().join("a.dat")).unwrap();
    let cpus: Vec<u32> = dat.buffers[0].cpus.iter().map(|cpu| cpu.cpu).collect();
    assert_eq!(cpus, [1, 36, 96, 127]);
}

#[test]
fn whichever_step_fails_the_others_are_put_back_and_no_file_is_left() {
    let steps = ["tracing_on", "trace", "trace_clock", "buffer_size_kb", "buffer_percent", "options/overwrite"];
    let steps =
        steps.iter().chain(["set_event", "per_cpu/cpu127/trace_pipe_raw", "per_cpu/cpu0/trace_pipe_raw"].iter());
    for step in steps {
        let (folder, root) = fake();
        let before = settings(&root);
        // What is read of it stays; it cannot be written.
        let held = Held::hold(&root.join(step));
        if held.is_none() && !step.starts_with("per_cpu") {
            eprintln!("NOT RUN: {step}: this file system cannot hold a file fast");
            continue;
        }
        if step.starts_with("per_cpu") {
            drop(held);
            fs::remove_file(root.join(step)).unwrap();
        }
        let output = record(folder.path(), &format!("{WORDS} true"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{step}: {said}");
        assert!(said.contains(step.rsplit('/').next().unwrap()), "{step}: {said}");
        assert_eq!(settings(&root), before, "{step}");
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["tracefs"], "{step}: {said}");
    }
}

/// A file that nobody can write as long as this lives.
struct Held(PathBuf);

impl Held {
    fn hold(path: &Path) -> Option<Held> {
        let held = Command::new("chattr").arg("+i").arg(path).output().is_ok_and(|output| output.status.success());
        held.then(|| Held(path.to_owned()))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = Command::new("chattr").arg("-i").arg(&self.0).output();
    }
}
