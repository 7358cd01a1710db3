//! Recordings whose recorder died: the files it left, and how a trace is put together from them.
//!
//! Owns: the names of the temporary files, the data half of the journal, putting together.
//! Does not own: the control files to put back, which are the other half (see `control::journal`).
//!
//! While it records, a file `DIR/NAME` is a family of files in one folder:
//! ```text
//! .NAME.rtrec-PID.journal        one JSON object a line, each written before what it says is done
//! .NAME.rtrec-PID.part           the header and the metadata sections of the file to be
//! .NAME.rtrec-PID.cpu0.0         chunks (or, uncompressed, sub-buffers) of CPU 0, its first segment
//! .NAME.rtrec-PID.INSTANCE.cpu0.0
//! .NAME.rtrec-PID.cpu0.waiting.0.8192   what was to follow when 8192 bytes of sub-buffers were in segment 0, or may yet
//! .NAME.rtrec-PID.own-7403       what is to be a section of rtrec's own (see `rtrec_sections`)
//! ```
//! A chunk is one write, so what a dead recorder leaves is whole up to the last chunk. Nothing is synced to the disk
//! while recording: these files outlive their process, not a power cut.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::chunks::{Compression, Segment};
use super::ids;
use super::writer::{self, BufferHead, Move, Room, Section, Writer};

/// A line of the journal about the data.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalEntry {
    /// The first line.
    Begin(RecordingStart),
    /// A buffer whose readers are about to write.
    Buffer(BufferEntry),
    /// A segment is being moved into the `.part` file.
    Moving(MovingEntry),
    /// A complete file is about to get its name.
    Publishing(PublishingEntry),
    /// The control files are as they were.
    PutBack,
}

/// What is known when a recording begins.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct RecordingStart {
    /// Version of the journal's form.
    pub version: u32,
    /// The recorder's process.
    pub pid: i32,
    /// When it was started, in clock ticks since the machine was: with the pid, its identity.
    pub start_ticks: u64,
    /// Which boot of the machine it ran in.
    pub boot_id: String,
    /// The file to be.
    pub output: String,
    /// Whether the temporary files are in another folder than that.
    #[serde(default)]
    pub elsewhere: bool,
    /// How it is compressed.
    pub compression: String,
    /// `sysname nodename release machine`.
    pub uname: String,
    /// CPUs the machine is configured for.
    pub cpus: u32,
    /// The events whose formats the file needs, `system:event`.
    pub events: Vec<String>,
}

impl RecordingStart {
    /// Of this process, for a file of this name.
    pub fn here(output: String) -> Self {
        let pid = std::process::id().cast_signed();
        let start_ticks = start_ticks(pid).unwrap_or_default();
        RecordingStart {
            version: JOURNAL_VERSION,
            pid,
            start_ticks,
            boot_id: boot_id(),
            output,
            ..RecordingStart::default()
        }
    }
}

/// The form of journal that this rtrec writes.
pub const JOURNAL_VERSION: u32 = 1;

/// A buffer that was recorded.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct BufferEntry {
    /// Instance name; empty for the top-level buffer.
    pub name: String,
    /// Its clock.
    pub clock: String,
    /// Bytes of its sub-buffers.
    pub subbuf_bytes: u32,
    /// Its traced CPUs.
    pub cpus: Vec<u32>,
}

/// A segment that was being moved when the recorder died: its file may have a hole up to what has arrived.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct MovingEntry {
    /// Instance name.
    pub buffer: String,
    /// The CPU.
    pub cpu: u32,
    /// Which of its segments.
    pub segment: u64,
    /// Where it goes in the `.part` file.
    pub at: u64,
}

/// A complete file that was about to be renamed when the recorder died.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct PublishingEntry {
    /// The name that it was to get.
    pub path: String,
    /// Which of the family it is: `part`, or `rotated` for one of several.
    pub kind: String,
    /// The names of the segments that are in it.
    #[serde(rename = "stretches")]
    pub segments: Vec<String>,
}

impl From<Move<'_>> for MovingEntry {
    fn from(step: Move<'_>) -> Self {
        MovingEntry { buffer: step.buffer.to_owned(), cpu: step.cpu, segment: step.segment, at: step.at }
    }
}

/// The names of a recording's temporary files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    dir: PathBuf,
    stem: String,
}

impl Family {
    /// The family of a recorder's output, its files in `dir`.
    pub fn new(dir: &Path, name: &str, pid: u32) -> Self {
        Family { dir: dir.to_owned(), stem: format!(".{name}.rtrec-{pid}") }
    }

    /// The family that a file belongs to.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let at = name.rfind(".rtrec-")?;
        let pid: String = name[at + ".rtrec-".len()..].chars().take_while(char::is_ascii_digit).collect();
        let known = name.starts_with('.') && !pid.is_empty();
        let stem = name[..at + ".rtrec-".len() + pid.len()].to_owned();
        known.then(|| Family { dir: path.parent().unwrap_or(Path::new("")).to_owned(), stem })
    }

    /// The families that recorders of `DIR/NAME` left beside it, or all of a folder.
    pub fn find(path: &Path) -> io::Result<Vec<Self>> {
        let (dir, wanted) = if path.is_dir() {
            (path.to_owned(), None)
        } else {
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            (dir.to_owned(), Some(format!(".{name}.rtrec-")))
        };
        let mut families = Vec::new();
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            let named = path.file_name().unwrap_or_default().to_string_lossy();
            let wanted = wanted.as_deref().is_none_or(|stem| named.starts_with(stem));
            if wanted && named.ends_with(".journal") {
                families.extend(Family::of(&path));
            }
        }
        families.sort_by(|a, b| a.stem.cmp(&b.stem));
        Ok(families)
    }

    /// The recorder's process.
    pub fn pid(&self) -> Option<i32> {
        self.stem.rsplit("rtrec-").next()?.parse().ok()
    }

    /// Whether a file that was about to get its name has got it: it is there, and not under its old name.
    fn has_published(&self, file: &PublishingEntry) -> bool {
        let name = Path::new(&file.path).file_name().unwrap_or_default();
        !self.file(&file.kind).exists() && (Path::new(&file.path).exists() || self.dir.join(name).exists())
    }

    /// One of its files.
    pub fn file(&self, kind: &str) -> PathBuf {
        self.dir.join(format!("{}.{kind}", self.stem))
    }

    /// The journal.
    pub fn journal(&self) -> PathBuf {
        self.file("journal")
    }

    /// A segment of a CPU's data.
    pub fn segment_path(&self, instance: &str, cpu: u32, segment: u64) -> PathBuf {
        self.file(&segment_kind(instance, cpu, segment))
    }

    /// The segments of a CPU that are there, in order.
    pub fn segment_paths(&self, instance: &str, cpu: u32) -> io::Result<Vec<(u64, PathBuf)>> {
        let before = format!("{}.{}", self.stem, segment_kind(instance, cpu, 0).trim_end_matches('0'));
        let mut found = Vec::new();
        for entry in fs::read_dir(self.folder())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if let Some(segment) = name.strip_prefix(&before).and_then(|rest| rest.parse().ok()) {
                found.push((segment, path));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// What waits to be written after so much of a CPU's data.
    pub fn pending_path(&self, instance: &str, cpu: u32, end: SegmentEnd) -> PathBuf {
        self.file(&format!("{}.{}.{}", pending_kind(instance, cpu), end.segment, end.raw_bytes))
    }

    /// What waited to be written after these segments of a CPU, if anything did: it is as whole as they are.
    pub fn find_pending(
        &self,
        instance: &str,
        cpu: u32,
        segments: &[Segment],
        compression: Compression,
        subbuf_bytes: usize,
    ) -> io::Result<Option<Segment>> {
        let last = segments.iter().rfind(|data| data.raw_bytes > 0);
        let end = last.map(|last| SegmentEnd { segment: last.segment, raw_bytes: last.raw_bytes }).unwrap_or_default();
        let before = format!("{}.{}.", self.stem, pending_kind(instance, cpu));
        let mut next: Option<(SegmentEnd, PathBuf)> = None;
        for entry in fs::read_dir(self.folder())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let Some((segment, raw_bytes)) = name.strip_prefix(&before).and_then(|rest| rest.split_once('.')) else {
                continue;
            };
            let (Ok(segment), Ok(raw_bytes)) = (segment.parse(), raw_bytes.parse()) else { continue };
            let at = SegmentEnd { segment, raw_bytes };
            // What waited after less than there is has been written meanwhile, in part at least.
            if at >= end && next.as_ref().is_none_or(|(other, _)| at < *other) {
                next = Some((at, path));
            }
        }
        let Some((_, path)) = next else { return Ok(None) };
        match File::open(path) {
            Ok(file) => Segment::salvage(file, compression, subbuf_bytes, PENDING_SEGMENT).map(Some),
            // Its recorder is at work.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes whatever is left of it, the journal last.
    pub fn remove(&self) -> io::Result<()> {
        self.remove_data()?;
        fs::remove_file(self.journal())
    }

    /// Removes whatever is left of it but the journal.
    pub fn remove_data(&self) -> io::Result<()> {
        let before = format!("{}.", self.stem);
        for entry in fs::read_dir(self.folder())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.strip_prefix(&before).is_some_and(|kind| kind != "journal") {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// The folder of its files.
    pub fn folder(&self) -> &Path {
        if self.dir.as_os_str().is_empty() { Path::new(".") } else { &self.dir }
    }
}

/// How far a CPU's data go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentEnd {
    /// The last segment that has any.
    pub segment: u64,
    /// Bytes of sub-buffers in it.
    pub raw_bytes: u64,
}

/// The number of the segment that waited to be written: after all others.
const PENDING_SEGMENT: u64 = u64::MAX;

fn pending_kind(instance: &str, cpu: u32) -> String {
    let dot = if instance.is_empty() { "" } else { "." };
    format!("{instance}{dot}cpu{cpu}.waiting")
}

/// What a CPU's segment is called within its family.
pub fn segment_kind(instance: &str, cpu: u32, segment: u64) -> String {
    let dot = if instance.is_empty() { "" } else { "." };
    format!("{instance}{dot}cpu{cpu}.{segment}")
}

/// What a dead recorder left.
#[derive(Clone, Debug)]
pub struct Unsealed {
    /// Its files.
    pub family: Family,
    /// What it was about to do.
    pub begin: RecordingStart,
    /// The buffers it recorded.
    pub buffers: Vec<BufferEntry>,
    moves: Vec<MovingEntry>,
    /// Segments that are in a file that has got its name.
    published: Vec<String>,
}

/// The segments of each CPU.
type CpusData = Vec<(u32, Vec<Segment>)>;

/// What was put together.
#[derive(Debug)]
pub struct Restored {
    /// The sealed file.
    pub file: File,
    /// Bytes of sub-buffers in it.
    pub raw_bytes: u64,
    /// Whether the formats were there, so that the records can be read.
    pub has_formats: bool,
}

impl Unsealed {
    /// Reads a family's journal. A last line that is cut does not count.
    pub fn open(family: Family) -> io::Result<Self> {
        let mut unsealed = Unsealed {
            begin: RecordingStart::default(),
            buffers: Vec::new(),
            moves: Vec::new(),
            published: Vec::new(),
            family: family.clone(),
        };
        let mut publishing = None;
        for line in BufReader::new(File::open(family.journal())?).split(b'\n') {
            // Lines about control files are not ours to read.
            match serde_json::from_slice(&line?) {
                Ok(JournalEntry::Begin(begin)) => unsealed.begin = begin,
                Ok(JournalEntry::Buffer(buffer)) => unsealed.buffers.push(buffer),
                Ok(JournalEntry::Moving(moving)) => unsealed.moves.push(moving),
                Ok(JournalEntry::Publishing(last)) => publishing = Some(last),
                Ok(JournalEntry::PutBack) | Err(_) => {}
            }
        }
        if let Some(last) = publishing.filter(|last| family.has_published(last)) {
            unsealed.published = last.segments;
        }
        let found = unsealed.begin.version;
        // None at all: its recorder died before it had begun.
        if found != JOURNAL_VERSION && unsealed.begin != RecordingStart::default() {
            let text = format!("{} is of form {found}, not {JOURNAL_VERSION}", family.journal().display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(unsealed)
    }

    /// Whether there is nothing to restore: its recorder died before it recorded, or when the trace was complete.
    pub fn is_void(&self) -> bool {
        self.begin == RecordingStart::default()
            || fs::metadata(self.family.file("part")).map_or(true, |part| part.len() == 0)
    }

    /// Puts a sealed trace together in the empty file `into`, changing nothing of what is there.
    ///
    /// `texts` gives the metadata sections that the recorder had not come to write, text which are there.
    pub fn put_together(
        &self,
        mut into: File,
        texts: impl FnOnce(&[u16]) -> Vec<Section<'static>>,
    ) -> io::Result<Restored> {
        let compression: Compression =
            self.begin.compression.parse().map_err(|text: String| io::Error::new(io::ErrorKind::InvalidData, text))?;
        let (mut part, head_bytes) = (File::open(self.family.file("part"))?, self.head_bytes());
        io::copy(&mut io::Read::take(&mut part, head_bytes), &mut into)?;
        into.rewind()?;
        let (mut out, mut there) = Writer::resume(into, compression)?;
        let more = texts(&there);
        there.extend(more.iter().map(|section| section.id));
        out.sections(&more)?;
        out.option_text(ids::TRACECLOCK, &format!("[{}]\n", self.top_clock()));
        out.option_text(ids::UNAME, &self.begin.uname);
        out.option_text(ids::VERSION, concat!("rtrec ", env!("CARGO_PKG_VERSION")));
        out.option_u32(ids::CPUCOUNT, self.begin.cpus);
        // Its recorder may be at work: what is known of records is written before them, so they are measured first.
        let heads = self.heads(compression)?;
        super::rtrec_sections::add_files(&mut out, &self.family)?;
        out.end_options()?;
        let mut raw_bytes = 0;
        for (head, mut cpus) in heads {
            raw_bytes += cpus.iter().flat_map(|(_, data)| data).map(|data| data.raw_bytes).sum::<u64>();
            out.buffer(&head, &mut cpus, &mut |_| Ok(Room::Plenty))?;
        }
        let has_formats = there.contains(&ids::EVENT_FORMATS);
        Ok(Restored { file: out.seal()?, raw_bytes, has_formats })
    }

    /// The buffers with what is whole of their data. Readers expect a top-level buffer, if an empty one.
    fn heads(&self, compression: Compression) -> io::Result<Vec<(BufferHead, CpusData)>> {
        let mut heads = Vec::new();
        if self.buffers.iter().all(|buffer| !buffer.name.is_empty()) {
            let clock = "local".to_owned();
            let subbuf_bytes = self.buffers.first().map_or(4096, |buffer| buffer.subbuf_bytes);
            heads.push((BufferHead { name: String::new(), clock, subbuf_bytes }, Vec::new()));
        }
        for buffer in &self.buffers {
            let cpus = buffer.cpus.iter().map(|&cpu| Ok((cpu, self.salvage(buffer, cpu, compression)?)));
            let head = BufferHead {
                name: buffer.name.clone(),
                clock: buffer.clock.clone(),
                subbuf_bytes: buffer.subbuf_bytes,
            };
            heads.push((head, cpus.collect::<io::Result<_>>()?));
        }
        Ok(heads)
    }

    fn salvage(&self, buffer: &BufferEntry, cpu: u32, compression: Compression) -> io::Result<Vec<Segment>> {
        let subbuf_bytes = buffer.subbuf_bytes as usize;
        let mut segments = Vec::new();
        for (segment, path) in self.family.segment_paths(&buffer.name, cpu)? {
            if self.published.contains(&segment_kind(&buffer.name, cpu, segment)) {
                continue;
            }
            let mut file = File::open(path)?;
            let moved =
                |moving: &&MovingEntry| moving.buffer == buffer.name && moving.cpu == cpu && moving.segment == segment;
            if let Some(moving) = self.moves.iter().find(moved) {
                file = self.with_moved(file, moving, compression)?;
            }
            segments.push(Segment::salvage(file, compression, subbuf_bytes, segment)?);
        }
        let waited = self.family.find_pending(&buffer.name, cpu, &segments, compression, subbuf_bytes)?;
        segments.extend(waited);
        Ok(segments)
    }

    /// A segment whose beginning is in the `.part` file already, whole again; elsewhere where its own disk has no room.
    fn with_moved(&self, mut rest: File, moving: &MovingEntry, compression: Compression) -> io::Result<File> {
        let here = self.whole_in(self.family.folder(), &mut rest, moving, compression);
        here.or_else(|_| self.whole_in(&std::env::temp_dir(), &mut rest, moving, compression))
    }

    fn whole_in(
        &self,
        dir: &Path,
        rest: &mut File,
        moving: &MovingEntry,
        compression: Compression,
    ) -> io::Result<File> {
        let mut part = File::open(self.family.file("part"))?;
        let skipped = if compression == Compression::None { 0 } else { super::chunks::COUNT_BYTES as u64 };
        let length = rest.metadata()?.len();
        let arrived = part.metadata()?.len().saturating_sub(moving.at).min(length.saturating_sub(skipped));
        let mut whole = tempfile::tempfile_in(dir)?;
        whole.seek(io::SeekFrom::Start(skipped))?;
        part.seek(io::SeekFrom::Start(moving.at))?;
        io::copy(&mut io::Read::take(&mut part, arrived), &mut whole)?;
        rest.seek(io::SeekFrom::Start(skipped + arrived))?;
        io::copy(rest, &mut whole)?;
        Ok(whole)
    }

    fn top_clock(&self) -> &str {
        self.buffers.iter().find(|buffer| buffer.name.is_empty()).map_or("local", |buffer| &buffer.clock)
    }

    /// How much of the `.part` file is of the time before sealing began.
    fn head_bytes(&self) -> u64 {
        self.moves.iter().map(|moving| moving.at).min().unwrap_or(u64::MAX)
    }

    /// The file to be: the name that was asked for, in the folder where its files are now, unless they were elsewhere
    /// from the beginning.
    pub fn output(&self) -> PathBuf {
        let asked_for = Path::new(&self.begin.output);
        match asked_for.file_name() {
            _ if self.begin.elsewhere => asked_for.to_owned(),
            Some(name) => self.family.dir.join(name),
            None => self.family.dir.join("trace.dat"),
        }
    }

    /// The names that tasks had when recording began.
    pub fn names_section(&self) -> Section<'static> {
        let names = fs::read(self.family.file("names")).unwrap_or_default();
        Section { id: ids::CMDLINES, payload: writer::long_text(&names).into() }
    }

    /// Whether the recorder is still at work.
    pub fn is_alive(&self) -> bool {
        if self.begin == RecordingStart::default() {
            return self.family.pid().is_some_and(|pid| start_ticks(pid).is_some());
        }
        self.begin.boot_id == boot_id() && start_ticks(self.begin.pid) == Some(self.begin.start_ticks)
    }

    /// Whether it ran in this boot of the machine, so that the kernel's texts and settings are the ones it saw.
    pub fn is_of_this_boot(&self) -> bool {
        self.begin.boot_id == boot_id()
    }
}

/// Opens what dead or living recorders of `path` have written so far, or the family that `path` is a file of, as if it were
/// complete. `None`: there is nothing of the kind.
pub fn open(path: &Path) -> io::Result<Option<(File, Unsealed)>> {
    let family = match Family::of(path) {
        Some(family) => Some(family),
        None => newest(Family::find(path)?),
    };
    let Some(family) = family.filter(|family| family.journal().exists()) else { return Ok(None) };
    let unsealed = Unsealed::open(family)?;
    if unsealed.is_void() {
        return Ok(None);
    }
    let into = tempfile::tempfile_in(unsealed.family.folder()).or_else(|_| tempfile::tempfile())?;
    let restored = unsealed.put_together(into, |_| vec![unsealed.names_section()])?;
    Ok(Some((restored.file, unsealed)))
}

fn newest(families: Vec<Family>) -> Option<Family> {
    families.into_iter().max_by_key(|family| fs::metadata(family.journal()).and_then(|journal| journal.modified()).ok())
}

/// What identifies this boot of the machine.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// When a process was started, in clock ticks since the machine was.
pub fn start_ticks(pid: i32) -> Option<u64> {
    Some(procfs::process::Process::new(pid).ok()?.stat().ok()?.starttime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_known_by_any_of_its_files() {
        let family = Family::new(Path::new("/d"), "a.rtrec-1.dat", 42);
        for kind in ["journal", "part", "cpu0.0", "x.y.cpu3.17"] {
            assert_eq!(Family::of(&family.file(kind)), Some(family.clone()), "{kind}");
        }
        for other in ["/d/a.dat", "/d/.a.dat.rtrec-x.part", "/d/a.rtrec-4.part"] {
            assert_eq!(Family::of(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn segments_come_in_the_order_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let family = Family::new(folder.path(), "a.dat", 1);
        for (instance, cpu, segment) in [("", 1, 10), ("", 1, 9), ("", 10, 0), ("x", 1, 3), ("cpu1", 1, 4)] {
            fs::write(family.segment_path(instance, cpu, segment), "").unwrap();
        }
        let of = |instance, cpu| -> Vec<u64> {
            family.segment_paths(instance, cpu).unwrap().into_iter().map(|(segment, _)| segment).collect()
        };
        assert_eq!((of("", 1), of("", 10), of("x", 1), of("cpu1", 1)), (vec![9, 10], vec![0], vec![3], vec![4]));
    }

    #[test]
    fn a_file_has_got_its_name_when_it_is_there_and_not_under_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let family = Family::new(folder.path(), "a.dat", 1);
        let path = folder.path().join("a.dat.0001").to_string_lossy().into_owned();
        let entry = PublishingEntry { path: path.clone(), kind: "rotated".to_owned(), segments: Vec::new() };
        assert!(!family.has_published(&entry));
        fs::write(family.file("rotated"), "").unwrap();
        fs::write(&path, "an older one").unwrap();
        assert!(!family.has_published(&entry));
        fs::rename(family.file("rotated"), &path).unwrap();
        assert!(family.has_published(&entry));
    }
}
