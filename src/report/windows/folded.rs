//! Stacks inside slow windows with their time in microseconds, one a line, as flame graphs are made of.
//!
//! On-CPU time comes from samples, one period each. Off-CPU time, until the thread runs again, goes to the kernel's stack
//! at the switch-out.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::lines::{self, samples_of};
use super::{FoldedTime, Page, Shown};

pub(super) fn print(page: &Page<'_, '_>, shown: &[Shown], out: &mut dyn Write) -> io::Result<()> {
    let mut times: BTreeMap<String, u64> = BTreeMap::new();
    for one in shown {
        let comm = page.comm(one.window.tid, one.window.end);
        if page.settings.folded != FoldedTime::OffCpu
            && let Some(samples) = page.samples
        {
            for sample in samples_of(samples, &one.window) {
                let stack = std::iter::once(comm.as_str()).chain(lines::names(samples, sample.stack));
                *times.entry(joined(stack)).or_default() += samples.period_ns;
            }
        }
        if page.settings.folded != FoldedTime::OnCpu {
            off_cpu(page, one, &comm, &mut times);
        }
    }
    for (stack, ns) in times {
        let us = (ns + 500) / 1000;
        if us > 0 {
            writeln!(out, "{stack} {us}")?;
        }
    }
    Ok(())
}

fn off_cpu(page: &Page<'_, '_>, shown: &Shown, comm: &str, times: &mut BTreeMap<String, u64>) {
    let mut away: Option<(u64, String)> = None;
    for line in lines::lines(page, shown, false) {
        if let Some(state) = line.step.strip_prefix("out ") {
            let kernel = line.stack.iter().rev().map(String::as_str);
            let last = if state.starts_with('R') { "[preempted]" } else { "[blocked]" };
            let stack = std::iter::once(comm).chain(kernel).chain([last]);
            away = Some((line.offset, joined(stack)));
        } else if line.step != "woken"
            && line.step != "stack"
            && let Some((since, stack)) = away.take()
        {
            *times.entry(stack).or_default() += line.offset.saturating_sub(since);
        }
    }
}

/// A semicolon or a blank in a name would be taken for our own.
fn joined<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.map(|name| name.replace([';', '\n'], ":")).collect::<Vec<_>>().join(";")
}
