//! The fields that every record begins with: event, task, flags.

use super::abi::Abi;
use super::format::{EventFormat, Field};

/// Offsets of the common fields of every record.
#[derive(Clone, Copy, Debug)]
pub struct Common {
    abi: Abi,
    id: (u16, u16),
    pid: (u16, u16),
    flags: (u16, u16),
}

impl Common {
    /// From any event's format; the usual places when there is none.
    pub fn of(format: Option<&EventFormat>, abi: Abi) -> Common {
        let place = |name: &str, usual: (u16, u16)| {
            let field: Option<&Field> = format.and_then(|format| format.common.iter().find(|field| field.name == name));
            field.map_or(usual, |field| (field.offset, field.size))
        };
        Common {
            abi,
            id: place("common_type", (0, 2)),
            flags: place("common_flags", (2, 1)),
            pid: place("common_pid", (4, 4)),
        }
    }

    #[inline]
    fn take(&self, (at, size): (u16, u16), data: &[u8]) -> Option<u64> {
        self.abi.uint(data.get(usize::from(at)..usize::from(at) + usize::from(size))?)
    }

    /// The event's id; one that no event has if the record is too short.
    #[inline]
    pub fn id(&self, data: &[u8]) -> u16 {
        match data.get(usize::from(self.id.0)..) {
            Some(rest) if self.id.1 == 2 => self.abi.u16(rest).unwrap_or(u16::MAX),
            _ => self.take(self.id, data).and_then(|id| u16::try_from(id).ok()).unwrap_or(u16::MAX),
        }
    }

    /// The task.
    #[inline]
    pub fn pid(&self, data: &[u8]) -> i32 {
        match data.get(usize::from(self.pid.0)..) {
            Some(rest) if self.pid.1 == 4 => self.abi.u32(rest).unwrap_or(0) as i32,
            _ => self.take(self.pid, data).unwrap_or(0) as i32,
        }
    }

    /// Interrupt and scheduling state.
    #[inline]
    pub fn flags(&self, data: &[u8]) -> u8 {
        self.take(self.flags, data).unwrap_or(0) as u8
    }
}
