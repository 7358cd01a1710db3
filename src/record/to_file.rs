//! The sink of `record`: a reader for each CPU writes segments, from which a file is made at the end, or several on the way.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Acquire;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use super::along::optional_parts::OptionalParts;
use super::capture::child::{HeldChild, RunningChild};
use super::capture::course::Course;
use super::capture::reader::{CpuReader, Handover};
use super::capture::readers::{BufferReaders, ReaderContext, StopOnDrop};
use super::capture::signals::event_fd;
use super::companion::{Companion, CompanionScene, OpenedBuffer};
use super::coordinator::{CompletedOnTheWay, Coordinator};
use super::error::Error;
use super::file::completion::Completion;
use super::file::metadata_thread::{MetadataRequest, MetadataThread};
use super::file::output::Output;
use super::file::rotation::Rotator;
use super::file::sealing::ClosingMetadata;
use super::file::segments::{self, SegmentFiles, SegmentNames};
use super::observer::Note;
use super::sink::{Scene, Sink};
use super::taken::{BufferData, Captured, CpuResult, ReaderCounters};
use crate::dat::unsealed::BufferEntry;
use crate::dat::unsealed::JournalEntry;
use crate::dat::writer::Writer;
use crate::setup::plan::{self, BufferPlan};
use crate::tracefs::Undo;
use crate::tracefs::events::EventName;

/// A recording that becomes a file.
pub(super) struct FileSink<'o, 'c> {
    output: &'o mut Output,
    /// The file to be, until its first sections are written.
    file: Option<File>,
    metadata: Option<MetadataThread>,
    parts: Option<OptionalParts>,
    buffers: Vec<OpenBuffer<'c>>,
    /// The file with its first sections.
    writer: Option<Writer>,
    rotator: Option<Rotator>,
    sections_of_each_file: &'static [u16],
}

/// A buffer that is set up, with who empties it.
struct OpenBuffer<'c> {
    readers: Option<BufferReaders<'c>>,
    counters: Vec<ReaderCounters>,
    names: Vec<SegmentNames>,
    subbuf_bytes: usize,
}

impl<'o> FileSink<'o, '_> {
    /// Into this output.
    pub(super) fn new(output: &'o mut Output, file: File) -> Self {
        FileSink {
            output,
            file: Some(file),
            metadata: None,
            parts: None,
            buffers: Vec::new(),
            writer: None,
            rotator: None,
            sections_of_each_file: &[],
        }
    }
}

impl<'c> Sink<'c> for FileSink<'_, 'c> {
    fn expect(&mut self, scene: &Scene<'_>, events: BTreeSet<EventName>) -> Result<(), Error> {
        self.output.note_begin(&scene.settings.file, &events).map_err(Error::output(self.output.path()))?;
        let request = MetadataRequest {
            top: scene.top.clone(),
            functions: plan::function_buffers(scene.plans).cloned().collect(),
            events,
            values: plan::enum_names(scene.plans),
            names: self.output.family().file("names"),
        };
        self.metadata = Some(MetadataThread::begin(request)?);
        Ok(())
    }

    fn start(&mut self, scene: &Scene<'_>, companion: &mut dyn Companion<'c>, probes: &mut Undo) -> Result<(), Error> {
        let undo = self.output.journal().undo();
        let (along, plans) = (&scene.settings.along, scene.plans);
        self.parts = Some(OptionalParts::start(along, plans, scene.root, scene.observer, undo)?);
        let family = self.output.family();
        companion.start(CompanionScene { plans, top: scene.top, command: scene.command, family, probes })
    }

    fn open(&mut self, scene: &Scene<'_>, companion: &dyn Companion<'c>, undo: &mut Undo) -> Result<(), Error> {
        for plan in scene.plans {
            let buffer = self.open_buffer(plan, scene, companion, undo)?;
            self.buffers.push(buffer);
        }
        self.sections_of_each_file = companion.sections_of_each_file();
        let layout = scene.top.subbuf_layout().map_err(Error::at("reading the page header's layout"))?;
        if let (Some(file), Some(metadata)) = (self.file.take(), &self.metadata) {
            let writer = Writer::create(file, scene.settings.file.compression, layout.subbuf_bytes);
            metadata.kernel_is_ready(writer.map_err(Error::output(self.output.path()))?);
        }
        Ok(())
    }

    fn capture(
        &mut self,
        scene: &Scene<'_>,
        course: &Course<'_>,
        child: Option<HeldChild>,
        undo: &mut Undo,
    ) -> Result<(Captured, Option<RunningChild>), Error> {
        self.output.keep_on_drop(true);
        let captured = self.run(scene, course, child, undo);
        if captured.is_err() {
            self.output.keep_on_drop(false);
        }
        captured
    }

    fn close(&mut self) {
        self.buffers.clear();
        self.metadata.iter().for_each(MetadataThread::wait_for_formats);
    }

    fn gather(&mut self, scene: &Scene<'_>, companion: &mut dyn Companion<'c>, closing: &mut ClosingMetadata) {
        if let Some(parts) = self.parts.take() {
            closing.optional = parts.finish(&scene.settings.along);
        }
        companion.finish(self.output.family());
        closing.section_files = Some((self.output.family().clone(), None));
    }

    fn settle(&mut self, scene: &Scene<'_>, closing: &mut ClosingMetadata, captured: &mut Captured) {
        let _ = self.output.journal().put_back();
        match self.metadata.take().map(MetadataThread::finish) {
            Some(Ok(metadata)) => {
                closing.name_threads(&metadata.threads);
                if !metadata.has_symbols {
                    scene.observer.note(Note::NoSymbols);
                }
                self.writer = Some(metadata.writer);
            }
            // Without the first sections the recording has failed.
            Some(Err(error)) => drop(captured.failure.get_or_insert(error)),
            None => {}
        }
    }

    fn complete(
        &mut self,
        scene: &Scene<'_>,
        closing: &ClosingMetadata,
        captured: &mut Captured,
        wanted: bool,
        second_signal: &dyn Fn() -> Option<i32>,
    ) -> Result<Option<PathBuf>, Error> {
        if !wanted {
            self.output.keep_on_drop(false);
            return Ok(None);
        }
        let buffers = std::mem::take(&mut captured.buffers).into_iter();
        let data: BufferData = buffers.map(|cpus| cpus.into_iter().map(|cpu| (cpu.cpu, cpu.data)).collect()).collect();
        let rotates = scene.settings.capture.limits.rotation.is_some();
        let rotator = if rotates { self.rotator.take() } else { None };
        let completion = Completion {
            settings: &scene.settings.file,
            closing,
            writer: self.writer.take(),
            data,
            rotator,
            failure: captured.failure.as_ref(),
            second_signal,
        };
        completion.complete(self.output).map(Some)
    }
}

impl<'c> FileSink<'_, 'c> {
    /// Opens the way out of each traced CPU.
    fn open_buffer(
        &self,
        plan: &BufferPlan<'_>,
        scene: &Scene<'_>,
        companion: &dyn Companion<'c>,
        undo: &mut Undo,
    ) -> Result<OpenBuffer<'c>, Error> {
        let (instance, settings) = (&plan.instance, scene.settings);
        let layout = instance.subbuf_layout().map_err(Error::at("reading the page header's layout"))?;
        let subbuf_bytes = layout.subbuf_bytes as usize;
        let mut open = OpenBuffer { readers: None, counters: Vec::new(), names: Vec::new(), subbuf_bytes };
        if plan.settings.keeps_worst_case() {
            // What it has is a text, which is read at the end.
            return Ok(open);
        }
        let cpus = instance.traced_cpus().map_err(Error::at("reading the CPU mask"))?;
        let name = instance.name().unwrap_or_default();
        let failed = Error::output(self.output.path());
        let entry = BufferEntry {
            name: name.to_owned(),
            clock: instance.clocks().ok().and_then(|clocks| clocks.chosen).unwrap_or_else(|| "local".to_owned()),
            subbuf_bytes: layout.subbuf_bytes,
            cpus: cpus.clone(),
        };
        self.output.journal().note(&JournalEntry::Buffer(entry)).map_err(&failed)?;
        let family = self.output.family();
        let mut segments = Vec::new();
        for cpu in cpus {
            let names = SegmentNames::new(family.clone(), name, cpu);
            let (compression, tail) = (settings.file.compression, settings.capture.limits.tail);
            let files = SegmentFiles::begin(names.clone(), compression, subbuf_bytes, tail).map_err(&failed)?;
            open.counters.push(ReaderCounters::default());
            open.names.push(names);
            segments.push((cpu, files));
        }
        let pace = settings.capture.pace;
        open.readers = Some(if companion.reads(plan) {
            let buffer = OpenedBuffer { plan, layout, cpus: segments, family, priority: pace.reader_priority() };
            BufferReaders::Companion(companion.open(buffer, undo)?)
        } else {
            let mut readers = Vec::new();
            for (cpu, files) in segments {
                let raw = instance.raw_buffer(cpu, subbuf_bytes).map_err(Error::at("opening a CPU's buffer"))?;
                let (reader, because) = CpuReader::new(cpu, raw, layout, files, settings.capture.reader, pace);
                let (instance, method) = (instance.name().map(str::to_owned), reader.method());
                scene.observer.note(Note::ReadMethod { instance, cpu, method, because });
                readers.push(reader);
            }
            BufferReaders::PerCpu(readers)
        });
        Ok(open)
    }

    /// Runs the readers, and the course beside them.
    fn run(
        &mut self,
        scene: &Scene<'_>,
        course: &Course<'_>,
        child: Option<HeldChild>,
        undo: &mut Undo,
    ) -> Result<(Captured, Option<RunningChild>), Error> {
        let (stop, alarm) = (event_fd()?, event_fd()?);
        let (to_coordinator, handed_over) = channel();
        let readers: Vec<_> = self.buffers.iter_mut().map(|buffer| buffer.readers.take()).collect();
        let buffers = &self.buffers;
        let (captured, child, rotator) = thread::scope(|scope| {
            // However this closure is left, the readers must be told to stop, or the scope waits for ever.
            let stopper = StopOnDrop(&stop);
            let context = ReaderContext { stop: stop.as_fd(), alarm: &alarm, control: course.control };
            let mut threads = Vec::new();
            for (index, (readers, buffer)) in readers.into_iter().zip(buffers).enumerate() {
                let handover = Handover { buffer: index, to_coordinator: Sender::clone(&to_coordinator) };
                let start = |readers: BufferReaders<'c>| readers.start(scope, &buffer.counters, context, &handover);
                threads.push(readers.map(start).transpose()?);
            }
            let counters: Vec<&ReaderCounters> = buffers.iter().flat_map(|buffer| &buffer.counters).collect();
            let on_the_way = CompletedOnTheWay {
                metadata: self.metadata.as_ref(),
                maps: self.parts.as_ref().and_then(OptionalParts::maps),
                sections: self.sections_of_each_file,
            };
            let mut coordinator = Coordinator::new(scene, course, self.output, on_the_way, &counters, &handed_over);
            let ended = course.run(child, Some(alarm.as_fd()), undo, &mut coordinator)?;
            drop(stopper);
            let mut failure = ended.failure;
            let mut results: Vec<Vec<CpuResult>> = Vec::new();
            for (threads, buffer) in threads.into_iter().zip(buffers) {
                let salvage = |cpu: usize| salvage(scene, buffer, cpu);
                let join = threads.map(|threads| threads.join(buffer.names.len(), salvage, &mut failure));
                results.push(join.unwrap_or_default());
            }
            let (rotated, rotator) = coordinator.finish(&mut results);
            let captured = Captured {
                stop: ended.stop,
                failure,
                buffers: results,
                elapsed: ended.elapsed,
                was_switched_off: ended.was_switched_off,
                rotated,
            };
            Ok::<_, Error>((captured, ended.child, rotator))
        })?;
        self.rotator = Some(rotator);
        Ok((captured, child))
    }
}

/// What is whole of a CPU's data when its reader has failed.
fn salvage(scene: &Scene<'_>, buffer: &OpenBuffer<'_>, index: usize) -> CpuResult {
    let names = &buffer.names[index];
    let first = buffer.counters[index].segment.load(Acquire);
    let data = segments::salvage(names, scene.settings.file.compression, buffer.subbuf_bytes, first);
    CpuResult { cpu: names.cpu(), data: data.unwrap_or_default(), ..CpuResult::default() }
}
