//! A piece of metadata that is expanded only as far as somebody reads it.
//!
//! A table of kernel symbols has megabytes, of which a small report needs those up to the addresses it shows.

use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

/// Compressed bytes that are expanded in one go: some hundred KiB of text.
const STEP: usize = 64 << 10;
/// Most that a byte may be said to expand to; symbols expand to six.
const MAX_RATIO: usize = 64;
/// Most that is expanded this way; room for all of it is set aside.
const MAX_BYTES: usize = 64 << 20;

/// Bytes of which the first ones are here.
pub struct Gradual {
    bytes: Vec<u8>,
    rest: Option<Rest>,
}

/// What is still compressed.
struct Rest {
    context: DCtx<'static>,
    block: Vec<u8>,
    at: usize,
    limit: usize,
}

impl Gradual {
    /// Bytes that are all here.
    pub(super) fn whole(bytes: Vec<u8>) -> Gradual {
        Gradual { bytes, rest: None }
    }

    /// A zstd frame that yields at most `limit` bytes, all of them to be expanded; `None` if that is too much.
    pub(super) fn zstd(block: Vec<u8>, limit: usize) -> Option<Gradual> {
        if limit > MAX_BYTES || limit > block.len().saturating_mul(MAX_RATIO) {
            return None;
        }
        let mut context = DCtx::try_create()?;
        // It expands straight into `bytes`, which therefore never move.
        context.set_parameter(DParameter::StableOutBuffer(true)).ok()?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(limit.max(1)).ok()?;
        Some(Gradual { bytes, rest: Some(Rest { context, block, at: 0, limit }) })
    }

    /// What is here.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Expands some more; false when there is no more. What follows damage is missing.
    pub fn grow(&mut self) -> bool {
        let Some(rest) = &mut self.rest else { return false };
        let end = rest.block.len().min(rest.at + STEP);
        let mut input = InBuffer::around(&rest.block[rest.at..end]);
        let here = self.bytes.len();
        let mut output = OutBuffer::around_pos(&mut self.bytes, here);
        let result = rest.context.decompress_stream(&mut output, &mut input);
        let taken = input.pos();
        rest.at += taken;
        let full = self.bytes.len() >= rest.limit;
        if !matches!(result, Ok(1..)) || taken == 0 || full {
            self.rest = None;
        }
        true
    }

    /// All of it.
    pub fn finish(mut self) -> Vec<u8> {
        while self.grow() {}
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Vec<u8> {
        (0..200_000_u64).flat_map(|n| format!("{:016x} t f{n}\n", n.wrapping_mul(n)).into_bytes()).collect()
    }

    #[test]
    fn a_frame_grows_to_what_was_packed() {
        let text = text();
        let mut gradual = Gradual::zstd(zstd::bulk::compress(&text, 3).unwrap(), text.len()).unwrap();
        assert!(gradual.bytes().is_empty());
        assert!(gradual.grow());
        let first = gradual.bytes().len();
        assert!(first > 0 && first < text.len() / 2, "{first} of {}", text.len());
        assert_eq!(gradual.bytes(), &text[..first]);
        assert!(gradual.finish() == text);
        assert!(Gradual::whole(text.clone()).finish() == text);
    }

    #[test]
    fn of_a_damaged_or_larger_frame_the_start_is_kept() {
        let text = text();
        let mut packed = zstd::bulk::compress(&text, 3).unwrap();
        let more = Gradual::zstd(packed.clone(), text.len() / 2).unwrap().finish();
        assert!(more.len() <= text.len() / 2 && text.starts_with(&more));
        packed.truncate(packed.len() / 2);
        let half = Gradual::zstd(packed, text.len()).unwrap().finish();
        assert!(!half.is_empty() && text.starts_with(&half));
        assert!(Gradual::zstd(b"nonsense".to_vec(), 100).unwrap().finish().is_empty());
        assert!(Gradual::zstd(Vec::new(), MAX_BYTES + 1).is_none());
    }
}
