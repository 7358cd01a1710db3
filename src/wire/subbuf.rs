//! Sub-buffers: the unit in which the kernel hands over trace data.
//!
//! Owns: the sub-buffer header, the walk over its records, the timestamp that grows along the way, and the mark that
//! says events were lost before it.
//! Does not own: what a record means (see `format`), or where sub-buffers come from (see `dat`, `tracefs`).
//! Units: offsets in bytes from the sub-buffer's start; timestamps in ticks of the trace clock.
//! Source: `events/header_page`, `events/header_event` and the pages of 6.12 and 6.18 kernels.
//!
//! ```text
//! 0            8              data_offset                       data_offset + commit
//! +------------+--------------+--------+--------+--- ... -------+-----------+---------
//! | page time  | commit word  | record | record |       record  | lost count| stale
//! +------------+--------------+--------+--------+--- ... -------+-----------+---------
//! ```
//!
//! The walk yields positions, not slices, so that whoever holds the bytes may move on with a plain cursor per CPU.

use std::fmt;

use byteorder::{BigEndian, ByteOrder, LittleEndian};

use super::abi::{Abi, Endian};

/// Bits of the commit word's low half that count the valid bytes.
pub const COMMIT_BYTES: u32 = 0x07ff_ffff;
/// The number of lost events is stored right after the valid bytes.
pub const COMMIT_LOST_STORED: u32 = 1 << 30;
/// Events were lost between the previous sub-buffer and this one.
pub const COMMIT_LOST: u32 = 1 << 31;

const TYPE_LEN_MAX: u32 = 28;
const TYPE_PADDING: u32 = 29;
const TYPE_TIME_EXTEND: u32 = 30;
const TYPE_TIME_STAMP: u32 = 31;

/// Bits of the time that an absolute stamp carries; the five above come from the time before it.
const STAMP_BITS: u32 = 59;
const STAMP_HIGH: u64 = !0 << STAMP_BITS;

/// Largest sub-buffer believed: the kernel stops at 512 KiB with 4 KiB pages, 8 MiB with 64 KiB pages.
pub const MAX_SUBBUF_BYTES: u32 = 64 << 20;

/// Where things are in a sub-buffer, as `events/header_page` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Byte order, and the kernel's long size: that of the commit word.
    pub abi: Abi,
    /// Offset of the commit word.
    pub commit_offset: u16,
    /// Offset of the first record.
    pub data_offset: u16,
    /// Size of a sub-buffer, its header included.
    pub subbuf_bytes: u32,
}

/// Why the text of `header_page` could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutError {
    /// A field is missing or has no offset and size.
    Field(&'static str),
    /// The commit word is neither 4 nor 8 bytes wide.
    CommitSize(u32),
    /// The offsets contradict each other.
    Offsets,
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LayoutError::Field(name) => write!(f, "header_page has no usable field {name}"),
            LayoutError::CommitSize(n) => write!(f, "header_page gives the commit word {n} bytes"),
            LayoutError::Offsets => f.write_str("the offsets of header_page contradict each other"),
        }
    }
}

impl std::error::Error for LayoutError {}

impl Layout {
    /// What kernels of this byte order and long size use when nothing better is known.
    pub fn standard(abi: Abi, subbuf_bytes: u32) -> Layout {
        Layout { abi, commit_offset: 8, data_offset: 8 + u16::from(abi.long_bytes), subbuf_bytes }
    }

    /// Reads the text of `events/header_page`. The long size comes from `commit`, never from elsewhere.
    pub fn parse(text: &[u8], endian: Endian) -> Result<Layout, LayoutError> {
        let (commit_offset, commit_bytes) = field(text, "commit").ok_or(LayoutError::Field("commit"))?;
        let (data_offset, data_bytes) = field(text, "data").ok_or(LayoutError::Field("data"))?;
        let long_bytes = match commit_bytes {
            4 => 4,
            8 => 8,
            n => return Err(LayoutError::CommitSize(n)),
        };
        let subbuf_bytes = data_offset.checked_add(data_bytes).ok_or(LayoutError::Offsets)?;
        let commit_end = commit_offset.checked_add(commit_bytes).ok_or(LayoutError::Offsets)?;
        if commit_end > data_offset || commit_offset < 8 || data_offset > 256 || subbuf_bytes > MAX_SUBBUF_BYTES {
            return Err(LayoutError::Offsets);
        }
        Ok(Layout {
            abi: Abi { endian, long_bytes },
            commit_offset: commit_offset as u16,
            data_offset: data_offset as u16,
            subbuf_bytes,
        })
    }

    /// The same layout for a buffer whose sub-buffers have another size.
    pub fn with_size(self, subbuf_bytes: u32) -> Layout {
        Layout { subbuf_bytes, ..self }
    }

    /// Reads the header of a sub-buffer. `page` may be shorter than a sub-buffer (a file cut in the middle): then as
    /// much as is there counts, and [`SubbufHead::cut`] says so.
    #[inline]
    pub fn head(&self, page: &[u8]) -> Result<SubbufHead, Damage> {
        let ticks = self.abi.u64(page).ok_or(Damage { at: 0, kind: DamageKind::NoHeader })?;
        let commit = page
            .get(usize::from(self.commit_offset)..)
            .and_then(|bytes| self.abi.ulong(bytes))
            .ok_or(Damage { at: u32::from(self.commit_offset), kind: DamageKind::NoHeader })?;
        let commit = commit as u32;
        let valid = commit & COMMIT_BYTES;
        let end = u32::from(self.data_offset) + valid;
        if end > self.subbuf_bytes {
            return Err(Damage { at: u32::from(self.commit_offset), kind: DamageKind::Commit(valid) });
        }
        let lost = if commit & COMMIT_LOST == 0 {
            Lost::None
        } else if commit & COMMIT_LOST_STORED == 0 {
            Lost::Unknown
        } else {
            let count = page.get(end as usize..).and_then(|bytes| self.abi.ulong(bytes));
            count.map_or(Lost::Unknown, Lost::Count)
        };
        let there = page.len().min(self.subbuf_bytes as usize) as u32;
        Ok(SubbufHead { ticks, end: end.min(there), cut: end > there, lost })
    }

    /// Starts the walk over the records of a sub-buffer with this header.
    #[inline]
    pub fn walk(&self, head: &SubbufHead) -> SubbufWalk {
        SubbufWalk { at: u32::from(self.data_offset), end: head.end, ticks: head.ticks }
    }
}

/// Offset and size of one field of `header_page`: `... NAME;\toffset:N;\tsize:N;`.
fn field(text: &[u8], name: &str) -> Option<(u32, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    text.lines().find_map(|line| {
        let mut parts = line.split(';').map(str::trim);
        let declared = parts.next()?.strip_prefix("field:")?;
        if declared.split_ascii_whitespace().last()? != name {
            return None;
        }
        let (mut offset, mut size) = (None, None);
        for part in parts {
            if let Some(value) = part.strip_prefix("offset:") {
                offset = value.trim().parse().ok();
            } else if let Some(value) = part.strip_prefix("size:") {
                size = value.trim().parse().ok();
            }
        }
        Some((offset?, size?))
    })
}

/// Events lost between the previous sub-buffer of a CPU and this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lost {
    /// None, as far as the kernel says.
    #[default]
    None,
    /// Some; the sub-buffer had no room for the number.
    Unknown,
    /// This many.
    Count(u64),
}

/// The header of a sub-buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubbufHead {
    /// Time to which the deltas of the records add up.
    pub ticks: u64,
    /// End of the valid bytes.
    pub end: u32,
    /// The bytes handed in end before the valid bytes do.
    pub cut: bool,
    /// What was lost before the first record.
    pub lost: Lost,
}

/// What is wrong with a sub-buffer; the walk ends there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Offset in the sub-buffer.
    pub at: u32,
    /// What is wrong.
    pub kind: DamageKind,
}

/// Kinds of [`Damage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DamageKind {
    /// Fewer bytes than a header.
    NoHeader,
    /// More valid bytes claimed than fit.
    Commit(u32),
    /// A record runs beyond the valid bytes.
    Beyond,
    /// A length word that cannot be.
    Length(u32),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            DamageKind::NoHeader => f.write_str("a sub-buffer shorter than its header"),
            DamageKind::Commit(n) => write!(f, "a sub-buffer that claims {n} valid bytes"),
            DamageKind::Beyond => write!(f, "a record at {:#x} of its sub-buffer runs beyond the valid bytes", self.at),
            DamageKind::Length(n) => write!(f, "a record at {:#x} of its sub-buffer claims {n} bytes", self.at),
        }
    }
}

/// A byte order together with the order of bit fields that goes with it.
pub trait Order: ByteOrder {
    /// `type_len` and `delta` of an event header.
    fn split(header: u32) -> (u32, u32);
}

impl Order for LittleEndian {
    #[inline]
    fn split(header: u32) -> (u32, u32) {
        (header & 31, header >> 5)
    }
}

impl Order for BigEndian {
    #[inline]
    fn split(header: u32) -> (u32, u32) {
        (header >> 27, header & 0x07ff_ffff)
    }
}

/// Position of one record's payload in its sub-buffer, and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundRecord {
    /// Time in ticks.
    pub ticks: u64,
    /// Offset of the payload.
    pub start: u32,
    /// Bytes of the payload, padding included.
    pub len: u32,
}

/// A walk over the records of one sub-buffer; it does not hold the bytes.
#[derive(Clone, Copy, Debug)]
pub struct SubbufWalk {
    at: u32,
    end: u32,
    ticks: u64,
}

impl SubbufWalk {
    /// A walk that has nothing left.
    pub const DONE: SubbufWalk = SubbufWalk { at: 0, end: 0, ticks: 0 };

    /// Offset of what comes next.
    pub fn offset(&self) -> u32 {
        self.at
    }

    /// The next data record, `None` at the end. After damage the walk is over.
    ///
    /// Nearly all records are short, with their length in the head: that path is part of its callers' loops.
    #[inline(always)]
    pub fn next<E: Order>(&mut self, page: &[u8]) -> Option<Result<FoundRecord, Damage>> {
        let at = self.at;
        if let Some(bytes) = page.get(at as usize..self.end as usize).filter(|bytes| bytes.len() >= 4) {
            let (type_len, delta) = E::split(E::read_u32(bytes));
            let len = type_len * 4;
            if type_len <= TYPE_LEN_MAX && type_len != 0 && len as usize + 4 <= bytes.len() {
                self.ticks = self.ticks.wrapping_add(u64::from(delta));
                self.at = at + 4 + len;
                return Some(Ok(FoundRecord { ticks: self.ticks, start: at + 4, len }));
            }
        }
        self.next_of_any_kind::<E>(page)
    }

    /// The next data record, whatever comes before it.
    fn next_of_any_kind<E: Order>(&mut self, page: &[u8]) -> Option<Result<FoundRecord, Damage>> {
        loop {
            let at = self.at;
            let left = self.end.saturating_sub(at);
            if left < 4 {
                return None;
            }
            let Some(bytes) = page.get(at as usize..self.end as usize) else {
                return self.damaged(DamageKind::Beyond);
            };
            let (type_len, delta) = E::split(E::read_u32(bytes));
            if type_len <= TYPE_LEN_MAX && type_len != 0 {
                let len = type_len * 4;
                if len + 4 > left {
                    return self.damaged(DamageKind::Beyond);
                }
                self.ticks = self.ticks.wrapping_add(u64::from(delta));
                self.at = at + 4 + len;
                return Some(Ok(FoundRecord { ticks: self.ticks, start: at + 4, len }));
            }
            if type_len == TYPE_PADDING && delta == 0 {
                self.at = self.end;
                return None;
            }
            let Some(second) = bytes.get(4..8).map(E::read_u32) else {
                return self.damaged(DamageKind::Beyond);
            };
            match type_len {
                0 => {
                    // The length counts its own word; the next record starts at a multiple of four.
                    if second < 4 {
                        return self.damaged(DamageKind::Length(second));
                    }
                    let whole = second.checked_next_multiple_of(4).and_then(|n| n.checked_add(4));
                    let Some(whole) = whole.filter(|n| *n <= left) else {
                        return self.damaged(DamageKind::Beyond);
                    };
                    self.ticks = self.ticks.wrapping_add(u64::from(delta));
                    self.at = at + whole;
                    return Some(Ok(FoundRecord { ticks: self.ticks, start: at + 8, len: second - 4 }));
                }
                TYPE_PADDING => {
                    // An event discarded by a filter when others stood after it already: those count from its time.
                    if second < 4 {
                        return self.damaged(DamageKind::Length(second));
                    }
                    let whole = second.checked_add(4).filter(|n| *n <= left);
                    let Some(whole) = whole else {
                        return self.damaged(DamageKind::Beyond);
                    };
                    self.ticks = self.ticks.wrapping_add(u64::from(delta));
                    self.at = at + whole;
                }
                TYPE_TIME_EXTEND => {
                    self.ticks = self.ticks.wrapping_add((u64::from(second) << 27) + u64::from(delta));
                    self.at = at + 8;
                }
                TYPE_TIME_STAMP => {
                    self.ticks = absolute((u64::from(second) << 27) + u64::from(delta), self.ticks);
                    self.at = at + 8;
                }
                _ => return self.damaged(DamageKind::Length(type_len)),
            }
        }
    }

    #[cold]
    fn damaged(&mut self, kind: DamageKind) -> Option<Result<FoundRecord, Damage>> {
        let at = self.at;
        self.at = self.end;
        Some(Err(Damage { at, kind }))
    }
}

/// Restores the five high bits that an absolute stamp does not carry from the time before it.
fn absolute(stamp: u64, before: u64) -> u64 {
    let high = before & STAMP_HIGH;
    let full = (stamp & !STAMP_HIGH) | high;
    if high != 0 && full < before { full.wrapping_add(1 << STAMP_BITS) } else { full }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LE64: Abi = Abi { endian: Endian::Little, long_bytes: 8 };

    fn page(layout: &Layout, head: &[u8], rest: &[u8]) -> Vec<u8> {
        let mut bytes = head.to_vec();
        bytes.extend_from_slice(rest);
        bytes.resize(layout.subbuf_bytes as usize, 0);
        bytes
    }

    fn all<E: Order>(layout: &Layout, page: &[u8]) -> (Vec<FoundRecord>, Option<Damage>) {
        let head = layout.head(page).expect("a good header");
        let mut walk = layout.walk(&head);
        let (mut found, mut damage) = (Vec::new(), None);
        while let Some(next) = walk.next::<E>(page) {
            match next {
                Ok(one) => found.push(one),
                Err(what) => damage = Some(what),
            }
        }
        (found, damage)
    }

    #[test]
    fn header_page_of_a_64_bit_kernel_gives_the_layout() {
        let text = b"\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n\
            \tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n\
            \tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n\
            \tfield: char data;\toffset:16;\tsize:4080;\tsigned:0;\n";
        assert_eq!(Layout::parse(text, Endian::Little), Ok(Layout::standard(LE64, 4096)));
        assert_eq!(Layout::parse(b"", Endian::Little), Err(LayoutError::Field("commit")));
    }

    /// A page of 6.18: three prints through trace_marker, 0.3 s apart, the last one long (what followed is cut off).
    #[test]
    fn worked_page_of_6_18_gives_its_three_times() {
        let bytes: &[u8] = &[
            0x4f, 0x58, 0xcc, 0x1d, 0xfb, 0x01, 0, 0, 0xdc, 0, 0, 0, 0, 0, 0, 0, //
            0x06, 0, 0, 0, 0x05, 0, 0, 1, 0x8c, 0x43, 0, 0, 0x1a, 0xab, 0x49, 0x81, //
            0xff, 0xff, 0xff, 0xff, 0x66, 0x69, 0x72, 0x73, 0x74, 0x0a, 0, 0, 0x3e, 0xd6, 0x83, 0x3c, //
            2, 0, 0, 0, 8, 0, 0, 0, 5, 0, 0, 1, 0x8c, 0x43, 0, 0, //
            0x1a, 0xab, 0x49, 0x81, 0xff, 0xff, 0xff, 0xff, 0x61, 0x66, 0x74, 0x65, 0x72, 0x20, 0x61, 0x20, //
            0x67, 0x61, 0x70, 0x0a, 0, 0, 0, 0, 0x40, 0x06, 0x02, 0, 0x90, 0, 0, 0, //
            5, 0, 0, 1, 0x8c, 0x43, 0, 0, 0x1a, 0xab, 0x49, 0x81, 0xff, 0xff, 0xff, 0xff,
        ];
        let layout = Layout::standard(LE64, 4096);
        let (found, damage) = all::<LittleEndian>(&layout, &page(&layout, bytes, &[]));
        assert_eq!(damage, None);
        let times: Vec<u64> = found.iter().map(|one| one.ticks).collect();
        assert_eq!(times, [2_178_048_350_287, 2_178_348_513_024, 2_178_348_517_170]);
        assert_eq!(found[0], FoundRecord { ticks: 2_178_048_350_287, start: 20, len: 24 });
        assert_eq!(found[2].len, 140);
    }

    #[test]
    fn an_absolute_stamp_of_6_18_is_read_and_keeps_the_high_bits() {
        let header = u32::from_le_bytes([0xff, 0xd2, 0x10, 0x8f]);
        let (kind, delta) = LittleEndian::split(header);
        assert_eq!(kind, TYPE_TIME_STAMP);
        let stamp = (0x401e_u64 << 27) + u64::from(delta);
        assert_eq!(absolute(stamp, 5), 2_203_124_795_031);
        let before = (1 << STAMP_BITS) + 10;
        assert_eq!(absolute(11, before), before + 1);
        assert_eq!(absolute(9, before), (2 << STAMP_BITS) + 9);
    }

    #[test]
    fn lost_marks_are_told_with_and_without_a_count() {
        let layout = Layout::standard(LE64, 4096);
        let mut bytes = vec![0; 4096];
        bytes[8..16].copy_from_slice(&0xffff_ffff_8000_0ff0_u64.to_le_bytes());
        assert_eq!(layout.head(&bytes).unwrap().lost, Lost::Unknown);
        bytes[8..16].copy_from_slice(&0xffff_ffff_c000_0e70_u64.to_le_bytes());
        bytes[0xe80..0xe88].copy_from_slice(&1883_u64.to_le_bytes());
        assert_eq!(layout.head(&bytes).unwrap().lost, Lost::Count(1883));
        bytes[8..16].copy_from_slice(&0xfe4_u64.to_le_bytes());
        assert_eq!(layout.head(&bytes).unwrap().lost, Lost::None);
    }

    #[test]
    fn others_count_from_a_discarded_event_and_padding_ends_the_page() {
        let layout = Layout::standard(LE64, 4096);
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&100_u64.to_le_bytes());
        bytes.extend_from_slice(&40_u64.to_le_bytes());
        bytes.extend_from_slice(&((7_u32 << 5) | 29).to_le_bytes()); // discarded, delta 7
        bytes.extend_from_slice(&8_u32.to_le_bytes());
        bytes.extend_from_slice(&[0xaa; 4]);
        bytes.extend_from_slice(&((3_u32 << 5) | 1).to_le_bytes()); // four bytes, delta 3
        bytes.extend_from_slice(&[1, 2, 3, 4]);
        bytes.extend_from_slice(&29_u32.to_le_bytes()); // nothing more
        bytes.extend_from_slice(&[0xff; 12]);
        let (found, damage) = all::<LittleEndian>(&layout, &page(&layout, &bytes, &[]));
        assert_eq!(found, [FoundRecord { ticks: 110, start: 32, len: 4 }]);
        assert_eq!(damage, None);
    }

    #[test]
    fn big_endian_32_bit_records_are_walked() {
        let layout = Layout::standard(Abi { endian: Endian::Big, long_bytes: 4 }, 4096);
        assert_eq!(layout.data_offset, 12);
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&1000_u64.to_be_bytes());
        bytes.extend_from_slice(&28_u32.to_be_bytes());
        bytes.extend_from_slice(&((2_u32 << 27) | 5).to_be_bytes());
        bytes.extend_from_slice(&[9; 8]);
        bytes.extend_from_slice(&((30_u32 << 27) | 1).to_be_bytes());
        bytes.extend_from_slice(&1_u32.to_be_bytes());
        bytes.extend_from_slice(&((1_u32 << 27) | 2).to_be_bytes());
        bytes.extend_from_slice(&[8; 4]);
        let (found, damage) = all::<BigEndian>(&layout, &page(&layout, &bytes, &[]));
        assert_eq!(damage, None);
        assert_eq!(found[0], FoundRecord { ticks: 1005, start: 16, len: 8 });
        assert_eq!(found[1], FoundRecord { ticks: 1005 + (1 << 27) + 3, start: 36, len: 4 });
    }

    #[test]
    fn a_record_beyond_the_valid_bytes_ends_the_page_once() {
        let layout = Layout::standard(LE64, 4096);
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&0_u64.to_le_bytes());
        bytes.extend_from_slice(&12_u64.to_le_bytes());
        bytes.extend_from_slice(&1_u32.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&28_u32.to_le_bytes());
        let (found, damage) = all::<LittleEndian>(&layout, &page(&layout, &bytes, &[]));
        assert_eq!(found.len(), 1);
        assert_eq!(damage, Some(Damage { at: 24, kind: DamageKind::Beyond }));
    }

    #[test]
    fn a_page_cut_short_is_walked_as_far_as_it_goes() {
        let layout = Layout::standard(LE64, 4096);
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&0_u64.to_le_bytes());
        bytes.extend_from_slice(&64_u64.to_le_bytes());
        bytes.extend_from_slice(&1_u32.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        let head = layout.head(&bytes).unwrap();
        assert!(head.cut);
        let mut walk = layout.walk(&head);
        assert!(matches!(walk.next::<LittleEndian>(&bytes), Some(Ok(_))));
        assert_eq!(walk.next::<LittleEndian>(&bytes), None);
        assert_eq!(layout.head(&bytes[..12]).map_err(|damage| damage.kind), Err(DamageKind::NoHeader));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_walked_without_panic_and_with_an_end(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600), big: bool, commit in 0_u32..700) {
            let endian = if big { Endian::Big } else { Endian::Little };
            let layout = Layout::standard(Abi { endian, long_bytes: 8 }, 512);
            if let Some(word) = bytes.get_mut(8..16) {
                word.copy_from_slice(&if big { u64::from(commit).to_be_bytes() } else { u64::from(commit).to_le_bytes() });
            }
            if let Ok(head) = layout.head(&bytes) {
                let mut walk = layout.walk(&head);
                let mut steps = 0;
                while let Some(next) = if big { walk.next::<BigEndian>(&bytes) } else { walk.next::<LittleEndian>(&bytes) } {
                    if let Ok(found) = next {
                        proptest::prop_assert!((found.start + found.len) as usize <= bytes.len());
                    }
                    steps += 1;
                    proptest::prop_assert!(steps < 600);
                }
            }
        }
    }
}
