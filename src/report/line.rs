//! A record as a line of text: the columns before the event's own text.
//!
//! The columns are an interface that scripts read; they equal trace-cmd 3.4's (3.1's without the column of flags).

use std::sync::OnceLock;

use super::clock::Unit;
use super::merge::{Batch, Item, Mark, NO_EXIT};
use super::pool::Render;
use super::{Lane, RawEvents, dump, wakeup};
use crate::plugins::{Compat, Decoder, Scene};
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
    /// With the escapes that terminals show as colours.
    pub colour: bool,
}

const TASK_COLOUR: &[u8] = b"\x1b[32m";
const EVENT_COLOUR: &[u8] = b"\x1b[36m";
const ALARM_COLOUR: &[u8] = b"\x1b[31m";
const PLAIN: &[u8] = b"\x1b[0m";

pub(super) struct TextLines<'a, 't> {
    lanes: &'a [Lane<'t>],
    origins: Vec<Origin>,
    columns: &'a Columns,
    compat: Compat,
    dump: bool,
    /// Per file and event id.
    events: Vec<Vec<OnceLock<EventColumn<'a, 't>>>>,
}

/// What does not change between lines of one stream.
struct Origin {
    cpu: u32,
    lane: u32,
    /// ` [000]`
    text: Short<16>,
}

/// What does not change between lines of one event.
struct EventColumn<'a, 't> {
    decoder: &'a Decoder<'t>,
    text: Result<Short<32>, Box<[u8]>>,
    raw: bool,
}

/// A short text that is copied whole, which is faster than copying just enough.
#[derive(Clone, Copy)]
struct Short<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> Short<N> {
    const EMPTY: Short<N> = Short { bytes: [0; N], len: 0 };

    fn new(text: &[u8]) -> Option<Short<N>> {
        let mut short = Short::EMPTY;
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

impl<'a, 't> EventColumn<'a, 't> {
    fn new(decoder: &'a Decoder<'t>, raw: bool, colour: bool) -> EventColumn<'a, 't> {
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
        EventColumn { decoder, text: Short::new(&text).ok_or_else(|| text.into()), raw }
    }
}

/// Columns of the lines before, which most lines share.
struct Memory {
    tasks: [(usize, i32, Short<32>); Memory::TASKS],
    flags: [(u32, Short<8>); Memory::FLAGS],
    second: u64,
    second_text: Short<24>,
}

impl Memory {
    const TASKS: usize = 64;
    const FLAGS: usize = 32;

    fn new() -> Memory {
        Memory {
            tasks: [(0, 0, Short::EMPTY); Memory::TASKS],
            flags: [(u32::MAX, Short::EMPTY); Memory::FLAGS],
            second: u64::MAX,
            second_text: Short::EMPTY,
        }
    }
}

impl<'a, 't> TextLines<'a, 't> {
    pub(super) fn new(
        lanes: &'a [Lane<'t>],
        origins: Vec<(u32, u32)>,
        columns: &'a Columns,
        compat: Compat,
        dump: bool,
    ) -> TextLines<'a, 't> {
        let events = slots(lanes);
        let origins = origins.into_iter().map(|(cpu, lane)| {
            let mut text = Vec::new();
            if columns.latency {
                text.push(b' ');
                text::dec_right(&mut text, u64::from(cpu), 3);
            } else {
                text.extend_from_slice(b" [");
                text::dec_zeros(&mut text, u64::from(cpu), 3);
                text.push(b']');
            }
            Origin { cpu, lane, text: Short::new(&text).unwrap_or(Short::EMPTY) }
        });
        TextLines { lanes, origins: origins.collect(), columns, compat, dump, events }
    }

    #[inline]
    fn event(&self, lane: &'a Lane<'t>, id: u16) -> Option<&EventColumn<'a, 't>> {
        let slot = self.events.get(lane.file)?.get(usize::from(id))?;
        if let Some(column) = slot.get() {
            return Some(column);
        }
        let decoder = lane.decoders.get(id)?;
        let format = decoder.format();
        let raw = self.columns.raw.holds(&format.system, &format.name);
        Some(slot.get_or_init(|| EventColumn::new(decoder, raw, self.columns.colour)))
    }

    fn mark(&self, lane: &Lane<'_>, cpu: u32, mark: Mark, batch: &Batch, index: usize, out: &mut Vec<u8>) {
        let is_alarming = self.columns.colour && matches!(mark, Mark::Lost(_));
        if is_alarming {
            out.extend_from_slice(ALARM_COLOUR);
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
            Mark::SubBuffer => {
                out.extend_from_slice(b" [SUBBUFFER START]");
                let item = batch.items.get(index).filter(|_| self.dump);
                if let Some((item, chunk)) = item.and_then(|item| Some((item, batch.chunks.get(item.chunk as usize)?)))
                {
                    let (page, base) = dump::page(lane, &chunk.bytes, item.start);
                    dump::begin(lane, page, chunk.offset + u64::from(base), out);
                }
                out.push(b'\n');
            }
        }
        if is_alarming {
            out.pop();
            out.extend_from_slice(PLAIN);
            out.push(b'\n');
        }
    }

    fn diff(&self, lane: &Lane<'_>, time: u64, before: Option<u64>, out: &mut Vec<u8>) {
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

    fn record(&self, batch: &Batch, index: usize, item: &Item, memory: &mut Memory, out: &mut Vec<u8>) {
        let Some(origin) = self.origins.get(item.stream as usize) else { return };
        let (cpu, lane) = (origin.cpu, &self.lanes[origin.lane as usize]);
        let data = slice(batch, item.chunk, item.start, item.len);
        let seq = batch.first + index as u64;
        let record = Record { ticks: item.time, cpu, data };
        let event = self.event(lane, lane.common.id(data));
        // trace-cmd puts the prefix on the line about the loss only.
        if !self.marks(batch, index, lane, cpu, out) || self.compat == Compat::Rtrec {
            out.extend_from_slice(&lane.prefix);
        }
        self.task(lane, lane.common.pid(data), seq, item.time, memory, out);
        origin.text.put(out);
        let raw = event.is_some_and(|event| event.raw);
        if self.columns.raw.is_all() && self.compat != Compat::V31 {
            out.extend_from_slice(b"-0x");
            text::hex(out, u64::from(lane.common.flags(data)));
        } else if self.columns.latency || self.compat != Compat::V31 {
            if !self.columns.latency {
                out.push(b' ');
            }
            self.flags(lane, event, &record, memory, out);
        }
        self.time(lane.unit, item.time, memory, out);
        if self.columns.diff {
            let before = match index.checked_sub(1) {
                Some(before) => batch.items.get(before).map(|item| item.time),
                None => batch.before,
            };
            self.diff(lane, item.time, before, out);
        }
        let Some(event) = event else {
            unknown(lane.common.id(data), data, out);
            out.push(b'\n');
            return;
        };
        match &event.text {
            Ok(short) => short.put(out),
            Err(long) => out.extend_from_slice(long),
        }
        let exit = batch.exits.get(item.exit as usize).filter(|_| item.exit != NO_EXIT);
        let exit =
            exit.map(|exit| Record { ticks: exit.ticks, cpu, data: slice(batch, exit.chunk, exit.start, exit.len) });
        let scene = Scene { trace: lane.trace, names: lane.names, seq, exit, aux: item.aux };
        let start = out.len();
        if raw {
            event.decoder.raw_fields(&record, &scene, out);
        } else {
            event.decoder.text(&record, &scene, out);
        }
        if self.columns.colour && lane.draws_graph && out.get(start).is_some_and(|mark| b"!#*@$".contains(mark)) {
            // What a function took long by.
            let mark = out[start];
            out.splice(start..=start, [ALARM_COLOUR, &[mark], PLAIN].concat());
        }
        if out.last() == Some(&b'\n') {
            out.pop();
        }
        let latency = batch.latencies.binary_search_by_key(&(index as u32), |latency| latency.0);
        if let Some((_, latency)) = latency.ok().and_then(|at| batch.latencies.get(at)) {
            wakeup::latency(*latency, out);
        }
        if self.dump {
            let chunk = batch.chunks.get(item.chunk as usize).map_or(&[][..], |chunk| chunk.bytes.as_slice());
            let (page, base) = dump::page(lane, chunk, item.start);
            dump::record(&lane.buffer.layout, page, item.start - base, item.len, out);
        }
        out.push(b'\n');
    }

    /// Says what there is to say before a record; whether there was something.
    #[inline]
    fn marks(&self, batch: &Batch, index: usize, lane: &Lane<'_>, cpu: u32, out: &mut Vec<u8>) -> bool {
        if batch.marks.is_empty() {
            return false;
        }
        let first = batch.marks.partition_point(|mark| (mark.0 as usize) < index);
        let here = batch.marks.iter().skip(first).take_while(|mark| mark.0 as usize == index);
        let mut any = false;
        for (_, mark) in here {
            if !any || self.compat == Compat::Rtrec {
                out.extend_from_slice(&lane.prefix);
            }
            self.mark(lane, cpu, *mark, batch, index, out);
            any = true;
        }
        any
    }

    /// `            comm-pid  `
    #[inline]
    fn task(&self, lane: &Lane<'_>, pid: i32, seq: u64, time: u64, memory: &mut Memory, out: &mut Vec<u8>) {
        let comm = lane.comm(pid, seq, time);
        // Names stay where they are, so the place of a name stands for the name.
        let place = comm.as_ptr() as usize;
        let slot = &mut memory.tasks[pid as u32 as usize % Memory::TASKS];
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
        if let Some(short) = Short::new(&out[start..]) {
            *slot = (place, pid, short);
        }
    }

    #[inline]
    fn flags(
        &self,
        lane: &Lane<'_>,
        event: Option<&EventColumn<'_, '_>>,
        record: &Record<'_>,
        memory: &mut Memory,
        out: &mut Vec<u8>,
    ) {
        let Some(event) = event else { return out.extend_from_slice(b".....") };
        let flags = event.decoder.flags();
        let Some(key) = flags.key(record) else { return flags.put(record, out) };
        // Which letters a kernel means depends on its release, that is, on the file.
        let key = key | (lane.file as u32) << 16;
        let slot = &mut memory.flags[(key ^ key >> 5 ^ key >> 8) as usize % Memory::FLAGS];
        if slot.0 == key {
            return slot.1.put(out);
        }
        let start = out.len();
        flags.put(record, out);
        if let Some(short) = Short::new(&out[start..]) {
            *slot = (key, short);
        }
    }

    #[inline]
    fn time(&self, unit: Unit, time: u64, memory: &mut Memory, out: &mut Vec<u8>) {
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
            memory.second_text = Short::new(&text).unwrap_or(Short::EMPTY);
        }
        memory.second_text.put(out);
        let mut digits = Short::<16> { bytes: [b':'; 16], len: if full { 10 } else { 7 } };
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

/// A slot per file and event id.
pub(super) fn slots<T>(lanes: &[Lane<'_>]) -> Vec<Vec<OnceLock<T>>> {
    let files = lanes.iter().map(|lane| lane.file + 1).max().unwrap_or(0);
    let mut slots: Vec<Vec<OnceLock<T>>> = (0..files).map(|_| Vec::new()).collect();
    for lane in lanes {
        if slots[lane.file].is_empty() {
            let most = lane.trace.formats.iter().map(|event| usize::from(event.id) + 1).max().unwrap_or(0);
            slots[lane.file] = (0..most).map(|_| OnceLock::new()).collect();
        }
    }
    slots
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
        let mut memory = Memory::new();
        for (index, item) in batch.items.iter().enumerate() {
            if index >= batch.skip {
                self.record(batch, index, item, &mut memory, out);
            }
        }
    }
}
