//! The memory through which the kernel hands samples over.
//!
//! One page of figures, then a ring of records:
//! ```text
//!   0            1024   data_head: how far the kernel has written, ever
//!                1032   data_tail: how far we have read, ever
//!                1040   data_offset, data_size: where the ring is
//! ```
//! Source: include/uapi/linux/perf_event.h, `struct perf_event_mmap_page`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use byteorder::{ByteOrder, NativeEndian};
use memmap2::{MmapOptions, MmapRaw};

const HEAD: usize = 1024;
const TAIL: usize = 1032;
/// Bytes of a record's header: type, flags, size.
const HEADER: usize = 8;

/// A ring and the event it belongs to.
pub struct Ring {
    memory: MmapRaw,
    // Behind the mapping: that must go first.
    fd: OwnedFd,
    first: usize,
    size: usize,
}

impl Ring {
    /// Maps the ring of an event; `bytes` is a power of two of pages.
    pub fn map(fd: OwnedFd, bytes: usize) -> io::Result<Ring> {
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096) as usize;
        let memory = MmapOptions::new().len(page + bytes).map_raw(&fd)?;
        Ok(Ring { memory, fd, first: page, size: bytes })
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        // SAFETY: the page of figures is mapped for as long as `self` lives, `at` is inside of it and a multiple of 8; the
        // kernel and we change these words by whole and aligned writes only.
        unsafe { AtomicU64::from_ptr(self.memory.as_mut_ptr().add(at).cast()) }
    }

    /// Copies bytes out of the ring, round its end.
    fn copy(&self, from: u64, out: &mut [u8]) {
        let at = (from % self.size as u64) as usize;
        let before_end = out.len().min(self.size - at);
        let (front, back) = out.split_at_mut(before_end);
        // SAFETY: both pieces lie within the mapped ring, and the kernel writes nothing between tail and head, which these
        // bytes lie between.
        unsafe {
            let ring = self.memory.as_ptr().add(self.first);
            std::ptr::copy_nonoverlapping(ring.add(at), front.as_mut_ptr(), front.len());
            std::ptr::copy_nonoverlapping(ring, back.as_mut_ptr(), back.len());
        }
    }

    /// Hands over each record that has come, header included.
    pub fn take(&mut self, mut each: impl FnMut(&[u8])) {
        let (head, mut tail) = (self.word(HEAD).load(Ordering::Acquire), self.word(TAIL).load(Ordering::Relaxed));
        let mut record = Vec::new();
        while head.wrapping_sub(tail) >= HEADER as u64 {
            let mut header = [0; HEADER];
            self.copy(tail, &mut header);
            let size = usize::from(NativeEndian::read_u16(&header[6..]));
            if size < HEADER || size as u64 > head.wrapping_sub(tail) {
                tail = head;
                break;
            }
            record.resize(size, 0);
            self.copy(tail, &mut record);
            each(&record);
            tail = tail.wrapping_add(size as u64);
        }
        self.word(TAIL).store(tail, Ordering::Release);
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
