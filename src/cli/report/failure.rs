//! What went wrong in a report, in words.

use std::error::Error;

use crate::report::analysis::latency::NoPair;
use crate::report::analysis::windows::WindowError;
use crate::report::{ReadError, ReportError, SelectError};

/// What went wrong, in the words of style: what, where, and what to do.
pub(super) struct Failure {
    pub(super) what: String,
    pub(super) lines: Vec<(&'static str, String)>,
}

impl Failure {
    pub(super) fn new(what: impl Into<String>) -> Failure {
        Failure { what: what.into(), lines: Vec::new() }
    }

    pub(super) fn with(mut self, label: &'static str, text: impl Into<String>) -> Failure {
        self.lines.push((label, text.into()));
        self
    }

    pub(super) fn print(&self) {
        eprintln!("rtrec report: {}", self.what);
        for (label, text) in &self.lines {
            eprintln!("  {label:<7} {text}");
        }
    }
}

pub(super) fn pattern_failure(error: crate::wire::pattern::PatternError) -> Failure {
    Failure::new("a pattern could not be read").with("pattern", &error.pattern).with("reason", error.what)
}

pub(super) fn report_failure(error: ReportError) -> Failure {
    match error {
        ReportError::Read(ReadError::Style(error)) => Failure::new("an option of a plugin was refused")
            .with("reason", error.to_string())
            .with("try", "rtrec report --help lists them at -O"),
        ReportError::Read(error @ ReadError::NoWallClock(_)) => {
            Failure::new(error.to_string()).with("try", "recording with rtrec, or with trace-cmd record --date")
        }
        ReportError::Read(ReadError::Select(error)) => select_failure(&error),
        ReportError::Analysis(error) => analysis_failure(&*error),
        error => Failure::new(error.to_string()),
    }
}

fn analysis_failure(error: &(dyn Error + Send + Sync + 'static)) -> Failure {
    let failure = Failure::new(error.to_string());
    if error.is::<NoPair>() {
        return failure.with("try", "rtrec report -E lists the events, --pair START..STOP names two of them");
    }
    match error.downcast_ref::<WindowError>() {
        Some(WindowError::NoWindows(_)) => {
            failure.with("try", "naming them: --window-marker, --window-syscall 0:read, --window START..STOP")
        }
        Some(WindowError::NoSamples(_)) => {
            failure.with("try", "recording with --sample 1ms; --time off-cpu needs none")
        }
        _ => failure,
    }
}

pub(super) fn select_failure(error: &SelectError) -> Failure {
    match error {
        SelectError::Filter(text, fault) => Failure::new("a filter was refused").with("filter", text).with(
            "",
            format!("{}^ {fault}", " ".repeat(text.get(..fault.at).map_or(0, |before| before.chars().count()))),
        ),
        SelectError::NoEvent(text) => Failure::new("a filter names no event of the file")
            .with("filter", text)
            .with("try", "rtrec report -E lists the events"),
        SelectError::Pattern(error) => pattern_failure(error.clone()),
    }
}
