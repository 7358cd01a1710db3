//! What guests recorded, printed on this machine by trace-cmd and by rtrec: an emulated processor takes seconds for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use xtask::lab::Guest;
use xtask::peers::TraceCmd;
use xtask::{Result, host};

use crate::common::lines::unnamed;

/// Lines that are too few for a recording of anything.
const NEXT_TO_NOTHING: usize = 5;

/// Files that came back from a guest, in a folder of this machine.
pub(crate) struct Fetched(TempDir);

impl Fetched {
    /// Brings the files with these names out of the guest's `/tmp`.
    pub(crate) fn new(guest: &mut Guest, names: &[&str]) -> Result<Self> {
        let fetched = Self(tempfile::tempdir().expect("a folder"));
        names.iter().try_for_each(|name| guest.get(&format!("/tmp/{name}"), &fetched.path(name)))?;
        Ok(fetched)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// A file as it came.
    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path(name)).expect("a file that came back")).into_owned()
    }

    /// What `trace-cmd report` prints of a file; the words are options. The trace-cmd is the one in the guests.
    pub(crate) fn by_trace_cmd(&self, words: &str, file: &str) -> Result<String> {
        host::text(self.command(TraceCmd::Unstable.program()?, "report", words).arg("-i").arg(file))
    }

    /// What `rtrec report` prints of it.
    pub(crate) fn by_rtrec(&self, words: &str, file: &str) -> Result<String> {
        host::text(self.command(env!("CARGO_BIN_EXE_rtrec").into(), "report", words).arg(file))
    }

    fn command(&self, program: PathBuf, subcommand: &str, words: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder()).arg(subcommand).args(words.split_whitespace());
        command
    }

    /// What is wrong with a file as both tools print it, if anything: they differ, or there is next to nothing in it
    /// although the recorder is known to catch a short load.
    ///
    /// Names of tasks may differ: after a first line of the idle task, trace-cmd may take a learned name for the stored
    /// one, or not.
    pub(crate) fn fault(&self, view: &str, file: &str, catches_all: bool) -> Result<Option<String>> {
        let theirs = self.by_trace_cmd(view, file)?;
        let ours = self.by_rtrec(&format!("--compat 3.4 {view}"), file)?;
        if catches_all && ours.lines().count() < NEXT_TO_NOTHING {
            return Ok(Some("next to nothing was recorded".to_owned()));
        }
        let alike = ours == theirs || ours.lines().map(unnamed).eq(theirs.lines().map(unnamed));
        Ok((!alike).then(|| difference("rtrec", &ours, "trace-cmd", &theirs)))
    }
}

/// The first lines in which two texts differ, and how long they are.
pub(crate) fn difference(one: &str, text: &str, other: &str, other_text: &str) -> String {
    let (lines, other_lines) = (text.lines().count(), other_text.lines().count());
    let mut said = format!("{lines} lines of {one}, {other_lines} of {other}\n");
    let pairs = text.lines().zip(other_text.lines()).filter(|(line, other)| line != other);
    for (line, other_line) in pairs.take(6) {
        said.push_str(&format!("{one}: {line}\n{other}: {other_line}\n"));
    }
    said
}
