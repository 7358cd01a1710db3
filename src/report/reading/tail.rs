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

use super::batch::{Batch, Walk};
use super::merge::{How, Merge, Progress};
use super::pool::Pool;
use super::record::{Opened, Record};
use super::seek::{Starts, Timelines};
use super::select::Gate;
use super::settings::ReadSettings;
use super::stream::Stream;
use crate::decode::Tracked;

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
pub(super) struct Search<'s> {
    pub(super) opened: Opened<'s>,
    pub(super) pool: &'s Pool<Batch>,
    pub(super) how: &'s How,
    pub(super) settings: &'s ReadSettings,
    /// An account of all records is kept.
    pub(super) keeps_account: bool,
    pub(super) streams: &'s dyn Fn(&Starts) -> Vec<(u32, Stream)>,
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
    pub(super) fn of(trackers: &[Tracked]) -> Learned {
        let learns = trackers.iter().any(|tracked| tracked.only_names);
        let rest = trackers.iter().filter(|tracked| !tracked.only_names);
        Learned { learns, ids: rest.flat_map(|tracked| tracked.ids.iter().copied()).collect() }
    }
}

impl Search<'_> {
    /// Finds where to begin for the last `count` records; the gate is left as it was.
    pub(super) fn find(&self, count: u64, gate: &mut Gate) -> Tail {
        if !self.keeps_account
            && self.settings.head.is_none()
            && !gate.remembers()
            && let Some(tail) = self.near_end(count, gate)
        {
            return tail;
        }
        let counted = self.count(&self.all, 0, gate);
        Tail { starts: self.all.clone(), skip: counted.all.saturating_sub(count) }
    }

    fn near_end(&self, count: u64, gate: &mut Gate) -> Option<Tail> {
        let streams = (self.streams)(&Starts::default());
        let mut lines = Timelines::new(&streams, self.opened.lanes, self.settings.threads);
        let mut back = usize::try_from(count / CHUNK_RECORDS).unwrap_or(usize::MAX).saturating_add(1);
        while let Some((time, starts)) = lines.back(self.how.end_time, back) {
            if time <= gate.from() {
                break;
            }
            let counted = self.count(&starts, time, gate);
            // One more than asked for: the time between it and the first one printed may be printed, too.
            if counted.late > count {
                let skip = counted.all - count;
                let alone = counted.dependent <= skip;
                return alone.then_some(Tail { starts, skip });
            }
            back = back.saturating_mul(FURTHER);
        }
        None
    }

    fn count(&self, starts: &Starts, time: u64, gate: &mut Gate) -> Counted {
        let mut progress = Progress::new(self.opened.lanes, Vec::new());
        let mut counted = Counted::default();
        let mut merge = Merge::new(self.opened.lanes, (self.streams)(starts), &mut progress, gate, self.how, self.pool);
        self.pool.consume(
            || merge.batch(self.pool),
            |batch| {
                let (history, counted) = (&*self.history, &mut counted);
                batch.walk(self.opened, true, &mut Counting { history, time, counted, named: (u32::MAX, 0) });
            },
        );
        gate.forget();
        counted
    }
}

/// Counts the records of batches.
struct Counting<'c> {
    history: &'c [Learned],
    /// The time in question.
    time: u64,
    counted: &'c mut Counted,
    /// Stream and task of the last record whose task has a stored name.
    named: (u32, i32),
}

impl Walk for Counting<'_> {
    fn record(&mut self, record: &Record<'_>) {
        let counted = &mut *self.counted;
        counted.all += 1;
        counted.late += u64::from(record.time() >= self.time);
        let Some(learned) = self.history.get(record.lane.file) else { return };
        let named = (record.stream, record.pid());
        if learned.learns && self.named != named {
            if record.lane.names.is_stored(named.1) {
                self.named = named;
            } else {
                counted.dependent = counted.all;
            }
        }
        if !learned.ids.is_empty() && learned.ids.contains(&record.id()) {
            counted.dependent = counted.all;
        }
    }
}
