//! Whose the output is: files for whoever asked, no way through what others have planted.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::unistd::{Gid, Uid, geteuid};

use crate::record::error::Error;

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
pub fn check_path(path: &Path) -> Result<(), Error> {
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
        assert!(check_path(&link.join("x")).is_ok() && check_path(&file).is_ok());
        if !geteuid().is_root() {
            return;
        }
        let nobody = Some(65534);
        std::os::unix::fs::lchown(&link, nobody, nobody).unwrap();
        std::os::unix::fs::lchown(&file, nobody, nobody).unwrap();
        for path in [link.join("x"), link.clone(), file] {
            assert!(matches!(check_path(&path), Err(Error::Planted(_))), "{}", path.display());
        }
        assert!(check_path(&open.join("new")).is_ok());
    }
}
