//! The windows that a report is to show.

use super::super::common::explain::Explained;
use super::super::common::windows::{ByArg, Resolve, SortArg, TimeArg};
use super::args::{FormatArg, Options};
use crate::report::Input;
use crate::report::analysis::windows::{By, FoldedTime, Sort, WindowSettings, stored_session};
use crate::windows::spec::{Place, PlacedWindow};
use crate::windows::syscalls::Machine;
use crate::windows::{Point, Session, Source};

/// Finds events in a file's formats; places of probes in what its recorder stored.
struct OfFile<'a> {
    input: &'a Input,
    stored: Option<Session>,
}

impl Resolve for OfFile<'_> {
    fn has_event(&self, system: &str, event: &str) -> bool {
        self.input.trace.formats.find(system, event).is_some()
    }

    fn probe(&mut self, place: &Place, returns: bool, window: &PlacedWindow) -> Result<Point, String> {
        let definitions = self.stored.iter().flat_map(|stored| &stored.definitions);
        let same = definitions.filter(|definition| window.text.starts_with(&definition.name)).find_map(|definition| {
            let Source::Points { start, stop } = &definition.source else { return None };
            let stops = returns || window.stop.as_ref() == Some(place);
            if stops { stop.first() } else { start.first() }.cloned()
        });
        same.ok_or_else(|| format!("{} has neither an event nor a probe {:?}", self.input.path, place.word))
    }
}

pub(super) fn window_settings(options: &Options, inputs: &[Input]) -> Result<WindowSettings, Explained> {
    let mut sessions = Vec::new();
    for input in inputs {
        let machine = input.dat.options.uname.as_deref().and_then(Machine::of_uname);
        let mut of_file = OfFile { input, stored: stored_session(&input.dat) };
        let session =
            options.analysis.window.any().then(|| options.analysis.window.session(machine, &mut of_file)).transpose();
        sessions.push(session.map_err(|reason| {
            Explained::new("a window could not be understood")
                .row("reason", reason)
                .row("try", "rtrec report -E lists the events")
        })?);
    }
    Ok(WindowSettings {
        sessions,
        threshold_ns: options.analysis.window.threshold,
        min_ns: options.analysis.view.min,
        // Who woke a thread and what ran in its place belongs to its windows, so threads are not picked by their records.
        threads: options.select.pid.clone(),
        all_steps: options.analysis.view.all_steps,
        user_symbols: options.files.user_symbols,
        top: options.analysis.view.top,
        sort: match options.analysis.view.sort {
            None | Some(SortArg::Start) => Sort::Start,
            Some(SortArg::Duration) => Sort::Duration,
            Some(SortArg::Gap) => Sort::Gap,
        },
        by: match options.analysis.view.by {
            None | Some(ByArg::Kind) => By::Kind,
            Some(ByArg::Thread) => By::Thread,
            Some(ByArg::Label) => By::Label,
        },
        stacks: match options.layout.format {
            FormatArg::Export(format) if format.has_stacks() => true,
            FormatArg::Export(format) if format.name != "json" => {
                return Err(Explained::new(format!("windows have no {}", format.name.to_uppercase()))
                    .row("try", "--format json, one object a window"));
            }
            _ => false,
        },
        time: match options.analysis.view.time {
            Some(TimeArg::OnCpu) => FoldedTime::OnCpu,
            Some(TimeArg::OffCpu) => FoldedTime::OffCpu,
            None | Some(TimeArg::Wall) => FoldedTime::Wall,
        },
    })
}
