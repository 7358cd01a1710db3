//! SIGKILL of a recorder at random moments: nothing that had reached the disk is lost, the kernel is put back.
//!
//! The moments lie where things happen: while it starts, while it records, rotates, and completes the file. Few tries
//! unless `RTREC_FAULT_TRIES` says how many all tests together make.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::faults::{Load, Random, Small, bytes_in_whole_chunks, data_of_cpus, events, raw_bytes, row, tries};
use common::{Alone, Recorder, assert_same, listing, records, run, stderr, stdout, wait_until};
use nix::sys::signal::Signal;

/// What is recorded here, and so what the brief snapshots look at.
const SYSTEMS: [&str; 3] = ["sched", "raw_syscalls", "irq"];
/// Tries after which others may have tracefs for a while.
const BATCH: usize = 25;
const SUBBUF: usize = 4096;

/// What was found after the kills and after restoring.
#[derive(Debug, Default)]
struct Tally {
    expected: u64,
    recovered: u64,
    with_data: usize,
    complete: usize,
}

/// Kills so many recorders; `one` makes a try in a fresh folder and tells what it found.
fn kill_many(count: usize, mut one: impl FnMut(&Path, &mut Random, &mut Tally)) -> Tally {
    let mut random = Random(u64::from(std::process::id()) << 20 | u64::from(line!()));
    println!("seed {}", random.0);
    let mut tally = Tally::default();
    for begin in (0..count).step_by(BATCH) {
        let alone = Alone::with_tracefs();
        let (all, brief) = (alone.snapshot(), alone.brief_snapshot(&SYSTEMS));
        let _load = Load::start();
        for _ in begin..count.min(begin + BATCH) {
            let folder = tempfile::tempdir().unwrap();
            one(folder.path(), &mut random, &mut tally);
            put_back(&alone, folder.path(), &brief);
        }
        alone.assert_as_before(&all);
    }
    tally
}

/// The kernel is as it was, and no file is left that nobody needs.
fn put_back(alone: &Alone, folder: &Path, before: &BTreeMap<PathBuf, String>) {
    let reset = run(folder, &["reset", "--stale", "."]);
    assert!(reset.status.success(), "{}", stderr(&reset));
    assert_same(before, &alone.brief_snapshot(&SYSTEMS));
    let hidden: Vec<String> = listing(folder).into_iter().filter(|name| name.starts_with('.')).collect();
    assert!(hidden.is_empty(), "left in the folder: {hidden:?}");
}

fn restore(folder: &Path) {
    if listing(folder).iter().any(|name| name.starts_with('.')) {
        let output = run(folder, &["restore", "a.dat"]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

/// Kills a recorder of all three systems at a moment within the time, restores what it left, and compares.
fn killed_within(micros: u64, folder: &Path, random: &mut Random, tally: &mut Tally) {
    let words = "record -q -b 64 -e sched -e raw_syscalls -B rtrec-test -e irq -o a.dat";
    let recorder = Recorder::start(folder, &words.split(' ').collect::<Vec<_>>());
    std::thread::sleep(Duration::from_micros(random.below(micros)));
    recorder.killed();
    let whole = bytes_in_whole_chunks(folder);
    let formats = records(folder);
    let unsealed = (whole > 0).then(|| stdout(&run(folder, &["report", "a.dat"])).lines().count());
    let output = run(folder, &["restore", "a.dat"]);
    assert!(output.status.success() || whole == 0, "{}", stderr(&output));
    let recovered = if listing(folder).contains(&"a.dat".to_owned()) { raw_bytes(folder, "a.dat") } else { 0 };
    assert_eq!(recovered, whole, "{}", stderr(&output));
    if whole > 0 {
        // What `report` shows of the unfinished file is what the restored one holds. Formats that were not written yet
        // are taken from the running kernel by `restore` only.
        let lines = stdout(&run(folder, &["report", "a.dat"])).lines().count();
        assert!(lines > 1 && (!formats || unsealed == Some(lines)), "{unsealed:?} lines, then {lines}");
        tally.with_data += 1;
    }
    tally.expected += whole;
    tally.recovered += recovered;
}

#[test]
fn a_recorder_killed_while_it_starts_loses_nothing() {
    let count = tries(40) / 4;
    let tally = kill_many(count, |folder, random, tally| killed_within(200_000, folder, random, tally));
    row("SIGKILL while starting", count, bytes(tally.expected), bytes(tally.recovered));
}

#[test]
fn a_recorder_killed_while_it_records_loses_nothing() {
    let count = tries(40) / 4;
    let tally = kill_many(count, |folder, random, tally| killed_within(1_500_000, folder, random, tally));
    assert!(tally.with_data > 0, "no kill came late enough");
    row("SIGKILL while recording", count, bytes(tally.expected), bytes(tally.recovered));
}

fn bytes(count: u64) -> String {
    format!("{count} bytes")
}

/// The sub-buffers of an uncompressed trace: in its complete files, or in the stretches of an unfinished one.
#[derive(Debug, Default)]
struct Subbufs {
    distinct: BTreeSet<Vec<u8>>,
    all: usize,
    empty: usize,
}

impl Subbufs {
    fn add(&mut self, bytes: &[u8]) {
        for subbuf in bytes.chunks_exact(SUBBUF) {
            self.all += 1;
            if subbuf.iter().all(|&byte| byte == 0) {
                self.empty += 1;
            } else {
                self.distinct.insert(subbuf.to_vec());
            }
        }
    }

    /// All whole ones of a folder, with or without those of an unfinished file.
    fn of(folder: &Path) -> Subbufs {
        let mut found = Subbufs::default();
        for name in listing(folder) {
            if name.starts_with("a.dat") {
                data_of_cpus(folder, &name).iter().for_each(|data| found.add(data));
            } else if name.contains(".cpu") {
                found.add(&fs::read(folder.join(name)).unwrap());
            }
        }
        found
    }
}

/// Asserts that all that was there when the recorder died is there once restored, each sub-buffer once.
fn compare(folder: &Path, tally: &mut Tally) {
    let before = Subbufs::of(folder);
    let complete = listing(folder).iter().all(|name| !name.ends_with(".part"));
    restore(folder);
    let after = Subbufs::of(folder);
    let missing = before.distinct.difference(&after.distinct).count();
    let there = listing(folder);
    assert_eq!(missing, 0, "sub-buffers are missing of {}; {there:?}", before.distinct.len());
    assert_eq!(after.all - after.distinct.len(), 0, "sub-buffers are there twice, or empty; {there:?}");
    // What has been moved is a hole in its stretch.
    if before.empty > 0 {
        assert_eq!(after.all, before.all, "{there:?}");
    }
    let expected = before.distinct.len().max(if before.empty > 0 { before.all } else { 0 });
    tally.expected += (expected * SUBBUF) as u64;
    tally.recovered += (after.distinct.len() * SUBBUF) as u64;
    tally.with_data += usize::from(after.all > 0);
    tally.complete += usize::from(complete);
}

#[test]
fn a_recorder_killed_while_it_rotates_loses_nothing() {
    let count = tries(40) / 4;
    let tally = kill_many(count, |folder, random, tally| {
        let words = "record -q -B rtrec-test -b 256 --compression none --rotate 40K -e sched -e raw_syscalls -o a.dat";
        let recorder = Recorder::start(folder, &words.split(' ').collect::<Vec<_>>());
        wait_until("it rotates", || listing(folder).iter().any(|name| name.ends_with("0001")));
        std::thread::sleep(Duration::from_micros(random.below(250_000)));
        recorder.killed();
        compare(folder, tally);
        for name in listing(folder) {
            assert!(!name.starts_with("a.dat.") || events(folder, &name) > 0, "{name}");
        }
    });
    assert!(tally.with_data == count, "{tally:?}");
    row("SIGKILL while rotating", count, bytes(tally.expected), bytes(tally.recovered));
}

/// Kills a recorder between the order to stop and its end.
fn killed_while_sealing(folder: &Path, random: &mut Random, tally: &mut Tally) {
    let words = "record -q -B rtrec-test -b 8M --compression none --free-space 1 -e sched -e raw_syscalls -o a.dat";
    let recorder = Recorder::start(folder, &words.split(' ').collect::<Vec<_>>());
    wait_until("it records", || records(folder));
    std::thread::sleep(Duration::from_millis(250));
    recorder.send(Signal::SIGINT);
    std::thread::sleep(Duration::from_micros(random.below(40_000)));
    recorder.killed();
    compare(folder, tally);
}

#[test]
fn a_recorder_killed_while_it_completes_the_file_loses_nothing() {
    let count = tries(40) / 8;
    let tally = kill_many(count, killed_while_sealing);
    let expected = format!("{} ({} complete)", bytes(tally.expected), tally.complete);
    row("SIGKILL while sealing", count, expected, bytes(tally.recovered));
}

#[test]
fn a_recorder_killed_while_it_completes_the_file_on_a_small_disk_loses_nothing() {
    let count = tries(40) / 8;
    let tally = kill_many(count, |folder, random, tally| {
        // Less than what sealing wants to be free: data is moved piece by piece, its place given back.
        let small = Small::mount(folder, "18m");
        killed_while_sealing(&small.0, random, tally);
        let reset = run(&small.0, &["reset", "--stale", "."]);
        assert!(reset.status.success(), "{}", stderr(&reset));
    });
    let expected = format!("{} ({} complete)", bytes(tally.expected), tally.complete);
    row("SIGKILL while sealing, disk nearly full", count, expected, bytes(tally.recovered));
}
