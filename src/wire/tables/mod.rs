//! The tables that come with a trace: kernel symbols, constant strings, and names of tasks.
//!
//! Owns: reading `kallsyms`, `printk_formats` and `saved_cmdlines`, and answering look-ups on the hot path.
//! Does not own: where the texts come from (see `dat`, `tracefs`).
//!
//! | file | what is inside |
//! | --- | --- |
//! | `kallsyms` | [`Kallsyms`]: kernel symbols by address |
//! | `printk` | [`PrintkFormats`]: constant strings by address |
//! | `names` | [`Cmdlines`]: names of tasks as stored; [`Names`]: those and what is learned while reading |
//!
//! Each table is parsed when first asked. A new table is a file here.

mod kallsyms;
mod names;
mod printk;

pub use kallsyms::{Kallsyms, Symbol};
pub(super) use kallsyms::{parse_symbol, sixteen_digits};
pub use names::{Cmdlines, Names};
pub use printk::PrintkFormats;
