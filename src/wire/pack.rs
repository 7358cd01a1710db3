//! Records into sub-buffers: the other way round of [`subbuf`](super::subbuf), in this machine's byte order.
//!
//! For traces of which only some records are kept. Records are put in order of time; each sub-buffer begins with the time
//! of its first record, and a loss is marked at the beginning of one, as the kernel does.

use byteorder::{ByteOrder, NativeEndian};

use super::subbuf::{COMMIT_LOST, COMMIT_LOST_STORED, Layout};

/// Longest record whose length fits into its header, in words.
const SHORT_WORDS: usize = 28;
const TIME_EXTEND: u32 = 30;
/// Bits of the distance to the record before.
const DELTA_BITS: u32 = 27;

/// A sub-buffer being filled.
#[derive(Debug)]
pub struct Packer {
    layout: Layout,
    page: Vec<u8>,
    /// Where the next record goes.
    at: usize,
    /// Time of the last record.
    ticks: u64,
    /// Records lost before the first.
    lost: u64,
}

impl Packer {
    /// An empty one.
    pub fn new(layout: Layout) -> Packer {
        Packer {
            layout,
            page: vec![0; layout.subbuf_bytes as usize],
            at: usize::from(layout.data_offset),
            ticks: 0,
            lost: 0,
        }
    }

    /// Whether it has no record.
    pub fn is_empty(&self) -> bool {
        self.at == usize::from(self.layout.data_offset)
    }

    /// Says that so many records were lost before the next one. It must be empty.
    pub fn lose(&mut self, count: u64) {
        self.lost += count;
    }

    /// Adds a record; false if it does not fit. One that fits into no sub-buffer at all is taken and left out.
    pub fn push(&mut self, ticks: u64, data: &[u8]) -> bool {
        let first = self.is_empty();
        let delta = if first { 0 } else { ticks.saturating_sub(self.ticks) };
        let words = data.len().div_ceil(4).max(1);
        let head = if words <= SHORT_WORDS { 4 } else { 8 };
        let extend = if delta >> DELTA_BITS != 0 { 8 } else { 0 };
        // The count of a loss stands after the records.
        let room = self.page.len() - if self.lost > 0 { 8 } else { 0 };
        let end = self.at + extend + head + words * 4;
        if end > room {
            return first;
        }
        if extend > 0 {
            self.word(header(TIME_EXTEND, (delta & ((1 << DELTA_BITS) - 1)) as u32));
            self.word((delta >> DELTA_BITS) as u32);
        }
        let header_delta = if extend > 0 { 0 } else { delta as u32 };
        if words <= SHORT_WORDS {
            self.word(header(words as u32, header_delta));
        } else {
            self.word(header(0, header_delta));
            self.word(words as u32 * 4 + 4);
        }
        self.page[self.at..self.at + data.len()].copy_from_slice(data);
        self.page[self.at + data.len()..end].fill(0);
        self.at = end;
        if first {
            NativeEndian::write_u64(&mut self.page, ticks);
        }
        self.ticks = self.ticks.max(ticks);
        true
    }

    fn word(&mut self, word: u32) {
        NativeEndian::write_u32(&mut self.page[self.at..], word);
        self.at += 4;
    }

    /// Copies it out, complete, and begins anew.
    pub fn finish(&mut self, into: &mut [u8]) {
        let begin = usize::from(self.layout.data_offset);
        let mut commit = (self.at - begin) as u64;
        self.page[self.at..].fill(0);
        if self.lost > 0 {
            commit |= u64::from(COMMIT_LOST | COMMIT_LOST_STORED);
            let bytes = usize::from(self.layout.abi.long_bytes);
            NativeEndian::write_uint(&mut self.page[self.at..], self.lost.min(u64::from(u32::MAX)), bytes);
        }
        let at = usize::from(self.layout.commit_offset);
        match self.layout.abi.long_bytes {
            8 => NativeEndian::write_u64(&mut self.page[at..], commit),
            _ => NativeEndian::write_u32(&mut self.page[at..], commit as u32),
        }
        into.copy_from_slice(&self.page);
        (self.at, self.ticks, self.lost) = (begin, 0, 0);
    }
}

/// Kind and distance in one word.
fn header(kind: u32, delta: u32) -> u32 {
    if cfg!(target_endian = "big") { kind << DELTA_BITS | delta } else { delta << 5 | kind }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::abi::Abi;
    use crate::wire::subbuf::Lost;

    fn unpacked(layout: &Layout, page: &[u8]) -> (Lost, Vec<(u64, Vec<u8>)>) {
        let head = layout.head(page).unwrap();
        let mut walk = layout.walk(&head);
        let mut all = Vec::new();
        while let Some(found) = walk.next::<NativeEndian>(page) {
            let found = found.unwrap();
            all.push((found.ticks, page[found.start as usize..(found.start + found.len) as usize].to_vec()));
        }
        (head.lost, all)
    }

    #[test]
    fn records_come_back_with_their_times() {
        let layout = Layout::standard(Abi::HOST, 4096);
        let mut packer = Packer::new(layout);
        let records = [
            (1 << 50, vec![1; 4]),
            ((1 << 50) + 5, vec![2; 112]),
            ((1 << 50) + 5, vec![3; 116]),
            ((1 << 50) + (1 << 30) + 7, vec![4; 400]),
        ];
        packer.lose(9);
        assert!(records.iter().all(|(ticks, data)| packer.push(*ticks, data)));
        let mut page = vec![0xff; 4096];
        packer.finish(&mut page);
        assert_eq!(unpacked(&layout, &page), (Lost::Count(9), records.to_vec()));
        assert!(packer.is_empty() && packer.push(3, &[5; 6]));
        packer.finish(&mut page);
        assert_eq!(unpacked(&layout, &page), (Lost::None, vec![(3, vec![5, 5, 5, 5, 5, 5, 0, 0])]));
    }

    #[test]
    fn what_does_not_fit_waits_for_the_next() {
        let mut packer = Packer::new(Layout::standard(Abi::HOST, 4096));
        assert!(packer.push(1, &[0; 3000]));
        assert!(!packer.push(2, &[0; 2000]));
        let mut page = vec![0; 4096];
        packer.finish(&mut page);
        assert!(packer.push(2, &[0; 2000]));
        packer.finish(&mut page);
        assert!(packer.push(3, &[0; 5000]) && packer.is_empty(), "no sub-buffer has room for it");
    }
}
