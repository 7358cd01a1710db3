//! Windows as a companion of the recorder: what they do at its steps.

use std::sync::Arc;

use super::error::Error as WindowError;
use super::in_kernel::{self, Judge};
use super::note::WindowObserver;
use super::only_slow::{SlowFilter, SlowFilterParts};
use super::recorder::WindowRecorder;
use super::sampling;
use super::settings::WindowSettings;
use super::snapshots;
use crate::dat::own;
use crate::dat::unsealed::Family;
use crate::record::companion::{BufferWork, Companion, CompanionScene, OpenedBuffer};
use crate::record::file::metadata::Metadata;
use crate::record::{Error, Outcome};
use crate::setup::plan::BufferPlan;
use crate::tracefs::{Instance, Undo};

/// Records windows beside a recording.
pub struct Windows<'c> {
    settings: &'c WindowSettings,
    observer: &'c dyn WindowObserver,
    recorder: Option<WindowRecorder>,
}

impl<'c> Windows<'c> {
    /// These, none of which is recorded yet.
    pub fn new(settings: &'c WindowSettings, observer: &'c dyn WindowObserver) -> Self {
        Windows { settings, observer, recorder: None }
    }
}

impl<'c> Companion<'c> for Windows<'c> {
    fn check(&mut self, top: &Instance) -> Result<(), Error> {
        if self.settings.in_kernel {
            in_kernel::check(self.settings, top).map_err(WindowError::InKernel)?;
        }
        Ok(())
    }

    fn start(&mut self, scene: CompanionScene<'_>) -> Result<(), Error> {
        let CompanionScene { plans, top, command, family, probes } = scene;
        let calls = match sampling::needs_calls(self.settings) {
            true => sampling::define_calls(plans, top, probes)?,
            false => Vec::new(),
        };
        let recorder = WindowRecorder::start(self.settings, plans, command, &calls, family, self.observer)?;
        self.recorder = Some(recorder);
        Ok(())
    }

    fn reads(&self, plan: &BufferPlan<'_>) -> bool {
        self.settings.only_slow.is_some() && plan.instance.name() == Some(&self.settings.instance)
    }

    fn open(&self, buffer: OpenedBuffer<'_>, undo: &mut Undo) -> Result<BufferWork<'c>, Error> {
        let OpenedBuffer { plan, layout, cpus, family, priority } = buffer;
        let Some(recorder) = &self.recorder else { return Ok(Box::new(|_, _| Ok(Vec::new()))) };
        let (instance, session) = (&plan.instance, recorder.session());
        let numbers: Vec<u32> = cpus.iter().map(|(cpu, _)| *cpu).collect();
        let judge = match self.settings.in_kernel {
            true => Some(Judge::start(instance, session, &numbers, undo)?),
            false => None,
        };
        let bytes = layout.subbuf_bytes as usize;
        let raw = |cpu| match judge {
            Some(_) => instance.snapshot_buffer(cpu, bytes),
            None => instance.raw_buffer(cpu, bytes),
        };
        let cpus = cpus.into_iter().map(|(cpu, files)| Ok((cpu, raw(cpu)?, files))).collect::<Result<_, _>>();
        let cpus = cpus.map_err(Error::at("opening a CPU's buffer"))?;
        let events = plan.events.iter().flat_map(|event| event.events.iter().cloned()).collect();
        let metadata = Metadata::read(instance, &events).map_err(Error::at("reading the formats"))?;
        let filter = SlowFilter::new(SlowFilterParts {
            formats: &metadata.formats(),
            session,
            layout,
            buffer_bytes: self.settings.only_slow.unwrap_or(0),
            cpus,
            states: Arc::clone(recorder.states()),
            family,
            status: self.settings.status.clone(),
            priority,
            kernel_judges: judge.is_some(),
        })?;
        let observer = self.observer;
        Ok(match judge {
            Some(judge) => Box::new(move |stop, counters| snapshots::run(filter, judge, stop, counters, observer)),
            None => Box::new(move |stop, counters| filter.run(stop, counters, observer)),
        })
    }

    fn release_probes(&mut self) {
        let observer = self.observer;
        self.recorder.iter_mut().for_each(|recorder| recorder.release_probes(observer));
    }

    fn finish(&mut self, family: &Family) {
        if let Some(recorder) = self.recorder.take() {
            recorder.finish(family, self.observer);
        }
    }

    fn sections_of_each_file(&self) -> &'static [u16] {
        // Samples and counts are in the last file.
        &[own::WINDOWS]
    }

    /// Where the kernel judges windows its buffer is there to be overwritten: that is no loss, and no news is good news.
    fn correct(&self, outcome: &mut Outcome) {
        if !self.settings.in_kernel {
            return;
        }
        outcome.empty = None;
        let ours = |name: &Option<String>| name.as_deref() == Some(&self.settings.instance);
        for cpu in
            outcome.buffers.iter_mut().filter(|buffer| ours(&buffer.instance)).flat_map(|buffer| &mut buffer.cpus)
        {
            (cpu.stats.overrun, cpu.stats.commit_overrun, cpu.stats.dropped) = (0, 0, 0);
        }
    }

    fn stop(&mut self) {
        // Whatever it holds of the kernel goes with it.
        self.recorder = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::{BufferOutcome, CpuOutcome, Emptiness, Stop};
    use crate::rt::Note;
    use crate::tracefs::buffer::BufferStats;

    struct Nobody;

    impl WindowObserver for Nobody {
        fn window_note(&self, _note: Note) {}
    }

    fn outcome() -> Outcome {
        let stats = BufferStats { overrun: 7, ..BufferStats::default() };
        let cpu = CpuOutcome { cpu: 0, stats, raw_bytes: 0, file_bytes: 0, wakeups: 0, lowered: 0 };
        let buffer = |name: &str| BufferOutcome { instance: Some(name.to_owned()), cpus: vec![cpu] };
        Outcome {
            trouble: None,
            files: Vec::new(),
            ending: None,
            stop: Stop::TimeIsUp,
            elapsed: Duration::ZERO,
            buffers: vec![buffer("ours"), buffer("theirs")],
            empty: Some(Emptiness::Quiet),
        }
    }

    #[test]
    fn what_is_overwritten_where_the_kernel_judges_is_no_loss() {
        let mut settings = WindowSettings { instance: "ours".to_owned(), ..WindowSettings::default() };
        let lost = |settings: &WindowSettings| {
            let mut outcome = outcome();
            Windows::new(settings, &Nobody).correct(&mut outcome);
            (outcome.lost(), outcome.empty.is_some())
        };
        assert_eq!(lost(&settings), (14, true));
        settings.in_kernel = true;
        assert_eq!(lost(&settings), (7, false));
    }
}
