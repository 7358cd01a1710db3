//! The fuzz targets in short, on the stable toolchain: each entry over its seeds, and over what a few seconds of
//! mutations with a fixed start make of them. `cargo xtask fuzz` is the long form.

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use fuzz::{TARGETS, check, seeds};

#[global_allocator]
static COUNTING: fuzz::ration::Counting = fuzz::ration::Counting;

/// The count of memory is one for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// Mutations of one target at most; the time ends it earlier where they are slow.
const MUTATIONS: u32 = 20_000;
const TIME: Duration = Duration::from_millis(1500);
/// No input of this size may take longer, not even in an unoptimised build on a busy machine.
const LONGEST: Duration = Duration::from_secs(20);

/// A small generator with a known start: the same cases every time.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }

    /// Changes a few places the way that finds most: bits, borders of ranges, cuts, repeats, splices.
    fn mutate(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        const BORDERS: [&[u8]; 8] =
            [&[0], &[0xff], &[0x7f], &[0xff; 4], &[0xff; 8], &[0, 0, 0, 0x80], &[0xff, 0xff, 0xff, 0x7f], &[0; 8]];
        for _ in 0..=self.next(4) {
            let at = self.next(bytes.len());
            match self.next(7) {
                0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << self.next(8),
                2 | 3 => {
                    let border = BORDERS[self.next(BORDERS.len())];
                    let end = bytes.len().min(at + border.len());
                    bytes[at..end].copy_from_slice(&border[..end - at]);
                }
                4 => bytes.truncate(at),
                5 => {
                    let end = (at + 1 + self.next(40)).min(bytes.len());
                    let part = bytes[at.min(end)..end].to_vec();
                    bytes.splice(at..at, part);
                }
                _ => {
                    let from = self.next(other.len());
                    let part = &other[from..(from + 1 + self.next(64)).min(other.len()).max(from)];
                    let end = (at + part.len()).min(bytes.len());
                    bytes.splice(at..end, part.iter().copied());
                }
            }
        }
    }
}

fn smoke(name: &str) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let (_, entry) = TARGETS.into_iter().find(|(target, _)| *target == name).unwrap();
    let seeds = seeds::of(name, &fixtures);
    assert!(seeds.len() > 10, "{name} has only {} seeds", seeds.len());
    let mut dice = Dice(0x5eed_0000 + name.len() as u64);
    for (_, seed) in seeds.iter().take(300) {
        check(entry, seed);
    }
    let started = Instant::now();
    let mut done = 0;
    while done < MUTATIONS && started.elapsed() < TIME {
        let mut bytes = seeds[dice.next(seeds.len())].1.clone();
        let other = &seeds[dice.next(seeds.len())].1;
        dice.mutate(&mut bytes, other);
        let began = Instant::now();
        check(entry, &bytes);
        assert!(began.elapsed() < LONGEST, "{name}: {} bytes took {:?}", bytes.len(), began.elapsed());
        done += 1;
    }
    println!("{name}: {} seeds, {done} mutations in {:?}", seeds.len(), started.elapsed());
}

#[test]
fn dat() {
    smoke("dat");
}

#[test]
fn subbuf() {
    smoke("subbuf");
}

#[test]
fn format() {
    smoke("format");
}

#[test]
fn print_fmt() {
    smoke("print_fmt");
}

#[test]
fn filter() {
    smoke("filter");
}

#[test]
fn report() {
    smoke("report");
}

#[test]
fn btf() {
    smoke("btf");
}

#[test]
fn spec() {
    smoke("spec");
}

#[test]
fn windows() {
    smoke("windows");
}

#[test]
fn usdt() {
    smoke("usdt");
}

#[test]
fn the_small_files_among_the_seeds_hold_records() {
    use rtrec::report::{Input, ReadSettings, Reading, Selection};
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for (name, bytes) in seeds::of("dat", &fixtures) {
        let dat = rtrec::dat::Dat::from_bytes(bytes).unwrap();
        assert!(dat.notes.is_empty(), "{name}: {:?}", dat.notes);
        let inputs = vec![Input::new(dat, name.clone(), name.clone())];
        let registry = rtrec::plugins::REGISTRY;
        let mut reading = Reading::new(inputs, registry, ReadSettings::default(), &Selection::default()).unwrap();
        let outcome = reading.each(|_| {});
        assert!(outcome.records > 0 || name.starts_with("v7-text"), "{name}: no records");
        assert!(outcome.notes.is_empty(), "{name}: {:?}", outcome.notes);
    }
}
