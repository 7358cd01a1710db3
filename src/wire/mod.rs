//! Ground floor: bytes in, values out. No files, no clock, no threads, no printing.
//!
//! | file or folder | what is inside |
//! | --- | --- |
//! | [`abi`], [`bytes`] | byte order and width of `long`; a cursor that cannot panic |
//! | [`subbuf`], [`record`], [`common`] | sub-buffers and the walk over them; a record; the fields that all records have |
//! | [`format`](mod@format), [`print_fmt`] | an event's format as values; its print fmt as a program |
//! | [`filter`], [`pattern`] | conditions on fields; expressions and globs for names |
//! | [`tables`] | kernel symbols, constant strings, names of tasks |
//! | [`text`] | numbers to text |
//! | [`pack`] | records into sub-buffers |
//!
//! Imported by all others; imports none of them.
//!
//! The next format of bytes: a file here, with its unit and its source at the top, and its tests on bytes that a kernel wrote.

pub mod abi;
pub mod bytes;
pub mod common;
pub mod filter;
pub mod format;
pub mod pack;
pub mod pattern;
pub mod print_fmt;
pub mod record;
pub mod subbuf;
pub mod tables;
pub mod text;
