//! Why a recording could not be made: the step and its cause.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::probe::ProbeError;
use crate::rt::in_kernel::Refusal;
use crate::tracefs;
use crate::tracefs::events::EventName;
use crate::tracefs::functions::FunctionList;
use crate::tracefs::instance::Consumer;

/// Why a recording could not be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No event and no tracer was asked for.
    NothingToRecord,
    /// tracefs could not be found or mounted, or cannot be entered.
    NoTracefs(tracefs::Error),
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
    /// The tracer is not one of this kernel's.
    UnknownTracer {
        /// As asked for.
        tracer: String,
        /// What there is.
        available: Vec<String>,
    },
    /// The clock is not one of this kernel's.
    UnknownClock {
        /// As asked for.
        clock: String,
        /// What there is.
        available: Vec<String>,
    },
    /// The trace option is not one of this kernel's.
    UnknownOption {
        /// As asked for.
        option: String,
        /// The nearest ones.
        nearest: Vec<String>,
        /// The kernel's answer.
        source: tracefs::Error,
    },
    /// No event matches.
    UnknownEvent {
        /// As asked for.
        word: String,
        /// The nearest ones.
        nearest: Vec<String>,
    },
    /// No function matches.
    UnknownFunction {
        /// As asked for.
        word: String,
        /// Which list it was for.
        list: FunctionList,
        /// The nearest ones; empty when the kernel does not tell its functions.
        nearest: Vec<String>,
    },
    /// The word for functions is a regular expression that does not parse.
    BadPattern {
        /// As asked for.
        word: String,
        /// Why.
        reason: String,
    },
    /// The kernel refused an event's filter.
    FilterRefused {
        /// The event.
        event: EventName,
        /// The kernel's answer.
        source: tracefs::Error,
    },
    /// The kernel refused a trigger.
    TriggerRefused {
        /// The event.
        event: EventName,
        /// The kernel's answer.
        source: tracefs::Error,
    },
    /// Somebody else takes events out of the buffer.
    BufferBusy {
        /// Instance name; `None` for the top-level buffer.
        instance: Option<String>,
        /// Who, as far as can be told.
        consumers: Vec<Consumer>,
        /// The kernel's answer, when it was the kernel who said so.
        source: Option<tracefs::Error>,
    },
    /// `-c` needs processes to follow.
    FollowWhom,
    /// `-c` needs a trace option that this kernel lacks.
    CannotFollow(&'static str),
    /// All functions of the whole system, without end.
    AllFunctions(String),
    /// A latency tracer beside other buffers.
    LatencyAlone(String),
    /// `--func-stack` without a filter on functions.
    FuncStackUnfiltered,
    /// Samples are wanted more often than the kernel or the machine can.
    SampleTooOften {
        /// As asked for.
        period: std::time::Duration,
        /// The shortest that is taken.
        least: std::time::Duration,
        /// Because of the copies of stacks.
        stacks: bool,
    },
    /// The clock does not count cycles.
    NoCycles(String),
    /// How cycles become nanoseconds cannot be told.
    NoTsc {
        /// Why.
        reason: &'static str,
    },
    /// No function of this module can be traced.
    UnknownModule(String),
    /// A function that was written to a list is not in it.
    FilterNotTaken {
        /// The function.
        word: String,
        /// The list.
        list: FunctionList,
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
    /// A step of the set-up failed on a control file.
    Setup {
        /// The step, as a phrase: "setting the clock".
        step: &'static str,
        /// The kernel's answer.
        source: tracefs::Error,
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
    /// A probe cannot be placed.
    Probe(Box<ProbeError>),
    /// Windows cannot be judged in the kernel.
    InKernel(Refusal),
}

impl Error {
    pub(crate) fn setup(step: &'static str) -> impl FnOnce(tracefs::Error) -> Error {
        move |source| Error::Setup { step, source }
    }

    pub(crate) fn probe(source: ProbeError) -> Error {
        Error::Probe(Box::new(source))
    }

    pub(crate) fn system<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Error {
        move |source| Error::System { step, source: source.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NothingToRecord => write!(f, "no event and no tracer was named"),
            Error::NoTracefs(source) => write!(f, "tracefs cannot be used: {source}"),
            Error::Output { path, source } => write!(f, "{} cannot be written: {source}", path.display()),
            Error::Command { command, source } => write!(f, "{} cannot be run: {source}", command.to_string_lossy()),
            Error::UnknownTracer { tracer, .. } => write!(f, "this kernel has no tracer {tracer}"),
            Error::UnknownClock { clock, .. } => write!(f, "this kernel has no clock {clock}"),
            Error::UnknownOption { option, .. } => write!(f, "this kernel has no trace option {option}"),
            Error::UnknownEvent { word, .. } => write!(f, "no event matches {word}"),
            Error::UnknownFunction { word, .. } => write!(f, "this kernel traces no function {word}"),
            Error::BadPattern { word, reason } => write!(f, "{word} is no regular expression: {reason}"),
            Error::FilterRefused { event, .. } => write!(f, "the filter for {event} was refused"),
            Error::TriggerRefused { event, .. } => write!(f, "the trigger for {event} was refused"),
            Error::BufferBusy { instance, .. } => match instance {
                Some(name) => write!(f, "the buffer of instance {name} is in use"),
                None => write!(f, "the top-level buffer is in use"),
            },
            Error::FollowWhom => write!(f, "-c follows the children of traced processes, but none is chosen"),
            Error::CannotFollow(option) => {
                write!(f, "-c needs the trace option {option}, which this kernel does not have")
            }
            Error::AllFunctions(tracer) => write!(f, "-p {tracer} without a limit traces every function of the system"),
            Error::LatencyAlone(tracer) => {
                write!(f, "{tracer} keeps one text, so no other buffer can be recorded with it")
            }
            Error::SampleTooOften { period, least, stacks } => {
                let what = if *stacks { "copies of stacks cannot be taken" } else { "samples cannot be taken" };
                write!(f, "{what} every {period:?}; the shortest is {least:?}")
            }
            Error::FuncStackUnfiltered => {
                write!(f, "--func-stack records a stack with every function, so it needs -p function and a filter: -l")
            }
            Error::NoCycles(clock) => {
                write!(f, "--tsc2nsec stores how cycles become nanoseconds, but the clock {clock} counts none")
            }
            Error::NoTsc { reason } => write!(f, "how cycles become nanoseconds is not known: {reason}"),
            Error::UnknownModule(module) => write!(f, "no function of a module {module} can be traced"),
            Error::FilterNotTaken { word, list } => {
                write!(f, "the kernel took {word} for {}, but does not have it there", list.file())
            }
            Error::NoUser(name) => write!(f, "there is no user {name}"),
            Error::Elevated => write!(f, "rtrec does not run with more rights than its user has (setuid or setgid)"),
            Error::Planted(path) => {
                write!(f, "{} belongs to another user and lies in a folder that is open to all", path.display())
            }
            Error::Priority { priority, source } => {
                write!(f, "the readers cannot have the priority {priority}: {source}")
            }
            Error::NoProcess { pid, source } => write!(f, "process {pid} cannot be traced: {source}"),
            Error::Setup { step, source } => write!(f, "{step} failed: {source}"),
            Error::Reader { cpu, source } => write!(f, "the reader of CPU {cpu} failed: {source}"),
            Error::Unsealed { path, source } => write!(f, "{} could not be completed: {source}", path.display()),
            Error::Abandoned { path, signal } => {
                write!(f, "stopped by signal {signal} before {} was complete", path.display())
            }
            Error::System { step, source } => write!(f, "{step} failed: {source}"),
            Error::Interrupted(signal) => write!(f, "stopped by signal {signal} before the command was started"),
            Error::Probe(error) => error.fmt(f),
            Error::InKernel(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::NoTracefs(source)
            | Error::UnknownOption { source, .. }
            | Error::FilterRefused { source, .. }
            | Error::TriggerRefused { source, .. }
            | Error::Setup { source, .. } => Some(source),
            Error::Probe(source) => Some(source),
            Error::BufferBusy { source, .. } => source.as_ref().map(|e| e as _),
            Error::Output { source, .. }
            | Error::Command { source, .. }
            | Error::NoProcess { source, .. }
            | Error::Priority { source, .. }
            | Error::Reader { source, .. }
            | Error::Unsealed { source, .. }
            | Error::System { source, .. } => Some(source),
            _ => None,
        }
    }
}
