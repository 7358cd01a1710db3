//! Prints records while they are recorded.

use std::io::{self, ErrorKind, Write};

use super::recording::status;
use super::say::say;
use crate::live::{self, LiveReport};
use crate::plugins::REGISTRY;
use crate::record::{self, Outcome, Receiver, Round, StreamMetadata};
use crate::report::{ExportSettings, Format, OwnedView, ReadSettings, ReportError, TextSettings, export};

/// The form of records: lines of text, or a format for programs.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) enum RecordFormat {
    Text,
    Export(&'static Format),
}

impl RecordFormat {
    /// What comes out of records in this form.
    pub(in crate::cli) fn view(self, text: TextSettings, fields: Vec<String>) -> OwnedView {
        match self {
            RecordFormat::Text => OwnedView::Text(text),
            RecordFormat::Export(format) => OwnedView::Export(format, ExportSettings { fields, heading: true }),
        }
    }

    /// Whether it is this format.
    pub(in crate::cli) fn is(self, name: &str) -> bool {
        matches!(self, RecordFormat::Export(format) if format.name == name)
    }
}

pub(in crate::cli) fn format(word: &str) -> Result<RecordFormat, String> {
    if word == "text" {
        return Ok(RecordFormat::Text);
    }
    let names = || {
        let all = export::FORMATS.iter().filter(|format| format.has_records()).map(|format| format.name);
        all.collect::<Vec<_>>().join(" and ")
    };
    let found = export::named(word).filter(|format| format.has_records());
    found.map(RecordFormat::Export).ok_or_else(|| format!("there are text, {}", names()))
}

/// Whoever read us has seen enough, or something is wrong.
pub(in crate::cli) fn failure(error: &ReportError, outcome: &Outcome) -> u8 {
    match error {
        ReportError::Write(error) if error.kind() == ErrorKind::BrokenPipe => {
            outcome.ending.filter(|_| outcome.stop != record::Stop::OutputClosed).map_or(0, |_| status(outcome))
        }
        error => {
            say!("rtrec: {error}");
            2
        }
    }
}

/// Prints the rounds.
pub(in crate::cli) struct Printer {
    view: Option<OwnedView>,
    live: Option<LiveReport>,
    to_stderr: bool,
    pub(in crate::cli) failed: Option<ReportError>,
    /// Lines do not say which buffer they are from.
    nameless: bool,
}

impl Printer {
    pub(in crate::cli) fn new(view: OwnedView, to_stderr: bool, nameless: bool) -> Printer {
        Printer { view: Some(view), live: None, to_stderr, failed: None, nameless }
    }

    fn print(&mut self, mut round: Round) -> Result<(), ReportError> {
        let Some(live) = &mut self.live else { return Err(ReportError::NoRecords) };
        round.buffers.iter_mut().filter(|_| self.nameless).for_each(|buffer| buffer.name.clear());
        let mut text = Vec::new();
        live.round(round, &mut text)?;
        if self.to_stderr {
            io::stderr().write_all(&text)?
        } else {
            write_out(&text)?
        }
        Ok(())
    }
}

impl Receiver for Printer {
    fn begin(&mut self, texts: StreamMetadata) {
        // Threads that come and go would be in the trace.
        let reading = live::reading(texts, REGISTRY, ReadSettings { threads: 1, ..ReadSettings::default() });
        match (reading, self.view.take()) {
            (Ok(reading), Some(view)) => self.live = Some(LiveReport::new(reading, view)),
            (Err(error), _) => self.failed = Some(error.into()),
            (_, None) => {}
        }
    }

    fn round(&mut self, round: Round) -> bool {
        if self.failed.is_none() {
            self.failed = self.print(round).err();
        }
        self.failed.is_none()
    }
}

/// Nothing is left in a buffer of ours when a round is over.
fn write_out(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush())
}
