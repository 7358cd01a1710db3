//! Why a probe cannot be placed, in words, with what would work instead.

use std::path::PathBuf;

use nix::errno::Errno;

use super::{Explained, io_text};
use crate::probe::{Instead, ProbeError};
use crate::symbols::{BinaryError, Verdict};

/// An error of a probe in words.
pub(in crate::cli) fn error(error: &ProbeError) -> Explained {
    let explained = Explained::new(error.to_string());
    match error {
        ProbeError::Spec(error) => Explained::new(format!("{:?} is no probe", error.text)).row("cause", error.what),
        ProbeError::NoSupport { option, instead, .. } => {
            let explained = explained.row("cause", format!("it was built without {option}"));
            instead
                .iter()
                .enumerate()
                .fold(explained, |explained, (at, way)| explained.row(if at == 0 { "try" } else { "" }, tip(*way)))
        }
        ProbeError::NoBinary { searched, nearest, .. } => {
            let explained = if searched.is_empty() { explained } else { explained.row("looked", paths(searched)) };
            explained.nearest(nearest, "the path of the file, as in ./program or /opt/x/lib/libx.so")
        }
        ProbeError::NoProcess { source, .. } => {
            explained.row("cause", io_text(source)).row("try", "a process that runs, or the path of its program")
        }
        ProbeError::Blank(path) => {
            let name = path
                .file_name()
                .map_or_else(|| "probed".into(), |name| name.to_string_lossy().replace(char::is_whitespace, "_"));
            explained.row("try", format!("a hard link without blanks: ln \"{}\" /path/{name}", path.display()))
        }
        ProbeError::Binary(BinaryError::Open { path, source }) => {
            Explained::new(format!("{} cannot be read", path.display())).row("cause", io_text(source))
        }
        ProbeError::Binary(_) => explained.row("try", "the program itself, not a script or a link to a wrapper"),
        ProbeError::OtherMachine { .. } => {
            explained.row("cause", "the kernel places user probes in code of its own machine only")
        }
        ProbeError::Argument { known, .. } if known.is_empty() => explained.row("note", PASSED_ON),
        ProbeError::Argument { known, .. } => explained.row("known", known.join(", ")),
        ProbeError::NoFunction { nearest, .. } => explained.nearest(nearest, "grep NAME /proc/kallsyms"),
        ProbeError::NoEvent { nearest, .. } => explained.nearest(nearest, "cat available_events in the tracefs folder"),
        ProbeError::NameTaken(_) => explained.row("try", "another name in front: NAME=TARGET"),
        ProbeError::Refused { source, .. } => {
            let explained = explained.tracefs(source);
            match refusal(source) {
                Some(reason) => explained.row("reason", reason),
                None => explained,
            }
        }
        ProbeError::Tracefs(source) => explained.tracefs(source),
        place => in_binary(place, explained),
    }
}

/// An error about a place in a program or library.
fn in_binary(error: &ProbeError, explained: Explained) -> Explained {
    match error {
        ProbeError::NoSymbol { nearest, tables, paths, .. } => no_symbol(explained, nearest, tables, paths),
        ProbeError::Inlined { path, lines, .. } => {
            let targets: Vec<String> = lines.iter().map(|line| format!("{}:{line}", path.display())).collect();
            explained.row(
                "try",
                format!("the lines of its body, which count in every copy; it begins at {}", targets.join(", ")),
            )
        }
        ProbeError::Indirect { path, choices, .. } if choices.is_empty() => explained
            .row("cause", "the functions that it chooses from have no names in the file's symbol tables")
            .row("try", format!("the debug file of {}, or what calls it", path.display())),
        ProbeError::Indirect { choices, .. } => {
            explained.row("try", format!("what it chooses from: {}", choices.join(", ")))
        }
        ProbeError::Ambiguous { path, choices, .. } => {
            let explained =
                choices.iter().take(12).enumerate().fold(explained, |explained, (at, choice)| {
                    explained.row(if at == 0 { "means" } else { "" }, choice)
                });
            explained.row("try", format!("one of these names with its parameters, or {}:0xOFFSET", path.display()))
        }
        ProbeError::TooMany { count, .. } => {
            explained.row("try", format!("a narrower glob, or --max-probes {count} if that is meant"))
        }
        ProbeError::NotCode { code, .. } => {
            let code: Vec<String> = code.iter().map(|(start, end)| format!("{start:#x}-{end:#x}")).collect();
            explained
                .row("code", format!("at the offsets {}", code.join(", ")))
                .row("note", "an offset counts from the start of the file; an address of the program is something else")
        }
        ProbeError::NotBoundary { nearest: (before, after), .. } => {
            explained.row("nearest", format!("{before:#x}, {after:#x}"))
        }
        ProbeError::BehindFunction { .. } => explained.row("try", "a smaller offset"),
        ProbeError::NoLine { path, file, nearest, .. } => {
            let lines: Vec<String> = nearest.iter().map(|line| format!("{}:{file}:{line}", path.display())).collect();
            explained.nearest(&lines, "another file: the debug information has no line of this one")
        }
        ProbeError::NoFile { nearest, .. } => explained.nearest(nearest, "the name of a source file"),
        ProbeError::NoDwarf { tried, path, .. } => no_dwarf(explained, path, tried),
        ProbeError::NoStatic { known, path, .. } => explained
            .nearest(known, "a symbol: the file has no static probes")
            .row("list", format!("rtrec uprobe --list '*' usdt:{}", path.display())),
        ProbeError::NotReturned { .. } => {
            Explained::new(format!("{error}. --both has the entry beside it")).row("note", PASSED_ON)
        }
        _ => explained,
    }
}

fn paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
}

fn no_symbol(explained: Explained, nearest: &[String], tables: &[&str], paths: &[PathBuf]) -> Explained {
    let stripped = paths.len() == 1 && !tables.iter().any(|table| *table != ".dynsym");
    let explained = match (tables, stripped) {
        ([], true) => explained.row("cause", "the file is stripped: it has no symbols at all"),
        (_, true) => explained.row("cause", "the file is stripped: it has only the symbols that others link to"),
        _ => explained,
    };
    let explained = if nearest.is_empty() { explained } else { explained.row("nearest", nearest.join(", ")) };
    match paths {
        [path] if stripped => {
            explained.row("try", format!("its debug symbols (rtrec debuginfo {}), or {0}:0xOFFSET", path.display()))
        }
        [path] if nearest.is_empty() => explained.row("try", format!("rtrec uprobe --list '*' {}", path.display())),
        _ => explained,
    }
}

fn no_dwarf(explained: Explained, path: &std::path::Path, tried: &[(PathBuf, Verdict)]) -> Explained {
    let explained = tried.iter().enumerate().fold(explained, |explained, (at, (path, verdict))| {
        let verdict = match verdict {
            Verdict::Missing => "not there",
            Verdict::Unreadable => "no ELF file, or not to be read",
            Verdict::OtherBuild => "of another build",
            _ => "without debug information",
        };
        explained.row(if at == 0 { "looked" } else { "" }, format!("{}: {verdict}", path.display()))
    });
    explained
        .row("try", format!("the package with its debug symbols, building it with -g, or {}:SYMBOL", path.display()))
}

const PASSED_ON: &str =
    "registers, memory, $stackN, $retval and $comm are passed on as they are: x=%di:u32, s=+0(%si):string";

/// What to type in place of a kind of probe that the kernel lacks.
fn tip(instead: Instead) -> String {
    match instead {
        Instead::Fprobe => "rtrec record --fprobe FUNCTION".to_owned(),
        Instead::Kprobe => "rtrec kprobe FUNCTION".to_owned(),
        Instead::FunctionTracer => "rtrec record -p function -l FUNCTION".to_owned(),
        Instead::SyscallEvents => "rtrec record -e syscalls:sys_enter_NAME for what enters the kernel".to_owned(),
        Instead::Events(systems) => format!("rtrec record -e EVENT: {systems} systems of tracepoints"),
    }
}

/// What an errno of a definition means where the kernel has written no log.
fn refusal(source: &crate::tracefs::Error) -> Option<&'static str> {
    match source.errno()? {
        Errno::ENOENT => Some("the place or a type in the arguments does not exist"),
        Errno::EILSEQ => Some("no instruction begins there"),
        Errno::EINVAL if source.log.is_none() => Some("the place or an argument is not one this kernel takes"),
        Errno::EOPNOTSUPP => Some("the instruction there cannot be probed"),
        Errno::ENOMEM => Some("no memory, or the line is longer than the kernel takes"),
        Errno::E2BIG | Errno::ENOSPC => Some("more arguments than the kernel takes"),
        Errno::EPERM | Errno::EACCES => Some("this user may not define probes, or the kernel is locked down"),
        Errno::EBUSY => Some("an event of that name is in use"),
        _ => None,
    }
}
