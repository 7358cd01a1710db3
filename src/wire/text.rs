//! Numbers to text, by hand.
//!
//! Owns: the few conversions that a report performs a hundred million times. `format!` and `write!` cost several
//! times as much and are not used on any path that runs per event.

const PAIRS: &[u8; 200] = b"00010203040506070809101112131415161718192021222324252627282930313233343536373839\
40414243444546474849505152535455565758596061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

const HEX_LOWER: &[u8; 16] = b"0123456789abcdef";
const HEX_UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// Digits of a number, written from the back of a small buffer.
pub struct Digits {
    bytes: [u8; 24],
    start: usize,
}

impl Digits {
    /// The digits as bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Decimal digits.
    #[inline]
    pub fn dec(mut value: u64) -> Digits {
        let mut digits = Digits { bytes: [0; 24], start: 24 };
        while value >= 100 {
            let pair = (value % 100) as usize * 2;
            value /= 100;
            digits.push(PAIRS[pair + 1]);
            digits.push(PAIRS[pair]);
        }
        if value >= 10 {
            let pair = value as usize * 2;
            digits.push(PAIRS[pair + 1]);
            digits.push(PAIRS[pair]);
        } else {
            digits.push(b'0' + value as u8);
        }
        digits
    }

    /// Hexadecimal digits.
    #[inline]
    pub fn hex(mut value: u64, upper: bool) -> Digits {
        let table = if upper { HEX_UPPER } else { HEX_LOWER };
        let mut digits = Digits { bytes: [0; 24], start: 24 };
        loop {
            digits.push(table[(value & 15) as usize]);
            value >>= 4;
            if value == 0 {
                return digits;
            }
        }
    }

    /// Octal digits.
    #[inline]
    pub fn oct(mut value: u64) -> Digits {
        let mut digits = Digits { bytes: [0; 24], start: 24 };
        loop {
            digits.push(b'0' + (value & 7) as u8);
            value >>= 3;
            if value == 0 {
                return digits;
            }
        }
    }

    #[inline]
    fn push(&mut self, byte: u8) {
        self.start -= 1;
        self.bytes[self.start] = byte;
    }
}

/// `all[at..at + len]`, as far as it exists.
///
/// Most texts of a report are shorter than 32 bytes. Copying a fixed number of bytes and forgetting the surplus is a few
/// instructions; copying a number that only the data knows is a call.
#[inline]
pub fn part(out: &mut Vec<u8>, all: &[u8], at: usize, len: usize) {
    let end = out.len() + len;
    let rest = all.get(at..).unwrap_or(&[]);
    if len <= 16
        && let Some(bytes) = rest.first_chunk::<16>()
    {
        out.extend_from_slice(bytes);
        out.truncate(end);
    } else if len <= 32
        && let Some(bytes) = rest.first_chunk::<32>()
    {
        out.extend_from_slice(bytes);
        out.truncate(end);
    } else {
        out.extend_from_slice(&rest[..len.min(rest.len())]);
    }
}

/// `bytes` up to its first NUL.
#[inline]
pub fn until_nul(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.first_chunk::<16>() {
        Some(first) if bytes.len() == 16 => {
            let end = out.len() + nul_in(first);
            out.extend_from_slice(first);
            out.truncate(end);
        }
        _ => out.extend_from_slice(super::bytes::until_nul(bytes)),
    }
}

/// Position of the first NUL in 16 bytes, 16 if there is none.
#[inline]
fn nul_in(bytes: &[u8; 16]) -> usize {
    const ONES: u128 = u128::from_le_bytes([1; 16]);
    let word = u128::from_le_bytes(*bytes);
    // The lowest byte whose high bit is set here is the first one that was zero.
    let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
    zeros.trailing_zeros() as usize / 8
}

const BYTE_ONES: u64 = 0x0101_0101_0101_0101;
const ASCII_ZEROS: u64 = BYTE_ONES * b'0' as u64;

/// The eight decimal digits of a number below 10^8 as numbers, the first in the lowest byte.
#[inline]
fn eight_digits(value: u32) -> u64 {
    let value = u64::from(value);
    // Halves of four digits each, then quarters of two, then digits, all of one kind at once. The multiplications
    // divide by 100 and by 10: exact for numbers below 10,000 and below 100.
    let halves = (value / 10_000) | ((value % 10_000) << 32);
    let hundreds = (halves * 10_486) >> 20 & 0x0000_007f_0000_007f;
    let quarters = hundreds | (halves - hundreds * 100) << 16;
    let tens = (quarters * 103) >> 10 & 0x000f_000f_000f_000f;
    tens | (quarters - tens * 10) << 8
}

/// `value` in decimal.
#[inline]
pub fn dec(out: &mut Vec<u8>, value: u64) {
    const EIGHT: u64 = EIGHT_DIGITS;
    if value < 10 {
        out.push(b'0' + value as u8);
    } else if value < EIGHT {
        let digits = eight_digits(value as u32);
        let zeros = digits.trailing_zeros() / 8;
        let end = out.len() + 8 - zeros as usize;
        out.extend_from_slice(&((digits | ASCII_ZEROS) >> (zeros * 8)).to_le_bytes());
        out.truncate(end);
    } else {
        dec(out, value / EIGHT);
        dec_eight(out, (value % EIGHT) as u32);
    }
}

/// The first number of nine digits.
pub const EIGHT_DIGITS: u64 = 100_000_000;

/// `value`, which is below [`EIGHT_DIGITS`], with leading zeros.
#[inline]
pub fn dec_eight(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&(eight_digits(value) | ASCII_ZEROS).to_le_bytes());
}

/// `value` in decimal with its sign.
#[inline]
pub fn signed(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    dec(out, value.unsigned_abs());
}

/// The eight digits of a number in lower-case hex, the first in the highest byte.
#[inline]
fn eight_hex(value: u32) -> u64 {
    let fours = (u64::from(value) | u64::from(value) << 16) & 0x0000_ffff_0000_ffff;
    let pairs = (fours | fours << 8) & 0x00ff_00ff_00ff_00ff;
    let nibbles = (pairs | pairs << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (nibbles + 6 * BYTE_ONES) >> 4 & BYTE_ONES;
    nibbles + ASCII_ZEROS + letters * u64::from(b'a' - b'9' - 1)
}

/// `value` in lower-case hex, no prefix.
#[inline]
pub fn hex(out: &mut Vec<u8>, value: u64) {
    let digits = (u64::BITS - (value | 1).leading_zeros()).div_ceil(4);
    let front = value << (u64::BITS - digits * 4);
    let end = out.len() + digits as usize;
    let text = u128::from(eight_hex((front >> 32) as u32)) << 64 | u128::from(eight_hex(front as u32));
    out.extend_from_slice(&text.to_be_bytes());
    out.truncate(end);
}

/// `0x` and `value` in lower-case hex.
#[inline]
pub fn hex0x(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(b"0x");
    hex(out, value);
}

/// One byte as two hex digits.
#[inline]
pub fn hex_byte(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(&two_hex(byte));
}

/// The two hex digits of a byte.
#[inline]
pub fn two_hex(byte: u8) -> [u8; 2] {
    [HEX_LOWER[usize::from(byte >> 4)], HEX_LOWER[usize::from(byte & 15)]]
}

/// One byte as two upper-case hex digits.
#[inline]
pub fn hex_byte_upper(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(&[HEX_UPPER[usize::from(byte >> 4)], HEX_UPPER[usize::from(byte & 15)]]);
}

/// `value` in decimal, at least `width` digits, filled with zeros in front.
#[inline]
pub fn dec_zeros(out: &mut Vec<u8>, value: u64, width: usize) {
    padded(out, Digits::dec(value).as_bytes(), width, b'0');
}

/// `value` in decimal, right-aligned in `width` columns.
#[inline]
pub fn dec_right(out: &mut Vec<u8>, value: u64, width: usize) {
    padded(out, Digits::dec(value).as_bytes(), width, b' ');
}

/// `value` in hex, at least `width` digits, filled with zeros in front.
#[inline]
pub fn hex_zeros(out: &mut Vec<u8>, value: u64, width: usize) {
    padded(out, Digits::hex(value, false).as_bytes(), width, b'0');
}

/// `bytes`, right-aligned in `width` columns filled with `fill`.
#[inline]
pub fn padded(out: &mut Vec<u8>, bytes: &[u8], width: usize, fill: u8) {
    if bytes.len() < width {
        out.resize(out.len() + width - bytes.len(), fill);
    }
    out.extend_from_slice(bytes);
}

/// `bytes`, left-aligned in `width` columns.
#[inline]
pub fn left(out: &mut Vec<u8>, bytes: &[u8], width: usize) {
    out.extend_from_slice(bytes);
    if bytes.len() < width {
        out.resize(out.len() + width - bytes.len(), b' ');
    }
}

/// `count` blanks.
#[inline]
pub fn blanks(out: &mut Vec<u8>, count: usize) {
    out.resize(out.len() + count, b' ');
}

/// Appends nanoseconds as microseconds with three decimals.
#[inline]
pub fn micros(out: &mut Vec<u8>, nanos: u64) {
    dec(out, nanos / 1000);
    out.push(b'.');
    dec_zeros(out, nanos % 1000, 3);
}

/// How long a function took, at a glance: the kernel's mark before a duration.
#[inline]
pub fn duration_mark(nanos: u64) -> u8 {
    match nanos {
        0..=10_000 => b' ',
        10_001..=100_000 => b'+',
        100_001..=1_000_000 => b'!',
        1_000_001..=10_000_000 => b'#',
        10_000_001..=100_000_000 => b'*',
        100_000_001..=1_000_000_000 => b'@',
        _ => b'$',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(run: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        run(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn parts_are_cut_to_what_exists() {
        let all: Vec<u8> = (0..60).collect();
        for at in [0, 1, 28, 44, 59, 60, 61] {
            for len in [0, 1, 15, 16, 17, 31, 32, 33, 60] {
                let mut out = vec![7];
                part(&mut out, &all, at, len);
                let rest = all.get(at..).unwrap_or(&[]);
                assert_eq!(&out[1..], &rest[..len.min(rest.len())], "{at} {len}");
            }
        }
    }

    #[test]
    fn text_ends_at_its_first_nul() {
        for end in 0..=16 {
            let mut bytes = *b"\x01\x80\xff\x01bcdefghijklm";
            for byte in bytes.iter_mut().skip(end).step_by(3) {
                *byte = 0;
            }
            assert_eq!(text(|out| out.extend((nul_in(&bytes) as u64).to_string().bytes())), end.to_string());
        }
        assert_eq!(text(|out| until_nul(out, b"abc\0d")), "abc");
        assert_eq!(text(|out| until_nul(out, b"0123456789abcdef")), "0123456789abcdef");
    }

    #[test]
    fn every_pair_and_half_of_eight_digits_is_right() {
        for half in 0..10_000 {
            for value in [half, half * 10_000, 99_990_000 + half, half * 10_000 + 9_999] {
                assert_eq!(text(|out| dec(out, value)), format!("{value}"));
            }
        }
    }

    #[test]
    fn numbers_print_like_the_standard_library() {
        let powers = (0..20).flat_map(|n| [10_u64.pow(n) - 1, 10_u64.pow(n), 10_u64.pow(n) + 9]);
        let bits = (0..64).flat_map(|n| [(1_u64 << n) - 1, 1 << n, 0x1234_5678_9abc_def0 >> n]);
        for value in powers.chain(bits).chain([12_345, 99_999, u64::MAX - 1, u64::MAX]) {
            assert_eq!(text(|out| dec(out, value)), format!("{value}"));
            assert_eq!(text(|out| hex(out, value)), format!("{value:x}"));
            assert_eq!(text(|out| out.extend(Digits::oct(value).as_bytes())), format!("{value:o}"));
            assert_eq!(text(|out| signed(out, value as i64)), format!("{}", value as i64));
            assert_eq!(text(|out| hex_zeros(out, value, 8)), format!("{value:08x}"));
            assert_eq!(text(|out| dec_right(out, value, 5)), format!("{value:5}"));
        }
    }
}
