//! The files to report: recorded natively and in the lab, converted, else grown from a fixture.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::kernels::Kernel;
use crate::{cache, host, project, vm};

use super::Settings;

/// Systems of events that are recorded.
const SYSTEMS: [&str; 6] = ["sched", "raw_syscalls", "irq", "timer", "kmem", "block"];
/// Rounds of the load that make about 50 MB of sub-buffers on two CPUs.
const ROUNDS: u32 = 6;
/// KiB of each CPU's buffer: enough that nothing is lost.
const BUFFER_KB: &str = "16384";
/// The lock that everybody takes who changes tracefs here, shared with `tests/common`.
const LOCK: &str = "rtrec-tests.lock";
/// Copies of a fixture's sub-buffers for 50 MB.
const COPIES: u64 = 400;

/// Seconds that the lab may take for its function graph.
const LAB_SECONDS: u64 = 300;

/// A file to report.
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// Bytes of its sub-buffers, where they are known.
    pub(super) raw_bytes: Option<f64>,
    /// Which views it is worth.
    pub(super) worth: Worth,
}

/// Which views are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    /// The plain text.
    Text,
    /// What another version of the same trace shows.
    Some,
    /// All.
    All,
}

pub(super) fn subjects(
    settings: &Settings,
    rtrec: &Path,
    folder: &Path,
    peers: &[(String, PathBuf)],
) -> Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for path in &settings.files {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        subjects.push(Subject { name, path: path.clone(), raw_bytes: None, worth: Worth::All });
    }
    let records = subjects.is_empty();
    if records {
        let scale = if settings.big { 10 } else { 1 };
        let path = folder.join(if settings.big { "big.dat" } else { "mid.dat" });
        match record(rtrec, folder, &path, scale) {
            Ok(raw_bytes) => {
                subjects.push(Subject { name: "v7 zstd".into(), path, raw_bytes: Some(raw_bytes), worth: Worth::All })
            }
            Err(error) => {
                eprintln!("xtask: nothing is recorded, a fixture is grown instead: {error}");
                let raw_bytes = grow(&path, COPIES * u64::from(scale))?;
                subjects.push(Subject { name: "v6 grown".into(), path, raw_bytes: Some(raw_bytes), worth: Worth::All });
            }
        }
    }
    let converted: Vec<Subject> = subjects.iter().filter_map(|subject| convert(subject, folder, peers)).collect();
    subjects.extend(converted);
    if records {
        match graph(folder) {
            Ok(path) => {
                let name = "function graph".into();
                subjects.push(Subject { name, path, raw_bytes: None, worth: Worth::Some });
            }
            Err(error) => eprintln!("xtask: there is no function graph of the lab: {error}"),
        }
    }
    let path = tiny(rtrec, folder).unwrap_or_else(|error| {
        eprintln!("xtask: a fixture stands for a tiny recording: {error}");
        project::root().join("tests/fixtures/v7-fgraph-probes/trace.dat")
    });
    subjects.push(Subject { name: "tiny".into(), path, raw_bytes: None, worth: Worth::Text });
    Ok(subjects)
}

/// Records a mixed load: system calls, wake-ups between processes, files, processes that come and go.
fn record(rtrec: &Path, folder: &Path, path: &Path, scale: u32) -> Result<f64> {
    if !host::is_root() {
        return Err(Error::new("recording needs root"));
    }
    project::test_programs()?;
    let programs = project::target("lab/programs");
    let load = format!(
        "i=0; while [ $i -lt {} ]; do {programs}/sysload mix 1200; {programs}/hog 8; \
         dd if=/dev/zero of={folder}/load bs=64k count=16 conv=fsync 2>&1; \
         j=0; while [ $j -lt 4 ]; do ls -l /usr/bin | sort | tail -1; j=$((j+1)); done; \
         i=$((i+1)); done >/dev/null; rm -f {folder}/load",
        ROUNDS * scale,
        programs = host::quoted(&programs),
        folder = host::quoted(folder),
    );
    let lock = lock()?;
    let mut command = Command::new(rtrec);
    command.args(["record", "--verbose", "-b", BUFFER_KB]);
    for system in SYSTEMS.into_iter().filter(|system| is_present(system)) {
        command.args(["-e", system]);
    }
    command.args(["-i", "-o"]).arg(path).args(["sh", "-c", &load]);
    let started = Instant::now();
    let output = host::output(&mut command)?;
    drop(lock);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    eprintln!("xtask: recorded for {:.1} s", started.elapsed().as_secs_f64());
    for line in said.lines().filter(|line| line.contains("lost") || line.contains("trace data")) {
        eprintln!("xtask: {line}");
    }
    raw_bytes(&said).ok_or_else(|| Error::new("rtrec did not say how much it recorded").fact("said", said))
}

/// Takes the lock on tracefs, until the file is dropped.
pub(crate) fn lock() -> Result<File> {
    let path = std::env::temp_dir().join(LOCK);
    let refused = |e| Error::io("the lock on tracefs could not be taken", &path, e);
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(refused)?;
    file.lock().map_err(refused)?;
    Ok(file)
}

/// Whether the running kernel has events of this system; machines without disks lack `block`.
fn is_present(system: &str) -> bool {
    Path::new("/sys/kernel/tracing/events").join(system).is_dir() || !Path::new("/sys/kernel/tracing/events").is_dir()
}

/// A few records with all that comes along with them.
fn tiny(rtrec: &Path, folder: &Path) -> Result<PathBuf> {
    if !host::is_root() {
        return Err(Error::new("recording needs root"));
    }
    let path = folder.join("tiny.dat");
    let _lock = lock()?;
    host::output(Command::new(rtrec).args(["record", "-e", "sched_switch", "-o"]).arg(&path).arg("true"))?;
    Ok(path)
}

/// The function graph of a kernel of the lab under a load of files and processes.
fn graph(folder: &Path) -> Result<PathBuf> {
    const LOAD: &str = "i=0; while [ $i -lt 3 ]; do ls -lR /proc/self /sys/kernel >/dev/null; i=$((i+1)); done";
    // Emulated kernels take half a minute to patch all of their functions.
    const FUNCTIONS: [&str; 6] = ["vfs_*", "ksys_*", "do_sys_*", "security_*", "*dentry*", "proc_*"];
    let mut record = vec!["rtrec", "record", "-p", "function_graph", "-b", BUFFER_KB, "-i", "-o", "/tmp/graph.dat"];
    record.extend(FUNCTIONS.iter().flat_map(|functions| ["-l", functions]));
    record.extend(["sh", "-c", LOAD]);
    let path = folder.join("graph.dat");
    // One of an earlier bench, which may be of another kernel.
    let _ = fs::remove_file(&path);
    vm::run(&vm::Settings {
        kernel: Kernel::ALL[1],
        command: record.into_iter().map(String::from).collect(),
        put: Vec::new(),
        get: vec!["graph.dat".into()],
        out: folder.to_path_buf(),
        timeout: Duration::from_secs(LAB_SECONDS),
    })?;
    if path.is_file() { Ok(path) } else { Err(Error::new("the recording in the lab brought no file")) }
}

/// `rtrec record: 48.3 MB of trace data in …`, in bytes.
fn raw_bytes(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.contains(" of trace data in "))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "of")?;
    let scale = match *words.get(at.checked_sub(1)?)? {
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => 1.0,
    };
    Some(words.get(at.checked_sub(2)?)?.parse::<f64>().ok()? * scale)
}

/// The same trace as version 6, by the oldest trace-cmd that can convert.
fn convert(subject: &Subject, folder: &Path, peers: &[(String, PathBuf)]) -> Option<Subject> {
    if subject.name.contains("v6") {
        return None;
    }
    let path = folder.join(format!("{}.v6", subject.path.file_name()?.to_string_lossy()));
    for (_, program) in peers {
        let mut command = Command::new(program);
        command.args(["convert", "--file-version", "6", "-i"]).arg(&subject.path).arg("-o").arg(&path);
        if host::output(&mut command).is_ok() {
            let name = subject.name.replace("v7 zstd", "v6");
            let name = if name == subject.name { format!("{name} as v6") } else { name };
            return Some(Subject { name, path, raw_bytes: subject.raw_bytes, worth: Worth::Some });
        }
    }
    eprintln!("xtask: no trace-cmd here converts {} to version 6", subject.path.display());
    None
}

/// Writes the fixture `v6-instances` with the sub-buffers of its top buffer many times over, later each time; returns
/// their bytes.
pub fn grow(path: &Path, copies: u64) -> Result<f64> {
    let source = project::root().join("tests/fixtures/v6-instances/trace.dat");
    let bytes = fs::read(&source).map_err(|e| Error::io("the fixture could not be read", &source, e))?;
    let (grown, raw) = grown(&bytes, copies)
        .ok_or_else(|| Error::new("the fixture is not as it was").fact("file", source.display().to_string()))?;
    cache::write_file(path, grown)?;
    Ok(raw)
}

/// Little-endian version 6 with 4 KiB sub-buffers, and nothing else.
fn grown(bytes: &[u8], copies: u64) -> Option<(Vec<u8>, f64)> {
    const PAGE: usize = 4096;
    let find = |what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (options, tag) = (find(b"options  \0")?, find(b"flyrecord\0")?);
    let cpus = u32::from_le_bytes(bytes.get(options - 4..options)?.try_into().ok()?) as usize;
    let table = tag + 10;
    let mut parts = Vec::new();
    for cpu in 0..cpus {
        let (at, size) = (word(table + cpu * 16)? as usize, word(table + cpu * 16 + 8)? as usize);
        parts.push(bytes.get(at..at + size)?);
    }
    let data = word(table)? as usize;
    let mut out = bytes.get(..data)?.to_vec();
    hide_instances(&mut out, options + 10)?;
    // Page times lie at the start of each page; a copy begins where the one before ended.
    let times = || parts.iter().flat_map(|part| part.chunks(PAGE)).filter_map(|page| page.get(..8));
    let times: Vec<u64> = times().filter_map(|time| Some(u64::from_le_bytes(time.try_into().ok()?))).collect();
    let span = times.iter().max()?.checked_sub(*times.iter().min()?)? + 1_000_000_000;
    let mut raw = 0;
    for (cpu, part) in parts.iter().enumerate() {
        let (start, size) = (out.len() as u64, part.len() as u64 * copies);
        out.get_mut(table + cpu * 16..)?.get_mut(..8)?.copy_from_slice(&start.to_le_bytes());
        out.get_mut(table + cpu * 16 + 8..)?.get_mut(..8)?.copy_from_slice(&size.to_le_bytes());
        for copy in 0..copies {
            for page in part.chunks(PAGE) {
                let time = u64::from_le_bytes(page.get(..8)?.try_into().ok()?) + copy * span;
                out.extend_from_slice(&time.to_le_bytes());
                out.extend_from_slice(&page[8..]);
            }
        }
        raw += size;
    }
    Some((out, raw as f64))
}

/// Makes the options about other buffers, whose data are gone, ones that say nothing.
fn hide_instances(bytes: &mut [u8], mut at: usize) -> Option<()> {
    const BUFFER: u16 = 3;
    const VERSION: u16 = 9;
    loop {
        let id = u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?);
        if id == 0 {
            return Some(());
        }
        if id == BUFFER {
            bytes[at..at + 2].copy_from_slice(&VERSION.to_le_bytes());
        }
        let size = u32::from_le_bytes(bytes.get(at + 2..at + 6)?.try_into().ok()?);
        at += 6 + size as usize;
    }
}

/// How many records a file has.
pub(super) fn events(rtrec: &Path, path: &Path) -> Result<u64> {
    let mut command = Command::new(rtrec);
    command.args(["report", "-q", "--format", "csv", "--fields", "cpu", "-i"]).arg(path);
    let output = host::output(&mut command)?;
    Ok(output.stdout.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_amount_recorded_is_read_from_what_rtrec_says() {
        let said = "rtrec record: CPU 0: 3 events read, 0 lost\nrtrec record: 48.3 MB of trace data in 2.0 s, in x\n";
        assert_eq!(raw_bytes(said), Some(48.3e6));
        assert_eq!(raw_bytes("rtrec record: nothing"), None);
    }

    #[test]
    fn a_fixture_grows_by_whole_copies_of_its_sub_buffers() {
        let bytes = fs::read(project::root().join("tests/fixtures/v6-instances/trace.dat")).unwrap();
        let (one, raw) = grown(&bytes, 1).unwrap();
        let (three, thrice) = grown(&bytes, 3).unwrap();
        assert!(raw > 0.0 && thrice == 3.0 * raw);
        assert_eq!(three.len() - one.len(), 2 * raw as usize);
    }
}
