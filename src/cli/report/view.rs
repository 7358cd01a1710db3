//! What of the command line makes which analysis, and what comes out.
//!
//! A new analysis of `rtrec report` is one line in [`ANALYSES`].

use super::super::common::explain::Explained;
use super::args::{FormatArg, Options};
use super::settings::{export_settings, hooks, text_settings};
use crate::decode::Compat;
use crate::report::analysis::graph_stats::GraphStats;
use crate::report::analysis::latency::{Latency, LatencySettings};
use crate::report::analysis::profile::{ProfileSettings, Profiler};
use crate::report::analysis::summary::Summary;
use crate::report::analysis::windows::{WindowSettings, Windows};
use crate::report::{Analysis, Format, OwnedView, Show};

/// An analysis, or why there is none.
type Made = Result<Box<dyn Analysis>, Explained>;

/// An analysis on the command line.
struct Question {
    is_asked: fn(&Options) -> bool,
    make: fn(&Options, Compat) -> Made,
    show: fn(&Options) -> Show,
}

/// Of several the last one is answered.
const ANALYSES: &[Question] = &[
    Question {
        is_asked: |options| options.analysis.summary,
        make: |_, _| Ok(Box::new(Summary::default())),
        show: |_| BARE,
    },
    Question {
        is_asked: |options| options.analysis.graph_stats,
        make: |_, _| Ok(Box::new(GraphStats::default())),
        show: |_| BARE,
    },
    Question {
        is_asked: |options| options.analysis.latency || !options.analysis.pair.is_empty(),
        make: latency,
        show: text_or_json,
    },
    Question { is_asked: |options| options.analysis.profile, make: profile, show: below_heading },
];

/// Text and nothing above it.
const BARE: Show = Show::Text { cpus: false, versions: false };

fn below_heading(options: &Options) -> Show {
    Show::Text { cpus: true, versions: options.layout.debug }
}

fn text_or_json(options: &Options) -> Show {
    if options.layout.format.is_json() { Show::Json } else { BARE }
}

fn latency(options: &Options, _: Compat) -> Made {
    let settings =
        LatencySettings { pairs: options.analysis.pair.clone(), threshold: options.analysis.window.threshold };
    Ok(Box::new(Latency::new(settings)))
}

fn profile(options: &Options, compat: Compat) -> Made {
    let settings = ProfileSettings {
        global: options.analysis.global,
        by_comm: options.analysis.by_comm,
        hooks: hooks(&options.analysis.hook)?,
    };
    Ok(Box::new(Profiler::new(settings, compat)))
}

/// What comes out. `windows` is what is to be shown of windows, if they are asked for.
pub(super) fn view(options: &Options, compat: Compat, windows: Option<WindowSettings>) -> Result<OwnedView, Explained> {
    let format = records(options, windows.is_some())?;
    let question = ANALYSES.iter().rev().find(|question| (question.is_asked)(options));
    let view = match (windows, question, format) {
        (Some(settings), ..) => OwnedView::Analysis(Box::new(Windows::new(settings)), show_windows(options)),
        (None, Some(question), _) => OwnedView::Analysis((question.make)(options, compat)?, (question.show)(options)),
        (None, None, Some(format)) => OwnedView::Export(format, export_settings(options)),
        (None, None, None) => OwnedView::Text(text_settings(options)?),
    };
    if options.layout.wakeup && !matches!(view, OwnedView::Text(_)) {
        return Err(Explained::new("-w adds to the text of records and has no place in other formats")
            .row("try", "--format json --fields time,event,pid,next_pid"));
    }
    Ok(view)
}

/// The format of records; `None`: lines of text.
fn records(options: &Options, shows_windows: bool) -> Result<Option<&'static Format>, Explained> {
    match options.layout.format {
        FormatArg::Text => Ok(None),
        FormatArg::Export(format) if format.has_records() => Ok(Some(format)),
        FormatArg::Export(_) if shows_windows => Ok(None),
        FormatArg::Export(format) => Err(Explained::new(format!("--format {} is for windows", format.name))
            .row("try", format!("rtrec report --windows --format {}", format.name))),
    }
}

fn show_windows(options: &Options) -> Show {
    match options.layout.format {
        FormatArg::Export(format) if format.has_stacks() => Show::Stacks(format),
        _ => text_or_json(options),
    }
}
