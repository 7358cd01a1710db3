//! A memory-mapped raw buffer (kernel 6.10 on).
//!
//! Owns: the mapping, the meta page, GET_READER, and which bytes of the reader sub-buffer are new.
//! Does not own: what becomes of the bytes, nor waiting for them.
//!
//! ```text
//! file offset  0              meta_page_size                                  + nr_subbufs × subbuf_size
//!              | meta page ...| sub-buffer 0 | sub-buffer 1 | … | sub-buffer n-1 |
//! ```
//! Only the reader sub-buffer (`reader.id`) is stable, and only up to `reader.read` bytes of its data; everything
//! else may change at any moment and is never looked at.
//! Source: include/uapi/linux/trace_mmap.h and Documentation/trace/ring-buffer-map.rst (6.12), tried on 6.12 and 6.18.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use memmap2::{MmapOptions, MmapRaw};

// Offsets in the meta page, in bytes; all fields in the host's byte order.
const META_PAGE_SIZE: usize = 0; // u32
const META_STRUCT_LEN: usize = META_PAGE_SIZE + 4; // u32
const SUBBUF_SIZE: usize = META_STRUCT_LEN + 4; // u32
const NR_SUBBUFS: usize = SUBBUF_SIZE + 4; // u32
const READER_LOST: usize = NR_SUBBUFS + 4; // u64
const READER_ID: usize = READER_LOST + 8; // u32
const READER_READ: usize = READER_ID + 4; // u32
const FLAGS: usize = READER_READ + 4; // u64
const ENTRIES: usize = FLAGS + 8; // u64
const OVERRUN: usize = ENTRIES + 8; // u64
const READ: usize = OVERRUN + 8; // u64
const META_LEAST: u32 = READ as u32 + 8;

/// `TRACE_MMAP_IOCTL_GET_READER`: no data, type 'R', number 0x20.
const GET_READER: nix::libc::c_ulong =
    if cfg!(any(target_arch = "mips", target_arch = "mips64", target_arch = "powerpc64", target_arch = "sparc64")) {
        0x2000_5220
    } else {
        0x5220
    };

/// A mapped raw buffer with one consumer.
#[derive(Debug)]
pub struct MappedBuffer {
    map: MmapRaw,
    fd: RawFd,
    meta_bytes: usize,
    subbuf_bytes: usize,
    subbufs: u32,
    /// The piece of the reader sub-buffer handed out so far.
    seen: (u32, u32),
}

/// What one GET_READER brought: the sub-buffer and which of its data bytes are new.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The whole sub-buffer, header first. Data bytes beyond `to` are stale.
    pub subbuf: &'a [u8],
    /// Where the new data bytes begin, counted from the end of the header; 0 for a sub-buffer not seen before.
    pub from: usize,
    /// Where they end.
    pub to: usize,
    /// Records overwritten before anybody read them, so far.
    pub overrun: u64,
}

impl MappedBuffer {
    /// Maps the whole area of an open `trace_pipe_raw`. The file must stay open as long as the mapping.
    pub(super) fn new(file: &File) -> io::Result<Self> {
        let page = page_size();
        let meta = MmapOptions::new().len(page).map_raw_read_only(file)?;
        let word = |offset| word_at(&meta, offset);
        let (meta_bytes, subbuf_bytes, subbufs) =
            (word(META_PAGE_SIZE) as usize, word(SUBBUF_SIZE) as usize, word(NR_SUBBUFS));
        let plausible =
            word(META_STRUCT_LEN) >= META_LEAST && meta_bytes >= page && subbuf_bytes >= 1024 && subbufs >= 2;
        if !plausible {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the meta page is not of a kind this rtrec knows"));
        }
        let seen = (word(READER_ID), word(READER_READ));
        drop(meta);
        let length = (subbufs as usize)
            .checked_mul(subbuf_bytes)
            .and_then(|bytes| bytes.checked_add(meta_bytes))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the meta page's sizes overflow"))?;
        let map = MmapOptions::new().len(length).map_raw_read_only(file)?;
        Ok(MappedBuffer { map, fd: file.as_raw_fd(), meta_bytes, subbuf_bytes, subbufs, seen })
    }

    /// Bytes of a sub-buffer.
    pub fn subbuf_bytes(&self) -> usize {
        self.subbuf_bytes
    }

    /// Whether somebody consumed part of the reader sub-buffer before it was mapped.
    pub fn was_read_before(&self) -> bool {
        self.seen.1 != 0
    }

    /// Records overwritten before anybody read them, as of the last [`MappedBuffer::advance`].
    pub fn overrun(&self) -> u64 {
        self.meta_u64(OVERRUN)
    }

    /// Asks the kernel for more data; `None` when there is none now. Never blocks on a file opened with O_NONBLOCK.
    ///
    /// The returned bytes are stable until the next call.
    pub fn advance(&mut self) -> io::Result<Option<Piece<'_>>> {
        // SAFETY: the request takes no argument and writes nothing to user memory but the meta page it maps.
        let result = unsafe { nix::libc::ioctl(self.fd, GET_READER as _, 0) };
        if result < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => Ok(None),
                _ => Err(error),
            };
        }
        let (id, read) = (self.meta_u32(READER_ID), self.meta_u32(READER_READ));
        let overrun = self.meta_u64(OVERRUN);
        let before = self.seen;
        self.seen = (id, read);
        // The same sub-buffer with fewer bytes read means that the buffer was reset: all of it is new.
        let from = if id == before.0 && read >= before.1 { before.1 } else { 0 };
        if read == from {
            return Ok(None);
        }
        let data_bytes = self.subbuf_bytes as u32;
        if id >= self.subbufs || read > data_bytes {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the kernel names sub-buffer {id}, byte {read}"),
            ));
        }
        let offset = self.meta_bytes + id as usize * self.subbuf_bytes;
        // SAFETY: `offset + subbuf_bytes <= length` since `id < subbufs`; the mapping lives as long as `self`, and the
        // kernel does not touch the bytes before `read` of the reader sub-buffer until the next GET_READER, for
        // which the returned borrow must have ended. Callers look at no byte beyond `to`, as documented.
        let subbuf = unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(offset), self.subbuf_bytes) };
        Ok(Some(Piece { subbuf, from: from as usize, to: read as usize, overrun }))
    }

    fn meta_u32(&self, offset: usize) -> u32 {
        word_at(&self.map, offset)
    }

    fn meta_u64(&self, offset: usize) -> u64 {
        assert!(offset + 8 <= self.map.len());
        // SAFETY: inside the mapping (asserted) and aligned (the offsets of 64-bit fields are multiples of 8); the kernel
        // changes the meta page during GET_READER only, or during another process's; a volatile read takes whatever is there.
        unsafe { self.map.as_ptr().add(offset).cast::<u64>().read_volatile() }
    }
}

/// A 32-bit word of the meta page.
fn word_at(map: &MmapRaw, offset: usize) -> u32 {
    assert!(offset + 4 <= map.len());
    // SAFETY: inside the mapping (asserted) and aligned (all offsets are multiples of 4); see `meta_u64` for the rest.
    unsafe { map.as_ptr().add(offset).cast::<u32>().read_volatile() }
}

fn page_size() -> usize {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().map_or(4096, |bytes| bytes as usize)
}
