//! The model of a trace: its formats and tables, what a record is, and how records become text.
//!
//! | file | what is inside |
//! | --- | --- |
//! | [`formats`] | the formats of all events, parsed when first asked for |
//! | [`trace`] | what is known of a trace besides its records: formats, symbols, names of tasks |
//! | [`style`] | how the reader wants events to look: whose text, which plugins, their options |
//! | [`plugin`] | what a plugin is: the traits [`Plugin`] and [`Tracker`], a [`Family`] of events, the [`Registry`] |
//! | [`decoder`] | from the bytes of a record to text |
//! | [`pairing`] | which records open and close a function |
//! | [`flags`] | the column of latency flags |
//! | [`field`] | fields found once and read from each record |
//! | [`meaning`] | what a record is: a switch, a wake-up, a system call, … |
//! | `testing` | for tests: formats of whole kernels, and records of their events |
//!
//! Owns: everything that is true of a trace whoever looks at it. Does not own: families of events (`plugins` has a file for
//! each and hands the registry in), order and selection of records (`report`).
//!
//! May import: `wire`, `symbols`. May be imported by: `plugins`, `windows`, `report`, `rt`, `live`, `cli`. A new family of
//! events is a file in `plugins`; a new kind of record is a variant of [`meaning::Meaning`].

pub mod decoder;
pub mod field;
pub mod flags;
pub mod formats;
pub mod meaning;
pub mod pairing;
pub mod plugin;
pub mod style;
#[cfg(test)]
pub(crate) mod testing;
pub mod trace;

pub use decoder::{Decoder, Decoders};
pub use flags::LatencyFlags;
pub use formats::{EventText, Formats};
pub use pairing::Pairing;
pub use plugin::{Context, Family, OptionSpec, Plugin, Registry, Scene, Then, Tracked, Tracker};
pub use style::{Compat, Ignore, PluginSet, PluginSetting, Style, StyleError};
pub use trace::Trace;
