//! From ticks of the trace clock to the time in a report.
//!
//! Owns: corrections, and how times are written. Order of corrections: guest shift, cycles to nanoseconds, then the stored and the asked-for offsets.

use crate::dat::rtrec_sections::ClockReadings;
use crate::dat::{Dat, TimeShift, Tsc2Nsec};
use crate::wire::text;

/// How the time of a buffer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds: seconds with decimals.
    Nanoseconds,
    /// Anything else: a bare integer.
    Raw,
}

/// Whether a clock counts nanoseconds. `boot` does, but trace-cmd does not know.
pub fn unit_of(clock: &str, boot_too: bool) -> Unit {
    let known =
        matches!(clock, "local" | "global" | "uptime" | "perf" | "tai" | "tsc2nsec") || clock.starts_with("mono");
    if known || (boot_too && clock == "boot") { Unit::Nanoseconds } else { Unit::Raw }
}

/// The column of time, its colon included.
#[inline]
pub(in crate::report) fn write_time(unit: Unit, full: bool, time: u64, out: &mut Vec<u8>) {
    if unit == Unit::Raw {
        text::dec_right(out, time, 12);
        out.push(b':');
        return;
    }
    out.push(b' ');
    if full {
        text::dec_right(out, time / 1_000_000_000, 5);
        out.push(b'.');
        text::dec_zeros(out, time % 1_000_000_000, 9);
    } else {
        let us = micros(time);
        text::dec_right(out, us / 1_000_000, 5);
        out.push(b'.');
        text::dec_zeros(out, us % 1_000_000, 6);
    }
    out.push(b':');
}

#[inline]
pub(in crate::report) fn micros(time: u64) -> u64 {
    time.saturating_add(500) / 1000
}

/// The corrections of one file.
#[derive(Clone, Debug, Default)]
pub struct Correction {
    /// Guest samples, per CPU, when the host's file is there.
    pub guest: Option<TimeShift>,
    /// Cycles to nanoseconds.
    pub tsc: Option<Tsc2Nsec>,
    /// Hz of the clock, when the user said so.
    pub hz: Option<u64>,
    /// To the time of day.
    pub wall: Option<Wall>,
    /// Sum of all offsets.
    pub add: i64,
}

/// The trace clock beside the time of day, at the start and at the end of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wall {
    /// Trace clock and CLOCK_REALTIME at the start, in nanoseconds.
    start: (u64, i64),
    /// Between start and end, if they are far enough apart to show that the clocks run differently.
    span: Option<(u64, i64)>,
}

/// Shorter spans say more about the reading than about the clocks.
const LEAST_SPAN_NS: u64 = 1_000_000_000;

impl Wall {
    /// From the readings of a file.
    pub fn new(readings: &ClockReadings, tsc: Option<Tsc2Nsec>) -> Option<Wall> {
        let scaled = Correction { tsc, ..Correction::default() };
        let mut points = readings.readings.iter().map(|reading| (scaled.apply(reading.ticks, 0), reading.realtime_ns));
        let start = points.next()?;
        let span = points.next_back().map(|end| (end.0.saturating_sub(start.0), end.1 - start.1));
        Some(Wall { start, span: span.filter(|span| span.0 >= LEAST_SPAN_NS) })
    }

    /// The time of day at a time of the trace clock.
    pub(super) fn apply(self, time: u64) -> u64 {
        let since = time.wrapping_sub(self.start.0) as i64;
        let since = match self.span {
            Some((ticks, wall)) => (i128::from(since) * i128::from(wall) / i128::from(ticks)) as i64,
            None => since,
        };
        self.start.1.wrapping_add(since) as u64
    }

    /// The time of the trace clock at a time of day.
    pub(super) fn trace_time(self, wall: i64) -> i64 {
        let since = wall.wrapping_sub(self.start.1);
        let since = match self.span {
            Some((ticks, wall)) if wall > 0 => (i128::from(since) * i128::from(ticks) / i128::from(wall)) as i64,
            _ => since,
        };
        (self.start.0 as i64).wrapping_add(since)
    }
}

impl Correction {
    /// What the options of a file ask for.
    pub fn stored(dat: &Dat, with_date: bool) -> Correction {
        let date = if with_date { dat.options.date_us.unwrap_or(0) } else { 0 };
        let add = date.wrapping_mul(1000).wrapping_add(dat.options.offset.unwrap_or(0));
        Correction { guest: None, tsc: dat.options.tsc2nsec, hz: None, wall: None, add }
    }

    /// Whether anything but an addition is to be done.
    pub fn is_plain(&self) -> bool {
        self.guest.is_none() && self.tsc.is_none() && self.hz.is_none() && self.wall.is_none()
    }

    /// The corrected time of a record.
    #[inline]
    pub fn apply(&self, ticks: u64, cpu: u32) -> u64 {
        let time = if self.is_plain() { ticks } else { self.scale(ticks, cpu) };
        time.wrapping_add(self.add as u64)
    }

    fn scale(&self, mut time: u64, cpu: u32) -> u64 {
        if let Some(guest) = &self.guest {
            time = shift(guest, time, cpu);
        }
        if let Some(tsc) = self.tsc {
            time = ((u128::from(time) * u128::from(tsc.mult)) >> tsc.shift) as u64;
        }
        if let Some(hz) = self.hz.filter(|hz| *hz > 0) {
            time = (u128::from(time) * 1_000_000_000 / u128::from(hz)) as u64;
        }
        if let Some(wall) = self.wall {
            time = wall.apply(time);
        }
        time
    }
}

/// A guest's time on its host's clock: the samples around it give scale and offset.
fn shift(guest: &TimeShift, time: u64, cpu: u32) -> u64 {
    let Some(samples) = guest.cpus.get(cpu as usize).or_else(|| guest.cpus.first()) else { return time };
    let at = samples.partition_point(|sample| sample.0 as u64 <= time);
    let low = at.saturating_sub(1).min(samples.len().saturating_sub(2));
    let Some(a) = samples.get(low) else { return time };
    let correction = match samples.get(low + 1) {
        Some(b) if guest.interpolate && b.0 != a.0 => {
            let part = (i128::from(time as i64) - i128::from(a.0)) * (i128::from(b.1) - i128::from(a.1));
            i128::from(a.1) + part / (i128::from(b.0) - i128::from(a.0))
        }
        _ => i128::from(a.1),
    };
    let scaled = (i128::from(time) * i128::from(a.2)) >> (a.3.clamp(0, 63) as u32);
    scaled.wrapping_add(correction) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_become_nanoseconds_on_more_than_64_bits() {
        let tsc = Some(Tsc2Nsec { mult: 0x314d_e9a6, shift: 31, offset: 0 });
        let correction = Correction { tsc, ..Correction::default() };
        assert_eq!(correction.apply(210_741_493_054, 0), 81_175_559_244);
    }

    #[test]
    fn the_time_of_day_follows_the_faster_clock() {
        use crate::dat::rtrec_sections::ClockReading;
        let reading = |ticks, realtime_ns| ClockReading { ticks, realtime_ns, ..ClockReading::default() };
        let readings = |readings| ClockReadings { clock: "local".into(), readings };
        let wall = Wall::new(&readings(vec![reading(100, 5_000), reading(200, 5_300)]), None).unwrap();
        assert_eq!(wall.apply(150), 5_050, "too short to tell a difference");
        let second = 1_000_000_000;
        let wall = Wall::new(&readings(vec![reading(0, 7), reading(second, 7 + 1_000_010_000)]), None).unwrap();
        assert_eq!(wall.apply(second / 2), 7 + 500_005_000);
        assert_eq!(wall.trace_time(7 + 500_005_000), (second / 2) as i64);
        assert!(wall.trace_time(-1_000_000) < 0, "before the trace clock began");
        assert!(Wall::new(&readings(vec![]), None).is_none());
    }

    #[test]
    fn guest_samples_shift_and_interpolate() {
        let cpus = vec![vec![(100, 1000, 1, 0), (200, 1100, 1, 0)]];
        let mut guest = TimeShift { peer: 1, interpolate: true, cpus };
        assert_eq!(shift(&guest, 150, 0), 150 + 1050);
        guest.interpolate = false;
        assert_eq!(shift(&guest, 150, 0), 150 + 1000);
        guest.cpus[0].truncate(1);
        assert_eq!(shift(&guest, 50, 3), 50 + 1000);
    }

    #[test]
    fn only_rtrec_knows_that_boot_counts_nanoseconds() {
        assert_eq!(unit_of("mono_raw", false), Unit::Nanoseconds);
        assert_eq!(unit_of("boot", false), Unit::Raw);
        assert_eq!(unit_of("boot", true), Unit::Nanoseconds);
        assert_eq!(unit_of("x86-tsc", true), Unit::Raw);
    }
}
