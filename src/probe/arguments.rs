//! Arguments of user probes: passed on as they are, by the calling convention, or from a static probe's note.

use super::FieldValues;
use super::error::ProbeError;
use super::spec::{Spec, is_identifier};
use super::user::Opened;
use crate::symbols::Machine;
use crate::symbols::parameters::{Fetch, Scope, VariableError};
use crate::symbols::usdt::{self, Usdt};

/// The place the arguments are wanted at.
pub(super) struct At<'a> {
    pub(super) opened: &'a Opened,
    pub(super) address: u64,
    pub(super) entry: Option<u64>,
    pub(super) shown: &'a str,
    pub(super) usdt: Option<&'a Usdt>,
    /// It was named by its source line.
    pub(super) is_line: bool,
}

/// Fetch arguments, and what comes with them.
#[derive(Default)]
pub(super) struct Fetched {
    pub(super) arguments: Vec<String>,
    /// Where the probe has to be for them, if that is not where it was asked for.
    pub(super) address: Option<u64>,
    pub(super) notes: Vec<String>,
    /// Names of the values of fields that are enumerations.
    pub(super) values: FieldValues,
}

/// The registers of the first six integer arguments.
const X86_64: [&str; 6] = ["%di", "%si", "%dx", "%cx", "%r8", "%r9"];
const AARCH64: [&str; 6] = ["%x0", "%x1", "%x2", "%x3", "%x4", "%x5"];

/// The arguments of a user probe.
pub(super) fn user(spec: &Spec, at: &At<'_>) -> Result<Fetched, ProbeError> {
    match all(spec, at, at.address) {
        Err(Trouble::Later) => {
            let later = after_prologue(at).ok_or_else(|| refuse(&spec.text, at, NO_PROLOGUE.to_owned()))?;
            let mut fetched = all(spec, at, later).map_err(|trouble| trouble.into_error(spec, at))?;
            fetched.address = Some(later);
            fetched.notes.push(format!(
                "probed {} bytes into the function, where it has stored its parameters (built without optimisation)",
                later - at.address
            ));
            Ok(fetched)
        }
        other => other.map_err(|trouble| trouble.into_error(spec, at)),
    }
}

const NO_PROLOGUE: &str = "it is not stored yet where the function begins, and no line tells where it is";

/// Why arguments cannot be had, or not yet.
enum Trouble {
    Later,
    Refused(Box<ProbeError>),
}

impl Trouble {
    fn into_error(self, spec: &Spec, at: &At<'_>) -> ProbeError {
        match self {
            Trouble::Refused(error) => *error,
            Trouble::Later => refuse(&spec.text, at, NO_PROLOGUE.to_owned()),
        }
    }
}

impl From<ProbeError> for Trouble {
    fn from(error: ProbeError) -> Self {
        Trouble::Refused(Box::new(error))
    }
}

fn after_prologue(at: &At<'_>) -> Option<u64> {
    let functions = at.opened.binary.functions();
    let end = functions.end_of(functions.at(at.address)?)?;
    at.opened.dwarf()?.after_prologue(at.address, end)
}

fn all(spec: &Spec, at: &At<'_>, address: u64) -> Result<Fetched, Trouble> {
    if spec.arguments.is_empty() {
        return usual(spec, at, address);
    }
    let mut fetched = Fetched::default();
    for argument in &spec.arguments {
        let (name, body) = split_name(argument);
        if is_fetch(body) {
            fetched.arguments.push(by_convention(argument, spec, at)?);
            continue;
        }
        if spec.returns {
            let (argument, place) = (argument.clone(), at.shown.to_owned());
            return Err(ProbeError::NotReturned { argument, place }.into());
        }
        let scope = scope(argument, at, address)?;
        match scope.fetch(body) {
            Ok(found) => {
                let name = name.map_or_else(|| found.name.clone(), str::to_owned);
                fetched.add(name, &found);
            }
            Err(VariableError::Later) => return Err(Trouble::Later),
            Err(error) => return Err(unknown(argument, at, error).into()),
        }
    }
    Ok(fetched)
}

/// The variables at the place.
fn scope<'a>(argument: &str, at: &At<'a>, address: u64) -> Result<Scope<'a>, ProbeError> {
    let dwarf = at.opened.needs_dwarf(&format!("the variable {argument}"))?;
    let entry = if address == at.address { at.entry } else { None };
    dwarf
        .scope(&at.opened.binary, address, entry)
        .ok_or_else(|| refuse(argument, at, "the debug information does not know this place".to_owned()))
}

fn unknown(argument: &str, at: &At<'_>, error: VariableError) -> ProbeError {
    let (why, known) = match error {
        VariableError::Unknown { name, known } if name == argument || known.is_empty() => {
            ("there is no variable of that name".to_owned(), known)
        }
        VariableError::Unknown { name, known } => (format!("{name} is not known"), known),
        VariableError::Whole(known) => ("it is a structure; name one of its members".to_owned(), known),
        VariableError::Nowhere(why) => (why, Vec::new()),
        VariableError::Syntax(why) => (why.to_owned(), Vec::new()),
        VariableError::Later => (NO_PROLOGUE.to_owned(), Vec::new()),
    };
    ProbeError::Argument { argument: argument.to_owned(), place: at.shown.to_owned(), why, known }
}

/// What is captured when nothing was said.
fn usual(spec: &Spec, at: &At<'_>, address: u64) -> Result<Fetched, Trouble> {
    let mut fetched = Fetched::default();
    if let Some(usdt) = at.usdt {
        match static_arguments(usdt, at) {
            Ok(arguments) => fetched.arguments = arguments,
            Err(operand) => fetched.notes.push(format!("an argument cannot be said to the kernel: {operand}")),
        }
        return Ok(fetched);
    }
    let known_function = if address == at.address { at.entry } else { None };
    // In the middle of a function nobody asked for its parameters, unless a line was named.
    let wanted = known_function == Some(address) || at.is_line || address != at.address;
    let dwarf = if wanted { at.opened.dwarf() } else { None };
    let scope = dwarf.and_then(|dwarf| dwarf.scope(&at.opened.binary, address, known_function));
    let Some(scope) = scope else { return Ok(fetched) };
    if spec.returns {
        let returned = scope.returned();
        returned.into_iter().for_each(|found| fetched.add(found.name.clone(), &found));
        return Ok(fetched);
    }
    for (name, found) in scope.parameters() {
        match found {
            Ok(found) => found.into_iter().for_each(|found| fetched.add(found.name.clone(), &found)),
            Err(VariableError::Later) => return Err(Trouble::Later),
            Err(error) => {
                let why = match error {
                    VariableError::Nowhere(why) => why,
                    VariableError::Syntax(why) => why.to_owned(),
                    _ => "it is not known".to_owned(),
                };
                fetched.notes.push(format!("the parameter {name} is left out: {why}"));
            }
        }
    }
    if fetched.arguments.len() > MAX_ARGUMENTS {
        fetched.arguments.truncate(MAX_ARGUMENTS);
        fetched.notes.push(format!("only the first {MAX_ARGUMENTS} values are captured"));
    }
    Ok(fetched)
}

/// What the kernel takes (MAX_TRACE_ARGS).
const MAX_ARGUMENTS: usize = 128;

impl Fetched {
    /// Adds a value under a name of its own.
    fn add(&mut self, name: String, found: &Fetch) {
        let taken = |name: &str| self.arguments.iter().any(|argument| argument.split('=').next() == Some(name));
        let mut unique = name.clone();
        let mut number = 1;
        while taken(&unique) {
            number += 1;
            unique = format!("{name}_{number}");
        }
        self.arguments.push(format!("{unique}={}", found.text));
        if !found.values.is_empty() {
            self.values.push((unique, found.values.clone()));
        }
    }
}

fn static_arguments(usdt: &Usdt, at: &At<'_>) -> Result<Vec<String>, String> {
    usdt::fetch_arguments(usdt, at.opened.binary.machine(), |_| None)
}

fn refuse(argument: &str, at: &At<'_>, why: String) -> ProbeError {
    ProbeError::Argument { argument: argument.to_owned(), place: at.shown.to_owned(), why, known: Vec::new() }
}

/// `name=body`; the name is missing when what stands before `=` is no name.
pub(super) fn split_name(argument: &str) -> (Option<&str>, &str) {
    match argument.split_once('=') {
        Some((name, body)) if is_identifier(name) => (Some(name), body),
        _ => (None, argument),
    }
}

/// Whether it is in the kernel's own words.
pub(super) fn is_fetch(body: &str) -> bool {
    body.starts_with(['%', '$', '@', '+', '-', '\\'])
}

/// Puts registers for `$arg1` … `$arg6`.
fn by_convention(argument: &str, spec: &Spec, at: &At<'_>) -> Result<String, ProbeError> {
    if !argument.contains("$arg") {
        return Ok(argument.to_owned());
    }
    let machine = at.opened.binary.machine();
    let registers = match machine {
        Machine::X86_64 => &X86_64,
        Machine::Aarch64 => &AARCH64,
        Machine::Other(name) => {
            return Err(refuse(argument, at, format!("the calling convention of {name} is not known here")));
        }
    };
    if spec.returns {
        return Err(refuse(
            argument,
            at,
            "registers hold something else when a function returns; $retval is there".to_owned(),
        ));
    }
    if at.entry.is_some_and(|entry| entry != at.address) {
        return Err(refuse(argument, at, "arguments are in their registers only where a function begins".to_owned()));
    }
    let mut out = argument.to_owned();
    for (index, register) in registers.iter().enumerate() {
        let number = format!("$arg{}", index + 1);
        if let Some(place) = out.find(&number)
            && !out[place + number.len()..].starts_with(|c: char| c.is_ascii_digit())
        {
            out.replace_range(place..place + number.len(), register);
        }
    }
    if out.contains("$arg") {
        return Err(refuse(
            argument,
            at,
            "there are $arg1 to $arg6; more are on the stack: $stack1, $stack2 …".to_owned(),
        ));
    }
    // The register's name makes a poor name of a field.
    Ok(match split_name(argument) {
        (None, body) if body.starts_with("$arg") => {
            let number: String = body[1..].chars().take_while(char::is_ascii_alphanumeric).collect();
            format!("{number}={out}")
        }
        _ => out,
    })
}
