//! How many records there are of each event, task and CPU, and what was lost (`report --summary`).
//!
//! Owns: the counts. Does not own: names of tasks (a lane's).
//!
//! All is in this file. Imported by `cli`. The next thing to count: a list in [`Summary`], and its rows below the others.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, Write};

use super::interface::{Analysis, Findings};
use crate::report::reading::Take;
use crate::report::reading::clock::{Unit, write_time};
use crate::report::reading::record::{Loss, Opened, Origin, Record};
use crate::wire::subbuf::Lost;

#[derive(Clone, Debug, Default)]
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

#[derive(Clone, Debug, Default)]
struct Losses {
    counted: u64,
    uncounted: u64,
}

/// Counts per event, task and CPU.
#[derive(Default)]
pub struct Summary {
    all: Count,
    /// By file and event id.
    events: Vec<Vec<Count>>,
    /// Where a task's count is, by file and task.
    tasks: HashMap<(usize, i32), usize, BuildHasherDefault<TaskHasher>>,
    task_counts: Vec<Count>,
    /// The task of the last record, since records of a task come in runs, and where its count is.
    last_task: Option<((usize, i32), usize)>,
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

impl Summary {
    /// Where the count of a task is.
    fn find_task(&mut self, task: (usize, i32)) -> usize {
        let at = *self.tasks.entry(task).or_insert(self.task_counts.len());
        if at == self.task_counts.len() {
            self.task_counts.push(Count::default());
        }
        self.last_task = Some((task, at));
        at
    }
}

impl Take for Summary {
    #[inline(always)]
    fn take(&mut self, record: &Record<'_>) {
        let (file, time) = (record.lane.file, record.time());
        self.all.add(time);
        at(&mut self.cpus, record.stream as usize).0.add(time);
        at(at(&mut self.events, file), record.id().into()).add(time);
        let task = (file, record.pid());
        let at = match self.last_task {
            Some((last, at)) if last == task => at,
            _ => self.find_task(task),
        };
        self.task_counts[at].add(time);
    }

    fn lost(&mut self, loss: &Loss<'_>) {
        let losses = &mut at(&mut self.cpus, loss.stream as usize).1;
        match loss.lost {
            Lost::Count(n) => losses.counted += n,
            _ => losses.uncounted += 1,
        }
    }
}

impl Analysis for Summary {
    fn finish<'f>(&'f mut self, opened: Opened<'f>) -> Box<dyn Findings + 'f> {
        Box::new(Figures::of(self, opened))
    }
}

/// How often, the first time and the last.
#[derive(Debug)]
struct Row {
    name: String,
    count: Count,
}

/// A CPU of a buffer.
#[derive(Debug)]
struct CpuRow {
    name: String,
    lost: String,
    count: Count,
}

/// All counts, the largest first.
#[derive(Debug)]
struct Figures {
    unit: Unit,
    all: Count,
    events: Vec<Row>,
    tasks: Vec<Row>,
    cpus: Vec<CpuRow>,
}

impl Figures {
    fn of(summary: &Summary, opened: Opened<'_>) -> Figures {
        Figures {
            unit: opened.lanes.first().map_or(Unit::Nanoseconds, |lane| lane.unit),
            all: summary.all.clone(),
            events: events(summary, opened),
            tasks: tasks(summary, opened),
            cpus: cpus(summary, opened),
        }
    }

    /// The times of the first and of the last.
    fn span(&self, count: &Count, text: &mut Vec<u8>) {
        write_time(self.unit, false, count.first, text);
        text.pop();
        write_time(self.unit, false, count.last, text);
        text.pop();
    }

    fn rows(&self, rows: &[Row], text: &mut Vec<u8>) -> io::Result<()> {
        for Row { name, count } in rows {
            write!(text, "{:>12}  {name:<36}", count.records)?;
            self.span(count, text);
            text.push(b'\n');
        }
        Ok(())
    }
}

fn events(summary: &Summary, opened: Opened<'_>) -> Vec<Row> {
    let of_file = |(file, ids): (usize, &'_ Vec<Count>)| {
        let numbered = ids.iter().enumerate().map(move |(id, count)| ((file, id as u16), count.clone()));
        numbered.filter(|(_, count)| count.records > 0).collect::<Vec<_>>()
    };
    let mut events: Vec<_> = summary.events.iter().enumerate().flat_map(of_file).collect();
    events.sort_by_key(|(key, count)| (std::cmp::Reverse(count.records), *key));
    let row = |((file, id), count): ((usize, u16), Count)| {
        let format = opened.lane_of(file).and_then(|lane| lane.trace.formats.get(id));
        let name = format.map_or_else(|| format!("[{id}]"), |format| format!("{}:{}", format.system, format.name));
        Row { name, count }
    };
    events.into_iter().map(row).collect()
}

fn tasks(summary: &Summary, opened: Opened<'_>) -> Vec<Row> {
    let counted = summary.tasks.iter().filter_map(|(key, at)| Some((key, summary.task_counts.get(*at)?)));
    let mut tasks: Vec<_> = counted.collect();
    tasks.sort_by_key(|(key, count)| (std::cmp::Reverse(count.records), **key));
    let row = |(&(file, pid), count): (&(usize, i32), &Count)| {
        let comm = opened.lane_of(file).map_or(&b""[..], |lane| lane.names.at(pid, u64::MAX));
        Row { name: format!("{}-{pid}", String::from_utf8_lossy(comm)), count: count.clone() }
    };
    tasks.into_iter().map(row).collect()
}

fn cpus(summary: &Summary, opened: Opened<'_>) -> Vec<CpuRow> {
    let mut cpus: Vec<_> = opened.origins.iter().zip(&summary.cpus).filter(|(_, seen)| seen.0.records > 0).collect();
    cpus.sort_by_key(|(origin, _)| (origin.lane, origin.cpu));
    let row = |(origin, (count, losses)): (&Origin, &(Count, Losses))| {
        let Origin { cpu, lane } = *origin;
        let buffer = opened.lanes.get(lane as usize).map_or("", |lane| lane.buffer_name.as_str());
        let name = if buffer.is_empty() { cpu.to_string() } else { format!("{buffer} {cpu}") };
        let lost = match losses {
            Losses { counted, uncounted: 0 } => counted.to_string(),
            Losses { counted: 0, .. } => "some".to_owned(),
            Losses { counted, .. } => format!("{counted} or more"),
        };
        CpuRow { name, lost, count: count.clone() }
    };
    cpus.into_iter().map(row).collect()
}

impl Findings for Figures {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut text = Vec::new();
        write!(text, "{:>12}  records in all, first and last at", self.all.records)?;
        self.span(&self.all, &mut text);
        text.push(b'\n');
        text.extend_from_slice(b"\n     records  event                                      first        last\n");
        self.rows(&self.events, &mut text)?;
        text.extend_from_slice(b"\n     records  task                                       first        last\n");
        self.rows(&self.tasks, &mut text)?;
        text.extend_from_slice(b"\n     records  CPU                        lost         first        last\n");
        for CpuRow { name, lost, count } in &self.cpus {
            write!(text, "{:>12}  {name:<16} {lost:>19}", count.records)?;
            self.span(count, &mut text);
            text.push(b'\n');
        }
        out.write_all(&text)
    }
}
