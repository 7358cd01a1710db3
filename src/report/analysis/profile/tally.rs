//! How often, and how long: in all, at most, at least, and from which stacks.

use super::stacks::Stacks;

/// An event and what distinguishes its occurrences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    /// The event.
    pub(super) id: u16,
    /// The value of a field.
    pub(super) value: u64,
}

impl Key {
    /// The same event with another value.
    pub(super) fn with(self, value: u32) -> Key {
        Key { id: self.id, value: value.into() }
    }
}

/// Count and times.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TimeStats {
    pub(super) count: u64,
    pub(super) total: u64,
    /// The longest and when it was; the first of several.
    pub(super) longest: (u64, u64),
    /// The shortest, likewise.
    pub(super) shortest: Option<(u64, u64)>,
}

impl TimeStats {
    pub(super) fn add(&mut self, delta: u64, at: u64) {
        self.count += 1;
        self.total = self.total.saturating_add(delta);
        if self.longest.0 < delta || self.count == 1 {
            self.longest = (delta, at);
        }
        if self.shortest.is_none_or(|shortest| delta < shortest.0) {
            self.shortest = Some((delta, at));
        }
    }

    /// Adds those of another.
    pub(super) fn merge(&mut self, other: &TimeStats) {
        self.count += other.count;
        self.total = self.total.saturating_add(other.total);
        if self.longest.0 < other.longest.0 {
            self.longest = other.longest;
        }
        if let Some(shortest) = other.shortest
            && self.shortest.is_none_or(|known| shortest.0 < known.0)
        {
            self.shortest = Some(shortest);
        }
    }

    pub(super) fn average(&self) -> u64 {
        self.total / self.count.max(1)
    }
}

/// What was counted under one key.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) times: TimeStats,
    pub(super) stacks: Stacks,
}

impl Tally {
    /// Once more.
    pub(super) fn count(&mut self) {
        self.times.count += 1;
    }

    /// Once more, and it took so long until `at`.
    pub(super) fn time(&mut self, delta: u64, at: u64) {
        self.times.add(delta, at);
    }

    /// It came from here; `at` is when the stack was taken.
    pub(super) fn stack(&mut self, callers: &[u64], delta: u64, at: u64) {
        self.stacks.add(callers, delta, at);
    }

    /// Adds those of another.
    pub(super) fn merge(&mut self, other: Tally) {
        self.times.merge(&other.times);
        self.stacks.merge(other.stacks);
    }
}
