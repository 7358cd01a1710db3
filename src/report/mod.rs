//! From trace.dat files to text: streams, one order of time, selection, lines.
//!
//! Owns: the pipeline and the columns of a line. Does not own: the container (see [`dat`](crate::dat)), what an event
//! says (see [`plugins`](crate::plugins)), arguments and words for errors (see [`cli`](crate::cli)).
//!
//! ```text
//!  file -> buffer -> CPU: stream --\
//!  file -> buffer -> CPU: stream ---> merge + select + trackers -> batch -> lines -> out
//!  file -> buffer -> CPU: stream --/      (one thread)            (any threads)  (in order)
//! ```
//!
//! Memory is bounded by the chunks and batches under way, whatever the size of the files.

pub mod clock;
mod dump;
mod flame;
pub mod history;
pub mod input;
mod kernel_graph;
mod lane;
pub mod latency;
mod legend;
mod line;
pub mod lists;
pub mod live;
mod merge;
pub mod moment;
mod pool;
mod profile;
mod records;
mod seek;
pub mod select;
mod settings;
mod stats;
mod stream;
mod tail;
mod wakeup;
pub mod windows;

use std::cell::OnceCell;
use std::fmt;
use std::io::{self, Write};

pub use clock::{Correction, Unit, unit_of};
pub use history::History;
pub use input::{Common, Input};
pub use lane::{Lane, lanes, names};
pub use line::Columns;
pub use profile::{Hook, HookError, Profile};
pub use select::{FilterArg, Gate, SelectError, Selection};
pub use settings::{Format, RawEvents, Settings};

use crate::dat::{CpuData, Note};
use crate::plugins::{Compat, StyleError};
use lane::{prefix, prefix_width};
use merge::{Batch, How, Merge};
use pool::{Pool, Render};
use seek::{Starts, Timelines};
use stream::{Stream, Want};
use tail::{Learned, Search, Tail};

/// Why a report ended early.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReportError {
    /// An option about plugins.
    Style(StyleError),
    /// Writing the output.
    Write(io::Error),
    /// A text trace together with other files.
    TextMerge(String),
    /// Wake-up latencies of several files.
    WakeupMerge,
    /// A pair of events to profile.
    Hook(HookError),
    /// A file that does not tell the time of day.
    NoWallClock(String),
    /// Windows that cannot be told.
    Windows(windows::WindowError),
    /// No file has these pairs of events; none given: none has any.
    NoPair(Vec<latency::PairWord>),
}

impl fmt::Display for ReportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReportError::Style(error) => write!(f, "{error}"),
            ReportError::Write(error) => write!(f, "{error}"),
            ReportError::TextMerge(file) => write!(f, "{file} holds text and cannot be merged with other files"),
            ReportError::Hook(error) => write!(f, "{error}"),
            ReportError::NoWallClock(file) => write!(f, "{file} does not tell the time of day"),
            ReportError::Windows(error) => write!(f, "{error}"),
            ReportError::NoPair(words) => match words.first() {
                None => f.write_str("there is no pair of events NAME and NAME__return"),
                Some(word) => write!(f, "there is no pair of events {} and {}", word.start, word.stop),
            },
            ReportError::WakeupMerge => f.write_str("wake-up latencies are those of a single file"),
        }
    }
}

impl std::error::Error for ReportError {}

impl From<StyleError> for ReportError {
    fn from(error: StyleError) -> ReportError {
        ReportError::Style(error)
    }
}

/// How a report went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Records printed.
    pub records: u64,
    /// Damage, with the index of the file.
    pub notes: Vec<(usize, Note)>,
}

/// Prints the first lines: how many CPUs each file has.
pub fn heading(inputs: &[Input], out: &mut dyn Write) -> io::Result<()> {
    let width = prefix_width(inputs);
    for input in inputs {
        let prefix = if inputs.len() > 1 { prefix(&input.name, width) } else { Vec::new() };
        out.write_all(&prefix)?;
        writeln!(out, "cpus={}", input.dat.cpu_count())?;
    }
    Ok(())
}

/// Prints all records of the files in order of time.
pub fn run<'a, 't>(
    inputs: &'t [Input],
    lanes: &'a [Lane<'t>],
    gate: Gate<'a, 't>,
    settings: &Settings,
    out: &mut dyn Write,
) -> Result<Outcome, ReportError> {
    if settings.wakeups && inputs.len() > 1 {
        return Err(ReportError::WakeupMerge);
    }
    if matches!(settings.format, Format::Text | Format::Profile) && settings.heading {
        if settings.style.compat != Compat::Rtrec {
            profile::list_hooks(inputs, &settings.profile, out).map_err(ReportError::Write)?;
        }
        if settings.dump {
            dump::heading(inputs, out).map_err(ReportError::Write)?;
        }
        if settings.format == Format::Text && kernel_graph::is_wanted(lanes) {
            out.write_all(kernel_graph::heading(lanes).as_bytes()).map_err(ReportError::Write)?;
        } else {
            heading(inputs, out).map_err(ReportError::Write)?;
        }
    }
    if settings.legend && settings.format == Format::Text && !kernel_graph::is_wanted(lanes) {
        let prefix = lanes.first().map_or(0, |lane| lane.prefix.len());
        let ticks = settings.columns.bare_ticks || lanes.iter().any(|lane| lane.unit == Unit::Raw);
        let text = legend::legend(&settings.columns, settings.style.compat, ticks, prefix);
        out.write_all(text.as_bytes()).map_err(ReportError::Write)?;
    }
    let mut outcome = Outcome::default();
    for (file, input) in inputs.iter().enumerate() {
        outcome.notes.extend(input.notes.iter().map(|note| (file, note.clone())));
        for buffer in input.dat.texts.iter().filter(|_| settings.format == Format::Text) {
            if inputs.len() > 1 {
                return Err(ReportError::TextMerge(input.path.clone()));
            }
            match input.dat.text(buffer) {
                Ok(mut text) => {
                    if settings.style.compat != Compat::Rtrec {
                        text.push(b'\n');
                    }
                    out.write_all(&text).map_err(ReportError::Write)?;
                }
                Err(note) => outcome.notes.push((file, note)),
            }
        }
    }
    // What nobody wants is left out where it is found, unless something depends on seeing it.
    let wants: Vec<Vec<Want>> = (0..inputs.len()).map(|file| wants(file, lanes, &gate, settings)).collect();
    let pool: Pool<'_, Batch> = Pool::new(settings.threads);
    let gate_cpus = cpus_to_read(lanes, &gate, settings);
    let how = How {
        strict_leaves: settings.style.compat != Compat::Rtrec,
        boundaries: settings.boundaries,
        limit: settings.head.unwrap_or(u64::MAX),
        end_time: settings.to.unwrap_or(u64::MAX),
        wakeups: settings.wakeups && settings.format == Format::Text,
    };
    let open = |starts: &Starts| {
        let mut streams = streams(inputs, lanes, &wants, &gate_cpus, settings);
        starts.apply(&mut streams);
        streams
    };
    let starts = match gate.from() {
        0 => Starts::default(),
        _ if gate.remembers() => Starts::default(),
        from => Timelines::new(&open(&Starts::default()), lanes, settings.threads).starts(from),
    };
    let trackers = trackers(inputs.len(), lanes);
    let (tail, gate) = match settings.tail.filter(|_| settings.format.has_records()) {
        None => (Tail { starts, skip: 0 }, gate),
        Some(count) => {
            let history = trackers.iter().map(|list| Learned::of(list)).collect();
            Search { lanes, pool: &pool, how: &how, settings, streams: &open, all: starts, history }.find(count, gate)
        }
    };
    let mut merge = Merge::new(lanes, open(&tail.starts), trackers, gate, &how, &pool);
    emit(inputs, lanes, &mut merge, &pool, settings, tail.skip, out)?;
    outcome.records = merge.printed().saturating_sub(tail.skip);
    if settings.ts_check && merge.backwards > 0 {
        let what = format!("{} records are older than the record before them", merge.backwards);
        outcome.notes.push((0, Note::new(0, what)));
    }
    for (lane, stream) in merge.streams() {
        let file = lanes[lane as usize].file;
        outcome.notes.extend(stream.notes.iter().map(|note| (file, note.clone())));
        if let Some(more) = stream.damaged.checked_sub(stream.notes.len() as u64).filter(|more| *more > 0) {
            let what = format!("{more} more places of CPU {} are damaged", stream.cpu);
            outcome.notes.push((file, Note::new(0, what)));
        }
    }
    Ok(outcome)
}

/// Turns the merged records into what was asked for.
fn emit<'a, 'd, 't>(
    inputs: &'t [Input],
    lanes: &'a [Lane<'t>],
    merge: &mut Merge<'a, 'd, 't>,
    pool: &Pool<'d, Batch>,
    settings: &Settings,
    skip: u64,
    out: &mut dyn Write,
) -> Result<(), ReportError> {
    let (compat, origins) = (settings.style.compat, merge.origins());
    let written = match settings.format {
        Format::Text if kernel_graph::is_wanted(lanes) => {
            let mut graph = kernel_graph::KernelGraph::new(lanes, &origins, skip);
            until_it_fails(merge, pool, |batch| graph.take(&batch, out))
        }
        Format::Text => {
            let lines = line::TextLines::new(lanes, origins, &settings.columns, compat, settings.dump);
            render(merge, pool, skip, &lines, out)
                .and_then(|()| merge.wakeups.as_ref().map_or(Ok(()), |wakeups| wakeups.print(out)))
        }
        Format::Json | Format::Csv => {
            let json = settings.format == Format::Json;
            let files = inputs.iter().map(|input| input.name.clone()).collect();
            let records = records::Records::new(lanes, origins, &settings.fields, json, files);
            let heading = if settings.heading { records.heading() } else { Vec::new() };
            out.write_all(&heading).and_then(|()| render(merge, pool, skip, &records, out))
        }
        Format::Summary => {
            let mut summary = stats::Summary::new(lanes, origins);
            pool.consume(|| merge.batch(pool), |batch| summary.take(&batch));
            summary.print(out)
        }
        Format::GraphStats => {
            let mut graph = stats::GraphStats::new(lanes, origins);
            pool.consume(|| merge.batch(pool), |batch| graph.take(&batch));
            graph.print(out)
        }
        Format::Latency => {
            let latency = latency::Latency::new(lanes, origins, &settings.latency);
            let mut latency = latency.map_err(ReportError::NoPair)?;
            until_it_fails(merge, pool, |batch| latency.take(&batch, out)).and_then(|()| latency.print(out))
        }
        Format::Profile => {
            let profiler = profile::Profiler::new(inputs, lanes, origins, &settings.profile, compat);
            let mut profiler = profiler.map_err(ReportError::Hook)?;
            pool.consume(|| merge.batch(pool), |batch| profiler.take(&batch));
            profiler.print(inputs, out)
        }
        Format::Windows => {
            let watcher = windows::Watcher::new(inputs, lanes, origins, &settings.windows);
            let mut watcher = watcher.map_err(ReportError::Windows)?;
            pool.consume(|| merge.batch(pool), |batch| watcher.take(&batch));
            watcher.print(inputs, out)
        }
    };
    written.map_err(ReportError::Write)
}

/// Hands over batch by batch, up to the first error.
fn until_it_fails<'d>(
    merge: &mut Merge<'_, 'd, '_>,
    pool: &Pool<'d, Batch>,
    mut take: impl FnMut(Batch) -> io::Result<()>,
) -> io::Result<()> {
    let failed = OnceCell::new();
    let next = || merge.batch(pool).filter(|_| failed.get().is_none());
    pool.consume(next, |batch| {
        if let Err(error) = take(batch) {
            let _ = failed.set(error);
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}

/// Prints all but the first `skip` records.
fn render<'d>(
    merge: &mut Merge<'_, 'd, '_>,
    pool: &Pool<'d, Batch>,
    mut skip: u64,
    form: &impl Render<Batch>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let next = || {
        loop {
            let mut batch = merge.batch(pool)?;
            let all = batch.items.len() as u64;
            if skip == 0 || skip < all {
                batch.skip = std::mem::take(&mut skip) as usize;
                return Some(batch);
            }
            skip -= all;
        }
    };
    pool.run(next, form, out)
}

/// What can be left out of a file where it is found.
fn wants(file: usize, lanes: &[Lane<'_>], gate: &Gate<'_, '_>, settings: &Settings) -> Vec<Want> {
    let mut wants = gate.wants(file);
    let Some(lane) = lanes.iter().find(|lane| lane.file == file && lane.draws_graph) else { return wants };
    let pairing = lane.decoders.funcgraph();
    let of = |wants: &[Want], id: u16| wants.get(usize::from(id)).copied().unwrap_or(Want::Yes);
    let ids = || lane.trace.formats.iter().filter(|event| event.system == "ftrace").map(|event| event.id);
    if ids().any(|id| pairing.is_entry(id) && of(&wants, id) != Want::No) {
        if settings.style.compat != Compat::Rtrec {
            // Any record of any CPU keeps an entry from its exit.
            return Vec::new();
        }
        for id in ids().filter(|id| pairing.is_exit(*id)) {
            if let Some(want) = wants.get_mut(usize::from(id)) {
                *want = Want::Yes;
            }
        }
    }
    wants
}

/// Whose data are read, by lane and CPU: those of CPUs that are not asked for may still matter.
fn cpus_to_read(lanes: &[Lane<'_>], gate: &Gate<'_, '_>, settings: &Settings) -> Vec<Vec<CpuData>> {
    let reads = |lane: &Lane<'_>, data: &CpuData| {
        // As in trace-cmd, a record of any CPU keeps an entry of the function graph from its exit.
        let apart = lane.draws_graph && settings.style.compat != Compat::Rtrec;
        apart || gate.remembers() || gate.wants_cpu(data.cpu)
    };
    lanes.iter().map(|lane| lane.buffer.cpus.iter().filter(|data| reads(lane, data)).copied().collect()).collect()
}

fn streams<'d>(
    inputs: &'d [Input],
    lanes: &[Lane<'_>],
    wants: &'d [Vec<Want>],
    cpus: &[Vec<CpuData>],
    settings: &Settings,
) -> Vec<(u32, Stream<'d>)> {
    let count = cpus.iter().map(Vec::len).sum::<usize>().max(1);
    // Enough ahead to keep the workers busy, little enough to stay within a few megabytes on large machines.
    let depth = if settings.threads > 1 { (8 * settings.threads / count).clamp(2, 16) } else { 1 };
    let mut streams = Vec::new();
    for (number, (lane, cpus)) in lanes.iter().zip(cpus).enumerate() {
        let wants: &[Want] = &wants[lane.file];
        for data in cpus {
            let finder = lane.finder(&inputs[lane.file].dat, wants);
            streams.push((number as u32, Stream::new(finder, lane.buffer, data, depth)));
        }
    }
    streams
}

fn trackers<'a, 't>(files: usize, lanes: &'a [Lane<'t>]) -> Vec<Vec<crate::plugins::Tracked<'a>>> {
    (0..files)
        .map(|file| {
            let lane = lanes.iter().find(|lane| lane.file == file);
            lane.map(|lane| lane.decoders.trackers(lane.names)).unwrap_or_default()
        })
        .collect()
}
