//! A record as a line of text: the columns before the event's own text.
//!
//! The columns are an interface that scripts read; they equal trace-cmd 3.4's (3.1's without the column of flags).

use std::sync::OnceLock;

use super::dump;
use super::settings::Columns;
use crate::decode::{Compat, Decoder};
use crate::report::reading::batch::{Batch, Walk};
use crate::report::reading::clock::{Unit, micros, write_time};
use crate::report::reading::lane::{Lane, slots};
use crate::report::reading::pool::Render;
use crate::report::reading::record::{Loss, Opened, Origin, Record};
use crate::wire::record::Record as Bytes;
use crate::wire::subbuf::Lost;
use crate::wire::text;

/// Width of the event's name with the blanks after it.
const NAME_WIDTH: usize = 20;

const TASK_COLOUR: &[u8] = b"\x1b[32m";
const EVENT_COLOUR: &[u8] = b"\x1b[36m";
const ALARM_COLOUR: &[u8] = b"\x1b[31m";
const PLAIN: &[u8] = b"\x1b[0m";

/// Records as lines.
pub(super) struct TextLines<'r> {
    opened: Opened<'r>,
    /// ` [000]`, by stream.
    cpus: Vec<ShortText<16>>,
    columns: &'r Columns,
    compat: Compat,
    dump: bool,
    /// Per file and event id.
    events: Vec<Vec<OnceLock<EventColumn<'r>>>>,
}

/// What does not change between lines of one event.
struct EventColumn<'r> {
    decoder: &'r Decoder,
    text: Result<ShortText<32>, Box<[u8]>>,
    raw: bool,
}

/// A short text that is copied whole, which is faster than copying just enough.
#[derive(Clone, Copy)]
struct ShortText<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> ShortText<N> {
    const EMPTY: ShortText<N> = ShortText { bytes: [0; N], len: 0 };

    fn new(text: &[u8]) -> Option<ShortText<N>> {
        let mut short = ShortText::EMPTY;
        short.bytes.get_mut(..text.len())?.copy_from_slice(text);
        short.len = u8::try_from(text.len()).ok()?;
        Some(short)
    }

    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        let end = out.len() + usize::from(self.len);
        out.extend_from_slice(&self.bytes);
        out.truncate(end);
    }
}

impl<'r> EventColumn<'r> {
    fn new(decoder: &'r Decoder, raw: bool, colour: bool) -> EventColumn<'r> {
        let format = decoder.format();
        let name = format.name.as_bytes();
        let mut text = Vec::with_capacity(32);
        let (begin, end) = if colour { (EVENT_COLOUR, PLAIN) } else { (&[][..], &[][..]) };
        text.push(b' ');
        text.extend_from_slice(begin);
        text.extend_from_slice(name);
        text.extend_from_slice(end);
        text.extend_from_slice(b": ");
        text::blanks(&mut text, NAME_WIDTH.saturating_sub(name.len()));
        EventColumn { decoder, text: ShortText::new(&text).ok_or_else(|| text.into()), raw }
    }
}

/// Columns of the lines before, which most lines share.
struct ColumnCache {
    tasks: [(usize, i32, ShortText<32>); ColumnCache::TASKS],
    flags: [(u32, ShortText<8>); ColumnCache::FLAGS],
    second: u64,
    second_text: ShortText<24>,
}

impl ColumnCache {
    const TASKS: usize = 64;
    const FLAGS: usize = 32;

    fn new() -> ColumnCache {
        ColumnCache {
            tasks: [(0, 0, ShortText::EMPTY); ColumnCache::TASKS],
            flags: [(u32::MAX, ShortText::EMPTY); ColumnCache::FLAGS],
            second: u64::MAX,
            second_text: ShortText::EMPTY,
        }
    }
}

impl<'r> TextLines<'r> {
    pub(super) fn new(opened: Opened<'r>, columns: &'r Columns, compat: Compat, dump: bool) -> TextLines<'r> {
        let column = |origin: &Origin| {
            let mut text = Vec::new();
            if columns.latency {
                text.push(b' ');
                text::dec_right(&mut text, u64::from(origin.cpu), 3);
            } else {
                text.extend_from_slice(b" [");
                text::dec_zeros(&mut text, u64::from(origin.cpu), 3);
                text.push(b']');
            }
            ShortText::new(&text).unwrap_or(ShortText::EMPTY)
        };
        let cpus = opened.origins.iter().map(column).collect();
        TextLines { opened, cpus, columns, compat, dump, events: slots(opened.lanes) }
    }

    #[inline]
    fn event(&self, file: usize, id: u16) -> Option<&EventColumn<'r>> {
        let slot = self.events.get(file)?.get(usize::from(id))?;
        if let Some(column) = slot.get() {
            return Some(column);
        }
        let decoder = self.opened.lane_of(file)?.decoders.get(id)?;
        let format = decoder.format();
        let raw = self.columns.raw.holds(&format.system, &format.name);
        Some(slot.get_or_init(|| EventColumn::new(decoder, raw, self.columns.colour)))
    }

    /// `CPU:0 [3 EVENTS DROPPED]`
    fn lost(&self, loss: &Loss<'_>, out: &mut Vec<u8>) {
        if self.columns.colour {
            out.extend_from_slice(ALARM_COLOUR);
        }
        out.extend_from_slice(b"CPU:");
        text::dec(out, u64::from(loss.cpu));
        out.extend_from_slice(b" [");
        if let Lost::Count(n) = loss.lost {
            text::dec(out, n);
            out.push(b' ');
        }
        out.extend_from_slice(b"EVENTS DROPPED]");
        if self.columns.colour {
            out.extend_from_slice(PLAIN);
        }
        out.push(b'\n');
    }

    /// `CPU:0 [SUBBUFFER START]`
    fn sub_buffer(&self, batch: &Batch, record: &Record<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"CPU:");
        text::dec(out, u64::from(record.cpu()));
        out.extend_from_slice(b" [SUBBUFFER START]");
        if self.dump
            && let Some(item) = batch.item(record)
            && let Some(chunk) = batch.chunks.get(item.chunk as usize)
        {
            let (page, base) = dump::page(&record.lane.layout, &chunk.bytes, item.start);
            dump::begin(&record.lane.layout, page, chunk.offset + u64::from(base), out);
        }
        out.push(b'\n');
    }

    /// Begins a line that stands before a record's; `marked`: another one does so already.
    fn begin_mark(&self, lane: &Lane, marked: bool, out: &mut Vec<u8>) {
        // trace-cmd puts the prefix on the first line about a loss only.
        if !marked || self.compat == Compat::Rtrec {
            out.extend_from_slice(&lane.prefix);
        }
    }

    fn diff(&self, lane: &Lane, time: u64, before: Option<u64>, out: &mut Vec<u8>) {
        let bare = lane.unit == Unit::Raw || self.columns.bare_ticks;
        // trace-cmd divides by a thousand whatever the clock counts.
        let whole = self.columns.full_time || (bare && self.compat == Compat::Rtrec);
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

    #[inline(always)]
    fn record(&self, batch: &Batch, record: &Record<'_>, marked: bool, memory: &mut ColumnCache, out: &mut Vec<u8>) {
        let lane = record.lane;
        let event = self.event(lane.file, record.id());
        // trace-cmd puts the prefix on the line about the loss only.
        if !marked || self.compat == Compat::Rtrec {
            out.extend_from_slice(&lane.prefix);
        }
        self.task(record, memory, out);
        self.cpus[record.stream as usize].put(out);
        let raw = event.is_some_and(|event| event.raw);
        if self.columns.raw.is_all() && self.compat != Compat::V31 {
            out.extend_from_slice(b"-0x");
            text::hex(out, u64::from(lane.common.flags(record.bytes.data)));
        } else if self.columns.latency || self.compat != Compat::V31 {
            if !self.columns.latency {
                out.push(b' ');
            }
            self.flags(lane, event, &record.bytes, memory, out);
        }
        self.time(lane.unit, record.time(), memory, out);
        if self.columns.diff {
            self.diff(lane, record.time(), batch.time_before(record), out);
        }
        let Some(event) = event else {
            unknown(record.id(), record.bytes.data, out);
            out.push(b'\n');
            return;
        };
        match &event.text {
            Ok(short) => short.put(out),
            Err(long) => out.extend_from_slice(long),
        }
        self.text(event, record, raw, out);
        if let Some(wait) = batch.wait(record) {
            out.extend_from_slice(b" Latency: ");
            text::micros(out, wait);
            out.extend_from_slice(b" usecs");
        }
        if self.dump
            && let Some(item) = batch.item(record)
        {
            let chunk = batch.chunks.get(item.chunk as usize).map_or(&[][..], |chunk| chunk.bytes.as_slice());
            let (page, base) = dump::page(&lane.layout, chunk, item.start);
            dump::record(&lane.layout, page, item.start - base, item.len, out);
        }
        out.push(b'\n');
    }

    /// What the event says.
    #[inline]
    fn text(&self, event: &EventColumn<'_>, record: &Record<'_>, raw: bool, out: &mut Vec<u8>) {
        let (scene, start) = (record.scene(), out.len());
        if raw {
            event.decoder.raw_fields(&record.bytes, &scene, out);
        } else {
            event.decoder.text(&record.bytes, &scene, out);
        }
        let is_slow = || out.get(start).is_some_and(|mark| b"!#*@$".contains(mark));
        if self.columns.colour && record.lane.draws_graph && is_slow() {
            // What a function took long by.
            let mark = out[start];
            out.splice(start..=start, [ALARM_COLOUR, &[mark], PLAIN].concat());
        }
        if out.last() == Some(&b'\n') {
            out.pop();
        }
    }

    /// `            comm-pid  `
    #[inline]
    fn task(&self, record: &Record<'_>, memory: &mut ColumnCache, out: &mut Vec<u8>) {
        let pid = record.pid();
        let comm = record.lane.comm(pid, record.seq, record.time());
        // Names stay where they are, so the place of a name stands for the name.
        let place = comm.as_ptr() as usize;
        let slot = &mut memory.tasks[pid as u32 as usize % ColumnCache::TASKS];
        if slot.0 == place && slot.1 == pid && slot.2.len > 0 {
            return slot.2.put(out);
        }
        let start = out.len();
        if self.columns.colour {
            out.extend_from_slice(TASK_COLOUR);
        }
        if self.columns.latency {
            text::padded(out, &comm[..comm.len().min(8)], 8, b' ');
        } else {
            text::padded(out, comm, 16, b' ');
        }
        out.push(b'-');
        let number = out.len();
        text::signed(out, i64::from(pid));
        let written = out.len() - number;
        text::blanks(out, 5_usize.saturating_sub(written));
        if self.columns.colour {
            out.extend_from_slice(PLAIN);
        }
        if let Some(short) = ShortText::new(&out[start..]) {
            *slot = (place, pid, short);
        }
    }

    #[inline]
    fn flags(
        &self,
        lane: &Lane,
        event: Option<&EventColumn<'_>>,
        record: &Bytes<'_>,
        memory: &mut ColumnCache,
        out: &mut Vec<u8>,
    ) {
        let Some(event) = event else { return out.extend_from_slice(b".....") };
        let flags = event.decoder.flags();
        let Some(key) = flags.key(record) else { return flags.put(record, out) };
        // Which letters a kernel means depends on its release, that is, on the file.
        let key = key | (lane.file as u32) << 16;
        let slot = &mut memory.flags[(key ^ key >> 5 ^ key >> 8) as usize % ColumnCache::FLAGS];
        if slot.0 == key {
            return slot.1.put(out);
        }
        let start = out.len();
        flags.put(record, out);
        if let Some(short) = ShortText::new(&out[start..]) {
            *slot = (key, short);
        }
    }

    #[inline]
    fn time(&self, unit: Unit, time: u64, memory: &mut ColumnCache, out: &mut Vec<u8>) {
        if unit == Unit::Raw || self.columns.bare_ticks {
            return write_time(Unit::Raw, false, time, out);
        }
        let full = self.columns.full_time;
        let (second, rest) = if full {
            (time / 1_000_000_000, time % 1_000_000_000)
        } else {
            let us = micros(time);
            (us / 1_000_000, us % 1_000_000)
        };
        if memory.second != second {
            let mut text = vec![b' '];
            text::dec_right(&mut text, second, 5);
            text.push(b'.');
            memory.second = second;
            memory.second_text = ShortText::new(&text).unwrap_or(ShortText::EMPTY);
        }
        memory.second_text.put(out);
        let mut digits = ShortText::<16> { bytes: [b':'; 16], len: if full { 10 } else { 7 } };
        let mut left = rest as u32;
        let mut at = if full { 9 } else { 6 };
        while at >= 2 {
            let pair = (left % 100) as u8;
            digits.bytes[at - 2] = b'0' + pair / 10;
            digits.bytes[at - 1] = b'0' + pair % 10;
            left /= 100;
            at -= 2;
        }
        if at == 1 {
            digits.bytes[0] = b'0' + left as u8;
        }
        digits.put(out);
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

impl Render<Batch> for TextLines<'_> {
    fn render(&self, batch: &Batch, out: &mut Vec<u8>) {
        out.reserve(batch.items.len() * 150);
        let mut lines = Lines { form: self, batch, memory: ColumnCache::new(), marked: false, out };
        batch.walk(self.opened, false, &mut lines);
    }
}

/// The lines of one batch.
struct Lines<'l, 'r> {
    form: &'l TextLines<'r>,
    batch: &'l Batch,
    memory: ColumnCache,
    /// Something stands before the next record.
    marked: bool,
    out: &'l mut Vec<u8>,
}

impl Walk for Lines<'_, '_> {
    #[inline]
    fn record(&mut self, record: &Record<'_>) {
        let marked = std::mem::take(&mut self.marked);
        self.form.record(self.batch, record, marked, &mut self.memory, self.out);
    }

    fn lost(&mut self, loss: &Loss<'_>) {
        self.form.begin_mark(loss.lane, self.marked, self.out);
        self.form.lost(loss, self.out);
        self.marked = true;
    }

    fn sub_buffer(&mut self, record: &Record<'_>) {
        self.form.begin_mark(record.lane, self.marked, self.out);
        self.form.sub_buffer(self.batch, record, self.out);
        self.marked = true;
    }
}
