//! A record in its place: where it is from, when it was written, and what it says.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v7-zstd-events/trace.dat");
//! use rtrec::{plugins, report::Reading};
//!
//! let mut reading = Reading::open(path.as_ref(), plugins::REGISTRY)?;
//! let mut woken = Vec::new();
//! reading.each(|record| {
//!     if record.event() == "sched_waking" {
//!         woken.extend(record.int("pid"));
//!     }
//! });
//! assert_eq!((woken.len(), woken.first()), (52, Some(&26)));
//! # Ok(()) }
//! ```

use super::input::Input;
use super::lane::Lane;
use crate::decode::meaning::Meaning;
use crate::decode::{Decoder, Scene};
use crate::wire::format::{Field, Value};
use crate::wire::record::Record as Bytes;
use crate::wire::subbuf::Lost;

/// Where the records of a stream come from: there is one stream for each CPU of each buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The CPU.
    pub cpu: u32,
    /// Index of the buffer's lane.
    pub lane: u32,
}

/// What was opened: files, their buffers, and the streams in them.
#[derive(Clone, Copy)]
pub struct Opened<'r> {
    /// The files.
    pub inputs: &'r [Input],
    /// Their buffers.
    pub lanes: &'r [Lane],
    /// Their streams, by number. More may come while a trace is recorded.
    pub origins: &'r [Origin],
}

impl<'r> Opened<'r> {
    /// A buffer of a file, for what all buffers of the file share.
    pub fn lane_of(self, file: usize) -> Option<&'r Lane> {
        self.lanes.iter().find(|lane| lane.file == file)
    }
}

/// One record.
#[derive(Clone, Copy)]
pub struct Record<'r> {
    /// Its bytes, its CPU, and its time in the unit of its lane.
    pub bytes: Bytes<'r>,
    /// The buffer it was written to.
    pub lane: &'r Lane,
    /// Number of its stream, an index of [`Opened::origins`].
    pub stream: u32,
    /// Its number among all records that are reported.
    pub seq: u64,
    /// The exit that is folded into this entry of the function graph.
    pub exit: Option<Bytes<'r>>,
    /// What the tracker of its event made of it.
    pub aux: u32,
}

impl<'r> Record<'r> {
    /// When: in nanoseconds, or in ticks of a clock that has no unit (see [`Lane::unit`]).
    #[inline]
    pub fn time(&self) -> u64 {
        self.bytes.ticks
    }

    /// On which CPU.
    #[inline]
    pub fn cpu(&self) -> u32 {
        self.bytes.cpu
    }

    /// The number of its event in its file.
    #[inline]
    pub fn id(&self) -> u16 {
        self.lane.common.id(self.bytes.data)
    }

    /// The task it was written by.
    #[inline]
    pub fn pid(&self) -> i32 {
        self.lane.common.pid(self.bytes.data)
    }

    /// The name that the task had then.
    pub fn comm(&self) -> &'r [u8] {
        self.lane.comm(self.pid(), self.seq, self.time())
    }

    /// The decoder of its event; `None` if the file has no readable format for it.
    #[inline]
    pub fn decoder(&self) -> Option<&'r Decoder> {
        self.lane.decoders.get(self.id())
    }

    /// The name of its event, empty if the file has no format for it.
    pub fn event(&self) -> &'r str {
        self.decoder().map_or("", |decoder| decoder.format().name.as_str())
    }

    /// The system of its event, empty if the file has no format for it.
    pub fn system(&self) -> &'r str {
        self.decoder().map_or("", |decoder| decoder.format().system.as_str())
    }

    /// A field of its own, or one of those that all records have.
    pub fn field(&self, name: &str) -> Option<Value<'r>> {
        Some(self.find(name)?.value(self.bytes.data, self.lane.trace.abi))
    }

    /// The value of a field that is a number, sign-extended if it has a sign.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.field(name)? {
            Value::Int(value) => Some(value),
            Value::Uint(value) => Some(value as i64),
            _ => None,
        }
    }

    fn find(&self, name: &str) -> Option<&'r Field> {
        self.decoder()?.format().field(name)
    }

    /// What its event says. Whoever asks for many records asks once for each event instead, by [`Meaning::of`].
    pub fn meaning(&self) -> Meaning {
        self.decoder().map_or(Meaning::Other, |decoder| Meaning::of(decoder.format()))
    }

    /// What surrounds it while it is printed.
    #[inline]
    pub fn scene(&self) -> Scene<'r> {
        Scene { trace: &self.lane.trace, names: &self.lane.names, seq: self.seq, exit: self.exit, aux: self.aux }
    }

    /// Appends the event's text, as it stands at the end of a line.
    pub fn text(&self, out: &mut Vec<u8>) {
        if let Some(decoder) = self.decoder() {
            decoder.text(&self.bytes, &self.scene(), out);
        }
    }
}

/// Records that were lost before a record of the same stream.
#[derive(Clone, Copy)]
pub struct Loss<'r> {
    /// How many, if that is known.
    pub lost: Lost,
    /// The buffer.
    pub lane: &'r Lane,
    /// Number of the stream.
    pub stream: u32,
    /// The CPU.
    pub cpu: u32,
    /// When the next record of the stream was written.
    pub time: u64,
}
