//! One CPU of one buffer: its records one after another, decoded as the merge asks for them.
//!
//! Chunks are fetched ahead; the stream keeps the one it walks, records keep a share of the one they lie in. Damage
//! ends a sub-buffer (or drops a chunk) with a note, and the stream goes on with the next.

use std::collections::VecDeque;
use std::sync::Arc;

use byteorder::{BigEndian, LittleEndian};

use super::pool::{Bytes, Fetch, Pool};
use crate::dat::reader::ChunkCursor;
use crate::dat::{Buffer, CpuData, Dat, Note};
use crate::wire::abi::Endian;
use crate::wire::subbuf::{Found, Layout, Lost, Order, Walk};

/// Where the next record of a stream is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next {
    /// Ticks, uncorrected.
    pub(super) ticks: u64,
    /// Offset of the payload in the chunk.
    pub(super) start: u32,
    /// Bytes of the payload.
    pub(super) len: u32,
    /// What was lost before it.
    pub(super) lost: Lost,
    /// It is the first of its sub-buffer.
    pub(super) first: bool,
}

impl Next {
    /// Nothing comes any more.
    pub(super) const NONE: Next = Next { ticks: 0, start: 0, len: 0, lost: Lost::None, first: false };
}

pub(super) struct Stream<'t> {
    pub(super) cpu: u32,
    dat: &'t Dat,
    layout: Layout,
    cursor: ChunkCursor,
    ahead: VecDeque<Arc<Fetch<'t>>>,
    depth: usize,
    pub(super) chunk: Bytes,
    /// Changes with the chunk, so that batches notice.
    pub(super) chunk_number: u64,
    page: usize,
    page_end: usize,
    walk: Walk,
    lost: Lost,
    first: bool,
    /// Where the next sub-buffer of the chunk begins.
    following: usize,
    pub(super) notes: Vec<Note>,
    pub(super) damaged: u64,
    chunk_at: u64,
}

impl<'t> Stream<'t> {
    pub(super) fn new(dat: &'t Dat, buffer: &Buffer, data: &CpuData, depth: usize) -> Stream<'t> {
        Stream {
            cpu: data.cpu,
            dat,
            layout: buffer.layout,
            cursor: dat.chunks(buffer, data),
            ahead: VecDeque::new(),
            depth,
            chunk: Bytes::default(),
            chunk_number: 0,
            page: 0,
            page_end: 0,
            walk: Walk::DONE,
            lost: Lost::None,
            first: false,
            following: 0,
            notes: Vec::new(),
            damaged: 0,
            chunk_at: data.offset,
        }
    }

    fn note(&mut self, note: Note) {
        self.damaged += 1;
        if self.notes.len() < 20 {
            self.notes.push(note);
        }
    }

    /// The next record, or `None` at the end of this CPU's data.
    #[inline]
    pub(super) fn next<B: Send>(&mut self, pool: &Pool<'t, B>) -> Option<Next> {
        match self.layout.abi.endian {
            Endian::Little => self.step::<LittleEndian, B>(pool),
            Endian::Big => self.step::<BigEndian, B>(pool),
        }
    }

    #[inline]
    fn step<E: Order, B: Send>(&mut self, pool: &Pool<'t, B>) -> Option<Next> {
        loop {
            let page = self.chunk.get(self.page..self.page_end).unwrap_or(&[]);
            match self.walk.next::<E>(page) {
                Some(Ok(found)) => return Some(self.found(found)),
                Some(Err(damage)) => {
                    let offset = self.chunk_at + self.page as u64;
                    self.note(Note::new(offset, format!("{damage}: the rest of it is skipped")));
                }
                None => {
                    if !self.next_page() && !self.next_chunk(pool) {
                        return None;
                    }
                }
            }
        }
    }

    #[inline]
    fn found(&mut self, found: Found) -> Next {
        let lost = std::mem::take(&mut self.lost);
        let first = std::mem::take(&mut self.first);
        Next { ticks: found.ticks, start: self.page as u32 + found.start, len: found.len, lost, first }
    }

    /// Moves on in the chunk; `false` at its end.
    fn next_page(&mut self) -> bool {
        let size = self.layout.subbuf_bytes as usize;
        while self.following < self.chunk.len() {
            self.page = self.following;
            self.page_end = (self.page + size).min(self.chunk.len());
            self.following = self.page_end;
            let page = self.chunk.get(self.page..self.page_end).unwrap_or(&[]);
            match self.layout.head(page) {
                Ok(head) => {
                    if head.cut {
                        let offset = self.chunk_at + self.page_end as u64;
                        self.note(Note::new(offset, "a sub-buffer is cut short: its first records are kept"));
                    }
                    self.walk = self.layout.walk(&head);
                    // A loss that was marked on a page without records belongs to the next record.
                    if head.lost != Lost::None {
                        self.lost = head.lost;
                    }
                    self.first = true;
                    return true;
                }
                Err(damage) => {
                    let offset = self.chunk_at + self.page as u64;
                    self.note(Note::new(offset, format!("{damage}: it is skipped")));
                    if self.lost == Lost::None {
                        self.lost = Lost::Unknown;
                    }
                }
            }
        }
        false
    }

    fn next_chunk<B: Send>(&mut self, pool: &Pool<'t, B>) -> bool {
        loop {
            while self.ahead.len() < self.depth {
                match self.cursor.next(self.dat) {
                    Some(Ok(at)) => {
                        let fetch = Fetch::new(self.dat, at);
                        // The first one is wanted now: it is fetched by whoever asks.
                        if !self.ahead.is_empty() {
                            pool.prefetch(&fetch);
                        }
                        self.ahead.push_back(fetch);
                    }
                    Some(Err(note)) => self.note(note),
                    None => break,
                }
            }
            let Some(fetch) = self.ahead.pop_front() else {
                self.walk = Walk::DONE;
                return false;
            };
            match fetch.take() {
                Ok(chunk) => {
                    self.chunk_at = fetch.offset();
                    self.chunk = chunk;
                    self.chunk_number += 1;
                    self.following = 0;
                    if self.next_page() {
                        return true;
                    }
                }
                Err(note) => {
                    self.note(note);
                    if self.lost == Lost::None {
                        self.lost = Lost::Unknown;
                    }
                }
            }
        }
    }
}
