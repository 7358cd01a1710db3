//! How long tasks wait from being woken to running (`-w`).
//!
//! Owns: the latency of each switch and the summary at the end. Runs in the merge, because both depend on the order of
//! records; only records that are printed count.

use std::collections::HashMap;
use std::io::{self, Write};

use super::Lane;
use crate::wire::abi::Abi;
use crate::wire::format::{EventFormat, Field};
use crate::wire::record::Record;
use crate::wire::text;

/// Real-time tasks have a priority below this.
const RT_PRIO_END: u32 = 100;

/// What the fields of an event say about waiting.
enum Role {
    Wakeup { pid: Field, success: Option<Field> },
    Switch { pid: Field, prio: Field },
}

impl Role {
    fn find(format: &EventFormat) -> Option<Role> {
        let field = |name: &str| format.field(name).cloned();
        match format.name.as_str() {
            "sched_switch" => Some(Role::Switch { pid: field("next_pid")?, prio: field("next_prio")? }),
            // As in trace-cmd, an event without a priority is another event of that name.
            _ => field("prio").and(Some(Role::Wakeup { pid: field("pid")?, success: field("success") })),
        }
    }
}

/// Latencies so far.
#[derive(Default)]
struct Times {
    count: u64,
    total: u64,
    /// The longest, and when its task began to run.
    longest: (u64, u64),
    /// The shortest, likewise.
    shortest: Option<(u64, u64)>,
}

impl Times {
    fn add(&mut self, latency: u64, time: u64) {
        self.count += 1;
        self.total = self.total.saturating_add(latency);
        if latency > self.longest.0 {
            self.longest = (latency, time);
        }
        if self.shortest.is_none_or(|shortest| latency < shortest.0) {
            self.shortest = Some((latency, time));
        }
    }

    fn print(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\nAverage wakeup latency: ");
        usecs(self.total / self.count.max(1), out);
        out.push(b'\n');
        for (name, (latency, time)) in [("Maximum", self.longest), ("Minimum", self.shortest.unwrap_or_default())] {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b" Latency: ");
            usecs(latency, out);
            let us = time.saturating_add(500) / 1000;
            out.extend_from_slice(b" at timestamp: ");
            text::dec(out, us / 1_000_000);
            out.push(b'.');
            text::dec_zeros(out, us % 1_000_000, 6);
            out.push(b'\n');
        }
    }
}

/// Who was woken and has not run yet, and how long those waited who have.
pub(super) struct Wakeups {
    abi: Abi,
    /// By event id, ascending.
    roles: Vec<(u16, Role)>,
    woken: HashMap<i32, u64>,
    all: Times,
    rt: Times,
}

impl Wakeups {
    /// Nobody has been woken yet.
    pub(super) fn new(lane: &Lane<'_>) -> Wakeups {
        let formats = &lane.trace.formats;
        let ids = ["sched_switch", "sched_wakeup", "sched_wakeup_new"].map(|name| formats.find("sched", name));
        let roles = ids.into_iter().flatten().filter_map(|id| Some((id, Role::find(formats.get(id)?)?)));
        Wakeups {
            abi: lane.trace.abi,
            roles: roles.collect(),
            woken: HashMap::new(),
            all: Times::default(),
            rt: Times::default(),
        }
    }

    /// The events that must be observed.
    pub(super) fn ids(&self) -> impl Iterator<Item = u16> {
        self.roles.iter().map(|role| role.0)
    }

    /// Looks at a record that is printed; how long the task waited that runs from here on, if that is known.
    #[inline]
    pub(super) fn observe(&mut self, id: u16, time: u64, record: &Record<'_>) -> Option<u64> {
        let role = &self.roles.iter().find(|role| role.0 == id)?.1;
        let int = |field: &Field| field.int(record.data, self.abi);
        match role {
            Role::Wakeup { pid, success } => {
                if success.as_ref().is_none_or(|success| int(success) != Some(0)) {
                    self.woken.insert(int(pid)? as i32, time);
                }
                None
            }
            Role::Switch { pid, prio } => {
                let woken = self.woken.remove(&(int(pid)? as i32))?;
                let latency = time.saturating_sub(woken);
                self.all.add(latency, time);
                if int(prio).is_some_and(|prio| (prio as u32) < RT_PRIO_END) {
                    self.rt.add(latency, time);
                }
                Some(latency)
            }
        }
    }

    /// Prints the summary; nothing if nobody waited.
    pub(super) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.all.count == 0 {
            return Ok(());
        }
        let mut text = Vec::new();
        self.all.print(&mut text);
        if self.rt.count > 0 {
            text.extend_from_slice(b"\nRT task timings:\n");
            self.rt.print(&mut text);
        }
        text.push(b'\n');
        out.write_all(&text)
    }
}

/// Appends ` Latency: 12.345 usecs`.
pub(super) fn latency(latency: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b" Latency: ");
    usecs(latency, out);
}

/// Appends `12.345 usecs`.
fn usecs(nanos: u64, out: &mut Vec<u8>) {
    text::dec(out, nanos / 1000);
    out.push(b'.');
    text::dec_zeros(out, nanos % 1000, 3);
    out.extend_from_slice(b" usecs");
}
