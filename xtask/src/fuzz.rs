//! `cargo xtask fuzz`: the fuzz targets, each for some minutes, from seeds taken from the fixtures.
//!
//! Owns: what fuzzing needs of the host, seeding, running, the table of executions and findings.
//! Does not own: the targets (see `fuzz/`), or their short form, which is an ordinary test (`tests/fuzz_smoke.rs`).

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::error::{Error, Result};
use crate::{host, project};

/// Every target, and the longest input that is worth its time.
const TARGETS: [(&str, u32); 10] = [
    ("dat", 65_536),
    ("subbuf", 33_000),
    ("format", 8_192),
    ("print_fmt", 4_096),
    ("filter", 512),
    ("report", 65_536),
    ("spec", 512),
    ("btf", 4_096),
    ("usdt", 4_096),
    ("windows", 65_536),
];

/// Seconds that one input may take.
const TIMEOUT_S: u32 = 20;
/// Memory of a whole run; each input has its own, narrower bound (see `fuzz/src/ration.rs`).
const MEMORY_MB: u32 = 2_048;

/// What to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The targets; all if empty.
    pub targets: Vec<String>,
    /// Minutes for each of them.
    pub minutes: u32,
}

/// What came of one target.
struct Row {
    target: &'static str,
    executions: u64,
    per_second: u64,
    peak_mb: u64,
    /// What libFuzzer said of the input that failed.
    finding: Option<String>,
}

/// Runs the targets one after another; the exit code is 1 if one of them found something.
pub fn run(settings: &Settings) -> Result<ExitCode> {
    let targets = chosen(&settings.targets)?;
    need()?;
    let folder = project::root().join("fuzz");
    seed(&folder)?;
    let mut rows = Vec::new();
    for (target, longest) in targets {
        println!("\n# {target}: {} minutes", settings.minutes);
        rows.push(one(target, longest, settings.minutes)?);
    }
    println!("\n{:<10} {:>12} {:>8} {:>8}  finding", "target", "executions", "per s", "peak MB");
    for row in &rows {
        let finding = row.finding.as_deref().unwrap_or("none");
        println!("{:<10} {:>12} {:>8} {:>8}  {finding}", row.target, row.executions, row.per_second, row.peak_mb);
    }
    let found = rows.iter().filter(|row| row.finding.is_some()).count();
    if found > 0 {
        println!("\nThe inputs are in fuzz/artifacts. Each becomes a named test beside the code it broke.");
    }
    Ok(if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(names: &[String]) -> Result<Vec<(&'static str, u32)>> {
    if names.is_empty() {
        return Ok(TARGETS.to_vec());
    }
    names
        .iter()
        .map(|name| {
            TARGETS.into_iter().find(|(target, _)| target == name).ok_or_else(|| {
                let known: Vec<&str> = TARGETS.iter().map(|(target, _)| *target).collect();
                Error::new(format!("no fuzz target is called {name:?}")).advice(known.join(", "))
            })
        })
        .collect()
}

/// A nightly toolchain, for its coverage flags; cargo-fuzz; a C++ compiler, for libFuzzer.
fn need() -> Result<()> {
    if host::find_program("rustup").is_none() {
        return Err(Error::new("fuzzing needs a nightly toolchain, and rustup is not here to choose it")
            .advice("install rustup, then: rustup toolchain install nightly"));
    }
    host::output(Command::new("rustup").args(["run", "nightly", "rustc", "--version"])).map_err(|_| {
        Error::new("fuzzing needs a nightly toolchain").advice("rustup toolchain install --profile minimal nightly")
    })?;
    host::need(&[host::CXX])?;
    if host::output(nightly().args(["fuzz", "--version"])).is_err() {
        eprintln!("xtask: installing cargo-fuzz");
        host::run(nightly().args(["install", "--locked", "cargo-fuzz"]))
            .map_err(|_| Error::new("fuzzing needs cargo-fuzz").advice("cargo install --locked cargo-fuzz"))?;
    }
    Ok(())
}

/// Cargo of the nightly toolchain, free of what the cargo that runs us set.
fn nightly() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).current_dir(project::root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let ours = ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH"];
        if ours.contains(&&*text) || text.starts_with("CARGO_PKG_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Writes the seeds beside what earlier runs found.
fn seed(folder: &Path) -> Result<()> {
    let fixtures = project::root().join("tests/fixtures");
    let mut command = nightly();
    command.args(["run", "--quiet", "--example", "seeds", "--manifest-path"]).arg(folder.join("Cargo.toml"));
    command.arg("--").arg(fixtures).arg(folder.join("corpus"));
    host::run(&mut command)
}

/// Runs one target. There is no unsafe code in what it reaches, so no sanitizer slows it down.
fn one(target: &'static str, longest: u32, minutes: u32) -> Result<Row> {
    let mut command = nightly();
    command.args(["fuzz", "run", "--sanitizer", "none", target, "--"]);
    command.arg(format!("-max_total_time={}", minutes * 60));
    command.args([format!("-timeout={TIMEOUT_S}"), format!("-rss_limit_mb={MEMORY_MB}")]);
    command.args([format!("-max_len={longest}"), "-print_final_stats=1".into(), "-verbosity=1".into()]);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| host::cannot_start(&command, e))?;
    let said = BufReader::new(child.stderr.take().expect("standard error is a pipe"));
    let mut row = Row { target, executions: 0, per_second: 0, peak_mb: 0, finding: None };
    for line in said.split(b'\n').map_while(std::io::Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        row.take(&line);
        eprintln!("{line}");
    }
    let status = child.wait().map_err(|e| host::cannot_start(&command, e))?;
    if !status.success() && row.finding.is_none() {
        return Err(Error::new(format!("the target {target} did not run"))
            .fact("ran", host::shown(&command))
            .fact("ended", status.to_string()));
    }
    Ok(row)
}

impl Row {
    /// Keeps what the table needs of a line of libFuzzer's.
    fn take(&mut self, line: &str) {
        let number = |name: &str| {
            let value = line.strip_prefix("stat::")?.strip_prefix(name)?.strip_prefix(':')?;
            value.trim().parse::<u64>().ok()
        };
        if let Some(n) = number("number_of_executed_units") {
            self.executions = n;
        } else if let Some(n) = number("average_exec_per_sec") {
            self.per_second = n;
        } else if let Some(n) = number("peak_rss_mb") {
            self.peak_mb = n;
        } else if line.contains("Test unit written to") {
            let path = line.rsplit(' ').next().map(PathBuf::from).unwrap_or_default();
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            self.finding = Some(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_made_of_what_libfuzzer_says_at_its_end() {
        let mut row = Row { target: "dat", executions: 0, per_second: 0, peak_mb: 0, finding: None };
        for line in [
            "#2097152\tpulse  cov: 100 ft: 200 corp: 10/1000b exec/s: 1000 rss: 40Mb",
            "stat::number_of_executed_units: 12345",
            "stat::average_exec_per_sec:     67",
            "stat::peak_rss_mb:              89",
        ] {
            row.take(line);
        }
        assert_eq!((row.executions, row.per_second, row.peak_mb, row.finding.clone()), (12345, 67, 89, None));
        row.take("artifact_prefix='x/'; Test unit written to /a/fuzz/artifacts/dat/crash-0123");
        assert_eq!(row.finding.as_deref(), Some("crash-0123"));
    }

    #[test]
    fn unknown_targets_are_refused_with_the_known_ones() {
        assert_eq!(chosen(&["filter".into()]).unwrap(), [("filter", 512)]);
        assert!(chosen(&["nosuch".into()]).unwrap_err().to_string().contains("subbuf"));
    }
}
