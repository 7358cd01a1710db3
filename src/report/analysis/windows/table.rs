//! Figures of many windows: counts, percentiles and a histogram of powers of two.

use std::borrow::Cow;
use std::io::{self, Write};

use super::lines::ms;
use super::page::WindowsReport;
use super::settings::GroupBy;
use crate::spread::Spread;
use crate::windows::{DurationCounts, NS_PER_ROW};

/// Most characters of a bar.
const BAR: u64 = 50;

/// The durations of one row.
struct Row {
    name: String,
    slow: u64,
    took: Statistic,
}

/// How long windows took.
enum Statistic {
    Seen(Box<Spread>),
    /// The recording has counted them.
    Counted(DurationCounts),
}

impl Row {
    fn of_tally((name, tally): (&String, &DurationCounts)) -> Row {
        Row { name: name.clone(), slow: tally.slow, took: Statistic::Counted(tally.clone()) }
    }

    /// `None` where nobody saw each of them. What is stored is unpacked for one row at a time.
    fn spread(&self) -> Option<Cow<'_, Spread>> {
        match &self.took {
            Statistic::Seen(spread) => Some(Cow::Borrowed(spread.as_ref())),
            Statistic::Counted(tally) => tally.spread.as_ref()?.spread().map(Cow::Owned),
        }
    }

    fn count(&self) -> u64 {
        match &self.took {
            Statistic::Seen(spread) => spread.count(),
            Statistic::Counted(tally) => tally.closed,
        }
    }

    /// Least, average, three percentiles and most.
    fn figures(&self) -> [Option<u64>; 6] {
        if let Some(spread) = self.spread() {
            let [p50, p90, p99] = [50.0, 90.0, 99.0].map(|percent| spread.percentile(percent));
            return [spread.min(), spread.average(), p50, p90, p99, spread.max()].map(Some);
        }
        let Statistic::Counted(tally) = &self.took else { return [None; 6] };
        let average = tally.total_ns / tally.closed.max(1);
        [Some(tally.min_ns), Some(average), None, None, None, Some(tally.max_ns)]
    }
}

pub(super) fn print(page: &WindowsReport<'_>, out: &mut dyn Write) -> io::Result<()> {
    let rows = match page.only_slow() {
        // What is known of windows of which only the slow ones were written.
        Some(kept) => kept.kinds.iter().map(Row::of_tally).collect(),
        None => rows(page),
    };
    if rows.is_empty() {
        return Ok(());
    }
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).max(7);
    write!(out, "\n{:<width$} {:>8} {:>8}", "windows", "closed", "slow")?;
    for name in ["min ms", "avg ms", "p50", "p90", "p99", "max ms"] {
        write!(out, " {name:>10}")?;
    }
    writeln!(out)?;
    for row in &rows {
        write!(out, "{:<width$} {:>8} {:>8}", row.name, row.count(), row.slow)?;
        for figure in row.figures() {
            write!(out, " {:>10}", figure.map_or_else(|| "-".to_owned(), ms))?;
        }
        writeln!(out)?;
    }
    for row in &rows {
        if let Some(spread) = row.spread() {
            writeln!(out, "\n{} (us)", row.name)?;
            out.write_all(spread.histogram().as_bytes())?;
        } else if let Statistic::Counted(tally) = &row.took
            && !tally.powers.is_empty()
        {
            writeln!(out, "\n{}", row.name)?;
            powers(tally, out)?;
        }
    }
    Ok(())
}

/// Durations by powers of two, as the kernel has counted them: each row is of those up to its time.
fn powers(tally: &DurationCounts, out: &mut dyn Write) -> io::Result<()> {
    // A time has no more bits, whatever a damaged file says.
    let mut powers_seen = tally.powers.range(..u64::BITS).map(|(power, _)| *power);
    let Some(first) = powers_seen.next() else { return Ok(()) };
    let last = powers_seen.next_back().unwrap_or(first);
    let per_mark = tally.powers.values().max().map_or(1, |most| most.div_ceil(BAR).max(1));
    writeln!(out, "{:>12} |{} {:>8}", "up to ms", "-".repeat(BAR as usize), "count")?;
    for power in first..=last {
        let count = tally.powers.get(&power).copied().unwrap_or(0);
        let bar = "@".repeat((count / per_mark) as usize);
        writeln!(out, "{:>12} |{bar:50} {count:>8}", ms(1_u64.checked_shl(power).unwrap_or(u64::MAX)))?;
    }
    Ok(())
}

/// The rows by their names; the one with the longest window first.
fn rows(page: &WindowsReport<'_>) -> Vec<Row> {
    let mut rows: Vec<(String, u64, Spread)> = Vec::new();
    let mut row_of = std::collections::HashMap::new();
    for closed in &page.found.closed {
        let label = page.found.labels.get(closed.label as usize).and_then(Option::as_deref);
        let key = match page.settings.by {
            GroupBy::Kind => (closed.definition, closed.label),
            GroupBy::Thread => (0, closed.tid as u32),
            GroupBy::Label => (0, closed.label),
        };
        let at = *row_of.entry(key).or_insert_with(|| {
            let name = match (page.settings.by, label) {
                (GroupBy::Thread, _) => format!("{}-{}", page.comm(closed.tid, closed.end), closed.tid),
                (GroupBy::Label, label) => label.unwrap_or("(no label)").to_owned(),
                (GroupBy::Kind, None) => page.kind(closed.definition as usize).to_owned(),
                (GroupBy::Kind, Some(label)) => format!("{} {label}", page.kind(closed.definition as usize)),
            };
            rows.push((name, 0, Spread::new(NS_PER_ROW)));
            rows.len() - 1
        });
        let (_, slow, spread) = &mut rows[at];
        spread.add(closed.end - closed.start);
        *slow += u64::from(closed.slow);
    }
    rows.sort_by_key(|(.., spread)| std::cmp::Reverse(spread.max()));
    rows.into_iter().map(|(name, slow, spread)| Row { name, slow, took: Statistic::Seen(Box::new(spread)) }).collect()
}
