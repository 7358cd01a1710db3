//! Where tracefs is.

use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::error::{Error, Operation};
use super::instance::Instance;

const USUAL: &str = "/sys/kernel/tracing";

/// A tracefs root.
#[derive(Clone, Debug)]
pub struct Tracefs {
    dir: PathBuf,
}

impl Tracefs {
    /// A root given by the user, or a folder that plays the kernel in a test.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Tracefs { dir: dir.into() }
    }

    /// The root that a user has named, else the one that is found.
    pub fn open(dir: Option<&Path>) -> Result<Self, Error> {
        dir.map_or_else(Self::find, |dir| Ok(Self::at(dir)))
    }

    /// Finds the mounted tracefs, or mounts it at `/sys/kernel/tracing`.
    ///
    /// Looks in `/proc/mounts` for `tracefs`, then for a `debugfs` that has a `tracing` folder (kernels before 4.1).
    pub fn find() -> Result<Self, Error> {
        if let Some(root) = Self::mounted() {
            return Ok(root);
        }
        let usual = Path::new(USUAL);
        mount(
            Some("nodev"),
            usual,
            Some("tracefs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
            None::<&str>,
        )
        .map_err(|errno| Error::new(Operation::Mount, usual, errno.into()))?;
        Ok(Tracefs::at(usual))
    }

    fn mounted() -> Option<Self> {
        let mounts = procfs::mounts().ok()?;
        let of_type = |kind: &str| {
            mounts.iter().filter(|m| m.fs_vfstype == kind).map(|m| PathBuf::from(&m.fs_file)).collect::<Vec<_>>()
        };
        let tracefs = of_type("tracefs");
        if let Some(dir) = tracefs.iter().find(|dir| dir.as_path() == Path::new(USUAL)).or(tracefs.first()) {
            return Some(Tracefs::at(dir));
        }
        of_type("debugfs")
            .into_iter()
            .map(|dir| dir.join("tracing"))
            .find(|dir| dir.join("trace").exists())
            .map(Tracefs::at)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The top-level buffer and its control files.
    pub fn top(&self) -> Instance {
        Instance::top(&self.dir)
    }

    /// An instance by name; it need not exist.
    pub fn instance(&self, name: &str) -> Instance {
        Instance::named(&self.dir, name)
    }
}
