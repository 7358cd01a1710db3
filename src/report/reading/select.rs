//! Which records are printed: by time, CPU, event, task, interrupt state, and filter expressions.
//!
//! Everything that can be decided per event is decided once; a record then costs one table look-up, and only records of
//! events that somebody asked about are looked into. Runs in the merge, in order of time, so that children can be
//! followed and stacks can go the way of the record they belong to.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::input::Input;
use super::lane::Lane;
use super::stream::Wanted;
use crate::decode::Compat;
use crate::decode::meaning::Meaning;
use crate::wire::filter::{Bound, Filter, FilterContext, FilterError, Grammar};
use crate::wire::format::{EventFormat, Field};
use crate::wire::pattern::{Pattern, PatternError};
use crate::wire::record::Record;

/// CPUs whose stacks are followed; numbers beyond this exist only in damaged files.
const MAX_CPUS: usize = 1 << 16;

const FLAG_HARDIRQ: u8 = 0x08;
const FLAG_SOFTIRQ: u8 = 0x10;
const FLAG_NMI: u8 = 0x40;

/// One `-F`.
#[derive(Clone, Debug)]
pub struct FilterArg {
    /// `EVENTS [: EXPR]`.
    pub text: String,
    /// Drops what matches instead of keeping it.
    pub negative: bool,
    /// Index of the only file it is for.
    pub file: Option<usize>,
}

/// What the user wants to see. Conditions of different kinds must all hold.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Filter expressions: one of the positive ones must hold, and none of the negative ones.
    pub filters: Vec<FilterArg>,
    /// Tasks, by number.
    pub pids: Vec<i32>,
    /// Tasks, by globs of their names.
    pub comms: Vec<String>,
    /// Children of these tasks count as well, from their fork on.
    pub follow_children: bool,
    /// CPUs; all if empty.
    pub cpus: Vec<u32>,
    /// Globs of `event` or `system:event`; all if empty.
    pub events: Vec<String>,
    /// Leave out what ran in hard interrupts.
    pub without_hardirq: bool,
    /// Leave out what ran in soft interrupts.
    pub without_softirq: bool,
    /// First time wanted.
    pub from: u64,
}

/// Why a selection was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SelectError {
    /// A filter that cannot be read.
    Filter(String, FilterError),
    /// A filter about events that no file has.
    NoEvent(String),
    /// A glob that cannot be read.
    Pattern(PatternError),
}

impl fmt::Display for SelectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SelectError::Filter(_, error) => write!(f, "{error}"),
            SelectError::NoEvent(text) => write!(f, "{text:?} names no event of the file"),
            SelectError::Pattern(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for SelectError {}

/// What becomes of the records of one event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum EventVerdict {
    /// All are printed, as far as nothing else speaks against it.
    #[default]
    Keep,
    /// None is printed.
    Drop,
    /// Each has to be looked at.
    Ask,
    /// A stack: as the record before it on the same CPU.
    Follow,
}

/// The conditions on the records of one event.
#[derive(Default)]
struct Rule {
    positive: Vec<Bound>,
    negative: Vec<Bound>,
    must_match: bool,
    task_fields: Vec<Field>,
    fork: Option<Fork>,
    /// Only looked at for the sake of forks.
    only_for_forks: bool,
}

/// Which fields of an event name a new task.
struct Fork {
    parent: Option<Field>,
    child: Field,
}

/// The gate that every record passes before it gets a number.
pub struct Gate {
    open: bool,
    from: u64,
    cpus: Option<Vec<bool>>,
    without_flags: u8,
    verdicts: Vec<Vec<EventVerdict>>,
    unlisted: EventVerdict,
    rules: Vec<HashMap<u16, Rule>>,
    /// Per lane and CPU: the last record passed.
    passed: Vec<Vec<bool>>,
    stacks: bool,
    tasks: Option<Tasks>,
}

struct Tasks {
    pids: HashSet<i32>,
    comms: Vec<Pattern>,
    /// Names that were compared, per file and pid; a name is compared again while it is unknown.
    known: HashMap<(usize, i32), bool>,
    follow: bool,
}

impl Tasks {
    fn wants(&mut self, lane: &Lane, pid: i32) -> bool {
        if self.pids.contains(&pid) {
            return true;
        }
        if self.comms.is_empty() {
            return false;
        }
        if let Some(known) = self.known.get(&(lane.file, pid)) {
            return *known;
        }
        let Some(name) = lane.names.known(pid, u64::MAX) else { return false };
        let wanted = self.comms.iter().any(|pattern| pattern.matches(name));
        self.known.insert((lane.file, pid), wanted);
        wanted
    }
}

impl Gate {
    /// Lets everything pass.
    pub fn open() -> Gate {
        Gate {
            open: true,
            from: 0,
            cpus: None,
            without_flags: 0,
            verdicts: Vec::new(),
            unlisted: EventVerdict::Keep,
            rules: Vec::new(),
            passed: Vec::new(),
            stacks: false,
            tasks: None,
        }
    }

    /// Works out what the selection means for each event of each file.
    pub fn new(inputs: &[Input], selection: &Selection, compat: Compat) -> Result<Gate, SelectError> {
        let mut gate = Gate { open: false, from: selection.from, ..Gate::open() };
        if !selection.cpus.is_empty() {
            let most = selection.cpus.iter().max().map_or(0, |cpu| *cpu as usize + 1).min(1 << 20);
            let mut cpus = vec![false; most];
            for cpu in &selection.cpus {
                if let Some(slot) = cpus.get_mut(*cpu as usize) {
                    *slot = true;
                }
            }
            gate.cpus = Some(cpus);
        }
        // An event in a nested interrupt has both flags; so has an NMI its own.
        gate.without_flags = if selection.without_hardirq { FLAG_HARDIRQ | FLAG_NMI } else { 0 }
            | if selection.without_softirq { FLAG_SOFTIRQ } else { 0 };
        let grammar = if compat == Compat::Rtrec { Grammar::C } else { Grammar::LeftToRight };
        let mut filters = Vec::new();
        for arg in &selection.filters {
            let filter =
                Filter::parse(&arg.text, grammar).map_err(|error| SelectError::Filter(arg.text.clone(), error))?;
            filters.push((filter, arg));
        }
        let globs = selection
            .events
            .iter()
            .map(|glob| match glob.split_once(':') {
                Some((system, event)) => Ok((Some(Pattern::glob(system)?), Pattern::glob(event)?)),
                None => Ok((None, Pattern::glob(glob)?)),
            })
            .collect::<Result<Vec<_>, PatternError>>()
            .map_err(SelectError::Pattern)?;
        if !selection.pids.is_empty() || !selection.comms.is_empty() {
            let comms = selection.comms.iter().map(|glob| Pattern::glob(glob)).collect::<Result<_, _>>();
            gate.tasks = Some(Tasks {
                pids: selection.pids.iter().copied().collect(),
                comms: comms.map_err(SelectError::Pattern)?,
                known: HashMap::new(),
                follow: selection.follow_children,
            });
        }
        let positive = selection.filters.iter().any(|arg| !arg.negative);
        if !filters.is_empty() || !globs.is_empty() || gate.tasks.is_some() {
            let mut named = vec![false; filters.len()];
            for (file, input) in inputs.iter().enumerate() {
                gate.file(file, input, &filters, &globs, &mut named);
            }
            if let Some(at) = named.iter().position(|named| !named) {
                return Err(SelectError::NoEvent(filters[at].1.text.clone()));
            }
            gate.unlisted = match (positive || !globs.is_empty(), &gate.tasks) {
                (true, _) => EventVerdict::Drop,
                (false, Some(_)) => EventVerdict::Ask,
                (false, None) => EventVerdict::Keep,
            };
        }
        gate.open = gate.cpus.is_none()
            && gate.without_flags == 0
            && gate.verdicts.is_empty()
            && gate.unlisted == EventVerdict::Keep;
        Ok(gate)
    }

    fn file(
        &mut self,
        file: usize,
        input: &Input,
        filters: &[(Filter, &FilterArg)],
        globs: &[(Option<Pattern>, Pattern)],
        named: &mut [bool],
    ) {
        let mut verdicts = Vec::new();
        let mut rules = HashMap::new();
        let here = |arg: &FilterArg| arg.file.is_none_or(|only| only == file);
        let positive = filters.iter().any(|(_, arg)| !arg.negative && here(arg));
        for event in input.trace.formats.iter() {
            let listed = globs.is_empty()
                || globs.iter().any(|(system, name)| {
                    system.as_ref().is_none_or(|system| system.matches(event.system.as_bytes()))
                        && name.matches(event.name.as_bytes())
                });
            let mut rule = Rule { must_match: positive, ..Rule::default() };
            let mut always = !positive;
            for ((filter, arg), named) in filters.iter().zip(&mut *named) {
                if !here(arg) || !filter.names(event.system, event.name) {
                    continue;
                }
                *named = true;
                let Some(format) = input.trace.formats.get(event.id) else { continue };
                let Some(bound) = filter.bind(format, input.trace.abi) else { continue };
                if arg.negative {
                    rule.negative.push(bound);
                } else {
                    always |= bound.passes_all();
                    rule.positive.push(bound);
                }
            }
            let is_stack = event.system == "ftrace" && matches!(event.name, "kernel_stack" | "user_stack");
            let hopeless = !listed || (rule.must_match && rule.positive.is_empty());
            let mut verdict = if is_stack && (hopeless || self.tasks.is_some()) {
                self.stacks = true;
                EventVerdict::Follow
            } else if hopeless {
                EventVerdict::Drop
            } else if always && rule.negative.is_empty() && self.tasks.is_none() {
                EventVerdict::Keep
            } else {
                EventVerdict::Ask
            };
            if let Some(tasks) = &self.tasks
                && verdict != EventVerdict::Follow
            {
                rule.only_for_forks = verdict == EventVerdict::Drop;
                let format = || input.trace.formats.get(event.id);
                if tasks.follow {
                    rule.fork = format().and_then(fork);
                }
                if verdict == EventVerdict::Drop && rule.fork.is_some() {
                    verdict = EventVerdict::Ask;
                }
                if verdict == EventVerdict::Ask && !rule.only_for_forks {
                    rule.task_fields = format().map(task_fields).unwrap_or_default();
                }
            }
            let id = usize::from(event.id);
            if verdicts.len() <= id {
                verdicts.resize(id + 1, EventVerdict::Drop);
            }
            verdicts[id] = verdict;
            if verdict == EventVerdict::Ask {
                rules.insert(event.id, rule);
            }
        }
        self.verdicts.push(verdicts);
        self.rules.push(rules);
    }

    /// By event id: whose records are never printed and say nothing about others.
    pub(super) fn wants(&self, file: usize) -> Vec<Wanted> {
        let verdicts = if self.open { &[][..] } else { self.verdicts.get(file).map_or(&[][..], Vec::as_slice) };
        let want = |verdict: &EventVerdict| match verdict {
            EventVerdict::Drop => Wanted::No,
            EventVerdict::Follow => Wanted::AsBefore,
            EventVerdict::Keep | EventVerdict::Ask => Wanted::Yes,
        };
        verdicts.iter().map(want).collect()
    }

    /// Everything passes that is not too early.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// First time wanted.
    #[inline]
    pub(super) fn from(&self) -> u64 {
        self.from
    }

    /// Records before `time` have been read.
    pub(super) fn go_on_from(&mut self, time: u64) {
        self.from = self.from.max(time);
    }

    /// Records that are not printed decide about others, whatever their time and CPU.
    pub(super) fn remembers(&self) -> bool {
        self.tasks.as_ref().is_some_and(|tasks| tasks.follow)
    }

    /// Whether records of this CPU may be printed.
    pub(super) fn wants_cpu(&self, cpu: u32) -> bool {
        self.cpus.as_ref().is_none_or(|cpus| cpus.get(cpu as usize).copied().unwrap_or(false))
    }

    /// Forgets the records seen, so that they can be seen again.
    pub(super) fn forget(&mut self) {
        self.passed.clear();
    }

    /// Whether the record is printed. `number` is the lane's.
    #[inline]
    pub(super) fn pass(&mut self, lanes: &[Lane], number: usize, id: u16, time: u64, record: &Record<'_>) -> bool {
        if self.open { time >= self.from } else { self.examine(lanes, number, id, time, record) }
    }

    #[inline]
    fn examine(&mut self, lanes: &[Lane], number: usize, id: u16, time: u64, record: &Record<'_>) -> bool {
        let Some(lane) = lanes.get(number) else { return false };
        let verdict = match self.verdicts.get(lane.file) {
            Some(ids) => ids.get(usize::from(id)).copied().unwrap_or(self.unlisted),
            None => self.unlisted,
        };
        let mut pass = match verdict {
            EventVerdict::Keep => true,
            EventVerdict::Drop => false,
            EventVerdict::Follow => {
                let cpus = self.passed.get(number);
                cpus.and_then(|cpus| cpus.get(record.cpu as usize)).copied().unwrap_or(false)
            }
            EventVerdict::Ask => self.ask(lane, id, record),
        };
        if pass {
            pass = time >= self.from
                && self.wants_cpu(record.cpu)
                && (self.without_flags == 0 || lane.common.flags(record.data) & self.without_flags == 0);
        }
        if self.stacks && verdict != EventVerdict::Follow {
            self.remember(number, record.cpu as usize, pass);
        }
        pass
    }

    /// Stacks that follow go the way of this record.
    fn remember(&mut self, number: usize, cpu: usize, pass: bool) {
        if self.passed.len() <= number {
            self.passed.resize(number + 1, Vec::new());
        }
        let cpus = &mut self.passed[number];
        if cpus.len() <= cpu && cpu < MAX_CPUS {
            cpus.resize(cpu + 1, false);
        }
        if let Some(slot) = cpus.get_mut(cpu) {
            *slot = pass;
        }
    }

    fn ask(&mut self, lane: &Lane, id: u16, record: &Record<'_>) -> bool {
        let rule = self.rules.get(lane.file).and_then(|rules| rules.get(&id));
        let common_pid = lane.common.pid(record.data);
        let mut wanted = true;
        if let Some(tasks) = &mut self.tasks {
            let int = |field: &Field| field.int(record.data, lane.trace.abi).map(|pid| pid as i32);
            if let Some(fork) = rule.and_then(|rule| rule.fork.as_ref()) {
                let parent = fork.parent.as_ref().and_then(int).unwrap_or(common_pid);
                if let Some(child) = int(&fork.child)
                    && tasks.wants(lane, parent)
                {
                    tasks.pids.insert(child);
                }
            }
            let fields = rule.map_or(&[][..], |rule| rule.task_fields.as_slice());
            wanted = tasks.wants(lane, common_pid)
                || fields.iter().any(|field| int(field).is_some_and(|pid| tasks.wants(lane, pid)));
        }
        let Some(rule) = rule else { return wanted };
        let around = LaneContext { lane };
        wanted
            && !rule.only_for_forks
            && (!rule.must_match || rule.positive.iter().any(|bound| bound.test(record, &around)))
            && !rule.negative.iter().any(|bound| bound.test(record, &around))
    }
}

/// Fields that name another task the event is about.
fn task_fields(format: &EventFormat) -> Vec<Field> {
    ["pid", "next_pid"].iter().filter_map(|name| format.field(name).cloned()).collect()
}

fn fork(format: &EventFormat) -> Option<Fork> {
    match Meaning::of(format) {
        Meaning::Born { child, parent, .. } => Some(Fork { parent, child }),
        _ => None,
    }
}

struct LaneContext<'l> {
    lane: &'l Lane,
}

impl FilterContext for LaneContext<'_> {
    fn comm(&self, record: &Record<'_>) -> &[u8] {
        self.lane.names.at(self.lane.common.pid(record.data), u64::MAX)
    }

    fn symbol(&self, address: u64) -> Option<&[u8]> {
        self.lane.trace.kallsyms.lookup(address).map(|symbol| symbol.name)
    }
}

/// The filters as understood, one line per event, as `report -T` prints them.
pub fn describe(inputs: &[Input], selection: &Selection, compat: Compat) -> Result<Vec<String>, SelectError> {
    let grammar = if compat == Compat::Rtrec { Grammar::C } else { Grammar::LeftToRight };
    let mut lines = Vec::new();
    for arg in &selection.filters {
        let filter = Filter::parse(&arg.text, grammar).map_err(|error| SelectError::Filter(arg.text.clone(), error))?;
        for (file, input) in inputs.iter().enumerate() {
            if arg.file.is_some_and(|only| only != file) {
                continue;
            }
            for event in input.trace.formats.iter().filter(|event| filter.names(event.system, event.name)) {
                if let Some(text) = input.trace.formats.get(event.id).and_then(|format| filter.describe(format)) {
                    lines.push(format!("{}: {text}", event.name));
                }
            }
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests;
