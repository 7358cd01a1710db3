//! Return addresses that the kernel hides: those of functions whose return is probed.
//!
//! Owns: the kernel's events for calls of such functions, noting the addresses, finding them for a place on a stack. Does not
//! own: unwinding.
//!
//! While the return of a function is probed, its return address on the program's stack is that of a page of the kernel's,
//! and no unwinder comes past it. So a probe at the entry tells each call with the stack as it was before.
//! ```text
//!   entry of f:  SP -> | address in the caller |     noted: SP, address
//!   inside f:    SP -> | ...                   |
//!                      | the kernel's page     |     read there: what was noted
//! ```
//! Source: include/uapi/linux/perf_event.h of 6.18.
//!
//! Known limit: where the return address is in a register at the entry (AArch64), it is stored elsewhere later, and these
//! stacks end at the probed function.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::OwnedFd;

use perf_event_open_sys::bindings as abi;

use super::event::{Body, Entry, Source, Take, open};

/// The stack pointer, by its bit. Elsewhere the address is not on the stack when the function begins.
#[cfg(target_arch = "x86_64")]
const STACK_POINTER: Option<u64> = Some(1 << 7);
#[cfg(not(target_arch = "x86_64"))]
const STACK_POINTER: Option<u64> = None;

/// What is copied of the stack: the return address.
const WORD: u32 = 8;
/// Room for calls on each CPU.
pub const RING_BYTES: usize = 1 << 20;

/// Calls of a thread that are remembered: more are nested no deeper than a stack that can be unwound.
const MOST: usize = 4096;

/// Whether the return address is on the stack when a function begins, so that an event there can tell it.
pub fn can_be_told() -> bool {
    STACK_POINTER.is_some()
}

/// Opens the event of a thread, and of all it starts, on a CPU: `id` is that of a user probe at the entry.
///
/// The kernel's other way, events that name the file and the offset themselves, must not be used: where they are inherited the
/// kernel looks for the name in the memory of the program that starts a thread, and refuses it the thread.
pub fn open_calls(id: u64, tid: i32, cpu: i32) -> io::Result<OwnedFd> {
    let Some(stack_pointer) = STACK_POINTER else { return Err(io::ErrorKind::Unsupported.into()) };
    let mut attr = abi::perf_event_attr {
        type_: abi::PERF_TYPE_TRACEPOINT,
        config: id,
        sample_type: (abi::PERF_SAMPLE_TID
            | abi::PERF_SAMPLE_TIME
            | abi::PERF_SAMPLE_REGS_USER
            | abi::PERF_SAMPLE_STACK_USER) as u64,
        sample_regs_user: stack_pointer,
        sample_stack_user: WORD,
        ..Default::default()
    };
    attr.__bindgen_anon_1.sample_period = 1;
    attr.set_inherit(1);
    open(&mut attr, tid, cpu, RING_BYTES)
}

/// Reads a record of such an event; `None` for all but calls.
pub fn parse(bytes: &[u8]) -> Option<Entry> {
    let mut take = Take::new(bytes);
    if take.u32()? != abi::PERF_RECORD_SAMPLE {
        return None;
    }
    take.bytes(4)?;
    let (pid, tid, time) = (take.u32()? as i32, take.u32()? as i32, take.u64()?);
    if take.u64()? == 0 {
        // A thread of the kernel.
        return None;
    }
    let at = take.u64()?;
    let (size, address) = (take.u64()?, take.u64()?);
    // How much of it is there.
    let whole = size == u64::from(WORD) && take.u64()? == size;
    whole.then_some(Entry { time, pid, tid, source: Source::default(), body: Body::Called { at, address } })
}

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
    fn a_call_tells_where_its_return_address_was() {
        let words = [8 << 32 | 7, 99, 2, 0x7ffc_0000, 8, 0x5555_1234, 8];
        let header = u64::from(abi::PERF_RECORD_SAMPLE) | 64 << 48;
        let bytes: Vec<u8> = std::iter::once(header).chain(words).flat_map(u64::to_ne_bytes).collect();
        let body = Body::Called { at: 0x7ffc_0000, address: 0x5555_1234 };
        assert_eq!(parse(&bytes), Some(Entry { time: 99, pid: 7, tid: 8, source: Source::default(), body }));
        (0..bytes.len()).for_each(|cut| assert_eq!(parse(&bytes[..cut]), None, "{cut}"));
        let nothing_copied = [&bytes[..bytes.len() - 8], &[0; 8]].concat();
        assert_eq!(parse(&nothing_copied), None);
    }

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
