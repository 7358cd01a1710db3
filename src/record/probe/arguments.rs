//! Arguments of user probes: passed on as they are, by the calling convention, or from a static probe's note.

use super::error::ProbeError;
use super::spec::{Spec, is_identifier};
use super::user::Opened;
use crate::symbols::Machine;
use crate::symbols::usdt::{self, Usdt};

/// The place the arguments are wanted at.
pub(super) struct At<'a> {
    pub(super) opened: &'a Opened,
    pub(super) address: u64,
    pub(super) entry: Option<u64>,
    pub(super) told: &'a str,
    pub(super) usdt: Option<&'a Usdt>,
}

/// Fetch arguments, and what comes with them.
#[derive(Default)]
pub(super) struct Fetched {
    pub(super) arguments: Vec<String>,
    /// Where the probe has to be for them, if that is not where it was asked for.
    pub(super) address: Option<u64>,
    pub(super) notes: Vec<String>,
}

/// The registers of the first six integer arguments.
const X86_64: [&str; 6] = ["%di", "%si", "%dx", "%cx", "%r8", "%r9"];
const AARCH64: [&str; 6] = ["%x0", "%x1", "%x2", "%x3", "%x4", "%x5"];

/// The arguments of a user probe.
pub(super) fn user(spec: &Spec, at: &At<'_>) -> Result<Fetched, ProbeError> {
    if spec.arguments.is_empty() {
        return Ok(usual(spec, at));
    }
    let mut fetched = Fetched::default();
    for argument in &spec.arguments {
        let (_, body) = split_name(argument);
        if is_fetch(body) {
            fetched.arguments.push(by_convention(argument, spec, at)?);
        } else {
            return Err(by_name(argument, at, "only registers and memory can be named here".to_owned()));
        }
    }
    Ok(fetched)
}

/// What is captured when nothing was said.
fn usual(_spec: &Spec, at: &At<'_>) -> Fetched {
    let mut fetched = Fetched::default();
    if let Some(usdt) = at.usdt {
        match static_arguments(usdt, at) {
            Ok(arguments) => fetched.arguments = arguments,
            Err(operand) => fetched.notes.push(format!("an argument cannot be said to the kernel: {operand}")),
        }
    }
    fetched
}

fn static_arguments(usdt: &Usdt, at: &At<'_>) -> Result<Vec<String>, String> {
    usdt::fetch_arguments(usdt, at.opened.binary.machine(), |_| None)
}

fn by_name(argument: &str, at: &At<'_>, why: String) -> ProbeError {
    ProbeError::Argument { argument: argument.to_owned(), place: at.told.to_owned(), why, known: Vec::new() }
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
            return Err(by_name(argument, at, format!("the calling convention of {name} is not known here")));
        }
    };
    if spec.returns {
        return Err(by_name(
            argument,
            at,
            "registers hold something else when a function returns; $retval is there".to_owned(),
        ));
    }
    if at.entry.is_some_and(|entry| entry != at.address) {
        return Err(by_name(argument, at, "arguments are in their registers only where a function begins".to_owned()));
    }
    let mut out = argument.to_owned();
    for (index, register) in registers.iter().enumerate() {
        let number = format!("$arg{}", index + 1);
        if let Some(place) = out.find(&number) {
            if !out[place + number.len()..].starts_with(|c: char| c.is_ascii_digit()) {
                out.replace_range(place..place + number.len(), register);
            }
        }
    }
    if out.contains("$arg") {
        return Err(by_name(
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
