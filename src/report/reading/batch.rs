//! Records in order of time, some thousands at a time, and the bytes they lie in.
//!
//! Owns: where the records of a batch are, what is to be said before them, and the walk over both: [`Batch::walk`]. Everything
//! that looks at records goes through it, on whatever thread.

use std::sync::Arc;

use super::lane::Lane;
use super::record::{Loss, Opened, Record};
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

    /// Walks over the records, and what is to be said before them: from the first one on, or from the first that is printed.
    #[inline]
    pub(in crate::report) fn walk(&self, opened: Opened<'_>, with_skipped: bool, walker: &mut impl Walk) {
        let start = if with_skipped { 0 } else { self.skip };
        let mut mark = self.marks.partition_point(|mark| (mark.0 as usize) < start);
        let marked = |mark: usize| self.marks.get(mark).map_or(usize::MAX, |mark| mark.0 as usize);
        let mut next_mark = marked(mark);
        // Records of a stream come in runs.
        let (mut last, mut place) = (u32::MAX, None);
        for (index, item) in self.items.iter().enumerate().skip(start) {
            if item.stream != last {
                last = item.stream;
                let origin = opened.origins.get(last as usize);
                place = origin.and_then(|origin| Some((origin.cpu, opened.lanes.get(origin.lane as usize)?)));
            }
            let Some((cpu, lane)) = place else { continue };
            while index >= next_mark {
                self.say(mark, &self.record(index, item, cpu, lane), walker);
                mark += 1;
                next_mark = marked(mark);
            }
            walker.record(&self.record(index, item, cpu, lane));
        }
    }

    #[inline(always)]
    fn record<'r>(&'r self, index: usize, item: &Item, cpu: u32, lane: &'r Lane) -> Record<'r> {
        Record {
            bytes: Bytes { ticks: item.time, cpu, data: self.data(item) },
            lane,
            stream: item.stream,
            seq: self.first + index as u64,
            exit: if item.exit == NO_EXIT { None } else { self.exit(item, cpu) },
            aux: item.aux,
        }
    }

    #[cold]
    fn say(&self, mark: usize, record: &Record<'_>, walker: &mut impl Walk) {
        match self.marks.get(mark) {
            Some((_, Mark::SubBuffer)) => walker.sub_buffer(record),
            Some((_, Mark::Lost(lost))) => walker.lost(&Loss {
                lost: *lost,
                lane: record.lane,
                stream: record.stream,
                cpu: record.bytes.cpu,
                time: record.bytes.ticks,
            }),
            None => {}
        }
    }

    #[cold]
    fn exit(&self, item: &Item, cpu: u32) -> Option<Bytes<'_>> {
        let exit = self.exits.get(item.exit as usize)?;
        Some(Bytes { ticks: exit.ticks, cpu, data: self.bytes(exit.chunk, exit.start, exit.len) })
    }

    /// Lets go of chunks of which little is printed: batches wait to be rendered, and many chunks would wait with them.
    pub(super) fn copy_sparse(&mut self) {
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

/// Takes what a walk over a batch meets.
pub(in crate::report) trait Walk {
    /// The next record.
    fn record(&mut self, record: &Record<'_>);

    /// Records were lost before the next one.
    fn lost(&mut self, loss: &Loss<'_>) {
        let _ = loss;
    }

    /// A sub-buffer begins with the next record.
    fn sub_buffer(&mut self, record: &Record<'_>) {
        let _ = record;
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::decode::Registry;
    use crate::report::reading::Reading;
    use crate::report::reading::pass::Asked;
    use crate::report::reading::select::Selection;
    use crate::report::reading::settings::ReadSettings;
    use crate::report::reading::testing::*;

    /// What a walk meets, in order.
    #[derive(Default)]
    struct Met(Vec<String>);

    impl Walk for Met {
        fn record(&mut self, record: &Record<'_>) {
            self.0.push(format!("{}", record.time()));
        }

        fn lost(&mut self, loss: &Loss<'_>) {
            self.0.push(format!("lost before {} of CPU {}", loss.time, loss.cpu));
        }

        fn sub_buffer(&mut self, record: &Record<'_>) {
            self.0.push(format!("sub-buffer of {}", record.cpu()));
        }
    }

    fn walk(settings: ReadSettings, skip: usize, with_skipped: bool) -> Vec<String> {
        let pages = [exits(&[10, 20]), lossy(Lost::Count(3), &[(30, record(EXIT, 7, &[]))])];
        let input = made(&[(0, &pages), (1, &[exits(&[25])])]);
        let mut reading = Reading::new(vec![input], Registry::EMPTY, settings, &Selection::default()).unwrap();
        let mut pass = reading.pass(&Asked::default());
        let opened = pass.opened();
        let mut met = Met::default();
        pass.consume(|batch| {
            let marks = batch.marks.clone();
            let part =
                Batch { items: batch.items.clone(), chunks: batch.chunks.clone(), marks, skip, ..Batch::default() };
            part.walk(opened, with_skipped, &mut met);
            ControlFlow::Continue(())
        });
        met.0
    }

    #[test]
    fn a_loss_is_said_before_its_record() {
        assert_eq!(walk(settings(), 0, false), ["10", "20", "25", "lost before 30 of CPU 0", "30"]);
    }

    #[test]
    fn where_a_sub_buffer_begins_is_said_if_it_is_asked_for() {
        let met = walk(ReadSettings { boundaries: true, ..settings() }, 0, false);
        let wanted = ["sub-buffer of 0", "10", "20", "sub-buffer of 1", "25"];
        assert_eq!(met[..5], wanted);
        assert_eq!(met[5..], ["lost before 30 of CPU 0", "sub-buffer of 0", "30"]);
    }

    #[test]
    fn what_is_left_out_is_walked_over_only_on_request() {
        assert_eq!(walk(settings(), 2, false), ["25", "lost before 30 of CPU 0", "30"]);
        assert_eq!(walk(settings(), 2, true).len(), 5);
    }

    /// A batch of records of one chunk of 1000 bytes, given as places and lengths.
    fn sparse(places: &[(u32, u32)]) -> Batch {
        let chunk = Arc::new(Chunk::of((0..1000_u32).map(|number| number as u8).collect()));
        let item = |(start, len): &(u32, u32)| Item {
            time: 0,
            start: *start,
            len: *len,
            chunk: 0,
            stream: 0,
            aux: 0,
            exit: NO_EXIT,
        };
        Batch { items: places.iter().map(item).collect(), chunks: vec![chunk], ..Batch::default() }
    }

    #[test]
    fn a_batch_with_little_of_its_chunks_keeps_the_bytes_of_its_records_alone() {
        let mut batch = sparse(&[(700, 20), (100, 30)]);
        batch.exits.push(Exit { ticks: 9, chunk: 0, start: 400, len: 10 });
        let before: Vec<Vec<u8>> = batch.items.iter().map(|item| batch.data(item).to_vec()).collect();
        let exit = batch.bytes(0, 400, 10).to_vec();
        batch.copy_sparse();
        let after: Vec<Vec<u8>> = batch.items.iter().map(|item| batch.data(item).to_vec()).collect();
        assert_eq!(before, after);
        let kept = batch.exits[0];
        assert_eq!(batch.bytes(kept.chunk, kept.start, kept.len), exit);
        assert_eq!((batch.chunks.len(), batch.chunks[0].bytes.len()), (1, 60));
    }

    #[test]
    fn a_batch_with_much_of_its_chunks_keeps_them() {
        let mut batch = sparse(&[(0, 300)]);
        let chunk = Arc::clone(&batch.chunks[0]);
        batch.copy_sparse();
        assert!(Arc::ptr_eq(&chunk, &batch.chunks[0]));
    }

    #[test]
    fn the_time_before_a_record_reaches_into_the_batch_before() {
        let input = made(&[(0, &[exits(&(0..300).collect::<Vec<u64>>())])]);
        let mut reading = Reading::new(vec![input], Registry::EMPTY, settings(), &Selection::default()).unwrap();
        let mut pass = reading.pass(&Asked::default());
        let opened = pass.opened();
        struct Before<'b>(&'b Batch, Vec<Option<u64>>);
        impl Walk for Before<'_> {
            fn record(&mut self, record: &Record<'_>) {
                self.1.push(self.0.time_before(record));
            }
        }
        let (mut before, mut batches) = (Vec::new(), 0);
        pass.consume(|batch| {
            let mut walker = Before(batch, Vec::new());
            batch.walk(opened, false, &mut walker);
            before.extend(walker.1);
            batches += 1;
            ControlFlow::Continue(())
        });
        let wanted: Vec<Option<u64>> = std::iter::once(None).chain((0..299).map(Some)).collect();
        assert_eq!(before, wanted);
        assert!(batches > 1);
    }

    #[test]
    fn a_wait_is_found_by_its_record_alone() {
        let input = made(&[(0, &[exits(&[10, 20, 30])])]);
        let mut reading = Reading::new(vec![input], Registry::EMPTY, settings(), &Selection::default()).unwrap();
        let mut pass = reading.pass(&Asked::default());
        let opened = pass.opened();
        struct Waits<'b>(&'b Batch, Vec<Option<u64>>);
        impl Walk for Waits<'_> {
            fn record(&mut self, record: &Record<'_>) {
                self.1.push(self.0.wait(record));
            }
        }
        let mut found = Vec::new();
        pass.consume(|batch| {
            let (items, chunks) = (batch.items.clone(), batch.chunks.clone());
            let noted = Batch { items, chunks, waits: vec![(1, 70)], ..Batch::default() };
            let mut walker = Waits(&noted, Vec::new());
            noted.walk(opened, false, &mut walker);
            found.extend(walker.1);
            ControlFlow::Continue(())
        });
        assert_eq!(found, [None, Some(70), None]);
    }
}
