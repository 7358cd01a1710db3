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

/// Where an event's records keep what the letters tell.
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
