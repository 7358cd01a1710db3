//! Why buffers could not be set up: the step and its cause. Knows no options; words for users are found elsewhere.

use std::fmt;

use crate::probe::ProbeError;
use crate::tracefs;
use crate::tracefs::events::EventName;
use crate::tracefs::functions::FunctionList;
use crate::tracefs::instance::Consumer;

/// Why buffers could not be set up.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// No event and no tracer was asked for.
    NothingToRecord,
    /// tracefs could not be found or mounted, or cannot be entered.
    NoTracefs(tracefs::Error),
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
        /// The nearest ones; empty when the kernel does not list its functions.
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
        /// Who, as far as can be known.
        consumers: Vec<Consumer>,
        /// The kernel's answer, when it was the kernel who said so.
        source: Option<tracefs::Error>,
    },
    /// Children are to be traced, but of no process.
    FollowWhom,
    /// Following children needs a trace option that this kernel lacks.
    CannotFollow(&'static str),
    /// All functions of the whole system, without end.
    AllFunctions(String),
    /// A latency tracer beside other buffers.
    LatencyAlone(String),
    /// A stack with every function, without a filter on functions.
    FuncStackUnfiltered,
    /// The clock does not count cycles.
    NoCycles(String),
    /// How cycles become nanoseconds cannot be known.
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
    /// A probe cannot be placed.
    Probe(Box<ProbeError>),
    /// A step failed on a control file.
    ControlFile {
        /// The step, as a phrase: "setting the clock".
        step: &'static str,
        /// The kernel's answer.
        source: tracefs::Error,
    },
}

impl Error {
    /// The error of a step, of which the kernel's answer is still missing.
    pub fn at(step: &'static str) -> impl FnOnce(tracefs::Error) -> Error {
        move |source| Error::ControlFile { step, source }
    }

    /// The error of a probe.
    pub fn probe(source: ProbeError) -> Error {
        Error::Probe(Box::new(source))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NothingToRecord => write!(f, "no event and no tracer was named"),
            Error::NoTracefs(source) => write!(f, "tracefs cannot be used: {source}"),
            Error::UnknownTracer { tracer, .. } => write!(f, "this kernel has no tracer {tracer}"),
            Error::UnknownClock { clock, .. } => write!(f, "this kernel has no clock {clock}"),
            Error::UnknownOption { option, .. } => write!(f, "this kernel has no trace option {option}"),
            Error::UnknownEvent { word, .. } => write!(f, "no event matches {word}"),
            Error::UnknownFunction { word, .. } => write!(f, "this kernel traces no function {word}"),
            Error::BadPattern { word, reason } => write!(f, "{word} is no regular expression: {reason}"),
            Error::FilterRefused { event, .. } => write!(f, "the filter for {event} was refused"),
            Error::TriggerRefused { event, .. } => write!(f, "the trigger for {event} was refused"),
            Error::BufferBusy { instance: Some(name), .. } => write!(f, "the buffer of instance {name} is in use"),
            Error::BufferBusy { instance: None, .. } => write!(f, "the top-level buffer is in use"),
            Error::FollowWhom => write!(f, "children of traced processes are to be traced, but no process is"),
            Error::CannotFollow(option) => write!(f, "this kernel does not have the trace option {option}"),
            Error::AllFunctions(tracer) => write!(f, "{tracer} without a limit traces every function of the system"),
            Error::LatencyAlone(tracer) => {
                write!(f, "{tracer} keeps one text, so no other buffer can be recorded with it")
            }
            Error::FuncStackUnfiltered => {
                write!(f, "a stack with every function needs the tracer function and a filter on functions")
            }
            Error::NoCycles(clock) => write!(f, "the clock {clock} counts no cycles"),
            Error::NoTsc { reason } => write!(f, "how cycles become nanoseconds is not known: {reason}"),
            Error::UnknownModule(module) => write!(f, "no function of a module {module} can be traced"),
            Error::FilterNotTaken { word, list } => {
                write!(f, "the kernel took {word} for {}, but does not have it there", list.file())
            }
            Error::Probe(error) => error.fmt(f),
            Error::ControlFile { step, source } => write!(f, "{step} failed: {source}"),
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
            | Error::ControlFile { source, .. } => Some(source),
            Error::Probe(source) => Some(source),
            Error::BufferBusy { source, .. } => source.as_ref().map(|error| error as _),
            _ => None,
        }
    }
}
