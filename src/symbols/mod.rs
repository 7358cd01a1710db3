//! Names of addresses and shapes of functions, beyond what the ground floor's tables know.
//!
//! Owns: the kernel's types ([`btf`]); programs and libraries with their symbols, debug information and static probes.
//! Does not own: what is done with a place that was found (see `probe`, `report`).
//!
//! | file or folder | what is inside |
//! | --- | --- |
//! | `binary`, `image`, `functions` | an ELF file, its bytes, its functions by name and address |
//! | `debug_file`, [`dwarf`], `types`, `locations` | separate debug files, lines, types, where variables are |
//! | [`parameters`], [`usdt`], [`instructions`] | what probes of programs need: variables, static probes, where instructions begin |
//! | [`btf`], [`kernel_arguments`] | the kernel's types, and arguments of its functions by them |
//! | [`names`], [`demangle`], `error` | addresses to names, as people write them; why a file says nothing |
//!
//! Imported by `decode`, `plugins`, `probe`, `report`, `record`, `rt` and `cli`; imports `wire` only: no control file, no trace.
//!
//! The next form of debug information: a file beside [`dwarf`], asked by [`names`] and [`parameters`].

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
