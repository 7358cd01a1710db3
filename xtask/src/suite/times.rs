//! How long stages and tests took.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many of the slowest tests are printed.
const SLOWEST: usize = 10;

/// The times of a run of the suite. Threads share it.
#[derive(Debug)]
pub(super) struct Times {
    begun: Instant,
    stages: Mutex<Vec<(&'static str, Duration)>>,
    tests: Mutex<Vec<(String, Duration)>>,
}

impl Times {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), stages: Mutex::default(), tests: Mutex::default() }
    }

    /// Does the work and notes how long it took.
    pub(super) fn stage<T>(&self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let outcome = work();
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).push((name, begun.elapsed()));
        outcome
    }

    /// Notes how long a test took.
    pub(super) fn note(&self, test: &str, took: Duration) {
        self.tests.lock().unwrap_or_else(PoisonError::into_inner).push((test.to_owned(), took));
    }

    /// Notes what lab tests wrote down: a line each, name and seconds with a tab between.
    pub(super) fn note_lines(&self, lines: &str) {
        let pairs = lines.lines().filter_map(|line| line.split_once('\t'));
        for (test, seconds) in pairs {
            if let Some(took) = seconds.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
                self.note(test, took);
            }
        }
    }

    /// Prints the minutes of each stage and the slowest tests.
    pub(super) fn print(&self) {
        println!("\n{:<44} {:>7}", "stage", "minutes");
        let minutes = |time: Duration| time.as_secs_f64() / 60.0;
        for (name, took) in self.stages.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            println!("{name:<44} {:>7.1}", minutes(*took));
        }
        println!("{:<44} {:>7.1}", "all, some of it side by side", minutes(self.begun.elapsed()));
        let mut tests = self.tests.lock().unwrap_or_else(PoisonError::into_inner);
        // A failed test has its line twice.
        tests.sort_by(|(one, took), (other, longer)| longer.cmp(took).then_with(|| one.cmp(other)));
        tests.dedup();
        if !tests.is_empty() {
            println!("\n{:<94} {:>7}", "slowest tests", "seconds");
        }
        for (name, took) in tests.iter().take(SLOWEST) {
            println!("{name:<94} {:>7.1}", took.as_secs_f64());
        }
    }
}
