//! The checks that run no test: formatting, lints, documentation, licences.

use super::Row;
use crate::error::Result;
use crate::{host, licences, project};

/// Runs them all: each counts as one.
pub(super) fn run() -> Row {
    let mut row = Row::new("checks");
    let cargo = |arguments: &[&str]| {
        let mut command = project::cargo();
        command.args(arguments);
        command
    };
    let mut document = cargo(&["doc", "--quiet", "--workspace", "--no-deps"]);
    document.env("RUSTDOCFLAGS", "-D warnings");
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
    let mut note = |name: &str, outcome: Result<()>| match outcome {
        Ok(()) => {
            row.passed += 1;
            println!("check {name} ... ok");
        }
        Err(error) => {
            row.failed += 1;
            println!("check {name} ... FAILED\n{error}");
        }
    };
    note("fmt", host::run(&mut cargo(&["fmt", "--all", "--check"])));
    note("clippy", host::run(&mut cargo(&clippy)));
    note("doc", host::run(&mut document));
    note("licences", licences::check().map(drop));
    row
}
