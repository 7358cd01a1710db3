//! Why a recording could not be made: the step and its cause.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::setup;
use crate::tracefs;

/// Why a recording could not be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The kernel could not be set up.
    Setup(Box<setup::Error>),
    /// The output file cannot be written.
    Output {
        /// The file as the user named it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The command cannot be run.
    Command {
        /// Its name.
        command: OsString,
        /// Why.
        source: io::Error,
    },
    /// The command is to run as a user that does not exist.
    NoUser(String),
    /// rtrec was started with more rights than its user has.
    Elevated,
    /// The way to the output leads through what another user has put into a folder that is open to all.
    Planted(PathBuf),
    /// The readers cannot have this priority.
    Priority {
        /// As asked for.
        priority: u32,
        /// Why.
        source: io::Error,
    },
    /// A process to trace does not exist.
    NoProcess {
        /// Its id.
        pid: i32,
        /// Why it cannot be watched.
        source: io::Error,
    },
    /// A reader of a CPU's buffer failed.
    Reader {
        /// The CPU.
        cpu: u32,
        /// Why.
        source: io::Error,
    },
    /// The trace could not be completed; what was recorded can be restored.
    Unsealed {
        /// The file to be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A second signal came while the trace was being completed; what was recorded can be restored.
    Abandoned {
        /// The file to be.
        path: PathBuf,
        /// The signal.
        signal: i32,
    },
    /// A system call that should not fail did.
    System {
        /// What was being done.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A signal came before the command was started.
    Interrupted(i32),
    /// The companion of the recording cannot do its part.
    Companion(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// The error of a step on a control file, of which the kernel's answer is still missing.
    pub fn at(step: &'static str) -> impl FnOnce(tracefs::Error) -> Error {
        move |source| setup::Error::ControlFile { step, source }.into()
    }

    /// The error of a system call that should not fail.
    pub fn system<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Error {
        move |source| Error::System { step, source: source.into() }
    }

    /// The error of a file that cannot be written.
    pub fn output(path: &Path) -> impl Fn(io::Error) -> Error + use<> {
        let path = path.to_owned();
        move |source| Error::Output { path: path.clone(), source }
    }
}

impl From<setup::Error> for Error {
    fn from(error: setup::Error) -> Self {
        Error::Setup(Box::new(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Setup(error) => error.fmt(f),
            Error::Output { path, source } => write!(f, "{} cannot be written: {source}", path.display()),
            Error::Command { command, source } => write!(f, "{} cannot be run: {source}", command.to_string_lossy()),
            Error::NoUser(name) => write!(f, "there is no user {name}"),
            Error::Elevated => write!(f, "rtrec does not run with more rights than its user has (setuid or setgid)"),
            Error::Planted(path) => {
                write!(f, "{} belongs to another user and lies in a folder that is open to all", path.display())
            }
            Error::Priority { priority, source } => {
                write!(f, "the readers cannot have the priority {priority}: {source}")
            }
            Error::NoProcess { pid, source } => write!(f, "process {pid} cannot be traced: {source}"),
            Error::Reader { cpu, source } => write!(f, "the reader of CPU {cpu} failed: {source}"),
            Error::Unsealed { path, source } => write!(f, "{} could not be completed: {source}", path.display()),
            Error::Abandoned { path, signal } => {
                write!(f, "stopped by signal {signal} before {} was complete", path.display())
            }
            Error::System { step, source } => write!(f, "{step} failed: {source}"),
            Error::Interrupted(signal) => write!(f, "stopped by signal {signal} before the command was started"),
            Error::Companion(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Setup(error) => error.source(),
            Error::Output { source, .. }
            | Error::Command { source, .. }
            | Error::NoProcess { source, .. }
            | Error::Priority { source, .. }
            | Error::Reader { source, .. }
            | Error::Unsealed { source, .. }
            | Error::System { source, .. } => Some(source),
            Error::Companion(error) => error.source(),
            Error::NoUser(_)
            | Error::Elevated
            | Error::Planted(_)
            | Error::Abandoned { .. }
            | Error::Interrupted(_) => None,
        }
    }
}
