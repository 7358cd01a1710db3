//! An event as the list of its fields: for `report -R`, and in place of a print fmt that cannot be evaluated.

use crate::wire::abi::Abi;
use crate::wire::bytes::until_nul;
use crate::wire::format::{EventFormat, Field, FieldKind, FieldPlace};
use crate::wire::text;

use super::pointer::ranges;
use super::run::Spelling;
use super::{Flavor, Program, Tables};

/// Appends the stand-in for a print fmt that cannot be evaluated.
pub fn all(format: &EventFormat, data: &[u8], abi: Abi, flavor: Flavor, out: &mut Vec<u8>) {
    if flavor.is_lte() {
        out.extend_from_slice(b"[FAILED TO PARSE]");
    }
    list(format, data, abi, flavor, out);
}

/// Appends ` name=value` for each own field.
pub fn list(format: &EventFormat, data: &[u8], abi: Abi, flavor: Flavor, out: &mut Vec<u8>) {
    for field in &format.fields {
        name(field, out);
        value(field, is_long(field), data, abi, flavor, out);
    }
}

/// What is the same for all records of a field that is shown raw.
#[derive(Debug)]
pub struct ShownField {
    /// ` name=`
    name: Box<[u8]>,
    /// How the print fmt spells it, where that shows the bare field.
    spelling: Option<Spelling>,
    long: bool,
}

impl ShownField {
    /// How the own fields of an event are shown; as bare numbers without a program.
    pub fn all(format: &EventFormat, program: Option<&Program>) -> Vec<ShownField> {
        let one = |field: &Field| {
            let number = matches!(field.kind, FieldKind::Int | FieldKind::Pointer);
            let mut text = Vec::new();
            name(field, &mut text);
            let spelling = if number { program.and_then(|program| program.spelling(field.offset)) } else { None };
            ShownField { name: text.into(), spelling, long: is_long(field) }
        };
        format.fields.iter().map(one).collect()
    }
}

/// Appends ` name=value` for each own field, as `shown` says; `program` is the one it was made from.
pub fn raw(
    format: &EventFormat,
    shown: &[ShownField],
    program: Option<&Program>,
    (abi, flavor): (Abi, Flavor),
    data: &[u8],
    tables: &Tables<'_>,
    out: &mut Vec<u8>,
) {
    for (field, shown) in format.fields.iter().zip(shown) {
        out.extend_from_slice(&shown.name);
        match (shown.spelling, program) {
            (Some(spelling), Some(program)) => program.run_spelling(spelling, data, tables, out),
            _ => value(field, shown.long, data, abi, flavor, out),
        }
    }
}

fn name(field: &Field, out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(field.name.as_bytes());
    out.push(b'=');
}

/// Appends the value of one field.
fn value(field: &Field, long: bool, data: &[u8], abi: Abi, flavor: Flavor, out: &mut Vec<u8>) {
    let array = field.brackets.is_some();
    // libtraceevent takes an array without a length for empty when it looks at its bytes.
    let flexible = field.place == FieldPlace::Flexible && flavor.is_lte();
    if array && holds_text(field, flavor) && (flexible || printable(field.bytes(data, abi))) {
        out.extend_from_slice(field.text(data, abi));
    } else if array {
        array_bytes(if flexible { &[] } else { field.bytes(data, abi) }, out);
    } else if field.kind == FieldKind::Mask && !flavor.is_lte() {
        let bytes = field.bytes(data, abi);
        ranges(out, bytes, bytes.len() * 8, abi);
    } else if matches!(field.size, 1 | 2 | 4 | 8) {
        number(field, long, data, abi, flavor, out);
    } else {
        array_bytes(field.bytes(data, abi), out);
    }
}

/// libtraceevent takes bytes for text, too.
fn holds_text(field: &Field, flavor: Flavor) -> bool {
    let byte = flavor.is_lte() && field.elem_bytes == 1 && ["u8", "s8"].iter().any(|t| field.type_name.contains(t));
    matches!(field.kind, FieldKind::Text | FieldKind::Texts) || byte
}

fn printable(bytes: &[u8]) -> bool {
    until_nul(bytes).iter().all(|&byte| matches!(byte, 9..=13 | 32..=126))
}

fn array_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() * 4 + 8);
    out.extend_from_slice(b"ARRAY[");
    for byte in bytes {
        let [high, low] = text::two_hex(*byte);
        out.extend_from_slice(&[high, low, b',', b' ']);
    }
    if !bytes.is_empty() {
        out.truncate(out.len() - 2);
    }
    out.push(b']');
}

fn is_long(field: &Field) -> bool {
    field.type_name.split(' ').any(|word| word == "long")
}

fn number(field: &Field, long: bool, data: &[u8], abi: Abi, flavor: Flavor, out: &mut Vec<u8>) {
    let Some(value) = field.int(data, abi) else { return };
    if field.kind == FieldKind::Pointer || (long && !field.signed) {
        text::hex0x(out, value);
    } else if !field.signed {
        text::dec(out, value);
    } else if long && field.size == 4 && flavor.is_lte() {
        text::hex0x(out, u64::from(value as u32));
    } else {
        let start = out.len();
        text::signed(out, value as i64);
        if field.size == 2 && out.len() == start + 1 {
            out.insert(start, b' ');
        }
    }
}
