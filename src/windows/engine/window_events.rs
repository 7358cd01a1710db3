//! What records open and close: points with their filters, texts, marker system calls, system calls.

use super::super::marker::{self, MarkerText};
use super::super::{MARKER_SYSCALL_START, MARKER_SYSCALL_STOP, Threshold, WindowSource};
use super::{Engine, EventMeaning, RecordOrigin};
use crate::decode::meaning::Meaning;
use crate::wire::abi::Abi;
use crate::wire::filter::{Bound, Filter, FilterContext, FilterError, Grammar};
use crate::wire::format::{EventFormat, Field};
use crate::wire::record::Record;

/// A marker's first argument is the threshold if it is no larger; else it is a pointer.
const LARGEST_MS: u64 = 100_000_000;
const NS_PER_MS: u64 = 1_000_000;

/// Which points an event may be.
#[derive(Debug)]
pub(super) struct BoundPoint {
    definition: usize,
    starts: bool,
    test: Bound,
    threshold: Option<(Field, u64)>,
}

/// A start or a stop.
#[derive(Debug)]
pub(super) struct WindowEvent {
    pub(super) definition: usize,
    pub(super) label: Option<String>,
    pub(super) tid: i32,
    /// Of a start.
    pub(super) threshold: Option<u64>,
    pub(super) starts: bool,
}

impl Engine {
    /// Notes what records of a format say, and which points they may be.
    pub(super) fn bind(&mut self, format: &EventFormat) -> Result<(), (String, FilterError)> {
        let meaning = Meaning::of(format);
        self.clone_flags_known |= matches!(meaning, Meaning::Born { flags: Some(_), .. });
        let mut points = Vec::new();
        for (definition, def) in self.definitions.iter().enumerate() {
            let WindowSource::Points { start, stop } = &def.source else { continue };
            let sides = stop.iter().map(|point| (point, false)).chain(start.iter().map(|point| (point, true)));
            for (point, starts) in
                sides.filter(|(point, _)| point.system == format.system && point.event == format.name)
            {
                let text = format!("{}/{}:{}", point.system, point.event, point.filter.as_deref().unwrap_or(""));
                let filter = Filter::parse(&text, Grammar::C).map_err(|error| (text.clone(), error))?;
                let threshold = match &def.threshold {
                    Threshold::Field { name, unit_ns } if starts => format.field(name).map(|f| (f.clone(), *unit_ns)),
                    _ => None,
                };
                let Some(test) = filter.bind(format, self.abi) else { continue };
                points.push(BoundPoint { definition, starts, test, threshold });
            }
        }
        let at = usize::from(format.id);
        if self.events.len() <= at {
            self.events.resize_with(at + 1, || None);
        }
        self.events[at] = Some(EventMeaning { meaning, points });
        Ok(())
    }

    /// What the record opens and closes.
    pub(super) fn window_events(
        &mut self,
        event: &EventMeaning,
        origin: RecordOrigin,
        record: &Record<'_>,
    ) -> Vec<WindowEvent> {
        let mut window_events = Vec::new();
        let (pid, abi) = (origin.pid, self.abi);
        for point in &event.points {
            if !point.test.test(record, &FieldsOnly) || !self.matches_process(point.definition, pid) {
                continue;
            }
            let threshold = point
                .threshold
                .as_ref()
                .and_then(|(field, unit)| Some(field.int(record.data, abi)?.saturating_mul(*unit)));
            window_events.push(WindowEvent {
                definition: point.definition,
                label: None,
                tid: pid,
                threshold,
                starts: point.starts,
            });
        }
        match &event.meaning {
            Meaning::Print { text } => window_events.extend(self.marker(pid, text.text(record.data, abi))),
            Meaning::SyscallEnter { id, args } => {
                let nr = id.int(record.data, abi).unwrap_or(u64::MAX);
                self.enter(pid, nr, args.as_ref(), record, &mut window_events);
            }
            Meaning::SyscallExit { id, .. } => {
                let nr = id.int(record.data, abi).unwrap_or(u64::MAX);
                self.leave(pid, nr, &mut window_events);
            }
            _ => {}
        }
        window_events
    }

    /// Whether the definition is about this thread.
    fn matches_process(&self, definition: usize, tid: i32) -> bool {
        let process = match self.definitions[definition].process {
            None => return true,
            // A trace without a command: whoever is in it.
            Some(0) => match self.command {
                Some(command) => command,
                None => return true,
            },
            Some(process) => process,
        };
        tid == process || self.tgids.get(&tid) == Some(&process)
    }

    fn marker(&self, writer: i32, text: &[u8]) -> Option<WindowEvent> {
        let definition = self.marker?;
        let (tid, label, threshold, starts) = match marker::parse(text)? {
            MarkerText::Start { tid, threshold_ns, label } => (tid, label, threshold_ns, true),
            MarkerText::Stop { tid, label } => (tid, label, None, false),
        };
        let tid = tid.unwrap_or(writer);
        self.matches_process(definition, tid).then_some(WindowEvent { definition, label, tid, threshold, starts })
    }

    fn enter(
        &mut self,
        pid: i32,
        nr: u64,
        args: Option<&Field>,
        record: &Record<'_>,
        window_events: &mut Vec<WindowEvent>,
    ) {
        self.thread(pid).magic = false;
        if is_marker(nr)
            && let Some(definition) = self.magic
        {
            self.thread(pid).magic = true;
            if self.matches_process(definition, pid) {
                let threshold = match args {
                    Some(args) if nr == MARKER_SYSCALL_START => magic_threshold(args, record.data, self.abi),
                    _ => None,
                };
                window_events.push(WindowEvent {
                    definition,
                    label: None,
                    tid: pid,
                    threshold,
                    starts: nr == MARKER_SYSCALL_START,
                });
            }
        }
        for (_, definition) in self.syscalls.iter().filter(|(of, _)| *of == nr) {
            if self.matches_process(*definition, pid) {
                window_events.push(WindowEvent {
                    definition: *definition,
                    label: None,
                    tid: pid,
                    threshold: None,
                    starts: true,
                });
            }
        }
    }

    fn leave(&mut self, pid: i32, nr: u64, window_events: &mut Vec<WindowEvent>) {
        // Under a seccomp filter that answers with an error only the exit is traced.
        let begun = std::mem::take(&mut self.thread(pid).magic);
        if !begun
            && is_marker(nr)
            && let Some(definition) = self.magic
            && self.matches_process(definition, pid)
        {
            window_events.push(WindowEvent {
                definition,
                label: None,
                tid: pid,
                threshold: None,
                starts: nr == MARKER_SYSCALL_START,
            });
        }
        for (_, definition) in self.syscalls.iter().filter(|(of, _)| *of == nr) {
            if self.matches_process(*definition, pid) {
                window_events.push(WindowEvent {
                    definition: *definition,
                    label: None,
                    tid: pid,
                    threshold: None,
                    starts: false,
                });
            }
        }
    }
}

/// Whether that is the number of a marker system call.
fn is_marker(nr: u64) -> bool {
    nr == MARKER_SYSCALL_START || nr == MARKER_SYSCALL_STOP
}

/// What the marker system call says: its first argument, or, where that is a pointer, its second, in milliseconds.
fn magic_threshold(args: &Field, data: &[u8], abi: Abi) -> Option<u64> {
    let bytes = usize::from(abi.long_bytes.max(1));
    let arg = |n: usize| abi.ulong(data.get(usize::from(args.offset) + n * bytes..)?.get(..bytes)?);
    let ms = arg(0).filter(|ms| (1..=LARGEST_MS).contains(ms)).or_else(|| arg(1))?;
    (ms <= LARGEST_MS).then_some(ms * NS_PER_MS)
}

/// What a filter may ask besides fields: nothing. The kernel, which judges the same filter, has no such words either.
struct FieldsOnly;

impl FilterContext for FieldsOnly {
    fn comm(&self, _: &Record<'_>) -> &[u8] {
        b""
    }

    fn symbol(&self, _: u64) -> Option<&[u8]> {
        None
    }
}
