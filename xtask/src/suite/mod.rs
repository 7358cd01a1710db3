//! `cargo xtask test`: every check there is, on this machine's kernel and on the lab's.
//!
//! Owns: which parts there are, running them side by side, counting what ran where, the closing tables and line.
//! Does not own: the tests. A test target whose name begins with `lab` holds checks for the lab's kernels (see
//! `lab_tests!`), each named `….::on_<kernel>`; tests of a process share a boot. All other tests are native.
//!
//! ```text
//! checks.rs     formatting, lints, documentation, licences
//! targets.rs    the test targets of the workspace, building them
//! changed.rs    `--changed`: the table of folders and the targets they call for
//! native.rs     the tests on this machine's kernel
//! in_lab.rs     the tests on the lab's kernels, in batches that share a boot
//! counting.rs   running a test program and counting what it reports
//! times.rs      minutes of each stage, the slowest tests
//! ```
//! A new part is a file here, a field of [`Settings`] and a `Row` of [`run`].

mod changed;
mod checks;
mod counting;
mod in_lab;
mod native;
mod targets;
mod times;

use std::collections::VecDeque;
use std::num::NonZero;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;

use self::counting::Run;
use self::in_lab::Batch;
use self::targets::Target;
use self::times::Times;
use crate::error::Result;
use crate::host::{self, TRACE_CMD};
use crate::kernels::Kernel;
use crate::peers::TraceCmd;
use crate::{project, setup};

pub use self::changed::Chosen;
pub(crate) use self::in_lab::is_on;
pub(crate) use self::targets::{listed, program};

/// What to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Formatting, lints, documentation, licences.
    pub checks: bool,
    /// The tests on this machine's kernel.
    pub native: bool,
    /// The tests on these kernels of the lab.
    pub lab: Vec<Kernel>,
    /// The test targets to run.
    pub chosen: Chosen,
    /// Only tests with this in their name.
    pub filter: Option<String>,
    /// Do not fail because a kernel of the lab could not be had.
    pub allow_not_run: bool,
}

/// What came of one part.
#[derive(Debug, Default)]
struct Row {
    part: String,
    passed: usize,
    failed: usize,
    skipped: usize,
    /// Why something did not run.
    not_run: Vec<String>,
}

impl Row {
    fn new(part: impl Into<String>) -> Self {
        Self { part: part.into(), ..Self::default() }
    }

    /// Adds what a run of tests reported. A run that failed without a failed test counts as one: it did not build,
    /// or it crashed.
    fn add(&mut self, run: &Run) {
        self.passed += run.passed;
        self.failed += run.failed;
        self.skipped += run.ignored;
        if !run.status.success() && run.failed == 0 {
            self.failed += 1;
            println!("xtask: {} ended with {} and no failed test", run.command, run.status);
        }
    }
}

/// Runs what the settings name, prints the tables and the closing line.
pub fn run(settings: &Settings) -> Result<ExitCode> {
    let times = Times::new();
    let kernels = times.stage("downloads", || prepare(settings))?;
    let targets = targets::all(&settings.chosen)?;
    let natives: Vec<Target> = targets.iter().filter(|target| !target.is_lab()).cloned().collect();
    let with_lab = !kernels.is_empty() && targets.iter().any(Target::is_lab);
    let mut rows = Vec::new();
    // The guests' programs have a target folder of their own, so they are compiled beside the rest.
    let built = thread::scope(|scope| {
        let guests = with_lab.then(|| scope.spawn(build_for_guests));
        if settings.checks {
            rows.push(times.stage("checks", checks::run));
        }
        let tests = times.stage("compiling tests", || targets::build(if with_lab { &targets } else { &natives }));
        let guests = times.stage("compiling for guests, still", || guests.map(|guests| guests.join()));
        guests.map_or(Ok(()), |guests| guests.expect("building does not panic")).and(tests)
    });
    if let Err(error) = built {
        // The tests fail then too, each for what it lacks.
        println!("{error}");
    }
    let kernels = if with_lab { kernels } else { Vec::new() };
    let (lab_rows, batches) = in_lab::plan(settings, &kernels, &targets)?;
    let lab_rows = Mutex::new(lab_rows);
    let native_row = times.stage("tests", || {
        side_by_side(batches, &lab_rows, &times, || {
            settings.native.then(|| times.stage("  native tests", || native::run(settings, &natives, &times)))
        })
    });
    rows.extend(native_row.transpose()?);
    rows.extend(lab_rows.into_inner().unwrap_or_else(PoisonError::into_inner));
    times.print();
    Ok(close(&rows, settings.allow_not_run))
}

/// Runs the native tests and the batches, as many at a time as there are processors: a guest keeps one busy, and so
/// do the native tests, which wait a lot.
fn side_by_side<T>(batches: Vec<Batch>, rows: &Mutex<Vec<Row>>, times: &Times, native: impl FnOnce() -> T) -> T {
    let lanes = thread::available_parallelism().map_or(1, NonZero::get).min(batches.len());
    let batches = Mutex::new(VecDeque::from(batches));
    let next = || batches.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let run_batches = || {
        while let Some(batch) = next() {
            batch.run(rows, times);
        }
    };
    thread::scope(|scope| {
        for _ in 1..lanes {
            scope.spawn(run_batches);
        }
        let outcome = native();
        run_batches();
        outcome
    })
}

/// Builds what guests contain.
fn build_for_guests() -> Result<()> {
    project::agent()?;
    project::test_programs()?;
    project::static_rtrec().map(drop)
}

/// Installs and fetches what the parts need; a kernel that cannot be had is told apart, not fatal.
fn prepare(settings: &Settings) -> Result<Vec<(Kernel, Result<()>)>> {
    host::need(&[host::CC, host::LIBC_DEV])?;
    if settings.native {
        // The tests that compare with trace-cmd say themselves which of them they miss.
        let peers = TraceCmd::ALL.map(|peer| peer.fetch().map(drop));
        for problem in peers.into_iter().chain([host::need(&[TRACE_CMD])]).filter_map(Result::err) {
            eprintln!("xtask: {problem}");
        }
    }
    Ok(settings.lab.iter().map(|kernel| (*kernel, setup::lab(*kernel))).collect())
}

/// Prints the table of parts, the reasons and the closing line; decides the exit code.
fn close(rows: &[Row], allow_not_run: bool) -> ExitCode {
    println!("\n{:<44} {:>7} {:>7} {:>8}", "where", "passed", "failed", "not run");
    for row in rows {
        println!("{:<44} {:>7} {:>7} {:>8}", row.part, row.passed, row.failed, row.skipped);
    }
    for row in rows {
        for reason in &row.not_run {
            println!("NOT RUN: {}: {reason}", row.part);
        }
    }
    let sum = |count: fn(&Row) -> usize| rows.iter().map(count).sum::<usize>();
    let (passed, failed, skipped) = (sum(|r| r.passed), sum(|r| r.failed), sum(|r| r.skipped));
    let lab_missing = rows.iter().any(|row| row.part.starts_with("lab ") && !row.not_run.is_empty());
    let refused = lab_missing && !allow_not_run;
    if refused {
        println!("tests of the lab did not run, which counts as a failure unless --allow-not-run is given");
    }
    match skipped {
        0 => println!("{passed} passed, {failed} failed"),
        _ => println!("{passed} passed, {failed} failed, {skipped} skipped"),
    }
    if failed > 0 || refused { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// True if the environment allows tests of the lab not to run.
#[must_use]
pub fn allowed_by_environment() -> bool {
    std::env::var_os("RTREC_ALLOW_NOT_RUN").is_some_and(|value| !value.is_empty() && value != Path::new("0"))
}
