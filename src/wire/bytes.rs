//! A cursor over bytes that cannot panic.
//!
//! Owns: taking integers, ranges, lines and NUL-terminated strings off the front of a slice.
//! Does not own: what the bytes mean. Everything read from a trace goes through here or through `slice::get`.
//! Units: offsets in bytes from the slice's start.

use super::abi::Abi;

/// A position in a byte slice; every read either advances or returns `None` and stays.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    abi: Abi,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of `bytes`, reading integers in the order of `abi`.
    pub fn new(bytes: &'a [u8], abi: Abi) -> Self {
        Cursor { bytes, at: 0, abi }
    }

    /// Bytes consumed so far.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Bytes not consumed yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or(&[])
    }

    /// True at the end.
    pub fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Takes `count` bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.rest().get(..count)?;
        self.at += count;
        Some(taken)
    }

    /// Takes one byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// Takes a `u16`.
    pub fn u16(&mut self) -> Option<u16> {
        let abi = self.abi;
        self.take(2).and_then(|bytes| abi.u16(bytes))
    }

    /// Takes a `u32`.
    pub fn u32(&mut self) -> Option<u32> {
        let abi = self.abi;
        self.take(4).and_then(|bytes| abi.u32(bytes))
    }

    /// Takes a `u64`.
    pub fn u64(&mut self) -> Option<u64> {
        let abi = self.abi;
        self.take(8).and_then(|bytes| abi.u64(bytes))
    }

    /// Takes a kernel `long`.
    pub fn ulong(&mut self) -> Option<u64> {
        let abi = self.abi;
        self.take(usize::from(abi.long_bytes)).and_then(|bytes| abi.uint(bytes))
    }

    /// Takes a string that a NUL must end; the NUL is consumed and not returned.
    pub fn cstr(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest();
        let end = find(rest, 0)?;
        self.at += end + 1;
        rest.get(..end)
    }

    /// Takes up to the next newline, which is consumed and not returned; the last line may lack it.
    pub fn line(&mut self) -> Option<&'a [u8]> {
        if self.is_empty() {
            return None;
        }
        let rest = self.rest();
        let end = find(rest, b'\n').unwrap_or(rest.len());
        self.at += (end + 1).min(rest.len());
        rest.get(..end)
    }
}

/// Index of the first `byte` in `bytes`.
#[inline]
pub fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    memchr::memchr(byte, bytes)
}

/// `bytes` up to its first NUL, or all of it.
#[inline]
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    // Texts of events are short: a plain loop beats a call for them.
    match bytes.iter().take(32).position(|&b| b == 0) {
        Some(end) => &bytes[..end],
        None if bytes.len() <= 32 => bytes,
        None => &bytes[..find(bytes, 0).unwrap_or(bytes.len())],
    }
}

/// `bytes[at..at + len]`, clamped to what exists.
#[inline]
pub fn clamp(bytes: &[u8], at: usize, len: usize) -> &[u8] {
    let rest = bytes.get(at..).unwrap_or(&[]);
    &rest[..len.min(rest.len())]
}

/// An integer in C notation: decimal, `0x` hex or `0` octal, blanks around it allowed.
pub fn c_integer(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        u64::from_str_radix(hex, 16).ok()
    } else if text.len() > 1 && text.starts_with('0') {
        u64::from_str_radix(&text[1..], 8).ok()
    } else {
        text.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_read_returns_none_and_does_not_move() {
        let mut cursor = Cursor::new(&[1, 2, 3], Abi::HOST);
        assert_eq!(cursor.u32(), None);
        assert_eq!(cursor.offset(), 0);
        assert_eq!(cursor.u8(), Some(1));
        assert_eq!(cursor.take(3), None);
        assert_eq!(cursor.rest(), &[2, 3]);
    }

    #[test]
    fn lines_and_cstrs_are_cut_at_their_ends() {
        let mut cursor = Cursor::new(b"ab\n\ncd", Abi::HOST);
        assert_eq!(cursor.line(), Some(&b"ab"[..]));
        assert_eq!(cursor.line(), Some(&b""[..]));
        assert_eq!(cursor.line(), Some(&b"cd"[..]));
        assert_eq!(cursor.line(), None);
        let mut cursor = Cursor::new(b"ab\0c", Abi::HOST);
        assert_eq!(cursor.cstr(), Some(&b"ab"[..]));
        assert_eq!(cursor.cstr(), None);
    }

    #[test]
    fn c_integers() {
        assert_eq!(c_integer(b" 0x1f"), Some(31));
        assert_eq!(c_integer(b"017 "), Some(15));
        assert_eq!(c_integer(b"0"), Some(0));
        assert_eq!(c_integer(b"08"), None);
    }
}
