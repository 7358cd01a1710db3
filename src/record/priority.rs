//! The priority of the readers.

use std::io;

use super::error::Error;

/// Says whether the readers may have this priority, before anything is changed.
pub fn judge(priority: Option<u32>) -> Result<(), Error> {
    let Some(priority) = priority.filter(|&priority| priority > 0) else { return Ok(()) };
    // A thread of its own, so that this one stays what it is.
    let tried = std::thread::spawn(move || apply(Some(priority))).join();
    tried
        .unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
        .map_err(|source| Error::Priority { priority, source })
}

/// Gives the calling thread its priority: SCHED_FIFO for 1 to 99. Without one the scheduling stays as it is.
pub fn apply(priority: Option<u32>) -> io::Result<()> {
    match priority.and_then(|priority| i32::try_from(priority).ok()) {
        None | Some(0) => Ok(()),
        Some(priority) => become_real_time(priority),
    }
}

fn become_real_time(priority: i32) -> io::Result<()> {
    let parameter = nix::libc::sched_param { sched_priority: priority };
    // SAFETY: the call reads the parameter, which outlives it; 0 is the calling thread.
    match unsafe { nix::libc::sched_setscheduler(0, nix::libc::SCHED_FIFO, &parameter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
