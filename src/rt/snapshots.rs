//! Waiting for slow windows, and taking what the snapshots have of them.
//!
//! ```text
//!   slow window slow_windows ──> has the kernel taken a snapshot?  ──yes──> take it
//!                           │ no, or it does not have all         │
//!                           └──> let it take none; swap by hand; take that <──┘ windows that are not in it
//!                        ──> let it take the next one
//! ```
//! A window that is in none of several snapshots has been overwritten.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::in_kernel::{Judge, Slow};
use super::note::{Note, WindowObserver};
use super::only_slow::{EARLY_NS, PAUSE, SLACK_NS, STATUS_PERIOD, SlowFilter};
use crate::record::capture::signals;
use crate::record::taken::{CpuResult, ReaderCounters};
use crate::tracefs;
use crate::windows::{InKernel, Unrecorded};

/// How often the tables of threads are looked at: a thousand births a second fill what is kept free.
const TABLES_PERIOD: Duration = Duration::from_secs(4);

/// Thread and start of windows that are in a snapshot, until the kernel has slow_windows them: a snapshot may have more than were
/// slow_windows when it was taken.
#[derive(Default)]
struct Found(BTreeSet<(i32, u64)>);

/// More are there only if what the kernel slow_windows was lost.
const MAX_FOUND: usize = 1 << 16;

impl Found {
    /// Those that are in no snapshot so far.
    fn missing(&mut self, mut slow: Vec<Slow>) -> Vec<Slow> {
        slow.retain(|one| !self.0.remove(&(one.tid, one.start)));
        if self.0.len() > MAX_FOUND {
            self.0.clear();
        }
        slow
    }

    /// The same in the end, when nobody else can be meant by a window that began nearly then.
    fn lost(&mut self, mut slow: Vec<Slow>) -> Vec<Slow> {
        slow = self.missing(slow);
        slow.retain(|one| {
            let near = (one.tid, one.start.saturating_sub(EARLY_NS))..=(one.tid, one.start + EARLY_NS);
            let nearest = self.0.range(near).min_by_key(|(_, start)| start.abs_diff(one.start)).copied();
            !nearest.is_some_and(|nearest| self.0.remove(&nearest))
        });
        slow
    }
}

/// Works until `stop` becomes readable.
pub(super) fn run(
    mut filter: SlowFilter,
    mut judge: Judge,
    stop: BorrowedFd<'_>,
    counters: &[ReaderCounters],
    observer: &dyn WindowObserver,
) -> io::Result<Vec<CpuResult>> {
    let (mut said, mut looked) = (Instant::now(), Instant::now());
    let (mut found, mut late) = (Found::default(), Vec::new());
    loop {
        let over = signals::is_ready(stop);
        let slow = found.missing(judge.slow()?);
        if !slow.is_empty() || !late.is_empty() {
            late = filter.capture(&judge, slow, late, &mut found)?;
        }
        if over && !late.is_empty() {
            filter.capture(&judge, Vec::new(), std::mem::take(&mut late), &mut found)?;
        }
        let asked = filter.is_usr1_pending();
        if over {
            filter.write(u64::MAX)?;
        }
        filter.update_counters(counters);
        if over || asked || said.elapsed() >= STATUS_PERIOD {
            said = Instant::now();
            // Whoever looks at a running session wants to see what is there.
            filter.release_settled()?;
            filter.count(&judge)?;
            if over || asked || looked.elapsed() >= TABLES_PERIOD {
                looked = Instant::now();
                filter.look_at_tables(&mut judge, over)?;
            }
            // Nobody keeps anything back for windows that are open.
            filter.publish(u64::MAX)?;
        }
        if asked {
            filter.answer_usr1(observer);
        }
        if over {
            break;
        }
        let fds = || [stop].into_iter().chain(filter.wake_fds());
        signals::sleep_on(&fds().collect::<Vec<_>>(), Some(PAUSE))?;
        let slow = judge.wake_fds();
        signals::sleep_on(&fds().chain(slow).collect::<Vec<_>>(), Some(STATUS_PERIOD))?;
    }
    let overwritten = filter.in_kernel().unrecorded.len();
    if overwritten > 0 {
        observer.window_note(Note::WindowsOverwritten(overwritten));
    }
    filter.into_results(0)
}

impl SlowFilter {
    /// Takes the snapshots that have these windows, and returns those that are in none of them: a writer that was stopped
    /// in the middle of a record completes it when the snapshot has been read, so there is a second try, for `late`.
    fn capture(&mut self, judge: &Judge, slow: Vec<Slow>, late: Vec<Slow>, found: &mut Found) -> io::Result<Vec<Slow>> {
        let slack = Duration::from_nanos(SLACK_NS);
        std::thread::sleep(slack);
        let fired = judge.has_fired().map_err(cause)?;
        if fired {
            self.in_kernel().snapshots += 1;
        } else {
            // The kernel may do so just now.
            judge.disarm().map_err(cause)?;
        }
        found.0.extend(self.take_snapshot()?);
        let (mut slow, mut late) = (found.missing(slow), found.missing(late));
        if !slow.is_empty() || !late.is_empty() {
            judge.snap().map_err(cause)?;
            self.in_kernel().snapshots += 1;
            std::thread::sleep(slack);
            found.0.extend(self.take_snapshot()?);
            (slow, late) = (found.missing(slow), found.missing(late));
        }
        if fired {
            judge.disarm().map_err(cause)?;
        }
        judge.arm().map_err(cause)?;
        let lost = found.lost(late).into_iter().map(|slow| Unrecorded {
            tid: slow.tid,
            start: slow.start,
            end: slow.end,
            definition: slow.definition,
        });
        self.in_kernel().unrecorded.extend(lost);
        Ok(slow)
    }

    fn in_kernel(&mut self) -> &mut InKernel {
        self.counts().in_kernel.get_or_insert_default()
    }

    /// Takes over what the kernel has counted.
    fn count(&mut self, judge: &Judge) -> io::Result<()> {
        self.counts().kinds = judge.figures().map_err(cause)?.into_iter().collect();
        Ok(())
    }

    /// Looks after the tables of threads.
    fn look_at_tables(&mut self, judge: &mut Judge, over: bool) -> io::Result<()> {
        let tables = judge.tables().map_err(cause)?;
        self.in_kernel().unseen = tables.unseen + tables.members_unseen;
        let counts = self.counts();
        let closed: u64 = counts.kinds.values().map(|tally| tally.closed).sum();
        counts.discarded = tables.discarded;
        counts.open = tables.began.saturating_sub(closed + tables.discarded);
        if tables.full && !over {
            judge.empty_tables().map_err(|error| io::Error::other(error.to_string()))?;
            self.in_kernel().emptied += 1;
        }
        Ok(())
    }
}

/// The system's answer, with the file it was about.
fn cause(error: tracefs::Error) -> io::Error {
    io::Error::new(error.source.kind(), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(tid: i32, start: u64) -> Slow {
        Slow { definition: 0, tid, start, end: start + 5 }
    }

    #[test]
    fn a_window_that_is_in_a_snapshot_is_not_lost_though_its_record_is_early() {
        let starts = [6_448_258_177, 6_448_300_000];
        let mut found = Found(starts.map(|start| (168, start)).into());
        let slow_windows = vec![slow(168, 6_448_262_504), slow(168, 6_448_300_000), slow(7, 6_448_258_177)];
        let late = found.missing(slow_windows);
        assert_eq!(late, [slow(168, 6_448_262_504), slow(7, 6_448_258_177)]);
        assert_eq!(found.lost(late), [slow(7, 6_448_258_177)]);
        assert!(found.0.is_empty());
    }
}
