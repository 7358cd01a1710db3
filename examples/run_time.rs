//! How long each task ran, by sched_switch: `cargo run --example run_time -- trace.dat`

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::error::Error;
use std::path::Path;

use rtrec::plugins;
use rtrec::report::{Loss, Reading, Record, Take};

/// Who runs on each CPU and since when, and how long each task ran in all.
#[derive(Default)]
struct RunTimes {
    running: HashMap<u32, (i64, u64)>,
    tasks: BTreeMap<i64, u64>,
}

impl Take for RunTimes {
    fn take(&mut self, record: &Record<'_>) {
        if record.event() != "sched_switch" {
            return;
        }
        if let Some((task, since)) = self.running.remove(&record.cpu()) {
            *self.tasks.entry(task).or_default() += record.time() - since;
        }
        let next = record.int("next_pid").filter(|task| *task != 0);
        self.running.extend(next.map(|task| (record.cpu(), (task, record.time()))));
    }

    fn lost(&mut self, loss: &Loss<'_>) {
        self.running.remove(&loss.cpu); // Nobody knows who ran meanwhile.
    }
}

/// Nanoseconds that each task ran, by its number.
pub fn run_times(path: &Path) -> Result<BTreeMap<i64, u64>, Box<dyn Error>> {
    let mut times = RunTimes::default();
    Reading::open(path, plugins::REGISTRY)?.hand_to(&mut times);
    Ok(times.tasks)
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args().nth(1).unwrap_or_else(|| "trace.dat".to_owned());
    for (task, ns) in run_times(path.as_ref())? {
        println!("{:>12.3} ms  task {task}", ns as f64 / 1e6);
    }
    Ok(())
}
