//! Errors in words: what failed, where and with what, what the kernel said, what to try. All words for users about errors are here.
//!
//! | file | errors of |
//! | --- | --- |
//! | `mod.rs` | [`Explained`], the shape of all messages |
//! | [`record`] | the recorder, and its notes |
//! | [`probe`] | probes by name |
//! | [`report`] | files, selections, analyses |
//!
//! Imported by the subcommands; imports the floors whose errors it explains. A new kind of error is a file here that makes an
//! [`Explained`].

pub(in crate::cli) mod probe;
pub(in crate::cli) mod record;
pub(in crate::cli) mod report;

use std::fmt::Write as _;

use nix::errno::Errno;

use super::say::say_raw;
use crate::tracefs;

/// An error in words, with the exit status it deserves.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) struct Explained {
    what: String,
    rows: Vec<(&'static str, String)>,
    pub(in crate::cli) status: u8,
}

impl Explained {
    pub(in crate::cli) fn new(what: impl Into<String>) -> Self {
        Explained { what: what.into(), rows: Vec::new(), status: 2 }
    }

    pub(in crate::cli) fn row(mut self, label: &'static str, text: impl Into<String>) -> Self {
        self.rows.push((label, text.into()));
        self
    }

    fn with_status(self, status: u8) -> Self {
        Explained { status, ..self }
    }

    /// The rows about a control file: its path, what was written, the kernel's answer and its log.
    pub(in crate::cli) fn tracefs(mut self, error: &tracefs::Error) -> Self {
        self.rows.push(("file", error.path.display().to_string()));
        if let Some(wrote) = &error.wrote {
            self.rows.push(("wrote", wrote.clone()));
        }
        let mut said = io_text(&error.source);
        if let Some(log) = &error.log {
            let _ = write!(said, "\n{}\n  {}\n  {}^", log.message, log.command, " ".repeat(log.caret));
        }
        self.row("kernel", said)
    }

    pub(in crate::cli) fn nearest(self, nearest: &[String], otherwise: &str) -> Self {
        if nearest.is_empty() {
            return self.row("try", otherwise);
        }
        self.row("nearest", nearest.join(", "))
    }

    /// What failed, without what belongs to it.
    #[cfg(test)]
    pub(in crate::cli) fn what(&self) -> &str {
        &self.what
    }

    /// Prints it to stderr.
    pub(in crate::cli) fn print(&self, command: &str) {
        say_raw(&self.text(command));
    }

    /// The whole message, ready for stderr.
    pub(in crate::cli) fn text(&self, command: &str) -> String {
        let mut out = format!("rtrec {command}: {}\n", self.what);
        for (label, text) in &self.rows {
            let mut lines = text.lines();
            let _ = writeln!(out, "  {label:<8}{}", lines.next().unwrap_or_default());
            for line in lines {
                let _ = writeln!(out, "          {line}");
            }
        }
        out
    }
}

/// `EINVAL (Invalid argument)`, or the words of an error that has no number.
pub(in crate::cli) fn io_text(error: &std::io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(errno) => format!("{errno:?} ({})", errno.desc()),
        None => error.to_string(),
    }
}
