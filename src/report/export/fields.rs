//! The fields of records that a format for programs can have, and where their values come from.
//!
//! Owns: names of fields, finding their values, texts that most records share. Does not own: how a format spells values (see
//! [`Spelling`]).

use std::marker::PhantomData;
use std::sync::OnceLock;

use crate::decode::Decoder;
use crate::report::reading::clock::write_time;
use crate::report::reading::lane::{Lane, slots};
use crate::report::reading::record::{Opened, Record};
use crate::wire::abi::Abi;
use crate::wire::format::Value;
use crate::wire::text;

/// The version of the schema: raised when a field changes its meaning or goes.
const SCHEMA: u64 = 1;

/// How a format spells values.
pub(super) trait Spelling: Sync {
    /// A text.
    fn text(bytes: &[u8], out: &mut Vec<u8>);
    /// The value of an event's own field.
    fn value(value: Value<'_>, abi: Abi, out: &mut Vec<u8>);
    /// A field that the event does not have.
    fn missing(out: &mut Vec<u8>);
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Column {
    Ts,
    Time,
    Cpu,
    Pid,
    Comm,
    System,
    Event,
    Flags,
    Text,
    Buffer,
    File,
    Schema,
    EventField(String),
}

impl Column {
    fn named(name: &str) -> Column {
        match name {
            "ts" => Column::Ts,
            "time" => Column::Time,
            "cpu" => Column::Cpu,
            "pid" => Column::Pid,
            "comm" => Column::Comm,
            "system" => Column::System,
            "event" => Column::Event,
            "flags" => Column::Flags,
            "text" => Column::Text,
            "buffer" => Column::Buffer,
            "file" => Column::File,
            "schema" => Column::Schema,
            field => Column::EventField(field.to_owned()),
        }
    }
}

/// A column, and what stands before its value: a comma, perhaps its name.
struct OutputColumn {
    column: Column,
    before: Box<[u8]>,
}

/// What does not change between records of one event.
pub(super) struct EventPrefix {
    system: Box<[u8]>,
    name: Box<[u8]>,
    /// What the format makes of the event's fields once.
    pub(super) event_field: Vec<Box<[u8]>>,
}

/// Texts of the records before, which most records share.
pub(super) struct ValueCache {
    pub(super) scratch: Vec<u8>,
    tasks: [(usize, Vec<u8>); ValueCache::TASKS],
    flags: (u64, Vec<u8>),
}

impl ValueCache {
    pub(super) const TASKS: usize = 64;

    pub(super) fn new() -> ValueCache {
        let tasks = std::array::from_fn(|_| (0, Vec::new()));
        ValueCache { scratch: Vec::new(), tasks, flags: (u64::MAX, Vec::new()) }
    }
}

/// Rows of columns in one spelling.
pub(super) struct Rows<'r, S> {
    pub(super) opened: Opened<'r>,
    cells: Vec<OutputColumn>,
    /// Per file and event id.
    events: Vec<Vec<OnceLock<EventPrefix>>>,
    /// What the spelling makes of an event's fields.
    event_field: fn(&Decoder) -> Vec<Box<[u8]>>,
    spelling: PhantomData<S>,
}

impl<'r, S: Spelling> Rows<'r, S> {
    /// Columns by their names; `before` is what stands before each value, given its number.
    pub(super) fn new(
        opened: Opened<'r>,
        names: &[&str],
        before: fn(usize, &str) -> Vec<u8>,
        event_field: fn(&Decoder) -> Vec<Box<[u8]>>,
    ) -> Rows<'r, S> {
        let cell = |(number, name): (usize, &&str)| OutputColumn {
            column: Column::named(name),
            before: before(number, name).into(),
        };
        let cells = names.iter().enumerate().map(cell).collect();
        Rows { opened, cells, events: slots(opened.lanes), event_field, spelling: PhantomData }
    }

    /// What is known of the decoder's event.
    #[inline]
    pub(super) fn event(&self, lane: &Lane, decoder: &Decoder) -> Option<&EventPrefix> {
        let slot = self.events.get(lane.file)?.get(usize::from(decoder.format().id))?;
        Some(slot.get_or_init(|| {
            let spelled = |text: &str| {
                let mut out = Vec::new();
                S::text(text.as_bytes(), &mut out);
                out.into_boxed_slice()
            };
            let format = decoder.format();
            EventPrefix {
                system: spelled(&format.system),
                name: spelled(&format.name),
                event_field: (self.event_field)(decoder),
            }
        }))
    }

    /// Appends all columns of a record.
    pub(super) fn row(&self, record: &Record<'_>, memory: &mut ValueCache, out: &mut Vec<u8>) {
        let lane = record.lane;
        let decoder = record.decoder();
        let event = decoder.and_then(|decoder| self.event(lane, decoder));
        for cell in &self.cells {
            out.extend_from_slice(&cell.before);
            match (&cell.column, event) {
                (Column::Ts, _) => text::dec(out, record.time()),
                (Column::Schema, _) => text::dec(out, SCHEMA),
                (Column::Cpu, _) => text::dec(out, u64::from(record.cpu())),
                (Column::Pid, _) => text::signed(out, i64::from(record.pid())),
                (Column::System, Some(event)) => out.extend_from_slice(&event.system),
                (Column::Event, Some(event)) => out.extend_from_slice(&event.name),
                (Column::Comm, _) => {
                    let pid = record.pid();
                    self.comm(lane.comm(pid, record.seq, record.time()), pid, memory, out);
                }
                (Column::Flags, _) => self.flags(record, decoder, memory, out),
                (Column::EventField(field), _) => event_field::<S>(decoder, record, field, out),
                (column, _) => {
                    let mut scratch = std::mem::take(&mut memory.scratch);
                    scratch.clear();
                    self.words(column, record, &mut scratch);
                    S::text(&scratch, out);
                    memory.scratch = scratch;
                }
            }
        }
    }

    /// The name of a task; it stays where it is, so its place stands for it.
    #[inline]
    pub(super) fn comm(&self, comm: &[u8], pid: i32, memory: &mut ValueCache, out: &mut Vec<u8>) {
        let place = comm.as_ptr() as usize;
        let slot = &mut memory.tasks[pid as u32 as usize % ValueCache::TASKS];
        if slot.0 != place || slot.1.is_empty() {
            slot.0 = place;
            slot.1.clear();
            S::text(comm, &mut slot.1);
        }
        out.extend_from_slice(&slot.1);
    }

    #[inline]
    pub(super) fn flags(
        &self,
        record: &Record<'_>,
        decoder: Option<&Decoder>,
        memory: &mut ValueCache,
        out: &mut Vec<u8>,
    ) {
        let Some(flags) = decoder.map(Decoder::flags) else { return S::text(&[], out) };
        // Which letters a kernel means depends on its release, that is, on the file.
        let key = flags.key(&record.bytes).map_or(u64::MAX, |key| (record.lane.file as u64) << 32 | u64::from(key));
        if key == u64::MAX || memory.flags.0 != key {
            memory.scratch.clear();
            flags.put(&record.bytes, &mut memory.scratch);
            memory.flags.0 = key;
            memory.flags.1.clear();
            S::text(&memory.scratch, &mut memory.flags.1);
        }
        out.extend_from_slice(&memory.flags.1);
    }

    fn words(&self, column: &Column, record: &Record<'_>, into: &mut Vec<u8>) {
        match column {
            Column::Time => {
                write_time(record.lane.unit, true, record.time(), into);
                into.pop();
                let blanks = into.iter().take_while(|byte| **byte == b' ').count();
                into.drain(..blanks);
            }
            Column::Text => {
                record.text(into);
                if into.last() == Some(&b'\n') {
                    into.pop();
                }
            }
            Column::Buffer => into.extend_from_slice(record.lane.buffer_name.as_bytes()),
            Column::File => {
                let input = self.opened.inputs.get(record.lane.file);
                into.extend_from_slice(input.map_or("", |input| input.name.as_str()).as_bytes());
            }
            _ => {}
        }
    }
}

fn event_field<S: Spelling>(decoder: Option<&Decoder>, record: &Record<'_>, name: &str, out: &mut Vec<u8>) {
    let found = decoder.and_then(|decoder| decoder.field_values(&record.bytes).find(|(field, _)| field.name == name));
    match found {
        Some((_, value)) => S::value(value, record.lane.trace.abi, out),
        None => S::missing(out),
    }
}
