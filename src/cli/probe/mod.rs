//! `rtrec uprobe`, `rtrec kprobe` and `rtrec probe`: probes by name.
//!
//! | file | what is inside |
//! | --- | --- |
//! | `args` | what the three take on the command line |
//! | `live` | probes for the time of a trace, hits printed as they come |
//! | `count`, `latency` | hits that are only counted; how long calls take |
//! | `list` | what could be probed |
//! | `manage` | probes that stay: `add`, `list`, `show`, `del` |
//!
//! Imported by `cli`; imports `cli::common`, and `cli::report` and `cli::reset` for what it prints or undoes with them. The next
//! thing to do with hits: a file beside `count`, chosen in `live`.

mod args;
mod count;
mod latency;
mod list;
mod live;
mod manage;

pub(super) use args::{KprobeArgs, ProbeArgs, UprobeArgs};
pub(super) use live::{kprobe, uprobe};
pub(super) use manage::run as manage;
