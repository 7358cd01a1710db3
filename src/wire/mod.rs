//! Ground floor: bytes in, values out. No files, no clock, no threads, no printing.

pub mod abi;
pub mod bytes;
pub mod common;
pub mod early;
pub mod filter;
pub mod format;
mod halving;
pub mod pack;
pub mod pattern;
pub mod print_fmt;
pub mod record;
pub mod subbuf;
pub mod tables;
pub mod text;
