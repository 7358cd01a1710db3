//! What an analysis is: which events it wants, what it makes of records, and what comes out.

use std::error::Error;
use std::io::{self, Write};

use crate::report::export::stacks::Stacks;
use crate::report::reading::Take;
use crate::report::reading::record::Opened;

/// Why an analysis cannot answer.
pub type AnalysisError = Box<dyn Error + Send + Sync>;

/// The events that an analysis needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wants {
    /// All there are.
    #[default]
    All,
    /// These, as (system, event). What a trace does not have is not missed.
    Events(Vec<(String, String)>),
}

impl Wants {
    /// These events of one system.
    pub fn of(system: &str, events: &[&str]) -> Wants {
        Wants::Events(events.iter().map(|event| (system.to_owned(), (*event).to_owned())).collect())
    }
}

/// What findings are wanted as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Text for people.
    #[default]
    Text,
    /// JSON, one object a line.
    Json,
}

/// A question that is asked of records in order of time, whether they come from a file, a pipe or a recording.
///
/// It keeps state for each task and CPU, not for each record, so that it can be asked of any number of them.
pub trait Analysis: Take {
    /// The events it needs: a recording for it records these.
    fn wants(&self) -> Wants {
        Wants::All
    }

    /// Whether records of other events may be left out while reading a file, which is faster. What was lost is then reported
    /// only before the next record of the events it wants.
    fn reads_only_these(&self) -> bool {
        false
    }

    /// Appends what stands above its text.
    fn above(&self, opened: Opened<'_>, out: &mut Vec<u8>) {
        let _ = (opened, out);
    }

    /// Learns what will be read, before the first record comes.
    fn begin(&mut self, opened: Opened<'_>) -> Result<(), AnalysisError> {
        let _ = opened;
        Ok(())
    }

    /// Appends what is to be printed before the end.
    fn meanwhile(&mut self, form: Form, opened: Opened<'_>, out: &mut Vec<u8>) {
        let _ = (form, opened, out);
    }

    /// What was found.
    fn finish<'f>(&'f mut self, opened: Opened<'f>) -> Box<dyn Findings + 'f>;
}

/// What an analysis has found, ready to be shown.
pub trait Findings {
    /// Prints it for people.
    fn text(&self, out: &mut dyn Write) -> io::Result<()>;

    /// Prints it as JSON, one object a line. `None`: there is no such form of it.
    fn json(&self, out: &mut dyn Write) -> Option<io::Result<()>> {
        let _ = out;
        None
    }

    /// It as stacks with their time. `None`: there is no such form of it.
    fn stacks(&self) -> Option<Stacks> {
        None
    }
}
