//! The part of a recording between "all is set" and "all is taken": readers run, the command is let go, something
//! ends it, the readers take the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::child::{HeldChild, RunningChild};
use super::cpu::{self, CpuHarvest, CpuReader};
use super::error::Error;
use super::maps::Maps;
use super::outcome::Stop;
use super::output::Output;
use super::plan::BufferPlan;
use super::settings::Settings;
use super::signals::{self, Caught, Signals};
use super::watch::{Note, Progress, Watch};
use super::{configure, metadata, output_failed};
use crate::dat::chunks::ChunkWriter;
use crate::dat::writer::Writer;
use crate::tracefs::events::EventName;
use crate::tracefs::{Instance, Undo};

/// How often the live line is renewed.
const PROGRESS_PERIOD: Duration = Duration::from_millis(250);

/// A buffer with its readers, ready to run.
pub(super) struct OpenBuffer {
    readers: Vec<CpuReader>,
    progress: Vec<cpu::Progress>,
}

/// Opens a CPU's way out for each traced CPU.
pub(super) fn open_buffer(
    plan: &BufferPlan<'_>,
    settings: &Settings,
    output: &mut Output,
    watch: &dyn Watch,
) -> Result<OpenBuffer, Error> {
    if plan.settings.keeps_worst_case() {
        // What it has is a text, which is read at the end.
        return Ok(OpenBuffer { readers: Vec::new(), progress: Vec::new() });
    }
    let instance = &plan.instance;
    let layout = instance.subbuf_layout().map_err(Error::setup("reading the page header's layout"))?;
    let mut readers = Vec::new();
    for cpu in instance.traced_cpus().map_err(Error::setup("reading the CPU mask"))? {
        let raw =
            instance.raw_buffer(cpu, layout.subbuf_bytes as usize).map_err(Error::setup("opening a CPU's buffer"))?;
        let kind = instance.name().map_or_else(|| format!("cpu{cpu}"), |name| format!("{name}.cpu{cpu}"));
        let file = output.temporary(&kind)?;
        let chunks = ChunkWriter::new(file, settings.compression, layout.subbuf_bytes as usize)
            .map_err(output_failed(output))?;
        let (reader, because) = CpuReader::new(cpu, raw, layout, chunks, settings.reader, settings.pace());
        watch.note(Note::Way { instance: instance.name().map(str::to_owned), cpu, way: reader.way(), because });
        readers.push(reader);
    }
    let progress = readers.iter().map(|_| cpu::Progress::default()).collect();
    Ok(OpenBuffer { readers, progress })
}

/// The part between "all is set" and "all is taken".
pub(super) struct Session<'a> {
    pub(super) signals: &'a Signals,
    pub(super) processes: Vec<OwnedFd>,
    pub(super) plans: &'a [BufferPlan<'a>],
    pub(super) top: &'a Instance,
    pub(super) watch: &'a dyn Watch,
    /// How long to record at most.
    pub(super) duration: Option<Duration>,
    /// Where the maps of the command go, if they are wanted.
    pub(super) maps: Option<&'static Maps>,
}

/// What the session has brought.
pub(super) struct Harvest {
    pub(super) child: Option<RunningChild>,
    pub(super) stop: Stop,
    pub(super) failure: Option<Error>,
    /// The file with its first sections.
    pub(super) texts: Writer,
    /// Names of living threads, for those that the kernel has forgotten.
    pub(super) threads: BTreeMap<i32, Vec<u8>>,
    pub(super) buffers: Vec<Vec<CpuHarvest>>,
    pub(super) elapsed: Duration,
    /// A buffer was found switched off before it was to be.
    pub(super) was_switched_off: bool,
}

impl Session<'_> {
    pub(super) fn record(
        &self,
        buffers: &mut [OpenBuffer],
        child: Option<HeldChild>,
        writer: Writer,
        events: &BTreeSet<EventName>,
        undo: &mut Undo,
    ) -> Result<Harvest, Error> {
        let (stop, alarm) = (event_fd()?, event_fd()?);
        thread::scope(|scope| {
            // However this closure is left, the readers must be told to stop, or the scope waits for ever.
            let stopper = StopOnDrop(&stop);
            let mut running = Vec::new();
            let mut meters = Vec::new();
            for OpenBuffer { readers, progress } in buffers.iter_mut() {
                running.push(start_readers(scope, std::mem::take(readers), progress, stop.as_fd(), &alarm)?);
                meters.extend(progress.iter());
            }
            // Reads and packs while the load runs, but is there before, to be left out of the trace like the readers.
            let (go, told) = channel();
            let texts = scope.spawn(move || self.write_texts(told, writer, events));
            let threads = own_threads();
            self.plans.iter().for_each(|plan| configure::leave_out(plan, &threads, self.watch, undo));
            let (child, started) = self.start(child)?;
            let _ = go.send(());
            let how = self.wait(child, alarm.as_fd(), started, &meters);
            let elapsed = started.elapsed();
            let was_switched_off = self.plans.iter().any(|plan| matches!(plan.instance.is_tracing(), Ok(false)));
            let off = self.plans.iter().map(|plan| plan.instance.tracing_off()).find_map(Result::err);
            drop(stopper);
            let mut failure = off.map(|source| Error::Setup { step: "stopping the buffer", source });
            let buffers = running.into_iter().map(|readers| join_readers(readers, &mut failure)).collect();
            let (texts, threads) = texts.join().unwrap_or_else(|_| {
                Err(Error::System { step: "reading the formats", source: io::Error::other("a thread panicked") })
            })?;
            Ok(Harvest { child, stop: how, failure, texts, threads, buffers, elapsed, was_switched_off })
        })
    }

    /// Reads the formats and symbols and writes them, once told to.
    fn write_texts(
        &self,
        told: Receiver<()>,
        mut writer: Writer,
        events: &BTreeSet<EventName>,
    ) -> Result<(Writer, BTreeMap<i32, Vec<u8>>), Error> {
        // Without a word the recording failed, and its error is told elsewhere.
        told.recv().map_err(|_| Error::Interrupted(0))?;
        let texts = metadata::Texts::read(self.top, events).map_err(Error::setup("reading the formats"))?;
        if !texts.has_symbols() {
            self.watch.note(Note::NoSymbols);
        }
        texts.write(&mut writer).map_err(Error::system("writing the formats"))?;
        Ok((writer, metadata::living_threads()))
    }

    /// Switches tracing on and lets the command go.
    fn start(&self, child: Option<HeldChild>) -> Result<(Option<RunningChild>, Instant), Error> {
        if let Some(Caught { signal, .. }) = self.signals.caught() {
            return Err(Error::Interrupted(signal as i32));
        }
        for plan in self.plans {
            plan.instance.tracing_on().map_err(Error::setup("starting the buffer"))?;
        }
        let started = Instant::now();
        let mut child = child;
        if let (Some(child), Some(maps)) = (&mut child, self.maps) {
            child.keep_maps(maps);
        }
        let child = child.map(HeldChild::release).transpose()?;
        self.watch.note(Note::Started);
        Ok((child, started))
    }

    /// Waits for whatever ends the recording.
    fn wait(
        &self,
        child: Option<RunningChild>,
        alarm: BorrowedFd<'_>,
        started: Instant,
        meters: &[&cpu::Progress],
    ) -> Stop {
        let watching = self.watch.wants_progress();
        loop {
            let mut fds = vec![self.signals.as_fd(), alarm];
            if child.is_none() {
                fds.extend(self.processes.iter().filter(|fd| !signals::has_ended(fd)).map(AsFd::as_fd));
            }
            let left = self.duration.map(|duration| duration.saturating_sub(started.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return Stop::TimeIsUp;
            }
            let period = watching.then_some(PROGRESS_PERIOD);
            if signals::sleep_on(&fds, left.into_iter().chain(period).min()).is_err() {
                return Stop::ReaderFailed;
            }
            if let Some(caught) = self.signals.caught() {
                if let Some(child) = child.filter(|_| !caught.from_terminal) {
                    child.signal(caught.signal);
                }
                return Stop::Signal(caught.signal as i32);
            }
            if signals::is_ready(alarm) {
                return Stop::ReaderFailed;
            }
            match child {
                Some(child) => {
                    if let Some(ending) = child.ended() {
                        return Stop::CommandEnded(ending);
                    }
                }
                None if !self.processes.is_empty() && self.processes.iter().all(signals::has_ended) => {
                    return Stop::ProcessesEnded;
                }
                None => {}
            }
            if watching {
                self.watch.progress(&sum(meters, started.elapsed()));
            }
        }
    }
}

fn sum(meters: &[&cpu::Progress], elapsed: Duration) -> Progress {
    Progress {
        elapsed,
        bytes: meters.iter().map(|meter| meter.bytes.load(Relaxed)).sum(),
        lost: meters.iter().map(|meter| meter.overrun.load(Relaxed)).sum(),
    }
}

type Running<'scope> = Vec<(u32, ScopedJoinHandle<'scope, io::Result<CpuHarvest>>)>;

/// Starts a thread for each reader of a buffer.
fn start_readers<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    readers: Vec<CpuReader>,
    meters: &'scope [cpu::Progress],
    stop: BorrowedFd<'scope>,
    alarm: &'scope EventFd,
) -> Result<Running<'scope>, Error> {
    let start = |(reader, meter): (CpuReader, &'scope cpu::Progress)| {
        let cpu = reader.cpu();
        let run = move || {
            let alarm = AlarmUnlessDone(alarm);
            let harvest = reader.run(stop, meter)?;
            std::mem::forget(alarm);
            Ok(harvest)
        };
        let thread = thread::Builder::new().name(format!("rtrec/{cpu}")).spawn_scoped(scope, run);
        Ok((cpu, thread.map_err(Error::system("starting a reader"))?))
    };
    readers.into_iter().zip(meters).map(start).collect()
}

/// Waits for the readers of a buffer to take the rest; the first failure is kept.
fn join_readers(readers: Running<'_>, failure: &mut Option<Error>) -> Vec<CpuHarvest> {
    let mut harvests = Vec::new();
    for (cpu, thread) in readers {
        let source = match thread.join() {
            Ok(Ok(harvest)) => {
                harvests.push(harvest);
                continue;
            }
            Ok(Err(source)) => source,
            Err(_) => io::Error::other("the reader panicked"),
        };
        failure.get_or_insert(Error::Reader { cpu, source });
    }
    harvests
}

fn event_fd() -> Result<EventFd, Error> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    EventFd::from_value_and_flags(0, flags).map_err(Error::system("opening an eventfd"))
}

/// All threads of this process, those of rayon's pool included, which are started for that.
pub(super) fn own_threads() -> Vec<i32> {
    rayon::broadcast(|_| ());
    let tasks = procfs::process::Process::myself().and_then(|process| process.tasks());
    tasks.map(|tasks| tasks.flatten().map(|task| task.tid).collect()).unwrap_or_default()
}

/// Tells the readers to take the rest and end.
struct StopOnDrop<'a>(&'a EventFd);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        let _ = self.0.write(1);
    }
}

/// Wakes the main thread when a reader ends before it was told to, by an error or a panic.
struct AlarmUnlessDone<'a>(&'a EventFd);

impl Drop for AlarmUnlessDone<'_> {
    fn drop(&mut self) {
        let _ = self.0.write(1);
    }
}
