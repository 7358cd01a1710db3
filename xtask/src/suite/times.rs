//! How long stages and tests took.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

/// How many of the slowest tests are printed.
const SLOWEST: usize = 10;

/// What a stage took.
#[derive(Debug)]
struct Stage {
    name: &'static str,
    took: Duration,
    /// Of the programs that ended meanwhile, those of stages beside this one included.
    cpu: Duration,
}

/// The times of a run of the suite. Threads share it.
#[derive(Debug)]
pub(super) struct Times {
    begun: Instant,
    stages: Mutex<Vec<Stage>>,
    tests: Mutex<Vec<(String, Duration)>>,
}

impl Times {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), stages: Mutex::default(), tests: Mutex::default() }
    }

    /// Does the work and notes how long it took.
    pub(super) fn stage<T>(&self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let (begun, used) = (Instant::now(), cpu_of_programs());
        let outcome = work();
        let (took, cpu) = (begun.elapsed(), cpu_of_programs().saturating_sub(used));
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).push(Stage { name, took, cpu });
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
        println!("\n{:<44} {:>7} {:>7}", "stage", "minutes", "of CPU");
        let all = Stage { name: "all, some of it side by side", took: self.begun.elapsed(), cpu: cpu_of_programs() };
        for Stage { name, took, cpu } in self.stages.lock().unwrap_or_else(PoisonError::into_inner).iter().chain([&all])
        {
            println!("{name:<44} {:>7.1} {:>7.1}", took.as_secs_f64() / 60.0, cpu.as_secs_f64() / 60.0);
        }
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

/// The processor time of all programs that were started and have ended.
fn cpu_of_programs() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("a process may ask for its own usage");
    let parts = [usage.user_time(), usage.system_time()];
    parts.iter().map(|part| Duration::from_micros((part.tv_sec() * 1_000_000 + part.tv_usec()) as u64)).sum()
}
