//! `cargo xtask bench`: rtrec beside every release of trace-cmd that is here, on the same files.
//!
//! Owns: making the files (recorded natively, else grown from a fixture), running the commands in turn, the table.
//! Does not own: benches of single functions, which are criterion's (`benches/`).
//!
//! The commands take turns, so that a machine whose speed drifts is as slow to one as to the other; the median counts.
//! Each is started by a process of its own ([`measure`]), which can then ask for the peak memory of its only child.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use crate::error::{Error, Result};
use crate::peers::TraceCmd;
use crate::{cache, host, licences, project};

/// What to measure.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Files to report; recorded if there are none.
    pub files: Vec<PathBuf>,
    /// Record about 500 MB of sub-buffers instead of 50 MB.
    pub big: bool,
    /// Runs of each command.
    pub runs: usize,
}

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

/// A file to report.
struct Subject {
    name: String,
    path: PathBuf,
    /// Bytes of its sub-buffers, where they are known.
    raw_bytes: Option<f64>,
}

/// A command to measure.
struct Entry {
    subject: usize,
    view: &'static str,
    tool: String,
    command: Vec<String>,
    seconds: Vec<f64>,
    /// User and system time, which a busy machine stretches less.
    cpu_seconds: Vec<f64>,
    peak_mib: f64,
    failed: Option<String>,
}

/// Measures reports and prints the table.
pub fn report(settings: &Settings) -> Result<ExitCode> {
    let rtrec = release_rtrec()?;
    let folder = project::target("bench");
    cache::create_folder(&folder)?;
    let peers = peers();
    let subjects = subjects(settings, &rtrec, &folder, &peers)?;
    let counts = subjects.iter().map(|subject| events(&rtrec, &subject.path)).collect::<Result<Vec<u64>>>()?;
    let mut entries = entries(&subjects, &rtrec, &peers);
    let program = std::env::current_exe().map_err(|e| Error::io("this program is gone", Path::new("/proc/self"), e))?;
    for round in 0..settings.runs.max(1) {
        eprintln!("xtask: round {} of {}", round + 1, settings.runs.max(1));
        for entry in entries.iter_mut().filter(|entry| entry.failed.is_none()) {
            run_once(&program, entry)?;
        }
    }
    print(&subjects, &counts, &entries);
    Ok(ExitCode::SUCCESS)
}

/// Builds rtrec as it is released, or as the environment's `CARGO_PROFILE_RELEASE_…` says.
pub(crate) fn release_rtrec() -> Result<PathBuf> {
    host::run(project::cargo().args(["build", "--quiet", "--release", "--package", "rtrec", "--bin", "rtrec"]))?;
    let metadata = licences::metadata(&["--no-deps"])?;
    let target = metadata["target_directory"].as_str().map(PathBuf::from);
    Ok(target.unwrap_or_else(|| project::target("")).join("release/rtrec"))
}

/// Every trace-cmd: the fetched releases, and the one on `PATH`.
fn peers() -> Vec<(String, PathBuf)> {
    let fetched = TraceCmd::ALL.into_iter().filter_map(|peer| peer.program().ok());
    let mut peers: Vec<(String, PathBuf)> = Vec::new();
    for program in fetched.chain(host::find_program("trace-cmd")) {
        let said = Command::new(&program).arg("--version").stdin(Stdio::null()).output();
        let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let version = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        let Some(version) = version else {
            eprintln!("xtask: {} does not run here", program.display());
            continue;
        };
        let place = if program.starts_with("/usr") { " (PATH)" } else { "" };
        peers.push((format!("trace-cmd {version}{place}"), program));
    }
    if peers.is_empty() {
        eprintln!("xtask: there is no trace-cmd to compare with; cargo xtask setup fetches it");
    }
    peers
}

// ------------------------------------------------------------------------------------------------------ files

fn subjects(settings: &Settings, rtrec: &Path, folder: &Path, peers: &[(String, PathBuf)]) -> Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for path in &settings.files {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        subjects.push(Subject { name, path: path.clone(), raw_bytes: None });
    }
    if subjects.is_empty() {
        let scale = if settings.big { 10 } else { 1 };
        let path = folder.join(if settings.big { "big.dat" } else { "mid.dat" });
        match record(rtrec, folder, &path, scale) {
            Ok(raw_bytes) => subjects.push(Subject { name: "v7 zstd".into(), path, raw_bytes: Some(raw_bytes) }),
            Err(error) => {
                eprintln!("xtask: nothing is recorded, a fixture is grown instead: {error}");
                let raw_bytes = grow(&path, COPIES * u64::from(scale))?;
                subjects.push(Subject { name: "v6 grown".into(), path, raw_bytes: Some(raw_bytes) });
            }
        }
    }
    let converted: Vec<Subject> = subjects.iter().filter_map(|subject| convert(subject, folder, peers)).collect();
    subjects.extend(converted);
    let tiny = project::root().join("tests/fixtures/v7-fgraph-probes/trace.dat");
    subjects.push(Subject { name: "tiny".into(), path: tiny, raw_bytes: None });
    Ok(subjects)
}

/// Waits until nobody else of this project changes tracefs; nobody will as long as the file is open.
pub(crate) fn alone_with_tracefs() -> Result<File> {
    let lock = std::env::temp_dir().join(LOCK);
    let refused = |e| Error::io("the lock on tracefs could not be taken", &lock, e);
    let file = File::options().create(true).truncate(false).write(true).open(&lock).map_err(refused)?;
    file.lock().map_err(refused)?;
    Ok(file)
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
    let alone = alone_with_tracefs()?;
    let mut command = Command::new(rtrec);
    command.args(["record", "--verbose", "-b", BUFFER_KB]);
    for system in SYSTEMS {
        command.args(["-e", system]);
    }
    command.args(["-i", "-o"]).arg(path).args(["sh", "-c", &load]);
    let started = Instant::now();
    let output = host::output(&mut command)?;
    drop(alone);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    eprintln!("xtask: recorded for {:.1} s", started.elapsed().as_secs_f64());
    for line in said.lines().filter(|line| line.contains("lost") || line.contains("trace data")) {
        eprintln!("xtask: {line}");
    }
    raw_bytes(&said).ok_or_else(|| Error::new("rtrec did not say how much it recorded").fact("said", said))
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
            return Some(Subject { name, path, raw_bytes: subject.raw_bytes });
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
fn events(rtrec: &Path, path: &Path) -> Result<u64> {
    let mut command = Command::new(rtrec);
    command.args(["report", "-q", "--format", "csv", "--fields", "cpu", "-i"]).arg(path);
    let output = host::output(&mut command)?;
    Ok(output.stdout.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1) as u64)
}

// ---------------------------------------------------------------------------------------------------- measuring

/// A view: its name, rtrec's arguments, and trace-cmd's where it has one.
type View = (&'static str, &'static [&'static str], Option<&'static [&'static str]>);

const FILTER: &str = "sched_switch: prev_pid != 0";
const VIEWS: [View; 6] = [
    ("text", &[], Some(&[])),
    ("text, 1 thread", &["--threads", "1"], None),
    ("raw (-R)", &["-R"], Some(&["-R"])),
    ("filter (-F)", &["-F", FILTER], Some(&["-F", FILTER])),
    ("json", &["--format", "json"], None),
    ("summary", &["--summary"], None),
];

fn entries(subjects: &[Subject], rtrec: &Path, peers: &[(String, PathBuf)]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (subject, file) in subjects.iter().enumerate() {
        // Beyond the plain text, one version of a trace shows what there is to see.
        let views = match file.name.as_str() {
            "tiny" => 1,
            name if name.ends_with("v6") => 2,
            _ => VIEWS.len(),
        };
        for (view, ours, theirs) in VIEWS.iter().take(views) {
            let mut add = |tool: &str, program: &Path, arguments: &[&str]| {
                let mut command = vec![program.display().to_string(), "report".into()];
                command.extend(arguments.iter().map(|word| (*word).to_owned()));
                command.extend(["-i".into(), file.path.display().to_string()]);
                let (seconds, cpu_seconds, peak_mib, failed) = (Vec::new(), Vec::new(), 0.0, None);
                let tool = tool.into();
                entries.push(Entry { subject, view, tool, command, seconds, cpu_seconds, peak_mib, failed });
            };
            add("rtrec", rtrec, ours);
            if let Some(theirs) = theirs {
                peers.iter().for_each(|(name, program)| add(name, program, theirs));
            }
        }
    }
    entries
}

/// Runs a command through [`measure`] and keeps its figures.
fn run_once(program: &Path, entry: &mut Entry) -> Result<()> {
    let mut command = Command::new(program);
    command.arg("measure").arg("--").args(&entry.command);
    let said = host::text(&mut command)?;
    let figures: Vec<u64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [micros, cpu_micros, kib, status] = figures[..] else {
        return Err(Error::new("a measurement said something else").fact("said", said));
    };
    if status != 0 {
        entry.failed = Some(format!("status {status}"));
    }
    let (seconds, cpu) = (Duration::from_micros(micros).as_secs_f64(), Duration::from_micros(cpu_micros).as_secs_f64());
    eprintln!("xtask: {seconds:8.3} s, {cpu:8.3} s of CPU  {}", entry.command.join(" "));
    entry.seconds.push(seconds);
    entry.cpu_seconds.push(cpu);
    entry.peak_mib = entry.peak_mib.max(kib as f64 / 1024.0);
    Ok(())
}

/// Runs one command with its output thrown away; prints its microseconds, those of CPU time, its peak memory in
/// KiB, and its status.
pub fn measure(words: &[String]) -> Result<ExitCode> {
    let (program, arguments) = words.split_first().ok_or_else(|| Error::new("there is nothing to measure"))?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = Instant::now();
    let status = command.status().map_err(|e| host::cannot_start(&command, e))?;
    let micros = started.elapsed().as_micros();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)
        .map_err(|errno| Error::new("the memory of the command is not known").fact("system", errno.to_string()))?;
    let cpu = [usage.user_time(), usage.system_time()].map(|time| time.tv_sec() * 1_000_000 + time.tv_usec());
    println!("{micros} {} {} {}", cpu[0] + cpu[1], usage.max_rss(), status.code().unwrap_or(255));
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

fn print(subjects: &[Subject], counts: &[u64], entries: &[Entry]) {
    for (number, (subject, events)) in subjects.iter().zip(counts).enumerate() {
        let raw = subject.raw_bytes.map_or(String::new(), |raw| format!(", {:.1} MB of sub-buffers", raw / 1e6));
        println!("\n## {}: {events} events{raw}\n", subject.name);
        println!("| view | tool | median s (min..max) | CPU s | peak MiB | events/s | raw MB/s | rtrec is | by CPU |");
        println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
        for entry in entries.iter().filter(|entry| entry.subject == number) {
            let ours = entries
                .iter()
                .find(|other| other.subject == number && other.view == entry.view && other.tool == "rtrec");
            println!("{}", line(entry, ours, *events, subject.raw_bytes));
        }
    }
}

fn line(entry: &Entry, ours: Option<&Entry>, events: u64, raw: Option<f64>) -> String {
    let head = format!("| {} | {} |", entry.view, entry.tool);
    if let Some(why) = &entry.failed {
        return format!("{head} failed: {why} | | | | | | |");
    }
    let seconds = median(&entry.seconds);
    let least = entry.seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let most = entry.seconds.iter().copied().fold(0.0, f64::max);
    let rate = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
    let mb = raw.map_or(String::new(), |raw| format!("{:.0}", rate(raw / 1e6)));
    let cpu = median(&entry.cpu_seconds);
    let ratio = match ours {
        Some(ours) if entry.tool != "rtrec" => {
            format!("{:.1}x faster | {:.1}x", seconds / median(&ours.seconds), cpu / median(&ours.cpu_seconds))
        }
        _ => "|".into(),
    };
    format!(
        "{head} {seconds:.4} ({least:.4}..{most:.4}) | {cpu:.3} | {:.1} | {:.0} k | {mb} | {ratio} |",
        entry.peak_mib,
        rate(events as f64) / 1e3
    )
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

    #[test]
    fn the_median_is_the_middle_run() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[]), 0.0);
    }
}
