//! Latencies for people and for programs: the table of pairs, histograms, slow calls.

use std::io::{self, Write};

use serde::Serialize;

use super::Pair;
use crate::decode::meaning::pairs;
use crate::report::analysis::interface::{Findings, Form};
use crate::report::reading::clock::{Unit, write_time};

/// One pair's figures, as JSON has them.
#[derive(Serialize)]
struct PairRow<'p> {
    entry: &'p str,
    r#return: &'p str,
    calls: u64,
    slow: u64,
    open: u64,
    without_entry: u64,
    without_return: u64,
    min: u64,
    average: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

/// One slow call.
#[derive(Serialize)]
pub(super) struct SlowCallRow {
    pub(super) entry: String,
    pub(super) task: String,
    pub(super) pid: i32,
    pub(super) cpu: u32,
    pub(super) time: u64,
    pub(super) took: u64,
    #[serde(skip)]
    pub(super) unit: Unit,
}

impl SlowCallRow {
    /// Appends its line.
    pub(super) fn put(&self, form: Form, out: &mut Vec<u8>) {
        let SlowCallRow { entry, task, pid, cpu, time, took, unit } = self;
        if form == Form::Json {
            out.extend(serde_json::to_vec(self).unwrap_or_default());
        } else {
            out.extend(format!("{task:>16}-{pid:<7} [{cpu:03}]").bytes());
            write_time(*unit, false, *time, out);
            out.extend(format!(" {entry}: {}", duration(*took, *unit)).bytes());
        }
        out.push(b'\n');
    }
}

/// All pairs, the one that took the longest in all first, each with the calls that are still open.
pub(super) struct Table<'p> {
    pub(super) rows: Vec<(&'p Pair, u64)>,
    /// Times are nanoseconds and shown as microseconds.
    pub(super) us: bool,
    pub(super) with_slow: bool,
}

impl Findings for Table<'_> {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Table { rows, us, with_slow } = self;
        let value = |ticks: u64| if *us { micros(ticks) } else { ticks.to_string() };
        let unit = if *us { "us" } else { "ticks" };
        write!(out, "{:>10} ", "calls")?;
        if *with_slow {
            write!(out, "{:>9} ", "slow")?;
        }
        for name in ["min", "average", "p50", "p90", "p99", "max"] {
            write!(out, "{:>12} ", format!("{name} {unit}"))?;
        }
        writeln!(out, " call")?;
        for (pair, open) in rows {
            let took = &pair.took;
            write!(out, "{:>10} ", took.count())?;
            if *with_slow {
                write!(out, "{:>9} ", pair.slow)?;
            }
            let percentiles = [50.0, 90.0, 99.0].map(|percent| took.percentile(percent));
            for ticks in [took.min(), took.average()].into_iter().chain(percentiles).chain([took.max()]) {
                write!(out, "{:>12} ", value(ticks))?;
            }
            write!(out, " {}", pair.name())?;
            let left = [
                (*open, "not returned yet"),
                (pair.without_return, "without a return"),
                (pair.without_entry, "returns without an entry"),
            ];
            let left: Vec<String> =
                left.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
            if !left.is_empty() {
                write!(out, " ({})", left.join(", "))?;
            }
            writeln!(out)?;
        }
        for (pair, _) in rows.iter().filter(|(pair, _)| pair.took.count() > 0) {
            writeln!(out, "\n{} ({unit})", pair.name())?;
            out.write_all(pair.took.histogram().as_bytes())?;
        }
        Ok(())
    }

    fn json(&self, out: &mut dyn Write) -> Option<io::Result<()>> {
        Some(self.rows.iter().try_for_each(|(pair, open)| {
            let mut line = serde_json::to_vec(&pair.figures(*open))?;
            line.push(b'\n');
            out.write_all(&line)
        }))
    }
}

impl Pair {
    fn name(&self) -> String {
        let same = self.stop.strip_prefix(&self.start) == Some(pairs::RETURN)
            || pairs::is_syscall(plain(&self.start), plain(&self.stop));
        if same { self.start.clone() } else { format!("{}..{}", self.start, self.stop) }
    }

    fn figures(&self, open: u64) -> PairRow<'_> {
        let took = &self.took;
        PairRow {
            entry: &self.start,
            r#return: &self.stop,
            calls: took.count(),
            slow: self.slow,
            open,
            without_entry: self.without_entry,
            without_return: self.without_return,
            min: took.min(),
            average: took.average(),
            p50: took.percentile(50.0),
            p90: took.percentile(90.0),
            p99: took.percentile(99.0),
            max: took.max(),
        }
    }
}

/// The event's name without its system.
fn plain(word: &str) -> &str {
    word.split_once(':').map_or(word, |(_, name)| name)
}

fn micros(ns: u64) -> String {
    format!("{}.{:03}", ns / 1000, ns % 1000)
}

fn duration(took: u64, unit: Unit) -> String {
    match unit {
        Unit::Nanoseconds if took >= 1_000_000 => format!("{}.{:06} ms", took / 1_000_000, took % 1_000_000),
        Unit::Nanoseconds => format!("{} us", micros(took)),
        Unit::Raw => format!("{took} ticks"),
    }
}
