//! Questions that are asked of records: one folder an analysis, all behind one trait.
//!
//! | folder | question |
//! | --- | --- |
//! | [`interface`] | what an analysis is: the traits [`Analysis`] and [`Findings`] |
//! | [`summary`] | how many records are there of each event, task and CPU, and what was lost? |
//! | [`graph_stats`] | how often were functions called, and how long did they take? |
//! | [`latency`] | how long do calls take, by pairs of events? |
//! | [`wakeup`] | how long do tasks wait from being woken to running? |
//! | [`profile`] | where do tasks spend their time? |
//! | [`windows`] | what happened in response-time windows? |
//!
//! An analysis takes records in order of time, wherever they come from: [`run`] works on files, on pipes, and, round by round,
//! on what is being recorded.
//!
//! May import: `report::reading`, `report::export::stacks`, `decode`, `windows`, `dat`, `symbols`, `wire`, `spread`. May be imported
//! by: `report::text` (for [`wakeup`]), `report`, `live`, `cli`. A new analysis is a folder here with an implementation of
//! [`Analysis`], and one line below; what the command line calls it is said in `cli::report`.

pub mod graph_stats;
pub mod interface;
pub mod latency;
pub mod profile;
pub mod summary;
pub mod wakeup;
pub mod windows;

use std::fmt;
use std::io::{self, Write};
use std::ops::ControlFlow;

pub use interface::{Analysis, AnalysisError, Findings, Form, Wants};

use super::reading::pass::Asked;
use super::reading::{Outcome, Reading, Records};

/// Why an analysis ended early.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// It cannot answer.
    Analysis(AnalysisError),
    /// Writing what it has to say before the end.
    Write(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Analysis(error) => write!(f, "{error}"),
            RunError::Write(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for RunError {}

/// Hands all records to an analysis; of a recording, those that have come. What it has to say before the end is written to
/// `out`; what it has found is asked for by [`Analysis::finish`].
pub fn run(
    reading: &mut Reading,
    analysis: &mut dyn Analysis,
    form: Form,
    out: &mut dyn Write,
) -> Result<Outcome, RunError> {
    if !reading.has_begun() {
        analysis.begin(reading.opened()).map_err(RunError::Analysis)?;
    }
    let events = match analysis.wants() {
        Wants::Events(events) if analysis.reads_only_these() => Some(events),
        _ => None,
    };
    let mut pass = reading.pass(&Asked { events, ..Asked::default() });
    let (opened, mut failed, mut text) = (pass.opened(), None, Vec::new());
    pass.consume(|batch| {
        analysis.take_all(Records::of(batch, opened));
        analysis.meanwhile(form, opened, &mut text);
        let written = if text.is_empty() { Ok(()) } else { out.write_all(&text) };
        text.clear();
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    });
    let outcome = pass.finish();
    failed.map_or(Ok(outcome), |error| Err(RunError::Write(error)))
}
