//! Response-time windows while they are recorded: a companion of the recorder.
//!
//! | file or folder | what is inside |
//! | --- | --- |
//! | [`settings`] | which windows, and what is recorded of them |
//! | [`buffer`](mod@buffer) | the buffer they are recorded in, and the probes they need |
//! | [`companion`] | [`Windows`]: what is done at the recorder's steps |
//! | [`recorder`] | which threads there are; samples begun and ended |
//! | [`only_slow`], [`held_records`] | the thread that keeps the records of slow windows only, and those that wait for older ones |
//! | [`in_kernel`], [`snapshots`] | histograms that judge windows in the kernel; snapshots of what was slow |
//! | [`sampling`] | stacks of traced threads, taken by a clock of their own CPU time |
//! | [`window_states`] | what is known of windows meanwhile |
//! | [`note`], [`error`] | what is worth a line, and why it cannot be done |
//!
//! Imported by `cli`; imports `record` (the companion's trait, files, readers' scheduling), `setup`, `windows` and what is
//! below. The rules of windows are in `windows`.
//!
//! What a kernel may do for windows next is a file beside [`snapshots`]; what is gathered with them a folder beside
//! [`sampling`]; both are called by [`companion`].

pub mod buffer;
pub mod companion;
pub mod error;
pub mod held_records;
pub mod in_kernel;
pub mod note;
pub mod only_slow;
pub mod recorder;
pub mod sampling;
pub mod settings;
pub mod snapshots;
pub mod window_states;

pub use buffer::{WindowProbe, buffer};
pub use companion::Windows;
pub use error::{Error, Refusal};
pub use note::{Note, WindowObserver};
pub use only_slow::EARLY_NS;
pub use settings::{UserStack, WindowSettings};
