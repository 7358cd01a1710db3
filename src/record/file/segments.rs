//! Where one CPU's data goes: a file at a time, cut where a limit or the coordinator says so.
//!
//! Owns: which of a CPU's files are kept, and handing files over when a trace is cut.
//! Does not own: packing (see `dat::chunks`), the files' names (see `dat::unsealed`).
//!
//! A recording that keeps only its tail consists of segments of an eighth of what is kept; the oldest is removed when
//! the others suffice:
//! ```text
//!   [3][4][5][6][7][8][9][10: being written]        [2] was removed when [10] was begun
//! ```

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::dat::chunks::{ChunkWriter, Compression, Segment};
use crate::dat::unsealed::{Family, SegmentEnd};
use crate::record::settings::Tail;

/// Segments that a kept tail is divided into: the more, the less is kept beyond what was asked for.
const TAIL_SEGMENTS: u32 = 8;
/// The longest that a whole sub-buffer stays in memory only.
const LONGEST_STAGED: Duration = Duration::from_secs(1);

/// The files of one CPU.
#[derive(Clone, Debug)]
pub struct SegmentNames {
    family: Family,
    instance: String,
    cpu: u32,
}

impl SegmentNames {
    /// Of this family, instance (empty for the top-level buffer) and CPU.
    pub fn new(family: Family, instance: &str, cpu: u32) -> Self {
        SegmentNames { family, instance: instance.to_owned(), cpu }
    }

    /// The CPU.
    pub fn cpu(&self) -> u32 {
        self.cpu
    }

    fn open(&self, segment: u64) -> io::Result<File> {
        let path = self.family.segment_path(&self.instance, self.cpu, segment);
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
    }

    fn reopen(&self, segment: u64) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.family.segment_path(&self.instance, self.cpu, segment))
    }

    /// Removes a segment; one that cannot be removed is a nuisance, not a failure.
    pub fn remove(&self, segment: u64) {
        let _ = fs::remove_file(self.family.segment_path(&self.instance, self.cpu, segment));
    }
}

/// Puts sub-buffers in.
pub type FillSegment<'a> = &'a mut dyn FnMut(&mut ChunkWriter) -> io::Result<()>;

/// A segment that is complete.
#[derive(Debug)]
struct FinishedSegment {
    data: Segment,
    at: Instant,
}

/// One CPU's data, being written.
pub struct SegmentFiles {
    chunks: ChunkWriter,
    files: SegmentNames,
    tail: Tail,
    complete: VecDeque<FinishedSegment>,
    begun: Instant,
    written: Instant,
    /// The file with what is to follow.
    waiting: Option<PathBuf>,
}

impl SegmentFiles {
    /// Begins the first segment.
    pub fn begin(files: SegmentNames, compression: Compression, subbuf_bytes: usize, tail: Tail) -> io::Result<Self> {
        let chunks = ChunkWriter::new(files.open(0)?, compression, subbuf_bytes)?;
        let now = Instant::now();
        Ok(SegmentFiles { chunks, files, tail, complete: VecDeque::new(), begun: now, written: now, waiting: None })
    }

    /// Where sub-buffers are put.
    pub fn chunks(&mut self) -> &mut ChunkWriter {
        &mut self.chunks
    }

    /// Bytes of sub-buffers kept so far.
    pub fn raw_bytes(&self) -> u64 {
        self.chunks.raw_bytes()
    }

    /// Bytes written so far.
    pub fn written_bytes(&self) -> u64 {
        self.chunks.written_bytes()
    }

    /// To be called now and then: writes what has waited long, begins a new segment where one is full, forgets old ones.
    pub fn update(&mut self, now: Instant) -> io::Result<()> {
        if self.chunks.has_staged() && now.duration_since(self.written) >= LONGEST_STAGED {
            self.chunks.write_staged()?;
        }
        if !self.chunks.has_staged() {
            self.written = now;
        }
        if self.is_full(now) {
            self.cut(now)?;
            self.drop_old_segments(now);
        }
        Ok(())
    }

    /// Writes what was kept, and what is to follow it in all likelihood: should the recorder be killed, that stands behind what
    /// was kept; else it is replaced by the next call, and forgotten in the end. `None`: nothing is to follow.
    ///
    /// Whenever the recorder is killed, one of the two files is there that fits what was written, so nothing is there twice. A
    /// disk that is too full for what is to follow is no error.
    pub fn write_pending(&mut self, waiting: Option<FillSegment<'_>>) -> io::Result<()> {
        let at = SegmentEnd { segment: self.chunks.segment(), raw_bytes: self.chunks.raw_bytes_here() };
        let before = self.waiting.take();
        let here = self.files.family.pending_path(&self.files.instance, self.files.cpu, at);
        // What cannot be replaced and fits yet is better than nothing.
        self.waiting = waiting.and_then(|fill| match self.write_pending_file(&here, fill) {
            Ok(()) => Some(here),
            Err(_) => before.clone().filter(|before| *before == here),
        });
        self.chunks.write_staged()?;
        if let Some(before) = before.filter(|before| self.waiting.as_ref() != Some(before)) {
            let _ = fs::remove_file(before);
        }
        Ok(())
    }

    fn write_pending_file(&self, path: &Path, fill: FillSegment<'_>) -> io::Result<()> {
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let _ = fs::remove_file(&new);
        let written =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&new).and_then(|file| {
                let mut chunks = self.chunks.like(file)?;
                fill(&mut chunks)?;
                chunks.finish()?;
                fs::rename(&new, path)
            });
        written.inspect_err(|_| drop(fs::remove_file(&new)))
    }

    /// Whether something is beside it that is to follow.
    pub fn has_pending(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether the present segment has grown so much that it has to be tended before the reader sleeps again.
    pub fn is_due(&self) -> bool {
        self.tail.bytes.is_some_and(|bytes| self.chunks.raw_bytes_here() >= bytes / u64::from(TAIL_SEGMENTS))
    }

    fn is_full(&self, now: Instant) -> bool {
        let here = self.chunks.raw_bytes_here();
        here > 0
            && (self.is_due()
                || self.tail.time.is_some_and(|time| now.duration_since(self.begun) >= time / TAIL_SEGMENTS))
    }

    fn cut(&mut self, now: Instant) -> io::Result<()> {
        let next = self.files.open(self.chunks.segment() + 1)?;
        let data = self.chunks.cut(next)?;
        self.complete.push_back(FinishedSegment { data, at: now });
        self.begun = now;
        Ok(())
    }

    /// Removes segments as long as what remains is at least what is to be kept.
    fn drop_old_segments(&mut self, now: Instant) {
        while let Some(oldest) = self.complete.front() {
            let rest: u64 = self.complete.iter().skip(1).map(|segment| segment.data.raw_bytes).sum();
            let too_many = self.tail.bytes.is_some_and(|bytes| rest >= bytes);
            let too_old = self.tail.time.is_some_and(|time| now.duration_since(oldest.at) >= time);
            if !too_many && !too_old {
                return;
            }
            self.files.remove(oldest.data.segment);
            self.complete.pop_front();
        }
    }

    /// Hands over all that was written up to now and goes on in a new file.
    pub fn hand_over(&mut self, now: Instant) -> io::Result<Vec<Segment>> {
        self.cut(now)?;
        Ok(self.complete.drain(..).map(|segment| segment.data).collect())
    }

    /// Writes what is staged and hands everything over.
    pub fn finish(mut self) -> io::Result<Vec<Segment>> {
        let last = self.chunks.finish()?;
        Ok(self.complete.drain(..).map(|segment| segment.data).chain([last]).collect())
    }
}

/// What is whole of a CPU's files when its reader could not finish them.
pub fn salvage(
    files: &SegmentNames,
    compression: Compression,
    subbuf_bytes: usize,
    beginning_with: u64,
) -> io::Result<Vec<Segment>> {
    let there = files.family.segment_paths(&files.instance, files.cpu)?;
    let wanted = there.into_iter().filter(|(segment, _)| *segment >= beginning_with);
    let whole = |segment| Segment::salvage(files.reopen(segment)?, compression, subbuf_bytes, segment);
    let mut segments = wanted.map(|(segment, _)| whole(segment)).collect::<io::Result<Vec<_>>>()?;
    let waited = files.family.find_pending(&files.instance, files.cpu, &segments, compression, subbuf_bytes)?;
    segments.extend(waited);
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBBUF: usize = 4096;

    fn begin(folder: &tempfile::TempDir, tail: Tail) -> SegmentFiles {
        let files = SegmentNames::new(Family::new(folder.path(), "a.dat", 1), "", 0);
        SegmentFiles::begin(files, Compression::None, SUBBUF, tail).unwrap()
    }

    fn keep(segments: &mut SegmentFiles, now: Instant) {
        segments.chunks().keep().unwrap();
        segments.update(now).unwrap();
    }

    #[test]
    fn a_tail_by_size_keeps_at_least_what_was_asked_for_and_little_more() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = 64 * SUBBUF as u64;
        let mut segments = begin(&folder, Tail { bytes: Some(bytes), time: None });
        let now = Instant::now();
        (0..1000).for_each(|_| keep(&mut segments, now));
        let on_disk = fs::read_dir(folder.path()).unwrap().count();
        assert!(on_disk <= TAIL_SEGMENTS as usize + 2, "{on_disk} files");
        let data = segments.finish().unwrap();
        let kept: u64 = data.iter().map(|data| data.raw_bytes).sum();
        assert!((bytes..bytes + bytes / 4).contains(&kept), "{kept} of {bytes}");
        assert_eq!(data.last().unwrap().segment, 1000 / 8);
    }

    #[test]
    fn a_tail_by_time_forgets_what_is_older() {
        let folder = tempfile::tempdir().unwrap();
        let mut segments = begin(&folder, Tail { bytes: None, time: Some(Duration::from_secs(8)) });
        let start = Instant::now();
        (0..100).for_each(|second| keep(&mut segments, start + Duration::from_secs(second)));
        let kept: u64 = segments.finish().unwrap().iter().map(|data| data.raw_bytes).sum();
        assert!((8..=10).contains(&(kept / SUBBUF as u64)), "{} seconds", kept / SUBBUF as u64);
    }

    #[test]
    fn what_waits_in_memory_is_written_after_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let mut segments = begin(&folder, Tail::default());
        let start = Instant::now();
        keep(&mut segments, start);
        assert_eq!(segments.written_bytes(), 0);
        segments.update(start + LONGEST_STAGED).unwrap();
        assert_eq!(segments.written_bytes(), SUBBUF as u64);
    }

    #[test]
    fn what_was_handed_over_is_not_handed_over_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut segments = begin(&folder, Tail::default());
        let now = Instant::now();
        (0..3).for_each(|_| keep(&mut segments, now));
        let first = segments.hand_over(now).unwrap();
        assert_eq!(first.iter().map(|data| data.raw_bytes).sum::<u64>(), 3 * SUBBUF as u64);
        keep(&mut segments, now);
        let rest = segments.finish().unwrap();
        assert_eq!(rest.iter().map(|data| (data.segment, data.raw_bytes)).collect::<Vec<_>>(), [(1, SUBBUF as u64)]);
    }
}
