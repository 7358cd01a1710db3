//! An opened trace.dat file: header, options, where metadata and sub-buffers are.
//!
//! Nothing heavy is read on opening: metadata is expanded when asked for, sub-buffers chunk by chunk.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use super::chunk_list::{ChunkCursor, ChunkIndex};
use super::compress::{Algorithm, ExpandError, expand, expand_start};
use super::error::{DatError, Note};
use super::gradual::Gradual;
use super::ids;
use super::options::Options;
use super::source::{Cursor, Source, Take};
use super::{v6, v7};
use crate::wire::abi::{Abi, Endian};
use crate::wire::subbuf::{Layout, MAX_SUBBUF_BYTES};

/// Most bytes that one metadata block may expand to.
const MAX_BLOCK_BYTES: u64 = 256 << 20;

/// Where a piece of metadata is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) compressed: bool,
}

/// Where the sub-buffers of one CPU are.
#[derive(Clone, Copy, Debug)]
pub struct CpuData {
    /// Number of the CPU.
    pub cpu: u32,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes in the file, as recorded; a hint when compressed.
    pub bytes: u64,
    /// Offset of what comes after it: the data of another CPU, or the end of the file.
    pub(super) limit: u64,
}

/// One buffer: the top one has no name.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// Name of the instance, empty for the top one.
    pub name: String,
    /// Trace clock, e.g. `local`.
    pub clock: String,
    /// Layout of its sub-buffers.
    pub layout: Layout,
    /// Whether its data are chunk lists.
    pub compressed: bool,
    /// CPUs with data, in ascending order, no number twice.
    pub cpus: Vec<CpuData>,
    /// CPUs of this buffer, when the file says so.
    pub cpu_count: Option<u32>,
}

/// A buffer whose sub-buffers are in memory.
#[derive(Clone, Debug)]
pub struct LiveBuffer {
    /// Name of the instance, empty for the top one.
    pub name: String,
    /// Trace clock.
    pub clock: String,
    /// Layout of its sub-buffers.
    pub layout: Layout,
    /// Whole sub-buffers of each CPU, ascending.
    pub cpus: Vec<(u32, Vec<u8>)>,
}

/// A buffer stored as text (latency tracers).
#[derive(Clone, Debug)]
pub struct TextBuffer {
    /// Name of the instance, empty for the top one.
    pub name: String,
    pub(super) place: Place,
}

/// A run of sub-buffers that is read in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkAt {
    /// Offset in the file.
    pub offset: u64,
    /// Compressed bytes, or 0 when the sub-buffers are plain.
    pub packed: u32,
    /// Bytes of sub-buffers.
    pub bytes: u32,
}

/// An open file.
#[derive(Debug)]
pub struct Dat {
    source: Source,
    /// 6 or 7.
    pub version: u8,
    /// Byte order, and the kernel's long size.
    pub abi: Abi,
    /// Size of a long of the recording program, as the header says.
    pub user_long_bytes: u8,
    /// Sub-buffer layout of the top buffer.
    pub layout: Layout,
    /// How compressed parts are compressed.
    pub algorithm: Algorithm,
    /// What the options say.
    pub options: Options,
    /// Buffers with raw data, the top one first.
    pub buffers: Vec<Buffer>,
    /// Buffers with text.
    pub texts: Vec<TextBuffer>,
    /// Damage met while opening.
    pub notes: Vec<Note>,
    pub(super) parts: [Option<Place>; ids::MODULES_FILE as usize + 1],
    /// Offsets of the OPTIONS sections, and of every section that an option names.
    pub sections: Vec<(u16, u64)>,
}

impl Dat {
    /// Opens a file by path.
    pub fn open(path: &Path) -> Result<Dat, DatError> {
        // Without O_NONBLOCK opening a FIFO nobody writes to would wait for ever.
        let nonblock = nix::fcntl::OFlag::O_NONBLOCK.bits();
        let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
        let meta = file.metadata()?;
        let kind = meta.file_type();
        let odd = if kind.is_dir() {
            Some("a directory")
        } else if kind.is_fifo() {
            Some("a FIFO")
        } else if kind.is_socket() {
            Some("a socket")
        } else if kind.is_char_device() || kind.is_block_device() {
            Some("a device")
        } else {
            None
        };
        match odd {
            Some(what) => Err(DatError::NotRegular(what)),
            None => Dat::from_source(Source::File(Arc::new(file), meta.len())),
        }
    }

    /// Opens bytes in memory.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Result<Dat, DatError> {
        Dat::from_source(Source::Bytes(bytes.into()))
    }

    /// Opens a source.
    pub fn from_source(source: Source) -> Result<Dat, DatError> {
        if source.is_empty() {
            return Err(DatError::Empty);
        }
        let start = source.bytes(0, 4096)?;
        if !start.starts_with(&ids::MAGIC) {
            return Err(DatError::NotTraceDat(looks_like(&start)));
        }
        let mut cursor = Cursor::new(&source, Abi { endian: Endian::Little, long_bytes: 8 }, ids::MAGIC.len() as u64);
        let version = cursor.cstr(64).ok_or(DatError::Header("no version"))?;
        let version = match leading_number(&version) {
            Some(6) => 6,
            Some(7) => 7,
            _ => {
                return Err(DatError::Version(String::from_utf8_lossy(&version).into_owned()));
            }
        };
        let endian = match cursor.u8() {
            Some(0) => Endian::Little,
            Some(1) => Endian::Big,
            Some(_) => return Err(DatError::Header("the byte order is neither little nor big")),
            None => return Err(DatError::Header("it ends before the byte order")),
        };
        let user_long_bytes = cursor.u8().ok_or(DatError::Header("it ends before the long size"))?;
        let abi = Abi { endian, long_bytes: if user_long_bytes == 4 { 4 } else { 8 } };
        let mut cursor = Cursor::new(&source, abi, cursor.at());
        let page_bytes = cursor.u32().ok_or(DatError::Header("it ends before the page size"))?;
        if !good_page_size(page_bytes) {
            let swapped = page_bytes.swap_bytes();
            return Err(DatError::PageSize(page_bytes, good_page_size(swapped).then_some(swapped)));
        }
        let mut algorithm = Algorithm::None;
        let mut first_options = 0;
        if version == 7 {
            let name = cursor.cstr(64).ok_or(DatError::Header("no compression name"))?;
            algorithm = Algorithm::named(&name)
                .ok_or_else(|| DatError::Algorithm(String::from_utf8_lossy(&name).into_owned()))?;
            cursor.cstr(1024).ok_or(DatError::Header("no compression version"))?;
            first_options = cursor.u64().ok_or(DatError::Header("it ends before the offset of the options"))?;
        }
        let body = cursor.at();
        let mut dat = Dat {
            version,
            abi,
            user_long_bytes,
            layout: Layout::standard(abi, page_bytes),
            algorithm,
            options: Options::default(),
            buffers: Vec::new(),
            texts: Vec::new(),
            notes: Vec::new(),
            parts: [None; ids::MODULES_FILE as usize + 1],
            sections: Vec::new(),
            source,
        };
        if version == 7 {
            v7::read(&mut dat, first_options, body);
        } else {
            v6::read(&mut dat, body);
        }
        dat.part_cpus();
        // Top buffer first, then as in the file.
        dat.buffers.sort_by_key(|buffer| !buffer.name.is_empty());
        if dat.buffers.is_empty() && dat.texts.is_empty() && dat.parts.iter().all(Option::is_none) {
            return Err(DatError::NothingFound);
        }
        Ok(dat)
    }

    /// Sub-buffers in memory, as they have just come out of the kernel: name, clock, layout and each CPU's data.
    pub fn of_subbufs(layout: Layout, live: Vec<LiveBuffer>) -> Dat {
        let mut bytes = Vec::new();
        let mut buffers = Vec::new();
        for LiveBuffer { name, clock, layout, cpus } in live {
            let mut places = Vec::new();
            for (cpu, data) in cpus {
                let (offset, length) = (bytes.len() as u64, data.len() as u64);
                places.push(CpuData { cpu, offset, bytes: length, limit: offset + length });
                bytes.extend(data);
            }
            buffers.push(Buffer { name, clock, layout, compressed: false, cpus: places, cpu_count: None });
        }
        buffers.sort_by_key(|buffer| !buffer.name.is_empty());
        Dat {
            source: Source::Bytes(bytes.into()),
            version: 7,
            abi: layout.abi,
            user_long_bytes: layout.abi.long_bytes,
            layout,
            algorithm: Algorithm::None,
            options: Options::default(),
            buffers,
            texts: Vec::new(),
            notes: Vec::new(),
            parts: [None; ids::MODULES_FILE as usize + 1],
            sections: Vec::new(),
        }
    }

    /// The bytes of the file.
    pub fn source(&self) -> &Source {
        &self.source
    }

    pub(super) fn note(&mut self, offset: u64, what: impl Into<std::borrow::Cow<'static, str>>) {
        // A hostile file could have millions of faults; nobody reads more than the first ones.
        if self.notes.len() < 100 {
            self.notes.push(Note::new(offset, what));
        }
    }

    /// Lets the data of each CPU end where those of another begin. A damaged size would show records twice; a hostile
    /// file could have each of its many CPUs claim all of it.
    fn part_cpus(&mut self) {
        let mut starts: Vec<u64> = self.buffers.iter().flat_map(|b| &b.cpus).map(|data| data.offset).collect();
        starts.sort_unstable();
        let twice: HashSet<u64> = starts.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        let len = self.source.len();
        let (mut seen, mut notes) = (HashSet::new(), Vec::new());
        for buffer in &mut self.buffers {
            let compressed = buffer.compressed;
            buffer.cpus.retain_mut(|data| {
                if twice.contains(&data.offset) && !seen.insert(data.offset) {
                    notes
                        .push((data.offset, format!("CPU {} claims the data of another one: it is skipped", data.cpu)));
                    return false;
                }
                let next = starts.partition_point(|start| *start <= data.offset);
                data.limit = starts.get(next).map_or(len, |start| (*start).min(len));
                let room = data.limit.saturating_sub(data.offset);
                if !compressed && data.bytes > room && data.limit < len {
                    notes.push((data.limit, format!("the data of CPU {} end here, where others begin", data.cpu)));
                    data.bytes = room;
                }
                true
            });
        }
        for (offset, what) in notes {
            self.note(offset, what);
        }
    }

    /// Takes byte order, long size and offsets from the stored `header_page`.
    pub(super) fn learn_layout(&mut self) {
        let page_bytes = self.layout.subbuf_bytes;
        let place = self.parts[usize::from(ids::HEADER_INFO)];
        let text = self.header_texts().map(|(page, _)| page);
        match text {
            Some(text) if !text.is_empty() => match Layout::parse(&text, self.abi.endian) {
                Ok(layout) => {
                    self.abi = layout.abi;
                    self.layout = layout.with_size(page_bytes);
                }
                Err(error) => self.note(place.map_or(0, |place| place.offset), error.to_string()),
            },
            _ => self.note(place.map_or(0, |place| place.offset), "no header_page: the usual layout is assumed"),
        }
    }

    /// Whether metadata with this id is in the file.
    pub fn has_part(&self, id: u16) -> bool {
        self.parts.get(usize::from(id)).is_some_and(Option::is_some)
    }

    /// The whole (expanded) payload of a piece of metadata.
    pub fn part(&self, id: u16) -> Option<Result<Vec<u8>, Note>> {
        let place = (*self.parts.get(usize::from(id))?)?;
        Some(self.block(place))
    }

    pub(super) fn block(&self, place: Place) -> Result<Vec<u8>, Note> {
        let io = |error: std::io::Error| Note::new(place.offset, error.to_string());
        if !place.compressed {
            return self.source.bytes(place.offset, place.bytes.min(MAX_BLOCK_BYTES)).map_err(io);
        }
        let head = self.source.bytes(place.offset, 8).map_err(io)?;
        let mut take = Take::new(&head, self.abi);
        let (Some(packed), Some(bytes)) = (take.u32(), take.u32()) else {
            return Err(Note::new(place.offset, "the file ends inside a compressed block"));
        };
        if u64::from(bytes) > MAX_BLOCK_BYTES {
            return Err(Note::new(place.offset, ExpandError::TooLarge(bytes.into()).to_string()));
        }
        let block = self.source.bytes(place.offset + 8, packed.into()).map_err(io)?;
        let mut out = Vec::new();
        match expand(self.algorithm, &block, bytes as usize, &mut out) {
            Ok(()) => Ok(out),
            Err(error) => Err(Note::new(place.offset, error.to_string())),
        }
    }

    /// The texts of `header_page` and `header_event`.
    pub fn header_texts(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let block = self.part(ids::HEADER_INFO)?.ok()?;
        let mut take = Take::new(&block, self.abi);
        take.cstr()?;
        let n = usize::try_from(take.u64()?).ok()?;
        let page = take.bytes(n)?.to_vec();
        let event = (|| {
            take.cstr()?;
            let n = usize::try_from(take.u64()?).ok()?;
            Some(take.bytes(n)?.to_vec())
        })();
        Some((page, event.unwrap_or_default()))
    }

    /// System and text of every stored event format, and what was wrong with the rest.
    pub fn formats(&self) -> (Vec<(String, Vec<u8>)>, Vec<Note>) {
        let (mut formats, mut notes) = (Vec::new(), Vec::new());
        for id in [ids::FTRACE_EVENTS, ids::EVENT_FORMATS] {
            let offset = self.parts[usize::from(id)].map_or(0, |place| place.offset);
            match self.part(id) {
                None => {}
                Some(Err(note)) => notes.push(note),
                Some(Ok(block)) => {
                    let mut take = Take::new(&block, self.abi);
                    let whole = if id == ids::FTRACE_EVENTS {
                        formats_of("ftrace", &mut take, &mut formats)
                    } else {
                        all_formats(&mut take, &mut formats)
                    };
                    if whole.is_none() {
                        notes.push(Note::new(offset, "the event formats end early"));
                    }
                }
            }
        }
        (formats, notes)
    }

    /// The text of kallsyms, printk formats or command lines: what follows their length word.
    pub fn table(&self, id: u16) -> Option<Result<Vec<u8>, Note>> {
        let mut block = match self.part(id)? {
            Ok(block) => block,
            Err(note) => return Some(Err(note)),
        };
        let word = if id == ids::CMDLINES { 8 } else { 4 };
        let mut take = Take::new(&block, self.abi);
        let len = if word == 8 { take.u64() } else { take.u32().map(u64::from) };
        let len = len.unwrap_or(0).min(take.rest.len() as u64) as usize;
        block.drain(..word.min(block.len()));
        block.truncate(len);
        Some(Ok(block))
    }

    /// The text of [`Dat::table`], of kernel symbols or printk formats, with the length word before it, to be expanded
    /// bit by bit where that is possible.
    pub fn gradual(&self, id: u16) -> Option<Gradual> {
        let place = (*self.parts.get(usize::from(id))?)?;
        if place.compressed && self.algorithm == Algorithm::Zstd {
            let head = self.source.bytes(place.offset, 8).ok()?;
            let mut take = Take::new(&head, self.abi);
            let (packed, bytes) = (take.u32()?, take.u32()?);
            let block = self.source.bytes(place.offset + 8, packed.into()).ok()?;
            if let Some(gradual) = Gradual::zstd(block, bytes as usize) {
                return Some(gradual);
            }
        }
        self.block(place).ok().map(Gradual::whole)
    }

    /// The text of a text buffer.
    pub fn text(&self, buffer: &TextBuffer) -> Result<Vec<u8>, Note> {
        if !buffer.place.compressed {
            return self.block(buffer.place);
        }
        let (offset, bytes, limit) = (buffer.place.offset, buffer.place.bytes, self.source.len());
        let data = CpuData { cpu: 0, offset, bytes, limit };
        let mut chunks = ChunkCursor::new(self, &data, true, 1);
        let (mut text, mut chunk) = (Vec::new(), Vec::new());
        while let Some(next) = chunks.next(self) {
            self.read_chunk(&next?, &mut chunk)?;
            text.extend_from_slice(&chunk);
            if text.len() as u64 > MAX_BLOCK_BYTES {
                return Err(Note::new(data.offset, ExpandError::TooLarge(text.len() as u64).to_string()));
            }
        }
        Ok(text)
    }

    /// The chunks of one CPU of a buffer, in file order.
    pub fn chunks(&self, buffer: &Buffer, data: &CpuData) -> ChunkCursor {
        ChunkCursor::new(self, data, buffer.compressed, buffer.layout.subbuf_bytes)
    }

    /// Reads and expands a chunk. May be called from any thread.
    pub fn read_chunk(&self, at: &ChunkAt, out: &mut Vec<u8>) -> Result<(), Note> {
        out.clear();
        let io = |error: std::io::Error| Note::new(at.offset, error.to_string());
        if at.packed == 0 {
            out.resize(at.bytes as usize, 0);
            let n = self.source.read_at(at.offset, out).map_err(io)?;
            out.truncate(n);
            return Ok(());
        }
        let block = self.source.bytes(at.offset, at.packed.into()).map_err(io)?;
        expand(self.algorithm, &block, at.bytes as usize, out)
            .map_err(|error| Note::new(at.offset, format!("{error}: this chunk of sub-buffers is skipped")))
    }

    /// Places in what is left of a walk where reading can begin. Steps over all of it when it is compressed.
    pub fn chunk_index(&self, rest: ChunkCursor) -> ChunkIndex {
        ChunkIndex::new(self, rest)
    }

    /// The first `bytes` bytes of a chunk, or fewer if it has not as many. May expand more than that to get at them.
    pub fn chunk_start(&self, at: &ChunkAt, bytes: usize) -> Option<Vec<u8>> {
        let bytes = bytes.min(at.bytes as usize);
        if at.packed == 0 {
            return self.source.bytes(at.offset, bytes as u64).ok();
        }
        let block = self.source.bytes(at.offset, at.packed.into()).ok()?;
        expand_start(self.algorithm, &block, at.bytes as usize, bytes).ok()
    }

    /// Number of CPUs to state: what the file says, else one more than the highest seen.
    pub fn cpu_count(&self) -> u32 {
        let seen = || self.buffers.iter().flat_map(|b| &b.cpus).map(|data| data.cpu.saturating_add(1)).max();
        self.options.cpu_count.or_else(seen).unwrap_or(0)
    }
}

fn all_formats(take: &mut Take<'_>, into: &mut Vec<(String, Vec<u8>)>) -> Option<()> {
    let systems = take.u32()?;
    for _ in 0..systems {
        let system = String::from_utf8_lossy(take.cstr()?).into_owned();
        formats_of(&system, take, into)?;
    }
    Some(())
}

fn formats_of(system: &str, take: &mut Take<'_>, into: &mut Vec<(String, Vec<u8>)>) -> Option<()> {
    let count = take.u32()?;
    for _ in 0..count {
        let n = usize::try_from(take.u64()?).ok()?;
        into.push((system.to_owned(), take.bytes(n)?.to_vec()));
    }
    Some(())
}

pub(super) fn good_page_size(bytes: u32) -> bool {
    bytes.is_power_of_two() && (256..=MAX_SUBBUF_BYTES).contains(&bytes)
}

/// The number at the start of a text, as C's strtol takes it.
fn leading_number(text: &[u8]) -> Option<u32> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
}

fn looks_like(start: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 8] = [
        (b"PERFILE2", "a perf.data file"),
        (b"2ELIFREP", "a perf.data file of the other byte order"),
        (b"\x1f\x8b", "a gzip file"),
        (b"\x28\xb5\x2f\xfd", "a zstd file"),
        (b"\xfd7zXZ", "an xz file"),
        (b"\x7fELF", "an ELF file"),
        (b"PK\x03\x04", "a zip file"),
        (b"\x17\x08\x44", "a trace.dat file that is damaged in its first bytes"),
    ];
    if let Some((_, what)) = known.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Some(what);
    }
    if start.iter().all(|byte| *byte == 0) {
        return Some("nothing but zeros");
    }
    let printable = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    start.iter().all(printable).then_some("text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_files_are_called_by_their_names() {
        let error = |bytes: &[u8]| Dat::from_bytes(bytes.to_vec()).unwrap_err().to_string();
        assert_eq!(error(b""), "the file is empty");
        assert!(error(b"PERFILE2........").contains("perf.data"));
        assert!(error(b"hello\n").contains("looks like text"));
        assert!(error(b"\x17\x08\x44tracing8\0").contains("version 8"));
        assert!(error(b"\x17\x08\x44tracing6").contains("no version"));
        assert!(error(b"\x17\x08\x44tracing6\0\0\x08\x00\x00\x00\x00").contains("page size 0"));
        assert!(error(b"\x17\x08\x44tracing7\0\0\x08\x00\x10\x00\x00lz4\0\0").contains("\"lz4\""));
    }

    /// A version 6 file whose CPUs each claim `bytes` bytes at what `offset` says, with `room` bytes after the table.
    fn v6(cpus: u32, room: usize, claim: impl Fn(u32, u64) -> (u64, u64)) -> Vec<u8> {
        let mut file = [&ids::MAGIC[..], b"6\0\0\x08\x00\x10\x00\x00"].concat();
        for name in [&b"header_page\0"[..], b"header_event\0"] {
            file.extend_from_slice(name);
            file.extend_from_slice(&[0; 8]);
        }
        // No formats of ftrace, no systems, no tables.
        file.extend_from_slice(&[0; 4 + 4 + 4 + 4 + 8]);
        file.extend_from_slice(&cpus.to_le_bytes());
        file.extend_from_slice(&ids::V6_FLYRECORD);
        let start = file.len() as u64 + u64::from(cpus) * 16;
        for cpu in 0..cpus {
            let (offset, bytes) = claim(cpu, start);
            file.extend_from_slice(&offset.to_le_bytes());
            file.extend_from_slice(&bytes.to_le_bytes());
        }
        file.resize(file.len() + room, 0);
        file
    }

    #[test]
    fn cpus_that_claim_the_same_bytes_do_not_multiply_them() {
        let room = 1 << 20;
        for same in [true, false] {
            let file = v6(2000, room, |cpu, start| (start + if same { 0 } else { u64::from(cpu) * 64 }, room as u64));
            let dat = Dat::from_bytes(file).unwrap();
            let buffer = &dat.buffers[0];
            let mut total = 0;
            for data in &buffer.cpus {
                let mut chunks = dat.chunks(buffer, data);
                while let Some(chunk) = chunks.next(&dat) {
                    total += chunk.unwrap().bytes as usize;
                }
            }
            assert_eq!(total, room, "every byte is read once");
            assert!(!dat.notes.is_empty());
        }
    }

    #[test]
    fn a_million_cpus_are_read_in_a_moment() {
        let started = std::time::Instant::now();
        let dat = Dat::from_bytes(v6(1_000_000, 4096, |_, start| (start, 4096))).unwrap();
        assert_eq!(dat.buffers[0].cpus.len(), 1);
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
    }
}
