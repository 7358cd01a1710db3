//! One-shot work on control files, without readers.
//!
//! | file | what is inside |
//! | --- | --- |
//! | [`journal`] | the journal on disk: what is changed is noted there before it is changed |
//! | [`leftover`] | what killed recorders have left: found, put back, forgotten |
//!
//! Imported by `record` (which writes journals) and `cli`; imports `dat` and `tracefs`, and may import `setup`. It knows no
//! recorder: whoever changes control files for longer than a process lives begins here.
//!
//! Next: a file for each command that changes or shows control files and ends.

pub mod journal;
pub mod leftover;

pub use journal::{Journal, JournalLink, StandaloneJournal};
pub use leftover::{Leftover, UndoResult};
