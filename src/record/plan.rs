//! Settings judged against this machine, before anything in the kernel is changed.

use std::collections::BTreeSet;
use std::path::Path;

use super::error::Error;
use super::names;
use super::settings::{BufferSettings, EventSettings, Settings};
use crate::tracefs::events::{EventName, Selection};
use crate::tracefs::functions::{FunctionList, Word};
use crate::tracefs::{self, Instance, Tracefs};

/// A buffer and what it is going to record.
#[derive(Debug)]
pub struct BufferPlan<'s> {
    /// What was asked for.
    pub settings: &'s BufferSettings,
    /// Where.
    pub instance: Instance,
    /// The events, in the order given.
    pub events: Vec<EventPlan<'s>>,
    /// The function lists to fill.
    pub functions: Vec<(FunctionList, Vec<Word>)>,
}

/// One `-e` and what it matches.
#[derive(Debug)]
pub struct EventPlan<'s> {
    /// What was asked for.
    pub settings: &'s EventSettings,
    /// What matches.
    pub selection: Selection,
    /// The same, whole systems spelled out.
    pub events: BTreeSet<EventName>,
}

/// Opens the root and says what is wrong with it in one go.
pub fn open_root(dir: Option<&Path>) -> Result<Tracefs, Error> {
    let root = match dir {
        Some(dir) => Tracefs::at(dir),
        None => Tracefs::find().map_err(Error::NoTracefs)?,
    };
    tracefs::file::read(&root.top().path("tracing_on")).map_err(Error::NoTracefs)?;
    Ok(root)
}

/// Judges all buffers. A top-level buffer of which nothing is asked is left alone.
pub fn judge<'s>(settings: &'s Settings, root: &Tracefs) -> Result<Vec<BufferPlan<'s>>, Error> {
    if !settings.buffers.iter().any(BufferSettings::records) {
        return Err(Error::NothingToRecord);
    }
    let traced_pids = settings.buffers.iter().any(|buffer| !buffer.pids.is_empty());
    if settings.follow_children && !settings.only_command && !traced_pids {
        return Err(Error::FollowWhom);
    }
    settings
        .buffers
        .iter()
        .filter(|buffer| buffer.instance.is_some() || buffer.records())
        .map(|buffer| judge_buffer(settings, buffer, root))
        .collect()
}

fn judge_buffer<'s>(settings: &Settings, buffer: &'s BufferSettings, root: &Tracefs) -> Result<BufferPlan<'s>, Error> {
    let instance = buffer.instance.as_deref().map_or_else(|| root.top(), |name| root.instance(name));
    // An instance that does not exist yet offers what the top level offers.
    let known = if instance.dir().is_dir() { instance.clone() } else { root.top() };
    judge_tracer(buffer, &known)?;
    judge_clock(buffer, &known)?;
    let events = buffer
        .events
        .iter()
        .map(|event| judge_events(event, &known, settings.ignore_unknown_events))
        .collect::<Result<_, _>>()?;
    Ok(BufferPlan { settings: buffer, instance, events, functions: judge_functions(settings, buffer)? })
}

fn judge_tracer(buffer: &BufferSettings, known: &Instance) -> Result<(), Error> {
    let Some(tracer) = buffer.tracer.as_deref().filter(|&tracer| tracer != "nop") else { return Ok(()) };
    let available = known.available_tracers().map_err(Error::setup("reading the list of tracers"))?;
    if available.iter().any(|name| name == tracer) {
        return Ok(());
    }
    Err(Error::UnknownTracer { tracer: tracer.to_owned(), available })
}

fn judge_clock(buffer: &BufferSettings, known: &Instance) -> Result<(), Error> {
    let Some(clock) = &buffer.clock else { return Ok(()) };
    let clocks = known.clocks().map_err(Error::setup("reading the list of clocks"))?;
    if clocks.offers(clock) {
        return Ok(());
    }
    Err(Error::UnknownClock { clock: clock.clone(), available: clocks.choices })
}

fn judge_events<'s>(event: &'s EventSettings, known: &Instance, ignore: bool) -> Result<EventPlan<'s>, Error> {
    let selection = known.select_events(&event.word).map_err(Error::setup("reading the list of events"))?;
    if selection.is_empty() && !ignore {
        return Err(unknown_event(known, &event.word));
    }
    let events = known.spell_out(&selection).map_err(Error::setup("reading the list of events"))?;
    Ok(EventPlan { settings: event, selection, events })
}

fn unknown_event(known: &Instance, word: &str) -> Error {
    let names = known.event_names();
    let systems = known.event_systems().unwrap_or_default();
    let bare = names.iter().filter_map(|name| name.split_once(':')).map(|(_, event)| event);
    let candidates = names.iter().map(String::as_str).chain(bare).chain(systems.iter().map(String::as_str));
    Error::UnknownEvent { word: word.to_owned(), nearest: names::nearest(word, candidates) }
}

/// The events that a word means, whole systems spelled out; an error when there is none.
pub fn named_events(known: &Instance, word: &str) -> Result<BTreeSet<EventName>, Error> {
    let selection = known.select_events(word).map_err(Error::setup("reading the list of events"))?;
    if selection.is_empty() {
        return Err(unknown_event(known, word));
    }
    known.spell_out(&selection).map_err(Error::setup("reading the list of events"))
}

fn judge_functions(settings: &Settings, buffer: &BufferSettings) -> Result<Vec<(FunctionList, Vec<Word>)>, Error> {
    let graph = buffer.tracer.as_deref() == Some("function_graph") && buffer.instance.is_none();
    let notrace = if graph { FunctionList::GraphNotrace } else { FunctionList::Notrace };
    let roots = if buffer.instance.is_none() { settings.graph_functions.as_slice() } else { &[] };
    let mut lists = Vec::new();
    for (list, words) in [
        (FunctionList::Filter, &buffer.function_filters[..]),
        (notrace, &buffer.function_notrace),
        (FunctionList::Graph, roots),
    ] {
        if !words.is_empty() {
            let words = words.iter().map(|word| judge_word(word)).collect::<Result<_, _>>()?;
            lists.push((list, words));
        }
    }
    Ok(lists)
}

fn judge_word(word: &str) -> Result<Word, Error> {
    Word::new(word).map_err(|error| Error::BadPattern { word: word.to_owned(), reason: error.what })
}
