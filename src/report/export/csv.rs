//! Records as comma separated values, with the names of the columns in the first line.

use super::fields::{Memory, Rows, Spelling};
use super::format::{ExportSettings, Format, RecordWriter};
use crate::report::reading::batch::{Batch, Walk};
use crate::report::reading::pool::Render;
use crate::report::reading::record::{Opened, Record};
use crate::wire::abi::Abi;
use crate::wire::format::Value;
use crate::wire::text;

/// The registry's entry.
pub(super) const FORMAT: Format = Format {
    name: "csv",
    about: "Comma-separated values with a heading",
    records: Some(|opened, settings| Box::new(Csv::new(opened, settings))),
    ..Format::NONE
};

const COLUMNS: [&str; 8] = ["ts", "cpu", "pid", "comm", "system", "event", "flags", "text"];

/// How values are spelled here.
struct Plain;

impl Spelling for Plain {
    fn text(bytes: &[u8], out: &mut Vec<u8>) {
        cell(bytes, out);
    }

    fn value(value: Value<'_>, _: Abi, out: &mut Vec<u8>) {
        match value {
            Value::Int(number) => text::signed(out, number),
            Value::Uint(number) => text::dec(out, number),
            Value::Text(bytes) => cell(bytes, out),
            Value::Array(bytes, _) | Value::Bytes(bytes) => {
                bytes.iter().for_each(|byte| text::hex_byte(out, *byte));
            }
            Value::Missing => {}
        }
    }

    fn missing(_: &mut Vec<u8>) {}
}

struct Csv<'r> {
    rows: Rows<'r, Plain>,
    heading: Vec<u8>,
}

impl<'r> Csv<'r> {
    fn new(opened: Opened<'r>, settings: &ExportSettings) -> Csv<'r> {
        let asked: Vec<&str> = settings.fields.iter().map(String::as_str).collect();
        let names = if asked.is_empty() { &COLUMNS[..] } else { &asked };
        let before = |number: usize, _: &str| if number > 0 { b",".to_vec() } else { Vec::new() };
        let mut heading = Vec::new();
        for (number, name) in names.iter().enumerate() {
            heading.extend(before(number, name));
            cell(name.as_bytes(), &mut heading);
        }
        heading.push(b'\n');
        Csv { rows: Rows::new(opened, names, before, |_| Vec::new()), heading }
    }
}

impl RecordWriter for Csv<'_> {
    fn heading(&self) -> Vec<u8> {
        self.heading.clone()
    }
}

impl Render<Batch> for Csv<'_> {
    fn render(&self, batch: &Batch, out: &mut Vec<u8>) {
        batch.walk(self.rows.opened, false, &mut Lines { form: self, memory: Memory::new(), out });
    }
}

/// The lines of one batch.
struct Lines<'l> {
    form: &'l Csv<'l>,
    memory: Memory,
    out: &'l mut Vec<u8>,
}

impl Walk for Lines<'_> {
    #[inline]
    fn record(&mut self, record: &Record<'_>) {
        self.form.rows.row(record, &mut self.memory, self.out);
        self.out.push(b'\n');
    }
}

/// A CSV cell, quoted when it has to be.
fn cell(bytes: &[u8], out: &mut Vec<u8>) {
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
    fn texts_are_quoted_where_they_must_be() {
        let mut out = Vec::new();
        cell(b"a,\"b\"", &mut out);
        cell(b"plain", &mut out);
        assert_eq!(out, b"\"a,\"\"b\"\"\"plain");
    }
}
