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

/// `value` in decimal.
#[inline]
pub fn dec(out: &mut Vec<u8>, value: u64) {
    if value < 10 {
        out.push(b'0' + value as u8);
    } else {
        out.extend_from_slice(Digits::dec(value).as_bytes());
    }
}

/// `value` in decimal with its sign.
#[inline]
pub fn signed(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    dec(out, value.unsigned_abs());
}

/// `value` in lower-case hex, no prefix.
#[inline]
pub fn hex(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(Digits::hex(value, false).as_bytes());
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
    out.extend_from_slice(&[HEX_LOWER[usize::from(byte >> 4)], HEX_LOWER[usize::from(byte & 15)]]);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn text(run: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        run(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_print_like_the_standard_library() {
        for value in [0, 1, 9, 10, 99, 100, 101, 12345, 99999, 1 << 31, u64::MAX - 1, u64::MAX] {
            assert_eq!(text(|out| dec(out, value)), format!("{value}"));
            assert_eq!(text(|out| hex(out, value)), format!("{value:x}"));
            assert_eq!(text(|out| out.extend(Digits::oct(value).as_bytes())), format!("{value:o}"));
            assert_eq!(text(|out| signed(out, value as i64)), format!("{}", value as i64));
            assert_eq!(text(|out| hex_zeros(out, value, 8)), format!("{value:08x}"));
            assert_eq!(text(|out| dec_right(out, value, 5)), format!("{value:5}"));
        }
    }
}
