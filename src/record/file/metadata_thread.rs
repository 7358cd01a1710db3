//! The first sections of a file, which take the longest: formats, symbols, constant strings.
//!
//! Owns: the thread that reads, packs and writes them beside everything else, from before the kernel is set up until
//! its settings have been put back:
//! ```text
//!   recorder   | sets the kernel up | command runs ...                    | puts back |
//!   symbols    | reads ........................ |
//!   metadata                           | formats | | packs | names of tasks | (idle)    |
//! ```
//! Nothing is put back before the formats have been read: probes are gone then, and sub-buffers have another size.
//! Does not own: what the metadata are (see `metadata`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::metadata;
use crate::dat::writer::Writer;
use crate::probe::FieldValues;
use crate::record::error::Error;
use crate::tracefs::Instance;
use crate::tracefs::events::EventName;

/// Room for names, counters and options, and for a piece of data that is moved.
const RESERVE_BYTES: u64 = 3 << 20;

/// What is to be read and where it goes.
pub struct MetadataRequest {
    /// Where the formats are.
    pub top: Instance,
    /// Buffers that trace functions.
    pub functions: Vec<Instance>,
    /// The events whose formats the file needs.
    pub events: BTreeSet<EventName>,
    /// Names of values in events that are probes.
    pub values: BTreeMap<EventName, FieldValues>,
    /// Where the names of tasks go, for a trace that has to be restored.
    pub names: PathBuf,
}

/// What has been read.
pub struct WrittenMetadata {
    /// The file with its first sections.
    pub writer: Writer,
    /// Whether kernel addresses can be resolved.
    pub has_symbols: bool,
    /// Names of threads that lived while the command ran, for those that the kernel forgets.
    pub threads: BTreeMap<i32, Vec<u8>>,
}

/// How far the recorder is.
enum Signal {
    /// The kernel is set up: the file, of which only the header is there.
    KernelReady(Writer),
    /// The command runs.
    CommandRuns,
}

/// The thread. Dropping it waits for its end.
pub struct MetadataThread {
    steps: Option<Sender<Signal>>,
    formats_read: Receiver<()>,
    thread: Option<JoinHandle<Result<WrittenMetadata, Error>>>,
}

impl MetadataThread {
    /// Begins to read.
    pub fn begin(request: MetadataRequest) -> Result<Self, Error> {
        let failed = Error::system("starting a thread");
        let named = |name: &str| thread::Builder::new().name(format!("rtrec/{name}"));
        let top = request.top.clone();
        let symbols = named("symbols").spawn(move || metadata::KernelSymbols::read(&top));
        let (steps, signals) = channel();
        let (reads, formats_read) = channel();
        let metadata =
            symbols.and_then(|symbols| named("texts").spawn(move || request.write(&signals, symbols, reads)));
        Ok(MetadataThread { steps: Some(steps), formats_read, thread: Some(metadata.map_err(failed)?) })
    }

    /// Tells it that the kernel is set up, so that formats can be read and written.
    pub fn kernel_is_ready(&self, writer: Writer) {
        self.send(Signal::KernelReady(writer));
    }

    /// Tells it that the command runs, so that names can be read.
    pub fn command_runs(&self) {
        self.send(Signal::CommandRuns);
    }

    /// Waits until everything is read that is not the same once the kernel's settings are put back.
    pub fn wait_for_formats(&self) {
        // Without an answer it has failed, which is said by `finish`.
        let _ = self.formats_read.recv();
    }

    fn send(&self, step: Signal) {
        // Without a listener it has failed, which is said by `finish`.
        let _ = self.steps.as_ref().map(|steps| steps.send(step));
    }

    /// Whether all is written that does not change while recording.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Waits for what it has brought.
    pub fn finish(mut self) -> Result<WrittenMetadata, Error> {
        let panicked =
            || Err(Error::System { step: "reading the formats", source: io::Error::other("a thread panicked") });
        let joined = self.thread.take().map(JoinHandle::join);
        joined.and_then(Result::ok).unwrap_or_else(panicked)
    }
}

impl Drop for MetadataThread {
    fn drop(&mut self) {
        self.steps = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl MetadataRequest {
    fn write(
        self,
        signals: &Receiver<Signal>,
        symbols: JoinHandle<metadata::KernelSymbols>,
        formats_read: Sender<()>,
    ) -> Result<WrittenMetadata, Error> {
        // Without a word nothing was recorded, and why is said elsewhere.
        let unheard = || Error::Interrupted(0);
        let Ok(Signal::KernelReady(mut writer)) = signals.recv() else { return Err(unheard()) };
        let metadata = metadata::Metadata::read(&self.top, &self.events);
        let types = metadata::types_for_arguments(self.functions.iter());
        drop(formats_read);
        let mut metadata = metadata.map_err(Error::at("reading the formats"))?;
        metadata.types = types;
        metadata.add_enum_names(&self.values);
        metadata.symbols = symbols.join().unwrap_or_default();
        writer.sections(&metadata.sections()).map_err(Error::system("writing the formats"))?;
        writer.reserve(RESERVE_BYTES);
        let Ok(Signal::CommandRuns) = signals.recv() else { return Err(unheard()) };
        let threads = metadata::living_threads();
        // For a restored trace only; without them fewer tasks have names there.
        let _ = std::fs::write(&self.names, metadata::merge_names(&[], &threads));
        Ok(WrittenMetadata { writer, has_symbols: metadata.symbols.has_addresses(), threads })
    }
}
