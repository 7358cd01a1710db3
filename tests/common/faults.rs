//! What the tests of faults share: rows of the table, a load, numbers that look random, counting without rtrec.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use byteorder::{ByteOrder, NativeEndian};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{run, stderr, stdout};

/// A row of the fault table. Rows are printed only when all they claim was asserted.
pub fn row(fault: &str, tries: usize, expected: impl ToString, recovered: impl ToString) {
    println!("FAULT|{fault}|{tries}|{}|{}|yes", expected.to_string(), recovered.to_string());
}

/// System calls and switches as fast as a shell makes them, in a process group of its own that ends with it.
pub struct Load(Child);

impl Load {
    pub fn start() -> Load {
        let script = "while :; do /bin/true; done";
        let mut command = Command::new("sh");
        Load(command.args(["-c", script]).process_group(0).stdout(Stdio::null()).spawn().expect("sh starts"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(-(self.0.id() as i32)), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

/// Numbers that look random, from a seed that is printed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// How often a fault is tried: few times in the tests, many in the suite.
pub fn tries(few: usize) -> usize {
    std::env::var("RTREC_FAULT_TRIES").ok().and_then(|tries| tries.parse().ok()).unwrap_or(few)
}

/// Bytes of sub-buffers in whole chunks of all chunk files of a folder, counted independently of rtrec.
pub fn bytes_in_whole_chunks(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let chunked = files.filter(|path| path.to_string_lossy().contains(".cpu"));
    chunked.map(|path| whole_chunks(&fs::read(path).unwrap())).sum()
}

pub fn whole_chunks(bytes: &[u8]) -> u64 {
    let word = |at: usize| bytes.get(at..at + 4).map(|word| NativeEndian::read_u32(word) as usize);
    let (mut at, mut sum) = (4, 0);
    while let (Some(packed), Some(raw)) = (word(at), word(at + 4)) {
        at += 8 + packed;
        if at > bytes.len() {
            break;
        }
        sum += raw as u64;
    }
    sum
}

/// Each CPU's data in a sealed file, by rtrec's library.
pub fn data_of_cpus(dir: &Path, file: &str) -> Vec<Vec<u8>> {
    let dat = rtrec::dat::Dat::open(&dir.join(file)).unwrap();
    let bytes = fs::read(dir.join(file)).unwrap();
    let data = dat.buffers.iter().flat_map(|buffer| &buffer.cpus).filter(|cpu| cpu.bytes > 0);
    data.map(|cpu| bytes[cpu.offset as usize..][..cpu.bytes as usize].to_vec()).collect()
}

/// Bytes of sub-buffers in a sealed, compressed file.
pub fn raw_bytes(dir: &Path, file: &str) -> u64 {
    data_of_cpus(dir, file).iter().map(|data| whole_chunks(data)).sum()
}

/// Records in a report.
pub fn events(dir: &Path, file: &str) -> usize {
    let output = run(dir, &["report", file]);
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output).lines().skip(1).filter(|line| !line.contains("EVENTS DROPPED]")).count()
}

/// A small file system, gone when dropped.
pub struct Small(pub PathBuf);

impl Small {
    pub fn mount(folder: &Path, size: &str) -> Small {
        let dir = folder.join("small");
        fs::create_dir(&dir).unwrap();
        let size = format!("size={size}");
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("none"), &dir, Some("tmpfs"), flags, Some(size.as_str())).expect("a small tmpfs mounts");
        Small(dir)
    }
}

impl Small {
    /// Makes it larger or smaller.
    pub fn resize(dir: &Path, size: &str) {
        let size = format!("size={size}");
        let flags = nix::mount::MsFlags::MS_REMOUNT;
        nix::mount::mount(None::<&str>, dir, None::<&str>, flags, Some(size.as_str())).expect("it changes its size");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}
