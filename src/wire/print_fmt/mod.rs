//! The `print fmt` of an event: compiled once to a program, then run over each record.
//!
//! Owns: the grammar of print fmt, the evaluation of its expressions, printf's conversions, and the list of fields
//! that stands in when a print fmt cannot be evaluated.
//! Does not own: the text of events that plugins print.
//!
//! Three steps: `lex` and `parse` make a tree of C expressions; `compile` resolves fields to offsets, sizes and signs,
//! folds constants and checks types, which leaves a `program`; `run` walks that over a record
//! without allocating. What `compile` cannot express is refused with a reason, and the event shows its fields.
//!
//! | file or folder | what is inside |
//! | --- | --- |
//! | `lex`, `parse` | text to tokens, tokens to a tree |
//! | `compile` | a tree to a program |
//! | `program`, `run` | the program; running it over a record |
//! | `conv`, `pointer` | conversions of numbers; the `%p` extensions |
//! | [`fields`] | an event as the list of its fields |
//! | `rules` | what all steps share: whose rules hold, what a program looks up, why a print fmt is refused |
//!
//! Imported by `decode` and `plugins`; imports its neighbours in `wire` only.
//!
//! The next function that print fmt may call: in `compile::helpers` if the kernel's header has it, else a
//! [`Helper`] of a plugin's family. The next letter after `%p`: in `pointer`.

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
