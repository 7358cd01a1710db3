//! Return addresses that the kernel hides: those of functions whose return is probed.
//!
//! Owns: noting them as calls come, and finding them for a place on a stack. Does not own: how calls are reported (see
//! [`event`](super::event)), unwinding.
//!
//! While the return of a function is probed, its return address on the program's stack is that of a page of the kernel's,
//! and no unwinder comes past it. So a probe at the entry reports each call with the stack as it was before.
//! ```text
//!   entry of f:  SP -> | address in the caller |     noted: SP, address
//!   inside f:    SP -> | ...                   |
//!                      | the kernel's page     |     read there: what was noted
//! ```
//! Known limit: where the return address is in a register at the entry (AArch64), it is stored elsewhere later, and these
//! stacks end at the probed function.

use std::collections::{BTreeMap, HashMap};

/// Calls of a thread that are remembered: more are nested no deeper than a stack that can be unwound.
const MOST: usize = 4096;

/// What was noted.
#[derive(Debug, Default)]
pub struct Returns {
    /// By thread: places on its stack and the addresses that stood there.
    threads: HashMap<i32, BTreeMap<u64, u64>>,
}

impl Returns {
    /// A function was called, with the stack pointer at its return address.
    pub fn called(&mut self, tid: i32, at: u64, address: u64) {
        let calls = self.threads.entry(tid).or_default();
        // Stacks grow downwards: whatever was called below has returned.
        *calls = calls.split_off(&at);
        calls.insert(at, address);
        if calls.len() > MOST {
            calls.pop_last();
        }
    }

    /// The address that stood at this place.
    pub fn at(&self, tid: i32, place: u64) -> Option<u64> {
        self.threads.get(&tid)?.get(&place).copied()
    }

    /// The thread has ended.
    pub fn forget(&mut self, tid: i32) {
        self.threads.remove(&tid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_until_their_place_is_used_again() {
        let mut returns = Returns::default();
        returns.called(1, 0x7000, 10);
        returns.called(1, 0x6000, 11);
        returns.called(2, 0x6000, 12);
        assert_eq!((returns.at(1, 0x7000), returns.at(1, 0x6000), returns.at(1, 0x6008)), (Some(10), Some(11), None));
        returns.called(1, 0x6800, 13);
        assert_eq!((returns.at(1, 0x7000), returns.at(1, 0x6000)), (Some(10), None), "that call has returned");
        returns.called(1, 0x7000, 14);
        assert_eq!((returns.at(1, 0x7000), returns.at(1, 0x6800)), (Some(14), None));
        returns.forget(1);
        assert_eq!((returns.at(1, 0x7000), returns.at(2, 0x6000)), (None, Some(12)));
        (0..2 * MOST as u64).rev().for_each(|depth| returns.called(3, depth * 8, depth));
        assert_eq!((returns.at(3, 0), returns.threads[&3].len()), (Some(0), MOST));
    }
}
