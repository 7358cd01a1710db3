//! Where tasks spend their time, instead of records (`report --profile`).
//!
//! Owns: who waits for what, found from pairs of events and added up per task. Does not own: which events make a pair
//! (see `roles`), the drawing (see `print` and `stacks`), selection and order (see `report::reading`).
//!
//! ```text
//!   sched_switch -----------------> sched_wakeup --> sched_switch        a task sleeps, is woken, runs
//!   softirq_raise --> softirq_entry --> softirq_exit                     an interrupt is asked for, then handled
//!   start,key -------------------------> end,key                         what the reader hooks together
//! ```
//!
//! Everything else is counted. A stack that follows on the record's task belongs to what the record began or counted.
//! Starts that were never ended are not shown, and of several open ones an end ends the last. After events were lost,
//! what began before is forgotten, on that CPU or, if it may end on another, on all.
//!
//! | file | what is inside |
//! | --- | --- |
//! | `mod.rs` | the analysis: who waits for what, by task |
//! | `roles`, `hook` | what each event says about waiting; pairs that the reader names |
//! | `tally`, `stacks` | how often and how long; stacks that share their beginnings |
//! | `print` | it as text |
//!
//! Imported by `cli`, and by `report::text` (for the list of hooks). The next pair of events: in `roles`.

mod hook;
mod print;
mod roles;
mod stacks;
mod tally;

use std::collections::{BTreeMap, HashMap};

pub use hook::{Hook, HookError};

use super::interface::{Analysis, AnalysisError, Findings};
use crate::decode::Compat;
use crate::report::reading::Take;
use crate::report::reading::input::Input;
use crate::report::reading::record::{Loss, Opened, Record};
use roles::{FunctionField, ProfilePart, Role, Roles, Scope};
use tally::{Key, Tally};

/// Starts of one event and key that wait for their end; more are older than any end that will come.
const MAX_OPEN: usize = 4096;

/// What of it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ProfileSettings {
    /// Interrupts belong to their CPU, not to the task they happened to interrupt.
    pub global: bool,
    /// Tasks of one name are shown as one.
    pub by_comm: bool,
    /// More pairs of events.
    pub hooks: Vec<Hook>,
}

/// Callers, and when the stack was taken.
struct Stack {
    time: u64,
    callers: Box<[u64]>,
}

/// Where and when a record was written.
#[derive(Clone, Copy)]
struct RecordTime {
    time: u64,
    stream: u32,
    /// Losses of the stream up to here.
    losses: u32,
    /// Losses of all streams up to here.
    all_losses: u32,
}

/// Something that has begun.
struct OpenInterval {
    at: RecordTime,
    /// It ends on the same CPU.
    pinned: bool,
    record_number: u64,
    stack: Option<Stack>,
}

/// What the next stack of a task belongs to.
#[derive(Clone, Copy, Default)]
enum StackOwner {
    #[default]
    Nothing,
    /// A record that was only counted.
    Counted(Key),
    /// Something that began, perhaps with another task.
    Begun(Subject, Key, u64),
    /// Something that ended after so long.
    Ended(Key, u64),
}

/// Whom time is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Subject {
    All,
    Cpu(u32),
    Task(i32),
}

/// What is known of a task or a CPU.
#[derive(Default)]
struct SubjectState {
    /// The name that events of the scheduler gave it since it last changed.
    comm: Option<Vec<u8>>,
    tallies: BTreeMap<Key, Tally>,
    open: HashMap<Key, Vec<OpenInterval>>,
    /// Times it left its CPU and has not come back.
    switched_out: Vec<(Key, OpenInterval)>,
    /// It left its CPU to sleep, and nobody has woken it yet.
    sleeps: bool,
    last: StackOwner,
    /// A stack that came before its call.
    stack_before_call: Option<Stack>,
}

/// The profile of one file.
#[derive(Default)]
struct FileProfile {
    roles: Roles,
    times: FileTimes,
}

/// Who waited for what in one file, and how long.
#[derive(Default)]
struct FileTimes {
    owners: BTreeMap<Subject, SubjectState>,
    record_number: u64,
    /// How often each stream lost something.
    losses: Vec<u32>,
    all_losses: u32,
}

/// The profiles of all files.
pub struct Profiler {
    settings: ProfileSettings,
    compat: Compat,
    files: Vec<FileProfile>,
}

impl Profiler {
    /// Nothing was seen yet.
    pub fn new(settings: ProfileSettings, compat: Compat) -> Profiler {
        Profiler { settings, compat, files: Vec::new() }
    }
}

impl Take for Profiler {
    #[inline]
    fn take(&mut self, record: &Record<'_>) {
        let Some(file) = self.files.get_mut(record.lane.file) else { return };
        let FileProfile { roles, times } = file;
        let (stream, all_losses) = (record.stream, times.all_losses);
        let losses = times.losses.get(stream as usize).copied().unwrap_or(0);
        times.take(roles, record, RecordTime { time: record.time(), stream, losses, all_losses });
    }

    fn lost(&mut self, loss: &Loss<'_>) {
        let Some(FileProfile { times, .. }) = self.files.get_mut(loss.lane.file) else { return };
        let stream = loss.stream as usize;
        if times.losses.len() <= stream {
            times.losses.resize(stream + 1, 0);
        }
        times.losses[stream] += 1;
        times.all_losses += 1;
    }
}

impl Analysis for Profiler {
    /// Fails if a hook names a field that its event does not have.
    fn begin(&mut self, opened: Opened<'_>) -> Result<(), AnalysisError> {
        for hook in &self.settings.hooks {
            if !opened.inputs.iter().any(|input| roles::has(&input.trace, hook)) {
                let events = format!("{} and {}", hook.start.event, hook.end.event);
                return Err(Box::new(HookError::NoEvent(events)));
            }
        }
        for input in opened.inputs {
            let hooks = all_hooks(input, &self.settings.hooks);
            let roles = Roles::new(&input.trace, &hooks, self.settings.global, self.compat)?;
            self.files.push(FileProfile { roles, ..FileProfile::default() });
        }
        Ok(())
    }

    /// The hooks, as trace-cmd prints them.
    fn above(&self, opened: Opened<'_>, out: &mut Vec<u8>) {
        if self.compat != Compat::Rtrec {
            list_hooks(opened.inputs, &self.settings.hooks, out);
        }
    }

    fn finish<'f>(&'f mut self, opened: Opened<'f>) -> Box<dyn Findings + 'f> {
        let mut pages = Vec::new();
        for (number, file) in self.files.iter_mut().enumerate() {
            let (Some(lane), Some(input)) = (opened.lane_of(number), opened.inputs.get(number)) else { continue };
            let owners = std::mem::take(&mut file.times.owners);
            let name = (opened.inputs.len() > 1).then_some(input.name.as_str());
            pages.push(print::ProfilePrinter::new(name, lane, &file.roles, owners, self.settings.by_comm));
        }
        Box::new(print::ProfilePrinters(pages))
    }
}

/// Appends the hooks that apply, as trace-cmd prints them.
pub(in crate::report) fn list_hooks(inputs: &[Input], asked: &[Hook], out: &mut Vec<u8>) {
    for (number, input) in inputs.iter().enumerate() {
        let asked = if number == 0 { asked } else { &[] };
        for hook in all_hooks(input, asked) {
            out.extend_from_slice(hook.line().as_bytes());
        }
    }
}

/// The hooks asked for, then those of the recording.
fn all_hooks(input: &Input, asked: &[Hook]) -> Vec<Hook> {
    let stored = input.dat.options.hooks.iter().filter_map(|text| {
        let text = String::from_utf8_lossy(crate::wire::bytes::until_nul(text)).into_owned();
        Hook::parse(&text).ok()
    });
    asked.iter().cloned().chain(stored).collect()
}

impl FileTimes {
    fn task(&mut self, pid: i32) -> &mut SubjectState {
        self.owners.entry(Subject::Task(pid)).or_default()
    }

    fn take(&mut self, roles: &Roles, record: &Record<'_>, at: RecordTime) {
        let (id, pid, data) = (record.id(), record.pid(), record.bytes.data);
        let Some(role) = roles.get(id) else {
            self.task(pid).last = StackOwner::Nothing;
            return;
        };
        match role {
            Role::Stack(places) => {
                let stack = Stack { time: record.time(), callers: places.read(data) };
                self.stack(pid, stack);
            }
            Role::Exec(field) => {
                let renamed = field.get(data) as u32 as i32;
                self.task(pid);
                self.task(renamed).comm = None;
            }
            Role::Call(call) => {
                let (call, key) = (*call, Key { id: call.id(), value: call.address(data) });
                self.call(call, key, pid, at);
            }
            Role::Switch(fields) => {
                let seen = fields.read(data);
                self.switch(&seen, pid, at);
            }
            Role::Wakeup(fields) => {
                let (key, comm) = fields.read(data);
                self.wakeup(key, comm, pid, at);
            }
            Role::Part(part) => self.part(part, pid, record, at),
        }
    }

    /// A stack belongs to the record before it on its task; before a call it waits for that.
    fn stack(&mut self, pid: i32, stack: Stack) {
        let owner = self.task(pid);
        match std::mem::take(&mut owner.last) {
            StackOwner::Nothing => owner.stack_before_call = Some(stack),
            StackOwner::Counted(key) => {
                if let Some(tally) = owner.tallies.get_mut(&key) {
                    tally.stack(&stack.callers, 0, stack.time);
                }
            }
            StackOwner::Ended(key, delta) => {
                if let Some(tally) = owner.tallies.get_mut(&key) {
                    tally.stack(&stack.callers, delta, stack.time);
                }
            }
            StackOwner::Begun(whose, key, record_number) => {
                let Some(owner) = self.owners.get_mut(&whose) else { return };
                let away = owner.switched_out.iter_mut().rev().map(|(_, start)| start);
                let open = owner.open.get_mut(&key).into_iter().flat_map(|starts| starts.iter_mut().rev());
                if let Some(start) = away.chain(open).find(|start| start.record_number == record_number) {
                    start.stack = Some(stack);
                }
            }
        }
    }

    fn begin(&mut self, whose: Subject, key: Key, at: RecordTime, pinned: bool, stack: Option<Stack>) -> StackOwner {
        self.record_number += 1;
        let starts = self.owners.entry(whose).or_default().open.entry(key).or_default();
        if starts.len() < MAX_OPEN {
            starts.push(OpenInterval { at, pinned, record_number: self.record_number, stack });
        }
        StackOwner::Begun(whose, key, self.record_number)
    }

    /// Ends what began last; `None` if nothing did.
    fn end(&mut self, whose: Subject, key: Key, at: RecordTime) -> Option<StackOwner> {
        let owner = self.owners.get_mut(&whose)?;
        let starts = owner.open.get_mut(&key)?;
        let start = std::iter::from_fn(|| starts.pop()).find(|start| start.is_whole(&self.losses, self.all_losses))?;
        Some(owner.finish(key, start, at.time, matches!(whose, Subject::Task(_))))
    }

    fn call(&mut self, call: FunctionField, key: Key, pid: i32, at: RecordTime) {
        let stack_before_call = self.task(pid).stack_before_call.take();
        let last = match call {
            FunctionField::Called { .. } => {
                let owner = self.task(pid);
                owner.tallies.entry(key).or_default().count();
                StackOwner::Counted(key)
            }
            FunctionField::Entered { .. } => {
                self.begin(Subject::Task(pid), key, at, false, stack_before_call);
                StackOwner::Nothing
            }
            FunctionField::Left { .. } => {
                self.end(Subject::Task(pid), key, at);
                StackOwner::Nothing
            }
        };
        self.task(pid).last = last;
    }

    fn switch(&mut self, seen: &roles::SwitchRecord<'_>, pid: i32, at: RecordTime) {
        let next = self.task(seen.next_pid);
        next.learn(seen.next_comm);
        if let Some(woken) = seen.woken {
            self.end(Subject::Task(seen.next_pid), woken.with(seen.next_pid as u32), at);
        }
        self.back(seen.next_pid, at);
        self.record_number += 1;
        let record_number = self.record_number;
        let prev = self.task(seen.prev_pid);
        prev.learn(seen.prev_comm);
        prev.sleeps = seen.key.value != 0;
        if prev.switched_out.len() < MAX_OPEN {
            prev.switched_out.push((seen.key, OpenInterval { at, pinned: false, record_number, stack: None }));
        }
        let owner = self.task(pid);
        owner.stack_before_call = None;
        owner.last = StackOwner::Begun(Subject::Task(seen.prev_pid), seen.key, record_number);
    }

    /// A task is awake or running after it was away.
    fn back(&mut self, pid: i32, at: RecordTime) {
        let Some(owner) = self.owners.get_mut(&Subject::Task(pid)) else { return };
        let away = std::iter::from_fn(|| owner.switched_out.pop())
            .find(|(_, start)| start.is_whole(&self.losses, self.all_losses));
        if let Some((key, start)) = away {
            owner.finish(key, start, at.time, true);
        }
    }

    fn wakeup(&mut self, key: Key, comm: &[u8], pid: i32, at: RecordTime) {
        let task = key.value as u32 as i32;
        let owner = self.task(task);
        owner.learn(comm);
        let mut last = StackOwner::Nothing;
        if std::mem::take(&mut owner.sleeps) {
            self.back(task, at);
            last = self.begin(Subject::Task(task), key, at, false, None);
        }
        let waker = self.task(pid);
        waker.stack_before_call = None;
        waker.last = last;
    }

    fn part(&mut self, part: &ProfilePart, pid: i32, record: &Record<'_>, at: RecordTime) {
        let data = record.bytes.data;
        let whose = |scope: Scope, task: i32| match scope {
            Scope::Task => Subject::Task(task),
            Scope::Cpu => Subject::Cpu(record.cpu()),
            Scope::All => Subject::All,
        };
        self.task(pid).stack_before_call = None;
        let mut last = StackOwner::Nothing;
        if let Some(end) = &part.end {
            let key = Key { id: end.id, value: end.key.get(data) };
            last = self.end(whose(end.scope, pid), key, at).unwrap_or_default();
        }
        if let Some(start) = &part.start {
            let key = Key { id: start.id, value: start.key.get(data) };
            let task = start.pid.as_ref().map_or(pid, |field| field.get(data) as u32 as i32);
            last = self.begin(whose(start.scope, task), key, at, start.pinned, None);
            if start.scope != Scope::Task {
                last = StackOwner::Nothing;
            }
        }
        if let Some(counted) = &part.counted {
            let key = Key { id: counted.0, value: counted.1.get(data) };
            self.task(pid).tallies.entry(key).or_default().count();
            last = StackOwner::Counted(key);
        }
        self.task(pid).last = last;
    }
}

impl OpenInterval {
    /// Nothing was lost since.
    fn is_whole(&self, losses: &[u32], all_losses: u32) -> bool {
        match self.pinned {
            true => losses.get(self.at.stream as usize).copied().unwrap_or(0) == self.at.losses,
            false => all_losses == self.at.all_losses,
        }
    }
}

impl SubjectState {
    /// The first name counts.
    fn learn(&mut self, comm: &[u8]) {
        if self.comm.is_none() {
            self.comm = Some(comm.to_vec());
        }
    }

    fn finish(&mut self, key: Key, start: OpenInterval, time: u64, with_stack: bool) -> StackOwner {
        let delta = time.saturating_sub(start.at.time);
        let tally = self.tallies.entry(key).or_default();
        tally.time(delta, time);
        if with_stack && let Some(stack) = start.stack {
            tally.stack(&stack.callers, delta, stack.time);
        }
        if with_stack { StackOwner::Ended(key, delta) } else { StackOwner::Nothing }
    }
}
