//! Recording on the running kernel: tests that need root and tracefs. They take a lock, since tracefs is one for all.
//!
//! `cargo test --test live` runs all, `cargo test --test live kills::` those of one file.

#[path = "../common/mod.rs"]
mod common;
mod disks;
mod faults;
mod kills;
mod names;
mod options;
mod probes;
mod recording;
mod stream;
mod window_kills;
mod windows;
