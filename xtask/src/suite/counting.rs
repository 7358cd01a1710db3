//! Running tests while their output is passed on, and counting what the harness or nextest report.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use super::times::Times;
use crate::error::Result;
use crate::host;

/// What one run of a test program or runner reported.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) command: String,
    pub(super) status: ExitStatus,
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) ignored: usize,
}

/// Runs tests with their output passed on as it comes.
pub(super) fn counted_aloud(command: &mut Command, times: &Times) -> Result<Run> {
    counted(command, times, &mut std::io::stdout(), &mut std::io::stderr())
}

/// Runs tests, hands their output on, and counts what the harness or nextest report.
pub(super) fn counted(
    command: &mut Command,
    times: &Times,
    to_out: &mut dyn Write,
    to_err: &mut (dyn Write + Send),
) -> Result<Run> {
    let shown = host::shown(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| host::cannot_start(command, e))?;
    let err = child.stderr.take().expect("standard error is a pipe");
    let out = child.stdout.take().expect("standard output is a pipe");
    let (mut total, rest) = thread::scope(|scope| {
        let from_err = scope.spawn(|| pass_on(err, times, to_err));
        let total = pass_on(out, times, to_out);
        (total, from_err.join().expect("passing output on does not panic"))
    });
    total = [total[0] + rest[0], total[1] + rest[1], total[2] + rest[2]];
    let status = child.wait().map_err(|e| host::cannot_start(command, e))?;
    let [passed, failed, ignored] = total;
    Ok(Run { command: shown, status, passed, failed, ignored })
}

/// Copies lines, adding up the results among them: passed, failed, ignored. How long a test took is noted; the line of
/// one that passed is not copied.
fn pass_on(from: impl Read, times: &Times, to: &mut dyn Write) -> [usize; 3] {
    let mut from = BufReader::new(from);
    let (mut total, mut line) = ([0; 3], Vec::new());
    while from.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        let text = String::from_utf8_lossy(&line);
        let [passed, failed, ignored] = results(&text);
        total = [total[0] + passed, total[1] + failed, total[2] + ignored];
        let test = finished(&text);
        if let Some((_, name, took)) = test {
            times.note(name, took);
        }
        if test.is_none_or(|(how, ..)| how != "PASS") {
            let _ = to.write_all(&line);
        }
        line.clear();
    }
    total
}

/// What nextest's line of a test that ended says: how, which, after how long
/// (`    PASS [   0.123s] (12/443) rtrec::files golden::name`).
fn finished(line: &str) -> Option<(&str, &str, Duration)> {
    let (how, rest) = line.trim_start().split_once(" [")?;
    let (seconds, name) = rest.split_once("s] ")?;
    let name = name.trim();
    let name = if name.starts_with('(') { name.split_once(") ")?.1 } else { name };
    let seconds = seconds.trim().parse().ok()?;
    how.bytes().all(|byte| byte.is_ascii_uppercase()).then_some((how, name, Duration::try_from_secs_f64(seconds).ok()?))
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_line_of_nextest_says_how_long_a_test_took() {
        let line = "        PASS [   1.500s] (  2/443) rtrec::live kills::a_kill\n";
        assert_eq!(finished(line), Some(("PASS", "rtrec::live kills::a_kill", Duration::from_millis(1500))));
        assert_eq!(finished("     Summary [ 354.019s] 443 tests run: 441 passed, 2 failed, 0 skipped"), None);
        assert_eq!(finished("test result: ok. 1 passed"), None);
    }
}
