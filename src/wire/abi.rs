//! The machine that wrote the bytes: its byte order and the width of its kernel's `long`.
//!
//! Never the host's: every multi-byte value of a trace is read through an [`Abi`], or through a function
//! that is generic over [`byteorder::ByteOrder`] and was chosen once by it.

use byteorder::{BigEndian, ByteOrder, LittleEndian};

/// Byte order of the traced machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// Byte order and kernel long size of the traced machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abi {
    /// Byte order of file data and of records.
    pub endian: Endian,
    /// Bytes of a kernel `long` and of a pointer: 4 or 8.
    pub long_bytes: u8,
}

impl Abi {
    /// The machine this program runs on.
    pub const HOST: Abi = Abi {
        endian: if cfg!(target_endian = "big") { Endian::Big } else { Endian::Little },
        long_bytes: size_of::<usize>() as u8,
    };

    /// Reads a `u16`; `None` when `bytes` is shorter.
    #[inline]
    pub fn u16(self, bytes: &[u8]) -> Option<u16> {
        let bytes = bytes.get(..2)?;
        Some(match self.endian {
            Endian::Little => LittleEndian::read_u16(bytes),
            Endian::Big => BigEndian::read_u16(bytes),
        })
    }

    /// Reads a `u32`; `None` when `bytes` is shorter.
    #[inline]
    pub fn u32(self, bytes: &[u8]) -> Option<u32> {
        let bytes = bytes.get(..4)?;
        Some(match self.endian {
            Endian::Little => LittleEndian::read_u32(bytes),
            Endian::Big => BigEndian::read_u32(bytes),
        })
    }

    /// Reads a `u64`; `None` when `bytes` is shorter.
    #[inline]
    pub fn u64(self, bytes: &[u8]) -> Option<u64> {
        let bytes = bytes.get(..8)?;
        Some(match self.endian {
            Endian::Little => LittleEndian::read_u64(bytes),
            Endian::Big => BigEndian::read_u64(bytes),
        })
    }

    /// Reads an unsigned integer of 1, 2, 4 or 8 bytes; `None` for any other width.
    #[inline]
    pub fn uint(self, bytes: &[u8]) -> Option<u64> {
        match bytes.len() {
            1 => Some(u64::from(bytes[0])),
            2 => self.u16(bytes).map(u64::from),
            4 => self.u32(bytes).map(u64::from),
            8 => self.u64(bytes),
            _ => None,
        }
    }

    /// Reads a kernel `long` as unsigned.
    #[inline]
    pub fn ulong(self, bytes: &[u8]) -> Option<u64> {
        self.uint(bytes.get(..usize::from(self.long_bytes))?)
    }
}
