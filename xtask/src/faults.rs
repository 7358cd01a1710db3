//! `cargo xtask faults`: what goes wrong around a recorder, tried natively and on the lab's kernels, in one table.
//!
//! Owns: running the tests of faults with many tries, collecting the rows they print.
//! Does not own: the faults (see `tests/live/kills.rs`, `tests/live/faults.rs`, `tests/lab/faults.rs`). A test prints its row once
//! all that the row claims was asserted: `FAULT|fault|tries|expected|recovered|tracefs as before`.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use crate::error::Result;
use crate::kernels::Kernel;
use crate::{host, project, setup, suite};

/// What to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Kills at random moments, natively.
    pub tries: usize,
    /// Only on these kernels of the lab, and natively only if there are none.
    pub kernels: Vec<Kernel>,
    /// Natively only.
    pub native: bool,
}

/// A row of the table, or a run that failed.
struct Row {
    place: String,
    cells: Vec<String>,
}

/// Runs all and prints the table; the exit code is 1 if a test failed.
pub fn run(settings: &Settings) -> Result<ExitCode> {
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    if settings.kernels.is_empty() {
        native(settings.tries, &mut rows, &mut failed)?;
    }
    let kernels = if settings.kernels.is_empty() { Kernel::ALL.to_vec() } else { settings.kernels.clone() };
    for kernel in kernels.into_iter().filter(|_| !settings.native) {
        in_the_lab(kernel, &mut rows, &mut failed)?;
    }
    print(&rows);
    failed.iter().for_each(|line| println!("FAILED: {line}"));
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn native(tries: usize, rows: &mut Vec<Row>, failed: &mut Vec<String>) -> Result<()> {
    let release = host::text(Command::new("uname").arg("-r"))?;
    let mut command = project::cargo();
    command.args(["test", "--package", "rtrec", "--test", "live", "--no-fail-fast", "--"]);
    // A filter is part of a name, and `window_kills::`, which prints no row, has `kills::` in it.
    command.args(["kills::", "faults::", "disks::", "--skip", "window_kills::", "--test-threads", "1", "--nocapture"]);
    command.env("RTREC_FAULT_TRIES", tries.to_string()).env("RTREC_TEST_BINARY", project::static_rtrec()?);
    collect(&format!("native {}", release.trim()), &mut command, rows, failed)
}

fn in_the_lab(kernel: Kernel, rows: &mut Vec<Row>, failed: &mut Vec<String>) -> Result<()> {
    if let Err(error) = setup::lab(kernel) {
        failed.push(format!("kernel {kernel} is not there: {error}"));
        return Ok(());
    }
    let program = suite::program("lab")?;
    let mut tests = suite::listed(&program)?;
    tests.retain(|test| test.starts_with("faults::") && suite::is_on(test, kernel));
    let mut command = Command::new(program);
    command.current_dir(project::root()).args(["--test-threads", "1", "--nocapture", "--exact"]).args(&tests);
    collect(&format!("lab {kernel}"), &mut command, rows, failed)
}

/// Runs tests, passes on what they say, and keeps the rows among it.
fn collect(place: &str, command: &mut Command, rows: &mut Vec<Row>, failed: &mut Vec<String>) -> Result<()> {
    println!("\n{place}: {}", host::shown(command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| host::cannot_start(command, error))?;
    let out = child.stdout.take().expect("standard output is a pipe");
    for line in BufReader::new(out).lines().map_while(std::result::Result::ok) {
        println!("{line}");
        // The harness may have begun the line.
        if let Some((_, row)) = line.split_once("FAULT|") {
            rows.push(Row { place: place.to_owned(), cells: row.split('|').map(str::to_owned).collect() });
        }
    }
    let status = child.wait().map_err(|error| host::cannot_start(command, error))?;
    if !status.success() {
        failed.push(format!("{place}: the tests ended with {status}"));
    }
    Ok(())
}

const HEADINGS: [&str; 6] = ["fault", "kernel", "tries", "expected", "recovered", "tracefs as before"];

fn print(rows: &[Row]) {
    let mut table = vec![HEADINGS.map(str::to_owned).to_vec()];
    for Row { place, cells } in rows {
        let mut cells = cells.clone();
        cells.insert(1.min(cells.len()), place.clone());
        table.push(cells);
    }
    let width = |column: usize| table.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
    println!();
    for row in &table {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
