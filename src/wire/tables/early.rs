//! The first look-ups in kallsyms: in the text itself, of which no more is brought than they need.
//!
//! A report that shows a few addresses neither waits for all megabytes of the text nor for an index of them.

use super::halving;
use crate::wire::text;

/// A text that is brought bit by bit.
pub trait Growing: Send {
    /// What is here; it stays as it is when more comes.
    fn text(&self) -> &[u8];
    /// Brings more; false when there is no more.
    fn grow(&mut self) -> bool;
    /// All of it.
    fn finish(self: Box<Self>) -> Vec<u8>;
}

/// Addresses that are looked up in the text, each for the first time, before an index is better.
const FEW: u32 = 1000;
/// Look-ups in all before that.
const MANY: u32 = 20_000;
/// Addresses that are remembered; a power of two.
const SLOTS: usize = 256;

/// The text as far as it is here, and what was found in it.
pub(super) struct Early {
    growing: Option<Box<dyn Growing>>,
    /// Somebody took the text to bring all of it.
    is_gone: bool,
    order: Order,
    missed: u32,
    asked: u32,
    found: Vec<(u64, Option<halving::Hit>)>,
}

impl Early {
    pub(super) fn new() -> Early {
        Early { growing: None, is_gone: false, order: Order::default(), missed: 0, asked: 0, found: Vec::new() }
    }

    /// Gets hold of the text unless that was done.
    pub(super) fn begin(&mut self, load: &dyn Fn() -> Box<dyn Growing>) {
        if !self.is_gone {
            self.growing.get_or_insert_with(load);
        }
    }

    /// Hands the text over to whoever wants all of it.
    pub(super) fn take(&mut self) -> Option<Box<dyn Growing>> {
        self.is_gone = true;
        self.growing.take()
    }

    /// Appends the name of the symbol at `addr`, with the offset into it if asked for; false if an index is to be asked.
    /// The text is `whole`, or what was begun.
    pub(super) fn put(&mut self, whole: Option<&[u8]>, addr: u64, offset: bool, out: &mut Vec<u8>) -> bool {
        self.asked += 1;
        let is_away = whole.is_none() && self.is_gone;
        if is_away || self.asked > MANY || self.missed > FEW {
            return false;
        }
        let Some(hit) = self.remembered(whole, addr) else { return false };
        let all = whole.or(self.growing.as_deref().map(Growing::text)).unwrap_or_default();
        text::part(out, all, hit.name_at, hit.name_len);
        if offset {
            out.extend_from_slice(b"+0x");
            text::hex(out, addr.wrapping_sub(hit.addr));
        }
        true
    }

    fn remembered(&mut self, whole: Option<&[u8]>, addr: u64) -> Option<halving::Hit> {
        self.found.resize(SLOTS, (0, None));
        let slot = (addr.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % SLOTS;
        if let (known, Some(hit)) = self.found[slot]
            && known == addr
        {
            return Some(hit);
        }
        self.missed += 1;
        let hit = self.look_up(whole, addr)?;
        self.found[slot] = (addr, Some(hit));
        Some(hit)
    }

    /// As [`Early::put`] over the whole text, however often it is asked.
    pub(super) fn put_always(&mut self, whole: &[u8], addr: u64, offset: bool, out: &mut Vec<u8>) -> bool {
        (self.missed, self.asked) = (0, 0);
        self.put(Some(whole), addr, offset, out)
    }

    /// The symbol that `addr` lies in, if a line of the ordered start of the text lies above. That decides it, whatever
    /// comes behind: so the answer does not depend on how much of the text is here.
    fn look_up(&mut self, whole: Option<&[u8]>, addr: u64) -> Option<halving::Hit> {
        loop {
            let all = whole.or(self.growing.as_deref().map(Growing::text)).unwrap_or_default();
            self.order.extend(all, whole.is_some());
            if self.order.last > addr {
                let hit = halving::look_up(all.get(..self.order.len).unwrap_or_default(), addr);
                if hit.is_some() {
                    return hit;
                }
            }
            if whole.is_some() || self.order.is_over {
                return None;
            }
            if !self.growing.as_mut().is_some_and(|text| text.grow()) {
                self.order.extend(self.growing.as_deref().map(Growing::text).unwrap_or_default(), true);
                let all = self.growing.as_deref().map(Growing::text).unwrap_or_default();
                return halving::look_up(all.get(..self.order.len).unwrap_or_default(), addr)
                    .filter(|_| self.order.last > addr);
            }
        }
    }
}

/// The start of a text whose lines are in order of their addresses and of the kernel itself, not of modules.
#[derive(Default)]
pub(super) struct Order {
    /// Its length, in whole lines.
    pub(super) len: usize,
    /// Its first and last address.
    first: Option<u64>,
    last: u64,
    /// The line behind it is not in order, or there is none.
    is_over: bool,
}

impl Order {
    /// The ordered start of a whole text.
    pub(super) fn of(text: &[u8]) -> Order {
        let mut order = Order::default();
        order.extend(text, true);
        order
    }

    /// Whether an address that stands elsewhere lies among those of the start.
    pub(super) fn spans(&self, addr: u64) -> bool {
        self.first.is_some_and(|first| first <= addr) && addr <= self.last
    }

    /// Goes on where it ended, now that there is more of the text, or, with `whole`, all.
    fn extend(&mut self, text: &[u8], whole: bool) {
        let rest = text.get(self.len..).unwrap_or_default();
        let start = self.len;
        for end in memchr::memchr_iter(b'\n', rest) {
            if self.is_over {
                break;
            }
            let line = &rest[self.len - start..end];
            match halving::address(line) {
                Some(addr) if addr >= self.last && line.last() != Some(&b']') => {
                    self.first.get_or_insert(addr);
                    self.last = addr;
                    self.len = start + end + 1;
                }
                _ => self.is_over = true,
            }
        }
        self.is_over |= whole;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tables::Kallsyms;

    /// Gives some bytes at a time.
    struct Slow(Vec<u8>, usize);

    impl Growing for Slow {
        fn text(&self) -> &[u8] {
            &self.0[..self.1]
        }
        fn grow(&mut self) -> bool {
            let more = self.1 < self.0.len();
            self.1 = (self.1 + 37).min(self.0.len());
            more
        }
        fn finish(self: Box<Self>) -> Vec<u8> {
            self.0
        }
    }

    fn symbols() -> Vec<u8> {
        let mut text = String::from("0000000000000000 A percpu\n");
        for n in 0..3000_u64 {
            text +=
                &format!("{:016x} {} f{n}\n", 0xffff_ffff_8100_0000 + n / 3 * 64, if n % 7 == 0 { 'A' } else { 't' });
        }
        (text + "ffffffffc0000000 t first\t[mod]\nffffffffc0000100 t second\t[mod]\n").into_bytes()
    }

    #[test]
    fn what_is_found_in_a_growing_text_is_what_the_index_finds() {
        let text = symbols();
        let index = Kallsyms::new(text.clone());
        for stride in [1_u64, 61, 640, 6400] {
            let slow = text.clone();
            let early = Kallsyms::deferred(move || Box::new(Slow(slow.clone(), 0)));
            let near = (0..400).map(|n| 0xffff_ffff_8100_0000 + n * stride);
            for addr in near.chain([5, 0xffff_ffff_c000_0004, u64::MAX, 0xffff_ffff_c000_0100]) {
                let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                let symbol = index.lookup(addr);
                if let Some(symbol) = symbol {
                    theirs.extend_from_slice(symbol.name);
                    theirs.extend_from_slice(format!("+0x{:x}", symbol.offset).as_bytes());
                }
                assert_eq!(early.put(addr, true, &mut ours), symbol.is_some(), "{addr:#x}");
                assert_eq!(ours, theirs, "{addr:#x}");
            }
        }
    }

    #[test]
    fn damage_is_answered_alike_whoever_asked_before() {
        let mut text = symbols();
        for (at, byte) in [(4000, b'0'), (20_000, b' '), (31_000, b'\n'), (50_000, b'['), (60_007, b'f')] {
            let line = memchr::memrchr(b'\n', &text[..at]).unwrap() + 9;
            text[line] = byte;
            let (whole, slow) = (Kallsyms::new(text.clone()), text.clone());
            let early = Kallsyms::deferred(move || Box::new(Slow(slow.clone(), 0)));
            let indexed = Kallsyms::new(text.clone());
            let _ = indexed.len();
            for addr in (0..2000).map(|n| 0xffff_ffff_8100_0000 + (n * 7919 % 2000) * 48) {
                let answers = [&whole, &early, &indexed].map(|table| {
                    let mut out = Vec::new();
                    table.put(addr, true, &mut out).then_some(out)
                });
                assert!(answers.iter().all(|answer| *answer == answers[0]), "{addr:#x} {answers:?}");
            }
        }
    }

    #[test]
    fn no_more_text_is_brought_than_an_address_needs() {
        let text = symbols();
        let mut early = Early::new();
        early.begin(&|| Box::new(Slow(text.clone(), 0)));
        let mut out = Vec::new();
        assert!(early.put(None, 0xffff_ffff_8100_0041, false, &mut out));
        assert!(early.growing.as_ref().unwrap().text().len() < 500);
        assert!(early.take().is_some_and(|growing| growing.finish() == text));
        // Whoever asks while another thread brings the rest has to wait for the index.
        early.begin(&|| Box::new(Slow(text.clone(), 0)));
        assert!(!early.put(None, 0xffff_ffff_8100_0041, false, &mut out));
        assert!(early.put(Some(&text), 0xffff_ffff_8100_0041, false, &mut out));
    }
}
