//! From the words of the command line to what a report is to be.

use std::env;
use std::io::{self, IsTerminal};

use super::super::common::explain::{Explained, report as explain};
use super::args::{ColorArg, CompatArg, Options, Plan};
use crate::decode::{Compat, Ignore, PluginSet, PluginSetting, Style};
use crate::report::analysis::profile::Hook;
use crate::report::{ExportSettings, RawEvents, ReadSettings, Selection, TextSettings};
use crate::wire::pattern::Pattern;

/// Whether the report is shown on a terminal that knows colours.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal() && env::var_os("TERM").is_some_and(|terminal| terminal != "dumb")
}

/// How files are read.
pub(super) fn read_settings(options: &Options, plan: &Plan) -> Result<ReadSettings, Explained> {
    let mut settings = ReadSettings::default();
    if let Some(threads) = options.run.threads {
        settings.threads = threads.clamp(1, 256);
    }
    settings.style = style(options)?;
    settings.with_date = !options.time.nodate;
    settings.raw_time = options.time.raw_ts;
    settings.wall_clock = options.time.wall_clock;
    settings.align = options.time.align_ts;
    settings.head = options.select.head;
    settings.tail = options.select.tail;
    settings.offsets.clone_from(&plan.offsets);
    settings.hz.clone_from(&plan.hz);
    settings.check_order = options.time.ts_check;
    Ok(settings)
}

/// How events look.
fn style(options: &Options) -> Result<Style, Explained> {
    let mut style = Style { nanoseconds: options.layout.full_time, ..Style::default() };
    style.compat = match options.layout.compat {
        None => Compat::Rtrec,
        Some(CompatArg::V31) => Compat::V31,
        Some(CompatArg::V34) => Compat::V34,
    };
    style.plugins = if options.layout.no_plugins {
        PluginSet::None
    } else if options.layout.no_system_plugins {
        PluginSet::NoSystem
    } else {
        PluginSet::All
    };
    if !options.layout.ignore_plugin.is_empty() {
        let patterns = words(&options.layout.ignore_plugin)?;
        style.ignore = Ignore::when(move |system, name| any(&patterns, system, name));
    }
    style.options = options.layout.option.iter().map(|text| PluginSetting::parse(text)).collect();
    Ok(style)
}

/// How lines of text look.
pub(super) fn text_settings(options: &Options) -> Result<TextSettings, Explained> {
    let mut settings = TextSettings { heading: true, legend: options.layout.legend, ..TextSettings::default() };
    settings.columns.full_time = options.layout.full_time;
    settings.columns.latency = options.layout.narrow;
    settings.columns.diff = options.layout.ts_diff;
    settings.columns.bare_ticks = options.time.raw_ts;
    settings.columns.colour = match options.layout.color {
        ColorArg::Always => true,
        ColorArg::Never => false,
        ColorArg::Auto => is_terminal() && env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
    };
    if options.layout.raw {
        settings.columns.raw = RawEvents::all();
    } else if !options.layout.raw_event.is_empty() {
        let patterns = words(&options.layout.raw_event)?;
        settings.columns.raw = RawEvents::when(move |system, name| any(&patterns, system, name));
    }
    settings.boundaries = options.layout.boundary || options.layout.debug;
    settings.dump = options.layout.debug;
    settings.wakeups = options.layout.wakeup;
    Ok(settings)
}

/// What records for programs hold.
pub(super) fn export_settings(options: &Options) -> ExportSettings {
    ExportSettings { fields: options.layout.fields.clone(), heading: true }
}

pub(super) fn hooks(texts: &[String]) -> Result<Vec<Hook>, Explained> {
    let read = |text: &String| {
        Hook::parse(text).map_err(|error| {
            Explained::new("a hook could not be read")
                .row("reason", error.to_string())
                .row("try", "-H hrtimer_expire_entry,hrtimer/hrtimer_expire_exit,hrtimer")
        })
    };
    texts.iter().map(read).collect()
}

fn words(patterns: &[String]) -> Result<Vec<Pattern>, Explained> {
    patterns.iter().map(|text| Pattern::whole(text).map_err(explain::pattern)).collect()
}

pub(super) fn selection(options: &Options, plan: &Plan) -> Result<Selection, Explained> {
    let mut cpus = Vec::new();
    for list in &options.select.cpu {
        match cpu_list(list) {
            Some(more) => cpus.extend(more),
            None => {
                return Err(Explained::new("a list of CPUs could not be read").row("list", list).row("try", "0,2-5"));
            }
        }
    }
    Ok(Selection {
        filters: plan.filters.clone(),
        pids: if options.shows_windows() { Vec::new() } else { options.select.pid.clone() },
        comms: options.select.comm.clone(),
        follow_children: options.select.follow_children,
        cpus,
        events: options.select.only_event.clone(),
        without_hardirq: options.select.no_hardirq,
        without_softirq: options.select.no_softirq,
        from: 0,
    })
}

/// `0,2-5` or `0:2-5`.
pub(super) fn cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.split([',', ':']) {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (first.trim().parse().ok()?, last.trim().parse().ok()?),
            None => {
                let one: u32 = part.trim().parse().ok()?;
                (one, one)
            }
        };
        if first > last || last >= 1 << 20 {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

fn any(patterns: &[Pattern], system: &str, name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(system.as_bytes()) || pattern.matches(name.as_bytes()))
}
