//! rtrec's own chores: the kernel lab, the demo and the tests.
//!
//! The library half is for the integration tests of the `rtrec` package; the binary half is `cargo xtask`.

pub mod apt;
pub mod cache;
pub mod error;
pub mod host;
pub mod peers;

pub use error::{Error, Result};
