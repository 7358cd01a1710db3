//! Who may do what: no borrowed rights, files for whoever asked, no way through what others have planted.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User, getegid, geteuid, getgid, getuid};

use crate::record::error::Error;

/// Refuses to run as a setuid or setgid program: rtrec runs commands and opens files for its user, never for its owner.
pub fn refuse_elevated() -> Result<(), Error> {
    // SAFETY: reads a number that the kernel has put beside the environment.
    let secure = unsafe { nix::libc::getauxval(nix::libc::AT_SECURE) } != 0;
    if secure || getuid() != geteuid() || getgid() != getegid() { Err(Error::Elevated) } else { Ok(()) }
}

/// Who asked root to run this: `SUDO_UID` and `SUDO_GID`.
fn invoking() -> Option<(Uid, Gid)> {
    if !geteuid().is_root() {
        return None;
    }
    let number = |name| std::env::var(name).ok()?.parse::<u32>().ok();
    Some((Uid::from_raw(number("SUDO_UID")?), Gid::from_raw(number("SUDO_GID")?)))
}

/// Gives an output its owner and its permissions.
pub fn hand_over(file: &File, mode: Option<u32>) -> io::Result<()> {
    if let Some((uid, gid)) = invoking() {
        nix::unistd::fchown(file, Some(uid), Some(gid))?;
    }
    file.set_permissions(std::fs::Permissions::from_mode(mode.unwrap_or(0o600)))
}

/// Refuses a path of which another user has put a part into a folder that is open to all: a symbolic link on the way,
/// or the file itself.
pub fn judge_path(path: &Path) -> Result<(), Error> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let file = absolute.as_path();
    for part in absolute.ancestors() {
        let (Ok(metadata), Some(parent)) = (part.symlink_metadata(), part.parent()) else { continue };
        if !metadata.is_symlink() && part != file {
            continue;
        }
        let Ok(folder) = parent.metadata() else { continue };
        let open_to_all = folder.mode() & 0o002 != 0;
        let known = [geteuid().as_raw(), folder.uid()].contains(&metadata.uid())
            || invoking().is_some_and(|(uid, _)| uid.as_raw() == metadata.uid());
        if open_to_all && !known {
            return Err(Error::Planted(part.to_owned()));
        }
    }
    Ok(())
}

/// Whom the command runs as.
#[derive(Debug)]
pub struct Identity {
    name: CString,
    uid: Uid,
    gid: Gid,
    /// The whole environment, `NAME=value`.
    environment: Vec<CString>,
}

impl Identity {
    /// Looks a user up.
    pub fn of(name: &str) -> Result<Self, Error> {
        let unknown = || Error::NoUser(name.to_owned());
        let user = User::from_name(name).ok().flatten().ok_or_else(unknown)?;
        let own =
            |home: &PathBuf| [("HOME", home.clone().into_os_string()), ("USER", name.into()), ("LOGNAME", name.into())];
        let own = own(&user.dir);
        let inherited = std::env::vars_os().filter(|(key, _)| own.iter().all(|(name, _)| key != name));
        let environment = inherited.chain(own.iter().map(|(key, value)| (OsString::from(key), value.clone())));
        let environment = environment
            .filter_map(|(key, value)| CString::new([key.as_bytes(), b"=", value.into_vec().as_slice()].concat()).ok());
        Ok(Identity {
            name: CString::new(name).map_err(|_| unknown())?,
            uid: user.uid,
            gid: user.gid,
            environment: environment.collect(),
        })
    }

    /// The environment its processes get.
    pub fn environment(&self) -> &[CString] {
        &self.environment
    }

    /// Makes the calling process this user's, supplementary groups first, since nothing can be changed afterwards.
    pub fn assume(&self) -> nix::Result<()> {
        nix::unistd::initgroups(&self.name, self.gid)?;
        nix::unistd::setgid(self.gid)?;
        nix::unistd::setuid(self.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_another_user_planted_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o1777)).unwrap();
        let (link, file) = (open.join("link"), open.join("file"));
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        std::fs::write(&file, "").unwrap();
        // Our own are fine.
        assert!(judge_path(&link.join("x")).is_ok() && judge_path(&file).is_ok());
        if !geteuid().is_root() {
            return;
        }
        let nobody = Some(65534);
        std::os::unix::fs::lchown(&link, nobody, nobody).unwrap();
        std::os::unix::fs::lchown(&file, nobody, nobody).unwrap();
        for path in [link.join("x"), link.clone(), file] {
            assert!(matches!(judge_path(&path), Err(Error::Planted(_))), "{}", path.display());
        }
        assert!(judge_path(&open.join("new")).is_ok());
    }

    #[test]
    fn a_user_brings_his_home_and_unknown_ones_are_named() {
        let root = Identity::of("root").unwrap();
        assert!(root.environment().iter().any(|word| word.as_bytes() == b"USER=root"));
        assert!(matches!(Identity::of("no-such-user"), Err(Error::NoUser(name)) if name == "no-such-user"));
    }
}
