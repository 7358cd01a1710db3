//! Names of addresses and shapes of functions, beyond what the ground floor's tables know.
//!
//! Owns: the kernel's types ([`btf`]); programs and libraries with their symbols, debug information and static probes.
//! Does not own: what is done with a place that was found (see `probe`, `report`).

mod binary;
pub mod btf;
mod debug_file;
pub mod demangle;
pub mod dwarf;
mod error;
mod functions;
mod image;
pub mod instructions;
pub mod kernel_arguments;
mod locations;
pub mod names;
pub mod parameters;
mod types;
pub mod usdt;

pub use binary::{Binary, Machine, Segment};
pub use debug_file::{Search, Verdict};
pub use error::BinaryError;
pub use functions::{Function, Functions};
