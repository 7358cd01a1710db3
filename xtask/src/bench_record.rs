//! `cargo xtask bench record`: rtrec beside trace-cmd, recording the same load in turn.
//!
//! Owns: the loads, the command lines, what is computed from `timed`, `recload` and the recorded file, the table.
//! Does not own: the programs (`tests/programs`), the kernels (see `lab`).
//!
//! All runs of one kernel are one shell script, the same natively and in a guest, so that both are measured alike. Figures:
//! ```text
//!   tool starts        load's first instruction        load ends         tool exits
//!       |---- start ----------|---------- wall -------------|---- final ------|
//! ```
//! `rcpu` is the user and system time of the tool and all it started, less the load's own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::kernels::Kernel;
use crate::lab::{Guest, Request};
use crate::{bench, cache, host, project, setup};

/// What to measure.
#[derive(Debug, Clone)]
pub struct Settings {
    /// On this kernel of the lab; `None`: natively.
    pub kernel: Option<Kernel>,
    /// Runs of each command.
    pub runs: usize,
    /// Only tools with this in their name.
    pub tool: Option<String>,
}

/// A load: its name, the events recorded, how much of it natively and under emulation.
struct Load {
    name: &'static str,
    arguments: &'static str,
    events: &'static [&'static str],
    native: u64,
    emulated: u64,
}

const LOADS: &[Load] = &[
    Load { name: "syscalls", arguments: "syscalls", events: &["raw_syscalls"], native: 2_000_000, emulated: 100_000 },
    Load { name: "sched", arguments: "sched", events: &["raw_syscalls", "sched"], native: 400, emulated: 10 },
    Load { name: "quiet", arguments: "quiet", events: &["sched", "irq"], native: 10, emulated: 10 },
    Load { name: "true", arguments: "quiet", events: &["sched:sched_switch"], native: 0, emulated: 0 },
];

/// A way to record: its name, the words before the events, whether it is there natively.
struct Tool {
    name: &'static str,
    words: &'static str,
    native: bool,
}

const TOOLS: &[Tool] = &[
    Tool { name: "untraced", words: "", native: true },
    Tool { name: "rtrec", words: "rtrec record -q", native: true },
    Tool { name: "rtrec -r 0", words: "rtrec record -q -r 0", native: true },
    Tool { name: "rtrec -b 16384", words: "rtrec record -q -b 16384", native: true },
    Tool { name: "rtrec none", words: "rtrec record -q --compression none", native: true },
    Tool { name: "trace-cmd", words: "trace-cmd record -q", native: false },
    Tool { name: "trace-cmd -b 16384", words: "trace-cmd record -q -b 16384", native: false },
    Tool { name: "trace-cmd -r 10", words: "trace-cmd record -q -r 10", native: false },
];

/// The figures of one run.
type Figures = BTreeMap<String, f64>;

/// Measures and prints the tables.
pub fn run(settings: &Settings) -> Result<ExitCode> {
    let script = script(settings);
    let said = match settings.kernel {
        Some(kernel) => in_guest(kernel, &script)?,
        None => natively(&script)?,
    };
    let runs = parse(&said);
    if runs.is_empty() {
        return Err(Error::new("nothing was measured").fact("said", host::last_lines(&said, 20)));
    }
    for load in LOADS {
        print(load, &runs);
    }
    Ok(ExitCode::SUCCESS)
}

/// One script that makes all runs, in turn, and prints a line of figures for each.
fn script(settings: &Settings) -> String {
    let mut script = String::from("rm -f bench.dat; \n");
    for _ in 0..settings.runs.max(1) {
        for load in LOADS {
            let amount = if settings.kernel.is_some() { load.emulated } else { load.native };
            for tool in TOOLS.iter().filter(|tool| settings.kernel.is_some() || tool.native) {
                if settings.tool.as_ref().is_some_and(|wanted| !tool.name.contains(wanted.as_str())) {
                    continue;
                }
                let events: String = load.events.iter().map(|event| format!(" -e {event}")).collect();
                let record =
                    if tool.words.is_empty() { String::new() } else { format!("{}{events} -o bench.dat", tool.words) };
                let _ = write!(
                    script,
                    "sync; timed t {record} recload l {} {amount} >o 2>&1 || cat o >&2\n\
                     echo \"RUN|{}|{}|$(cat t)|$(cat l)|size=$(stat -c %s bench.dat 2>/dev/null || echo 0)\"\n\
                     [ -f bench.dat ] && rtrec report --stat -i bench.dat 2>/dev/null | sed -n 's/^ *\\([a-z ]*\\): \\([0-9]*\\)$/STAT|\\1|\\2/p'\n\
                     rm -f bench.dat t l\n",
                    load.arguments, load.name, tool.name
                );
            }
        }
    }
    script
}

fn in_guest(kernel: Kernel, script: &str) -> Result<String> {
    setup::lab(kernel)?;
    project::measure_in_guests();
    let mut guest = Guest::boot(kernel)?;
    guest.write("/tmp/bench.sh", 0o755, script.as_bytes())?;
    let request = Request::sh("cd /tmp && sh bench.sh").timeout(Duration::from_secs(3600));
    let outcome = guest.run(&request)?.check()?;
    eprint!("{}", outcome.stderr_text());
    Ok(outcome.stdout_text())
}

fn natively(script: &str) -> Result<String> {
    let rtrec = bench::release_rtrec()?;
    let programs = project::test_programs()?;
    let folder = project::target("bench/record");
    cache::create_folder(&folder)?;
    let dir_of = |path: &Path| path.parent().map(Path::to_owned).unwrap_or_default();
    let mut path = vec![dir_of(&rtrec), dir_of(&programs[0])];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let path = std::env::join_paths(path).map_err(|e| Error::new(format!("PATH cannot be set: {e}")))?;
    let _lock = bench::files::lock()?;
    host::text(Command::new("sh").current_dir(&folder).env("PATH", path).args(["-c", script]))
}

/// Reads the lines of the script: (load, tool) to the figures of its runs.
fn parse(said: &str) -> BTreeMap<(String, String), Vec<Figures>> {
    let mut runs: BTreeMap<(String, String), Vec<Figures>> = BTreeMap::new();
    let mut last = None;
    for line in said.lines() {
        let parts: Vec<&str> = line.split('|').collect();
        match parts[..] {
            ["RUN", load, tool, timed, load_said, size] => {
                let key = (load.to_owned(), tool.to_owned());
                let Some(figures) = figures(timed, load_said, size) else { continue };
                runs.entry(key.clone()).or_default().push(figures);
                last = Some(key);
            }
            ["STAT", what, count] => {
                let name = match what {
                    "read events" | "entries" => "kept",
                    "overrun" | "commit overrun" | "dropped events" => "lost",
                    _ => continue,
                };
                let figures = last.as_ref().and_then(|key| runs.get_mut(key)?.last_mut());
                if let (Some(figures), Ok(count)) = (figures, count.parse::<f64>()) {
                    *figures.entry(name.to_owned()).or_default() += count;
                }
            }
            _ => {}
        }
    }
    runs
}

/// What is computed from the words of `timed` and `recload`.
fn figures(timed: &str, load: &str, size: &str) -> Option<Figures> {
    let pairs = |text: &str| -> Figures {
        let words = text.split_whitespace().filter_map(|word| word.split_once('='));
        words.filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?))).collect()
    };
    let (tool, load) = (pairs(timed), pairs(load));
    let of = |figures: &Figures, key: &str| figures.get(key).copied();
    let cpu = |figures: &Figures| Some(of(figures, "user")? + of(figures, "sys")?);
    let mut all = pairs(size);
    all.insert("wall".into(), of(&load, "wall")?);
    all.insert("rcpu".into(), cpu(&tool)? - cpu(&load)?);
    all.insert("start".into(), of(&load, "start")? - of(&tool, "start")?);
    all.insert("final".into(), of(&tool, "end")? - of(&load, "end")?);
    all.insert("total".into(), of(&tool, "end")? - of(&tool, "start")?);
    all.insert("wakes".into(), of(&tool, "switches")? - of(&load, "switches")?);
    all.insert("peak".into(), of(&tool, "peak")? / 1024.0);
    all.insert("status".into(), of(&tool, "status")?);
    Some(all)
}

fn print(load: &Load, runs: &BTreeMap<(String, String), Vec<Figures>>) {
    println!("\n## {} ({})\n", load.name, load.events.join(", "));
    println!(
        "| tool | load's wall s | recorder CPU s | start s | final s | start to exit s | kept | lost | MB | wake-ups | peak MiB |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for tool in TOOLS {
        let Some(runs) = runs.get(&(load.name.to_owned(), tool.name.to_owned())) else { continue };
        let column = |key: &str| -> Vec<f64> { runs.iter().map(|run| run.get(key).copied().unwrap_or(0.0)).collect() };
        let range = |key: &str, digits: usize| {
            let values = column(key);
            let (least, most) = values.iter().fold((f64::INFINITY, 0.0f64), |(a, b), v| (a.min(*v), b.max(*v)));
            format!("{:.digits$} [{least:.digits$}..{most:.digits$}]", bench::views::median(&values))
        };
        let middle = |key: &str, digits: usize| format!("{:.digits$}", bench::views::median(&column(key)));
        let failed = column("status").iter().filter(|status| **status != 0.0).count();
        let failed = if failed == 0 { String::new() } else { format!(" ({failed} of {} failed)", runs.len()) };
        let size = bench::views::median(&column("size")) / 1e6;
        println!(
            "| {}{failed} | {} | {} | {} | {} | {} | {} | {} | {size:.1} | {} | {} |",
            tool.name,
            range("wall", 3),
            range("rcpu", 3),
            middle("start", 3),
            range("final", 3),
            middle("total", 3),
            middle("kept", 0),
            range("lost", 0),
            middle("wakes", 0),
            middle("peak", 1),
        );
    }
    ratios(load, runs);
}

/// rtrec's figures as parts of trace-cmd's, at the same settings.
fn ratios(load: &Load, runs: &BTreeMap<(String, String), Vec<Figures>>) {
    for (ours, theirs) in [("rtrec", "trace-cmd"), ("rtrec -b 16384", "trace-cmd -b 16384")] {
        let of = |tool: &str, key: &str| {
            let runs = runs.get(&(load.name.to_owned(), tool.to_owned()))?;
            let values: Vec<f64> = runs.iter().filter_map(|run| run.get(key).copied()).collect();
            Some(bench::views::median(&values))
        };
        let ratio = |key: &str| Some(of(ours, key)? / of(theirs, key)?.max(1e-6));
        if let (Some(cpu), Some(end), Some(total)) = (ratio("rcpu"), ratio("final"), ratio("total")) {
            println!(
                "\n{ours} : {theirs} = {cpu:.2} of the CPU, {end:.2} of the final time, {total:.2} of start to exit"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_differences_between_the_tool_and_its_load() {
        let said = "noise\n\
            RUN|sched|rtrec|start=10.0 end=13.0 user=1.0 sys=2.0 switches=50 peak=2048 status=0|start=10.5 end=12.5 wall=2.0 user=0.5 sys=1.5 switches=40|size=1000000\n\
            STAT|read events|70\nSTAT|entries|1\nSTAT|overrun|5\nSTAT|dropped events|2\nSTAT|bytes|9\n";
        let runs = parse(said);
        let run = &runs[&("sched".to_owned(), "rtrec".to_owned())][0];
        let near = |key: &str, value: f64| assert!((run[key] - value).abs() < 1e-9, "{key}: {}", run[key]);
        near("rcpu", 1.0);
        near("start", 0.5);
        near("final", 0.5);
        near("total", 3.0);
        near("wakes", 10.0);
        near("peak", 2.0);
        near("kept", 71.0);
        near("lost", 7.0);
    }

    #[test]
    fn a_native_script_leaves_out_what_cannot_record_here() {
        let script = script(&Settings { kernel: None, runs: 2, tool: None });
        assert!(!script.contains("trace-cmd") && script.matches("RUN|sched|rtrec|").count() == 2);
    }
}
