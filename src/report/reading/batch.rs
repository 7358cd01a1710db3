//! Records in order of time, some thousands at a time, and the bytes they lie in.
//!
//! Owns: where the records of a batch are, what is to be said before them, and the walk over both: [`Batch::steps`]. Everything
//! that looks at records goes through it, on whatever thread.

use std::sync::Arc;

use super::record::{Loss, Opened, Record, Step};
use super::stream::Chunk;
use crate::wire::record::Record as Bytes;
use crate::wire::subbuf::Lost;

/// No exit is folded.
pub(super) const NO_EXIT: u32 = u32::MAX;

/// A batch keeps its chunks if its records are at least this part of their bytes; else it keeps the records alone.
const SPARSE: usize = 4;

/// One record: its time, and where its bytes are.
#[derive(Clone, Copy, Debug)]
pub(in crate::report) struct Item {
    pub(in crate::report) time: u64,
    pub(in crate::report) start: u32,
    pub(in crate::report) len: u32,
    pub(in crate::report) chunk: u32,
    pub(in crate::report) stream: u32,
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

/// Records in order of time, and the bytes they lie in.
#[derive(Default)]
pub(in crate::report) struct Batch {
    /// Number of the first record.
    pub(super) first: u64,
    /// Time of the record before the first.
    pub(in crate::report) before: Option<u64>,
    pub(in crate::report) items: Vec<Item>,
    pub(super) exits: Vec<Exit>,
    /// Index of a record, and what to say before it; ascending.
    pub(super) marks: Vec<(u32, Mark)>,
    /// Index of a switch, and how long its next task waited; ascending. For whoever asks for it.
    pub(in crate::report) waits: Vec<(u32, u64)>,
    pub(in crate::report) chunks: Vec<Arc<Chunk>>,
    /// Records at the start that are not printed.
    pub(in crate::report) skip: usize,
}

impl Batch {
    #[inline]
    fn bytes(&self, chunk: u32, start: u32, len: u32) -> &[u8] {
        let bytes = self.chunks.get(chunk as usize).map_or(&[][..], |chunk| chunk.bytes.as_slice());
        bytes.get(start as usize..start as usize + len as usize).unwrap_or(&[])
    }

    /// The bytes of an item.
    #[inline]
    pub(super) fn data(&self, item: &Item) -> &[u8] {
        self.bytes(item.chunk, item.start, item.len)
    }

    /// The record at `index`.
    #[inline]
    pub(in crate::report) fn record<'r>(&'r self, index: usize, opened: Opened<'r>) -> Option<Record<'r>> {
        let item = self.items.get(index)?;
        let origin = opened.origins.get(item.stream as usize)?;
        let lane = opened.lanes.get(origin.lane as usize)?;
        let exit = self.exits.get(item.exit as usize).filter(|_| item.exit != NO_EXIT);
        let exit = exit.map(|exit| Bytes {
            ticks: exit.ticks,
            cpu: origin.cpu,
            data: self.bytes(exit.chunk, exit.start, exit.len),
        });
        Some(Record {
            bytes: Bytes { ticks: item.time, cpu: origin.cpu, data: self.data(item) },
            lane,
            stream: item.stream,
            seq: self.first + index as u64,
            exit,
            aux: item.aux,
        })
    }

    /// Where the bytes of one of its records are.
    pub(in crate::report) fn item(&self, record: &Record<'_>) -> Option<&Item> {
        self.items.get(self.index(record))
    }

    fn index(&self, record: &Record<'_>) -> usize {
        (record.seq - self.first) as usize
    }

    /// The time of the record before one of its records.
    pub(in crate::report) fn time_before(&self, record: &Record<'_>) -> Option<u64> {
        match self.index(record).checked_sub(1) {
            Some(before) => self.items.get(before).map(|item| item.time),
            None => self.before,
        }
    }

    /// How long the task waited that one of its records lets run, if somebody has noted it.
    pub(in crate::report) fn wait(&self, record: &Record<'_>) -> Option<u64> {
        if self.waits.is_empty() {
            return None;
        }
        let at = self.waits.binary_search_by_key(&(self.index(record) as u32), |wait| wait.0);
        at.ok().and_then(|at| self.waits.get(at)).map(|wait| wait.1)
    }

    /// Records, and before them what is to be said, from the first or from the first that is printed.
    pub(in crate::report) fn steps<'r>(&'r self, opened: Opened<'r>, with_skipped: bool) -> Steps<'r> {
        let index = if with_skipped { 0 } else { self.skip };
        let mark = self.marks.partition_point(|mark| (mark.0 as usize) < index);
        Steps { batch: self, opened, index, mark }
    }

    /// Lets go of chunks of which little is printed: batches wait to be rendered, and many chunks would wait with them.
    pub(super) fn thin_out(&mut self) {
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

/// The walk over a batch.
pub(in crate::report) struct Steps<'r> {
    batch: &'r Batch,
    opened: Opened<'r>,
    index: usize,
    mark: usize,
}

impl<'r> Iterator for Steps<'r> {
    type Item = Step<'r>;

    #[inline]
    fn next(&mut self) -> Option<Step<'r>> {
        if let Some((_, mark)) = self.batch.marks.get(self.mark).filter(|mark| mark.0 as usize <= self.index) {
            self.mark += 1;
            let record = self.batch.record(self.index, self.opened)?;
            return Some(match mark {
                Mark::SubBuffer => Step::SubBuffer(record),
                Mark::Lost(lost) => Step::Lost(Loss {
                    lost: *lost,
                    lane: record.lane,
                    stream: record.stream,
                    cpu: record.bytes.cpu,
                    time: record.bytes.ticks,
                }),
            });
        }
        let record = self.batch.record(self.index, self.opened)?;
        self.index += 1;
        Some(Step::Record(record))
    }
}
