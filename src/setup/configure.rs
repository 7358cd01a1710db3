//! Sets an instance up for a recording, every change noted in the undo journal.
//!
//! The order matters: all is switched off, then clock, sizes, filters and functions, then events, then the
//! tracer, and last, by the caller, `tracing_on`. So a function tracer never runs unfiltered, and nothing is
//! recorded with half of the settings.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::probe::names;
use crate::record::error::Error;
use crate::record::settings::FunctionOff;
use crate::record::watch::{Note, Watch};
use crate::rt::sampling::attach::threads;
use crate::setup::plan::{BufferPlan, FunctionPlan};
use crate::tracefs::functions::{FunctionList, Word, undo_command};
use crate::tracefs::instance::PidList;
use crate::tracefs::{self, Instance, Undo};

/// Prepares one buffer; it is not yet writing when this returns.
pub fn configure(plan: &BufferPlan<'_>, command: Option<i32>, watch: &dyn Watch, undo: &mut Undo) -> Result<(), Error> {
    let instance = &plan.instance;
    instance.make(undo).map_err(Error::setup("making the instance"))?;
    if !plan.common.keep_before {
        quiet(instance, undo)?;
    }
    set_waking(plan, undo)?;
    set_values(plan, undo)?;
    set_functions(plan, watch, undo)?;
    set_pids(plan, command, undo)?;
    set_events(plan, undo)?;
    set_until(plan, undo)?;
    set_tracer(plan, undo)?;
    set_options(plan, undo)?;
    set_newborn(plan, watch)
}

/// Switches everything off and empties the buffer.
fn quiet(instance: &Instance, undo: &mut Undo) -> Result<(), Error> {
    instance.stop_tracing(undo).map_err(Error::setup("stopping the buffer"))?;
    instance.set_tracer("nop", undo).map_err(|source| busy(instance, source))?;
    instance.clear_events(undo).map_err(Error::setup("switching events off"))?;
    instance.clear_pids(PidList::Event, undo).map_err(Error::setup("clearing the pid filter"))?;
    instance.clear().map_err(Error::setup("emptying the buffer"))
}

/// When readers are woken.
fn set_waking(plan: &BufferPlan<'_>, undo: &mut Undo) -> Result<(), Error> {
    let every_record = plan.common.interval.is_some_and(|interval| interval.is_zero());
    let set = if every_record { Instance::wake_for_every_record } else { Instance::fill_before_waking };
    set(&plan.instance, undo).map_err(Error::setup("setting the wake-up mark"))
}

fn set_values(plan: &BufferPlan<'_>, undo: &mut Undo) -> Result<(), Error> {
    let (instance, settings) = (&plan.instance, plan.settings);
    if let Some(clock) = plan.clock() {
        instance.set_clock(clock, undo).map_err(Error::setup("setting the clock"))?;
    }
    if let Some(size) = plan.common.cmdlines_size {
        undo.set(&instance.top_path("saved_cmdlines_size"), &size.to_string())
            .map_err(Error::setup("setting the size of the table of names"))?;
    }
    if let Some(size_kb) = settings.subbuf_size_kb {
        instance.set_subbuf_size_kb(size_kb, undo).map_err(Error::setup("setting the sub-buffer size"))?;
    }
    if let Some(size_kb) = settings.size_kb {
        instance.set_buffer_size_kb(size_kb, undo).map_err(Error::setup("setting the buffer size"))?;
    }
    if let Some(mask) = &settings.cpumask {
        instance.set_value("tracing_cpumask", mask, undo).map_err(Error::setup("setting the CPU mask"))?;
    }
    if let Some(depth) = settings.max_graph_depth.filter(|_| plan.tracer.is_some()) {
        // The file is one for all instances on some kernels, and missing without function_graph.
        instance
            .set_value("max_graph_depth", &depth.to_string(), undo)
            .map_err(Error::setup("setting the graph depth"))?;
    }
    if settings.keeps_worst_case() {
        // Only what is worse than this is kept.
        instance.set_value("tracing_max_latency", "0", undo).map_err(Error::setup("forgetting the worst case"))?;
    }
    set_function_tracing(plan, undo)
}

/// `-d` and `-D`.
fn set_function_tracing(plan: &BufferPlan<'_>, undo: &mut Undo) -> Result<(), Error> {
    let Some(how) = plan.common.function_off else { return Ok(()) };
    let has_option = plan.instance.option("function-trace").is_some();
    if has_option {
        plan.instance.set_option("nofunction-trace", undo).map_err(Error::setup("switching function tracing off"))?;
    }
    if how == FunctionOff::Both || !has_option {
        undo.set(Path::new(FTRACE_ENABLED), "0").map_err(Error::setup("switching function tracing off"))?;
    }
    Ok(())
}

fn set_functions(plan: &BufferPlan<'_>, watch: &dyn Watch, undo: &mut Undo) -> Result<(), Error> {
    let instance = &plan.instance;
    if !plan.traces_functions() && plan.functions.is_empty() {
        return Ok(());
    }
    if plan.common.function_off.is_none() {
        enable_function_tracing(undo)?;
    }
    // What an earlier user left in the lists would silently narrow the trace.
    for list in [FunctionList::Filter, FunctionList::Notrace, FunctionList::Graph, FunctionList::GraphNotrace] {
        let wanted = plan.functions.iter().any(|(wanted, _)| *wanted == list);
        let own = instance.path(list.file()).exists();
        if !wanted && (!own || instance.functions(list).is_ok_and(|lines| lines.is_empty())) {
            continue;
        }
        // A tracer that somebody has left on would trace all functions between emptying and filling its list.
        if plan.common.keep_before {
            continue;
        }
        instance.clear_functions(list, undo).map_err(Error::setup("emptying the function filter"))?;
    }
    for (list, words) in &plan.functions {
        let mut adding = Adding { instance, list: *list, available: None, taken: Vec::new(), watch };
        words.iter().try_for_each(|word| adding.add(word, plan.common.exact_names, undo))?;
        adding.compare()?;
    }
    Ok(())
}

const FTRACE_ENABLED: &str = "/proc/sys/kernel/ftrace_enabled";

/// A system-wide switch that, when off, leaves every function trace empty. Absent on some kernels.
fn enable_function_tracing(undo: &mut Undo) -> Result<(), Error> {
    let switch = Path::new(FTRACE_ENABLED);
    match undo.set(switch, "1") {
        Err(error) if error.is_missing() => Ok(()),
        result => result.map_err(Error::setup("switching function tracing on")),
    }
}

/// A list of functions being filled.
struct Adding<'a> {
    instance: &'a Instance,
    list: FunctionList,
    /// All functions, once they are needed.
    available: Option<Vec<String>>,
    /// The names that the kernel has taken.
    taken: Vec<String>,
    watch: &'a dyn Watch,
}

impl Adding<'_> {
    fn add(&mut self, function: &FunctionPlan, exact: bool, undo: &mut Undo) -> Result<(), Error> {
        if let Some(module) = &function.module {
            return self.add_of_module(&function.word, module);
        }
        match &function.word {
            Word::Plain(name) => self.add_name(name, exact),
            Word::Command(command) => {
                undo_command(self.instance.path(self.list.file()), command, undo);
                if self.offer(command)? { Ok(()) } else { Err(unknown(self.instance, self.list, command)) }
            }
            Word::Pattern(pattern) => {
                let matching = self.matching(|name| pattern.matches(name))?;
                self.add_all(pattern.text(), matching)
            }
        }
    }

    fn offer(&self, word: &str) -> Result<bool, Error> {
        self.instance.add_function(self.list, word).map_err(Error::setup("setting the function filter"))
    }

    fn matching(&mut self, test: impl Fn(&[u8]) -> bool) -> Result<Vec<String>, Error> {
        if self.available.is_none() {
            let available = self.instance.available_functions();
            self.available = Some(available.map_err(Error::setup("setting the function filter"))?);
        }
        Ok(self.available.iter().flatten().filter(|name| test(name.as_bytes())).cloned().collect())
    }

    fn add_all(&mut self, word: &str, names: Vec<String>) -> Result<(), Error> {
        if names.is_empty() {
            return Err(Error::UnknownFunction { word: word.to_owned(), list: self.list, nearest: Vec::new() });
        }
        let words: Vec<&str> = names.iter().map(String::as_str).collect();
        self.instance.add_functions(self.list, &words).map_err(Error::setup("setting the function filter"))?;
        self.taken.extend(names);
        Ok(())
    }

    /// Functions of one module. The lists for graphs take names only; the others are told the module, since a name may
    /// exist in several.
    fn add_of_module(&mut self, word: &Word, module: &str) -> Result<(), Error> {
        let functions =
            self.instance.functions_of_module(module).map_err(Error::setup("setting the function filter"))?;
        let (text, names): (&str, Vec<String>) = match word {
            Word::Plain(name) => (name, functions.into_iter().filter(|function| function == name).collect()),
            Word::Command(command) => (command, Vec::new()),
            Word::Pattern(pattern) => {
                (pattern.text(), functions.into_iter().filter(|name| pattern.matches(name.as_bytes())).collect())
            }
        };
        if matches!(self.list, FunctionList::Graph | FunctionList::GraphNotrace) || names.is_empty() {
            return self.add_all(text, names);
        }
        for name in &names {
            if !self.offer(&format!("{name}:mod:{module}"))? {
                return Err(unknown(self.instance, self.list, name));
            }
        }
        self.taken.extend(names);
        Ok(())
    }

    /// Adds a plain name and, unless told not to, the names its work has moved to.
    fn add_name(&mut self, name: &str, exact: bool) -> Result<(), Error> {
        let itself = self.offer(name)?;
        let mut successors = Vec::new();
        for successor in if exact { Vec::new() } else { names::successors(name) } {
            if self.offer(&successor)? {
                successors.push(successor);
            }
        }
        if !itself && successors.is_empty() {
            return Err(unknown(self.instance, self.list, name));
        }
        self.taken.extend(itself.then(|| name.to_owned()));
        self.taken.extend(successors.iter().cloned());
        if !successors.is_empty() {
            self.watch.note(Note::Successor { name: name.to_owned(), successors, both: itself });
        }
        Ok(())
    }

    /// Reads the list back. An empty one means all functions, which must not follow from a write that went wrong.
    fn compare(&self) -> Result<(), Error> {
        if self.taken.is_empty() {
            return Ok(());
        }
        let lines = self.instance.functions(self.list).map_err(Error::setup("reading the function filter back"))?;
        let has: HashSet<&str> = lines.iter().map(String::as_str).collect();
        // Graph lists show the first of the names of an address, which need not be the one that was written.
        let any_name = matches!(self.list, FunctionList::Graph | FunctionList::GraphNotrace);
        let missing =
            self.taken.iter().find(|name| if any_name { has.is_empty() } else { !has.contains(name.as_str()) });
        match missing {
            Some(name) => Err(Error::FilterNotTaken { word: name.clone(), list: self.list }),
            None => Ok(()),
        }
    }
}

fn unknown(instance: &Instance, list: FunctionList, word: &str) -> Error {
    let available = instance.available_functions().unwrap_or_default();
    let nearest = names::nearest(word, available.iter().map(String::as_str));
    Error::UnknownFunction { word: word.to_owned(), list, nearest }
}

fn set_pids(plan: &BufferPlan<'_>, command: Option<i32>, undo: &mut Undo) -> Result<(), Error> {
    let mut pids: Vec<i32> = plan.settings.pids.iter().flat_map(|&pid| threads_of(pid)).collect();
    if plan.common.only_command || plan.settings.follows {
        pids.extend(command);
    }
    let functions = plan.traces_functions();
    if functions && !plan.common.keep_before {
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

/// Adds threads that were born since their process' threads were listed, until the kernel follows all there are.
fn set_newborn(plan: &BufferPlan<'_>, watch: &dyn Watch) -> Result<(), Error> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let pids = &plan.settings.pids;
    if pids.is_empty() || !plan.follows_children() {
        return Ok(());
    }
    let begun = Instant::now();
    loop {
        let alive = || pids.iter().flat_map(|&pid| threads(pid)).collect();
        let added = plan.instance.add_missing_pids(PidList::Event, alive);
        if added.map_err(Error::setup("setting the pid filter"))? == 0 {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            watch.note(Note::ThreadsMissed);
            return Ok(());
        }
    }
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
fn set_until(plan: &BufferPlan<'_>, undo: &mut Undo) -> Result<(), Error> {
    let Some((word, filter)) = &plan.common.limits.until else { return Ok(()) };
    let trigger = filter.as_ref().map_or_else(|| "traceoff".to_owned(), |filter| format!("traceoff if {filter}"));
    for name in crate::setup::plan::named_events(&plan.instance, word)? {
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
        instance.set_option("func_stack_trace", undo).map_err(Error::setup("asking for stacks of functions"))?;
    }
    for option in plan.settings.optional_options.iter().filter(|option| instance.option(option).is_some()) {
        instance.set_option(option, undo).map_err(Error::setup("setting an option"))?;
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
            plan.instance.set_option(option, undo).map_err(Error::setup("following children"))?;
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
    Error::Setup { step: "setting the tracer", source }
}

/// Keeps rtrec's own threads out of the trace, as far as the kernel can (5.7 on): what they do is none of the load's work.
/// Switches to and from them stay, since the other side of a switch is of interest.
pub fn leave_out(plan: &BufferPlan<'_>, threads: &[i32], watch: &dyn Watch, undo: &mut Undo) {
    if plan.common.no_filter {
        return;
    }
    let lists = [(PidList::NoEvent, true), (PidList::NoFunction, plan.traces_functions())];
    for (list, wanted) in lists {
        if !wanted || !plan.instance.has_pid_list(list) {
            continue;
        }
        if let Err(source) = plan.instance.add_pids(list, threads, undo) {
            watch.note(Note::Hindered { what: "the recorder's own threads are in the trace", source });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::watch::Silent;
    use crate::tracefs::Tracefs;

    fn add(root: &Path, words: &[&str]) -> Result<(), Error> {
        let instance = Tracefs::at(root).top();
        let mut undo = Undo::new();
        let mut adding = Adding {
            instance: &instance,
            list: FunctionList::Filter,
            available: None,
            taken: Vec::new(),
            watch: &Silent,
        };
        for word in words {
            let word = FunctionPlan { word: Word::new(word).unwrap(), module: None };
            adding.add(&word, true, &mut undo)?;
        }
        adding.compare()
    }

    #[test]
    fn a_filter_that_the_kernel_forgot_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("available_filter_functions"), "vfs_open\nvfs_read\nksys_read\n").unwrap();
        let list = folder.path().join("set_ftrace_filter");
        std::fs::write(&list, "").unwrap();
        add(folder.path(), &["vfs_*", "ksys_read"]).unwrap();
        assert_eq!(std::fs::read_to_string(&list).unwrap(), "vfs_open\nvfs_read\nksys_read\n");
        // A list that takes every word and keeps none of them stands for all functions.
        std::fs::remove_file(&list).unwrap();
        std::os::unix::fs::symlink("/dev/null", &list).unwrap();
        let Err(Error::FilterNotTaken { word, .. }) = add(folder.path(), &["vfs_read"]) else { panic!() };
        assert_eq!(word, "vfs_read");
        // A write that fails is an error at once.
        std::fs::remove_file(&list).unwrap();
        std::os::unix::fs::symlink("/dev/full", &list).unwrap();
        assert!(matches!(add(folder.path(), &["vfs_read"]), Err(Error::Setup { .. })));
    }

    #[test]
    fn functions_of_a_module_are_written_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let available = "vfs_open\next4_open [ext4]\next4_sync [ext4]\nxfs_open [xfs]\n";
        std::fs::write(folder.path().join("available_filter_functions"), available).unwrap();
        let instance = Tracefs::at(folder.path()).top();
        let written = |list: FunctionList, word: &str| {
            let path = folder.path().join(list.file());
            std::fs::write(&path, "").unwrap();
            let mut adding = Adding { instance: &instance, list, available: None, taken: Vec::new(), watch: &Silent };
            let word = FunctionPlan { word: Word::new(word).unwrap(), module: Some("ext4".into()) };
            adding.add(&word, true, &mut Undo::new()).map(|()| std::fs::read_to_string(&path).unwrap())
        };
        assert_eq!(written(FunctionList::Filter, "*").unwrap(), "ext4_open:mod:ext4\next4_sync:mod:ext4\n");
        assert_eq!(written(FunctionList::Notrace, "*_open").unwrap(), "ext4_open:mod:ext4\n");
        assert_eq!(written(FunctionList::Graph, "ext4_sync").unwrap(), "ext4_sync\n");
        for word in ["vfs_open", "xfs_open", "no*"] {
            assert!(matches!(written(FunctionList::Filter, word), Err(Error::UnknownFunction { .. })), "{word}");
        }
    }
}
