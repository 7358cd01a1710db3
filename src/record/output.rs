//! The output file: written under a temporary name in its own folder, renamed when sealed, gone when not.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::Error;

/// An output that is being made. Dropping it removes every temporary file.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    temporary: Vec<PathBuf>,
    /// Where all temporary files but the first are, if not beside it.
    scratch: Option<PathBuf>,
    sealed: bool,
}

impl Output {
    /// Checks that `path` can become a regular file and opens the temporary one beside it.
    pub fn claim(path: &Path) -> Result<(Self, File), Error> {
        let failed = |source: io::Error| Error::Output { path: path.to_owned(), source };
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => return Err(failed(nix::errno::Errno::EISDIR.into())),
            Ok(metadata) if !metadata.is_file() => {
                let kind = metadata.file_type();
                let kind = if kind.is_char_device() || kind.is_block_device() { "a device" } else { "no regular file" };
                return Err(failed(io::Error::other(format!(
                    "it is {kind}; a trace needs a regular file, since it is written in several places"
                ))));
            }
            Ok(_) => writable(path).map_err(failed)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed(e)),
        }
        if path.file_name().is_none() {
            return Err(failed(io::ErrorKind::InvalidFilename.into()));
        }
        let mut output = Output { path: path.to_owned(), temporary: Vec::new(), scratch: None, sealed: false };
        let file = output.temporary("part")?;
        Ok((output, file))
    }

    /// The final path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the temporary files that follow into another folder.
    pub fn use_folder(&mut self, folder: &Path) -> Result<(), Error> {
        let failed = |source| Error::Output { path: folder.to_owned(), source };
        let is_folder = std::fs::metadata(folder).map_err(failed)?.is_dir();
        if !is_folder {
            return Err(failed(nix::errno::Errno::ENOTDIR.into()));
        }
        self.scratch = Some(folder.to_owned());
        Ok(())
    }

    /// Replaces the complete file by what `write` makes of it.
    pub fn rewrite(&mut self, write: impl FnOnce(&Path, &File) -> io::Result<()>) -> Result<File, Error> {
        self.scratch = None;
        let file = self.temporary("again")?;
        let failed = |source| Error::Output { path: self.path.clone(), source };
        write(&self.temporary[0], &file).map_err(failed)?;
        let again = self.temporary.len() - 1;
        self.temporary.swap(0, again);
        Ok(file)
    }

    /// Opens another temporary file of this output: `.NAME.rtrec-PID.KIND`.
    pub fn temporary(&mut self, kind: &str) -> Result<File, Error> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let file_name = format!(".{name}.rtrec-{}.{kind}", std::process::id());
        let temporary = match &self.scratch {
            Some(folder) => folder.join(file_name),
            None => self.path.with_file_name(file_name),
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(|source| Error::Output { path: self.path.clone(), source })?;
        self.temporary.push(temporary);
        Ok(file)
    }

    /// Gives the complete file its name and removes the others.
    pub fn publish(mut self) -> Result<(), Error> {
        let path = self.path.clone();
        std::fs::rename(&self.temporary[0], &path).map_err(|source| Error::Output { path, source })?;
        self.sealed = true;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        for path in self.temporary.iter().skip(usize::from(self.sealed)) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// An existing file is replaced by rename, which asks for rights on the folder only; respect its own too.
fn writable(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).open(path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn an_unsealed_output_leaves_nothing_and_spares_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.dat");
        std::fs::write(&path, "old").unwrap();
        let (mut output, mut file) = Output::claim(&path).unwrap();
        output.temporary("cpu0").unwrap();
        file.write_all(b"new").unwrap();
        drop(output);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_sealed_output_replaces_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.dat");
        std::fs::write(&path, "old").unwrap();
        let (mut output, mut file) = Output::claim(&path).unwrap();
        output.temporary("cpu0").unwrap();
        file.write_all(b"new").unwrap();
        output.publish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn folders_devices_and_missing_folders_are_refused_at_once() {
        for path in ["/tmp", "/dev/full", "/no/such/dir/x", ""] {
            let Err(Error::Output { path: named, .. }) = Output::claim(Path::new(path)) else { panic!("{path}") };
            assert_eq!(named, Path::new(path));
        }
    }
}
