//! The journal on disk: what a recorder that is killed leaves for `rtrec restore`, `rtrec reset --stale` and `report`.
//!
//! One JSON object a line, each written by one `write(2)` before what it tells is done. The lines about data are
//! [`dat::unsealed::JournalEntry`](crate::dat::unsealed::JournalEntry), those about control files are `{"step": …}`. The journal lies beside the data; a link in
//! `/run/rtrec` leads to it, for those who no longer know where that was. Nothing is synced: when the machine dies,
//! the settings die with it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::dat::unsealed::{Family, JournalEntry, RecordingStart};
use crate::tracefs::{Undo, undo::Step};

/// Where links to the journals of running recorders are.
pub(super) const RUNNING: &str = "/run/rtrec";

/// A line about a control file.
#[derive(Deserialize, Serialize)]
pub(super) struct StepLine {
    pub(super) step: Step,
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
    pub fn note(&self, entry: &JournalEntry) -> io::Result<()> {
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
        self.put(&JournalEntry::PutBack)
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
pub struct JournalLink {
    link: PathBuf,
}

impl JournalLink {
    /// Leaves a link to the journal. Where that cannot be done, `reset --stale` has to be told the folder.
    pub fn new(journal: &Path) -> Option<Self> {
        let link = Path::new(RUNNING).join(std::process::id().to_string());
        fs::create_dir_all(RUNNING).ok()?;
        let target = std::path::absolute(journal).ok()?;
        // A link of the same number is of a process that is gone.
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(target, &link).ok()?;
        Some(JournalLink { link })
    }
}

impl Drop for JournalLink {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.link);
    }
}

/// The journal of a recorder that writes no file: it has `/run/rtrec` to itself. Dropping it removes it.
#[derive(Debug)]
pub struct StandaloneJournal {
    family: Family,
    journal: Journal,
    _link: Option<JournalLink>,
}

impl StandaloneJournal {
    /// Begins one. Where that cannot be done, a kill leaves the settings as they are.
    pub fn new() -> Option<Self> {
        fs::create_dir_all(RUNNING).ok()?;
        let family = Family::new(Path::new(RUNNING), "stream", std::process::id());
        let _ = fs::remove_file(family.journal());
        let journal = Journal::new(File::create_new(family.journal()).ok()?);
        journal.note(&JournalEntry::Begin(RecordingStart::here("stream".to_owned()))).ok()?;
        let link = JournalLink::new(&family.journal());
        Some(StandaloneJournal { family, journal, _link: link })
    }

    /// An undo journal whose steps are kept here too.
    pub fn undo(&self) -> Undo {
        self.journal.undo()
    }
}

impl Drop for StandaloneJournal {
    fn drop(&mut self) {
        let _ = self.family.remove();
    }
}
