//! What of the command line makes which analysis, and what comes out.
//!
//! A new analysis of `rtrec report` is one line in [`ANALYSES`].

use super::super::common::explain::Explained;
use super::args::{Flat, FormatArg};
use super::settings::{export_settings, hooks, text_settings};
use crate::decode::Compat;
use crate::report::analysis::graph_stats::GraphStats;
use crate::report::analysis::latency::{Latency, LatencySettings};
use crate::report::analysis::profile::{ProfileSettings, Profiler};
use crate::report::analysis::summary::Summary;
use crate::report::analysis::windows::{WindowSettings, Windows};
use crate::report::{Analysis, Format, OwnedView, Show, export};

/// An analysis on the command line.
struct Question {
    is_asked: fn(&Flat) -> bool,
    make: fn(&Flat, Compat) -> Result<Box<dyn Analysis>, Explained>,
    show: fn(&Flat) -> Show,
}

/// Of several the last one is answered.
const ANALYSES: &[Question] = &[
    Question { is_asked: |flat| flat.summary, make: |_, _| Ok(Box::new(Summary::default())), show: |_| BARE },
    Question { is_asked: |flat| flat.graph_stats, make: |_, _| Ok(Box::new(GraphStats::default())), show: |_| BARE },
    Question { is_asked: |flat| flat.latency || !flat.pair.is_empty(), make: latency, show: text_or_json },
    Question { is_asked: |flat| flat.profile, make: profile, show: below_heading },
];

/// Text and nothing above it.
const BARE: Show = Show::Text { cpus: false, versions: false };

fn below_heading(flat: &Flat) -> Show {
    Show::Text { cpus: true, versions: flat.debug }
}

fn text_or_json(flat: &Flat) -> Show {
    if flat.format == FormatArg::Json { Show::Json } else { BARE }
}

fn latency(flat: &Flat, _: Compat) -> Result<Box<dyn Analysis>, Explained> {
    let settings = LatencySettings { pairs: flat.pair.clone(), threshold: flat.window.threshold };
    Ok(Box::new(Latency::new(settings)))
}

fn profile(flat: &Flat, compat: Compat) -> Result<Box<dyn Analysis>, Explained> {
    let settings = ProfileSettings { global: flat.global, by_comm: flat.by_comm, hooks: hooks(&flat.hook)? };
    Ok(Box::new(Profiler::new(settings, compat)))
}

/// What comes out. `windows` is what is to be shown of windows, if they are asked for.
pub(super) fn view(flat: &Flat, compat: Compat, windows: Option<WindowSettings>) -> Result<OwnedView, Explained> {
    let format = records(flat, windows.is_some())?;
    let question = ANALYSES.iter().rev().find(|question| (question.is_asked)(flat));
    let view = match (windows, question, format) {
        (Some(settings), ..) => OwnedView::Analysis(Box::new(Windows::new(settings)), show_windows(flat)),
        (None, Some(question), _) => OwnedView::Analysis((question.make)(flat, compat)?, (question.show)(flat)),
        (None, None, Some(format)) => OwnedView::Export(format, export_settings(flat)),
        (None, None, None) => OwnedView::Text(text_settings(flat)?),
    };
    if flat.wakeup && !matches!(view, OwnedView::Text(_)) {
        return Err(Explained::new("-w adds to the text of records and has no place in other formats")
            .row("try", "--format json --fields time,event,pid,next_pid"));
    }
    Ok(view)
}

/// The format of records; `None`: lines of text.
fn records(flat: &Flat, shows_windows: bool) -> Result<Option<&'static Format>, Explained> {
    Ok(match flat.format {
        FormatArg::Text => None,
        FormatArg::Json => export::named("json"),
        FormatArg::Csv => export::named("csv"),
        FormatArg::Folded | FormatArg::Flamegraph if shows_windows => None,
        FormatArg::Folded | FormatArg::Flamegraph => {
            let word = if flat.format == FormatArg::Folded { "folded" } else { "flamegraph" };
            return Err(Explained::new(format!("--format {word} is for windows"))
                .row("try", format!("rtrec report --windows --format {word}")));
        }
    })
}

fn show_windows(flat: &Flat) -> Show {
    let stacks = match flat.format {
        FormatArg::Folded => export::named("folded"),
        FormatArg::Flamegraph => export::named("flamegraph"),
        _ => None,
    };
    stacks.map_or_else(|| text_or_json(flat), Show::Stacks)
}
