//! printf's conversions of integers and the fitting of text into a width.

use crate::wire::text::{self, Digits};

/// Widths and precisions above this are cut; a format of the kernel has no reason to ask for more.
pub(super) const MAX_WIDTH: usize = 1024;

/// The base and sign a number is printed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// `%d`
    Signed,
    /// `%u`
    Unsigned,
    /// `%x`
    Hex,
    /// `%X`
    HexUpper,
    /// `%o`
    Octal,
}

/// An integer conversion whose width and precision are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// Base and sign.
    pub base: Base,
    /// Bits the argument is cut to: 8, 16, 32 or 64.
    pub bits: u8,
    /// Least number of columns.
    pub width: usize,
    /// Least number of digits.
    pub precision: Option<usize>,
    /// `-`
    pub minus: bool,
    /// `0`
    pub zero: bool,
    /// `+`
    pub plus: bool,
    /// ` `
    pub space: bool,
    /// `#`
    pub alt: bool,
}

/// Appends `value` without width, precision or flags.
#[inline]
pub(super) fn plain(out: &mut Vec<u8>, value: u64, base: Base, bits: u8) {
    match base {
        Base::Signed => text::signed(out, cut_signed(value, bits)),
        Base::Unsigned => text::dec(out, cut(value, bits)),
        Base::Hex => text::hex(out, cut(value, bits)),
        Base::HexUpper => out.extend_from_slice(Digits::hex(cut(value, bits), true).as_bytes()),
        Base::Octal => out.extend_from_slice(Digits::oct(cut(value, bits)).as_bytes()),
    }
}

#[inline]
fn cut(value: u64, bits: u8) -> u64 {
    match bits {
        32 => u64::from(value as u32),
        16 => u64::from(value as u16),
        8 => u64::from(value as u8),
        _ => value,
    }
}

#[inline]
fn cut_signed(value: u64, bits: u8) -> i64 {
    match bits {
        32 => i64::from(value as i32),
        16 => i64::from(value as i16),
        8 => i64::from(value as i8),
        _ => value as i64,
    }
}

impl Number {
    /// Appends `value`.
    pub fn put(&self, out: &mut Vec<u8>, value: u64) {
        let (negative, magnitude) = if self.base == Base::Signed {
            let value = cut_signed(value, self.bits);
            (value < 0, value.unsigned_abs())
        } else {
            (false, cut(value, self.bits))
        };
        let digits = match self.base {
            Base::Signed | Base::Unsigned => Digits::dec(magnitude),
            Base::Hex => Digits::hex(magnitude, false),
            Base::HexUpper => Digits::hex(magnitude, true),
            Base::Octal => Digits::oct(magnitude),
        };
        let digits: &[u8] = match (magnitude, self.precision) {
            (0, Some(0)) => b"",
            _ => digits.as_bytes(),
        };
        let prefix: &[u8] = match self.base {
            Base::Signed if negative => b"-",
            Base::Signed if self.plus => b"+",
            Base::Signed if self.space => b" ",
            Base::Hex if self.alt && magnitude != 0 => b"0x",
            Base::HexUpper if self.alt && magnitude != 0 => b"0X",
            Base::Octal if self.alt && magnitude != 0 => b"0",
            _ => b"",
        };
        let width = self.width.min(MAX_WIDTH);
        let mut zeros = self.precision.unwrap_or(0).min(MAX_WIDTH).saturating_sub(digits.len());
        if self.zero && !self.minus && self.precision.is_none() {
            zeros = width.saturating_sub(prefix.len() + digits.len());
        }
        let blanks = width.saturating_sub(prefix.len() + zeros + digits.len());
        if !self.minus {
            text::blanks(out, blanks);
        }
        out.extend_from_slice(prefix);
        out.resize(out.len() + zeros, b'0');
        out.extend_from_slice(digits);
        if self.minus {
            text::blanks(out, blanks);
        }
    }
}

/// Cuts what was appended since `start` to `precision` and widens it to `width` columns.
pub(super) fn fit(out: &mut Vec<u8>, start: usize, width: usize, precision: Option<usize>, minus: bool) {
    if let Some(precision) = precision {
        out.truncate(start.saturating_add(precision));
    }
    let width = width.min(MAX_WIDTH);
    let len = out.len().saturating_sub(start);
    if len < width {
        let missing = width - len;
        text::blanks(out, missing);
        if !minus && let Some(piece) = out.get_mut(start..) {
            piece.rotate_right(missing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Number = Number {
        base: Base::Signed,
        bits: 32,
        width: 0,
        precision: None,
        minus: false,
        zero: false,
        plus: false,
        space: false,
        alt: false,
    };

    fn put(number: Number, value: u64) -> String {
        let mut out = Vec::new();
        number.put(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_follow_printf() {
        let minus_one = u64::MAX;
        assert_eq!(put(PLAIN, minus_one), "-1");
        assert_eq!(put(Number { width: 8, ..PLAIN }, minus_one), "      -1");
        assert_eq!(put(Number { width: 8, minus: true, ..PLAIN }, minus_one), "-1      ");
        assert_eq!(put(Number { width: 5, precision: Some(3), ..PLAIN }, minus_one), " -001");
        assert_eq!(put(Number { width: 5, zero: true, ..PLAIN }, minus_one), "-0001");
        assert_eq!(put(Number { base: Base::Hex, alt: true, ..PLAIN }, minus_one), "0xffffffff");
        assert_eq!(put(Number { base: Base::Hex, alt: true, ..PLAIN }, 0), "0");
        assert_eq!(put(Number { base: Base::Hex, alt: true, zero: true, width: 8, ..PLAIN }, 0x1f), "0x00001f");
        assert_eq!(put(Number { base: Base::Hex, bits: 16, ..PLAIN }, minus_one), "ffff");
        assert_eq!(put(Number { base: Base::HexUpper, bits: 8, ..PLAIN }, minus_one), "FF");
        assert_eq!(put(Number { base: Base::Octal, ..PLAIN }, 8), "10");
        assert_eq!(put(Number { plus: true, ..PLAIN }, 3), "+3");
        assert_eq!(put(Number { width: 1 << 40, ..PLAIN }, 3).len(), MAX_WIDTH);
    }

    #[test]
    fn text_is_cut_and_widened() {
        let fitted = |width, precision, minus| {
            let mut out = b"x=abc".to_vec();
            fit(&mut out, 2, width, precision, minus);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(fitted(5, None, false), "x=  abc");
        assert_eq!(fitted(5, None, true), "x=abc  ");
        assert_eq!(fitted(4, Some(2), false), "x=  ab");
        assert_eq!(fitted(0, Some(usize::MAX), false), "x=abc");
    }
}
