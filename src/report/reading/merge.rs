//! All CPUs, buffers and files as one sequence of records in order of time.
//!
//! One cheap sequential pass. It decides what depends on order: which records are printed, their numbers, what trackers
//! learn, which exit folds into which entry. The result is a batch of positions that any thread can turn into text.
//! Ties: the file given first, then its buffers in file order, then the lowest CPU.

use std::collections::HashMap;
use std::sync::Arc;

use super::batch::{Batch, Exit, Item, Mark, NO_EXIT};
use super::lane::Lane;
use super::pool::Pool;
use super::seek::rest_is_later;
use super::select::Gate;
use super::stream::{Next, Stream, join};
use crate::decode::{Scene, Tracked};
use crate::wire::record::Record;
use crate::wire::subbuf::Lost;

/// Records of the first batch: small, so that something is seen at once.
const FIRST_BATCH: usize = 256;
/// Records of a batch in the long run; larger ones gain nothing and cost memory.
const BATCH: usize = 4096;
/// Chunks that one batch may hold on to when few of their records are printed.
const BATCH_CHUNKS: usize = 32;

struct MergeInput {
    stream: Stream,
    /// Lost before records that were not printed.
    lost: Lost,
    /// Of that, what comes before the last time wanted: if nothing follows in this pass, the next one has to say so.
    unsaid: Lost,
    lane: u32,
    next: Next,
    /// A later time than the last wanted one was met, but earlier ones may follow.
    disordered: bool,
    /// Index of the stream's chunk in the batch, for this batch and chunk number.
    held: (u64, u64, u32),
}

impl MergeInput {
    fn new(stream: Stream, lane: u32, next: Next) -> MergeInput {
        MergeInput { stream, lane, next, lost: Lost::None, unsaid: Lost::None, disordered: false, held: (0, 0, 0) }
    }
}

/// The trackers of a file, and by event id the number of the one that wants it, plus one.
#[derive(Default)]
struct FileTrackers {
    list: Vec<Tracked>,
    by_id: Vec<u8>,
}

impl FileTrackers {
    fn new(list: Vec<Tracked>) -> FileTrackers {
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
        FileTrackers { list, by_id }
    }

    #[inline]
    fn of(&mut self, id: u16) -> Option<&mut Tracked> {
        let number = usize::from(*self.by_id.get(usize::from(id))?);
        self.list.get_mut(number.wrapping_sub(1))
    }
}

/// What one pass over records hands on to the next, when more have come.
#[derive(Default)]
pub(super) struct Progress {
    /// Per file.
    trackers: Vec<FileTrackers>,
    /// Per file and event id: its order matters to a tracker or to the function graph.
    order_matters: Vec<Vec<bool>>,
    /// Records handed out.
    seq: u64,
    /// The time of the last one.
    last: Option<u64>,
    /// Records that are older than the one before.
    backwards: u64,
    /// What each stream lost before records that were left out, and nobody has heard of.
    unsaid: HashMap<u32, Lost>,
}

impl Progress {
    /// Nothing was read yet.
    pub(super) fn new(lanes: &[Lane], trackers: Vec<Vec<Tracked>>) -> Progress {
        let files = lanes.iter().map(|lane| lane.file + 1).max().unwrap_or(0);
        let mut trackers: Vec<FileTrackers> = trackers.into_iter().take(files).map(FileTrackers::new).collect();
        trackers.resize_with(files, FileTrackers::default);
        let order_matters = order_matters(lanes, &trackers);
        Progress { trackers, order_matters, ..Progress::default() }
    }

    /// The trackers of each file.
    pub(super) fn trackers(&self) -> impl Iterator<Item = &[Tracked]> {
        self.trackers.iter().map(|file| file.list.as_slice())
    }

    /// Whether a tracker of the file wants the event.
    pub(super) fn learns_from(&self, file: usize, id: u16) -> bool {
        self.trackers.get(file).and_then(|file| file.by_id.get(usize::from(id))).is_some_and(|number| *number != 0)
    }
}

/// The merge.
pub(super) struct Merge<'r> {
    lanes: &'r [Lane],
    sources: Vec<MergeInput>,
    /// A binary heap by (time, source).
    heap: Vec<(u64, u32)>,
    gate: &'r mut Gate,
    progress: &'r mut Progress,
    batches: u64,
    limit: u64,
    end_time: u64,
    strict_leaves: bool,
    boundaries: bool,
    finished: bool,
    /// Nothing is asked of any record.
    no_selection: bool,
}

/// How to merge.
pub(super) struct MergeSettings {
    /// A leaf's exit must be the next record of all CPUs.
    pub(super) strict_leaves: bool,
    /// Mark where sub-buffers begin.
    pub(super) boundaries: bool,
    /// Records to print at most.
    pub(super) limit: u64,
    /// Last time wanted.
    pub(super) end_time: u64,
}

impl<'r> Merge<'r> {
    /// Starts every stream; `streams` are in the order of ties, each with the index of its lane.
    pub(super) fn new(
        lanes: &'r [Lane],
        streams: Vec<(u32, Stream)>,
        progress: &'r mut Progress,
        gate: &'r mut Gate,
        how: &MergeSettings,
        pool: &Pool<Batch>,
    ) -> Merge<'r> {
        let no_selection = gate.is_open() && !how.boundaries;
        let mut merge = Merge {
            lanes,
            sources: Vec::new(),
            heap: Vec::new(),
            gate,
            progress,
            batches: 0,
            limit: how.limit,
            end_time: how.end_time,
            strict_leaves: how.strict_leaves,
            boundaries: how.boundaries,
            finished: false,
            no_selection,
        };
        for (lane, mut stream) in streams {
            let next = stream.next(pool);
            if let Some(next) = next {
                let time = lanes[lane as usize].correction.apply(next.ticks, stream.cpu);
                merge.heap.push((time, merge.sources.len() as u32));
            }
            let mut source = MergeInput::new(stream, lane, next.unwrap_or(Next::NONE));
            source.lost = merge.progress.unsaid.get(&source.stream.number).copied().unwrap_or_default();
            source.unsaid = source.lost;
            merge.sources.push(source);
        }
        merge.heap.sort_unstable();
        merge
    }

    /// How many records were handed out, in this pass and before.
    pub(super) fn records(&self) -> u64 {
        self.progress.seq
    }

    /// How many of them are older than the one before.
    pub(super) fn backwards(&self) -> u64 {
        self.progress.backwards
    }

    /// Notes what was lost before records that were left out, for the next pass.
    pub(super) fn keep_losses(&mut self) {
        let losses = self.sources.iter().filter(|source| source.unsaid != Lost::None);
        self.progress.unsaid = losses.map(|source| (source.stream.number, source.unsaid)).collect();
    }

    /// All streams, for their notes, each with its lane.
    pub(super) fn streams(&self) -> impl Iterator<Item = (u32, &Stream)> {
        self.sources.iter().map(|source| (source.lane, &source.stream))
    }

    /// Restores the heap after the time of the key at `at` grew.
    #[inline]
    fn restore_order(&mut self, mut at: usize) {
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
    fn advance(&mut self, pool: &Pool<Batch>) {
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
        self.restore_order(0);
    }

    /// The next records in order; `None` at the end.
    pub(super) fn batch(&mut self, pool: &Pool<Batch>) -> Option<Batch> {
        let want = if self.batches < 4 { FIRST_BATCH << self.batches } else { BATCH };
        self.batches += 1;
        let mut batch = Batch { first: self.progress.seq, before: self.progress.last, ..Batch::default() };
        batch.items.reserve_exact(want);
        while batch.items.len() < want && batch.chunks.len() < BATCH_CHUNKS && !self.finished {
            if !self.one(&mut batch, pool) {
                self.finished = true;
            } else if self.no_selection {
                self.run(&mut batch, want, pool);
            }
        }
        // Where records lie in their sub-buffers is known only as long as these are there.
        if !self.boundaries {
            batch.copy_sparse();
        }
        if batch.items.is_empty() && self.finished { None } else { Some(batch) }
    }

    /// Takes records of one CPU as long as they come before those of all others: the common case, in a tight loop.
    /// Only when nothing is asked of a record but its place in order.
    fn run(&mut self, batch: &mut Batch, want: usize, pool: &Pool<Batch>) {
        let Some(&(_, index)) = self.heap.first() else { return };
        let others = self.heap.iter().skip(1).take(2).min();
        let bound = others.copied().unwrap_or((u64::MAX, u32::MAX));
        let source = &mut self.sources[index as usize];
        let lane = &self.lanes[source.lane as usize];
        if !lane.correction.is_plain() || !source.stream.chunk.is_whole() {
            return;
        }
        let order_matters = self.progress.order_matters.get(lane.file).map_or(&[][..], Vec::as_slice);
        let room = want.saturating_sub(batch.items.len()).min(self.limit.saturating_sub(self.progress.seq) as usize);
        let (add, from) = (lane.correction.add as u64, self.gate.from());
        let chunk = chunk_in_batch(source, self.batches, batch);
        let (mut next, mut at, mut taken) = (source.next, source.stream.at, 0);
        let records = source.stream.chunk.records.as_slice();
        let mut last = self.progress.last.unwrap_or(0);
        let (number, mut backwards) = (source.stream.number, 0);
        let exhausted = loop {
            let time = next.ticks.wrapping_add(add);
            // The first record of a chunk is left to the careful path: it may follow a loss.
            let slow = order_matters.get(usize::from(next.id)).copied().unwrap_or(false);
            let early_or_late = time < from || time > self.end_time;
            if slow || early_or_late || (time, index) >= bound || taken >= room || at == 1 {
                break false;
            }
            let (start, len) = (next.start, next.len);
            batch.items.push(Item { time, start, len, chunk, stream: number, aux: 0, exit: NO_EXIT });
            backwards += u64::from(time < last);
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
        self.progress.seq += taken as u64;
        self.progress.last = Some(last);
        self.progress.backwards += backwards;
        source.stream.at = at;
        if exhausted {
            self.advance(pool);
        } else {
            source.next = next;
            self.heap[0].0 = next.ticks.wrapping_add(add);
            self.restore_order(0);
        }
    }

    /// Takes one record; `false` at the end.
    #[inline]
    fn one(&mut self, batch: &mut Batch, pool: &Pool<Batch>) -> bool {
        let Some(&(time, index)) = self.heap.first() else { return false };
        if self.progress.seq >= self.limit {
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
        if !self.gate.pass(self.lanes, source.lane as usize, id, time, &record) {
            // What was lost before the first time wanted is nobody's business.
            let lost = join(source.lost, source.stream.lost());
            if time >= self.gate.from() {
                source.unsaid = lost;
            }
            source.lost = source.unsaid;
            self.advance(pool);
            return true;
        }
        let at = batch.items.len() as u32;
        let lost = join(std::mem::take(&mut source.lost), source.stream.lost());
        source.unsaid = Lost::None;
        if lost != Lost::None {
            batch.marks.push((at, Mark::Lost(lost)));
        }
        if next.first && self.boundaries {
            batch.marks.push((at, Mark::SubBuffer));
        }
        let mut aux = 0;
        if let Some(tracked) = self.progress.trackers[lane.file].of(id) {
            let (trace, names, seq) = (&*lane.trace, &*lane.names, self.progress.seq);
            aux = tracked.tracker.observe(&record, &Scene { trace, names, seq, exit: None, aux: 0 });
        }
        let chunk = chunk_in_batch(source, self.batches, batch);
        let stream = self.sources[index as usize].stream.number;
        batch.items.push(Item { time, start: next.start, len: next.len, chunk, stream, aux, exit: NO_EXIT });
        self.progress.seq += 1;
        if self.progress.last.replace(time).is_some_and(|last| last > time) {
            self.progress.backwards += 1;
        }
        let is_entry = lane.draws_graph && lane.decoders.pairing().is_entry(id);
        self.advance(pool);
        if is_entry {
            self.fold(index, batch, pool);
        }
        true
    }

    /// Leaves out the record at the top of the heap, which is later than all that is wanted, and with it all that its
    /// stream has left, unless times of the stream are not in order.
    #[cold]
    fn too_late(&mut self, pool: &Pool<Batch>) {
        let Some(&(_, index)) = self.heap.first() else { return };
        let source = &mut self.sources[index as usize];
        let correction = &self.lanes[source.lane as usize].correction;
        if !source.disordered && rest_is_later(&source.stream, correction, self.end_time) {
            self.heap.swap_remove(0);
            return self.restore_order(0);
        }
        source.disordered = true;
        source.lost = join(source.lost, source.stream.lost());
        self.advance(pool);
    }

    /// Folds the exit of the entry that was just taken from source `index`, if it comes next.
    fn fold(&mut self, index: u32, batch: &mut Batch, pool: &Pool<Batch>) {
        let source = &self.sources[index as usize];
        let lane = &self.lanes[source.lane as usize];
        let next = source.next;
        let pairing = lane.decoders.pairing();
        let Some(data) = source.stream.chunk.bytes.get(next.start as usize..(next.start + next.len) as usize) else {
            return;
        };
        if next.len == 0 || !pairing.is_exit(next.id) {
            return;
        }
        let exit = Record { ticks: next.ticks, cpu: source.stream.cpu, data };
        let Some(item) = batch.items.last().copied() else { return };
        let entry = Record { ticks: 0, cpu: exit.cpu, data: batch.data(&item) };
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
        let chunk = chunk_in_batch(&mut self.sources[index as usize], self.batches, batch);
        let number = batch.exits.len() as u32;
        batch.exits.push(Exit { ticks: next.ticks, chunk, start: next.start, len: next.len });
        if let Some(item) = batch.items.last_mut() {
            item.exit = number;
        }
        self.advance_source(index, pool);
    }

    /// Moves any stream on, wherever it is in the heap.
    fn advance_source(&mut self, index: u32, pool: &Pool<Batch>) {
        let Some(at) = self.heap.iter().position(|key| key.1 == index) else { return };
        let before = self.heap[at].0;
        let source = &mut self.sources[index as usize];
        match source.stream.next(pool) {
            Some(next) => {
                let time = self.lanes[source.lane as usize].correction.apply(next.ticks, source.stream.cpu);
                source.next = next;
                self.heap[at].0 = time;
                if time >= before {
                    return self.restore_order(at);
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
fn order_matters(lanes: &[Lane], trackers: &[FileTrackers]) -> Vec<Vec<bool>> {
    let mut order_matters: Vec<Vec<bool>> =
        trackers.iter().map(|file| file.by_id.iter().map(|number| *number != 0).collect()).collect();
    let mut set = |file: usize, id: u16| {
        let (id, ids) = (usize::from(id), &mut order_matters[file]);
        if ids.len() <= id {
            ids.resize(id + 1, false);
        }
        ids[id] = true;
    };
    for lane in lanes.iter().filter(|lane| lane.draws_graph) {
        let pairing = lane.decoders.pairing();
        for event in lane.trace.formats.iter().filter(|event| event.system == "ftrace") {
            if pairing.is_entry(event.id) || pairing.is_exit(event.id) {
                set(lane.file, event.id);
            }
        }
    }
    order_matters
}

/// The index in the batch of the chunk that the source is in.
#[inline]
fn chunk_in_batch(source: &mut MergeInput, batches: u64, batch: &mut Batch) -> u32 {
    let key = (batches, source.stream.chunk_number);
    if (source.held.0, source.held.1) != key {
        source.held = (key.0, key.1, batch.chunks.len() as u32);
        batch.chunks.push(Arc::clone(&source.stream.chunk));
    }
    source.held.2
}

#[cfg(test)]
mod tests;
