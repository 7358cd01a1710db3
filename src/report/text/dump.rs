//! Where records lie in their sub-buffers, and what lies between them (`report --debug`).
//!
//! A record's line ends with the time since the entry before it, the offset of its head in the sub-buffer and its length;
//! lines follow for padding, time extends and time stamps up to the next record. Works on the bytes alone.

use crate::wire::abi::{Abi, Endian};
use crate::wire::subbuf::Layout;
use crate::wire::text;

const PADDING: u32 = 29;
const TIME_EXTEND: u32 = 30;
const TIME_STAMP: u32 = 31;

/// The longest payload whose length stands in the head itself.
const SHORT: u32 = 112;

/// The sub-buffer that byte `start` of a chunk lies in, and where it begins.
pub(super) fn page<'c>(layout: &Layout, chunk: &'c [u8], start: u32) -> (&'c [u8], u32) {
    let size = layout.subbuf_bytes.max(1);
    let base = start / size * size;
    let end = chunk.len().min((base + size) as usize);
    (chunk.get(base as usize..end).unwrap_or(&[]), base)
}

/// Appends ` [TIME:0xOFFSET]` of a sub-buffer: its time, and where it lies.
pub(super) fn begin(layout: &Layout, page: &[u8], offset: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b" [");
    text::dec(out, layout.abi.u64(page).unwrap_or(0));
    out.push(b':');
    text::hex0x(out, offset);
    out.push(b']');
}

/// An entry of a sub-buffer, whatever it is.
struct DumpedRecord {
    kind: u32,
    delta: u32,
    /// The word after the head.
    word: u32,
    /// Bytes, its head included.
    bytes: u32,
}

impl DumpedRecord {
    fn read(abi: Abi, page: &[u8], at: u32) -> Option<DumpedRecord> {
        let word = |at: u32| page.get(at as usize..).and_then(|bytes| abi.u32(bytes));
        let head = word(at)?;
        let (kind, delta) = match abi.endian {
            Endian::Little => (head & 31, head >> 5),
            Endian::Big => (head >> 27, head & ((1 << 27) - 1)),
        };
        let next = word(at + 4).unwrap_or(0);
        let bytes = match kind {
            // Padding up to the end has neither time nor length.
            PADDING if delta == 0 => page.len() as u32 - at,
            0 | PADDING => next.checked_add(4)?,
            TIME_EXTEND | TIME_STAMP => 8,
            short => 4 + 4 * short,
        };
        Some(DumpedRecord { kind, delta, word: next, bytes: bytes.max(4) })
    }
}

/// Appends ` [DELTA:0xOFFSET:LENGTH]` of the record whose payload begins at `start`, and what follows it.
pub(super) fn record(layout: &Layout, page: &[u8], start: u32, len: u32, out: &mut Vec<u8>) {
    let at = start.saturating_sub(if len > SHORT { 8 } else { 4 });
    let Some(entry) = DumpedRecord::read(layout.abi, page, at) else { return };
    out.extend_from_slice(b" [");
    text::dec(out, entry.delta.into());
    out.push(b':');
    text::hex0x(out, at.into());
    out.push(b':');
    text::dec(out, len.into());
    out.push(b']');
    let end = layout.head(page).map_or(0, |head| head.end.min(page.len() as u32));
    between(layout.abi, page, start.saturating_add(len), end, out);
}

/// Appends a line for each entry from `at` on that is no record.
fn between(abi: Abi, page: &[u8], mut at: u32, end: u32, out: &mut Vec<u8>) {
    while at < end
        && let Some(entry) = DumpedRecord::read(abi, page, at)
    {
        let (name, value) = match entry.kind {
            PADDING => (&b"\n PADDING: delta:"[..], entry.delta.into()),
            TIME_EXTEND => (&b"\n TIME EXTEND: delta:"[..], u64::from(entry.word) << 27 | u64::from(entry.delta)),
            TIME_STAMP => (&b"\n TIME STAMP: timestamp:"[..], u64::from(entry.word) << 27 | u64::from(entry.delta)),
            _ => return,
        };
        out.extend_from_slice(name);
        text::dec(out, value);
        out.extend_from_slice(b" length:");
        let length = if entry.kind == PADDING && entry.delta > 0 { entry.word } else { 0 };
        text::dec(out, length.into());
        at = at.saturating_add(entry.bytes);
    }
}
