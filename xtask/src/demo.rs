//! `cargo xtask demo`: the main job, from nothing: record a function graph of `ls`, report it.
//!
//! Where the running kernel can do it, it does; else the very same two command lines run in the lab.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::host;
use crate::kernels::Kernel;
use crate::lab::{Guest, Request};
use crate::{cache, project, setup};

/// The two command lines.
const RECORD: [&str; 7] = ["rtrec", "record", "-p", "function_graph", "-g", "do_sys_open", "ls"];
const REPORT: [&str; 2] = ["rtrec", "report"];

/// What `record` writes if it is not told where.
const DATA: &str = "trace.dat";
/// The kernel of the lab that stands in for one without the tracer.
const KERNEL: Kernel = Kernel::V6_12;
/// Switching the tracer on and off patches every function of an emulated kernel.
const TIMEOUT: Duration = Duration::from_secs(300);
/// How much of a long report is shown as it is, and of its outline.
const SHOWN_LINES: usize = 25;
const OUTLINE_LINES: usize = 60;
/// How deep the outline goes: a level is two blanks.
const OUTLINE_BLANKS: usize = 4;

const TRACEFS: &str = "/sys/kernel/tracing";

/// Runs the demo and prints the report.
pub fn run() -> Result<ExitCode> {
    let folder = project::target("demo");
    cache::remove_folder(&folder)?;
    cache::create_folder(&folder)?;
    let report = folder.join("report.txt");
    match unusable() {
        None => here(&folder, &report)?,
        Some(why) => {
            println!("# {why}: running in the lab, on kernel {KERNEL}");
            in_the_lab(&folder, &report)?;
        }
    }
    show(&report)?;
    println!("# recorded: {}", folder.join(DATA).display());
    println!("# report:   {}", report.display());
    Ok(ExitCode::SUCCESS)
}

/// Why this kernel cannot record a function graph for us; `None` if it can.
fn unusable() -> Option<String> {
    let read = |name: &str| fs::read_to_string(Path::new(TRACEFS).join(name));
    let Ok(tracers) = read("available_tracers") else {
        return Some(format!("{TRACEFS} cannot be read here"));
    };
    if !tracers.split_whitespace().any(|tracer| tracer == "function_graph") {
        return Some("this kernel has no function_graph tracer".to_owned());
    }
    if !read("current_tracer").is_ok_and(|tracer| tracer.trim() == "nop") {
        return Some("somebody else is tracing on this kernel".to_owned());
    }
    let path = Path::new(TRACEFS).join("current_tracer");
    let set = |tracer: &str| fs::write(&path, format!("{tracer}\n"));
    match set("function_graph").and_then(|()| set("nop")) {
        Ok(()) => None,
        Err(e) => Some(format!("function_graph cannot be set here ({e})")),
    }
}

/// Both command lines on the running kernel.
fn here(folder: &Path, report: &Path) -> Result<()> {
    host::need(&[host::CC])?;
    host::run(project::cargo().args(["build", "--quiet", "--release", "--package", "rtrec", "--bin", "rtrec"]))?;
    let program = release_folder()?.join("rtrec");
    announce(&RECORD);
    host::run(Command::new(&program).args(&RECORD[1..]).current_dir(folder))?;
    announce(&REPORT);
    let file = create(report)?;
    host::run(Command::new(&program).args(&REPORT[1..]).current_dir(folder).stdout(file))
}

/// Where cargo puts release builds, which the user may have moved.
fn release_folder() -> Result<PathBuf> {
    let metadata = crate::licences::metadata(&["--no-deps"])?;
    let target = metadata["target_directory"].as_str().map(PathBuf::from);
    Ok(target.unwrap_or_else(|| project::target("")).join("release"))
}

/// Both command lines in the lab; the recorded file and the report come back.
fn in_the_lab(folder: &Path, report: &Path) -> Result<()> {
    setup::lab(KERNEL)?;
    println!("# building rtrec without shared libraries, then booting");
    let mut guest = Guest::boot(KERNEL)?;
    let version = guest.text("uname -sr")?;
    println!("# booted {}", version.trim_end());
    announce(&RECORD);
    step(&mut guest, &RECORD, &mut std::io::stdout())?;
    guest.get(&format!("/tmp/{DATA}"), &folder.join(DATA))?;
    announce(&REPORT);
    step(&mut guest, &REPORT, &mut create(report)?)
}

fn step(guest: &mut Guest, words: &[&str], to: &mut dyn Write) -> Result<()> {
    let request = Request::new(words.iter().copied()).timeout(TIMEOUT);
    let (status, timed_out) = guest.stream(&request, to, &mut std::io::stderr())?;
    if status.success() {
        return Ok(());
    }
    let ended = if timed_out { format!("killed after {} s", TIMEOUT.as_secs()) } else { status.to_string() };
    let error = Error::new("the demo's command failed in the lab")
        .fact("kernel", guest.kernel().name())
        .fact("ran", words.join(" "))
        .fact("ended", ended);
    let console = guest.console();
    Err(if console.trim().is_empty() { error } else { error.fact("console", console) })
}

fn announce(words: &[&str]) {
    println!("$ {}", words.join(" "));
}

fn create(path: &Path) -> Result<File> {
    File::create(path).map_err(|e| Error::io("the report could not be created", path, e))
}

/// Prints the report, or its beginning and its outline if it is long, and says which.
fn show(report: &Path) -> Result<()> {
    let text = fs::read_to_string(report).map_err(|e| Error::io("the report could not be read", report, e))?;
    let total = text.lines().count();
    for line in text.lines().take(SHOWN_LINES) {
        println!("{line}");
    }
    if total > SHOWN_LINES {
        println!("# the first {SHOWN_LINES} of {total} lines; in outline, interrupts left out:");
        text.lines().filter(|line| is_outline(line)).take(OUTLINE_LINES).for_each(|line| println!("{line}"));
    }
    Ok(())
}

/// Whether a line of a graph is of its upper levels and not in an interrupt.
fn is_outline(line: &str) -> bool {
    let (Some((before, call)), Some((_, flags))) = (line.split_once("|  "), line.split_once("] ")) else {
        return false;
    };
    let blanks = call.len() - call.trim_start().len();
    let interrupt =
        flags.as_bytes().get(2).is_some_and(|&flag| flag != b'.') || call.contains("irq") || call.contains("interrupt");
    before.contains("funcgraph_") && blanks <= OUTLINE_BLANKS && !interrupt
}
