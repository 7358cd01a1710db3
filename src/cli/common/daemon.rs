//! `--daemonize`: the recording goes on in the background, its process id in a file.
//!
//! The first process waits until the second says that recording is running, or ends with its status when it fails
//! before that. The pid file is locked as long as the recording lives, so that a stale one is recognised.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, fork, pipe2, setsid};

use super::say::say;

/// The process id of a recording that has no name.
pub(in crate::cli) const PID_FILE: &str = "/var/run/rtrec-record.pid";

/// Runs `job` in the background, its process id in `path`; it calls what it is given once recording is running. `name` is
/// the subcommand's.
pub(in crate::cli) fn run(path: &Path, name: &str, job: impl FnOnce(Box<dyn Fn() + Sync>) -> ExitCode) -> ExitCode {
    let pid_file = match claim(path) {
        Ok(file) => file,
        Err(sentence) => {
            say!("rtrec {name}: {sentence}");
            return ExitCode::from(2);
        }
    };
    let Ok((started_rx, started_tx)) = pipe2(OFlag::O_CLOEXEC) else {
        say!("rtrec {name}: no pipe for the way to the background could be made");
        return ExitCode::from(2);
    };
    // SAFETY: no other thread exists yet, so the child may use the whole library.
    match unsafe { fork() } {
        Ok(ForkResult::Parent { child }) => {
            drop(started_tx);
            // Dropping it would unlock the file for both processes.
            std::mem::forget(pid_file);
            wait_until_started(started_rx, child)
        }
        Ok(ForkResult::Child) => {
            drop(started_rx);
            let _ = setsid();
            let code = job(Box::new(move || go_to_background(&pid_file, &started_tx)));
            let _ = std::fs::remove_file(path);
            code
        }
        Err(errno) => {
            say!("rtrec {name}: forking for the background failed: {errno}");
            ExitCode::from(2)
        }
    }
}

/// Takes the pid file; an error names the recording that has it.
fn claim(path: &Path) -> Result<Flock<File>, String> {
    let shown = path.display();
    let options = File::options().read(true).write(true).create(true).truncate(false).open(path);
    let mut file = options.map_err(|error| format!("{shown} cannot be written: {error}"))?;
    let mut pid = String::new();
    let _ = file.read_to_string(&mut pid);
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| format!("a recording runs in the background already, as process {}", pid.trim()))
}

fn wait_until_started(started_rx: OwnedFd, child: nix::unistd::Pid) -> ExitCode {
    let mut byte = [0];
    if matches!(File::from(started_rx).read(&mut byte), Ok(1)) {
        return ExitCode::SUCCESS;
    }
    match waitpid(child, None) {
        Ok(WaitStatus::Exited(_, status)) => ExitCode::from(status as u8),
        _ => ExitCode::from(2),
    }
}

/// Writes the pid file, lets the first process end, and lets go of the terminal.
fn go_to_background(pid_file: &Flock<File>, started_tx: &OwnedFd) {
    let mut file: &File = pid_file;
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = dup2_stdin(null.as_fd()).and(dup2_stdout(null.as_fd())).and(dup2_stderr(null.as_fd()));
    }
    let _ = nix::unistd::write(started_tx.as_fd(), &[1]);
}
