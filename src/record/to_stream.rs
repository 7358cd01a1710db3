//! The sink of `stream`: sub-buffers go to a receiver as they come, in rounds, and into a file as well if that is wanted.
//!
//! One thread takes the data out, hands it over and waits: what a slow receiver cannot follow is lost in the kernel, which
//! counts it.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::along::optional_parts;
use super::capture::child::{HeldChild, RunningChild};
use super::capture::course::Course;
use super::capture::priority;
use super::capture::wait::Attend;
use super::companion::Companion;
use super::error::Error;
use super::file::completion::Completion;
use super::file::metadata::{self, KernelSymbols, Metadata};
use super::file::output::Output;
use super::file::sealing::ClosingMetadata;
use super::outcome::{Outcome, Stop};
use super::sink::{Scene, Sink};
use super::taken::{Captured, CpuResult};
use super::tee::FileCopy;
use crate::dat::unsealed::BufferEntry;
use crate::dat::{LiveBuffer, Tsc2Nsec, ids};
use crate::setup::plan::{self, BufferPlan};
use crate::setup::settings::TSC2NSEC;
use crate::setup::tsc::Scale;
use crate::tracefs::buffer::RawBuffer;
use crate::tracefs::events::EventName;
use crate::tracefs::{self, Instance, Undo, file};
use crate::wire::subbuf::Layout;

/// What is needed to read the records.
#[derive(Debug)]
pub struct StreamMetadata {
    /// System and text of every format.
    pub formats: Vec<(String, Vec<u8>)>,
    /// `/proc/kallsyms`.
    pub kallsyms: Vec<u8>,
    /// `printk_formats`.
    pub printk: Vec<u8>,
    /// `/sys/kernel/btf/vmlinux`, if arguments of functions are recorded.
    pub types: Vec<u8>,
    /// Layout of the top-level buffer's sub-buffers.
    pub layout: Layout,
    /// How cycles become nanoseconds, if the clock counts cycles.
    pub tsc2nsec: Option<Tsc2Nsec>,
}

/// What has come since the last round.
#[derive(Debug)]
pub struct Round {
    /// Whole sub-buffers of each buffer and CPU.
    pub buffers: Vec<LiveBuffer>,
    /// Names of tasks.
    pub names: Vec<u8>,
    /// Nothing older than this, in ticks, can come any more; `None` at the end.
    pub cut: Option<u64>,
}

/// Takes what is recorded.
pub trait Receiver {
    /// Comes first.
    fn begin(&mut self, metadata: StreamMetadata);

    /// Comes again and again; `false` when nobody wants more.
    fn round(&mut self, round: Round) -> bool;
}

/// A writer may hold a record it has begun for so long, until the record can be seen.
const SLACK_NS: u64 = 1_000_000;
/// Between two looks at the buffers, lest a kernel that wakes for every record keeps a CPU busy.
const PAUSE: Duration = Duration::from_millis(10);

/// A recording that a receiver takes as it goes on.
pub(super) struct StreamSink<'o> {
    receiver: &'o mut dyn Receiver,
    /// Between two rounds.
    period: Duration,
    /// Where it is kept as well, and the file until its first sections are written.
    output: Option<(&'o mut Output, Option<File>)>,
    copy: Option<FileCopy>,
    buffers: Vec<StreamedBuffer>,
    events: BTreeSet<EventName>,
    scale: Option<Scale>,
}

impl<'o> StreamSink<'o> {
    /// To this receiver; a record reaches it within about `delay`.
    pub(super) fn new(receiver: &'o mut dyn Receiver, delay: Duration, output: Option<(&'o mut Output, File)>) -> Self {
        StreamSink {
            receiver,
            period: delay / 2,
            output: output.map(|(output, file)| (output, Some(file))),
            copy: None,
            buffers: Vec::new(),
            events: BTreeSet::new(),
            scale: None,
        }
    }
}

impl<'c> Sink<'c> for StreamSink<'_> {
    fn expect(&mut self, scene: &Scene<'_>, events: BTreeSet<EventName>) -> Result<(), Error> {
        self.scale = optional_parts::scale(scene.plans, scene.root)?;
        if let Some((output, _)) = &self.output {
            output.note_begin(&scene.settings.file, &events).map_err(Error::output(output.path()))?;
        }
        self.events = events;
        Ok(())
    }

    fn start(&mut self, _: &Scene<'_>, _: &mut dyn Companion<'c>, _: &mut Undo) -> Result<(), Error> {
        Ok(())
    }

    fn open(&mut self, scene: &Scene<'_>, _: &dyn Companion<'c>, _: &mut Undo) -> Result<(), Error> {
        self.buffers = scene.plans.iter().map(StreamedBuffer::open).collect::<Result<_, _>>()?;
        let metadata = read_metadata(scene, &self.events)?;
        if let Some((output, file)) = &mut self.output
            && let Some(file) = file.take()
        {
            let entries = self.buffers.iter().map(StreamedBuffer::entry).collect();
            self.copy = Some(FileCopy::begin(output, file, scene.settings, entries, &metadata)?);
        }
        let layout = scene.top.subbuf_layout().map_err(Error::at("reading the page header's layout"))?;
        self.receiver.begin(stream_metadata(metadata, layout, self.scale));
        Ok(())
    }

    fn capture(
        &mut self,
        scene: &Scene<'_>,
        course: &Course<'_>,
        child: Option<HeldChild>,
        undo: &mut Undo,
    ) -> Result<(Captured, Option<RunningChild>), Error> {
        let by_one_clock = self.buffers.windows(2).all(|pair| pair[0].clock == pair[1].clock);
        let coarse = self.buffers.first().is_some_and(|buffer| matches!(buffer.clock.as_str(), "counter" | "uptime"));
        // Buffers by different clocks have no common order; they are printed as they come.
        let first = if by_one_clock { scene.plans.first() } else { None };
        let clock = first.map(|plan| &plan.instance);
        let mut rounds =
            Rounds { scene, sink: self, clock, slack: if coarse { 0 } else { SLACK_NS }, last: Instant::now() };
        let ended = course.run(child, None, undo, &mut rounds)?;
        if let Some(failure) = ended.failure {
            return Err(failure);
        }
        if ended.stop != Stop::OutputClosed {
            self.drain()?;
            let last = self.round(scene.top, None);
            self.receiver.round(last);
        }
        let results = match &mut self.copy {
            Some(copy) => {
                let path = self.output.as_ref().map(|(output, _)| output.path().to_owned()).unwrap_or_default();
                copy.finish().map_err(|source| Error::Unsealed { path, source })?
            }
            None => self.buffers.iter().map(StreamedBuffer::passed).collect(),
        };
        let captured = Captured {
            stop: ended.stop,
            failure: None,
            buffers: results,
            elapsed: ended.elapsed,
            was_switched_off: ended.was_switched_off,
            rotated: Vec::new(),
        };
        Ok((captured, ended.child))
    }

    fn close(&mut self) {
        self.buffers.clear();
    }

    fn gather(&mut self, _: &Scene<'_>, _: &mut dyn Companion<'c>, closing: &mut ClosingMetadata) {
        if self.copy.is_some() {
            closing.optional.options.extend(self.scale.map(|scale| (ids::TSC2NSEC, scale.option())));
            closing.name_threads(&metadata::living_threads());
            closing.promote_single_buffer();
        }
    }

    fn settle(&mut self, _: &Scene<'_>, _: &mut ClosingMetadata, _: &mut Captured) {
        if let Some((output, _)) = &self.output {
            let _ = output.journal().put_back();
        }
    }

    fn complete(
        &mut self,
        scene: &Scene<'_>,
        closing: &ClosingMetadata,
        captured: &mut Captured,
        _wanted: bool,
        second_signal: &dyn Fn() -> Option<i32>,
    ) -> Result<Option<PathBuf>, Error> {
        let (Some((output, _)), Some(copy)) = (&mut self.output, self.copy.take()) else { return Ok(None) };
        let buffers = std::mem::take(&mut captured.buffers).into_iter();
        let data = buffers.map(|cpus| cpus.into_iter().map(|cpu| (cpu.cpu, cpu.data)).collect()).collect();
        let completion = Completion {
            settings: &scene.settings.file,
            closing,
            writer: Some(copy.writer),
            data,
            rotator: None,
            failure: None,
            second_signal,
        };
        completion.complete(output).map(Some)
    }

    fn correct(&self, outcome: &mut Outcome) {
        // Whoever watches a stream sees that nothing comes.
        outcome.empty = None;
    }
}

impl StreamSink<'_> {
    /// Takes out what there is.
    fn drain(&mut self) -> Result<(), Error> {
        let copy = &mut self.copy;
        self.buffers.iter_mut().enumerate().try_for_each(|(index, buffer)| buffer.drain(index, copy))
    }

    fn round(&mut self, top: &Instance, cut: Option<u64>) -> Round {
        let names = file::read(&top.path("saved_cmdlines")).unwrap_or_default();
        Round { buffers: self.buffers.iter_mut().map(StreamedBuffer::take).collect(), names, cut }
    }
}

/// Empties the buffers and hands over what has come.
struct Rounds<'s, 'o> {
    scene: &'s Scene<'s>,
    sink: &'s mut StreamSink<'o>,
    /// Whose clock is the clock of all buffers.
    clock: Option<&'s Instance>,
    slack: u64,
    last: Instant,
}

impl Attend for Rounds<'_, '_> {
    fn before_start(&mut self) -> Result<(), Error> {
        priority::apply(self.scene.settings.capture.pace.priority).map_err(Error::system("raising the priority"))
    }

    fn started(&mut self, now: Instant) {
        self.last = now;
    }

    fn attend(&mut self, child: Option<RunningChild>, _now: Instant) -> Result<Option<Stop>, Error> {
        let now = self.clock.and_then(trace_clock_now);
        self.sink.drain()?;
        if self.last.elapsed() < self.sink.period {
            return Ok(None);
        }
        let round = self.sink.round(self.scene.top, now.map(|now| now.saturating_sub(self.slack)));
        if !self.sink.receiver.round(round) {
            // As if it had written there itself.
            child.iter().for_each(|child| child.signal(nix::sys::signal::Signal::SIGPIPE));
            return Ok(Some(Stop::OutputClosed));
        }
        self.last = Instant::now();
        Ok(None)
    }

    fn pause(&self) -> Duration {
        PAUSE.min(self.sink.period)
    }

    fn patience(&self) -> Duration {
        self.sink.period.saturating_sub(self.last.elapsed())
    }

    fn wake_fds(&self) -> Vec<BorrowedFd<'_>> {
        self.sink.buffers.iter().flat_map(|buffer| buffer.cpus.iter().map(|cpu| cpu.raw.as_fd())).collect()
    }
}

/// One buffer being emptied.
struct StreamedBuffer {
    name: String,
    clock: String,
    layout: Layout,
    cpus: Vec<StreamedCpu>,
    /// Room for a sub-buffer.
    subbuf: Vec<u8>,
}

/// One of its CPUs.
struct StreamedCpu {
    cpu: u32,
    raw: RawBuffer,
    /// What has come since the last round.
    come: Vec<u8>,
    /// Bytes that have come in all.
    total: u64,
}

impl StreamedBuffer {
    fn open(plan: &BufferPlan<'_>) -> Result<StreamedBuffer, Error> {
        let instance = &plan.instance;
        let layout = instance.subbuf_layout().map_err(Error::at("reading the page header's layout"))?;
        let chosen = instance.clocks().ok().and_then(|clocks| clocks.chosen).unwrap_or_else(|| "local".to_owned());
        let cycles = plan.settings.clock.as_deref() == Some(TSC2NSEC);
        let bytes = layout.subbuf_bytes as usize;
        let cpus = instance.traced_cpus().map_err(Error::at("reading the CPU mask"))?;
        let open = |cpu| Ok(StreamedCpu { cpu, raw: instance.raw_buffer(cpu, bytes)?, come: Vec::new(), total: 0 });
        let cpus: Result<_, tracefs::Error> = cpus.into_iter().map(open).collect();
        Ok(StreamedBuffer {
            name: instance.name().unwrap_or_default().to_owned(),
            clock: if cycles { TSC2NSEC.to_owned() } else { chosen },
            layout,
            cpus: cpus.map_err(Error::at("opening a CPU's buffer"))?,
            subbuf: vec![0; bytes],
        })
    }

    /// Takes what there is, the sub-buffer that is being written included.
    fn drain(&mut self, index: usize, copy: &mut Option<FileCopy>) -> Result<(), Error> {
        for StreamedCpu { cpu, raw, come, total } in &mut self.cpus {
            let failed = |error: tracefs::Error| Error::Reader { cpu: *cpu, source: error.source };
            while raw.read_subbuf(&mut self.subbuf).map_err(failed)? {
                if let Some(copy) = copy {
                    copy.write(index, *cpu, &self.subbuf).map_err(Error::system("keeping the records"))?;
                }
                come.extend_from_slice(&self.subbuf);
                *total += self.subbuf.len() as u64;
            }
        }
        Ok(())
    }

    /// What a journal says of it.
    fn entry(&self) -> BufferEntry {
        BufferEntry {
            name: self.name.clone(),
            clock: self.clock.clone(),
            subbuf_bytes: self.layout.subbuf_bytes,
            cpus: self.cpus.iter().map(|cpu| cpu.cpu).collect(),
        }
    }

    fn take(&mut self) -> LiveBuffer {
        let cpus = self.cpus.iter_mut().map(|cpu| (cpu.cpu, std::mem::take(&mut cpu.come))).collect();
        LiveBuffer { name: self.name.clone(), clock: self.clock.clone(), layout: self.layout, cpus }
    }

    /// What each CPU has brought, when nothing is kept.
    fn passed(&self) -> Vec<CpuResult> {
        let passed = |cpu: &StreamedCpu| CpuResult { cpu: cpu.cpu, passed_bytes: cpu.total, ..CpuResult::default() };
        self.cpus.iter().map(passed).collect()
    }
}

fn read_metadata(scene: &Scene<'_>, events: &BTreeSet<EventName>) -> Result<Metadata, Error> {
    let mut metadata = Metadata::read(scene.top, events).map_err(Error::at("reading the formats"))?;
    metadata.symbols = KernelSymbols::read(scene.top);
    metadata.types = metadata::types_for_arguments(plan::function_buffers(scene.plans));
    metadata.add_enum_names(&plan::enum_names(scene.plans));
    Ok(metadata)
}

fn stream_metadata(metadata: Metadata, layout: Layout, scale: Option<Scale>) -> StreamMetadata {
    let (formats, types) = (metadata.formats(), metadata.types);
    let (kallsyms, printk) = metadata.symbols.into_tables();
    let tsc2nsec = scale.map(|scale| Tsc2Nsec { mult: scale.mult, shift: scale.shift, offset: 0 });
    StreamMetadata { formats, kallsyms, printk, types, layout, tsc2nsec }
}

/// The trace clock now, as a buffer's statistics tell it: seconds with decimals, or bare ticks.
fn trace_clock_now(instance: &Instance) -> Option<u64> {
    let cpu = *instance.cpus().ok()?.first()?;
    let text = instance.stats_text(cpu).ok()?;
    let now = text.lines().find_map(|line| line.strip_prefix("now ts:"))?.trim();
    match now.split_once('.') {
        Some((seconds, micros)) => {
            Some(seconds.parse::<u64>().ok()? * 1_000_000_000 + micros.parse::<u64>().ok()? * 1000)
        }
        None => now.parse().ok(),
    }
}
