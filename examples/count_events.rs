//! Counts the records of each event: `cargo run --example count_events -- trace.dat`
use std::collections::BTreeMap;
use std::{env, error::Error, path::Path};

use rtrec::{plugins, report::Reading};

/// Records by the names of their events.
pub fn counts(path: &Path) -> Result<BTreeMap<String, u64>, Box<dyn Error>> {
    let mut counts = BTreeMap::new();
    Reading::open(path, plugins::REGISTRY)?.each(|record| *counts.entry(record.event().to_owned()).or_default() += 1);
    Ok(counts)
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args().nth(1).unwrap_or_else(|| "trace.dat".to_owned());
    for (event, count) in counts(path.as_ref())? {
        println!("{count:>10} {event}");
    }
    Ok(())
}
