//! The `print fmt` of an event: compiled once to a program, then run over each record.
//!
//! Owns: the grammar of print fmt, the evaluation of its expressions, printf's conversions, and the list of fields
//! that stands in when a print fmt cannot be evaluated.
//! Does not own: the text of events that plugins print.
//!
//! Three steps: `lex` and `parse` make a tree of C expressions; `compile` resolves fields to offsets, sizes and signs,
//! folds constants and checks types, which leaves a `program`; `run` walks that over a record
//! without allocating. What `compile` cannot express is refused with a reason, and the event shows its fields.

use super::abi::Abi;
use super::format::EventFormat;

mod compile;
mod conv;
pub mod fields;
mod lex;
mod parse;
mod pointer;
mod program;
mod rules;
mod run;

pub use compile::compile;
pub use conv::{Base, Number, fit};
pub use program::Program;
pub use rules::{Flavor, Helper, HelperArg, Refusal, Setting, Tables};

/// Compiles the print fmt of `format` without any helper.
pub fn compile_plain(format: &EventFormat, abi: Abi, flavor: Flavor) -> Result<Program, Refusal> {
    compile(format, &Setting { abi, flavor, helpers: &|_| None })
}
