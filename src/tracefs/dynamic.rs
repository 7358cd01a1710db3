//! Dynamic events: probes that are defined by a line of text and removed by another.
//!
//! Owns: the three files that take such lines, listing what there is, defining, and removing one by one.
//! Does not own: what stands in the lines (see `probe`).
//! A definition file is only ever appended to: opening it with O_TRUNC would remove everybody's probes. An event that is
//! switched on anywhere cannot be removed (EBUSY), and one that a task is just passing not at once, so removal switches
//! off and tries again.
//! Source: Documentation/trace/uprobetracer.rst, kprobetrace.rst and fprobetrace.rst of Linux 6.18.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;

use super::error::Error;
use super::file::{self, Mode};
use super::instance::Instance;
use super::undo::{Step, Undo};

/// Which file takes a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DefinitionFile {
    /// `uprobe_events`: user probes.
    Uprobe,
    /// `kprobe_events`: kernel probes.
    Kprobe,
    /// `dynamic_events`: all kinds (5.0 on), the only one for event, function and tracepoint probes.
    Dynamic,
}

impl DefinitionFile {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            DefinitionFile::Uprobe => "uprobe_events",
            DefinitionFile::Kprobe => "kprobe_events",
            DefinitionFile::Dynamic => "dynamic_events",
        }
    }
}

/// A dynamic event that is defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// The file it is listed in.
    pub file: DefinitionFile,
    /// Its group: the system of the event.
    pub group: String,
    /// Its name.
    pub event: String,
    /// The whole line.
    pub line: String,
}

impl Definition {
    fn parse(file: DefinitionFile, line: &str) -> Option<Definition> {
        let head = line.split_ascii_whitespace().next()?;
        let (group, event) = head.split_once(':')?.1.split_once('/')?;
        Some(Definition { file, group: group.to_owned(), event: event.to_owned(), line: line.to_owned() })
    }

    /// What becomes of the place, by the first letter: `p`, `r`, `e`, `f`, `t`, `s`.
    pub fn kind(&self) -> char {
        self.line.chars().next().unwrap_or('?')
    }
}

impl Instance {
    /// Whether this kernel has such a file.
    pub fn takes_definitions(&self, file: DefinitionFile) -> bool {
        self.top_path(file.name()).exists()
    }

    /// All dynamic events of the machine, whoever has defined them, oldest first.
    pub fn definitions(&self) -> Result<Vec<Definition>, Error> {
        if self.takes_definitions(DefinitionFile::Dynamic) {
            return self.listed(DefinitionFile::Dynamic);
        }
        let mut all = Vec::new();
        for file in [DefinitionFile::Kprobe, DefinitionFile::Uprobe] {
            if self.takes_definitions(file) {
                all.extend(self.listed(file)?);
            }
        }
        Ok(all)
    }

    fn listed(&self, file: DefinitionFile) -> Result<Vec<Definition>, Error> {
        let text = file::read_text(&self.top_path(file.name()))?;
        Ok(text.lines().filter_map(|line| Definition::parse(file, line)).collect())
    }

    /// Defines an event by one write, noting its removal.
    pub fn define(&self, file: DefinitionFile, line: &str, undo: &mut Undo) -> Result<(), Error> {
        let path = self.top_path(file.name());
        if let Some(made) = Definition::parse(file, line) {
            undo.push(Step::Undefine { path: path.clone(), group: made.group, event: made.event });
        }
        file::write(&path, &format!("{line}\n"), Mode::Append).map_err(|error| {
            undo.forget_last();
            self.explain(error)
        })
    }

    /// How often a probe was hit and missed since it was defined, if the kernel counts it.
    pub fn hits(&self, definition: &Definition) -> Option<(u64, u64)> {
        let of = |file: &str| {
            let text = file::read_text(&self.top_path(file)).ok()?;
            // `[path] event hits [missed]`; events of the same name in several groups cannot be distinguished.
            text.lines().find_map(|line| {
                let words: Vec<&str> = line.split_ascii_whitespace().collect();
                let at = words.iter().position(|word| *word == definition.event)?;
                let number = |index: usize| words.get(index).and_then(|word| word.parse::<u64>().ok());
                Some((number(at + 1)?, number(at + 2).unwrap_or(0)))
            })
        };
        of("uprobe_profile").or_else(|| of("kprobe_profile"))
    }

    /// Removes an event unless it is switched on somewhere; returns whether it is gone.
    pub fn undefine_idle(&self, definition: &Definition) -> Result<bool, Error> {
        let line = format!("-:{}/{}\n", definition.group, definition.event);
        match file::write(&self.top_path(definition.file.name()), &line, Mode::Append) {
            Ok(()) => Ok(true),
            Err(error) => match error.errno() {
                Some(Errno::ENOENT) => Ok(true),
                Some(Errno::EBUSY) => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// Removes an event that was defined.
    pub fn undefine(&self, definition: &Definition) -> Result<(), Error> {
        undefine(&self.top_path(definition.file.name()), &definition.group, &definition.event)
    }
}

/// The folder of an event, next to its definition file.
pub(super) fn event_folder(file: &Path, group: &str, event: &str) -> PathBuf {
    let mut path = file.with_file_name("events");
    path.extend([group, event]);
    path
}

/// Half a second in all: a task that is just passing the probe is through by then.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// Removes one event, switched off before where it has to be. One that is gone is no error.
pub(super) fn undefine(file: &Path, group: &str, event: &str) -> Result<(), Error> {
    let line = format!("-:{group}/{event}\n");
    let mut tried = 0;
    loop {
        let error = match file::write(file, &line, Mode::Append) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match error.errno() {
            Some(Errno::ENOENT) if file.exists() => return Ok(()),
            Some(Errno::EBUSY) if tried < TRIES => {
                if tried == 0 {
                    switch_off(file, group, event);
                }
                tried += 1;
                std::thread::sleep(PAUSE);
            }
            _ => return Err(error),
        }
    }
}

/// Switches an event off in all buffers.
fn switch_off(file: &Path, group: &str, event: &str) {
    let root = file.parent().unwrap_or(Path::new("/"));
    let instances = std::fs::read_dir(root.join("instances")).into_iter().flatten().flatten().map(|entry| entry.path());
    for buffer in instances.chain([root.to_owned()]) {
        let mut switch = buffer.join("events");
        switch.extend([group, event, "enable"]);
        let _ = file::write_value(&switch, "0");
        // A trigger holds the event too.
        let trigger = switch.with_file_name("trigger");
        for line in file::read_text(&trigger).unwrap_or_default().lines().filter(|line| !line.starts_with('#')) {
            let bare = line.split(":unlimited").next().unwrap_or(line);
            let _ = file::write(&trigger, &format!("!{bare}\n"), Mode::Append);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tracefs;
    use super::*;

    #[test]
    fn a_definition_is_appended_and_its_removal_noted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("uprobe_events");
        std::fs::write(&file, "p:theirs/main /bin/true:0x00001000\n").unwrap();
        let top = Tracefs::at(folder.path()).top();
        let mut undo = Undo::new();
        top.define(DefinitionFile::Uprobe, "p:rtrec_7/main /bin/true:0x1000 a=%di:u32", &mut undo).unwrap();
        assert_eq!(
            undo.steps(),
            [Step::Undefine { path: file.clone(), group: "rtrec_7".into(), event: "main".into() }]
        );
        let defined = top.definitions().unwrap();
        assert_eq!(
            defined.iter().map(|d| (d.kind(), d.group.as_str())).collect::<Vec<_>>(),
            [('p', "theirs"), ('p', "rtrec_7")]
        );
        assert!(undo.run().is_empty());
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("p:theirs/main") && text.ends_with("\n-:rtrec_7/main\n"), "{text}");
    }

    #[test]
    fn a_refused_definition_leaves_nothing_to_undo() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.path().join("kprobe_events")).unwrap();
        let mut undo = Undo::new();
        let refused = Tracefs::at(folder.path()).top().define(DefinitionFile::Kprobe, "p:g/e vfs_read", &mut undo);
        assert_eq!(refused.unwrap_err().wrote.as_deref(), Some("p:g/e vfs_read"));
        assert!(undo.steps().is_empty());
    }
}
