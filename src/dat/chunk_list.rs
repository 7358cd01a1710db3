//! The chunks of one CPU: stepping through them, and places among them where reading can begin.
//!
//! Plain sub-buffers are cut into windows, whose places are computed. Chunks of a compressed file have no table: each
//! says how long it is, so their places are found by stepping over all of them, eight bytes read for each. Every so many
//! chunks the place is kept, and fewer of them as the list turns out to be long, so the index stays small.

use super::compress::ExpandError;
use super::error::Note;
use super::reader::{ChunkAt, CpuData, Dat};

/// Most bytes that one chunk of sub-buffers may expand to (trace-cmd: ten sub-buffers).
const MAX_CHUNK_BYTES: u32 = 64 << 20;
/// Uncompressed sub-buffers are handed out in windows of about this size.
const WINDOW_BYTES: u64 = 64 << 10;
/// Places kept per CPU.
const MAX_PLACES: usize = 4096;

/// Walks the chunks of one CPU.
#[derive(Clone, Debug)]
pub struct ChunkCursor {
    at: u64,
    end: u64,
    left: u32,
    window: u32,
    compressed: bool,
}

impl ChunkCursor {
    pub(super) fn new(dat: &Dat, data: &CpuData, compressed: bool, subbuf_bytes: u32) -> ChunkCursor {
        let len = data.limit;
        let whole = (WINDOW_BYTES / u64::from(subbuf_bytes)).max(1) * u64::from(subbuf_bytes);
        let mut cursor = ChunkCursor {
            at: data.offset,
            end: data.offset.saturating_add(data.bytes).min(len),
            left: 0,
            window: whole as u32,
            compressed,
        };
        if compressed {
            // Recorded sizes can be 4 too small (trace-cmd 3.0 to 3.1.6): count, do not measure.
            cursor.end = len;
            let head = dat.source().bytes(data.offset, 4).unwrap_or_default();
            cursor.left = dat.abi.u32(&head).unwrap_or(0);
            cursor.at = data.offset.saturating_add(4);
        }
        cursor
    }

    /// Where the next chunk is.
    pub fn next(&mut self, dat: &Dat) -> Option<Result<ChunkAt, Note>> {
        if !self.compressed {
            let bytes = self.end.saturating_sub(self.at).min(self.window.into()) as u32;
            if bytes == 0 {
                return None;
            }
            let at = ChunkAt { offset: self.at, packed: 0, bytes };
            self.at += u64::from(bytes);
            return Some(Ok(at));
        }
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let mut head = [0; 8];
        let got = dat.source().read_at(self.at, &mut head).unwrap_or(0);
        let (packed, bytes) = (dat.abi.u32(&head[..4])?, dat.abi.u32(&head[4..])?);
        let here = self.at;
        let offset = here.saturating_add(8);
        if got < 8 || u64::from(packed) > self.end.saturating_sub(offset) {
            let left = std::mem::take(&mut self.left) + 1;
            return Some(Err(Note::new(here, format!("the file ends here: {left} chunks of sub-buffers are missing"))));
        }
        self.at = offset + u64::from(packed);
        if bytes > MAX_CHUNK_BYTES {
            let error = ExpandError::TooLarge(bytes.into());
            return Some(Err(Note::new(here, format!("{error}: this chunk of sub-buffers is skipped"))));
        }
        if packed == 0 {
            return Some(Err(Note::new(here, "an empty chunk of sub-buffers")));
        }
        Some(Ok(ChunkAt { offset, packed, bytes }))
    }

    /// Where the walk is in the file.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// The same walk, `windows` windows further on. Only for plain sub-buffers.
    fn moved(&self, windows: u64) -> ChunkCursor {
        let at = self.at.saturating_add(windows.saturating_mul(self.window.into())).min(self.end);
        ChunkCursor { at, ..self.clone() }
    }
}

/// Places among the chunks of one CPU where reading can begin, in the order of the file.
#[derive(Clone, Debug)]
pub struct ChunkIndex {
    places: Places,
    len: usize,
}

#[derive(Clone, Debug)]
enum Places {
    /// Every window; the walk stands at the first.
    Computed(ChunkCursor),
    /// As many chunks lie between two of them.
    Kept(Vec<ChunkCursor>),
}

impl ChunkIndex {
    pub(super) fn new(dat: &Dat, mut cursor: ChunkCursor) -> ChunkIndex {
        if !cursor.compressed {
            let windows = cursor.end.saturating_sub(cursor.at).div_ceil(u64::from(cursor.window));
            return ChunkIndex { len: usize::try_from(windows).unwrap_or(0), places: Places::Computed(cursor) };
        }
        let (mut kept, mut number, mut step) = (Vec::new(), 0_usize, 1_usize);
        loop {
            let here = cursor.clone();
            match cursor.next(dat) {
                None => break,
                // What is wrong here is reported when the walk comes by.
                Some(Err(_)) => continue,
                Some(Ok(_)) => {}
            }
            if number.is_multiple_of(step) {
                kept.push(here);
            }
            number += 1;
            if kept.len() > MAX_PLACES {
                let mut index = 0;
                kept.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                step *= 2;
            }
        }
        ChunkIndex { len: kept.len(), places: Places::Kept(kept) }
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there is no chunk.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A walk that begins at this place.
    pub fn cursor(&self, place: usize) -> Option<ChunkCursor> {
        match &self.places {
            Places::Computed(first) if place < self.len => Some(first.moved(place as u64)),
            Places::Computed(_) => None,
            Places::Kept(kept) => kept.get(place).cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(dat: &Dat, mut cursor: ChunkCursor) -> Vec<u64> {
        std::iter::from_fn(|| cursor.next(dat)).map(|at| at.unwrap().offset).collect()
    }

    #[test]
    fn a_walk_from_any_place_gives_the_rest_of_the_chunks() {
        for name in ["v7-zstd-events", "v6-instances", "v7-none-multibuf-tsc"] {
            let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
            let dat = Dat::open(format!("{root}/{name}/trace.dat").as_ref()).unwrap();
            for buffer in &dat.buffers {
                for data in &buffer.cpus {
                    let all = offsets(&dat, dat.chunks(buffer, data));
                    let index = dat.chunk_index(dat.chunks(buffer, data));
                    assert_eq!(index.len(), all.len(), "{name}");
                    for place in 0..index.len() {
                        assert_eq!(offsets(&dat, index.cursor(place).unwrap()), all[place..], "{name}");
                    }
                    assert!(index.cursor(index.len()).is_none());
                }
            }
        }
    }
}
