//! Waiting: for the command, for signals, for traced processes, for a reader in trouble.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::record::error::Error;

/// The signals that stop a recording, held back from the default action as long as this lives.
///
/// Threads started after inherit the mask, so only the main thread ever sees them.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    before: SigSet,
}

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caught {
    /// Which.
    pub signal: Signal,
    /// Whether the kernel sent it (a key on the terminal), so that the command has got it too.
    pub from_terminal: bool,
}

impl Signals {
    /// Blocks SIGINT, SIGTERM, SIGHUP, SIGQUIT and SIGCHLD and listens for them.
    pub fn block() -> Result<Self, Error> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGCHLD] {
            set.add(signal);
        }
        // At a limit on the size of files a write is to fail, which can be reported, instead of killing us.
        let mut all = set;
        all.add(Signal::SIGXFSZ);
        // Whoever records slow windows only prints counts at this one.
        all.add(Signal::SIGUSR1);
        let before = SigSet::thread_get_mask().map_err(Error::system("reading the signal mask"))?;
        all.thread_block().map_err(Error::system("blocking signals"))?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(Error::system("opening a signalfd"))?;
        Ok(Signals { fd, before })
    }

    /// The next stopping signal that has come, if any. SIGCHLD only wakes.
    pub fn caught(&self) -> Option<Caught> {
        while let Ok(Some(info)) = self.fd.read_signal() {
            let Ok(signal) = Signal::try_from(info.ssi_signo as i32) else { continue };
            if signal != Signal::SIGCHLD {
                return Some(Caught { signal, from_terminal: info.ssi_code > 0 });
            }
        }
        None
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _ = self.before.thread_set_mask();
    }
}

/// Sleeps until one of `fds` is readable or the time is over.
pub fn sleep_on(fds: &[BorrowedFd<'_>], time: Option<Duration>) -> io::Result<()> {
    let mut fds: Vec<PollFd<'_>> = fds.iter().map(|&fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    let timeout = time.map_or(PollTimeout::NONE, |time| {
        PollTimeout::try_from(time.as_micros().div_ceil(1000).min(60_000)).unwrap_or(PollTimeout::MAX)
    });
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// A file that becomes readable when a process ends.
pub fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two numbers and returns a new descriptor that nobody else owns.
    let fd = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just returned by the kernel, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Whether a process watched through its pidfd has ended.
pub fn has_ended(pidfd: &OwnedFd) -> bool {
    is_ready(pidfd.as_fd())
}

/// Whether a file is readable now.
pub fn is_ready(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(ready) if ready > 0)
}

/// A file that becomes readable when somebody writes to it.
pub fn event_fd() -> Result<EventFd, Error> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    EventFd::from_value_and_flags(0, flags).map_err(Error::system("opening an eventfd"))
}
