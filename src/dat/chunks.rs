//! Packing: the compression of sections, and the chunk list that holds one CPU's sub-buffers.
//!
//! A chunk list is a count, then per chunk its compressed size, its uncompressed size and one frame. Every chunk but the last
//! holds whole sub-buffers. It is written while recording, so the count is patched in at the end; with
//! no compression the data is a plain array of sub-buffers instead.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::str::FromStr;

use byteorder::{ByteOrder, NativeEndian};

/// How a file's sections are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// zstd: the default.
    Zstd,
    /// zlib, for readers without zstd.
    Zlib,
}

/// zstd's level for trace data: on sub-buffers of scheduler and system call events level 1 packs about as well as 3 at
/// half its time; texts are packed once and get the library's default.
const ZSTD_LEVEL_DATA: i32 = 1;
const ZSTD_LEVEL_TEXT: i32 = 3;

impl Compression {
    /// The name in the file's header.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Zstd => "zstd",
            Compression::Zlib => "zlib",
        }
    }

    /// The library's version for the file's header; empty for none.
    pub fn version(self) -> String {
        match self {
            Compression::None => String::new(),
            Compression::Zstd => {
                let number = zstd::zstd_safe::version_number();
                format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100)
            }
            // Readers compare the major number with their zlib's.
            Compression::Zlib => "1.2.13".to_owned(),
        }
    }

    /// Packs a text section.
    pub(super) fn pack_text(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Compression::None => Ok(bytes.to_vec()),
            Compression::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL_TEXT),
            Compression::Zlib => zlib(bytes),
        }
    }
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "any" | "zstd" => Ok(Compression::Zstd),
            "zlib" => Ok(Compression::Zlib),
            "none" => Ok(Compression::None),
            _ => Err(format!("no compression is called {name:?}; there are any, zstd, zlib and none")),
        }
    }
}

fn zlib(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Sub-buffers of a chunk: long enough that zstd finds repetitions, short enough that a reader seeks well.
const CHUNK_BYTES: usize = 128 * 1024;

/// Collects the sub-buffers of one CPU and writes them to a file of their own as they come.
pub struct ChunkWriter {
    file: File,
    compression: Compression,
    packer: Option<zstd::bulk::Compressor<'static>>,
    subbuf_bytes: usize,
    /// Whole sub-buffers not yet written.
    staged: Vec<u8>,
    staged_bytes: usize,
    packed: Vec<u8>,
    chunks: u32,
    written: u64,
    raw: u64,
}

impl ChunkWriter {
    /// A writer over an empty file.
    pub fn new(file: File, compression: Compression, subbuf_bytes: usize) -> io::Result<Self> {
        let per_chunk = (CHUNK_BYTES / subbuf_bytes).max(1);
        let packer = match compression {
            Compression::Zstd => Some(zstd::bulk::Compressor::new(ZSTD_LEVEL_DATA)?),
            _ => None,
        };
        Ok(ChunkWriter {
            file,
            compression,
            packer,
            subbuf_bytes,
            staged: vec![0; per_chunk * subbuf_bytes],
            staged_bytes: 0,
            packed: Vec::new(),
            chunks: 0,
            written: 0,
            raw: 0,
        })
    }

    /// The place where the next sub-buffer goes; it counts once [`ChunkWriter::keep`] is called.
    pub fn slot(&mut self) -> &mut [u8] {
        &mut self.staged[self.staged_bytes..self.staged_bytes + self.subbuf_bytes]
    }

    /// Keeps the sub-buffer in the slot, and writes the chunk when it is full.
    pub fn keep(&mut self) -> io::Result<()> {
        self.staged_bytes += self.subbuf_bytes;
        self.raw += self.subbuf_bytes as u64;
        if self.staged_bytes == self.staged.len() { self.flush() } else { Ok(()) }
    }

    /// Bytes of sub-buffers kept so far.
    pub fn raw_bytes(&self) -> u64 {
        self.raw
    }

    fn flush(&mut self) -> io::Result<()> {
        let staged = &self.staged[..self.staged_bytes];
        if staged.is_empty() {
            return Ok(());
        }
        if self.compression == Compression::None {
            self.file.write_all_at(staged, self.written)?;
            self.written += staged.len() as u64;
        } else {
            let mut at = self.written;
            self.packed.clear();
            if self.chunks == 0 {
                self.packed.extend([0; 4]);
            }
            let head = self.packed.len();
            self.packed.resize(head + 8, 0);
            let frame = self.pack_staged()?;
            let (packed_bytes, raw_bytes) = (word(frame)?, word(self.staged_bytes)?);
            NativeEndian::write_u32(&mut self.packed[head..], packed_bytes);
            NativeEndian::write_u32(&mut self.packed[head + 4..], raw_bytes);
            self.file.write_all_at(&self.packed, at)?;
            at += self.packed.len() as u64;
            self.written = at;
            self.chunks += 1;
        }
        self.staged_bytes = 0;
        Ok(())
    }

    /// Appends the frame of the staged bytes to `packed` and returns its length.
    fn pack_staged(&mut self) -> io::Result<usize> {
        let staged = &self.staged[..self.staged_bytes];
        let start = self.packed.len();
        match &mut self.packer {
            Some(packer) => {
                self.packed.resize(start + zstd::zstd_safe::compress_bound(staged.len()), 0);
                let frame = packer.compress_to_buffer(staged, &mut self.packed[start..])?;
                self.packed.truncate(start + frame);
            }
            None => self.packed.extend(zlib(staged)?),
        }
        Ok(self.packed.len() - start)
    }

    /// Writes what is staged and the count of chunks; returns the file and its length in bytes.
    pub fn finish(mut self) -> io::Result<CpuData> {
        self.flush()?;
        if self.chunks > 0 {
            let mut count = [0; 4];
            NativeEndian::write_u32(&mut count, self.chunks);
            self.file.write_all_at(&count, 0)?;
        }
        Ok(CpuData { file: self.file, bytes: self.written, raw_bytes: self.raw })
    }
}

fn word(bytes: usize) -> io::Result<u32> {
    u32::try_from(bytes).map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "a chunk is larger than 4 GiB"))
}

/// One CPU's data as it goes into the file.
#[derive(Debug)]
pub struct CpuData {
    /// Where it lies, from byte 0.
    pub file: File,
    /// Its length; 0 for a CPU without records.
    pub bytes: u64,
    /// Bytes of the sub-buffers in it.
    pub raw_bytes: u64,
}
