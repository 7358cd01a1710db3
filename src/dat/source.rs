//! Where the bytes of a trace.dat file come from, and a cursor that takes values from them in order.
//!
//! A file is read at offsets, never mapped: memory stays bounded whatever the size, and a file that shrinks while it is
//! read gives a short read instead of a signal.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::wire::abi::Abi;

/// A file, or bytes in memory.
#[derive(Clone, Debug)]
pub enum Source {
    /// An open regular file and its length.
    File(Arc<File>, u64),
    /// Bytes in memory.
    Bytes(Arc<[u8]>),
}

impl Source {
    /// Number of bytes.
    pub fn len(&self) -> u64 {
        match self {
            Source::File(_, len) => *len,
            Source::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Whether there is nothing at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads at `offset` until `buffer` is full or the end is reached; returns how much was read.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::File(file, _) => {
                let mut done = 0;
                while done < buffer.len() {
                    match file.read_at(&mut buffer[done..], offset + done as u64) {
                        Ok(0) => break,
                        Ok(n) => done += n,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(done)
            }
            Source::Bytes(bytes) => {
                let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or(&[]);
                let n = rest.len().min(buffer.len());
                buffer[..n].copy_from_slice(&rest[..n]);
                Ok(n)
            }
        }
    }

    /// Reads up to `len` bytes at `offset`, capped by what the source has, so that a claimed length costs nothing.
    pub fn bytes(&self, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        let len = len.min(self.len().saturating_sub(offset));
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?];
        let n = self.read_at(offset, &mut bytes)?;
        bytes.truncate(n);
        Ok(bytes)
    }
}

const WINDOW: usize = 64 << 10;

/// Takes values from a [`Source`] in order, through a small window. `None` means: not that many bytes left.
pub(super) struct Cursor<'s> {
    source: &'s Source,
    abi: Abi,
    at: u64,
    window_at: u64,
    window: Vec<u8>,
}

impl<'s> Cursor<'s> {
    pub(super) fn new(source: &'s Source, abi: Abi, at: u64) -> Cursor<'s> {
        Cursor { source, abi, at, window_at: 0, window: Vec::new() }
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn skip(&mut self, n: u64) -> Option<()> {
        let at = self.at.checked_add(n)?;
        if at > self.source.len() {
            return None;
        }
        self.at = at;
        Some(())
    }

    /// A view of up to `n` (at most a window) bytes at the cursor.
    fn view(&mut self, n: usize) -> &[u8] {
        let inside = self.at.checked_sub(self.window_at).map(|start| start as usize);
        let start = match inside {
            Some(start) if start <= self.window.len() && self.window.len() - start >= n => start,
            _ => {
                let len = WINDOW.min(usize::try_from(self.source.len().saturating_sub(self.at)).unwrap_or(WINDOW));
                self.window.resize(len, 0);
                let got = self.source.read_at(self.at, &mut self.window).unwrap_or(0);
                self.window.truncate(got);
                self.window_at = self.at;
                0
            }
        };
        let end = (start + n).min(self.window.len());
        &self.window[start..end]
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes: [u8; N] = self.view(N).try_into().ok()?;
        self.at += N as u64;
        Some(bytes)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|bytes| bytes[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        let bytes = self.array::<2>()?;
        self.abi.u16(&bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        let bytes = self.array::<4>()?;
        self.abi.u32(&bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        let bytes = self.array::<8>()?;
        self.abi.u64(&bytes)
    }

    pub(super) fn tag(&mut self) -> Option<[u8; 10]> {
        self.array::<10>()
    }

    /// A text ended by NUL of at most `max` bytes, the NUL not included.
    pub(super) fn cstr(&mut self, max: usize) -> Option<Vec<u8>> {
        let view = self.view(max + 1);
        let len = view.iter().position(|byte| *byte == 0)?;
        let text = view[..len].to_vec();
        self.at += len as u64 + 1;
        Some(text)
    }

    /// Exactly `n` bytes.
    pub(super) fn bytes(&mut self, n: u64) -> Option<Vec<u8>> {
        let bytes = self.source.bytes(self.at, n).ok()?;
        if bytes.len() as u64 != n {
            return None;
        }
        self.at += n;
        Some(bytes)
    }
}

/// Takes values from a slice in order; the same rules as [`Cursor`].
#[derive(Clone, Copy)]
pub(super) struct Take<'a> {
    pub(super) rest: &'a [u8],
    abi: Abi,
}

impl<'a> Take<'a> {
    pub(super) fn new(rest: &'a [u8], abi: Abi) -> Take<'a> {
        Take { rest, abi }
    }

    pub(super) fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(head)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        let bytes = self.bytes(2)?;
        self.abi.u16(bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        let bytes = self.bytes(4)?;
        self.abi.u32(bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        let bytes = self.bytes(8)?;
        self.abi.u64(bytes)
    }

    pub(super) fn cstr(&mut self) -> Option<&'a [u8]> {
        let len = self.rest.iter().position(|byte| *byte == 0)?;
        let text = self.bytes(len)?;
        self.bytes(1)?;
        Some(text)
    }
}
