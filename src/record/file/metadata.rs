//! What a trace.dat file says besides the records: formats, symbols, names, clocks, counters.
//!
//! All of it but the task names and the counters is read and packed while the command runs, on a thread of its own.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::dat::ids;
use crate::dat::writer::{self, Section};
use crate::probe::FieldValues;
use crate::probe::values::with_enum_names;
use crate::setup::threads;
use crate::tracefs::events::EventName;
use crate::tracefs::{Error, Instance, file};

/// Options of tracers that record arguments of functions (kernel 6.15 on).
const ARGUMENT_OPTIONS: [&str; 2] = ["options/funcgraph-args", "options/func-args"];

/// The kernel's symbols and constant strings, which do not depend on what is recorded.
#[derive(Debug, Default)]
pub struct KernelSymbols {
    kallsyms: Vec<u8>,
    printk: Vec<u8>,
}

impl KernelSymbols {
    /// Reads them. Without them functions have no names, but everything else is there.
    pub fn read(top: &Instance) -> Self {
        let printk = file::read(&top.path("printk_formats")).unwrap_or_default();
        KernelSymbols { kallsyms: std::fs::read("/proc/kallsyms").unwrap_or_default(), printk }
    }

    /// Whether addresses can be resolved at all: the kernel shows zeros to those it does not trust.
    pub fn has_addresses(&self) -> bool {
        self.kallsyms.split(|&b| b == b'\n').take(100).any(|line| line.iter().take(16).any(|b| !b"0 ".contains(b)))
    }

    /// `/proc/kallsyms` and `printk_formats`.
    pub fn into_tables(self) -> (Vec<u8>, Vec<u8>) {
        (self.kallsyms, self.printk)
    }
}

/// The texts that do not change while recording.
#[derive(Debug, Default)]
pub struct Metadata {
    header_page: Vec<u8>,
    header_event: Vec<u8>,
    ftrace: Vec<Vec<u8>>,
    systems: BTreeMap<String, Vec<Vec<u8>>>,
    /// The kernel's symbols; none until they are put here.
    pub symbols: KernelSymbols,
    /// The kernel's types; none until they are put here.
    pub types: Vec<u8>,
}

impl Metadata {
    /// Reads the formats of `events` once the buffers have their sizes. The symbols are read apart.
    pub fn read(top: &Instance, events: &BTreeSet<EventName>) -> Result<Self, Error> {
        let mut systems: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for name in events {
            systems.entry(name.system.clone()).or_default().push(top.event_format(name)?);
        }
        Ok(Metadata {
            header_page: file::read(&top.header_page_path())?,
            header_event: file::read(&top.path("events/header_event"))?,
            ftrace: top.ftrace_events()?.iter().map(|name| top.event_format(name)).collect::<Result<_, _>>()?,
            systems,
            symbols: KernelSymbols::default(),
            types: Vec::new(),
        })
    }

    /// Gives the values of probes' fields their names.
    pub fn add_enum_names(&mut self, values: &BTreeMap<EventName, FieldValues>) {
        for (event, fields) in values {
            let line = format!("name: {}\n", event.event);
            let formats = self.systems.get_mut(&event.system).into_iter().flatten();
            formats
                .filter(|text| text.starts_with(line.as_bytes()))
                .for_each(|text| *text = with_enum_names(text, fields));
        }
    }

    /// System and text of every format.
    pub fn formats(&self) -> Vec<(String, Vec<u8>)> {
        let of_ftrace = self.ftrace.iter().map(|text| ("ftrace".to_owned(), text.clone()));
        let others =
            self.systems.iter().flat_map(|(system, texts)| texts.iter().map(|text| (system.clone(), text.clone())));
        of_ftrace.chain(others).collect()
    }

    /// The sections of a file.
    pub fn sections(&self) -> Vec<Section<'static>> {
        let systems = self.systems.iter().map(|(system, formats)| (system.as_str(), formats.as_slice()));
        let symbols = &self.symbols;
        let kallsyms: &[u8] = if symbols.has_addresses() { &symbols.kallsyms } else { &[] };
        let section = |id, payload: Vec<u8>| Section { id, payload: payload.into() };
        let mut sections = vec![
            section(ids::HEADER_INFO, writer::header_info(&self.header_page, &self.header_event)),
            section(ids::FTRACE_EVENTS, writer::ftrace_events(&self.ftrace)),
            section(ids::EVENT_FORMATS, writer::event_formats(systems)),
            section(ids::KALLSYMS, writer::short_text(kallsyms)),
            section(ids::PRINTK, writer::short_text(&symbols.printk)),
        ];
        if !self.types.is_empty() {
            sections.push(section(ids::BTF_FILE, self.types.clone()));
        }
        sections
    }
}

/// The kernel's types, if one of these buffers records arguments of functions: reports name those by them.
pub fn types_for_arguments<'i>(mut instances: impl Iterator<Item = &'i Instance>) -> Vec<u8> {
    let is_on = |instance: &Instance, option| file::read(&instance.path(option)).is_ok_and(|on| on.starts_with(b"1"));
    let recorded = instances.any(|instance| ARGUMENT_OPTIONS.iter().any(|option| is_on(instance, option)));
    // A kernel without types has no names to give either.
    recorded.then(|| std::fs::read("/sys/kernel/btf/vmlinux").ok()).flatten().unwrap_or_default()
}

/// `saved_cmdlines`, the kernel's table of names.
pub fn saved_names(top: &Instance) -> Vec<u8> {
    file::read(&top.path("saved_cmdlines")).unwrap_or_default()
}

/// Lines of `saved_cmdlines` and the names of living threads in one table, one line for each pid.
///
/// The kernel may list a pid twice, once with a name that it no longer means and does not mark; readers differ in which
/// they believe. The name of a living thread decides, else the later line.
pub fn merge_names(saved: &[u8], living: &BTreeMap<i32, Vec<u8>>) -> Vec<u8> {
    let mut names: BTreeMap<i32, &[u8]> = living.iter().map(|(&pid, comm)| (pid, comm.as_slice())).collect();
    let mut seen: BTreeMap<i32, &[u8]> = BTreeMap::new();
    for (pid, comm) in saved.split(|&b| b == b'\n').filter_map(pid_and_comm) {
        let twice = seen.insert(pid, comm).is_some_and(|before| before != comm);
        match living.get(&pid) {
            Some(living) if twice => names.insert(pid, living),
            _ => names.insert(pid, comm),
        };
    }
    let mut text = Vec::new();
    for (pid, comm) in names {
        text.extend(format!("{pid} ").as_bytes());
        text.extend(comm);
        text.push(b'\n');
    }
    text
}

/// The parts of a line of `saved_cmdlines`.
pub fn pid_and_comm(line: &[u8]) -> Option<(i32, &[u8])> {
    let end = line.iter().position(|&b| b == b' ')?;
    Some((std::str::from_utf8(&line[..end]).ok()?.parse().ok()?, &line[end + 1..]))
}

/// Names of all living threads, by `/proc`.
pub fn living_threads() -> BTreeMap<i32, Vec<u8>> {
    let mut names = BTreeMap::new();
    for (pid, tid) in threads::of_all_processes() {
        if let Ok(mut comm) = std::fs::read(format!("/proc/{pid}/task/{tid}/comm")) {
            comm.pop();
            names.insert(tid, comm);
        }
    }
    names
}

/// `sysname nodename release machine`.
pub fn uname() -> String {
    let Ok(name) = nix::sys::utsname::uname() else { return String::new() };
    let parts = [name.sysname(), name.nodename(), name.release(), name.machine()];
    parts.map(|part| part.to_string_lossy().into_owned()).join(" ")
}

/// CPUs the machine is configured for.
pub fn configured_cpus() -> u32 {
    let count = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_CONF).ok().flatten();
    count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1)
}

/// A number that identifies this recording.
pub fn trace_id() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library's only door to the system's randomness.
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_listed_twice_gets_the_name_of_the_living_thread() {
        let living = BTreeMap::from([(7, b"rtrec/0".to_vec()), (8, b"other".to_vec()), (9, b"new".to_vec())]);
        let text = merge_names(b"7 rtrec/0\n5 a b\n7 rtrec\n8 known\n6 x\n6 y\n", &living);
        assert_eq!(text, b"5 a b\n6 y\n7 rtrec/0\n8 known\n9 new\n");
    }
}
