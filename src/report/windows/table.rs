//! Figures of many windows: counts, percentiles and a histogram of powers of two.
//!
//! ```text
//!   value |-------------------------------------------------- count
//!       0 |                                                   0
//!       1 |@@@@                                               4      the bucket [1, 2)
//! ```

use std::io::{self, Write};

use super::lines::ms;
use super::{By, Page};
use crate::windows::Tally;

/// Most characters of a bar.
const BAR: u64 = 50;

/// The durations of one row.
struct Row {
    name: String,
    slow: u64,
    times: Vec<u64>,
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
        write!(out, "{:<width$} {:>8} {:>8}", row.name, row.times.len(), row.slow)?;
        let total: u128 = row.times.iter().map(|time| u128::from(*time)).sum();
        let average = (total / row.times.len().max(1) as u128) as u64;
        let at = |percent| percentile(&row.times, percent);
        for value in [at(0), average, at(50), at(90), at(99), at(100)] {
            write!(out, " {:>10}", ms(value))?;
        }
        writeln!(out)?;
    }
    for row in &rows {
        writeln!(out, "\n{} (us)", row.name)?;
        out.write_all(histogram(row.times.iter().map(|time| time / 1000)).as_bytes())?;
    }
    Ok(())
}

/// What is known of windows of which only the slow ones were written.
fn tallies<'k>(kinds: impl Iterator<Item = (&'k String, &'k Tally)>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "\n{:<40} {:>8} {:>8} {:>10} {:>10} {:>10}",
        "windows", "closed", "slow", "min ms", "avg ms", "max ms"
    )?;
    for (name, tally) in kinds {
        let average = tally.total_ns / tally.closed.max(1);
        write!(out, "{name:<40} {:>8} {:>8}", tally.closed, tally.slow)?;
        writeln!(out, " {:>10} {:>10} {:>10}", ms(tally.min_ns), ms(average), ms(tally.max_ns))?;
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
            rows.push(Row { name, slow: 0, times: Vec::new() });
            rows.len() - 1
        });
        rows[at].times.push(closed.end - closed.start);
        rows[at].slow += u64::from(closed.slow);
    }
    rows.iter_mut().for_each(|row| row.times.sort_unstable());
    rows.sort_by_key(|row| std::cmp::Reverse(row.times.last().copied()));
    rows
}

/// The smallest value that so many percent do not exceed; `times` are in order.
fn percentile(times: &[u64], percent: u64) -> u64 {
    let rank = (times.len() as u64 * percent).div_ceil(100).max(1);
    times.get(rank as usize - 1).copied().unwrap_or(0)
}

/// The number of a value's bucket: 0, then one for each power of two.
fn bucket(value: u64) -> usize {
    (u64::BITS - value.leading_zeros()) as usize
}

/// Draws how many values fall between powers of two. Two empty rows stand before and behind; more in the middle are cut.
pub(super) fn histogram(values: impl Iterator<Item = u64>) -> String {
    let mut counts = [0_u64; 66];
    values.for_each(|value| counts[bucket(value)] += 1);
    let used = |count: &u64| *count > 0;
    let (Some(first), Some(last)) = (counts.iter().position(used), counts.iter().rposition(used)) else {
        return String::new();
    };
    let (from, to) = (first.saturating_sub(2), (last + 2).min(64));
    let label = |at: usize| if at == 0 { 0 } else { 1_u64 << (at - 1) };
    let most = counts.iter().max().copied().unwrap_or(1);
    let per_mark = most.div_ceil(BAR).max(1);
    let width = label(to).to_string().len().max(5);
    let digits = most.to_string().len().max(5);
    let mut out = format!("{:>width$} |{} {:>digits$}\n", "value", "-".repeat(BAR as usize), "count");
    let mut at = from;
    while at <= to {
        let empties = counts[at..=to].iter().take_while(|count| **count == 0).count();
        if empties > 5 && at > first && at + empties <= last {
            for row in [at, at + 1] {
                out.push_str(&format!("{:>width$} |{:50} {:>digits$}\n", label(row), "", 0));
            }
            out.push_str(&format!("{:>width$} ~\n", ""));
            at += empties - 2;
            continue;
        }
        let bar = "@".repeat((counts[at] / per_mark) as usize);
        out.push_str(&format!("{:>width$} |{bar:50} {:>digits$}\n", label(at), counts[at]));
        at += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let times: Vec<u64> = (1..=200).collect();
        assert_eq!([0, 50, 90, 99, 100].map(|percent| percentile(&times, percent)), [1, 100, 180, 198, 200]);
        assert_eq!((percentile(&[7], 50), percentile(&[], 50)), (7, 0));
    }

    #[test]
    fn histograms_have_two_empty_rows_around_and_long_gaps_are_cut() {
        let drawn = histogram([8, 9, 15, 1 << 13].into_iter());
        let rows: Vec<(&str, usize)> = drawn
            .lines()
            .skip(1)
            .map(|row| (row.split('|').next().unwrap().trim(), row.matches('@').count()))
            .collect();
        let wanted = [
            ("2", 0),
            ("4", 0),
            ("8", 3),
            ("16", 0),
            ("32", 0),
            ("~", 0),
            ("2048", 0),
            ("4096", 0),
            ("8192", 1),
            ("16384", 0),
            ("32768", 0),
        ];
        assert_eq!(rows, wanted);
        assert_eq!(histogram(std::iter::empty()), "");
        let many = histogram((0..1000).map(|_| 0));
        assert!(many.lines().nth(1).unwrap().contains(&"@".repeat(50)) && !many.contains(&"@".repeat(51)));
    }
}
