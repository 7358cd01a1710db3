//! For tests: sub-buffers made of real records, and what reading them comes to.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::input::Input;
use super::record::{Loss, Record};
use super::select::Selection;
use super::settings::ReadSettings;
use super::{Outcome, Reading, Take};
use crate::dat::{Dat, LiveBuffer};
use crate::decode::testing::{self, ABI, Set};
use crate::decode::{Registry, Trace};
use crate::wire::format::EventFormat;
use crate::wire::subbuf::{COMMIT_LOST, COMMIT_LOST_STORED, Layout, Lost};

/// Events of the made records, by the formats of 6.12.
pub(in crate::report) const EXIT: &str = "sched:sched_process_exit";
pub(in crate::report) const WAKING: &str = "sched:sched_waking";
pub(in crate::report) const SWITCH: &str = "sched:sched_switch";
pub(in crate::report) const FORK: &str = "sched:sched_process_fork";
pub(in crate::report) const STACK: &str = "ftrace:kernel_stack";
pub(in crate::report) const ENTRY: &str = "ftrace:funcgraph_entry";
pub(in crate::report) const RETURN: &str = "ftrace:funcgraph_exit";
const EVENTS: [&str; 7] = [EXIT, WAKING, SWITCH, FORK, STACK, ENTRY, RETURN];

/// Sub-buffers of 64 KiB: each is a chunk of its own.
pub(in crate::report) const LAYOUT: Layout =
    Layout { abi: ABI, commit_offset: 8, data_offset: 16, subbuf_bytes: 0x1_0000 };

/// Bytes of a record of the event, written by that task.
pub(in crate::report) fn record(event: &str, pid: i32, fields: &[(&str, i64)]) -> Vec<u8> {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, Set::Int(*value))).collect();
    static FORMATS: OnceLock<Vec<(&str, EventFormat)>> = OnceLock::new();
    let formats = FORMATS.get_or_init(|| EVENTS.iter().map(|event| (*event, testing::format("6.12", event))).collect());
    let format = formats.iter().find(|format| format.0 == event).unwrap();
    let mut data = testing::record(&format.1, &fields);
    data[4..8].copy_from_slice(&pid.to_le_bytes());
    data.resize(data.len().next_multiple_of(4), 0);
    data
}

/// A sub-buffer with these records, before which something was lost.
pub(in crate::report) fn lossy(lost: Lost, records: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let first = records.first().map_or(0, |record| record.0);
    let (mut last, mut data) = (first, Vec::new());
    for (ticks, bytes) in records {
        let delta = u32::try_from(ticks - last).unwrap();
        assert!(delta < 1 << 27 && bytes.len() <= 112, "no time extends, no long records");
        data.extend_from_slice(&((delta << 5) | (bytes.len() as u32 / 4)).to_le_bytes());
        data.extend_from_slice(bytes);
        last = *ticks;
    }
    let (flags, count) = match lost {
        Lost::None => (0, 0),
        Lost::Unknown => (COMMIT_LOST, 0),
        Lost::Count(count) => (COMMIT_LOST | COMMIT_LOST_STORED, count),
    };
    let commit = u64::from(flags | data.len() as u32);
    let mut page = [first.to_le_bytes(), commit.to_le_bytes()].concat();
    page.extend(data);
    page.extend_from_slice(&count.to_le_bytes());
    page.resize(LAYOUT.subbuf_bytes as usize, 0);
    page
}

/// A sub-buffer with these records.
pub(in crate::report) fn page(records: &[(u64, Vec<u8>)]) -> Vec<u8> {
    lossy(Lost::None, records)
}

/// A sub-buffer with exits of task 7 at these times.
pub(in crate::report) fn exits(times: &[u64]) -> Vec<u8> {
    let records: Vec<_> = times.iter().map(|time| (*time, record(EXIT, 7, &[]))).collect();
    page(&records)
}

/// A buffer with the sub-buffers of each CPU.
pub(in crate::report) fn buffer(name: &str, cpus: &[(u32, &[Vec<u8>])]) -> LiveBuffer {
    let cpus = cpus.iter().map(|(cpu, pages)| (*cpu, pages.concat())).collect();
    LiveBuffer { name: name.to_owned(), clock: "local".to_owned(), layout: LAYOUT, cpus }
}

/// What is known of the made records.
pub(in crate::report) fn trace() -> Trace {
    testing::trace("6.12", &EVENTS)
}

/// A file of these buffers.
pub(in crate::report) fn file(name: &str, trace: Trace, buffers: Vec<LiveBuffer>) -> Input {
    let mut input = Input::live(trace, LAYOUT);
    input.dat = Arc::new(Dat::of_subbufs(LAYOUT, buffers));
    input.name = name.to_owned();
    input
}

/// A file with one buffer.
pub(in crate::report) fn made(cpus: &[(u32, &[Vec<u8>])]) -> Input {
    file("made", trace(), vec![buffer("", cpus)])
}

/// The trace.dat of a folder of `tests/fixtures`.
pub(in crate::report) fn fixture(name: &str) -> Input {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name).join("trace.dat");
    Input::open(&path).unwrap()
}

/// Settings with one thread.
pub(in crate::report) fn settings() -> ReadSettings {
    ReadSettings { threads: 1, ..ReadSettings::default() }
}

/// What came: a line for each record (`TIME CPU TASK EVENT`) and for each loss (`lost N before TIME`).
#[derive(Default)]
pub(in crate::report) struct Lines(pub(in crate::report) Vec<String>);

impl Take for Lines {
    fn take(&mut self, record: &Record<'_>) {
        let exit = if record.exit.is_some() { " and its exit" } else { "" };
        self.0.push(format!("{} {} {} {}{exit}", record.time(), record.cpu(), record.pid(), record.event()));
    }

    fn lost(&mut self, loss: &Loss<'_>) {
        let lost = match loss.lost {
            Lost::Count(count) => count.to_string(),
            _ => "some".to_owned(),
        };
        self.0.push(format!("lost {lost} before {}", loss.time));
    }
}

/// All lines of what is read, and how it went.
pub(in crate::report) fn read(reading: &mut Reading) -> (Vec<String>, Outcome) {
    let mut lines = Lines::default();
    let outcome = reading.hand_to(&mut lines);
    (lines.0, outcome)
}

/// All lines of files.
pub(in crate::report) fn lines(inputs: Vec<Input>, settings: ReadSettings, selection: &Selection) -> Vec<String> {
    read(&mut Reading::new(inputs, Registry::EMPTY, settings, selection).unwrap()).0
}

/// The times alone of lines of records.
pub(in crate::report) fn times_of(lines: &[String]) -> Vec<u64> {
    lines.iter().filter_map(|line| line.split(' ').next()?.parse().ok()).collect()
}
