//! An event as the list of its fields: for `report -R`, and in place of a print fmt that cannot be evaluated.

use crate::wire::abi::Abi;
use crate::wire::format::{EventFormat, Field, FieldKind};
use crate::wire::text;

use super::Flavor;

/// Appends the stand-in for a print fmt that cannot be evaluated.
pub fn all(format: &EventFormat, data: &[u8], abi: Abi, flavor: Flavor, out: &mut Vec<u8>) {
    if flavor == Flavor::Libtraceevent {
        out.extend_from_slice(b"[FAILED TO PARSE]");
    }
    list(format, data, abi, flavor, out);
}

/// Appends ` name=value` for each own field.
pub fn list(format: &EventFormat, data: &[u8], abi: Abi, flavor: Flavor, out: &mut Vec<u8>) {
    for field in &format.fields {
        out.push(b' ');
        out.extend_from_slice(field.name.as_bytes());
        out.push(b'=');
        value(field, data, abi, flavor, out);
    }
}

/// Appends the value of one field.
pub fn value(field: &Field, data: &[u8], abi: Abi, flavor: Flavor, out: &mut Vec<u8>) {
    let _ = flavor;
    match field.kind {
        FieldKind::Int | FieldKind::Pointer => {
            let Some(value) = field.int(data, abi) else {
                return;
            };
            if field.kind == FieldKind::Pointer || (field.type_name.contains("long") && !field.signed) {
                text::hex0x(out, value);
            } else if field.signed {
                text::signed(out, value as i64);
            } else {
                text::dec(out, value);
            }
        }
        FieldKind::Text if field.text(data, abi).iter().all(|&byte| byte == b' ' || byte.is_ascii_graphic()) => {
            out.extend_from_slice(field.text(data, abi));
        }
        _ => {
            out.extend_from_slice(b"ARRAY[");
            for (index, byte) in field.bytes(data, abi).iter().enumerate() {
                if index > 0 {
                    out.extend_from_slice(b", ");
                }
                text::hex_byte(out, *byte);
            }
            out.push(b']');
        }
    }
}
