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

#[cfg(test)]
mod tests {
    use crate::decode::testing::bytes;

    fn block(hex: &str) -> String {
        let mut out = Vec::new();
        if super::describe(&bytes(hex), &mut out).is_none() {
            assert!(out.is_empty());
            out.push(b'-');
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn six_byte_commands_have_21_bits_of_address() {
        assert_eq!(block("08 1f 12 34 05 00"), "lba=2036276 txlen=5");
        assert_eq!(block("08 ff 12 34 05 00"), "lba=2036276 txlen=5", "the upper bits were the unit's number once");
        assert_eq!(block("0a 00 00 01 00 00"), "lba=1 txlen=0");
    }

    #[test]
    fn ten_byte_commands_have_32_bits_of_address_and_16_of_length() {
        assert_eq!(block("28 e0 01 02 03 04 00 00 08 00"), "lba=16909060 txlen=8 protect=7");
        assert_eq!(block("2a 20 00 00 00 ff 00 01 00 00"), "lba=255 txlen=256 protect=1");
    }

    #[test]
    fn only_write_same_says_whether_it_unmaps() {
        assert_eq!(block("41 08 00 00 00 01 00 00 02 00"), "lba=1 txlen=2 protect=0 unmap=1");
        assert_eq!(block("2f 08 00 00 00 01 00 00 02 00"), "lba=1 txlen=2 protect=0");
        let long = "93 28 0000000000000010 00000004 00 00";
        assert_eq!(block(long), "lba=16 txlen=4 protect=1 unmap=1");
    }

    #[test]
    fn twelve_byte_commands_have_32_bits_of_length() {
        assert_eq!(block("a8 00 00 00 00 10 00 01 00 00 00 00"), "lba=16 txlen=65536 protect=0");
    }

    #[test]
    fn sixteen_byte_commands_have_64_bits_of_address() {
        assert_eq!(block("88 40 0000000100000000 00000008 00 00"), "lba=4294967296 txlen=8 protect=2");
    }

    #[test]
    fn unmap_counts_regions_of_sixteen_bytes_after_a_head_of_eight() {
        assert_eq!(block("42 00 00 00 00 00 00 00 28 00"), "regions=2");
        assert_eq!(block("42 00 00 00 00 00 00 00 04 00"), "regions=0");
    }

    #[test]
    fn service_actions_are_named() {
        assert_eq!(block("9e 10 0000000000000007 00000020 00 00"), "READ_CAPACITY_16 lba=7 alloc_len=32");
        assert_eq!(block("9e 12 0000000000000007 00000020 00 00"), "GET_LBA_STATUS lba=7 alloc_len=32");
        assert_eq!(block("9e 11 0000000000000007 00000020 00 00"), "UNKNOWN");
    }

    #[test]
    fn commands_of_32_bytes_have_an_action_of_their_own() {
        let long = |action: &str| {
            block(&format!("7f 00 00000000 00 18 {action} 28 00 0000000000000100 00000042 0000 0000 00000010"))
        };
        assert_eq!(long("0009"), "READ_32 lba=256 txlen=16 protect=1 ei_lbrt=66");
        assert_eq!(long("000b"), "WRITE_32 lba=256 txlen=16 protect=1 ei_lbrt=66");
        assert_eq!(long("000d"), "WRITE_SAME_32 lba=256 txlen=16 protect=1 ei_lbrt=66 unmap=1");
        assert_eq!(long("0001"), "-");
    }

    #[test]
    fn a_block_that_is_unknown_or_cut_short_is_a_dash() {
        assert_eq!(block("00 00 00 00 00 00"), "-");
        assert_eq!(block("28 00 00 00"), "-");
        assert_eq!(block(""), "-");
    }
}
