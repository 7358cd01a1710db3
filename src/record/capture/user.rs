//! Who runs what: no borrowed rights, and a command as another user.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::unistd::{Gid, Uid, User, getegid, geteuid, getgid, getuid};

use crate::record::error::Error;

/// Refuses to run as a setuid or setgid program: rtrec runs commands and opens files for its user, never for its owner.
pub fn refuse_elevated() -> Result<(), Error> {
    // SAFETY: reads a number that the kernel has put beside the environment.
    let secure = unsafe { nix::libc::getauxval(nix::libc::AT_SECURE) } != 0;
    if secure || getuid() != geteuid() || getgid() != getegid() { Err(Error::Elevated) } else { Ok(()) }
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
        let users_own = [("HOME", user.dir.clone().into_os_string()), ("USER", name.into()), ("LOGNAME", name.into())];
        let inherited = std::env::vars_os().filter(|(key, _)| users_own.iter().all(|(name, _)| key != name));
        let environment = inherited.chain(users_own.iter().map(|(key, value)| (OsString::from(key), value.clone())));
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
    fn a_user_brings_his_home_and_unknown_ones_are_named() {
        let root = Identity::of("root").unwrap();
        assert!(root.environment().iter().any(|word| word.as_bytes() == b"USER=root"));
        assert!(matches!(Identity::of("no-such-user"), Err(Error::NoUser(name)) if name == "no-such-user"));
    }
}
