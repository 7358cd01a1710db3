//! tracefs: the kernel's control files. The only code that opens them.
//!
//! Owns: finding or mounting the root, one `write(2)` per setting with its result checked, the names and
//! forms of the control files, and the journal of what to put back ([`undo`]).
//! Does not own: which settings a recording needs, or their order (see `record`).
//! Source: the kernel's Documentation/trace/ftrace.rst and events.rst, and the files of 6.1, 6.12 and 6.18.
//!
//! | file | what is inside |
//! | --- | --- |
//! | `root`, [`instance`] | where tracefs is; a buffer with its control files |
//! | [`file`](mod@file), `bracketed`, [`error_log`] | reading and writing one file; word lists; the kernel's own words about a refusal |
//! | [`events`], [`functions`], [`dynamic`], [`hist`] | events with filters and triggers, lists of functions, probes, histograms |
//! | [`buffer`], [`mapped`] | a CPU's raw buffer, by read and splice, or mapped |
//! | [`undo`], `error` | what is put back, as data that can be stored; what failed, with the kernel's words |
//!
//! Imported by `probe`, `setup`, `control`, `record`, `rt` and `cli`; imports `wire` only.
//!
//! The next control file: a method of [`Instance`] in the file that owns its kind, which takes the [`Undo`] that notes the
//! old value before the new one is written.

mod bracketed;
pub mod buffer;
pub mod dynamic;
mod error;
pub mod error_log;
pub mod events;
pub mod file;
pub mod functions;
pub mod hist;
pub mod instance;
pub mod mapped;
mod root;
pub mod undo;

pub use bracketed::Bracketed;
pub use error::{Error, Operation};
pub use instance::Instance;
pub use root::Tracefs;
pub use undo::Undo;
