//! `rtrec probe`: probes that stay until they are removed.

use std::io::Write;
use std::process::ExitCode;

use super::super::common::explain;
use super::super::common::say::{say, say_raw};
use super::super::reset;
use super::args::{Action, AddArgs, DelArgs, ListArgs, ProbeArgs};
use super::list::{print_lines, print_notes};
use super::live::{fail, named};
use crate::probe::{self, Kind, LASTING_GROUP, Resolver};
use crate::tracefs::dynamic::Definition;
use crate::tracefs::events::EventName;
use crate::tracefs::{self, Instance, Tracefs, Undo};
use crate::wire::pattern::Pattern;

/// Runs the subcommand.
pub(in crate::cli) fn run(args: &ProbeArgs) -> ExitCode {
    let root = match Tracefs::open(args.tracefs.as_deref()) {
        Ok(root) => root,
        Err(source) => return failed("finding tracefs", source),
    };
    let top = root.top();
    match &args.action {
        Action::Add(args) => add(&top, args),
        Action::Del(args) => del(&top, args),
        Action::List(args) => list(&top, args),
        Action::Show { name } => show(&top, name),
    }
}

fn failed(step: &'static str, source: tracefs::Error) -> ExitCode {
    let explained = explain::record::control_file(step, &source);
    say_raw(&explained.text("probe"));
    ExitCode::from(explained.status)
}

fn add(top: &Instance, args: &AddArgs) -> ExitCode {
    let kinds = [
        (args.kprobe, Kind::Kprobe),
        (args.usdt, Kind::Usdt),
        (args.fprobe, Kind::Fprobe),
        (args.tprobe, Kind::Tprobe),
        (args.eprobe, Kind::Eprobe),
    ];
    let kind = kinds.iter().find(|(wanted, _)| *wanted).map_or(Kind::Uprobe, |(_, kind)| *kind);
    let mut resolver = Resolver::new(top, LASTING_GROUP.to_owned()).limited_to(args.max_probes);
    resolver.avoid(
        top.definitions()
            .unwrap_or_default()
            .into_iter()
            .map(|existing| EventName { system: existing.group, event: existing.event }),
    );
    let mut undo = Undo::new();
    let defined = named(kind, args.name.as_deref(), &args.words).and_then(|spec| {
        let probes = resolver.resolve(&spec)?;
        if !args.dry_run {
            probe::define(top, &probes, &mut undo)?;
        }
        Ok(probes)
    });
    match defined {
        Ok(probes) if args.dry_run => print_lines(&probes, "probe"),
        Ok(probes) => {
            undo.forget();
            let mut out = std::io::stdout().lock();
            for probe in &probes {
                let _ = writeln!(out, "{}", probe.name);
            }
            print_notes(&probes, "probe");
        }
        Err(error) => return fail("probe", &error),
    }
    ExitCode::SUCCESS
}

/// `NAME` in our group, or `GROUP:NAME`.
fn group_and_name(word: &str) -> (&str, &str) {
    word.split_once([':', '/']).unwrap_or((LASTING_GROUP, word))
}

fn del(top: &Instance, args: &DelArgs) -> ExitCode {
    let mut status = if args.stale { reset::reset_stale("probe") } else { 0 };
    let existing = match top.definitions() {
        Ok(existing) => existing,
        Err(source) => return failed("listing the probes", source),
    };
    if args.stale {
        status = status.max(del_orphans(top, &existing));
    }
    let words = args.names.iter().map(String::as_str).chain(args.all.then_some("*"));
    for word in words {
        let (group, name) = group_and_name(word);
        let Ok(pattern) = Pattern::glob(name) else { continue };
        // A group is never a glob: what is not named is a stranger's.
        let wanted =
            existing.iter().filter(|existing| existing.group == group && pattern.matches(existing.event.as_bytes()));
        let wanted: Vec<&Definition> = wanted.collect();
        if wanted.is_empty() && word != "*" {
            let others: Vec<String> =
                existing.iter().filter(|existing| existing.event == name).map(full_name).collect();
            let there = if others.is_empty() { String::new() } else { format!("; there is {}", others.join(", ")) };
            say!("rtrec probe: there is no probe {group}:{name}{there}");
            status = 2;
        }
        for definition in wanted {
            if let Err(error) = top.undefine(definition) {
                say!("rtrec probe: {}: {error}", full_name(definition));
                status = 2;
            }
        }
    }
    ExitCode::from(status)
}

/// Probes of recorders that are gone and have left no journal. One that is switched on is somebody's.
fn del_orphans(top: &Instance, existing: &[Definition]) -> u8 {
    let mut status = 0;
    for definition in existing {
        let pid = definition.group.strip_prefix("rtrec_").and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_none_or(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists()) {
            continue;
        }
        match top.undefine_idle(definition) {
            Ok(true) => {}
            Ok(false) => say!("rtrec probe: left alone, since it is switched on: {}", full_name(definition)),
            Err(error) => {
                say!("rtrec probe: {}: {error}", full_name(definition));
                status = 1;
            }
        }
    }
    status
}

fn full_name(definition: &Definition) -> String {
    format!("{}:{}", definition.group, definition.event)
}

/// Whether a group is one that rtrec makes.
fn is_rtrec_group(group: &str) -> bool {
    group == LASTING_GROUP || group.strip_prefix("rtrec_").is_some_and(|pid| pid.bytes().all(|b| b.is_ascii_digit()))
}

fn list(top: &Instance, args: &ListArgs) -> ExitCode {
    let existing = match top.definitions() {
        Ok(existing) => existing,
        Err(source) => return failed("listing the probes", source),
    };
    let mut out = std::io::stdout().lock();
    for definition in existing.iter().filter(|existing| args.all || is_rtrec_group(&existing.group)) {
        let _ = writeln!(out, "{:<32} {}", full_name(definition), definition.line);
    }
    ExitCode::SUCCESS
}

fn show(top: &Instance, word: &str) -> ExitCode {
    let (group, name) = group_and_name(word);
    let existing = top.definitions().unwrap_or_default();
    let Some(definition) = existing.iter().find(|existing| existing.group == group && existing.event == name) else {
        let names: Vec<String> = existing.iter().map(full_name).collect();
        let nearest = crate::probe::names::nearest(&format!("{group}:{name}"), names.iter().map(String::as_str));
        say!("rtrec probe: there is no probe {group}:{name}");
        if !nearest.is_empty() {
            say!("  nearest {}", nearest.join(", "));
        }
        return ExitCode::from(2);
    };
    let event = EventName { system: group.to_owned(), event: name.to_owned() };
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}\n  defined  {}", full_name(definition), definition.line);
    let format = top.event_format(&event).unwrap_or_default();
    let fields = String::from_utf8_lossy(&format);
    let fields = fields.lines().filter_map(|line| line.trim().strip_prefix("field:"));
    for field in fields.filter(|field| !field.contains(" common_")) {
        let _ = writeln!(out, "  field    {}", field.split(';').next().unwrap_or(field));
    }
    if let Some((hits, missed)) = top.hits(definition) {
        let _ = writeln!(out, "  hits     {hits}, {missed} missed");
    }
    ExitCode::SUCCESS
}
