//! Recordings in several files: each cut of all CPUs becomes a file of its own, `NAME.0001` and on.
//!
//! ```text
//!   coordinator: cut 1 ──▶ each reader hands over what it has ──▶ NAME.0001, and so on; the last file is what is left
//! ```
//! A cut runs between sub-buffers, so events of different CPUs around it may lie on different sides; none is lost.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::output::create;
use crate::control::Journal;
use crate::dat::chunks::Compression;
use crate::dat::unsealed::{Family, JournalEntry, PublishingEntry};
use crate::dat::writer::Writer;
use crate::record::settings::Rotation;
use crate::record::taken::{BufferData, HandedOver, Totals};

/// Decides when to cut, collects what readers hand over, and numbers the files.
#[derive(Debug)]
pub struct Rotator {
    rotation: Rotation,
    path: PathBuf,
    readers: usize,
    cut: u64,
    under_way: bool,
    handed_over: Vec<HandedOver>,
    since: (Instant, u64),
    numbered: VecDeque<PathBuf>,
    next: u32,
}

impl Rotator {
    /// Files are named after `path`; so many readers take part.
    pub fn new(rotation: Rotation, path: &Path, readers: usize, now: Instant) -> Self {
        Rotator {
            rotation,
            path: path.to_owned(),
            readers,
            cut: 0,
            under_way: false,
            handed_over: Vec::new(),
            since: (now, 0),
            numbered: VecDeque::new(),
            next: 1,
        }
    }

    /// Whether it is time for a cut.
    pub fn is_due(&self, totals: Totals, now: Instant) -> bool {
        let (since, written) = self.since;
        self.rotation.bytes.is_some_and(|bytes| totals.written - written >= bytes)
            || self.rotation.time.is_some_and(|time| now.duration_since(since) >= time)
    }

    /// The number of the cut that begins now; `None` while one is under way.
    pub fn begin_cut(&mut self, totals: Totals, now: Instant) -> Option<u64> {
        if std::mem::replace(&mut self.under_way, true) {
            return None;
        }
        self.since = (now, totals.written);
        self.cut += 1;
        Some(self.cut)
    }

    /// Takes what a reader hands over; all of a cut when it was the last one.
    pub fn take(&mut self, one: HandedOver, buffers: usize) -> Option<BufferData> {
        self.handed_over.push(one);
        self.under_way = self.handed_over.len() < self.readers;
        (!self.under_way).then(|| self.collected(buffers))
    }

    /// What was handed over for a cut that was not completed.
    pub fn collected(&mut self, buffers: usize) -> BufferData {
        let mut all: BufferData = (0..buffers).map(|_| Vec::new()).collect();
        for one in self.handed_over.drain(..) {
            all[one.buffer].push((one.cpu, one.data));
        }
        all.iter_mut().for_each(|cpus| cpus.sort_by_key(|(cpu, _)| *cpu));
        all
    }

    /// Takes back what could not be put into a file of its own.
    pub fn take_back(&mut self, data: BufferData) {
        for (buffer, cpus) in data.into_iter().enumerate() {
            let cut = self.cut;
            self.handed_over.extend(cpus.into_iter().map(|(cpu, data)| HandedOver { buffer, cpu, cut, data }));
        }
    }

    /// The name of the next file, and which older one has to go for it.
    pub fn name_next(&mut self) -> (PathBuf, Option<PathBuf>) {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{:04}", self.next));
        self.next += 1;
        let path = PathBuf::from(name);
        self.numbered.push_back(path.clone());
        let too_many = self.rotation.keep.is_some_and(|keep| self.numbered.len() > keep.max(1) as usize);
        (path, if too_many { self.numbered.pop_front() } else { None })
    }
}

/// A file with a copy of the metadata that was written so far, under the name `rotated` of the family.
pub fn begin_copy(family: &Family, compression: Compression) -> io::Result<Writer> {
    let mut copy = create(&family.file("rotated"))?;
    io::copy(&mut File::open(family.file("part"))?, &mut copy)?;
    Ok(Writer::resume(copy, compression)?.0)
}

/// Gives a sealed copy its name. From then on the segments in it are there twice, which the journal tells `restore`.
pub fn publish_copy(family: &Family, journal: &Journal, path: &Path, segments: Vec<String>) -> io::Result<()> {
    let shown = path.to_string_lossy().into_owned();
    journal.note(&JournalEntry::Publishing(PublishingEntry { path: shown, kind: "rotated".to_owned(), segments }))?;
    fs::rename(family.file("rotated"), path)
}

/// Makes room of a copy that could not be completed. It stays, empty: `restore` takes its absence for success.
pub fn abandon_copy(family: &Family) {
    let _ = File::options().write(true).truncate(true).open(family.file("rotated"));
}

/// Removes the file that has to go for a new one.
pub fn remove_old(too_old: Option<PathBuf>) -> io::Result<()> {
    match too_old.map(fs::remove_file) {
        Some(Err(e)) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn one(buffer: usize, cpu: u32) -> HandedOver {
        HandedOver { buffer, cpu, cut: 1, data: Vec::new() }
    }

    #[test]
    fn a_cut_is_complete_when_every_reader_has_handed_over() {
        let now = Instant::now();
        let mut rotor = Rotator::new(Rotation::default(), Path::new("a.dat"), 3, now);
        assert_eq!(rotor.begin_cut(Totals::default(), now), Some(1));
        assert_eq!(rotor.begin_cut(Totals::default(), now), None);
        assert!(rotor.take(one(1, 0), 2).is_none() && rotor.take(one(0, 1), 2).is_none());
        let all = rotor.take(one(0, 0), 2).unwrap();
        let cpus: Vec<Vec<u32>> = all.iter().map(|cpus| cpus.iter().map(|(cpu, _)| *cpu).collect()).collect();
        assert_eq!(cpus, [vec![0, 1], vec![0]]);
        assert_eq!(rotor.begin_cut(Totals::default(), now), Some(2));
    }

    #[test]
    fn what_no_file_could_take_is_collected_again() {
        let now = Instant::now();
        let mut rotor = Rotator::new(Rotation::default(), Path::new("a.dat"), 2, now);
        rotor.begin_cut(Totals::default(), now);
        rotor.take(one(0, 1), 2);
        let all = rotor.take(one(1, 0), 2).unwrap();
        rotor.take_back(all);
        let again = rotor.collected(2);
        let cpus: Vec<Vec<u32>> = again.iter().map(|cpus| cpus.iter().map(|(cpu, _)| *cpu).collect()).collect();
        assert_eq!(cpus, [vec![1], vec![0]]);
    }

    #[test]
    fn files_are_numbered_and_only_so_many_kept() {
        let rotation = Rotation { keep: Some(2), ..Rotation::default() };
        let mut rotor = Rotator::new(rotation, Path::new("d/a.dat"), 1, Instant::now());
        let names: Vec<_> = (0..3).map(|_| rotor.name_next()).collect();
        assert_eq!(names[0], (PathBuf::from("d/a.dat.0001"), None));
        assert_eq!(names[2], (PathBuf::from("d/a.dat.0003"), Some(PathBuf::from("d/a.dat.0001"))));
    }

    #[test]
    fn size_and_time_count_from_the_last_cut() {
        let now = Instant::now();
        let rotation = Rotation { bytes: Some(100), time: Some(Duration::from_secs(60)), keep: None };
        let mut rotor = Rotator::new(rotation, Path::new("a.dat"), 1, now);
        let at = |written| Totals { written, ..Totals::default() };
        assert!(!rotor.is_due(at(99), now) && rotor.is_due(at(100), now));
        rotor.begin_cut(at(100), now);
        assert!(!rotor.is_due(at(199), now + Duration::from_secs(59)));
        assert!(rotor.is_due(at(199), now + Duration::from_secs(60)));
    }
}
