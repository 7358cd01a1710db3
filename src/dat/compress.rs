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

/// Expands one block of at most `bytes` bytes into `out`, which is cleared first. Fewer bytes than recorded are fine.
pub fn expand(algorithm: Algorithm, block: &[u8], bytes: usize, out: &mut Vec<u8>) -> Result<(), ExpandError> {
    out.clear();
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
            out.reserve_exact(bytes);
            zstd.decompress_to_buffer(block, out).map_err(|_| ExpandError::Corrupt)?;
            if out.len() > bytes { Err(ExpandError::Corrupt) } else { Ok(()) }
        }),
        Algorithm::Zlib => {
            out.reserve_exact(bytes);
            let mut zlib = Decompress::new(true);
            match zlib.decompress_vec(block, out, FlushDecompress::Finish) {
                Ok(Status::StreamEnd) => Ok(()),
                Ok(_) if !out.is_empty() && out.len() < bytes => Ok(()),
                _ => Err(ExpandError::Corrupt),
            }
        }
    }
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
}
