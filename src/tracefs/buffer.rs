//! A CPU's raw buffer, `per_cpu/cpuN/trace_pipe_raw`, and its counters.
//!
//! Three ways lead out of it: mapping it ([`super::mapped`], kernel 6.10 on), `splice` of whole sub-buffers into a pipe, and
//! `read`, one sub-buffer a call. Only `read` (and the mapping) gives the sub-buffer that the writer is still on, so
//! a splicing reader ends with reads.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;

use super::error::{Error, Operation};

/// An open raw buffer. Never blocks: waiting is the caller's business, with `poll`.
#[derive(Debug)]
pub struct RawBuffer {
    file: File,
    path: PathBuf,
    subbuf_bytes: usize,
}

impl RawBuffer {
    pub(super) fn open(path: &Path, subbuf_bytes: usize) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC)
            .open(path)
            .map_err(|e| Error::new(Operation::Open, path, e))?;
        Ok(RawBuffer { file, path: path.to_owned(), subbuf_bytes })
    }

    /// Bytes of a sub-buffer, header included.
    pub fn subbuf_bytes(&self) -> usize {
        self.subbuf_bytes
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads one sub-buffer into `page`, which must be exactly that long. `false` when the buffer has nothing now.
    ///
    /// Zero bytes do not mean the end: the kernel answers so when the writer is just on the page.
    pub fn read_subbuf(&mut self, page: &mut [u8]) -> Result<bool, Error> {
        debug_assert_eq!(page.len(), self.subbuf_bytes);
        loop {
            match self.file.read(page) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    page[n..].fill(0);
                    return Ok(true);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(Error::new(Operation::Read, &self.path, e)),
            }
        }
    }

    /// Maps the buffer into memory; errors say why it cannot be (ENODEV before 6.10).
    pub fn map(&self) -> Result<super::mapped::MappedBuffer, Error> {
        super::mapped::MappedBuffer::new(&self.file).map_err(|e| Error::new(Operation::Map, &self.path, e))
    }
}

impl AsFd for RawBuffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A pipe that whole sub-buffers are spliced into, without a copy, many at a time.
#[derive(Debug)]
pub struct SplicePipe {
    out: File,
    inlet: std::os::fd::OwnedFd,
    capacity: usize,
}

impl SplicePipe {
    /// Makes a pipe of up to `wanted` bytes; the system's limit may make it smaller.
    pub fn new(wanted: usize) -> io::Result<Self> {
        let (out, inlet) = pipe2(nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK)?;
        let wanted = i32::try_from(wanted).unwrap_or(i32::MAX);
        let capacity = match fcntl(&inlet, FcntlArg::F_SETPIPE_SZ(wanted)) {
            Ok(size) => size,
            Err(_) => fcntl(&inlet, FcntlArg::F_GETPIPE_SZ)?,
        };
        Ok(SplicePipe { out: File::from(out), inlet, capacity: usize::try_from(capacity).unwrap_or(4096) })
    }

    /// Bytes that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Moves what whole sub-buffers there are; 0 when there are none now.
    pub fn fill(&mut self, buffer: &RawBuffer) -> Result<usize, Error> {
        let whole = (self.capacity / buffer.subbuf_bytes).max(1) * buffer.subbuf_bytes;
        let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
        loop {
            match splice(&buffer.file, None, &self.inlet, None, whole, flags) {
                Ok(n) => return Ok(n),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(0),
                Err(errno) => return Err(Error::new(Operation::Read, &buffer.path, errno.into())),
            }
        }
    }

    /// Takes exactly `bytes.len()` bytes out, which [`SplicePipe::fill`] has put in.
    pub fn take(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.out.read_exact(bytes)
    }
}

/// The counters of one CPU's buffer, from its `stats` file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferStats {
    /// Records not yet read.
    pub entries: u64,
    /// Records overwritten before anybody read them.
    pub overrun: u64,
    /// Records that a nested writer could not commit.
    pub commit_overrun: u64,
    /// Records not written since the buffer was full (no-overwrite mode).
    pub dropped: u64,
    /// Records read.
    pub read: u64,
}

impl BufferStats {
    /// Parses the file's text; what is missing counts as 0.
    pub fn parse(text: &str) -> Self {
        let mut stats = BufferStats::default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else { continue };
            let Ok(value) = value.trim().parse() else { continue };
            match key {
                "entries" => stats.entries = value,
                "overrun" => stats.overrun = value,
                "commit overrun" => stats.commit_overrun = value,
                "dropped events" => stats.dropped = value,
                "read events" => stats.read = value,
                _ => {}
            }
        }
        stats
    }

    /// Records that nobody will ever see.
    pub fn lost(&self) -> u64 {
        self.overrun + self.commit_overrun + self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_add_up_to_losses() {
        let text = "entries: 129\noverrun: 7\ncommit overrun: 1\nbytes: 5588\noldest event ts:  5070.204171\nnow ts:  5110.771345\n\
                    dropped events: 2\nread events: 40\n";
        let stats = BufferStats::parse(text);
        assert_eq!((stats.entries, stats.read, stats.lost()), (129, 40, 10));
    }
}
