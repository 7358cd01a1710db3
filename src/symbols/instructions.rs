//! Where machine instructions begin: a probe in the middle of one would change what the program does.
//!
//! x86-64 is decoded from the start of the function; AArch64 instructions have four bytes.

use super::binary::{Binary, Machine};

/// Whether an address is the start of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// It is.
    Yes,
    /// It is not; these are the nearest that are.
    No {
        /// Where the instruction around it begins.
        before: u64,
        /// Where the next begins.
        after: u64,
    },
    /// It cannot be known: the machine is unknown, or the bytes are no code.
    Unknown,
}

/// The longest stretch that is decoded for one question.
const MAX_FUNCTION_BYTES: u64 = 16 << 20;

/// Judges `address`, decoding from `start`, where an instruction is known to begin.
pub fn boundary(binary: &Binary, start: u64, address: u64) -> Boundary {
    match binary.machine() {
        _ if start == address => Boundary::Yes,
        Machine::Aarch64 if address.is_multiple_of(4) => Boundary::Yes,
        Machine::Aarch64 => Boundary::No { before: address & !3, after: (address & !3) + 4 },
        Machine::X86_64 => decode(binary, start, address).unwrap_or(Boundary::Unknown),
        Machine::Other(_) => Boundary::Unknown,
    }
}

fn decode(binary: &Binary, start: u64, address: u64) -> Option<Boundary> {
    let code_bytes = address.checked_sub(start).filter(|&code_bytes| code_bytes <= MAX_FUNCTION_BYTES)?;
    let code = binary.bytes_at(start, code_bytes + 16)?;
    let mut decoder = iced_x86::Decoder::with_ip(64, code, start, iced_x86::DecoderOptions::NONE);
    while decoder.can_decode() {
        let before = decoder.ip();
        if decoder.decode().is_invalid() {
            return None;
        }
        let after = decoder.ip();
        if address == after {
            return Some(Boundary::Yes);
        }
        if address < after {
            return Some(Boundary::No { before, after });
        }
    }
    None
}
