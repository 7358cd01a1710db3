//! The file that a recording becomes.

pub mod beside;
pub mod first_sections;
pub mod metadata;
pub mod output;
pub mod restore;
pub mod rotation;
pub mod seal;
pub mod segments;
