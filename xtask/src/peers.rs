//! Peers: the releases of trace-cmd that rtrec is compared with, each with its own libraries, beside the system.
//!
//! Owns: which releases there are, unpacking them into the cache, the wrapper that starts them.
//! Does not own: what is compared (see the tests), or trace-cmd as installed on the host.
//!
//! A peer is started through the dynamic loader it came with, told where its libraries are. Its plugins have a fixed
//! place compiled in, the system's own; so the wrapper mounts the peer's folder over that place, in a mount namespace
//! that nobody else sees.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::apt;
use crate::cache;
use crate::error::{Error, Result};

/// A release of trace-cmd, named by the Debian suite that carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceCmd {
    /// Debian 12's: 3.1, writes version 6 and 7 files.
    Bookworm,
    /// Debian 13's: 3.3.
    Trixie,
    /// The newest in Debian: 3.4 or later.
    Unstable,
}

impl TraceCmd {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::Bookworm, Self::Trixie, Self::Unstable];

    const fn suite(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Unstable => "unstable",
        }
    }

    /// The peer's folder in the cache: `bin/trace-cmd` starts it, `root/` holds the packages' files.
    pub fn folder(self) -> Result<PathBuf> {
        let link = folder()?.join(self.suite());
        fs::canonicalize(&link).map_err(|e| {
            Error::io(format!("trace-cmd of Debian {} is not in the cache", self.suite()), &link, e)
                .advice("cargo xtask setup")
        })
    }

    /// The program to start: a wrapper that behaves as `trace-cmd` of that release.
    pub fn program(self) -> Result<PathBuf> {
        Ok(self.folder()?.join("bin/trace-cmd"))
    }

    /// Makes sure that the peer is in the cache; fetches it if not.
    pub fn fetch(self) -> Result<PathBuf> {
        let _lock = cache::lock()?;
        if let Ok(folder) = self.folder()
            && folder.join("bin/trace-cmd").is_file()
        {
            return Ok(folder);
        }
        let mut root = apt::Root::open(self.suite())?;
        let version = root.candidate("trace-cmd")?;
        let name = format!("trace-cmd-{}", major_minor(&version));
        eprintln!("xtask: fetching trace-cmd {version} with its libraries");
        let packages = root.download_closure("trace-cmd")?;
        let target = folder()?.join(&name);
        cache::publish(&target, |part| {
            let files = part.join("root");
            packages.iter().try_for_each(|package| apt::unpack(package, &files))?;
            write_wrapper(part, &files)?;
            cache::write_file(&part.join("version"), format!("{version}\n"))
        })?;
        cache::point(&folder()?.join(self.suite()), &name)?;
        root.clean()?;
        Ok(target)
    }
}

fn folder() -> Result<PathBuf> {
    Ok(cache::root()?.join("peers"))
}

/// `3.4` of `3.4-2`, `3.3` of `3.3.1-1+b1`.
fn major_minor(version: &str) -> String {
    let upstream = version.split('-').next().unwrap_or(version);
    upstream.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// Writes `bin/trace-cmd`. The script finds everything from its own place, so the folder may be moved.
fn write_wrapper(part: &Path, root: &Path) -> Result<()> {
    let libraries = library_folder(root)?;
    let loader = loader(&root.join(&libraries))?;
    let script = WRAPPER.replace("@LIBRARIES@", &libraries).replace("@LOADER@", &loader);
    let path = part.join("bin/trace-cmd");
    cache::create_folder(&part.join("bin"))?;
    cache::write_file(&path, script)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .map_err(|e| Error::io("the wrapper could not be made executable", &path, e))
}

/// The multiarch library folder of an unpacked tree, relative to its root: `usr/lib/x86_64-linux-gnu`.
pub fn library_folder(root: &Path) -> Result<String> {
    let base = root.join("usr/lib");
    let entries = fs::read_dir(&base).map_err(|e| Error::io("the unpacked libraries could not be read", &base, e))?;
    let mut names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let name = names.find(|name| name.ends_with("-linux-gnu"));
    name.map(|name| format!("usr/lib/{name}"))
        .ok_or_else(|| Error::new("the packages brought no library folder").fact("file", base.display().to_string()))
}

/// The dynamic loader's path from the tree's root. It lies beside libc, or (before `/usr` was merged) in `lib/…`.
fn loader(libraries: &Path) -> Result<String> {
    let multiarch = libraries.file_name().expect("a library folder has a name");
    let root = libraries.ancestors().nth(3).expect("a library folder lies in usr/lib");
    for base in ["usr/lib", "lib"] {
        let folder = root.join(base).join(multiarch);
        let names = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
        if let Some(name) = names.map(|n| n.to_string_lossy().into_owned()).find(|n| n.starts_with("ld-linux")) {
            return Ok(format!("{base}/{}/{name}", multiarch.to_string_lossy()));
        }
    }
    Err(Error::new("the packages brought no dynamic loader").fact("file", root.display().to_string()))
}

const WRAPPER: &str = r#"#!/bin/sh
# trace-cmd with the libraries, plugins and loader it was built with. Written by `cargo xtask`.
root=$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")/root
plugins=/@LIBRARIES@/traceevent/plugins
libraries=$root/@LIBRARIES@:$root/usr/lib:$root/lib/$(basename @LIBRARIES@)
run='exec "$root/@LOADER@" --argv0 trace-cmd --library-path "$libraries" "$root/usr/bin/trace-cmd" "$@"'
export root libraries
if [ -d "$plugins" ]; then
	# The place of the plugins is compiled in: put ours over the system's, for this process alone.
	export plugins
	map=; [ "$(id -u)" = 0 ] || map=--map-root-user
	exec unshare --mount $map --propagation private sh -c \
		'mount --bind "$root$plugins" "$plugins" || exit 125; '"$run" trace-cmd "$@"
fi
TRACEEVENT_PLUGIN_DIR=$root$plugins
export TRACEEVENT_PLUGIN_DIR
eval "$run"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debian_version_names_the_peer_by_two_numbers() {
        assert_eq!(major_minor("3.4-2"), "3.4");
        assert_eq!(major_minor("3.3.1-1+b1"), "3.3");
        assert_eq!(major_minor("3.1.6-1"), "3.1");
    }
}
