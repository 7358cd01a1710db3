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
/// half its time. Symbols pack as small with 1 as with 3, at twice the speed.
const ZSTD_LEVEL_DATA: i32 = 1;
const ZSTD_LEVEL_TEXT: i32 = 1;

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
    /// Bytes of sub-buffers kept since the beginning, over all files.
    raw: u64,
    /// How many of them had been kept when the present file was begun.
    raw_before: u64,
    /// Bytes written to files that are complete.
    written_before: u64,
    /// How many files are complete.
    segment: u64,
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
            raw_before: 0,
            written_before: 0,
            segment: 0,
        })
    }

    /// A writer of the same kind over another empty file.
    pub fn like(&self, file: File) -> io::Result<Self> {
        ChunkWriter::new(file, self.compression, self.subbuf_bytes)
    }

    /// The place where the next sub-buffer goes; it counts once [`ChunkWriter::keep`] is called.
    pub fn slot(&mut self) -> &mut [u8] {
        &mut self.staged[self.staged_bytes..self.staged_bytes + self.subbuf_bytes]
    }

    /// The places where up to so many sub-buffers go; they count once [`ChunkWriter::keep_many`] is called.
    pub fn slots(&mut self, most: usize) -> &mut [u8] {
        let room = self.staged.len() - self.staged_bytes;
        let bytes = most.saturating_mul(self.subbuf_bytes).min(room);
        &mut self.staged[self.staged_bytes..self.staged_bytes + bytes]
    }

    /// Keeps the sub-buffer in the slot, and writes the chunk when it is full.
    pub fn keep(&mut self) -> io::Result<()> {
        self.keep_many(1)
    }

    /// Keeps the sub-buffers in the first slots, no more than [`ChunkWriter::slots`] gave, and writes the chunk when it is full.
    pub fn keep_many(&mut self, count: usize) -> io::Result<()> {
        let bytes = count * self.subbuf_bytes;
        self.staged_bytes += bytes;
        self.raw += bytes as u64;
        if self.staged_bytes == self.staged.len() { self.flush() } else { Ok(()) }
    }

    /// Bytes of sub-buffers kept so far.
    pub fn raw_bytes(&self) -> u64 {
        self.raw
    }

    /// Bytes of sub-buffers kept in the present file.
    pub fn raw_bytes_here(&self) -> u64 {
        self.raw - self.raw_before
    }

    /// Bytes written so far, over all files.
    pub fn written_bytes(&self) -> u64 {
        self.written_before + self.written
    }

    /// Which file of this CPU is being written, from 0.
    pub fn segment(&self) -> u64 {
        self.segment
    }

    /// Whether sub-buffers are kept in memory only.
    pub fn has_staged(&self) -> bool {
        self.staged_bytes > 0
    }

    /// Writes what is staged before a chunk is full. A sub-buffer that grows in the slot stays there.
    pub fn write_staged(&mut self) -> io::Result<()> {
        let slot = self.staged_bytes..self.staged_bytes + self.subbuf_bytes;
        self.flush()?;
        self.staged.copy_within(slot, 0);
        Ok(())
    }

    /// Completes the present file and goes on in the empty file `next`. A sub-buffer that grows in the slot goes along.
    pub fn cut(&mut self, next: File) -> io::Result<Segment> {
        self.write_staged()?;
        let data = self.complete(next)?;
        self.raw_before = self.raw;
        self.written_before += data.bytes;
        (self.chunks, self.written) = (0, 0);
        self.segment += 1;
        Ok(data)
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
                self.packed.extend([0; COUNT_BYTES]);
            }
            let head = self.packed.len();
            self.packed.resize(head + CHUNK_HEAD_BYTES, 0);
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
    pub fn finish(mut self) -> io::Result<Segment> {
        self.flush()?;
        let nowhere = self.file.try_clone()?;
        self.complete(nowhere)
    }

    /// Patches the count of chunks in and hands the file over.
    fn complete(&mut self, next: File) -> io::Result<Segment> {
        if self.chunks > 0 {
            let mut count = [0; COUNT_BYTES];
            NativeEndian::write_u32(&mut count, self.chunks);
            self.file.write_all_at(&count, 0)?;
        }
        let file = std::mem::replace(&mut self.file, next);
        Ok(Segment {
            file,
            bytes: self.written,
            raw_bytes: self.raw_bytes_here(),
            chunks: self.chunks,
            segment: self.segment,
        })
    }
}

/// The count of chunks in front of a chunk list.
pub(super) const COUNT_BYTES: usize = 4;
/// A chunk's compressed and uncompressed size in front of its frame.
const CHUNK_HEAD_BYTES: usize = 8;

fn word(bytes: usize) -> io::Result<u32> {
    u32::try_from(bytes).map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "a chunk is larger than 4 GiB"))
}

/// One CPU's data as it goes into the file, or a segment of it.
#[derive(Debug)]
pub struct Segment {
    /// Where it lies, from byte 0.
    pub file: File,
    /// Its length; 0 for a CPU without records.
    pub bytes: u64,
    /// Bytes of the sub-buffers in it.
    pub raw_bytes: u64,
    /// Chunks in it; 0 without compression.
    pub chunks: u32,
    /// Which of its CPU's files it is, from 0.
    pub segment: u64,
}

impl Segment {
    /// What is whole in a file whose writer did not complete it: the chunks, or the sub-buffers, up to the first that is cut.
    pub fn salvage(file: File, compression: Compression, subbuf_bytes: usize, segment: u64) -> io::Result<Segment> {
        let length = file.metadata()?.len();
        if compression == Compression::None {
            let bytes = length - length % (subbuf_bytes.max(1) as u64);
            return Ok(Segment { file, bytes, raw_bytes: bytes, chunks: 0, segment });
        }
        let (mut at, mut raw_bytes, mut chunks) = (COUNT_BYTES as u64, 0, 0u32);
        while let Some((next, raw)) = whole_chunk(&file, at, length, compression)? {
            (at, chunks) = (next, chunks + 1);
            raw_bytes += raw;
        }
        let bytes = if chunks == 0 { 0 } else { at };
        Ok(Segment { file, bytes, raw_bytes, chunks, segment })
    }
}

/// Where the chunk at `at` ends and how many bytes are in it; `None` for one that is not whole.
fn whole_chunk(file: &File, at: u64, length: u64, compression: Compression) -> io::Result<Option<(u64, u64)>> {
    let frame_at = at + CHUNK_HEAD_BYTES as u64;
    if frame_at > length {
        return Ok(None);
    }
    let mut head = [0; CHUNK_HEAD_BYTES];
    file.read_exact_at(&mut head, at)?;
    let packed = u64::from(NativeEndian::read_u32(&head));
    let raw = NativeEndian::read_u32(&head[4..]) as usize;
    let next = frame_at + packed;
    if packed == 0 || raw == 0 || next > length {
        return Ok(None);
    }
    if next < length {
        return Ok(Some((next, raw as u64)));
    }
    // After a crash of the machine the last chunk may have its length but not its bytes.
    let mut frame = vec![0; packed as usize];
    file.read_exact_at(&mut frame, frame_at)?;
    let whole = match compression {
        Compression::Zstd => zstd::bulk::decompress(&frame, raw).is_ok_and(|bytes| bytes.len() == raw),
        _ => io::copy(&mut flate2::read::ZlibDecoder::new(frame.as_slice()), &mut io::sink())
            .is_ok_and(|bytes| bytes == raw as u64),
    };
    Ok(whole.then_some((next, raw as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBBUF: usize = 4096;

    /// Keeps sub-buffers filled with these bytes.
    fn keep(chunks: &mut ChunkWriter, fillings: impl IntoIterator<Item = u8>) {
        for filling in fillings {
            chunks.slot().fill(filling);
            chunks.keep().unwrap();
        }
    }

    fn unpack(data: &Segment, compression: Compression) -> Vec<u8> {
        let mut bytes = vec![0; data.bytes as usize];
        data.file.read_exact_at(&mut bytes, 0).unwrap();
        if compression == Compression::None {
            return bytes;
        }
        let (mut out, mut at) = (Vec::new(), COUNT_BYTES);
        while at < bytes.len() {
            let packed = NativeEndian::read_u32(&bytes[at..]) as usize;
            let raw = NativeEndian::read_u32(&bytes[at + 4..]) as usize;
            let frame = &bytes[at + 8..at + 8 + packed];
            match compression {
                Compression::Zstd => out.extend(zstd::bulk::decompress(frame, raw).unwrap()),
                _ => drop(io::copy(&mut flate2::read::ZlibDecoder::new(frame), &mut out).unwrap()),
            }
            at += 8 + packed;
        }
        out
    }

    #[test]
    fn a_cut_keeps_the_order_and_takes_the_growing_sub_buffer_along() {
        for compression in [Compression::None, Compression::Zstd, Compression::Zlib] {
            let mut chunks = ChunkWriter::new(tempfile::tempfile().unwrap(), compression, SUBBUF).unwrap();
            keep(&mut chunks, 0..40);
            chunks.slot().fill(77);
            let first = chunks.cut(tempfile::tempfile().unwrap()).unwrap();
            assert_eq!(first.raw_bytes, 40 * SUBBUF as u64);
            chunks.keep().unwrap();
            let second = chunks.finish().unwrap();
            assert_eq!(second.raw_bytes, SUBBUF as u64);
            let text = unpack(&first, compression);
            assert!(text.chunks(SUBBUF).zip(0..40).all(|(subbuf, filling)| subbuf.iter().all(|&b| b == filling)));
            assert_eq!(text.len(), 40 * SUBBUF);
            assert_eq!(unpack(&second, compression), vec![77; SUBBUF]);
        }
    }

    #[test]
    fn what_was_staged_is_written_early_and_nothing_twice() {
        let mut chunks = ChunkWriter::new(tempfile::tempfile().unwrap(), Compression::Zstd, SUBBUF).unwrap();
        keep(&mut chunks, 0..3);
        chunks.slot().fill(3);
        chunks.write_staged().unwrap();
        chunks.write_staged().unwrap();
        assert!(!chunks.has_staged());
        chunks.keep().unwrap();
        keep(&mut chunks, 4..6);
        let data = chunks.finish().unwrap();
        assert_eq!(data.chunks, 2);
        let text = unpack(&data, Compression::Zstd);
        assert!((0..6).all(|n| text[n * SUBBUF..][..SUBBUF].iter().all(|&b| b == n as u8)));
    }

    #[test]
    fn whole_chunks_are_salvaged_from_a_file_cut_anywhere() {
        for compression in [Compression::None, Compression::Zstd, Compression::Zlib] {
            let file = tempfile::tempfile().unwrap();
            let mut chunks = ChunkWriter::new(file.try_clone().unwrap(), compression, SUBBUF).unwrap();
            let mut ends = vec![(0, 0)];
            for filling in 0..100 {
                keep(&mut chunks, [filling]);
                let written = chunks.written_bytes();
                if ends.last().unwrap().0 != written {
                    ends.push((written, u64::from(filling) + 1));
                }
            }
            let length = chunks.written_bytes();
            for cut in (0..=length).rev().step_by(7) {
                file.set_len(cut).unwrap();
                let data = Segment::salvage(file.try_clone().unwrap(), compression, SUBBUF, 0).unwrap();
                let subbufs = match compression {
                    Compression::None => cut / SUBBUF as u64,
                    _ => ends.iter().rfind(|(end, _)| *end <= cut).unwrap().1,
                };
                assert_eq!(data.raw_bytes, subbufs * SUBBUF as u64, "{compression:?} cut at {cut}");
            }
        }
    }
}
