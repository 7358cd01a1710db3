//! A recording whose records are looked at while it goes on: printed, or asked by an analysis.
//!
//! Owns: handing what a recorder brings to a reading. Does not own: recording (see [`record`]), reading and
//! analyses (see [`report`]); the two do not know each other.
//!
//! May be imported by: `cli`.

use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::time::Duration;

use crate::decode::{Registry, Trace};
use crate::probe;
use crate::record::{self, Observer, Receiver, Round, Settings, StreamMetadata};
use crate::report::reading::live::LiveTrace;
use crate::report::{
    self, Analysis, Form, OwnedView, ReadError, ReadSettings, Reading, ReportError, Selection, Show, Wants, analysis,
};
use crate::setup::{BufferSettings, EventSettings};
use crate::wire::abi::Abi;
use crate::wire::tables::{Kallsyms, PrintkFormats};

/// Opens a reading of what a recorder brings.
pub fn reading(texts: StreamMetadata, registry: Registry, settings: ReadSettings) -> Result<Reading, ReadError> {
    let mut trace = Trace::new(Abi::HOST);
    for (system, text) in &texts.formats {
        trace.formats.push(system, text);
    }
    trace.printk = PrintkFormats::new(texts.printk);
    trace.kallsyms = Kallsyms::new(texts.kallsyms);
    trace.btf = Some(texts.types).filter(|types| !types.is_empty());
    let live = LiveTrace { trace, layout: texts.layout, tsc2nsec: texts.tsc2nsec };
    Reading::live(live, registry, settings, &Selection::default())
}

/// Prints what a recorder brings, round by round.
pub struct LiveReport {
    reading: Reading,
    view: OwnedView,
}

impl LiveReport {
    /// Prints `view` of what will come.
    pub fn new(reading: Reading, view: OwnedView) -> LiveReport {
        LiveReport { reading, view }
    }

    /// Takes a round; prints its records, or what an analysis has to say before the end.
    pub fn round(&mut self, round: Round, out: &mut dyn Write) -> Result<(), ReportError> {
        self.reading.feed(round.buffers, round.names, round.cut)?;
        match &mut self.view {
            OwnedView::Analysis(analysis, show) => {
                let form = if matches!(show, Show::Json) { Form::Json } else { Form::Text };
                analysis::run(&mut self.reading, analysis.as_mut(), form, out)?;
            }
            view => drop(report::print(&mut self.reading, view.view(), out)?),
        }
        Ok(())
    }

    /// Prints what an analysis has found.
    pub fn finish(&mut self, out: &mut dyn Write) -> Result<(), ReportError> {
        match &mut self.view {
            OwnedView::Analysis(analysis, show) => {
                let show = *show;
                report::show_findings(&*analysis.finish(self.reading.opened()), show, out)
            }
            _ => Ok(()),
        }
    }
}

/// Why a recording for an analysis ended early.
#[derive(Debug)]
#[non_exhaustive]
pub enum LiveError {
    /// Recording.
    Record(record::Error),
    /// Reading, or the analysis.
    Report(ReportError),
}

impl fmt::Display for LiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LiveError::Record(error) => write!(f, "{error}"),
            LiveError::Report(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for LiveError {}

/// Hands what a recorder brings to an analysis.
struct Asking<'a> {
    analysis: &'a mut dyn Analysis,
    registry: Registry,
    reading: Option<Reading>,
    failed: Option<ReportError>,
}

impl Asking<'_> {
    fn take(&mut self, round: Round) -> Result<(), ReportError> {
        let Some(reading) = &mut self.reading else { return Ok(()) };
        reading.feed(round.buffers, round.names, round.cut)?;
        analysis::run(reading, self.analysis, Form::Text, &mut std::io::sink())?;
        Ok(())
    }
}

impl Receiver for Asking<'_> {
    fn begin(&mut self, texts: StreamMetadata) {
        match reading(texts, self.registry, ReadSettings { threads: 1, ..ReadSettings::default() }) {
            Ok(reading) => self.reading = Some(reading),
            Err(error) => self.failed = Some(error.into()),
        }
    }

    fn round(&mut self, round: Round) -> bool {
        if self.failed.is_none() {
            self.failed = self.take(round).err();
        }
        self.failed.is_none()
    }
}

/// Settings of a recording that brings what `analysis` wants, in an instance of its own: what others record goes on, and
/// nothing is left changed. It lasts until `command` ends, or, if that is empty, until something stops it.
pub fn settings_for(analysis: &dyn Analysis, command: Vec<OsString>) -> Settings {
    let words = match analysis.wants() {
        Wants::All => vec!["all".to_owned()],
        Wants::Events(events) => events.iter().map(|(system, event)| format!("{system}:{event}")).collect(),
    };
    let event = |word| EventSettings { word, optional: true, ..EventSettings::default() };
    let events = words.into_iter().map(event).collect();
    let mut settings = Settings::default();
    let instance = Some(probe::session_group());
    settings.setup.buffers.push(BufferSettings { instance, events, ..BufferSettings::default() });
    settings.capture.command = command;
    settings
}

/// Records as `settings` say and hands the records to `analysis` in order of time, each at most about `delay` after it was
/// written. What was found is asked for by [`Analysis::finish`] with what is read, which is returned.
pub fn analyse(
    settings: &Settings,
    delay: Duration,
    watch: &dyn Observer,
    registry: Registry,
    analysis: &mut dyn Analysis,
) -> Result<Reading, LiveError> {
    let mut asking = Asking { analysis, registry, reading: None, failed: None };
    record::stream(settings, delay, watch, &mut asking).map_err(LiveError::Record)?;
    let Asking { reading, failed, .. } = asking;
    match (reading, failed) {
        (_, Some(error)) => Err(LiveError::Report(error)),
        (Some(reading), None) => Ok(reading),
        (None, None) => Err(LiveError::Report(ReportError::NoRecords)),
    }
}
