//! Response-time windows instead of records (`report --windows`).
//!
//! Owns: which windows of the files are shown, in which order and form. Does not own: how they are cut out of the records
//! (see [`crate::windows`]), selection and order of records (see `report::reading`).
//!
//! | file | what is inside |
//! | --- | --- |
//! | `mod.rs` | the analysis: it feeds the engine of each file |
//! | `settings` | which windows, and how they are shown |
//! | `page` | the windows that were found in a file |
//! | `text`, `lines`, `table` | them for people: summary, time lines, figures |
//! | `json`, `folded` | them for programs: JSON, stacks |
//!
//! Imported by `cli`. The next form of windows: a file beside `json`, called by the findings in `mod.rs`.

mod folded;
mod json;
mod lines;
mod page;
mod settings;
mod table;
mod text;

use std::io::{self, Write};
use std::path::Path;

pub use settings::{By, FoldedTime, Sort, WindowError, WindowSettings};

use super::interface::{Analysis, AnalysisError, Findings};
use crate::dat::{Dat, own};
use crate::report::export::stacks::Stacks;
use crate::report::reading::Take;
use crate::report::reading::clock::Unit;
use crate::report::reading::input::Input;
use crate::report::reading::lane::Lane;
use crate::report::reading::record::{Loss, Opened, Record};
use crate::symbols::names::{Names, bytes_of};
use crate::windows::Session;
use crate::windows::engine::{Engine, Finds, Origin};
use crate::windows::samples::Samples;
use crate::wire::subbuf::Lost;
use page::{Found, Page, Shown};

/// Bytes of records that a thread may have in open windows.
const MOST_BYTES: usize = 256 << 20;

/// The windows of one file.
struct FileWindows {
    session: Session,
    engine: Engine,
    found: Found,
    samples: Option<Samples>,
}

/// Response-time windows of all files.
pub struct Windows {
    settings: WindowSettings,
    files: Vec<FileWindows>,
}

impl Windows {
    /// Nothing was seen yet.
    pub fn new(settings: WindowSettings) -> Windows {
        Windows { settings, files: Vec::new() }
    }
}

impl Take for Windows {
    #[inline]
    fn take(&mut self, record: &Record<'_>) {
        let Some(file) = self.files.get_mut(record.lane.file) else { return };
        let origin = Origin { stream: record.stream, id: record.id(), pid: record.pid() };
        file.engine.take(origin, &record.bytes, &mut file.found);
    }

    fn lost(&mut self, loss: &Loss<'_>) {
        if let Some(file) = self.files.get_mut(loss.lane.file) {
            file.lost(loss.stream, loss.lost, loss.time);
        }
    }
}

impl Analysis for Windows {
    fn begin(&mut self, opened: Opened<'_>) -> Result<(), AnalysisError> {
        for (number, input) in opened.inputs.iter().enumerate() {
            self.files.push(open(number, input, opened.lanes, &self.settings)?);
        }
        Ok(())
    }

    fn finish<'f>(&'f mut self, opened: Opened<'f>) -> Box<dyn Findings + 'f> {
        let settings = &self.settings;
        let shown: Vec<_> = self.files.iter_mut().map(|file| file.close(settings)).collect();
        let files = self.files.iter().zip(shown).zip(opened.inputs).enumerate();
        let page = |(number, ((file, (shown, open)), input)): (usize, ((&'f FileWindows, _), &'f Input))| Page {
            file: (opened.inputs.len() > 1).then_some(input.name.as_str()),
            opened,
            number,
            session: &file.session,
            engine: &file.engine,
            found: &file.found,
            samples: file.samples.as_ref(),
            settings,
            machine: input.dat.options.uname.as_deref().and_then(crate::windows::syscalls::Machine::of_uname),
            shown,
            open,
        };
        Box::new(Pages { pages: files.map(page).collect(), settings })
    }
}

/// The windows of all files, ready to be shown.
struct Pages<'f> {
    pages: Vec<Page<'f>>,
    settings: &'f WindowSettings,
}

impl Findings for Pages<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.pages.iter().try_for_each(|page| text::print(page, out))
    }

    fn json(&self, out: &mut dyn Write) -> Option<io::Result<()>> {
        Some(self.pages.iter().try_for_each(|page| json::print(page, out)))
    }

    fn stacks(&self) -> Option<Stacks> {
        let mut times = folded::Times::default();
        self.pages.iter().for_each(|page| times.add(page));
        Some(times.stacks(self.settings.time))
    }
}

/// What the recording says of its windows, and what became of them.
pub fn stored_session(dat: &Dat) -> Option<Session> {
    let session = Session::decode(&dat.own_payload(own::WINDOWS)?)?;
    let part = |id| dat.own_payload(id).unwrap_or_default();
    Some(session.with_outcome(&part(own::WINDOW_COUNTS), &part(own::SLOW_WINDOWS)))
}

fn open(number: usize, input: &Input, lanes: &[Lane], settings: &WindowSettings) -> Result<FileWindows, WindowError> {
    let own = lanes.iter().filter(|lane| lane.file == number);
    if own.clone().any(|lane| lane.unit != Unit::Nanoseconds) {
        return Err(WindowError::Clock(input.path.clone()));
    }
    let stored = stored_session(&input.dat);
    let given = settings.sessions.get(number).cloned().flatten();
    let mut session = match (given, stored) {
        // What is known of threads helps whatever windows are asked for.
        (Some(given), Some(stored)) => Session { definitions: given.definitions, only_slow: None, ..stored },
        (Some(given), None) => given,
        (None, Some(stored)) if !stored.definitions.is_empty() => stored,
        (None, _) => return Err(WindowError::NoWindows(input.path.clone())),
    };
    session.threshold_ns = settings.threshold_ns.unwrap_or(session.threshold_ns);
    let formats = input.trace.formats.iter().filter_map(|event| input.trace.formats.get(event.id));
    let mut engine = Engine::new(&session, formats, input.trace.abi, MOST_BYTES)
        .map_err(|(text, error)| WindowError::Filter(text, error.to_string()))?;
    let mut samples = input.dat.own_payload(own::SAMPLES).map(|bytes| Samples::decode(&bytes));
    if settings.stacks
        && settings.time == FoldedTime::OnCpu
        && samples.as_ref().is_none_or(|samples| samples.period_ns == 0)
    {
        return Err(WindowError::NoSamples(input.path.clone()));
    }
    if let Some(samples) = samples.as_mut().filter(|_| settings.user_symbols) {
        name_places(samples);
    }
    if let Some(samples) = &mut samples {
        // Both are told by CLOCK_MONOTONIC; what corrects the one corrects the other.
        if let Some(lane) = own.clone().find(|lane| !lane.correction.is_plain()) {
            samples.samples.iter_mut().for_each(|sample| sample.time = lane.correction.apply(sample.time, sample.cpu));
            samples.outs.iter_mut().for_each(|out| out.time = lane.correction.apply(out.time, out.cpu));
            samples.switches.iter_mut().for_each(|(time, _)| *time = lane.correction.apply(*time, 0));
        }
        let seen =
            samples.samples.iter().map(|sample| (sample.time, sample.tid)).chain(samples.switches.iter().copied());
        for (time, tid) in seen {
            engine.proofs.entry(tid).or_default().push(time);
        }
        engine.proofs.values_mut().for_each(|times| times.sort_unstable());
    }
    let kept = session.only_slow.as_mut().map(|kept| std::mem::take(&mut kept.windows)).unwrap_or_default();
    let known = kept.into_iter().map(|kept| ((kept.tid, kept.start, kept.definition), kept)).collect();
    let found = Found { min_ns: settings.min_ns, threads: settings.threads.clone(), known, ..Found::default() };
    Ok(FileWindows { session, engine, found, samples })
}

/// Names places in programs whose symbols were not there when they were recorded. Files without a build id are not known
/// to be the same.
fn name_places(samples: &mut Samples) {
    let mut names = Names::new();
    for (name, file, address) in &samples.unnamed {
        let Some(file) = samples.files.get(*file as usize) else { continue };
        let Some(id) = bytes_of(&file.build_id).filter(|id| !id.is_empty()) else { continue };
        let found = names.at(Path::new(&file.path), *address, Some(&id));
        if let Some(function) = found.ok().and_then(|found| found.function().map(str::to_owned)) {
            samples.names[*name as usize] = function;
        }
    }
}

impl FileWindows {
    /// No more records come: the windows to show in the order asked for, and those that are open.
    fn close(&mut self, settings: &WindowSettings) -> (Vec<Shown>, Vec<Shown>) {
        let mut open: Vec<Shown> = Vec::new();
        for (mut window, steps) in self.engine.still_open() {
            match self.found.kept(&window) {
                _ if !self.found.wants(&window) => {}
                None => open.push(Shown { window, steps, open: true, place: usize::MAX }),
                // Its end was not written.
                Some(kept) => {
                    window.end = kept.end;
                    self.found.closed(window, &|| steps.clone());
                }
            }
        }
        let mut shown = std::mem::take(&mut self.found.shown);
        match settings.sort {
            Sort::Duration => shown.sort_by_key(|shown| std::cmp::Reverse(shown.window.duration())),
            _ => shown.sort_by_key(|shown| (shown.window.start, shown.window.tid)),
        }
        if let Some(top) = settings.top {
            if settings.sort == Sort::Start {
                // The longest, in the order of time.
                shown.sort_by_key(|shown| std::cmp::Reverse(shown.window.duration()));
                shown.truncate(top);
                shown.sort_by_key(|shown| (shown.window.start, shown.window.tid));
            }
            shown.truncate(top);
        }
        for one in &mut shown {
            // Whoever saw all records knows better.
            if let Some(known) = self.found.kept(&one.window) {
                (one.window.split, one.window.lost, one.window.dropped) = (known.split, known.lost, known.dropped);
                continue;
            }
            one.window.lost = self.found.closed.get(one.place).map_or(one.window.lost, |closed| closed.lost);
        }
        (shown, open)
    }

    fn lost(&mut self, stream: u32, lost: Lost, now: u64) {
        let count = match lost {
            Lost::None => return,
            Lost::Count(count) => count,
            _ => 1,
        };
        let from = self.engine.lost(stream, count, now);
        // Windows are closed in order of time.
        for closed in self.found.closed.iter_mut().rev().take_while(|closed| closed.end >= from) {
            closed.lost += if closed.start < now { count.max(1) } else { 0 };
        }
    }
}
