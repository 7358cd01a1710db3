//! The tests on the lab's kernels: made batches of, a boot each.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use super::counting::counted;
use super::targets::{self, Target};
use super::times::Times;
use super::{Row, Settings};
use crate::error::Result;
use crate::kernels::Kernel;
use crate::{lab, project};

/// How many tests share a boot at most: fewer make more boots, more leave a processor idle at the end.
const TESTS_PER_BOOT: usize = 10;

/// Tests of one target that share a boot.
pub(super) struct Batch {
    /// The row of its kernel among the lab's.
    row: usize,
    title: String,
    command: Command,
    /// Where its tests write down how long they took.
    took: PathBuf,
}

/// A row for each kernel, and the batches to run.
pub(super) fn plan(
    settings: &Settings,
    kernels: &[(Kernel, Result<()>)],
    targets: &[Target],
) -> Result<(Vec<Row>, Vec<Batch>)> {
    let mut tests = Vec::new();
    for target in targets.iter().filter(|target| target.is_lab() && !kernels.is_empty()) {
        let program = targets::program(&target.name)?;
        tests.push((target.name.as_str(), targets::listed(&program)?, program));
    }
    let (mut rows, mut batches) = (Vec::new(), Vec::new());
    for (kernel, available) in kernels {
        let release = kernel.release().unwrap_or_else(|_| "not there".to_owned());
        let mut row = Row::new(format!("lab {kernel}, {release}"));
        for (target, tests, program) in &tests {
            let wanted = |test: &&String| is_on(test, *kernel) && is_wanted(test, settings.filter.as_deref());
            let tests: Vec<&String> = tests.iter().filter(wanted).collect();
            match available {
                Ok(()) => {
                    let title = format!("{target} on kernel {kernel} ({release})");
                    batches.extend(dealt(&tests).iter().map(|some| batch(rows.len(), &title, program, some)));
                }
                Err(_) if tests.is_empty() => {}
                Err(error) => {
                    row.skipped += tests.len();
                    row.not_run.extend(tests.iter().map(|test| format!("{test}: {}", error.headline())));
                    println!("NOT RUN: {} tests of {target} on kernel {kernel}, because {error}", tests.len());
                }
            }
        }
        rows.push(row);
    }
    // The newest kernel takes the longest, so it is begun first.
    batches.reverse();
    for (number, batch) in batches.iter_mut().enumerate() {
        batch.took = project::target("lab").join(format!("took.{}.{number}", std::process::id()));
        batch.command.env(lab::TIMES_FILE, &batch.took);
    }
    Ok((rows, batches))
}

/// Deals tests out like cards, so that the slow ones, which stand together in a file, come into different batches.
fn dealt<'a>(tests: &[&'a String]) -> Vec<Vec<&'a String>> {
    let hands = tests.len().div_ceil(TESTS_PER_BOOT);
    (0..hands).map(|hand| tests.iter().skip(hand).step_by(hands).copied().collect()).collect()
}

fn batch(row: usize, title: &str, program: &Path, tests: &[&String]) -> Batch {
    let mut command = Command::new(program);
    command.current_dir(project::root()).args(["--test-threads", "1", "--exact"]).args(tests);
    Batch { row, title: format!("{} tests of {title}", tests.len()), command, took: PathBuf::new() }
}

impl Batch {
    /// Runs it. Its output comes in one piece, not mixed with another's.
    pub(super) fn run(mut self, rows: &Mutex<Vec<Row>>, times: &Times) {
        println!("lab: {} ...", self.title);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let run = counted(&mut self.command, times, &mut out, &mut err);
        times.note_lines(&fs::read_to_string(&self.took).unwrap_or_default());
        let _ = fs::remove_file(&self.took);
        let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stdout = std::io::stdout().lock();
        let _ = writeln!(stdout, "\nlab: {}", self.title);
        let _ = stdout.write_all(&err).and_then(|()| stdout.write_all(&out));
        match run {
            Ok(run) => rows[self.row].add(&run),
            Err(error) => {
                rows[self.row].failed += 1;
                let _ = writeln!(stdout, "{error}");
            }
        }
    }
}

/// Kills and full disks take minutes each in an emulated machine: they are tried by `cargo xtask faults`, or when named.
fn is_wanted(test: &str, filter: Option<&str>) -> bool {
    match filter {
        Some(filter) => test.contains(filter),
        None => !test.starts_with("faults::"),
    }
}

/// `check::on_6_12` is on 6.12 and on no other.
pub(crate) fn is_on(test: &str, kernel: Kernel) -> bool {
    test.ends_with(&format!("::{}", lab::test_name(kernel)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_the_lab_are_tried_when_named() {
        let fault = "faults::a_full_disk_leaves_a_trace_up_to_then::on_6_12";
        assert!(
            !is_wanted(fault, None) && is_wanted(fault, Some("full_disk")) && is_wanted("record::x::on_6_12", None)
        );
    }

    #[test]
    fn a_test_is_on_the_kernel_its_name_ends_with() {
        assert!(is_on("a::on_6_12", Kernel::V6_12));
        assert!(!is_on("a::on_6_12", Kernel::V6_1) && !is_on("a::on_6_1", Kernel::V6_12));
    }

    #[test]
    fn every_test_is_dealt_to_one_batch() {
        let names: Vec<String> = (0..23).map(|number| number.to_string()).collect();
        let dealt = dealt(&names.iter().collect::<Vec<_>>());
        assert_eq!(dealt.iter().map(Vec::len).collect::<Vec<_>>(), [8, 8, 7]);
        let mut all: Vec<&String> = dealt.into_iter().flatten().collect();
        all.sort_by_key(|name| name.parse::<u32>().unwrap());
        assert!(all.into_iter().eq(&names));
    }
}
