//! From traces to answers: lines of text, records for programs, analyses.
//!
//! | folder | what is inside |
//! | --- | --- |
//! | [`reading`] | records in order of time: files, pipes, recordings; selection, clocks, threads |
//! | [`text`] | records as lines of text, and lists of what files hold |
//! | [`export`] | records and stacks for programs, one file a format |
//! | [`analysis`] | questions that are asked of records, one folder each |
//! | `mod.rs` | [`print`](fn@print): one of the three, from a [`Reading`] to an output |
//!
//! ```text
//!  reading ---> text        (any threads, in order)
//!         \---> export
//!          \--> analysis --> findings --> text, JSON, stacks
//! ```
//!
//! May import: `decode`, `windows`, `dat`, `symbols`, `spread`, `wire`. May be imported by: `live`, `cli`. It does not know
//! `plugins`, whose registry is handed in, nor anything of recording.

pub mod analysis;
pub mod export;
pub mod reading;
pub mod text;

use std::fmt;
use std::io::{self, Write};

pub use analysis::{Analysis, AnalysisError, Findings, Form, Wants};
pub use export::format::{ExportSettings, Format};
pub use export::stacks::Stacks;
pub use reading::error::ReadError;
pub use reading::input::Input;
pub use reading::record::{Loss, Opened, Origin, Record};
pub use reading::select::{FilterArg, SelectError, Selection};
pub use reading::settings::ReadSettings;
pub use reading::{Outcome, Reading, Records, Take};
pub use text::settings::{Columns, RawEvents, TextSettings};

use analysis::RunError;
use reading::heading;
use reading::pass::Asked;
use text::TextError;

/// What comes out of a report.
pub enum View<'v> {
    /// Lines of text.
    Text(&'v TextSettings),
    /// Records for programs, in a format that holds records.
    Export(&'static Format, &'v ExportSettings),
    /// What an analysis finds.
    Analysis(&'v mut dyn Analysis, Show),
}

/// How findings are shown.
#[derive(Clone, Copy)]
pub enum Show {
    /// As text.
    Text {
        /// Whether the numbers of CPUs stand above it.
        cpus: bool,
        /// Whether the versions of the files stand above it.
        versions: bool,
    },
    /// As JSON, one object a line.
    Json,
    /// As stacks, in a format that holds them.
    Stacks(&'static Format),
}

/// A [`View`] that owns its parts.
pub enum OwnedView {
    /// Lines of text.
    Text(TextSettings),
    /// Records for programs.
    Export(&'static Format, ExportSettings),
    /// What an analysis finds.
    Analysis(Box<dyn Analysis>, Show),
}

impl OwnedView {
    /// It, lent.
    pub fn view(&mut self) -> View<'_> {
        match self {
            OwnedView::Text(settings) => View::Text(settings),
            OwnedView::Export(format, settings) => View::Export(format, settings),
            OwnedView::Analysis(analysis, show) => View::Analysis(analysis.as_mut(), *show),
        }
    }
}

/// Why a report ended early.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReportError {
    /// The records could not be read as asked.
    Read(ReadError),
    /// An analysis cannot answer.
    Analysis(AnalysisError),
    /// The findings or records have no such form.
    NoForm(&'static str),
    /// A text trace together with other files.
    TextMerge(String),
    /// Wake-up latencies of several files.
    WakeupMerge,
    /// A recording ended before it began.
    NoRecords,
    /// Writing the output.
    Write(io::Error),
}

impl fmt::Display for ReportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReportError::Read(error) => write!(f, "{error}"),
            ReportError::Analysis(error) => write!(f, "{error}"),
            ReportError::NoForm(form) => write!(f, "there is no {form} of it"),
            ReportError::Write(error) => write!(f, "{error}"),
            ReportError::TextMerge(file) => write!(f, "{file} holds text and cannot be merged with other files"),
            ReportError::NoRecords => f.write_str("the recording ended before it began"),
            ReportError::WakeupMerge => f.write_str("wake-up latencies are those of a single file"),
        }
    }
}

impl std::error::Error for ReportError {}

impl From<ReadError> for ReportError {
    fn from(error: ReadError) -> ReportError {
        ReportError::Read(error)
    }
}

impl From<io::Error> for ReportError {
    fn from(error: io::Error) -> ReportError {
        ReportError::Write(error)
    }
}

impl From<RunError> for ReportError {
    fn from(error: RunError) -> ReportError {
        match error {
            RunError::Analysis(error) => ReportError::Analysis(error),
            RunError::Write(error) => ReportError::Write(error),
        }
    }
}

impl From<TextError> for ReportError {
    fn from(error: TextError) -> ReportError {
        match error {
            TextError::TextMerge(file) => ReportError::TextMerge(file),
            TextError::WakeupMerge => ReportError::WakeupMerge,
            TextError::Wakeups(error) => ReportError::Analysis(error),
            TextError::Write(error) => ReportError::Write(error),
        }
    }
}

/// Prints what is asked for; of a recording, the records that have come.
pub fn print(reading: &mut Reading, view: View<'_>, out: &mut dyn Write) -> Result<Outcome, ReportError> {
    let opened = reading.opened();
    let mut notes = Vec::new();
    if !reading.has_begun() {
        for (file, input) in opened.inputs.iter().enumerate() {
            notes.extend(input.notes.iter().map(|note| (file, note.clone())));
        }
    }
    let mut outcome = match view {
        View::Text(settings) => text::print(reading, settings, out)?,
        View::Export(format, settings) => export_records(reading, format, settings, out)?,
        View::Analysis(analysis, show) => analyse(reading, analysis, show, out)?,
    };
    notes.append(&mut outcome.notes);
    Ok(Outcome { notes, ..outcome })
}

fn export_records(
    reading: &mut Reading,
    format: &Format,
    settings: &ExportSettings,
    out: &mut dyn Write,
) -> Result<Outcome, ReportError> {
    let make = format.records.ok_or(ReportError::NoForm(format.name))?;
    let is_first = !reading.has_begun();
    let mut pass = reading.pass(&Asked { has_tail: true, ..Asked::default() });
    let writer = make(pass.opened(), settings);
    if settings.heading && is_first {
        out.write_all(&writer.heading())?;
    }
    pass.render(&*writer, |_| {}, out)?;
    drop(writer);
    Ok(pass.finish())
}

fn analyse(
    reading: &mut Reading,
    analysis: &mut dyn Analysis,
    show: Show,
    out: &mut dyn Write,
) -> Result<Outcome, ReportError> {
    if let Show::Text { cpus, versions } = show {
        let (opened, mut above) = (reading.opened(), Vec::new());
        analysis.above(opened, &mut above);
        out.write_all(&above)?;
        if versions {
            heading::versions(opened.inputs, out)?;
        }
        if cpus {
            heading::cpu_counts(opened.inputs, out)?;
        }
    }
    let form = if matches!(show, Show::Json) { Form::Json } else { Form::Text };
    let outcome = analysis::run(reading, analysis, form, out)?;
    show_findings(&*analysis.finish(reading.opened()), show, out)?;
    Ok(outcome)
}

/// Prints what an analysis has found.
pub fn show_findings(findings: &dyn Findings, show: Show, out: &mut dyn Write) -> Result<(), ReportError> {
    match show {
        Show::Text { .. } => findings.text(out)?,
        Show::Json => findings.json(out).ok_or(ReportError::NoForm("JSON"))??,
        Show::Stacks(format) => {
            let draw = format.stacks.ok_or(ReportError::NoForm(format.name))?;
            draw(&findings.stacks().ok_or(ReportError::NoForm(format.name))?, out)?;
        }
    }
    Ok(())
}
