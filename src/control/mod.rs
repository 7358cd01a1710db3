//! One-shot work on control files, without readers.

pub mod journal;
