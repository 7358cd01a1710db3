//! Records as lines of text.
//!
//! | file | what is inside |
//! | --- | --- |
//! | `mod.rs` | [`print`]: heading, lines, and what stands below them |
//! | [`settings`] | which columns, and what is printed besides |
//! | `columns` | a record as a line |
//! | `kernel_graph` | the function graph as the kernel's own `trace` file shows it |
//! | `legend`, `dump` | what columns mean; where records lie in their sub-buffers |
//! | [`lists`] | what can be said of files without their records |
//!
//! May import: `report::reading`, `report::analysis::wakeup` and the hooks of `report::analysis::profile`, `decode`, `dat`,
//! `wire`. May be imported by: `report` and everything above it. A new layout is a file here, chosen in `print`.

mod columns;
mod dump;
mod kernel_graph;
mod legend;
pub mod lists;
pub mod settings;

use std::io::{self, Write};
use std::ops::ControlFlow;

use columns::TextLines;
use kernel_graph::KernelGraph;
use settings::TextSettings;

use super::analysis::interface::{Analysis, AnalysisError};
use super::analysis::profile::list_hooks;
use super::analysis::wakeup::Wakeups;
use super::reading::clock::Unit;
use super::reading::heading::{cpu_counts, versions};
use super::reading::input::Input;
use super::reading::pass::Asked;
use super::reading::record::Opened;
use super::reading::{Outcome, Reading};
use crate::dat::Note;
use crate::decode::Compat;

/// Why text could not be printed.
#[derive(Debug)]
#[non_exhaustive]
pub enum TextError {
    /// A text trace together with other files.
    TextMerge(String),
    /// Wake-up latencies of several files.
    WakeupMerge,
    /// Wake-up latencies cannot be measured.
    Wakeups(AnalysisError),
    /// Writing the output.
    Write(io::Error),
}

impl From<io::Error> for TextError {
    fn from(error: io::Error) -> TextError {
        TextError::Write(error)
    }
}

/// Prints all records; of a recording, those that have come.
pub(super) fn print(reading: &mut Reading, settings: &TextSettings, out: &mut dyn Write) -> Result<Outcome, TextError> {
    if settings.wakeups && reading.opened().inputs.len() > 1 {
        return Err(TextError::WakeupMerge);
    }
    let compat = reading.settings().style.compat;
    // Only drawn graphs fold an exit into its entry: raw fields want every record.
    reading.adapt(settings.boundaries, !settings.columns.raw.holds("ftrace", "funcgraph_entry"));
    let draws_kernel_graph = kernel_graph::is_wanted(reading.opened().lanes);
    if !reading.has_begun() {
        heading(reading.opened(), settings, compat, out)?;
    }
    let mut notes = print_texts(reading.opened().inputs, compat, out)?;
    let asked = Asked { keeps_account: settings.wakeups, has_tail: true, ..Asked::default() };
    let mut wakeups = settings.wakeups.then(Wakeups::default);
    if let Some(wakeups) = &mut wakeups {
        wakeups.begin(reading.opened()).map_err(TextError::Wakeups)?;
    }
    let mut pass = reading.pass(&asked);
    let opened = pass.opened();
    if draws_kernel_graph {
        let mut graph = KernelGraph::new(opened);
        let mut written = Ok(());
        pass.consume(|batch| {
            written = graph.take(batch, out);
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        written?;
    } else {
        let lines = TextLines::new(opened, &settings.columns, compat, settings.dump);
        pass.render(&lines, |batch| wakeups.iter_mut().for_each(|wakeups| wakeups.note(batch, opened)), out)?;
    }
    if let Some(wakeups) = &mut wakeups {
        wakeups.finish(opened).text(out)?;
    }
    let mut outcome = pass.finish();
    notes.append(&mut outcome.notes);
    Ok(Outcome { notes, ..outcome })
}

fn heading(opened: Opened<'_>, settings: &TextSettings, compat: Compat, out: &mut dyn Write) -> io::Result<()> {
    let (lanes, inputs) = (opened.lanes, opened.inputs);
    let draws_kernel_graph = kernel_graph::is_wanted(lanes);
    if settings.heading {
        if compat != Compat::Rtrec {
            let mut hooks = Vec::new();
            list_hooks(inputs, &[], &mut hooks);
            out.write_all(&hooks)?;
        }
        if settings.dump {
            versions(inputs, out)?;
        }
        if draws_kernel_graph {
            out.write_all(kernel_graph::heading(lanes).as_bytes())?;
        } else {
            cpu_counts(inputs, out)?;
        }
    }
    if settings.legend && !draws_kernel_graph {
        let prefix = lanes.first().map_or(0, |lane| lane.prefix.len());
        let ticks = settings.columns.bare_ticks || lanes.iter().any(|lane| lane.unit == Unit::Raw);
        out.write_all(legend::legend(&settings.columns, compat, ticks, prefix).as_bytes())?;
    }
    Ok(())
}

/// Prints traces that were stored as text.
fn print_texts(inputs: &[Input], compat: Compat, out: &mut dyn Write) -> Result<Vec<(usize, Note)>, TextError> {
    let mut notes = Vec::new();
    for (file, input) in inputs.iter().enumerate() {
        for buffer in &input.dat.texts {
            if inputs.len() > 1 {
                return Err(TextError::TextMerge(input.path.clone()));
            }
            match input.dat.text(buffer) {
                Ok(mut text) => {
                    if compat != Compat::Rtrec {
                        text.push(b'\n');
                    }
                    out.write_all(&text)?;
                }
                Err(note) => notes.push((file, note)),
            }
        }
    }
    Ok(notes)
}
