//! Settings into instances: checked against this machine first, then written, each change with its reverse noted.
//!
//! | file | what is inside |
//! | --- | --- |
//! | [`settings`] | what is asked for: plain values |
//! | [`plan`] | [`plan::check`]: the settings against this kernel, before anything is changed |
//! | [`root`] | the tracefs root, and that nobody else empties the buffers |
//! | [`configure`](mod@configure) | [`configure()`](configure::configure): a plan into control files; rtrec's own threads left out |
//! | `functions` | the lists of functions |
//! | [`tsc`] | how cycles become nanoseconds |
//! | [`threads`] | threads of processes, by `/proc` |
//! | [`note`], [`error`] | what is worth a line, and why it failed; neither knows an option |
//!
//! Imported by `record`, `rt`, `live` and `cli`; imports `probe`, `tracefs` and what is below. Nothing here reads a buffer, so
//! commands that only set up, change or look (see `control`) can use it as it is.
//!
//! A new setting of a buffer: a field in [`settings::BufferSettings`], a check in [`plan`] if a kernel may lack it, a step
//! in [`configure`](mod@configure) where the order of its map wants it.

pub mod configure;
pub mod error;
mod functions;
pub mod note;
pub mod plan;
pub mod root;
pub mod settings;
pub mod threads;
pub mod tsc;

pub use error::Error;
pub use note::{Note, Notes};
pub use settings::{BufferSettings, EventSettings, FunctionOff, FunctionWord, Settings};
