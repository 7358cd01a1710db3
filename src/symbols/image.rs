//! The bytes of a binary: mapped once, for the life of the program.
//!
//! Everything that is found in a binary points into it, and the number of binaries is small, so images are never given
//! back. A binary that somebody truncates while it is looked at ends the program by SIGBUS; package managers and
//! compilers replace files instead.

use std::fs::File;
use std::io;
use std::path::Path;

/// Maps a file.
#[allow(unsafe_code)]
pub(super) fn open(path: &Path) -> io::Result<&'static [u8]> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if metadata.len() == 0 {
        return Ok(&[]);
    }
    // SAFETY: the mapping is private and read only, and never unmapped, so references into it stay good. Whoever
    // changes the file beneath it can make values inconsistent, which every reader of it has to expect anyway.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    Ok(Box::leak(Box::new(map)))
}

/// Keeps bytes that were unpacked.
pub(super) fn leak(bytes: Vec<u8>) -> &'static [u8] {
    Box::leak(bytes.into_boxed_slice())
}
