//! Sets an instance up for a recording, every change noted in the undo journal.
//!
//! The order matters: all is switched off, then clock, sizes, filters and functions, then events, then the
//! tracer, and last, by the caller, `tracing_on`. So a function tracer never runs unfiltered, and nothing is
//! recorded with half of the settings.

use std::path::Path;

use super::error::Error;
use super::names;
use super::plan::BufferPlan;
use super::settings::Settings;
use super::watch::{Note, Watch};
use crate::tracefs::functions::{FunctionList, Word, undo_command};
use crate::tracefs::instance::PidList;
use crate::tracefs::{self, Instance, Undo};

/// Prepares one buffer; it is not yet writing when this returns.
pub fn configure(
    plan: &BufferPlan<'_>,
    settings: &Settings,
    command: Option<i32>,
    watch: &dyn Watch,
    undo: &mut Undo,
) -> Result<(), Error> {
    let instance = &plan.instance;
    quiet(instance, undo)?;
    set_values(plan, undo)?;
    set_functions(plan, settings.exact_names, watch, undo)?;
    set_pids(plan, settings, command, undo)?;
    set_events(plan, undo)?;
    set_until(plan, settings, undo)?;
    set_tracer(plan, undo)?;
    set_options(plan, settings.follow_children, undo)
}

/// Switches everything off and empties the buffer.
fn quiet(instance: &Instance, undo: &mut Undo) -> Result<(), Error> {
    instance.make(undo).map_err(Error::setup("making the instance"))?;
    instance.stop_tracing(undo).map_err(Error::setup("stopping the buffer"))?;
    instance.set_tracer("nop", undo).map_err(|source| busy(instance, source))?;
    instance.clear_events(undo).map_err(Error::setup("switching events off"))?;
    instance.clear_pids(PidList::Event, undo).map_err(Error::setup("clearing the pid filter"))?;
    instance.fill_before_waking(undo).map_err(Error::setup("setting the wake-up mark"))?;
    instance.clear().map_err(Error::setup("emptying the buffer"))
}

fn set_values(plan: &BufferPlan<'_>, undo: &mut Undo) -> Result<(), Error> {
    let (instance, settings) = (&plan.instance, plan.settings);
    if let Some(clock) = &settings.clock {
        instance.set_clock(clock, undo).map_err(Error::setup("setting the clock"))?;
    }
    if let Some(size_kb) = settings.size_kb {
        instance.set_buffer_size_kb(size_kb, undo).map_err(Error::setup("setting the buffer size"))?;
    }
    if let Some(mask) = &settings.cpumask {
        instance.set_value("tracing_cpumask", mask, undo).map_err(Error::setup("setting the CPU mask"))?;
    }
    if let Some(depth) = settings.max_graph_depth {
        // The file is one for all instances on some kernels, and missing without function_graph.
        instance
            .set_value("max_graph_depth", &depth.to_string(), undo)
            .map_err(Error::setup("setting the graph depth"))?;
    }
    Ok(())
}

fn set_functions(plan: &BufferPlan<'_>, exact: bool, watch: &dyn Watch, undo: &mut Undo) -> Result<(), Error> {
    let instance = &plan.instance;
    if !plan.settings.traces_functions() && plan.functions.is_empty() {
        return Ok(());
    }
    enable_function_tracing(undo)?;
    // What an earlier user left in the lists would silently narrow the trace.
    for list in [FunctionList::Filter, FunctionList::Notrace, FunctionList::Graph, FunctionList::GraphNotrace] {
        let wanted = plan.functions.iter().any(|(wanted, _)| *wanted == list);
        let own = instance.path(list.file()).exists();
        if !wanted && (!own || instance.functions(list).is_ok_and(|lines| lines.is_empty())) {
            continue;
        }
        instance.clear_functions(list, undo).map_err(Error::setup("emptying the function filter"))?;
    }
    for (list, words) in &plan.functions {
        let mut available = None;
        for word in words {
            add_word(instance, *list, word, exact, &mut available, watch, undo)?;
        }
    }
    Ok(())
}

/// A system-wide switch that, when off, leaves every function trace empty. Absent on some kernels.
fn enable_function_tracing(undo: &mut Undo) -> Result<(), Error> {
    let switch = Path::new("/proc/sys/kernel/ftrace_enabled");
    match undo.set(switch, "1") {
        Err(error) if error.is_missing() => Ok(()),
        result => result.map_err(Error::setup("switching function tracing on")),
    }
}

fn add_word(
    instance: &Instance,
    list: FunctionList,
    word: &Word,
    exact: bool,
    available: &mut Option<Vec<String>>,
    watch: &dyn Watch,
    undo: &mut Undo,
) -> Result<(), Error> {
    let failed = || Error::setup("setting the function filter");
    match word {
        Word::Plain(name) => add_name(instance, list, name, exact, watch),
        Word::Command(command) => {
            undo_command(instance.path(list.file()), command, undo);
            let added = instance.add_function(list, command).map_err(failed())?;
            if added { Ok(()) } else { Err(unknown(instance, list, command)) }
        }
        Word::Pattern(pattern) => {
            if available.is_none() {
                *available = Some(instance.available_functions().map_err(failed())?);
            }
            let matching: Vec<&str> = available
                .iter()
                .flatten()
                .map(String::as_str)
                .filter(|name| pattern.matches(name.as_bytes()))
                .collect();
            if matching.is_empty() {
                return Err(Error::UnknownFunction { word: pattern.text().to_owned(), list, nearest: Vec::new() });
            }
            instance.add_functions(list, &matching).map_err(failed())
        }
    }
}

/// Adds a plain name and, unless told not to, the names its work has moved to.
fn add_name(instance: &Instance, list: FunctionList, name: &str, exact: bool, watch: &dyn Watch) -> Result<(), Error> {
    let add = |name: &str| instance.add_function(list, name).map_err(Error::setup("setting the function filter"));
    let itself = add(name)?;
    let mut successors = Vec::new();
    for successor in if exact { Vec::new() } else { names::successors(name) } {
        if add(&successor)? {
            successors.push(successor);
        }
    }
    if !itself && successors.is_empty() {
        return Err(unknown(instance, list, name));
    }
    if !successors.is_empty() {
        watch.note(Note::Successor { name: name.to_owned(), successors, both: itself });
    }
    Ok(())
}

fn unknown(instance: &Instance, list: FunctionList, word: &str) -> Error {
    let available = instance.available_functions().unwrap_or_default();
    let nearest = names::nearest(word, available.iter().map(String::as_str));
    Error::UnknownFunction { word: word.to_owned(), list, nearest }
}

fn set_pids(plan: &BufferPlan<'_>, settings: &Settings, command: Option<i32>, undo: &mut Undo) -> Result<(), Error> {
    let mut pids: Vec<i32> = plan.settings.pids.iter().flat_map(|&pid| threads_of(pid)).collect();
    if settings.only_command {
        pids.extend(command);
    }
    let functions = plan.settings.traces_functions();
    if functions {
        plan.instance.clear_pids(PidList::Function, undo).map_err(Error::setup("clearing the function pid filter"))?;
    }
    if pids.is_empty() {
        return Ok(());
    }
    plan.instance.set_pids(PidList::Event, &pids, undo).map_err(Error::setup("setting the pid filter"))?;
    if functions {
        plan.instance
            .set_pids(PidList::Function, &pids, undo)
            .map_err(Error::setup("setting the function pid filter"))?;
    }
    Ok(())
}

/// All threads of a process; the kernel's pid lists hold thread ids.
fn threads_of(pid: i32) -> Vec<i32> {
    let tasks = procfs::process::Process::new(pid).and_then(|process| process.tasks());
    let mut tids: Vec<i32> = tasks.map(|tasks| tasks.flatten().map(|task| task.tid).collect()).unwrap_or_default();
    if tids.is_empty() {
        tids.push(pid);
    }
    tids
}

fn set_events(plan: &BufferPlan<'_>, undo: &mut Undo) -> Result<(), Error> {
    let instance = &plan.instance;
    for event in &plan.events {
        for name in &event.events {
            instance
                .set_event_filter(name, event.settings.filter.as_deref(), undo)
                .map_err(|source| Error::FilterRefused { event: name.clone(), source })?;
            for trigger in &event.settings.triggers {
                instance
                    .add_trigger(name, trigger, undo)
                    .map_err(|source| Error::TriggerRefused { event: name.clone(), source })?;
            }
        }
    }
    // All are switched on before any is switched off, so that `-e sched -v -e sched_stat*` means what it says.
    for on in [true, false] {
        for event in plan.events.iter().filter(|event| event.settings.disable != on) {
            instance.enable_events(&event.selection, on).map_err(Error::setup("enabling events"))?;
        }
    }
    Ok(())
}

/// Lets the kernel itself switch the buffer off when the event comes, so that what led to it is still there.
fn set_until(plan: &BufferPlan<'_>, settings: &Settings, undo: &mut Undo) -> Result<(), Error> {
    let Some((word, filter)) = &settings.limits.until else { return Ok(()) };
    let trigger = filter.as_ref().map_or_else(|| "traceoff".to_owned(), |filter| format!("traceoff if {filter}"));
    for name in super::plan::named_events(&plan.instance, word)? {
        plan.instance
            .add_trigger(&name, &trigger, undo)
            .map_err(|source| Error::TriggerRefused { event: name.clone(), source })?;
    }
    Ok(())
}

fn set_tracer(plan: &BufferPlan<'_>, undo: &mut Undo) -> Result<(), Error> {
    let Some(tracer) = plan.settings.tracer.as_deref() else { return Ok(()) };
    plan.instance.set_tracer(tracer, undo).map_err(|source| busy(&plan.instance, source))
}

fn set_options(plan: &BufferPlan<'_>, follow_children: bool, undo: &mut Undo) -> Result<(), Error> {
    let instance = &plan.instance;
    if follow_children {
        for option in ["event-fork", "function-fork"] {
            if instance.option(option).is_some() {
                instance.set_option(option, undo).map_err(Error::setup("following children"))?;
            }
        }
    }
    // trace-cmd applies them in reverse order, so of two contrary ones the first wins there and here.
    for option in plan.settings.options.iter().rev() {
        instance.set_option(option, undo).map_err(|source| {
            let known = instance.options().unwrap_or_default();
            let bare = option.strip_prefix("no").unwrap_or(option);
            let nearest = names::nearest(bare, known.iter().map(String::as_str));
            Error::UnknownOption { option: option.clone(), nearest, source }
        })?;
    }
    Ok(())
}

/// EBUSY from the tracer switch means that somebody holds a consuming file open.
fn busy(instance: &Instance, source: tracefs::Error) -> Error {
    if source.errno() == Some(nix::errno::Errno::EBUSY) {
        let consumers = instance.consumers();
        return Error::BufferBusy { instance: instance.name().map(str::to_owned), consumers, source: Some(source) };
    }
    Error::Setup { step: "setting the tracer", source }
}

/// Keeps rtrec's own threads out of the trace, as far as the kernel can (5.7 on): what they do is none of the load's work.
/// Switches to and from them stay, since the other side of a switch is of interest.
pub fn leave_out(plan: &BufferPlan<'_>, threads: &[i32], watch: &dyn Watch, undo: &mut Undo) {
    let lists = [(PidList::NoEvent, true), (PidList::NoFunction, plan.settings.traces_functions())];
    for (list, wanted) in lists {
        if !wanted || !plan.instance.has_pid_list(list) {
            continue;
        }
        if let Err(source) = plan.instance.add_pids(list, threads, undo) {
            watch.note(Note::Hindered { what: "the recorder's own threads are in the trace", source });
        }
    }
}
