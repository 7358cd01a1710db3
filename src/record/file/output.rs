//! The output file: written under temporary names in its own folder, renamed when sealed, gone when nothing was recorded.
//!
//! Owns: the family of temporary files, the journal beside them, and what is left of them in the end.
//! Does not own: the names (see `dat::unsealed`).

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use super::metadata;
use crate::control::{Journal, JournalLink};
use crate::dat::unsealed::{Family, JournalEntry, RecordingStart};
use crate::record::error::Error;
use crate::record::settings::FileSettings;
use crate::tracefs::events::EventName;

/// An output that is being made. Dropping it removes every temporary file, unless there is something to restore from them.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    family: Family,
    journal: Journal,
    keep_on_drop: bool,
    _link: Option<JournalLink>,
}

impl Output {
    /// Checks that `path` can become a regular file, and opens the temporary one and the journal beside it, or in the folder
    /// `temp`.
    pub fn claim(path: &Path, temp: Option<&Path>) -> Result<(Self, File), Error> {
        let failed = |source: io::Error| Error::Output { path: path.to_owned(), source };
        check(path).map_err(failed)?;
        let name = path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
        let dir = temp.unwrap_or_else(|| path.parent().unwrap_or(Path::new("")));
        if let Some(dir) = temp
            && !dir.is_dir()
        {
            return Err(Error::Output { path: dir.to_owned(), source: nix::errno::Errno::ENOTDIR.into() });
        }
        let family = Family::new(dir, &name.to_string_lossy(), std::process::id());
        let journal = create(&family.journal());
        let journal = journal.map_err(|source| Error::Output { path: temp.unwrap_or(path).to_owned(), source })?;
        let journal = Journal::new(journal);
        let link = JournalLink::new(&family.journal());
        let output = Output { path: path.to_owned(), family, journal, keep_on_drop: false, _link: link };
        let part = create(&output.family.file("part")).map_err(failed)?;
        Ok((output, part))
    }

    /// The final path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its temporary files.
    pub fn family(&self) -> &Family {
        &self.family
    }

    /// The journal beside them.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Writes down what a restored trace needs to be known.
    pub fn note_begin(&self, settings: &FileSettings, events: &BTreeSet<EventName>) -> io::Result<()> {
        let begin = RecordingStart {
            elsewhere: settings.temp.is_some(),
            compression: settings.compression.name().to_owned(),
            uname: metadata::uname(),
            cpus: metadata::configured_cpus(),
            events: events.iter().map(ToString::to_string).collect(),
            ..RecordingStart::here(std::path::absolute(&self.path)?.to_string_lossy().into_owned())
        };
        self.journal.note(&JournalEntry::Begin(begin))
    }

    /// Whether the temporary files hold records: then they stay if the trace cannot be completed.
    pub fn keep_on_drop(&mut self, keep_on_drop: bool) {
        self.keep_on_drop = keep_on_drop;
    }

    /// Gives the complete file another name than the one asked for.
    pub fn set_path(&mut self, path: &Path) {
        path.clone_into(&mut self.path);
    }

    /// Replaces the complete file by what `write` makes of it.
    pub fn rewrite(&mut self, write: impl FnOnce(&Path, &File) -> io::Result<()>) -> Result<File, Error> {
        let (part, again) = (self.family.file("part"), self.family.file("again"));
        let rewritten = || -> io::Result<File> {
            let file = create(&again)?;
            write(&part, &file)?;
            fs::rename(&again, &part)?;
            Ok(file)
        };
        rewritten().map_err(|source| Error::Output { path: self.path.clone(), source })
    }

    /// Gives the complete file its name; the others are removed when this is dropped.
    pub fn publish(&mut self, part: &File) -> Result<(), Error> {
        let failed = |source| Error::Output { path: self.path.clone(), source };
        // What was reserved and not needed goes back.
        part.metadata().and_then(|metadata| part.set_len(metadata.len())).map_err(failed)?;
        give_name(&self.family.file("part"), &self.path).map_err(failed)?;
        self.keep_on_drop = false;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.keep_on_drop {
            let _ = self.family.remove();
        }
    }
}

/// Renames a file, from one file system to another if need be: there it is complete, too, before it gets its name.
pub fn give_name(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
            let name = from.file_name().unwrap_or_default();
            let beside = to.with_file_name(name);
            let copied = fs::copy(from, &beside).and_then(|_| fs::rename(&beside, to));
            copied.inspect_err(|_| drop(fs::remove_file(&beside)))?;
            fs::remove_file(from)
        }
        result => result,
    }
}

/// Free and total bytes of the file system of a folder; `None` when it does not tell.
pub fn space(dir: &Path) -> Option<(u64, u64)> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let stat = statvfs(dir).ok()?;
    let unit = stat.fragment_size();
    Some((stat.blocks_available().saturating_mul(unit), stat.blocks().saturating_mul(unit)))
}

/// Opens a new file that nobody else can have prepared.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

fn check(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(nix::errno::Errno::EISDIR.into()),
        Ok(metadata) if !metadata.is_file() => {
            let kind = metadata.file_type();
            let kind = if kind.is_char_device() || kind.is_block_device() { "a device" } else { "no regular file" };
            Err(io::Error::other(format!(
                "it is {kind}; a trace needs a regular file, since it is written in several places"
            )))
        }
        // An existing file is replaced by rename, which asks for rights on the folder only; respect its own too.
        Ok(_) => OpenOptions::new().write(true).open(path).map(drop),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn an_unsealed_output_leaves_nothing_and_spares_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.dat");
        fs::write(&path, "old").unwrap();
        let (output, mut file) = Output::claim(&path, None).unwrap();
        create(&output.family().segment_path("", 0, 0)).unwrap();
        file.write_all(b"new").unwrap();
        drop(output);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_output_keep_on_drop_leaves_what_it_can_be_restored_from() {
        let folder = tempfile::tempdir().unwrap();
        let (mut output, _) = Output::claim(&folder.path().join("a.dat"), None).unwrap();
        create(&output.family().segment_path("", 0, 0)).unwrap();
        output.keep_on_drop(true);
        drop(output);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_sealed_output_replaces_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.dat");
        fs::write(&path, "old").unwrap();
        let (mut output, mut file) = Output::claim(&path, None).unwrap();
        create(&output.family().segment_path("", 0, 0)).unwrap();
        file.write_all(b"new").unwrap();
        output.publish(&file).unwrap();
        drop(output);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn folders_devices_and_missing_folders_are_refused_at_once() {
        for path in ["/tmp", "/dev/full", "/no/such/dir/x", ""] {
            let Err(Error::Output { path: named, .. }) = Output::claim(Path::new(path), None) else { panic!("{path}") };
            assert_eq!(named, Path::new(path));
        }
    }
}
