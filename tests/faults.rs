//! What goes wrong around a recorder on the running kernel: kills, full disks, vanished folders, meddlers.
//!
//! Each test prints a row of the fault table: fault, tries, expected, recovered, tracefs as before. `cargo xtask faults`
//! runs them with many tries and shows the table.

mod common;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use byteorder::{ByteOrder, NativeEndian};
use common::{Alone, Recorder, listing, records, rtrec, run, stderr, stdout, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A row of the fault table. Rows are printed only when all they claim was asserted.
fn row(fault: &str, tries: usize, expected: impl ToString, recovered: impl ToString) {
    println!("FAULT|{fault}|{tries}|{}|{}|yes", expected.to_string(), recovered.to_string());
}

/// System calls and switches as fast as a shell makes them, in a process group of its own that ends with it.
struct Load(Child);

impl Load {
    fn start() -> Load {
        let script = "while :; do /bin/true; done";
        let mut command = Command::new("sh");
        Load(command.args(["-c", script]).process_group(0).stdout(Stdio::null()).spawn().expect("sh starts"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(-(self.0.id() as i32)), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// Numbers that look random, from a seed that is printed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// How often a fault is tried: few times in the tests, many in the suite.
fn tries(few: usize) -> usize {
    std::env::var("RTREC_FAULT_TRIES").ok().and_then(|tries| tries.parse().ok()).unwrap_or(few)
}

/// Bytes of sub-buffers in whole chunks of all chunk files of a folder, counted independently of rtrec.
fn bytes_in_whole_chunks(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let chunked = files.filter(|path| path.to_string_lossy().contains(".cpu"));
    chunked.map(|path| whole_chunks(&fs::read(path).unwrap())).sum()
}

fn whole_chunks(bytes: &[u8]) -> u64 {
    let word = |at: usize| bytes.get(at..at + 4).map(|word| NativeEndian::read_u32(word) as usize);
    let (mut at, mut sum) = (4, 0);
    while let (Some(packed), Some(raw)) = (word(at), word(at + 4)) {
        at += 8 + packed;
        if at > bytes.len() {
            break;
        }
        sum += raw as u64;
    }
    sum
}

/// Records in a report.
fn events(dir: &Path, file: &str) -> usize {
    let output = run(dir, &["report", file]);
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output).lines().skip(1).filter(|line| !line.contains("EVENTS DROPPED]")).count()
}

#[test]
fn a_killed_recorder_loses_nothing_that_had_reached_the_disk() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let seed = std::process::id().into();
    println!("seed {seed}");
    let mut random = Random(seed);
    let tries = tries(12);
    let (mut expected, mut recovered, mut restored) = (0, 0, 0);
    let _load = Load::start();
    for _ in 0..tries {
        let folder = tempfile::tempdir().unwrap();
        let words = [
            "record",
            "-q",
            "-b",
            "64",
            "-e",
            "sched",
            "-e",
            "raw_syscalls",
            "-B",
            "rtrec-test",
            "-e",
            "irq",
            "-o",
            "a.dat",
        ];
        let recorder = Recorder::start(folder.path(), &words);
        std::thread::sleep(Duration::from_micros(random.below(2_000_000)));
        recorder.killed();
        let whole = bytes_in_whole_chunks(folder.path());
        let reset = run(folder.path(), &["reset", "--stale", "."]);
        assert!(reset.status.success(), "{}", stderr(&reset));
        alone.assert_as_before(&before);
        if listing(folder.path()).iter().any(|name| name.ends_with(".part")) && whole > 0 {
            // What `report` shows of the unfinished file is what the restored one holds.
            let formats = records(folder.path());
            let unsealed = stdout(&run(folder.path(), &["report", "a.dat"]));
            let output = run(folder.path(), &["restore", "a.dat"]);
            assert!(output.status.success(), "{}", stderr(&output));
            assert_eq!(listing(folder.path()), ["a.dat"], "{}", stderr(&output));
            recovered += raw_bytes(folder.path(), "a.dat");
            assert!(events(folder.path(), "a.dat") > 0);
            // Formats that were not written yet are taken from the running kernel by `restore` only.
            if formats {
                assert_eq!(unsealed.lines().count(), stdout(&run(folder.path(), &["report", "a.dat"])).lines().count());
            }
            restored += 1;
        }
        expected += whole;
    }
    assert_eq!(recovered, expected);
    println!("{restored} of {tries} left data");
    assert!(restored > 0, "no kill came late enough");
    row("SIGKILL at a random moment", tries, format!("{expected} bytes"), format!("{recovered} bytes"));
}

/// Bytes of sub-buffers in a sealed file, by rtrec's library.
fn raw_bytes(dir: &Path, file: &str) -> u64 {
    let dat = rtrec::dat::Dat::open(&dir.join(file)).unwrap();
    let data = dat.buffers.iter().flat_map(|buffer| &buffer.cpus).filter(|cpu| cpu.bytes > 0);
    let bytes = fs::read(dir.join(file)).unwrap();
    data.map(|cpu| whole_chunks(&bytes[cpu.offset as usize..][..cpu.bytes as usize])).sum()
}

/// A small file system, gone when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(folder: &Path, size: &str) -> Small {
        let dir = folder.join("small");
        fs::create_dir(&dir).unwrap();
        let size = format!("size={size}");
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("none"), &dir, Some("tmpfs"), flags, Some(size.as_str())).expect("a small tmpfs mounts");
        Small(dir)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// Makes enough records to fill a few megabytes, and ends with status 3.
const FILLING: &str = "i=0; while [ $i -lt 30 ]; do cat /proc/self/maps /proc/self/status; find /usr/share -name '*.x'; i=$((i+1)); done >/dev/null; exit 3";

#[test]
fn a_disk_too_small_for_the_formats_leaves_what_can_be_restored_elsewhere() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let small = Small::mount(folder.path(), "1m");
    let words = ["record", "-b", "512", "-e", "raw_syscalls", "--free-space", "1", "-o", "a.dat", "sh", "-c", FILLING];
    let output = run(&small.0, &words);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("ENOSPC") && stderr(&output).contains("rtrec restore"), "{}", stderr(&output));
    alone.assert_as_before(&before);
    let whole = bytes_in_whole_chunks(&small.0);
    let target = folder.path().join("b.dat");
    let output = run(&small.0, &["restore", "a.dat", "-o", target.to_str().unwrap()]);
    // There is no room for the whole beside its parts.
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    copy_family(&small.0, folder.path());
    let output = run(folder.path(), &["restore", "a.dat", "-o", "b.dat"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(raw_bytes(folder.path(), "b.dat"), whole);
    assert!(whole > 0 && events(folder.path(), "b.dat") > 0);
    row("disk too small for the formats", 1, format!("{whole} bytes"), format!("{whole} bytes"));
}

fn copy_family(from: &Path, to: &Path) {
    for name in listing(from) {
        fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

#[test]
fn a_disk_that_becomes_full_leaves_a_complete_trace_up_to_then() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let small = Small::mount(folder.path(), "12m");
    let words = [
        "record",
        "--compression",
        "none",
        "--free-space",
        "1",
        "-b",
        "512",
        "-e",
        "raw_syscalls",
        "-o",
        "a.dat",
        "sh",
        "-c",
        FILLING,
    ];
    let output = run(&small.0, &words);
    assert_eq!(output.status.code(), Some(3), "the command's own status: {}", stderr(&output));
    assert!(stderr(&output).contains("ENOSPC"), "{}", stderr(&output));
    alone.assert_as_before(&before);
    assert_eq!(listing(&small.0), ["a.dat"]);
    let kept = events(&small.0, "a.dat");
    assert!(kept > 10_000, "{kept}");
    row("ENOSPC while recording", 1, "more than 10000 events", kept);
}

#[test]
fn a_recording_stops_before_the_disk_is_full() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let small = Small::mount(folder.path(), "48m");
    let words = ["record", "--compression", "none", "--free-space", "36M", "-e", "raw_syscalls", "-o", "a.dat"];
    let _load = Load::start();
    let output = Recorder::start(&small.0, &words).output();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("the disk has only"), "{}", stderr(&output));
    alone.assert_as_before(&before);
    assert_eq!(listing(&small.0), ["a.dat"]);
    let kept = events(&small.0, "a.dat");
    assert!(kept > 1000, "{kept}");
    row("free-space guard", 1, "stops by itself", format!("{kept} events"));
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_not_a_death() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    // In blocks of 512 or 1024 bytes: enough for the formats, not for the records.
    let line = format!(
        "ulimit -f 4000; exec {} record --compression none -e raw_syscalls -o a.dat sh -c \"{}\"",
        env!("CARGO_BIN_EXE_rtrec"),
        FILLING.replace('$', "\\$")
    );
    let output = Command::new("sh").current_dir(folder.path()).args(["-c", &line]).output().unwrap();
    assert!(output.status.code().is_some(), "{:?}: {}", output.status, stderr(&output));
    assert!(stderr(&output).contains("EFBIG"), "{}", stderr(&output));
    alone.assert_as_before(&before);
    if listing(folder.path()) != ["a.dat"] {
        let output = run(folder.path(), &["restore", "a.dat"]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let kept = events(folder.path(), "a.dat");
    assert!(kept > 10_000, "{kept}");
    row("EFBIG while recording", 1, "more than 10000 events", kept);
}

#[test]
fn a_folder_that_vanishes_is_said_and_the_kernel_put_back() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let doomed = folder.path().join("doomed");
    fs::create_dir(&doomed).unwrap();
    let recorder = Recorder::start(folder.path(), &["record", "-e", "sched", "-o", "doomed/a.dat"]);
    wait_until("it records", || records(&doomed));
    std::thread::sleep(Duration::from_millis(200));
    fs::remove_dir_all(&doomed).unwrap();
    recorder.send(Signal::SIGINT);
    let output = recorder.output();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("ENOENT"), "{}", stderr(&output));
    alone.assert_as_before(&before);
    row("folder vanishes", 1, "a message", "a message");
}

#[test]
fn a_second_interrupt_ends_it_at_once_and_the_kernel_is_put_back() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let mut abandoned = 0;
    let tries = 5;
    let _load = Load::start();
    for _ in 0..tries {
        let folder = tempfile::tempdir().unwrap();
        let words =
            ["record", "-b", "16M", "--compression", "none", "-e", "raw_syscalls", "-e", "sched", "-o", "a.dat"];
        let recorder = Recorder::start(folder.path(), &words);
        wait_until("it records", || records(folder.path()));
        std::thread::sleep(Duration::from_millis(300));
        recorder.send(Signal::SIGINT);
        std::thread::sleep(Duration::from_millis(1));
        recorder.send(Signal::SIGINT);
        let asked = Instant::now();
        let output = recorder.output();
        assert!(asked.elapsed() < Duration::from_secs(20));
        alone.assert_as_before(&before);
        if output.status.code() == Some(130) {
            abandoned += 1;
            let output = run(folder.path(), &["restore", "a.dat"]);
            assert!(output.status.success(), "{}", stderr(&output));
        }
        assert_eq!(listing(folder.path()), ["a.dat"]);
        assert!(events(folder.path(), "a.dat") > 0);
    }
    row("SIGINT twice", tries, "a trace, restored or whole", format!("{tries} traces, {abandoned} of them restored"));
}

#[test]
fn a_recorder_that_was_stopped_for_a_while_counts_what_it_missed() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let words = ["-v", "record", "-B", "rtrec-test", "-b", "32", "-e", "raw_syscalls", "-o", "a.dat"];
    let load = Load::start();
    let recorder = Recorder::start(folder.path(), &words);
    wait_until("it records", || records(folder.path()));
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(200));
        recorder.send(Signal::SIGSTOP);
        std::thread::sleep(Duration::from_millis(300));
        recorder.send(Signal::SIGCONT);
    }
    std::thread::sleep(Duration::from_millis(200));
    recorder.send(Signal::SIGINT);
    let output = recorder.output();
    drop(load);
    assert!(output.status.success(), "{}", stderr(&output));
    alone.assert_as_before(&before);
    let (read, lost) = (counted(&output, "events read"), counted(&output, "lost"));
    let text = stdout(&run(folder.path(), &["report", "a.dat"]));
    let (kept, told, uncounted) = kept_and_lost(&text);
    assert!(lost > 0, "{}", stderr(&output));
    assert_eq!(kept, read, "{}", stderr(&output));
    // A sub-buffer that is full to its last byte has no room for the number, only for the mark.
    assert!(if uncounted { told < lost } else { told == lost }, "{told} of {lost}");
    row("readers stopped (SIGSTOP)", 3, format!("{read} read, {lost} lost"), format!("{kept} kept, {told} lost"));
}

/// The sum over CPUs of a number in the words of `-v`.
fn counted(output: &Output, word: &str) -> u64 {
    let said = stderr(output);
    let parts = said.lines().filter(|line| line.contains("events read")).flat_map(|line| line.split([':', ',', ';']));
    parts.filter_map(|part| part.trim().strip_suffix(word)?.trim().parse::<u64>().ok()).sum()
}

/// Records in a report, and those it says were lost.
fn kept_and_lost(text: &str) -> (u64, u64, bool) {
    let (mut kept, mut lost, mut uncounted) = (0, 0, false);
    for line in text.lines().filter(|line| !line.contains("cpus=")) {
        match line.split_once("EVENTS DROPPED]") {
            Some((before, _)) => match before.rsplit('[').next().unwrap().trim().parse::<u64>() {
                Ok(count) => lost += count,
                Err(_) => uncounted = true,
            },
            None => kept += 1,
        }
    }
    (kept, lost, uncounted)
}

#[test]
fn what_meddlers_do_to_the_buffer_ends_nothing() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let instance = alone.root.join("instances/rtrec-test");
    let meddlings: &[(&str, &str, &str)] = &[
        ("buffer cleared by another", "trace", ""),
        ("buffer resized by another", "buffer_size_kb", "4096"),
        ("events switched off by another", "set_event", ""),
        ("buffer switched off by another", "tracing_on", "0"),
    ];
    for (fault, file, text) in meddlings {
        for way in ["best", "splice", "read"] {
            let folder = tempfile::tempdir().unwrap();
            let load = Load::start();
            let words = ["record", "-B", "rtrec-test", "--reader", way, "-e", "raw_syscalls", "-o", "a.dat"];
            let recorder = Recorder::start(folder.path(), &words);
            wait_until("it records", || records(folder.path()));
            std::thread::sleep(Duration::from_millis(200));
            // The kernel may refuse; then nothing has changed.
            let _ = fs::write(instance.join(file), text);
            let _ = fs::remove_dir(&instance);
            std::thread::sleep(Duration::from_millis(200));
            recorder.send(Signal::SIGINT);
            let output = recorder.output();
            drop(load);
            assert!(output.status.success(), "{fault}, {way}: {}", stderr(&output));
            assert_eq!(listing(folder.path()), ["a.dat"]);
            let report = run(folder.path(), &["report", "a.dat"]);
            assert!(report.status.success(), "{fault}, {way}: {}", stderr(&report));
            alone.assert_as_before(&before);
        }
        row(fault, 3, "goes on", "goes on");
    }
    row("instance removed by another", 12, "refused by the kernel (EBUSY)", "refused");
}

#[test]
fn thousands_of_children_are_followed() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let script = "i=0; while [ $i -lt 2000 ]; do /bin/true; i=$((i+1)); done";
    let words =
        ["record", "-q", "-F", "-c", "-e", "sched:sched_process_exec", "-e", "sched:sched_process_exit", "-o", "a.dat"];
    let output = rtrec().current_dir(folder.path()).args(words).args(["sh", "-c", script]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    alone.assert_as_before(&before);
    let text = stdout(&run(folder.path(), &["report", "a.dat"]));
    let execs = text.lines().filter(|line| line.contains("filename=/bin/true")).count();
    assert_eq!(execs, 2000);
    row("2000 children", 1, "2000 execs", format!("{execs} execs"));
}
