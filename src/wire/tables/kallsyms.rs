//! Kernel symbols: the text of kallsyms, and look-ups by address on the hot path.
//!
//! The table is parsed when first asked, so a report that needs no symbols does not pay for ten megabytes of them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::early::{Early, Growing, Order};
use crate::wire::bytes::find;
use crate::wire::text;

/// Slots of the look-up cache; a power of two. Each is one `AtomicU32`.
const CACHE_SLOTS: usize = 4096;

/// Brings a table's text when it is first needed.
type Load = Box<dyn Fn() -> Box<dyn Growing> + Send + Sync>;

/// The kernel's symbols, as stored in the text of `/proc/kallsyms`.
pub struct Kallsyms {
    text: OnceLock<Vec<u8>>,
    load: Option<Load>,
    index: OnceLock<Index>,
    early: Mutex<Early>,
}

/// The symbols in order of their addresses, over the text they are names in.
struct Index {
    entries: Vec<Entry>,
    cache: Vec<AtomicU32>,
    /// Symbols stand out of order among those that the first look-ups see: these are asked first.
    mixed: bool,
}

#[derive(Clone, Copy)]
struct Entry {
    addr: u64,
    name_at: u32,
    name_len: u16,
}

/// A symbol and how far into it an address lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// The symbol's name.
    pub name: &'a [u8],
    /// The address minus the symbol's.
    pub offset: u64,
    /// The module it belongs to, without brackets.
    pub module: Option<&'a [u8]>,
}

impl Kallsyms {
    /// A table over `text`; nothing is parsed yet.
    pub fn new(text: Vec<u8>) -> Kallsyms {
        Kallsyms { text: OnceLock::from(text), ..Kallsyms::empty() }
    }

    /// A table whose text is expensive to get: `load` is called when the first address is looked up.
    pub fn deferred(load: impl Fn() -> Box<dyn Growing> + Send + Sync + 'static) -> Kallsyms {
        let load: Option<Load> = Some(Box::new(load));
        Kallsyms { load, ..Kallsyms::empty() }
    }

    fn empty() -> Kallsyms {
        Kallsyms { text: OnceLock::new(), load: None, index: OnceLock::new(), early: Mutex::new(Early::new()) }
    }

    /// The text as stored.
    pub fn text(&self) -> &[u8] {
        self.text.get_or_init(|| match self.early().take() {
            Some(text) => text.finish(),
            None => self.load.as_ref().map(|load| load().finish()).unwrap_or_default(),
        })
    }

    fn early(&self) -> MutexGuard<'_, Early> {
        self.early.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The symbol with the greatest address not above `addr`, unless that is the table's last symbol.
    #[inline]
    pub fn lookup(&self, addr: u64) -> Option<Symbol<'_>> {
        let index = self.index();
        let entry = index.entries.get(index.number(addr)? as usize)?;
        let (name, module) = name(self.text(), entry);
        Some(Symbol { name, offset: addr.wrapping_sub(entry.addr), module })
    }

    /// Appends the name of the symbol at `addr`, with the offset into it if asked for; false if there is none.
    #[inline]
    pub fn put(&self, addr: u64, offset: bool, out: &mut Vec<u8>) -> bool {
        if self.index.get().is_none() && self.put_by_halving(addr, offset, out) {
            return true;
        }
        let index = self.index();
        if index.mixed && self.early().put_always(self.text(), addr, offset, out) {
            return true;
        }
        let Some(entry) = index.number(addr).and_then(|number| index.entries.get(number as usize)) else {
            return false;
        };
        text::part(out, self.text(), entry.name_at as usize, entry.name_len.into());
        if offset {
            out.extend_from_slice(b"+0x");
            text::hex(out, addr.wrapping_sub(entry.addr));
        }
        true
    }

    /// As [`Kallsyms::put`] for the first few addresses; false if the index has to be asked.
    #[cold]
    fn put_by_halving(&self, addr: u64, offset: bool, out: &mut Vec<u8>) -> bool {
        let mut early = self.early();
        match (self.text.get(), &self.load) {
            (Some(text), _) => early.put(Some(text), addr, offset, out),
            (None, Some(load)) => {
                early.begin(load);
                early.put(None, addr, offset, out)
            }
            (None, None) => false,
        }
    }

    /// The position of that symbol in address order: equal numbers mean the same symbol.
    #[inline]
    pub fn number(&self, addr: u64) -> Option<u32> {
        self.index().number(addr)
    }

    /// The lowest address of a symbol of this name. Searches the text.
    pub fn address_of(&self, name: &[u8]) -> Option<u64> {
        let text = self.text();
        let wanted = [b" ", name].concat();
        let symbol = |at: usize| {
            let start = memchr::memrchr(b'\n', &text[..at]).map_or(0, |newline| newline + 1);
            let end = find(&text[at..], b'\n').map_or(text.len(), |end| at + end);
            let (addr, name_at) = parse_symbol(&text[start..end])?;
            let rest = text[start + name_at..end].strip_prefix(name)?;
            (start + name_at == at + 1 && rest.first().is_none_or(u8::is_ascii_whitespace)).then_some(addr)
        };
        memchr::memmem::find_iter(text, &wanted).filter_map(symbol).min()
    }

    /// Symbols in address order, as (address, name, module).
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8], Option<&[u8]>)> {
        let text = self.text();
        self.index().entries.iter().map(move |entry| {
            let (name, module) = name(text, entry);
            (entry.addr, name, module)
        })
    }

    /// How many symbols there are.
    pub fn len(&self) -> usize {
        self.index().entries.len()
    }

    /// True if there is no symbol at all, which is also so when the kernel hid the addresses.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let (entries, mixed) = build_index(self.text());
            Index { entries, cache: (0..CACHE_SLOTS).map(|_| AtomicU32::new(0)).collect(), mixed }
        })
    }
}

/// Name and module of an entry.
#[inline]
fn name<'t>(text: &'t [u8], entry: &Entry) -> (&'t [u8], Option<&'t [u8]>) {
    let rest = text.get(entry.name_at as usize..).unwrap_or(&[]);
    let Some((name, tail)) = rest.split_at_checked(entry.name_len.into()) else { return (rest, None) };
    let module = tail.strip_prefix(b"\t[").map(|module| {
        let end = module.iter().position(|&byte| byte == b']' || byte == b'\n').unwrap_or(module.len());
        &module[..end]
    });
    (name, module)
}

impl Index {
    #[inline]
    fn number(&self, addr: u64) -> Option<u32> {
        let slot = self.cache.get((addr.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize)?;
        // A cached number is only a guess; the entries themselves prove or refute it, so a race costs nothing.
        let guess = slot.load(Ordering::Relaxed);
        if covers(&self.entries, guess as usize, addr) {
            return Some(guess);
        }
        let number = search(&self.entries, addr)?;
        slot.store(number, Ordering::Relaxed);
        Some(number)
    }
}

/// True if the symbol at `number` is the answer for `addr`. Nobody knows where the last symbol ends: only its very
/// address is taken for it.
#[inline]
fn covers(index: &[Entry], number: usize, addr: u64) -> bool {
    match index.get(number) {
        Some(entry) if entry.addr < addr => index.get(number + 1).is_some_and(|next| addr < next.addr),
        // Of several symbols at one address the search must choose each time.
        Some(entry) if entry.addr == addr => {
            index.get(number + 1).is_none_or(|next| addr < next.addr)
                && number.checked_sub(1).and_then(|before| index.get(before)).is_none_or(|before| before.addr < addr)
        }
        _ => false,
    }
}

/// Halves the table until an entry starts at `addr` or spans it. Of several symbols at one address trace-cmd shows the
/// one that its search meets first; halving in the same way meets the same.
fn search(index: &[Entry], addr: u64) -> Option<u32> {
    let (mut low, mut high) = (0, index.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let entry = index.get(middle)?;
        if entry.addr == addr {
            return u32::try_from(middle).ok();
        }
        let below_next = index.get(middle + 1).is_some_and(|next| addr < next.addr);
        if addr < entry.addr {
            high = middle;
        } else if below_next {
            return u32::try_from(middle).ok();
        } else {
            low = middle + 1;
        }
    }
    None
}

/// The symbols in order, and whether some stand out of order in the text among those at its start.
fn build_index(text: &[u8]) -> (Vec<Entry>, bool) {
    let text = text.get(..u32::MAX as usize).unwrap_or(text);
    let mut index = Vec::with_capacity(text.len() / 40);
    let (mut at, mut sorted, mut last, mut nonzero) = (0, true, 0, false);
    for end in memchr::memchr_iter(b'\n', text).chain([text.len()]) {
        let line = &text[at..end];
        if let Some((addr, name_at)) = parse_symbol(line) {
            sorted &= last <= addr;
            nonzero |= addr != 0;
            last = addr;
            // Only lines of modules go on after the name.
            let name = &line[name_at..];
            let len = match name.last() {
                Some(b']') => find(name, b'\t').unwrap_or(name.len()),
                Some(last) if last.is_ascii_whitespace() => name.trim_ascii_end().len(),
                _ => name.len(),
            };
            let name_len = len.min(usize::from(u16::MAX)) as u16;
            index.push(Entry { addr, name_at: (at + name_at) as u32, name_len });
        }
        at = end + 1;
    }
    if !nonzero {
        // kptr_restrict: every address reads zero. Better no symbol than the same wrong one everywhere.
        return (Vec::new(), false);
    }
    let mut mixed = false;
    if !sorted {
        let order = Order::of(text);
        mixed = index.iter().any(|entry| entry.name_at as usize >= order.len && order.spans(entry.addr));
        index.sort_by_key(|entry| entry.addr);
    }
    // Of symbols at one address the first in the text is to stand last: it is the one that spans what follows.
    for same in index.chunk_by_mut(|a, b| a.addr == b.addr) {
        same.reverse();
    }
    (index, mixed)
}

/// Address and offset of the name in one line of kallsyms; `None` for lines that name no code or data.
pub(super) fn parse_symbol(line: &[u8]) -> Option<(u64, usize)> {
    let (addr, digits) = match line.first_chunk().and_then(sixteen_digits) {
        Some(addr) => (addr, 16),
        None => some_digits(line),
    };
    let [b' ', kind, b' ', first, ..] = line.get(digits..)? else {
        return None;
    };
    // ARM's mapping symbols, and absolute ones (offsets into the per-CPU area on x86).
    if digits == 0 || digits > 16 || *first == b'$' || matches!(kind, b'A' | b'a') {
        return None;
    }
    Some((addr, digits + 3))
}

/// Sixteen lower-case hexadecimal digits at once, as kernels of 64 bits write them; `None` if they are something else.
#[inline]
pub(super) fn sixteen_digits(text: &[u8; 16]) -> Option<u64> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let eight = |digits: u64| {
        // A letter has bit 6, and counts from 9 in its low four.
        let nibbles = (digits & (0x0f * ONES)) + (digits >> 6 & ONES) * 9;
        let letters = (nibbles + 6 * ONES) >> 4 & ONES;
        let spelled = nibbles + u64::from(b'0') * ONES + letters * u64::from(b'a' - b'9' - 1);
        let pairs = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
        let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
        (spelled == digits && nibbles & (0xf0 * ONES) == 0).then_some((fours | fours >> 16) & 0xffff_ffff)
    };
    let whole = u128::from_be_bytes(*text);
    Some(eight((whole >> 64) as u64)? << 32 | eight(whole as u64)?)
}

/// Up to seventeen hexadecimal digits: their value, and how many they are.
fn some_digits(line: &[u8]) -> (u64, usize) {
    let digits = line.iter().take(17).map_while(|&byte| char::from(byte).to_digit(16));
    digits.fold((0, 0), |(addr, count), digit| (addr << 4 | u64::from(digit), count + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_symbol_not_above_the_address_wins() {
        let text = b"ffffffff81000100 T beta\nffffffff81000000 T alpha\n0000000000000010 A cpu_thing\n\
            ffffffffc0000000 t gamma\t[mod]\nffffffff81000050 t $x\n";
        let table = Kallsyms::new(text.to_vec());
        let at = |addr| table.lookup(addr).map(|s| (String::from_utf8_lossy(s.name).into_owned(), s.offset));
        for _ in 0..2 {
            assert_eq!(at(0xffff_ffff_8100_0000), Some(("alpha".into(), 0)));
            assert_eq!(at(0xffff_ffff_8100_00ff), Some(("alpha".into(), 0xff)));
            assert_eq!(at(0xffff_ffff_8100_0100), Some(("beta".into(), 0)));
            assert_eq!(at(0xffff_ffff_c000_0004), None, "beyond the last symbol");
            assert_eq!(at(0x10), None);
        }
        assert_eq!(table.lookup(0xffff_ffff_c000_0000).unwrap().module, Some(&b"mod"[..]));
        assert_eq!(table.address_of(b"gamma"), Some(0xffff_ffff_c000_0000));
        assert_eq!(
            (table.address_of(b"bet"), table.address_of(b"T"), table.address_of(b"cpu_thing")),
            (None, None, None)
        );
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn digits_are_read_sixteen_at_once_or_one_by_one() {
        for text in ["ffffffff81000100", "0123456789abcdef", "0000000000000000"] {
            let value = u64::from_str_radix(text, 16).unwrap();
            assert_eq!(sixteen_digits(text.as_bytes().first_chunk().unwrap()), Some(value));
            assert_eq!(some_digits(text.as_bytes()), (value, 16));
        }
        for byte in 0..=255 {
            for at in 0..16 {
                let mut text = *b"ffffffff81000100";
                text[at] = byte;
                let digit = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                assert_eq!(sixteen_digits(&text).is_some(), digit, "{byte:#x} at {at}");
            }
        }
        assert_eq!(some_digits(b"FFab T x"), (0xffab, 4));
    }

    #[test]
    fn hidden_addresses_make_no_table() {
        let table = Kallsyms::new(b"0000000000000000 T alpha\n0000000000000000 T beta\n".to_vec());
        assert!(table.is_empty());
        assert_eq!(table.lookup(5), None);
    }
}
