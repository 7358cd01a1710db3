//! Figures of many windows: counts, percentiles and a histogram of powers of two.

use std::io::{self, Write};

use super::lines::ms;
use super::{By, Page};
use crate::report::spread::Spread;
use crate::windows::Tally;

/// What rows of histograms count in.
const MICROSECOND: u64 = 1000;
/// Most characters of a bar.
const BAR: u64 = 50;

/// The durations of one row.
struct Row {
    name: String,
    slow: u64,
    took: Spread,
}

pub(super) fn print(page: &Page<'_, '_>, out: &mut dyn Write) -> io::Result<()> {
    if let Some(kept) = page.only_slow() {
        return tallies(kept.kinds.iter(), out);
    }
    let rows = rows(page);
    if rows.is_empty() {
        return Ok(());
    }
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).max(6);
    write!(out, "\n{:<width$} {:>8} {:>8}", "windows", "closed", "slow")?;
    for name in ["min ms", "avg ms", "p50", "p90", "p99", "max ms"] {
        write!(out, " {name:>10}")?;
    }
    writeln!(out)?;
    for row in &rows {
        let took = &row.took;
        write!(out, "{:<width$} {:>8} {:>8}", row.name, took.count(), row.slow)?;
        let [p50, p90, p99] = [50.0, 90.0, 99.0].map(|percent| took.percentile(percent));
        for value in [took.min(), took.average(), p50, p90, p99, took.max()] {
            write!(out, " {:>10}", ms(value))?;
        }
        writeln!(out)?;
    }
    for row in &rows {
        writeln!(out, "\n{} (us)", row.name)?;
        out.write_all(row.took.histogram().as_bytes())?;
    }
    Ok(())
}

/// What is known of windows of which only the slow ones were written.
fn tallies<'k>(kinds: impl Iterator<Item = (&'k String, &'k Tally)> + Clone, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "\n{:<40} {:>8} {:>8} {:>10} {:>10} {:>10}",
        "windows", "closed", "slow", "min ms", "avg ms", "max ms"
    )?;
    for (name, tally) in kinds.clone() {
        let average = tally.total_ns / tally.closed.max(1);
        write!(out, "{name:<40} {:>8} {:>8}", tally.closed, tally.slow)?;
        writeln!(out, " {:>10} {:>10} {:>10}", ms(tally.min_ns), ms(average), ms(tally.max_ns))?;
    }
    for (name, tally) in kinds.filter(|(_, tally)| !tally.powers.is_empty()) {
        writeln!(out, "\n{name}")?;
        powers(tally, out)?;
    }
    Ok(())
}

/// Durations by powers of two, as the kernel has counted them: each row is of those up to its time.
fn powers(tally: &Tally, out: &mut dyn Write) -> io::Result<()> {
    let (Some((&first, _)), Some((&last, _))) = (tally.powers.first_key_value(), tally.powers.last_key_value()) else {
        return Ok(());
    };
    let per_mark = tally.powers.values().max().map_or(1, |most| most.div_ceil(BAR).max(1));
    writeln!(out, "{:>12} |{} {:>8}", "up to ms", "-".repeat(BAR as usize), "count")?;
    for power in first..=last {
        let count = tally.powers.get(&power).copied().unwrap_or(0);
        let bar = "@".repeat((count / per_mark) as usize);
        writeln!(out, "{:>12} |{bar:50} {count:>8}", ms(1_u64.checked_shl(power).unwrap_or(u64::MAX)))?;
    }
    Ok(())
}

fn rows(page: &Page<'_, '_>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut known = std::collections::HashMap::new();
    for closed in &page.found.closed {
        let label = page.found.labels.get(closed.label as usize).and_then(Option::as_deref);
        let key = match page.settings.by {
            By::Kind => (closed.definition, closed.label),
            By::Thread => (0, closed.tid as u32),
            By::Label => (0, closed.label),
        };
        let at = *known.entry(key).or_insert_with(|| {
            let name = match (page.settings.by, label) {
                (By::Thread, _) => format!("{}-{}", page.comm(closed.tid, closed.end), closed.tid),
                (By::Label, label) => label.unwrap_or("(no label)").to_owned(),
                (By::Kind, None) => page.kind(closed.definition as usize).to_owned(),
                (By::Kind, Some(label)) => format!("{} {label}", page.kind(closed.definition as usize)),
            };
            rows.push(Row { name, slow: 0, took: Spread::new(MICROSECOND) });
            rows.len() - 1
        });
        rows[at].took.add(closed.end - closed.start);
        rows[at].slow += u64::from(closed.slow);
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.took.max()));
    rows
}
