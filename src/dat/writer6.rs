//! Writes trace.dat files of version 6, from a complete one of version 7 that is not compressed.
//!
//! ```text
//! header | formats, symbols, names | CPU count | "options" … 0 | "flyrecord" + table + clock | the top buffer's data
//!                                                   └── each instance: "flyrecord" + table + clock | its data
//! ```
//! Version 6 is one sequence with absolute offsets, so where everything goes is counted first and written then. A text
//! trace takes the place of the table, and nothing follows it.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use byteorder::{ByteOrder, NativeEndian, WriteBytesExt};

use super::reader::{Buffer, Dat};
use super::{DatError, ids};

/// Reads the version 7 file at `complete` and writes the same as version 6.
pub fn rewrite(complete: &Path, out: &File) -> io::Result<()> {
    let dat = Dat::open(complete).map_err(|error: DatError| io::Error::other(error.to_string()))?;
    let top = dat.buffers.iter().find(|buffer| buffer.name.is_empty());
    let instances: Vec<&Buffer> = dat.buffers.iter().filter(|buffer| !buffer.name.is_empty()).collect();
    let cpus = dat.options.cpu_count.unwrap_or(0).max(highest_cpu(&dat));
    let mut head = tables(&dat)?;
    head.write_u32::<NativeEndian>(cpus)?;
    head.extend(ids::V6_OPTIONS);
    put_options(&mut head, &dat)?;
    // The options that name instances have a size that is known before their offsets are.
    let names: usize = instances.iter().map(|buffer| OPTION_HEADER_BYTES + 8 + buffer.name.len() + 1).sum();
    let tail = END_OF_OPTIONS_BYTES + ids::V6_FLYRECORD.len() + top.map_or(0, |top| table_bytes(cpus, top));
    let page = u64::from(dat.layout.subbuf_bytes).max(4096);
    let start = ((head.len() + names + tail) as u64).next_multiple_of(page);
    let mut at = start + top.map_or(0, |top| data_bytes(top).next_multiple_of(page));
    let mut places = Vec::new();
    for buffer in &instances {
        put_option(&mut head, ids::BUFFER, &[&word(at)[..], buffer.name.as_bytes(), b"\0"].concat())?;
        let data = (at + (ids::V6_FLYRECORD.len() + table_bytes(cpus, buffer)) as u64).next_multiple_of(page);
        places.push((at, data, *buffer));
        at = (data + data_bytes(buffer)).next_multiple_of(page);
    }
    head.write_u16::<NativeEndian>(ids::DONE)?;
    let mut out = BufWriter::new(out);
    if let Some(text) = dat.texts.first() {
        head.extend(ids::V6_LATENCY);
        head.extend(dat.text(text).map_err(|note| io::Error::other(note.to_string()))?);
        out.write_all(&head)?;
        return out.flush();
    }
    if let Some(top) = top {
        head.extend(ids::V6_FLYRECORD);
        put_table(&mut head, cpus, top, start)?;
        out.write_all(&head)?;
        put_data(&mut out, &dat, top, start)?;
    }
    for (at, data, buffer) in places {
        let mut table = ids::V6_FLYRECORD.to_vec();
        put_table(&mut table, cpus, buffer, data)?;
        out.seek(SeekFrom::Start(at))?;
        out.write_all(&table)?;
        put_data(&mut out, &dat, buffer, data)?;
    }
    out.flush()
}

const OPTION_HEADER_BYTES: usize = ids::OPTION_HEADER_BYTES as usize;
const END_OF_OPTIONS_BYTES: usize = 2;

/// The header and everything up to the names of tasks, as version 7 has it in sections.
fn tables(dat: &Dat) -> io::Result<Vec<u8>> {
    let mut head = ids::MAGIC.to_vec();
    head.extend(b"6\0");
    head.push(u8::from(cfg!(target_endian = "big")));
    head.push(dat.user_long_bytes);
    head.write_u32::<NativeEndian>(dat.layout.subbuf_bytes)?;
    for id in [ids::HEADER_INFO, ids::FTRACE_EVENTS, ids::EVENT_FORMATS, ids::KALLSYMS, ids::PRINTK, ids::CMDLINES] {
        match dat.part(id) {
            Some(part) => head.extend(part.map_err(|note| io::Error::other(note.to_string()))?),
            None => return Err(io::Error::other(format!("section {id} is missing"))),
        }
    }
    Ok(head)
}

/// The options that both versions have.
fn put_options(out: &mut Vec<u8>, dat: &Dat) -> io::Result<()> {
    let options = &dat.options;
    let text = |text: &[u8]| [text, b"\0"].concat();
    if let Some(date) = options.date_us {
        put_option(out, ids::DATE, &text(format!("{date:#x}").as_bytes()))?;
    }
    if let Some(offset) = options.offset {
        put_option(out, ids::OFFSET, &text(offset.to_string().as_bytes()))?;
    }
    for (id, texts) in
        [(ids::CPUSTAT, &options.cpustats), (ids::HOOK, &options.hooks), (ids::PROCMAPS, &options.proc_maps)]
    {
        texts.iter().try_for_each(|one| put_option(out, id, &text(one)))?;
    }
    for (id, one) in
        [(ids::TRACECLOCK, &options.trace_clock), (ids::UNAME, &options.uname), (ids::VERSION, &options.version)]
    {
        one.iter().try_for_each(|one| put_option(out, id, &text(one)))?;
    }
    if let Some(id) = options.trace_id {
        put_option(out, ids::TRACEID, &word(id))?;
    }
    if let Some(scale) = options.tsc2nsec {
        let mut data = Vec::new();
        data.write_u32::<NativeEndian>(scale.mult)?;
        data.write_u32::<NativeEndian>(scale.shift)?;
        data.write_u64::<NativeEndian>(scale.offset)?;
        put_option(out, ids::TSC2NSEC, &data)?;
    }
    Ok(())
}

fn put_option(out: &mut Vec<u8>, id: u16, data: &[u8]) -> io::Result<()> {
    out.write_u16::<NativeEndian>(id)?;
    out.write_u32::<NativeEndian>(u32::try_from(data.len()).map_err(io::Error::other)?)?;
    out.write_all(data)
}

/// Offset and size of each CPU's data, one after another, then the clock.
fn put_table(out: &mut Vec<u8>, cpus: u32, buffer: &Buffer, mut at: u64) -> io::Result<()> {
    for cpu in 0..cpus {
        let bytes = buffer.cpus.iter().find(|data| data.cpu == cpu).map_or(0, |data| data.bytes);
        out.write_u64::<NativeEndian>(at)?;
        out.write_u64::<NativeEndian>(bytes)?;
        at += bytes;
    }
    let clock = clock(buffer);
    out.write_u64::<NativeEndian>(clock.len() as u64)?;
    out.write_all(clock.as_bytes())
}

fn clock(buffer: &Buffer) -> String {
    format!("[{}]", buffer.clock)
}

fn table_bytes(cpus: u32, buffer: &Buffer) -> usize {
    cpus as usize * 16 + 8 + clock(buffer).len()
}

fn data_bytes(buffer: &Buffer) -> u64 {
    buffer.cpus.iter().map(|data| data.bytes).sum()
}

fn highest_cpu(dat: &Dat) -> u32 {
    dat.buffers.iter().flat_map(|buffer| &buffer.cpus).map(|data| data.cpu + 1).max().unwrap_or(0)
}

/// The CPUs' data, by CPU, as the table has it.
fn put_data(out: &mut BufWriter<&File>, dat: &Dat, buffer: &Buffer, at: u64) -> io::Result<()> {
    out.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::new();
    for data in &buffer.cpus {
        let mut chunks = dat.chunks(buffer, data);
        while let Some(chunk) = chunks.next(dat) {
            let chunk = chunk.map_err(|note| io::Error::other(note.to_string()))?;
            dat.read_chunk(&chunk, &mut bytes).map_err(|note| io::Error::other(note.to_string()))?;
            out.write_all(&bytes)?;
        }
    }
    Ok(())
}

/// A number in the file's byte order, which is this machine's.
fn word(value: u64) -> [u8; 8] {
    let mut bytes = [0; 8];
    NativeEndian::write_u64(&mut bytes, value);
    bytes
}
