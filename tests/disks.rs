//! A file system that fails on command while a recorder writes to it.

mod common;

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::faults::{Load, events, row};
use common::{Alone, Recorder, listing, records, run, stderr, wait_until};

/// An ext4 file system in a file, gone when dropped.
struct Ext4 {
    image: PathBuf,
    dir: PathBuf,
}

impl Ext4 {
    /// `None` where such a thing cannot be mounted.
    fn make(folder: &Path) -> Option<Ext4> {
        let ext4 = Ext4 { image: folder.join("image"), dir: folder.join("disk") };
        fs::create_dir(&ext4.dir).unwrap();
        File::create(&ext4.image).unwrap().set_len(96 << 20).unwrap();
        let made = Command::new("mkfs.ext4").arg("-q").arg(&ext4.image).status().is_ok_and(|status| status.success());
        (made && ext4.mount()).then_some(ext4)
    }

    fn mount(&self) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(&self.image).arg(&self.dir).status().is_ok_and(|status| status.success())
    }

    fn unmount(&self) {
        let _ = Command::new("umount").arg(&self.dir).output();
    }

    /// From now on everything on it fails with EIO, as after the death of its disk.
    fn fail(&self) {
        const SHUT_DOWN: nix::libc::c_ulong = 0x8004_587d;
        let dir = File::open(&self.dir).unwrap();
        let flush_first: u32 = 0;
        // SAFETY: the call reads one u32 behind a pointer that is valid while it lasts, from a descriptor that is open.
        let result = unsafe { nix::libc::ioctl(dir.as_raw_fd(), SHUT_DOWN, &raw const flush_first) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.dir).output();
    }
}

#[test]
fn a_disk_that_dies_ends_a_recording_that_can_be_restored_when_it_is_back() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let Some(ext4) = Ext4::make(folder.path()) else {
        xtask::lab::not_run("a_disk_that_dies", "ext4 in a file cannot be made or mounted");
        return;
    };
    let load = Load::start();
    let words = ["record", "-B", "rtrec-test", "-b", "512", "-e", "raw_syscalls", "-o", "a.dat"];
    let recorder = Recorder::start(&ext4.dir, &words);
    wait_until("it records", || records(&ext4.dir));
    std::thread::sleep(Duration::from_millis(1500));
    ext4.fail();
    let output = recorder.output();
    drop(load);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("EIO"), "{}", stderr(&output));
    alone.assert_as_before(&before);
    ext4.unmount();
    assert!(ext4.mount());
    let restored = run(&ext4.dir, &["restore", "a.dat"]);
    assert!(restored.status.success(), "{}", stderr(&restored));
    let kept = events(&ext4.dir, "a.dat");
    assert!(kept > 1000, "{kept}");
    assert!(listing(&ext4.dir).iter().any(|name| name == "a.dat"));
    row("EIO while recording (disk dies)", 1, "restorable when it is back", format!("{kept} events"));
    let reset = run(&ext4.dir, &["reset", "--stale", "."]);
    assert!(reset.status.success(), "{}", stderr(&reset));
    alone.assert_as_before(&before);
}
