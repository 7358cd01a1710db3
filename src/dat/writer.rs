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
//! file whose writer died has no options and says so by an offset of 0. [`Writer::resume`] goes on with such a file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use byteorder::{ByteOrder, NativeEndian, WriteBytesExt};
use rayon::prelude::*;

use super::chunks::{COUNT_BYTES, Compression, Segment};
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
    /// Its content.
    pub payload: Cow<'a, [u8]>,
}

/// What the sections are called in the STRINGS section.
fn description(id: u16) -> &'static str {
    match id {
        ids::HEADER_INFO => "headers",
        ids::FTRACE_EVENTS => "ftrace events",
        ids::EVENT_FORMATS => "events format",
        ids::KALLSYMS => "kallsyms",
        ids::PRINTK => "printk",
        ids::CMDLINES => "command lines",
        ids::SECTION_OPTIONS => "options",
        ids::STRINGS => "strings",
        ids::BTF_FILE => "types",
        super::rtrec_sections::NAMES => "names over time",
        super::rtrec_sections::CLOCKS => "clocks",
        _ => "section",
    }
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
        let mut head = header(compression, subbuf_bytes);
        let link = head.len() as u64;
        head.write_u64::<NativeEndian>(0)?;
        file.write_all(&head)?;
        Ok(Writer { file, at: head.len() as u64, compression, link, options: Vec::new(), strings: Vec::new() })
    }

    /// Goes on with a file whose writer died, or a copy of one: its whole metadata sections count, the rest is overwritten.
    ///
    /// Tells which sections are there.
    pub fn resume(mut file: File, compression: Compression) -> io::Result<(Self, Vec<u16>)> {
        let mut subbuf_bytes = [0; 4];
        file.read_exact_at(&mut subbuf_bytes, SUBBUF_BYTES_AT)?;
        let head = header(compression, NativeEndian::read_u32(&subbuf_bytes));
        let mut found = vec![0; head.len()];
        file.read_exact_at(&mut found, 0)?;
        if found != head {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not begin as this rtrec begins a file"));
        }
        let (link, length) = (head.len() as u64, file.metadata()?.len());
        let mut writer = Writer { at: link + 8, compression, link, options: Vec::new(), strings: Vec::new(), file };
        let mut ids = Vec::new();
        while let Some((id, next)) = writer.section_at(writer.at, length)? {
            writer.option_u64(id, writer.at);
            put_text(&mut writer.strings, description(id));
            writer.at = next;
            ids.push(id);
        }
        file = writer.file;
        file.set_len(writer.at)?;
        file.seek(SeekFrom::Start(writer.at))?;
        file.write_all_at(&[0; 8], link)?;
        Ok((Writer { file, ..writer }, ids))
    }

    /// The id of the metadata section at `at` and where it ends; `None` when there is none or it is cut.
    fn section_at(&self, at: u64, length: u64) -> io::Result<Option<(u16, u64)>> {
        if at + ids::SECTION_HEADER_BYTES > length {
            return Ok(None);
        }
        let mut head = [0; ids::SECTION_HEADER_BYTES as usize];
        self.file.read_exact_at(&mut head, at)?;
        let (id, described) = (NativeEndian::read_u16(&head), NativeEndian::read_u32(&head[4..]));
        let end = (at + ids::SECTION_HEADER_BYTES).checked_add(NativeEndian::read_u64(&head[8..]));
        let known = (ids::HEADER_INFO..=ids::CMDLINES).contains(&id) && described as usize == self.strings.len();
        Ok(end.filter(|&end| known && end <= length).map(|end| (id, end)))
    }

    /// Packs metadata sections in parallel, writes them in order, and queues the options that point to them.
    pub fn sections(&mut self, sections: &[Section<'_>]) -> io::Result<()> {
        let compression = self.compression;
        let packed: Vec<_> = sections.par_iter().map(|section| pack(compression, &section.payload)).collect();
        for (section, packed) in sections.iter().zip(packed) {
            let at = self.at;
            let (flags, body) = packed?;
            self.put_section(section.id, flags, description(section.id), &body)?;
            self.option_u64(section.id, at);
        }
        Ok(())
    }

    /// Keeps room for what comes after the sections, so that a disk that has become full does not prevent it. Where this
    /// cannot be done, the trace may have to be completed elsewhere.
    pub fn reserve(&self, bytes: u64) {
        let flags = nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let _ = nix::fcntl::fallocate(&self.file, flags, self.at.cast_signed(), bytes.cast_signed());
    }

    /// Packs and writes a section that no option names (see [`super::rtrec_sections`]).
    pub fn unlisted(&mut self, section: &Section<'_>) -> io::Result<()> {
        let (flags, body) = pack(self.compression, &section.payload)?;
        self.put_section(section.id, flags, description(section.id), &body)
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
        self.put_section(ids::SECTION_OPTIONS, 0, description(ids::SECTION_OPTIONS), &body)?;
        self.patch_u64(self.link, here)?;
        self.link = here + done;
        Ok(())
    }

    /// Writes a BUFFER section with the data of its CPUs, each in one or more segments, and the OPTIONS section that leads to it.
    ///
    /// `moving` hears where each segment is about to go.
    pub fn buffer(
        &mut self,
        head: &BufferHead,
        cpus: &mut [(u32, Vec<Segment>)],
        moving: &mut Moving<'_>,
    ) -> io::Result<()> {
        let at = self.at;
        let flags = if self.compression == Compression::None { 0 } else { ids::FLAG_COMPRESSED };
        let description = format!("buffer flyrecord {}", head.name);
        self.put_section(ids::BUFFER, flags, &description, &[])?;
        let mut option = Vec::new();
        option.write_u64::<NativeEndian>(at)?;
        put_text(&mut option, &head.name);
        put_text(&mut option, &head.clock);
        option.write_u32::<NativeEndian>(head.subbuf_bytes)?;
        let with_data = |cpu: &&mut (u32, Vec<Segment>)| cpu.1.iter().any(|data| data.bytes > 0);
        option.write_u32::<NativeEndian>(word(cpus.iter_mut().filter(with_data).count())?)?;
        for (cpu, segments) in cpus.iter_mut().filter(with_data) {
            self.align(u64::from(head.subbuf_bytes))?;
            let start = self.at;
            self.append(segments, &mut |segment, at| moving(Move { buffer: &head.name, cpu: *cpu, segment, at }))?;
            option.write_u32::<NativeEndian>(*cpu)?;
            option.write_u64::<NativeEndian>(start)?;
            option.write_u64::<NativeEndian>(self.at - start)?;
        }
        let body_bytes = self.at - at - ids::SECTION_HEADER_BYTES;
        self.patch_u64(at + 8, body_bytes)?;
        self.option(ids::BUFFER, &option);
        self.end_options()
    }

    /// Writes the descriptions and hands the complete file back.
    pub fn seal(mut self) -> io::Result<File> {
        let mut strings = std::mem::take(&mut self.strings);
        let described = strings.len();
        put_text(&mut strings, description(ids::STRINGS));
        let (flags, body) = pack(self.compression, &strings)?;
        self.put_section_at(ids::STRINGS, flags, word(described)?, &body)?;
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
    fn append(
        &mut self,
        segments: &mut [Segment],
        moving: &mut dyn FnMut(u64, u64) -> io::Result<Room>,
    ) -> io::Result<()> {
        // Each segment has its own count of chunks in front; the whole has one.
        let mut skipped = 0;
        if self.compression != Compression::None {
            let chunks = segments.iter().map(|data| u64::from(data.chunks)).sum::<u64>();
            let chunks = u32::try_from(chunks).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
            let mut count = [0; COUNT_BYTES];
            count.as_mut_slice().write_u32::<NativeEndian>(chunks)?;
            self.put(&count)?;
            skipped = COUNT_BYTES as u64;
        }
        for data in segments.iter_mut().filter(|data| data.bytes > 0) {
            let room = moving(data.segment, self.at)?;
            self.append_stretch(data, skipped, room)?;
        }
        Ok(())
    }

    fn append_stretch(&mut self, data: &mut Segment, skipped: u64, room: Room) -> io::Result<()> {
        data.file.seek(SeekFrom::Start(skipped))?;
        let piece_bytes = if room == Room::Short { MOVED_AT_ONCE } else { u64::MAX };
        let mut from = skipped;
        while from < data.bytes {
            let wanted = piece_bytes.min(data.bytes - from);
            let copied = io::copy(&mut io::Read::take(&mut data.file, wanted), &mut self.file)?;
            if copied != wanted {
                let short = format!("{copied} of {wanted} bytes were left in a CPU's file");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, short));
            }
            self.at += copied;
            from += copied;
            if room == Room::Short {
                give_back(&data.file, from)?;
            }
        }
        Ok(())
    }

    fn patch_u64(&mut self, at: u64, value: u64) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(8);
        bytes.write_u64::<NativeEndian>(value)?;
        self.file.write_all_at(&bytes, at)
    }
}

/// Where the header says how large a sub-buffer is: after magic, version, byte order and size of long.
const SUBBUF_BYTES_AT: u64 = ids::MAGIC.len() as u64 + 4;

/// The header up to the offset of the first OPTIONS section.
fn header(compression: Compression, subbuf_bytes: u32) -> Vec<u8> {
    let mut head = Vec::new();
    head.extend(ids::MAGIC);
    head.extend(b"7\0");
    head.push(u8::from(cfg!(target_endian = "big")));
    head.push(size_of::<usize>() as u8);
    head.write_u32::<NativeEndian>(subbuf_bytes).expect("writing to a Vec cannot fail");
    put_text(&mut head, compression.name());
    put_text(&mut head, &compression.version());
    head
}

/// A segment of a CPU's data that is about to be moved into the file.
#[derive(Clone, Copy, Debug)]
pub struct Move<'a> {
    /// Instance name; empty for the top-level buffer.
    pub buffer: &'a str,
    /// The CPU.
    pub cpu: u32,
    /// Which of its segments.
    pub segment: u64,
    /// Where it goes.
    pub at: u64,
}

/// Hears of every move before it is made, and says how much room there is.
pub type Moving<'a> = dyn FnMut(Move<'_>) -> io::Result<Room> + 'a;

/// Whether what is moved may be there twice for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It may.
    Plenty,
    /// The disk is nearly full: what has been copied is given back piece by piece.
    Short,
}

/// Bytes that are there twice while room is short.
const MOVED_AT_ONCE: u64 = 1 << 20;

/// Frees the blocks of a file up to `end`. A file system that cannot do so just keeps them.
fn give_back(file: &File, end: u64) -> io::Result<()> {
    use nix::errno::Errno;
    use nix::fcntl::{FallocateFlags, fallocate};
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    match fallocate(file, flags, 0, end.cast_signed()) {
        Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(errno.into()),
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
