//! Constant strings: the text of printk_formats.

use std::sync::OnceLock;

use crate::wire::bytes::find;

/// Constant strings of the kernel by address.
pub struct PrintkFormats {
    text: Vec<u8>,
    index: OnceLock<Vec<(u64, Vec<u8>)>>,
}

impl PrintkFormats {
    /// A table over `text`; nothing is parsed yet.
    pub fn new(text: Vec<u8>) -> PrintkFormats {
        PrintkFormats { text, index: OnceLock::new() }
    }

    /// The text as stored.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The string at `addr`, without quotes and without one final newline.
    pub fn get(&self, addr: u64) -> Option<&[u8]> {
        let index = self.index();
        let at = index.binary_search_by_key(&addr, |entry| entry.0).ok()?;
        index.get(at).map(|entry| entry.1.as_slice())
    }

    /// All strings in order of their addresses.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.index().iter().map(|(addr, text)| (*addr, text.as_slice()))
    }

    fn index(&self) -> &[(u64, Vec<u8>)] {
        self.index.get_or_init(|| {
            let mut index: Vec<_> = self.text.split(|&byte| byte == b'\n').filter_map(parse_printk).collect();
            index.sort_by_key(|entry| entry.0);
            index.dedup_by_key(|entry| entry.0);
            index
        })
    }
}

/// One line `0xADDRESS : "TEXT"`.
fn parse_printk(line: &[u8]) -> Option<(u64, Vec<u8>)> {
    let colon = find(line, b':')?;
    let addr = std::str::from_utf8(line[..colon].trim_ascii()).ok()?;
    let addr = u64::from_str_radix(addr.strip_prefix("0x").unwrap_or(addr), 16).ok()?;
    let text = line[colon + 1..].trim_ascii();
    let text = text.strip_prefix(b"\"").unwrap_or(text);
    let text = text.strip_suffix(b"\"").unwrap_or(text);
    let mut text = unescape(text);
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    Some((addr, text))
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => plain.push(b'\n'),
            Some(b't') => plain.push(b'\t'),
            Some(other @ (b'"' | b'\\')) => plain.push(other),
            Some(other) => plain.extend_from_slice(&[b'\\', other]),
            None => plain.push(b'\\'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printk_strings_lose_quotes_and_one_newline() {
        let table = PrintkFormats::new(b"0xffffffff82000010 : \"a %s\\n\"\n0x20 : \"say \\\"hi\\\"\"\n".to_vec());
        assert_eq!(table.get(0xffff_ffff_8200_0010), Some(&b"a %s"[..]));
        assert_eq!(table.get(0x20), Some(&b"say \"hi\""[..]));
        assert_eq!(table.get(0x21), None);
    }
}
