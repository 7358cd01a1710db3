//! rtrec: records the Linux kernel's traces through tracefs and reports them. One binary, and this library.
//!
//! The floors, lowest first; imports point down only, which `tests/floors.rs` reads from the code:
//!
//! | floor | modules | what they know |
//! | --- | --- | --- |
//! | ground | [`wire`], [`spread`] | bytes in, values out: sub-buffers, event formats, print fmt; percentiles in bounded memory |
//! | first | [`tracefs`], [`dat`], [`symbols`] | one door each: the kernel's control files, the trace.dat container, names of addresses |
//! | second | [`decode`] | the model of a trace: formats, decoders, plugins' traits, what a record means |
//! | third | [`plugins`], [`windows`], [`probe`] | families of events; response-time windows in records; probes by name |
//! | fourth | [`report`], [`setup`] | records in order of time and what is made of them; settings into instances |
//! | fifth | [`control`] | one-shot work on tracefs, without readers |
//! | sixth | [`record`] | the recorder: capture, file, sinks; it knows no windows |
//! | seventh | [`rt`] | what a recording of windows adds |
//! | eighth | [`live`] | a recording whose records are looked at while it goes on |
//! | roof | [`cli`] | arguments, words for users, exit codes |
//!
//! `record` and `report` do not know each other; neither knows `plugins`, whose registry is handed in.
//! `docs/architecture.md` walks one record and one option through the house.
//!
//! # Reading a trace
//!
//! [`report::Reading`] gives the records of a file in order of time. Counting the records of each event:
//!
//! ```no_run
#![doc = include_str!("../examples/count_events.rs")]
//! ```
//!
//! Something that keeps state takes records and losses by [`report::Take`]; how long each task ran:
//!
//! ```no_run
#![doc = include_str!("../examples/run_time.rs")]
//! ```
//!
//! A question of your own that is to work on files, through pipes and while a trace is recorded is a
//! [`report::Analysis`]: see [`report::analysis`] and [`live`].

pub mod cli;
pub mod control;
pub mod dat;
pub mod decode;
pub mod live;
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
