//! How the CPU's cycles become nanoseconds: what the kernel gives users of perf.
//!
//! Source: `struct perf_event_mmap_page` in include/uapi/linux/perf_event.h (6.1): capabilities at byte 40, `time_shift`
//! at 50, `time_mult` at 52.

use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;

use memmap2::MmapOptions;

use super::error::Error;

/// `ns = cycles * mult >> shift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Multiplier.
    pub mult: u32,
    /// Bits to shift right afterwards.
    pub shift: u32,
}

impl Scale {
    /// Nanoseconds of so many cycles.
    pub fn nanoseconds(self, cycles: u64) -> u64 {
        ((u128::from(cycles) * u128::from(self.mult)) >> self.shift) as u64
    }

    /// The TSC2NSEC option's data.
    pub fn option(self) -> Vec<u8> {
        use byteorder::{NativeEndian, WriteBytesExt};
        let mut data = Vec::with_capacity(16);
        for word in [self.mult, self.shift, 0, 0] {
            data.write_u32::<NativeEndian>(word).expect("writing to a Vec cannot fail");
        }
        data
    }
}

const CAPABILITIES: usize = 40;
const TIME_SHIFT: usize = CAPABILITIES + 8 + 2; // after pmc_width
const TIME_MULT: usize = TIME_SHIFT + 2;
const CAP_USER_TIME: u64 = 1 << 3;

/// What the kernel says; an error when it says nothing, or not the same for all CPUs.
pub fn scale(cpus: &[u32]) -> Result<Scale, Error> {
    let none = |reason| Error::NoTsc { reason };
    let mut scales = Vec::new();
    for &cpu in cpus {
        match scale_of(cpu) {
            Ok(Some(scale)) => scales.push(scale),
            Ok(None) => return Err(none("perf events of this kernel do not tell it (no cap_user_time)")),
            Err(_) => return Err(none("perf events cannot be opened here")),
        }
    }
    match scales.first() {
        Some(&first) if scales.iter().all(|&scale| scale == first) => Ok(first),
        Some(_) => Err(none("the CPUs differ in it")),
        None => Err(none("there is no CPU to ask")),
    }
}

fn scale_of(cpu: u32) -> io::Result<Option<Scale>> {
    let file = open_dummy_event(cpu)?;
    let map = MmapOptions::new().len(4096).map_raw_read_only(&file)?;
    // SAFETY: all offsets lie inside the mapped page and are aligned to their type; the kernel writes these fields once.
    let (capabilities, shift, mult) = unsafe {
        let page = map.as_ptr();
        (
            page.add(CAPABILITIES).cast::<u64>().read_volatile(),
            page.add(TIME_SHIFT).cast::<u16>().read_volatile(),
            page.add(TIME_MULT).cast::<u32>().read_volatile(),
        )
    };
    let has_scale = capabilities & CAP_USER_TIME != 0 && mult != 0 && shift < 64;
    Ok(has_scale.then_some(Scale { mult, shift: shift.into() }))
}

/// A software event that counts nothing, on one CPU.
fn open_dummy_event(cpu: u32) -> io::Result<File> {
    const SIZE: u32 = 64; // PERF_ATTR_SIZE_VER0
    const CLOSE_ON_EXEC: nix::libc::c_ulong = 1 << 3; // PERF_FLAG_FD_CLOEXEC
    // type: PERF_TYPE_SOFTWARE; size; config: PERF_COUNT_SW_DUMMY; the rest is 0.
    let mut attributes = [0u32; SIZE as usize / 4];
    (attributes[0], attributes[1], attributes[2]) = (1, SIZE, 9);
    // SAFETY: the kernel reads `SIZE` bytes of the attributes, which outlive the call.
    let fd = unsafe {
        nix::libc::syscall(nix::libc::SYS_perf_event_open, attributes.as_ptr(), -1, cpu as i32, -1, CLOSE_ON_EXEC)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just returned by the kernel, owned by nobody else.
    Ok(unsafe { File::from_raw_fd(fd as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_become_nanoseconds_as_trace_cmd_counts_them() {
        let scale = Scale { mult: 0x314d_e9a6, shift: 31 };
        assert_eq!(scale.nanoseconds(210_741_493_054), 81_175_559_244);
        assert_eq!(scale.option().len(), 16);
    }
}
