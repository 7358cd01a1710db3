//! What is attended to while readers write: limits, the live line, and files that are completed on the way.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Release;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::along::memory_maps::Maps;
use super::capture::child::RunningChild;
use super::capture::course::Course;
use super::capture::limits::{self, LimitCheck};
use super::capture::wait::Attend;
use super::error::Error;
use super::file::metadata;
use super::file::metadata_thread::MetadataThread;
use super::file::output::Output;
use super::file::ownership;
use super::file::rotation::{self, Rotator};
use super::file::sealing::{self, ClosingMetadata};
use super::file::segments::SegmentNames;
use super::observer::{Note, Progress};
use super::outcome::Stop;
use super::sink::Scene;
use super::taken::{BufferData, CpuResult, HandedOver, ReaderCounters, Totals};
use crate::dat::unsealed::segment_kind;
use crate::dat::writer::Room;
use crate::setup::plan::BufferPlan;

/// How often the live line is renewed.
const PROGRESS_PERIOD: Duration = Duration::from_millis(250);

/// What readers need besides themselves.
pub(super) struct Coordinator<'a> {
    scene: &'a Scene<'a>,
    course: &'a Course<'a>,
    output: &'a Output,
    files: CompletedOnTheWay<'a>,
    counters: &'a [&'a ReaderCounters],
    handed_over: &'a Receiver<HandedOver>,
    started: Instant,
    checked: Instant,
    limits: LimitCheck,
    rotator: Rotator,
    rotated: Vec<PathBuf>,
}

/// What files on the way need from elsewhere.
#[derive(Clone, Copy)]
pub(super) struct CompletedOnTheWay<'a> {
    /// Writes the first sections.
    pub(super) metadata: Option<&'a MetadataThread>,
    /// Where the maps of the command go.
    pub(super) maps: Option<&'static Maps>,
    /// Sections of the companion that each of them has.
    pub(super) sections: &'static [u16],
}

impl<'a> Coordinator<'a> {
    /// Attends to readers with these counters, which hand over what was cut.
    pub(super) fn new(
        scene: &'a Scene<'a>,
        course: &'a Course<'a>,
        output: &'a Output,
        files: CompletedOnTheWay<'a>,
        counters: &'a [&'a ReaderCounters],
        handed_over: &'a Receiver<HandedOver>,
    ) -> Self {
        let now = Instant::now();
        let (limits, rotator) = bounds(scene, output, counters.len(), now);
        Coordinator {
            scene,
            course,
            output,
            files,
            counters,
            handed_over,
            started: now,
            checked: now,
            limits,
            rotator,
            rotated: Vec::new(),
        }
    }

    /// The readers have ended: what was handed over for a cut that was not completed goes before what came after it. Also
    /// the files that are complete, and who names the last one.
    pub(super) fn finish(mut self, results: &mut [Vec<CpuResult>]) -> (Vec<PathBuf>, Rotator) {
        let buffers = self.scene.plans.len();
        while let Ok(one) = self.handed_over.try_recv() {
            self.rotator.take(one, buffers).into_iter().for_each(|data| prepend(data, results));
        }
        prepend(self.rotator.collected(buffers), results);
        (self.rotated, self.rotator)
    }

    /// Whether limits have to be looked at more often than once a second.
    fn needs_care(&self) -> bool {
        let limits = &self.scene.settings.capture.limits;
        limits.max_bytes.is_some() || limits.rotation.is_some() || limits.until.is_some()
    }

    /// Looks at the limits; begins a cut where it is time for one.
    fn check(&mut self, now: Instant) -> Option<Stop> {
        let totals = Totals::of(self.counters);
        if let Some(stop) = self.limits.check(totals, now) {
            return Some(stop);
        }
        let limits = &self.scene.settings.capture.limits;
        if limits.until.is_some() && self.course.is_off() {
            return Some(Stop::Triggered);
        }
        // A file can be completed only when the formats are there.
        if limits.rotation.is_some()
            && self.rotator.is_due(totals, now)
            && self.files.metadata.is_some_and(MetadataThread::is_finished)
            && let Some(cut) = self.rotator.begin_cut(totals, now)
        {
            self.course.control.cuts.store(cut, Release);
        }
        None
    }

    /// Takes what the readers hand over, and completes a file when all have.
    fn rotate(&mut self) -> Result<(), Error> {
        while let Ok(one) = self.handed_over.try_recv() {
            if let Some(data) = self.rotator.take(one, self.scene.plans.len()) {
                let path = self.complete_file(data)?;
                self.scene.observer.note(Note::Rotated(path.clone()));
                self.rotated.push(path);
            }
        }
        Ok(())
    }

    /// Completes a file of a cut. What could not be put into it goes into the last file.
    fn complete_file(&mut self, mut data: BufferData) -> Result<PathBuf, Error> {
        let (path, too_old) = self.rotator.name_next();
        let (family, settings) = (self.output.family(), &self.scene.settings.file);
        let segments = segments(&data, self.scene.plans);
        let mut complete = || -> io::Result<()> {
            let copy = rotation::begin_copy(family, settings.compression)?;
            let mut closing = ClosingMetadata::read(self.scene.plans, self.scene.top);
            closing.name_threads(&metadata::living_threads());
            closing.section_files = Some((family.clone(), Some(self.files.sections)));
            let file = sealing::seal(copy, &closing, &mut data, &mut |_| Ok(Room::Plenty))?;
            ownership::hand_over(&file, settings.mode)?;
            let names = segments.iter().map(|(instance, cpu, segment)| segment_kind(instance, *cpu, *segment));
            rotation::publish_copy(family, self.output.journal(), &path, names.collect())
        };
        let failed = Error::output(&path);
        if let Err(source) = complete() {
            rotation::abandon_copy(family);
            self.rotator.take_back(data);
            return Err(failed(source));
        }
        for (instance, cpu, segment) in segments {
            SegmentNames::new(family.clone(), instance, cpu).remove(segment);
        }
        rotation::remove_old(too_old).map_err(failed)?;
        Ok(path)
    }
}

impl Attend for Coordinator<'_> {
    fn maps(&self) -> Option<&'static Maps> {
        self.files.maps
    }

    fn started(&mut self, now: Instant) {
        (self.started, self.checked) = (now, now);
        (self.limits, self.rotator) = bounds(self.scene, self.output, self.counters.len(), now);
        self.files.metadata.iter().for_each(|metadata| metadata.command_runs());
    }

    fn attend(&mut self, _child: Option<RunningChild>, now: Instant) -> Result<Option<Stop>, Error> {
        if now.duration_since(self.checked) >= limits::PERIOD {
            self.checked = now;
            if let Some(stop) = self.check(now) {
                return Ok(Some(stop));
            }
        }
        self.rotate()?;
        if self.scene.observer.wants_progress() {
            let totals = Totals::of(self.counters);
            let elapsed = self.started.elapsed();
            self.scene.observer.progress(&Progress { elapsed, bytes: totals.taken, lost: totals.overrun });
        }
        Ok(None)
    }

    fn patience(&self) -> Duration {
        match self.scene.observer.wants_progress() {
            _ if self.needs_care() => limits::PERIOD,
            true => PROGRESS_PERIOD,
            false => Duration::from_secs(1),
        }
    }
}

/// What bounds a recording that begins now, and cuts it.
fn bounds(scene: &Scene<'_>, output: &Output, readers: usize, now: Instant) -> (LimitCheck, Rotator) {
    let limits = &scene.settings.capture.limits;
    let functions = scene.plans.iter().any(|plan| plan.settings.traces_functions());
    let check = LimitCheck::new(limits, output.family().folder(), functions, now);
    (check, Rotator::new(limits.rotation.unwrap_or_default(), output.path(), readers, now))
}

/// Which segments are in a cut.
fn segments<'p>(data: &BufferData, plans: &'p [BufferPlan<'_>]) -> Vec<(&'p str, u32, u64)> {
    let names = plans.iter().map(|plan| plan.instance.name().unwrap_or_default());
    names
        .zip(data)
        .flat_map(|(name, cpus)| cpus.iter().map(move |(cpu, data)| (name, *cpu, data)))
        .flat_map(|(name, cpu, data)| data.iter().map(move |data| (name, cpu, data.segment)))
        .collect()
}

/// Puts what was handed over for a cut that was not completed before what came after.
fn prepend(data: BufferData, results: &mut [Vec<CpuResult>]) {
    for (cpus, results) in data.into_iter().zip(results) {
        for (cpu, mut earlier) in cpus {
            if let Some(result) = results.iter_mut().find(|result| result.cpu == cpu) {
                earlier.append(&mut result.data);
                result.data = earlier;
            }
        }
    }
}
