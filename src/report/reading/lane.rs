//! The buffers of all files, and what the records of each have in common.

use std::sync::{Arc, OnceLock};

use super::clock::{Correction, Unit, Wall, unit_of};
use super::error::ReadError;
use super::input::Input;
use super::names::NamesOverTime;
use super::pool::Pool;
use super::settings::ReadSettings;
use super::stream::{Finder, Stream, Wanted};
use crate::dat::Buffer;
use crate::decode::{Compat, Decoders, Registry, Trace};
use crate::wire::common::Common;
use crate::wire::subbuf::Layout;
use crate::wire::tables::Names;

/// One buffer of one file: what its records have in common.
pub struct Lane {
    /// Index of the file.
    pub file: usize,
    /// Index of the buffer in its file.
    pub(super) buffer: usize,
    /// The buffer's name; empty for the top one.
    pub buffer_name: String,
    /// How its sub-buffers are laid out.
    pub layout: Layout,
    /// What decoding needs.
    pub trace: Arc<Trace>,
    /// Decoders of the file.
    pub decoders: Arc<Decoders>,
    /// Names of tasks of the file.
    pub names: Arc<Names>,
    /// Where the common fields are.
    pub common: Common,
    /// From ticks to time.
    pub correction: Correction,
    /// How time is written.
    pub unit: Unit,
    /// What each line starts with.
    pub prefix: Vec<u8>,
    /// The file has the events of a function graph and its leaves are folded.
    pub draws_graph: bool,
    /// Names over time, if the file has them.
    pub names_over_time: Option<Arc<NamesOverTime>>,
}

impl Lane {
    /// The name of a task at the time of the record numbered `seq`.
    #[inline]
    pub fn comm(&self, pid: i32, seq: u64, time: u64) -> &[u8] {
        let then = self.names_over_time.as_ref().and_then(|names| names.at(pid, time));
        then.unwrap_or_else(|| self.names.at(pid, seq))
    }

    /// The buffer in its file, which is one of `inputs`.
    pub(in crate::report) fn buffer<'i>(&self, inputs: &'i [Input]) -> Option<&'i Buffer> {
        inputs.get(self.file)?.dat.buffers.get(self.buffer)
    }

    pub(super) fn finder(&self, input: &Input, wants: Arc<[Wanted]>) -> Finder {
        Finder { dat: Arc::clone(&input.dat), layout: self.layout, common: self.common, wants }
    }

    /// The streams of this buffer alone, one a CPU, from their start and with all records.
    pub(in crate::report) fn streams(&self, inputs: &[Input]) -> Vec<Stream> {
        let (Some(input), Some(buffer)) = (inputs.get(self.file), self.buffer(inputs)) else { return Vec::new() };
        let stream = |data| Stream::new(self.finder(input, Arc::new([])), buffer, data, 1);
        buffer.cpus.iter().map(stream).collect()
    }
}

/// What the buffers of one file share.
struct File {
    decoders: Arc<Decoders>,
    names: Arc<Names>,
    correction: Correction,
    knows_hz: bool,
}

impl File {
    fn new(inputs: &[Input], file: usize, registry: Registry, settings: &ReadSettings) -> Result<File, ReadError> {
        let input = &inputs[file];
        let trace = Arc::clone(&input.trace);
        let decoders = Arc::new(Decoders::new(trace, registry, settings.style.clone()).map_err(ReadError::Style)?);
        let correction = correction(inputs, file, settings);
        if settings.wall_clock && correction.wall.is_none() && input.dat.options.date_us.is_none() {
            return Err(ReadError::NoWallClock(input.path.clone()));
        }
        let knows_hz = correction.hz.is_some() && settings.style.compat == Compat::Rtrec;
        let names = Arc::new(Names::new(Arc::clone(&input.trace.cmdlines)));
        Ok(File { decoders, names, correction, knows_hz })
    }

    fn lane(&self, input: &Input, file: usize, buffer: usize, settings: &ReadSettings) -> Lane {
        let of = &input.dat.buffers[buffer];
        Lane {
            file,
            buffer,
            buffer_name: of.name.clone(),
            layout: of.layout,
            trace: Arc::clone(&input.trace),
            decoders: Arc::clone(&self.decoders),
            names: Arc::clone(&self.names),
            common: input.common,
            correction: self.correction.clone(),
            unit: if self.knows_hz {
                Unit::Nanoseconds
            } else {
                unit_of(&of.clock, settings.style.compat == Compat::Rtrec)
            },
            prefix: Vec::new(),
            draws_graph: settings.fold_leaves && input.trace.formats.find("ftrace", "funcgraph_entry").is_some(),
            names_over_time: None,
        }
    }
}

/// The buffers of all files in printing order, with their prefixes and corrections.
pub(super) fn lanes(inputs: &[Input], registry: Registry, settings: &ReadSettings) -> Result<Vec<Lane>, ReadError> {
    let mut lanes = Vec::new();
    for (number, input) in inputs.iter().enumerate() {
        let file = File::new(inputs, number, registry, settings)?;
        lanes.extend((0..input.dat.buffers.len()).map(|buffer| file.lane(input, number, buffer, settings)));
    }
    set_prefixes(inputs, &mut lanes);
    if settings.align {
        align(inputs, &mut lanes);
    }
    if settings.style.compat == Compat::Rtrec {
        add_names_over_time(inputs, &mut lanes);
    }
    Ok(lanes)
}

/// Adds lanes for the buffers of the only file that have none yet, and finds the places of the others anew.
pub(super) fn follow(
    inputs: &[Input],
    lanes: &mut Vec<Lane>,
    registry: Registry,
    settings: &ReadSettings,
) -> Result<(), ReadError> {
    let Some(input) = inputs.first() else { return Ok(()) };
    let before = lanes.len();
    for (number, buffer) in input.dat.buffers.iter().enumerate() {
        if let Some(lane) = lanes.iter_mut().find(|lane| lane.buffer_name == buffer.name) {
            lane.buffer = number;
            continue;
        }
        let file = match lanes.first() {
            Some(lane) => File {
                decoders: Arc::clone(&lane.decoders),
                names: Arc::clone(&lane.names),
                correction: lane.correction.clone(),
                knows_hz: false,
            },
            None => File::new(inputs, 0, registry, settings)?,
        };
        lanes.push(file.lane(input, 0, number, settings));
    }
    if lanes.len() > before {
        set_prefixes(inputs, lanes);
    }
    Ok(())
}

/// Names over time, for the buffers by whose clock they were noted.
fn add_names_over_time(inputs: &[Input], lanes: &mut [Lane]) {
    for (file, input) in inputs.iter().enumerate() {
        let Some(changes) = input.dat.name_changes() else { continue };
        let same = |clock: &str| clock == changes.clock || (clock == "tsc2nsec" && changes.clock == "x86-tsc");
        let of_file = lanes.iter_mut().filter(|lane| lane.file == file);
        let mut of_file = of_file
            .filter(|lane| input.dat.buffers.get(lane.buffer).is_some_and(|buffer| same(&buffer.clock)))
            .peekable();
        // Corrections are those of a file; only a guest's depend on the CPU.
        let Some(first) = of_file.peek().filter(|lane| lane.correction.guest.is_none()) else { continue };
        let names = Arc::new(NamesOverTime::new(changes.clone(), &first.correction));
        of_file.for_each(|lane| lane.names_over_time = Some(Arc::clone(&names)));
    }
}

fn correction(inputs: &[Input], file: usize, settings: &ReadSettings) -> Correction {
    if settings.raw_time {
        return Correction::default();
    }
    let dat = &inputs[file].dat;
    let wall = if settings.wall_clock { dat.clock_readings() } else { None };
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
fn align(inputs: &[Input], lanes: &mut [Lane]) {
    let pool: Pool<()> = Pool::new(1);
    let mut first = u64::MAX;
    for lane in &*lanes {
        for mut stream in lane.streams(inputs) {
            if let Some(next) = stream.next(&pool) {
                first = first.min(lane.correction.apply(next.ticks, stream.cpu));
            }
        }
    }
    if first != u64::MAX {
        for lane in lanes {
            lane.correction.add = lane.correction.add.wrapping_sub(first as i64);
        }
    }
}

/// What each line starts with, where there are several files or buffers.
fn set_prefixes(inputs: &[Input], lanes: &mut [Lane]) {
    let (many, width) = (inputs.len() > 1, prefix_width(inputs));
    for lane in lanes {
        let name = match inputs.get(lane.file) {
            Some(input) if lane.buffer_name.is_empty() && many => &input.name,
            _ => &lane.buffer_name,
        };
        lane.prefix = prefix(name, width);
    }
}

/// Width of the longest prefix, 0 when there are none.
pub(in crate::report) fn prefix_width(inputs: &[Input]) -> usize {
    let named = if inputs.len() > 1 { inputs } else { &[] };
    let files = named.iter().map(|input| input.name.len());
    let buffers = inputs.iter().flat_map(|input| &input.dat.buffers).map(|buffer| buffer.name.len());
    files.chain(buffers).max().unwrap_or(0)
}

pub(in crate::report) fn prefix(name: &str, width: usize) -> Vec<u8> {
    if width == 0 {
        Vec::new()
    } else if name.is_empty() {
        vec![b' '; width + 2]
    } else {
        format!("{name:>width$}: ").into_bytes()
    }
}

/// A slot per file and event id.
pub(in crate::report) fn slots<T>(lanes: &[Lane]) -> Vec<Vec<OnceLock<T>>> {
    let files = lanes.iter().map(|lane| lane.file + 1).max().unwrap_or(0);
    let mut slots: Vec<Vec<OnceLock<T>>> = (0..files).map(|_| Vec::new()).collect();
    for lane in lanes {
        if slots[lane.file].is_empty() {
            let most = lane.trace.formats.id_bound();
            slots[lane.file] = (0..most).map(|_| OnceLock::new()).collect();
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Style;
    use crate::plugins::REGISTRY;
    use crate::report::reading::testing::*;

    fn prefixes(inputs: &[Input]) -> Vec<String> {
        let lanes = lanes(inputs, REGISTRY, &settings()).unwrap();
        lanes.iter().map(|lane| String::from_utf8_lossy(&lane.prefix).into_owned()).collect()
    }

    fn one(name: &str, buffers: &[&str]) -> Input {
        file(name, trace(), buffers.iter().map(|name| buffer(name, &[(0, &[exits(&[10])])])).collect())
    }

    #[test]
    fn the_only_buffer_of_the_only_file_has_no_prefix() {
        assert_eq!(prefixes(&[one("a.dat", &[""])]), [""]);
    }

    #[test]
    fn a_second_buffer_is_named_and_the_top_one_is_blank() {
        assert_eq!(prefixes(&[one("a.dat", &["", "net"])]), ["     ", "net: "]);
    }

    #[test]
    fn top_buffers_of_several_files_have_the_names_of_their_files() {
        assert_eq!(
            prefixes(&[one("a.dat", &["", "net"]), one("longer.dat", &[""])]),
            ["     a.dat: ", "       net: ", "longer.dat: ",]
        );
    }

    #[test]
    fn prefixes_of_a_real_file_are_those_of_its_report() {
        let report = include_str!("../../../tests/fixtures/v7-none-multibuf-tsc/trace.report");
        let prefixes = prefixes(&[fixture("v7-none-multibuf-tsc")]);
        assert_eq!(prefixes, ["     ", "net: "]);
        assert!(report.lines().skip(1).all(|line| prefixes.iter().any(|prefix| line.starts_with(prefix.as_str()))));
    }

    #[test]
    fn a_clock_that_counts_cycles_has_no_unit_unless_its_frequency_is_given() {
        let input = || vec![fixture("v7-none-multibuf-tsc")];
        let unit = |settings: &ReadSettings| lanes(&input(), REGISTRY, settings).unwrap()[0].unit;
        assert_eq!(unit(&settings()), Unit::Raw);
        assert_eq!(unit(&ReadSettings { hz: vec![Some(1_000_000)], ..settings() }), Unit::Nanoseconds);
        let style = Style { compat: Compat::V34, ..Style::default() };
        assert_eq!(unit(&ReadSettings { hz: vec![Some(1_000_000)], style, ..settings() }), Unit::Raw);
    }

    #[test]
    fn aligned_times_begin_with_the_first_record_of_all() {
        let inputs =
            [one("a", &[]), file("b", trace(), vec![buffer("", &[(0, &[exits(&[70])]), (1, &[exits(&[50])])])])];
        let lanes = lanes(&inputs, REGISTRY, &ReadSettings { align: true, ..settings() }).unwrap();
        assert_eq!(lanes[0].correction.apply(70, 0), 20);
    }

    #[test]
    fn offsets_are_added_file_by_file() {
        let inputs = [one("a", &[""]), one("b", &[""])];
        let lanes = lanes(&inputs, REGISTRY, &ReadSettings { offsets: vec![5, -5], ..settings() }).unwrap();
        let times: Vec<u64> = lanes.iter().map(|lane| lane.correction.apply(100, 0)).collect();
        assert_eq!(times, [105, 95]);
    }

    #[test]
    fn the_time_of_day_needs_a_file_that_tells_it() {
        let settings = ReadSettings { wall_clock: true, ..settings() };
        let refused = lanes(&[one("a", &[""])], REGISTRY, &settings).err();
        assert!(matches!(refused, Some(ReadError::NoWallClock(_))));
    }

    #[test]
    fn a_graph_is_drawn_where_leaves_are_folded() {
        let draws = |fold_leaves: bool| {
            let settings = ReadSettings { fold_leaves, ..settings() };
            lanes(&[one("a", &[""])], REGISTRY, &settings).unwrap()[0].draws_graph
        };
        assert_eq!((draws(false), draws(true)), (false, true));
    }
}
