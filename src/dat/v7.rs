//! Version 7: sections found through a chain of OPTIONS sections, or, when the chain is broken, by walking the file.

use std::collections::HashSet;

use super::compress::Algorithm;
use super::ids;
use super::reader::{Buffer, CpuData, Dat, Place, TextBuffer, good_page_size};
use super::source::{Cursor, Take};

/// How an OPTIONS section ended.
enum End {
    /// At its DONE option; the next section's offset, or 0.
    Done(u64),
    /// Somewhere before.
    Broken,
}

/// Bytes of options that a file may have beyond its own length, when it packs them.
const SPARE_OPTION_BYTES: u64 = 16 << 20;
/// Buffers of one file; each is an instance of a kernel.
const MAX_BUFFERS: usize = 1 << 12;

/// What was read of the options: sections may overlap, and a hostile chain has each claim the whole file.
#[derive(Default)]
struct Chain {
    seen: HashSet<u64>,
    bytes: u64,
    buffers: Vec<(u64, Vec<u8>)>,
}

/// What a section's header says.
pub(super) struct Section {
    pub(super) id: u16,
    pub(super) flags: u16,
    pub(super) bytes: u64,
}

/// The header of the section at `at`.
pub(super) fn section(dat: &Dat, at: u64) -> Option<Section> {
    let head = dat.source().bytes(at, ids::SECTION_HEADER_BYTES).ok()?;
    let mut take = Take::new(&head, dat.abi);
    let (id, flags) = (take.u16()?, take.u16()?);
    take.u32()?;
    Some(Section { id, flags, bytes: take.u64()? })
}

pub(super) fn read(dat: &mut Dat, first_options: u64, body: u64) {
    let mut chain = Chain::default();
    let mut next = first_options;
    let mut whole = false;
    while let Some(end) = options_section(dat, next, &mut chain) {
        match end {
            End::Done(0) => {
                whole = true;
                break;
            }
            End::Done(offset) => next = offset,
            End::Broken => break,
        }
    }
    if !whole {
        dat.note(next, "the chain of options ends here: the recording is incomplete, what is left is searched");
    }
    let salvaged = if whole { Vec::new() } else { walk(dat, body, &mut chain) };
    dat.learn_layout();
    if chain.buffers.len() + salvaged.len() > MAX_BUFFERS {
        dat.note(first_options, format!("more than {MAX_BUFFERS} buffers: the rest is skipped"));
    }
    for (offset, data) in chain.buffers.into_iter().take(MAX_BUFFERS) {
        if buffer_option(dat, &data).is_none() {
            dat.note(offset, "a BUFFER option is cut short");
        }
    }
    let known: HashSet<u64> = dat.sections.iter().filter(|at| at.0 == ids::BUFFER).map(|at| at.1).collect();
    let ends = salvaged.iter().skip(1).map(|at| at.0).chain([u64::MAX]);
    for (&(offset, bytes), end) in salvaged.iter().zip(ends).take(MAX_BUFFERS) {
        if !known.contains(&offset) {
            salvage_buffer(dat, offset, bytes, end);
        }
    }
}

/// Reads one OPTIONS section; `None` when there is none at this offset or it was read before.
fn options_section(dat: &mut Dat, at: u64, chain: &mut Chain) -> Option<End> {
    if at == 0 {
        return None;
    }
    if !chain.seen.insert(at) {
        dat.note(at, "the chain of options leads back to here");
        return None;
    }
    let head = section(dat, at).filter(|head| head.id == ids::SECTION_OPTIONS)?;
    dat.sections.push((ids::SECTION_OPTIONS, at));
    let payload = at + ids::SECTION_HEADER_BYTES;
    let compressed = head.flags & ids::FLAG_COMPRESSED != 0;
    let slot = usize::from(ids::STRINGS);
    // Borrow a free slot of the table for the generic block reader.
    let old = dat.parts[slot].replace(Place { offset: payload, bytes: head.bytes, compressed });
    let block = dat.part(ids::STRINGS);
    dat.parts[slot] = old;
    let block = match block? {
        Ok(block) => block,
        Err(note) => {
            dat.note(note.offset, note.what);
            return Some(End::Broken);
        }
    };
    chain.bytes += block.len() as u64;
    if chain.bytes > dat.source().len().saturating_add(SPARE_OPTION_BYTES) {
        dat.note(at, "there are more options than the file has bytes: the rest is skipped");
        return Some(End::Broken);
    }
    let mut take = Take::new(&block, dat.abi);
    loop {
        let here = payload + (block.len() - take.rest.len()) as u64;
        let (Some(id), Some(size)) = (take.u16(), take.u32()) else {
            return Some(End::Broken);
        };
        let Some(data) = take.bytes(size as usize) else {
            return Some(End::Broken);
        };
        if id == ids::DONE {
            return Some(dat.abi.u64(data).map_or(End::Broken, End::Done));
        }
        option(dat, id, here, data, &mut chain.buffers);
    }
}

fn option(dat: &mut Dat, id: u16, at: u64, data: &[u8], buffers: &mut Vec<(u64, Vec<u8>)>) {
    match id {
        ids::BUFFER => buffers.push((at, data.to_vec())),
        ids::BUFFER_TEXT => {
            let mut take = Take::new(data, dat.abi);
            let offset = take.u64();
            let name = take.cstr().map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default();
            match offset.and_then(|offset| place(dat, ids::BUFFER_TEXT, offset)) {
                Some(place) => dat.texts.push(TextBuffer { name, place }),
                None => dat.note(at, "a text buffer is not where its option says"),
            }
        }
        ids::HEADER_INFO..=ids::CMDLINES | ids::BTF_FILE | ids::MODULES_FILE => {
            match dat.abi.u64(data).and_then(|offset| place(dat, id, offset)) {
                Some(place) => dat.parts[usize::from(id)] = Some(place),
                None => dat.note(at, format!("metadata {id} is not where its option says")),
            }
        }
        _ => {
            let abi = dat.abi;
            if !dat.options.take(id, data, abi) {
                dat.note(at, format!("option {id} is cut short or impossible"));
            }
        }
    }
}

/// The payload of the section with this id at this offset.
fn place(dat: &mut Dat, id: u16, at: u64) -> Option<Place> {
    let head = section(dat, at).filter(|head| head.id == id)?;
    dat.sections.push((id, at));
    let offset = at + ids::SECTION_HEADER_BYTES;
    Some(Place { offset, bytes: head.bytes, compressed: head.flags & ids::FLAG_COMPRESSED != 0 })
}

fn buffer_option(dat: &mut Dat, data: &[u8]) -> Option<()> {
    let mut take = Take::new(data, dat.abi);
    let section_at = take.u64()?;
    let name = String::from_utf8_lossy(take.cstr()?).into_owned();
    let clock = String::from_utf8_lossy(take.cstr()?).into_owned();
    let mut subbuf_bytes = take.u32()?;
    let count = take.u32()?;
    if name.is_empty() {
        subbuf_bytes = dat.layout.subbuf_bytes;
    }
    if !good_page_size(subbuf_bytes) {
        dat.note(section_at, format!("buffer {name:?} has sub-buffers of {subbuf_bytes} bytes: it is skipped"));
        return Some(());
    }
    let compressed = match section(dat, section_at) {
        Some(head) if head.id == ids::BUFFER => head.flags & ids::FLAG_COMPRESSED != 0,
        _ => {
            dat.note(section_at, "no BUFFER section where its option says");
            dat.algorithm != Algorithm::None
        }
    };
    dat.sections.push((ids::BUFFER, section_at));
    let mut buffer = Buffer {
        name,
        clock,
        layout: dat.layout.with_size(subbuf_bytes),
        compressed,
        cpus: Vec::new(),
        cpu_count: None,
    };
    let mut cut = false;
    for _ in 0..count {
        let (Some(cpu), Some(offset), Some(bytes)) = (take.u32(), take.u64(), take.u64()) else {
            cut = true;
            break;
        };
        add_cpu(dat, &mut buffer, CpuData { cpu, offset, bytes, limit: u64::MAX });
    }
    buffer.cpus.sort_by_key(|data| data.cpu);
    dat.buffers.retain(|other| other.name != buffer.name);
    dat.buffers.push(buffer);
    (!cut).then_some(())
}

/// More CPUs than any machine has (Linux stops at 8192).
const MAX_CPUS: usize = 1 << 14;

/// Adds one CPU's data as far as the file has it.
pub(super) fn add_cpu(dat: &mut Dat, buffer: &mut Buffer, data: CpuData) {
    let len = dat.source().len();
    if data.bytes == 0 {
        return;
    }
    if buffer.cpus.len() >= MAX_CPUS {
        dat.note(data.offset, format!("CPU {} is one too many: it is skipped", data.cpu));
    } else if buffer.cpus.iter().any(|other| other.cpu == data.cpu) {
        dat.note(data.offset, format!("CPU {} is listed twice: the second entry is skipped", data.cpu));
    } else if data.offset >= len {
        dat.note(data.offset, format!("the file ends before the data of CPU {}", data.cpu));
    } else {
        if data.offset.saturating_add(data.bytes) > len {
            dat.note(len, format!("the file ends inside the data of CPU {}", data.cpu));
        }
        buffer.cpus.push(data);
    }
}

/// Walks section headers from `at`, keeping the metadata that no option named; returns the BUFFER sections met.
fn walk(dat: &mut Dat, mut at: u64, chain: &mut Chain) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let texts: HashSet<u64> = dat.sections.iter().filter(|at| at.0 == ids::BUFFER_TEXT).map(|at| at.1).collect();
    while let Some(head) = section(dat, at) {
        match head.id {
            ids::SECTION_OPTIONS => {
                if !chain.seen.contains(&at) {
                    options_section(dat, at, chain);
                }
            }
            ids::BUFFER => found.push((at, head.bytes)),
            ids::HEADER_INFO..=ids::CMDLINES | ids::BTF_FILE | ids::MODULES_FILE => {
                if !dat.has_part(head.id) {
                    dat.parts[usize::from(head.id)] = place(dat, head.id, at);
                }
            }
            ids::BUFFER_TEXT => {
                if !texts.contains(&at)
                    && dat.texts.len() < MAX_BUFFERS
                    && let Some(place) = place(dat, ids::BUFFER_TEXT, at)
                {
                    dat.texts.push(TextBuffer { name: String::new(), place });
                }
            }
            ids::STRINGS => {}
            _ => break,
        }
        let Some(next) = at.checked_add(ids::SECTION_HEADER_BYTES).and_then(|at| at.checked_add(head.bytes)) else {
            break;
        };
        at = next;
    }
    found
}

/// Finds the CPUs of a BUFFER section that no option describes. Their numbers are not stored there: they are guessed,
/// in ascending order.
fn salvage_buffer(dat: &mut Dat, section_at: u64, bytes: u64, next_section: u64) {
    let len = dat.source().len();
    let start = section_at + ids::SECTION_HEADER_BYTES;
    // A recorder that was killed has not yet written the size.
    let end = if bytes == 0 { len } else { start.saturating_add(bytes).min(len) }.min(next_section);
    let compressed = section(dat, section_at).is_some_and(|head| head.flags & ids::FLAG_COMPRESSED != 0);
    let clock = dat.options.trace_clock.as_deref().map(selected_clock).unwrap_or_else(|| "local".to_owned());
    let name = match dat.buffers.iter().any(|buffer| buffer.name.is_empty()) {
        true => format!("at-{section_at:#x}"),
        false => String::new(),
    };
    let mut buffer = Buffer { name, clock, layout: dat.layout, compressed, cpus: Vec::new(), cpu_count: None };
    let subbuf = u64::from(dat.layout.subbuf_bytes);
    let mut at = start.next_multiple_of(subbuf);
    if compressed {
        while at < end && looks_like_chunks(dat, at, subbuf) {
            let cpu = buffer.cpus.len() as u32;
            let data = CpuData { cpu, offset: at, bytes: end - at, limit: len };
            let mut chunks = dat.chunks(&buffer, &data);
            while let Some(next) = chunks.next(dat) {
                if next.is_err() {
                    break;
                }
            }
            buffer.cpus.push(CpuData { bytes: chunks.offset() - at, ..data });
            at = chunks.offset().next_multiple_of(subbuf);
        }
    } else {
        // Pages of one CPU grow in time; a step back begins the next one.
        let (mut first, mut before) = (at, 0);
        while at < end {
            let head = dat.source().bytes(at, 8).unwrap_or_default();
            let time = dat.abi.u64(&head).unwrap_or(0);
            if time != 0 {
                if time < before {
                    let cpu = buffer.cpus.len() as u32;
                    buffer.cpus.push(CpuData { cpu, offset: first, bytes: at - first, limit: at });
                    first = at;
                }
                before = time;
            }
            at += subbuf;
        }
        if first < end {
            let cpu = buffer.cpus.len() as u32;
            buffer.cpus.push(CpuData { cpu, offset: first, bytes: end - first, limit: end });
        }
    }
    if !buffer.cpus.is_empty() {
        let n = buffer.cpus.len();
        dat.note(section_at, format!("data of {n} CPUs found without description: their numbers are guessed"));
        dat.sections.push((ids::BUFFER, section_at));
        dat.buffers.push(buffer);
    }
}

fn looks_like_chunks(dat: &Dat, at: u64, subbuf: u64) -> bool {
    let mut cursor = Cursor::new(dat.source(), dat.abi, at);
    let (Some(count), Some(packed), Some(bytes)) = (cursor.u32(), cursor.u32(), cursor.u32()) else {
        return false;
    };
    let magic = cursor.u8();
    let plausible = count > 0 && packed > 0 && bytes > 0 && u64::from(bytes) % subbuf == 0;
    plausible
        && match dat.algorithm {
            Algorithm::Zstd => magic == Some(0x28),
            Algorithm::Zlib => magic == Some(0x78),
            Algorithm::None => false,
        }
}

/// The clock in brackets of the content of `trace_clock`.
pub(super) fn selected_clock(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let inside = text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(name, _)| name);
    inside.unwrap_or(text.trim()).to_owned()
}
