//! Taking records out of the kernel while a command runs.
//!
//! | file | what is inside |
//! | --- | --- |
//! | [`course`] | from "all is set" to "all is taken": start, wait, stop |
//! | [`wait`](mod@wait) | the one loop that waits for the end |
//! | [`reader`], [`readers`] | one CPU's reader; the threads of all readers |
//! | [`priority`] | the priority of readers |
//! | [`child`], [`user`] | the command, held until all is ready; whom it runs as |
//! | [`signals`], [`second_signal`] | what stops a recording; what makes its end hurry |
//! | [`limits`] | sizes, the disk, a machine that tracing leaves no time |
//!
//! Imported by the orchestrator and its sinks, and by `rt` for its own threads; imports `record::file` (readers write
//! segments), `record::along` (maps of the command) and `setup`.
//!
//! The next reason to stop: a variant of [`Stop`](crate::record::Stop), found in [`wait`](mod@wait) if it comes from
//! outside, in [`limits`] if it is a bound, or by a sink in its [`Attend`](wait::Attend).

pub mod child;
pub mod course;
pub mod limits;
pub mod priority;
pub mod reader;
pub mod readers;
pub mod second_signal;
pub mod signals;
pub mod user;
pub mod wait;
