//! Records in order of time: from files, from pipes, or while they are recorded.
//!
//! ```text
//!  file -> buffer -> CPU: stream --\
//!  file -> buffer -> CPU: stream ---> merge + select + trackers -> batch -> whoever asked
//!  file -> buffer -> CPU: stream --/      (one thread)
//! ```
//!
//! | file | what is inside |
//! | --- | --- |
//! | `mod.rs` | [`Reading`]: what is opened, and passes over its records |
//! | [`record`] | a record in its place, a loss, what was opened |
//! | [`input`] | one file: the container, and what decoding its records needs |
//! | [`lane`] | a buffer: what its records have in common |
//! | `heading` | what stands above a report |
//! | [`settings`], [`select`], [`error`] | what is read and in which time; which records; why not |
//! | [`clock`], [`moment`], [`names`] | times, points in time that people name, names of tasks over time |
//! | `pass` | one pass over the records, in batches |
//! | `merge`, `batch` | the order of time; some thousands of records and the walk over them |
//! | `stream`, `pool` | one CPU of one buffer; threads that fetch ahead and render |
//! | `seek`, `tail` | where a time begins; the last records without reading all |
//! | [`live`] | records that come while they are recorded |
//! | `testing` | for tests: sub-buffers made of real records, and what reading them comes to |
//!
//! Owns: which records there are, their order, their times. Does not own: the container (see [`dat`](crate::dat)), what an
//! event says (see [`decode`](crate::decode)), what is made of the records.
//!
//! May be imported by: `report::text`, `report::export`, `report::analysis`, and by everything above `report`.
//!
//! The next source of records: a way to make an [`Input`] (see [`input`]). The next condition on records: a field of
//! [`Selection`], asked for in its [`Gate`]. The next correction of times: in [`clock`].
//!
//! Memory is bounded by the chunks and batches under way, whatever the size of the files.

pub(in crate::report) mod batch;
pub mod clock;
pub mod error;
pub mod heading;
pub mod input;
pub mod lane;
pub mod live;
mod merge;
pub mod moment;
pub mod names;
pub(in crate::report) mod pass;
pub(in crate::report) mod pool;
pub mod record;
mod seek;
pub mod select;
pub mod settings;
pub(in crate::report) mod stream;
mod tail;
#[cfg(test)]
pub(in crate::report) mod testing;

use std::ops::ControlFlow;
use std::path::Path;

use batch::{Batch, Walk};
use error::ReadError;
use input::Input;
use lane::Lane;
use live::Live;
use merge::Progress;
use pass::{Asked, Pass};
use record::{Loss, Opened, Origin, Record};
use select::{Gate, Selection};
use settings::ReadSettings;

use crate::dat::Note;
use crate::decode::Registry;

/// How a pass over the records went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Records handed out.
    pub records: u64,
    /// Damage, with the index of the file.
    pub notes: Vec<(usize, Note)>,
}

/// Takes records in order of time.
pub trait Take {
    /// Takes the next record.
    fn take(&mut self, record: &Record<'_>);

    /// Records were lost before the next one of the same stream.
    fn lost(&mut self, loss: &Loss<'_>) {
        let _ = loss;
    }

    /// Takes some thousand records. There is no need to write this: it hands over one after the other.
    fn take_all(&mut self, records: Records<'_>) {
        records.batch.walk(records.opened, false, &mut Taking(self));
    }
}

/// Records in order of time, and the losses between them.
pub struct Records<'r> {
    batch: &'r Batch,
    opened: Opened<'r>,
}

impl<'r> Records<'r> {
    pub(in crate::report) fn of(batch: &'r Batch, opened: Opened<'r>) -> Records<'r> {
        Records { batch, opened }
    }
}

/// Hands what a walk meets to whoever takes records.
struct Taking<'t, T: ?Sized>(&'t mut T);

impl<T: Take + ?Sized> Walk for Taking<'_, T> {
    #[inline(always)]
    fn record(&mut self, record: &Record<'_>) {
        self.0.take(record);
    }

    fn lost(&mut self, loss: &Loss<'_>) {
        self.0.lost(loss);
    }
}

/// A closure that takes records.
struct Each<F>(F);

impl<F: FnMut(&Record<'_>)> Take for Each<F> {
    fn take(&mut self, record: &Record<'_>) {
        (self.0)(record);
    }
}

/// Files, pipes or a recording, read in order of time.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v7-zstd-events/trace.dat");
/// use std::collections::BTreeMap;
/// use rtrec::{plugins, report::Reading};
///
/// let mut reading = Reading::open(path.as_ref(), plugins::REGISTRY)?;
/// let mut counts = BTreeMap::<String, u64>::new();
/// let outcome = reading.each(|record| *counts.entry(record.event().to_owned()).or_default() += 1);
/// assert_eq!(counts.values().sum::<u64>(), outcome.records);
/// # Ok(()) }
/// ```
pub struct Reading {
    inputs: Vec<Input>,
    registry: Registry,
    settings: ReadSettings,
    lanes: Vec<Lane>,
    origins: Vec<Origin>,
    gate: Gate,
    progress: Progress,
    /// Records were handed out.
    started: bool,
    live: Option<Live>,
}

impl Reading {
    /// Opens one file and reads all of it.
    pub fn open(path: &Path, registry: Registry) -> Result<Reading, ReadError> {
        let input = Input::open(path).map_err(|error| ReadError::Open(path.display().to_string(), error))?;
        Reading::new(vec![input], registry, ReadSettings::default(), &Selection::default())
    }

    /// Reads the selected records of files. `registry` is what knows families of events: `plugins::REGISTRY`.
    pub fn new(
        inputs: Vec<Input>,
        registry: Registry,
        settings: ReadSettings,
        selection: &Selection,
    ) -> Result<Reading, ReadError> {
        let lanes = lane::lanes(&inputs, registry, &settings)?;
        let gate = Gate::new(&inputs, selection, settings.style.compat).map_err(ReadError::Select)?;
        let mut reading = Reading {
            inputs,
            registry,
            settings,
            lanes,
            origins: Vec::new(),
            gate,
            progress: Progress::default(),
            started: false,
            live: None,
        };
        reading.rewind();
        Ok(reading)
    }

    /// What is read: files, their buffers, the streams in them.
    pub fn opened(&self) -> Opened<'_> {
        Opened { inputs: &self.inputs, lanes: &self.lanes, origins: &self.origins }
    }

    /// How it is read.
    pub fn settings(&self) -> &ReadSettings {
        &self.settings
    }

    /// Reads only what is selected, up to `to`, from now on.
    pub fn select(&mut self, selection: &Selection, to: Option<u64>) -> Result<(), ReadError> {
        self.gate = Gate::new(&self.inputs, selection, self.settings.style.compat).map_err(ReadError::Select)?;
        self.settings.to = to;
        Ok(())
    }

    /// Changes how records are read, before the first of them is.
    pub(in crate::report) fn adapt(&mut self, boundaries: bool, fold_leaves: bool) {
        self.settings.boundaries = boundaries;
        self.settings.fold_leaves = fold_leaves;
        for lane in &mut self.lanes {
            let has_graph = lane.trace.formats.find("ftrace", "funcgraph_entry").is_some();
            lane.draws_graph = fold_leaves && has_graph;
        }
        if !self.started {
            self.rewind();
        }
    }

    /// Forgets what was read, so that it can be read again.
    pub fn rewind(&mut self) {
        let trackers = |file: usize| {
            let lane = self.lanes.iter().find(|lane| lane.file == file);
            lane.map(|lane| lane.decoders.trackers()).unwrap_or_default()
        };
        let trackers = (0..self.inputs.len()).map(trackers).collect();
        self.progress = Progress::new(&self.lanes, trackers);
        self.gate.forget();
        self.started = false;
    }

    /// Whether a pass over its records has begun.
    pub(in crate::report) fn has_begun(&self) -> bool {
        self.started
    }

    /// Hands over all records; of a recording, those that have come.
    pub fn each(&mut self, take: impl FnMut(&Record<'_>)) -> Outcome {
        self.hand_to(&mut Each(take))
    }

    /// Hands over all records and losses; of a recording, those that have come.
    pub fn hand_to(&mut self, taker: &mut dyn Take) -> Outcome {
        let mut pass = self.pass(&Asked { has_tail: true, ..Asked::default() });
        let opened = pass.opened();
        pass.consume(|batch| {
            taker.take_all(Records::of(batch, opened));
            ControlFlow::Continue(())
        });
        pass.finish()
    }

    /// One pass over the records; `asked` is what whoever takes them needs.
    pub(in crate::report) fn pass(&mut self, asked: &Asked) -> Pass<'_> {
        self.started = true;
        if self.live.is_none() {
            self.origins.clear();
        }
        Pass::begin(
            Opened { inputs: &self.inputs, lanes: &self.lanes, origins: &[] },
            &mut self.origins,
            &mut self.progress,
            &mut self.gate,
            &self.settings,
            &Asked { goes_on: self.live.is_some(), ..asked.clone() },
        )
    }
}
