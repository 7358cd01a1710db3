//! The kernels the lab boots: Debian's cloud images, oldest supported to newest.
//!
//! Owns: which kernels there are, where Debian has them, their place in the cache.
//! Does not own: booting (see `lab`). Modules are not kept: what the lab needs (NVMe, serial lines, tmpfs) is built in.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::apt;
use crate::cache;
use crate::error::{Error, Result};

/// A kernel of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// 6.1, of Debian 12: the oldest that rtrec supports.
    V6_1,
    /// 6.12, of Debian 12's backports and Debian 13.
    V6_12,
    /// The newest in Debian.
    Latest,
}

impl Kernel {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::V6_1, Self::V6_12, Self::Latest];

    /// The name on command lines and in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Latest => "latest",
        }
    }

    /// The suites to look in, best first, and what the release must begin with.
    const fn sources(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::V6_1 => (&["bookworm"], "6.1."),
            Self::V6_12 => (&["bookworm-backports", "trixie"], "6.12."),
            Self::Latest => (&["unstable"], ""),
        }
    }

    fn folder(self) -> Result<PathBuf> {
        Ok(cache::root()?.join("kernels").join(self.name()))
    }

    /// The kernel image in the cache; an error that says how to get it if it is not there.
    pub fn image(self) -> Result<PathBuf> {
        let image = self.folder()?.join("vmlinuz");
        if image.is_file() {
            return Ok(image);
        }
        Err(Error::new(format!("kernel {self} is not in the cache"))
            .fact("file", image.display().to_string())
            .advice("cargo xtask setup"))
    }

    /// The exact release in the cache, such as `6.12.95+deb12-cloud-amd64`.
    pub fn release(self) -> Result<String> {
        let path = self.folder()?.join("release");
        let text = fs::read_to_string(&path).map_err(|e| {
            Error::io(format!("kernel {self} is not in the cache"), &path, e).advice("cargo xtask setup")
        })?;
        Ok(text.trim_end().to_owned())
    }

    /// Makes sure that the kernel is in the cache; fetches it if not.
    pub fn fetch(self) -> Result<PathBuf> {
        let _lock = cache::lock()?;
        if let Ok(image) = self.image() {
            return Ok(image);
        }
        let metapackage = metapackage()?;
        let (suites, prefix) = self.sources();
        let mut reasons = Vec::new();
        for suite in suites {
            match self.fetch_from(suite, metapackage, prefix) {
                Ok(()) => return self.image(),
                Err(error) => reasons.push(format!("{suite}: {error}")),
            }
        }
        Err(Error::new(format!("kernel {self} cannot be had")).fact("because", reasons.join("\n")))
    }

    fn fetch_from(self, suite: &str, metapackage: &str, prefix: &str) -> Result<()> {
        let mut root = apt::Root::open(suite)?;
        let depends = root.depends(metapackage)?;
        let wanted = format!("linux-image-{prefix}");
        let package = depends.iter().find(|name| name.starts_with(&wanted)).ok_or_else(|| {
            Error::new(format!("{metapackage} of {suite} brings no {wanted}*")).fact("depends", depends.join(" "))
        })?;
        let release = package.trim_start_matches("linux-image-");
        eprintln!("xtask: fetching kernel {release}");
        let mut packages = vec![root.download(package)?];
        // Newer packages leave the image to `linux-binary-*` and its configuration to `linux-base-*`.
        for part in root.depends(package)? {
            if [format!("linux-binary-{release}"), format!("linux-base-{release}")].contains(&part) {
                packages.push(root.download(&part)?);
            }
        }
        cache::publish(&self.folder()?, |part| keep_image(&packages, release, part))?;
        root.clean()
    }
}

/// Where packages have the image and its configuration, with `@` for the release: by age of the kernel.
const PLACES: [(&str, &str); 2] =
    [("boot/vmlinuz-@", "boot/config-@"), ("usr/lib/modules/@/vmlinuz", "usr/lib/modules/@/config")];

/// Puts the image and its configuration from the packages into `part`, under names that do not change.
fn keep_image(packages: &[PathBuf], release: &str, part: &Path) -> Result<()> {
    let tree = part.join("packages");
    cache::create_folder(&tree)?;
    packages.iter().try_for_each(|package| apt::unpack(package, &tree))?;
    let place = |pattern: &str| tree.join(pattern.replace('@', release));
    let (image, config) = PLACES
        .iter()
        .map(|(image, config)| (place(image), place(config)))
        .find(|(image, _)| image.is_file())
        .ok_or_else(|| Error::new(format!("the packages of kernel {release} brought no vmlinuz")))?;
    for (from, name) in [(image, "vmlinuz"), (config, "config")] {
        fs::rename(&from, part.join(name)).map_err(|e| Error::io("the kernel packages lack a file", &from, e))?;
    }
    cache::remove_folder(&tree)?;
    cache::write_file(&part.join("release"), format!("{release}\n"))
}

fn metapackage() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("linux-image-cloud-amd64"),
        other => Err(Error::new(format!("the lab boots x86_64 kernels, this host is {other}"))
            .advice("cargo xtask test --native")),
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kernel {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|kernel| kernel.name() == name)
            .ok_or_else(|| Error::new(format!("the lab has no kernel {name}")).advice("one of 6.1, 6.12, latest"))
    }
}
