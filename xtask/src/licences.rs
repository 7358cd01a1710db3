//! Licence hygiene: every dependency may be used under a licence from a short list.
//!
//! Owns: the list, and reading a crate's licence expression.

use std::process::Command;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::{host, project};

/// Licences that ask for nothing but their text to be passed on.
const ALLOWED: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

/// Crates under other licences, with the reason why they may be used.
const EXCEPTIONS: [(&str, &str, &str); 1] =
    [("inferno", "CDDL-1.0", "asks for the source of its own files only, which are used as they are published")];

/// Checks all crates that are built on this platform; returns how many there are.
pub fn check() -> Result<usize> {
    let metadata = metadata(&["--filter-platform", "x86_64-unknown-linux-gnu"])?;
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let foreign = || packages.iter().filter(|package| !package["source"].is_null());
    let refused: Vec<String> = foreign()
        .filter(|package| !package["license"].as_str().is_some_and(is_allowed) && !is_excepted(package))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    if refused.is_empty() {
        return Ok(foreign().count());
    }
    Err(Error::new("dependencies with licences that are not on the list")
        .fact("crates", refused.join("\n"))
        .advice("do without the crate, or add its licence to xtask/src/licences.rs with a reason"))
}

fn is_excepted(package: &Value) -> bool {
    EXCEPTIONS.iter().any(|(name, licence, _)| package["name"] == *name && package["license"] == *licence)
}

/// What cargo knows of the workspace.
pub fn metadata(arguments: &[&str]) -> Result<Value> {
    let mut command: Command = project::cargo();
    command.args(["metadata", "--format-version", "1"]).args(arguments);
    let text = host::text(&mut command)?;
    serde_json::from_str(&text)
        .map_err(|e| Error::new("cargo metadata wrote what cannot be read").fact("system", e.to_string()))
}

/// True if the expression can be met with licences from the list. `A/B` is the old form of `A OR B`.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest) && rest.is_empty()
}

/// `OR` binds weaker than `AND`. Both sides are always read, so that nothing is left over.
fn any_of(words: &mut &[&str]) -> bool {
    let mut met = all_of(words);
    while take(words, "OR") {
        met |= all_of(words);
    }
    met
}

fn all_of(words: &mut &[&str]) -> bool {
    let mut met = one(words);
    while take(words, "AND") {
        met &= one(words);
    }
    met
}

fn one(words: &mut &[&str]) -> bool {
    if take(words, "(") {
        let met = any_of(words);
        return take(words, ")") && met;
    }
    let Some((name, rest)) = words.split_first() else {
        return false;
    };
    *words = rest;
    if !take(words, "WITH") {
        return ALLOWED.contains(name);
    }
    let Some((exception, rest)) = words.split_first() else {
        return false;
    };
    *words = rest;
    ALLOWED.contains(name) || ALLOWED.contains(&format!("{name} WITH {exception}").as_str())
}

fn take(words: &mut &[&str], word: &str) -> bool {
    match words.split_first() {
        Some((first, rest)) if *first == word => {
            *words = rest;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_allowed_choice_is_enough_but_every_part_of_an_and_is_needed() {
        assert!(is_allowed("MIT"));
        assert!(is_allowed("GPL-3.0 OR MIT"));
        assert!(is_allowed("Unlicense/MIT"));
        assert!(is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(is_allowed("Apache-2.0 WITH LLVM-exception OR GPL-2.0"));
        assert!(!is_allowed("MIT AND GPL-3.0"));
        assert!(!is_allowed("(MIT OR Apache-2.0) AND GPL-3.0"));
        assert!(!is_allowed("GPL-2.0") && !is_allowed("") && !is_allowed("(MIT"));
    }
}
