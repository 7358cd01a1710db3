//! Only slow windows (`--only-slow`): records are taken out, cut into windows at once, and thrown away unless a window was
//! slow.
//!
//! Owns: the thread that empties the buffers in place of the usual readers, and what it keeps. Does not own: the rules of
//! windows (see [`crate::windows::engine`]), files (see `record::file::segments`).
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
use std::time::{Duration, Instant};

use byteorder::NativeEndian;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::held_records::{HeldRecords, finish};
use super::note::{Note, WindowObserver};
use super::window_states::{SharedWindowStates, lock, now};
use crate::dat::own;
use crate::dat::unsealed::Family;
use crate::record::Error;
use crate::record::capture::priority::ReaderScheduling;
use crate::record::capture::signals;
use crate::record::file::section_files::{AppendFile, replace_atomically};
use crate::record::file::segments::SegmentFiles;
use crate::record::taken::{CpuResult, ReaderCounters};
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
pub(super) const SLACK_NS: u64 = 1_000_000;
/// Between two looks at the buffers.
const PERIOD: Duration = Duration::from_millis(100);
/// Bytes of records of slow windows that wait to be written.
const MOST_WAITING: usize = 256 << 20;
/// The shortest time between them.
pub(super) const PAUSE: Duration = Duration::from_millis(10);
/// How early records of a snapshot were seen to be, and more; the histogram knows better. Perhaps the time of discarded
/// records before them is missing.
pub const EARLY_NS: u64 = 1_000_000;
/// How often the counts are written down.
pub(super) const STATUS_PERIOD: Duration = Duration::from_secs(1);

/// One CPU's buffer.
struct SourceCpu {
    cpu: u32,
    raw: RawBuffer,
    /// Sub-buffers that have records to come, and how far they were read.
    pages: VecDeque<PendingSubbuf>,
    out: SegmentFiles,
    packer: Packer,
    /// Time of the last record that was written.
    written: u64,
}

struct PendingSubbuf {
    bytes: Box<[u8]>,
    /// Time, place and length of each record.
    records: VecDeque<(u64, u32, u32)>,
    lost: u64,
}

/// Takes the place of the readers of a buffer.
pub struct SlowFilter {
    engine: Engine,
    common: Common,
    layout: Layout,
    sources: Vec<SourceCpu>,
    kept: SlowRecords,
    states: SharedWindowStates,
    usr1: Option<SignalFd>,
    /// Where slow windows are noted, and where all are counted: in the trace to be, and for whoever asks.
    notes: AppendFile,
    counts: Vec<PathBuf>,
    counted: Vec<u8>,
    /// Not before that time, what is settled is written again.
    next_write: Instant,
    priority: Option<u32>,
}

/// Records of slow windows.
#[derive(Default)]
struct SlowRecords {
    session: Session,
    held: HeldRecords,
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
    in_last_snapshot: HashSet<(i32, u64)>,
    /// The kernel counts, and what it overwrites is no loss.
    kernel_judges: bool,
}

impl Finds for SlowRecords {
    fn closed(&mut self, window: Window, steps: &dyn Fn() -> Steps) {
        let name = self.session.definitions.get(window.definition).map_or("", |definition| definition.name.as_str());
        if !self.counts.kinds.contains_key(name) {
            self.counts.kinds.insert(name.to_owned(), Default::default());
        }
        let tally = self.counts.kinds.get_mut(name).expect("just made");
        if !self.kernel_judges {
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
            self.held.add(time, cpu, data);
        }
        for (time, cpu, count) in self.losses.iter().filter(|(time, ..)| (window.start..=window.end).contains(time)) {
            self.held.lose(*time, *cpu, *count);
        }
        if self.kernel_judges {
            self.in_last_snapshot.insert((window.tid, window.start));
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

/// What a slow filter is made of.
pub struct SlowFilterParts<'a> {
    /// System and text of every format.
    pub formats: &'a [(String, Vec<u8>)],
    /// Windows, with probes by name.
    pub session: &'a Session,
    /// Of the buffer's sub-buffers.
    pub layout: Layout,
    /// Bytes that a thread's records may take.
    pub buffer_bytes: u64,
    /// The buffers and where what is kept goes.
    pub cpus: Vec<(u32, RawBuffer, SegmentFiles)>,
    /// What others are told.
    pub states: SharedWindowStates,
    /// The files of the trace to be.
    pub family: &'a Family,
    /// A file that counts go to, too.
    pub status: Option<PathBuf>,
    /// Of the thread; `None`: the readers' usual one.
    pub priority: Option<u32>,
    /// The kernel judges: the buffers are those of snapshots.
    pub kernel_judges: bool,
}

impl SlowFilter {
    /// Ready to run. SIGUSR1 is held back by all threads, see `signals`.
    pub fn new(parts: SlowFilterParts<'_>) -> Result<SlowFilter, Error> {
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
        let sources = parts.cpus.into_iter().map(|(cpu, raw, out)| SourceCpu {
            cpu,
            raw,
            pages: VecDeque::new(),
            out,
            packer: Packer::new(layout),
            written: 0,
        });
        let notes = own::file(parts.family, own::SLOW_WINDOWS);
        let notes = AppendFile::create(&notes).map_err(|source| Error::Output { path: notes, source })?;
        let counted = own::file(parts.family, own::WINDOW_COUNTS);
        let counts = OnlySlow { buffer_bytes: parts.buffer_bytes, ..OnlySlow::default() };
        Ok(SlowFilter {
            engine,
            common: Common::of(formats.first(), Abi::HOST),
            layout,
            sources: sources.collect(),
            kept: SlowRecords {
                session: parts.session.clone(),
                counts,
                cpus,
                kernel_judges: parts.kernel_judges,
                ..SlowRecords::default()
            },
            states: parts.states,
            usr1,
            notes,
            counts: [counted].into_iter().chain(parts.status).collect(),
            counted: Vec::new(),
            next_write: Instant::now(),
            priority: parts.priority,
        })
    }

    /// Works until `stop` becomes readable, then takes the rest.
    pub fn run(
        mut self,
        stop: BorrowedFd<'_>,
        counters: &[ReaderCounters],
        observer: &dyn WindowObserver,
    ) -> io::Result<Vec<CpuResult>> {
        let mut said = Instant::now();
        let mut scheduling = ReaderScheduling::new(self.priority, None)?;
        loop {
            scheduling.update(Instant::now());
            let over = signals::is_ready(stop);
            // At the end nobody writes any more.
            let fed = if over { u64::MAX } else { now().saturating_sub(SLACK_NS) };
            self.drain()?;
            self.feed(fed);
            let settled = self.engine.oldest().unwrap_or(fed).min(fed);
            self.write(if over { u64::MAX } else { settled })?;
            self.update_counters(counters);
            if over || said.elapsed() >= STATUS_PERIOD {
                said = Instant::now();
                self.publish(fed)?;
            }
            if self.is_usr1_pending() {
                self.publish(fed)?;
                self.answer_usr1(observer);
            }
            if over {
                break;
            }
            let fds = || [stop].into_iter().chain(self.wake_fds());
            // Kernels that wake for every record would keep a CPU busy.
            signals::sleep_on(&fds().collect::<Vec<_>>(), Some(PAUSE))?;
            let filled = self.sources.iter().map(|source| source.raw.as_fd());
            signals::sleep_on(&fds().chain(filled).collect::<Vec<_>>(), Some(PERIOD))?;
        }
        self.into_results(scheduling.lowered)
    }

    /// What was kept of each CPU; `lowered`: how often the thread was.
    pub(super) fn into_results(self, lowered: u64) -> io::Result<Vec<CpuResult>> {
        let result = |source: SourceCpu| {
            Ok(CpuResult { cpu: source.cpu, data: source.out.finish()?, lowered, ..CpuResult::default() })
        };
        self.sources.into_iter().map(result).collect()
    }

    /// Whether somebody has asked by SIGUSR1 how things are.
    pub(super) fn is_usr1_pending(&self) -> bool {
        self.usr1.as_ref().is_some_and(|fd| matches!(fd.read_signal(), Ok(Some(_))))
    }

    pub(super) fn answer_usr1(&self, observer: &dyn WindowObserver) {
        observer.window_note(Note::WindowsSoFar(Box::new(self.kept.counts.clone())));
    }

    /// What wakes besides new records.
    pub(super) fn wake_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.usr1.iter().map(AsFd::as_fd)
    }

    pub(super) fn counts(&mut self) -> &mut OnlySlow {
        &mut self.kept.counts
    }

    /// Takes all of a snapshot, and the windows that were found slow in it.
    pub(super) fn take_snapshot(&mut self) -> io::Result<HashSet<(i32, u64)>> {
        self.drain()?;
        if self.sources.iter().flat_map(|source| &source.pages).any(|page| page.lost > 0) {
            // What is open since the last snapshot may have ended where the buffer was overwritten.
            self.engine.forget_open();
        }
        self.feed(u64::MAX);
        self.kept.losses.clear();
        self.release_settled()?;
        Ok(std::mem::take(&mut self.kept.in_last_snapshot))
    }

    /// Writes all that no window of the snapshots so far can bring older records for.
    pub(super) fn release_settled(&mut self) -> io::Result<()> {
        self.write(self.engine.oldest().unwrap_or(u64::MAX))
    }

    fn drain(&mut self) -> io::Result<()> {
        let bytes = self.layout.subbuf_bytes as usize;
        let mut page = vec![0; bytes];
        for source in &mut self.sources {
            while source.raw.read_subbuf(&mut page).map_err(|error| error.source)? {
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
                source.pages.push_back(PendingSubbuf { bytes: page[..end].into(), records, lost });
            }
        }
        Ok(())
    }

    /// Hands everything up to the cut to the engine, in order of time.
    fn feed(&mut self, cut: u64) {
        let next =
            |source: &SourceCpu| source.pages.iter().find_map(|page| page.records.front()).map(|record| record.0);
        let mut order: BinaryHeap<Reverse<(u64, usize)>> =
            self.sources.iter().enumerate().filter_map(|(at, source)| Some(Reverse((next(source)?, at)))).collect();
        while let Some(Reverse((time, at))) = order.pop() {
            if time > cut {
                break;
            }
            let source = &mut self.sources[at];
            while source.pages.front().is_some_and(|page| page.records.is_empty()) {
                source.pages.pop_front();
            }
            let Some(page) = source.pages.front_mut() else { continue };
            let Some((ticks, start, len)) = page.records.pop_front() else { continue };
            let lost = std::mem::take(&mut page.lost);
            if lost > 0 {
                self.engine.lost(at as u32, lost, ticks);
                self.kept.counts.lost += if self.kept.kernel_judges { 0 } else { lost };
                self.kept.losses.push_back((ticks, source.cpu, lost));
            }
            let data = page.bytes.get(start as usize..(start + len) as usize).unwrap_or(&[]);
            let origin = Origin { stream: at as u32, id: self.common.id(data), pid: self.common.pid(data) };
            self.engine.take(origin, &Record { ticks, cpu: source.cpu, data }, &mut self.kept);
            if let Some(time) = next(source) {
                order.push(Reverse((time, at)));
            }
        }
        let oldest = self.engine.oldest().unwrap_or(cut);
        while self.kept.losses.front().is_some_and(|(time, ..)| *time < oldest) {
            self.kept.losses.pop_front();
        }
    }

    /// Writes what waits and can have no older ones beside it any more.
    pub(super) fn write(&mut self, settled: u64) -> io::Result<()> {
        // Whoever finds records of a slow window finds what is known of it, too.
        if !self.kept.lines.is_empty() {
            self.notes.add(&self.kept.lines)?;
            self.kept.lines.clear();
        }
        let begun = Instant::now();
        let crowded = self.kept.held.bytes() > MOST_WAITING;
        if settled == u64::MAX || crowded || begun >= self.next_write {
            self.put_in_files(settled, if crowded { MOST_WAITING / 4 * 3 } else { MOST_WAITING })?;
            // Much that waits long takes long each time.
            self.next_write = begun + STATUS_PERIOD.max(begun.elapsed() * 20);
        }
        self.sources.iter_mut().try_for_each(|source| source.out.update(begun))
    }

    /// Puts what is settled, and older than what `most` bytes hold, into the trace, and the rest beside it.
    fn put_in_files(&mut self, settled: u64, most: usize) -> io::Result<()> {
        // Records of a snapshot may be early, so that they seem to be older than those before them.
        let tolerated = if self.kept.kernel_judges { EARLY_NS } else { 0 };
        while let Some((time, cpu, data)) = self.kept.held.take(settled, most) {
            let Some(at) = self.sources.iter().position(|source| source.cpu == cpu) else { continue };
            let missed = self.sources[at].written.saturating_sub(time);
            if missed > tolerated {
                // It would have to stand before what is in the file already.
                self.kept.counts.dropped += 1;
                continue;
            }
            let time = time + missed;
            self.sources[at].written = time;
            if let Some((on, count)) = self.kept.held.take_loss(time, cpu)
                && let Some(source) = self.sources.iter_mut().find(|source| source.cpu == on)
            {
                source.flush()?;
                source.packer.lose(count);
            }
            let source = &mut self.sources[at];
            if !source.packer.push(time, &data) {
                source.flush()?;
                source.packer.push(time, &data);
            }
        }
        self.sources.iter_mut().try_for_each(SourceCpu::flush)?;
        if !self.kept.held.has_changed() {
            return Ok(());
        }
        let (held, layout) = (&self.kept.held, self.layout);
        let mut beside = held.oldest_for_file();
        for source in &mut self.sources {
            let mut records = beside.remove(&source.cpu).unwrap_or_default();
            records.retain(|(time, ..)| *time >= source.written);
            if !records.is_empty() {
                source.out.write_pending(Some(&mut |into| held.pack(&records, layout, into)))?;
            } else if source.out.has_pending() {
                source.out.write_pending(None)?;
            }
        }
        Ok(())
    }

    /// Tells how far it is.
    pub(super) fn update_counters(&self, counters: &[ReaderCounters]) {
        for (source, one) in self.sources.iter().zip(counters) {
            one.bytes.store(source.out.raw_bytes(), Ordering::Relaxed);
            one.written.store(source.out.written_bytes(), Ordering::Relaxed);
        }
        if let Some(one) = counters.first() {
            one.overrun.store(self.kept.counts.lost, Ordering::Relaxed);
        }
    }

    pub(super) fn publish(&mut self, fed: u64) -> io::Result<()> {
        let counts = self.engine.counts();
        let only_slow = &mut self.kept.counts;
        if !self.kept.kernel_judges {
            (only_slow.stray_stops, only_slow.restarts, only_slow.discarded) =
                (counts.stray_stops, counts.restarts, counts.discarded);
            only_slow.open = self.engine.open().0 as u64;
        }
        {
            let mut states = lock(&self.states);
            states.slow.append(&mut self.kept.slow);
            states.open = self.engine.open_threads().collect();
            states.known_until = fed;
        }
        for (name, spread) in &self.kept.spreads {
            only_slow.kinds.entry(name.clone()).or_default().spread = Some(spread.stored());
        }
        let counted = serde_json::to_vec(only_slow)?;
        if counted != self.counted {
            // On a full disk the counts of before are better than none.
            self.counts.iter().for_each(|path| drop(replace_atomically(path, &counted)));
            self.counted = counted;
        }
        Ok(())
    }
}

impl SourceCpu {
    fn flush(&mut self) -> io::Result<()> {
        finish(&mut self.packer, self.out.chunks())
    }
}
