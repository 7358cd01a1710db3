//! What a format is that records or stacks are exported in.

use std::io::{self, Write};

use super::stacks::Stacks;
use crate::report::reading::batch::Batch;
use crate::report::reading::pool::Render;
use crate::report::reading::record::Opened;

/// What is exported of records.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ExportSettings {
    /// Fields of each record; the usual ones if empty.
    pub fields: Vec<String>,
    /// Begin with the names of columns, where the format has them.
    pub heading: bool,
}

/// Turns records into one format.
pub(in crate::report) trait RecordWriter: Render<Batch> {
    /// What stands before the first record.
    fn heading(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// Makes a writer for what was opened.
type MakeWriter = for<'r> fn(Opened<'r>, &'r ExportSettings) -> Box<dyn RecordWriter + 'r>;

/// Prints stacks.
type PrintStacks = fn(&Stacks, &mut dyn Write) -> io::Result<()>;

/// A format: what it can hold.
#[derive(Clone, Copy)]
pub struct Format {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// Records, one by one.
    pub(in crate::report) records: Option<MakeWriter>,
    /// Stacks with their time.
    pub(in crate::report) stacks: Option<PrintStacks>,
}

impl std::fmt::Debug for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Format {
    /// Whether it holds records, one by one.
    pub fn has_records(&self) -> bool {
        self.records.is_some()
    }

    /// Whether it holds stacks with their time.
    pub fn has_stacks(&self) -> bool {
        self.stacks.is_some()
    }

    /// A format of nothing, for the parts that an entry leaves out.
    pub(super) const NONE: Format = Format { name: "", about: "", records: None, stacks: None };
}
