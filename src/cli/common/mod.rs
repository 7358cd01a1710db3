//! What several subcommands need.
//!
//! | file | what is inside |
//! | --- | --- |
//! | `say` | lines on stderr and stdout that survive closed streams |
//! | `explain` | errors in words: the only place that finds words for them |
//! | `units` | sizes, durations, numbers as people write them |
//! | `limits`, `windows`, `inside` | options that several subcommands take: limits, windows, what is recorded inside of windows |
//! | `recording` | records, says how it went, gives the exit status |
//! | `stderr` | what a recording says on stderr |
//! | `daemon` | the way to the background |
//! | `live` | prints records while they are recorded |
//! | `pager` | long text on a terminal |
//!
//! Imported by all subcommands; imports none. What a second subcommand comes to need moves here.

pub(super) mod daemon;
pub(super) mod explain;
pub(super) mod inside;
pub(super) mod limits;
pub(super) mod live;
pub(super) mod pager;
pub(super) mod recording;
pub(super) mod say;
pub(super) mod stderr;
pub(super) mod units;
pub(super) mod windows;
