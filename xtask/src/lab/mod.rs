//! The kernel lab: boots Linux kernels in QEMU and runs commands in them.
//!
//! Owns: boots, the conversation with the agent in the guest, files in and out, one shared guest per kernel.
//! Does not own: getting kernels and programs (see `kernels`, `peers`, `busybox`), what is checked in the guests.
//!
//! A guest has two CPUs, 2 GiB of memory, no network but loopback, tracefs at its usual place, and on `PATH`: busybox,
//! rtrec, trace-cmd (the newest), and the programs of `tests/programs`. A boot takes seconds, a command milliseconds;
//! so all tests of one process share one guest per kernel, one after the other:
//!
//! ```no_run
//! # fn main() -> xtask::Result<()> {
//! use xtask::lab::{self, Kernel};
//!
//! let mut guest = lab::guest(Kernel::V6_12)?;
//! let listed = guest.text("cat /sys/kernel/tracing/available_tracers")?;
//! assert!(listed.contains("function_graph"));
//!
//! let recorded = guest.sh("trace-cmd record -e sched_switch -o t.dat ls /")?;
//! assert!(recorded.success(), "{recorded}");
//! let bytes = guest.read("/tmp/t.dat")?;
//! # assert!(!bytes.is_empty()); Ok(()) }
//! ```
//!
//! Checks for several kernels are made tests by [`crate::lab_tests`], in a test target whose name begins with `lab`.
//! `cargo test --test lab` needs `cargo xtask setup` first, and fails for a kernel that is not there; `cargo xtask test`
//! gets what is needed and lists what could not run. A native test that cannot run here says so with [`not_run`].
//! In scripts mind that a shell without a terminal has its background jobs ignore `SIGINT`: to interrupt a recording
//! use `timeout -s INT 2 rtrec record …`.
//!
//! The processor is emulated, with `-cx16` and one thread: with more, this emulator breaks the kernel's own
//! compare-and-exchange of 16 bytes and its patching of running code now and then.

mod frame;
mod guest;
mod initramfs;
mod machine;
mod shared;

pub use crate::kernels::Kernel;
pub use guest::{Guest, Outcome, Request};
pub(crate) use shared::TIMES_FILE;
pub use shared::{Session, check, guest, not_run, test_name};
