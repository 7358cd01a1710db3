//! The `%p` extensions that print what a pointer points to: addresses of networks and hardware, UUIDs, bytes, bits.

use crate::wire::abi::Abi;
use crate::wire::text;

use super::Flavor;

/// What the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// `%pM`: separator (0 for none), reversed.
    Mac(u8, bool),
    /// `%pI4`: digits padded with zeros, bytes reversed.
    Ip4(bool, bool),
    /// `%pI6`: how it is spelled.
    Ip6(Ip6),
    /// `%pIS`: a socket address.
    Socket(SocketStyle),
    /// `%pU`: little-endian fields, upper case.
    Uuid(bool, bool),
    /// `%*ph`: separator (0 for none).
    Hex(u8),
    /// `%*pb`: as a list of ranges.
    Bits(bool),
    /// `%pad`, `%pap`: a number of so many bytes.
    Number(u8),
}

/// Spellings of an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ip6 {
    Full,
    Bare,
    Compressed,
}

/// Parts of a socket address to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SocketStyle {
    pub(super) ip4_padded: bool,
    pub(super) ip6: Ip6,
    pub(super) port: bool,
    pub(super) flow: bool,
    pub(super) scope: bool,
}

impl Memory {
    /// Appends `bytes`; `count` is the width or `*` argument.
    pub(super) fn put(self, bytes: &[u8], count: usize, abi: Abi, flavor: Flavor, out: &mut Vec<u8>) {
        match self {
            Memory::Mac(separator, reversed) => match bytes.get(..6) {
                Some(mac) if reversed => hex_bytes(out, mac.iter().rev(), separator),
                Some(mac) => hex_bytes(out, mac.iter(), separator),
                None => missing(out, flavor, "INVALIDMAC"),
            },
            Memory::Ip4(padded, reversed) => match bytes.first_chunk::<4>() {
                Some(address) => ip4(out, address, padded, reversed),
                None => missing(out, flavor, "INVALIDIPv4"),
            },
            Memory::Ip6(style) => match bytes.first_chunk::<16>() {
                Some(address) => ip6(out, address, style),
                None => missing(out, flavor, "INVALIDIPv6"),
            },
            Memory::Socket(style) => socket(out, bytes, style, abi, flavor),
            Memory::Uuid(little, upper) => match bytes.first_chunk::<16>() {
                Some(id) => uuid(out, id, little, upper),
                None => missing(out, flavor, "INVALIDUUID"),
            },
            Memory::Hex(separator) => {
                let bytes = bytes.get(..count.min(64)).unwrap_or(bytes);
                hex_bytes(out, bytes.iter(), separator);
            }
            Memory::Bits(list) => {
                let bits = bytes.get(..count.div_ceil(8)).unwrap_or(bytes);
                if list { ranges(out, bits, count, abi) } else { mask(out, bits, count, abi) }
            }
            Memory::Number(size) => match bytes.get(..usize::from(size)).and_then(|bytes| abi.uint(bytes)) {
                Some(value) => {
                    out.extend_from_slice(b"0x");
                    text::hex_zeros(out, value, usize::from(size) * 2);
                }
                None => missing(out, flavor, "(missing)"),
            },
        }
    }
}

fn missing(out: &mut Vec<u8>, flavor: Flavor, word: &str) {
    out.extend_from_slice(if flavor.is_lte() { word.as_bytes() } else { b"(missing)" });
}

fn hex_bytes<'a>(out: &mut Vec<u8>, bytes: impl Iterator<Item = &'a u8>, separator: u8) {
    for (index, byte) in bytes.enumerate() {
        if index > 0 && separator != 0 {
            out.push(separator);
        }
        text::hex_byte(out, *byte);
    }
}

fn ip4(out: &mut Vec<u8>, address: &[u8; 4], padded: bool, reversed: bool) {
    for index in 0..4 {
        if index > 0 {
            out.push(b'.');
        }
        let byte = address[if reversed { 3 - index } else { index }];
        text::dec_zeros(out, u64::from(byte), if padded { 3 } else { 1 });
    }
}

fn ip6(out: &mut Vec<u8>, address: &[u8; 16], style: Ip6) {
    if style == Ip6::Compressed {
        return ip6_compressed(out, address);
    }
    for (index, pair) in address.chunks_exact(2).enumerate() {
        if index > 0 && style == Ip6::Full {
            out.push(b':');
        }
        text::hex_byte(out, pair[0]);
        text::hex_byte(out, pair[1]);
    }
}

/// RFC 5952, with a dotted tail for addresses that carry an IPv4 one.
fn ip6_compressed(out: &mut Vec<u8>, address: &[u8; 16]) {
    let mut words = [0u16; 8];
    for (word, pair) in words.iter_mut().zip(address.chunks_exact(2)) {
        *word = u16::from(pair[0]) << 8 | u16::from(pair[1]);
    }
    let mapped = words[..5] == [0; 5] && words[5] == 0xffff;
    let isatap = words[4] & 0xfdff == 0 && words[5] == 0x5efe;
    let dotted = mapped || isatap;
    let count = if dotted { 6 } else { 8 };
    let (start, len) = longest_zeros(&words[..count]);
    let mut index = 0;
    let mut colon = false;
    while index < count {
        if index == start && len > 1 {
            out.extend_from_slice(b"::");
            colon = false;
            index += len;
            continue;
        }
        if colon {
            out.push(b':');
        }
        text::hex(out, u64::from(words[index]));
        colon = true;
        index += 1;
    }
    if dotted && let Some(tail) = address.last_chunk::<4>() {
        if colon {
            out.push(b':');
        }
        ip4(out, tail, false, false);
    }
}

/// Start and length of the first longest run of zeros.
fn longest_zeros(words: &[u16]) -> (usize, usize) {
    let (mut best, mut run) = ((0, 0), 0);
    for (index, &word) in words.iter().enumerate() {
        run = if word == 0 { run + 1 } else { 0 };
        if run > best.1 {
            best = (index + 1 - run, run);
        }
    }
    best
}

fn socket(out: &mut Vec<u8>, bytes: &[u8], style: SocketStyle, abi: Abi, flavor: Flavor) {
    let port = bytes.get(2..4).map_or(0, |port| u64::from(port[0]) << 8 | u64::from(port[1]));
    match (abi.u16(bytes), bytes.get(4..8), bytes.get(8..24)) {
        (Some(2), Some(address), _) => {
            if let Some(address) = address.first_chunk() {
                ip4(out, address, style.ip4_padded, false);
            }
            if style.port {
                out.push(b':');
                text::dec(out, port);
            }
        }
        (Some(10), Some(flow), Some(address)) => {
            let bracketed = style.port || style.flow || style.scope;
            if bracketed {
                out.push(b'[');
            }
            if let Some(address) = address.first_chunk() {
                ip6(out, address, style.ip6);
            }
            if bracketed {
                out.push(b']');
            }
            if style.port {
                out.push(b':');
                text::dec(out, port);
            }
            if style.flow {
                out.push(b'/');
                let flow = flow.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
                text::dec(out, flow & 0x0fff_ffff);
            }
            if style.scope {
                out.push(b'%');
                text::dec(out, bytes.get(24..28).and_then(|scope| abi.u32(scope)).unwrap_or(0).into());
            }
        }
        (Some(2 | 10), ..) | (None, ..) => missing(out, flavor, "INVALIDSOCKADDR"),
        (Some(_), ..) => missing(out, flavor, ""),
    }
}

fn uuid(out: &mut Vec<u8>, id: &[u8; 16], little: bool, upper: bool) {
    const BIG: [usize; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
    const LITTLE: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    for (index, &at) in if little { LITTLE } else { BIG }.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        if upper { text::hex_byte_upper(out, id[at]) } else { text::hex_byte(out, id[at]) }
    }
}

/// Byte `index` of a bit set counted from its least significant end, whatever the order of bytes in its longs.
fn mask_byte(bytes: &[u8], index: usize, abi: Abi) -> u8 {
    use crate::wire::abi::Endian;
    let at = match abi.endian {
        Endian::Little => index,
        Endian::Big => {
            let long = usize::from(abi.long_bytes).max(1);
            index / long * long + (long - 1 - index % long)
        }
    };
    bytes.get(at).copied().unwrap_or(0)
}

/// A bit set as hex, in groups of eight digits from the most significant end.
pub(super) fn mask(out: &mut Vec<u8>, bytes: &[u8], bits: usize, abi: Abi) {
    let count = bits.div_ceil(8).min(bytes.len());
    for index in (0..count).rev() {
        text::hex_byte(out, mask_byte(bytes, index, abi));
        if index > 0 && index % 4 == 0 {
            out.push(b',');
        }
    }
}

/// A bit set as ranges: `0-3,5`.
pub(super) fn ranges(out: &mut Vec<u8>, bytes: &[u8], bits: usize, abi: Abi) {
    let bits = bits.min(bytes.len() * 8);
    let set = |bit: usize| bit < bits && mask_byte(bytes, bit / 8, abi) >> (bit % 8) & 1 == 1;
    let (mut bit, mut first) = (0, true);
    while bit < bits {
        if !set(bit) {
            bit += 1;
            continue;
        }
        let start = bit;
        while set(bit) {
            bit += 1;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        text::dec(out, start as u64);
        if bit - start > 1 {
            out.push(b'-');
            text::dec(out, bit as u64 - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::abi::Endian;

    const ABI: Abi = Abi { endian: Endian::Little, long_bytes: 8 };
    const SOCKET: SocketStyle =
        SocketStyle { ip4_padded: false, ip6: Ip6::Compressed, port: true, flow: true, scope: true };

    fn put(memory: Memory, bytes: &[u8], count: usize) -> String {
        let mut out = Vec::new();
        memory.put(bytes, count, ABI, Flavor::C, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hardware_addresses_and_hex() {
        let mac = [0, 0x11, 0x22, 0xaa, 0xbb, 0xcc];
        assert_eq!(put(Memory::Mac(b':', false), &mac, 0), "00:11:22:aa:bb:cc");
        assert_eq!(put(Memory::Mac(0, true), &mac, 0), "ccbbaa221100");
        assert_eq!(put(Memory::Hex(b' '), &mac, 3), "00 11 22");
        assert_eq!(put(Memory::Mac(b':', false), &mac[..5], 0), "(missing)");
    }

    #[test]
    fn network_addresses() {
        let mut six = [0u8; 16];
        assert_eq!(put(Memory::Ip6(Ip6::Compressed), &six, 0), "::");
        six[15] = 1;
        assert_eq!(put(Memory::Ip6(Ip6::Compressed), &six, 0), "::1");
        six[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        assert_eq!(put(Memory::Ip6(Ip6::Compressed), &six, 0), "2001:db8::1");
        assert_eq!(put(Memory::Ip6(Ip6::Bare), &six, 0), "20010db8000000000000000000000001");
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 9];
        assert_eq!(put(Memory::Ip6(Ip6::Compressed), &mapped, 0), "::ffff:10.0.0.9");
        assert_eq!(put(Memory::Ip4(true, false), &[10, 0, 200, 1], 0), "010.000.200.001");
        let mut socket = vec![10, 0, 0, 80, 0, 0, 0, 7];
        socket.extend([0; 15]);
        socket.extend([1, 3, 0, 0, 0]);
        assert_eq!(put(Memory::Socket(SOCKET), &socket, 0), "[::1]:80/7%3");
        assert_eq!(put(Memory::Socket(SOCKET), &[2, 0, 0, 80, 127, 0, 0, 1], 0), "127.0.0.1:80");
    }

    #[test]
    fn uuids_and_bit_sets() {
        let id: [u8; 16] = std::array::from_fn(|index| index as u8);
        assert_eq!(put(Memory::Uuid(false, false), &id, 0), "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(put(Memory::Uuid(true, true), &id, 0), "03020100-0504-0706-0809-0A0B0C0D0E0F");
        let bits = 0x1f_0000_000fu64.to_le_bytes();
        assert_eq!(put(Memory::Bits(true), &bits, 64), "0-3,32-36");
        assert_eq!(put(Memory::Bits(false), &bits, 64), "0000001f,0000000f");
    }
}
