//! Response-time windows and what is recorded for their sake. Plain values.

use std::path::PathBuf;
use std::time::Duration;

use crate::windows::WindowConfig;

/// Which windows there are, and what is recorded of them.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WindowSettings {
    /// Which there are.
    pub session: WindowConfig,
    /// The instance in which they are recorded.
    pub instance: String,
    /// Distance of samples in CPU time.
    pub sample: Option<Duration>,
    /// How stacks of programs are taken with samples.
    pub user_stack: UserStack,
    /// Samples that cost more than they show are wanted.
    pub forced: bool,
    /// Keep slow windows only; a thread's records may take so many bytes while a window is open.
    pub only_slow: Option<u64>,
    /// The kernel judges which are slow, and takes snapshots.
    pub in_kernel: bool,
    /// Where counts of windows are written down now and then.
    pub status: Option<PathBuf>,
}

/// How stacks of programs are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserStack {
    /// Not at all.
    None,
    /// By frame pointers.
    #[default]
    FramePointers,
    /// By copies of so many bytes of the stack, which are unwound by the programs' unwind tables.
    Dwarf(u32),
}

impl UserStack {
    /// Its name, as files store it.
    pub fn name(self) -> &'static str {
        match self {
            UserStack::None => "none",
            UserStack::FramePointers => "fp",
            UserStack::Dwarf(_) => "dwarf",
        }
    }
}
