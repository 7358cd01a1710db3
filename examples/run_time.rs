//! How long each task ran, by sched_switch: `cargo run --example run_time -- trace.dat`

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::error::Error;

use rtrec::plugins;
use rtrec::report::{Loss, Reading, Record, Take};

/// Who runs on each CPU, and how long each task ran in all.
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
        if let Some(task) = record.int("next_pid").filter(|task| *task != 0) {
            self.running.insert(record.cpu(), (task, record.time()));
        }
    }

    fn lost(&mut self, loss: &Loss<'_>) {
        // Nobody knows who ran meanwhile.
        self.running.remove(&loss.cpu);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args().nth(1).unwrap_or_else(|| "trace.dat".to_owned());
    let mut reading = Reading::open(path.as_ref(), plugins::REGISTRY)?;
    let mut times = RunTimes::default();
    reading.hand_to(&mut times);
    let names = &reading.opened().lanes[0].names;
    for (task, ns) in times.tasks {
        println!("{:>12.3} ms {}-{task}", ns as f64 / 1e6, String::from_utf8_lossy(names.at(task as i32, u64::MAX)));
    }
    Ok(())
}
