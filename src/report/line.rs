//! A record as a line of text: the columns before the event's own text.
//!
//! The columns are an interface that scripts read; they equal trace-cmd 3.4's (3.1's without the column of flags).

use std::sync::OnceLock;

use super::clock::Unit;
use super::merge::{Batch, Item, Mark, NO_EXIT};
use super::pool::Render;
use super::{Lane, RawEvents};
use crate::plugins::{Compat, Scene, latency_flags};
use crate::wire::record::Record;
use crate::wire::subbuf::Lost;
use crate::wire::text;

/// Width of the event's name with the blanks after it.
const NAME_WIDTH: usize = 20;

/// Which columns, and how.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// Nine digits of time instead of six rounded ones (`-t`).
    pub full_time: bool,
    /// The narrow layout (`-l`).
    pub latency: bool,
    /// Time since the line before (`--ts-diff`).
    pub diff: bool,
    /// Events that are printed as raw fields.
    pub raw: RawEvents,
    /// Ticks without unit, whatever the clock (`--raw-ts`).
    pub bare_ticks: bool,
}

pub(super) struct TextLines<'a, 't> {
    pub(super) lanes: &'a [Lane<'t>],
    /// CPU and lane of each stream.
    pub(super) origins: Vec<(u32, u32)>,
    pub(super) columns: &'a Columns,
    pub(super) compat: Compat,
    /// Per file and event id: name column.
    pub(super) names: Vec<Vec<OnceLock<NameColumn>>>,
}

/// What does not change between lines of one event.
pub(super) struct NameColumn {
    text: Box<[u8]>,
    raw: bool,
}

impl NameColumn {
    fn new(name: &[u8], raw: bool) -> NameColumn {
        let mut text = Vec::with_capacity(24);
        text.push(b' ');
        text.extend_from_slice(name);
        text.extend_from_slice(b": ");
        text::blanks(&mut text, NAME_WIDTH.saturating_sub(name.len()));
        NameColumn { text: text.into(), raw }
    }
}

impl<'a, 't> TextLines<'a, 't> {
    pub(super) fn new(
        lanes: &'a [Lane<'t>],
        origins: Vec<(u32, u32)>,
        columns: &'a Columns,
        compat: Compat,
    ) -> TextLines<'a, 't> {
        let files = lanes.iter().map(|lane| lane.file + 1).max().unwrap_or(0);
        let mut names: Vec<Vec<OnceLock<NameColumn>>> = (0..files).map(|_| Vec::new()).collect();
        for lane in lanes {
            if names[lane.file].is_empty() {
                let most = lane.trace.formats.iter().map(|event| usize::from(event.id) + 1).max().unwrap_or(0);
                names[lane.file] = (0..most).map(|_| OnceLock::new()).collect();
            }
        }
        TextLines { lanes, origins, columns, compat, names }
    }

    fn column(&self, lane: &Lane<'_>, id: u16) -> Option<&NameColumn> {
        let slot = self.names.get(lane.file)?.get(usize::from(id))?;
        if let Some(column) = slot.get() {
            return Some(column);
        }
        let format = lane.decoders.get(id)?.format();
        let raw = self.columns.raw.holds(&format.system, &format.name);
        Some(slot.get_or_init(|| NameColumn::new(format.name.as_bytes(), raw)))
    }

    fn mark(&self, lane: &Lane<'_>, cpu: u32, mark: Mark, out: &mut Vec<u8>) {
        if matches!(mark, Mark::SubBuffer) {
            text::blanks(out, lane.prefix.len());
        } else {
            out.extend_from_slice(&lane.prefix);
        }
        out.extend_from_slice(b"CPU:");
        text::dec(out, u64::from(cpu));
        match mark {
            Mark::Lost(Lost::Count(n)) => {
                out.extend_from_slice(b" [");
                text::dec(out, n);
                out.extend_from_slice(b" EVENTS DROPPED]\n");
            }
            Mark::Lost(_) => out.extend_from_slice(b" [EVENTS DROPPED]\n"),
            Mark::SubBuffer => out.extend_from_slice(b" [SUBBUFFER START]\n"),
        }
    }

    fn diff(&self, lane: &Lane<'_>, time: u64, before: Option<u64>, out: &mut Vec<u8>) {
        let whole = lane.unit == Unit::Raw || self.columns.full_time || self.columns.bare_ticks;
        out.push(b' ');
        let start = out.len();
        if let Some(before) = before {
            let delta =
                if whole { time.wrapping_sub(before) as i64 } else { micros(time).wrapping_sub(micros(before)) as i64 };
            out.extend_from_slice(b"(+");
            text::signed(out, delta);
            out.push(b')');
        }
        let written = out.len() - start;
        text::blanks(out, 8_usize.saturating_sub(written));
    }

    fn record(&self, batch: &Batch, index: usize, item: &Item, out: &mut Vec<u8>) {
        let Some(&(cpu, lane)) = self.origins.get(item.stream as usize) else { return };
        let lane = &self.lanes[lane as usize];
        let data = slice(batch, item.chunk, item.start, item.len);
        let seq = batch.first + index as u64;
        let pid = lane.common.pid(data);
        let id = lane.common.id(data);
        let record = Record { ticks: item.time, cpu, data };
        let marked = batch.marks.binary_search_by_key(&(index as u32), |mark| mark.0).is_ok();
        if marked {
            for (_, mark) in batch.marks.iter().filter(|mark| mark.0 == index as u32) {
                self.mark(lane, cpu, *mark, out);
            }
        }
        // trace-cmd puts the prefix on the line about the loss only.
        if !marked || self.compat == Compat::Rtrec {
            out.extend_from_slice(&lane.prefix);
        }
        let comm = lane.names.at(pid, seq);
        let decoder = lane.decoders.get(id);
        let format = decoder.map(|decoder| decoder.format());
        let column = self.column(lane, id);
        let raw = column.is_some_and(|column| column.raw);
        if self.columns.latency {
            let comm = &comm[..comm.len().min(8)];
            text::padded(out, comm, 8, b' ');
            self.pid(pid, out);
            out.push(b' ');
            text::dec_right(out, u64::from(cpu), 3);
        } else {
            text::padded(out, comm, 16, b' ');
            self.pid(pid, out);
            out.extend_from_slice(b" [");
            text::dec_zeros(out, u64::from(cpu), 3);
            out.push(b']');
        }
        if raw && self.compat != Compat::V31 {
            out.extend_from_slice(b"-0x");
            text::hex(out, u64::from(lane.common.flags(data)));
        } else if self.columns.latency || self.compat != Compat::V31 {
            if !self.columns.latency {
                out.push(b' ');
            }
            match format {
                Some(format) => latency_flags(lane.trace, format, &record, self.compat, out),
                None => out.extend_from_slice(b"....."),
            }
        }
        let unit = if self.columns.bare_ticks { Unit::Raw } else { lane.unit };
        write_time(unit, self.columns.full_time, item.time, out);
        if self.columns.diff {
            let before = match index.checked_sub(1) {
                Some(before) => batch.items.get(before).map(|item| item.time),
                None => batch.before,
            };
            self.diff(lane, item.time, before, out);
        }
        match (column, decoder) {
            (Some(column), Some(decoder)) => {
                out.extend_from_slice(&column.text);
                let exit = batch.exits.get(item.exit as usize).filter(|_| item.exit != NO_EXIT);
                let exit = exit.map(|exit| Record {
                    ticks: exit.ticks,
                    cpu,
                    data: slice(batch, exit.chunk, exit.start, exit.len),
                });
                let scene = Scene { trace: lane.trace, names: &lane.names, seq, exit, aux: item.aux };
                if raw {
                    decoder.raw_fields(&record, &scene, out);
                } else {
                    decoder.text(&record, &scene, out);
                }
                if out.last() == Some(&b'\n') {
                    out.pop();
                }
            }
            _ => unknown(id, data, out),
        }
        out.push(b'\n');
    }

    #[inline]
    fn pid(&self, pid: i32, out: &mut Vec<u8>) {
        out.push(b'-');
        let start = out.len();
        text::signed(out, i64::from(pid));
        let written = out.len() - start;
        text::blanks(out, 5_usize.saturating_sub(written));
    }
}

/// A record whose event has no readable format: its number and its bytes.
fn unknown(id: u16, data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b" [unknown event ");
    text::dec(out, u64::from(id));
    out.extend_from_slice(b"]:");
    for byte in data.iter().take(256) {
        out.push(b' ');
        text::hex_byte(out, *byte);
    }
}

/// The column of time, its colon included.
#[inline]
pub(super) fn write_time(unit: Unit, full: bool, time: u64, out: &mut Vec<u8>) {
    if unit == Unit::Raw {
        text::dec_right(out, time, 12);
        out.push(b':');
        return;
    }
    out.push(b' ');
    if full {
        text::dec_right(out, time / 1_000_000_000, 5);
        out.push(b'.');
        text::dec_zeros(out, time % 1_000_000_000, 9);
    } else {
        let us = micros(time);
        text::dec_right(out, us / 1_000_000, 5);
        out.push(b'.');
        text::dec_zeros(out, us % 1_000_000, 6);
    }
    out.push(b':');
}

#[inline]
fn micros(time: u64) -> u64 {
    time.saturating_add(500) / 1000
}

#[inline]
pub(super) fn slice(batch: &Batch, chunk: u32, start: u32, len: u32) -> &[u8] {
    let bytes = batch.chunks.get(chunk as usize).map_or(&[][..], |chunk| chunk.bytes.as_slice());
    bytes.get(start as usize..start as usize + len as usize).unwrap_or(&[])
}

impl Render<Batch> for TextLines<'_, '_> {
    fn render(&self, batch: &Batch, out: &mut Vec<u8>) {
        out.reserve(batch.items.len() * 150);
        for (index, item) in batch.items.iter().enumerate() {
            if index >= batch.skip {
                self.record(batch, index, item, out);
            }
        }
    }
}
