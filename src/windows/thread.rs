//! One thread: what it is doing, where its time went, and what it did since its oldest open window began.

use std::collections::VecDeque;

use super::TimeSplit;
use super::steps::{Step, Steps};
use crate::wire::record::Record;

/// What a thread is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Nobody has said yet.
    #[default]
    Unknown,
    Running,
    Runnable,
    Blocked,
}

/// A window that is open.
#[derive(Clone, Debug)]
pub(super) struct OpenWindow {
    pub(super) definition: usize,
    pub(super) label: Option<String>,
    pub(super) start: u64,
    pub(super) threshold: u64,
    /// Where the time had gone when it began.
    pub(super) before: TimeSplit,
    /// Number of its first step.
    pub(super) first: u64,
    /// From which stream that was, and its bytes: the one record that is never dropped.
    pub(super) start_record: (u32, Box<[u8]>),
    /// Steps dropped up to its beginning.
    pub(super) dropped: u64,
    pub(super) lost: u64,
}

/// Records of a thread, bounded.
#[derive(Debug, Default)]
struct StepLog {
    steps: VecDeque<Step>,
    bytes: Vec<u8>,
    /// Bytes that are gone from the front.
    base: u64,
    /// Number of the first step.
    first: u64,
    /// Steps that were dropped for want of room.
    dropped: u64,
}

impl StepLog {
    fn next(&self) -> u64 {
        self.first + self.steps.len() as u64
    }

    fn push(&mut self, time: u64, stream: u32, data: &[u8], max: usize) {
        let at = self.base + self.bytes.len() as u64;
        self.bytes.extend_from_slice(data);
        self.steps.push_back(Step { time, stream, at, len: data.len() as u32 });
        if self.size() > max {
            // A quarter at once, lest every record moves all of them.
            while self.size() > max / 4 * 3 && self.steps.len() > 1 {
                self.steps.pop_front();
                self.first += 1;
                self.dropped += 1;
            }
            self.trim();
        }
    }

    /// What is held: the bytes of steps that are still there, and the steps.
    fn size(&self) -> usize {
        let front = self.steps.front().map_or(self.base + self.bytes.len() as u64, |step| step.at);
        (self.base + self.bytes.len() as u64 - front) as usize + self.steps.len() * size_of::<Step>()
    }

    fn trim(&mut self) {
        let front = self.steps.front().map_or(self.base + self.bytes.len() as u64, |step| step.at);
        self.bytes.drain(..(front - self.base) as usize);
        self.base = front;
    }

    /// Nobody needs what came before.
    fn forget(&mut self) {
        self.first += self.steps.len() as u64;
        self.base += self.bytes.len() as u64;
        self.steps.clear();
        self.bytes.clear();
        // A thread that once had a long window gives the room back.
        if self.bytes.capacity() > 1 << 16 {
            (self.bytes, self.steps) = (Vec::new(), VecDeque::new());
        }
    }

    /// A copy of the steps from number `first` on.
    fn copy(&self, first: u64) -> Steps {
        let skip = first.saturating_sub(self.first) as usize;
        let from = self.steps.get(skip).map_or(self.base + self.bytes.len() as u64, |step| step.at);
        let steps = self.steps.iter().skip(skip).map(|step| Step { at: step.at - from, ..*step }).collect();
        Steps { steps, bytes: self.bytes[(from - self.base) as usize..].to_vec() }
    }
}

#[derive(Debug, Default)]
pub(super) struct Thread {
    pub(super) state: State,
    since: u64,
    time_split: TimeSplit,
    /// Interrupts inside each other.
    depth: u32,
    pub(super) open: Vec<OpenWindow>,
    log: StepLog,
    /// The last record kept.
    kept: u64,
    /// It waits because it was woken, not because it was preempted.
    woken: bool,
    /// A marker system call was seen to begin.
    pub(super) magic: bool,
}

impl Thread {
    /// Counts the time up to now for what the thread was doing.
    fn add_time(&mut self, now: u64) {
        let time = now.saturating_sub(self.since);
        self.since = self.since.max(now);
        match self.state {
            State::Unknown => {}
            State::Running => {
                self.time_split.on_cpu += time;
                self.time_split.interrupts += if self.depth > 0 { time } else { 0 };
            }
            State::Runnable => self.time_split.runnable += time,
            State::Blocked => self.time_split.blocked += time,
        }
    }

    pub(super) fn time_split(&mut self, now: u64) -> TimeSplit {
        self.add_time(now);
        self.time_split
    }

    pub(super) fn set_state(&mut self, state: State, now: u64) {
        self.add_time(now);
        self.state = state;
        self.depth = 0;
        self.woken = false;
    }

    pub(super) fn is_runnable(&self) -> bool {
        self.state == State::Runnable
    }

    /// Whether it waits because it was woken.
    pub(super) fn was_woken(&self) -> bool {
        self.woken
    }

    /// When it began not to run; `None` if it runs.
    pub(super) fn away_since(&self) -> Option<u64> {
        matches!(self.state, State::Runnable | State::Blocked).then_some(self.since)
    }

    /// It does something, so it runs.
    pub(super) fn runs(&mut self, now: u64) {
        if self.state != State::Running {
            self.set_state(State::Running, now);
        }
    }

    pub(super) fn woken(&mut self, now: u64) {
        if self.state == State::Blocked {
            self.set_state(State::Runnable, now);
            self.woken = true;
        }
    }

    pub(super) fn interrupt(&mut self, begins: bool, now: u64) {
        self.add_time(now);
        self.depth = if begins { self.depth + 1 } else { self.depth.saturating_sub(1) };
    }

    /// It is where no interrupt is.
    pub(super) fn no_interrupt(&mut self, now: u64) {
        self.add_time(now);
        self.depth = 0;
    }

    /// Keeps a record, once; returns its number among the thread's.
    pub(super) fn push(&mut self, serial: u64, record: &Record<'_>, stream: u32, max: usize) -> u64 {
        if self.kept != serial {
            self.kept = serial;
            self.log.push(record.ticks, stream, record.data, max);
        }
        self.log.next() - 1
    }

    pub(super) fn dropped(&self) -> u64 {
        self.log.dropped
    }

    /// A copy of what was done in a window.
    pub(super) fn steps_of(&self, open: &OpenWindow) -> Steps {
        let mut steps = self.log.copy(open.first);
        if self.log.first > open.first {
            let (stream, data) = &open.start_record;
            let at = steps.bytes.len() as u64;
            steps.bytes.extend_from_slice(data);
            steps.steps.insert(0, Step { time: open.start, stream: *stream, at, len: data.len() as u32 });
        }
        steps
    }

    /// Lets go of steps that no open window needs.
    pub(super) fn drop_unneeded(&mut self) {
        if self.open.is_empty() {
            self.log.forget();
            self.kept = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_to_what_the_thread_was_doing() {
        let mut thread = Thread::default();
        thread.runs(100);
        thread.interrupt(true, 110);
        thread.interrupt(true, 112);
        thread.interrupt(false, 114);
        thread.interrupt(false, 115);
        thread.set_state(State::Blocked, 120);
        thread.woken(150);
        thread.woken(155);
        thread.runs(160);
        let wanted = TimeSplit { on_cpu: 60, blocked: 30, runnable: 10, interrupts: 5 };
        assert_eq!(thread.time_split(200), wanted);
        assert_eq!(wanted.total(), 100);
    }

    #[test]
    fn the_oldest_steps_go_when_there_is_no_room() {
        let mut log = StepLog::default();
        for n in 0..100_u8 {
            log.push(n.into(), 0, &[n; 10], 1000);
        }
        assert!(log.size() <= 1000 && log.dropped > 0);
        assert_eq!(log.first, log.dropped);
        let all = log.copy(0);
        assert_eq!(all.steps.len() as u64 + log.dropped, 100);
        assert_eq!(all.iter().last().unwrap().2, [99; 10]);
        assert_eq!(log.copy(98).iter().map(|(time, ..)| time).collect::<Vec<_>>(), [98, 99]);
        log.forget();
        assert_eq!((log.next(), log.copy(0).steps.len()), (100, 0));
    }
}
