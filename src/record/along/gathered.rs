//! What only some recordings bring: the date, memory maps, the scale of cycles, names over time, hooks.

use crate::dat::{ids, own};
use crate::record::along::maps::Maps;
use crate::record::along::names::{History, Story};
use crate::record::error::Error;
use crate::record::file::output::Output;
use crate::record::file::seal::Extras;
use crate::record::settings::{Settings, TSC2NSEC};
use crate::record::watch::{Note, Watch};
use crate::rt::only_slow::Shared;
use crate::rt::windows::Watching;
use crate::setup::plan::BufferPlan;
use crate::setup::tsc::{self, Scale};
use crate::tracefs::Tracefs;
use crate::windows::Session;

/// The parts that are at work while recording.
pub struct Extra {
    history: Option<History>,
    maps: Option<&'static Maps>,
    pids: Vec<i32>,
    scale: Option<Scale>,
    windows: Option<Watching>,
}

impl Extra {
    /// Starts them. A help that cannot be had is told; what was asked for and cannot be had is an error.
    pub fn begin(
        settings: &Settings,
        plans: &[BufferPlan<'_>],
        root: &Tracefs,
        watch: &dyn Watch,
        output: &Output,
        command: Option<i32>,
        calls: &[u64],
    ) -> Result<Extra, Error> {
        let scale = scale(settings, plans, root)?;
        let history = match History::begin(root, &clock(plans, root), output.journal().undo()) {
            Ok(history) => Some(history),
            Err(source) if settings.date => return Err(Error::Setup { step: "comparing the clocks", source }),
            Err(source) => {
                watch.note(Note::Hindered { what: "names that change are not recorded", source });
                None
            }
        };
        let wanted = plans.iter().filter(|plan| plan.settings.proc_map);
        let pids: Vec<i32> = wanted.clone().flat_map(|plan| plan.settings.pids.iter().copied()).collect();
        // One for the life of the program: the running command, of which copies are made, points to it.
        let maps: Option<&'static Maps> = wanted.clone().next().map(|_| &*Box::leak(Box::default()));
        maps.iter().for_each(|maps| pids.iter().for_each(|&pid| maps.read(pid)));
        let begin = |windows| Watching::begin(windows, plans, command, calls, output.family(), watch);
        let windows = settings.windows.as_ref().map(begin).transpose()?;
        Ok(Extra { history, maps, pids, scale, windows })
    }

    /// What a buffer needs of which only slow windows are kept.
    pub fn sifted(&self, plan: &BufferPlan<'_>) -> Option<(&Session, &Shared)> {
        self.windows.as_ref().filter(|_| plan.settings.follows).and_then(Watching::sifted)
    }

    /// To be called before probes are removed.
    pub fn let_go_of_probes(&mut self, watch: &dyn Watch) {
        self.windows.iter_mut().for_each(|windows| windows.let_go_of_probes(watch));
    }

    /// Where the maps of the command go.
    pub fn maps(&self) -> Option<&'static Maps> {
        self.maps
    }

    /// Ends them and tells what goes into the file.
    pub fn finish(self, settings: &Settings, watch: &dyn Watch, output: &Output) -> Extras {
        let story = self.history.map(History::finish);
        let mut options: Vec<(u16, Vec<u8>)> = Vec::new();
        if settings.date {
            let offset = story.as_ref().and_then(|story| date_us(story, self.scale));
            options.extend(offset.map(|offset| (ids::DATE, text(format!("{offset:#x}")))));
        }
        options.extend(settings.ts_offset.map(|offset| (ids::OFFSET, text(offset.to_string()))));
        options.extend(self.scale.map(|scale| (ids::TSC2NSEC, scale.option())));
        options.extend(settings.hooks.iter().map(|hook| (ids::HOOK, text(hook.clone()))));
        if let Some(maps) = self.maps {
            self.pids.iter().for_each(|&pid| maps.read(pid));
            options.extend(maps.texts().into_iter().map(|maps| (ids::PROCMAPS, text(maps))));
        }
        let own = self.windows.is_some().then(|| (output.family().clone(), None));
        if let Some(windows) = self.windows {
            windows.finish(output.family(), watch);
        }
        let mut sections = Vec::new();
        let build_ids = self.maps.map(Maps::build_ids).filter(|lines| !lines.is_empty());
        sections.extend(build_ids.map(|lines| (own::BUILD_IDS, lines.into_bytes())));
        Extras { options, story, sections, own }
    }
}

/// How cycles become nanoseconds, if that is wanted.
pub fn scale(settings: &Settings, plans: &[BufferPlan<'_>], root: &Tracefs) -> Result<Option<Scale>, Error> {
    if !settings.tsc2nsec && plans.iter().all(|plan| plan.settings.clock.as_deref() != Some(TSC2NSEC)) {
        return Ok(None);
    }
    let cpus = root.top().cpus().map_err(Error::setup("listing the CPUs"))?;
    tsc::scale(&cpus).map(Some)
}

/// The clock of the first buffer, by which names and dates are told.
fn clock(plans: &[BufferPlan<'_>], root: &Tracefs) -> String {
    let top = root.top();
    let first = plans.first();
    let current = |instance: &crate::tracefs::Instance| instance.clocks().ok().and_then(|clocks| clocks.chosen);
    let chosen = first.and_then(|plan| plan.clock().map(str::to_owned).or_else(|| current(&plan.instance)));
    chosen.unwrap_or_else(|| if first.is_some() { "local".to_owned() } else { current(&top).unwrap_or_default() })
}

/// Microseconds from the trace clock to the wall clock.
fn date_us(story: &Story, scale: Option<Scale>) -> Option<i64> {
    let reading = story.clocks.readings.first()?;
    let ns = scale.map_or(reading.ticks, |scale| scale.nanoseconds(reading.ticks));
    Some((reading.realtime_ns - ns as i64) / 1000)
}

/// A text as options hold it.
fn text(text: String) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    bytes.push(0);
    bytes
}
