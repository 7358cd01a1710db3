//! The command: forked early, held before exec, let go when every reader is ready.
//!
//! The child waits for one byte on a pipe. So its pid is known while filters are written, its first instruction is in the
//! trace, and nothing of it runs if the set-up fails. If exec fails it says why on a second pipe, which
//! closes by itself when exec succeeds.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use byteorder::{ByteOrder, NativeEndian};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe2};

use super::user::Identity;
use crate::record::along::memory_maps::{self as maps, Maps};
use crate::record::error::Error;
use crate::record::outcome::Ending;

/// A process that exists and has not called exec.
#[derive(Debug)]
pub struct HeldChild {
    pid: Pid,
    command: OsString,
    go: Option<File>,
    failure: File,
    maps: Option<&'static Maps>,
}

impl HeldChild {
    /// Forks. The program is looked up before, so that a misspelled name costs nothing.
    pub fn spawn(command: &[OsString], user: Option<&Identity>) -> Result<Self, Error> {
        let name = command.first().cloned().unwrap_or_default();
        let failed = |source: io::Error| Error::Command { command: name.clone(), source };
        let program = find_program(&name).map_err(failed)?;
        let program = CString::new(program.into_os_string().into_vec()).map_err(|e| failed(e.into()))?;
        let arguments: Vec<CString> = command
            .iter()
            .map(|word| CString::new(word.as_bytes()))
            .collect::<Result<_, _>>()
            .map_err(|e| failed(e.into()))?;
        let (held, go) = pipe2(OFlag::O_CLOEXEC).map_err(Error::system("making a pipe"))?;
        let (failure, failing) = pipe2(OFlag::O_CLOEXEC).map_err(Error::system("making a pipe"))?;
        // SAFETY: rtrec has no other thread yet (readers start later), so the child may use the whole library; it does no
        // more than read, exec and exit anyway.
        match unsafe { fork() }.map_err(Error::system("forking the command"))? {
            ForkResult::Parent { child } => {
                let (go, failure) = (Some(File::from(go)), File::from(failure));
                Ok(HeldChild { pid: child, command: name, go, failure, maps: None })
            }
            ForkResult::Child => {
                drop(go);
                drop(failure);
                run_when_released(File::from(held), File::from(failing), &program, &arguments, user)
            }
        }
    }

    /// Its process id, the command's one too.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Has its memory maps kept at its end.
    pub fn keep_maps(&mut self, maps: &'static Maps) {
        if maps::watch_exit(self.pid).is_ok() {
            self.maps = Some(maps);
        }
    }

    /// Lets it go and waits until exec has happened; an error is exec's.
    pub fn release(mut self) -> Result<RunningChild, Error> {
        let pid = self.pid;
        let sent = self.go.take().map_or(Ok(()), |mut go| go.write_all(&[1]));
        let mut errno = [0; 4];
        let heard = self.failure.read(&mut errno).unwrap_or(0);
        if heard == 0 && sent.is_ok() {
            return Ok(RunningChild { pid, maps: self.maps });
        }
        let source = match sent {
            _ if heard == errno.len() => io::Error::from_raw_os_error(NativeEndian::read_i32(&errno)),
            Err(source) => source,
            Ok(()) => io::Error::other("it ended before exec"),
        };
        Err(Error::Command { command: self.command.clone(), source })
    }
}

impl Drop for HeldChild {
    /// A child that was never let go ends when its pipe closes.
    fn drop(&mut self) {
        if self.go.take().is_some() {
            let _ = waitpid(self.pid, None);
        }
    }
}

/// The child's side: never returns.
fn run_when_released(
    mut held: File,
    mut failing: File,
    program: &CString,
    arguments: &[CString],
    user: Option<&Identity>,
) -> ! {
    let mut byte = [0];
    if !matches!(held.read(&mut byte), Ok(1)) {
        leave(126);
    }
    // rtrec's own mask and its ignored SIGPIPE must not be inherited.
    let _ = nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    // SAFETY: restores the default action; no handler is involved.
    let _ = unsafe { nix::sys::signal::signal(Signal::SIGPIPE, nix::sys::signal::SigHandler::SigDfl) };
    let errno = match user.map_or(Ok(()), Identity::assume) {
        Ok(()) => execute(program, arguments, user),
        Err(errno) => errno,
    };
    let errno = if errno == Errno::ENOEXEC { run_by_shell(program, arguments, user) } else { errno };
    let mut bytes = [0; 4];
    NativeEndian::write_i32(&mut bytes, errno as i32);
    let _ = failing.write_all(&bytes);
    leave(if errno == Errno::ENOENT { 127 } else { 126 })
}

/// A script without `#!` is run by the shell, as execvp does.
fn run_by_shell(program: &CString, arguments: &[CString], user: Option<&Identity>) -> Errno {
    let shell = c"/bin/sh".to_owned();
    let mut words = vec![shell.clone(), program.clone()];
    words.extend(arguments.iter().skip(1).cloned());
    execute(&shell, &words, user)
}

fn execute(program: &CString, arguments: &[CString], user: Option<&Identity>) -> Errno {
    let Err(errno) = match user {
        Some(user) => nix::unistd::execve(program, arguments, user.environment()),
        None => nix::unistd::execv(program, arguments),
    };
    errno
}

fn leave(status: i32) -> ! {
    // SAFETY: ends the forked child without running the parent's destructors.
    unsafe { nix::libc::_exit(status) }
}

/// The command after exec.
#[derive(Clone, Copy, Debug)]
pub struct RunningChild {
    pid: Pid,
    /// Where its maps go at its end.
    maps: Option<&'static Maps>,
}

impl RunningChild {
    /// Its process id.
    pub fn pid(self) -> Pid {
        self.pid
    }

    /// How it ended; `None` while it runs.
    pub fn ended(self) -> Option<Ending> {
        match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Stopped(pid, signal)) => {
                maps::at_stop(pid, signal, 0, self.maps?);
                self.ended()
            }
            Ok(WaitStatus::PtraceEvent(pid, signal, event)) => {
                maps::at_stop(pid, signal, event, self.maps?);
                self.ended()
            }
            Ok(WaitStatus::Exited(_, status)) => Some(Ending::Exited(status)),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(Ending::Killed(signal as i32)),
            Err(Errno::ECHILD) => Some(Ending::Exited(0)),
            _ => None,
        }
    }

    /// Sends it a signal.
    pub fn signal(self, signal: Signal) {
        let _ = kill(self.pid, signal);
    }
}

/// The file that exec would run, searched along `PATH` like a shell does.
pub fn find_program(name: &OsStr) -> io::Result<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return runnable(Path::new(name));
    }
    let paths = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let mut refused = None;
    for dir in std::env::split_paths(&paths) {
        match runnable(&dir.join(name)) {
            Ok(path) => return Ok(path),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => refused = Some(e),
        }
    }
    Err(refused.unwrap_or_else(|| Errno::ENOENT.into()))
}

fn runnable(path: &Path) -> io::Result<PathBuf> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(Errno::EISDIR.into());
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(Errno::EACCES.into());
    }
    Ok(path.to_owned())
}
