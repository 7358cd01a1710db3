//! What the columns of lines mean, drawn above them on request.

use super::settings::Columns;
use crate::decode::Compat;

/// Lines that begin with `#`; the last one names the columns. `ticks`: the clock has no unit; `prefix`: width of the names of
/// files or buffers before the columns.
pub(super) fn legend(columns: &Columns, compat: Compat, ticks: bool, prefix: usize) -> String {
    let raw = columns.raw.is_all() && compat != Compat::V31;
    let has_flags = !raw && (columns.latency || compat != Compat::V31);
    let (task, cpu) = if columns.latency { ("task-pid", " cpu") } else { ("task-pid", " [cpu]") };
    let width = if columns.latency { 14 } else { 22 };
    let mut text = String::new();
    // The `#` stands in the place of the first column's first character.
    let before = prefix + width - 1;
    if has_flags {
        let flags_at = before + cpu.len() + usize::from(!columns.latency);
        let letters = [
            "interrupts: d off, X not known",
            "to be rescheduled: N yes, L lazily",
            "running in: h an interrupt, s a soft interrupt, H the first in the second",
            "preemption disabled so many times",
            "migration disabled so many times",
        ];
        for (at, what) in letters.iter().enumerate() {
            let (bars, line) = ("|".repeat(at), "-".repeat(letters.len() - at));
            text.push_str(&format!("#{}{bars}.{line} {what}\n", " ".repeat(flags_at)));
        }
    }
    let mut names = format!("#{task:>before$}{cpu}");
    if has_flags {
        names.push_str(if columns.latency { "|||||" } else { " |||||" });
    } else if raw {
        names.push_str("-flags");
    }
    names.push_str(match (ticks, columns.full_time) {
        (true, _) => "       ticks:",
        (false, true) => "         seconds:",
        (false, false) => "      seconds:",
    });
    if columns.diff {
        names.push_str(" (+since)");
    }
    names.push_str(&format!(" {:<19} {}", "event:", "what it tells"));
    text + &names + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_above_their_columns() {
        let last = |columns: &Columns, compat, prefix| {
            legend(columns, compat, false, prefix).lines().last().unwrap().to_owned()
        };
        // As lines are printed.
        let line =
            "             cat-126   [001] ...1.    16.493893: funcgraph_entry:                   |  do_sys_openat2() {";
        let names = last(&Columns::default(), Compat::Rtrec, 0);
        assert_eq!((names.find("|||||"), line.find("...1.")), (Some(29), Some(29)));
        assert_eq!(names.find("seconds:").map(|at| at + 7), line.find(": "));
        assert_eq!(names.find("event:"), line.find("funcgraph"));
        assert_eq!(names.find("[cpu]"), line.find("[001]"));
        assert_eq!(last(&Columns::default(), Compat::Rtrec, 7).find("|||||"), Some(36));
        let narrow = Columns { latency: true, ..Columns::default() };
        let line = "    bash-1234    1d..2.  2345.123456: sched_switch:         x";
        assert_eq!(last(&narrow, Compat::V34, 0).find("|||||"), line.find("d..2."));
        assert!(!legend(&Columns::default(), Compat::V31, true, 0).contains("|||||"));
    }
}
