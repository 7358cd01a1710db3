//! Records of slow windows that wait until no open window can bring older ones.
//!
//! Owns: their order, the losses between them, and what a file beside the trace holds of them. Does not own: when they are
//! written (see `only_slow`), where that file is (see `record::file::segments`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::dat::chunks::ChunkWriter;
use crate::wire::pack::Packer;
use crate::wire::subbuf::Layout;

/// Bytes of them that are kept beside the trace: more would take too long to write again and again.
const MAX_BESIDE_BYTES: usize = 32 << 20;

/// Time, CPU and content: what belongs to two windows is there once.
pub type HeldRecord = (u64, u32, Box<[u8]>);

/// Records in order of time.
#[derive(Default)]
pub struct HeldRecords {
    records: BTreeSet<HeldRecord>,
    bytes: usize,
    /// Losses by time and CPU.
    losses: BTreeMap<(u64, u32), u64>,
    changed: bool,
}

fn size(data: &[u8]) -> usize {
    data.len() + size_of::<HeldRecord>()
}

impl HeldRecords {
    /// Adds a record.
    pub fn add(&mut self, time: u64, cpu: u32, data: &[u8]) {
        if self.records.insert((time, cpu, data.into())) {
            self.bytes += size(data);
            self.changed = true;
        }
    }

    /// Adds a loss: so many, before this time, on this CPU.
    pub fn lose(&mut self, time: u64, cpu: u32, count: u64) {
        self.losses.insert((time, cpu), count);
    }

    /// Bytes of memory they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the first one, if it is as old as that or more than `most` bytes are there.
    pub fn take(&mut self, settled: u64, most: usize) -> Option<HeldRecord> {
        self.records.first().filter(|(time, ..)| *time <= settled || self.bytes > most)?;
        let first = self.records.pop_first()?;
        self.bytes -= size(&first.2);
        self.changed = true;
        Some(first)
    }

    /// Takes a loss from before that record: on which CPU, and how many.
    pub fn take_loss(&mut self, time: u64, cpu: u32) -> Option<(u32, u64)> {
        let entry = self.losses.first_entry().filter(|entry| *entry.key() <= (time, cpu))?;
        let ((_, on), count) = entry.remove_entry();
        Some((on, count))
    }

    /// Whether others are there than when this was asked last.
    pub fn has_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The oldest ones of each CPU, as many as are kept beside the trace.
    pub fn oldest_for_file(&self) -> BTreeMap<u32, Vec<&HeldRecord>> {
        let mut room = MAX_BESIDE_BYTES;
        let mut of: BTreeMap<u32, Vec<&HeldRecord>> = BTreeMap::new();
        for held in &self.records {
            let Some(rest) = room.checked_sub(size(&held.2)) else { break };
            room = rest;
            of.entry(held.1).or_default().push(held);
        }
        of
    }

    /// Makes sub-buffers of records of one CPU.
    pub fn pack(&self, records: &[&HeldRecord], layout: Layout, into: &mut ChunkWriter) -> io::Result<()> {
        let mut packer = Packer::new(layout);
        let cpu = records.first().map_or(0, |held| held.1);
        let mut losses = self.losses.iter().filter(|((_, on), _)| *on == cpu).peekable();
        for (time, _, data) in records {
            while let Some((_, count)) = losses.next_if(|((before, _), _)| before <= time) {
                finish(&mut packer, into)?;
                packer.lose(*count);
            }
            if !packer.push(*time, data) {
                finish(&mut packer, into)?;
                packer.push(*time, data);
            }
        }
        finish(&mut packer, into)
    }
}

/// Keeps the sub-buffer, unless it is empty.
pub fn finish(packer: &mut Packer, into: &mut ChunkWriter) -> io::Result<()> {
    if packer.is_empty() {
        return Ok(());
    }
    packer.finish(into.slot());
    into.keep()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_come_first_and_once_and_only_when_nothing_older_can_come_or_they_are_too_many() {
        let mut waiting = HeldRecords::default();
        for (time, cpu) in [(30, 0), (10, 1), (20, 0), (10, 1)] {
            waiting.add(time, cpu, &[7; 12]);
        }
        assert!(waiting.has_changed() && !waiting.has_changed());
        assert_eq!(waiting.bytes(), 3 * (12 + size_of::<HeldRecord>()));
        assert_eq!(waiting.take(9, usize::MAX), None);
        assert_eq!(waiting.take(20, usize::MAX).unwrap().0, 10);
        assert_eq!(waiting.take(9, waiting.bytes() - 1).unwrap().0, 20);
        assert_eq!(waiting.take(29, waiting.bytes()), None);
        assert_eq!(waiting.take(30, usize::MAX).unwrap().0, 30);
        assert_eq!((waiting.take(u64::MAX, 0), waiting.bytes()), (None, 0));
        assert!(waiting.has_changed());
    }

    #[test]
    fn beside_the_trace_are_the_oldest_of_all_cpus() {
        let mut waiting = HeldRecords::default();
        let data = vec![0; 1 << 20];
        for time in (0..64).rev() {
            waiting.add(time, (time % 2) as u32, &data);
        }
        let beside = waiting.oldest_for_file();
        let times = |cpu| beside[&cpu].iter().map(|held| held.0).collect::<Vec<_>>();
        assert_eq!(times(0), (0..31).step_by(2).collect::<Vec<_>>());
        assert_eq!(times(1), (1..31).step_by(2).collect::<Vec<_>>());
    }
}
