//! One file to report: the container, and what decoding its records needs.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::dat::gradual::Gradual;
use crate::dat::source::Source;
use crate::dat::unsealed::{self, Family};
use crate::dat::{Dat, DatError, Note, ids};
use crate::decode::Trace;
use crate::symbols::names::UserNames;
use crate::wire::abi::Abi;
use crate::wire::common::Common;
use crate::wire::subbuf::Layout;
use crate::wire::tables::early::Growing;
use crate::wire::tables::{Cmdlines, Kallsyms, PrintkFormats};

/// An opened file. A copy shares what was read.
#[derive(Clone)]
pub struct Input {
    /// The container.
    pub dat: Arc<Dat>,
    /// Formats and tables.
    pub trace: Arc<Trace>,
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

    /// Spools a trace.dat that comes through a pipe into a file without a name, and opens that.
    ///
    /// A trace.dat of version 6 and the options of one of version 7 are found by their places, so nothing can be read before
    /// the last byte is there.
    pub fn from_pipe(from: &mut dyn io::Read, name: &str) -> Result<Input, DatError> {
        let mut file = tempfile::tempfile().map_err(DatError::Io)?;
        let length = io::copy(from, &mut file).map_err(DatError::Io)?;
        let dat = Dat::from_source(Source::File(Arc::new(file), length))?;
        Ok(Input::new(dat, name.to_owned(), name.to_owned()))
    }

    /// Records that come while they are recorded: read by these formats and tables, each buffer's handed in later.
    pub(super) fn live(trace: Trace, layout: Layout) -> Input {
        let dat = Dat::of_subbufs(layout, Vec::new());
        let mut input = Input::new(dat, String::new(), String::new());
        input.common = Common::of(trace.formats.any(), trace.abi);
        input.trace = Arc::new(trace);
        input
    }

    /// Lets addresses of programs have names.
    pub fn name_users(&mut self, users: Arc<UserNames>) {
        self.trace_mut().user = Some(users);
    }

    /// Adds kernel symbols: lines as in /proc/kallsyms.
    pub fn add_symbols(&mut self, more: &[u8]) {
        let trace = self.trace_mut();
        let mut text = trace.kallsyms.text().to_vec();
        if text.last().is_some_and(|byte| *byte != b'\n') {
            text.push(b'\n');
        }
        text.extend_from_slice(more);
        trace.kallsyms = Kallsyms::new(text);
    }

    fn trace_mut(&mut self) -> &mut Trace {
        Arc::get_mut(&mut self.trace).expect("what is known of a trace is changed before anybody reads it")
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
        trace.cmdlines = Arc::new(Cmdlines::new(table(ids::CMDLINES)));
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
        Input { dat, trace: Arc::new(trace), path, name, common, notes }
    }
}
