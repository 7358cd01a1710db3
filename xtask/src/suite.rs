//! `cargo xtask test`: every check there is, on this machine's kernel and on the lab's.
//!
//! Owns: which parts there are, running them, counting what ran where, the closing table and line.
//! Does not own: the tests. A test target whose name begins with `lab` holds checks for the lab's kernels (see
//! `lab_tests!`), each named `….::on_<kernel>`; tests of a process share a boot. All other tests are native.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::error::{Error, Result};
use crate::host::{self, TRACE_CMD};
use crate::kernels::Kernel;
use crate::lab;
use crate::peers::TraceCmd;
use crate::{cache, licences, project, setup};

/// What to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Formatting, lints, documentation, licences.
    pub checks: bool,
    /// The tests on this machine's kernel.
    pub native: bool,
    /// The tests on these kernels of the lab.
    pub lab: Vec<Kernel>,
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

/// What one run of a test program or runner reported.
#[derive(Debug)]
struct Run {
    command: String,
    status: ExitStatus,
    passed: usize,
    failed: usize,
    ignored: usize,
}

/// Runs what the settings name, prints the table and the closing line.
pub fn run(settings: &Settings) -> Result<ExitCode> {
    let kernels = prepare(settings)?;
    let mut rows = Vec::new();
    if settings.checks {
        rows.push(checks());
    }
    let targets = test_targets()?;
    if settings.native {
        rows.push(native(settings, &targets)?);
    }
    rows.extend(in_the_lab(settings, &kernels, &targets));
    Ok(close(&rows, settings.allow_not_run))
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

/// The checks that run no test: each counts as one.
fn checks() -> Row {
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

/// The workspace's integration tests, as (package, target).
fn test_targets() -> Result<Vec<(String, String)>> {
    let metadata = licences::metadata(&["--no-deps"])?;
    let mut targets = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for target in package["targets"].as_array().into_iter().flatten() {
            if target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "test"))
                && let (Some(package), Some(target)) = (package["name"].as_str(), target["name"].as_str())
            {
                targets.push((package.to_owned(), target.to_owned()));
            }
        }
    }
    Ok(targets)
}

fn is_lab(target: &str) -> bool {
    target.starts_with("lab")
}

/// The tests on this machine's kernel.
fn native(settings: &Settings, targets: &[(String, String)]) -> Result<Row> {
    let release = host::text(Command::new("uname").arg("-r"))?;
    let mut row = Row::new(format!("native, {}", release.trim_end()));
    let not_run = NotRun::create()?;
    let mut units = vec!["--workspace", "--lib", "--bins"];
    for (_, target) in targets.iter().filter(|(_, target)| !is_lab(target)) {
        units.extend(["--test", target]);
    }
    let filter = settings.filter.as_deref();
    let nextest = has_nextest();
    let mut command = project::cargo();
    command.env("RTREC_NOT_RUN", &not_run.path);
    if nextest {
        command.args(["nextest", "run", "--no-fail-fast", "--no-tests", "pass", "--color", "never"]);
        command.args(["--cargo-quiet", "--status-level", "fail", "--final-status-level", "slow"]);
        command.args(&units).args(filter);
    } else {
        command.args(["test", "--quiet", "--no-fail-fast"]).args(&units).args(filter);
    }
    row.add(&counted_aloud(&mut command)?);
    let mut examples = project::cargo();
    examples.args(["test", "--quiet", "--workspace", "--doc", "--no-fail-fast"]).args(filter);
    row.add(&counted_aloud(&mut examples)?);
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

/// How many tests share a boot at most: fewer make more boots, more leave a processor idle at the end.
const TESTS_PER_BOOT: usize = 10;

/// Tests of one target that share a boot.
struct Batch {
    row: usize,
    title: String,
    command: Command,
}

/// The tests on the lab's kernels: as many machines at a time as there are processors, since each keeps one busy.
fn in_the_lab(settings: &Settings, kernels: &[(Kernel, Result<()>)], targets: &[(String, String)]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut batches = VecDeque::new();
    for (kernel, available) in kernels {
        let (row, of_kernel) = on_kernel(settings, *kernel, available, targets, rows.len());
        rows.push(row);
        batches.extend(of_kernel);
    }
    let lanes = thread::available_parallelism().map_or(1, NonZero::get).min(batches.len());
    let (batches, rows) = (Mutex::new(batches), Mutex::new(rows));
    thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| run_batches(&batches, &rows));
        }
    });
    rows.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs batches until there are none left. Each one's output comes in one piece, not mixed with another's.
fn run_batches(batches: &Mutex<VecDeque<Batch>>, rows: &Mutex<Vec<Row>>) {
    let next = || batches.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    while let Some(mut batch) = next() {
        println!("lab: {} ...", batch.title);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let run = counted(&mut batch.command, &mut out, &mut err);
        let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stdout = std::io::stdout().lock();
        let _ = writeln!(stdout, "\nlab: {}", batch.title);
        let _ = stdout.write_all(&err).and_then(|()| stdout.write_all(&out));
        match run {
            Ok(run) => rows[batch.row].add(&run),
            Err(error) => {
                rows[batch.row].failed += 1;
                println!("{error}");
            }
        }
    }
}

/// The tests on one kernel of the lab: made batches of if the kernel is there, else listed.
fn on_kernel(
    settings: &Settings,
    kernel: Kernel,
    available: &Result<()>,
    targets: &[(String, String)],
    index: usize,
) -> (Row, Vec<Batch>) {
    let release = kernel.release().unwrap_or_else(|_| "not there".to_owned());
    let mut row = Row::new(format!("lab {kernel}, {release}"));
    let mut batches = Vec::new();
    for (package, target) in targets.iter().filter(|(_, target)| is_lab(target)) {
        let mut tests = match listed(package, target) {
            Ok(tests) => tests,
            Err(error) => {
                row.failed += 1;
                println!("{error}");
                continue;
            }
        };
        tests.retain(|test| is_on(test, kernel) && wanted(test, settings.filter.as_deref()));
        match available {
            Ok(()) => {
                for some in tests.chunks(TESTS_PER_BOOT) {
                    let mut command = test_command(&[], package, target);
                    command.args(["--test-threads", "1", "--exact"]).args(some);
                    let title = format!("{} tests of {target} on kernel {kernel} ({release})", some.len());
                    batches.push(Batch { row: index, title, command });
                }
            }
            Err(_) if tests.is_empty() => {}
            Err(error) => {
                row.skipped += tests.len();
                row.not_run.extend(tests.iter().map(|test| format!("{test}: {}", error.headline())));
                println!("NOT RUN: {} tests of {target} on kernel {kernel}, because {error}", tests.len());
            }
        }
    }
    (row, batches)
}

/// Kills and full disks take minutes each in an emulated machine: they are tried by `cargo xtask faults`, or when named.
fn wanted(test: &str, filter: Option<&str>) -> bool {
    match filter {
        Some(filter) => test.contains(filter),
        None => !test.starts_with("faults::"),
    }
}

/// `check::on_6_12` is on 6.12 and on no other.
pub(crate) fn is_on(test: &str, kernel: Kernel) -> bool {
    test.ends_with(&format!("::{}", lab::test_name(kernel)))
}

/// `cargo test` of one target; what is added goes to the harness.
pub(crate) fn test_command(cargo_flags: &[&str], package: &str, target: &str) -> Command {
    let mut command = project::cargo();
    command.arg("test").args(cargo_flags).args(["--package", package, "--test", target, "--"]);
    command
}

/// The names of the tests in a lab target.
pub(crate) fn listed(package: &str, target: &str) -> Result<Vec<String>> {
    let text = host::text(test_command(&["--quiet"], package, target).args(["--list", "--format", "terse"]))?;
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// Runs tests with their output passed on as it comes.
fn counted_aloud(command: &mut Command) -> Result<Run> {
    counted(command, &mut std::io::stdout(), &mut std::io::stderr())
}

/// Runs tests, hands their output on, and counts what the harness or nextest report.
fn counted(command: &mut Command, to_out: &mut dyn Write, to_err: &mut (dyn Write + Send)) -> Result<Run> {
    let shown = host::shown(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| host::cannot_start(command, e))?;
    let err = child.stderr.take().expect("standard error is a pipe");
    let out = child.stdout.take().expect("standard output is a pipe");
    let (mut total, rest) = thread::scope(|scope| {
        let from_err = scope.spawn(|| pass_on(err, to_err));
        let total = pass_on(out, to_out);
        (total, from_err.join().expect("passing output on does not panic"))
    });
    total = [total[0] + rest[0], total[1] + rest[1], total[2] + rest[2]];
    let status = child.wait().map_err(|e| host::cannot_start(command, e))?;
    let [passed, failed, ignored] = total;
    Ok(Run { command: shown, status, passed, failed, ignored })
}

/// Copies lines, adding up the results among them: passed, failed, ignored.
fn pass_on(from: impl Read, to: &mut dyn Write) -> [usize; 3] {
    let mut from = BufReader::new(from);
    let (mut total, mut line) = ([0; 3], Vec::new());
    while from.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        let _ = to.write_all(&line);
        let [passed, failed, ignored] = results(&String::from_utf8_lossy(&line));
        total = [total[0] + passed, total[1] + failed, total[2] + ignored];
        line.clear();
    }
    total
}

/// What a line reports if it is the harness's (`test result: ok. 3 passed; 0 failed; …`) or nextest's
/// (`Summary [ 0.1s] 4 tests run: 3 passed, 1 failed, 0 skipped`).
fn results(line: &str) -> [usize; 3] {
    let numbers = match (line.strip_prefix("test result: "), line.trim_start().strip_prefix("Summary [")) {
        (Some(rest), _) => rest.split_once(". ").map(|(_, rest)| rest),
        (_, Some(rest)) => rest.split_once(" run: ").map(|(_, rest)| rest),
        _ => None,
    };
    let mut counts = [0; 3];
    // nextest explains some of its numbers in brackets.
    let mut depth = 0;
    let plain = |c: &char| {
        depth += i32::from(*c == '(');
        let keep = depth == 0;
        depth -= i32::from(*c == ')');
        keep
    };
    let text: String = numbers.unwrap_or("").chars().filter(plain).collect();
    for part in text.split([';', ',']) {
        let Some((number, word)) = part.trim().split_once(' ') else {
            continue;
        };
        let Ok(number) = number.parse::<usize>() else {
            continue;
        };
        match word.trim() {
            "passed" => counts[0] += number,
            "failed" | "timed out" | "exec failed" => counts[1] += number,
            "ignored" | "skipped" => counts[2] += number,
            _ => {}
        }
    }
    counts
}

/// Prints the table, the reasons and the closing line; decides the exit code.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_the_lab_are_tried_when_named() {
        let fault = "faults::a_full_disk_leaves_a_trace_up_to_then::on_6_12";
        assert!(!wanted(fault, None) && wanted(fault, Some("full_disk")) && wanted("record::x::on_6_12", None));
    }

    #[test]
    fn the_harness_line_is_counted() {
        let line =
            "test result: FAILED. 10 passed; 3 failed; 1 ignored; 0 measured; 7 filtered out; finished in 67.59s\n";
        assert_eq!(results(line), [10, 3, 1]);
    }

    #[test]
    fn the_nextest_line_is_counted_without_its_asides() {
        let line = "     Summary [   0.1s] 6 tests run: 4 passed (1 slow, 2 leaky), 1 failed, 1 timed out, 2 skipped\n";
        assert_eq!(results(line), [4, 2, 2]);
        assert_eq!(results("1 passed, 2 failed"), [0, 0, 0]);
    }

    #[test]
    fn a_test_is_on_the_kernel_its_name_ends_with() {
        assert!(is_on("a::on_6_12", Kernel::V6_12));
        assert!(!is_on("a::on_6_12", Kernel::V6_1) && !is_on("a::on_6_1", Kernel::V6_12));
    }
}
