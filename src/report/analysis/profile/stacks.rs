//! Stacks that share their beginnings, as a tree.
//!
//! ```text
//!           |
//!           + do_idle (0xffffffff8132e082)
//!               100% (18) time:55701291 max:16422337(ts:17.610377) min:118897(ts:17.617492) avg:3094516
//!                cpu_startup_entry (0xffffffff8132e3b9)          <- callers that all of them share
//!                 |
//!                 + rest_init (0xffffffff81e8687c)
//!                 |   61% (12) time:33706265 ...
//! ```

use std::collections::BTreeMap;

use super::tally::TimeStats;
use crate::wire::tables::Kallsyms;
use crate::wire::text;

/// Callers of one stack that are looked at; the kernel stores far fewer.
const MAX_DEPTH: usize = 512;

/// Stacks, by the address that comes first.
#[derive(Default)]
pub(super) struct Stacks(BTreeMap<u64, Node>);

#[derive(Default)]
struct Node {
    times: TimeStats,
    callers: Stacks,
}

impl Stacks {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, callers: &[u64], delta: u64, at: u64) {
        let mut here = self;
        for caller in callers.iter().take(MAX_DEPTH) {
            let node = here.0.entry(*caller).or_default();
            node.times.add(delta, at);
            here = &mut node.callers;
        }
    }

    pub(super) fn merge(&mut self, other: Stacks) {
        for (address, node) in other.0 {
            let merged = self.0.entry(address).or_default();
            merged.times.merge(&node.times);
            merged.callers.merge(node.callers);
        }
    }

    /// Draws all of them below an event.
    pub(super) fn draw(&self, kallsyms: &Kallsyms, out: &mut Vec<u8>) {
        if !self.is_empty() {
            self.level(&[b' '; 10], kallsyms, out);
            out.extend_from_slice(b"      \n");
        }
    }

    fn level(&self, indent: &[u8], kallsyms: &Kallsyms, out: &mut Vec<u8>) {
        let total: u64 = self.0.values().fold(0, |sum, node| sum.saturating_add(node.times.total));
        let count: u64 = self.0.values().map(|node| node.times.count).sum();
        let mut nodes: Vec<(&u64, &Node)> = self.0.iter().collect();
        nodes.sort_by_key(|(_, node)| std::cmp::Reverse((node.times.total, node.times.count)));
        let last = nodes.len().saturating_sub(1);
        for (number, (address, node)) in nodes.into_iter().enumerate() {
            let (part, whole) = if total > 0 { (node.times.total, total) } else { (node.times.count, count) };
            let bar = [indent, if number == last { b" " } else { b"|" }].concat();
            for (before, mark) in [(indent, &b"| \n"[..]), (indent, b"+ ")] {
                out.extend_from_slice(before);
                out.extend_from_slice(mark);
            }
            function(*address, kallsyms, out);
            out.extend_from_slice(&bar);
            out.extend_from_slice(b"   ");
            node.times.share(part, whole, out);
            node.chain(&bar, kallsyms, out);
        }
        out.extend_from_slice(indent);
        out.extend_from_slice(b"  \n");
    }
}

impl Node {
    /// The callers as long as there is only one, then the tree of what is above.
    fn chain(&self, bar: &[u8], kallsyms: &Kallsyms, out: &mut Vec<u8>) {
        let mut callers = &self.callers;
        while let (1, Some((address, node))) = (callers.0.len(), callers.0.first_key_value()) {
            out.extend_from_slice(bar);
            out.extend_from_slice(b"    ");
            function(*address, kallsyms, out);
            callers = &node.callers;
        }
        if !callers.is_empty() {
            callers.level(&[bar, &[b' '; 5]].concat(), kallsyms, out);
            out.extend_from_slice(bar);
            out.extend_from_slice(b" \n");
        }
    }
}

impl TimeStats {
    /// `61% (12) time:33706265 max:14619822(ts:17.395051) min:135381(ts:17.357203) avg:2808855`
    fn share(&self, part: u64, whole: u64, out: &mut Vec<u8>) {
        let whole = u128::from(whole.max(1));
        let percent = (u128::from(part) * 100 + whole / 2) / whole;
        text::dec(out, u64::try_from(percent).unwrap_or(0));
        out.extend_from_slice(b"% (");
        text::dec(out, self.count);
        out.push(b')');
        if self.total > 0 {
            for (name, (delta, at)) in [("max", self.longest), ("min", self.shortest.unwrap_or_default())] {
                if name == "max" {
                    out.extend_from_slice(b" time:");
                    text::dec(out, self.total);
                }
                out.push(b' ');
                out.extend_from_slice(name.as_bytes());
                out.push(b':');
                text::dec(out, delta);
                stamp(at, out);
            }
            out.extend_from_slice(b" avg:");
            text::dec(out, self.average());
        }
        out.push(b'\n');
    }
}

/// `(ts:17.395051)`
pub(super) fn stamp(time: u64, out: &mut Vec<u8>) {
    let us = time.saturating_add(500) / 1000;
    out.extend_from_slice(b"(ts:");
    text::dec(out, us / 1_000_000);
    out.push(b'.');
    text::dec_zeros(out, us % 1_000_000, 6);
    out.push(b')');
}

fn function(address: u64, kallsyms: &Kallsyms, out: &mut Vec<u8>) {
    if kallsyms.put(address, false, out) {
        out.extend_from_slice(b" (");
        text::hex0x(out, address);
        out.push(b')');
    } else {
        text::hex0x(out, address);
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(stacks: &[(&[u64], u64)]) -> String {
        let mut all = Stacks::default();
        for (callers, delta) in stacks {
            all.add(callers, *delta, 2_000_000_000);
        }
        let table = (1..16).map(|n| format!("{:016x} t f{n}\n", n * 0x1000)).collect::<String>();
        let mut out = Vec::new();
        all.draw(&Kallsyms::new(table.into_bytes()), &mut out);
        String::from_utf8(out).unwrap().replace(' ', ".")
    }

    #[test]
    fn one_stack_is_a_chain() {
        let wanted = "..........|.\n..........+.f1.(0x1000)\n..............100%.(1)\n...............f2.(0x2fff)\n\
                      ...............0x10\n............\n......\n";
        assert_eq!(drawn(&[(&[0x1000, 0x2fff, 0x10], 0)]), wanted);
    }

    #[test]
    fn a_shared_beginning_is_told_once_and_the_longest_comes_first() {
        let wanted = "..........|.\n..........+.f1.(0x1000)\n\
            ..............100%.(3).time:7.max:4(ts:2.000000).min:1(ts:2.000000).avg:2\n\
            ...............f2.(0x2000)\n................|.\n................+.f4.(0x4000)\n\
            ................|...57%.(1).time:4.max:4(ts:2.000000).min:4(ts:2.000000).avg:4\n................|.\n\
            ................+.f3.(0x3000)\n\
            ....................43%.(2).time:3.max:2(ts:2.000000).min:1(ts:2.000000).avg:1\n\
            ..................\n............\n............\n......\n";
        let stacks: [(&[u64], u64); 3] =
            [(&[0x1000, 0x2000, 0x3000], 1), (&[0x1000, 0x2000, 0x4000], 4), (&[0x1000, 0x2000, 0x3000], 2)];
        assert_eq!(drawn(&stacks), wanted);
    }
}
