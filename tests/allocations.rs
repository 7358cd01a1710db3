//! Reading allocates nothing for a record: memory comes in chunks and batches.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use rtrec::dat::Dat;
use rtrec::plugins::REGISTRY;
use rtrec::report::{Input, ReadSettings, Reading, Selection};

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn reading(fixture: &str) -> Reading {
    let path = format!("{}/tests/fixtures/{fixture}/trace.dat", env!("CARGO_MANIFEST_DIR"));
    let input = Input::new(Dat::open(path.as_ref()).unwrap(), fixture.into(), fixture.into());
    let mut settings = ReadSettings::default();
    settings.threads = 1;
    Reading::new(vec![input], REGISTRY, settings, &Selection::default()).unwrap()
}

/// Records of a pass over everything, and allocations in it.
fn pass(reading: &mut Reading) -> (u64, u64) {
    let mut sum = 0_u64;
    reading.rewind();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let outcome = reading.each(|record| {
        let fields = record.int("prev_pid").unwrap_or(0) as u64 + u64::from(record.id());
        sum = sum.wrapping_add(record.time() + fields + record.event().len() as u64 + record.comm().len() as u64);
    });
    assert!(sum > 0);
    (outcome.records, ALLOCATIONS.load(Ordering::Relaxed) - before)
}

#[test]
fn a_pass_allocates_for_chunks_and_batches_and_not_for_records() {
    for (fixture, least) in [("v7-profile", 5000), ("v7-zstd-events", 1500)] {
        let mut reading = reading(fixture);
        // Decoders are made when the first record of their event is met.
        pass(&mut reading);
        let (records, allocations) = pass(&mut reading);
        assert!(records >= least, "{fixture}: {records} records");
        println!("{fixture}: {allocations} allocations for {records} records");
        assert!(allocations * 20 < records, "{fixture}: {allocations} allocations for {records} records");
    }
}
