//! Taking data out of the kernel while a command runs.

pub mod child;
pub mod limits;
pub mod priority;
pub mod reader;
pub mod second_signal;
pub mod signals;
