//! Counts instead of records: `--summary` and `--graph-stats`.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, Write};

use super::Lane;
use super::clock::Unit;
use super::line::{slice, write_time};
use super::merge::{Batch, Mark};
use crate::spread::Spread;
use crate::wire::format::Field;
use crate::wire::record::Record;
use crate::wire::subbuf::Lost;

/// Calls that one task may have open; deeper ones are not paired.
const MAX_OPEN: usize = 4096;

#[derive(Clone, Default)]
struct Count {
    records: u64,
    first: u64,
    last: u64,
}

impl Count {
    fn add(&mut self, time: u64) {
        if self.records == 0 {
            self.first = time;
        }
        self.records += 1;
        self.last = time;
    }
}

/// The entry at `index`, made if it is not there.
#[inline]
fn at<T: Clone + Default>(list: &mut Vec<T>, index: usize) -> &mut T {
    if list.len() <= index {
        list.resize(index + 1, T::default());
    }
    &mut list[index]
}

#[derive(Default)]
struct Losses {
    counted: u64,
    uncounted: u64,
}

/// Counts per event, task and CPU.
pub(super) struct Summary<'a, 't> {
    lanes: &'a [Lane<'t>],
    origins: Vec<(u32, u32)>,
    all: Count,
    /// By file and event id.
    events: Vec<Vec<Count>>,
    tasks: HashMap<(usize, i32), Count, BuildHasherDefault<TaskHasher>>,
    /// By stream.
    cpus: Vec<(Count, Losses)>,
}

/// A quick hash of the numbers of file and task. Different numbers stay different, and they have 32 bits, so a hostile
/// file can crowd a table only so far.
#[derive(Default)]
struct TaskHasher(u64);

impl Hasher for TaskHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }

    #[inline]
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    #[inline]
    fn write_i32(&mut self, word: i32) {
        self.write_u64(word as u32 as u64);
    }
}

impl<'a, 't> Summary<'a, 't> {
    pub(super) fn new(lanes: &'a [Lane<'t>], origins: Vec<(u32, u32)>) -> Summary<'a, 't> {
        let cpus = origins.iter().map(|_| Default::default()).collect();
        Summary { lanes, origins, all: Count::default(), events: Vec::new(), tasks: HashMap::default(), cpus }
    }

    pub(super) fn take(&mut self, batch: &Batch) {
        for item in &batch.items {
            let stream = item.stream as usize;
            let (Some(&(_, number)), Some(cpu)) = (self.origins.get(stream), self.cpus.get_mut(stream)) else {
                continue;
            };
            let lane = &self.lanes[number as usize];
            let data = slice(batch, item.chunk, item.start, item.len);
            self.all.add(item.time);
            cpu.0.add(item.time);
            at(at(&mut self.events, lane.file), lane.common.id(data).into()).add(item.time);
            self.tasks.entry((lane.file, lane.common.pid(data))).or_default().add(item.time);
        }
        for (index, mark) in &batch.marks {
            let stream = batch.items.get(*index as usize).map_or(usize::MAX, |item| item.stream as usize);
            if let (Mark::Lost(lost), Some((_, losses))) = (mark, self.cpus.get_mut(stream)) {
                match lost {
                    Lost::Count(n) => losses.counted += n,
                    _ => losses.uncounted += 1,
                }
            }
        }
    }

    pub(super) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut text = Vec::new();
        let unit = self.lanes.first().map_or(Unit::Nanoseconds, |lane| lane.unit);
        let span = |count: &Count, text: &mut Vec<u8>| {
            write_time(unit, false, count.first, text);
            text.pop();
            write_time(unit, false, count.last, text);
            text.pop();
        };
        write!(text, "{:>12}  records in all, first and last at", self.all.records)?;
        span(&self.all, &mut text);
        text.push(b'\n');

        text.extend_from_slice(b"\n     records  event                                      first        last\n");
        let of_file = |(file, ids): (usize, &'_ Vec<Count>)| {
            let numbered = ids.iter().enumerate().map(move |(id, count)| ((file, id as u16), count.clone()));
            numbered.filter(|(_, count)| count.records > 0).collect::<Vec<_>>()
        };
        let mut events: Vec<_> = self.events.iter().enumerate().flat_map(of_file).collect();
        events.sort_by_key(|(key, count)| (std::cmp::Reverse(count.records), *key));
        for ((file, id), count) in &events {
            let (file, id) = (*file, *id);
            let lane = self.lanes.iter().find(|lane| lane.file == file);
            let format = lane.and_then(|lane| lane.trace.formats.get(id));
            let name = format.map_or_else(|| format!("[{id}]"), |format| format!("{}:{}", format.system, format.name));
            write!(text, "{:>12}  {name:<36}", count.records)?;
            span(count, &mut text);
            text.push(b'\n');
        }

        text.extend_from_slice(b"\n     records  task                                       first        last\n");
        let mut tasks: Vec<_> = self.tasks.iter().collect();
        tasks.sort_by_key(|(key, count)| (std::cmp::Reverse(count.records), **key));
        for (&(file, pid), count) in tasks {
            let lane = self.lanes.iter().find(|lane| lane.file == file);
            let comm = lane.map_or(&b""[..], |lane| lane.names.at(pid, u64::MAX));
            let name = format!("{}-{pid}", String::from_utf8_lossy(comm));
            write!(text, "{:>12}  {name:<36}", count.records)?;
            span(count, &mut text);
            text.push(b'\n');
        }

        text.extend_from_slice(b"\n     records  CPU                        lost         first        last\n");
        let mut cpus: Vec<_> = self.origins.iter().zip(&self.cpus).filter(|(_, seen)| seen.0.records > 0).collect();
        cpus.sort_by_key(|((cpu, number), _)| (*number, *cpu));
        for (&(cpu, number), (count, losses)) in cpus {
            let buffer = &self.lanes[number as usize].buffer.name;
            let name = if buffer.is_empty() { cpu.to_string() } else { format!("{buffer} {cpu}") };
            let lost = match losses {
                Losses { counted, uncounted: 0 } => counted.to_string(),
                Losses { counted: 0, .. } => "some".to_owned(),
                Losses { counted, .. } => format!("{counted} or more"),
            };
            write!(text, "{:>12}  {name:<16} {lost:>19}", count.records)?;
            span(count, &mut text);
            text.push(b'\n');
        }
        out.write_all(&text)
    }
}

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
    called: Option<Field>,
    returned: Option<Field>,
}

/// Calls and times per function of the function graph.
pub(super) struct GraphStats<'a, 't> {
    lanes: &'a [Lane<'t>],
    origins: Vec<(u32, u32)>,
    entries: HashMap<(usize, u16), Field>,
    exits: HashMap<(usize, u16), Places>,
    open: HashMap<(usize, i32), Vec<Open>>,
    functions: HashMap<(usize, u64), Function>,
}

impl<'a, 't> GraphStats<'a, 't> {
    pub(super) fn new(lanes: &'a [Lane<'t>], origins: Vec<(u32, u32)>) -> GraphStats<'a, 't> {
        let (mut entries, mut exits) = (HashMap::new(), HashMap::new());
        for lane in lanes {
            for name in ["funcgraph_entry", "fgraph_retaddr_entry"] {
                if let Some(format) = lane.trace.formats.find("ftrace", name).and_then(|id| lane.trace.formats.get(id))
                    && let Some(func) = format.field("func")
                {
                    entries.insert((lane.file, format.id), func.clone());
                }
            }
            let exit = lane.trace.formats.find("ftrace", "funcgraph_exit").and_then(|id| lane.trace.formats.get(id));
            if let Some(format) = exit
                && let Some(func) = format.field("func")
            {
                let places = Places {
                    func: func.clone(),
                    called: format.field("calltime").cloned(),
                    returned: format.field("rettime").cloned(),
                };
                exits.insert((lane.file, format.id), places);
            }
        }
        GraphStats { lanes, origins, entries, exits, open: HashMap::new(), functions: HashMap::new() }
    }

    pub(super) fn take(&mut self, batch: &Batch) {
        for item in &batch.items {
            let Some(&(cpu, number)) = self.origins.get(item.stream as usize) else { continue };
            let data = slice(batch, item.chunk, item.start, item.len);
            self.one(number, &Record { ticks: item.time, cpu, data });
        }
    }

    fn one(&mut self, number: u32, record: &Record<'_>) {
        let lane = &self.lanes[number as usize];
        let (id, abi) = (lane.common.id(record.data), lane.trace.abi);
        let task = (lane.file, lane.common.pid(record.data));
        if let Some(func) = self.entries.get(&(lane.file, id)).and_then(|func| func.int(record.data, abi)) {
            let open = self.open.entry(task).or_default();
            if open.len() < MAX_OPEN {
                open.push(Open { func, start: record.ticks, inside: 0 });
            }
            return;
        }
        let Some(places) = self.exits.get(&(lane.file, id)) else { return };
        let Some(func) = places.func.int(record.data, abi) else { return };
        let int = |field: &Option<Field>| field.as_ref().and_then(|field| field.int(record.data, abi));
        let open = self.open.entry(task).or_default();
        // Calls that were opened later and never closed were lost.
        let entry = open.iter().rposition(|open| open.func == func).map(|at| {
            open.truncate(at + 1);
            open.pop()
        });
        let entry = entry.flatten();
        let stored = int(&places.returned).zip(int(&places.called)).map(|(end, start)| end.wrapping_sub(start));
        let Some(time) = stored.or(entry.as_ref().map(|entry| record.ticks.wrapping_sub(entry.start))) else { return };
        if let Some(parent) = open.last_mut() {
            parent.inside = parent.inside.saturating_add(time);
        }
        let function = self.functions.entry((lane.file, func)).or_default();
        function.took.add(time);
        function.own = function.own.saturating_add(time.saturating_sub(entry.map_or(0, |entry| entry.inside)));
    }

    pub(super) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut text = Vec::new();
        write!(text, "{:>12}", "calls")?;
        ["total", "self", "min", "average", "p99", "max"]
            .iter()
            .try_for_each(|name| write!(text, " {:>13}", format!("{name} us")))?;
        text.extend_from_slice(b"  function\n");
        let us = |ns: u64| format!("{}.{:03}", ns / 1000, ns % 1000);
        let mut functions: Vec<_> = self.functions.iter().collect();
        functions.sort_by_key(|(key, function)| (std::cmp::Reverse(function.took.total()), **key));
        for (&(file, address), function) in functions {
            let lane = self.lanes.iter().find(|lane| lane.file == file);
            let name = lane.and_then(|lane| lane.trace.kallsyms.lookup(address)).map(|symbol| symbol.name);
            let name = name.map_or_else(|| format!("{address:#x}"), |name| String::from_utf8_lossy(name).into_owned());
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
