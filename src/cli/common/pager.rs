//! Long text on a terminal goes through a pager.
//!
//! `RTREC_PAGER`, else `PAGER`, else less if it is there; an empty name or `cat` means none.

use std::env;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{self, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::sys::signal::{SigHandler, Signal, signal};

use crate::record::capture::child::find_program;

/// What less does unless the user has set it otherwise: show colours, end at once if all fits on the screen, leave it there.
const LESS: &str = "FRX";

/// A running pager.
#[derive(Debug)]
pub(in crate::cli) struct Pager {
    input: Option<ChildStdin>,
    /// All has been written.
    complete: Arc<AtomicBool>,
    waiter: Option<JoinHandle<()>>,
}

impl Pager {
    /// Starts the user's pager; `None` if there is none to start. Standard output is a terminal.
    ///
    /// From then on the keyboard's interrupts are the pager's. Whoever leaves it has seen enough, so that ends the process,
    /// whatever is still to be read.
    pub(in crate::cli) fn start() -> Option<Pager> {
        let program = program()?;
        let mut command = Command::new("sh");
        command.args(["-c", &program]).stdin(Stdio::piped());
        if env::var_os("LESS").is_none() {
            command.env("LESS", LESS);
        }
        let mut child = command.spawn().ok()?;
        for keys in [Signal::SIGINT, Signal::SIGQUIT] {
            // SAFETY: no handler is installed; the signals are ignored. The child has been started without that.
            let _ = unsafe { signal(keys, SigHandler::SigIgn) };
        }
        let (input, complete) = (child.stdin.take(), Arc::new(AtomicBool::new(false)));
        let is_complete = Arc::clone(&complete);
        let waiter = thread::spawn(move || {
            let _ = child.wait();
            if !is_complete.load(Ordering::Acquire) {
                process::exit(0);
            }
        });
        Some(Pager { input, complete, waiter: Some(waiter) })
    }

    /// Where its text goes.
    pub(in crate::cli) fn input(&self) -> Option<BorrowedFd<'_>> {
        self.input.as_ref().map(AsFd::as_fd)
    }
}

/// Waits until the user has seen enough.
impl Drop for Pager {
    fn drop(&mut self) {
        self.complete.store(true, Ordering::Release);
        self.input = None;
        let _ = self.waiter.take().map(JoinHandle::join);
    }
}

fn program() -> Option<String> {
    if env::var("TERM").is_ok_and(|terminal| terminal == "dumb") {
        return None;
    }
    let named = ["RTREC_PAGER", "PAGER"].into_iter().find_map(|name| env::var(name).ok());
    match named {
        Some(program) => Some(program).filter(|program| !matches!(program.trim(), "" | "cat")),
        None => find_program("less".as_ref()).ok().map(|_| "less".to_owned()),
    }
}
