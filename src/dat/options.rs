//! What the options of a trace.dat file say about all of it.

use super::ids;
use super::source::Take;
use crate::wire::abi::Abi;

/// Cycles to nanoseconds: `ns = cycles * mult >> shift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tsc2Nsec {
    /// Multiplier.
    pub mult: u32,
    /// Bits to shift right afterwards, below 64.
    pub shift: u32,
    /// Nanoseconds to add; stored, but trace-cmd does not use it.
    pub offset: u64,
}

/// Samples of the difference between a guest's clock and its host's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeShift {
    /// `TRACEID` of the host's file.
    pub peer: u64,
    /// Interpolate between samples.
    pub interpolate: bool,
    /// Per CPU: samples of (time, offset, scaling, fraction bits).
    pub cpus: Vec<Vec<(i64, i64, i64, i64)>>,
}

/// One guest of a host's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Name given while recording.
    pub name: String,
    /// `TRACEID` of the guest's file.
    pub trace_id: u64,
    /// Guest CPU and host pid of the thread that runs it.
    pub cpus: Vec<(u32, u32)>,
}

/// The options of a file that say something about all of it. Texts as stored, without the final NUL.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Microseconds to add to every timestamp.
    pub date_us: Option<i64>,
    /// Units to add to every timestamp.
    pub offset: Option<i64>,
    /// Buffer statistics, one text per CPU.
    pub cpustats: Vec<Vec<u8>>,
    /// Content of `trace_clock`.
    pub trace_clock: Option<Vec<u8>>,
    /// `uname -a` in short.
    pub uname: Option<Vec<u8>>,
    /// CPUs of the machine.
    pub cpu_count: Option<u32>,
    /// Version of the recorder.
    pub version: Option<Vec<u8>>,
    /// Hooks of trace-cmd profile.
    pub hooks: Vec<Vec<u8>>,
    /// Memory maps of processes.
    pub proc_maps: Vec<Vec<u8>>,
    /// Id of the recording.
    pub trace_id: Option<u64>,
    /// Guest clock corrections.
    pub time_shifts: Vec<TimeShift>,
    /// Guests recorded with it.
    pub guests: Vec<Guest>,
    /// How to turn cycles into nanoseconds.
    pub tsc2nsec: Option<Tsc2Nsec>,
    /// `instance:last_boot_info`.
    pub last_boot: Vec<Vec<u8>>,
}

/// A C integer literal: decimal, 0x hexadecimal or 0 octal.
pub(super) fn c_integer(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        u64::from_str_radix(hex, 16).ok()?
    } else if digits.len() > 1 && digits.starts_with('0') {
        u64::from_str_radix(digits, 8).ok()?
    } else {
        digits.parse().ok()?
    };
    Some(if negative { (value as i64).wrapping_neg() } else { value as i64 })
}

/// A text option: up to the first NUL.
fn text(data: &[u8]) -> &[u8] {
    data.split(|byte| *byte == 0).next().unwrap_or(&[])
}

impl Options {
    /// Takes one option that says something about all of the file; `false` if its data are too short for its kind.
    pub(super) fn take(&mut self, id: u16, data: &[u8], abi: Abi) -> bool {
        let owned = || text(data).to_vec();
        match id {
            ids::DATE => self.date_us = c_integer(text(data)),
            ids::OFFSET => self.offset = c_integer(text(data)),
            ids::CPUSTAT => self.cpustats.push(owned()),
            ids::TRACECLOCK => self.trace_clock = Some(owned()),
            ids::UNAME => self.uname = Some(owned()),
            ids::HOOK => self.hooks.push(owned()),
            ids::VERSION => self.version = Some(owned()),
            ids::PROCMAPS => self.proc_maps.push(owned()),
            ids::LAST_BOOT_INFO => self.last_boot.push(owned()),
            ids::CPUCOUNT => match abi.u32(data) {
                Some(n) => self.cpu_count = Some(n),
                None => return false,
            },
            ids::TRACEID => match abi.u64(data) {
                Some(n) => self.trace_id = Some(n),
                None => return false,
            },
            ids::TIME_SHIFT => match time_shift(data, abi) {
                Some(shift) => self.time_shifts.push(shift),
                None => return false,
            },
            ids::GUEST => match guest(data, abi) {
                Some(guest) => self.guests.push(guest),
                None => return false,
            },
            ids::TSC2NSEC => {
                let mut take = Take::new(data, abi);
                let (Some(mult), Some(shift)) = (take.u32(), take.u32()) else {
                    return false;
                };
                if mult == 0 || shift > 63 {
                    return false;
                }
                self.tsc2nsec = Some(Tsc2Nsec { mult, shift, offset: take.u64().unwrap_or(0) });
            }
            _ => {}
        }
        true
    }
}

fn time_shift(data: &[u8], abi: Abi) -> Option<TimeShift> {
    let mut take = Take::new(data, abi);
    let peer = take.u64()?;
    let interpolate = take.u32()? & 1 != 0;
    let n = take.u32()?;
    let mut cpus: Vec<Vec<(i64, i64, i64, i64)>> = Vec::new();
    for _ in 0..n {
        let count = take.u32()? as usize;
        let mut row = || {
            let bytes = take.bytes(count.checked_mul(8)?)?;
            Some(bytes.chunks_exact(8).map(|b| abi.u64(b).unwrap_or(0) as i64).collect::<Vec<i64>>())
        };
        let (times, offsets, scalings) = (row()?, row()?, row()?);
        cpus.push((0..count).map(|i| (times[i], offsets[i], scalings[i], 0)).collect());
    }
    // Fraction bits were added at the end later on.
    for samples in &mut cpus {
        let Some(bytes) = take.bytes(samples.len() * 8) else {
            break;
        };
        for (sample, bits) in samples.iter_mut().zip(bytes.chunks_exact(8)) {
            sample.3 = abi.u64(bits).unwrap_or(0) as i64;
        }
    }
    Some(TimeShift { peer, interpolate, cpus })
}

fn guest(data: &[u8], abi: Abi) -> Option<Guest> {
    let mut take = Take::new(data, abi);
    let name = String::from_utf8_lossy(take.cstr()?).into_owned();
    let trace_id = take.u64()?;
    let n = take.u32()?;
    let mut cpus = Vec::new();
    for _ in 0..n {
        cpus.push((take.u32()?, take.u32()?));
    }
    Some(Guest { name, trace_id, cpus })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_integers_are_read_like_c_does() {
        assert_eq!(c_integer(b"0x660be3808ed8c"), Some(0x0006_60be_3808_ed8c));
        assert_eq!(c_integer(b"-5"), Some(-5));
        assert_eq!(c_integer(b"017"), Some(15));
        assert_eq!(c_integer(b"0"), Some(0));
        assert_eq!(c_integer(b"x"), None);
    }
}
