//! An event as the list of its fields: for `report -R`, and in place of a print fmt that cannot be evaluated.

use crate::wire::abi::Abi;
use crate::wire::bytes::until_nul;
use crate::wire::format::{EventFormat, Field, FieldKind, Place};
use crate::wire::text;

use super::pointer::ranges;
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
        value(field, data, abi, flavor, out);
    }
}

/// Appends ` name=value` for each own field, spelled as the print fmt spells it where that shows the bare field.
pub fn raw(format: &EventFormat, program: &Program, data: &[u8], tables: &Tables<'_>, out: &mut Vec<u8>) {
    for field in &format.fields {
        name(field, out);
        let spelled = matches!(field.kind, FieldKind::Int | FieldKind::Pointer)
            && program.run_field(field.offset, data, tables, out);
        if !spelled {
            value(field, data, program.abi(), program.flavor(), out);
        }
    }
}

fn name(field: &Field, out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(field.name.as_bytes());
    out.push(b'=');
}

/// Appends the value of one field.
pub fn value(field: &Field, data: &[u8], abi: Abi, flavor: Flavor, out: &mut Vec<u8>) {
    let array = field.brackets.is_some();
    // libtraceevent takes an array without a length for empty when it looks at its bytes.
    let flexible = field.place == Place::Flexible && flavor.is_lte();
    if array && holds_text(field, flavor) && (flexible || printable(field.bytes(data, abi))) {
        out.extend_from_slice(field.text(data, abi));
    } else if array {
        array_bytes(if flexible { &[] } else { field.bytes(data, abi) }, out);
    } else if field.kind == FieldKind::Mask && !flavor.is_lte() {
        let bytes = field.bytes(data, abi);
        ranges(out, bytes, bytes.len() * 8, abi);
    } else if matches!(field.size, 1 | 2 | 4 | 8) {
        number(field, data, abi, flavor, out);
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
    out.extend_from_slice(b"ARRAY[");
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        text::hex_byte(out, *byte);
    }
    out.push(b']');
}

fn number(field: &Field, data: &[u8], abi: Abi, flavor: Flavor, out: &mut Vec<u8>) {
    let Some(value) = field.int(data, abi) else { return };
    let long = field.type_name.split(' ').any(|word| word == "long");
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
