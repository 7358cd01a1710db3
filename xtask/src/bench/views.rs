//! The commands that are measured, and the table of their figures.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use crate::error::{Error, Result};
use crate::host;

use super::files::{Subject, Worth};

/// A command to measure.
pub(super) struct Entry {
    /// Only until the first record is there.
    first_line: bool,
    subject: usize,
    view: &'static str,
    tool: String,
    command: Vec<String>,
    seconds: Vec<f64>,
    /// User and system time, which a busy machine stretches less.
    cpu_seconds: Vec<f64>,
    peak_mib: f64,
    pub(super) failed: Option<String>,
}

/// One way to look at a file.
struct View {
    name: &'static str,
    /// rtrec's arguments; `FROM` stands for a time late in the file.
    ours: &'static [&'static str],
    /// trace-cmd's, where it has such a view.
    theirs: Option<&'static [&'static str]>,
    /// For which files.
    least: Worth,
}

const fn view(
    name: &'static str,
    ours: &'static [&'static str],
    theirs: Option<&'static [&'static str]>,
    least: Worth,
) -> View {
    View { name, ours, theirs, least }
}

const FILTER: &str = "sched_switch: prev_pid != 0";
/// Stops the clock at the first record.
const FIRST_LINE: &str = "first line";
const FROM: &str = "FROM";
const VIEWS: [View; 11] = [
    view("text", &[], Some(&[]), Worth::Text),
    view("text, 1 thread", &["--threads", "1"], None, Worth::Text),
    view(FIRST_LINE, &[], Some(&[]), Worth::Text),
    view("filter (-F)", &["-F", FILTER], Some(&["-F", FILTER]), Worth::All),
    view("raw (-R)", &["-R"], Some(&["-R"]), Worth::All),
    view("json", &["--format", "json"], None, Worth::All),
    view("json, 1 thread", &["--format", "json", "--threads", "1"], None, Worth::All),
    view("summary", &["--summary"], None, Worth::Some),
    view("last 10 (--tail)", &["--tail", "10"], None, Worth::Some),
    view("last hundredth (--from)", &["--from", FROM], None, Worth::Some),
    view("CPU 0 (--cpu)", &["--cpu", "0"], Some(&["--cpu", "0"]), Worth::All),
];

/// All commands, in the order of the table.
pub(super) fn entries(subjects: &[Subject], rtrec: &Path, peers: &[(String, PathBuf)]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (number, subject) in subjects.iter().enumerate() {
        let from = late(rtrec, &subject.path).unwrap_or_else(|_| "0".into());
        for view in VIEWS.iter().filter(|view| view.least <= subject.worth) {
            // A filter that names no event of the file is an error.
            if view.ours.contains(&FILTER) && subject.name == "function graph" {
                continue;
            }
            entries.push(entry(number, view, subject, ("rtrec", rtrec), view.ours, &from));
            for (name, program) in peers.iter().filter(|_| view.theirs.is_some()) {
                let theirs = view.theirs.unwrap_or(&[]);
                entries.push(entry(number, view, subject, (name, program), theirs, &from));
            }
        }
    }
    entries
}

fn entry(
    number: usize,
    view: &View,
    subject: &Subject,
    (tool, program): (&str, &Path),
    arguments: &[&str],
    from: &str,
) -> Entry {
    let mut command = vec![program.display().to_string(), "report".into()];
    command.extend(arguments.iter().map(|word| if *word == FROM { from.to_owned() } else { (*word).to_owned() }));
    command.extend(["-i".into(), subject.path.display().to_string()]);
    Entry {
        first_line: view.name == FIRST_LINE,
        subject: number,
        view: view.name,
        tool: tool.into(),
        command,
        seconds: Vec::new(),
        cpu_seconds: Vec::new(),
        peak_mib: 0.0,
        failed: None,
    }
}

/// A time after which the last hundredth of a file lies, as `--from` takes it.
fn late(rtrec: &Path, path: &Path) -> Result<String> {
    let time = |part: &str| -> Result<u64> {
        let mut command = Command::new(rtrec);
        command.args(["report", "-q", part, "1", "--format", "csv", "--fields", "ts", "-i"]).arg(path);
        let said = host::text(&mut command)?;
        let last = said.lines().last().and_then(|line| line.parse().ok());
        last.ok_or_else(|| Error::new("a file without records").fact("file", path.display().to_string()))
    };
    let (first, last) = (time("--head")?, time("--tail")?);
    let from = last - last.saturating_sub(first) / 100;
    Ok(format!("{}.{:09}", from / 1_000_000_000, from % 1_000_000_000))
}

/// Runs a command through [`measure`] and keeps its figures.
pub(super) fn run_once(program: &Path, entry: &mut Entry) -> Result<()> {
    let mut command = Command::new(program);
    command.arg("measure");
    if entry.first_line {
        command.arg("--first-line");
    }
    command.arg("--").args(&entry.command);
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

/// Runs one command with its output thrown away, or, with `first_line`, until its second line is there, the first being
/// the heading; prints its microseconds, those of CPU time, its peak memory in KiB, and its status.
pub fn measure(words: &[String], first_line: bool) -> Result<ExitCode> {
    let (program, arguments) = words.split_first().ok_or_else(|| Error::new("there is nothing to measure"))?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    command.stdout(if first_line { Stdio::piped() } else { Stdio::null() });
    let started = Instant::now();
    let mut child = command.spawn().map_err(|e| host::cannot_start(&command, e))?;
    let mut micros = started.elapsed().as_micros();
    if let Some(mut out) = child.stdout.take() {
        let (mut lines, mut bytes) = (0, [0; 4096]);
        while lines < 2 {
            match out.read(&mut bytes) {
                Ok(read) if read > 0 => lines += bytes[..read].iter().filter(|byte| **byte == b'\n').count(),
                _ => break,
            }
        }
        micros = started.elapsed().as_micros();
    }
    let status = child.wait().map_err(|e| host::cannot_start(&command, e))?;
    if !first_line {
        micros = started.elapsed().as_micros();
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)
        .map_err(|errno| Error::new("the memory of the command is not known").fact("system", errno.to_string()))?;
    let cpu = [usage.user_time(), usage.system_time()].map(|time| time.tv_sec() * 1_000_000 + time.tv_usec());
    // Whoever is cut off after a line may well say so.
    let status = if first_line { 0 } else { status.code().unwrap_or(255) };
    println!("{micros} {} {} {status}", cpu[0] + cpu[1], usage.max_rss());
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

pub(super) fn print(subjects: &[Subject], counts: &[u64], entries: &[Entry]) {
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
    fn the_median_is_the_middle_run() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[]), 0.0);
    }
}
