//! Records for programs: one JSON object a line, or comma separated values.
//!
//! Names and meaning of the fields are an interface, which `docs/json.md` describes; new ones may be added, none changes
//! without a new [`SCHEMA`].

use std::sync::OnceLock;

use super::Lane;
use super::line::{slice, slots, write_time};
use super::merge::{Batch, Item, Mark, NO_EXIT};
use super::pool::Render;
use crate::plugins::{Decoder, Scene};
use crate::wire::format::{Field, Value};
use crate::wire::record::Record;
use crate::wire::subbuf::Lost;
use crate::wire::text;

/// The version of the schema: raised when a field changes its meaning or goes.
const SCHEMA: u64 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Column {
    Ts,
    Time,
    Cpu,
    Pid,
    Comm,
    System,
    Event,
    Flags,
    Text,
    Buffer,
    File,
    Schema,
    Own(String),
}

impl Column {
    fn named(name: &str) -> Column {
        match name {
            "ts" => Column::Ts,
            "time" => Column::Time,
            "cpu" => Column::Cpu,
            "pid" => Column::Pid,
            "comm" => Column::Comm,
            "system" => Column::System,
            "event" => Column::Event,
            "flags" => Column::Flags,
            "text" => Column::Text,
            "buffer" => Column::Buffer,
            "file" => Column::File,
            "schema" => Column::Schema,
            own => Column::Own(own.to_owned()),
        }
    }
}

/// A column, and what stands before its value: a comma, and in JSON its name.
struct Cell {
    column: Column,
    name: String,
    before: Box<[u8]>,
}

/// What does not change between records of one event.
struct Event {
    system: Box<[u8]>,
    name: Box<[u8]>,
    /// System and name as they stand in a line of the usual columns, up to the flags.
    what: Box<[u8]>,
    /// Before the value of each of its own fields: a comma and the name.
    fields: Vec<Box<[u8]>>,
}

/// Texts of the records before, which most records share.
struct Memory {
    scratch: Vec<u8>,
    /// Who: CPU, task and name as they stand in a line of the usual columns, by CPU and task.
    who: [(u64, usize, Vec<u8>); Memory::TASKS],
    /// The time without its last eight digits, and those.
    eon: (u64, Vec<u8>),
    tasks: [(usize, Vec<u8>); Memory::TASKS],
    flags: (u64, Vec<u8>),
}

impl Memory {
    const TASKS: usize = 64;

    fn new() -> Memory {
        let tasks = std::array::from_fn(|_| (0, Vec::new()));
        let who = std::array::from_fn(|_| (u64::MAX, 0, Vec::new()));
        Memory { scratch: Vec::new(), who, eon: (0, Vec::new()), tasks, flags: (u64::MAX, Vec::new()) }
    }
}

impl Memory {
    /// The start of a JSON line and its time.
    #[inline]
    fn time(&mut self, time: u64, out: &mut Vec<u8>) {
        let (eon, rest) = (time / text::EIGHT_DIGITS, time % text::EIGHT_DIGITS);
        if self.eon.0 != eon || self.eon.1.is_empty() {
            self.eon.0 = eon;
            self.eon.1.clear();
            self.eon.1.extend_from_slice(b"{\"ts\":");
            if eon > 0 {
                text::dec(&mut self.eon.1, eon);
            }
        }
        out.extend_from_slice(&self.eon.1);
        if eon > 0 { text::dec_eight(out, rest as u32) } else { text::dec(out, rest) }
    }
}

pub(super) struct Records<'a, 't> {
    lanes: &'a [Lane<'t>],
    origins: Vec<(u32, u32)>,
    columns: Vec<Cell>,
    /// Per file and event id.
    events: Vec<Vec<OnceLock<Event>>>,
    /// All fields of the event follow.
    all: bool,
    json: bool,
    files: Vec<String>,
}

const JSON_COLUMNS: [&str; 7] = ["ts", "cpu", "pid", "comm", "system", "event", "flags"];
const CSV_COLUMNS: [&str; 8] = ["ts", "cpu", "pid", "comm", "system", "event", "flags", "text"];

impl<'a, 't> Records<'a, 't> {
    pub(super) fn new(
        lanes: &'a [Lane<'t>],
        origins: Vec<(u32, u32)>,
        fields: &[String],
        json: bool,
        files: Vec<String>,
    ) -> Records<'a, 't> {
        let usual: &[&str] = if json { &JSON_COLUMNS } else { &CSV_COLUMNS };
        let names: Vec<&str> =
            if fields.is_empty() { usual.to_vec() } else { fields.iter().map(String::as_str).collect() };
        let cell = |(number, name): (usize, &&str)| {
            let mut before = if number > 0 { b",".to_vec() } else { Vec::new() };
            if json {
                json_text(name.as_bytes(), &mut before);
                before.push(b':');
            }
            Cell { column: Column::named(name), name: (*name).to_owned(), before: before.into() }
        };
        let columns = names.iter().enumerate().map(cell).collect();
        let events = slots(lanes);
        Records { lanes, origins, columns, events, all: fields.is_empty() && json, json, files }
    }

    /// What is known of the decoder's event.
    #[inline]
    fn event(&self, lane: &Lane<'_>, decoder: &Decoder<'_>) -> Option<&Event> {
        let slot = self.events.get(lane.file)?.get(usize::from(decoder.format().id))?;
        Some(slot.get_or_init(|| {
            let made = |text: &str| {
                let mut out = Vec::new();
                self.text(text.as_bytes(), &mut out);
                out.into_boxed_slice()
            };
            let format = decoder.format();
            let key = |(number, field): (usize, &Field)| {
                let mut out = if number > 0 { b",".to_vec() } else { Vec::new() };
                json_text(field.name.as_bytes(), &mut out);
                out.push(b':');
                out.into_boxed_slice()
            };
            let fields = format.fields.iter().enumerate().map(key).collect();
            let (system, name) = (made(&format.system), made(&format.name));
            let what = [b",\"system\":", &*system, b",\"event\":", &*name, b",\"flags\":"].concat().into();
            Event { system, name, what, fields }
        }))
    }

    /// The heading of CSV.
    pub(super) fn heading(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.json {
            for cell in &self.columns {
                out.extend_from_slice(&cell.before);
                csv(cell.name.as_bytes(), &mut out);
            }
            out.push(b'\n');
        }
        out
    }

    fn record(&self, batch: &Batch, index: usize, item: &Item, memory: &mut Memory, out: &mut Vec<u8>) {
        let Some(&(cpu, lane)) = self.origins.get(item.stream as usize) else { return };
        let lane = &self.lanes[lane as usize];
        let data = slice(batch, item.chunk, item.start, item.len);
        let record = Record { ticks: item.time, cpu, data };
        let decoder = lane.decoders.get(lane.common.id(data));
        let event = decoder.and_then(|decoder| self.event(lane, decoder));
        if self.all
            && let (Some(decoder), Some(event)) = (decoder, event)
        {
            return self.usual(lane, decoder, event, &record, batch.first + index as u64, memory, out);
        }
        if self.json {
            out.push(b'{');
        }
        for cell in &self.columns {
            out.extend_from_slice(&cell.before);
            match (&cell.column, event) {
                (Column::Ts, _) => text::dec(out, item.time),
                (Column::Schema, _) => text::dec(out, SCHEMA),
                (Column::Cpu, _) => text::dec(out, u64::from(cpu)),
                (Column::Pid, _) => text::signed(out, i64::from(lane.common.pid(data))),
                (Column::System, Some(event)) => out.extend_from_slice(&event.system),
                (Column::Event, Some(event)) => out.extend_from_slice(&event.name),
                (Column::Comm, _) => {
                    let pid = lane.common.pid(data);
                    self.comm(lane.comm(pid, batch.first + index as u64, item.time), pid, memory, out);
                }
                (Column::Flags, _) => self.flags(lane, decoder, &record, memory, out),
                (Column::Own(field), _) => self.own(decoder, &record, lane, field, out),
                (column, _) => {
                    let mut scratch = std::mem::take(&mut memory.scratch);
                    scratch.clear();
                    self.words(column, lane, decoder, batch, index, item, &record, &mut scratch);
                    self.text(&scratch, out);
                    memory.scratch = scratch;
                }
            }
        }
        if self.all {
            out.extend_from_slice(b",\"fields\":{}");
        }
        out.extend_from_slice(if self.json { b"}\n" } else { b"\n" });
    }

    /// A JSON line of the usual columns: what most records share is copied in few pieces.
    #[expect(clippy::too_many_arguments, reason = "one call, all of it the state of one line")]
    fn usual(
        &self,
        lane: &Lane<'_>,
        decoder: &Decoder<'_>,
        event: &Event,
        record: &Record<'_>,
        seq: u64,
        memory: &mut Memory,
        out: &mut Vec<u8>,
    ) {
        memory.time(record.ticks, out);
        self.who(lane, record, seq, memory, out);
        out.extend_from_slice(&event.what);
        self.flags(lane, Some(decoder), record, memory, out);
        out.extend_from_slice(b",\"fields\":{");
        for ((_, value), before) in decoder.field_values(record).zip(&event.fields) {
            text::part(out, before, 0, before.len());
            self.value(value, lane, out);
        }
        out.extend_from_slice(b"}}\n");
    }

    /// CPU, task and name.
    #[inline]
    fn who(&self, lane: &Lane<'_>, record: &Record<'_>, seq: u64, memory: &mut Memory, out: &mut Vec<u8>) {
        let pid = lane.common.pid(record.data);
        let comm = lane.comm(pid, seq, record.ticks);
        let place = comm.as_ptr() as usize;
        let key = u64::from(record.cpu) << 32 | u64::from(pid as u32);
        let at = (pid as u32 ^ record.cpu << 3) as usize % Memory::TASKS;
        if memory.who[at].0 != key || memory.who[at].1 != place {
            let mut made = std::mem::take(&mut memory.who[at].2);
            made.clear();
            made.extend_from_slice(b",\"cpu\":");
            text::dec(&mut made, u64::from(record.cpu));
            made.extend_from_slice(b",\"pid\":");
            text::signed(&mut made, i64::from(pid));
            made.extend_from_slice(b",\"comm\":");
            self.comm(comm, pid, memory, &mut made);
            memory.who[at] = (key, place, made);
        }
        out.extend_from_slice(&memory.who[at].2);
    }

    /// The name of a task; it stays where it is, so its place stands for it.
    #[inline]
    fn comm(&self, comm: &[u8], pid: i32, memory: &mut Memory, out: &mut Vec<u8>) {
        let place = comm.as_ptr() as usize;
        let slot = &mut memory.tasks[pid as u32 as usize % Memory::TASKS];
        if slot.0 != place || slot.1.is_empty() {
            slot.0 = place;
            slot.1.clear();
            self.text(comm, &mut slot.1);
        }
        out.extend_from_slice(&slot.1);
    }

    #[inline]
    fn flags(
        &self,
        lane: &Lane<'_>,
        decoder: Option<&Decoder<'_>>,
        record: &Record<'_>,
        memory: &mut Memory,
        out: &mut Vec<u8>,
    ) {
        let Some(flags) = decoder.map(Decoder::flags) else { return self.text(&[], out) };
        // Which letters a kernel means depends on its release, that is, on the file.
        let key = flags.key(record).map_or(u64::MAX, |key| (lane.file as u64) << 32 | u64::from(key));
        if key == u64::MAX || memory.flags.0 != key {
            memory.scratch.clear();
            flags.put(record, &mut memory.scratch);
            memory.flags.0 = key;
            memory.flags.1.clear();
            self.text(&memory.scratch, &mut memory.flags.1);
        }
        out.extend_from_slice(&memory.flags.1);
    }

    #[expect(clippy::too_many_arguments, reason = "one call, all of it the state of one line")]
    fn words(
        &self,
        column: &Column,
        lane: &Lane<'_>,
        decoder: Option<&Decoder<'_>>,
        batch: &Batch,
        index: usize,
        item: &Item,
        record: &Record<'_>,
        into: &mut Vec<u8>,
    ) {
        let seq = batch.first + index as u64;
        match column {
            Column::Time => {
                write_time(lane.unit, true, item.time, into);
                into.pop();
                let blanks = into.iter().take_while(|byte| **byte == b' ').count();
                into.drain(..blanks);
            }
            Column::Text => {
                if let Some(decoder) = decoder {
                    let exit = batch.exits.get(item.exit as usize).filter(|_| item.exit != NO_EXIT);
                    let exit = exit.map(|exit| Record {
                        ticks: exit.ticks,
                        cpu: record.cpu,
                        data: slice(batch, exit.chunk, exit.start, exit.len),
                    });
                    let scene = Scene { trace: lane.trace, names: lane.names, seq, exit, aux: item.aux };
                    decoder.text(record, &scene, into);
                    if into.last() == Some(&b'\n') {
                        into.pop();
                    }
                }
            }
            Column::Buffer => into.extend_from_slice(lane.buffer.name.as_bytes()),
            Column::File => into.extend_from_slice(self.files.get(lane.file).map_or("", String::as_str).as_bytes()),
            _ => {}
        }
    }

    fn text(&self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.json { json_text(bytes, out) } else { csv(bytes, out) }
    }

    fn own(&self, decoder: Option<&Decoder<'_>>, record: &Record<'_>, lane: &Lane<'_>, name: &str, out: &mut Vec<u8>) {
        let found = decoder.and_then(|decoder| decoder.field_values(record).find(|(field, _)| field.name == name));
        match found {
            Some((_, value)) => self.value(value, lane, out),
            None if self.json => out.extend_from_slice(b"null"),
            None => {}
        }
    }

    fn value(&self, value: Value<'_>, lane: &Lane<'_>, out: &mut Vec<u8>) {
        match value {
            Value::Int(number) => text::signed(out, number),
            Value::Uint(number) => text::dec(out, number),
            Value::Text(bytes) => self.text(bytes, out),
            Value::Array(bytes, size) if self.json && matches!(size, 1 | 2 | 4 | 8) => {
                out.push(b'[');
                for (index, element) in bytes.chunks_exact(usize::from(size)).enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    text::dec(out, lane.trace.abi.uint(element).unwrap_or(0));
                }
                out.push(b']');
            }
            Value::Array(bytes, _) | Value::Bytes(bytes) => {
                if self.json {
                    out.push(b'"');
                }
                for byte in bytes {
                    text::hex_byte(out, *byte);
                }
                if self.json {
                    out.push(b'"');
                }
            }
            Value::Missing if self.json => out.extend_from_slice(b"null"),
            Value::Missing => {}
        }
    }

    fn lost(&self, cpu: u32, lost: Lost, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"lost\":");
        match lost {
            Lost::Count(count) => text::dec(out, count),
            _ => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"cpu\":");
        text::dec(out, u64::from(cpu));
        out.extend_from_slice(b"}\n");
    }
}

impl Render<Batch> for Records<'_, '_> {
    fn render(&self, batch: &Batch, out: &mut Vec<u8>) {
        let mut memory = Memory::new();
        let mut marks = batch.marks.iter().peekable();
        for (index, item) in batch.items.iter().enumerate() {
            while let Some((_, mark)) = marks.next_if(|mark| mark.0 as usize <= index) {
                if let (Mark::Lost(lost), true) = (mark, self.json && index >= batch.skip) {
                    let cpu = self.origins.get(item.stream as usize).map_or(0, |origin| origin.0);
                    self.lost(cpu, *lost, out);
                }
            }
            if index >= batch.skip {
                self.record(batch, index, item, &mut memory, out);
            }
        }
    }
}

/// A JSON string: control characters escaped, what is no UTF-8 replaced.
fn json_text(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    // All bytes are looked at, which takes less than to stop at the first that is odd.
    let plain = |byte: u8| (0x20..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\');
    if bytes.iter().fold(true, |all, byte| all & plain(*byte)) {
        out.extend_from_slice(bytes);
    } else {
        for c in String::from_utf8_lossy(bytes).chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\t' => out.extend_from_slice(b"\\t"),
                '\r' => out.extend_from_slice(b"\\r"),
                c if u32::from(c) < 0x20 || u32::from(c) == 0x7f => {
                    out.extend_from_slice(b"\\u00");
                    text::hex_byte(out, c as u8);
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
    out.push(b'"');
}

/// A CSV cell, quoted when it has to be.
fn csv(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        out.push(b'"');
        for byte in bytes {
            if *byte == b'"' {
                out.push(b'"');
            }
            out.push(*byte);
        }
        out.push(b'"');
    } else {
        out.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_as_json_and_csv_want() {
        let mut out = Vec::new();
        json_text(b"a\"b\\c\x1b[0m\n\xff\xc3\xa9", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "\"a\\\"b\\\\c\\u001b[0m\\n\u{fffd}é\"");
        let mut out = Vec::new();
        csv(b"a,\"b\"", &mut out);
        csv(b"plain", &mut out);
        assert_eq!(out, b"\"a,\"\"b\"\"\"plain");
    }
}
