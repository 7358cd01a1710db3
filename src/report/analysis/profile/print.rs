//! A profile as text: what belongs to no task, then tasks by number, each with its events.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::roles::{KeyFormat, Roles};
use super::stacks::stamp;
use super::tally::{Key, Tally, TimeStats};
use super::{Subject, SubjectState};
use crate::report::analysis::interface::Findings;
use crate::report::reading::lane::Lane;
use crate::wire::tables::Kallsyms;
use crate::wire::text;

type Tallies = BTreeMap<Key, Tally>;

/// The profiles of all files.
pub(super) struct ProfilePrinters<'f>(pub(super) Vec<ProfilePrinter<'f>>);

impl Findings for ProfilePrinters<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.iter().try_for_each(|page| page.print(out))
    }
}

/// The profile of one file.
pub(super) struct ProfilePrinter<'f> {
    /// Where there are several.
    name: Option<&'f str>,
    kallsyms: &'f Kallsyms,
    roles: &'f Roles,
    /// What stands above each section, and what is in it.
    sections: Vec<(Vec<u8>, Tallies)>,
}

impl<'f> ProfilePrinter<'f> {
    /// What belongs to no task, then groups by name, then tasks by number.
    pub(super) fn new(
        name: Option<&'f str>,
        lane: &'f Lane,
        roles: &'f Roles,
        owners: BTreeMap<Subject, SubjectState>,
        by_comm: bool,
    ) -> ProfilePrinter<'f> {
        let mut page = ProfilePrinter { name, kallsyms: &lane.trace.kallsyms, roles, sections: Vec::new() };
        let mut groups: BTreeMap<Vec<u8>, Tallies> = BTreeMap::new();
        let mut tasks: Vec<(Vec<u8>, Tallies)> = Vec::new();
        for (whose, owner) in owners {
            match (whose, owner.comm) {
                (Subject::All, _) => page.add_global("Global Events\n".to_owned(), owner.tallies),
                (Subject::Cpu(cpu), _) => page.add_global(format!("Global CPU[{cpu}] Events\n"), owner.tallies),
                (Subject::Task(_), Some(comm)) if by_comm => {
                    page.join(groups.entry(comm).or_default(), owner.tallies);
                }
                (Subject::Task(pid), comm) => {
                    let comm = comm.as_deref().unwrap_or_else(|| lane.names.at(pid, 0));
                    tasks.push(([b"\ntask: ", comm, format!("-{pid}\n").as_bytes()].concat(), owner.tallies));
                }
            }
        }
        let groups = groups.into_iter().map(|(comm, tallies)| ([b"\ngroup: ", &*comm, b"\n"].concat(), tallies));
        page.sections.extend(groups.chain(tasks));
        page
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(name) = self.name {
            write!(out, "\n{name}:\n")?;
        }
        self.sections.iter().try_for_each(|(head, tallies)| self.section(head, tallies, out))
    }

    fn add_global(&mut self, head: String, tallies: Tallies) {
        if !tallies.is_empty() {
            self.sections.push((head.into_bytes(), tallies));
        }
    }

    /// Adds a task to its group, in which it is no matter who was woken.
    fn join(&self, group: &mut Tallies, tallies: Tallies) {
        for (key, tally) in tallies {
            let woken = self.roles.shown(key.id) == KeyFormat::Pid;
            group.entry(if woken { key.with(0) } else { key }).or_default().merge(tally);
        }
    }

    fn section(&self, head: &[u8], tallies: &Tallies, out: &mut dyn Write) -> io::Result<()> {
        let mut text = head.to_vec();
        let mut order: Vec<(&Key, &Tally)> = tallies.iter().collect();
        order.sort_by_key(|(key, tally)| self.rank(**key, tally));
        for (key, tally) in order {
            self.event(*key, tally, &mut text);
        }
        out.write_all(&text)
    }

    /// Sleeping and waking come first; the values of an event by time, those of sleeping by state.
    fn rank(&self, key: Key, tally: &Tally) -> (u8, u16, u64, u64) {
        match self.roles.shown(key.id) {
            KeyFormat::State => (0, key.id, 0, key.value),
            KeyFormat::Pid => (1, key.id, 0, key.value),
            _ => (2, key.id, u64::MAX - tally.times.total, key.value),
        }
    }

    fn event(&self, key: Key, tally: &Tally, out: &mut Vec<u8>) {
        out.extend_from_slice(b"  Event: ");
        let shown = self.roles.shown(key.id);
        if shown == KeyFormat::Function {
            out.extend_from_slice(b"func: ");
            if self.kallsyms.put(key.value, false, out) {
                out.extend_from_slice(b"()");
            } else {
                text::hex0x(out, key.value);
            }
        } else {
            out.extend_from_slice(self.roles.name(key.id).as_bytes());
            out.push(b':');
            shown.put(key.value, out);
        }
        out.extend_from_slice(b" (");
        text::dec(out, tally.times.count);
        out.push(b')');
        if tally.times.total > 0 {
            tally.times.put(out);
        }
        out.push(b'\n');
        tally.stacks.draw(self.kallsyms, out);
    }
}

impl TimeStats {
    /// ` Total: 900 Avg: 450 Max: 700(ts:1.000001) Min:200(ts:1.000000)`
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b" Total: ");
        text::dec(out, self.total);
        out.extend_from_slice(b" Avg: ");
        text::dec(out, self.average());
        let ends = [(&b" Max: "[..], self.longest), (b" Min:", self.shortest.unwrap_or_default())];
        for (name, (delta, at)) in ends {
            out.extend_from_slice(name);
            text::dec(out, delta);
            stamp(at, out);
        }
    }
}
