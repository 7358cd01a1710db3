//! The kernel's events for samples: how one is opened, and what its records say.
//!
//! Source: include/uapi/linux/perf_event.h of 6.18.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use byteorder::{ByteOrder, NativeEndian};
use perf_event_open_sys as sys;
use sys::bindings as abi;

use crate::rt::settings::UserStack;
use crate::windows::samples::Sample;

/// Registers that unwinding needs, by their bits: on x86-64 BP, SP and IP.
#[cfg(target_arch = "x86_64")]
const REGISTERS: u64 = 1 << 6 | 1 << 7 | 1 << 8;
/// On AArch64 FP, LR, SP and PC.
#[cfg(target_arch = "aarch64")]
const REGISTERS: u64 = 1 << 29 | 1 << 30 | 1 << 31 | 1 << 32;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const REGISTERS: u64 = 0;

/// Which of them is the stack pointer, if it points to the return address when a function begins.
const STACK_POINTER: Option<usize> = if cfg!(target_arch = "x86_64") { Some(1) } else { None };

/// Bytes after every record but samples: pid and tid, time, id, CPU.
const TRAILER: usize = 32;
/// From here on an address in a call chain says whose addresses follow.
const CONTEXTS: u64 = -4095_i64 as u64;
const CONTEXT_USER: u64 = -512_i64 as u64;
/// COMM: because of an exec. SWITCH: away. Both are this bit.
const MISC_13: u16 = 1 << 13;

/// When a thread's stack is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Whenever it has used so much CPU time.
    Used(Duration),
    /// When it leaves its CPU.
    Leaving,
    /// When it calls a function: the number of a user probe's event at the entry. Only the return address is taken.
    Calling(u64),
    /// Never: only that it begins to run is reported.
    Never,
}

/// What is asked of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// When stacks are taken.
    pub when: When,
    /// How stacks of programs are taken.
    pub user_stack: UserStack,
}

impl Opening {
    /// Calls of a function whose return is probed; `None` where the return address cannot be found so.
    ///
    /// The kernel's other way, events that name the file and the offset themselves, must not be used: where they are inherited
    /// the kernel looks for the name in the memory of the program that starts a thread, and refuses it the thread.
    pub fn of_calls(id: u64) -> Option<Opening> {
        STACK_POINTER.map(|_| Opening { when: When::Calling(id), user_stack: UserStack::Dwarf(8) })
    }

    /// Room for records on each CPU.
    pub fn ring_bytes(&self) -> usize {
        let is_large =
            matches!(self.when, When::Used(_) | When::Leaving) && matches!(self.user_stack, UserStack::Dwarf(_));
        if is_large { 8 << 20 } else { 1 << 20 }
    }

    /// Opens the event of a thread, and of all it starts, on a CPU.
    pub fn open(&self, tid: i32, cpu: i32) -> io::Result<OwnedFd> {
        let mut attr = abi::perf_event_attr {
            type_: match self.when {
                When::Calling(_) => abi::PERF_TYPE_TRACEPOINT,
                _ => abi::PERF_TYPE_SOFTWARE,
            },
            size: size_of::<abi::perf_event_attr>() as u32,
            config: match self.when {
                When::Used(_) => abi::PERF_COUNT_SW_TASK_CLOCK.into(),
                When::Leaving => abi::PERF_COUNT_SW_CONTEXT_SWITCHES.into(),
                When::Calling(id) => id,
                When::Never => abi::PERF_COUNT_SW_DUMMY.into(),
            },
            clockid: nix::libc::CLOCK_MONOTONIC,
            ..Default::default()
        };
        attr.__bindgen_anon_1.sample_period = match self.when {
            When::Used(period) => period.as_nanos() as u64,
            When::Leaving | When::Calling(_) => 1,
            When::Never => 0,
        };
        attr.sample_type = (abi::PERF_SAMPLE_IP
            | abi::PERF_SAMPLE_TID
            | abi::PERF_SAMPLE_TIME
            | abi::PERF_SAMPLE_ID
            | abi::PERF_SAMPLE_CALLCHAIN
            | abi::PERF_SAMPLE_CPU) as u64;
        if let UserStack::Dwarf(bytes) = self.user_stack
            && self.when != When::Never
        {
            attr.sample_type |= (abi::PERF_SAMPLE_REGS_USER | abi::PERF_SAMPLE_STACK_USER) as u64;
            attr.sample_regs_user = REGISTERS;
            attr.sample_stack_user = bytes;
        }
        attr.set_exclude_callchain_user(u64::from(self.user_stack != UserStack::FramePointers));
        attr.set_exclude_callchain_kernel(u64::from(matches!(self.when, When::Calling(_))));
        attr.set_inherit(1);
        if matches!(self.when, When::Used(_)) {
            attr.set_mmap(1);
            attr.set_mmap2(1);
            attr.set_comm(1);
            attr.set_comm_exec(1);
        }
        attr.set_task(1);
        attr.set_context_switch(u64::from(matches!(self.when, When::Used(_) | When::Never)));
        attr.set_sample_id_all(1);
        attr.set_use_clockid(1);
        attr.set_exclude_hv(1);
        attr.set_watermark(1);
        attr.__bindgen_anon_2.wakeup_watermark = (self.ring_bytes() / 4) as u32;
        // SAFETY: the structure is whole and outlives the call; the kernel answers with a new descriptor or an error.
        let fd = unsafe { sys::perf_event_open(&mut attr, tid, cpu, -1, abi::PERF_FLAG_FD_CLOEXEC as _) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

impl Opening {
    /// Reads a record of such an event, with its header.
    pub fn parse(&self, bytes: &[u8]) -> Option<Entry> {
        let entry = parse(bytes, self.user_stack)?;
        let body = match entry.body {
            Body::Sample(taken) => match self.when {
                When::Leaving => Body::Out(taken),
                When::Calling(_) => {
                    let (at, address) = return_address(&taken)?;
                    Body::Called { at, address }
                }
                _ => Body::Sample(taken),
            },
            body => body,
        };
        Some(Entry { body, ..entry })
    }
}

/// Where the return address is on the stack of a thread at the entry of a function, and the address.
fn return_address(taken: &Taken) -> Option<(u64, u64)> {
    let sp = STACK_POINTER.and_then(|index| taken.registers.get(index))?;
    Some((*sp, NativeEndian::read_u64(taken.stack.get(..8)?)))
}

/// Lets an event write into the ring of another on the same CPU.
pub fn share(fd: &OwnedFd, ring: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both descriptors are open events.
    match unsafe { sys::ioctls::SET_OUTPUT(fd.as_raw_fd(), ring.as_raw_fd() as _) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A piece of a program's memory that comes from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// Where it begins.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
    /// Where in the file.
    pub offset: u64,
    /// The file.
    pub path: String,
}

/// Where a thread was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Addresses in the kernel, innermost first.
    pub kernel: Vec<u64>,
    /// Addresses in the program by frame pointers, innermost first.
    pub user: Vec<u64>,
    /// The program's registers, in the order of their bits.
    pub registers: Vec<u64>,
    /// The top of its stack, from the stack pointer on.
    pub stack: Vec<u8>,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A sample.
    Sample(Box<Taken>),
    /// A thread leaves its CPU.
    Out(Box<Taken>),
    /// A file was mapped.
    Map(Map),
    /// The process runs another program.
    Exec,
    /// A process was born.
    Fork {
        /// Of this one.
        parent: i32,
    },
    /// A thread was born, in a process or with it.
    Born {
        /// Of this one.
        parent: i32,
    },
    /// A thread ended.
    Exit,
    /// A thread began to run.
    In,
    /// A function was called whose return is probed.
    Called {
        /// Where on the stack its return address was.
        at: u64,
        /// The address.
        address: u64,
    },
    /// So many records are missing.
    Lost(u64),
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub time: u64,
    /// The process.
    pub pid: i32,
    /// The thread.
    pub tid: i32,
    /// Which of the events that were opened it is from, or from a descendant of it, on which CPU.
    pub source: Source,
    /// What it says.
    pub body: Body,
}

impl Entry {
    /// Where and when, without a stack.
    pub fn place(&self) -> Sample {
        Sample { time: self.time, tid: self.tid, tgid: self.pid, cpu: self.source.cpu, stack: 0 }
    }
}

/// An event that was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// Its number.
    pub id: u64,
    /// The CPU.
    pub cpu: u32,
}

/// Takes numbers off the front of a record.
struct Take<'a>(&'a [u8]);

impl<'a> Take<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes(4).map(NativeEndian::read_u32)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes(8).map(NativeEndian::read_u64)
    }

    fn many(&mut self, count: u64) -> Option<Vec<u64>> {
        let bytes = usize::try_from(count).ok()?.checked_mul(8)?;
        Some(self.bytes(bytes)?.chunks_exact(8).map(NativeEndian::read_u64).collect())
    }
}

/// Reads a record with its header; `None` for those that say nothing here.
fn parse(bytes: &[u8], user_stack: UserStack) -> Option<Entry> {
    let mut take = Take(bytes);
    let kind = take.u32()?;
    let misc = NativeEndian::read_u16(take.bytes(2)?);
    take.bytes(2)?;
    if kind == abi::PERF_RECORD_SAMPLE {
        return sample(&mut take, user_stack);
    }
    let mut trailer = Take(bytes.get(bytes.len().checked_sub(TRAILER)?..)?);
    let (mut pid, mut tid, time) = (trailer.u32()? as i32, trailer.u32()? as i32, trailer.u64()?);
    let source = Source { id: trailer.u64()?, cpu: trailer.u32()? };
    let body = match kind {
        abi::PERF_RECORD_LOST => {
            take.u64()?;
            Body::Lost(take.u64()?)
        }
        abi::PERF_RECORD_COMM if misc & MISC_13 != 0 => Body::Exec,
        abi::PERF_RECORD_SWITCH if misc & MISC_13 == 0 => Body::In,
        abi::PERF_RECORD_EXIT => Body::Exit,
        abi::PERF_RECORD_FORK => {
            let (child, parent) = (take.u32()? as i32, take.u32()? as i32);
            (pid, tid) = (child, take.u32()? as i32);
            let thread = take.u32()? as i32;
            if child == parent { Body::Born { parent: thread } } else { Body::Fork { parent } }
        }
        abi::PERF_RECORD_MMAP2 => Body::Map(map(&mut take)?),
        _ => return None,
    };
    Some(Entry { time, pid, tid, source, body })
}

fn map(take: &mut Take<'_>) -> Option<Map> {
    take.u64()?; // pid, tid
    let (start, length, offset) = (take.u64()?, take.u64()?, take.u64()?);
    take.bytes(24 + 8)?; // device, inode, generation; protection, flags
    let path = take.0.split(|byte| *byte == 0).next()?;
    Some(Map { start, end: start.checked_add(length)?, offset, path: String::from_utf8_lossy(path).into_owned() })
}

fn sample(take: &mut Take<'_>, user_stack: UserStack) -> Option<Entry> {
    take.u64()?; // ip, which the call chain begins with
    let (pid, tid, time) = (take.u32()? as i32, take.u32()? as i32, take.u64()?);
    let source = Source { id: take.u64()?, cpu: take.u32()? };
    let mut taken = Taken::default();
    take.u32()?;
    let count = take.u64()?;
    let mut of_user = false;
    for address in take.many(count)? {
        match address {
            CONTEXTS.. => of_user = address == CONTEXT_USER,
            _ if of_user => taken.user.push(address),
            _ => taken.kernel.push(address),
        }
    }
    if let UserStack::Dwarf(_) = user_stack {
        if take.u64()? != 0 {
            taken.registers = take.many(REGISTERS.count_ones().into())?;
        }
        let size = take.u64()?;
        let copy = take.bytes(usize::try_from(size).ok()?)?;
        let valid = if size > 0 { take.u64()? } else { 0 };
        taken.stack = copy.get(..valid.min(size) as usize)?.to_vec();
    }
    Some(Entry { time, pid, tid, source, body: Body::Sample(Box::new(taken)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u32, misc: u16, body: &[u64]) -> Vec<u8> {
        let mut bytes = vec![0; 8 + body.len() * 8];
        NativeEndian::write_u32(&mut bytes, kind);
        NativeEndian::write_u16(&mut bytes[4..], misc);
        let size = bytes.len() as u16;
        NativeEndian::write_u16(&mut bytes[6..], size);
        body.iter().zip(bytes[8..].chunks_exact_mut(8)).for_each(|(word, at)| NativeEndian::write_u64(at, *word));
        bytes
    }

    const WHO: u64 = 8 << 32 | 7; // tid 8 of pid 7

    #[test]
    fn a_sample_with_registers_and_stack() {
        let registers: Vec<u64> = (0..u64::from(REGISTERS.count_ones())).map(|n| 100 + n).collect();
        let chain = [4, CONTEXT_USER - 512 + 384, 0xffff_ffff_8100_0000, CONTEXT_USER, 0x5555];
        let mut body = vec![0x1234, WHO, 99, 77, 1];
        body.extend(chain);
        body.push(2);
        body.extend(&registers);
        body.extend([16, 0xaaaa, 0xbbbb, 8]);
        let bytes = record(abi::PERF_RECORD_SAMPLE, 2, &body);
        let entry = parse(&bytes, UserStack::Dwarf(16)).unwrap();
        assert_eq!((entry.time, entry.pid, entry.tid, entry.source), (99, 7, 8, Source { id: 77, cpu: 1 }));
        let Body::Sample(taken) = entry.body else { panic!() };
        assert_eq!((taken.kernel.as_slice(), taken.user.as_slice()), (&[0xffff_ffff_8100_0000][..], &[0x5555][..]));
        assert_eq!((taken.registers, taken.stack.len()), (registers, 8));
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut], UserStack::Dwarf(16)), None, "{cut}");
        }
    }

    #[test]
    fn switches_maps_losses_and_births() {
        let none = UserStack::None;
        let switch = |misc| parse(&record(abi::PERF_RECORD_SWITCH, misc, &[WHO, 5, 9, 1]), none);
        let source = Source { id: 9, cpu: 1 };
        assert_eq!(switch(0), Some(Entry { time: 5, pid: 7, tid: 8, source, body: Body::In }));
        assert_eq!(switch(MISC_13), None);
        let path = NativeEndian::read_u64(b"/bin/a\0\0");
        let bytes = record(abi::PERF_RECORD_MMAP2, 0, &[WHO, 0x1000, 0x2000, 0x3000, 0, 0, 0, 0, path, WHO, 6, 9, 0]);
        let map = Map { start: 0x1000, end: 0x3000, offset: 0x3000, path: "/bin/a".into() };
        assert_eq!(parse(&bytes, none).map(|entry| entry.body), Some(Body::Map(map)));
        let lost = parse(&record(abi::PERF_RECORD_LOST, 0, &[1, 44, WHO, 6, 9, 0]), none);
        assert_eq!(lost.map(|entry| entry.body), Some(Body::Lost(44)));
        let fork = |pid: u64, parent: u64| {
            let body = [parent << 32 | pid, (parent + 20) << 32 | (pid + 30), 6, WHO, 6, 9, 0];
            parse(&record(abi::PERF_RECORD_FORK, 0, &body), none).map(|entry| (entry.pid, entry.tid, entry.body))
        };
        assert_eq!(fork(9, 7), Some((9, 39, Body::Fork { parent: 7 })));
        assert_eq!(fork(7, 7), Some((7, 37, Body::Born { parent: 27 })), "a thread has its process' memory");
    }
}
