//! Files beside a trace in the making that become sections of it: what they hold survives a recorder that is killed.
//!
//! Owns: how such a file grows or is replaced, so that whoever reads it finds nothing half written.
//! Does not own: their names and how they get into the trace (see `dat::rtrec_sections`), what they hold.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::output::create;

/// A file that grows.
#[derive(Debug)]
pub struct AppendFile {
    file: File,
    bytes: u64,
}

impl AppendFile {
    /// Begins an empty one.
    pub fn create(path: &Path) -> io::Result<AppendFile> {
        Ok(AppendFile { file: create(path)?, bytes: 0 })
    }

    /// One that takes nothing.
    #[cfg(test)]
    pub fn refusing() -> AppendFile {
        AppendFile { file: File::open("/dev/null").unwrap(), bytes: 0 }
    }

    /// Adds all of it or, where the disk is full, nothing.
    pub fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all_at(bytes, self.bytes);
        match &written {
            Ok(()) => self.bytes += bytes.len() as u64,
            // The rest of it, if any was written, is written over by what comes next.
            Err(_) => drop(self.file.set_len(self.bytes)),
        }
        written
    }
}

/// Replaces a file at once, so that nobody reads half of it.
pub fn replace_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    // What is there was left by one that was killed, or planted: it is not to be written through.
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = file.write_all(bytes).and_then(|()| fs::rename(&new, path));
    written.inspect_err(|_| drop(fs::remove_file(&new)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_stands_behind_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut file = AppendFile::create(&path).unwrap();
        file.add(b"one").unwrap();
        file.add(b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"onetwo");
        assert!(AppendFile::create(&path).is_err(), "somebody else's file is not taken");
    }

    #[test]
    fn a_file_is_replaced_by_a_new_one_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let (path, planted) = (folder.path().join("a.b"), folder.path().join("a.b.new"));
        std::os::unix::fs::symlink("/no/such/place", &planted).unwrap();
        replace_atomically(&path, b"one").unwrap();
        replace_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(replace_atomically(&folder.path().join("no/such"), b"x").is_err());
    }
}
