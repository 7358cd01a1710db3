//! rtrec's own chores: the kernel lab, the demo, the tests, the benches and the fuzz targets.
//!
//! The library half is for the integration tests of the `rtrec` package; the binary half is `cargo xtask`.

pub mod apt;
pub mod bench;
pub mod bench_record;
pub mod busybox;
pub mod cache;
mod cpio;
pub mod demo;
pub mod error;
pub mod faults;
pub mod fuzz;
pub mod host;
pub mod kernels;
pub mod lab;
pub mod licences;
pub mod peers;
pub mod project;
pub mod setup;
pub mod suite;
pub mod vm;

pub use error::{Error, Result};
