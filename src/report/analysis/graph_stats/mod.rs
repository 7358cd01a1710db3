//! How often the functions of a function graph were called, and how long they took (`report --graph-stats`).
//!
//! Owns: the calls that are open and the figures of those that have ended. An exit closes the last entry of its function in
//! its task; calls that were opened later and never closed were lost.
//!
//! All is in this file. Imported by `cli`. The next figure of a function: a column of the table.

use std::collections::HashMap;
use std::io::{self, Write};

use super::interface::{Analysis, AnalysisError, Findings, Wants};
use crate::decode::meaning::Meaning;
use crate::report::reading::Take;
use crate::report::reading::record::{Opened, Record};
use crate::spread::Spread;
use crate::wire::format::Field;

/// Calls that one task may have open; deeper ones are not paired.
const MAX_OPEN: usize = 4096;

struct Function {
    took: Spread,
    own: u64,
}

impl Default for Function {
    fn default() -> Self {
        Function { took: Spread::coarse(1), own: 0 }
    }
}

struct Open {
    func: u64,
    start: u64,
    inside: u64,
}

struct Places {
    func: Field,
    /// When it was called and when it returned.
    times: Option<Box<(Field, Field)>>,
}

/// Calls and times per function of the function graph.
#[derive(Default)]
pub struct GraphStats {
    entries: HashMap<(usize, u16), Field>,
    exits: HashMap<(usize, u16), Places>,
    open: HashMap<(usize, i32), Vec<Open>>,
    functions: HashMap<(usize, u64), Function>,
}

impl Take for GraphStats {
    fn take(&mut self, record: &Record<'_>) {
        let (file, id, abi) = (record.lane.file, record.id(), record.lane.trace.abi);
        let (data, task) = (record.bytes.data, (file, record.pid()));
        if let Some(func) = self.entries.get(&(file, id)).and_then(|func| func.int(data, abi)) {
            let open = self.open.entry(task).or_default();
            if open.len() < MAX_OPEN {
                open.push(Open { func, start: record.time(), inside: 0 });
            }
            return;
        }
        let Some(places) = self.exits.get(&(file, id)) else { return };
        let Some(func) = places.func.int(data, abi) else { return };
        let times = places.times.as_ref();
        let stored = times.and_then(|times| Some(times.1.int(data, abi)?.wrapping_sub(times.0.int(data, abi)?)));
        let open = self.open.entry(task).or_default();
        // Calls that were opened later and never closed were lost.
        let entry = open.iter().rposition(|open| open.func == func).and_then(|at| {
            open.truncate(at + 1);
            open.pop()
        });
        let Some(time) = stored.or(entry.as_ref().map(|entry| record.time().wrapping_sub(entry.start))) else { return };
        if let Some(parent) = open.last_mut() {
            parent.inside = parent.inside.saturating_add(time);
        }
        let function = self.functions.entry((file, func)).or_default();
        function.took.add(time);
        function.own = function.own.saturating_add(time.saturating_sub(entry.map_or(0, |entry| entry.inside)));
    }
}

impl Analysis for GraphStats {
    fn wants(&self) -> Wants {
        Wants::of("ftrace", &["funcgraph_entry", "fgraph_retaddr_entry", "funcgraph_exit"])
    }

    fn reads_only_these(&self) -> bool {
        true
    }

    fn begin(&mut self, opened: Opened<'_>) -> Result<(), AnalysisError> {
        for lane in opened.lanes {
            let formats = &lane.trace.formats;
            let ids = formats.iter().filter(|event| event.system == "ftrace").map(|event| event.id);
            for format in ids.filter_map(|id| formats.get(id)) {
                let key = (lane.file, format.id);
                match Meaning::of(format) {
                    Meaning::FunctionEntry { func } => drop(self.entries.insert(key, func)),
                    Meaning::FunctionExit { func, times } => drop(self.exits.insert(key, Places { func, times })),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn finish<'f>(&'f mut self, opened: Opened<'f>) -> Box<dyn Findings + 'f> {
        let mut functions: Vec<_> = self.functions.iter().collect();
        functions.sort_by_key(|(key, function)| (std::cmp::Reverse(function.took.total()), **key));
        let row = |(&(file, address), function): (&(usize, u64), &'f Function)| {
            let symbol = opened.lane_of(file).and_then(|lane| lane.trace.kallsyms.lookup(address));
            let named = symbol.map(|symbol| String::from_utf8_lossy(symbol.name).into_owned());
            Row { name: named.unwrap_or_else(|| format!("{address:#x}")), function }
        };
        Box::new(Table { rows: functions.into_iter().map(row).collect() })
    }
}

struct Row<'f> {
    name: String,
    function: &'f Function,
}

/// Functions, the one that took the longest in all first.
struct Table<'f> {
    rows: Vec<Row<'f>>,
}

impl Findings for Table<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut text = Vec::new();
        write!(text, "{:>12}", "calls")?;
        ["total", "self", "min", "average", "p99", "max"]
            .iter()
            .try_for_each(|name| write!(text, " {:>13}", format!("{name} us")))?;
        text.extend_from_slice(b"  function\n");
        let us = |ns: u64| format!("{}.{:03}", ns / 1000, ns % 1000);
        for Row { name, function } in &self.rows {
            let took = &function.took;
            let total = u64::try_from(took.total()).unwrap_or(u64::MAX);
            write!(text, "{:>12}", took.count())?;
            [total, function.own, took.min(), took.average(), took.percentile(99.0), took.max()]
                .iter()
                .try_for_each(|&ns| write!(text, " {:>13}", us(ns)))?;
            writeln!(text, "  {name}")?;
        }
        out.write_all(&text)
    }
}
