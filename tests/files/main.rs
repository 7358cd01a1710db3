//! Reading, printing and the command line: tests on files, which any machine can run and which take no lock.
//!
//! `cargo test --test files` runs all, `cargo test --test files golden::` those of one file.

mod byte_orders;
mod cli;
mod examples;
mod fake;
mod formats;
mod golden;
mod hostile;
mod json;
mod latency;
mod profile;
mod ranges;
mod symbols;
mod terminal;
mod texts;
mod windows;
mod written;
