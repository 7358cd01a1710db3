//! The buffers of all files, and what the records of each have in common.

use std::sync::Arc;

use super::ReportError;
use super::clock::{Correction, Unit, Wall, unit_of};
use super::history::History;
use super::input::{Common, Input};
use super::pool::Pool;
use super::settings::{Format, Settings};
use super::stream::{Finder, Stream, Want};
use crate::dat::{Buffer, Dat};
use crate::plugins::{Compat, Decoders, Trace};
use crate::wire::tables::Names;

/// One buffer of one file: what its records have in common.
pub struct Lane<'t> {
    /// Index of the file.
    pub file: usize,
    /// The buffer.
    pub buffer: &'t Buffer,
    /// What decoding needs.
    pub trace: &'t Trace,
    /// Decoders of the file.
    pub decoders: Arc<Decoders<'t>>,
    /// Names of tasks of the file.
    pub names: &'t Names<'t>,
    /// Where the common fields are.
    pub common: Common,
    /// From ticks to time.
    pub correction: Correction,
    /// How time is written.
    pub unit: Unit,
    /// What each line starts with.
    pub prefix: Vec<u8>,
    /// The file has the events of a function graph and they are drawn.
    pub draws_graph: bool,
    /// Names over time, if the file tells them.
    pub history: Option<Arc<History>>,
}

impl<'t> Lane<'t> {
    /// The name of a task at the time of the record numbered `seq`.
    #[inline]
    pub fn comm(&self, pid: i32, seq: u64, time: u64) -> &[u8] {
        let told = self.history.as_ref().and_then(|history| history.at(pid, time));
        told.unwrap_or_else(|| self.names.at(pid, seq))
    }

    pub(super) fn finder<'d>(&self, dat: &'d Dat, wants: &'d [Want]) -> Finder<'d> {
        Finder { dat, layout: self.buffer.layout, common: self.common, wants }
    }
}

/// What the names of tasks are made of, one per file; they outlive the lanes.
pub fn names(inputs: &[Input]) -> Vec<Names<'_>> {
    inputs.iter().map(|input| Names::new(&input.trace.cmdlines)).collect()
}

/// The buffers of all files in printing order, with their prefixes and corrections.
pub fn lanes<'t>(
    inputs: &'t [Input],
    names: &'t [Names<'t>],
    settings: &Settings,
) -> Result<Vec<Lane<'t>>, ReportError> {
    let many = inputs.len() > 1;
    let label = |input: &'t Input, buffer: &'t Buffer| -> &'t str {
        if !buffer.name.is_empty() {
            &buffer.name
        } else if many {
            &input.name
        } else {
            ""
        }
    };
    let width = prefix_width(inputs);
    let mut lanes = Vec::new();
    for (file, (input, names)) in inputs.iter().zip(names).enumerate() {
        let decoders = Arc::new(Decoders::new(&input.trace, settings.style.clone())?);
        // Only drawn graphs fold an exit into its entry: programs and raw fields want every record.
        let graph = settings.format == Format::Text
            && !settings.columns.raw.holds("ftrace", "funcgraph_entry")
            && input.trace.formats.find("ftrace", "funcgraph_entry").is_some();
        let correction = correction(inputs, file, settings);
        if settings.wall_clock && correction.wall.is_none() && input.dat.options.date_us.is_none() {
            return Err(ReportError::NoWallClock(input.path.clone()));
        }
        let knows_hz = correction.hz.is_some() && settings.style.compat == Compat::Rtrec;
        for buffer in &input.dat.buffers {
            let name = label(input, buffer);
            lanes.push(Lane {
                file,
                buffer,
                trace: &input.trace,
                decoders: Arc::clone(&decoders),
                names,
                common: input.common,
                correction: correction.clone(),
                unit: if knows_hz {
                    Unit::Nanoseconds
                } else {
                    unit_of(&buffer.clock, settings.style.compat == Compat::Rtrec)
                },
                prefix: prefix(name, width),
                draws_graph: graph,
                history: None,
            });
        }
    }
    if settings.align {
        align(inputs, &mut lanes);
    }
    if settings.style.compat == Compat::Rtrec {
        add_histories(inputs, &mut lanes);
    }
    Ok(lanes)
}

/// Names over time, for the buffers by whose clock they were told.
fn add_histories(inputs: &[Input], lanes: &mut [Lane<'_>]) {
    for (file, input) in inputs.iter().enumerate() {
        let Some(changes) = input.dat.name_changes() else { continue };
        let same = |clock: &str| clock == changes.clock || (clock == "tsc2nsec" && changes.clock == "x86-tsc");
        let mut of_file = lanes.iter_mut().filter(|lane| lane.file == file && same(&lane.buffer.clock)).peekable();
        // Corrections are those of a file; only a guest's depend on the CPU.
        let Some(first) = of_file.peek().filter(|lane| lane.correction.guest.is_none()) else { continue };
        let history = Arc::new(History::new(changes.clone(), &first.correction));
        of_file.for_each(|lane| lane.history = Some(Arc::clone(&history)));
    }
}

fn correction(inputs: &[Input], file: usize, settings: &Settings) -> Correction {
    if settings.raw_time {
        return Correction::default();
    }
    let dat = &inputs[file].dat;
    let wall = dat.clock_readings().filter(|_| settings.wall_clock);
    let mut correction = Correction::stored(dat, settings.with_date && wall.is_none());
    correction.wall = wall.and_then(|readings| Wall::new(&readings, correction.tsc));
    correction.hz = settings.hz.get(file).copied().flatten();
    correction.add = correction.add.wrapping_add(settings.offsets.get(file).copied().unwrap_or(0));
    // A guest is shown on its host's clock when the host's file is here.
    let is_here = |peer: u64| inputs.iter().any(|other| other.dat.options.trace_id == Some(peer));
    correction.guest = dat.options.time_shifts.iter().find(|shift| is_here(shift.peer)).cloned();
    correction
}

/// Lets the first record of all have time 0.
fn align(inputs: &[Input], lanes: &mut [Lane<'_>]) {
    let pool: Pool<'_, ()> = Pool::new(1);
    let mut first = u64::MAX;
    for lane in &*lanes {
        for data in &lane.buffer.cpus {
            if let Some(next) = Stream::new(lane.finder(&inputs[lane.file].dat, &[]), lane.buffer, data, 1).next(&pool)
            {
                first = first.min(lane.correction.apply(next.ticks, data.cpu));
            }
        }
    }
    if first != u64::MAX {
        for lane in lanes {
            lane.correction.add = lane.correction.add.wrapping_sub(first as i64);
        }
    }
}

/// Width of the longest prefix, 0 when there are none.
pub(super) fn prefix_width(inputs: &[Input]) -> usize {
    let many = inputs.len() > 1;
    let files = inputs.iter().filter(|_| many).map(|input| input.name.len());
    let buffers = inputs.iter().flat_map(|input| &input.dat.buffers).map(|buffer| buffer.name.len());
    files.chain(buffers).max().unwrap_or(0)
}

pub(super) fn prefix(name: &str, width: usize) -> Vec<u8> {
    if width == 0 {
        Vec::new()
    } else if name.is_empty() {
        vec![b' '; width + 2]
    } else {
        format!("{name:>width$}: ").into_bytes()
    }
}
