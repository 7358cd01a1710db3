//! The guest's first and only root file system, generated anew for every boot.
//!
//! Owns: what is in it: busybox with its applets, the static rtrec, the newest trace-cmd with its libraries and
//! plugins, the test programs, the agent and `/init`.
//! Does not own: the archive's format (see `cpio`), or building what goes in (see `project`).

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use crate::cpio::Archive;
use crate::error::{Error, Result};
use crate::peers::{self, TraceCmd};
use crate::{busybox, project};

/// What runs as process 1. `/init` mounts what a tracer expects and then lives as long as the agent.
const INIT: &str = r#"#!/usr/bin/busybox sh
export PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin HOME=/root TERM=dumb LANG=C.UTF-8 USER=root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs run /run
mount -t debugfs debug /sys/kernel/debug
mount -t tracefs trace /sys/kernel/tracing
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
hostname lab
ulimit -c 0
stty -F /dev/ttyS1 raw -echo clocal -hupcl
exec 3<>/dev/ttyS1
/usr/lib/lab/agent <&3 >&3
echo "lab: the agent ended with status $?"
poweroff -f
"#;

const FILES: [(&str, &str); 4] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/sh\n"),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost lab\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
];

const FOLDERS: [&str; 9] = ["dev", "proc", "sys", "run", "tmp", "root", "mnt", "usr/local/sbin", "usr/lib64"];

/// Folders that Debian has merged into `/usr`.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Writes the file system to `path`.
pub(super) fn write(path: &Path) -> Result<()> {
    let agent = project::agent()?;
    let rtrec = project::static_rtrec()?;
    let programs = project::test_programs()?;
    let file = File::create(path).map_err(|e| Error::io("the initramfs could not be created", path, e))?;
    let mut archive = Archive::new(BufWriter::new(file));
    skeleton(&mut archive).map_err(|e| Error::io("the initramfs could not be written", path, e))?;
    archive.copy(&agent, "usr/lib/lab/agent")?;
    archive.copy(&rtrec, "usr/local/bin/rtrec")?;
    for program in &programs {
        let name = program.file_name().expect("a program has a name").to_string_lossy();
        archive.copy(program, &format!("usr/local/bin/{name}"))?;
    }
    add_trace_cmd(&mut archive)?;
    // Last, so that an applet never takes the place of a real program.
    add_busybox(&mut archive)?;
    archive.finish().map_err(|e| Error::io("the initramfs could not be written", path, e)).map(drop)
}

fn skeleton(archive: &mut Archive<impl std::io::Write>) -> std::io::Result<()> {
    for folder in FOLDERS {
        archive.folder(folder)?;
    }
    for folder in MERGED {
        archive.link(folder, &format!("usr/{folder}"))?;
    }
    for (name, text) in FILES {
        archive.file(name, 0o644, text.as_bytes())?;
    }
    archive.device("dev/console", 5, 1)?;
    archive.file("init", 0o755, INIT.as_bytes())
}

/// trace-cmd as Debian ships it: the guest has no other libraries, so everything lies where it expects to be.
fn add_trace_cmd(archive: &mut Archive<impl std::io::Write>) -> Result<()> {
    let root = TraceCmd::Unstable.folder()?.join("root");
    let libraries = peers::library_folder(&root)?;
    let wanted = |name: &str| {
        let library = name.starts_with(&libraries) && name.contains(".so") && !name.contains("/gconv/");
        library || name == "usr/bin/trace-cmd" || name.starts_with("usr/lib64/")
    };
    archive.tree(&root, "", &wanted)
}

fn add_busybox(archive: &mut Archive<impl std::io::Write>) -> Result<()> {
    archive.copy(&busybox::program()?, "usr/bin/busybox")?;
    for applet in busybox::applets()? {
        let name = if applet.starts_with("usr/") { applet } else { format!("usr/{applet}") };
        if !archive.contains(&name) && name != "usr/linuxrc" {
            archive
                .link(&name, "/usr/bin/busybox")
                .map_err(|e| Error::new("the initramfs could not be written").fact("system", e.to_string()))?;
        }
    }
    Ok(())
}
