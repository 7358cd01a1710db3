//! What readers take: how far they are, what they hand over on the way, and what they bring in the end.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::error::Error;
use super::outcome::Stop;
use crate::dat::chunks::Segment;

/// What a reader has done so far.
#[derive(Debug, Default)]
pub struct ReaderCounters {
    /// Bytes of sub-buffers taken.
    pub bytes: AtomicU64,
    /// Bytes written to the disk.
    pub written: AtomicU64,
    /// The first of its files that was not handed over.
    pub segment: AtomicU64,
    /// Records overwritten before they could be taken; known while it runs only when mapped.
    pub overrun: AtomicU64,
}

/// The counters of all readers at a moment, added up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Bytes written to the disk.
    pub written: u64,
    /// Bytes of sub-buffers taken.
    pub taken: u64,
    /// Records overwritten before they could be taken.
    pub overrun: u64,
}

impl Totals {
    /// What they come to now.
    pub fn of(readers: &[&ReaderCounters]) -> Totals {
        Totals {
            written: readers.iter().map(|reader| reader.written.load(Relaxed)).sum(),
            taken: readers.iter().map(|reader| reader.bytes.load(Relaxed)).sum(),
            overrun: readers.iter().map(|reader| reader.overrun.load(Relaxed)).sum(),
        }
    }
}

/// What a reader hands over at a cut.
#[derive(Debug)]
pub struct HandedOver {
    /// Which buffer, in the order of the plans.
    pub buffer: usize,
    /// The CPU.
    pub cpu: u32,
    /// Which cut.
    pub cut: u64,
    /// All since the last cut.
    pub data: Vec<Segment>,
}

/// Every CPU's data of each buffer.
pub type BufferData = Vec<Vec<(u32, Vec<Segment>)>>;

/// What a reader has brought.
#[derive(Debug, Default)]
pub struct CpuResult {
    /// The CPU.
    pub cpu: u32,
    /// Its data since the last cut, in one file or more.
    pub data: Vec<Segment>,
    /// Bytes of sub-buffers that have passed without being written.
    pub passed_bytes: u64,
    /// How often it was woken.
    pub wakeups: u64,
    /// How often it lost its priority for a while, since it took too much of its CPU.
    pub lowered: u64,
}

/// What a recording has brought by the time its readers have ended.
#[derive(Debug)]
pub struct Captured {
    /// Why it stopped.
    pub stop: Stop,
    /// What went wrong meanwhile.
    pub failure: Option<Error>,
    /// What each reader has brought, by buffer.
    pub buffers: Vec<Vec<CpuResult>>,
    /// How long the buffers were being written.
    pub elapsed: Duration,
    /// A buffer was found switched off before it was to be.
    pub was_switched_off: bool,
    /// Files that were completed on the way.
    pub rotated: Vec<PathBuf>,
}
