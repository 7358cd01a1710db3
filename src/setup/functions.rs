//! The lists of functions: filled, with names whose work has moved on this kernel, and read back.

use std::collections::HashSet;
use std::path::Path;

use super::error::Error;
use super::note::{Note, Notes};
use super::plan::{BufferPlan, FunctionPlan};
use crate::probe::names;
use crate::tracefs::functions::{FunctionList, Word, undo_command};
use crate::tracefs::{Instance, Undo};

/// Fills the lists of one buffer.
pub(super) fn set_functions(plan: &BufferPlan<'_>, notes: Notes<'_>, undo: &mut Undo) -> Result<(), Error> {
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
        let has_file = instance.path(list.file()).exists();
        if !wanted && (!has_file || instance.functions(list).is_ok_and(|lines| lines.is_empty())) {
            continue;
        }
        // A tracer that somebody has left on would trace all functions between emptying and filling its list.
        if plan.common.keep_before {
            continue;
        }
        instance.clear_functions(list, undo).map_err(Error::at("emptying the function filter"))?;
    }
    for (list, words) in &plan.functions {
        let mut adding = Adding { instance, list: *list, available: None, taken: Vec::new(), notes };
        words.iter().try_for_each(|word| adding.add(word, plan.common.exact_names, undo))?;
        adding.compare()?;
    }
    Ok(())
}

pub(super) const FTRACE_ENABLED: &str = "/proc/sys/kernel/ftrace_enabled";

/// A system-wide switch that, when off, leaves every function trace empty. Absent on some kernels.
fn enable_function_tracing(undo: &mut Undo) -> Result<(), Error> {
    let switch = Path::new(FTRACE_ENABLED);
    match undo.set(switch, "1") {
        Err(error) if error.is_missing() => Ok(()),
        result => result.map_err(Error::at("switching function tracing on")),
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
    notes: Notes<'a>,
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
        self.instance.add_function(self.list, word).map_err(Error::at("setting the function filter"))
    }

    fn matching(&mut self, test: impl Fn(&[u8]) -> bool) -> Result<Vec<String>, Error> {
        if self.available.is_none() {
            let available = self.instance.available_functions();
            self.available = Some(available.map_err(Error::at("setting the function filter"))?);
        }
        Ok(self.available.iter().flatten().filter(|name| test(name.as_bytes())).cloned().collect())
    }

    fn add_all(&mut self, word: &str, names: Vec<String>) -> Result<(), Error> {
        if names.is_empty() {
            return Err(Error::UnknownFunction { word: word.to_owned(), list: self.list, nearest: Vec::new() });
        }
        let words: Vec<&str> = names.iter().map(String::as_str).collect();
        self.instance.add_functions(self.list, &words).map_err(Error::at("setting the function filter"))?;
        self.taken.extend(names);
        Ok(())
    }

    /// Functions of one module. The lists for graphs take names only; the others are given the module, since a name may
    /// exist in several.
    fn add_of_module(&mut self, word: &Word, module: &str) -> Result<(), Error> {
        let functions = self.instance.functions_of_module(module).map_err(Error::at("setting the function filter"))?;
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

    /// Adds a plain name and, unless asked not to, the names its work has moved to.
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
            (self.notes)(Note::Successor { name: name.to_owned(), successors, both: itself });
        }
        Ok(())
    }

    /// Reads the list back. An empty one means all functions, which must not follow from a write that went wrong.
    fn compare(&self) -> Result<(), Error> {
        if self.taken.is_empty() {
            return Ok(());
        }
        let lines = self.instance.functions(self.list).map_err(Error::at("reading the function filter back"))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracefs::Tracefs;

    fn add(root: &Path, words: &[&str]) -> Result<(), Error> {
        let instance = Tracefs::at(root).top();
        let mut undo = Undo::new();
        let mut adding = Adding {
            instance: &instance,
            list: FunctionList::Filter,
            available: None,
            taken: Vec::new(),
            notes: &|_| (),
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
        assert!(matches!(add(folder.path(), &["vfs_read"]), Err(Error::ControlFile { .. })));
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
            let mut adding = Adding { instance: &instance, list, available: None, taken: Vec::new(), notes: &|_| () };
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
