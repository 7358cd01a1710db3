//! Which records open and close a function, so that an exit can be folded into its entry.
//!
//! Owns: whether two records belong together. Does not own: which records are neighbours (the merge decides that), their
//! text (a plugin's).

use crate::wire::abi::Abi;
use crate::wire::format::{EventFormat, Field};
use crate::wire::record::Record;

/// Which events open and close a function, and where their pid and function are.
#[derive(Clone, Debug, Default)]
pub struct Pairing {
    abi: Option<Abi>,
    entries: Vec<Side>,
    exits: Vec<Side>,
}

#[derive(Clone, Debug)]
struct Side {
    id: u16,
    pid: Field,
    func: Field,
}

impl Pairing {
    /// Functions that begin with events of the formats `entries` and end with those of `exits`. Both need the fields
    /// `common_pid` and `func`.
    pub fn new<'f>(
        abi: Abi,
        entries: impl IntoIterator<Item = &'f EventFormat>,
        exits: impl IntoIterator<Item = &'f EventFormat>,
    ) -> Pairing {
        Pairing {
            abi: Some(abi),
            entries: entries.into_iter().filter_map(Side::of).collect(),
            exits: exits.into_iter().filter_map(Side::of).collect(),
        }
    }

    /// Both: the events of one family and those of another.
    pub(super) fn and(mut self, other: Pairing) -> Pairing {
        self.abi = self.abi.or(other.abi);
        self.entries.extend(other.entries);
        self.exits.extend(other.exits);
        self
    }

    /// True if records of event `id` open a function.
    #[inline]
    pub fn is_entry(&self, id: u16) -> bool {
        self.entries.iter().any(|side| side.id == id)
    }

    /// True if records of event `id` close a function.
    #[inline]
    pub fn is_exit(&self, id: u16) -> bool {
        self.exits.iter().any(|side| side.id == id)
    }

    /// True if `exit` closes what `entry` opened: same pid, same function. Being on the same CPU is the caller's to check.
    pub fn matches(&self, entry: &Record<'_>, exit: &Record<'_>) -> bool {
        let key = |sides: &[Side], record: &Record<'_>| {
            let abi = self.abi?;
            let id = abi.u16(record.data)?;
            let side = sides.iter().find(|side| side.id == id)?;
            Some((side.pid.int(record.data, abi)?, side.func.int(record.data, abi)?))
        };
        let entry = key(&self.entries, entry);
        entry.is_some() && entry == key(&self.exits, exit)
    }
}

impl Side {
    fn of(format: &EventFormat) -> Option<Side> {
        Some(Side { id: format.id, pid: format.field("common_pid")?.clone(), func: format.field("func")?.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::testing::{ABI, bytes, format};

    fn pairing() -> Pairing {
        let (entry, exit) = (format("6.12", "ftrace:funcgraph_entry"), format("6.12", "ftrace:funcgraph_exit"));
        Pairing::new(ABI, [&entry], [&exit])
    }

    fn matches(entry: &str, exit: &str) -> bool {
        let (entry, exit) = (bytes(entry), bytes(exit));
        let record = |data| Record { ticks: 0, cpu: 0, data };
        pairing().matches(&record(&entry), &record(&exit))
    }

    // mutex_unlock of task 208, a record of 6.12.95; of the exit the beginning.
    const ENTRY: &str = "0b000001d0000000c4c22882ffffffff00000000";
    const EXIT: &str = "0a000000d0000000c4c22882ffffffff0000000000000000";

    #[test]
    fn an_exit_of_the_same_task_and_function_closes_an_entry() {
        assert!(matches(ENTRY, EXIT));
        assert!(!matches(ENTRY, &EXIT.replacen("d0000000", "d1000000", 1)), "another task");
        assert!(!matches(ENTRY, &EXIT.replacen("c4c22882", "c4c22883", 1)), "another function");
    }

    #[test]
    fn only_an_entry_and_an_exit_belong_together() {
        assert!(!matches(EXIT, ENTRY) && !matches(ENTRY, ENTRY) && !matches(EXIT, EXIT));
        assert!(!matches("3601", EXIT), "an event that is neither");
    }

    #[test]
    fn a_record_that_is_cut_short_belongs_to_none() {
        assert!(!matches(&ENTRY[..24], &EXIT[..24]));
    }

    #[test]
    fn families_add_up() {
        let (function, exit) = (format("6.12", "ftrace:function"), format("6.12", "ftrace:funcgraph_exit"));
        assert!(Side::of(&function).is_none(), "it has no field func");
        let both = Pairing::default().and(pairing()).and(Pairing::new(ABI, [], [&exit]));
        assert_eq!((both.is_entry(11), both.is_exit(10), both.is_exit(11)), (true, true, false));
        assert_eq!(both.exits.len(), 2);
    }
}
