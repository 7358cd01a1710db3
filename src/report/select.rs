//! Which records are printed: by time, CPU, event, task, interrupt state, and filter expressions.

use super::Lane;
use crate::wire::record::Record;

/// What becomes of the records of one event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// All are printed, as far as nothing else speaks against it.
    #[default]
    Keep,
    /// None is printed.
    Drop,
    /// Each has to be looked at.
    Ask,
}

/// Judges one record by its fields.
pub type Judge<'a> = dyn FnMut(&Lane<'_>, u16, &Record<'_>) -> bool + 'a;

/// The gate that every record passes before it gets a number.
#[derive(Default)]
pub struct Gate<'a> {
    /// Nothing is asked: everything passes.
    pub open: bool,
    /// First time wanted.
    pub from: u64,
    /// CPUs wanted; all if `None`.
    pub cpus: Option<Vec<bool>>,
    /// Bits of `common_flags` that exclude a record.
    pub without_flags: u8,
    /// Per file, by event id.
    pub verdicts: Vec<Vec<Verdict>>,
    /// What becomes of events that are not in that table.
    pub unlisted: Verdict,
    /// Judges the records of events whose verdict is [`Verdict::Ask`].
    pub judge: Option<Box<Judge<'a>>>,
}

impl Gate<'_> {
    /// Whether the record is printed.
    #[inline]
    pub fn pass(&mut self, lane: &Lane<'_>, id: u16, time: u64, record: &Record<'_>) -> bool {
        self.open || self.examine(lane, id, time, record)
    }

    #[inline]
    fn examine(&mut self, lane: &Lane<'_>, id: u16, time: u64, record: &Record<'_>) -> bool {
        let verdict = self.verdicts.get(lane.file).and_then(|ids| ids.get(usize::from(id))).copied();
        let verdict = verdict.unwrap_or(self.unlisted);
        if verdict == Verdict::Drop || time < self.from {
            return false;
        }
        if let Some(cpus) = &self.cpus
            && !cpus.get(record.cpu as usize).copied().unwrap_or(false)
        {
            return false;
        }
        if self.without_flags != 0 && lane.common.flags(record.data) & self.without_flags != 0 {
            return false;
        }
        match (&mut self.judge, verdict) {
            (Some(judge), Verdict::Ask) => judge(lane, id, record),
            _ => true,
        }
    }
}
