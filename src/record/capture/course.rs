//! The part of a recording between "all is set" and "all is taken": rtrec's own threads are left out, tracing is switched
//! on, the command is let go, something ends it, tracing is switched off.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::eventfd::EventFd;

use super::child::{HeldChild, RunningChild};
use super::reader::ReaderControl;
use super::signals::{Caught, Signals};
use super::wait::{Attend, StopConditions, wait};
use crate::record::error::Error;
use crate::record::observer::{Note, Observer};
use crate::record::outcome::Stop;
use crate::setup::configure;
use crate::setup::plan::BufferPlan;
use crate::setup::threads;
use crate::tracefs::Undo;

/// What this part needs, whatever becomes of the records.
pub struct Course<'a> {
    /// Signals that stop it.
    pub signals: &'a Signals,
    /// Traced processes, with which it ends.
    pub processes: Vec<OwnedFd>,
    /// The buffers.
    pub plans: &'a [BufferPlan<'a>],
    /// Hears that recording has begun.
    pub observer: &'a dyn Observer,
    /// How long it may take.
    pub duration: Option<Duration>,
    /// What readers are asked for.
    pub control: &'a ReaderControl,
    /// Made readable when recording has ended, for whoever listens for a second signal.
    pub recording_ended: &'a EventFd,
}

/// How it has ended.
pub struct Ended {
    /// The command.
    pub child: Option<RunningChild>,
    /// Why.
    pub stop: Stop,
    /// What went wrong.
    pub failure: Option<Error>,
    /// How long the buffers were being written.
    pub elapsed: Duration,
    /// A buffer was found switched off before it was to be.
    pub was_switched_off: bool,
}

impl Course<'_> {
    /// Runs it; `undo` is for what goes back even if the settings are to stay, `alarm` is readable when a reader has ended
    /// before it was to.
    pub fn run(
        &self,
        child: Option<HeldChild>,
        alarm: Option<BorrowedFd<'_>>,
        undo: &mut Undo,
        attended: &mut dyn Attend,
    ) -> Result<Ended, Error> {
        let rtrec = threads::of_rtrec();
        let note = |note| self.observer.note(Note::Setup(note));
        self.plans.iter().for_each(|plan| configure::leave_out(plan, &rtrec, &note, undo));
        attended.before_start()?;
        let (child, started) = self.start(child, attended)?;
        attended.started(started);
        let conditions = StopConditions {
            signals: self.signals,
            processes: &self.processes,
            child,
            alarm,
            started,
            duration: self.duration,
        };
        let (stop, failure) = match wait(&conditions, attended) {
            Ok(stop) => (stop, None),
            Err(error) => (Stop::ReaderFailed, Some(error)),
        };
        let _ = self.recording_ended.write(1);
        let elapsed = started.elapsed();
        let was_switched_off = self.is_off();
        let off = self.plans.iter().map(|plan| plan.instance.tracing_off()).find_map(Result::err);
        let failure = failure.or_else(|| off.map(Error::at("stopping the buffer")));
        Ok(Ended { child, stop, failure, elapsed, was_switched_off })
    }

    /// Whether a buffer has been switched off.
    pub fn is_off(&self) -> bool {
        self.plans.iter().any(|plan| matches!(plan.instance.is_tracing(), Ok(false)))
    }

    /// Switches tracing on and lets the command go.
    fn start(
        &self,
        mut child: Option<HeldChild>,
        attended: &dyn Attend,
    ) -> Result<(Option<RunningChild>, Instant), Error> {
        if let Some(Caught { signal, .. }) = self.signals.caught() {
            return Err(Error::Interrupted(signal as i32));
        }
        for plan in self.plans {
            plan.instance.tracing_on().map_err(Error::at("starting the buffer"))?;
        }
        let started = Instant::now();
        if let (Some(child), Some(maps)) = (&mut child, attended.maps()) {
            child.keep_maps(maps);
        }
        let child = child.map(HeldChild::release).transpose()?;
        self.observer.note(Note::Started);
        Ok((child, started))
    }
}
