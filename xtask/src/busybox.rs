//! The shell and small tools of the lab's guests: Debian's statically linked busybox.
//!
//! Owns: its place in the cache. It is unpacked there, so that a host need not have it installed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::apt;
use crate::cache;
use crate::error::{Error, Result};
use crate::host;

const SUITE: &str = "bookworm";

/// The busybox program in the cache.
pub fn program() -> Result<PathBuf> {
    let path = cache::root()?.join("busybox/busybox");
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::new("busybox is not in the cache").fact("file", path.display().to_string()).advice("cargo xtask setup"))
}

/// Makes sure that busybox is in the cache; fetches it if not.
pub fn fetch() -> Result<PathBuf> {
    let _lock = cache::lock()?;
    if let Ok(path) = program() {
        return Ok(path);
    }
    eprintln!("xtask: fetching busybox");
    let mut root = apt::Root::open(SUITE)?;
    let package = root.download("busybox-static")?;
    cache::publish(&cache::root()?.join("busybox"), |part| {
        let tree = part.join("package");
        apt::unpack(&package, &tree)?;
        // Before `/usr` was merged the program lay in `bin`.
        let from = ["usr/bin/busybox", "bin/busybox"].map(|name| tree.join(name)).into_iter().find(|p| p.is_file());
        let from = from.ok_or_else(|| Error::new("the package busybox-static brought no busybox"))?;
        let to = part.join("busybox");
        fs::rename(&from, &to).map_err(|e| Error::io("busybox could not be put in place", &to, e))?;
        cache::remove_folder(&tree)
    })?;
    root.clean()?;
    program()
}

/// The paths of its applets, from the root: `usr/bin/awk`, ….
pub fn applets() -> Result<Vec<String>> {
    let list = host::text(Command::new(program()?).arg("--list-full"))?;
    Ok(list.lines().map(str::to_owned).collect())
}
