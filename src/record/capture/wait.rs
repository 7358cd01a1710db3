//! The one loop in which a recording waits for its end, whatever becomes of the records meanwhile.
//!
//! ```text
//!   has it ended? ──yes──> why
//!        │ no
//!   attend: limits and cuts of files, or rounds of a stream
//!        │
//!   sleep: a signal, a process that ends, a reader in trouble, new records, or the time is over
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::child::RunningChild;
use super::signals::{self, Signals};
use crate::record::along::memory_maps::Maps;
use crate::record::error::Error;
use crate::record::outcome::Stop;

/// What is looked after while a recording goes on.
pub trait Attend {
    /// Where the maps of the command go, if they are wanted.
    fn maps(&self) -> Option<&'static Maps> {
        None
    }

    /// All is set up, nothing is recorded yet.
    fn before_start(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Recording has begun.
    fn started(&mut self, _now: Instant) {}

    /// Does what is due; says why to stop, if so.
    fn attend(&mut self, child: Option<RunningChild>, now: Instant) -> Result<Option<Stop>, Error>;

    /// So long new records do not wake it: kernels that wake for every record would keep a CPU busy.
    fn pause(&self) -> Duration {
        Duration::ZERO
    }

    /// The longest time until it has to be attended to again.
    fn patience(&self) -> Duration;

    /// Files that are readable when it has to be attended to before.
    fn wake_fds(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }
}

/// What ends a recording from outside.
pub struct StopConditions<'a> {
    /// Signals that stop.
    pub signals: &'a Signals,
    /// Traced processes, if it ends with them.
    pub processes: &'a [OwnedFd],
    /// The command.
    pub child: Option<RunningChild>,
    /// Readable when a reader has ended before it was to.
    pub alarm: Option<BorrowedFd<'a>>,
    /// When recording began, and how long it may take.
    pub started: Instant,
    /// The same.
    pub duration: Option<Duration>,
}

impl StopConditions<'_> {
    /// Why it is over, if so.
    fn met(&self) -> Option<Stop> {
        if let Some(caught) = self.signals.caught() {
            if let Some(child) = self.child
                && !caught.from_terminal
            {
                child.signal(caught.signal);
            }
            return Some(Stop::Signal(caught.signal as i32));
        }
        if self.alarm.is_some_and(signals::is_ready) {
            return Some(Stop::ReaderFailed);
        }
        if self.time_left().is_some_and(|left| left.is_zero()) {
            return Some(Stop::TimeIsUp);
        }
        match self.child {
            Some(child) => child.ended().map(Stop::CommandEnded),
            None if self.processes.is_empty() => None,
            None => self.processes.iter().all(signals::has_ended).then_some(Stop::ProcessesEnded),
        }
    }

    fn time_left(&self) -> Option<Duration> {
        self.duration.map(|duration| duration.saturating_sub(self.started.elapsed()))
    }

    /// What wakes at once.
    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let mut fds = vec![self.signals.as_fd()];
        fds.extend(self.alarm);
        if self.child.is_none() {
            fds.extend(self.processes.iter().filter(|fd| !signals::has_ended(fd)).map(AsFd::as_fd));
        }
        fds
    }

    fn sleep(&self, wake_fds: Vec<BorrowedFd<'_>>, time: Duration) -> std::io::Result<()> {
        let fds: Vec<BorrowedFd<'_>> = self.fds().into_iter().chain(wake_fds).collect();
        signals::sleep_on(&fds, Some(self.time_left().map_or(time, |left| left.min(time))))
    }
}

/// Waits for the end, and says why it has come.
pub fn wait(conditions: &StopConditions<'_>, attended: &mut dyn Attend) -> Result<Stop, Error> {
    loop {
        if let Some(stop) = conditions.met() {
            return Ok(stop);
        }
        if let Some(stop) = attended.attend(conditions.child, Instant::now())? {
            return Ok(stop);
        }
        let pause = attended.pause();
        let paused = if pause.is_zero() { Ok(()) } else { conditions.sleep(Vec::new(), pause) };
        if paused.and_then(|()| conditions.sleep(attended.wake_fds(), attended.patience())).is_err() {
            return Ok(Stop::ReaderFailed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::capture::signals::event_fd;

    /// Has seen enough after so many looks.
    struct Looks(u32);

    impl Attend for Looks {
        fn attend(&mut self, _child: Option<RunningChild>, _now: Instant) -> Result<Option<Stop>, Error> {
            self.0 = self.0.saturating_sub(1);
            Ok((self.0 == 0).then_some(Stop::SizeReached))
        }

        fn patience(&self) -> Duration {
            Duration::from_millis(1)
        }
    }

    fn waited(looks: u32, duration: Option<Duration>, alarmed: bool) -> Stop {
        let signals = Signals::block().unwrap();
        let alarm = event_fd().unwrap();
        if alarmed {
            alarm.write(1).unwrap();
        }
        let conditions = StopConditions {
            signals: &signals,
            processes: &[],
            child: None,
            alarm: Some(alarm.as_fd()),
            started: Instant::now(),
            duration,
        };
        wait(&conditions, &mut Looks(looks)).unwrap()
    }

    #[test]
    fn what_is_attended_to_the_time_and_a_reader_in_trouble_each_end_the_wait() {
        assert_eq!(waited(3, None, false), Stop::SizeReached);
        assert_eq!(waited(u32::MAX, Some(Duration::from_millis(20)), false), Stop::TimeIsUp);
        assert_eq!(waited(u32::MAX, None, true), Stop::ReaderFailed);
    }
}
