//! What recorders that were killed have left: found by their journals, put back, forgotten.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use super::journal::{Journal, RUNNING, StepLine};
use crate::dat::unsealed::{Family, JournalEntry, Unsealed};
use crate::tracefs::{self, undo::Step};

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
pub enum UndoResult {
    /// Put back.
    Done,
    /// Its instance is gone.
    AlreadyGone,
    /// Somebody else has changed the setting since: left alone.
    ChangedSince,
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
                Ok(JournalEntry::PutBack) => steps.clear(),
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
    pub fn put_back(&self) -> Vec<(&Step, UndoResult)> {
        if !self.data.is_of_this_boot() {
            return Vec::new();
        }
        let mut results = Vec::new();
        for step in self.steps.iter().rev() {
            results.push((step, put_back(step)));
        }
        results
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

fn put_back(step: &Step) -> UndoResult {
    if step.is_moot() {
        return UndoResult::AlreadyGone;
    }
    if step.is_overtaken() {
        return UndoResult::ChangedSince;
    }
    let errors = step.apply();
    // Somebody else may have removed the instance just now.
    match errors.is_empty() {
        true => UndoResult::Done,
        false if step.is_moot() => UndoResult::AlreadyGone,
        false => UndoResult::Failed(errors),
    }
}
