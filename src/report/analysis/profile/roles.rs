//! What each event of a file says about who waits for what.

use std::collections::HashMap;

use super::hook::{End, Hook, HookError};
use super::tally::Key;
use crate::decode::meaning::{Meaning, Wake};
use crate::decode::{Compat, Trace};
use crate::wire::abi::Abi;
use crate::wire::bytes::until_nul;
use crate::wire::format::{EventFormat, Field, FieldKind, sign_extend};

/// States of a task by bit, as letters; none of them: it could go on.
const STATES: [u8; 10] = *b"SDTtXZxKWP";
/// The bits that have a letter.
const STATE_BITS: u64 = (1 << STATES.len()) - 1;

/// Soft interrupts by number.
const VECTORS: [&str; 10] =
    ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "BLOCK_IOPOLL", "TASKLET", "SCHED", "HRTIMER", "RCU"];

/// An unsigned number in a record; 0 where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UnsignedField(Option<(u16, u16, Abi)>);

impl UnsignedField {
    fn of(field: &Field, abi: Abi) -> UnsignedField {
        UnsignedField(matches!(field.size, 1 | 2 | 4 | 8).then_some((field.offset, field.size, abi)))
    }

    fn find(format: &EventFormat, name: &str, abi: Abi) -> Option<UnsignedField> {
        UnsignedField::whole(format.field(name)?, abi)
    }

    /// The field, if it is a number.
    fn whole(field: &Field, abi: Abi) -> Option<UnsignedField> {
        matches!(field.kind, FieldKind::Int | FieldKind::Pointer).then(|| UnsignedField::of(field, abi))
    }

    #[inline]
    pub(super) fn get(&self, data: &[u8]) -> u64 {
        let Some((at, size, abi)) = self.0 else { return 0 };
        data.get(usize::from(at)..usize::from(at) + usize::from(size)).and_then(|bytes| abi.uint(bytes)).unwrap_or(0)
    }
}

/// Whom the time between two events is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Task,
    Cpu,
    All,
}

/// The beginning of something, or its end.
#[derive(Clone, Debug)]
pub(super) struct IntervalEdge {
    /// The event that it is counted under.
    pub(super) id: u16,
    /// The field that beginning and end agree in.
    pub(super) key: UnsignedField,
    /// The field with the task.
    pub(super) pid: Option<UnsignedField>,
    pub(super) scope: Scope,
    /// It begins and ends on one CPU.
    pub(super) pinned: bool,
}

/// An event that ends something, then begins something; or one that is counted.
#[derive(Clone, Debug, Default)]
pub(super) struct ProfilePart {
    pub(super) end: Option<IntervalEdge>,
    pub(super) start: Option<IntervalEdge>,
    pub(super) counted: Option<(u16, UnsignedField)>,
}

/// Calls of kernel functions.
#[derive(Clone, Copy, Debug)]
pub(super) enum FunctionField {
    Called { id: u16, at: UnsignedField },
    Entered { id: u16, at: UnsignedField },
    Left { id: u16, at: UnsignedField },
}

impl FunctionField {
    /// The event that it is counted under.
    pub(super) fn id(self) -> u16 {
        match self {
            FunctionField::Called { id, .. } | FunctionField::Entered { id, .. } | FunctionField::Left { id, .. } => id,
        }
    }

    pub(super) fn address(self, data: &[u8]) -> u64 {
        match self {
            FunctionField::Called { at, .. } | FunctionField::Entered { at, .. } | FunctionField::Left { at, .. } => {
                at.get(data)
            }
        }
    }
}

/// Where a stack lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct StackFields {
    at: usize,
    count: Option<UnsignedField>,
    abi: Abi,
}

impl StackFields {
    pub(super) fn read(&self, data: &[u8]) -> Box<[u64]> {
        let bytes = usize::from(self.abi.long_bytes.max(1));
        let most = self.count.map_or(usize::MAX, |count| count.get(data) as usize);
        let callers = data.get(self.at..).unwrap_or(&[]).chunks_exact(bytes).take(most);
        let addresses = callers.map(|caller| self.abi.ulong(caller).unwrap_or(0));
        // A word of all ones ends it in old kernels.
        addresses.take_while(|address| sign_extend(*address, bytes as u32) != u64::MAX).collect()
    }
}

/// Fields of sched_switch.
#[derive(Clone, Debug)]
pub(super) struct SwitchFields {
    id: u16,
    abi: Abi,
    prev: (UnsignedField, Field),
    next: (UnsignedField, Field),
    state: UnsignedField,
    /// What being woken is counted under.
    woken: Option<Key>,
}

/// One switch.
pub(super) struct SwitchRecord<'d> {
    pub(super) prev_pid: i32,
    pub(super) prev_comm: &'d [u8],
    pub(super) next_pid: i32,
    pub(super) next_comm: &'d [u8],
    /// Being away in that state.
    pub(super) key: Key,
    pub(super) woken: Option<Key>,
}

impl SwitchFields {
    pub(super) fn read<'d>(&self, data: &'d [u8]) -> SwitchRecord<'d> {
        let comm = |field: &Field| until_nul(field.bytes(data, self.abi));
        SwitchRecord {
            prev_pid: self.prev.0.get(data) as u32 as i32,
            prev_comm: comm(&self.prev.1),
            next_pid: self.next.0.get(data) as u32 as i32,
            next_comm: comm(&self.next.1),
            key: Key { id: self.id, value: self.state.get(data) & STATE_BITS },
            woken: self.woken,
        }
    }
}

/// Fields of sched_wakeup.
#[derive(Clone, Debug)]
pub(super) struct WakeFields {
    id: u16,
    abi: Abi,
    pid: UnsignedField,
    comm: Field,
}

impl WakeFields {
    pub(super) fn read<'d>(&self, data: &'d [u8]) -> (Key, &'d [u8]) {
        let comm = until_nul(self.comm.bytes(data, self.abi));
        (Key { id: self.id, value: self.pid.get(data) }, comm)
    }
}

/// What an event says.
#[derive(Clone, Debug)]
pub(super) enum Role {
    Stack(StackFields),
    /// Another program, another name; of the task in that field.
    Exec(UnsignedField),
    Call(FunctionField),
    Switch(Box<SwitchFields>),
    Wakeup(Box<WakeFields>),
    Part(Box<ProfilePart>),
}

/// How the values of an event's key are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyFormat {
    State,
    Pid,
    Function,
    Vector,
    Decimal,
    Hex,
}

impl KeyFormat {
    /// Appends a key; functions are written elsewhere.
    pub(super) fn put(self, value: u64, out: &mut Vec<u8>) {
        use crate::wire::text;
        match self {
            KeyFormat::State if value & STATE_BITS == 0 => out.push(b'R'),
            KeyFormat::State => {
                out.extend(STATES.iter().enumerate().filter(|(bit, _)| value >> bit & 1 == 1).map(|(_, c)| c))
            }
            KeyFormat::Vector => match VECTORS.get(usize::try_from(value).unwrap_or(usize::MAX)) {
                Some(name) => out.extend_from_slice(name.as_bytes()),
                None => text::dec(out, value),
            },
            KeyFormat::Decimal => text::dec(out, value),
            KeyFormat::Pid | KeyFormat::Function | KeyFormat::Hex => text::hex0x(out, value),
        }
    }
}

/// The roles of all events of a file.
#[derive(Default)]
pub(super) struct Roles {
    by_id: Vec<Option<Role>>,
    shown: HashMap<u16, KeyFormat>,
    names: HashMap<u16, String>,
}

impl Roles {
    /// Hooks whose events the file lacks are left out.
    pub(super) fn new(trace: &Trace, hooks: &[Hook], global: bool, compat: Compat) -> Result<Roles, HookError> {
        let mut roles = Roles::default();
        for event in trace.formats.iter() {
            let Some(format) = trace.formats.get(event.id) else { continue };
            let role = usual(trace, format, compat);
            let shown = match (event.system, event.name, &role) {
                (.., Role::Switch(_)) => KeyFormat::State,
                (.., Role::Wakeup(_)) => KeyFormat::Pid,
                (.., Role::Call(_)) => KeyFormat::Function,
                _ => KeyFormat::Hex,
            };
            roles.shown.insert(event.id, shown);
            roles.names.insert(event.id, event.name.to_owned());
            roles.set(event.id, role);
        }
        roles.pairs(trace, global);
        for hook in hooks {
            roles.hook(trace, hook)?;
        }
        Ok(roles)
    }

    #[inline]
    pub(super) fn get(&self, id: u16) -> Option<&Role> {
        self.by_id.get(usize::from(id))?.as_ref()
    }

    pub(super) fn shown(&self, id: u16) -> KeyFormat {
        self.shown.get(&id).copied().unwrap_or(KeyFormat::Hex)
    }

    pub(super) fn name(&self, id: u16) -> &str {
        self.names.get(&id).map_or("", String::as_str)
    }

    fn set(&mut self, id: u16, role: Role) {
        let id = usize::from(id);
        if self.by_id.len() <= id {
            self.by_id.resize(id + 1, None);
        }
        self.by_id[id] = Some(role);
    }

    /// The event as something that begins or ends; it is not counted any more.
    fn edge(&mut self, id: u16, change: impl FnOnce(&mut ProfilePart)) {
        let mut part = match self.get(id) {
            Some(Role::Part(part)) => part.clone(),
            _ => Box::default(),
        };
        part.counted = None;
        change(&mut part);
        self.set(id, Role::Part(part));
    }

    /// The pairs that every profile looks for.
    fn pairs(&mut self, trace: &Trace, global: bool) {
        let irq = if global { Scope::Cpu } else { Scope::Task };
        let pairs = [
            ("irq", "irq_handler_entry", "irq_handler_exit", "irq", irq, true, KeyFormat::Hex),
            ("irq", "softirq_entry", "softirq_exit", "vec", irq, true, KeyFormat::Vector),
            ("irq", "softirq_raise", "softirq_entry", "vec", irq, false, KeyFormat::Vector),
            ("raw_syscalls", "sys_enter", "sys_exit", "id", Scope::Task, false, KeyFormat::Decimal),
        ];
        for (system, start, end, field, scope, pinned, shown) in pairs {
            let number = |event: &str| {
                let id = trace.formats.find(system, event)?;
                Some((id, UnsignedField::find(trace.formats.get(id)?, field, trace.abi)?))
            };
            if let (Some((id, key)), Some((end, end_key))) = (number(start), number(end)) {
                self.shown.insert(id, shown);
                self.edge(id, |part| part.start = Some(IntervalEdge { id, key, pid: None, scope, pinned }));
                self.edge(end, |part| part.end = Some(IntervalEdge { id, key: end_key, pid: None, scope, pinned }));
            }
        }
    }

    fn hook(&mut self, trace: &Trace, hook: &Hook) -> Result<(), HookError> {
        let (Some(start), Some(end)) = (find(trace, &hook.start), find(trace, &hook.end)) else { return Ok(()) };
        let number = |format: &EventFormat, field: &str| {
            let missing = || HookError::NoField(format.name.clone(), field.to_owned());
            UnsignedField::find(format, field, trace.abi).ok_or_else(missing)
        };
        let scope = match (hook.has('g'), hook.has('p')) {
            (false, _) => Scope::Task,
            (true, true) => Scope::Cpu,
            (true, false) => Scope::All,
        };
        let pid = hook.pid.as_ref().map(|field| number(start, field)).transpose()?;
        let (key, end_key) = (number(start, &hook.start.field)?, number(end, &hook.end.field)?);
        let (id, pinned) = (start.id, hook.has('p'));
        self.shown.insert(id, KeyFormat::Hex);
        self.edge(id, |part| part.start = Some(IntervalEdge { id, key, pid, scope, pinned }));
        // What ends by a hook begins nothing else.
        self.edge(end.id, |part| {
            *part = ProfilePart {
                end: Some(IntervalEdge { id, key: end_key, pid: None, scope, pinned }),
                ..ProfilePart::default()
            }
        });
        Ok(())
    }
}

/// Whether the file has both events of a hook.
pub(super) fn has(trace: &Trace, hook: &Hook) -> bool {
    find(trace, &hook.start).is_some() && find(trace, &hook.end).is_some()
}

fn find<'t>(trace: &'t Trace, end: &End) -> Option<&'t EventFormat> {
    let fits = |system: &str| end.system.as_deref().is_none_or(|wanted| wanted == system);
    let id = trace.formats.iter().find(|event| event.name == end.event && fits(event.system))?.id;
    trace.formats.get(id)
}

/// What an event says without any pair or hook.
fn usual(trace: &Trace, format: &EventFormat, compat: Compat) -> Role {
    let (abi, id) = (trace.abi, format.id);
    special(trace, format, compat).unwrap_or_else(|| {
        let first = format.fields.first().map(|field| UnsignedField::of(field, abi)).unwrap_or_default();
        Role::Part(Box::new(ProfilePart { counted: Some((id, first)), ..ProfilePart::default() }))
    })
}

/// What an event says that is not just counted.
fn special(trace: &Trace, format: &EventFormat, compat: Compat) -> Option<Role> {
    let (abi, id) = (trace.abi, format.id);
    let sibling = |system: &str, name: &str| trace.formats.find(system, name);
    let number = |field: &Field| UnsignedField::whole(field, abi);
    match Meaning::of(format) {
        Meaning::Stack { kernel: true, callers, size } => {
            // trace-cmd takes whatever lies up to the end of the record.
            let count = if compat == Compat::Rtrec { size.as_ref().and_then(number) } else { None };
            Some(Role::Stack(StackFields { at: callers.offset.into(), count, abi }))
        }
        Meaning::Call { ip } => Some(Role::Call(FunctionField::Called { id, at: number(&ip)? })),
        Meaning::FunctionEntry { func } if format.name == "funcgraph_entry" => {
            Some(Role::Call(FunctionField::Entered { id, at: number(&func)? }))
        }
        Meaning::FunctionExit { func, .. } => {
            Some(Role::Call(FunctionField::Left { id: sibling("ftrace", "funcgraph_entry")?, at: number(&func)? }))
        }
        Meaning::Exec { pid } => number(&pid).map(Role::Exec),
        Meaning::Switch { prev, state, next, comms, .. } => {
            let (prev_comm, next_comm) = *comms?;
            let woken = sibling("sched", "sched_wakeup").map(|id| Key { id, value: 0 });
            let (prev, next) = ((number(&prev)?, prev_comm), (number(&next)?, next_comm));
            Some(Role::Switch(Box::new(SwitchFields { id, abi, prev, next, state: number(&state)?, woken })))
        }
        Meaning::Wake { kind: Wake::Woken, pid, comm, .. } => {
            sibling("sched", "sched_switch")?;
            Some(Role::Wakeup(Box::new(WakeFields { id, abi, pid: number(&pid)?, comm: comm? })))
        }
        _ => None,
    }
}
