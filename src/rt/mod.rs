//! Response-time windows while recording.

pub mod in_kernel;
pub mod only_slow;
pub mod sampling;
mod waiting;
pub mod windows;
