//! What went wrong in a report, in words.

use std::error::Error;

use super::Explained;
use crate::report::analysis::latency::NoPair;
use crate::report::analysis::windows::WindowError;
use crate::report::{ReadError, ReportError, SelectError};

pub(in crate::cli) fn pattern(error: crate::wire::pattern::PatternError) -> Explained {
    Explained::new("a pattern could not be read").row("pattern", &error.pattern).row("reason", error.what)
}

pub(in crate::cli) fn error(error: ReportError) -> Explained {
    match error {
        ReportError::Read(ReadError::Style(error)) => Explained::new("an option of a plugin was refused")
            .row("reason", error.to_string())
            .row("try", "rtrec report --help lists them at -O"),
        ReportError::Read(error @ ReadError::NoWallClock(_)) => {
            Explained::new(error.to_string()).row("try", "recording with rtrec, or with trace-cmd record --date")
        }
        ReportError::Read(ReadError::Select(error)) => selection(&error),
        ReportError::Analysis(error) => analysis(&*error),
        error => Explained::new(error.to_string()),
    }
}

fn analysis(error: &(dyn Error + Send + Sync + 'static)) -> Explained {
    let explained = Explained::new(error.to_string());
    if error.is::<NoPair>() {
        return explained.row("try", "rtrec report -E lists the events, --pair START..STOP names two of them");
    }
    match error.downcast_ref::<WindowError>() {
        Some(WindowError::NoWindows(_)) => {
            explained.row("try", "naming them: --window-marker, --window-syscall 0:read, --window START..STOP")
        }
        Some(WindowError::NoSamples(_)) => {
            explained.row("try", "recording with --sample 1ms; --time off-cpu needs none")
        }
        _ => explained,
    }
}

pub(in crate::cli) fn selection(error: &SelectError) -> Explained {
    match error {
        SelectError::Filter(text, fault) => Explained::new("a filter was refused").row("filter", text).row(
            "",
            format!("{}^ {fault}", " ".repeat(text.get(..fault.at).map_or(0, |before| before.chars().count()))),
        ),
        SelectError::NoEvent(text) => Explained::new("a filter names no event of the file")
            .row("filter", text)
            .row("try", "rtrec report -E lists the events"),
        SelectError::Pattern(error) => pattern(error.clone()),
    }
}
