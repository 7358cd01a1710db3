//! For tests: formats of whole kernels, and records of their events.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::trace::Trace;
use crate::wire::abi::{Abi, Endian};
use crate::wire::format::EventFormat;

/// The machine of all formats in `tests/fixtures/formats`.
pub(crate) const ABI: Abi = Abi { endian: Endian::Little, long_bytes: 8 };

/// In place of a kernel: the formats of `tests/fixtures/texts`, where there are some of subsystems that those kernels lack.
pub(crate) const TEXTS: &str = "texts";

/// The `format` file of an event, given as `SYSTEM:EVENT`, in a kernel of `tests/fixtures/formats`; where there are several
/// of that name, `SYSTEM:EVENT#ID` is one of them.
pub(crate) fn format_text(kernel: &str, event: &str) -> &'static str {
    static KERNELS: OnceLock<Mutex<HashMap<String, &'static str>>> = OnceLock::new();
    let mut kernels = KERNELS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    let all = *kernels.entry(kernel.to_owned()).or_insert_with(|| {
        let text = match kernel {
            TEXTS => unpacked("texts/cases.txt.zst").lines().filter_map(as_in_a_kernel).collect(),
            _ => unpacked(&format!("formats/{kernel}.txt.zst")),
        };
        text.leak()
    });
    let (system, name) = event.split_once(':').unwrap();
    let begin = match name.split_once('#') {
        Some((name, id)) => format!("system: {system}\nname: {name}\nID: {id}\n"),
        None => format!("system: {system}\nname: {name}\n"),
    };
    let at = all.find(&begin).unwrap_or_else(|| panic!("{kernel} has no {event}"));
    let text = &all[at + format!("system: {system}\n").len()..];
    &text[..text.find("\nsystem: ").map_or(text.len(), |end| end + 1)]
}

fn unpacked(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file);
    String::from_utf8(zstd::decode_all(fs::File::open(path).unwrap()).unwrap()).unwrap()
}

/// A line of `tests/fixtures/texts` that is a format, as it stands among those of a kernel.
fn as_in_a_kernel(line: &str) -> Option<String> {
    let (system, text) = line.strip_prefix("format ")?.split_once(' ')?;
    let text = text.replace("\\x0a", "\n").replace("\\x09", "\t").replace("\\x5c", "\\");
    Some(format!("system: {system}\n{text}"))
}

/// The format of an event of a kernel.
pub(crate) fn format(kernel: &str, event: &str) -> EventFormat {
    let system = event.split_once(':').unwrap().0;
    EventFormat::parse(system, format_text(kernel, event).as_bytes(), ABI).unwrap()
}

/// A trace that knows these events of a kernel.
pub(crate) fn trace(kernel: &str, events: &[&str]) -> Trace {
    let mut trace = Trace::new(ABI);
    for event in events {
        trace.formats.push(event.split_once(':').unwrap().0, format_text(kernel, event).as_bytes()).unwrap();
    }
    trace
}

/// The bytes that hex digits stand for; blanks and line ends do not count.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// What a field of a record is set to.
#[derive(Clone, Copy)]
pub(crate) enum Set<'v> {
    /// A number, as wide as the field; eight bytes of a longer one.
    Int(i64),
    /// Bytes at the field's place.
    Bytes(&'v [u8]),
}

/// A record of the event, written by task 77, whose other fields are 0.
pub(crate) fn record(format: &EventFormat, fields: &[(&str, Set<'_>)]) -> Vec<u8> {
    let end = format.common.iter().chain(&format.fields).map(|field| usize::from(field.offset + field.size)).max();
    let mut data = vec![0; end.unwrap_or(0)];
    data[..2].copy_from_slice(&format.id.to_le_bytes());
    data[4..8].copy_from_slice(&77i32.to_le_bytes());
    for (name, value) in fields {
        let field = format.field(name).unwrap_or_else(|| panic!("{} has no field {name}", format.name));
        let (at, size) = (usize::from(field.offset), usize::from(field.size).min(8));
        match value {
            Set::Int(value) => data[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]),
            Set::Bytes(bytes) => {
                data.resize(data.len().max(at + bytes.len()), 0);
                data[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }
    data
}
