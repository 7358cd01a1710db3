//! The last records without reading all of them.
//!
//! Owns: from where to read so that the last records come out as they would at the end of everything. Does not own:
//! where times begin (see `seek`), which records count (see `select`).
//!
//! Records are counted from some way before the end on, and from further back until they are enough; then they are
//! printed, and those that are too many are left out. Nothing is kept in between, so memory does not grow with the
//! number of records asked for.
//!
//! What comes out depends on earlier records in a few ways. The record before (an entry whose exit is folded into it,
//! a record whose stack follows, the time that a difference starts from) is read as well, since reading begins a chunk
//! early. Names of tasks are learned while reading, which matters only for tasks that the file has no name of; calls
//! are indented below their callers. When there is such a record among the last ones, or when an account of all records
//! is kept, everything is read.

use super::line::slice;
use super::merge::{Batch, How, Merge};
use super::pool::Pool;
use super::seek::{Starts, Timelines};
use super::select::Gate;
use super::stream::Stream;
use super::{Lane, Settings};
use crate::plugins::Tracked;

/// Records that a chunk has at least, most of the time.
const CHUNK_RECORDS: u64 = 1000;
/// How much further back the next attempt begins.
const FURTHER: usize = 4;

/// Where to begin, and how many records are then too many.
#[derive(Default)]
pub(super) struct Tail {
    pub(super) starts: Starts,
    pub(super) skip: u64,
}

/// What was counted.
#[derive(Default)]
struct Counted {
    /// Records.
    all: u64,
    /// Those at or after the time in question.
    late: u64,
    /// The last that looks as it does because of earlier ones, counted from 1; 0 if there is none.
    dependent: u64,
}

/// Everything that is the same for all attempts.
pub(super) struct Search<'s, 'a, 'd, 't> {
    pub(super) lanes: &'a [Lane<'t>],
    pub(super) pool: &'s Pool<'d, Batch>,
    pub(super) how: &'s How,
    pub(super) settings: &'s Settings,
    pub(super) streams: &'s dyn Fn(&Starts) -> Vec<(u32, Stream<'d>)>,
    /// Where to begin if everything is to be read.
    pub(super) all: Starts,
    /// What the trackers make of records, per file.
    pub(super) history: Vec<Learned>,
}

/// What earlier records have to do with later ones in one file.
#[derive(Default)]
pub(super) struct Learned {
    /// Names are learned.
    learns: bool,
    /// Events whose text depends on earlier records.
    ids: Vec<u16>,
}

impl Learned {
    pub(super) fn of(trackers: &[Tracked<'_>]) -> Learned {
        let learns = trackers.iter().any(|tracked| tracked.only_names);
        let rest = trackers.iter().filter(|tracked| !tracked.only_names);
        Learned { learns, ids: rest.flat_map(|tracked| tracked.ids.iter().copied()).collect() }
    }
}

impl<'a, 't> Search<'_, 'a, '_, 't> {
    /// Finds where to begin for the last `count` records; the gate comes back as it was.
    pub(super) fn find(&self, count: u64, mut gate: Gate<'a, 't>) -> (Tail, Gate<'a, 't>) {
        if !self.how.wakeups && self.settings.head.is_none() && !gate.remembers() {
            let tail;
            (tail, gate) = self.near_end(count, gate);
            if let Some(tail) = tail {
                return (tail, gate);
            }
        }
        let (counted, gate) = self.count(&self.all, 0, gate);
        (Tail { starts: self.all.clone(), skip: counted.all.saturating_sub(count) }, gate)
    }

    fn near_end(&self, count: u64, mut gate: Gate<'a, 't>) -> (Option<Tail>, Gate<'a, 't>) {
        let streams = (self.streams)(&Starts::default());
        let mut lines = Timelines::new(&streams, self.lanes, self.settings.threads);
        let mut back = usize::try_from(count / CHUNK_RECORDS).unwrap_or(usize::MAX).saturating_add(1);
        while let Some((time, starts)) = lines.back(self.how.end_time, back) {
            if time <= gate.from() {
                break;
            }
            let counted;
            (counted, gate) = self.count(&starts, time, gate);
            // One more than asked for: the time between it and the first one printed may be printed, too.
            if counted.late > count {
                let skip = counted.all - count;
                let alone = counted.dependent <= skip;
                return (alone.then_some(Tail { starts, skip }), gate);
            }
            back = back.saturating_mul(FURTHER);
        }
        (None, gate)
    }

    fn count(&self, starts: &Starts, time: u64, gate: Gate<'a, 't>) -> (Counted, Gate<'a, 't>) {
        let mut merge = Merge::new(self.lanes, (self.streams)(starts), Vec::new(), gate, self.how, self.pool);
        let origins = merge.origins();
        let mut counted = Counted::default();
        self.pool.consume(|| merge.batch(self.pool), |batch| self.take(&batch, &origins, time, &mut counted));
        (counted, merge.into_gate())
    }

    fn take(&self, batch: &Batch, origins: &[(u32, u32)], time: u64, counted: &mut Counted) {
        let mut before = (u32::MAX, 0);
        for item in &batch.items {
            counted.all += 1;
            counted.late += u64::from(item.time >= time);
            let Some(&(_, number)) = origins.get(item.stream as usize) else { continue };
            let lane = &self.lanes[number as usize];
            let Some(history) = self.history.get(lane.file) else { continue };
            let data = slice(batch, item.chunk, item.start, item.len);
            let pid = lane.common.pid(data);
            if history.learns && before != (number, pid) {
                if lane.names.is_stored(pid) {
                    before = (number, pid);
                } else {
                    counted.dependent = counted.all;
                }
            }
            if !history.ids.is_empty() && history.ids.contains(&lane.common.id(data)) {
                counted.dependent = counted.all;
            }
        }
    }
}
