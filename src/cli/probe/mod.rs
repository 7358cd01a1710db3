//! `rtrec uprobe`, `rtrec kprobe` and `rtrec probe`: probes by name.

mod args;
mod count;
mod latency;
mod list;
mod live;
mod manage;

pub(super) use args::{KprobeArgs, ProbeArgs, UprobeArgs};
pub(super) use live::{kprobe, uprobe};
pub(super) use manage::run as manage;
