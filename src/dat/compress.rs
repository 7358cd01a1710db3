//! Compressed blocks: zstd frames and zlib streams, expanded with a bound.

use std::cell::RefCell;
use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

/// How the compressed parts of a file are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Not at all.
    None,
    /// zstd frames.
    Zstd,
    /// RFC 1950 streams.
    Zlib,
}

impl Algorithm {
    /// The algorithm of this name.
    pub fn named(name: &[u8]) -> Option<Algorithm> {
        match name {
            b"none" | b"" => Some(Algorithm::None),
            b"zstd" => Some(Algorithm::Zstd),
            b"zlib" => Some(Algorithm::Zlib),
            _ => None,
        }
    }

    /// Its name in the file header.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::None => "none",
            Algorithm::Zstd => "zstd",
            Algorithm::Zlib => "zlib",
        }
    }
}

/// Why a block could not be expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpandError {
    /// The block is not what the algorithm writes, or yields more than was recorded.
    Corrupt,
    /// The recorded size is more than a reader should believe.
    TooLarge(u64),
}

impl fmt::Display for ExpandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExpandError::Corrupt => f.write_str("the compressed data is corrupt"),
            ExpandError::TooLarge(n) => {
                write!(f, "the compressed data claims to expand to {n} bytes")
            }
        }
    }
}

impl std::error::Error for ExpandError {}

thread_local! {
    static ZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Room made at first per byte of a block; sub-buffers and formats rarely expand to more.
const USUAL_RATIO: usize = 32;
/// Room made at first in any case.
const USUAL_BYTES: usize = 64 << 10;

/// More than any block of a recording expands to, per byte; what is small may be all zeros.
const MAX_RATIO: usize = 256;
/// What a block of any size may expand to.
const MAX_BYTES: usize = 8 << 20;

/// Expands one block of at most `bytes` bytes into `out`, which is cleared first. Fewer bytes than recorded are fine.
///
/// `bytes` is a claim: room is made as the block turns out to fill it.
pub fn expand(algorithm: Algorithm, block: &[u8], bytes: usize, out: &mut Vec<u8>) -> Result<(), ExpandError> {
    out.clear();
    let bytes = bytes.min(block.len().saturating_mul(MAX_RATIO).max(MAX_BYTES));
    let first = bytes.min(block.len().saturating_mul(USUAL_RATIO).max(USUAL_BYTES));
    match algorithm {
        Algorithm::None => {
            out.extend_from_slice(&block[..block.len().min(bytes)]);
            Ok(())
        }
        Algorithm::Zstd => ZSTD.with_borrow_mut(|slot| {
            if slot.is_none() {
                *slot = zstd::bulk::Decompressor::new().ok();
            }
            let zstd = slot.as_mut().ok_or(ExpandError::Corrupt)?;
            let mut room = first;
            loop {
                out.reserve_exact(room);
                // A frame cannot be continued: when it does not fit it is begun again with more room.
                match zstd.decompress_to_buffer(block, out) {
                    Ok(_) if out.len() > bytes => return Err(ExpandError::Corrupt),
                    Ok(_) => return Ok(()),
                    Err(_) if room == bytes => return Err(ExpandError::Corrupt),
                    Err(error) if !is_too_small(&error) => return Err(ExpandError::Corrupt),
                    Err(_) => room = room.saturating_mul(4).min(bytes),
                }
                // What is there need not be kept while more is allocated.
                *out = Vec::new();
            }
        }),
        Algorithm::Zlib => {
            let mut room = first;
            loop {
                out.reserve_exact(room);
                let full = out.capacity();
                // Told to finish at once, it expands straight into `out`, but cannot go on afterwards either.
                match Decompress::new(true).decompress_vec(block, out, FlushDecompress::Finish) {
                    Ok(Status::StreamEnd) if out.len() > bytes => return Err(ExpandError::Corrupt),
                    Ok(Status::StreamEnd) => return Ok(()),
                    Ok(_) if out.len() == full && room < bytes => room = room.saturating_mul(4).min(bytes),
                    Ok(_) if !out.is_empty() && out.len() < bytes => return Ok(()),
                    _ => return Err(ExpandError::Corrupt),
                }
                *out = Vec::new();
            }
        }
    }
}

/// Expands the first `want` bytes of a block of at most `bytes` bytes, or all of it if there are fewer.
///
/// zlib stops there. The first block of a zstd frame is expanded whole in any case, and is about what a chunk holds.
pub fn expand_start(algorithm: Algorithm, block: &[u8], bytes: usize, want: usize) -> Result<Vec<u8>, ExpandError> {
    let mut out = Vec::new();
    if algorithm == Algorithm::Zlib {
        out.resize(want.min(bytes), 0);
        let mut zlib = Decompress::new(true);
        zlib.decompress(block, &mut out, FlushDecompress::None).map_err(|_| ExpandError::Corrupt)?;
        out.truncate(zlib.total_out() as usize);
    } else {
        expand(algorithm, block, bytes, &mut out)?;
        out.truncate(want);
    }
    Ok(out)
}

/// Whether zstd only lacked room. The names of its errors are all that comes through.
fn is_too_small(error: &std::io::Error) -> bool {
    error.to_string().contains("too small")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zstd_and_zlib_blocks_expand_and_a_lie_is_noticed() {
        let text = b"sub-buffer ".repeat(500);
        let packed = zstd::bulk::compress(&text, 3).unwrap();
        let mut out = Vec::new();
        expand(Algorithm::Zstd, &packed, text.len(), &mut out).unwrap();
        assert_eq!(out, text);
        assert_eq!(expand(Algorithm::Zstd, &packed, 10, &mut Vec::new()), Err(ExpandError::Corrupt));
        assert_eq!(expand(Algorithm::Zstd, b"nonsense", 10, &mut out), Err(ExpandError::Corrupt));

        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut zlib, &text).unwrap();
        let packed = zlib.finish().unwrap();
        expand(Algorithm::Zlib, &packed, text.len(), &mut out).unwrap();
        assert_eq!(out, text);
        assert_eq!(expand(Algorithm::Zlib, b"nonsense", 10, &mut out), Err(ExpandError::Corrupt));
    }

    #[test]
    fn the_start_of_a_block_is_the_start_of_its_bytes() {
        let text = b"sub-buffer ".repeat(500);
        let zstd = zstd::bulk::compress(&text, 3).unwrap();
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut zlib, &text).unwrap();
        let zlib = zlib.finish().unwrap();
        for (algorithm, packed) in [(Algorithm::Zstd, zstd), (Algorithm::Zlib, zlib)] {
            assert_eq!(expand_start(algorithm, &packed, text.len(), 16).unwrap(), text[..16]);
            assert_eq!(expand_start(algorithm, &packed, text.len(), 9999).unwrap(), text);
            assert!(expand_start(algorithm, b"nonsense", 100, 16).is_err());
        }
    }

    #[test]
    fn a_block_that_expands_beyond_all_bounds_is_not_followed() {
        let bomb = zstd::bulk::compress(&vec![0; 100 << 20], 3).unwrap();
        let mut out = Vec::new();
        assert!(bomb.len() < 20_000);
        assert_eq!(expand(Algorithm::Zstd, &bomb, 100 << 20, &mut out), Err(ExpandError::Corrupt));
        assert!(out.capacity() <= MAX_BYTES, "{}", out.capacity());
    }

    #[test]
    fn a_claimed_size_costs_no_memory_and_a_true_one_is_reached() {
        let zlib = |bytes: &[u8]| {
            let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
            std::io::Write::write_all(&mut zlib, bytes).unwrap();
            zlib.finish().unwrap()
        };
        let (little, much) = (vec![7; 1000], vec![7; 3_000_000]);
        for (algorithm, little_packed, much_packed) in [
            (Algorithm::Zstd, zstd::bulk::compress(&little, 3).unwrap(), zstd::bulk::compress(&much, 3).unwrap()),
            (Algorithm::Zlib, zlib(&little), zlib(&much)),
        ] {
            let mut out = Vec::new();
            expand(algorithm, &little_packed, 256 << 20, &mut out).unwrap();
            assert!(out == little && out.capacity() <= USUAL_BYTES, "{algorithm:?} took {}", out.capacity());
            expand(algorithm, &much_packed, much.len(), &mut out).unwrap();
            assert!(out == much, "{algorithm:?}");
            assert_eq!(expand(algorithm, &much_packed, much.len() - 1, &mut out), Err(ExpandError::Corrupt));
            assert_eq!(expand(algorithm, b"nonsense", 256 << 20, &mut Vec::new()), Err(ExpandError::Corrupt));
        }
    }
}
