//! Records for programs: one JSON object a line, or comma separated values.
//!
//! Names and meaning of the fields are an interface; new ones may be added, none changes.
//!
//! | field | meaning |
//! | --- | --- |
//! | `ts` | time as an integer: nanoseconds, or ticks when the clock has no unit |
//! | `time` | the same as printed in text, seconds with nine decimals |
//! | `cpu`, `pid`, `comm` | where, and which task |
//! | `system`, `event` | what |
//! | `flags` | the letters of interrupt and scheduling state |
//! | `text` | the event's text |
//! | `buffer`, `file` | which buffer (empty: the top one) and file |
//! | anything else | that field of the event; `null` (CSV: empty) when it has none |
//!
//! Without `--fields` JSON has `ts cpu pid comm system event flags` and an object `fields` with all of the event's own;
//! CSV has `ts cpu pid comm system event flags text`. JSON tells losses too: `{"lost":12,"cpu":1}`, `null` if not counted.

use super::Lane;
use super::line::{slice, write_time};
use super::merge::{Batch, Item, Mark, NO_EXIT};
use super::pool::Render;
use crate::plugins::{Compat, Decoder, Scene, latency_flags};
use crate::wire::format::Value;
use crate::wire::record::Record;
use crate::wire::subbuf::Lost;
use crate::wire::text;

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
            own => Column::Own(own.to_owned()),
        }
    }
}

pub(super) struct Records<'a, 't> {
    lanes: &'a [Lane<'t>],
    origins: Vec<(u32, u32)>,
    columns: Vec<(Column, String)>,
    /// All fields of the event follow.
    all: bool,
    json: bool,
    compat: Compat,
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
        compat: Compat,
        files: Vec<String>,
    ) -> Records<'a, 't> {
        let usual: &[&str] = if json { &JSON_COLUMNS } else { &CSV_COLUMNS };
        let names: Vec<&str> =
            if fields.is_empty() { usual.to_vec() } else { fields.iter().map(String::as_str).collect() };
        let columns = names.iter().map(|name| (Column::named(name), (*name).to_owned())).collect();
        Records { lanes, origins, columns, all: fields.is_empty() && json, json, compat, files }
    }

    /// The heading of CSV.
    pub(super) fn heading(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.json {
            for (index, (_, name)) in self.columns.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                csv(name.as_bytes(), &mut out);
            }
            out.push(b'\n');
        }
        out
    }

    fn record(&self, batch: &Batch, index: usize, item: &Item, scratch: &mut Vec<u8>, out: &mut Vec<u8>) {
        let Some(&(cpu, lane)) = self.origins.get(item.stream as usize) else { return };
        let lane = &self.lanes[lane as usize];
        let data = slice(batch, item.chunk, item.start, item.len);
        let record = Record { ticks: item.time, cpu, data };
        let id = lane.common.id(data);
        let decoder = lane.decoders.get(id);
        if self.json {
            out.push(b'{');
        }
        for (number, (column, name)) in self.columns.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            if self.json {
                json_text(name.as_bytes(), out);
                out.push(b':');
            }
            scratch.clear();
            match column {
                Column::Ts => text::dec(out, item.time),
                Column::Cpu => text::dec(out, u64::from(cpu)),
                Column::Pid => text::signed(out, i64::from(lane.common.pid(data))),
                Column::Own(field) => self.own(decoder, &record, field, out),
                _ => {
                    self.words(column, lane, decoder, batch, index, item, &record, scratch);
                    self.text(scratch, out);
                }
            }
        }
        if self.all {
            out.extend_from_slice(b",\"fields\":{");
            if let Some(decoder) = decoder {
                for (number, (field, value)) in decoder.field_values(&record).enumerate() {
                    if number > 0 {
                        out.push(b',');
                    }
                    json_text(field.name.as_bytes(), out);
                    out.push(b':');
                    self.value(value, lane, out);
                }
            }
            out.push(b'}');
        }
        out.extend_from_slice(if self.json { b"}\n" } else { b"\n" });
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
        let format = decoder.map(|decoder| decoder.format());
        match column {
            Column::Time => {
                write_time(lane.unit, true, item.time, into);
                into.pop();
                let blanks = into.iter().take_while(|byte| **byte == b' ').count();
                into.drain(..blanks);
            }
            Column::Comm => into.extend_from_slice(lane.comm(lane.common.pid(record.data), seq, item.time)),
            Column::System => into.extend_from_slice(format.map_or("", |format| &format.system).as_bytes()),
            Column::Event => into.extend_from_slice(format.map_or("", |format| &format.name).as_bytes()),
            Column::Flags => {
                if let Some(format) = format {
                    latency_flags(lane.trace, format, record, self.compat, into);
                }
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

    fn own(&self, decoder: Option<&Decoder<'_>>, record: &Record<'_>, name: &str, out: &mut Vec<u8>) {
        let found = decoder.and_then(|decoder| decoder.field_values(record).find(|(field, _)| field.name == name));
        match found {
            Some((_, value)) => {
                let lane = self.lanes.first();
                if let Some(lane) = lane {
                    self.value(value, lane, out);
                }
            }
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
        let mut scratch = Vec::new();
        let mut marks = batch.marks.iter().peekable();
        for (index, item) in batch.items.iter().enumerate() {
            while let Some((_, mark)) = marks.next_if(|mark| mark.0 as usize <= index) {
                if let (Mark::Lost(lost), true) = (mark, self.json && index >= batch.skip) {
                    let cpu = self.origins.get(item.stream as usize).map_or(0, |origin| origin.0);
                    self.lost(cpu, *lost, out);
                }
            }
            if index >= batch.skip {
                self.record(batch, index, item, &mut scratch, out);
            }
        }
    }
}

/// A JSON string: control characters escaped, what is no UTF-8 replaced.
fn json_text(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let plain = |byte: &u8| (0x20..0x7f).contains(byte) && !matches!(byte, b'"' | b'\\');
    if bytes.iter().all(plain) {
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
