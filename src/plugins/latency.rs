//! The column of latency flags: `d..2.` between the CPU and the time.
//!
//! Owns: the letters. Does not own: whether the column is printed.

use crate::wire::format::EventFormat;
use crate::wire::record::Record;
use crate::wire::text;

use super::{Compat, Trace};

const IRQS_OFF: u64 = 0x01;
const IRQS_NOSUPPORT: u64 = 0x02;
const NEED_RESCHED: u64 = 0x04;
const HARDIRQ: u64 = 0x08;
const SOFTIRQ: u64 = 0x10;

/// Appends the flags of a record, by the common fields of its format.
pub fn latency_flags(trace: &Trace, format: &EventFormat, record: &Record<'_>, compat: Compat, out: &mut Vec<u8>) {
    let _ = compat;
    let common = |name: &str| {
        let field = format.common.iter().find(|field| field.name == name)?;
        field.int(record.data, trace.abi)
    };
    let flags = common("common_flags").unwrap_or(0);
    let preempt = common("common_preempt_count").unwrap_or(0);
    out.push(if flags & IRQS_OFF != 0 {
        b'd'
    } else if flags & IRQS_NOSUPPORT != 0 {
        b'X'
    } else {
        b'.'
    });
    out.push(if flags & NEED_RESCHED != 0 { b'N' } else { b'.' });
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
