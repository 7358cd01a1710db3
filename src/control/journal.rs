//! The journal on disk: what a recorder that is killed leaves for `rtrec restore`, `rtrec reset --stale` and `report`.
//!
//! One JSON object a line, each written by one `write(2)` before what it tells is done. The lines about data are
//! [`dat::unsealed::Entry`](crate::dat::unsealed::Entry), those about control files are `{"step": …}`. The journal lies beside the data; a link in
//! `/run/rtrec` leads to it, for those who no longer know where that was. Nothing is synced: when the machine dies,
//! the settings die with it.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::dat::unsealed::{Begin, Entry, Family, Unsealed};
use crate::tracefs::{self, Undo, undo::Step};

/// Where links to the journals of running recorders are.
const RUNNING: &str = "/run/rtrec";

/// A line about a control file.
#[derive(Deserialize, Serialize)]
struct StepLine {
    step: Step,
}

/// A journal being written. Clones write to the same file.
#[derive(Clone, Debug)]
pub struct Journal {
    file: Arc<Mutex<File>>,
    /// The last line may be cut, by a disk that is full.
    torn: Arc<AtomicBool>,
}

impl Journal {
    /// A journal in an empty file.
    pub fn new(file: File) -> Self {
        Journal { file: Arc::new(Mutex::new(file)), torn: Arc::default() }
    }

    /// Adds a line about the data.
    pub fn note(&self, entry: &Entry) -> io::Result<()> {
        self.put(entry)
    }

    /// An undo journal whose steps are kept here too.
    pub fn undo(&self) -> Undo {
        let journal = self.clone();
        // A full disk must not keep anybody from tracing; the journal is for the worst case only.
        Undo::with_log(Box::new(move |step| drop(journal.put(&StepLine { step: step.clone() }))))
    }

    /// Notes that the control files are as they were, so that nobody puts them back a second time.
    pub fn put_back(&self) -> io::Result<()> {
        self.put(&Entry::PutBack)
    }

    fn put(&self, line: &impl Serialize) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = if self.torn.load(Ordering::Relaxed) { vec![b'\n'] } else { Vec::new() };
        serde_json::to_writer(&mut text, line)?;
        text.push(b'\n');
        let written = file.write_all(&text);
        self.torn.store(written.is_err(), Ordering::Relaxed);
        written
    }
}

/// The link to a running recorder's journal; dropping it removes it.
#[derive(Debug)]
pub struct Registration {
    link: PathBuf,
}

impl Registration {
    /// Leaves a link to the journal. Where that cannot be done, `reset --stale` has to be told the folder.
    pub fn new(journal: &Path) -> Option<Self> {
        let link = Path::new(RUNNING).join(std::process::id().to_string());
        fs::create_dir_all(RUNNING).ok()?;
        let target = std::path::absolute(journal).ok()?;
        // A link of the same number is of a process that is gone.
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(target, &link).ok()?;
        Some(Registration { link })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.link);
    }
}

/// The journal of a recorder that writes no file: it has `/run/rtrec` to itself. Dropping it removes it.
#[derive(Debug)]
pub struct Kept {
    family: Family,
    journal: Journal,
    _registration: Option<Registration>,
}

impl Kept {
    /// Begins one. Where that cannot be done, a kill leaves the settings as they are.
    pub fn new() -> Option<Self> {
        fs::create_dir_all(RUNNING).ok()?;
        let family = Family::new(Path::new(RUNNING), "stream", std::process::id());
        let _ = fs::remove_file(family.journal());
        let journal = Journal::new(File::create_new(family.journal()).ok()?);
        journal.note(&Entry::Begin(Begin::here("stream".to_owned()))).ok()?;
        let registration = Registration::new(&family.journal());
        Some(Kept { family, journal, _registration: registration })
    }

    /// An undo journal whose steps are kept here too.
    pub fn undo(&self) -> Undo {
        self.journal.undo()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.family.remove();
    }
}

/// What a recorder that is no more has left behind.
#[derive(Debug)]
pub struct Leftover {
    /// Its data.
    pub data: Unsealed,
    /// What it had not put back, oldest change first.
    pub steps: Vec<Step>,
}

/// What became of a step.
#[derive(Debug)]
pub enum Fate {
    /// Put back.
    Done,
    /// Its instance is gone.
    Moot,
    /// Somebody else has changed the setting since: left alone.
    Overtaken,
    /// The kernel refused.
    Failed(Vec<tracefs::Error>),
}

impl Leftover {
    /// Reads a family's journal.
    pub fn open(family: Family) -> io::Result<Self> {
        let mut steps = Vec::new();
        for line in BufReader::new(File::open(family.journal())?).split(b'\n') {
            let line = line?;
            match serde_json::from_slice(&line) {
                Ok(Entry::PutBack) => steps.clear(),
                _ => steps.extend(serde_json::from_slice(&line).ok().map(|line: StepLine| line.step)),
            }
        }
        Ok(Leftover { data: Unsealed::open(family)?, steps })
    }

    /// All that can be found beside `path` (an output or a folder). Those at work are among them.
    pub fn find(path: &Path) -> io::Result<Vec<Self>> {
        Family::find(path)?.into_iter().map(Leftover::open).collect()
    }

    /// All that links in `/run/rtrec` lead to. A link that leads nowhere is removed.
    pub fn registered() -> Vec<Self> {
        let mut found = Vec::new();
        for entry in fs::read_dir(RUNNING).into_iter().flatten().flatten() {
            let link = entry.path();
            let Ok(journal) = fs::read_link(&link) else { continue };
            match Family::of(&journal).map(Leftover::open) {
                Some(Ok(leftover)) => found.push(leftover),
                Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => drop(fs::remove_file(link)),
                _ => {}
            }
        }
        found
    }

    /// Puts the control files back, newest change first. Of another boot's settings nothing is left to put back.
    pub fn put_back(&self) -> Vec<(&Step, Fate)> {
        if !self.data.is_of_this_boot() {
            return Vec::new();
        }
        let mut fates = Vec::new();
        for step in self.steps.iter().rev() {
            fates.push((step, fate(step)));
        }
        fates
    }

    /// Notes that the control files are as they were.
    pub fn forget_steps(&self) -> io::Result<()> {
        Journal::new(File::options().append(true).open(self.data.family.journal())?).put_back()
    }

    /// Whether its recorder is gone and its files are of no use to anybody.
    pub fn is_litter(&self) -> bool {
        self.data.is_void() && !self.data.is_alive() && (self.steps.is_empty() || !self.data.is_of_this_boot())
    }

    /// Whether its recorder is gone and has left control files changed.
    pub fn needs_reset(&self) -> bool {
        !self.steps.is_empty() && self.data.is_of_this_boot() && !self.data.is_alive()
    }
}

fn fate(step: &Step) -> Fate {
    if step.is_moot() {
        return Fate::Moot;
    }
    if step.is_overtaken() {
        return Fate::Overtaken;
    }
    let errors = step.apply();
    // Somebody else may have removed the instance just now.
    match errors.is_empty() {
        true => Fate::Done,
        false if step.is_moot() => Fate::Moot,
        false => Fate::Failed(errors),
    }
}
