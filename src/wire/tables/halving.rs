//! An address looked up in the text of kallsyms as it is, without an index.
//!
//! The kernel writes its own symbols in order of their addresses, and those of modules after them. So a few addresses
//! are found by halving the text, which takes a microsecond each, where an index of all symbols takes milliseconds.
//! Where the text does not decide, as with several symbols at the very address, `None` says: ask the index.

use super::kallsyms::{parse_symbol, sixteen_digits};
use crate::wire::bytes::find;

/// Lines without a symbol that are stepped over in a row.
const MAX_STEPS: usize = 1000;

/// A symbol in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    /// Its address.
    pub(super) addr: u64,
    /// Offset of its name.
    pub(super) name_at: usize,
    /// Length of its name.
    pub(super) name_len: usize,
}

/// The symbol that `addr` lies in.
pub(super) fn look_up(text: &[u8], addr: u64) -> Option<Hit> {
    let above = first_above(text, addr)?;
    // Somebody has to stand behind it: nobody knows where the last symbol ends.
    let mut at = above;
    let next = (0..MAX_STEPS).find_map(|_| {
        let (line, after) = line_at(text, at)?;
        at = after;
        parse_symbol(line)
    });
    next.filter(|next| next.0 > addr)?;
    let mut hit: Option<Hit> = None;
    let mut end = above;
    for _ in 0..MAX_STEPS {
        let Some(before) = end.checked_sub(1) else { break };
        let start = memchr::memrchr(b'\n', &text[..before]).map_or(0, |newline| newline + 1);
        let line = &text[start..before];
        end = start;
        let Some((found, name_at)) = parse_symbol(line) else { continue };
        let here = Hit { addr: found, name_at: start + name_at, name_len: line[name_at..].trim_ascii_end().len() };
        match hit {
            // Of several at one address the first in the text spans what follows.
            Some(last) if last.addr == found && found == addr => return None,
            Some(last) if last.addr != found => return hit,
            _ => hit = Some(here),
        }
    }
    // Whether there was another one before is not known here.
    None
}

/// Where the first line with a greater address begins.
fn first_above(text: &[u8], addr: u64) -> Option<usize> {
    let (mut low, mut high) = (0, text.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = memchr::memrchr(b'\n', &text[low..middle]).map_or(low, |newline| low + newline + 1);
        let (line, after) = line_at(text, start)?;
        if address(line)? <= addr {
            low = after;
        } else {
            high = start;
        }
    }
    Some(low)
}

/// The line that starts at `at`, and where the next one does.
fn line_at(text: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
    let end = find(rest, b'\n').unwrap_or(rest.len());
    Some((&rest[..end], at + end + 1))
}

/// The address of any line.
pub(super) fn address(line: &[u8]) -> Option<u64> {
    if let (Some(addr), Some(b' ')) = (line.first_chunk().and_then(sixteen_digits), line.get(16)) {
        return Some(addr);
    }
    let digits = line.get(..find(line, b' ')?)?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::super::early::Order;
    use super::*;
    use crate::wire::tables::Kallsyms;

    /// Whatever is found here is what the index finds; returns how often something was found.
    fn compare(text: &[u8], addresses: impl Iterator<Item = u64>) -> usize {
        let index = Kallsyms::new(text.to_vec());
        let part = &text[..Order::of(text).len];
        let mut found = 0;
        for addr in addresses {
            let Some(hit) = look_up(part, addr) else { continue };
            let symbol = index.lookup(addr).unwrap();
            assert_eq!(&part[hit.name_at..hit.name_at + hit.name_len], symbol.name, "{addr:#x}");
            assert_eq!(addr - hit.addr, symbol.offset);
            found += 1;
        }
        found
    }

    #[test]
    fn what_is_found_by_halving_is_what_the_index_finds() {
        let text =
            b"0000000000000000 A zero\n0000000000000010 A percpu\nffff800080000000 T _text\nffff800080000000 t $x\n\
            ffff800080000100 t one\nffff800080000100 T same\nffff800080000200 t $d\nffff800080000300 T two\n\
            ffff800080000400 D end\nffff800000000000 t module_function\t[mod]\nffff800000000100 t other\t[mod]\n";
        let near = 0xffff_8000_8000_0000..0xffff_8000_8000_0500_u64;
        assert_eq!(compare(text, near), 0x300 - 1, "all from `one` on but the address that two share");
        assert_eq!(compare(text, [0, 0x10, 0xffff_8000_0000_0050, u64::MAX].into_iter()), 0);
        assert_eq!(compare(b"", [0, 1].into_iter()), 0);
        assert_eq!(compare(b"no symbols\n\n[", [0, 1].into_iter()), 0);
    }

    #[test]
    fn the_running_kernel_is_read_alike() {
        let Ok(text) = std::fs::read("/proc/kallsyms") else { return };
        let index = Kallsyms::new(text.clone());
        let addresses: Vec<u64> = index.iter().step_by(97).flat_map(|symbol| [symbol.0, symbol.0 + 5]).collect();
        compare(&text, addresses.into_iter());
    }
}
