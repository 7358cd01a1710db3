//! Files made to cost time or memory: chains and cycles of options, sections without number, claims without end.
//!
//! Each is some megabyte of which every byte serves the purpose; each must be told from a trace within seconds, in an
//! unoptimised build on a busy machine, and by a message rather than by a signal.

use std::time::{Duration, Instant};

use rtrec::dat::{Dat, ids};
use rtrec::plugins::REGISTRY;
use rtrec::report::{self, Input, ReadSettings, Reading, Selection, TextSettings, View};

/// Far more than any of these takes where nothing is squared.
const LONGEST: Duration = Duration::from_secs(10);
const FILE_BYTES: usize = 1 << 20;

/// A file of version 7 without compression, whose first options are at `first`.
fn header(first: u64) -> Vec<u8> {
    let mut file = ids::MAGIC.to_vec();
    file.extend_from_slice(b"7\0\0\x08\0\x10\0\0none\0\0");
    file.extend_from_slice(&first.to_le_bytes());
    file
}

fn section(file: &mut Vec<u8>, id: u16, bytes: u64) {
    file.extend_from_slice(&id.to_le_bytes());
    file.extend_from_slice(&[0; 2]);
    file.extend_from_slice(&ids::NO_DESCRIPTION.to_le_bytes());
    file.extend_from_slice(&bytes.to_le_bytes());
}

fn option(file: &mut Vec<u8>, id: u16, data: &[u8]) {
    file.extend_from_slice(&id.to_le_bytes());
    file.extend_from_slice(&(data.len() as u32).to_le_bytes());
    file.extend_from_slice(data);
}

fn first_options() -> u64 {
    header(0).len() as u64
}

/// Opens and reports a file; how long that took, and what was noted.
fn open(what: &str, file: Vec<u8>) -> Vec<String> {
    let started = Instant::now();
    let mut said = Vec::new();
    if let Ok(dat) = Dat::from_bytes(file) {
        said.extend(dat.notes.iter().map(ToString::to_string));
        let inputs = vec![Input::new(dat, "hostile".into(), "hostile".into())];
        let mut settings = ReadSettings::default();
        settings.threads = 1;
        let mut reading = Reading::new(inputs, REGISTRY, settings, &Selection::default()).unwrap();
        report::print(&mut reading, View::Text(&TextSettings::default()), &mut std::io::sink()).unwrap();
    }
    let took = started.elapsed();
    println!("{what}: {took:?}, {said:.3?}");
    assert!(took < LONGEST, "{what} took {took:?}");
    said
}

/// Options in sections of `step` bytes that lead from one to the next; each claims `claim` bytes.
fn chain(step: u64, claim: impl Fn(u64) -> u64, last: u64) -> Vec<u8> {
    let mut file = header(first_options());
    while file.len() + (step as usize) < FILE_BYTES {
        let here = file.len() as u64;
        section(&mut file, ids::SECTION_OPTIONS, claim(here));
        let next = if here + 2 * step < FILE_BYTES as u64 { here + step } else { last };
        option(&mut file, ids::DONE, &next.to_le_bytes());
        file.resize((here + step) as usize, 0);
    }
    file
}

/// A whole file whose last options lead to `back`, or to its first ones.
fn fixture_that_leads_back(back: Option<u64>) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v7-none-multibuf-tsc/trace.dat");
    let mut file = std::fs::read(path).unwrap();
    let dat = Dat::from_bytes(file.as_slice()).unwrap();
    let options = dat.sections.iter().filter(|section| section.0 == ids::SECTION_OPTIONS).map(|section| section.1);
    let options: Vec<u64> = options.collect();
    let (first, last) = (options[0], *options.last().unwrap() as usize);
    let bytes = u64::from_le_bytes(file[last + 8..last + 16].try_into().unwrap()) as usize;
    file[last + 16 + bytes - 8..last + 16 + bytes].copy_from_slice(&back.unwrap_or(first).to_le_bytes());
    file
}

#[test]
fn options_that_lead_back_are_followed_once() {
    let said = open("a cycle", fixture_that_leads_back(None));
    assert!(said.iter().any(|note| note.contains("leads back")), "{said:?}");
    let whole = open("no cycle", fixture_that_leads_back(Some(0)));
    assert!(whole.is_empty(), "{whole:?}");
    for back in [first_options(), first_options() + 30 * 100] {
        open("a long cycle", chain(30, |_| 14, back));
    }
    let mut itself = header(first_options());
    section(&mut itself, ids::SECTION_OPTIONS, 14);
    option(&mut itself, ids::DONE, &first_options().to_le_bytes());
    open("itself", itself);
}

#[test]
fn a_long_chain_of_options_takes_no_longer_than_its_bytes() {
    open("a long chain", chain(30, |_| 14, 0));
    // Each section claims the rest of the file, which has to be read to find its end.
    open("a chain of rests", chain(30, |here| FILE_BYTES as u64 - here, 0));
}

#[test]
fn sections_without_number_cost_no_more_than_their_headers() {
    for (what, id) in [
        ("buffers", ids::BUFFER),
        ("texts", ids::BUFFER_TEXT),
        ("formats", ids::EVENT_FORMATS),
        ("options", ids::SECTION_OPTIONS),
    ] {
        let mut file = header(1);
        while file.len() < FILE_BYTES {
            section(&mut file, id, 0);
        }
        open(what, file);
    }
}

#[test]
fn buffers_and_cpus_without_number_are_refused() {
    let mut one = Vec::new();
    let mut number = 0_u32;
    while one.len() < FILE_BYTES / 2 {
        number += 1;
        let mut data = 100_u64.to_le_bytes().to_vec();
        data.extend_from_slice(format!("{number}\0\0").as_bytes());
        data.extend_from_slice(&4096_u32.to_le_bytes());
        data.extend_from_slice(&0_u32.to_le_bytes());
        option(&mut one, ids::BUFFER, &data);
    }
    option(&mut one, ids::DONE, &0_u64.to_le_bytes());
    let mut file = header(first_options());
    section(&mut file, ids::SECTION_OPTIONS, one.len() as u64);
    file.extend_from_slice(&one);
    open("many buffers", file);

    let mut data = 100_u64.to_le_bytes().to_vec();
    data.extend_from_slice(b"\0\0\0\x10\0\0\xff\xff\xff\xff");
    for cpu in 0..FILE_BYTES as u32 / 40 {
        data.extend_from_slice(&cpu.to_le_bytes());
        data.extend_from_slice(&u64::from(cpu).to_le_bytes());
        data.extend_from_slice(&u64::MAX.to_le_bytes());
    }
    let mut file = header(first_options());
    let mut options = Vec::new();
    option(&mut options, ids::BUFFER, &data);
    option(&mut options, ids::DONE, &0_u64.to_le_bytes());
    section(&mut file, ids::SECTION_OPTIONS, options.len() as u64);
    file.extend_from_slice(&options);
    open("many CPUs", file);
}
