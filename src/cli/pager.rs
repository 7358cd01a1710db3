//! Long text on a terminal goes through a pager.
//!
//! `RTREC_PAGER`, else `PAGER`, else less if it is there; an empty name or `cat` means none.

use std::env;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{SigSet, Signal};

/// What less does unless the user has told it otherwise: show colours, end at once if all fits on the screen, leave it there.
const LESS: &str = "FRX";

/// A running pager.
#[derive(Debug)]
pub(super) struct Pager(Child);

impl Pager {
    /// Starts the user's pager; `None` if there is none to start. Standard output is a terminal.
    ///
    /// From then on the keyboard's interrupts are the pager's: whoever quits it ends the report. To be called before other
    /// threads are started.
    pub(super) fn start() -> Option<Pager> {
        let program = program()?;
        let mut command = Command::new("sh");
        command.args(["-c", &program]).stdin(Stdio::piped());
        if env::var_os("LESS").is_none() {
            command.env("LESS", LESS);
        }
        let child = command.spawn().ok()?;
        let mut keys = SigSet::empty();
        keys.add(Signal::SIGINT);
        keys.add(Signal::SIGQUIT);
        let _ = keys.thread_block();
        Some(Pager(child))
    }

    /// Where its text goes.
    pub(super) fn input(&self) -> Option<BorrowedFd<'_>> {
        self.0.stdin.as_ref().map(AsFd::as_fd)
    }
}

/// Waits until the user has seen enough.
impl Drop for Pager {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn program() -> Option<String> {
    if env::var("TERM").is_ok_and(|terminal| terminal == "dumb") {
        return None;
    }
    let named = ["RTREC_PAGER", "PAGER"].into_iter().find_map(|name| env::var(name).ok());
    match named {
        Some(program) => Some(program).filter(|program| !matches!(program.trim(), "" | "cat")),
        None => is_there("less").then(|| "less".to_owned()),
    }
}

fn is_there(program: &str) -> bool {
    let folders = env::var_os("PATH").unwrap_or_default();
    let runs = |path: std::path::PathBuf| {
        fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    env::split_paths(&folders).any(|folder| runs(folder.join(program)))
}
