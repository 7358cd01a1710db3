//! The recorder: from settings to a sealed trace.dat or a stream, the kernel left as it was found.
//!
//! | file or folder | what is inside |
//! | --- | --- |
//! | [`settings`] | what a recording is asked to be, by who uses it |
//! | [`run`](mod@run) | the orchestrator: the list of the steps |
//! | `sink`, `to_file`, `coordinator`, `to_stream`, `tee` | where records go: a file (or several), a receiver, or both |
//! | [`capture`] | readers, the command, signals, limits, the one loop that waits |
//! | [`file`](mod@file) | the file that a recording becomes |
//! | [`along`] | what is gathered along the recording |
//! | [`companion`] | what may take part besides: one trait, called at the orchestrator's steps |
//! | [`observer`], [`outcome`], [`taken`], [`error`] | what is noted meanwhile, what it has brought, what readers bring, why it failed |
//!
//! Imported by `rt`, `live` and `cli`; imports `control`, `setup`, `probe`, `dat`, `tracefs` and what is below. It knows no windows,
//! no report, and prints nothing.
//!
//! The next place where records may go: a file beside `to_file` with a `Sink` (see `sink`), and a target in [`run`](mod@run).
//! What takes part in a recording and is not about recording: a [`companion`] outside of this folder.

pub mod along;
pub mod capture;
pub mod companion;
mod coordinator;
pub mod error;
pub mod file;
pub mod observer;
pub mod outcome;
pub mod run;
pub mod settings;
mod sink;
pub mod taken;
mod tee;
mod to_file;
pub mod to_stream;

pub use companion::{Alone, Companion};
pub use error::Error;
pub use file::metadata::configured_cpus;
pub use observer::{NoObserver, Note, Observer, Progress};
pub use outcome::{BufferOutcome, CpuOutcome, Emptiness, Ending, Outcome, Stop};
pub use run::{run, stream, stream_and_keep};
pub use settings::{
    AlongSettings, CaptureSettings, FileSettings, FileVersion, Limits, Pace, ReaderChoice, Rotation, Settings, Tail,
};
pub use to_stream::{Receiver, Round, StreamMetadata};
