//! Recording without a file: sub-buffers go to a sink as they come, in rounds.
//!
//! The same set-up as for a file. One thread takes the data out, hands it over and waits: what a slow sink cannot follow
//! is lost in the kernel, which counts it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::control::journal::Kept;
use crate::dat::unsealed::BufferEntry;
use crate::dat::{LiveBuffer, Tsc2Nsec, ids};
use crate::record::along::gathered;
use crate::record::capture::child::{HeldChild, RunningChild};
use crate::record::capture::priority;
use crate::record::capture::signals::{self, Signals};
use crate::record::error::Error;
use crate::record::file::metadata::{self, Symbols, Texts};
use crate::record::outcome::{BufferOutcome, CpuOutcome, Outcome, Stop};
use crate::record::privilege::{self, Identity};
use crate::record::session::own_threads;
use crate::record::settings::{Settings, TSC2NSEC};
use crate::record::tee::{self, Claimed, Keeper};
use crate::record::watch::{Note, Watch};
use crate::record::{claim_buffers, finish_command, recorded_events, watch_processes};
use crate::setup::configure;
use crate::setup::plan::{self, BufferPlan};
use crate::setup::tsc::Scale;
use crate::tracefs::buffer::RawBuffer;
use crate::tracefs::{Instance, Undo, file};
use crate::wire::subbuf::Layout;

/// What is needed to read the records.
#[derive(Debug)]
pub struct StreamTexts {
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
pub trait Sink {
    /// Comes first.
    fn begin(&mut self, texts: StreamTexts);

    /// Comes again and again; `false` when nobody wants more.
    fn round(&mut self, round: Round) -> bool;
}

/// A writer may hold a record it has begun for so long, until the record can be seen.
const SLACK_NS: u64 = 1_000_000;
/// Between two looks at the buffers, lest a kernel that wakes for every record keeps a CPU busy.
const PAUSE: Duration = Duration::from_millis(10);

/// Records into a sink; a record reaches it within about `delay`.
pub fn stream(settings: &Settings, delay: Duration, watch: &dyn Watch, sink: &mut dyn Sink) -> Result<Outcome, Error> {
    pass(settings, delay, watch, sink, false)
}

/// The same, kept in the output file as well.
pub fn stream_and_keep(
    settings: &Settings,
    delay: Duration,
    watch: &dyn Watch,
    sink: &mut dyn Sink,
) -> Result<Outcome, Error> {
    pass(settings, delay, watch, sink, true)
}

fn pass(
    settings: &Settings,
    delay: Duration,
    watch: &dyn Watch,
    sink: &mut dyn Sink,
    keep: bool,
) -> Result<Outcome, Error> {
    privilege::refuse_elevated()?;
    let signals = Signals::block()?;
    let root = plan::open_root(settings.tracefs.as_deref())?;
    let plans = plan::judge(settings, &root)?;
    let processes = watch_processes(settings)?;
    priority::judge(settings.priority)?;
    let user = settings.user.as_deref().map(Identity::of).transpose()?;
    let child = match settings.command.as_slice() {
        [] => None,
        command => Some(HeldChild::spawn(command, user.as_ref())?),
    };
    let claimed = keep.then(|| Claimed::new(settings)).transpose()?;
    // The journal of what is changed lies beside the file, if there is one.
    let kept = if keep { None } else { Kept::new() };
    let journal = || match &claimed {
        Some(claimed) => claimed.undo(),
        None => kept.as_ref().map_or_else(Undo::new, Kept::undo),
    };
    let (mut probes, mut undo) = (journal(), journal());
    let locks = claim_buffers(&plans)?;
    let top = root.top();
    let scale = gathered::scale(settings, &plans, &root)?;
    claimed.iter().try_for_each(|claimed| claimed.note(settings, &plans, &top))?;
    plan::define_probes(&plans, &top, watch, &mut probes)?;
    for plan in &plans {
        configure::configure(plan, child.as_ref().map(|child| child.pid().as_raw()), watch, &mut undo)?;
    }
    let mut taps = plans.iter().map(Tap::open).collect::<Result<Vec<_>, _>>()?;
    let texts = read_texts(settings, &plans, &top)?;
    let entries = || taps.iter().map(Tap::entry).collect();
    let mut keeper = claimed.map(|claimed| claimed.begin(settings, entries(), &texts)).transpose()?;
    let options = scale.as_ref().map(|scale| (ids::TSC2NSEC, scale.option())).into_iter().collect();
    begin(texts, &top, scale, sink)?;
    let threads = own_threads();
    plans.iter().for_each(|plan| configure::leave_out(plan, &threads, watch, &mut undo));
    priority::apply(settings.priority).map_err(Error::system("raising the priority"))?;
    for plan in &plans {
        plan.instance.tracing_on().map_err(Error::setup("starting the buffer"))?;
    }
    let started = Instant::now();
    let child = child.map(HeldChild::release).transpose()?;
    watch.note(Note::Started);
    let waiting = Waiting { signals: &signals, processes, child, started, duration: settings.duration };
    let stop = pump(&mut taps, &plans, &top, &waiting, delay, sink, &mut keeper)?;
    let elapsed = started.elapsed();
    plans.iter().try_for_each(|plan| plan.instance.tracing_off()).map_err(Error::setup("stopping the buffer"))?;
    if stop != Stop::OutputClosed {
        drain(&mut taps, &mut keeper)?;
        sink.round(round(&mut taps, &top, None));
    }
    let file = keeper.map(|keeper| keeper.complete(&plans, &top, &tee::threads(), options)).transpose()?;
    let buffers = plans.iter().zip(&taps).map(|(plan, tap)| outcome_of(plan, tap)).collect();
    drop(taps);
    drop(locks);
    undo.run().into_iter().chain(probes.run()).for_each(|error| watch.note(Note::NotPutBack(error)));
    drop(kept);
    let ending = waiting.child.and_then(|child| finish_command(child, stop, &signals));
    Ok(Outcome { ending, stop, elapsed, buffers, empty: None, trouble: None, files: file.into_iter().collect() })
}

fn read_texts(settings: &Settings, plans: &[BufferPlan<'_>], top: &Instance) -> Result<Texts, Error> {
    let events = recorded_events(settings, plans, top)?;
    let mut texts = Texts::read(top, &events).map_err(Error::setup("reading the formats"))?;
    texts.symbols = Symbols::read(top);
    texts.types = metadata::types_for_arguments(plan::function_buffers(plans));
    texts.name_values(&plan::named_values(plans));
    Ok(texts)
}

fn begin(texts: Texts, top: &Instance, scale: Option<Scale>, sink: &mut dyn Sink) -> Result<(), Error> {
    let (formats, types) = (texts.formats(), texts.types);
    let (kallsyms, printk) = texts.symbols.into_tables();
    let layout = top.subbuf_layout().map_err(Error::setup("reading the page header's layout"))?;
    let tsc2nsec = scale.map(|scale| Tsc2Nsec { mult: scale.mult, shift: scale.shift, offset: 0 });
    sink.begin(StreamTexts { formats, kallsyms, printk, types, layout, tsc2nsec });
    Ok(())
}

/// One buffer being emptied.
struct Tap {
    name: String,
    clock: String,
    layout: Layout,
    /// CPU, its raw buffer, what has come, how much in all.
    cpus: Vec<(u32, RawBuffer, Vec<u8>, u64)>,
    page: Vec<u8>,
}

impl Tap {
    fn open(plan: &BufferPlan<'_>) -> Result<Tap, Error> {
        let instance = &plan.instance;
        let layout = instance.subbuf_layout().map_err(Error::setup("reading the page header's layout"))?;
        let chosen = instance.clocks().ok().and_then(|clocks| clocks.chosen).unwrap_or_else(|| "local".to_owned());
        let cycles = plan.settings.clock.as_deref() == Some(TSC2NSEC);
        let bytes = layout.subbuf_bytes as usize;
        let cpus = instance.traced_cpus().map_err(Error::setup("reading the CPU mask"))?;
        let cpus = cpus.into_iter().map(|cpu| Ok((cpu, instance.raw_buffer(cpu, bytes)?, Vec::new(), 0)));
        Ok(Tap {
            name: instance.name().unwrap_or_default().to_owned(),
            clock: if cycles { TSC2NSEC.to_owned() } else { chosen },
            layout,
            cpus: cpus.collect::<Result<_, _>>().map_err(Error::setup("opening a CPU's buffer"))?,
            page: vec![0; bytes],
        })
    }

    /// Takes what there is, the sub-buffer that is being written included.
    fn drain(&mut self, index: usize, keeper: &mut Option<Keeper>) -> Result<(), Error> {
        for (cpu, raw, come, total) in &mut self.cpus {
            let failed = |error: crate::tracefs::Error| Error::Reader { cpu: *cpu, source: error.source };
            while raw.read_subbuf(&mut self.page).map_err(failed)? {
                if let Some(keeper) = keeper {
                    keeper.keep(index, *cpu, &self.page).map_err(Error::system("keeping the records"))?;
                }
                come.extend_from_slice(&self.page);
                *total += self.page.len() as u64;
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
            cpus: self.cpus.iter().map(|cpu| cpu.0).collect(),
        }
    }

    fn take(&mut self) -> LiveBuffer {
        let cpus = self.cpus.iter_mut().map(|(cpu, _, come, _)| (*cpu, std::mem::take(come))).collect();
        LiveBuffer { name: self.name.clone(), clock: self.clock.clone(), layout: self.layout, cpus }
    }
}

fn drain(taps: &mut [Tap], keeper: &mut Option<Keeper>) -> Result<(), Error> {
    taps.iter_mut().enumerate().try_for_each(|(index, tap)| tap.drain(index, keeper))
}

fn round(taps: &mut [Tap], top: &Instance, cut: Option<u64>) -> Round {
    let names = file::read(&top.path("saved_cmdlines")).unwrap_or_default();
    Round { buffers: taps.iter_mut().map(Tap::take).collect(), names, cut }
}

/// What ends a stream.
struct Waiting<'a> {
    signals: &'a Signals,
    processes: Vec<OwnedFd>,
    child: Option<RunningChild>,
    started: Instant,
    duration: Option<Duration>,
}

impl Waiting<'_> {
    fn over(&self) -> Option<Stop> {
        if let Some(caught) = self.signals.caught() {
            if let Some(child) = self.child.filter(|_| !caught.from_terminal) {
                child.signal(caught.signal);
            }
            return Some(Stop::Signal(caught.signal as i32));
        }
        if self.duration.is_some_and(|duration| self.started.elapsed() >= duration) {
            return Some(Stop::TimeIsUp);
        }
        match self.child {
            Some(child) => child.ended().map(Stop::CommandEnded),
            None if self.processes.is_empty() => None,
            None => self.processes.iter().all(signals::has_ended).then_some(Stop::ProcessesEnded),
        }
    }

    /// Sleeps until something ends it, a buffer is filled, or the time is over.
    fn sleep(&self, taps: &[Tap], time: Duration) {
        let left = self.duration.map(|duration| duration.saturating_sub(self.started.elapsed()));
        let time = left.into_iter().chain([time]).min();
        let buffers = taps.iter().flat_map(|tap| tap.cpus.iter().map(|cpu| cpu.1.as_fd()));
        let fds: Vec<BorrowedFd<'_>> = [self.signals.as_fd()].into_iter().chain(buffers).collect();
        let _ = signals::sleep_on(&fds, time);
    }
}

/// Empties the buffers and hands over what has come, until something ends it.
fn pump(
    taps: &mut [Tap],
    plans: &[BufferPlan<'_>],
    top: &Instance,
    waiting: &Waiting<'_>,
    delay: Duration,
    sink: &mut dyn Sink,
    keeper: &mut Option<Keeper>,
) -> Result<Stop, Error> {
    let period = delay / 2;
    let one_clock = taps.windows(2).all(|pair| pair[0].clock == pair[1].clock);
    let slow = taps.first().is_some_and(|tap| matches!(tap.clock.as_str(), "counter" | "uptime"));
    let slack = if slow { 0 } else { SLACK_NS };
    let mut last_round = Instant::now();
    loop {
        if let Some(stop) = waiting.over() {
            return Ok(stop);
        }
        let now = plans.first().filter(|_| one_clock).and_then(|plan| now_of(&plan.instance));
        drain(taps, keeper)?;
        if last_round.elapsed() >= period {
            // Buffers by different clocks have no common order; they are printed as they come.
            let cut = now.map(|now| now.saturating_sub(slack));
            if !sink.round(round(taps, top, cut)) {
                // As if it had written there itself.
                waiting.child.iter().for_each(|child| child.signal(nix::sys::signal::Signal::SIGPIPE));
                return Ok(Stop::OutputClosed);
            }
            last_round = Instant::now();
        }
        waiting.sleep(&[], PAUSE.min(period));
        waiting.sleep(taps, period.saturating_sub(last_round.elapsed()));
    }
}

/// The trace clock now, as a buffer's statistics tell it: seconds with decimals, or bare ticks.
fn now_of(instance: &Instance) -> Option<u64> {
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

fn outcome_of(plan: &BufferPlan<'_>, tap: &Tap) -> BufferOutcome {
    let cpus = tap.cpus.iter().map(|(cpu, _, _, total)| CpuOutcome {
        cpu: *cpu,
        stats: plan.instance.stats(*cpu).unwrap_or_default(),
        raw_bytes: *total,
        file_bytes: 0,
        wakeups: 0,
        lowered: 0,
    });
    BufferOutcome { instance: plan.instance.name().map(str::to_owned), cpus: cpus.collect() }
}
