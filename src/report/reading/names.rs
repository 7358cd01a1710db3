//! Names of tasks over time: the name that a task had at the time of a record, for files that have names over time.
//!
//! Owns: looking a name up by task and time. Does not own: the section (see `dat::rtrec_sections`), names without times (see
//! `wire::tables::Names`), which decide where this knows nothing.

use super::clock::Correction;
use crate::dat::rtrec_sections::NameChanges;

/// Names of tasks over time, in the time of a report.
#[derive(Debug, Default)]
pub struct NamesOverTime {
    /// The tasks that have entries, ascending, and where those of each begin.
    tasks: Vec<(i32, u32)>,
    /// Time and name, by task and time.
    names: Vec<(u64, Box<[u8]>)>,
}

impl NamesOverTime {
    /// The changes of a file whose times are corrected so.
    pub fn new(changes: NameChanges, correction: &Correction) -> NamesOverTime {
        let mut sorted: Vec<(i32, u64, Vec<u8>)> = changes
            .changes
            .into_iter()
            .map(|change| {
                let time = if change.ticks == 0 { 0 } else { correction.apply(change.ticks, 0) };
                (change.pid, time, change.name)
            })
            .collect();
        sorted.sort();
        let mut names = NamesOverTime::default();
        for (pid, time, name) in sorted {
            if names.tasks.last().is_none_or(|last| last.0 != pid) {
                names.tasks.push((pid, names.names.len() as u32));
            }
            names.names.push((time, name.into()));
        }
        names
    }

    /// The name of a task at a time, if it is known.
    #[inline]
    pub fn at(&self, pid: i32, time: u64) -> Option<&[u8]> {
        let task = self.tasks.binary_search_by_key(&pid, |task| task.0).ok()?;
        let start = self.tasks.get(task)?.1 as usize;
        let end = self.tasks.get(task + 1).map_or(self.names.len(), |next| next.1 as usize);
        let names = self.names.get(start..end)?;
        let after = names.partition_point(|name| name.0 <= time);
        after.checked_sub(1).and_then(|last| names.get(last)).map(|name| &*name.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dat::rtrec_sections::NameChange;

    #[test]
    fn a_task_has_the_last_name_before_the_time() {
        let change = |ticks, pid, name: &[u8]| NameChange { ticks, pid, name: name.to_vec() };
        let changes = vec![change(0, 7, b"sh"), change(50, 7, b"ls"), change(20, 9, b"first"), change(60, 9, b"again")];
        let changes = NameChanges { clock: "local".into(), lost: 0, changes };
        let names = NamesOverTime::new(changes, &Correction { add: 1000, ..Correction::default() });
        assert_eq!(names.at(7, 5), Some(&b"sh"[..]));
        assert_eq!(names.at(7, 1049), Some(&b"sh"[..]));
        assert_eq!(names.at(7, 1050), Some(&b"ls"[..]));
        assert_eq!(names.at(9, 1019), None, "before it was made, another may have had its number");
        assert_eq!(names.at(9, 2000), Some(&b"again"[..]));
        assert_eq!(names.at(8, 2000), None);
    }
}
