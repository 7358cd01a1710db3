//! Settings checked against this machine, before anything in the kernel is changed.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::probe::names;
use crate::probe::{self, FieldValues, Probe, Resolver, Spec};
use crate::tracefs::events::{EventName, Selection};
use crate::tracefs::functions::{FunctionList, Word};
use crate::tracefs::{Instance, Tracefs, Undo};

use super::error::Error;
use super::note::{Note, Notes};
use super::settings::{BufferSettings, EventSettings, FunctionWord, Settings, TSC2NSEC};

/// A buffer and what it is going to record.
#[derive(Debug)]
pub struct BufferPlan<'s> {
    /// What was asked for.
    pub settings: &'s BufferSettings,
    /// What all buffers have in common.
    pub common: &'s Settings,
    /// The tracer, if this kernel has it.
    pub tracer: Option<&'s str>,
    /// Where.
    pub instance: Instance,
    /// The events, in the order given.
    pub events: Vec<EventPlan<'s>>,
    /// The function lists to fill.
    pub functions: Vec<(FunctionList, Vec<FunctionPlan>)>,
}

impl BufferPlan<'_> {
    /// Whether its tracer traces functions.
    pub fn traces_functions(&self) -> bool {
        self.tracer.is_some_and(|tracer| tracer.starts_with("function"))
    }

    /// Whether what traced threads start is traced, too.
    pub fn follows_children(&self) -> bool {
        self.common.follow_children || self.settings.with_children
    }

    /// The clock to set.
    pub fn clock(&self) -> Option<&str> {
        self.settings.clock.as_deref().map(|clock| if clock == TSC2NSEC { TSC } else { clock })
    }
}

/// The clock that counts the CPU's cycles.
const TSC: &str = "x86-tsc";

/// A word for functions, and the module they have to be in.
#[derive(Debug)]
pub struct FunctionPlan {
    /// The word.
    pub word: Word,
    /// The module.
    pub module: Option<String>,
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
    /// The probes that have to be defined for it.
    pub probes: Vec<Probe>,
}

/// Checks all buffers. A top-level buffer of which nothing is asked is left alone.
pub fn check<'s>(settings: &'s Settings, root: &Tracefs) -> Result<Vec<BufferPlan<'s>>, Error> {
    if !settings.buffers.iter().any(BufferSettings::records) && !settings.keep_before {
        return Err(Error::NothingToRecord);
    }
    let traced_pids = settings.buffers.iter().any(|buffer| !buffer.pids.is_empty());
    if settings.follow_children && !settings.only_command && !traced_pids {
        return Err(Error::FollowWhom);
    }
    let mut resolver = Resolver::new(&root.top(), probe::session_group())
        .limited_to(settings.max_probes.unwrap_or(probe::USUAL_LIMIT));
    let wanted = |buffer: &&BufferSettings| buffer.instance.is_some() || buffer.records() || settings.keep_before;
    let plans: Vec<BufferPlan<'_>> = settings
        .buffers
        .iter()
        .filter(wanted)
        .map(|buffer| check_buffer(settings, buffer, root, &mut resolver))
        .collect::<Result<_, _>>()?;
    check_latency(&plans)?;
    check_func_stack(settings, &plans)?;
    Ok(plans)
}

/// The worst case is kept in a text that has no place for the records of other buffers.
fn check_latency(plans: &[BufferPlan<'_>]) -> Result<(), Error> {
    let latency = plans.iter().find(|plan| plan.settings.keeps_worst_case());
    match latency {
        Some(plan) if plans.len() > 1 => Err(Error::LatencyAlone(plan.settings.tracer.clone().unwrap_or_default())),
        _ => Ok(()),
    }
}

/// A stack with every function of the system would leave the machine no time for anything else.
fn check_func_stack(settings: &Settings, plans: &[BufferPlan<'_>]) -> Result<(), Error> {
    let top = plans.iter().find(|plan| plan.instance.name().is_none());
    let filtered = top.is_some_and(|plan| {
        plan.tracer == Some("function") && plan.functions.iter().any(|(list, _)| *list == FunctionList::Filter)
    });
    if settings.func_stack && !filtered { Err(Error::FuncStackUnfiltered) } else { Ok(()) }
}

fn check_buffer<'s>(
    settings: &'s Settings,
    buffer: &'s BufferSettings,
    root: &Tracefs,
    resolver: &mut Resolver,
) -> Result<BufferPlan<'s>, Error> {
    let instance = buffer.instance.as_deref().map_or_else(|| root.top(), |name| root.instance(name));
    // An instance that does not exist yet offers what the top level offers.
    let known = if instance.dir().is_dir() { instance.clone() } else { root.top() };
    let tracer = check_tracer(buffer, &known)?;
    check_extent(settings, buffer, tracer)?;
    check_clock(settings, buffer, &known)?;
    let events = buffer
        .events
        .iter()
        .map(|event| match &event.probe {
            Some(spec) => check_probe(event, spec, resolver),
            None => check_events(event, &known, settings.ignore_unknown_events || event.optional),
        })
        .collect::<Result<_, _>>()?;
    let functions = check_functions(settings, buffer, &known)?;
    Ok(BufferPlan { settings: buffer, common: settings, tracer, instance, events, functions })
}

/// All functions of the whole system, without end, is more than a machine can bear; it has to be asked for.
fn check_extent(settings: &Settings, buffer: &BufferSettings, tracer: Option<&str>) -> Result<(), Error> {
    let Some(tracer) = tracer.filter(|tracer| tracer.starts_with("function")) else { return Ok(()) };
    let selects =
        |word: &FunctionWord| word.module.is_some() || !word.word.contains(':') || word.word.contains(":mod:");
    let narrowed = settings.only_command
        || !buffer.pids.is_empty()
        || buffer.max_graph_depth.is_some_and(|depth| depth > 0)
        || buffer.function_filters.iter().any(selects)
        || (tracer == "function_graph" && !settings.graph_functions.is_empty());
    if narrowed || settings.all_functions || settings.function_off.is_some() {
        return Ok(());
    }
    Err(Error::AllFunctions(tracer.to_owned()))
}

fn check_tracer<'s>(buffer: &'s BufferSettings, known: &Instance) -> Result<Option<&'s str>, Error> {
    let Some(tracer) = buffer.tracer.as_deref().filter(|&tracer| tracer != "nop") else {
        return Ok(buffer.tracer.as_deref());
    };
    let available = known.available_tracers().map_err(Error::at("reading the list of tracers"))?;
    if available.iter().any(|name| name == tracer) {
        return Ok(Some(tracer));
    }
    if buffer.optional_tracer {
        return Ok(None);
    }
    Err(Error::UnknownTracer { tracer: tracer.to_owned(), available })
}

fn check_clock(settings: &Settings, buffer: &BufferSettings, known: &Instance) -> Result<(), Error> {
    if buffer.clock.is_none() && !settings.tsc2nsec {
        return Ok(());
    }
    let clocks = known.clocks().map_err(Error::at("reading the list of clocks"))?;
    let current = clocks.chosen.as_deref().unwrap_or("local");
    let clock = buffer.clock.as_deref().unwrap_or(current);
    if settings.tsc2nsec && ![TSC, TSC2NSEC].contains(&clock) {
        return Err(Error::NoCycles(clock.to_owned()));
    }
    if clocks.offers(if clock == TSC2NSEC { TSC } else { clock }) {
        return Ok(());
    }
    let clock = clock.to_owned();
    Err(Error::UnknownClock { clock, available: clocks.choices })
}

fn check_events<'s>(event: &'s EventSettings, known: &Instance, ignore: bool) -> Result<EventPlan<'s>, Error> {
    let selection = known.select_events(&event.word).map_err(Error::at("reading the list of events"))?;
    if selection.is_empty() && !ignore {
        return Err(unknown_event(known, &event.word));
    }
    let events = known.spell_out(&selection).map_err(Error::at("reading the list of events"))?;
    Ok(EventPlan { settings: event, selection, events, probes: Vec::new() })
}

fn check_probe<'s>(event: &'s EventSettings, spec: &Spec, resolver: &mut Resolver) -> Result<EventPlan<'s>, Error> {
    let probes = resolver.resolve(spec).map_err(Error::probe)?;
    let events: BTreeSet<EventName> = probes.iter().map(|probe| probe.name.clone()).collect();
    let selection = Selection { events: events.clone(), ..Selection::default() };
    Ok(EventPlan { settings: event, selection, events, probes })
}

/// Buffers that trace functions.
pub fn function_buffers<'p>(plans: &'p [BufferPlan<'_>]) -> impl Iterator<Item = &'p Instance> {
    plans.iter().filter(|plan| plan.settings.traces_functions()).map(|plan| &plan.instance)
}

/// Names of values in the fields of all probes.
pub fn enum_names(plans: &[BufferPlan<'_>]) -> BTreeMap<EventName, FieldValues> {
    let probes = plans.iter().flat_map(|plan| &plan.events).flat_map(|event| &event.probes);
    let named = probes.filter(|probe| !probe.values.is_empty());
    named.map(|probe| (probe.name.clone(), probe.values.clone())).collect()
}

/// Defines the probes of all buffers, each once.
pub fn define_probes(plans: &[BufferPlan<'_>], top: &Instance, notes: Notes<'_>, undo: &mut Undo) -> Result<(), Error> {
    let mut all: Vec<Probe> = Vec::new();
    let mut seen: HashSet<EventName> = HashSet::new();
    let probes = plans.iter().flat_map(|plan| &plan.events).flat_map(|event| &event.probes);
    all.extend(probes.filter(|probe| seen.insert(probe.name.clone())).cloned());
    for (target, note) in probe::notes(&all) {
        notes(Note::Probe { target, note });
    }
    probe::define(top, &all, undo).map_err(Error::probe)
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
    let selection = known.select_events(word).map_err(Error::at("reading the list of events"))?;
    if selection.is_empty() {
        return Err(unknown_event(known, word));
    }
    known.spell_out(&selection).map_err(Error::at("reading the list of events"))
}

fn check_functions(
    settings: &Settings,
    buffer: &BufferSettings,
    known: &Instance,
) -> Result<Vec<(FunctionList, Vec<FunctionPlan>)>, Error> {
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
            let words = words.iter().map(|word| check_word(word, known)).collect::<Result<_, _>>()?;
            lists.push((list, words));
        }
    }
    Ok(lists)
}

fn check_word(word: &FunctionWord, known: &Instance) -> Result<FunctionPlan, Error> {
    if let Some(module) = &word.module {
        let has = known.functions_of_module(module).map_err(Error::at("reading the list of functions"))?;
        if has.is_empty() {
            return Err(Error::UnknownModule(module.clone()));
        }
    }
    let parsed =
        Word::new(&word.word).map_err(|error| Error::BadPattern { word: word.word.clone(), reason: error.what })?;
    Ok(FunctionPlan { word: parsed, module: word.module.clone() })
}
