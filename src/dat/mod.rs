//! The trace.dat container.

pub mod chunks;
pub mod ids;
pub mod writer;
