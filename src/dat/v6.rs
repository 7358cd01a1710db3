//! Version 6: everything in one sequence, nothing compressed.

use super::ids;
use super::reader::{Buffer, CpuData, Dat, Place, TextBuffer};
use super::source::Cursor;
use super::v7::{add_cpu, selected_clock};
use crate::wire::subbuf::Layout;

const MAX_NAME_BYTES: usize = 4096;

/// A buffer of the options: where it is, its name, and its number of CPUs when it has its own.
type Instance = (u64, String, Option<u32>);

pub(super) fn read(dat: &mut Dat, body: u64) {
    let source = dat.source().clone();
    let mut cursor = Cursor::new(&source, dat.abi, body);
    if tables(dat, &mut cursor).is_none() {
        dat.note(cursor.at(), "the file ends inside its metadata");
        dat.learn_layout();
        return;
    }
    dat.learn_layout();
    let mut instances = Vec::new();
    if data(dat, &mut cursor, &mut instances).is_none() {
        dat.note(cursor.at(), "the file ends before the data of its CPUs");
    }
    let top_cpus = dat.options.cpu_count.unwrap_or(0);
    for (offset, name, cpus) in instances {
        let mut cursor = Cursor::new(&source, dat.abi, offset);
        if instance(dat, &mut cursor, name, cpus.unwrap_or(top_cpus)).is_none() {
            dat.note(offset, "the file ends before the data of this buffer");
        }
    }
}

/// Remembers where each table is, and steps over it.
fn tables(dat: &mut Dat, cursor: &mut Cursor<'_>) -> Option<()> {
    let mut start = cursor.at();
    let mut keep = |dat: &mut Dat, id: u16, end: u64| {
        dat.parts[usize::from(id)] = Some(Place { offset: start, bytes: end - start, compressed: false });
        start = end;
    };
    for _ in 0..2 {
        cursor.cstr(64)?;
        let n = cursor.u64()?;
        cursor.skip(n)?;
    }
    keep(dat, ids::HEADER_INFO, cursor.at());
    skip_formats(cursor)?;
    keep(dat, ids::FTRACE_EVENTS, cursor.at());
    let systems = cursor.u32()?;
    for _ in 0..systems {
        cursor.cstr(MAX_NAME_BYTES)?;
        skip_formats(cursor)?;
    }
    keep(dat, ids::EVENT_FORMATS, cursor.at());
    for id in [ids::KALLSYMS, ids::PRINTK, ids::CMDLINES] {
        let n = if id == ids::CMDLINES { cursor.u64()? } else { u64::from(cursor.u32()?) };
        cursor.skip(n)?;
        keep(dat, id, cursor.at());
    }
    Some(())
}

fn skip_formats(cursor: &mut Cursor<'_>) -> Option<()> {
    for _ in 0..cursor.u32()? {
        let n = cursor.u64()?;
        cursor.skip(n)?;
    }
    Some(())
}

fn data(dat: &mut Dat, cursor: &mut Cursor<'_>, instances: &mut Vec<Instance>) -> Option<()> {
    let cpus = cursor.u32()?;
    let mut tag = cursor.tag()?;
    if tag.starts_with(b"options") {
        options(dat, cursor, Some(instances))?;
        tag = cursor.tag()?;
    }
    // The count before the options is that of the top buffer; an option about an instance must not replace it.
    dat.options.cpu_count = Some(cpus);
    if tag.starts_with(b"latency") {
        let offset = cursor.at();
        let place = Place { offset, bytes: dat.source().len() - offset, compressed: false };
        dat.texts.push(TextBuffer { name: String::new(), place });
        return Some(());
    }
    if !tag.starts_with(b"flyrecord") {
        dat.note(cursor.at() - 10, "neither CPU data nor text where one of them should be");
        return Some(());
    }
    table(dat, cursor, String::new(), cpus)
}

fn instance(dat: &mut Dat, cursor: &mut Cursor<'_>, name: String, cpus: u32) -> Option<()> {
    let mut tag = cursor.tag()?;
    if tag.starts_with(b"options") {
        options(dat, cursor, None)?;
        tag = cursor.tag()?;
    }
    if !tag.starts_with(b"flyrecord") {
        dat.note(cursor.at() - 10, "no CPU data where the option of a buffer says");
        return Some(());
    }
    table(dat, cursor, name, cpus)
}

fn options(dat: &mut Dat, cursor: &mut Cursor<'_>, mut instances: Option<&mut Vec<Instance>>) -> Option<()> {
    loop {
        let at = cursor.at();
        let id = cursor.u16()?;
        if id == ids::DONE {
            return Some(());
        }
        let size = cursor.u32()?;
        let data = cursor.bytes(size.into())?;
        let abi = dat.abi;
        match (id, instances.as_deref_mut()) {
            (ids::BUFFER, Some(instances)) => match abi.u64(&data) {
                Some(offset) => {
                    let name = data[8..].split(|byte| *byte == 0).next().unwrap_or(&[]);
                    instances.push((offset, String::from_utf8_lossy(name).into_owned(), None));
                }
                None => dat.note(at, "a BUFFER option is cut short"),
            },
            (ids::CPUCOUNT, Some(instances)) if !instances.is_empty() => {
                if let (Some(last), Some(n)) = (instances.last_mut(), abi.u32(&data)) {
                    last.2 = Some(n);
                }
            }
            _ => {
                if !dat.options.take(id, &data, abi) {
                    dat.note(at, format!("option {id} is cut short or impossible"));
                }
            }
        }
    }
}

/// The table of CPUs of one buffer, and its clock.
fn table(dat: &mut Dat, cursor: &mut Cursor<'_>, name: String, cpus: u32) -> Option<()> {
    let layout: Layout = dat.layout;
    let mut buffer =
        Buffer { name, clock: "local".to_owned(), layout, compressed: false, cpus: Vec::new(), cpu_count: Some(cpus) };
    let mut whole = Some(());
    for cpu in 0..cpus {
        let (Some(offset), Some(bytes)) = (cursor.u64(), cursor.u64()) else {
            whole = None;
            break;
        };
        add_cpu(dat, &mut buffer, CpuData { cpu, offset, bytes, limit: u64::MAX });
    }
    if whole.is_some() && dat.options.trace_clock.is_some() {
        let clock = cursor.u64().filter(|n| *n < MAX_NAME_BYTES as u64).and_then(|n| cursor.bytes(n));
        match clock {
            Some(clock) => buffer.clock = selected_clock(&clock),
            None => dat.note(cursor.at(), "the name of the clock is missing"),
        }
    }
    dat.buffers.retain(|other| other.name != buffer.name);
    dat.buffers.push(buffer);
    whole
}
