//! The column of latency flags: `d..2.` between the CPU and the time.
//!
//! Owns: the letters. Does not own: whether the column is printed.

use crate::wire::format::EventFormat;
use crate::wire::record::Record;
use crate::wire::text;

use super::{Compat, Trace};

const IRQS_OFF: u64 = 0x01;
/// Up to about 6.12: the architecture does not track whether interrupts are off. Since then: a lazy reschedule is due.
const NOSUPPORT_OR_LAZY: u64 = 0x02;
const NEED_RESCHED: u64 = 0x04;
const HARDIRQ: u64 = 0x08;
const SOFTIRQ: u64 = 0x10;

/// Appends the flags of a record, by the common fields of its format.
pub fn latency_flags(trace: &Trace, format: &EventFormat, record: &Record<'_>, compat: Compat, out: &mut Vec<u8>) {
    let common = |name: &str| {
        let field = format.common.iter().find(|field| field.name == name)?;
        field.int(record.data, trace.abi)
    };
    let flags = common("common_flags").unwrap_or(0);
    let preempt = common("common_preempt_count").unwrap_or(0);
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
    for (name, dot_below_zero) in [("common_migrate_disable", false), ("common_lock_depth", true)] {
        if let Some(value) = common(name) {
            let value = value as i32;
            if value < 0 || (value == 0 && !dot_below_zero) {
                out.push(b'.');
            } else {
                text::dec(out, value as u64);
            }
        }
    }
}
