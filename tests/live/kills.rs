//! SIGKILL of a recorder at random moments: nothing that had reached the disk is lost, the kernel is put back.
//!
//! The moments lie where things happen: while it starts, while it records, rotates, and completes the file. Few tries
//! unless `RTREC_FAULT_TRIES` says how many all tests together make.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::common::faults::{Load, Random, Small, bytes_in_whole_chunks, data_of_cpus, events, raw_bytes, row, tries};
use crate::common::{Alone, Recorder, assert_same, listing, records, run, stderr, stdout, wait_until};
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

/// A recorder to be killed, in a folder and an instance of its own; the first of those at work has the top-level buffer too.
struct Lane {
    /// Goes before the folder that it is in.
    small: Option<Small>,
    folder: tempfile::TempDir,
    instance: String,
    is_first: bool,
    random: Random,
    tally: Tally,
}

impl Lane {
    fn new(number: usize) -> Lane {
        let seed = (u64::from(std::process::id()) << 8 | number as u64) + 1;
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let instance = format!("rtrec-test-{number}");
        Lane { small: None, folder: tempdir(), instance, is_first: number == 0, random, tally: Tally::default() }
    }
}

impl Lane {
    /// Everything anew for the next try.
    fn clear(&mut self) {
        self.small = None;
        self.folder = tempdir();
    }

    /// Where it records.
    fn dir(&self) -> &Path {
        self.small.as_ref().map_or(self.folder.path(), |small| &small.0)
    }
}

fn tempdir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// Recorders that are killed at the same time: mostly they wait for the kernel.
const LANES: usize = 4;

/// Kills so many recorders; `one` makes a try and tells what it found.
fn kill_many(count: usize, one: impl Fn(&Path, &mut Lane) + Sync) -> Tally {
    println!("seed {}", std::process::id());
    let mut lanes: Vec<Lane> = (0..LANES).map(Lane::new).collect();
    for begin in (0..count).step_by(BATCH) {
        let alone = Alone::with_tracefs();
        let (all, brief) = (alone.snapshot(), alone.brief_snapshot(&SYSTEMS));
        let _load = Load::start();
        for first in (begin..count.min(begin + BATCH)).step_by(LANES) {
            let now = (count.min(begin + BATCH) - first).min(LANES);
            lanes[..now].iter_mut().for_each(Lane::clear);
            let panicked = std::thread::scope(|scope| {
                let mut tries = Vec::new();
                for lane in &mut lanes[..now] {
                    let one = &one;
                    tries.push(scope.spawn(move || {
                        let folder = lane.folder.path().to_owned();
                        one(&folder, lane);
                    }));
                }
                tries.into_iter().filter_map(|one| one.join().err()).last()
            });
            if let Some(panic) = panicked {
                lanes.iter().for_each(|lane| drop(run(lane.dir(), &["reset", "--stale", "."])));
                std::panic::resume_unwind(panic);
            }
            lanes[..now].iter().for_each(|lane| reset(lane.dir()));
            assert_same(&brief, &alone.brief_snapshot(&SYSTEMS));
        }
        alone.assert_as_before(&all);
    }
    let mut total = Tally::default();
    for Lane { tally, .. } in lanes {
        total.expected += tally.expected;
        total.recovered += tally.recovered;
        total.with_data += tally.with_data;
        total.complete += tally.complete;
    }
    total
}

/// The kernel is put back, and no file is left that nobody needs.
fn reset(folder: &Path) {
    let reset = run(folder, &["reset", "--stale", "."]);
    assert!(reset.status.success(), "{}", stderr(&reset));
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
fn killed_within(micros: u64, folder: &Path, lane: &mut Lane) {
    let top = if lane.is_first { "-e sched -e irq " } else { "" };
    let words = format!("record -q -b 64 {top}-B {} -b 64 -e sched -e raw_syscalls -o a.dat", lane.instance);
    let recorder = Recorder::start(folder, &words.split(' ').collect::<Vec<_>>());
    std::thread::sleep(Duration::from_micros(lane.random.below(micros)));
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
        lane.tally.with_data += 1;
    }
    lane.tally.expected += whole;
    lane.tally.recovered += recovered;
}

#[test]
fn a_recorder_killed_while_it_starts_loses_nothing() {
    let count = tries(40) / 4;
    let tally = kill_many(count, |folder, lane| killed_within(200_000, folder, lane));
    row("SIGKILL while starting", count, bytes(tally.expected), bytes(tally.recovered));
}

#[test]
fn a_recorder_killed_while_it_records_loses_nothing() {
    let count = tries(40) / 4;
    let tally = kill_many(count, |folder, lane| killed_within(1_200_000, folder, lane));
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
    let tally = kill_many(count, |folder, lane| {
        let settings = "-b 256 --compression none --rotate 40K -e sched -e raw_syscalls -o a.dat";
        let words = format!("record -q -B {} {settings}", lane.instance);
        let recorder = Recorder::start(folder, &words.split(' ').collect::<Vec<_>>());
        wait_until("it rotates", || listing(folder).iter().any(|name| name.ends_with("0001")));
        std::thread::sleep(Duration::from_micros(lane.random.below(250_000)));
        recorder.killed();
        compare(folder, &mut lane.tally);
        for name in listing(folder) {
            assert!(!name.starts_with("a.dat.") || events(folder, &name) > 0, "{name}");
        }
    });
    assert!(tally.with_data == count, "{tally:?}");
    row("SIGKILL while rotating", count, bytes(tally.expected), bytes(tally.recovered));
}

/// Whether the journal says so, or is gone with the other temporary files.
fn is_put_back(folder: &Path) -> bool {
    let journal = listing(folder).into_iter().find(|name| name.ends_with(".journal"));
    journal.is_none_or(|name| fs::read_to_string(folder.join(name)).map_or(true, |text| text.contains("put_back")))
}

/// Kills a recorder between the order to stop and its end.
fn killed_while_sealing(folder: &Path, lane: &mut Lane, before_restoring: impl FnOnce()) {
    let settings = "-b 8M --compression none --free-space 1 -e sched -e raw_syscalls -o a.dat";
    let words = format!("record -q -B {} {settings}", lane.instance);
    let recorder = Recorder::start(folder, &words.split(' ').collect::<Vec<_>>());
    wait_until("it records", || records(folder));
    std::thread::sleep(Duration::from_millis(250));
    recorder.send(Signal::SIGINT);
    // Half of them while the kernel is put back, half when it has been and data is moved.
    if lane.random.below(2) == 0 {
        wait_until("the kernel is put back", || is_put_back(folder));
    }
    std::thread::sleep(Duration::from_micros(lane.random.below(15_000)));
    recorder.killed();
    before_restoring();
    compare(folder, &mut lane.tally);
}

#[test]
fn a_recorder_killed_while_it_completes_the_file_loses_nothing() {
    let count = tries(40) / 8;
    let tally = kill_many(count, |folder, lane| killed_while_sealing(folder, lane, || ()));
    let expected = format!("{} ({} complete)", bytes(tally.expected), tally.complete);
    row("SIGKILL while sealing", count, expected, bytes(tally.recovered));
}

#[test]
fn a_recorder_killed_while_it_completes_the_file_on_a_small_disk_loses_nothing() {
    let count = tries(40) / 8;
    let tally = kill_many(count, |folder, lane| {
        // Less than what sealing wants to be free: data is moved piece by piece, its place given back.
        let small = Small::mount(folder, "18m");
        let dir = small.0.clone();
        lane.small = Some(small);
        killed_while_sealing(&dir, lane, || Small::resize(&dir, "96m"));
    });
    let expected = format!("{} ({} complete)", bytes(tally.expected), tally.complete);
    row("SIGKILL while sealing, disk nearly full", count, expected, bytes(tally.recovered));
}
