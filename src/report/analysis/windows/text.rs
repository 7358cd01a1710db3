//! Windows for people: a summary, figures by kind, and the time line of each slow window.

use std::collections::HashMap;
use std::io::{self, Write};

use super::lines::{self, Line, ms, samples_of};
use super::page::{ShownWindow, WindowsReport};
use super::table;

pub(super) fn print(page: &WindowsReport<'_>, out: &mut dyn Write) -> io::Result<()> {
    if let Some(name) = page.file {
        writeln!(out, "\n{name}:")?;
    }
    summary(page, out)?;
    table::print(page, out)?;
    for (number, shown) in page.shown.iter().chain(&page.open).enumerate() {
        one(page, number + 1, shown, out)?;
    }
    unrecorded(page, out)
}

/// Slow windows of which nothing but their times is known.
fn unrecorded(page: &WindowsReport<'_>, out: &mut dyn Write) -> io::Result<()> {
    let windows = page.unrecorded();
    if !windows.is_empty() {
        writeln!(out, "\nslow windows that had been overwritten before a snapshot could be taken of them:")?;
    }
    for window in windows {
        let (comm, kind) = (page.comm(window.tid, window.end), page.kind(window.definition));
        let begins = format!("{}.{:06}", window.start / 1_000_000_000, window.start % 1_000_000_000 / 1000);
        writeln!(out, "  tid {} {comm}  {kind}  {} ms, begins at {begins}", window.tid, ms(window.end - window.start))?;
    }
    Ok(())
}

/// `windows: 12 closed, 2 over 20.000 ms, 0 open, 0 with lost events`
fn summary(page: &WindowsReport<'_>, out: &mut dyn Write) -> io::Result<()> {
    let (closed, open) = (&page.found.closed, &page.open);
    let lossy =
        closed.iter().filter(|closed| closed.lost > 0).count() + open.iter().filter(|one| one.window.lost > 0).count();
    let counts = page.engine.counts();
    let kept = page.only_slow();
    let all = kept.map_or(closed.len() as u64, |kept| {
        kept.kinds.values().fold(0_u64, |all, tally| all.saturating_add(tally.closed))
    });
    let slow = closed.iter().filter(|closed| closed.slow).count();
    let over = match page.settings.min_ns {
        Some(min) => format!("{} ms", ms(min)),
        None => limits(page),
    };
    let open = kept.map_or(open.len() as u64, |kept| kept.open);
    let kernel = kept.and_then(|kept| kept.in_kernel.as_ref());
    let open_too = if kernel.is_some() { " or begun anew" } else { "" };
    write!(out, "windows: {all} closed, {slow} over {over}, {open} open{open_too}, {lossy} with lost events")?;
    let (stray, restarts, discarded) = match kept {
        Some(kept) => (kept.stray_stops, kept.restarts, kept.discarded),
        None => (counts.stray_stops, counts.restarts, counts.discarded),
    };
    for (count, what) in [
        (stray, "stops without a start"),
        (restarts, "begun anew"),
        (discarded, "discarded at the thread's end"),
        (kept.map_or(0, |kept| kept.lost), "records lost in the kernel"),
        (kept.map_or(0, |kept| kept.dropped), "records dropped for want of room"),
        (page.samples.map_or(0, |samples| samples.lost), "records of perf lost"),
        (page.samples.map_or(0, |samples| samples.forgotten), "samples dropped for want of room"),
        (page.unrecorded().len() as u64, "more slow without records"),
        (kernel.map_or(0, |kernel| kernel.unseen), "events without room in the kernel's tables"),
        (kernel.map_or(0, |kernel| kernel.emptied), "times the kernel's tables were full and emptied"),
    ] {
        if count > 0 {
            write!(out, ", {count} {what}")?;
        }
    }
    writeln!(out)
}

/// The thresholds of what was found slow, if they are one.
fn limits(page: &WindowsReport<'_>) -> String {
    let mut all: Vec<u64> = page
        .session
        .definitions
        .iter()
        .map(|definition| match &definition.threshold {
            crate::windows::Threshold::Fixed(ns) => *ns,
            _ => page.session.threshold_ns,
        })
        .collect();
    // Each marker may bring a threshold.
    let thresholds_vary = page.session.definitions.iter().any(|definition| {
        use crate::windows::{Threshold, WindowSource};
        matches!(definition.source, WindowSource::Marker | WindowSource::Magic)
            || matches!(definition.threshold, Threshold::Field { .. })
    });
    all.sort_unstable();
    all.dedup();
    match all[..] {
        [one] if !thresholds_vary => format!("{} ms", ms(one)),
        _ => "their threshold".to_owned(),
    }
}

fn one(page: &WindowsReport<'_>, number: usize, shown: &ShownWindow, out: &mut dyn Write) -> io::Result<()> {
    let window = &shown.window;
    let comm = page.comm(window.tid, window.end);
    write!(out, "\nwindow {number}  tid {} {comm}  {}", window.tid, page.kind(window.definition))?;
    if let Some(label) = &window.label {
        write!(out, "  {label}")?;
    }
    let (open, split) = (if shown.open { "open for " } else { "" }, &window.split);
    write!(out, "  {open}{} ms  (on-CPU {}", ms(window.duration()), ms(split.on_cpu))?;
    if split.interrupts > 0 {
        write!(out, " with {} in interrupts", ms(split.interrupts))?;
    }
    write!(out, ", blocked {}, runnable {}", ms(split.blocked), ms(split.runnable))?;
    let unknown = window.duration().saturating_sub(split.total());
    if unknown > 0 {
        write!(out, ", unknown {}", ms(unknown))?;
    }
    writeln!(out, ")")?;
    write!(out, "  begins at {}.{:06}", window.start / 1_000_000_000, window.start % 1_000_000_000 / 1000)?;
    if let Some(tgid) = window.tgid {
        write!(out, ", pid {tgid}")?;
    }
    let task = page.session.tasks.iter().find(|task| task.tid == window.tid || Some(task.tid) == window.tgid);
    if let Some(inner) = task.and_then(|task| task.inner_pids.last()) {
        write!(out, ", pid in its container {inner}")?;
    }
    if let Some(cgroup) = task.and_then(|task| task.cgroup.as_ref()) {
        write!(out, ", cgroup {cgroup}")?;
    }
    write!(out, ", threshold {} ms", ms(window.threshold))?;
    if window.lost > 0 {
        write!(out, ", {} EVENTS LOST INSIDE", window.lost)?;
    }
    if window.dropped > 0 {
        write!(out, ", the first {} records did not fit", window.dropped)?;
    }
    writeln!(out)?;
    for line in lines::lines(page, shown, !page.settings.all_steps) {
        self::line(&line, out)?;
    }
    stacks(page, shown, out)
}

fn line(line: &Line, out: &mut dyn Write) -> io::Result<()> {
    let us = line.offset / 1000;
    let text = format!(
        "  +{}.{:06} {:>10}  {:<14} {}",
        us / 1_000_000,
        us % 1_000_000,
        ms(line.since),
        line.step,
        line.text(false)
    );
    writeln!(out, "{}", text.trim_end())
}

/// The samples by stack.
fn stacks(page: &WindowsReport<'_>, shown: &ShownWindow, out: &mut dyn Write) -> io::Result<()> {
    let Some(samples) = page.samples else { return Ok(()) };
    let mut counts: HashMap<u32, u64> = HashMap::new();
    samples_of(samples, &shown.window).for_each(|sample| *counts.entry(sample.stack).or_default() += 1);
    let mut counts: Vec<(u32, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(stack, count)| (std::cmp::Reverse(*count), *stack));
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    if total == 0 {
        return Ok(());
    }
    writeln!(out, "  {total} samples, one each {} ms of CPU time:", ms(samples.period_ns))?;
    for (stack, count) in counts {
        let names: Vec<&str> = lines::names(samples, stack).collect();
        writeln!(out, "  {count:>6} {}", names.join(";"))?;
    }
    Ok(())
}
