//! What could be probed.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use super::super::common::explain;
use super::super::common::say::{say, say_raw};
use super::live::fail;
use crate::probe::{self, Probe, ProbeError, Symbols};
use crate::tracefs::Tracefs;
use crate::wire::pattern::Pattern;

/// Prints the lines that define probes.
pub(super) fn print_lines(probes: &[Probe], command: &str) {
    let mut out = std::io::stdout().lock();
    for probe in probes {
        let _ = writeln!(out, "{}", probe.line());
    }
    print_notes(probes, command);
}

/// Tells what is not quite as asked for.
pub(super) fn print_notes(probes: &[Probe], command: &str) {
    for (target, note) in probe::notes(probes) {
        say!("rtrec {command}: {target}: {note}");
    }
}

/// `--list PATTERN BINARY`.
pub(super) fn of_binary(pattern: &str, words: &[String]) -> ExitCode {
    let (pattern, word) = match words {
        [] => ("*", pattern),
        [word] => (pattern, word.as_str()),
        _ => ("", ""),
    };
    if word.is_empty() {
        say!("rtrec uprobe: --list takes one binary: a path, a name, a process id, or usdt: in front of it");
        return ExitCode::from(2);
    }
    let Ok(glob) = Pattern::glob(pattern) else {
        say!("rtrec uprobe: {pattern:?} is no glob");
        return ExitCode::from(2);
    };
    match probe::symbols_of(word.trim_end_matches(':')) {
        Ok(all) => print(&all, &glob, pattern),
        Err(error) => fail("uprobe", &error),
    }
}

fn print(all: &[Symbols], glob: &Pattern, pattern: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let mut count = 0;
    for symbols in all {
        for (offset, name, short) in &symbols.places {
            if [name, short].iter().any(|name| glob.matches(name.as_bytes())) {
                count += 1;
                if writeln!(out, "{}:{offset:#x}  {name}", symbols.path.display()).is_err() {
                    return ExitCode::SUCCESS;
                }
            }
        }
    }
    if count == 0 {
        let paths: Vec<String> = all.iter().map(|symbols| symbols.path.display().to_string()).collect();
        say!("rtrec uprobe: nothing in {} matches {pattern}", paths.join(", "));
        return ExitCode::from(1);
    }
    ExitCode::SUCCESS
}

/// `--list PATTERN`: the functions of the kernel.
pub(super) fn of_kernel(pattern: &str, dir: Option<&Path>) -> ExitCode {
    let root = match Tracefs::open(dir) {
        Ok(root) => root,
        Err(source) => return fail("kprobe", &ProbeError::Tracefs(source)),
    };
    let Ok(glob) = Pattern::glob(pattern) else {
        say!("rtrec kprobe: {pattern:?} is no glob");
        return ExitCode::from(2);
    };
    let resolver = probe::Resolver::new(&root.top(), probe::session_group());
    if let Err(error) = resolver.check_support(probe::Kind::Kprobe) {
        return fail("kprobe", &error);
    }
    let functions = match root.top().available_functions() {
        Ok(functions) => functions,
        Err(source) => {
            let explained = explain::record::control_file("listing the functions", &source);
            say_raw(&explained.text("kprobe"));
            return ExitCode::from(explained.status);
        }
    };
    let mut out = std::io::stdout().lock();
    let mut matching = functions.iter().filter(|name| glob.matches(name.as_bytes())).peekable();
    if matching.peek().is_none() {
        say!("rtrec kprobe: no function matches {pattern}");
        return ExitCode::from(1);
    }
    for name in matching {
        if writeln!(out, "{name}").is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}
