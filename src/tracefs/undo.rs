//! The journal of what to put back.
//!
//! Every change notes its reverse before it is made. Running the journal backwards, on success, error, panic and
//! signal alike, leaves the kernel as it was found. Steps are plain data, not closures, so that a
//! journal can be printed and stored, for the day when its process is killed.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::dynamic;
use super::error::{Error, Operation};
use super::file::{self, Mode};

/// One thing to put back.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Write a single value.
    Value {
        /// The control file.
        path: PathBuf,
        /// What it held.
        value: String,
        /// What it reads as while it is ours, where that is known: another text means that somebody else has set it since.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ours: Option<String>,
    },
    /// Empty a list file, then add its old lines one by one.
    List {
        /// The control file.
        path: PathBuf,
        /// Its lines, annotations removed.
        lines: Vec<String>,
    },
    /// Write lines to a file that only takes commands (`trigger`, `dynamic_events`).
    Commands {
        /// The control file.
        path: PathBuf,
        /// What to write, in order.
        lines: Vec<String>,
    },
    /// Remove a dynamic event that we defined.
    Undefine {
        /// The file that took its definition.
        path: PathBuf,
        /// Its group.
        group: String,
        /// Its name.
        event: String,
    },
    /// Remove an instance that we made.
    RemoveInstance {
        /// Its folder.
        path: PathBuf,
    },
}

impl Step {
    /// A value to write back.
    pub fn value(path: PathBuf, value: String) -> Self {
        Step::Value { path, value, ours: None }
    }

    /// The control file, or the folder.
    pub fn path(&self) -> &Path {
        match self {
            Step::Value { path, .. } | Step::List { path, .. } | Step::Commands { path, .. } => path,
            Step::Undefine { path, .. } | Step::RemoveInstance { path } => path,
        }
    }

    /// Whether somebody else has changed the setting since it was made, as far as can be seen.
    pub fn is_overtaken(&self) -> bool {
        match self {
            Step::Value { path, ours: Some(ours), .. } => file::read_trimmed(path).is_ok_and(|text| text != *ours),
            _ => false,
        }
    }

    /// Whether there is nothing left to put back: the instance it belonged to is gone.
    pub fn is_moot(&self) -> bool {
        match self {
            Step::Undefine { path, group, event } => !dynamic::event_folder(path, group, event).exists(),
            _ => !self.path().exists(),
        }
    }

    /// Puts it back, and returns what could not be.
    pub fn apply(&self) -> Vec<Error> {
        match self {
            Step::Value { path, value, .. } => file::write_value(path, value).err().into_iter().collect(),
            Step::List { path, lines } => {
                let emptied = file::write(path, "", Mode::Truncate);
                emptied.err().into_iter().chain(add_lines(path, lines)).collect()
            }
            Step::Commands { path, lines } => {
                lines.iter().filter_map(|line| file::write(path, &format!("{line}\n"), Mode::Append).err()).collect()
            }
            Step::Undefine { path, group, event } => dynamic::undefine(path, group, event).err().into_iter().collect(),
            Step::RemoveInstance { path } => remove_instance(path).err().into_iter().collect(),
        }
    }
}

/// Pids that are written at once: far less than a page of text.
const PIDS_AT_ONCE: usize = 256;

/// Adds lines to a list and returns what could not be added.
///
/// Lists of pids take many in one write, and after each write the kernel waits for all CPUs, some 50 ms on a busy
/// machine. Other lists take one word a write.
pub fn add_lines(path: &Path, lines: &[String]) -> Vec<Error> {
    let of_pids = path.file_name().is_some_and(|name| name.as_encoded_bytes().ends_with(b"_pid"));
    let at_once = if of_pids { PIDS_AT_ONCE } else { 1 };
    let written = lines.chunks(at_once).map(|lines| file::write(path, &format!("{}\n", lines.join(" ")), Mode::Append));
    written.filter_map(Result::err).collect()
}

/// Removes an instance; one whose last reader is just closing answers EBUSY for a moment.
fn remove_instance(path: &Path) -> Result<(), Error> {
    let mut last = None;
    for _ in 0..50 {
        match std::fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => last = Some(e),
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let error = last.unwrap_or_else(|| std::io::Error::other("not removed"));
    Err(Error::new(Operation::RemoveInstance, path, error))
}

/// What to put back, oldest change first. Dropping it puts everything back.
#[derive(Default)]
pub struct Undo {
    steps: Vec<Step>,
    log: Option<Log>,
}

/// Hears of every step before the change is made.
pub type Log = Box<dyn FnMut(&Step) + Send>;

impl fmt::Debug for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Undo").field("steps", &self.steps).finish_non_exhaustive()
    }
}

impl Undo {
    /// An empty journal.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty journal that passes every step to `log` before the change is made.
    pub fn with_log(log: Log) -> Self {
        Undo { steps: Vec::new(), log: Some(log) }
    }

    /// Notes a step to be taken later.
    pub fn push(&mut self, step: Step) {
        if let Some(log) = &mut self.log {
            log(&step);
        }
        self.steps.push(step);
    }

    /// Drops the step noted last: the change it was to reverse was not made.
    pub fn forget_last(&mut self) {
        self.steps.pop();
    }

    /// Sets a single value, noting the one it replaces. Writes nothing when the file already holds `value`.
    pub fn set(&mut self, path: &Path, value: &str) -> Result<(), Error> {
        let old = file::read_trimmed(path)?;
        if old == value {
            return Ok(());
        }
        self.push(Step::Value { path: path.to_owned(), value: old, ours: Some(value.to_owned()) });
        file::write_value(path, value)
    }

    /// Sets a single value where the form read differs from the form written: `old` is what to write back.
    pub fn set_over(&mut self, path: &Path, value: &str, old: &str) -> Result<(), Error> {
        self.push(Step::value(path.to_owned(), old.to_owned()));
        file::write_value(path, value)
    }

    /// Empties a list file, noting its lines.
    pub fn clear_list(&mut self, path: &Path, lines: Vec<String>) -> Result<(), Error> {
        self.push(Step::List { path: path.to_owned(), lines });
        file::write(path, "", Mode::Truncate)
    }

    /// Lets everything stay as it is.
    pub fn forget(&mut self) {
        self.steps.clear();
    }

    /// The steps noted so far, oldest first.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Puts back what was changed since there were `count` steps.
    pub fn run_back_to(&mut self, count: usize) -> Vec<Error> {
        let mut errors = Vec::new();
        while self.steps.len() > count {
            errors.extend(self.steps.pop().iter().flat_map(Step::apply));
        }
        errors
    }

    /// Puts everything back, newest first, and returns what could not be.
    pub fn run(&mut self) -> Vec<Error> {
        self.run_back_to(0)
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        self.run();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_lists_come_back_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        let tracer = folder.path().join("current_tracer");
        let graph = folder.path().join("set_graph_function");
        std::fs::write(&tracer, "nop\n").unwrap();
        std::fs::write(&graph, "vfs_read\nvfs_write\n").unwrap();
        let mut undo = Undo::new();
        undo.clear_list(&graph, vec!["vfs_read".into(), "vfs_write".into()]).unwrap();
        file::write(&graph, "do_sys_openat2\n", Mode::Append).unwrap();
        undo.set(&tracer, "function_graph").unwrap();
        assert_eq!(undo.steps().len(), 2);
        assert!(undo.run().is_empty());
        assert!(std::fs::read_to_string(&tracer).unwrap().starts_with("nop\n"));
        assert_eq!(std::fs::read_to_string(&graph).unwrap(), "vfs_read\nvfs_write\n");
    }

    #[test]
    fn a_value_that_is_already_right_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tracing_on");
        std::fs::write(&path, "0\n").unwrap();
        let mut undo = Undo::new();
        undo.set(&path, "0").unwrap();
        assert!(undo.steps().is_empty());
    }

    #[test]
    fn steps_are_told_before_the_change_and_can_be_stored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace_clock");
        std::fs::write(&path, "local\n").unwrap();
        let (sender, heard) = std::sync::mpsc::channel();
        let seen = path.clone();
        let mut undo = Undo::with_log(Box::new(move |step| {
            sender.send((serde_json::to_string(step).unwrap(), std::fs::read_to_string(&seen).unwrap())).unwrap();
        }));
        undo.set(&path, "mono").unwrap();
        let (stored, then) = heard.recv().unwrap();
        assert_eq!(then, "local\n");
        let step: Step = serde_json::from_str(&stored).unwrap();
        assert_eq!(step, undo.steps()[0]);
        assert!(!step.is_overtaken() && !step.is_moot());
        std::fs::write(&path, "tai\n").unwrap();
        assert!(step.is_overtaken());
    }

    #[test]
    fn a_step_that_fails_does_not_stop_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let good = folder.path().join("tracing_on");
        std::fs::write(&good, "1\n").unwrap();
        let mut undo = Undo::new();
        undo.set(&good, "0").unwrap();
        undo.push(Step::value(folder.path().join("gone/file"), "x".into()));
        assert_eq!(undo.run().len(), 1);
        assert!(std::fs::read_to_string(&good).unwrap().starts_with('1'));
    }
}
