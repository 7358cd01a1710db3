//! Stacks inside slow windows with their time in microseconds.
//!
//! On-CPU time comes from samples, one period each: an estimate. Off-CPU time, until the thread runs again, is measured; it
//! goes to the stack at the switch-out: the program's and the kernel's where samples were taken, else the kernel's.

use std::collections::BTreeMap;

use super::lines::{self, ms, samples_of};
use super::page::{ShownWindow, WindowsReport};
use super::settings::StackTime;
use crate::report::export::stacks::Stacks;

/// Running time of windows without samples.
const NOT_SAMPLED: &str = "[running, not sampled]";

/// The time of each stack.
#[derive(Debug, Default)]
pub(super) struct TimeByStack {
    /// In nanoseconds; names with `;` between them, the outermost first.
    stacks: BTreeMap<String, u64>,
    windows: usize,
    /// Distances of samples.
    periods: Vec<u64>,
}

impl TimeByStack {
    /// Adds the slow windows of a file.
    pub(super) fn add(&mut self, page: &WindowsReport<'_>) {
        self.windows += page.shown.len();
        let samples = page.samples.filter(|samples| samples.period_ns > 0);
        self.periods.extend(samples.map(|samples| samples.period_ns));
        self.periods.sort_unstable();
        self.periods.dedup();
        for one in &page.shown {
            let comm = page.comm(one.window.tid, one.window.end);
            match samples {
                _ if page.settings.time == StackTime::OffCpu => {}
                Some(samples) => {
                    for sample in samples_of(samples, &one.window) {
                        let stack = std::iter::once(comm.as_str()).chain(lines::names(samples, sample.stack));
                        *self.stacks.entry(joined(stack)).or_default() += samples.period_ns;
                    }
                }
                None => {
                    let stack = joined([comm.as_str(), NOT_SAMPLED].into_iter());
                    *self.stacks.entry(stack).or_default() += one.window.split.on_cpu;
                }
            }
            if page.settings.time != StackTime::OnCpu {
                off_cpu(page, one, &comm, &mut self.stacks);
            }
        }
    }

    /// With what they are about.
    pub(super) fn stacks(self, time: StackTime) -> Stacks {
        let total = self.stacks.values().sum();
        let what = match time {
            StackTime::OnCpu => "CPU time",
            StackTime::OffCpu => "time off CPU",
            StackTime::Wall => "time",
        };
        let windows = if self.windows == 1 { "slow window" } else { "slow windows" };
        let mut about = Vec::new();
        if time != StackTime::OffCpu {
            about.extend(self.periods.iter().map(|ns| {
                format!("on CPU: estimated by samples, each stands for {} ms of a thread's CPU time", ms(*ns))
            }));
        }
        if time != StackTime::OnCpu {
            about.push("[blocked], [preempted]: measured, from leaving the CPU until it runs again".to_owned());
        }
        let title = format!("{what} in {} {windows}: {} ms", self.windows, ms(total));
        let us = |(stack, ns): (String, u64)| Some((stack, (ns + 500) / 1000)).filter(|(_, us)| *us > 0);
        let stacks = self.stacks.into_iter().filter_map(us).collect();
        Stacks { stacks, title, about, off_cpu: time == StackTime::OffCpu }
    }
}

fn off_cpu(page: &WindowsReport<'_>, shown: &ShownWindow, comm: &str, times: &mut BTreeMap<String, u64>) {
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
