//! A file system that fails on command while a recorder writes to it.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::common::faults::{Load, events, row};
use crate::common::{Alone, Recorder, listing, records, run, stderr, wait_until};

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
        mount
            .args(["-o", "loop,errors=remount-ro"])
            .arg(&self.image)
            .arg(&self.dir)
            .status()
            .is_ok_and(|status| status.success())
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

impl Ext4 {
    /// The file that makes the kernel find an error in it.
    fn trigger(&self) -> PathBuf {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let dir = self.dir.to_string_lossy().into_owned();
        let device = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|words| words[1] == dir);
        let device = device.and_then(|words| words[0].strip_prefix("/dev/").map(str::to_owned)).unwrap_or_default();
        Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error")
    }

    fn can_become_read_only(&self) -> bool {
        self.trigger().exists()
    }

    /// The kernel finds an error, after which it may only be read.
    fn become_read_only(&self) -> bool {
        fs::write(self.trigger(), "a test of rtrec").is_ok()
    }

    fn repair(&self) {
        let _ = Command::new("fsck.ext4").args(["-f", "-y"]).arg(&self.image).output();
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.dir).output();
    }
}

/// Records to the disk until `fault`, repairs the disk, restores the trace and tells the number of its events.
fn restored_after(ext4: &Ext4, error: &str, fault: impl FnOnce()) -> usize {
    let load = Load::start();
    let words = ["record", "-B", "rtrec-test", "-b", "512", "-e", "raw_syscalls", "-o", "a.dat"];
    let recorder = Recorder::start(&ext4.dir, &words);
    wait_until("it records", || records(&ext4.dir));
    std::thread::sleep(Duration::from_millis(1500));
    fault();
    let output = recorder.output();
    drop(load);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains(error), "{}", stderr(&output));
    ext4.unmount();
    ext4.repair();
    assert!(ext4.mount());
    let restored = run(&ext4.dir, &["restore", "a.dat"]);
    assert!(restored.status.success(), "{}", stderr(&restored));
    assert!(listing(&ext4.dir).iter().any(|name| name == "a.dat"));
    let kept = events(&ext4.dir, "a.dat");
    let reset = run(&ext4.dir, &["reset", "--stale", "."]);
    assert!(reset.status.success(), "{}", stderr(&reset));
    kept
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
    let kept = restored_after(&ext4, "EIO", || ext4.fail());
    assert!(kept > 1000, "{kept}");
    alone.assert_as_before(&before);
    row("EIO while recording (disk dies)", 1, "restorable when it is back", format!("{kept} events"));
}

#[test]
fn a_disk_that_may_only_be_read_ends_a_recording_that_can_be_restored_when_it_is_repaired() {
    let alone = Alone::with_tracefs();
    let before = alone.snapshot();
    let folder = tempfile::tempdir().unwrap();
    let ext4 = Ext4::make(folder.path());
    let Some(ext4) = ext4.filter(Ext4::can_become_read_only) else {
        xtask::lab::not_run("a_disk_that_may_only_be_read", "no ext4 in a file that finds errors on command");
        return;
    };
    // What ext4 has not written to its journal is gone with such an error; it writes every five seconds, or when told to.
    let kept = restored_after(&ext4, "EROFS", || {
        nix::unistd::sync();
        assert!(ext4.become_read_only());
    });
    assert!(kept > 1000, "{kept}");
    alone.assert_as_before(&before);
    row("EROFS while recording (read-only)", 1, "restorable when repaired", format!("{kept} events"));
}
