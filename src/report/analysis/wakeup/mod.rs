//! How long tasks wait from being woken to running (`report -w`).
//!
//! Owns: the latency of each switch and the summary at the end. Only records that are reported count, and only those of the
//! first file: pids of several have nothing to do with each other.
//!
//! All is in this file. Imported by `report::text`, which prints it beside the records. The next way to wake a task: a meaning
//! (`decode::meaning`), and what it says about waiting here.

use std::collections::HashMap;
use std::io::{self, Write};

use super::interface::{Analysis, AnalysisError, Findings, Wants};
use crate::decode::meaning::Meaning;
use crate::report::reading::Take;
use crate::report::reading::batch::{Batch, Walk};
use crate::report::reading::record::{Opened, Record};
use crate::wire::format::Field;
use crate::wire::text;

/// Real-time tasks have a priority below this.
const RT_PRIO_END: u32 = 100;

/// The events that tell of waiting.
const EVENTS: [&str; 3] = ["sched_switch", "sched_wakeup", "sched_wakeup_new"];

/// What the fields of an event say about waiting.
#[derive(Debug)]
enum Role {
    Wakeup { pid: Field, success: Option<Field> },
    Switch { pid: Field, prio: Field },
}

impl Role {
    fn of(meaning: Meaning) -> Option<Role> {
        match meaning {
            Meaning::Switch { next, next_prio, .. } => Some(Role::Switch { pid: next, prio: next_prio? }),
            // As in trace-cmd, an event without a priority is another event of that name.
            Meaning::Wake { pid, prio, success, .. } => prio.and(Some(Role::Wakeup { pid, success })),
            _ => None,
        }
    }
}

/// Latencies so far.
#[derive(Debug, Default)]
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
        text::micros(out, self.total / self.count.max(1));
        out.extend_from_slice(b" usecs\n");
        for (name, (latency, time)) in [("Maximum", self.longest), ("Minimum", self.shortest.unwrap_or_default())] {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b" Latency: ");
            text::micros(out, latency);
            let us = time.saturating_add(500) / 1000;
            out.extend_from_slice(b" usecs at timestamp: ");
            text::dec(out, us / 1_000_000);
            out.push(b'.');
            text::dec_zeros(out, us % 1_000_000, 6);
            out.push(b'\n');
        }
    }
}

/// Who was woken and has not run yet, and how long those waited who have.
#[derive(Debug, Default)]
pub struct Wakeups {
    /// By event id.
    roles: Vec<(u16, Role)>,
    woken: HashMap<i32, u64>,
    all: Times,
    rt: Times,
}

impl Wakeups {
    /// How long the task waited that runs from this record on, if that is known.
    #[inline]
    fn observe(&mut self, record: &Record<'_>) -> Option<u64> {
        let id = record.id();
        let role = &self.roles.iter().find(|role| role.0 == id)?.1;
        let (abi, time) = (record.lane.trace.abi, record.time());
        let int = |field: &Field| field.int(record.bytes.data, abi);
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

    /// Notes at each switch of a batch how long its next task waited.
    pub(in crate::report) fn note(&mut self, batch: &mut Batch, opened: Opened<'_>) {
        let mut noting = Noting { wakeups: self, at: 0, waits: Vec::new() };
        batch.walk(opened, true, &mut noting);
        batch.waits = noting.waits;
    }
}

/// Looks at the records of one batch.
struct Noting<'w> {
    wakeups: &'w mut Wakeups,
    /// Index of the next record.
    at: u32,
    waits: Vec<(u32, u64)>,
}

impl Walk for Noting<'_> {
    fn record(&mut self, record: &Record<'_>) {
        let wait = self.wakeups.observe(record);
        self.waits.extend(wait.map(|wait| (self.at, wait)));
        self.at += 1;
    }
}

impl Take for Wakeups {
    fn take(&mut self, record: &Record<'_>) {
        self.observe(record);
    }
}

impl Analysis for Wakeups {
    fn wants(&self) -> Wants {
        Wants::of("sched", &EVENTS)
    }

    fn begin(&mut self, opened: Opened<'_>) -> Result<(), AnalysisError> {
        let Some(formats) = opened.lanes.first().map(|lane| &lane.trace.formats) else { return Ok(()) };
        let ids = EVENTS.map(|event| formats.find("sched", event));
        let role = |id| Some((id, Role::of(Meaning::of(formats.get(id)?))?));
        self.roles = ids.into_iter().flatten().filter_map(role).collect();
        Ok(())
    }

    fn finish<'f>(&'f mut self, _: Opened<'f>) -> Box<dyn Findings + 'f> {
        Box::new(&*self)
    }
}

impl Findings for &Wakeups {
    /// Nothing if nobody waited.
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
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
