//! One file to report: the container, and what decoding its records needs.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::dat::gradual::Gradual;
use crate::dat::source::Source;
use crate::dat::unsealed::{self, Family};
use crate::dat::{Dat, DatError, Note, ids};
use crate::plugins::Trace;
use crate::wire::abi::Abi;
pub use crate::wire::common::Common;
use crate::wire::early::Growing;
use crate::wire::tables::{Cmdlines, Kallsyms, PrintkFormats};

/// An opened file.
pub struct Input {
    /// The container.
    pub dat: Arc<Dat>,
    /// Formats and tables.
    pub trace: Trace,
    /// The path as given.
    pub path: String,
    /// Its last part, for prefixes.
    pub name: String,
    /// Where the common fields are.
    pub common: Common,
    /// Damage met while loading.
    pub notes: Vec<Note>,
}

fn open_unsealed(path: &Path, error: io::Error) -> Result<Dat, DatError> {
    let Ok(Some((file, unsealed))) = unsealed::open(path) else { return Err(DatError::Io(error)) };
    let length = file.metadata()?.len();
    let mut dat = Dat::from_source(Source::File(Arc::new(file), length))?;
    let what = if unsealed.is_alive() {
        "the recording is going on: what was written so far is reported"
    } else {
        "the recording was not completed: what had been written is reported (rtrec restore completes it)"
    };
    dat.notes.push(Note::new(0, what));
    Ok(dat)
}

/// The text of kallsyms behind its length word.
struct Symbols {
    abi: Abi,
    bytes: Option<Gradual>,
}

impl Symbols {
    /// Length of the word.
    const WORD: usize = 4;

    /// What of `bytes` is text.
    fn range(&self, bytes: &[u8]) -> Range<usize> {
        let len = self.abi.u32(bytes).map_or(0, |len| len as usize);
        let end = Symbols::WORD.saturating_add(len).min(bytes.len());
        Symbols::WORD.min(end)..end
    }
}

impl Growing for Symbols {
    fn text(&self) -> &[u8] {
        let bytes = self.bytes.as_ref().map_or(&[][..], Gradual::bytes);
        &bytes[self.range(bytes)]
    }

    fn grow(&mut self) -> bool {
        self.bytes.as_mut().is_some_and(Gradual::grow)
    }

    fn finish(mut self: Box<Self>) -> Vec<u8> {
        let mut bytes = self.bytes.take().map(Gradual::finish).unwrap_or_default();
        let range = self.range(&bytes);
        bytes.truncate(range.end);
        bytes.drain(..range.start);
        bytes
    }
}

impl Input {
    /// Opens a file and finds its tables; texts are parsed when an event needs them.
    ///
    /// Where there is no such file but one whose recorder runs or was killed, what that has written is reported.
    pub fn open(path: &Path) -> Result<Input, DatError> {
        let dat = match Dat::open(path) {
            Err(DatError::Io(error)) if error.kind() == io::ErrorKind::NotFound => open_unsealed(path, error)?,
            _ if Family::of(path).is_some() => open_unsealed(path, io::ErrorKind::NotFound.into())?,
            result => result?,
        };
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Input::new(dat, path.to_string_lossy().into_owned(), name))
    }

    /// Reads records by these formats and tables from now on.
    pub fn take_trace(&mut self, trace: Trace) {
        self.common = Common::of(trace.formats.any(), trace.abi);
        self.trace = trace;
    }

    /// Takes an opened container.
    pub fn new(dat: Dat, path: String, name: String) -> Input {
        let dat = Arc::new(dat);
        let mut trace = Trace::new(dat.abi);
        let mut notes = dat.notes.clone();
        let (formats, bad) = dat.formats();
        notes.extend(bad);
        trace.formats.reserve(formats.iter().map(|(_, text)| text.len()).sum());
        for (system, text) in &formats {
            trace.formats.push(system, text);
        }
        let mut table = |id| match dat.table(id) {
            Some(Ok(text)) => text,
            Some(Err(note)) => {
                notes.push(note);
                Vec::new()
            }
            None => Vec::new(),
        };
        trace.printk = PrintkFormats::new(table(ids::PRINTK));
        trace.cmdlines = Cmdlines::new(table(ids::CMDLINES));
        // Megabytes that most reports never look at.
        let symbols = Arc::clone(&dat);
        trace.kallsyms =
            Kallsyms::deferred(move || Box::new(Symbols { abi: symbols.abi, bytes: symbols.gradual(ids::KALLSYMS) }));
        let has_arguments = |event: &str| {
            let format = trace.formats.find("ftrace", event).and_then(|id| trace.formats.get(id));
            format.is_some_and(|format| format.field("args").is_some())
        };
        if (has_arguments("funcgraph_entry") || has_arguments("function"))
            && let Some(Ok(btf)) = dat.part(ids::BTF_FILE)
        {
            trace.btf = Some(btf);
        }
        if let Some(uname) = &dat.options.uname {
            trace.uname = String::from_utf8_lossy(uname).into_owned();
        }
        let common = Common::of(trace.formats.any(), dat.abi);
        Input { dat, trace, path, name, common, notes }
    }
}
