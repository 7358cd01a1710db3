//! Points in time that people name: as printed, from the first or the last record, by the time of day.

use super::clock::{Correction, Wall};
use super::pool::Pool;
use super::record::Opened;
use crate::dat::Dat;

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// As a report prints it.
    Printed(u64),
    /// So long after the first record.
    AfterFirst(u64),
    /// So long before the last record.
    BeforeLast(u64),
    /// Nanoseconds since 1970.
    Wall(i64),
}

/// Times of the first and of the last record of all files, as printed; `None` if there is none.
///
/// Only the ends of each CPU's data are read.
pub fn span(opened: Opened<'_>) -> Option<(u64, u64)> {
    let pool: Pool<()> = Pool::new(1);
    let mut span: Option<(u64, u64)> = None;
    for lane in opened.lanes {
        for mut stream in lane.streams(opened.inputs) {
            let cpu = stream.cpu;
            let Some(first) = stream.next(&pool).map(|record| record.ticks) else { continue };
            let last = stream.last_ticks(&pool).unwrap_or(first);
            let [first, last] = [first, last].map(|ticks| lane.correction.apply(ticks, cpu));
            let (from, to) = span.unwrap_or((first, last));
            span = Some((from.min(first), to.max(last)));
        }
    }
    span
}

impl Moment {
    /// The time as printed; `None` if the first file has no time of day, or there is no record to count from.
    pub fn resolve(self, opened: Opened<'_>) -> Option<u64> {
        match self {
            Moment::Printed(time) => Some(time),
            Moment::AfterFirst(time) => Some(span(opened)?.0.saturating_add(time)),
            Moment::BeforeLast(time) => Some(span(opened)?.1.saturating_sub(time)),
            Moment::Wall(wall) => printed(wall, &opened.inputs.first()?.dat, &opened.lanes.first()?.correction),
        }
    }
}

/// The time of day of the first record, if the first file has it.
pub fn first_wall(opened: Opened<'_>) -> Option<i64> {
    let (first, _) = span(opened)?;
    let (dat, correction) = (&opened.inputs.first()?.dat, &opened.lanes.first()?.correction);
    let time = i64::try_from(first).ok()?.checked_sub(correction.add)?;
    match clock(dat, correction)? {
        Clock::Shown => Some(time),
        Clock::Read(clock) => i64::try_from(clock.apply(u64::try_from(time).ok()?)).ok(),
        Clock::Offset(ns) => time.checked_add(ns),
    }
}

/// Where the time of day comes from.
enum Clock {
    /// By the times as printed.
    Shown,
    /// By readings of both clocks.
    Read(Wall),
    /// By nanoseconds to add, which trace-cmd stores.
    Offset(i64),
}

fn clock(dat: &Dat, correction: &Correction) -> Option<Clock> {
    if correction.wall.is_some() {
        return Some(Clock::Shown);
    }
    let read = dat.clock_readings().and_then(|readings| Wall::new(&readings, correction.tsc));
    let stored = || dat.options.date_us.map(|us| Clock::Offset(us.wrapping_mul(1000)));
    read.map(Clock::Read).or_else(stored)
}

/// What a report with these corrections prints at a time of day.
fn printed(wall: i64, dat: &Dat, correction: &Correction) -> Option<u64> {
    let time = match clock(dat, correction)? {
        Clock::Shown => wall,
        Clock::Read(clock) => clock.trace_time(wall),
        Clock::Offset(ns) => wall.saturating_sub(ns),
    };
    // Before the clock began there is nothing.
    Some(u64::try_from(time.saturating_add(correction.add)).unwrap_or(0))
}
