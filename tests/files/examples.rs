//! The examples of the public interface, on a fixture.

use std::path::Path;

#[path = "../../examples/count_events.rs"]
#[allow(dead_code)]
mod count_events;
#[path = "../../examples/run_time.rs"]
#[allow(dead_code)]
mod run_time;

fn fixture() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v7-zstd-events/trace.dat"))
}

#[test]
fn events_are_counted() {
    let counts = count_events::counts(fixture()).unwrap();
    assert_eq!((counts["softirq_raise"], counts["sched_switch"]), (154, 117));
    assert_eq!(counts.values().sum::<u64>(), 1516);
}

#[test]
fn run_times_are_those_between_switches() {
    let times = run_time::run_times(fixture()).unwrap();
    // As added up from the switches that the report prints.
    assert_eq!((times[&9], times[&18], times.len()), (9_933_071, 1_984_306, 20));
    assert_eq!(times.values().sum::<u64>(), 115_739_602);
}
