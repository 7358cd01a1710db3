//! Sets an instance up for a recording, every change noted in the undo journal.
//!
//! The order matters: all is switched off, then clock, sizes, filters and functions, then events, then the
//! tracer, and last, by the caller, `tracing_on`. So a function tracer never runs unfiltered, and nothing is
//! recorded with half of the settings.

use std::path::Path;
use std::time::{Duration, Instant};

use super::error::Error;
use super::functions::{FTRACE_ENABLED, set_functions};
use super::note::{Note, Notes};
use super::plan::{BufferPlan, named_events};
use super::settings::FunctionOff;
use super::threads;
use crate::probe::names;
use crate::tracefs::instance::PidList;
use crate::tracefs::{self, Instance, Undo};

/// Prepares one buffer; it is not yet writing when this returns.
pub fn configure(plan: &BufferPlan<'_>, command: Option<i32>, notes: Notes<'_>, undo: &mut Undo) -> Result<(), Error> {
    let instance = &plan.instance;
    instance.make(undo).map_err(Error::at("making the instance"))?;
    if !plan.common.keep_before {
        quiet(instance, undo)?;
    }
    set_waking(plan, undo)?;
    set_values(plan, undo)?;
    set_functions(plan, notes, undo)?;
    set_pids(plan, command, undo)?;
    set_events(plan, undo)?;
    set_until(plan, undo)?;
    set_tracer(plan, undo)?;
    set_options(plan, undo)?;
    set_newborn(plan, notes)
}

/// Switches everything off and empties the buffer.
fn quiet(instance: &Instance, undo: &mut Undo) -> Result<(), Error> {
    instance.stop_tracing(undo).map_err(Error::at("stopping the buffer"))?;
    instance.set_tracer("nop", undo).map_err(|source| busy(instance, source))?;
    instance.clear_events(undo).map_err(Error::at("switching events off"))?;
    instance.clear_pids(PidList::Event, undo).map_err(Error::at("clearing the pid filter"))?;
    instance.clear().map_err(Error::at("emptying the buffer"))
}

/// When readers are woken.
fn set_waking(plan: &BufferPlan<'_>, undo: &mut Undo) -> Result<(), Error> {
    let set =
        if plan.common.wake_for_every_record { Instance::wake_for_every_record } else { Instance::fill_before_waking };
    set(&plan.instance, undo).map_err(Error::at("setting the wake-up mark"))
}

fn set_values(plan: &BufferPlan<'_>, undo: &mut Undo) -> Result<(), Error> {
    let (instance, settings) = (&plan.instance, plan.settings);
    if let Some(clock) = plan.clock() {
        instance.set_clock(clock, undo).map_err(Error::at("setting the clock"))?;
    }
    if let Some(size) = plan.common.cmdlines_size {
        undo.set(&instance.top_path("saved_cmdlines_size"), &size.to_string())
            .map_err(Error::at("setting the size of the table of names"))?;
    }
    if let Some(size_kb) = settings.subbuf_size_kb {
        instance.set_subbuf_size_kb(size_kb, undo).map_err(Error::at("setting the sub-buffer size"))?;
    }
    if let Some(size_kb) = settings.size_kb {
        instance.set_buffer_size_kb(size_kb, undo).map_err(Error::at("setting the buffer size"))?;
    }
    if let Some(mask) = &settings.cpumask {
        instance.set_value("tracing_cpumask", mask, undo).map_err(Error::at("setting the CPU mask"))?;
    }
    if let Some(depth) = settings.max_graph_depth
        && plan.tracer.is_some()
    {
        // The file is one for all instances on some kernels, and missing without function_graph.
        instance
            .set_value("max_graph_depth", &depth.to_string(), undo)
            .map_err(Error::at("setting the graph depth"))?;
    }
    if settings.keeps_worst_case() {
        // Only what is worse than this is kept.
        instance.set_value("tracing_max_latency", "0", undo).map_err(Error::at("forgetting the worst case"))?;
    }
    set_function_tracing(plan, undo)
}

/// `-d` and `-D`.
fn set_function_tracing(plan: &BufferPlan<'_>, undo: &mut Undo) -> Result<(), Error> {
    let Some(how) = plan.common.function_off else { return Ok(()) };
    let has_option = plan.instance.option("function-trace").is_some();
    if has_option {
        plan.instance.set_option("nofunction-trace", undo).map_err(Error::at("switching function tracing off"))?;
    }
    if how == FunctionOff::Both || !has_option {
        undo.set(Path::new(FTRACE_ENABLED), "0").map_err(Error::at("switching function tracing off"))?;
    }
    Ok(())
}

fn set_pids(plan: &BufferPlan<'_>, command: Option<i32>, undo: &mut Undo) -> Result<(), Error> {
    let mut pids: Vec<i32> = plan.settings.pids.iter().flat_map(|&pid| threads_or_pid(pid)).collect();
    if plan.common.only_command || plan.settings.with_children {
        pids.extend(command);
    }
    let functions = plan.traces_functions();
    if functions && !plan.common.keep_before {
        plan.instance.clear_pids(PidList::Function, undo).map_err(Error::at("clearing the function pid filter"))?;
    }
    if pids.is_empty() {
        return Ok(());
    }
    plan.instance.set_pids(PidList::Event, &pids, undo).map_err(Error::at("setting the pid filter"))?;
    if functions {
        plan.instance.set_pids(PidList::Function, &pids, undo).map_err(Error::at("setting the function pid filter"))?;
    }
    Ok(())
}

/// Adds threads that were born since their process' threads were listed, until the kernel follows all there are.
fn set_newborn(plan: &BufferPlan<'_>, notes: Notes<'_>) -> Result<(), Error> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let pids = &plan.settings.pids;
    if pids.is_empty() || !plan.follows_children() {
        return Ok(());
    }
    let begun = Instant::now();
    loop {
        let alive = || pids.iter().flat_map(|&pid| threads::of_process(pid)).collect();
        let added = plan.instance.add_missing_pids(PidList::Event, alive);
        if added.map_err(Error::at("setting the pid filter"))? == 0 {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            notes(Note::ThreadsMissed);
            return Ok(());
        }
    }
}

/// The threads of a process; of one that is gone its number.
fn threads_or_pid(pid: i32) -> Vec<i32> {
    let threads = threads::of_process(pid);
    if threads.is_empty() { vec![pid] } else { threads }
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
            instance.enable_events(&event.selection, on).map_err(Error::at("enabling events"))?;
        }
    }
    Ok(())
}

/// Lets the kernel itself switch the buffer off when the event comes, so that what led to it is still there.
fn set_until(plan: &BufferPlan<'_>, undo: &mut Undo) -> Result<(), Error> {
    let Some((word, filter)) = &plan.common.until else { return Ok(()) };
    let trigger = filter.as_ref().map_or_else(|| "traceoff".to_owned(), |filter| format!("traceoff if {filter}"));
    for name in named_events(&plan.instance, word)? {
        plan.instance
            .add_trigger(&name, &trigger, undo)
            .map_err(|source| Error::TriggerRefused { event: name.clone(), source })?;
    }
    Ok(())
}

fn set_tracer(plan: &BufferPlan<'_>, undo: &mut Undo) -> Result<(), Error> {
    let Some(tracer) = plan.tracer else { return Ok(()) };
    plan.instance.set_tracer(tracer, undo).map_err(|source| busy(&plan.instance, source))
}

fn set_options(plan: &BufferPlan<'_>, undo: &mut Undo) -> Result<(), Error> {
    let instance = &plan.instance;
    if plan.follows_children() {
        follow_children(plan, undo)?;
    }
    if plan.common.func_stack && instance.name().is_none() {
        instance.set_option("func_stack_trace", undo).map_err(Error::at("asking for stacks of functions"))?;
    }
    for option in plan.settings.optional_options.iter().filter(|option| instance.option(option).is_some()) {
        instance.set_option(option, undo).map_err(Error::at("setting an option"))?;
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

fn follow_children(plan: &BufferPlan<'_>, undo: &mut Undo) -> Result<(), Error> {
    for (option, needed) in [("event-fork", true), ("function-fork", plan.traces_functions())] {
        if plan.instance.option(option).is_some() {
            plan.instance.set_option(option, undo).map_err(Error::at("following children"))?;
        } else if needed {
            return Err(Error::CannotFollow(option));
        }
    }
    Ok(())
}

/// EBUSY from the tracer switch means that somebody holds a consuming file open.
fn busy(instance: &Instance, source: tracefs::Error) -> Error {
    if source.errno() == Some(nix::errno::Errno::EBUSY) {
        let consumers = instance.consumers();
        return Error::BufferBusy { instance: instance.name().map(str::to_owned), consumers, source: Some(source) };
    }
    Error::ControlFile { step: "setting the tracer", source }
}

/// Keeps rtrec's own threads out of the trace, as far as the kernel can (5.7 on): what they do is none of the load's work.
/// Switches to and from them stay, since the other side of a switch is of interest.
pub fn leave_out(plan: &BufferPlan<'_>, threads: &[i32], notes: Notes<'_>, undo: &mut Undo) {
    if plan.common.no_filter {
        return;
    }
    let lists = [(PidList::NoEvent, true), (PidList::NoFunction, plan.traces_functions())];
    for (list, wanted) in lists {
        if !wanted || !plan.instance.has_pid_list(list) {
            continue;
        }
        if let Err(source) = plan.instance.add_pids(list, threads, undo) {
            notes(Note::Unavailable { what: "the recorder's own threads are in the trace", source });
        }
    }
}
