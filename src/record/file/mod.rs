//! The file that a recording becomes, from its first temporary file to its name.
//!
//! | file | what is inside |
//! | --- | --- |
//! | [`output`], [`ownership`] | its temporary files and its journal; whose it is |
//! | [`segments`] | one CPU's records, a file at a time |
//! | [`section_files`] | files beside it that become sections of rtrec's own |
//! | [`metadata`], [`metadata_thread`] | formats, symbols, names; the thread that reads and writes the first sections |
//! | [`rotation`] | several files, one after the other |
//! | [`sealing`], [`completion`] | the closing sections; all of it put together and named |
//! | [`restore`] | the same for a recorder that is no more |
//!
//! Imported by `record::capture`, the sinks and `rt`; imports `dat`, `setup`, `control` (the journal) and
//! `record::along`. What the kernel is asked for at the end is asked in [`sealing`], before settings are put back.
//!
//! The next section of the file: in [`metadata`] if it is known when the recording begins, else in [`sealing`]; one that
//! grows while recording is a [`section_files::AppendFile`].

pub mod completion;
pub mod metadata;
pub mod metadata_thread;
pub mod output;
pub mod ownership;
pub mod restore;
pub mod rotation;
pub mod sealing;
pub mod section_files;
pub mod segments;
