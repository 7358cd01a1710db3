//! What went wrong in a chore, and what to do about it.
//!
//! Owns: the one error type of this crate and its wording: what failed, the facts (command, file, output), the next step.
//! Does not own: exit codes, which `main` chooses.

use std::fmt;
use std::io;
use std::path::Path;

/// A result whose error is this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// A chore that failed: what, with which facts, and what to try next.
#[derive(Debug)]
#[non_exhaustive]
pub struct Error {
    what: String,
    facts: Vec<(&'static str, String)>,
    advice: Option<String>,
    source: Option<io::Error>,
}

impl Error {
    /// Starts an error from one line that says what failed.
    #[must_use]
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), facts: Vec::new(), advice: None, source: None }
    }

    /// An operation on a file or folder that the system refused.
    #[must_use]
    pub fn io(what: impl Into<String>, path: &Path, source: io::Error) -> Self {
        Self { source: Some(source), ..Self::new(what).fact("file", path.display().to_string()) }
    }

    /// Adds a named fact: a command line, a path, what a program said.
    #[must_use]
    pub fn fact(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.facts.push((name, value.into()));
        self
    }

    /// Adds the next step for the reader.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The first line alone, for tables that have no room for the facts.
    #[must_use]
    pub fn headline(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for (name, value) in &self.facts {
            write_fact(f, name, value)?;
        }
        if let Some(source) = &self.source {
            write_fact(f, "system", &source.to_string())?;
        }
        if let Some(advice) = &self.advice {
            write_fact(f, "try", advice)?;
        }
        Ok(())
    }
}

/// Writes `  name    value`, with the value's further lines under its first one.
fn write_fact(f: &mut fmt::Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    let mut lines = value.trim_end().lines();
    write!(f, "\n  {name:<8}{}", lines.next().unwrap_or(""))?;
    for line in lines {
        write!(f, "\n          {line}")?;
    }
    Ok(())
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_stand_under_the_headline_and_advice_comes_last() {
        let error = Error::new("apt-get failed").advice("run it as root").fact("said", "one\ntwo\n");
        assert_eq!(error.to_string(), "apt-get failed\n  said    one\n          two\n  try     run it as root");
    }
}
