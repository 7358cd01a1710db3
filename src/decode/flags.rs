//! The column of latency flags: `d..2.` between the CPU and the time.
//!
//! Owns: the letters. Does not own: whether the column is printed.

use crate::wire::abi::Abi;
use crate::wire::format::EventFormat;
use crate::wire::record::Record;
use crate::wire::text;

use super::field::Int;
use super::style::Compat;

const IRQS_OFF: u64 = 0x01;
/// Up to about 6.12: the architecture does not track whether interrupts are off. Since then: a lazy reschedule is due.
const NOSUPPORT_OR_LAZY: u64 = 0x02;
const NEED_RESCHED: u64 = 0x04;
const HARDIRQ: u64 = 0x08;
const SOFTIRQ: u64 = 0x10;

/// Where an event's records keep what the letters say.
pub struct LatencyFlags {
    compat: Compat,
    flags: Option<Int>,
    preempt: Option<Int>,
    migrate_disable: Option<Int>,
    lock_depth: Option<Int>,
    /// Nothing but the two bytes at the usual places counts.
    usual: bool,
}

impl LatencyFlags {
    pub(super) fn new(format: &EventFormat, abi: Abi, compat: Compat) -> LatencyFlags {
        let common = |name: &str| {
            let field = format.common.iter().find(|field| field.name == name)?;
            Int::of(field, abi)
        };
        let at = |name: &str| format.common.iter().find(|field| field.name == name).map(|f| (f.offset, f.size));
        let usual = at("common_flags") == Some((2, 1)) && at("common_preempt_count") == Some((3, 1));
        LatencyFlags {
            compat,
            flags: common("common_flags"),
            preempt: common("common_preempt_count"),
            migrate_disable: common("common_migrate_disable"),
            lock_depth: common("common_lock_depth"),
            usual: usual && format.common.len() == 4,
        }
    }

    /// A number that equal columns of the same file have in common, unless they depend on more than two bytes.
    #[inline]
    pub fn key(&self, record: &Record<'_>) -> Option<u32> {
        match record.data {
            [_, _, flags, preempt, ..] if self.usual => Some(u32::from(*flags) << 8 | u32::from(*preempt)),
            _ => None,
        }
    }

    /// Appends the flags of a record.
    pub fn put(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        let common = |field: &Option<Int>| field.map(|field| field.get(record.data));
        let flags = common(&self.flags).unwrap_or(0);
        let preempt = common(&self.preempt).unwrap_or(0);
        letters(flags, preempt, self.compat, out);
        for (value, dot_below_zero) in [(common(&self.migrate_disable), false), (common(&self.lock_depth), true)] {
            let Some(value) = value.map(|value| value as i32) else { continue };
            if value < 0 || (value == 0 && !dot_below_zero) {
                out.push(b'.');
            } else {
                text::dec(out, value as u64);
            }
        }
    }
}

/// The five letters that every record has.
fn letters(flags: u64, preempt: u64, compat: Compat, out: &mut Vec<u8>) {
    // libtraceevent knows the newer meaning of the bit since 1.9, whatever kernel recorded.
    let lazy = flags & NOSUPPORT_OR_LAZY != 0 && compat != Compat::V31;
    let unsupported = flags & NOSUPPORT_OR_LAZY != 0 && compat == Compat::V31;
    out.push(match flags & IRQS_OFF != 0 {
        true => b'd',
        false if unsupported => b'X',
        false => b'.',
    });
    out.push(match flags & NEED_RESCHED != 0 {
        true => b'N',
        false if lazy => b'L',
        false => b'.',
    });
    out.push(match (flags & HARDIRQ != 0, flags & SOFTIRQ != 0) {
        (true, true) => b'H',
        (true, false) => b'h',
        (false, true) => b's',
        (false, false) => b'.',
    });
    for nibble in [preempt & 15, preempt >> 4 & 15] {
        if nibble == 0 {
            out.push(b'.');
        } else {
            text::hex(out, nibble);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::testing::{ABI, bytes, format_text};

    fn column(text: &str, compat: Compat, head: &str) -> String {
        let format = EventFormat::parse("sched", text.as_bytes(), ABI).unwrap();
        let (data, mut out) = (bytes(head), Vec::new());
        LatencyFlags::new(&format, ABI, compat).put(&Record { ticks: 0, cpu: 0, data: &data }, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn plain(head: &str) -> String {
        column(format_text("6.12", "sched:sched_switch"), Compat::Rtrec, head)
    }

    #[test]
    fn letters_are_those_that_trace_cmd_prints() {
        // The first eight bytes of records of 6.12.95, and the columns in the reports of tests/fixtures.
        assert_eq!(plain("0a000000d0000000"), ".....");
        assert_eq!(plain("0b000001d0000000"), "...1.");
        assert_eq!(plain("36010102c0000000"), "d..2.");
        assert_eq!(plain("9b01090100000000"), "d.h1.");
        assert_eq!(plain("3901110400000000"), "d.s4.");
        assert_eq!(plain("0400250418010000"), "dN.4.");
        assert_eq!(plain("0400350301000000"), "dNs3.");
    }

    #[test]
    fn a_hard_interrupt_within_a_soft_one_is_a_capital() {
        assert_eq!(plain("0400190200000000"), "d.H2.");
    }

    #[test]
    fn the_upper_half_of_the_count_says_how_often_migration_is_disabled() {
        // As the kernel's trace file has it: preempt-depth, then migrate-disable.
        assert_eq!(plain("0400001200000000"), "...21");
        assert_eq!(plain("040000a000000000"), "....a");
    }

    #[test]
    fn a_lazy_reschedule_is_no_other_letter_to_trace_cmd_3_1() {
        let text = format_text("6.12", "sched:sched_switch");
        let column = |compat: Compat| column(text, compat, "0400020000000000");
        assert_eq!((column(Compat::Rtrec), column(Compat::V34)), (".L...".into(), ".L...".into()));
        // It knows the older meaning: the architecture does not track interrupts.
        assert_eq!(column(Compat::V31), "X....");
    }

    /// The format of a kernel with more common fields.
    fn with_common(more: &str) -> String {
        let pid = "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n";
        format_text("6.12", "sched:sched_switch").replacen(pid, &format!("{pid}{more}"), 1)
    }

    #[test]
    fn preempt_rt_kernels_have_a_column_more() {
        let text = with_common(
            "\tfield:unsigned char common_migrate_disable;\toffset:8;\tsize:1;\tsigned:0;\n\
            \tfield:unsigned char common_preempt_lazy_count;\toffset:9;\tsize:1;\tsigned:0;\n",
        );
        let column = |head: &str| column(&text, Compat::Rtrec, head);
        assert_eq!(column("36010102c00000000100"), "d..2.1");
        assert_eq!(column("36010102c00000000000"), "d..2..");
    }

    #[test]
    fn a_lock_depth_below_zero_is_a_dot() {
        let text = with_common("\tfield:int common_lock_depth;\toffset:8;\tsize:4;\tsigned:1;\n");
        let column = |head: &str| column(&text, Compat::Rtrec, head);
        assert_eq!(column("36010102c0000000ffffffff"), "d..2..");
        assert_eq!(column("36010102c000000000000000"), "d..2.0");
    }

    #[test]
    fn two_bytes_are_the_key_of_a_column_where_there_is_nothing_else() {
        let key = |text: &str, head: &str| {
            let format = EventFormat::parse("sched", text.as_bytes(), ABI).unwrap();
            let data = bytes(head);
            LatencyFlags::new(&format, ABI, Compat::Rtrec).key(&Record { ticks: 0, cpu: 0, data: &data })
        };
        let text = format_text("6.12", "sched:sched_switch");
        assert_eq!(key(text, "36010102c0000000"), key(text, "9b01010200000000"));
        assert_ne!(key(text, "36010102c0000000"), key(text, "36010202c0000000"));
        let more = with_common("\tfield:int common_lock_depth;\toffset:8;\tsize:4;\tsigned:1;\n");
        assert_eq!(key(&more, "36010102c000000000000000"), None);
    }
}
