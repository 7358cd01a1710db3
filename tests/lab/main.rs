//! Checks that run on the lab's kernels: every test is one check on one of them.
//!
//! `cargo xtask test --lab` runs them on the kernels that can be had and says which could not. Under plain
//! `cargo test --test lab` a kernel that is not there fails its tests: a check that did not run has not passed.

#[path = "../common/mod.rs"]
mod common;
mod faults;
mod guest;
mod judge;
mod options;
mod parity;
mod probes;
mod record;
mod windows;
