//! Waiting for slow windows, and taking what the snapshots have of them.
//!
//! ```text
//!   slow window told ──> has the kernel taken a snapshot?  ──yes──> take it
//!                           │ no, or it does not have all         │
//!                           └──> let it take none; swap by hand; take that <──┘ windows that are not in it
//!                        ──> let it take the next one
//! ```
//! A window that is in neither has been overwritten.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::super::cpu::CpuHarvest;
use super::super::sift::{PAUSE, SLACK_NS, STATUS_PERIOD, Sifter};
use super::super::signals;
use super::super::watch::Watch;
use super::{Judge, Slow};
use crate::tracefs;
use crate::windows::{InKernel, Unrecorded};

impl Sifter {
    /// Works until `stop` becomes readable.
    pub(in crate::record) fn run_in_kernel(
        mut self,
        mut judge: Judge,
        stop: BorrowedFd<'_>,
        watch: &dyn Watch,
    ) -> io::Result<Vec<CpuHarvest>> {
        let mut said = Instant::now();
        loop {
            let over = signals::is_ready(stop);
            let slow = judge.slow()?;
            if !slow.is_empty() {
                self.capture(&judge, slow)?;
            }
            let asked = self.is_asked();
            if over {
                self.write(u64::MAX)?;
            }
            if over || asked || said.elapsed() >= STATUS_PERIOD {
                said = Instant::now();
                self.count(&judge, over)?;
                // Nobody keeps anything back for windows that are open.
                self.tell(u64::MAX);
            }
            if asked {
                self.say(watch);
            }
            if over {
                break;
            }
            let told = || [stop].into_iter().chain(self.asks());
            signals::sleep_on(&told().collect::<Vec<_>>(), Some(PAUSE))?;
            let slow = judge.told.iter().map(AsFd::as_fd);
            signals::sleep_on(&told().chain(slow).collect::<Vec<_>>(), Some(STATUS_PERIOD))?;
        }
        self.harvest()
    }

    /// Takes the snapshots that have these windows.
    fn capture(&mut self, judge: &Judge, mut slow: Vec<Slow>) -> io::Result<()> {
        let slack = Duration::from_nanos(SLACK_NS);
        let missing = |slow: &mut Vec<Slow>, found: HashSet<(i32, u64)>| {
            slow.retain(|one| !found.contains(&(one.tid, one.start)));
        };
        std::thread::sleep(slack);
        let fired = judge.has_fired().map_err(cause)?;
        if fired {
            let found = self.snapshot()?;
            missing(&mut slow, found);
        }
        if !slow.is_empty() {
            if !fired {
                judge.disarm().map_err(cause)?;
                // It may have been taken just before.
                let found = self.snapshot()?;
                missing(&mut slow, found);
            }
            if !slow.is_empty() {
                judge.snap().map_err(cause)?;
                std::thread::sleep(slack);
                let found = self.snapshot()?;
                missing(&mut slow, found);
            }
        }
        if fired {
            judge.disarm().map_err(cause)?;
        }
        judge.arm().map_err(cause)?;
        let lost = slow.iter().map(|slow| Unrecorded {
            tid: slow.tid,
            start: slow.start,
            end: slow.end,
            definition: slow.definition,
        });
        self.own().unrecorded.extend(lost);
        Ok(())
    }

    fn snapshot(&mut self) -> io::Result<HashSet<(i32, u64)>> {
        self.own().snapshots += 1;
        self.take_snapshot()
    }

    fn own(&mut self) -> &mut InKernel {
        self.counts().in_kernel.get_or_insert_default()
    }

    /// Takes over what the kernel has counted.
    fn count(&mut self, judge: &Judge, over: bool) -> io::Result<()> {
        let figures = judge.figures().map_err(cause)?;
        let before = self.own().emptied;
        let counts = self.counts();
        counts.kinds = figures.kinds.into_iter().collect();
        if before == 0 {
            // The tables that tell these are emptied with the others.
            (counts.open, counts.discarded) = (figures.open, figures.discarded);
        }
        self.own().unseen = self.own().unseen.max(figures.unseen);
        if figures.full && !over {
            judge.empty_tables().map_err(|error| io::Error::other(error.to_string()))?;
            self.own().emptied += 1;
        }
        Ok(())
    }
}

/// The system's answer, with the file it was about.
fn cause(error: tracefs::Error) -> io::Error {
    io::Error::new(error.source.kind(), error.to_string())
}
