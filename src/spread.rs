//! How values are spread: their number, extremes, average, percentiles, and a histogram of powers of two.
//!
//! ```text
//!   value |-------------------------------------------------- count
//!       0 |                                                   0
//!       1 |@@@@                                               4      the bucket [1, 2)
//! ```

use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Most characters of a bar.
const BAR: u64 = 50;
/// Digits that percentiles are right to.
const DIGITS: u8 = 3;
/// As many take some 100 KB; where there are thousands of spreads these do, in a tenth of it.
const FEW_DIGITS: u8 = 2;
/// Zero, and one for each power of two.
const BUCKETS: usize = 65;

/// Values seen so far, in memory that does not grow with their number.
#[derive(Clone, PartialEq)]
pub struct Spread {
    values: Histogram<u64>,
    total: u128,
    min: u64,
    max: u64,
    /// What one row of the histogram counts in.
    unit: u64,
    buckets: [u64; BUCKETS],
}

impl Spread {
    /// No value yet; the histogram counts whole units.
    pub fn new(unit: u64) -> Self {
        Spread::with_digits(unit, DIGITS)
    }

    /// One of thousands: its percentiles are right to two digits.
    pub fn coarse(unit: u64) -> Self {
        Spread::with_digits(unit, FEW_DIGITS)
    }

    fn with_digits(unit: u64, digits: u8) -> Self {
        let values = Histogram::new(digits).expect("a histogram has between 0 and 5 digits");
        Spread { values, total: 0, min: u64::MAX, max: 0, unit: unit.max(1), buckets: [0; BUCKETS] }
    }

    /// Adds a value.
    pub fn add(&mut self, value: u64) {
        // It grows to whatever comes; without memory for that the value counts as the largest it has room for.
        self.values.record(value).unwrap_or_else(|_| self.values.saturating_record(value));
        self.total += u128::from(value);
        (self.min, self.max) = (self.min.min(value), self.max.max(value));
        self.buckets[bucket(value / self.unit)] += 1;
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.values.len()
    }

    /// All of them together.
    pub fn total(&self) -> u128 {
        self.total
    }

    /// The smallest, 0 if there is none.
    pub fn min(&self) -> u64 {
        if self.count() == 0 { 0 } else { self.min }
    }

    /// The largest.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The average.
    pub fn average(&self) -> u64 {
        (self.total / u128::from(self.count().max(1))) as u64
    }

    /// The value that so many percent do not exceed, right to three digits, or to two.
    pub fn percentile(&self, percent: f64) -> u64 {
        self.values.value_at_percentile(percent).clamp(self.min(), self.max)
    }

    /// Draws how many values fall between powers of two. Two empty rows stand before and after; more in the middle are
    /// cut.
    pub fn histogram(&self) -> String {
        let counts = &self.buckets;
        let used = |count: &u64| *count > 0;
        let (Some(first), Some(last)) = (counts.iter().position(used), counts.iter().rposition(used)) else {
            return String::new();
        };
        let (from, to) = (first.saturating_sub(2), (last + 2).min(BUCKETS - 1));
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
}

impl Eq for Spread {}

impl fmt::Debug for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values from {} to {}", self.count(), self.min(), self.max)
    }
}

/// A spread as it is stored: what is there, not the room for what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSpread {
    unit: u64,
    digits: u8,
    total: u64,
    min: u64,
    max: u64,
    /// Numbers of rows of the histogram and their counts.
    rows: Vec<(usize, u64)>,
    /// Values, as exact as the digits say, and their counts.
    values: Vec<(u64, u64)>,
}

impl Spread {
    /// As it is stored.
    pub fn stored(&self) -> StoredSpread {
        let values = self.values.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()));
        StoredSpread {
            unit: self.unit,
            digits: self.values.sigfig(),
            total: u64::try_from(self.total).unwrap_or(u64::MAX),
            min: self.min(),
            max: self.max,
            rows: self.buckets.iter().copied().enumerate().filter(|(_, count)| *count > 0).collect(),
            values: values.collect(),
        }
    }
}

impl StoredSpread {
    /// The spread again; `None` if it cannot have been one.
    pub fn spread(&self) -> Option<Spread> {
        if self.digits > DIGITS {
            return None;
        }
        let mut spread = Spread::with_digits(self.unit, self.digits);
        for (value, count) in &self.values {
            spread.values.record_n(*value, *count).ok()?;
        }
        for (row, count) in &self.rows {
            *spread.buckets.get_mut(*row)? = *count;
        }
        (spread.total, spread.min, spread.max) = (self.total.into(), self.min, self.max.max(self.min));
        Some(spread)
    }
}

/// The number of a value's bucket.
fn bucket(value: u64) -> usize {
    (u64::BITS - value.leading_zeros()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Spread {
        let mut spread = Spread::new(1);
        values.into_iter().for_each(|value| spread.add(value));
        spread
    }

    #[test]
    fn percentiles_are_right_to_three_digits() {
        let spread = of(1..=200);
        assert_eq!([0.0, 50.0, 90.0, 99.0, 100.0].map(|percent| spread.percentile(percent)), [1, 100, 180, 198, 200]);
        assert_eq!((spread.count(), spread.min(), spread.average(), spread.max()), (200, 1, 100, 200));
        let large = of((1..=1000).map(|value| value * 1_000_003));
        let p99 = large.percentile(99.0) as f64 / (990.0 * 1_000_003.0);
        assert!((0.999..1.001).contains(&p99), "{p99}");
        let one = of([7]);
        assert_eq!((one.percentile(50.0), one.min(), one.max()), (7, 7, 7));
        let none = of([]);
        assert_eq!((none.percentile(50.0), none.min(), none.average(), none.histogram()), (0, 0, 0, String::new()));
        assert_eq!(of([u64::MAX]).max(), u64::MAX);
    }

    #[test]
    fn a_spread_is_stored_in_little_room_and_is_the_same_again() {
        let mut spread = Spread::coarse(1000);
        (1..=1000).for_each(|value| spread.add(value * 1_000_003));
        let stored = spread.stored();
        let text = serde_json::to_string(&stored).unwrap();
        assert!(text.len() < 16_000, "{}", text.len());
        let again = serde_json::from_str::<StoredSpread>(&text).unwrap().spread().unwrap();
        assert_eq!(again, spread);
        assert_eq!(again.percentile(90.0), spread.percentile(90.0));
        assert_eq!(StoredSpread { digits: 5, ..stored.clone() }.spread(), None);
        assert_eq!(StoredSpread { rows: vec![(BUCKETS, 1)], ..stored }.spread(), None);
        assert_eq!(of([]).stored().spread().unwrap().count(), 0);
    }

    #[test]
    fn histograms_have_two_empty_rows_around_and_long_gaps_are_cut() {
        let drawn = of([8, 9, 15, 1 << 13]).histogram();
        let rows: Vec<(&str, usize)> = drawn
            .lines()
            .skip(1)
            .map(|row| (row.split(['|', '\n']).next().unwrap().trim(), row.matches('@').count()))
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
        let many = of((0..1000).map(|_| 0)).histogram();
        assert!(many.lines().nth(1).unwrap().contains(&"@".repeat(50)) && !many.contains(&"@".repeat(51)));
    }
}
