//! What may take part in a recording besides the recorder: it brings buffers of its own and what they need.
//!
//! The recorder knows nothing of what a companion is about. It calls it at its steps, in the order of the methods here:
//! before anything is changed, before buffers are set up, for each buffer that is open, around the end, and for what the
//! file says of it.

use std::io;
use std::os::fd::BorrowedFd;

use super::error::Error;
use super::file::segments::SegmentFiles;
use super::outcome::Outcome;
use super::taken::{CpuResult, ReaderCounters};
use crate::dat::unsealed::Family;
use crate::setup::plan::BufferPlan;
use crate::tracefs::{Instance, Undo};
use crate::wire::subbuf::Layout;

/// Empties all CPUs' buffers until the file is readable, counts meanwhile, and brings what is to be in the trace.
pub type BufferWork<'c> = Box<dyn FnOnce(BorrowedFd<'_>, &[ReaderCounters]) -> io::Result<Vec<CpuResult>> + Send + 'c>;

/// What takes part in a recording; what its readers borrow lives as long as `'c`.
pub trait Companion<'c> {
    /// Whether this kernel can do its part; nothing has been changed yet.
    fn check(&mut self, _top: &Instance) -> Result<(), Error> {
        Ok(())
    }

    /// The recorder's probes are defined, its buffers are not set up yet. From here on until [`Companion::stop`] it may be
    /// at work.
    fn start(&mut self, _scene: CompanionScene<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Whether it empties this buffer, instead of the usual readers.
    fn reads(&self, _plan: &BufferPlan<'_>) -> bool {
        false
    }

    /// Makes ready to empty a buffer that it reads.
    fn open(&self, buffer: OpenedBuffer<'_>, undo: &mut Undo) -> Result<BufferWork<'c>, Error>;

    /// Recording is over and probes are going to be removed: nothing may hold them any more.
    fn release_probes(&mut self) {}

    /// Ends its work and completes its files of the family, which become sections of the last file.
    fn finish(&mut self, _family: &Family) {}

    /// Those of its sections that each file of a rotated recording has.
    fn sections_of_each_file(&self) -> &'static [u16] {
        &[]
    }

    /// Says what the kernel's counters of its buffers mean.
    fn correct(&self, _outcome: &mut Outcome) {}

    /// Ends its work, however the recording ends; called in any case, before its probes are removed.
    fn stop(&mut self) {}
}

/// Where a companion starts.
pub struct CompanionScene<'a> {
    /// The buffers, its own among them.
    pub plans: &'a [BufferPlan<'a>],
    /// The top-level buffer.
    pub top: &'a Instance,
    /// The command, which is held.
    pub command: Option<i32>,
    /// The files of the trace to be.
    pub family: &'a Family,
    /// For probes of its own.
    pub probes: &'a mut Undo,
}

/// A buffer that is set up, and where its records go.
pub struct OpenedBuffer<'a> {
    /// What it records.
    pub plan: &'a BufferPlan<'a>,
    /// Layout of its sub-buffers.
    pub layout: Layout,
    /// Its CPUs, each with its files.
    pub cpus: Vec<(u32, SegmentFiles)>,
    /// The files of the trace to be.
    pub family: &'a Family,
    /// The priority that was asked for, as readers take it.
    pub priority: Option<u32>,
}

/// Nobody takes part.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl<'c> Companion<'c> for Alone {
    fn open(&self, _buffer: OpenedBuffer<'_>, _undo: &mut Undo) -> Result<BufferWork<'c>, Error> {
        // It reads no buffer, so none is opened by it.
        Ok(Box::new(|_, _| Ok(Vec::new())))
    }
}

/// Stops a companion however a recording is left.
pub(super) struct Accompanied<'m, 'c>(pub(super) &'m mut dyn Companion<'c>);

impl Drop for Accompanied<'_, '_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}
