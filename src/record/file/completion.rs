//! Completing a file: what is missing is written, each CPU's data moves in, and the file gets its name.

use std::io;
use std::path::PathBuf;

use super::output::{Output, space};
use super::ownership;
use super::rotation::Rotator;
use super::sealing::{self, ClosingMetadata};
use crate::dat::own;
use crate::dat::unsealed::JournalEntry;
use crate::dat::writer::{Move, Room, Writer};
use crate::dat::writer6;
use crate::record::error::Error;
use crate::record::settings::{FileSettings, FileVersion};
use crate::record::taken::BufferData;

/// What completing a file may need besides the data itself.
const RESERVED_BYTES: u64 = 16 << 20;

/// All that goes into a file.
pub struct Completion<'a> {
    /// How it is to be.
    pub settings: &'a FileSettings,
    /// What is written at the end.
    pub closing: &'a ClosingMetadata,
    /// The file with its first sections, if they could be written.
    pub writer: Option<Writer>,
    /// The records.
    pub data: BufferData,
    /// Names the last file of a rotated recording.
    pub rotator: Option<Rotator>,
    /// What went wrong before.
    pub failure: Option<&'a Error>,
    /// The second signal, if one has come: then it is not to be completed.
    pub second_signal: &'a dyn Fn() -> Option<i32>,
}

impl Completion<'_> {
    /// Seals the file and gives it its name.
    pub fn complete(mut self, output: &mut Output) -> Result<PathBuf, Error> {
        let mut path = output.path().to_owned();
        let in_segments = self.data.iter().flatten().flat_map(|(_, segments)| segments).map(|segment| segment.bytes);
        let bytes = in_segments.sum::<u64>() + own::bytes_in_files(output.family());
        // After a failure an empty trace is of no use to anybody.
        output.keep_on_drop(bytes > 0 || self.failure.is_none());
        let unsealed = |source: io::Error| match (self.second_signal)() {
            Some(signal) => Error::Abandoned { path: path.clone(), signal },
            None => Error::Unsealed { path: path.clone(), source },
        };
        let writer = self.writer.take().ok_or_else(|| unsealed(root_cause(self.failure)))?;
        let room = match space(output.family().folder()) {
            Some((free, _)) if free < bytes + RESERVED_BYTES => Room::Short,
            _ => Room::Plenty,
        };
        let journal = output.journal().clone();
        let mut moving = |step: Move<'_>| {
            if (self.second_signal)().is_some() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            // Only where a segment is given back piece by piece its place must be known.
            let noted = journal.note(&JournalEntry::Moving(step.into()));
            if room == Room::Short { noted.map(|()| room) } else { Ok(room) }
        };
        let file = sealing::seal(writer, self.closing, &mut self.data, &mut moving).map_err(unsealed)?;
        let mut too_old = None;
        if let Some(rotator) = &mut self.rotator {
            (path, too_old) = rotator.name_next();
            output.set_path(&path);
        }
        let file = match self.settings.version {
            FileVersion::V6 => output.rewrite(writer6::rewrite)?,
            FileVersion::V7 => file,
        };
        ownership::hand_over(&file, self.settings.mode).map_err(Error::output(output.path()))?;
        output.publish(&file)?;
        too_old.into_iter().for_each(|old| drop(std::fs::remove_file(old)));
        Ok(path)
    }
}

/// The system's answer at the bottom of an error.
fn root_cause(error: Option<&Error>) -> io::Error {
    let sources = std::iter::successors(error.map(|error| error as &dyn std::error::Error), |error| error.source());
    let errno = sources.filter_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error()).last();
    errno.map_or_else(|| io::Error::other("the formats could not be written"), io::Error::from_raw_os_error)
}
