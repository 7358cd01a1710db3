//! rtrec: records the Linux kernel's traces through tracefs and reports them.
//!
//! The floors, lowest first; imports point down only:
//!
//! | floor | modules | what they know |
//! | --- | --- | --- |
//! | ground | [`wire`] | bytes in, values out: sub-buffers, event formats, print fmt; no files, no clock, no threads |
//! | ground | [`spread`] | how values are spread: percentiles and histograms in memory that does not grow |
//! | first | [`tracefs`], [`dat`], [`symbols`] | one door each: the kernel's control files, the trace.dat container, names of addresses |
//! | second | [`probe`], [`windows`] | probes by name; response-time windows: what they are, and cutting them out of records |
//! | third | [`setup`], [`report`] | settings into instances; the engine that reads traces |
//! | fourth | [`control`] | one-shot work on control files, what killed recorders have left among it |
//! | fifth | [`record`] | the recorder; it knows no windows and no report |
//! | sixth | [`rt`], [`plugins`] | windows while they are recorded; what single families of events look like |
//! | roof | [`cli`] | arguments, words for errors, exit codes |

pub mod cli;
pub mod control;
pub mod dat;
pub mod plugins;
pub mod probe;
pub mod record;
pub mod report;
pub mod rt;
pub mod setup;
pub mod spread;
pub mod symbols;
pub mod tracefs;
pub mod windows;
pub mod wire;
