//! The recorder: from settings to a sealed trace.dat, the kernel left as it was found.
//!
//! [`run`] is the list of the steps; each step has a file of its own.

pub mod child;
mod configure;
pub mod cpu;
mod error;
mod metadata;
pub mod names;
mod outcome;
mod output;
mod plan;
mod seal;
pub mod settings;
mod signals;
mod watch;

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::Flock;
use nix::sys::eventfd::{EfdFlags, EventFd};

pub use error::Error;
pub use outcome::{BufferOutcome, CpuOutcome, Emptiness, Outcome, Stop};
pub use settings::{BufferSettings, EventSettings, ReaderChoice, Settings};
pub use watch::{Note, Progress, Silent, Watch};

use child::{HeldChild, RunningChild};
use cpu::CpuReader;
use output::Output;
use plan::BufferPlan;
use signals::{Caught, Signals};

use crate::dat::chunks::ChunkWriter;
use crate::dat::writer::Writer;
use crate::tracefs::{Instance, Undo};

/// How often the live line is renewed.
const PROGRESS_PERIOD: Duration = Duration::from_millis(250);

/// Makes a recording.
///
/// Whatever happens, the control files hold afterwards what they held before, and no temporary file is left.
pub fn run(settings: &Settings, watch: &dyn Watch) -> Result<Outcome, Error> {
    let signals = Signals::block()?;
    let root = plan::open_root(settings.tracefs.as_deref())?;
    let plans = plan::judge(settings, &root)?;
    let processes = watch_processes(settings)?;
    let (mut output, file) = Output::claim(&settings.output)?;
    let child = if settings.command.is_empty() { None } else { Some(HeldChild::spawn(&settings.command)?) };
    let mut undo = Undo::new();
    let locks = claim_buffers(&plans)?;
    for plan in &plans {
        configure::configure(plan, settings, child.as_ref().map(|child| child.pid().as_raw()), watch, &mut undo)?;
    }
    let mut buffers =
        plans.iter().map(|plan| open_buffer(plan, settings, &mut output, watch)).collect::<Result<Vec<_>, _>>()?;
    let top = root.top();
    let events = recorded_events(settings, &plans, &top)?;
    let page_bytes = top.subbuf_layout().map_err(Error::setup("reading the page header's layout"))?.subbuf_bytes;
    let writer = Writer::create(file, settings.compression, page_bytes).map_err(output_failed(&output))?;
    let session = Session { signals: &signals, processes, plans: &plans, top: &top, watch };
    let harvest = session.record(&mut buffers, child, writer, &events, &mut undo)?;
    let report = seal::collect(&plans, &top, &harvest);
    drop(buffers);
    drop(locks);
    undo.run().into_iter().for_each(|error| watch.note(Note::NotPutBack(error)));
    let Harvest { child, stop, failure, texts, buffers, .. } = harvest;
    let sealed = seal::seal(texts, report, buffers).map_err(output_failed(&output));
    let sealed = sealed.and_then(|outcome| output.publish().map(|()| outcome));
    let ending = child.and_then(|child| finish_command(child, stop, &signals));
    match (failure, sealed) {
        (Some(failure), _) => Err(failure),
        (None, Err(error)) => Err(error),
        (None, Ok(outcome)) => Ok(Outcome { ending, stop, ..outcome }),
    }
}

fn output_failed(output: &Output) -> impl FnOnce(std::io::Error) -> Error {
    let path = output.path().to_owned();
    move |source| Error::Output { path, source }
}

/// Opens what tells when the processes of `-P` end; one that does not exist is an error now, not an empty trace later.
fn watch_processes(settings: &Settings) -> Result<Vec<OwnedFd>, Error> {
    let pids = settings.buffers.iter().flat_map(|buffer| &buffer.pids);
    pids.map(|&pid| signals::pidfd(pid).map_err(|source| Error::NoProcess { pid, source })).collect()
}

/// Makes sure that nobody else takes events out of the buffers.
fn claim_buffers(plans: &[BufferPlan<'_>]) -> Result<Vec<Flock<std::fs::File>>, Error> {
    let mut locks = Vec::new();
    for plan in plans.iter().filter(|plan| plan.instance.dir().is_dir()) {
        let lock = plan.instance.lock().map_err(Error::setup("claiming the buffer"))?;
        let consumers = plan.instance.consumers();
        match lock {
            Some(lock) if consumers.is_empty() => locks.push(lock),
            _ => {
                let instance = plan.instance.name().map(str::to_owned);
                return Err(Error::BufferBusy { instance, consumers, source: None });
            }
        }
    }
    Ok(locks)
}

/// A buffer with its readers, ready to run.
struct OpenBuffer {
    readers: Vec<CpuReader>,
    progress: Vec<cpu::Progress>,
}

fn open_buffer(
    plan: &BufferPlan<'_>,
    settings: &Settings,
    output: &mut Output,
    watch: &dyn Watch,
) -> Result<OpenBuffer, Error> {
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
        let (reader, because) = CpuReader::new(cpu, raw, layout, chunks, settings.reader);
        watch.note(Note::Way { instance: instance.name().map(str::to_owned), cpu, way: reader.way(), because });
        readers.push(reader);
    }
    let progress = readers.iter().map(|_| cpu::Progress::default()).collect();
    Ok(OpenBuffer { readers, progress })
}

/// The events whose formats the file needs.
fn recorded_events(
    settings: &Settings,
    plans: &[BufferPlan<'_>],
    top: &Instance,
) -> Result<BTreeSet<crate::tracefs::events::EventName>, Error> {
    if settings.all_formats {
        let all = top.select_events("all").and_then(|all| top.spell_out(&all));
        return all.map_err(Error::setup("reading the list of events"));
    }
    Ok(plans.iter().flat_map(|plan| &plan.events).flat_map(|event| event.events.iter().cloned()).collect())
}

/// The part between "all is set" and "all is taken".
struct Session<'a> {
    signals: &'a Signals,
    processes: Vec<OwnedFd>,
    plans: &'a [BufferPlan<'a>],
    top: &'a Instance,
    watch: &'a dyn Watch,
}

/// What the session has brought.
pub(crate) struct Harvest {
    child: Option<RunningChild>,
    stop: Stop,
    failure: Option<Error>,
    /// The file with its first sections.
    texts: Writer,
    /// Names of living threads, for those that the kernel has forgotten.
    threads: std::collections::BTreeMap<i32, Vec<u8>>,
    buffers: Vec<Vec<cpu::CpuHarvest>>,
    elapsed: Duration,
    /// A buffer was found switched off before it was to be.
    was_switched_off: bool,
}

impl Session<'_> {
    fn record(
        &self,
        buffers: &mut [OpenBuffer],
        child: Option<HeldChild>,
        mut writer: Writer,
        events: &BTreeSet<crate::tracefs::events::EventName>,
        undo: &mut Undo,
    ) -> Result<Harvest, Error> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let stop = EventFd::from_value_and_flags(0, flags).map_err(Error::system("opening an eventfd"))?;
        let alarm = EventFd::from_value_and_flags(0, flags).map_err(Error::system("opening an eventfd"))?;
        thread::scope(|scope| {
            // However this closure is left, the readers must be told to stop, or the scope waits for ever.
            let stopper = StopOnDrop(&stop);
            let mut readers = Vec::new();
            let mut meters = Vec::new();
            for buffer in buffers.iter_mut() {
                let OpenBuffer { readers: ready, progress } = buffer;
                let mut running = Vec::new();
                for (reader, meter) in std::mem::take(ready).into_iter().zip(progress.iter()) {
                    let (cpu, stop, alarm) = (reader.cpu(), stop.as_fd(), &alarm);
                    let run = move || {
                        let alarm = AlarmUnlessDone(alarm);
                        let harvest = reader.run(stop, meter)?;
                        std::mem::forget(alarm);
                        Ok(harvest)
                    };
                    let thread = thread::Builder::new().name(format!("rtrec/{cpu}")).spawn_scoped(scope, run);
                    running.push((cpu, thread.map_err(Error::system("starting a reader"))?));
                    meters.push(meter);
                }
                readers.push(running);
            }
            // Reads and packs while the load runs, but is there before, to be left out of the trace like the readers.
            let (go, told) = std::sync::mpsc::channel();
            let texts = scope.spawn(move || {
                // Without a word the recording failed, and its error is told elsewhere.
                told.recv().map_err(|_| Error::Interrupted(0))?;
                let texts = metadata::Texts::read(self.top, events).map_err(Error::setup("reading the formats"))?;
                if !texts.has_symbols() {
                    self.watch.note(Note::NoSymbols);
                }
                texts.write(&mut writer).map_err(Error::system("writing the formats"))?;
                Ok((writer, metadata::living_threads()))
            });
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
            let mut harvests = Vec::new();
            for running in readers {
                let mut cpus = Vec::new();
                for (cpu, thread) in running {
                    match thread.join() {
                        Ok(Ok(harvest)) => cpus.push(harvest),
                        Ok(Err(source)) => failure = failure.or(Some(Error::Reader { cpu, source })),
                        Err(_) => {
                            let source = std::io::Error::other("the reader panicked");
                            failure = failure.or(Some(Error::Reader { cpu, source }));
                        }
                    }
                }
                harvests.push(cpus);
            }
            let (texts, threads) = texts.join().unwrap_or_else(|_| {
                Err(Error::System { step: "reading the formats", source: std::io::Error::other("a thread panicked") })
            })?;
            Ok(Harvest { child, stop: how, failure, texts, threads, buffers: harvests, elapsed, was_switched_off })
        })
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
            if signals::sleep_on(&fds, watching.then_some(PROGRESS_PERIOD)).is_err() {
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
    use std::sync::atomic::Ordering::Relaxed;
    Progress {
        elapsed,
        bytes: meters.iter().map(|meter| meter.bytes.load(Relaxed)).sum(),
        lost: meters.iter().map(|meter| meter.overrun.load(Relaxed)).sum(),
    }
}

/// All threads of this process, those of rayon's pool included, which are started for that.
fn own_threads() -> Vec<i32> {
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

/// Waits for a command that outlives its recording. Another signal ends the wait.
fn finish_command(child: RunningChild, stop: Stop, signals: &Signals) -> Option<child::Ending> {
    if let Stop::CommandEnded(ending) = stop {
        return Some(ending);
    }
    loop {
        if let Some(ending) = child.ended() {
            return Some(ending);
        }
        let _ = signals::sleep_on(&[signals.as_fd()], Some(Duration::from_secs(1)));
        if let Some(Caught { signal, .. }) = signals.caught() {
            return Some(child::Ending::Killed(signal as i32));
        }
    }
}
