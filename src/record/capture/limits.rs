//! What ends a recording by itself: its size, the disk, an event that switches tracing off, a machine that is swamped.
//!
//! Looked at a few times a second by the coordinator; the readers know nothing of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::record::file::output::space;
use crate::record::outcome::Stop;
use crate::record::settings::Limits;
use crate::record::taken::Totals;

/// How often limits are looked at.
pub const PERIOD: Duration = Duration::from_millis(100);

/// What a disk keeps free of us, unless it is small.
const FREE_BYTES: u64 = 64 << 20;
/// The part of a small disk that is kept free.
const FREE_PART: u64 = 20;
/// How long the disk must last at the present rate; what is in the buffers has to go there too.
const LOOK_AHEAD: f64 = 1.0;

/// Watches the limits of a recording.
#[derive(Debug)]
pub struct LimitCheck {
    dir: PathBuf,
    max_bytes: Option<u64>,
    free_bytes: Option<u64>,
    /// Bytes of the files are bounded by other means: a tail is.
    last: (Instant, Totals),
    watchdog: Option<Watchdog>,
}

impl LimitCheck {
    /// Watches files in `dir`; `traces_functions` asks for the watchdog.
    pub fn new(limits: &Limits, dir: &Path, traces_functions: bool, now: Instant) -> Self {
        LimitCheck {
            dir: dir.to_owned(),
            max_bytes: limits.max_bytes,
            free_bytes: limits.free_bytes,
            last: (now, Totals::default()),
            watchdog: traces_functions.then(|| Watchdog::new(now)),
        }
    }

    /// Why to stop now, if so.
    pub fn check(&mut self, totals: Totals, now: Instant) -> Option<Stop> {
        let (then, before) = std::mem::replace(&mut self.last, (now, totals));
        if self.max_bytes.is_some_and(|max| totals.written >= max) {
            return Some(Stop::SizeReached);
        }
        if self.watchdog.as_mut().is_some_and(|dog| dog.is_swamped(totals, now)) {
            return Some(Stop::Swamped);
        }
        let seconds = now.duration_since(then).as_secs_f64().max(0.001);
        let rate = totals.written.saturating_sub(before.written) as f64 / seconds;
        let (free, total) = space(&self.dir)?;
        let usual = || FREE_BYTES.min(total / FREE_PART) + (rate * LOOK_AHEAD) as u64;
        (free < self.free_bytes.unwrap_or_else(usual)).then_some(Stop::DiskNearlyFull { free })
    }
}

/// Notices that a function tracer leaves the machine no time: we ourselves come late, and most is lost.
#[derive(Debug)]
struct Watchdog {
    looked: Instant,
    late: u32,
    before: Totals,
}

/// Looks that must be late in a row.
const LATE_LOOKS: u32 = 3;
/// A look that should have come after [`PERIOD`] and took as long is late.
const LATE: Duration = Duration::from_millis(1500);
/// Bytes that a record of a function takes at least.
const RECORD_BYTES: u64 = 16;

impl Watchdog {
    fn new(now: Instant) -> Self {
        Watchdog { looked: now, late: 0, before: Totals::default() }
    }

    fn is_swamped(&mut self, totals: Totals, now: Instant) -> bool {
        let waited = now.duration_since(std::mem::replace(&mut self.looked, now));
        let before = std::mem::replace(&mut self.before, totals);
        let taken = totals.taken.saturating_sub(before.taken) / RECORD_BYTES;
        let lost = totals.overrun.saturating_sub(before.overrun);
        let losing = lost > 0 && lost > taken.saturating_mul(4);
        self.late = if waited >= LATE && losing { self.late + 1 } else { 0 };
        self.late >= LATE_LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_stops_at_its_size_and_before_the_disk_is_full() {
        let now = Instant::now();
        let folder = tempfile::tempdir().unwrap();
        let at = |written| Totals { written, ..Totals::default() };
        let limits = Limits { max_bytes: Some(100), free_bytes: Some(0), ..Limits::default() };
        let mut check = LimitCheck::new(&limits, folder.path(), false, now);
        assert_eq!(check.check(at(99), now + PERIOD), None);
        assert_eq!(check.check(at(100), now + PERIOD * 2), Some(Stop::SizeReached));
        let limits = Limits { free_bytes: Some(u64::MAX / 2), ..Limits::default() };
        let stop = LimitCheck::new(&limits, folder.path(), false, now).check(at(1), now + PERIOD);
        assert!(matches!(stop, Some(Stop::DiskNearlyFull { .. })));
    }

    #[test]
    fn the_watchdog_wants_both_lateness_and_losses() {
        let now = Instant::now();
        let swamped = |wait: Duration, overrun: u64| {
            let mut dog = Watchdog::new(now);
            (1..=5).any(|n| dog.is_swamped(Totals { overrun: overrun * n, ..Totals::default() }, now + wait * n as u32))
        };
        assert!(swamped(LATE, 1000));
        assert!(!swamped(PERIOD, 1000) && !swamped(LATE, 0));
    }
}
