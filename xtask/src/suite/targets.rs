//! The workspace's integration tests: which there are, building them, and the built programs of the lab's.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::changed::Chosen;
use crate::error::{Error, Result};
use crate::{host, licences, project};

/// An integration test of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) package: String,
    pub(crate) name: String,
}

impl Target {
    pub(super) fn is_lab(&self) -> bool {
        self.name.starts_with("lab")
    }
}

/// The workspace's integration tests that were chosen.
pub(super) fn all(chosen: &Chosen) -> Result<Vec<Target>> {
    let metadata = licences::metadata(&["--no-deps"])?;
    let mut targets = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for target in package["targets"].as_array().into_iter().flatten() {
            if target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "test"))
                && let (Some(package), Some(name)) = (package["name"].as_str(), target["name"].as_str())
                && chosen.has(name)
            {
                targets.push(Target { package: package.to_owned(), name: name.to_owned() });
            }
        }
    }
    Ok(targets)
}

/// What cargo selects for the native tests: the tests beside the code, and these targets.
pub(super) fn units(targets: &[Target]) -> Vec<&str> {
    let mut units = vec!["--workspace", "--lib", "--bins"];
    targets.iter().for_each(|target| units.extend(["--test", &target.name]));
    units
}

/// Builds the tests beside the code and these targets, all in one call, which compiles nothing twice.
pub(super) fn build(targets: &[Target]) -> Result<()> {
    let mut command = project::cargo();
    command.args(["test", "--quiet", "--no-run"]).args(units(targets));
    host::run(&mut command)
}

/// The program of a target; builds it if need be. It is looked up the way [`build`] builds it.
pub(crate) fn program(target: &str) -> Result<PathBuf> {
    let mut command = project::cargo();
    command.args(["test", "--quiet", "--no-run", "--message-format", "json-render-diagnostics"]);
    let text = host::text(command.args(["--workspace", "--test", target]))?;
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let program = messages
        .filter(|message| message["target"]["name"] == target && message["profile"]["test"] == true)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.ok_or_else(|| Error::new(format!("cargo names no program of the tests {target}")))
}

/// The names of the tests in a built program.
pub(crate) fn listed(program: &PathBuf) -> Result<Vec<String>> {
    let text = host::text(Command::new(program).args(["--list", "--format", "terse"]).current_dir(project::root()))?;
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}
