//! The priority of the readers.
//!
//! Owns: raising it, and giving it up for a while when a reader takes more of its CPU than it should.
//! Units: shares of one CPU's time, 0 to 1.
//!
//! A buffer is emptied in time only if its reader runs when it wakes. At the lowest real-time priority it does, on the
//! CPU whose buffer it empties: whoever fills that buffer waits meanwhile. So that no machine can be starved by its
//! recorder, a reader that needs most of its CPU is scheduled like everybody else until it needs less.

use std::io;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::record::error::Error;

/// The priority that readers have when nothing was said: after every other real-time task.
const DEFAULT_PRIORITY: u32 = 1;
/// The most of a CPU that a reader may take at the usual priority.
const LARGEST_SHARE: f64 = 0.8;
/// Below this share a reader that was lowered is raised again.
const MODEST_SHARE: f64 = 0.6;
/// Over which time the share is measured.
const PERIOD: Duration = Duration::from_millis(500);
/// What a reader that may not be real-time asks for.
const NICE: libc::c_int = -10;

/// Says whether the readers may have this priority, before anything is changed.
pub fn check(priority: Option<u32>) -> Result<(), Error> {
    let Some(priority) = priority.filter(|&priority| priority > 0) else { return Ok(()) };
    // A thread of its own, so that this one stays what it is.
    let tried = std::thread::spawn(move || apply(Some(priority))).join();
    tried
        .unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
        .map_err(|source| Error::Priority { priority, source })
}

/// Gives the calling thread its priority: SCHED_FIFO for 1 to 99. Without one the scheduling stays as it is.
pub fn apply(priority: Option<u32>) -> io::Result<()> {
    match priority {
        None | Some(0) => Ok(()),
        Some(priority) => schedule(libc::SCHED_FIFO, priority),
    }
}

/// Asks for more time for the calling thread than others get, where that is permitted: what it does not take in time is lost.
pub fn raise_nice() {
    be_nice(NICE);
}

/// How a reader's thread is scheduled. Lives in that thread.
#[derive(Debug)]
pub struct ReaderScheduling {
    /// Where the thread may run when it is not raised; `None`: its priority is left alone.
    allowed_cpus: Option<CpuSet>,
    /// The CPU whose buffer it empties; `None`: it empties several.
    cpu: Option<u32>,
    raised: bool,
    since: Instant,
    used: Duration,
    /// How often it was lowered.
    pub lowered: u64,
}

impl ReaderScheduling {
    /// Takes the priority that was asked for, or the usual one as far as it is permitted.
    pub fn new(asked: Option<u32>, cpu: Option<u32>) -> io::Result<ReaderScheduling> {
        let mut scheduling = ReaderScheduling {
            allowed_cpus: None,
            cpu,
            raised: false,
            since: Instant::now(),
            used: used(),
            lowered: 0,
        };
        match asked {
            Some(_) => apply(asked)?,
            None => {
                scheduling.allowed_cpus = sched_getaffinity(Pid::from_raw(0)).ok();
                scheduling.raise();
                if !scheduling.raised {
                    scheduling.allowed_cpus = None;
                    be_nice(NICE);
                }
            }
        }
        Ok(scheduling)
    }

    /// To be called now and then: looks at what the thread has used, and lowers or raises it.
    pub fn update(&mut self, now: Instant) {
        let passed = now.duration_since(self.since);
        if self.allowed_cpus.is_none() || passed < PERIOD {
            return;
        }
        let used = used();
        let share = used.saturating_sub(self.used).as_secs_f64() / passed.as_secs_f64();
        (self.since, self.used) = (now, used);
        self.raise_or_lower(share);
    }

    /// Lowers or raises the thread after it has taken this share of a CPU.
    fn raise_or_lower(&mut self, share: f64) {
        if self.raised && share > LARGEST_SHARE {
            self.lower();
        } else if !self.raised && share < MODEST_SHARE {
            self.raise();
        }
    }

    fn raise(&mut self) {
        self.raised = schedule(libc::SCHED_FIFO, DEFAULT_PRIORITY).is_ok();
        if let (true, Some(cpu), Some(allowed_cpus)) = (self.raised, self.cpu, &self.allowed_cpus) {
            pin(cpu, allowed_cpus);
        }
    }

    fn lower(&mut self) {
        self.raised = schedule(libc::SCHED_OTHER, 0).is_err();
        self.lowered += 1;
        if let Some(allowed_cpus) = &self.allowed_cpus {
            // A set of CPUs that is gone: the kernel has chosen another.
            let _ = sched_setaffinity(Pid::from_raw(0), allowed_cpus);
        }
    }
}

/// Keeps the calling thread on a CPU, if that is one of those it may use.
fn pin(cpu: u32, allowed_cpus: &CpuSet) {
    let mut one = CpuSet::new();
    let cpu = cpu as usize;
    if allowed_cpus.is_set(cpu).unwrap_or(false) && one.set(cpu).is_ok() {
        // A CPU that was just unplugged: the thread runs wherever the kernel puts it.
        let _ = sched_setaffinity(Pid::from_raw(0), &one);
    }
}

/// Time the calling thread has run.
fn used() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

fn schedule(policy: libc::c_int, priority: u32) -> io::Result<()> {
    let priority = i32::try_from(priority).map_err(io::Error::other)?;
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: the call reads the parameter, which outlives it; 0 is the calling thread.
    match unsafe { libc::sched_setscheduler(0, policy, &parameter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Asks for more time than others get, where that is permitted.
fn be_nice(nice: libc::c_int) {
    // SAFETY: the call takes plain numbers; 0 is the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_takes_all_of_its_cpu_is_lowered_and_comes_back() {
        let cpus = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let cpu = (0..CpuSet::count()).find(|&cpu| cpus.is_set(cpu).unwrap()).unwrap() as u32;
        std::thread::spawn(move || {
            let mut scheduling = ReaderScheduling::new(None, Some(cpu)).unwrap();
            let Some(allowed_cpus) = scheduling.allowed_cpus else {
                // Not permitted here: then nothing is ever changed.
                scheduling.update(Instant::now() + 2 * PERIOD);
                assert!(!scheduling.raised && scheduling.lowered == 0);
                return;
            };
            // SAFETY: the call takes a plain number; 0 is the calling thread.
            let policy = || unsafe { libc::sched_getscheduler(0) };
            let places = || sched_getaffinity(Pid::from_raw(0)).unwrap();
            assert_eq!(policy(), libc::SCHED_FIFO);
            assert!(places().is_set(cpu as usize).unwrap());
            scheduling.raise_or_lower(0.5);
            assert_eq!((policy(), scheduling.lowered), (libc::SCHED_FIFO, 0));
            scheduling.raise_or_lower(0.9);
            assert_eq!((policy(), places(), scheduling.lowered), (libc::SCHED_OTHER, allowed_cpus, 1));
            scheduling.raise_or_lower(0.7);
            assert_eq!(policy(), libc::SCHED_OTHER);
            scheduling.raise_or_lower(0.1);
            assert_eq!((policy(), scheduling.lowered), (libc::SCHED_FIFO, 1));
        })
        .join()
        .unwrap();
    }
}
