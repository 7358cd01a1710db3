//! Only slow windows (`--only-slow`): records are taken out, cut into windows at once, and thrown away unless a window was
//! slow.
//!
//! Owns: the thread that empties the buffers in place of the usual readers, and what it keeps. Does not own: the rules of
//! windows (see [`crate::windows::engine`]), files (see `stretches`).
//!
//! ```text
//!   CPU 0  [..a..b..]   round: all that is older than the cut goes to the engine, in order of time
//!   CPU 1  [..c..|d.]                                   | cut: every buffer was empty a moment after it
//!                        slow window -> its records -> kept by CPU and time -> sub-buffers -> the CPU's file
//! ```
//! Kept records wait until no open window can bring older ones. Both what a thread does in an open window and what waits
//! is bounded, so memory is; what does not fit is counted. Meanwhile they are in files beside the trace, for whoever looks at
//! a session under way or at what a killed recorder left: what is known of a slow window is there at once, its records
//! within two seconds.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use byteorder::NativeEndian;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::dat::own;
use crate::dat::unsealed::Family;
use crate::record::capture::priority::Standing;
use crate::record::capture::reader::{CpuHarvest, Progress};
use crate::record::capture::signals;
use crate::record::error::Error;
use crate::record::file::beside::{Growing, replace};
use crate::record::file::segments::Stretches;
use crate::record::watch::{Note, Watch};
use crate::rt::in_kernel::Judge;
use crate::rt::in_kernel::watch::EARLY_NS;
use crate::rt::waiting::{Waiting, finish};
use crate::spread::Spread;
use crate::tracefs::buffer::RawBuffer;
use crate::windows::engine::{Engine, Finds, Origin, Steps, Window};
use crate::windows::{NS_PER_ROW, OnlySlow, Session};
use crate::wire::abi::Abi;
use crate::wire::common::Common;
use crate::wire::format::EventFormat;
use crate::wire::pack::Packer;
use crate::wire::record::Record;
use crate::wire::subbuf::{Layout, Lost};

/// A writer may hold a record it has begun for so long, until the record can be seen.
pub(crate) const SLACK_NS: u64 = 1_000_000;
/// Between two looks at the buffers.
const PERIOD: Duration = Duration::from_millis(100);
/// Bytes of records of slow windows that wait to be written.
const MOST_WAITING: usize = 256 << 20;
/// The shortest time between them.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);
/// How often the counts are written down.
pub(crate) const STATUS_PERIOD: Duration = Duration::from_secs(1);

/// What the sifting thread tells others.
#[derive(Debug, Default)]
pub struct Told {
    /// Slow windows that nobody has asked for yet: thread, start and end. Samples outside of them are of no use.
    pub slow: Vec<(i32, u64, u64)>,
    /// Threads with open windows, and when the oldest of them began.
    pub open: HashMap<i32, u64>,
    /// Up to when windows are known.
    pub fed: u64,
}

/// Shared with whoever asks.
pub type Shared = Arc<Mutex<Told>>;

/// What it says now.
pub fn told(shared: &Shared) -> std::sync::MutexGuard<'_, Told> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One CPU's buffer.
struct Tap {
    cpu: u32,
    raw: RawBuffer,
    /// Sub-buffers that have records to come, and how far they were read.
    pages: VecDeque<Page>,
    out: Stretches,
    packer: Packer,
    /// Time of the last record that was written.
    written: u64,
}

struct Page {
    bytes: Box<[u8]>,
    /// Time, place and length of each record.
    records: VecDeque<(u64, u32, u32)>,
    lost: u64,
}

/// Takes the place of the readers of a buffer.
pub struct Sifter {
    engine: Engine,
    common: Common,
    layout: Layout,
    taps: Vec<Tap>,
    kept: Kept,
    shared: Shared,
    usr1: Option<SignalFd>,
    /// Where slow windows are noted, and where all are counted: in the trace to be, and for whoever asks.
    notes: Growing,
    counts: Vec<PathBuf>,
    counted: Vec<u8>,
    /// Not before that time, what is settled is written again.
    rests: Instant,
    priority: Option<u32>,
    judge: Option<Judge>,
}

/// Records of slow windows.
#[derive(Default)]
struct Kept {
    session: Session,
    waiting: Waiting,
    counts: OnlySlow,
    /// How long the windows of each kind took.
    spreads: HashMap<String, Spread>,
    slow: Vec<(i32, u64, u64)>,
    /// Lines about slow windows that are not written yet.
    lines: Vec<u8>,
    /// Losses: when, on which CPU, how many.
    losses: VecDeque<(u64, u32, u64)>,
    cpus: Vec<u32>,
    /// Slow windows of the last snapshot: thread and start.
    fresh: HashSet<(i32, u64)>,
    /// The kernel counts, and what it overwrites is no loss.
    judged: bool,
}

impl Finds for Kept {
    fn closed(&mut self, window: Window, steps: &dyn Fn() -> Steps) {
        let name = self.session.definitions.get(window.definition).map_or("", |definition| definition.name.as_str());
        if !self.counts.kinds.contains_key(name) {
            self.counts.kinds.insert(name.to_owned(), Default::default());
        }
        let tally = self.counts.kinds.get_mut(name).expect("just made");
        if !self.judged {
            tally.add(window.duration(), window.is_slow());
            if !self.spreads.contains_key(name) {
                self.spreads.insert(name.to_owned(), Spread::coarse(NS_PER_ROW));
            }
            self.spreads.get_mut(name).expect("just made").add(window.duration());
        }
        self.counts.dropped += window.dropped;
        if !window.is_slow() {
            return;
        }
        for (time, stream, data) in steps().iter() {
            let cpu = self.cpus.get(stream as usize).copied().unwrap_or(0);
            self.waiting.add(time, cpu, data);
        }
        for (time, cpu, count) in self.losses.iter().filter(|(time, ..)| (window.start..=window.end).contains(time)) {
            self.waiting.lose(*time, *cpu, *count);
        }
        if self.judged {
            self.fresh.insert((window.tid, window.start));
        }
        self.slow.push((window.tid, window.start, window.end));
        let kept = crate::windows::Kept {
            tid: window.tid,
            tgid: window.tgid,
            start: window.start,
            end: window.end,
            definition: window.definition,
            split: window.split,
            lost: window.lost,
            dropped: window.dropped,
        };
        self.lines.append(&mut kept.line());
    }
}

/// What a sifter is made of.
pub struct Parts<'a> {
    /// System and text of every format.
    pub formats: &'a [(String, Vec<u8>)],
    /// Windows, with probes by name.
    pub session: &'a Session,
    /// Of the buffer's sub-buffers.
    pub layout: Layout,
    /// Bytes that a thread's records may take.
    pub buffer_bytes: u64,
    /// The buffers and where what is kept goes.
    pub cpus: Vec<(u32, RawBuffer, Stretches)>,
    /// What others are told.
    pub shared: Shared,
    /// The files of the trace to be.
    pub family: &'a Family,
    /// A file that counts go to, too.
    pub status: Option<PathBuf>,
    /// Of the thread; `None`: the readers' usual one.
    pub priority: Option<u32>,
    /// The kernel judges: the buffers are those of snapshots.
    pub judge: Option<Judge>,
}

impl Sifter {
    /// Ready to run. SIGUSR1 is held back by all threads, see `signals`.
    pub fn new(parts: Parts<'_>) -> Result<Sifter, Error> {
        let read = |(system, text): &(String, Vec<u8>)| EventFormat::parse(system, text, Abi::HOST).ok();
        let formats: Vec<EventFormat> = parts.formats.iter().filter_map(read).collect();
        let engine = Engine::new(parts.session, formats.iter(), Abi::HOST, parts.buffer_bytes as usize).map_err(
            |(text, error)| Error::System {
                step: "reading a filter",
                source: io::Error::other(format!("{text}: {error}")),
            },
        )?;
        let mut usr1 = SigSet::empty();
        usr1.add(Signal::SIGUSR1);
        let usr1 = SignalFd::with_flags(&usr1, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).ok();
        let layout = parts.layout;
        let cpus: Vec<u32> = parts.cpus.iter().map(|(cpu, ..)| *cpu).collect();
        let taps = parts.cpus.into_iter().map(|(cpu, raw, out)| Tap {
            cpu,
            raw,
            pages: VecDeque::new(),
            out,
            packer: Packer::new(layout),
            written: 0,
        });
        let notes = own::file(parts.family, own::SLOW_WINDOWS);
        let notes = Growing::create(&notes).map_err(|source| Error::Output { path: notes, source })?;
        let counted = own::file(parts.family, own::WINDOW_COUNTS);
        let counts = OnlySlow { buffer_bytes: parts.buffer_bytes, ..OnlySlow::default() };
        Ok(Sifter {
            engine,
            common: Common::of(formats.first(), Abi::HOST),
            layout,
            taps: taps.collect(),
            kept: Kept {
                session: parts.session.clone(),
                counts,
                cpus,
                judged: parts.judge.is_some(),
                ..Kept::default()
            },
            shared: parts.shared,
            usr1,
            notes,
            counts: [counted].into_iter().chain(parts.status).collect(),
            counted: Vec::new(),
            rests: Instant::now(),
            priority: parts.priority,
            judge: parts.judge,
        })
    }

    /// Works until `stop` becomes readable, then takes the rest.
    pub fn run(mut self, stop: BorrowedFd<'_>, meters: &[Progress], watch: &dyn Watch) -> io::Result<Vec<CpuHarvest>> {
        if let Some(judge) = self.judge.take() {
            return self.run_in_kernel(judge, stop, meters, watch);
        }
        let mut said = Instant::now();
        let mut standing = Standing::take(self.priority, None)?;
        loop {
            standing.tend(Instant::now());
            let over = signals::is_ready(stop);
            // At the end nobody writes any more.
            let fed = if over { u64::MAX } else { now().saturating_sub(SLACK_NS) };
            self.drain()?;
            self.feed(fed);
            let settled = self.engine.oldest().unwrap_or(fed).min(fed);
            self.write(if over { u64::MAX } else { settled })?;
            self.measure(meters);
            if over || said.elapsed() >= STATUS_PERIOD {
                said = Instant::now();
                self.tell(fed)?;
            }
            if self.is_asked() {
                self.tell(fed)?;
                self.say(watch);
            }
            if over {
                break;
            }
            let told = || [stop].into_iter().chain(self.asks());
            // Kernels that wake for every record would keep a CPU busy.
            signals::sleep_on(&told().collect::<Vec<_>>(), Some(PAUSE))?;
            let filled = self.taps.iter().map(|tap| tap.raw.as_fd());
            signals::sleep_on(&told().chain(filled).collect::<Vec<_>>(), Some(PERIOD))?;
        }
        self.harvest(standing.lowered)
    }

    /// What was kept of each CPU; `lowered`: how often the thread was.
    pub(crate) fn harvest(self, lowered: u64) -> io::Result<Vec<CpuHarvest>> {
        let harvest = |tap: Tap| Ok(CpuHarvest { cpu: tap.cpu, data: tap.out.finish()?, wakeups: 0, lowered });
        self.taps.into_iter().map(harvest).collect()
    }

    /// Whether somebody has asked by SIGUSR1 how things are.
    pub(crate) fn is_asked(&self) -> bool {
        self.usr1.as_ref().is_some_and(|fd| matches!(fd.read_signal(), Ok(Some(_))))
    }

    pub(crate) fn say(&self, watch: &dyn Watch) {
        watch.note(Note::WindowsSoFar(Box::new(self.kept.counts.clone())));
    }

    /// What wakes besides new records.
    pub(crate) fn asks(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.usr1.iter().map(AsFd::as_fd)
    }

    pub(crate) fn counts(&mut self) -> &mut OnlySlow {
        &mut self.kept.counts
    }

    /// Takes all of a snapshot, and the windows that were found slow in it.
    pub(crate) fn take_snapshot(&mut self) -> io::Result<HashSet<(i32, u64)>> {
        self.drain()?;
        if self.taps.iter().flat_map(|tap| &tap.pages).any(|page| page.lost > 0) {
            // What is open since the last snapshot may have ended where the buffer was overwritten.
            self.engine.forget_open();
        }
        self.feed(u64::MAX);
        self.kept.losses.clear();
        self.settle()?;
        Ok(std::mem::take(&mut self.kept.fresh))
    }

    /// Writes all that no window of the snapshots so far can bring older records for.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        self.write(self.engine.oldest().unwrap_or(u64::MAX))
    }

    fn drain(&mut self) -> io::Result<()> {
        let bytes = self.layout.subbuf_bytes as usize;
        let mut page = vec![0; bytes];
        for tap in &mut self.taps {
            while tap.raw.read_subbuf(&mut page).map_err(|error| error.source)? {
                let Ok(head) = self.layout.head(&page) else { continue };
                let mut walk = self.layout.walk(&head);
                let mut records = VecDeque::new();
                while let Some(Ok(found)) = walk.next::<NativeEndian>(&page) {
                    records.push_back((found.ticks, found.start, found.len));
                }
                let lost = match head.lost {
                    Lost::None => 0,
                    Lost::Count(count) => count.max(1),
                    _ => 1,
                };
                let end = records.back().map_or(0, |(_, start, len)| start + len) as usize;
                tap.pages.push_back(Page { bytes: page[..end].into(), records, lost });
            }
        }
        Ok(())
    }

    /// Hands everything up to the cut to the engine, in order of time.
    fn feed(&mut self, cut: u64) {
        let next = |tap: &Tap| tap.pages.iter().find_map(|page| page.records.front()).map(|record| record.0);
        let mut order: BinaryHeap<Reverse<(u64, usize)>> =
            self.taps.iter().enumerate().filter_map(|(at, tap)| Some(Reverse((next(tap)?, at)))).collect();
        while let Some(Reverse((time, at))) = order.pop() {
            if time > cut {
                break;
            }
            let tap = &mut self.taps[at];
            while tap.pages.front().is_some_and(|page| page.records.is_empty()) {
                tap.pages.pop_front();
            }
            let Some(page) = tap.pages.front_mut() else { continue };
            let Some((ticks, start, len)) = page.records.pop_front() else { continue };
            let lost = std::mem::take(&mut page.lost);
            if lost > 0 {
                self.engine.lost(at as u32, lost, ticks);
                self.kept.counts.lost += if self.kept.judged { 0 } else { lost };
                self.kept.losses.push_back((ticks, tap.cpu, lost));
            }
            let data = page.bytes.get(start as usize..(start + len) as usize).unwrap_or(&[]);
            let origin = Origin { stream: at as u32, id: self.common.id(data), pid: self.common.pid(data) };
            self.engine.take(origin, &Record { ticks, cpu: tap.cpu, data }, &mut self.kept);
            if let Some(time) = next(tap) {
                order.push(Reverse((time, at)));
            }
        }
        let oldest = self.engine.oldest().unwrap_or(cut);
        while self.kept.losses.front().is_some_and(|(time, ..)| *time < oldest) {
            self.kept.losses.pop_front();
        }
    }

    /// Writes what waits and can have no older ones beside it any more.
    pub(crate) fn write(&mut self, settled: u64) -> io::Result<()> {
        // Whoever finds records of a slow window finds what is known of it, too.
        if !self.kept.lines.is_empty() {
            self.notes.add(&self.kept.lines)?;
            self.kept.lines.clear();
        }
        let begun = Instant::now();
        let crowded = self.kept.waiting.bytes() > MOST_WAITING;
        if settled == u64::MAX || crowded || begun >= self.rests {
            self.put_in_files(settled, if crowded { MOST_WAITING / 4 * 3 } else { MOST_WAITING })?;
            // Much that waits long takes long each time.
            self.rests = begun + STATUS_PERIOD.max(begun.elapsed() * 20);
        }
        self.taps.iter_mut().try_for_each(|tap| tap.out.tend(begun))
    }

    /// Puts what is settled, and older than what `most` bytes hold, into the trace, and the rest beside it.
    fn put_in_files(&mut self, settled: u64, most: usize) -> io::Result<()> {
        // Records of a snapshot may be early, so that they seem to be older than those before them.
        let tolerated = if self.kept.judged { EARLY_NS } else { 0 };
        while let Some((time, cpu, data)) = self.kept.waiting.take(settled, most) {
            let Some(at) = self.taps.iter().position(|tap| tap.cpu == cpu) else { continue };
            let missed = self.taps[at].written.saturating_sub(time);
            if missed > tolerated {
                // It would have to stand before what is in the file already.
                self.kept.counts.dropped += 1;
                continue;
            }
            let time = time + missed;
            self.taps[at].written = time;
            if let Some((on, count)) = self.kept.waiting.take_loss(time, cpu)
                && let Some(tap) = self.taps.iter_mut().find(|tap| tap.cpu == on)
            {
                tap.flush()?;
                tap.packer.lose(count);
            }
            let tap = &mut self.taps[at];
            if !tap.packer.push(time, &data) {
                tap.flush()?;
                tap.packer.push(time, &data);
            }
        }
        self.taps.iter_mut().try_for_each(Tap::flush)?;
        if !self.kept.waiting.has_changed() {
            return Ok(());
        }
        let (waiting, layout) = (&self.kept.waiting, self.layout);
        let mut beside = waiting.beside();
        for tap in &mut self.taps {
            let mut records = beside.remove(&tap.cpu).unwrap_or_default();
            records.retain(|(time, ..)| *time >= tap.written);
            if !records.is_empty() {
                tap.out.keep_beside(Some(&mut |into| waiting.pack(&records, layout, into)))?;
            } else if tap.out.has_beside() {
                tap.out.keep_beside(None)?;
            }
        }
        Ok(())
    }

    /// Tells how far it is.
    pub(crate) fn measure(&self, meters: &[Progress]) {
        for (tap, meter) in self.taps.iter().zip(meters) {
            meter.bytes.store(tap.out.raw_bytes(), Ordering::Relaxed);
            meter.written.store(tap.out.written_bytes(), Ordering::Relaxed);
        }
        if let Some(meter) = meters.first() {
            meter.overrun.store(self.kept.counts.lost, Ordering::Relaxed);
        }
    }

    pub(crate) fn tell(&mut self, fed: u64) -> io::Result<()> {
        let counts = self.engine.counts();
        let own = &mut self.kept.counts;
        if !self.kept.judged {
            (own.stray_stops, own.restarts, own.discarded) = (counts.stray_stops, counts.restarts, counts.discarded);
            own.open = self.engine.open().0 as u64;
        }
        {
            let mut told = told(&self.shared);
            told.slow.append(&mut self.kept.slow);
            told.open = self.engine.open_threads().collect();
            told.fed = fed;
        }
        for (name, spread) in &self.kept.spreads {
            own.kinds.entry(name.clone()).or_default().spread = Some(spread.stored());
        }
        let counted = serde_json::to_vec(own)?;
        if counted != self.counted {
            // On a full disk the counts of before are better than none.
            self.counts.iter().for_each(|path| drop(replace(path, &counted)));
            self.counted = counted;
        }
        Ok(())
    }
}

impl Tap {
    fn flush(&mut self) -> io::Result<()> {
        finish(&mut self.packer, self.out.chunks())
    }
}

/// Now, by the trace clock.
pub fn now() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    time.map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}
