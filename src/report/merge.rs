//! All CPUs, buffers and files as one sequence of records in order of time.
//!
//! One cheap sequential pass. It decides what depends on order: which records are printed, their numbers, what trackers
//! learn, which exit folds into which entry. The result is a batch of positions that any thread can turn into text.
//! Ties: the file given first, then its buffers in file order, then the lowest CPU.

use std::sync::Arc;

use super::Lane;
use super::pool::Pool;
use super::seek::rest_is_later;
use super::select::Gate;
use super::stream::{Chunk, Next, Stream, join};
use super::wakeup::Wakeups;
use crate::plugins::Tracked;
use crate::wire::record::Record;
use crate::wire::subbuf::Lost;

/// No exit is folded.
pub(super) const NO_EXIT: u32 = u32::MAX;

/// Records of the first batch: small, so that something is seen at once.
const FIRST_BATCH: usize = 256;
/// Records of a batch in the long run; larger ones gain nothing and cost memory.
const BATCH: usize = 4096;
/// Chunks that one batch may hold on to when few of their records are printed.
const BATCH_CHUNKS: usize = 32;
/// A batch keeps its chunks if its records are at least this part of their bytes; else it keeps the records alone.
const SPARSE: usize = 4;

/// One record to print.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) time: u64,
    pub(super) start: u32,
    pub(super) len: u32,
    pub(super) chunk: u32,
    pub(super) stream: u32,
    pub(super) aux: u32,
    /// Index in `Batch::exits`, or [`NO_EXIT`].
    pub(super) exit: u32,
}

/// The exit that was folded into an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exit {
    pub(super) ticks: u64,
    pub(super) chunk: u32,
    pub(super) start: u32,
    pub(super) len: u32,
}

/// Something to say before a record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    Lost(Lost),
    SubBuffer,
}

/// Records in printing order, and the bytes they lie in.
#[derive(Default)]
pub(super) struct Batch {
    /// Number of the first record.
    pub(super) first: u64,
    /// Time of the record before the first.
    pub(super) before: Option<u64>,
    pub(super) items: Vec<Item>,
    pub(super) exits: Vec<Exit>,
    /// Index of a record, and what to say before it; ascending.
    pub(super) marks: Vec<(u32, Mark)>,
    /// Index of a switch, and how long its next task waited; ascending.
    pub(super) latencies: Vec<(u32, u64)>,
    pub(super) chunks: Vec<Arc<Chunk>>,
    /// Records at the start that are not printed.
    pub(super) skip: usize,
}

impl Batch {
    /// Lets go of chunks of which little is printed: batches wait to be rendered, and many chunks would wait with them.
    fn thin_out(&mut self) {
        let held: usize = self.chunks.iter().map(|chunk| chunk.bytes.len()).sum();
        let exits = self.exits.iter().map(|exit| exit.len as usize).sum::<usize>();
        let kept = self.items.iter().map(|item| item.len as usize).sum::<usize>() + exits;
        if kept.saturating_mul(SPARSE) >= held || kept > u32::MAX as usize {
            return;
        }
        let mut bytes = Vec::with_capacity(kept);
        let mut copy = |chunk: &mut u32, start: &mut u32, len: u32| {
            let from = self.chunks.get(*chunk as usize).map_or(&[][..], |chunk| chunk.bytes.as_slice());
            let record = from.get(*start as usize..*start as usize + len as usize).unwrap_or(&[]);
            (*chunk, *start) = (0, bytes.len() as u32);
            bytes.extend_from_slice(record);
        };
        self.items.iter_mut().for_each(|item| copy(&mut item.chunk, &mut item.start, item.len));
        self.exits.iter_mut().for_each(|exit| copy(&mut exit.chunk, &mut exit.start, exit.len));
        self.chunks = vec![Arc::new(Chunk::of(bytes))];
    }
}

struct Source<'d> {
    stream: Stream<'d>,
    /// Lost before records that were not printed.
    lost: Lost,
    lane: u32,
    next: Next,
    /// A later time than the last wanted one was met, but earlier ones may follow.
    disordered: bool,
    /// Index of the stream's chunk in the batch, for this batch and chunk number.
    held: (u64, u64, u32),
}

impl<'d> Source<'d> {
    fn new(stream: Stream<'d>, lane: u32, next: Next) -> Source<'d> {
        Source { stream, lane, next, lost: Lost::None, disordered: false, held: (0, 0, 0) }
    }
}

/// The merge.
pub(super) struct Merge<'a, 'd, 't> {
    lanes: &'a [Lane<'t>],
    sources: Vec<Source<'d>>,
    /// A binary heap by (time, source).
    heap: Vec<(u64, u32)>,
    pub(super) gate: Gate<'a, 't>,
    /// Per file: trackers, and which one an id needs (plus one).
    trackers: Vec<(Vec<Tracked<'a>>, Vec<u8>)>,
    batches: u64,
    seq: u64,
    last: Option<u64>,
    limit: u64,
    end_time: u64,
    strict_leaves: bool,
    boundaries: bool,
    over: bool,
    /// Per file and event id: its order matters to a tracker or to the function graph.
    careful: Vec<Vec<bool>>,
    /// Nothing is asked of any record.
    simple: bool,
    /// Records that are older than the one before.
    pub(super) backwards: u64,
    /// Who waits to run, if that is asked for.
    pub(super) wakeups: Option<Wakeups>,
}

/// How to merge.
pub(super) struct How {
    /// A leaf's exit must be the next record of all CPUs.
    pub(super) strict_leaves: bool,
    /// Mark where sub-buffers begin.
    pub(super) boundaries: bool,
    /// Records to print at most.
    pub(super) limit: u64,
    /// Last time wanted.
    pub(super) end_time: u64,
    /// Measure how long tasks wait to run.
    pub(super) wakeups: bool,
}

impl<'a, 'd, 't> Merge<'a, 'd, 't> {
    /// Starts every stream; `streams` are in the order of ties.
    pub(super) fn new(
        lanes: &'a [Lane<'t>],
        streams: Vec<(u32, Stream<'d>)>,
        trackers: Vec<Vec<Tracked<'a>>>,
        gate: Gate<'a, 't>,
        how: &How,
        pool: &Pool<'d, Batch>,
    ) -> Merge<'a, 'd, 't> {
        let files = lanes.iter().map(|lane| lane.file + 1).max().unwrap_or(0);
        let trackers: Vec<(Vec<Tracked<'a>>, Vec<u8>)> = trackers
            .into_iter()
            .chain(std::iter::repeat_with(Vec::new))
            .take(files)
            .map(|list| {
                let mut by_id = Vec::new();
                for (index, tracked) in list.iter().enumerate().take(255) {
                    for id in &tracked.ids {
                        let id = usize::from(*id);
                        if by_id.len() <= id {
                            by_id.resize(id + 1, 0);
                        }
                        by_id[id] = index as u8 + 1;
                    }
                }
                (list, by_id)
            })
            .collect();
        let wakeups = lanes.first().filter(|_| how.wakeups).map(Wakeups::new);
        let careful = careful(lanes, &trackers, wakeups.as_ref());
        let simple = gate.is_open() && !how.boundaries;
        let mut merge = Merge {
            lanes,
            sources: Vec::new(),
            heap: Vec::new(),
            gate,
            trackers,
            batches: 0,
            seq: 0,
            last: None,
            limit: how.limit,
            end_time: how.end_time,
            strict_leaves: how.strict_leaves,
            boundaries: how.boundaries,
            over: false,
            careful,
            simple,
            backwards: 0,
            wakeups,
        };
        for (lane, mut stream) in streams {
            if let Some(next) = stream.next(pool) {
                let time = lanes[lane as usize].correction.apply(next.ticks, stream.cpu);
                merge.heap.push((time, merge.sources.len() as u32));
                merge.sources.push(Source::new(stream, lane, next));
            } else {
                merge.sources.push(Source::new(stream, lane, Next::NONE));
            }
        }
        merge.heap.sort_unstable();
        merge
    }

    /// The gate, as if it had seen nothing.
    pub(super) fn into_gate(mut self) -> Gate<'a, 't> {
        self.gate.forget();
        self.gate
    }

    /// CPU and lane of a stream.
    pub(super) fn origins(&self) -> Vec<(u32, u32)> {
        self.sources.iter().map(|source| (source.stream.cpu, source.lane)).collect()
    }

    /// Notes of all streams, with their lane and CPU.
    pub(super) fn streams(&self) -> impl Iterator<Item = (u32, &Stream<'d>)> {
        self.sources.iter().map(|source| (source.lane, &source.stream))
    }

    /// How many records were handed out.
    pub(super) fn printed(&self) -> u64 {
        self.seq
    }

    /// Restores the heap after the time of the key at `at` grew.
    #[inline]
    fn sift(&mut self, mut at: usize) {
        let Some(&moved) = self.heap.get(at) else { return };
        loop {
            let left = 2 * at + 1;
            let Some(&a) = self.heap.get(left) else { break };
            let (child, key) = match self.heap.get(left + 1) {
                Some(&b) if b < a => (left + 1, b),
                _ => (left, a),
            };
            if moved <= key {
                break;
            }
            self.heap[at] = key;
            at = child;
        }
        self.heap[at] = moved;
    }

    /// Moves the stream at the top of the heap on; its next record may be anywhere.
    #[inline]
    fn advance(&mut self, pool: &Pool<'d, Batch>) {
        let Some(&(_, index)) = self.heap.first() else { return };
        let source = &mut self.sources[index as usize];
        let next = source.stream.next(pool);
        if let Some(next) = next {
            let time = self.lanes[source.lane as usize].correction.apply(next.ticks, source.stream.cpu);
            source.next = next;
            self.heap[0].0 = time;
        } else {
            source.next = Next::NONE;
            self.heap.swap_remove(0);
        }
        self.sift(0);
    }

    /// The next records in order; `None` at the end.
    pub(super) fn batch(&mut self, pool: &Pool<'d, Batch>) -> Option<Batch> {
        let want = if self.batches < 4 { FIRST_BATCH << self.batches } else { BATCH };
        self.batches += 1;
        let mut batch = Batch { first: self.seq, before: self.last, ..Batch::default() };
        batch.items.reserve_exact(want);
        while batch.items.len() < want && batch.chunks.len() < BATCH_CHUNKS && !self.over {
            if !self.one(&mut batch, pool) {
                self.over = true;
            } else if self.simple {
                self.run(&mut batch, want, pool);
            }
        }
        // Where records lie in their sub-buffers can be told only as long as these are there.
        if !self.boundaries {
            batch.thin_out();
        }
        if batch.items.is_empty() && self.over { None } else { Some(batch) }
    }

    /// Takes records of one CPU as long as they come before those of all others: the common case, in a tight loop.
    /// Only when nothing is asked of a record but its place in order.
    fn run(&mut self, batch: &mut Batch, want: usize, pool: &Pool<'d, Batch>) {
        let Some(&(_, index)) = self.heap.first() else { return };
        let others = self.heap.iter().skip(1).take(2).min();
        let bound = others.copied().unwrap_or((u64::MAX, u32::MAX));
        let source = &mut self.sources[index as usize];
        let lane = &self.lanes[source.lane as usize];
        if !lane.correction.is_plain() || !source.stream.chunk.is_whole() {
            return;
        }
        let careful = self.careful.get(lane.file).map_or(&[][..], Vec::as_slice);
        let room = want.saturating_sub(batch.items.len()).min(self.limit.saturating_sub(self.seq) as usize);
        let (add, from) = (lane.correction.add as u64, self.gate.from());
        let chunk = hold(source, self.batches, batch);
        let (mut next, mut at, mut taken) = (source.next, source.stream.at, 0);
        let records = source.stream.chunk.records.as_slice();
        let mut last = self.last.unwrap_or(0);
        let exhausted = loop {
            let time = next.ticks.wrapping_add(add);
            // The first record of a chunk is left to the careful path: it may follow a loss.
            let slow = careful.get(usize::from(next.id)).copied().unwrap_or(false);
            let early_or_late = time < from || time > self.end_time;
            if slow || early_or_late || (time, index) >= bound || taken >= room || at == 1 {
                break false;
            }
            let (start, len) = (next.start, next.len);
            batch.items.push(Item { time, start, len, chunk, stream: index, aux: 0, exit: NO_EXIT });
            self.backwards += u64::from(time < last);
            last = time;
            taken += 1;
            match records.get(at) {
                Some(following) => next = *following,
                None => break true,
            }
            at += 1;
        };
        if taken == 0 {
            return;
        }
        self.seq += taken as u64;
        self.last = Some(last);
        source.stream.at = at;
        if exhausted {
            self.advance(pool);
        } else {
            source.next = next;
            self.heap[0].0 = next.ticks.wrapping_add(add);
            self.sift(0);
        }
    }

    /// Takes one record; `false` at the end.
    #[inline]
    fn one(&mut self, batch: &mut Batch, pool: &Pool<'d, Batch>) -> bool {
        let Some(&(time, index)) = self.heap.first() else { return false };
        if self.seq >= self.limit {
            return false;
        }
        let source = &mut self.sources[index as usize];
        let next = source.next;
        let lane = &self.lanes[source.lane as usize];
        if time > self.end_time {
            self.too_late(pool);
            return true;
        }
        let data = source.stream.chunk.bytes.get(next.start as usize..(next.start + next.len) as usize).unwrap_or(&[]);
        let id = next.id;
        let record = Record { ticks: next.ticks, cpu: source.stream.cpu, data };
        if !self.gate.pass(source.lane as usize, id, time, &record) {
            // What was lost before the first time wanted is nobody's business.
            let lost = join(source.lost, source.stream.lost());
            source.lost = if time < self.gate.from() { Lost::None } else { lost };
            self.advance(pool);
            return true;
        }
        let at = batch.items.len() as u32;
        let lost = join(std::mem::take(&mut source.lost), source.stream.lost());
        if lost != Lost::None {
            batch.marks.push((at, Mark::Lost(lost)));
        }
        if next.first && self.boundaries {
            batch.marks.push((at, Mark::SubBuffer));
        }
        let mut aux = 0;
        let (list, by_id) = &mut self.trackers[lane.file];
        if let Some(tracked) = by_id.get(usize::from(id)).and_then(|n| list.get_mut(usize::from(*n).wrapping_sub(1))) {
            aux = tracked.tracker.observe(&record, self.seq);
        }
        if let Some(latency) = self.wakeups.as_mut().and_then(|wakeups| wakeups.observe(id, time, &record)) {
            batch.latencies.push((at, latency));
        }
        let chunk = hold(source, self.batches, batch);
        batch.items.push(Item { time, start: next.start, len: next.len, chunk, stream: index, aux, exit: NO_EXIT });
        self.seq += 1;
        if self.last.replace(time).is_some_and(|last| last > time) {
            self.backwards += 1;
        }
        let is_entry = lane.draws_graph && lane.decoders.funcgraph().is_entry(id);
        self.advance(pool);
        if is_entry {
            self.fold(index, chunk, batch, pool);
        }
        true
    }

    /// Leaves out the record at the top of the heap, which is later than all that is wanted, and with it all that its
    /// stream has left, unless times of the stream are not in order.
    #[cold]
    fn too_late(&mut self, pool: &Pool<'d, Batch>) {
        let Some(&(_, index)) = self.heap.first() else { return };
        let source = &mut self.sources[index as usize];
        let correction = &self.lanes[source.lane as usize].correction;
        if !source.disordered && rest_is_later(&source.stream, correction, self.end_time) {
            self.heap.swap_remove(0);
            return self.sift(0);
        }
        source.disordered = true;
        source.lost = join(source.lost, source.stream.lost());
        self.advance(pool);
    }

    /// Folds the exit of the entry that was just taken from source `index`, if it comes next.
    fn fold(&mut self, index: u32, chunk: u32, batch: &mut Batch, pool: &Pool<'d, Batch>) {
        let source = &self.sources[index as usize];
        let lane = &self.lanes[source.lane as usize];
        let next = source.next;
        let pairing = lane.decoders.funcgraph();
        let Some(data) = source.stream.chunk.bytes.get(next.start as usize..(next.start + next.len) as usize) else {
            return;
        };
        if next.len == 0 || !pairing.is_exit(next.id) {
            return;
        }
        let exit = Record { ticks: next.ticks, cpu: source.stream.cpu, data };
        let Some(item) = batch.items.last().copied() else { return };
        let entry_data = batch
            .chunks
            .get(chunk as usize)
            .and_then(|chunk| chunk.bytes.get(item.start as usize..(item.start + item.len) as usize))
            .unwrap_or(&[]);
        let entry = Record { ticks: 0, cpu: exit.cpu, data: entry_data };
        if !pairing.matches(&entry, &exit) {
            return;
        }
        if self.strict_leaves {
            // Another CPU of the same buffer that comes first keeps them apart, as in trace-cmd.
            let time = lane.correction.apply(next.ticks, exit.cpu);
            let same = |other: &(u64, u32)| self.sources[other.1 as usize].lane == source.lane;
            if self.heap.iter().any(|other| other.1 != index && *other < (time, index) && same(other)) {
                return;
            }
        } else if source.stream.lost() != Lost::None {
            return;
        }
        let chunk = hold(&mut self.sources[index as usize], self.batches, batch);
        let number = batch.exits.len() as u32;
        batch.exits.push(Exit { ticks: next.ticks, chunk, start: next.start, len: next.len });
        if let Some(item) = batch.items.last_mut() {
            item.exit = number;
        }
        self.advance_source(index, pool);
    }

    /// Moves any stream on, wherever it is in the heap.
    fn advance_source(&mut self, index: u32, pool: &Pool<'d, Batch>) {
        let Some(at) = self.heap.iter().position(|key| key.1 == index) else { return };
        let before = self.heap[at].0;
        let source = &mut self.sources[index as usize];
        match source.stream.next(pool) {
            Some(next) => {
                let time = self.lanes[source.lane as usize].correction.apply(next.ticks, source.stream.cpu);
                source.next = next;
                self.heap[at].0 = time;
                if time >= before {
                    return self.sift(at);
                }
            }
            None => {
                source.next = Next::NONE;
                self.heap.swap_remove(at);
            }
        }
        // Rare: a stream that ended, or one whose time went back. A sorted list is a heap too.
        self.heap.sort_unstable();
    }
}

/// The events whose order matters, per file and id.
fn careful(lanes: &[Lane<'_>], trackers: &[(Vec<Tracked<'_>>, Vec<u8>)], wakeups: Option<&Wakeups>) -> Vec<Vec<bool>> {
    let mut careful: Vec<Vec<bool>> =
        trackers.iter().map(|(_, by_id)| by_id.iter().map(|tracker| *tracker != 0).collect()).collect();
    let mut set = |file: usize, id: u16| {
        let (id, ids) = (usize::from(id), &mut careful[file]);
        if ids.len() <= id {
            ids.resize(id + 1, false);
        }
        ids[id] = true;
    };
    for lane in lanes {
        for id in wakeups.iter().flat_map(|wakeups| wakeups.ids()) {
            set(lane.file, id);
        }
    }
    for lane in lanes.iter().filter(|lane| lane.draws_graph) {
        let pairing = lane.decoders.funcgraph();
        for event in lane.trace.formats.iter().filter(|event| event.system == "ftrace") {
            if pairing.is_entry(event.id) || pairing.is_exit(event.id) {
                set(lane.file, event.id);
            }
        }
    }
    careful
}

/// The index in the batch of the chunk that the source is in.
#[inline]
fn hold(source: &mut Source<'_>, batches: u64, batch: &mut Batch) -> u32 {
    let key = (batches, source.stream.chunk_number);
    if (source.held.0, source.held.1) != key {
        source.held = (key.0, key.1, batch.chunks.len() as u32);
        batch.chunks.push(Arc::clone(&source.stream.chunk));
    }
    source.held.2
}
