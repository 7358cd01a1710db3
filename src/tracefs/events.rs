//! Events: finding them by trace-cmd's name rules, switching them on, filters and triggers.
//!
//! Name rules: `all` is everything. `SYS:EVENT` and `SYS/EVENT` are shell globs on both parts, an empty event part
//! means `*`. A word without colon is tried as a system glob and as an event glob over all systems, and both
//! results count. Case matters. The `ftrace` system cannot be enabled (its events have no `filter`), so it never matches.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::error::{Error, Operation};
use super::file::{self, Mode};
use super::instance::Instance;
use super::undo::{Step, Undo};
use crate::wire::pattern::Pattern;

/// An event that exists: its system and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventName {
    /// The folder under `events`.
    pub system: String,
    /// The folder under the system.
    pub event: String,
}

impl std::fmt::Display for EventName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.system, self.event)
    }
}

/// What a user's word for events selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Systems that are selected as a whole.
    pub systems: BTreeSet<String>,
    /// Events selected one by one (those of whole systems are not repeated here).
    pub events: BTreeSet<EventName>,
}

impl Selection {
    /// Whether nothing matched.
    pub fn is_empty(&self) -> bool {
        self.systems.is_empty() && self.events.is_empty()
    }
}

impl Instance {
    /// All systems whose events can be enabled.
    pub fn event_systems(&self) -> Result<Vec<String>, Error> {
        let events = self.path("events");
        let mut systems: Vec<String> = folders(&events)?.into_iter().filter(|system| system != "ftrace").collect();
        systems.sort_unstable();
        Ok(systems)
    }

    /// All events of a system that can be enabled.
    pub fn events_of(&self, system: &str) -> Result<Vec<EventName>, Error> {
        let mut events: Vec<EventName> = folders(&self.path("events").join(system))?
            .into_iter()
            .map(|event| EventName { system: system.to_owned(), event })
            .collect();
        events.sort_unstable();
        Ok(events)
    }

    /// What `word` selects, by the rules above; empty when nothing matches.
    pub fn select_events(&self, word: &str) -> Result<Selection, Error> {
        let mut selection = Selection::default();
        if word == "all" {
            selection.systems.extend(self.event_systems()?);
            return Ok(selection);
        }
        if let Some((system, event)) = word.split_once([':', '/']) {
            let event = if event.is_empty() { "*" } else { event };
            for system in self.matching_systems(system)? {
                if event == "*" {
                    selection.systems.insert(system);
                } else {
                    selection.events.extend(self.matching_events(&system, event)?);
                }
            }
            return Ok(selection);
        }
        selection.systems.extend(self.matching_systems(word)?);
        for system in self.event_systems()? {
            if !selection.systems.contains(&system) {
                selection.events.extend(self.matching_events(&system, word)?);
            }
        }
        Ok(selection)
    }

    fn matching_systems(&self, glob: &str) -> Result<Vec<String>, Error> {
        if is_plain(glob) {
            let known = glob != "ftrace" && self.path("events").join(glob).is_dir();
            return Ok(known.then(|| glob.to_owned()).into_iter().collect());
        }
        let Ok(pattern) = Pattern::glob(glob) else { return Ok(Vec::new()) };
        Ok(self.event_systems()?.into_iter().filter(|system| pattern.matches(system.as_bytes())).collect())
    }

    fn matching_events(&self, system: &str, glob: &str) -> Result<Vec<EventName>, Error> {
        if is_plain(glob) {
            let known = self.event_path(system, glob, "filter").exists();
            return Ok(known
                .then(|| EventName { system: system.to_owned(), event: glob.to_owned() })
                .into_iter()
                .collect());
        }
        let Ok(pattern) = Pattern::glob(glob) else { return Ok(Vec::new()) };
        Ok(self.events_of(system)?.into_iter().filter(|name| pattern.matches(name.event.as_bytes())).collect())
    }

    /// The events of a selection, whole systems spelled out.
    pub fn spell_out(&self, selection: &Selection) -> Result<BTreeSet<EventName>, Error> {
        let mut events = selection.events.clone();
        for system in &selection.systems {
            events.extend(self.events_of(system)?);
        }
        Ok(events)
    }

    fn event_path(&self, system: &str, event: &str, file: &str) -> PathBuf {
        let mut path = self.path("events");
        path.extend([system, event, file]);
        path
    }

    /// A file of an event.
    pub(super) fn event_file(&self, name: &EventName, file: &str) -> PathBuf {
        self.event_path(&name.system, &name.event, file)
    }

    /// Names of all events, `system:event`, for finding the nearest one.
    pub fn event_names(&self) -> Vec<String> {
        let systems = self.event_systems().unwrap_or_default();
        systems
            .iter()
            .flat_map(|system| self.events_of(system).unwrap_or_default())
            .map(|name| name.to_string())
            .collect()
    }

    /// Switches all events off, noting which were on.
    pub fn clear_events(&self, undo: &mut Undo) -> Result<(), Error> {
        let path = self.path("set_event");
        let lines = file::read_text(&path)?.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        undo.clear_list(&path, lines)
    }

    /// The events that are switched on.
    pub fn enabled_events(&self) -> Result<Vec<EventName>, Error> {
        let text = file::read_text(&self.path("set_event"))?;
        let name = |line: &str| {
            let (system, event) = line.trim().split_once(':')?;
            Some(EventName { system: system.to_owned(), event: event.to_owned() })
        };
        Ok(text.lines().filter_map(name).collect())
    }

    /// Switches a selection on or off. [`Instance::clear_events`] has noted the state before.
    pub fn enable_events(&self, selection: &Selection, on: bool) -> Result<(), Error> {
        let value = if on { "1" } else { "0" };
        for system in &selection.systems {
            let path = self.path("events").join(system).join("enable");
            match file::write_value(&path, value) {
                // Some systems have events that a mere switch cannot enable; the others are on by then.
                Err(error) if on => self.enable_one_by_one(system, error)?,
                other => other?,
            }
        }
        selection
            .events
            .iter()
            .try_for_each(|name| file::write_value(&self.event_path(&name.system, &name.event, "enable"), value))
    }

    fn enable_one_by_one(&self, system: &str, first: Error) -> Result<(), Error> {
        let events = self.events_of(system)?;
        let enabled = events
            .iter()
            .filter(|name| file::write_value(&self.event_path(&name.system, &name.event, "enable"), "1").is_ok())
            .count();
        if enabled == 0 { Err(first) } else { Ok(()) }
    }

    /// Sets or, with `None`, clears an event's filter, noting the old one. Writes nothing when there is nothing to clear.
    pub fn set_event_filter(&self, name: &EventName, filter: Option<&str>, undo: &mut Undo) -> Result<(), Error> {
        let path = self.event_path(&name.system, &name.event, "filter");
        let old = file::read_trimmed(&path)?;
        let old = if old == "none" { "0" } else { old.as_str() };
        let new = filter.unwrap_or("0");
        if old == new {
            return Ok(());
        }
        undo.push(Step::value(path.clone(), old.to_owned()));
        file::write_value(&path, new).map_err(|error| self.explain(error))
    }

    /// Adds a trigger to an event, noting its removal.
    pub fn add_trigger(&self, name: &EventName, trigger: &str, undo: &mut Undo) -> Result<(), Error> {
        let path = self.event_path(&name.system, &name.event, "trigger");
        undo.push(Step::Commands { path: path.clone(), lines: vec![format!("!{trigger}")] });
        file::write(&path, &format!("{trigger}\n"), Mode::Append).map_err(|error| {
            undo.forget_last();
            self.explain(error)
        })
    }

    /// The `format` text of an event, the `ftrace` system included.
    pub fn event_format(&self, name: &EventName) -> Result<Vec<u8>, Error> {
        file::read(&self.event_path(&name.system, &name.event, "format"))
    }

    /// The number that the records of an event bear, and that the kernel's other interfaces know it by.
    pub fn event_id(&self, name: &EventName) -> Result<u64, Error> {
        // All instances have the same, this one perhaps only later.
        let path = self.top_path("events").join(&name.system).join(&name.event).join("id");
        let text = file::read_text(&path)?;
        text.trim().parse().map_err(|_| Error::new(Operation::Read, &path, std::io::ErrorKind::InvalidData.into()))
    }

    /// The names of the kernel's own records (`function`, `print`, `funcgraph_entry`, …).
    pub fn ftrace_events(&self) -> Result<Vec<EventName>, Error> {
        self.events_of("ftrace")
    }
}

fn is_plain(word: &str) -> bool {
    !word.contains(['*', '?', '['])
}

fn folders(path: &std::path::Path) -> Result<Vec<String>, Error> {
    let entries = std::fs::read_dir(path).map_err(|e| Error::new(Operation::Read, path, e))?;
    Ok(entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::super::Tracefs;
    use super::*;

    fn kernel(events: &[&str]) -> (tempfile::TempDir, Instance) {
        let folder = tempfile::tempdir().unwrap();
        for event in events {
            let dir = folder.path().join("events").join(event);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("filter"), "none\n").unwrap();
            std::fs::write(dir.join("enable"), "0\n").unwrap();
        }
        let top = Tracefs::at(folder.path()).top();
        (folder, top)
    }

    fn names(top: &Instance, word: &str) -> Vec<String> {
        let selection = top.select_events(word).unwrap();
        top.spell_out(&selection).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_bare_word_selects_systems_and_events_of_that_name() {
        let (_folder, top) = kernel(&["sched/sched_switch", "irq/softirq_entry", "probes/sched", "ftrace/function"]);
        assert_eq!(names(&top, "sched"), ["probes:sched", "sched:sched_switch"]);
    }

    #[test]
    fn both_sides_of_the_colon_are_globs() {
        let (_folder, top) =
            kernel(&["sched/sched_switch", "sched/sched_waking", "irq/softirq_entry", "ftrace/function"]);
        assert_eq!(names(&top, "s*:*_w*"), ["sched:sched_waking"]);
        assert_eq!(names(&top, "sched/sched_switch"), ["sched:sched_switch"]);
        assert_eq!(names(&top, "irq:"), ["irq:softirq_entry"]);
        assert_eq!(names(&top, "all").len(), 3);
        assert!(names(&top, "function").is_empty());
        assert!(names(&top, "Sched").is_empty());
    }

    #[test]
    fn a_filter_is_noted_and_comes_back() {
        let (folder, top) = kernel(&["sched/sched_switch"]);
        let name = EventName { system: "sched".into(), event: "sched_switch".into() };
        let mut undo = Undo::new();
        top.set_event_filter(&name, Some("prev_pid==1"), &mut undo).unwrap();
        assert_eq!(undo.steps().len(), 1);
        undo.run();
        let text = std::fs::read_to_string(folder.path().join("events/sched/sched_switch/filter")).unwrap();
        assert!(text.starts_with("0\n"));
    }
}
