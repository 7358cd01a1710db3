//! The archive a kernel unpacks into its first root file system: cpio, "newc", uncompressed.
//!
//! Owns: writing it. Folders above an entry are written on demand, every owner is root, every time is 0, so that
//! the same input gives the same bytes.
//! Source: Documentation/driver-api/early-userspace/buffer-format.rst of Linux 6.12.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{Error, Result};

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive under construction.
#[derive(Debug)]
pub(crate) struct Archive<W> {
    to: W,
    next_inode: u32,
    present: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    /// Starts an archive that is written to `to`.
    pub(crate) fn new(to: W) -> Self {
        Self { to, next_inode: 1, present: BTreeSet::new() }
    }

    /// True if there is an entry of this name already. Names are relative to the root: `usr/bin/ls`.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.present.contains(name)
    }

    /// Adds a folder.
    pub(crate) fn folder(&mut self, name: &str) -> io::Result<()> {
        if self.contains(name) {
            return Ok(());
        }
        self.parents(name)?;
        self.entry(name, FOLDER | 0o755, (0, 0), &[])
    }

    /// Adds a file.
    pub(crate) fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.parents(name)?;
        self.entry(name, FILE | mode, (0, 0), content)
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, name: &str, to: &str) -> io::Result<()> {
        self.parents(name)?;
        self.entry(name, LINK | 0o777, (0, 0), to.as_bytes())
    }

    /// Adds a character device.
    pub(crate) fn device(&mut self, name: &str, major: u32, minor: u32) -> io::Result<()> {
        self.parents(name)?;
        self.entry(name, CHARACTER_DEVICE | 0o600, (major, minor), &[])
    }

    /// Adds the file at `path` with its permissions.
    pub(crate) fn copy(&mut self, path: &Path, name: &str) -> Result<()> {
        let refused = |e| Error::io("a file for the lab's guest could not be read", path, e);
        let mode = fs::metadata(path).map_err(refused)?.permissions().mode() & 0o7777;
        let content = fs::read(path).map_err(refused)?;
        self.file(name, mode, &content).map_err(unwritable)
    }

    /// Adds what lies below `folder` and passes `wanted`, which sees names as they will be in the archive.
    pub(crate) fn tree(&mut self, folder: &Path, below: &str, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
        let refused = |e| Error::io("a folder for the lab's guest could not be read", folder, e);
        let mut entries = fs::read_dir(folder).map_err(refused)?.collect::<io::Result<Vec<_>>>().map_err(refused)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let name = if below.is_empty() { name } else { format!("{below}/{name}") };
            let kind = entry.file_type().map_err(|e| Error::io("a file could not be looked at", &path, e))?;
            if kind.is_dir() {
                self.tree(&path, &name, wanted)?;
            } else if !wanted(&name) || self.contains(&name) {
                continue;
            } else if kind.is_symlink() {
                let to = fs::read_link(&path).map_err(|e| Error::io("a link could not be read", &path, e))?;
                self.link(&name, &String::from_utf8_lossy(to.as_os_str().as_bytes())).map_err(unwritable)?;
            } else {
                self.copy(&path, &name)?;
            }
        }
        Ok(())
    }

    /// Ends the archive and hands back what it was written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn parents(&mut self, name: &str) -> io::Result<()> {
        match name.rsplit_once('/') {
            Some((parent, _)) => self.folder(parent),
            None => Ok(()),
        }
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) -> io::Result<()> {
        let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, "cpio keeps sizes in 32 bits");
        let size = u32::try_from(content.len()).map_err(too_large)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_large)?;
        let links = if mode & FOLDER == FOLDER { 2 } else { 1 };
        write!(self.to, "070701{:08x}{mode:08x}{:08x}{:08x}{links:08x}", self.next_inode, 0, 0)?;
        write!(self.to, "{:08x}{size:08x}{:08x}{:08x}", 0, 0, 0)?;
        write!(self.to, "{:08x}{:08x}{name_size:08x}{:08x}{name}\0", device.0, device.1, 0)?;
        // The header is 110 bytes; name and content each end on a multiple of four.
        self.pad(110 + name.len() + 1)?;
        self.to.write_all(content)?;
        self.pad(content.len())?;
        self.next_inode += 1;
        self.present.insert(name.to_owned());
        Ok(())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        let missing = written.next_multiple_of(4) - written;
        self.to.write_all(&[0; 3][..missing])
    }
}

fn unwritable(source: io::Error) -> Error {
    Error::new("the lab's initramfs could not be written").fact("system", source.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_header_of_hex_words_then_name_and_content_on_multiples_of_four() {
        let mut archive = Archive::new(Vec::new());
        archive.file("a", 0o644, b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        let expected = concat!(
            "070701",
            "00000001",
            "000081a4",
            "00000000",
            "00000000",
            "00000001",
            "00000000",
            "00000005",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000002",
            "00000000",
            "a\0",
            "hello\0\0\0",
            "070701",
        );
        assert_eq!(&bytes[..expected.len()], expected.as_bytes());
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn folders_above_an_entry_come_before_it_and_only_once() {
        let mut archive = Archive::new(Vec::new());
        archive.file("usr/bin/x", 0o755, b"").unwrap();
        archive.link("usr/bin/y", "x").unwrap();
        let text = String::from_utf8(archive.finish().unwrap()).unwrap();
        let order: Vec<&str> =
            text.split("070701").skip(1).map(|entry| entry[104..].split('\0').next().unwrap()).collect();
        assert_eq!(order, ["usr", "usr/bin", "usr/bin/x", "usr/bin/y", "TRAILER!!!"]);
    }
}
