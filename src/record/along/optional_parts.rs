//! What only some recordings bring: the date, memory maps, the scale of cycles, names over time, hooks.

use super::memory_maps::Maps;
use super::names_over_time::{NamesAndClocks, NamesRecorder};
use crate::dat::{ids, rtrec_sections};
use crate::record::error::Error;
use crate::record::observer::Observer;
use crate::record::settings::AlongSettings;
use crate::setup;
use crate::setup::plan::BufferPlan;
use crate::setup::settings::TSC2NSEC;
use crate::setup::tsc::{self, Scale};
use crate::tracefs::{Instance, Tracefs, Undo};

/// The parts that are at work while recording.
pub struct OptionalParts {
    names: Option<NamesRecorder>,
    maps: Option<&'static Maps>,
    pids: Vec<i32>,
    scale: Option<Scale>,
}

/// Options and sections that only some recordings have.
#[derive(Default)]
pub struct OptionalSections {
    /// Option ids and their data.
    pub options: Vec<(u16, Vec<u8>)>,
    /// Names over time, and the trace clock beside others.
    pub names: Option<NamesAndClocks>,
    /// Sections of rtrec's own and their payload.
    pub sections: Vec<(u16, Vec<u8>)>,
}

impl OptionalParts {
    /// Starts them. A help that cannot be had is noted; what was asked for and cannot be had is an error. `undo` is an
    /// empty journal for the instance that records names.
    pub fn start(
        settings: &AlongSettings,
        plans: &[BufferPlan<'_>],
        root: &Tracefs,
        observer: &dyn Observer,
        undo: Undo,
    ) -> Result<OptionalParts, Error> {
        let scale = scale(plans, root)?;
        let names = match NamesRecorder::start(root, &clock(plans, root), undo) {
            Ok(names) => Some(names),
            Err(source) if settings.date => return Err(Error::at("comparing the clocks")(source)),
            Err(source) => {
                let what = "names that change are not recorded";
                observer.note(setup::Note::Unavailable { what, source }.into());
                None
            }
        };
        let with_maps: Vec<&BufferPlan<'_>> = plans.iter().filter(|plan| plan.settings.proc_map).collect();
        let pids: Vec<i32> = with_maps.iter().flat_map(|plan| plan.settings.pids.iter().copied()).collect();
        // One for the life of the program: the running command, of which copies are made, points to it.
        let maps: Option<&'static Maps> = with_maps.first().map(|_| &*Box::leak(Box::default()));
        maps.iter().for_each(|maps| pids.iter().for_each(|&pid| maps.read(pid)));
        Ok(OptionalParts { names, maps, pids, scale })
    }

    /// Where the maps of the command go.
    pub fn maps(&self) -> Option<&'static Maps> {
        self.maps
    }

    /// Ends them and says what goes into the file.
    pub fn finish(self, settings: &AlongSettings) -> OptionalSections {
        let names = self.names.map(NamesRecorder::finish);
        let mut options: Vec<(u16, Vec<u8>)> = Vec::new();
        if settings.date {
            let offset = names.as_ref().and_then(|names| date_us(names, self.scale));
            options.extend(offset.map(|offset| (ids::DATE, text(format!("{offset:#x}")))));
        }
        options.extend(settings.ts_offset.map(|offset| (ids::OFFSET, text(offset.to_string()))));
        options.extend(self.scale.map(|scale| (ids::TSC2NSEC, scale.option())));
        options.extend(settings.hooks.iter().map(|hook| (ids::HOOK, text(hook.clone()))));
        if let Some(maps) = self.maps {
            self.pids.iter().for_each(|&pid| maps.read(pid));
            options.extend(maps.texts().into_iter().map(|maps| (ids::PROCMAPS, text(maps))));
        }
        let build_ids = self.maps.map(Maps::build_ids).filter(|lines| !lines.is_empty());
        let sections = build_ids.map(|lines| (rtrec_sections::BUILD_IDS, lines.into_bytes())).into_iter().collect();
        OptionalSections { options, names, sections }
    }
}

/// How cycles become nanoseconds, if that is wanted.
pub fn scale(plans: &[BufferPlan<'_>], root: &Tracefs) -> Result<Option<Scale>, Error> {
    let wanted = |plan: &BufferPlan<'_>| plan.common.tsc2nsec || plan.settings.clock.as_deref() == Some(TSC2NSEC);
    if !plans.iter().any(wanted) {
        return Ok(None);
    }
    let cpus = root.top().cpus().map_err(Error::at("listing the CPUs"))?;
    Ok(Some(tsc::scale(&cpus)?))
}

/// The clock of the first buffer, by which names and dates are timed.
fn clock(plans: &[BufferPlan<'_>], root: &Tracefs) -> String {
    let current = |instance: &Instance| instance.clocks().ok().and_then(|clocks| clocks.chosen);
    match plans.first() {
        Some(plan) => {
            let chosen = plan.clock().map(str::to_owned).or_else(|| current(&plan.instance));
            chosen.unwrap_or_else(|| "local".to_owned())
        }
        None => current(&root.top()).unwrap_or_default(),
    }
}

/// Microseconds from the trace clock to the wall clock.
fn date_us(names: &NamesAndClocks, scale: Option<Scale>) -> Option<i64> {
    let reading = names.clocks.readings.first()?;
    let ns = scale.map_or(reading.ticks, |scale| scale.nanoseconds(reading.ticks));
    Some((reading.realtime_ns - ns as i64) / 1000)
}

/// A text as options hold it.
fn text(text: String) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    bytes.push(0);
    bytes
}
