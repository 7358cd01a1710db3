//! One CPU of one buffer: its records one after another, as the merge asks for them.
//!
//! Chunks are fetched ahead and walked where they are fetched, on whatever thread, while their bytes are in its cache;
//! the merge only steps through lists of positions. Damage ends a sub-buffer (or drops a chunk) with a note, and the
//! stream goes on with the next.

use std::collections::VecDeque;
use std::sync::Arc;

use byteorder::{BigEndian, LittleEndian};

use super::pool::{Fetch, Pool};
use crate::dat::{Buffer, ChunkAt, ChunkCursor, CpuData, Dat, Note};
use crate::wire::abi::Endian;
use crate::wire::common::Common;
use crate::wire::subbuf::{Layout, Lost, Order};

/// Notes kept per chunk and per stream; what is more is counted.
const MAX_NOTES: usize = 20;

/// Position of one record in its chunk.
#[derive(Clone, Copy, Debug)]
pub(in crate::report) struct Next {
    /// Ticks, uncorrected.
    pub(in crate::report) ticks: u64,
    /// Offset of the payload in the chunk.
    pub(super) start: u32,
    /// Bytes of the payload.
    pub(super) len: u32,
    /// The event.
    pub(super) id: u16,
    /// It is the first of its sub-buffer: there may be something to say before it.
    pub(super) first: bool,
    /// A stack before which its chunk has no record: it goes the way of the last record of the chunk before.
    is_leading_stack: bool,
}

impl Next {
    /// Nothing comes any more.
    pub(super) const NONE: Next = Next { ticks: 0, start: 0, len: 0, id: 0, first: false, is_leading_stack: false };
}

/// A chunk of sub-buffers with its records found.
#[derive(Default)]
pub(in crate::report) struct Chunk {
    pub(in crate::report) bytes: Vec<u8>,
    pub(super) records: Vec<Next>,
    /// Where it lies in the file.
    pub(in crate::report) offset: u64,
    /// Index of a record and what was lost before it; ascending. One past the end: before whatever follows.
    lost: Vec<(u32, Lost)>,
    notes: Vec<Note>,
    damaged: u64,
    /// Whether the last record that is no stack was left out.
    dropping: Option<bool>,
}

/// Whether the records of an event can be left out where they are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The merge sees them.
    Yes,
    /// Nobody wants them.
    No,
    /// Stacks: as the record before.
    AsBefore,
}

/// What it takes to find the records of a chunk.
#[derive(Clone)]
pub(super) struct Finder {
    pub(super) dat: Arc<Dat>,
    pub(super) layout: Layout,
    pub(super) common: Common,
    /// By event id: records that nobody wants are left out at once.
    pub(super) wants: Arc<[Wanted]>,
}

impl Finder {
    /// Reads a chunk and finds its records.
    pub(super) fn find(&self, at: &ChunkAt) -> Chunk {
        let mut chunk = Chunk { offset: at.offset, ..Chunk::default() };
        if let Err(note) = self.dat.read_chunk(at, &mut chunk.bytes) {
            chunk.bytes.clear();
            chunk.note(note);
            chunk.lose(Lost::Unknown);
            return chunk;
        }
        match self.layout.abi.endian {
            Endian::Little => self.walk::<LittleEndian>(at.offset, &mut chunk),
            Endian::Big => self.walk::<BigEndian>(at.offset, &mut chunk),
        }
        chunk
    }

    fn walk<E: Order>(&self, offset: u64, chunk: &mut Chunk) {
        let bytes = std::mem::take(&mut chunk.bytes);
        chunk.records.reserve(bytes.len() / 40);
        let size = self.layout.subbuf_bytes as usize;
        let (wants, common): (&[Wanted], _) = (&self.wants, self.common);
        for (number, page) in bytes.chunks(size).enumerate() {
            let base = number * size;
            let here = || offset + base as u64;
            let head = match self.layout.head(page) {
                Ok(head) => head,
                Err(damage) => {
                    chunk.note(Note::new(here(), format!("{damage}: it is skipped")));
                    chunk.lose(Lost::Unknown);
                    continue;
                }
            };
            // A loss that was marked on a sub-buffer without records belongs to the next record.
            if head.lost != Lost::None {
                chunk.lose(head.lost);
            }
            let mut walk = self.layout.walk(&head);
            let mut first = true;
            while let Some(next) = walk.next::<E>(page) {
                match next {
                    Ok(found) => {
                        let data = page.get(found.start as usize..(found.start + found.len) as usize).unwrap_or(&[]);
                        let (start, id) = (base as u32 + found.start, common.id(data));
                        let mut is_leading_stack = false;
                        match wants.get(usize::from(id)).copied().unwrap_or(Wanted::Yes) {
                            Wanted::Yes => chunk.dropping = Some(false),
                            Wanted::No => {
                                chunk.dropping = Some(true);
                                continue;
                            }
                            Wanted::AsBefore if chunk.dropping == Some(true) => continue,
                            Wanted::AsBefore => is_leading_stack = chunk.dropping.is_none(),
                        }
                        chunk.records.push(Next {
                            ticks: found.ticks,
                            start,
                            len: found.len,
                            id,
                            first,
                            is_leading_stack,
                        });
                        first = false;
                    }
                    Err(damage) => {
                        chunk.note(Note::new(here(), format!("{damage}: the rest of it is skipped")));
                        chunk.lose(Lost::Unknown);
                    }
                }
            }
            if head.cut {
                chunk.note(Note::new(here(), "a sub-buffer is cut short: its first records are kept"));
            }
        }
        chunk.bytes = bytes;
    }
}

impl Chunk {
    /// Bytes alone, for records whose positions somebody else knows.
    pub(super) fn of(bytes: Vec<u8>) -> Chunk {
        Chunk { bytes, ..Chunk::default() }
    }

    /// Nothing was lost before any of its records.
    pub(super) fn is_whole(&self) -> bool {
        self.lost.is_empty()
    }

    fn note(&mut self, note: Note) {
        self.damaged += 1;
        if self.notes.len() < MAX_NOTES {
            self.notes.push(note);
        }
    }

    /// Something was lost before the next record.
    fn lose(&mut self, lost: Lost) {
        let at = self.records.len() as u32;
        match self.lost.last_mut() {
            Some(last) if last.0 == at => last.1 = join(last.1, lost),
            _ => self.lost.push((at, lost)),
        }
    }
}

/// Two losses before the same record.
pub(super) fn join(a: Lost, b: Lost) -> Lost {
    match (a, b) {
        (Lost::None, other) | (other, Lost::None) => other,
        (Lost::Count(a), Lost::Count(b)) => Lost::Count(a.saturating_add(b)),
        _ => Lost::Unknown,
    }
}

pub(in crate::report) struct Stream {
    pub(in crate::report) cpu: u32,
    /// Its number among all streams.
    pub(super) number: u32,
    pub(super) finder: Finder,
    /// The chunks that nobody has asked for.
    pub(super) cursor: ChunkCursor,
    ahead: VecDeque<Arc<Fetch>>,
    depth: usize,
    pub(super) chunk: Arc<Chunk>,
    /// Changes with the chunk, so that batches notice.
    pub(super) chunk_number: u64,
    /// Index of the next record of the chunk.
    pub(super) at: usize,
    /// Lost at the end of the chunk before.
    lost: Lost,
    pub(super) notes: Vec<Note>,
    pub(super) damaged: u64,
    /// The last record of the chunk before was left out.
    dropping: bool,
}

impl Stream {
    pub(super) fn new(finder: Finder, buffer: &Buffer, data: &CpuData, depth: usize) -> Stream {
        let cursor = finder.dat.chunks(buffer, data);
        Stream::over(finder, data.cpu, cursor, depth)
    }

    fn over(finder: Finder, cpu: u32, cursor: ChunkCursor, depth: usize) -> Stream {
        Stream {
            cpu,
            number: 0,
            finder,
            cursor,
            ahead: VecDeque::new(),
            depth,
            chunk: Arc::default(),
            chunk_number: 0,
            at: 0,
            lost: Lost::None,
            notes: Vec::new(),
            damaged: 0,
            dropping: false,
        }
    }

    /// Lets a stream that was not yet asked begin elsewhere.
    pub(super) fn start_at(&mut self, cursor: ChunkCursor) {
        self.cursor = cursor;
    }

    /// A stream of the last chunks alone that this one has not asked for.
    pub(super) fn beginning_late(&self) -> Stream {
        let index = self.finder.dat.chunk_index(self.cursor.clone());
        let last = index.len().checked_sub(1).and_then(|last| index.cursor(last));
        Stream::over(self.finder.clone(), self.cpu, last.unwrap_or_else(|| self.cursor.clone()), self.depth)
    }

    /// The ticks of the last record that is left. Reads little more than the last chunk.
    pub(in crate::report) fn last_ticks<B: Send>(self, pool: &Pool<B>) -> Option<u64> {
        let last = |mut stream: Stream| std::iter::from_fn(|| stream.next(pool)).last().map(|last| last.ticks);
        last(self.beginning_late()).or_else(|| last(self))
    }

    /// The chunks asked for whose records did not come yet.
    pub(super) fn fetched_ahead(&self) -> impl Iterator<Item = ChunkAt> {
        self.ahead.iter().map(|fetch| fetch.place())
    }

    /// The next record, or `None` at the end of this CPU's data.
    #[inline]
    pub(in crate::report) fn next<B: Send>(&mut self, pool: &Pool<B>) -> Option<Next> {
        loop {
            if let Some(next) = self.chunk.records.get(self.at) {
                self.at += 1;
                if next.is_leading_stack && self.dropping {
                    continue;
                }
                return Some(*next);
            }
            if !self.next_chunk(pool) {
                return None;
            }
        }
    }

    /// What was lost before the record that [`Stream::next`] gave last.
    pub(super) fn lost(&self) -> Lost {
        if self.chunk.lost.is_empty() && self.lost == Lost::None {
            return Lost::None;
        }
        let index = (self.at as u32).wrapping_sub(1);
        let here = self.chunk.lost.binary_search_by_key(&index, |lost| lost.0);
        let here = here.ok().and_then(|at| self.chunk.lost.get(at)).map_or(Lost::None, |lost| lost.1);
        if self.at == 1 { join(self.lost, here) } else { here }
    }

    #[cold]
    fn next_chunk<B: Send>(&mut self, pool: &Pool<B>) -> bool {
        let end = self.chunk.records.len() as u32;
        let rest = self.chunk.lost.last().filter(|lost| lost.0 == end).map_or(Lost::None, |lost| lost.1);
        // An empty chunk hands on what was lost before it.
        self.lost = if end == 0 { join(self.lost, rest) } else { rest };
        self.dropping = self.chunk.dropping.unwrap_or(self.dropping);
        while self.ahead.len() < self.depth {
            match self.cursor.next(&self.finder.dat) {
                Some(Ok(at)) => {
                    let fetch = Fetch::new(self.finder.clone(), at);
                    // The first one is wanted now: it is fetched by whoever asks.
                    if !self.ahead.is_empty() {
                        pool.prefetch(&fetch);
                    }
                    self.ahead.push_back(fetch);
                }
                Some(Err(note)) => self.note(note),
                None => break,
            }
        }
        self.at = 0;
        match self.ahead.pop_front() {
            Some(fetch) => {
                self.chunk = fetch.take();
                self.chunk_number += 1;
                self.damaged += self.chunk.damaged;
                let chunk = Arc::clone(&self.chunk);
                let room = MAX_NOTES.saturating_sub(self.notes.len());
                self.notes.extend(chunk.notes.iter().take(room).cloned());
                true
            }
            None => {
                self.chunk = Arc::default();
                false
            }
        }
    }

    fn note(&mut self, note: Note) {
        self.damaged += 1;
        if self.notes.len() < MAX_NOTES {
            self.notes.push(note);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::join;
    use crate::decode::Registry;
    use crate::report::reading::Reading;
    use crate::report::reading::select::Selection;
    use crate::report::reading::testing::*;
    use crate::wire::subbuf::Lost;

    fn stream(pages: &[Vec<u8>]) -> (Vec<String>, Vec<String>) {
        let inputs = vec![made(&[(0, pages)])];
        let mut reading = Reading::new(inputs, Registry::EMPTY, settings(), &Selection::default()).unwrap();
        let (lines, outcome) = read(&mut reading);
        (lines, outcome.notes.iter().map(|(_, note)| note.to_string()).collect())
    }

    const AT_10: &str = "10 0 7 sched_process_exit";
    const AT_20: &str = "20 0 7 sched_process_exit";

    fn one(time: u64) -> (u64, Vec<u8>) {
        (time, record(EXIT, 7, &[]))
    }

    #[test]
    fn a_loss_stands_before_the_first_record_of_its_sub_buffer() {
        let (lines, notes) = stream(&[exits(&[10]), lossy(Lost::Count(5), &[one(20)])]);
        assert_eq!(lines, [AT_10, "lost 5 before 20", AT_20]);
        assert!(notes.is_empty());
    }

    #[test]
    fn a_loss_on_a_sub_buffer_without_records_belongs_to_the_next_record() {
        let (lines, _) = stream(&[exits(&[10]), lossy(Lost::Count(5), &[]), exits(&[20])]);
        assert_eq!(lines, [AT_10, "lost 5 before 20", AT_20]);
    }

    #[test]
    fn a_loss_is_handed_on_over_several_sub_buffers_without_records() {
        let (lines, _) = stream(&[exits(&[10]), lossy(Lost::Count(5), &[]), page(&[]), page(&[]), exits(&[20])]);
        assert_eq!(lines, [AT_10, "lost 5 before 20", AT_20]);
    }

    #[test]
    fn losses_before_one_record_add_up() {
        let pages = [exits(&[10]), lossy(Lost::Count(5), &[]), lossy(Lost::Count(3), &[one(20)])];
        assert_eq!(stream(&pages).0, [AT_10, "lost 8 before 20", AT_20]);
        let pages = [exits(&[10]), lossy(Lost::Unknown, &[]), lossy(Lost::Count(3), &[one(20)])];
        assert_eq!(stream(&pages).0, [AT_10, "lost some before 20", AT_20]);
    }

    #[test]
    fn a_count_and_an_unknown_number_are_unknown() {
        assert_eq!(join(Lost::None, Lost::Count(3)), Lost::Count(3));
        assert_eq!(join(Lost::Count(u64::MAX), Lost::Count(3)), Lost::Count(u64::MAX));
        assert_eq!(join(Lost::Count(3), Lost::Unknown), Lost::Unknown);
    }

    #[test]
    fn a_loss_at_the_end_belongs_to_no_record() {
        assert_eq!(stream(&[exits(&[10]), lossy(Lost::Count(5), &[])]).0, [AT_10]);
    }

    #[test]
    fn a_record_that_runs_beyond_its_sub_buffer_ends_that_one_alone() {
        let mut damaged = page(&[one(10), one(15)]);
        // The second record claims 112 bytes; the sub-buffer has as many as two of them take.
        let second = 16 + 4 + record(EXIT, 7, &[]).len();
        damaged[second] |= 28;
        let (lines, notes) = stream(&[damaged, exits(&[20])]);
        assert_eq!(lines, [AT_10, "lost some before 20", AT_20]);
        assert!(
            notes.len() == 1 && notes[0].contains("runs beyond the valid bytes: the rest of it is skipped"),
            "{notes:?}"
        );
    }

    #[test]
    fn a_sub_buffer_that_claims_more_than_it_has_is_skipped() {
        let mut damaged = exits(&[15]);
        damaged[8..12].copy_from_slice(&0x0002_0000_u32.to_le_bytes());
        let (lines, notes) = stream(&[exits(&[10]), damaged, exits(&[20])]);
        assert_eq!(lines, [AT_10, "lost some before 20", AT_20]);
        assert!(notes.len() == 1 && notes[0].contains("claims 131072 valid bytes: it is skipped"), "{notes:?}");
    }

    #[test]
    fn of_a_sub_buffer_that_is_cut_short_the_first_records_are_kept() {
        let mut cut = page(&[one(10), one(15)]);
        cut.truncate(16 + 4 + record(EXIT, 7, &[]).len() + 2);
        let (lines, notes) = stream(&[cut]);
        assert_eq!(lines, [AT_10]);
        assert!(
            notes.iter().any(|note| note.contains("a sub-buffer is cut short: its first records are kept")),
            "{notes:?}"
        );
    }

    #[test]
    fn damage_beyond_a_number_is_counted() {
        let mut damaged = exits(&[15]);
        damaged[8..12].copy_from_slice(&0x0002_0000_u32.to_le_bytes());
        let (lines, notes) = stream(&vec![damaged; 25]);
        assert!(lines.is_empty());
        assert_eq!(notes.len(), 21);
        assert!(notes[20].contains("5 more places of CPU 0 are damaged"), "{}", notes[20]);
    }

    #[test]
    fn losses_of_a_real_file_are_those_that_trace_cmd_counts() {
        // CPU:1 [1936 EVENTS DROPPED], CPU:0 [EVENTS DROPPED]
        let inputs = vec![fixture("v7-lost-allformats")];
        let lines = lines(inputs, settings(), &Selection::default());
        let lost: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].starts_with("lost")).collect();
        let words = |at: usize| lines[at].split(' ').nth(1).unwrap().to_owned();
        assert_eq!(lost.iter().map(|at| words(*at)).collect::<Vec<_>>(), ["1936", "some"]);
        assert_eq!(lost[0], 0, "before the first record of all");
        assert!(lines[lost[1] + 1].split(' ').nth(1) == Some("0"), "{}", lines[lost[1] + 1]);
    }
}
