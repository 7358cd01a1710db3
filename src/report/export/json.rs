//! Records as JSON: one object a line.
//!
//! Names and meaning of the fields are an interface, which `docs/json.md` describes; new ones may be added, none changes
//! without a new schema.

use super::fields::{Event, Memory, Rows, Spelling};
use super::format::{ExportSettings, Format, RecordWriter};
use crate::decode::Decoder;
use crate::report::reading::batch::{Batch, Walk};
use crate::report::reading::pool::Render;
use crate::report::reading::record::{Loss, Opened, Record};
use crate::wire::abi::Abi;
use crate::wire::format::Value;
use crate::wire::subbuf::Lost;
use crate::wire::text;

/// The registry's entry.
pub(super) const FORMAT: Format = Format {
    name: "json",
    about: "One JSON object for each record",
    records: Some(|opened, settings| Box::new(Json::new(opened, settings))),
    ..Format::NONE
};

const COLUMNS: [&str; 7] = ["ts", "cpu", "pid", "comm", "system", "event", "flags"];

/// How values are spelled here.
struct Quoted;

impl Spelling for Quoted {
    fn text(bytes: &[u8], out: &mut Vec<u8>) {
        string(bytes, out);
    }

    #[inline]
    fn value(value: Value<'_>, abi: Abi, out: &mut Vec<u8>) {
        match value {
            Value::Int(number) => text::signed(out, number),
            Value::Uint(number) => text::dec(out, number),
            Value::Text(bytes) => string(bytes, out),
            Value::Array(bytes, size) if matches!(size, 1 | 2 | 4 | 8) => {
                out.push(b'[');
                for (index, element) in bytes.chunks_exact(usize::from(size)).enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    text::dec(out, abi.uint(element).unwrap_or(0));
                }
                out.push(b']');
            }
            Value::Array(bytes, _) | Value::Bytes(bytes) => {
                out.push(b'"');
                bytes.iter().for_each(|byte| text::hex_byte(out, *byte));
                out.push(b'"');
            }
            Value::Missing => out.extend_from_slice(b"null"),
        }
    }

    fn missing(out: &mut Vec<u8>) {
        out.extend_from_slice(b"null");
    }
}

/// Texts of the records before, in lines of the usual columns.
struct Recent {
    memory: Memory,
    /// Who: CPU, task and name, by CPU and task.
    who: [(u64, usize, Vec<u8>); Memory::TASKS],
    /// The time without its last eight digits, and those.
    eon: (u64, Vec<u8>),
}

impl Recent {
    fn new() -> Recent {
        let who = std::array::from_fn(|_| (u64::MAX, 0, Vec::new()));
        Recent { memory: Memory::new(), who, eon: (0, Vec::new()) }
    }

    /// The start of a line and its time.
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

struct Json<'r> {
    rows: Rows<'r, Quoted>,
    /// The usual columns: all fields of the event follow.
    usual: bool,
}

impl<'r> Json<'r> {
    fn new(opened: Opened<'r>, settings: &ExportSettings) -> Json<'r> {
        let asked: Vec<&str> = settings.fields.iter().map(String::as_str).collect();
        let names = if asked.is_empty() { &COLUMNS[..] } else { &asked };
        let before = |number: usize, name: &str| {
            let mut before = if number > 0 { b",".to_vec() } else { Vec::new() };
            string(name.as_bytes(), &mut before);
            before.push(b':');
            before
        };
        Json { rows: Rows::new(opened, names, before, pieces), usual: asked.is_empty() }
    }

    fn record(&self, record: &Record<'_>, recent: &mut Recent, out: &mut Vec<u8>) {
        if self.usual
            && let Some(decoder) = record.decoder()
            && let Some(event) = self.rows.event(record.lane, decoder)
        {
            return self.usual(record, decoder, event, recent, out);
        }
        out.push(b'{');
        self.rows.row(record, &mut recent.memory, out);
        if self.usual {
            out.extend_from_slice(b",\"fields\":{}");
        }
        out.extend_from_slice(b"}\n");
    }

    /// A line of the usual columns: what most records share is copied in few pieces.
    fn usual(&self, record: &Record<'_>, decoder: &Decoder, event: &Event, recent: &mut Recent, out: &mut Vec<u8>) {
        recent.time(record.time(), out);
        self.who(record, recent, out);
        let Some((what, fields)) = event.own.split_first() else { return };
        out.extend_from_slice(what);
        self.rows.flags(record, Some(decoder), &mut recent.memory, out);
        out.extend_from_slice(b",\"fields\":{");
        for ((_, value), before) in decoder.field_values(&record.bytes).zip(fields) {
            text::part(out, before, 0, before.len());
            Quoted::value(value, record.lane.trace.abi, out);
        }
        out.extend_from_slice(b"}}\n");
    }

    /// CPU, task and name.
    #[inline]
    fn who(&self, record: &Record<'_>, recent: &mut Recent, out: &mut Vec<u8>) {
        let (pid, cpu) = (record.pid(), record.cpu());
        let comm = record.lane.comm(pid, record.seq, record.time());
        let place = comm.as_ptr() as usize;
        let key = u64::from(cpu) << 32 | u64::from(pid as u32);
        let at = (pid as u32 ^ cpu << 3) as usize % Memory::TASKS;
        if recent.who[at].0 != key || recent.who[at].1 != place {
            let mut made = std::mem::take(&mut recent.who[at].2);
            made.clear();
            made.extend_from_slice(b",\"cpu\":");
            text::dec(&mut made, u64::from(cpu));
            made.extend_from_slice(b",\"pid\":");
            text::signed(&mut made, i64::from(pid));
            made.extend_from_slice(b",\"comm\":");
            self.rows.comm(comm, pid, &mut recent.memory, &mut made);
            recent.who[at] = (key, place, made);
        }
        out.extend_from_slice(&recent.who[at].2);
    }
}

/// Of an event: system and name as they stand in a line of the usual columns, up to the flags; then what stands before the
/// value of each of its own fields.
fn pieces(decoder: &Decoder) -> Vec<Box<[u8]>> {
    let format = decoder.format();
    let mut what = b",\"system\":".to_vec();
    string(format.system.as_bytes(), &mut what);
    what.extend_from_slice(b",\"event\":");
    string(format.name.as_bytes(), &mut what);
    what.extend_from_slice(b",\"flags\":");
    let mut pieces = vec![what.into_boxed_slice()];
    for (number, field) in format.fields.iter().enumerate() {
        let mut before = if number > 0 { b",".to_vec() } else { Vec::new() };
        string(field.name.as_bytes(), &mut before);
        before.push(b':');
        pieces.push(before.into_boxed_slice());
    }
    pieces
}

fn lost(loss: &Loss<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"lost\":");
    match loss.lost {
        Lost::Count(count) => text::dec(out, count),
        _ => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"cpu\":");
    text::dec(out, u64::from(loss.cpu));
    out.extend_from_slice(b"}\n");
}

impl RecordWriter for Json<'_> {}

impl Render<Batch> for Json<'_> {
    fn render(&self, batch: &Batch, out: &mut Vec<u8>) {
        batch.walk(self.rows.opened, false, &mut Lines { form: self, recent: Recent::new(), out });
    }
}

/// The lines of one batch.
struct Lines<'l> {
    form: &'l Json<'l>,
    recent: Recent,
    out: &'l mut Vec<u8>,
}

impl Walk for Lines<'_> {
    #[inline]
    fn record(&mut self, record: &Record<'_>) {
        self.form.record(record, &mut self.recent, self.out);
    }

    fn lost(&mut self, loss: &Loss<'_>) {
        lost(loss, self.out);
    }
}

/// A JSON string: control characters escaped, what is no UTF-8 replaced.
fn string(bytes: &[u8], out: &mut Vec<u8>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        let mut out = Vec::new();
        string(b"a\"b\\c\x1b[0m\n\xff\xc3\xa9", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "\"a\\\"b\\\\c\\u001b[0m\\n\u{fffd}é\"");
    }
}
