//! The priority of the readers.

use std::io;

use super::error::Error;

/// Says whether the readers may have this priority, before anything is changed.
pub fn judge(priority: Option<u32>) -> Result<(), Error> {
    let Some(priority) = priority.filter(|&priority| priority > 0) else { return Ok(()) };
    let refused = |source| Error::Priority { priority, source };
    apply(Some(priority)).map_err(refused)?;
    schedule(nix::libc::SCHED_OTHER, 0).map_err(refused)
}

/// Gives the calling thread its priority: SCHED_FIFO for 1 to 99. Without one the scheduling stays as it is.
pub fn apply(priority: Option<u32>) -> io::Result<()> {
    match priority.and_then(|priority| i32::try_from(priority).ok()) {
        None | Some(0) => Ok(()),
        Some(priority) => schedule(nix::libc::SCHED_FIFO, priority),
    }
}

fn schedule(policy: i32, priority: i32) -> io::Result<()> {
    let parameter = nix::libc::sched_param { sched_priority: priority };
    // SAFETY: the call reads the parameter, which outlives it; 0 is the calling thread.
    match unsafe { nix::libc::sched_setscheduler(0, policy, &parameter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
