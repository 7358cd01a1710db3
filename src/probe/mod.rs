//! Probes by name: from what the user typed to lines for `uprobe_events`, `kprobe_events` and `dynamic_events`.
//!
//! Owns: [`Spec`] (what was typed), [`Resolver`] (what it means on this machine), [`define`] (into the kernel and out
//! again).
//! Does not own: what stands in binaries (see `symbols`), the control files (see `tracefs::dynamic`).
//!
//! Nothing in the kernel changes until [`define`]: a spec that cannot be resolved costs nothing. Each definition notes its
//! removal before it is written, so that every way out, a killed recorder's journal included, removes it.
//!
//! | file | what is inside |
//! | --- | --- |
//! | `spec` | what the user typed, taken apart |
//! | `find` | which file a program, library or process id means |
//! | `kernel`, `user` | places in the kernel, in programs |
//! | `arguments`, [`values`] | what is fetched there; names of values of enumerations |
//! | `naming`, [`names`] | names of events; functions whose work has moved, and the names nearest to a misspelled one |
//! | `error` | why a probe cannot be placed |
//!
//! Imported by `setup`, `record`, `rt`, `live` and `cli`; imports `symbols`, `tracefs` and `wire`. It knows no recorder.
//!
//! The next kind of probe: a [`Kind`], parsed in `spec` and resolved in `kernel` or `user`.
//!
//! ```no_run
//! use rtrec::probe::{self, Kind, Resolver, Spec};
//! use rtrec::tracefs::{Tracefs, Undo};
//!
//! let top = Tracefs::find()?.top();
//! let mut resolver = Resolver::new(&top, probe::session_group());
//! let probes = resolver.resolve(&Spec::parse(Kind::Uprobe, "libc:malloc size=%di")?)?;
//! let mut undo = Undo::new();
//! probe::define(&top, &probes, &mut undo)?; // events rtrec_PID:malloc, gone when `undo` is run or dropped
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arguments;
mod error;
mod find;
mod kernel;
pub mod names;
mod naming;
mod spec;
mod user;
pub mod values;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

pub use error::{Instead, ProbeError};
pub use spec::{BinaryName, Kind, Place, Spec, SpecError, Target, is_glob, is_identifier};

use crate::symbols::Binary;
use crate::tracefs::dynamic::DefinitionFile;
use crate::tracefs::events::EventName;
use crate::tracefs::{Instance, Undo};
use naming::Namer;
pub use user::{Symbols, binaries_of, symbols_of};

/// Fields that are enumerations, each with its values and their names.
pub type FieldValues = Vec<(String, Vec<(i64, String)>)>;

/// A probe that can be defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The file that takes it.
    pub file: DefinitionFile,
    /// The event it will be.
    pub name: EventName,
    /// The letters in front: `p`, `r`, `r64`, `f`, `t`, `e`.
    pub letter: String,
    /// Where, in the kernel's words.
    pub place: String,
    /// The fetch arguments.
    pub arguments: Vec<String>,
    /// Where, in the user's words.
    pub target: String,
    /// Names of the values of fields that are enumerations.
    pub values: FieldValues,
    /// What the user may want to know: arguments that could not be had, another address than asked for.
    pub notes: Vec<String>,
}

impl Probe {
    /// The line that defines it.
    pub fn line(&self) -> String {
        let mut line = format!("{}:{}/{} {}", self.letter, self.name.system, self.name.event, self.place);
        for argument in &self.arguments {
            line.push(' ');
            line.push_str(argument);
        }
        line
    }
}

/// How many places a glob may mean when nothing else is said.
pub const USUAL_LIMIT: usize = 100;

/// The group of this process's probes; `rtrec probe` uses [`LASTING_GROUP`].
pub fn session_group() -> String {
    format!("rtrec_{}", std::process::id())
}

/// The group of probes that stay until they are removed.
pub const LASTING_GROUP: &str = "rtrec";

/// Turns specs into probes. Binaries that were read once are kept.
#[derive(Debug)]
pub struct Resolver {
    top: Instance,
    namer: Namer,
    limit: usize,
    binaries: HashMap<PathBuf, Rc<user::Opened>>,
    known: HashMap<String, Vec<Probe>>,
    types: kernel::Types,
}

impl Resolver {
    /// A resolver whose events are in `group` unless a spec names another.
    pub fn new(top: &Instance, group: String) -> Self {
        Resolver {
            top: top.clone(),
            namer: Namer::new(group),
            limit: USUAL_LIMIT,
            binaries: HashMap::new(),
            known: HashMap::new(),
            types: kernel::Types::default(),
        }
    }

    /// Lets a glob mean so many places.
    pub fn limited_to(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Gives none of these names to a probe.
    pub fn avoid(&mut self, names: impl Iterator<Item = EventName>) {
        self.namer.avoid(names);
    }

    /// The probes that a spec means; at least one. The same spec means the same probes again.
    pub fn resolve(&mut self, spec: &Spec) -> Result<Vec<Probe>, ProbeError> {
        let key = format!("{:?} {} {} {:?}", spec.kind, spec.text, spec.returns, spec.arguments);
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        self.check_support(spec.kind)?;
        let probes = match &spec.target {
            Target::User(binary, place) => self.user(spec, binary, place)?,
            _ => self.kernel(spec)?,
        };
        self.known.insert(key, probes.clone());
        Ok(probes)
    }

    /// Whether the kernel has probes of this kind at all.
    pub fn check_support(&self, kind: Kind) -> Result<(), ProbeError> {
        kernel::check_support(&self.top, kind)
    }

    /// A binary, read once.
    fn binary(&mut self, path: &Path) -> Result<Rc<user::Opened>, ProbeError> {
        if let Some(known) = self.binaries.get(path) {
            return Ok(Rc::clone(known));
        }
        let opened = Rc::new(user::Opened::new(Binary::open(path)?));
        self.binaries.insert(path.to_owned(), Rc::clone(&opened));
        Ok(opened)
    }

    fn check_count(&self, spec: &Spec, count: usize) -> Result<(), ProbeError> {
        if spec.is_glob() && count > self.limit {
            return Err(ProbeError::TooMany { word: spec.text.clone(), count, limit: self.limit });
        }
        Ok(())
    }
}

/// How many probes have their notes told one by one.
const TOLD_SINGLY: usize = 3;

/// What is to be told of probes: where, and what is not quite as asked for. Of many probes only how many there are.
pub fn notes(probes: &[Probe]) -> Vec<(String, String)> {
    let noted: Vec<&Probe> = probes.iter().filter(|probe| !probe.notes.is_empty()).collect();
    if noted.len() > TOLD_SINGLY {
        let count = format!("{} of {} probes", noted.len(), probes.len());
        let note = "parameters are left out, or are captured behind the function's prologue; each alone says which";
        return vec![(count, note.to_owned())];
    }
    let each = noted.into_iter().flat_map(|probe| probe.notes.iter().map(|note| (probe.target.clone(), note.clone())));
    each.collect()
}

/// Defines probes. When one is refused, those before it are removed again.
pub fn define(top: &Instance, probes: &[Probe], undo: &mut Undo) -> Result<(), ProbeError> {
    let before = undo.steps().len();
    for probe in probes {
        if let Err(source) = top.define(probe.file, &probe.line(), undo) {
            undo.run_back_to(before);
            return Err(refused(probe, source));
        }
    }
    Ok(())
}

fn refused(probe: &Probe, source: crate::tracefs::Error) -> ProbeError {
    match source.errno() {
        Some(nix::errno::Errno::EEXIST) if source.log.is_none() => ProbeError::NameTaken(probe.name.to_string()),
        _ => ProbeError::Refused { target: probe.target.clone(), source },
    }
}
