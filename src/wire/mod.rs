//! Ground floor: bytes in, values out. No files, no clock, no threads, no printing.

pub mod abi;
pub mod record;
pub mod subbuf;
