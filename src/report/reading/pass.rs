//! One pass over the records of a reading, in batches.
//!
//! Owns: which CPUs and events are read at all, where reading begins, what is said of damage at the end.

use std::cell::Cell;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::Outcome;
use super::batch::Batch;
use super::lane::Lane;
use super::merge::{Merge, MergeSettings, Progress};
use super::pool::{Pool, Render};
use super::record::{Opened, Origin};
use super::seek::{Starts, Timelines};
use super::select::Gate;
use super::settings::ReadSettings;
use super::stream::{Stream, Wanted};
use super::tail::{OrderDependence, TailSearch, TailStart};
use crate::dat::{CpuData, Note};
use crate::decode::Compat;

/// What whoever takes the records needs.
#[derive(Clone, Debug, Default)]
pub(in crate::report) struct Asked {
    /// Only records of these events, as (system, event); of all if `None`.
    pub(in crate::report) events: Option<Vec<(String, String)>>,
    /// An account of all records is kept, although only the last ones are printed.
    pub(in crate::report) keeps_account: bool,
    /// Records are handed out one by one, so that only the last ones can be.
    pub(in crate::report) has_tail: bool,
    /// More passes follow, with records that come later: each sub-buffer is looked at until its last record is handed out,
    /// so nothing is left out where it is found, or what was lost before it would not be heard of.
    pub(in crate::report) goes_on: bool,
}

/// A pass that has begun.
pub(in crate::report) struct Pass<'r> {
    opened: Opened<'r>,
    merge: Merge<'r>,
    pool: Pool<Batch>,
    /// Records that are too many at the start.
    skip: u64,
    check_order: bool,
}

/// What all ways to open the streams of a pass have in common.
struct Plan<'p> {
    opened: Opened<'p>,
    /// What can be left out of each file where it is found.
    wants: Vec<Arc<[Wanted]>>,
    /// Whose data are read, by lane.
    cpus: Vec<Vec<CpuData>>,
    threads: usize,
}

impl<'r> Pass<'r> {
    /// Begins a pass. Numbers of streams that `origins` has already stay if records are going on to come.
    pub(super) fn begin(
        mut opened: Opened<'r>,
        origins: &'r mut Vec<Origin>,
        progress: &'r mut Progress,
        gate: &'r mut Gate,
        settings: &ReadSettings,
        asked: &Asked,
    ) -> Pass<'r> {
        let lanes = opened.lanes;
        let files = 0..opened.inputs.len();
        let wants = files.map(|file| Arc::from(wants(file, lanes, gate, settings, asked, progress))).collect();
        let plan = Plan { opened, wants, cpus: cpus_to_read(opened, gate, settings), threads: settings.threads };
        number(origins, &plan.cpus);
        let origins: &[Origin] = origins;
        let numbered = |starts: &Starts| plan.streams(origins, starts);
        opened.origins = origins;
        let pool: Pool<Batch> = Pool::new(settings.threads);
        let how = MergeSettings {
            strict_leaves: settings.style.compat != Compat::Rtrec,
            boundaries: settings.boundaries,
            limit: settings.head.unwrap_or(u64::MAX),
            end_time: settings.to.unwrap_or(u64::MAX),
        };
        let starts = match gate.from() {
            0 => Starts::default(),
            _ if gate.remembers() => Starts::default(),
            from => Timelines::new(&numbered(&Starts::default()), lanes, settings.threads).starts(from),
        };
        let tail = match settings.tail {
            Some(count) if asked.has_tail => {
                let history = progress.trackers().map(OrderDependence::of).collect();
                let keeps_account = asked.keeps_account;
                let (pool, how, streams) = (&pool, &how, &numbered);
                TailSearch { opened, pool, how, settings, keeps_account, streams, all: starts, history }
                    .find(count, gate)
            }
            _ => TailStart { starts, skip: 0 },
        };
        let merge = Merge::new(lanes, numbered(&tail.starts), progress, gate, &how, &pool);
        Pass { opened, merge, pool, skip: tail.skip, check_order: settings.check_order }
    }

    /// What is read.
    pub(in crate::report) fn opened(&self) -> Opened<'r> {
        self.opened
    }

    /// Hands over batch by batch, in order, until `take` has enough: also those of which nothing is printed.
    pub(in crate::report) fn consume(&mut self, mut take: impl FnMut(&Batch) -> ControlFlow<()>) {
        let Pass { merge, pool, skip, .. } = self;
        let over = Cell::new(false);
        let mut left = *skip;
        let next = || {
            let mut batch = merge.batch(pool).filter(|_| !over.get())?;
            batch.skip = left.min(batch.items.len() as u64) as usize;
            left -= batch.skip as u64;
            Some(batch)
        };
        pool.consume(next, |batch| over.set(take(&batch).is_break()));
    }

    /// Writes the text of all batches in order. `note` adds to each batch what depends on those before it.
    pub(in crate::report) fn render(
        &mut self,
        form: &dyn Render<Batch>,
        mut note: impl FnMut(&mut Batch),
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let Pass { merge, pool, skip, .. } = self;
        let mut left = *skip;
        let next = || {
            loop {
                let mut batch = merge.batch(pool)?;
                note(&mut batch);
                if let Some(batch) = shorten(batch, &mut left) {
                    return Some(batch);
                }
            }
        };
        pool.run(next, form, out)
    }

    /// Records and damage.
    pub(in crate::report) fn finish(self) -> Outcome {
        let Pass { opened, mut merge, skip, check_order, .. } = self;
        merge.keep_losses();
        let mut outcome = Outcome { records: merge.records().saturating_sub(skip), notes: Vec::new() };
        if check_order && merge.backwards() > 0 {
            let what = format!("{} records are older than the record before them", merge.backwards());
            outcome.notes.push((0, Note::new(0, what)));
        }
        for (lane, stream) in merge.streams() {
            let file = opened.lanes[lane as usize].file;
            outcome.notes.extend(stream.notes.iter().map(|note| (file, note.clone())));
            if let Some(more) = stream.damaged.checked_sub(stream.notes.len() as u64).filter(|more| *more > 0) {
                let what = format!("{more} more places of CPU {} are damaged", stream.cpu);
                outcome.notes.push((file, Note::new(0, what)));
            }
        }
        outcome
    }
}

/// Marks the first `left` records as left out; `None` if those are all of the batch.
fn shorten(mut batch: Batch, left: &mut u64) -> Option<Batch> {
    let all = batch.items.len() as u64;
    if *left == 0 || *left < all {
        batch.skip = std::mem::take(left) as usize;
        return Some(batch);
    }
    *left -= all;
    None
}

/// Gives each stream that is read its number.
fn number(origins: &mut Vec<Origin>, cpus: &[Vec<CpuData>]) {
    // Only while a trace is recorded are there any, and then they are few.
    let known = origins.len();
    for (lane, cpus) in (0..).zip(cpus) {
        for data in cpus {
            let origin = Origin { cpu: data.cpu, lane };
            if !origins[..known].contains(&origin) {
                origins.push(origin);
            }
        }
    }
}

impl Plan<'_> {
    fn streams(&self, origins: &[Origin], starts: &Starts) -> Vec<(u32, Stream)> {
        let count = self.cpus.iter().map(Vec::len).sum::<usize>().max(1);
        // Enough ahead to keep the workers busy, little enough to stay within a few megabytes on large machines.
        let depth = if self.threads > 1 { (8 * self.threads / count).clamp(2, 16) } else { 1 };
        let mut streams = Vec::new();
        let mut numbers = Numbers { origins, next: 0 };
        for (lane, cpus) in (0..).zip(&self.cpus) {
            let of = &self.opened.lanes[lane as usize];
            let Some(buffer) = of.buffer(self.opened.inputs) else { continue };
            for data in cpus {
                let finder = of.finder(&self.opened.inputs[of.file], Arc::clone(&self.wants[of.file]));
                let mut stream = Stream::new(finder, buffer, data, depth);
                stream.number = numbers.of(Origin { cpu: data.cpu, lane });
                streams.push((lane, stream));
            }
        }
        starts.apply(&mut streams);
        streams
    }
}

/// Finds the numbers of streams that are asked for mostly in their order.
struct Numbers<'o> {
    origins: &'o [Origin],
    next: usize,
}

impl Numbers<'_> {
    fn of(&mut self, origin: Origin) -> u32 {
        if self.origins.get(self.next) != Some(&origin) {
            self.next = self.origins.iter().position(|other| *other == origin).unwrap_or(0);
        }
        self.next += 1;
        self.next as u32 - 1
    }
}

/// What can be left out of a file where it is found: what nobody wants, unless something depends on seeing it.
fn wants(
    file: usize,
    lanes: &[Lane],
    gate: &Gate,
    settings: &ReadSettings,
    asked: &Asked,
    progress: &Progress,
) -> Vec<Wanted> {
    if asked.goes_on {
        return Vec::new();
    }
    let mut wants = gate.wants(file);
    let counts_all = settings.head.is_some() || settings.check_order || gate.remembers();
    if !counts_all && let Some(events) = asked.events.as_ref() {
        leave_out_others(file, lanes, events, progress, &mut wants);
    }
    let Some(lane) = lanes.iter().find(|lane| lane.file == file && lane.draws_graph) else { return wants };
    let pairing = lane.decoders.pairing();
    let of = |wants: &[Wanted], id: u16| wants.get(usize::from(id)).copied().unwrap_or(Wanted::Yes);
    let ids = || lane.trace.formats.iter().filter(|event| event.system == "ftrace").map(|event| event.id);
    if ids().any(|id| pairing.is_entry(id) && of(&wants, id) != Wanted::No) {
        if settings.style.compat != Compat::Rtrec {
            // Any record of any CPU keeps an entry from its exit.
            return Vec::new();
        }
        for id in ids().filter(|id| pairing.is_exit(*id)) {
            if let Some(want) = wants.get_mut(usize::from(id)) {
                *want = Wanted::Yes;
            }
        }
    }
    wants
}

/// Leaves out all events but those asked for and those that trackers learn from.
fn leave_out_others(
    file: usize,
    lanes: &[Lane],
    events: &[(String, String)],
    progress: &Progress,
    wants: &mut Vec<Wanted>,
) {
    let Some(lane) = lanes.iter().find(|lane| lane.file == file) else { return };
    wants.resize(lane.trace.formats.id_bound().max(wants.len()), Wanted::Yes);
    for event in lane.trace.formats.iter() {
        let asked = events.iter().any(|(system, name)| system == event.system && name == event.name);
        if !asked && !progress.learns_from(file, event.id) {
            wants[usize::from(event.id)] = Wanted::No;
        }
    }
}

/// Whose data are read, by lane and CPU: those of CPUs that are not asked for may still matter.
fn cpus_to_read(opened: Opened<'_>, gate: &Gate, settings: &ReadSettings) -> Vec<Vec<CpuData>> {
    let reads = |lane: &Lane, data: &CpuData| {
        // As in trace-cmd, a record of any CPU keeps an entry of the function graph from its exit.
        let apart = lane.draws_graph && settings.style.compat != Compat::Rtrec;
        apart || gate.remembers() || gate.wants_cpu(data.cpu)
    };
    let of = |lane: &Lane| -> Vec<CpuData> {
        let cpus = lane.buffer(opened.inputs).map_or(&[][..], |buffer| &buffer.cpus);
        cpus.iter().filter(|data| reads(lane, data)).copied().collect()
    };
    opened.lanes.iter().map(of).collect()
}
