//! Records and stacks for programs: one file a format.
//!
//! | file | what is inside |
//! | --- | --- |
//! | [`format`](mod@format) | what a format is, and its settings |
//! | [`json`], [`csv`] | records: one JSON object a line, comma separated values; `fields` finds the values of both |
//! | [`stacks`] | stacks with their time, as analyses find them |
//! | [`folded`], [`flame`] | stacks as folded lines, as a flame graph |
//!
//! May import: `report::reading`, `decode`, `wire`. May be imported by: `report::analysis` (for [`stacks`]), `report`, `cli`.
//! A new format is a file here with a [`Format`], and one line in [`FORMATS`], from which the command line takes its names.

pub mod csv;
mod fields;
pub mod flame;
pub mod folded;
pub mod format;
pub mod json;
pub mod stacks;

use format::Format;

/// Every format.
pub const FORMATS: &[Format] = &[json::FORMAT, csv::FORMAT, folded::FORMAT, flame::FORMAT];

/// The format of that name.
pub fn named(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}
