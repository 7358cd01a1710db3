//! What the tests on the running kernel share: the lock on tracefs, snapshots of it, and the rtrec binary.
#![allow(dead_code, reason = "each test binary uses its part")]

pub mod faults;
pub mod lines;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// tracefs is one for the whole machine: whoever holds this is alone with it.
pub struct Alone {
    pub root: PathBuf,
    _lock: Flock<File>,
}

impl Alone {
    /// Waits for its turn. Panics, saying why, where these tests cannot run; `cargo xtask test` knows beforehand.
    pub fn with_tracefs() -> Alone {
        let root = rtrec::tracefs::Tracefs::find().unwrap_or_else(|e| {
            panic!("NOT RUN: these tests need root and tracefs: {e}");
        });
        let path = std::env::temp_dir().join("rtrec-tests.lock");
        let file = File::options().create(true).truncate(false).write(true).open(path).expect("the lock file opens");
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e).expect("the lock is waited for");
        let alone = Alone { root: root.dir().to_owned(), _lock: lock };
        // Before its first use a buffer shows a size it never shows again.
        let _ = std::fs::write(alone.root.join("buffer_size_kb"), "1408");
        alone
    }

    /// The content of every control file that a recording might touch.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, String> {
        let mut files = BTreeMap::new();
        collect(&self.root, &mut files, &|_| true);
        files
    }

    /// The same without the many events of systems that a test does not record.
    pub fn brief_snapshot(&self, systems: &[&str]) -> BTreeMap<PathBuf, String> {
        let mut files = BTreeMap::new();
        let wanted = |dir: &Path| {
            let of_a_system = dir.parent().is_some_and(|parent| parent.ends_with("events"));
            !of_a_system || systems.iter().any(|system| dir.ends_with(system))
        };
        collect(&self.root, &mut files, &wanted);
        files
    }

    /// Asserts that tracefs holds what it held.
    pub fn assert_as_before(&self, before: &BTreeMap<PathBuf, String>) {
        assert_same(before, &self.snapshot());
    }

    pub fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.root.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
    }

    pub fn write(&self, file: &str, text: &str) {
        std::fs::write(self.root.join(file), text).unwrap_or_else(|e| panic!("{file}: {e}"));
    }
}

/// Asserts that two snapshots are the same.
pub fn assert_same(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) {
    let changed: Vec<String> = before
        .iter()
        .filter(|(path, text)| after.get(*path) != Some(text))
        .map(|(path, text)| format!("{}: {:?} -> {:?}", path.display(), text, after.get(path)))
        .chain(after.keys().filter(|path| !before.contains_key(*path)).map(|path| format!("new: {}", path.display())))
        .collect();
    let (count, some) = (changed.len(), &changed[..changed.len().min(20)]);
    assert!(count == 0, "tracefs is not as it was, {count} differences:\n{}", some.join("\n"));
}

/// Files that change by themselves, or whose reading changes something.
const VOLATILE: &[&str] = &[
    "trace",
    "trace_pipe",
    "trace_pipe_raw",
    "stats",
    "error_log",
    "saved_cmdlines",
    "saved_tgids",
    "trace_marker",
    "trace_marker_raw",
    "printk_formats",
    "format",
    "id",
    "README",
    "free_buffer",
    "available_events",
    "available_filter_functions",
    "available_filter_functions_addrs",
    "touched_functions",
    "enabled_functions",
    "uprobe_profile",
    "kprobe_profile",
    "dyn_ftrace_total_info",
    "snapshot",
    "snapshot_raw",
    "hist",
    "user_events_data",
    "user_events_status",
    "eval_map",
    "trace_stat",
    "hist_debug",
];

fn collect(dir: &Path, files: &mut BTreeMap<PathBuf, String>, wanted: &dyn Fn(&Path) -> bool) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if VOLATILE.iter().any(|volatile| *volatile == name) {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            files.insert(path.clone(), String::new());
            if wanted(&path) {
                collect(&path, files, wanted);
            }
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            files.insert(path, text);
        }
    }
}

/// The binary under test: the one built with the tests, or another, faster one.
pub fn rtrec() -> Command {
    Command::new(std::env::var_os("RTREC_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_rtrec").into()))
}

/// Runs a command line of words.
pub fn run(dir: &Path, words: &[&str]) -> Output {
    rtrec().current_dir(dir).args(words).output().expect("rtrec starts")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Names of the files in a folder.
pub fn listing(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Waits until something is so; a generous deadline makes a hang a failure.
pub fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited a minute for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A recorder that is killed when the test ends before it.
pub struct Recorder(pub Child);

impl Recorder {
    pub fn start(dir: &Path, words: &[&str]) -> Recorder {
        let mut command = rtrec();
        command.current_dir(dir).args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
        Recorder(command.spawn().expect("rtrec starts"))
    }

    pub fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).expect("it runs");
    }

    pub fn output(mut self) -> Output {
        let child = std::mem::replace(&mut self.0, Command::new("true").spawn().expect("true starts"));
        child.wait_with_output().expect("it ends")
    }

    pub fn killed(mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a recorder in this folder has begun: it writes names down once it has.
pub fn records(dir: &Path) -> bool {
    listing(dir).iter().any(|name| name.ends_with(".names"))
}
