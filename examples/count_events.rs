//! Counts the records of each event: `cargo run --example count_events -- trace.dat`

use std::collections::BTreeMap;
use std::env;
use std::error::Error;

use rtrec::plugins;
use rtrec::report::Reading;

fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args().nth(1).unwrap_or_else(|| "trace.dat".to_owned());
    let mut reading = Reading::open(path.as_ref(), plugins::REGISTRY)?;
    let mut counts = BTreeMap::<String, u64>::new();
    reading.each(|record| *counts.entry(record.event().to_owned()).or_default() += 1);
    for (event, count) in counts {
        println!("{count:>10} {event}");
    }
    Ok(())
}
