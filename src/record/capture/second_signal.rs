//! A second signal: whoever presses Ctrl-C again does not want to wait for the trace to be completed.
//!
//! The first signal ends a recording and is the coordinator's business. From then on a thread of its own listens; what
//! it hears makes readers and sealing stop at the next step. The kernel is put back all the same.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::Scope;
use std::time::Duration;

use nix::sys::eventfd::EventFd;

use super::reader::ReaderControl;
use super::signals::{self, Signals, event_fd};
use crate::record::error::Error;

/// Listens for a second signal.
pub struct SecondSignal<'a> {
    control: &'a ReaderControl,
    recording_ended: EventFd,
    done: EventFd,
    signal: AtomicI32,
}

impl<'a> SecondSignal<'a> {
    /// Listens to nothing yet.
    pub fn new(control: &'a ReaderControl) -> Result<Self, Error> {
        Ok(SecondSignal { control, recording_ended: event_fd()?, done: event_fd()?, signal: AtomicI32::new(0) })
    }

    /// To be made readable when recording has ended.
    pub fn recording_ended(&self) -> &EventFd {
        &self.recording_ended
    }

    /// The second signal, if one has come.
    pub fn signal(&self) -> Option<i32> {
        Some(self.signal.load(Ordering::Acquire)).filter(|&signal| signal != 0)
    }

    /// Listens until what it returns is dropped.
    pub fn listen<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        signals: &'scope Signals,
    ) -> StopListening<'scope> {
        scope.spawn(move || self.run(signals));
        StopListening(&self.done)
    }

    fn run(&self, signals: &Signals) {
        let patience = Some(Duration::from_secs(60));
        while !signals::is_ready(self.recording_ended.as_fd()) {
            if signals::is_ready(self.done.as_fd()) {
                return;
            }
            let _ = signals::sleep_on(&[self.recording_ended.as_fd(), self.done.as_fd()], patience);
        }
        while !signals::is_ready(self.done.as_fd()) {
            if let Some(caught) = signals.caught() {
                self.signal.store(caught.signal as i32, Ordering::Release);
                self.control.abandon.store(true, Ordering::Release);
                return;
            }
            let _ = signals::sleep_on(&[signals.as_fd(), self.done.as_fd()], patience);
        }
    }
}

/// Ends the listening.
pub struct StopListening<'a>(&'a EventFd);

impl Drop for StopListening<'_> {
    fn drop(&mut self) {
        let _ = self.0.write(1);
    }
}
