//! The thread that empties the rings, and writes down what it finds as it comes.
//!
//! Where only slow windows are kept, samples wait until it is known whether their window was slow. What waits is bounded.
//! ```text
//!   states: slow windows, open ones, known until here     then: rings emptied up to now
//!   a sample before that and in no open window is wanted if it is in a slow one, and else of no use
//! ```
//! The windows are asked for first, so that all samples of a window that is known to have been slow are in hand.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::address_spaces::Spaces;
use super::attach::Attached;
use super::event::{Body, Entry, Source};
use super::return_addresses::Returns;
use crate::record::file::section_files::AppendFile;
use crate::rt::window_states::{self, SharedWindowStates};
use crate::windows::samples::{Block, Sample};

/// How long records may wait in a ring.
const PERIOD_MS: u16 = 50;
/// How long what was found may wait to be written.
const WRITE_PERIOD: Duration = Duration::from_secs(1);
/// So many samples and switches are written without waiting.
const MANY: usize = 1 << 16;
/// So many may wait until their windows have ended: 20 MB.
const MOST_WAITING: usize = 1 << 19;

/// What was taken in all.
#[derive(Debug, Default)]
pub struct Total {
    /// Samples written.
    pub samples: u64,
    /// Records that the kernel had no room for.
    pub lost: u64,
    /// Samples whose stacks are not whole.
    pub incomplete: u64,
    /// Why some could not be written.
    pub failure: Option<io::Error>,
}

/// What is known of windows at a time, if only slow ones count.
#[derive(Debug, Default)]
struct Known {
    /// By thread: beginning and end.
    slow: HashMap<i32, Vec<(u64, u64)>>,
    /// By thread: the beginning of the oldest.
    open: HashMap<i32, u64>,
    /// Up to when.
    known_until: u64,
}

/// Whether a sample is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Wanted,
    Open,
    Useless,
}

impl Known {
    fn take(states: &SharedWindowStates, over: bool) -> Known {
        let mut states = window_states::lock(states);
        let mut slow: HashMap<i32, Vec<(u64, u64)>> = HashMap::new();
        std::mem::take(&mut states.slow)
            .into_iter()
            .for_each(|(tid, start, end)| slow.entry(tid).or_default().push((start, end)));
        match over {
            true => Known { slow, open: HashMap::new(), known_until: u64::MAX },
            false => Known { slow, open: states.open.clone(), known_until: states.known_until },
        }
    }

    fn fate(&self, time: u64, tid: i32) -> Fate {
        let inside = |windows: &Vec<(u64, u64)>| windows.iter().any(|(start, end)| (*start..=*end).contains(&time));
        let is_open = time >= self.known_until || self.open.get(&tid).is_some_and(|start| *start <= time);
        match self.slow.get(&tid).is_some_and(inside) {
            true => Fate::Wanted,
            false if is_open => Fate::Open,
            false => Fate::Useless,
        }
    }
}

/// The thread's work.
pub struct Work {
    spaces: Spaces,
    returns: Returns,
    /// Which windows were slow, if samples outside of them are of no use.
    states: Option<SharedWindowStates>,
    file: AppendFile,
    /// What came in this round.
    entries: Vec<Entry>,
    /// What is not written yet.
    samples: Vec<Sample>,
    outs: Vec<Sample>,
    switches: Vec<(u64, i32)>,
    /// Counts since the last block.
    since: Block,
    /// Processes of which a thread has ended.
    ended: HashSet<i32>,
    /// Whose word on a thread and CPU is taken: a thread may have an event of its own besides one that it was born with.
    sources: HashMap<i32, Vec<(bool, Source)>>,
    total: Total,
}

impl Work {
    /// Nothing done yet; `period` is the distance of samples, if any are taken.
    pub fn new(period: Option<Duration>, spaces: Spaces, states: Option<SharedWindowStates>, file: AppendFile) -> Work {
        let since = Block { period_ns: period.map_or(0, |period| period.as_nanos() as u64), ..Block::default() };
        Work {
            spaces,
            returns: Returns::default(),
            states,
            file,
            entries: Vec::new(),
            samples: Vec::new(),
            outs: Vec::new(),
            switches: Vec::new(),
            since,
            ended: HashSet::new(),
            sources: HashMap::new(),
            total: Total::default(),
        }
    }

    /// Works until it is told to stop, then takes the rest.
    pub fn run(&mut self, mut attached: Vec<Attached>, stop: &AtomicBool) {
        attached.iter_mut().for_each(|attached| self.entries.append(&mut attached.entries));
        let mut written = Instant::now();
        loop {
            let over = stop.load(Ordering::Acquire);
            let is_due = over
                || written.elapsed() >= WRITE_PERIOD
                || self.samples.len() + self.outs.len() + self.switches.len() > MANY;
            let states = if is_due { self.states.as_ref() } else { None };
            let known = states.map(|states| Known::take(states, over));
            self.take(&mut attached, if over { u64::MAX } else { window_states::now() });
            if is_due {
                written = Instant::now();
                self.write(known.as_ref());
            }
            if over {
                return;
            }
            let mut ready: Vec<PollFd<'_>> = attached
                .iter()
                .flat_map(|attached| &attached.rings)
                .map(|ring| PollFd::new(ring.as_fd(), PollFlags::POLLIN))
                .collect();
            // A ring whose threads have all ended is always ready.
            let _ = poll(&mut ready, PollTimeout::from(PERIOD_MS));
            if ready.iter().any(|fd| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))) {
                std::thread::sleep(Duration::from_millis(PERIOD_MS.into()));
            }
        }
    }

    /// Empties the rings. What is younger than the cut waits: another CPU may have written something before it.
    fn take(&mut self, attached: &mut [Attached], cut: u64) {
        for Attached { opening, rings, .. } in attached {
            rings.iter_mut().for_each(|ring| ring.take(|bytes| self.entries.extend(opening.parse(bytes))));
        }
        // A program's maps must be known before its samples, whichever CPU tells them.
        self.entries.sort_by_key(|entry| entry.time);
        let younger = self.entries.partition_point(|entry| entry.time <= cut);
        let younger = self.entries.split_off(younger);
        for entry in std::mem::replace(&mut self.entries, younger) {
            self.one(entry);
        }
    }

    fn one(&mut self, entry: Entry) {
        let leaving = matches!(entry.body, Body::Out(_));
        let counts = leaving || matches!(entry.body, Body::Sample(_) | Body::In);
        if counts && !self.is_heard(entry.tid, (leaving, entry.source)) {
            return;
        }
        let place = entry.place();
        match entry.body {
            Body::Map(map) => self.spaces.map(entry.pid, map),
            Body::Exec => self.spaces.exec(entry.pid),
            Body::Fork { parent } => self.spaces.fork(parent, entry.pid),
            Body::Exit => {
                self.ended.insert(entry.pid);
                self.sources.remove(&entry.tid);
                self.returns.forget(entry.tid);
            }
            Body::Called { at, address } => self.returns.called(entry.tid, at, address),
            Body::In => self.switches.push((entry.time, entry.tid)),
            Body::Lost(count) => self.since.lost += count,
            Body::Born { .. } => {}
            Body::Sample(taken) => {
                let hidden = |place| self.returns.at(entry.tid, place);
                let (stack, whole) = self.spaces.stack(entry.pid, &taken, hidden);
                self.since.incomplete += u64::from(!whole);
                self.samples.push(Sample { stack, ..place });
            }
            Body::Out(taken) => {
                let hidden = |place| self.returns.at(entry.tid, place);
                let (stack, _) = self.spaces.stack(entry.pid, &taken, hidden);
                self.outs.push(Sample { stack, ..place });
            }
        }
    }

    /// Of two events on one CPU the first that told of a thread is heard.
    fn is_heard(&mut self, tid: i32, source: (bool, Source)) -> bool {
        let known = self.sources.entry(tid).or_default();
        match known.iter().find(|known| (known.0, known.1.cpu) == (source.0, source.1.cpu)) {
            Some(known) => *known == source,
            None => {
                known.push(source);
                true
            }
        }
    }

    /// Writes what is wanted; what may be wanted yet goes on waiting.
    fn write(&mut self, known: Option<&Known>) {
        let fate = |time, tid| known.map_or(Fate::Wanted, |known| known.fate(time, tid));
        let samples = sorted_out(&mut self.samples, |sample| fate(sample.time, sample.tid));
        let outs = sorted_out(&mut self.outs, |sample| fate(sample.time, sample.tid));
        let switches = sorted_out(&mut self.switches, |(time, tid)| fate(*time, *tid));
        let forgotten = drop_oldest(&mut self.samples) + drop_oldest(&mut self.outs) + drop_oldest(&mut self.switches);
        self.since.forgotten += forgotten as u64;
        let ended = std::mem::take(&mut self.ended);
        self.spaces.forget_ended(&ended);
        if samples.is_empty() && outs.is_empty() && switches.is_empty() && self.since.lost == 0 {
            return;
        }
        self.put(samples, outs, switches);
    }

    fn put(&mut self, mut samples: Vec<Sample>, mut outs: Vec<Sample>, switches: Vec<(u64, i32)>) {
        let count = samples.len();
        // The tables are to keep what waits, too.
        let mut all = [&mut samples, &mut outs, &mut self.samples, &mut self.outs];
        let tables = self.spaces.tables(&mut all);
        let Block { period_ns, lost, incomplete, forgotten, .. } = self.since;
        let block = Block { period_ns, lost, incomplete, forgotten, switches, ..tables.block(samples, outs) };
        match self.file.add(&block.encode()) {
            Ok(()) => {
                self.since = Block { period_ns, ..Block::default() };
                self.total.samples += count as u64;
                self.total.lost += lost;
                self.total.incomplete += incomplete;
            }
            Err(error) => {
                self.since.forgotten += (count + block.outs.len() + block.switches.len()) as u64;
                self.total.failure.get_or_insert(error);
                // What the block had of names is written again.
                self.spaces.begin_anew(&mut [&mut self.samples, &mut self.outs]);
            }
        }
    }

    /// What was done.
    pub fn into_total(self) -> Total {
        self.total
    }
}

/// Takes out what is wanted and drops what is of no use.
fn sorted_out<T: Copy>(waiting: &mut Vec<T>, fate: impl Fn(&T) -> Fate) -> Vec<T> {
    let mut wanted = Vec::new();
    waiting.retain(|one| {
        let fate = fate(one);
        wanted.extend((fate == Fate::Wanted).then_some(*one));
        fate == Fate::Open
    });
    wanted
}

/// Drops the oldest of what would wait, and tells how many.
fn drop_oldest<T>(waiting: &mut Vec<T>) -> usize {
    let too_many = waiting.len().saturating_sub(MOST_WAITING);
    waiting.drain(..too_many);
    too_many
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::sampling::event::Taken;
    use crate::windows::samples::Samples;

    fn work(folder: &tempfile::TempDir, states: Option<SharedWindowStates>) -> Work {
        let file = AppendFile::create(&folder.path().join("samples")).unwrap();
        Work::new(Some(Duration::from_millis(1)), Spaces::new(), states, file)
    }

    fn sampled(work: &mut Work, time: u64, tid: i32) {
        let taken = Taken { kernel: vec![0xffff_ffff_8100_0000], ..Taken::default() };
        let source = Source::default();
        work.one(Entry { time, pid: 1, tid, source, body: Body::Sample(Box::new(taken)) });
        work.one(Entry { time, pid: 1, tid, source, body: Body::In });
    }

    fn stored(folder: &tempfile::TempDir) -> Samples {
        Samples::decode(&std::fs::read(folder.path().join("samples")).unwrap())
    }

    #[test]
    fn samples_wait_until_their_windows_are_known_to_be_slow_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let states = SharedWindowStates::default();
        let mut work = work(&folder, Some(SharedWindowStates::clone(&states)));
        for (time, tid) in [(10, 1), (11, 2), (12, 3), (30, 1), (31, 3), (90, 2)] {
            sampled(&mut work, time, tid);
        }
        {
            let mut states = window_states::lock(&states);
            (states.known_until, states.slow) = (50, vec![(1, 5, 20)]);
            states.open.insert(3, 20);
        }
        work.write(Some(&Known::take(&states, false)));
        let times = |work: &Work| work.samples.iter().map(|sample| (sample.time, sample.tid)).collect::<Vec<_>>();
        assert_eq!(times(&work), [(31, 3), (90, 2)], "in an open window, and not looked at yet");
        assert_eq!(stored(&folder).samples.iter().map(|sample| sample.time).collect::<Vec<_>>(), [10]);
        window_states::lock(&states).slow = vec![(3, 20, 60)];
        work.write(Some(&Known::take(&states, true)));
        let all = stored(&folder);
        assert_eq!(all.samples.iter().map(|sample| sample.time).collect::<Vec<_>>(), [10, 31]);
        assert_eq!(all.switches, [(10, 1), (31, 3)]);
        assert!(work.samples.is_empty() && work.switches.is_empty());
        assert_eq!(work.into_total().samples, 2);
    }

    #[test]
    fn of_two_events_of_a_thread_one_counts() {
        let folder = tempfile::tempdir().unwrap();
        let mut work = work(&folder, None);
        let entry = |time, tid, id, cpu, body| Entry { time, pid: 1, tid, source: Source { id, cpu }, body };
        let sample = |time, tid, id, cpu| entry(time, tid, id, cpu, Body::Sample(Box::default()));
        work.one(sample(1, 7, 100, 0));
        work.one(sample(2, 7, 200, 0));
        work.one(sample(3, 7, 201, 1));
        work.one(entry(4, 7, 500, 0, Body::Out(Box::default())));
        work.one(sample(4, 8, 200, 0));
        work.one(entry(5, 7, 0, 0, Body::Exit));
        work.one(sample(6, 7, 300, 0));
        assert_eq!(work.samples.iter().map(|sample| sample.time).collect::<Vec<_>>(), [1, 3, 4, 6]);
        assert_eq!(work.outs.len(), 1, "another sort of event is another matter");
    }

    #[test]
    fn what_waits_is_bounded_and_what_does_not_fit_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let states = SharedWindowStates::default();
        window_states::lock(&states).open.insert(1, 0);
        let mut work = work(&folder, Some(SharedWindowStates::clone(&states)));
        (0..MOST_WAITING as u64 + 7).for_each(|time| sampled(&mut work, time, 1));
        work.write(Some(&Known::take(&states, false)));
        assert_eq!((work.samples.len(), work.switches.len()), (MOST_WAITING, MOST_WAITING));
        window_states::lock(&states).slow = vec![(1, 0, u64::MAX)];
        work.write(Some(&Known::take(&states, true)));
        let all = stored(&folder);
        assert_eq!((all.samples.len(), all.forgotten, all.samples[0].time), (MOST_WAITING, 14, 7));
    }

    #[test]
    fn a_disk_that_is_full_for_a_while_costs_only_what_came_then() {
        let folder = tempfile::tempdir().unwrap();
        let mut work = work(&folder, None);
        sampled(&mut work, 1, 1);
        work.write(None);
        let good = std::mem::replace(&mut work.file, AppendFile::refusing());
        sampled(&mut work, 2, 1);
        work.write(None);
        work.file = good;
        sampled(&mut work, 3, 1);
        work.write(None);
        let all = stored(&folder);
        assert_eq!(all.samples.iter().map(|sample| sample.time).collect::<Vec<_>>(), [1, 3]);
        assert_eq!((all.forgotten, all.torn), (2, 0));
        assert!(all.stacks.len() == 2 && all.samples[1].stack == 1, "the last block stands for itself");
        assert!(work.into_total().failure.is_some());
    }
}
