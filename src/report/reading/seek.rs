//! Where a time begins in the data of each CPU: an index of chunks by time, built when it is first asked for.
//!
//! Owns: the times at which chunks begin, and where to begin to read for a time. Does not own: where chunks are (see
//! [`ChunkIndex`](crate::dat::ChunkIndex)), and which records are wanted (see `select`): to skip chunks saves time and
//! changes nothing.
//!
//! The time of a chunk is that of its first sub-buffer; only chunks that halving asks about are looked into. Halving
//! needs times in order, which those of a CPU are unless the clock was set back or the file is damaged. So chunks all
//! over the data are looked into as well: when any of them is out of order, nothing of that CPU is skipped.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::clock::Correction;
use super::lane::Lane;
use super::pool::lock;
use super::stream::{Finder, Stream};
use crate::dat::{ChunkAt, ChunkCursor, ChunkIndex};

/// Chunks looked into to see whether times are in order: in all, and of one CPU.
const SAMPLES: usize = 512;
const CPU_SAMPLES: usize = 64;

/// One CPU's chunks by time.
struct Timeline<'a> {
    finder: Finder,
    correction: &'a Correction,
    cpu: u32,
    index: ChunkIndex,
    /// Times that were looked up, by place; `None` for a chunk that has none.
    times: BTreeMap<usize, Option<u64>>,
}

impl<'a> Timeline<'a> {
    /// Finds the places of the chunks that the stream has not asked for; no time is looked up yet.
    fn new(stream: &Stream, correction: &'a Correction) -> Timeline<'a> {
        let finder = stream.finder.clone();
        let index = finder.dat.chunk_index(stream.cursor.clone());
        Timeline { finder, correction, cpu: stream.cpu, index, times: BTreeMap::new() }
    }

    /// How many places there are.
    fn len(&self) -> usize {
        self.index.len()
    }

    /// A walk from this place on; `None` is the start.
    fn cursor(&self, place: usize) -> Option<ChunkCursor> {
        if place == 0 { None } else { self.index.cursor(place) }
    }

    /// The time at which the chunk at this place begins.
    fn time(&mut self, place: usize) -> Option<u64> {
        if let Some(known) = self.times.get(&place) {
            return *known;
        }
        let time = self.look_up(place);
        self.times.insert(place, time);
        time
    }

    fn look_up(&self, place: usize) -> Option<u64> {
        let at = self.index.cursor(place)?.next(&self.finder.dat)?.ok()?;
        Some(self.correction.apply(begins(&self.finder, &at)?, self.cpu))
    }

    /// Whether times are in order, as far as `samples` of them spread over all places show, and all that were looked up.
    fn in_order(&mut self, samples: usize) -> bool {
        let last = self.len().saturating_sub(1);
        let samples = samples.min(self.len());
        for number in 0..samples {
            self.time((last * number).checked_div(samples - 1).unwrap_or(0));
        }
        self.known_in_order()
    }

    fn known_in_order(&self) -> bool {
        let times: Vec<Option<u64>> = self.times.values().copied().collect();
        times.windows(2).all(|pair| pair[0].is_some() && pair[0] <= pair[1]) && times.iter().all(Option::is_some)
    }

    /// How many places begin before `time`, if times are in order.
    fn places_before(&mut self, time: u64, samples: usize) -> Option<usize> {
        if !self.in_order(samples) {
            return None;
        }
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.time(middle)? < time {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.known_in_order().then_some(low)
    }

    /// Whether all chunks begin later than `time`, as far as a sample of them shows.
    fn is_later(&self, time: u64) -> bool {
        let samples = self.len().min(CPU_SAMPLES);
        let places = (0..samples).map(|number| ((self.len() - 1) * number).checked_div(samples - 1).unwrap_or(0));
        places.into_iter().all(|place| self.look_up(place).is_some_and(|begins| begins > time))
    }
}

/// Whether what `stream` has left is all later than `time`.
pub(super) fn rest_is_later(stream: &Stream, correction: &Correction, time: u64) -> bool {
    let begins_later =
        |at: ChunkAt| begins(&stream.finder, &at).is_some_and(|ticks| correction.apply(ticks, stream.cpu) > time);
    let mut records = stream.chunk.records.iter().skip(stream.at);
    records.all(|next| correction.apply(next.ticks, stream.cpu) > time)
        && stream.fetched_ahead().all(begins_later)
        && Timeline::new(stream, correction).is_later(time)
}

/// Ticks at which the first sub-buffer of a chunk begins.
fn begins(finder: &Finder, at: &ChunkAt) -> Option<u64> {
    let start = finder.dat.chunk_start(at, usize::from(finder.layout.data_offset))?;
    finder.layout.abi.u64(&start)
}

/// The timelines of all streams, in their order.
pub(super) struct Timelines<'a> {
    lines: Vec<Timeline<'a>>,
    samples: usize,
    threads: usize,
}

impl<'a> Timelines<'a> {
    /// Finds the places of all chunks.
    pub(super) fn new(streams: &[(u32, Stream)], lanes: &'a [Lane], threads: usize) -> Timelines<'a> {
        let slots: Vec<Mutex<Option<Timeline<'a>>>> = streams.iter().map(|_| Mutex::new(None)).collect();
        each(streams.len(), threads, |number| {
            let (lane, stream) = &streams[number];
            let line = Timeline::new(stream, &lanes[*lane as usize].correction);
            *lock(&slots[number]) = Some(line);
        });
        let lines = slots.into_iter().filter_map(|slot| slot.into_inner().unwrap_or_default()).collect();
        Timelines { lines, samples: (SAMPLES / streams.len().max(1)).clamp(8, CPU_SAMPLES), threads }
    }

    /// Per stream, how many places begin before `time`; `None` where times are not in order.
    fn places_before(&mut self, time: u64) -> Vec<Option<usize>> {
        let samples = self.samples;
        let slots: Vec<_> = self.lines.iter_mut().map(|line| Mutex::new((line, None))).collect();
        each(slots.len(), self.threads, |number| {
            let mut slot = lock(&slots[number]);
            slot.1 = slot.0.places_before(time, samples);
        });
        slots.into_iter().map(|slot| slot.into_inner().map_or(None, |slot| slot.1)).collect()
    }

    /// Where to begin to read so that no record from `time` on is missed.
    pub(super) fn starts(&mut self, time: u64) -> Starts {
        // The last chunk that begins before may reach beyond.
        let places = self.places_before(time);
        let start = |(line, place): (&Timeline<'_>, Option<usize>)| line.cursor(place?.saturating_sub(1));
        Starts(self.lines.iter().zip(places).map(start).collect())
    }

    /// A time that the last `back` places before `end` of at least one stream come after, and where to begin to read
    /// for it: early enough that also the record before is read. `None` if all has to be read.
    pub(super) fn back(&mut self, end: u64, back: usize) -> Option<(u64, Starts)> {
        let ends = self.places_before(end.saturating_add(1));
        let mut time = None;
        for (line, end) in self.lines.iter_mut().zip(ends) {
            if let Some(place) = end?.checked_sub(back).filter(|place| *place > 0) {
                time = time.max(line.time(place));
            }
        }
        let time = time?;
        let places = self.places_before(time);
        let mut starts = Vec::new();
        for (line, place) in self.lines.iter().zip(places) {
            starts.push(line.cursor(place?.saturating_sub(2)));
        }
        Some((time, Starts(starts)))
    }
}

/// Where each stream begins; `None` is its start.
#[derive(Clone, Default)]
pub(super) struct Starts(Vec<Option<ChunkCursor>>);

impl Starts {
    /// Lets the streams begin there.
    pub(super) fn apply(&self, streams: &mut [(u32, Stream)]) {
        for ((_, stream), start) in streams.iter_mut().zip(&self.0) {
            if let Some(cursor) = start {
                stream.start_at(cursor.clone());
            }
        }
    }
}

/// Calls `work` with each number below `count`, from several threads.
fn each(count: usize, threads: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let run = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            work(number);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(count) {
            scope.spawn(run);
        }
        run();
    });
}

#[cfg(test)]
mod tests {
    use crate::report::reading::select::Selection;
    use crate::report::reading::settings::ReadSettings;
    use crate::report::reading::testing::*;

    /// Chunks of three records each; the one at the place `early`, if any, has times of its own.
    fn pages(early: Option<usize>) -> Vec<Vec<u8>> {
        let start = |number: usize| if early == Some(number) { 5 } else { 1000 * (number as u64 + 1) };
        (0..40).map(|number| exits(&[start(number), start(number) + 1, start(number) + 2])).collect()
    }

    fn from(pages: &[Vec<u8>], from: u64, to: Option<u64>) -> Vec<u64> {
        let selection = Selection { from, ..Selection::default() };
        times_of(&lines(vec![made(&[(0, pages)])], ReadSettings { to, ..settings() }, &selection))
    }

    fn without_seeking(pages: &[Vec<u8>], from: u64) -> Vec<u64> {
        let all = lines(vec![made(&[(0, pages)])], settings(), &Selection::default());
        times_of(&all).into_iter().filter(|time| *time >= from).collect()
    }

    #[test]
    fn reading_from_a_time_gives_what_all_records_from_then_on_are() {
        let pages = pages(None);
        for time in [1, 1001, 20_000, 20_001, 20_002, 20_003, 40_000, 40_002, 40_003] {
            assert_eq!(from(&pages, time, None), without_seeking(&pages, time), "{time}");
        }
    }

    #[test]
    fn both_ends_are_part_of_what_is_wanted() {
        assert_eq!(from(&pages(None), 2001, Some(3000)), [2001, 2002, 3000]);
    }

    #[test]
    fn where_a_chunk_is_out_of_order_nothing_is_skipped() {
        for early in [1, 20, 39] {
            let pages = pages(Some(early));
            for time in [1, 3, 6, 25_000] {
                assert_eq!(from(&pages, time, None), without_seeking(&pages, time), "{early} {time}");
            }
        }
    }

    #[test]
    fn one_cpu_out_of_order_does_not_hold_up_the_others() {
        let (ordered, other) = (pages(None), pages(Some(20)));
        let input = || made(&[(0, &ordered), (1, &other)]);
        let selection = Selection { from: 25_000, ..Selection::default() };
        let found = times_of(&lines(vec![input()], settings(), &selection));
        let all = times_of(&lines(vec![input()], settings(), &Selection::default()));
        let wanted: Vec<u64> = all.into_iter().filter(|time| *time >= 25_000).collect();
        assert_eq!((found.len(), &found), (96, &wanted));
    }

    #[test]
    fn a_compressed_file_is_read_from_a_time_too() {
        let all = lines(vec![fixture("v7-zstd-events")], settings(), &Selection::default());
        for at in [1, 700, 1500] {
            let from = times_of(&all)[at];
            let selection = Selection { from, ..Selection::default() };
            assert_eq!(lines(vec![fixture("v7-zstd-events")], settings(), &selection), all[at..], "{at}");
        }
    }
}
