//! What is known of windows while they are recorded: whoever keeps the records of slow ones says so, whoever takes samples
//! asks.
//! Units: nanoseconds of the monotonic clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Which windows were slow, and which are open.
#[derive(Debug, Default)]
pub struct WindowStates {
    /// Slow windows that nobody has asked for yet: thread, start and end. Samples outside of them are of no use.
    pub slow: Vec<(i32, u64, u64)>,
    /// Threads with open windows, and when the oldest of them began.
    pub open: HashMap<i32, u64>,
    /// Up to when windows are known.
    pub known_until: u64,
}

/// Shared with whoever asks.
pub type SharedWindowStates = Arc<Mutex<WindowStates>>;

/// What is known now.
pub fn lock(states: &SharedWindowStates) -> MutexGuard<'_, WindowStates> {
    states.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Now, by the clock of windows.
pub fn now() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    time.map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}
