//! What is gathered along a recording, besides its records, and goes into the file at its end.
//!
//! | file | what is inside |
//! | --- | --- |
//! | [`names_over_time`] | an instance that records names of tasks and compares clocks |
//! | [`memory_maps`] | the maps of traced processes, for names of user addresses |
//! | [`optional_parts`] | starts and ends those that are wanted, and what they add to the file |
//!
//! Imported by the rest of `record`; imports none of it but its plain values (settings, errors, the observer).
//!
//! The next one: a file that starts and finishes like the others, and a field in
//! [`OptionalParts`](optional_parts::OptionalParts).

pub mod memory_maps;
pub mod names_over_time;
pub mod optional_parts;
