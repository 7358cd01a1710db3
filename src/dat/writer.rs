//! Writes trace.dat files of version 7, in the host's byte order.
//!
//! Owns: the header, sections, the chain of option sections, and where each CPU's data goes.
//! Does not own: what is said in them (see `record`), nor packing (see [`super::chunks`]).
//!
//! ```text
//! header | metadata sections | OPTIONS | BUFFER + its CPUs' data | OPTIONS | … | STRINGS
//!    └── first OPTIONS ──────────▲  └── next ──────────────────────▲
//! ```
//! Only the offset in the header and the links between OPTIONS sections lead into a file, and they are written last: a
//! file whose writer died has no options and says so by an offset of 0.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use byteorder::{NativeEndian, WriteBytesExt};
use rayon::prelude::*;

use super::chunks::{Compression, CpuData};
use super::ids;

/// Bytes of a text's chunk: ten pages, as trace-cmd has them.
const TEXT_CHUNK_BYTES: usize = 40_960;

/// A file being written.
pub struct Writer {
    file: File,
    at: u64,
    compression: Compression,
    /// Where the offset of the next OPTIONS section has to be patched in.
    link: u64,
    options: Vec<u8>,
    strings: Vec<u8>,
}

/// A metadata section before it is packed.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    /// Its id, which is its option's too.
    pub id: u16,
    /// What it is, for the STRINGS section.
    pub description: &'a str,
    /// Its content.
    pub payload: Cow<'a, [u8]>,
}

/// What a BUFFER option says about its buffer.
#[derive(Clone, Debug)]
pub struct BufferHead {
    /// Instance name; empty for the top-level buffer.
    pub name: String,
    /// The clock's plain name.
    pub clock: String,
    /// Bytes of its sub-buffers.
    pub subbuf_bytes: u32,
}

impl Writer {
    /// Writes the header to an empty file.
    pub fn create(mut file: File, compression: Compression, subbuf_bytes: u32) -> io::Result<Self> {
        let mut head = Vec::new();
        head.extend(ids::MAGIC);
        head.extend(b"7\0");
        head.push(u8::from(cfg!(target_endian = "big")));
        head.push(size_of::<usize>() as u8);
        head.write_u32::<NativeEndian>(subbuf_bytes)?;
        put_text(&mut head, compression.name());
        put_text(&mut head, &compression.version());
        let link = head.len() as u64;
        head.write_u64::<NativeEndian>(0)?;
        file.write_all(&head)?;
        Ok(Writer { file, at: head.len() as u64, compression, link, options: Vec::new(), strings: Vec::new() })
    }

    /// Packs metadata sections in parallel, writes them in order, and queues the options that point to them.
    pub fn sections(&mut self, sections: &[Section<'_>]) -> io::Result<()> {
        let compression = self.compression;
        let packed: Vec<_> = sections.par_iter().map(|section| pack(compression, &section.payload)).collect();
        for (section, packed) in sections.iter().zip(packed) {
            let at = self.at;
            let (flags, body) = packed?;
            self.put_section(section.id, flags, section.description, &body)?;
            self.option_u64(section.id, at);
        }
        Ok(())
    }

    /// Packs and writes a section that no option names (see [`super::own`]).
    pub fn unlisted(&mut self, section: &Section<'_>) -> io::Result<()> {
        let (flags, body) = pack(self.compression, &section.payload)?;
        self.put_section(section.id, flags, section.description, &body)
    }

    /// Writes the text of a buffer, and queues the option that points to it.
    pub fn text_buffer(&mut self, head: &BufferHead, text: &[u8]) -> io::Result<()> {
        let at = self.at;
        let (flags, body) = match self.compression {
            Compression::None => (0, text.to_vec()),
            _ => (ids::FLAG_COMPRESSED, self.chunked(text)?),
        };
        self.put_section(ids::BUFFER_TEXT, flags, &format!("buffer latency {}", head.name), &body)?;
        let mut option = Vec::new();
        option.write_u64::<NativeEndian>(at)?;
        put_text(&mut option, &head.name);
        put_text(&mut option, &head.clock);
        self.option(ids::BUFFER_TEXT, &option);
        self.end_options()
    }

    /// A text as a list of chunks.
    fn chunked(&self, text: &[u8]) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        put_u32(&mut body, text.len().div_ceil(TEXT_CHUNK_BYTES));
        for chunk in text.chunks(TEXT_CHUNK_BYTES) {
            let frame = self.compression.pack_text(chunk)?;
            body.write_u32::<NativeEndian>(word(frame.len())?)?;
            body.write_u32::<NativeEndian>(word(chunk.len())?)?;
            body.extend(frame);
        }
        Ok(body)
    }

    /// Queues an option for the next OPTIONS section.
    pub fn option(&mut self, id: u16, data: &[u8]) {
        put_option(&mut self.options, id, data);
    }

    /// Queues an option whose data is a text; its NUL is added.
    pub fn option_text(&mut self, id: u16, text: &str) {
        let mut data = Vec::with_capacity(text.len() + 1);
        put_text(&mut data, text);
        self.option(id, &data);
    }

    /// Queues an option whose data is one number of 64 bits.
    pub fn option_u64(&mut self, id: u16, value: u64) {
        let mut data = Vec::with_capacity(8);
        data.write_u64::<NativeEndian>(value).expect("writing to a Vec cannot fail");
        self.option(id, &data);
    }

    /// Queues an option whose data is one number of 32 bits.
    pub fn option_u32(&mut self, id: u16, value: u32) {
        let mut data = Vec::with_capacity(4);
        data.write_u32::<NativeEndian>(value).expect("writing to a Vec cannot fail");
        self.option(id, &data);
    }

    /// Writes the queued options as a section and links it from the one before.
    pub fn end_options(&mut self) -> io::Result<()> {
        let mut body = std::mem::take(&mut self.options);
        let here = self.at;
        let done = body.len() as u64 + ids::SECTION_HEADER_BYTES + ids::OPTION_HEADER_BYTES;
        put_option(&mut body, ids::DONE, &[0; 8]);
        self.put_section(ids::SECTION_OPTIONS, 0, "options", &body)?;
        self.patch_u64(self.link, here)?;
        self.link = here + done;
        Ok(())
    }

    /// Writes a BUFFER section with the data of its CPUs, and the OPTIONS section that leads to it.
    pub fn buffer(&mut self, head: &BufferHead, cpus: &mut [(u32, CpuData)]) -> io::Result<()> {
        let at = self.at;
        let flags = if self.compression == Compression::None { 0 } else { ids::FLAG_COMPRESSED };
        let description = format!("buffer flyrecord {}", head.name);
        self.put_section(ids::BUFFER, flags, &description, &[])?;
        let mut option = Vec::new();
        option.write_u64::<NativeEndian>(at)?;
        put_text(&mut option, &head.name);
        put_text(&mut option, &head.clock);
        option.write_u32::<NativeEndian>(head.subbuf_bytes)?;
        let with_data = cpus.iter().filter(|(_, data)| data.bytes > 0).count();
        option.write_u32::<NativeEndian>(word(with_data)?)?;
        for (cpu, data) in cpus.iter_mut().filter(|(_, data)| data.bytes > 0) {
            self.align(u64::from(head.subbuf_bytes))?;
            option.write_u32::<NativeEndian>(*cpu)?;
            option.write_u64::<NativeEndian>(self.at)?;
            option.write_u64::<NativeEndian>(data.bytes)?;
            self.append(data)?;
        }
        let body_bytes = self.at - at - ids::SECTION_HEADER_BYTES;
        self.patch_u64(at + 8, body_bytes)?;
        self.option(ids::BUFFER, &option);
        self.end_options()
    }

    /// Writes the descriptions and hands the complete file back.
    pub fn seal(mut self) -> io::Result<File> {
        let mut strings = std::mem::take(&mut self.strings);
        put_text(&mut strings, "strings");
        let description = strings.len() - "strings\0".len();
        let (flags, body) = pack(self.compression, &strings)?;
        self.put_section_at(ids::STRINGS, flags, word(description)?, &body)?;
        Ok(self.file)
    }

    fn put_section(&mut self, id: u16, flags: u16, description: &str, body: &[u8]) -> io::Result<()> {
        let described = word(self.strings.len())?;
        put_text(&mut self.strings, description);
        self.put_section_at(id, flags, described, body)
    }

    fn put_section_at(&mut self, id: u16, flags: u16, description: u32, body: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(body.len() + ids::SECTION_HEADER_BYTES as usize);
        bytes.write_u16::<NativeEndian>(id)?;
        bytes.write_u16::<NativeEndian>(flags)?;
        bytes.write_u32::<NativeEndian>(description)?;
        bytes.write_u64::<NativeEndian>(body.len() as u64)?;
        bytes.extend(body);
        self.put(&bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn align(&mut self, to: u64) -> io::Result<()> {
        self.at = self.at.next_multiple_of(to.max(1));
        self.file.seek(SeekFrom::Start(self.at))?;
        Ok(())
    }

    /// Moves a CPU's data in; the kernel copies it (`copy_file_range`), or shares the blocks where it can.
    fn append(&mut self, data: &mut CpuData) -> io::Result<()> {
        data.file.seek(SeekFrom::Start(0))?;
        let copied = io::copy(&mut io::Read::take(&mut data.file, data.bytes), &mut self.file)?;
        if copied != data.bytes {
            let short = format!("{copied} of {} bytes were left in a CPU's file", data.bytes);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, short));
        }
        self.at += copied;
        Ok(())
    }

    fn patch_u64(&mut self, at: u64, value: u64) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(8);
        bytes.write_u64::<NativeEndian>(value)?;
        self.file.write_all_at(&bytes, at)
    }
}

/// A section's flags and body: a single block with its sizes in front when compressed.
fn pack(compression: Compression, payload: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    if compression == Compression::None {
        return Ok((0, payload.to_vec()));
    }
    let frame = compression.pack_text(payload)?;
    let mut body = Vec::with_capacity(frame.len() + 8);
    body.write_u32::<NativeEndian>(word(frame.len())?)?;
    body.write_u32::<NativeEndian>(word(payload.len())?)?;
    body.extend(frame);
    Ok((ids::FLAG_COMPRESSED, body))
}

/// Payload of HEADER_INFO: the texts of `events/header_page` and `events/header_event`.
pub fn header_info(header_page: &[u8], header_event: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, text) in [("header_page", header_page), ("header_event", header_event)] {
        put_text(&mut out, name);
        put_long_text(&mut out, text);
    }
    out
}

/// Payload of FTRACE_EVENTS.
pub fn ftrace_events(formats: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    put_u32(&mut out, formats.len());
    formats.iter().for_each(|format| put_long_text(&mut out, format));
    out
}

/// Payload of EVENT_FORMATS, the formats by system.
pub fn event_formats<'a>(systems: impl ExactSizeIterator<Item = (&'a str, &'a [Vec<u8>])>) -> Vec<u8> {
    let mut out = Vec::new();
    put_u32(&mut out, systems.len());
    for (system, formats) in systems {
        put_text(&mut out, system);
        put_u32(&mut out, formats.len());
        formats.iter().for_each(|format| put_long_text(&mut out, format));
    }
    out
}

/// Payload of KALLSYMS and PRINTK: a length of 32 bits and the text.
pub fn short_text(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 4);
    put_u32(&mut out, text.len());
    out.extend(text);
    out
}

/// Payload of CMDLINES: a length of 64 bits and the text.
pub fn long_text(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 8);
    put_long_text(&mut out, text);
    out
}

fn put_option(out: &mut Vec<u8>, id: u16, data: &[u8]) {
    out.write_u16::<NativeEndian>(id).expect("writing to a Vec cannot fail");
    put_u32(out, data.len());
    out.extend(data);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.as_bytes());
    out.push(0);
}

fn put_long_text(out: &mut Vec<u8>, text: &[u8]) {
    out.write_u64::<NativeEndian>(text.len() as u64).expect("writing to a Vec cannot fail");
    out.extend(text);
}

fn put_u32(out: &mut Vec<u8>, value: usize) {
    let value = u32::try_from(value).expect("a text of tracefs is shorter than 4 GiB");
    out.write_u32::<NativeEndian>(value).expect("writing to a Vec cannot fail");
}

fn word(value: usize) -> io::Result<u32> {
    u32::try_from(value).map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "a section is larger than 4 GiB"))
}
