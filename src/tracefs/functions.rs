//! Function filters: `set_ftrace_filter`, `set_ftrace_notrace`, `set_graph_function`, `set_graph_notrace`.
//!
//! Word rules, as trace-cmd's: a word of `[A-Za-z0-9_.*?]` alone is a glob, any other a POSIX basic regular expression that must
//! match the whole name; both ignore case and are matched against `available_filter_functions`. A word with a colon
//! is a command for the kernel (`schedule:traceoff:5`, `*:mod:ext4`) and goes there unchanged. A plain name is
//! simply offered to the kernel, which knows best; the long list is read only when the kernel refuses it.

use std::path::PathBuf;

use nix::errno::Errno;

use super::error::Error;
use super::file::{self, Mode};
use super::instance::Instance;
use super::undo::{Step, Undo};
use crate::wire::pattern::{Pattern, PatternError};

/// One of the kernel's lists of functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionList {
    /// `set_ftrace_filter`: trace these only.
    Filter,
    /// `set_ftrace_notrace`: never trace these.
    Notrace,
    /// `set_graph_function`: graphs begin here.
    Graph,
    /// `set_graph_notrace`: graphs leave these out.
    GraphNotrace,
}

impl FunctionList {
    /// The control file's name.
    pub fn file(self) -> &'static str {
        match self {
            FunctionList::Filter => "set_ftrace_filter",
            FunctionList::Notrace => "set_ftrace_notrace",
            FunctionList::Graph => "set_graph_function",
            FunctionList::GraphNotrace => "set_graph_notrace",
        }
    }
}

/// What a user's word for functions is.
#[derive(Debug)]
pub enum Word {
    /// A name.
    Plain(String),
    /// A glob or regular expression.
    Pattern(Pattern),
    /// A command with colons.
    Command(String),
}

impl Word {
    /// Tells what a word is; an error is a regular expression that does not parse.
    pub fn new(word: &str) -> Result<Self, PatternError> {
        let glob_only = word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.*?".contains(&b));
        if glob_only {
            let plain = !word.contains(['*', '?']);
            return if plain {
                Ok(Word::Plain(word.to_owned()))
            } else {
                Pattern::glob_any_case(word).map(Word::Pattern)
            };
        }
        if word.contains(':') {
            return Ok(Word::Command(word.to_owned()));
        }
        Pattern::whole(word).map(Word::Pattern)
    }
}

impl Instance {
    /// Empties a list, noting its content.
    pub fn clear_functions(&self, list: FunctionList, undo: &mut Undo) -> Result<(), Error> {
        let path = self.function_path(list);
        let lines = saved_lines(&file::read_text(&path)?);
        undo.clear_list(&path, lines)
    }

    /// Adds one word to a list. `Ok(false)`: the kernel traces no function of this name.
    ///
    /// [`Instance::clear_functions`] has noted the content before.
    pub fn add_function(&self, list: FunctionList, word: &str) -> Result<bool, Error> {
        match file::write(&self.function_path(list), &format!("{word}\n"), Mode::Append) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.errno(), Some(Errno::EINVAL | Errno::ENOENT | Errno::ESRCH)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Adds many names with as few writes as the kernel's 4 KiB parser buffer allows.
    pub fn add_functions(&self, list: FunctionList, names: &[&str]) -> Result<(), Error> {
        let path = self.function_path(list);
        let mut text = String::with_capacity(4096);
        for name in names {
            if text.len() + name.len() + 1 > 4000 {
                write_words(&path, &text)?;
                text.clear();
            }
            text.push_str(name);
            text.push('\n');
        }
        if text.is_empty() { Ok(()) } else { write_words(&path, &text) }
    }

    /// The lines of a list, without comments.
    pub fn functions(&self, list: FunctionList) -> Result<Vec<String>, Error> {
        Ok(saved_lines(&file::read_text(&self.function_path(list))?))
    }

    /// All functions that can be traced, modules' names removed.
    pub fn available_functions(&self) -> Result<Vec<String>, Error> {
        let text = file::read_text(&self.top_path("available_filter_functions"))?;
        Ok(text.lines().map(|line| without_annotation(line).to_owned()).collect())
    }

    /// The functions of a module that can be traced.
    pub fn functions_of_module(&self, module: &str) -> Result<Vec<String>, Error> {
        let text = file::read_text(&self.top_path("available_filter_functions"))?;
        let of_module =
            |line: &&str| line.split_once(" [").is_some_and(|(_, rest)| rest.trim_end_matches(']') == module);
        Ok(text.lines().filter(of_module).map(|line| without_annotation(line).to_owned()).collect())
    }

    fn function_path(&self, list: FunctionList) -> PathBuf {
        let instance_file = self.path(list.file());
        // The graph lists are global and exist at the top level only.
        if instance_file.exists() { instance_file } else { self.top_path(list.file()) }
    }
}

/// Writes several words; the kernel takes one word a call on some kernels, so what is left is written again.
fn write_words(path: &std::path::Path, text: &str) -> Result<(), Error> {
    use std::io::Write;
    let mut list = std::fs::OpenOptions::new()
        .append(true)
        .open(path)
        .map_err(|e| Error::new(super::error::Operation::Open, path, e))?;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let taken = list.write(rest).map_err(|e| Error::write(path, text, e))?;
        if taken == 0 {
            return Err(Error::write(path, text, std::io::ErrorKind::WriteZero.into()));
        }
        rest = &rest[taken..];
    }
    Ok(())
}

/// A list as it can be written again: no `#### all functions enabled ####`, no ` [module]`.
fn saved_lines(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| without_annotation(line).to_owned())
        .collect()
}

fn without_annotation(line: &str) -> &str {
    let line = line.split('\t').next().unwrap_or(line);
    line.split_once(" [").map_or(line, |(name, _)| name).trim_end()
}

/// Notes that a command word (`func:command`) was added to a filter list, to be removed with `!`.
pub fn undo_command(path: PathBuf, command: &str, undo: &mut Undo) {
    undo.push(Step::Commands { path, lines: vec![format!("!{command}")] });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_globs_commands_or_regular_expressions() {
        assert!(matches!(Word::new("vfs_read").unwrap(), Word::Plain(_)));
        assert!(matches!(Word::new("schedule:traceoff:5").unwrap(), Word::Command(_)));
        let Word::Pattern(glob) = Word::new("VFS_*d").unwrap() else { panic!() };
        assert!(glob.matches(b"vfs_read") && !glob.matches(b"vfs_reads"));
        let Word::Pattern(regex) = Word::new("^vfs_\\(read\\|write\\)$").unwrap() else { panic!() };
        assert!(regex.matches(b"vfs_write") && !regex.matches(b"vfs_writev"));
    }

    #[test]
    fn annotations_do_not_go_back_into_a_list() {
        let text = "#### all functions enabled ####\nschedule:traceoff:unlimited\next4_sync_fs [ext4]\nvfs_read\n";
        assert_eq!(saved_lines(text), ["schedule:traceoff:unlimited", "ext4_sync_fs", "vfs_read"]);
    }
}
