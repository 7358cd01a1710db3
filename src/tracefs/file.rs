//! Reading and writing one control file.
//!
//! A setting is one `open`, one `write(2)`, its result checked: a buffered writer would show the kernel's refusal
//! only at close, where nobody hears it. Word lists end with a newline, since the kernel may judge an
//! unfinished word only at close.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::error::{Error, Operation};

/// How to open a control file for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Leave what the file holds. Right for single values, and the only safe way for `trigger` and `*probe_events`.
    Keep,
    /// Empty the file first: the kernel drops the old list on open.
    Truncate,
    /// Add to the list.
    Append,
}

/// The whole file as bytes.
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut file = File::open(path).map_err(|e| Error::new(Operation::Open, path, e))?;
    let mut bytes = Vec::with_capacity(4096);
    file.read_to_end(&mut bytes).map_err(|e| Error::new(Operation::Read, path, e))?;
    Ok(bytes)
}

/// The whole file as text; bytes that are not UTF-8 are replaced.
pub fn read_text(path: &Path) -> Result<String, Error> {
    let bytes = read(path)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// The file's text without the white space around it.
pub fn read_trimmed(path: &Path) -> Result<String, Error> {
    Ok(read_text(path)?.trim().to_owned())
}

/// Writes `text` with one `write(2)`.
pub fn write(path: &Path, text: &str, mode: Mode) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(nix::libc::O_CLOEXEC);
    match mode {
        Mode::Keep => {}
        Mode::Truncate => {
            options.truncate(true);
        }
        Mode::Append => {
            options.append(true);
        }
    }
    let mut file = options
        .open(path)
        .map_err(|e| Error { wrote: Some(text.trim_end().to_owned()), ..Error::new(Operation::Open, path, e) })?;
    if text.is_empty() {
        return Ok(());
    }
    let written = file.write(text.as_bytes()).map_err(|e| Error::write(path, text, e))?;
    if written < text.trim_end().len() {
        let short = format!("the kernel took {written} of {} bytes", text.len());
        return Err(Error::write(path, text, io::Error::other(short)));
    }
    Ok(())
}

/// Writes a single value, newline added.
pub fn write_value(path: &Path, value: &str) -> Result<(), Error> {
    write(path, &format!("{value}\n"), Mode::Keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_names_itself_and_what_was_to_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("current_tracer");
        let error = write_value(&path, "nop").unwrap_err();
        assert_eq!(error.operation, Operation::Open);
        assert_eq!(error.wrote.as_deref(), Some("nop"));
        assert!(error.is_missing());
    }

    #[test]
    fn append_adds_and_truncate_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set_graph_function");
        std::fs::write(&path, "old\n").unwrap();
        write(&path, "a\n", Mode::Append).unwrap();
        assert_eq!(read_text(&path).unwrap(), "old\na\n");
        write(&path, "b\n", Mode::Truncate).unwrap();
        assert_eq!(read_text(&path).unwrap(), "b\n");
    }
}
