//! What is gathered along a recording besides its records.

pub mod gathered;
pub mod maps;
pub mod names;
