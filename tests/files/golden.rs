//! rtrec against the text that trace-cmd printed for the fixtures, and against files that are not what they should be.
//!
//! Every folder of `tests/fixtures` with a `trace.dat` is a case; files beside it named `trace.VIEW` hold what the view
//! has to give. A case needs no code.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rtrec::plugins::REGISTRY;
use rtrec::report::analysis::graph_stats::GraphStats;
use rtrec::report::analysis::profile::{ProfileSettings, Profiler};
use rtrec::report::analysis::summary::Summary;
use rtrec::report::{
    self, Analysis, ExportSettings, Input, OwnedView, ReadSettings, Reading, Selection, Show, TextSettings, export,
};

fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut cases: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("trace.dat").exists())
        .collect();
    cases.sort();
    assert!(cases.len() >= 6, "fixtures are missing");
    cases
}

fn rtrec(arguments: &[&str], file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rtrec")).arg("report").args(arguments).arg(file).output().unwrap()
}

fn text(arguments: &[&str], file: &Path) -> String {
    let output = rtrec(arguments, file);
    assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The views of a fixture: extension and arguments.
const VIEWS: [(&str, &[&str]); 4] =
    [("report", &[]), ("report-t", &["-t"]), ("report-N-t", &["-N", "-t"]), ("report-w", &["-w"])];

/// The first lines that differ, for a message that can be read.
fn first_differences(ours: &str, theirs: &str) -> String {
    let mut shown = String::new();
    let pairs = ours.lines().zip(theirs.lines()).enumerate().filter(|(_, (a, b))| a != b);
    for (number, (a, b)) in pairs.take(5) {
        shown.push_str(&format!("line {}\n  ours   {a}\n  theirs {b}\n", number + 1));
    }
    shown.push_str(&format!("{} lines against {}\n", ours.lines().count(), theirs.lines().count()));
    shown
}

/// Everything up to and including the event's name: buffer, task, CPU, flags, time, event.
fn columns(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| {
            if line.contains("CPU:") && line.ends_with(']') {
                return Some(line);
            }
            let cpu = line.find(" [")?;
            let time = cpu + line[cpu..].find(": ")?;
            let event = time + 2 + line[time + 2..].find(':')?;
            line.get(..event)
        })
        .collect()
}

#[test]
fn columns_of_every_line_are_trace_cmds() {
    for case in fixtures() {
        for (view, arguments) in VIEWS {
            let Ok(theirs) = fs::read_to_string(case.join(format!("trace.{view}"))) else { continue };
            let ours = text(&[&["--compat", "3.4"], arguments].concat(), &case.join("trace.dat"));
            let (ours, theirs) = (columns(&ours).join("\n"), columns(&theirs).join("\n"));
            assert!(ours == theirs, "{} {view}\n{}", case.display(), first_differences(&ours, &theirs));
        }
    }
}

#[test]
fn text_in_the_manner_of_trace_cmd_is_trace_cmds() {
    let mut wrong = String::new();
    for case in fixtures() {
        for (view, arguments) in VIEWS {
            let Ok(theirs) = fs::read_to_string(case.join(format!("trace.{view}"))) else { continue };
            let ours = text(&[&["--compat", "3.4"], arguments].concat(), &case.join("trace.dat"));
            if ours != theirs {
                wrong.push_str(&format!("{} {view}\n{}", case.display(), first_differences(&ours, &theirs)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// What rtrec prints without `--compat`: no oracle, but every change of it is seen. `RTREC_BLESS=1` rewrites the files.
#[test]
fn text_without_compat_is_as_it_was() {
    let mut wrong = String::new();
    for case in fixtures() {
        let ours = text(&[], &case.join("trace.dat"));
        let path = case.join("trace.default.zst");
        if std::env::var_os("RTREC_BLESS").is_some() {
            fs::write(&path, zstd::encode_all(ours.as_bytes(), 19).unwrap()).unwrap();
        }
        let file = fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let pinned = String::from_utf8(zstd::decode_all(file).unwrap()).unwrap();
        if ours != pinned {
            wrong.push_str(&format!("{}\n{}", case.display(), first_differences(&ours, &pinned)));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn threads_do_not_change_a_byte() {
    for case in fixtures() {
        let file = case.join("trace.dat");
        let views = [
            &["-t"][..],
            &["--format", "json"],
            &["--format", "csv"],
            &["-R", "--ts-diff"],
            &["--tail", "100"],
            &["-w"],
            &["-w", "--tail", "100"],
        ];
        for arguments in views {
            let one = text(&[arguments, &["--threads", "1"]].concat(), &file);
            for threads in ["2", "5"] {
                let many = text(&[arguments, &["--threads", threads]].concat(), &file);
                assert!(one == many, "{} {arguments:?} with {threads} threads", case.display());
            }
        }
    }
}

#[test]
fn wake_up_latencies_change_nothing_else_and_need_one_file_of_text() {
    for case in fixtures() {
        let file = case.join("trace.dat");
        let (plain, with) = (text(&[], &file), text(&["-w"], &file));
        let waits = |line: &str| line.find(" Latency: ").filter(|_| line.contains(" sched_switch: "));
        let stripped: Vec<&str> = with.lines().map(|line| waits(line).map_or(line, |at| &line[..at])).collect();
        let count = plain.lines().count();
        assert_eq!(stripped[..count], plain.lines().collect::<Vec<_>>(), "{}", case.display());
        // The summary stands there if and only if somebody waited.
        let summary = stripped.get(count + 1).is_some_and(|line| line.starts_with("Average wakeup latency: "));
        assert_eq!(summary, with.lines().any(|line| waits(line).is_some()), "{}", case.display());
        let wakes = ["v7-wakeup", "v7-profile", "v7-profile-pairs"].iter().any(|name| case.ends_with(name));
        assert_eq!(summary, wakes, "{}", case.display());
    }
    let file = fixtures().into_iter().find(|case| case.ends_with("v7-wakeup")).unwrap().join("trace.dat");
    let same = file.to_str().unwrap();
    for (arguments, words) in [(vec!["-w", same], "single file"), (vec!["-w", "--format", "json"], "other formats")] {
        let output = rtrec(&arguments, &file);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(words), "{arguments:?}");
    }
}

#[test]
fn json_lines_are_json_and_as_many_as_records() {
    for case in fixtures() {
        let json = text(&["--format", "json"], &case.join("trace.dat"));
        let csv = text(&["--format", "csv", "--fields", "ts,cpu,pid,event"], &case.join("trace.dat"));
        let records = json.lines().filter(|line| !line.starts_with("{\"lost\"")).count();
        assert_eq!(records, csv.lines().count() - 1, "{}", case.display());
        assert!(json.lines().all(|line| line.starts_with('{') && line.ends_with('}')));
    }
}

#[test]
fn a_fixture_grown_for_the_benches_has_its_records_as_often() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grown.dat");
    xtask::bench::grow(&path, 3).unwrap();
    // The top buffer of v6-instances has 652 and 263 records.
    let lines = text(&["--ts-check", "--format", "csv", "--fields", "ts"], &path);
    assert_eq!(lines.lines().count() - 1, 3 * (652 + 263));
}

// ---------------------------------------------------------------------------------------------- bad inputs

#[test]
fn what_is_no_trace_is_refused_in_words_and_with_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(folder.path().join("socket")).unwrap();
    let make = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let cases = [
        (make("empty", b""), "empty"),
        (folder.path().to_path_buf(), "a directory"),
        (fifo, "a FIFO"),
        (make("text", b"not a trace\n"), "looks like text"),
        (make("perf", b"PERFILE2h\0\0\0\0\0\0\0"), "perf.data"),
        (make("zeros", &[0; 5000]), "zeros"),
        (make("version", b"\x17\x08\x44tracing9\0\0\x08"), "version 9"),
        (make("short", b"\x17\x08\x44tracing7\0\0\x08\0\x10\0\0zstd\0"), "header is damaged"),
        (make("algorithm", b"\x17\x08\x44tracing7\0\0\x08\0\x10\0\0lz4\0\0\0\0\0\0\0\0\0\0"), "lz4"),
        (folder.path().join("missing"), "No such file"),
    ];
    for (path, words) in cases {
        let started = Instant::now();
        let output = rtrec(&[], &path);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{}: {said}", path.display());
        assert!(said.contains(words), "{}: {said}", path.display());
        assert!(output.stdout.is_empty() && started.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn a_closed_pipe_ends_quietly_and_a_full_disk_does_not() {
    let file = fixtures().into_iter().find(|case| case.ends_with("v7-zstd-events")).unwrap().join("trace.dat");
    let mut child = Command::new(env!("CARGO_BIN_EXE_rtrec"))
        .args(["report", "-i"])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));

    for view in [&[][..], &["--format", "json"], &["--summary"], &["--profile"], &["-E"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_rtrec"))
            .args(["report", "-i"])
            .arg(&file)
            .args(view)
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{view:?}: {said}");
        assert!(said.contains("could not be written") && said.contains("No space left"), "{view:?}: {said}");
    }
}

#[test]
fn filters_that_make_no_sense_are_refused_with_their_place() {
    let file = fixtures().into_iter().find(|case| case.ends_with("v7-zstd-events")).unwrap().join("trace.dat");
    let refused = |filter: &str| {
        let output = rtrec(&["-F", filter], &file);
        assert_eq!(output.status.code(), Some(2), "{filter}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused("sched_switch: prev_pid = 1").contains("^ expected == or =~"));
    assert!(refused("nosuch").contains("names no event"));
    assert!(refused("sched_switch: (").contains("^ expected"));
}

// ----------------------------------------------------------------------------------------- cut and flipped files

/// A small generator with a known start: the same cases every time.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

/// Reports bytes through the library, with the text of every record; the number of records, or `None` if refused.
fn records(bytes: Vec<u8>) -> Option<u64> {
    reported(bytes, "text")
}

fn view(name: &str) -> OwnedView {
    let asked = |analysis: Box<dyn Analysis>| OwnedView::Analysis(analysis, Show::Text { cpus: true, versions: false });
    match name {
        "text" => OwnedView::Text(TextSettings::default()),
        "summary" => asked(Box::<Summary>::default()),
        "graph stats" => asked(Box::<GraphStats>::default()),
        "profile" => asked(Box::new(Profiler::new(ProfileSettings::default(), Default::default()))),
        format => OwnedView::Export(export::named(format).unwrap(), ExportSettings::default()),
    }
}

fn reported(bytes: Vec<u8>, name: &str) -> Option<u64> {
    let dat = rtrec::dat::Dat::from_bytes(bytes).ok()?;
    let inputs = vec![Input::new(dat, "memory".into(), "memory".into())];
    let mut settings = ReadSettings::default();
    settings.threads = 1;
    let mut reading = Reading::new(inputs, REGISTRY, settings, &Selection::default()).ok()?;
    let started = Instant::now();
    let outcome = report::print(&mut reading, view(name).view(), &mut std::io::sink()).unwrap();
    assert!(started.elapsed() < Duration::from_secs(20), "{name} took {:?}", started.elapsed());
    Some(outcome.records)
}

/// What else a damaged file may be asked for.
const OTHER_VIEWS: [&str; 5] = ["json", "csv", "summary", "graph stats", "profile"];

fn small(name: &str) -> Vec<u8> {
    fs::read(fixtures().into_iter().find(|case| case.ends_with(name)).unwrap().join("trace.dat")).unwrap()
}

#[test]
fn files_cut_anywhere_give_what_is_left() {
    let mut dice = Dice(0x5eed);
    for (name, whole_count, cuts) in [
        ("v7-fgraph-probes", 0, 125),
        ("v6-instances", 1409, 500),
        ("v7-zstd-events", 1516, 250),
        ("v7-none-multibuf-tsc", 179, 125),
        ("v7-profile", 0, 125),
    ] {
        let whole = small(name);
        let most = records(whole.clone()).unwrap();
        assert!(whole_count == 0 || most == whole_count, "{name}: {most}");
        let (mut recovered, mut opened) = (0, 0);
        for number in 0..cuts {
            let cut = dice.next(whole.len());
            if number % 5 == 0 {
                let format = OTHER_VIEWS[number / 5 % OTHER_VIEWS.len()];
                // Only text folds the exits of leaves into their entries.
                assert!(reported(whole[..cut].to_vec(), format).is_none_or(|count| count <= 2 * most), "{name} {cut}");
            }
            if let Some(count) = records(whole[..cut].to_vec()) {
                assert!(count <= most, "{name} cut at {cut}: {count} records out of {most}");
                opened += 1;
                recovered += count;
            }
        }
        // The probes' file has a single chunk: nearly every cut loses it.
        assert!(
            opened > 0 && (recovered > 0 || name == "v7-fgraph-probes"),
            "{name}: {opened} opened, {recovered} records"
        );
        let expected = most * opened;
        println!("{name}: {opened} of {cuts} cuts opened, {recovered} of {expected} records recovered, no panic");
        // Without its last byte, a file has lost a byte.
        let nearly = records(whole[..whole.len() - 1].to_vec()).unwrap();
        assert!(nearly * 10 >= most * 9, "{name} without its last byte: {nearly} of {most}");
    }
}

#[test]
fn files_with_a_flipped_bit_neither_crash_nor_hang() {
    let mut dice = Dice(0xf11b);
    let whole = small("v7-fgraph-probes");
    let most = records(whole.clone()).unwrap();
    let (mut refused, mut all, mut some) = (0, 0, 0);
    let started = Instant::now();
    for number in 0..5000 {
        let mut bytes = whole.clone();
        let at = dice.next(bytes.len());
        bytes[at] ^= 1 << dice.next(8);
        if number % 10 == 0 {
            reported(bytes.clone(), OTHER_VIEWS[number / 10 % OTHER_VIEWS.len()]);
        }
        match records(bytes) {
            None => refused += 1,
            Some(count) if count >= most => all += 1,
            Some(_) => some += 1,
        }
    }
    println!("flips: {all} with all records, {some} with some, {refused} refused, {:?}", started.elapsed());
    assert!(all > 2500);
}

#[test]
fn a_profile_of_a_file_with_a_flipped_bit_neither_crashes_nor_hangs() {
    let mut dice = Dice(0x9f0f);
    for name in ["v7-profile-pairs", "v7-lost-allformats", "v7-wakeup"] {
        let whole = small(name);
        for _ in 0..150 {
            let mut bytes = whole.clone();
            let at = dice.next(bytes.len());
            bytes[at] ^= 1 << dice.next(8);
            reported(bytes, "profile");
        }
    }
}

#[test]
fn a_flipped_bit_in_plain_sub_buffers_costs_at_most_its_sub_buffer() {
    let mut dice = Dice(0xbeef);
    let whole = small("v6-instances");
    let most = records(whole.clone()).unwrap();
    let mut least = most;
    for _ in 0..300 {
        let mut bytes = whole.clone();
        // The data of the CPUs begin at 0x18000.
        let at = 0x18000 + dice.next(bytes.len() - 0x18000);
        bytes[at] ^= 1 << dice.next(8);
        let count = records(bytes).unwrap();
        least = least.min(count);
    }
    assert!(least + 600 > most, "{least} of {most}");
}
