//! Reporting while recording: what has come since the last time, merged by time, by the same code as files.
//!
//! Sub-buffers come in rounds. A record is printed in the round in which nothing older than it can come any more, that is,
//! up to the cut: the time at which all buffers were known to be emptied. Sub-buffers with younger records are kept:
//! ```text
//!   CPU 0   [ a b c d ]  [ e | f g ]          | is the cut of this round: f, g, 3 and 4 wait,
//!   CPU 1   [ 1 ]  [ 2       | 3 4 ]            and their sub-buffers are looked at again
//! ```

use std::io::Write;
use std::sync::Arc;

use byteorder::NativeEndian;

use super::{Gate, Input, Outcome, ReportError, SelectError, Selection, Settings};
use crate::dat::{Dat, LiveBuffer, Tsc2Nsec};
use crate::plugins::Trace;
use crate::wire::subbuf::Layout;
use crate::wire::tables::Cmdlines;

/// A report that goes on.
pub struct Live {
    input: Input,
    settings: Settings,
    selection: Selection,
    tsc: Option<Tsc2Nsec>,
    /// Sub-buffers that have records to come.
    kept: Vec<LiveBuffer>,
}

/// Why a round could not be printed.
#[derive(Debug)]
#[non_exhaustive]
pub enum LiveError {
    /// The selection names what there is not.
    Select(SelectError),
    /// Anything else.
    Report(ReportError),
}

impl Live {
    /// A report of events that `trace` knows. The layout is that of the top-level buffer.
    pub fn new(trace: Trace, layout: Layout, settings: Settings, selection: Selection, tsc: Option<Tsc2Nsec>) -> Live {
        let mut input = Input::new(Dat::of_subbufs(layout, Vec::new()), String::new(), String::new());
        input.take_trace(trace);
        Live { input, settings, selection, tsc, kept: Vec::new() }
    }

    /// Prints what has come, up to `cut` (ticks) or, at the end, all of it.
    pub fn round(
        &mut self,
        come: Vec<LiveBuffer>,
        names: Vec<u8>,
        cut: Option<u64>,
        out: &mut dyn Write,
    ) -> Result<Outcome, LiveError> {
        let mut buffers = std::mem::take(&mut self.kept);
        for buffer in come {
            append(&mut buffers, buffer);
        }
        self.kept = cut.map_or_else(Vec::new, |cut| buffers.iter().map(|buffer| after(buffer, cut)).collect());
        let mut dat = Dat::of_subbufs(self.input.dat.layout, buffers);
        dat.options.tsc2nsec = self.tsc;
        self.input.dat = Arc::new(dat);
        self.input.trace.cmdlines = Cmdlines::new(names);
        let inputs = std::slice::from_ref(&self.input);
        let table = super::names(inputs);
        let lanes = super::lanes(inputs, &table, &self.settings).map_err(LiveError::Report)?;
        let time = |ticks| lanes.first().map_or(ticks, |lane| lane.correction.apply(ticks, 0));
        self.settings.to = cut.map(time);
        let gate = Gate::new(inputs, &lanes, &self.selection, self.settings.style.compat).map_err(LiveError::Select)?;
        let outcome = super::run(inputs, &lanes, gate, &self.settings, out).map_err(LiveError::Report)?;
        self.selection.from = self.selection.from.max(self.settings.to.map_or(0, |to| to.saturating_add(1)));
        self.settings.heading = false;
        Ok(outcome)
    }
}

/// Adds what has come to what was kept.
fn append(buffers: &mut Vec<LiveBuffer>, come: LiveBuffer) {
    let Some(buffer) = buffers.iter_mut().find(|buffer| buffer.name == come.name) else { return buffers.push(come) };
    for (cpu, data) in come.cpus {
        match buffer.cpus.iter_mut().find(|known| known.0 == cpu) {
            Some(known) => known.1.extend(data),
            None => buffer.cpus.push((cpu, data)),
        }
    }
    buffer.cpus.sort_by_key(|cpu| cpu.0);
}

/// The sub-buffers that have records after the cut. A loss that has been told is taken out of them.
fn after(buffer: &LiveBuffer, cut: u64) -> LiveBuffer {
    let size = buffer.layout.subbuf_bytes as usize;
    let cpus = buffer.cpus.iter().map(|(cpu, data)| {
        let mut kept = Vec::new();
        for page in data.chunks(size) {
            let (first, last) = times(&buffer.layout, page);
            if last > cut {
                let start = kept.len();
                kept.extend_from_slice(page);
                if first <= cut {
                    forget_loss(&mut kept[start..], &buffer.layout);
                }
            }
        }
        (*cpu, kept)
    });
    LiveBuffer { cpus: cpus.collect(), ..buffer.clone() }
}

/// Times of the first and of the last record.
fn times(layout: &Layout, page: &[u8]) -> (u64, u64) {
    let Ok(head) = layout.head(page) else { return (0, 0) };
    let mut walk = layout.walk(&head);
    let (mut first, mut last) = (None, 0);
    while let Some(Ok(found)) = walk.next::<NativeEndian>(page) {
        first.get_or_insert(found.ticks);
        last = found.ticks;
    }
    (first.unwrap_or(0), last)
}

/// Clears the bits of the commit word that tell of a loss: the uppermost two of its low half.
fn forget_loss(page: &mut [u8], layout: &Layout) {
    let place = if cfg!(target_endian = "big") { usize::from(layout.abi.long_bytes) - 4 } else { 3 };
    if let Some(byte) = page.get_mut(usize::from(layout.commit_offset) + place) {
        *byte &= 0x3f;
    }
}
