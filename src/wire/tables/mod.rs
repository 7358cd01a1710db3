//! The tables that come with a trace: kernel symbols, constant strings, and names of tasks.
//!
//! Owns: reading `kallsyms`, `printk_formats` and `saved_cmdlines`, and answering look-ups on the hot path.
//! Does not own: where the texts come from (see `dat`, `tracefs`).
//!
//! | file | what is inside |
//! | --- | --- |
//! | `kallsyms` | [`Kallsyms`]: kernel symbols by address |
//! | [`early`], `halving` | the first look-ups in kallsyms, before there is an index |
//! | `printk` | [`PrintkFormats`]: constant strings by address |
//! | `names` | [`Cmdlines`]: names of tasks as stored; [`Names`]: those and what is learned while reading |
//!
//! Each table is parsed when first asked. Imported by whoever makes text of records or stores names; imports its neighbours in
//! `wire` only. A new table is a file here.

pub mod early;
mod halving;
mod kallsyms;
mod names;
mod printk;

pub use kallsyms::{Kallsyms, Symbol};
pub use names::{Cmdlines, Names};
pub use printk::PrintkFormats;
