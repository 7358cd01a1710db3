//! The cache folder: everything fetched from elsewhere, shared by all checkouts of one user.
//!
//! Owns: where the cache is, and how a folder appears in it: whole or not at all.
//! Does not own: what the folders hold (see `kernels`, `peers`, `busybox`).
//!
//! Layout:
//! ```text
//! rtrec/apt/<suite>/          a private apt root: sources, lists, archives, empty status
//! rtrec/kernels/<name>/       vmlinuz, config, release
//! rtrec/peers/<tool>-<x.y>/   bin/<tool> (wrapper), root/ (the package and its libraries); <suite> links to the newest
//! rtrec/busybox/              busybox, linked statically
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The cache folder: `$RTREC_CACHE`, else `$XDG_CACHE_HOME/rtrec`, else `~/.cache/rtrec`.
pub fn root() -> Result<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    var("RTREC_CACHE")
        .or_else(|| var("XDG_CACHE_HOME").map(|folder| folder.join("rtrec")))
        .or_else(|| var("HOME").map(|folder| folder.join(".cache/rtrec")))
        .ok_or_else(|| {
            Error::new("there is no place for the cache: HOME is not set")
                .advice("set RTREC_CACHE to a folder for kernels and packages (about 500 MB)")
        })
}

/// Creates a folder and those above it.
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| Error::io("a folder could not be created", path, e))
}

/// Removes a folder with everything in it, if it is there.
pub fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("a folder could not be removed", path, e)),
        _ => Ok(()),
    }
}

/// Writes a small file.
pub fn write_file(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    fs::write(path, content).map_err(|e| Error::io("a file could not be written", path, e))
}

/// The cache lock: held until it is dropped while something is fetched, so that two chores do not fetch the same thing.
pub fn lock() -> Result<File> {
    let path = root()?.join("lock");
    create_folder(&root()?)?;
    let refused = |e| Error::io("the cache lock could not be taken", &path, e);
    let file = File::create(&path).map_err(refused)?;
    file.lock().map_err(refused)?;
    Ok(file)
}

/// Makes a folder appear whole: `fill` works on a folder beside it, which is renamed when `fill` has succeeded.
///
/// What an interrupted run left behind is removed first. The caller holds [`lock`].
pub fn publish(target: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let name = target.file_name().expect("a cache folder has a name").to_string_lossy();
    let parent = target.parent().expect("a cache folder lies in the cache");
    let beside = parent.join(format!(".{name}.part"));
    remove_folder(&beside)?;
    create_folder(&beside)?;
    fill(&beside)?;
    remove_folder(target)?;
    fs::rename(&beside, target).map_err(|e| Error::io("a finished folder could not be renamed", target, e))
}

/// Points the symbolic link `link` at `name`, a folder beside it, replacing what the link was.
pub fn point(link: &Path, name: &str) -> Result<()> {
    let beside = link.with_extension("part");
    let _ = fs::remove_file(&beside);
    std::os::unix::fs::symlink(name, &beside)
        .and_then(|()| fs::rename(&beside, link))
        .map_err(|e| Error::io("a link could not be set", link, e))
}
