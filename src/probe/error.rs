//! Why a probe cannot be placed: what was meant, and what would work instead.

use std::fmt;
use std::path::PathBuf;

use super::spec::SpecError;
use crate::symbols::{BinaryError, SearchResult};
use crate::tracefs;

/// What a kernel has in place of a kind of probe that it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Instead {
    /// Probes at entries and exits of functions.
    Fprobe,
    /// Probes anywhere in the kernel.
    Kprobe,
    /// The function tracer, with a filter.
    FunctionTracer,
    /// Tracepoints of system calls.
    SyscallEvents,
    /// Tracepoints of so many systems.
    Events(usize),
}

/// Why a probe cannot be placed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProbeError {
    /// It cannot be meant.
    Spec(SpecError),
    /// The kernel has no probes of this kind.
    NoSupport {
        /// What kind: `kprobe`, `uprobe`, …
        kind: &'static str,
        /// The kernel option that brings them.
        option: &'static str,
        /// What can be used instead on this kernel.
        instead: Vec<Instead>,
    },
    /// There is no such program or library.
    NoBinary {
        /// As asked for.
        name: String,
        /// The folders that were searched.
        searched: Vec<PathBuf>,
        /// Names like it.
        nearest: Vec<String>,
    },
    /// The process, or what it has mapped, cannot be seen.
    NoProcess {
        /// Its id.
        pid: i32,
        /// Why.
        source: std::io::Error,
    },
    /// The kernel takes paths without blanks only.
    Blank(PathBuf),
    /// The binary cannot be read.
    Binary(BinaryError),
    /// The binary is for another machine.
    OtherMachine {
        /// Its path.
        path: PathBuf,
        /// Its machine.
        machine: &'static str,
    },
    /// It has no such function.
    NoSymbol {
        /// Where it was looked for.
        paths: Vec<PathBuf>,
        /// As asked for.
        word: String,
        /// Names like it.
        nearest: Vec<String>,
        /// The symbol tables there are.
        tables: Vec<&'static str>,
    },
    /// The function has no code of its own.
    Inlined {
        /// Its binary.
        path: PathBuf,
        /// As asked for.
        word: String,
        /// The source lines where its body can be probed.
        lines: Vec<String>,
    },
    /// The symbol only chooses the function that is called.
    Indirect {
        /// Its binary.
        path: PathBuf,
        /// As asked for.
        word: String,
        /// What it may choose, as far as names say.
        choices: Vec<String>,
    },
    /// The name means several functions.
    Ambiguous {
        /// Its binary.
        path: PathBuf,
        /// As asked for.
        word: String,
        /// Each with its offset.
        choices: Vec<String>,
    },
    /// A glob means more places than are allowed.
    TooMany {
        /// As asked for.
        word: String,
        /// How many.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// No code is there.
    NotCode {
        /// The binary.
        path: PathBuf,
        /// The offset of the file.
        offset: u64,
        /// Offsets between which there is code.
        code: Vec<(u64, u64)>,
    },
    /// An instruction does not begin there.
    NotBoundary {
        /// The binary.
        path: PathBuf,
        /// The offset of the file.
        offset: u64,
        /// Offsets of the nearest instructions.
        nearest: (u64, u64),
    },
    /// The offset is after the end of the function.
    BehindFunction {
        /// As asked for.
        word: String,
        /// How long it is.
        size: u64,
    },
    /// The source line has no code.
    NoLine {
        /// The binary.
        path: PathBuf,
        /// The source file.
        file: String,
        /// The line.
        line: u64,
        /// The nearest lines that have.
        nearest: Vec<u64>,
    },
    /// No such source file.
    NoFile {
        /// The binary.
        path: PathBuf,
        /// The source file.
        file: String,
        /// Some that there are.
        nearest: Vec<String>,
    },
    /// There is no debug information.
    NoDwarf {
        /// The binary.
        path: PathBuf,
        /// What it is needed for.
        wanted: String,
        /// Where it was looked for.
        tried: Vec<(PathBuf, SearchResult)>,
    },
    /// There is no such static probe.
    NoStatic {
        /// The binary.
        path: PathBuf,
        /// As asked for.
        word: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// Arguments are gone when a function returns.
    NotReturned {
        /// As asked for.
        argument: String,
        /// The probe it is for.
        place: String,
    },
    /// An argument cannot be had.
    Argument {
        /// As asked for.
        argument: String,
        /// The probe it is for.
        place: String,
        /// Why.
        why: String,
        /// What can be had.
        known: Vec<String>,
    },
    /// The kernel has no such function, or forbids probes in it.
    NoFunction {
        /// As asked for.
        word: String,
        /// Why.
        why: &'static str,
        /// Names like it.
        nearest: Vec<String>,
    },
    /// There is no such event or tracepoint.
    NoEvent {
        /// As asked for.
        word: String,
        /// Names like it.
        nearest: Vec<String>,
    },
    /// The name is taken.
    NameTaken(String),
    /// The kernel refused the definition.
    Refused {
        /// As asked for.
        target: String,
        /// The kernel's answer.
        source: tracefs::Error,
    },
    /// A control file cannot be read.
    Tracefs(tracefs::Error),
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeError::Spec(error) => error.fmt(f),
            ProbeError::NoSupport { kind, .. } => write!(f, "this kernel has no {kind} events"),
            ProbeError::NoBinary { name, .. } => write!(f, "there is no program or library {name}"),
            ProbeError::NoProcess { pid, .. } => write!(f, "what process {pid} has mapped cannot be seen"),
            ProbeError::Blank(path) => write!(f, "the kernel takes no path with blanks: {}", path.display()),
            ProbeError::Binary(error) => error.fmt(f),
            ProbeError::OtherMachine { path, machine } => write!(f, "{} is code for {machine}", path.display()),
            ProbeError::NoSymbol { paths, word, .. } => match paths.as_slice() {
                [path] => write!(f, "{} has no function {word}", path.display()),
                paths => write!(f, "none of the {} mapped files has a function {word}", paths.len()),
            },
            ProbeError::Inlined { path, word, .. } => {
                write!(f, "{word} has no code of its own in {}: it was inlined wherever it is called", path.display())
            }
            ProbeError::Indirect { path, word, .. } => {
                write!(f, "{word} of {} only chooses, when it is loaded, what callers get", path.display())
            }
            ProbeError::Ambiguous { path, word, choices } => {
                write!(f, "{word} means {} functions of {}", choices.len(), path.display())
            }
            ProbeError::TooMany { word, count, limit } => write!(f, "{word} means {count} places, more than {limit}"),
            ProbeError::NotCode { path, offset, .. } => write!(f, "{} has no code at {offset:#x}", path.display()),
            ProbeError::NotBoundary { path, offset, .. } => {
                write!(f, "no instruction of {} begins at {offset:#x}", path.display())
            }
            ProbeError::BehindFunction { word, size } => write!(f, "{word} lies behind the function's {size:#x} bytes"),
            ProbeError::NoLine { file, line, .. } => write!(f, "{file}:{line} has no code"),
            ProbeError::NoFile { path, file, .. } => write!(f, "{} was not made from a file {file}", path.display()),
            ProbeError::NoDwarf { path, wanted, .. } => {
                write!(f, "{wanted} needs debug information, and {} has none", path.display())
            }
            ProbeError::NoStatic { path, word, .. } => write!(f, "{} has no static probe {word}", path.display()),
            ProbeError::NotReturned { argument, place } => {
                write!(f, "{argument} cannot be had at {place}: a return probe sees what is returned only: $retval")
            }
            ProbeError::Argument { argument, place, why, .. } => {
                write!(f, "{argument} cannot be had at {place}: {why}")
            }
            ProbeError::NoFunction { word, why, .. } => write!(f, "{word} cannot be probed: {why}"),
            ProbeError::NoEvent { word, .. } => write!(f, "there is no event {word}"),
            ProbeError::NameTaken(name) => write!(f, "there is an event {name} already"),
            ProbeError::Refused { target, .. } => write!(f, "the kernel refused the probe {target}"),
            ProbeError::Tracefs(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ProbeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ProbeError::Spec(source) => Some(source),
            ProbeError::Binary(source) => Some(source),
            ProbeError::NoProcess { source, .. } => Some(source),
            ProbeError::Refused { source, .. } | ProbeError::Tracefs(source) => Some(source),
            _ => None,
        }
    }
}

impl From<SpecError> for ProbeError {
    fn from(error: SpecError) -> Self {
        ProbeError::Spec(error)
    }
}

impl From<BinaryError> for ProbeError {
    fn from(error: BinaryError) -> Self {
        ProbeError::Binary(error)
    }
}
