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
use super::merge::{Merge, MergeSettings, Progress};
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
pub(super) struct TailStart {
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
pub(super) struct TailSearch<'s> {
    pub(super) opened: Opened<'s>,
    pub(super) pool: &'s Pool<Batch>,
    pub(super) how: &'s MergeSettings,
    pub(super) settings: &'s ReadSettings,
    /// An account of all records is kept.
    pub(super) keeps_account: bool,
    pub(super) streams: &'s dyn Fn(&Starts) -> Vec<(u32, Stream)>,
    /// Where to begin if everything is to be read.
    pub(super) all: Starts,
    /// What the trackers make of records, per file.
    pub(super) history: Vec<OrderDependence>,
}

/// What earlier records have to do with later ones in one file.
#[derive(Default)]
pub(super) struct OrderDependence {
    /// Names are learned.
    learns: bool,
    /// Events whose text depends on earlier records.
    ids: Vec<u16>,
}

impl OrderDependence {
    pub(super) fn of(trackers: &[Tracked]) -> OrderDependence {
        let learns = trackers.iter().any(|tracked| tracked.only_names);
        let rest = trackers.iter().filter(|tracked| !tracked.only_names);
        OrderDependence { learns, ids: rest.flat_map(|tracked| tracked.ids.iter().copied()).collect() }
    }
}

impl TailSearch<'_> {
    /// Finds where to begin for the last `count` records; the gate is left as it was.
    pub(super) fn find(&self, count: u64, gate: &mut Gate) -> TailStart {
        if !self.keeps_account
            && self.settings.head.is_none()
            && !gate.remembers()
            && let Some(tail) = self.near_end(count, gate)
        {
            return tail;
        }
        let counted = self.count(&self.all, 0, gate);
        TailStart { starts: self.all.clone(), skip: counted.all.saturating_sub(count) }
    }

    fn near_end(&self, count: u64, gate: &mut Gate) -> Option<TailStart> {
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
                return alone.then_some(TailStart { starts, skip });
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
    history: &'c [OrderDependence],
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

#[cfg(test)]
mod tests {
    use crate::decode::Registry;
    use crate::plugins::REGISTRY;
    use crate::report::Input;
    use crate::report::reading::Reading;
    use crate::report::reading::select::Selection;
    use crate::report::reading::settings::ReadSettings;
    use crate::report::reading::testing::*;

    fn last(inputs: Vec<Input>, registry: Registry, tail: Option<u64>, selection: &Selection) -> Vec<String> {
        let settings = ReadSettings { tail, ..settings() };
        let mut reading = Reading::new(inputs, registry, settings, selection).unwrap();
        let (lines, outcome) = read(&mut reading);
        let records = lines.iter().filter(|line| !line.starts_with("lost")).count();
        assert_eq!(outcome.records, records as u64);
        lines
    }

    fn check(input: impl Fn() -> Input, selection: &Selection, counts: &[u64]) {
        let all = last(vec![input()], REGISTRY, None, selection);
        for count in counts {
            let end = all.len().saturating_sub(*count as usize);
            assert_eq!(last(vec![input()], REGISTRY, Some(*count), selection), all[end..], "{count}");
        }
    }

    #[test]
    fn the_last_records_are_the_end_of_all_records() {
        check(|| fixture("v7-zstd-events"), &Selection::default(), &[0, 1, 2, 100, 1000, 1516, 2000]);
        check(|| fixture("v6-instances"), &Selection::default(), &[1, 50, 1409]);
    }

    #[test]
    fn they_are_where_many_chunks_are_too() {
        let pages = |step: u64| -> Vec<Vec<u8>> {
            (1..60).map(|number| exits(&[step * number, step * number + 1, step * number + 2])).collect()
        };
        let (fast, slow) = (pages(100), pages(70));
        check(|| made(&[(0, &fast), (2, &slow)]), &Selection::default(), &[1, 3, 4, 30, 200, 354, 400]);
    }

    #[test]
    fn they_are_where_a_chunk_is_out_of_order_too() {
        let mut pages: Vec<Vec<u8>> = (1..60).map(|number| exits(&[100 * number, 100 * number + 1])).collect();
        pages.swap(10, 50);
        check(|| made(&[(0, &pages)]), &Selection::default(), &[1, 5, 40, 118]);
    }

    #[test]
    fn they_are_the_last_of_those_selected() {
        let selection = Selection { events: vec!["sched_switch".to_owned()], ..Selection::default() };
        check(|| fixture("v7-zstd-events"), &selection, &[1, 20, 117, 200]);
        let selection = Selection { cpus: vec![1], ..Selection::default() };
        check(|| fixture("v7-zstd-events"), &selection, &[1, 300, 700]);
    }

    #[test]
    fn they_have_the_names_that_all_records_before_have_taught() {
        // Task 7 has no stored name: the first of many switches has it, the last one does not.
        let switch =
            |pid: i64| record(SWITCH, 9, &[("next_pid", pid), ("next_comm", i64::from_le_bytes(*b"seven\0\0\0"))]);
        let mut pages: Vec<Vec<u8>> = vec![page(&[(10, switch(7))])];
        pages.extend((1..60).map(|number| exits(&[100 * number])));
        let settings = ReadSettings { tail: Some(1), ..settings() };
        let mut reading = Reading::new(vec![made(&[(0, &pages)])], REGISTRY, settings, &Selection::default()).unwrap();
        let mut names = Vec::new();
        reading.each(|record| names.push(String::from_utf8_lossy(record.comm()).into_owned()));
        assert_eq!(names, ["seven"]);
    }
}
