//! Command descriptor blocks of SCSI.
//!
//! Source: the block formats of SBC-3: READ/WRITE (6, 10, 12, 16, 32), WRITE SAME, VERIFY, UNMAP, SERVICE ACTION IN.

use crate::wire::print_fmt::Helper;
use crate::wire::text;

use crate::decode::Family;

/// The registry's entry.
pub const FAMILY: Family = Family {
    name: "scsi",
    about: "Teaches print fmt scsi_trace_parse_cdb.",
    helpers: &[(
        "scsi_trace_parse_cdb",
        Helper::Text(|_, args, out| {
            let block = args.get(1).map_or(&[][..], |arg| arg.bytes());
            if describe(block, out).is_none() {
                out.push(b'-');
            }
        }),
    )],
    ..Family::NONE
};

/// The big-endian number at `at`.
fn number(block: &[u8], at: usize, bytes: usize) -> Option<u64> {
    Some(block.get(at..at + bytes)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

fn named(out: &mut Vec<u8>, name: &str, value: u64) {
    out.extend_from_slice(name.as_bytes());
    text::dec(out, value);
}

/// Appends what the block asks for; `None`, and nothing appended, if it is of no known kind or too short.
fn describe(block: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let opcode = *block.first()?;
    let (at, long, length_at, length_bytes) = match opcode {
        0x08 | 0x0a => {
            let (lba, length) = (number(block, 1, 3)? & 0x1f_ffff, number(block, 4, 1)?);
            named(out, "lba=", lba);
            named(out, " txlen=", length);
            return Some(());
        }
        0x28 | 0x2a | 0x2f | 0x41 => (2, 4, 7, 2),
        0xa8 | 0xaa => (2, 4, 6, 4),
        0x88 | 0x8a | 0x8f | 0x93 => (2, 8, 10, 4),
        0x42 => {
            named(out, "regions=", number(block, 7, 2)?.saturating_sub(8) / 16);
            return Some(());
        }
        0x9e => return service_action(block, out),
        0x7f => return variable_length(block, out),
        _ => return None,
    };
    let (lba, length) = (number(block, at, long)?, number(block, length_at, length_bytes)?);
    let flags = number(block, 1, 1)?;
    named(out, "lba=", lba);
    named(out, " txlen=", length);
    named(out, " protect=", flags >> 5);
    if matches!(opcode, 0x41 | 0x93) {
        named(out, " unmap=", flags >> 3 & 1);
    }
    Some(())
}

fn service_action(block: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (action, lba, length) = (number(block, 1, 1)? & 0x1f, number(block, 2, 8)?, number(block, 10, 4)?);
    out.extend_from_slice(match action {
        0x10 => b"READ_CAPACITY_16",
        0x12 => b"GET_LBA_STATUS",
        _ => {
            out.extend_from_slice(b"UNKNOWN");
            return Some(());
        }
    });
    named(out, " lba=", lba);
    named(out, " alloc_len=", length);
    Some(())
}

fn variable_length(block: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let action = number(block, 8, 2)?;
    let name = match action {
        0x09 => "READ_32",
        0x0a => "VERIFY_32",
        0x0b => "WRITE_32",
        0x0d => "WRITE_SAME_32",
        _ => return None,
    };
    let (flags, lba, tag) = (number(block, 10, 1)?, number(block, 12, 8)?, number(block, 20, 4)?);
    let length = number(block, 28, 4)?;
    out.extend_from_slice(name.as_bytes());
    named(out, " lba=", lba);
    named(out, " txlen=", length);
    named(out, " protect=", flags >> 5);
    named(out, " ei_lbrt=", tag);
    if action == 0x0d {
        named(out, " unmap=", flags >> 3 & 1);
    }
    Some(())
}
