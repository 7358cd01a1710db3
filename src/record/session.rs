//! The part of a recording between "all is set" and "all is taken": readers run, the command is let go, something
//! ends it, the readers take the rest.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::dat::own;
use crate::dat::unsealed::{BufferEntry, Entry, stretch_kind};
use crate::dat::writer::Room;
use crate::record::along::gathered::Extra;
use crate::record::along::maps::Maps;
use crate::record::capture::child::{HeldChild, RunningChild};
use crate::record::capture::limits::{self, Figures, Guard};
use crate::record::capture::reader::{self, CpuHarvest, CpuReader, Delivery, Desk, Orders};
use crate::record::capture::signals::{self, Caught, Signals};
use crate::record::error::Error;
use crate::record::file::first_sections::TextsThread;
use crate::record::file::metadata;
use crate::record::file::output::Output;
use crate::record::file::rotation::{self, BufferData, Rotor};
use crate::record::file::seal::{self, Closing};
use crate::record::file::segments::{self, Files, Stretches};
use crate::record::outcome::Stop;
use crate::record::privilege;
use crate::record::settings::Settings;
use crate::record::watch::{Note, Progress, Watch};
use crate::rt::in_kernel::Judge;
use crate::rt::only_slow::{Parts, Shared, Sifter};
use crate::setup::configure;
use crate::setup::plan::BufferPlan;
use crate::tracefs::{Instance, Undo};

/// How often the live line is renewed.
const PROGRESS_PERIOD: Duration = Duration::from_millis(250);

/// A buffer with its readers, ready to run.
pub(crate) struct OpenBuffer {
    readers: Vec<CpuReader>,
    /// In place of readers, where only slow windows are kept.
    sifter: Option<Sifter>,
    progress: Vec<reader::Progress>,
    files: Vec<Files>,
    subbuf_bytes: usize,
}

/// Opens a CPU's way out for each traced CPU.
pub(crate) fn open_buffer(
    plan: &BufferPlan<'_>,
    settings: &Settings,
    output: &Output,
    watch: &dyn Watch,
    extras: &Extra,
    undo: &mut Undo,
) -> Result<OpenBuffer, Error> {
    let instance = &plan.instance;
    let layout = instance.subbuf_layout().map_err(Error::setup("reading the page header's layout"))?;
    let subbuf_bytes = layout.subbuf_bytes as usize;
    let mut open =
        OpenBuffer { readers: Vec::new(), sifter: None, progress: Vec::new(), files: Vec::new(), subbuf_bytes };
    if plan.settings.keeps_worst_case() {
        // What it has is a text, which is read at the end.
        return Ok(open);
    }
    let cpus = instance.traced_cpus().map_err(Error::setup("reading the CPU mask"))?;
    let name = instance.name().unwrap_or_default();
    let failed = |source| Error::Output { path: output.path().to_owned(), source };
    let entry = BufferEntry {
        name: name.to_owned(),
        clock: instance.clocks().ok().and_then(|clocks| clocks.chosen).unwrap_or_else(|| "local".to_owned()),
        subbuf_bytes: layout.subbuf_bytes,
        cpus: cpus.clone(),
    };
    output.journal().note(&Entry::Buffer(entry)).map_err(failed)?;
    let sifted = extras.sifted(plan);
    let judge = sifted.filter(|_| plan.is_judged()).map(|(session, _)| Judge::begin(instance, session, &cpus, undo));
    let judge = judge.transpose()?;
    let mut taps = Vec::new();
    for cpu in cpus {
        let raw = match judge {
            Some(_) => instance.snapshot_buffer(cpu, subbuf_bytes),
            None => instance.raw_buffer(cpu, subbuf_bytes),
        };
        let raw = raw.map_err(Error::setup("opening a CPU's buffer"))?;
        let files = Files::new(output.family().clone(), name, cpu);
        let stretches = Stretches::begin(files.clone(), settings.compression, subbuf_bytes, settings.limits.tail)
            .map_err(failed)?;
        open.progress.push(reader::Progress::default());
        open.files.push(files);
        if sifted.is_some() {
            taps.push((cpu, raw, stretches));
            continue;
        }
        let (reader, because) = CpuReader::new(cpu, raw, layout, stretches, settings.reader, settings.pace());
        watch.note(Note::Way { instance: instance.name().map(str::to_owned), cpu, way: reader.way(), because });
        open.readers.push(reader);
    }
    if let Some((session, shared)) = sifted {
        let events = plan.events.iter().flat_map(|event| event.events.iter().cloned()).collect();
        let texts = metadata::Texts::read(instance, &events).map_err(Error::setup("reading the formats"))?;
        let parts = Parts {
            formats: &texts.formats(),
            session,
            layout,
            buffer_bytes: settings.windows.as_ref().and_then(|windows| windows.only_slow).unwrap_or(0),
            cpus: taps,
            shared: Shared::clone(shared),
            family: output.family(),
            status: settings.windows.as_ref().and_then(|windows| windows.status.clone()),
            priority: settings.pace().reader_priority(),
            judge,
        };
        open.sifter = Some(Sifter::new(parts)?);
    }
    Ok(open)
}

/// The part between "all is set" and "all is taken".
pub(crate) struct Session<'a> {
    pub(crate) signals: &'a Signals,
    pub(crate) processes: Vec<OwnedFd>,
    pub(crate) plans: &'a [BufferPlan<'a>],
    pub(crate) top: &'a Instance,
    pub(crate) watch: &'a dyn Watch,
    pub(crate) settings: &'a Settings,
    pub(crate) output: &'a Output,
    /// Where the maps of the command go, if they are wanted.
    pub(crate) maps: Option<&'static Maps>,
    pub(crate) orders: &'a Orders,
    /// Made readable when recording has ended, for whoever listens for a second signal.
    pub(crate) closing: &'a EventFd,
}

/// What the session has brought.
pub struct Harvest {
    pub(crate) child: Option<RunningChild>,
    pub(crate) stop: Stop,
    pub(crate) failure: Option<Error>,
    pub(crate) buffers: Vec<Vec<CpuHarvest>>,
    pub(crate) elapsed: Duration,
    /// A buffer was found switched off before it was to be.
    pub(crate) was_switched_off: bool,
    /// Files that were completed on the way, and who names the next.
    pub(crate) rotated: Vec<std::path::PathBuf>,
    pub(crate) rotor: Rotor,
}

impl Session<'_> {
    pub(crate) fn record(
        &self,
        buffers: &mut [OpenBuffer],
        child: Option<HeldChild>,
        texts: &TextsThread,
        undo: &mut Undo,
    ) -> Result<Harvest, Error> {
        let (stop, alarm) = (event_fd()?, event_fd()?);
        let (deliver, deliveries) = channel();
        let sifters: Vec<Option<Sifter>> = buffers.iter_mut().map(|buffer| buffer.sifter.take()).collect();
        let crews: Vec<Vec<CpuReader>> = buffers.iter_mut().map(|buffer| std::mem::take(&mut buffer.readers)).collect();
        thread::scope(|scope| {
            // However this closure is left, the readers must be told to stop, or the scope waits for ever.
            let stopper = StopOnDrop(&stop);
            let mut running = Vec::new();
            let mut meters = Vec::new();
            let crew = Crew { stop: stop.as_fd(), alarm: &alarm, orders: self.orders };
            for (index, (readers, buffer)) in crews.into_iter().zip(&*buffers).enumerate() {
                let desk = Desk { buffer: index, deliveries: Sender::clone(&deliver) };
                running.push(start_readers(scope, readers, &buffer.progress, crew, &desk)?);
                meters.extend(buffer.progress.iter());
            }
            let mut sifting = Vec::new();
            for (sifter, buffer) in sifters.into_iter().zip(&*buffers) {
                let start = |sifter| start_sifter(scope, sifter, &buffer.progress, crew, self.watch);
                sifting.push(sifter.map(start).transpose()?);
            }
            let threads = own_threads();
            self.plans.iter().for_each(|plan| configure::leave_out(plan, &threads, self.watch, undo));
            let (child, started) = self.start(child)?;
            texts.tell_started();
            let rotation = self.settings.limits.rotation.unwrap_or_default();
            let rotor = Rotor::new(rotation, self.output.path(), meters.len(), started);
            let mut course = Course {
                child,
                alarm: alarm.as_fd(),
                started,
                meters: &meters,
                deliveries: &deliveries,
                texts,
                rotor,
                rotated: Vec::new(),
            };
            let how = self.wait(&mut course);
            let Course { child, rotated, mut rotor, .. } = course;
            let _ = self.closing.write(1);
            let elapsed = started.elapsed();
            let was_switched_off = self.plans.iter().any(|plan| matches!(plan.instance.is_tracing(), Ok(false)));
            let off = self.plans.iter().map(|plan| plan.instance.tracing_off()).find_map(Result::err);
            drop(stopper);
            let mut failure = off.map(|source| Error::Setup { step: "stopping the buffer", source });
            failure = how.1.or(failure);
            let mut harvests: Vec<Vec<CpuHarvest>> = Vec::new();
            for ((readers, sifter), buffer) in running.into_iter().zip(sifting).zip(&*buffers) {
                let salvage = |cpu: usize| self.salvage(buffer, cpu);
                harvests.push(match sifter {
                    Some(thread) => join_sifter(thread, buffer.files.len(), salvage, &mut failure),
                    None => join_readers(readers, salvage, &mut failure),
                });
            }
            while let Ok(delivery) = deliveries.try_recv() {
                rotor.take(delivery, self.plans.len()).into_iter().for_each(|data| put_in_front(data, &mut harvests));
            }
            put_in_front(rotor.collected(self.plans.len()), &mut harvests);
            let stop = how.0;
            Ok(Harvest { child, stop, failure, buffers: harvests, elapsed, was_switched_off, rotated, rotor })
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
        let mut child = child;
        if let (Some(child), Some(maps)) = (&mut child, self.maps) {
            child.keep_maps(maps);
        }
        let child = child.map(HeldChild::release).transpose()?;
        self.watch.note(Note::Started);
        Ok((child, started))
    }

    /// Waits for whatever ends the recording; tells what and, if so, what went wrong.
    fn wait(&self, course: &mut Course<'_>) -> (Stop, Option<Error>) {
        let limits = &self.settings.limits;
        let dir = self.output.family().folder();
        let functions = self.plans.iter().any(|plan| plan.settings.traces_functions());
        let mut guard = Guard::new(limits, dir, functions, course.started);
        let mut looked = course.started;
        loop {
            if let Some(stop) = self.sleep(course) {
                return (stop, None);
            }
            let now = Instant::now();
            if now.duration_since(looked) >= limits::PERIOD {
                looked = now;
                let figures = figures(course.meters);
                if let Some(stop) = guard.check(figures, now) {
                    return (stop, None);
                }
                if limits.until.is_some()
                    && self.plans.iter().any(|plan| matches!(plan.instance.is_tracing(), Ok(false)))
                {
                    return (Stop::Triggered, None);
                }
                if limits.rotation.is_some() && course.rotor.is_due(figures, now) {
                    self.begin_cut(course, figures, now);
                }
            }
            if let Err(error) = self.rotate(course) {
                return (Stop::ReaderFailed, Some(error));
            }
            if self.watch.wants_progress() {
                self.watch.progress(&progress(course.meters, course.started.elapsed()));
            }
        }
    }

    /// Sleeps until something happens or it is time to look at the limits.
    fn sleep(&self, course: &Course<'_>) -> Option<Stop> {
        let mut fds = vec![self.signals.as_fd(), course.alarm];
        if course.child.is_none() {
            fds.extend(self.processes.iter().filter(|fd| !signals::has_ended(fd)).map(AsFd::as_fd));
        }
        let period = if self.watch.wants_progress() { PROGRESS_PERIOD } else { Duration::from_secs(1) };
        let period = if self.needs_care() { limits::PERIOD } else { period };
        let left = self.settings.duration.map(|duration| duration.saturating_sub(course.started.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            return Some(Stop::TimeIsUp);
        }
        let period = left.map_or(period, |left| left.min(period));
        if signals::sleep_on(&fds, Some(period)).is_err() {
            return Some(Stop::ReaderFailed);
        }
        if let Some(caught) = self.signals.caught() {
            if let Some(child) = course.child.filter(|_| !caught.from_terminal) {
                child.signal(caught.signal);
            }
            return Some(Stop::Signal(caught.signal as i32));
        }
        if signals::is_ready(course.alarm) {
            return Some(Stop::ReaderFailed);
        }
        match course.child {
            Some(child) => child.ended().map(Stop::CommandEnded),
            None if !self.processes.is_empty() && self.processes.iter().all(signals::has_ended) => {
                Some(Stop::ProcessesEnded)
            }
            None => None,
        }
    }

    /// Whether limits have to be looked at more often than once a second.
    fn needs_care(&self) -> bool {
        let limits = &self.settings.limits;
        limits.max_bytes.is_some() || limits.rotation.is_some() || limits.until.is_some()
    }

    fn begin_cut(&self, course: &mut Course<'_>, figures: Figures, now: Instant) {
        // A file can be completed only when the formats are there.
        if course.texts.is_finished()
            && let Some(cut) = course.rotor.begin_cut(figures, now)
        {
            self.orders.cuts.store(cut, Release);
        }
    }

    /// Takes what the readers hand over, and completes a file when all have.
    fn rotate(&self, course: &mut Course<'_>) -> Result<(), Error> {
        while let Ok(delivery) = course.deliveries.try_recv() {
            if let Some(data) = course.rotor.take(delivery, self.plans.len()) {
                let path = self.complete_file(data, &mut course.rotor)?;
                self.watch.note(Note::Rotated(path.clone()));
                course.rotated.push(path);
            }
        }
        Ok(())
    }

    /// Completes a file of a cut. What could not be put into it goes into the last file.
    fn complete_file(&self, mut data: BufferData, rotor: &mut Rotor) -> Result<std::path::PathBuf, Error> {
        let (path, too_old) = rotor.name_next();
        let family = self.output.family();
        let stretches = segments(&data, self.plans);
        let mut complete = || -> io::Result<()> {
            let copy = rotation::begin_copy(family, self.settings.compression)?;
            let mut closing = Closing::ask(self.plans, self.top);
            closing.name_threads(&metadata::living_threads());
            // Samples and counts are in the last file.
            closing.extras.own = Some((family.clone(), Some(own::WINDOWS)));
            let file = seal::seal(copy, &closing, &mut data, &mut |_| Ok(Room::Plenty))?;
            privilege::hand_over(&file, self.settings.mode)?;
            let names = stretches.iter().map(|(instance, cpu, segment)| stretch_kind(instance, *cpu, *segment));
            rotation::publish_copy(family, self.output.journal(), &path, names.collect())
        };
        let failed = |source| Error::Output { path: path.clone(), source };
        if let Err(source) = complete() {
            rotation::abandon_copy(family);
            rotor.give_back(data);
            return Err(failed(source));
        }
        for (instance, cpu, segment) in stretches {
            Files::new(family.clone(), instance, cpu).remove(segment);
        }
        rotation::remove_old(too_old).map_err(failed)?;
        Ok(path)
    }

    /// What is whole of a CPU's data when its reader has failed.
    fn salvage(&self, buffer: &OpenBuffer, index: usize) -> CpuHarvest {
        let files = &buffer.files[index];
        let first = buffer.progress[index].segment.load(Acquire);
        let data = segments::salvage(files, self.settings.compression, buffer.subbuf_bytes, first);
        CpuHarvest { cpu: files.cpu(), data: data.unwrap_or_default(), wakeups: 0, lowered: 0 }
    }
}

/// What the coordinator looks at while it waits.
struct Course<'a> {
    child: Option<RunningChild>,
    alarm: BorrowedFd<'a>,
    started: Instant,
    meters: &'a [&'a reader::Progress],
    deliveries: &'a Receiver<Delivery>,
    texts: &'a TextsThread,
    rotor: Rotor,
    rotated: Vec<std::path::PathBuf>,
}

/// Which stretches are in a cut.
fn segments<'p>(data: &BufferData, plans: &'p [BufferPlan<'_>]) -> Vec<(&'p str, u32, u64)> {
    let names = plans.iter().map(|plan| plan.instance.name().unwrap_or_default());
    names
        .zip(data)
        .flat_map(|(name, cpus)| cpus.iter().map(move |(cpu, data)| (name, *cpu, data)))
        .flat_map(|(name, cpu, data)| data.iter().map(move |data| (name, cpu, data.segment)))
        .collect()
}

/// Puts what was handed over for a cut that was not completed before what came after.
fn put_in_front(data: BufferData, harvests: &mut [Vec<CpuHarvest>]) {
    for (cpus, harvests) in data.into_iter().zip(harvests) {
        for (cpu, mut earlier) in cpus {
            if let Some(harvest) = harvests.iter_mut().find(|harvest| harvest.cpu == cpu) {
                earlier.append(&mut harvest.data);
                harvest.data = earlier;
            }
        }
    }
}

fn progress(meters: &[&reader::Progress], elapsed: Duration) -> Progress {
    let figures = figures(meters);
    Progress { elapsed, bytes: figures.taken, lost: figures.overrun }
}

fn figures(meters: &[&reader::Progress]) -> Figures {
    Figures {
        written: meters.iter().map(|meter| meter.written.load(Relaxed)).sum(),
        taken: meters.iter().map(|meter| meter.bytes.load(Relaxed)).sum(),
        overrun: meters.iter().map(|meter| meter.overrun.load(Relaxed)).sum(),
    }
}

type Running<'scope> = Vec<(u32, ScopedJoinHandle<'scope, io::Result<CpuHarvest>>)>;

/// What all readers share.
#[derive(Clone, Copy)]
struct Crew<'scope> {
    stop: BorrowedFd<'scope>,
    alarm: &'scope EventFd,
    orders: &'scope Orders,
}

/// Starts a thread for each reader of a buffer.
fn start_readers<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    readers: Vec<CpuReader>,
    meters: &'scope [reader::Progress],
    crew: Crew<'scope>,
    desk: &Desk,
) -> Result<Running<'scope>, Error> {
    let start = |(reader, meter): (CpuReader, &'scope reader::Progress)| {
        let (cpu, desk) = (reader.cpu(), desk.clone());
        let run = move || {
            let alarm = AlarmUnlessDone(crew.alarm);
            let harvest = reader.run(crew.stop, crew.orders, &desk, meter)?;
            std::mem::forget(alarm);
            Ok(harvest)
        };
        let thread = thread::Builder::new().name(format!("rtrec/{cpu}")).spawn_scoped(scope, run);
        Ok((cpu, thread.map_err(Error::system("starting a reader"))?))
    };
    readers.into_iter().zip(meters).map(start).collect()
}

/// Waits for the readers of a buffer to take the rest; the first failure is kept, and what a failed reader has written.
fn join_readers(
    readers: Running<'_>,
    salvage: impl Fn(usize) -> CpuHarvest,
    failure: &mut Option<Error>,
) -> Vec<CpuHarvest> {
    let mut harvests = Vec::new();
    for (index, (cpu, thread)) in readers.into_iter().enumerate() {
        let source = match thread.join() {
            Ok(Ok(harvest)) => {
                harvests.push(harvest);
                continue;
            }
            Ok(Err(source)) => source,
            Err(_) => io::Error::other("the reader panicked"),
        };
        failure.get_or_insert(Error::Reader { cpu, source });
        harvests.push(salvage(index));
    }
    harvests
}

type Sifting<'scope> = ScopedJoinHandle<'scope, io::Result<Vec<CpuHarvest>>>;

/// Starts the thread that stands for all readers of a buffer.
fn start_sifter<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    sifter: Sifter,
    meters: &'scope [reader::Progress],
    crew: Crew<'scope>,
    watch: &'scope dyn Watch,
) -> Result<Sifting<'scope>, Error> {
    let run = move || {
        let alarm = AlarmUnlessDone(crew.alarm);
        let harvest = sifter.run(crew.stop, meters, watch)?;
        std::mem::forget(alarm);
        Ok(harvest)
    };
    let thread = thread::Builder::new().name("rtrec/sift".to_owned()).spawn_scoped(scope, run);
    thread.map_err(Error::system("starting a reader"))
}

/// Waits for it, as for readers.
fn join_sifter(
    thread: Sifting<'_>,
    cpus: usize,
    salvage: impl Fn(usize) -> CpuHarvest,
    failure: &mut Option<Error>,
) -> Vec<CpuHarvest> {
    let source = match thread.join() {
        Ok(Ok(harvest)) => return harvest,
        Ok(Err(source)) => source,
        Err(_) => io::Error::other("the reader panicked"),
    };
    failure.get_or_insert(Error::Reader { cpu: 0, source });
    (0..cpus).map(salvage).collect()
}

pub(crate) fn event_fd() -> Result<EventFd, Error> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    EventFd::from_value_and_flags(0, flags).map_err(Error::system("opening an eventfd"))
}

/// All threads of this process, those of rayon's pool included, which are started for that.
pub(crate) fn own_threads() -> Vec<i32> {
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
