//! The tests on this machine's kernel, by nextest where it is installed, else by the harness alone.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::counting::counted_aloud;
use super::targets::{Target, units};
use super::times::Times;
use super::{Row, Settings};
use crate::error::{Error, Result};
use crate::{cache, host, project};

/// Runs them and the examples in the documentation.
pub(super) fn run(settings: &Settings, targets: &[Target], times: &Times) -> Result<Row> {
    let release = host::text(Command::new("uname").arg("-r"))?;
    let mut row = Row::new(format!("native, {}", release.trim_end()));
    let not_run = NotRun::create()?;
    let units = units(targets);
    let filter = settings.filter.as_deref();
    let mut command = project::cargo();
    command.env("RTREC_NOT_RUN", &not_run.path);
    if has_nextest() {
        command.args(["nextest", "run", "--no-fail-fast", "--no-tests", "pass", "--color", "never"]);
        command.args(["--cargo-quiet", "--status-level", "pass", "--final-status-level", "slow"]);
        command.args(&units).args(filter);
    } else {
        command.args(["test", "--quiet", "--no-fail-fast"]).args(&units).args(filter);
    }
    row.add(&counted_aloud(&mut command, times)?);
    let mut examples = project::cargo();
    examples.args(["test", "--quiet", "--workspace", "--doc", "--no-fail-fast"]).args(filter);
    row.add(&counted_aloud(&mut examples, times)?);
    for reason in not_run.reasons()? {
        // It returned early, so the harness takes it for passed.
        row.passed = row.passed.saturating_sub(1);
        row.skipped += 1;
        row.not_run.push(reason);
    }
    Ok(row)
}

fn has_nextest() -> bool {
    host::output(project::cargo().args(["nextest", "--version"])).is_ok()
}

/// The file in which native tests state that they did not run.
struct NotRun {
    path: PathBuf,
}

impl NotRun {
    fn create() -> Result<Self> {
        let folder = project::target("lab");
        cache::create_folder(&folder)?;
        let path = folder.join(format!("not-run.{}", std::process::id()));
        cache::write_file(&path, "")?;
        Ok(Self { path })
    }

    fn reasons(&self) -> Result<Vec<String>> {
        let text = fs::read_to_string(&self.path)
            .map_err(|e| Error::io("the list of tests that did not run is gone", &self.path, e))?;
        Ok(text.lines().map(|line| line.replacen('\t', ": ", 1)).collect())
    }
}

impl Drop for NotRun {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
