//! Sections of rtrec's own: names over time, the trace clock beside other clocks, windows and samples.
//!
//! No option names them, so other readers step over them without a word; they are found by walking from section to
//! section. Their ids lie far above those of trace-cmd. Layout in `docs/format.md`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

use byteorder::ByteOrder;

use super::reader::{Dat, Place};
use super::source::{Cursor, Take};
use super::unsealed::Family;
use super::writer::{Section, Writer};
use super::{ids, v7};

/// Id of the section with the names of tasks over time.
pub const NAMES: u16 = 0x7401;
/// Id of the section with readings of several clocks at once.
pub const CLOCKS: u16 = 0x7402;

/// Id of the section that says which response-time windows were asked for; its payload is JSON.
pub const WINDOWS: u16 = 0x7403;
/// Id of the section with samples of programs and kernel.
pub const SAMPLES: u16 = 0x7404;
/// Id of the section with a line of JSON for each slow window of which the records were kept.
pub const SLOW_WINDOWS: u16 = 0x7408;
/// Id of the section with counts of all windows, where only slow ones were kept; its payload is JSON.
pub const WINDOW_COUNTS: u16 = 0x7409;

/// Id of the section with the build ids of mapped files: lines of id and path.
pub const BUILD_IDS: u16 = 0x7406;

/// Sections whose content is in a file of its own while the recording goes on, so that it survives the recorder.
const IN_FILES: [u16; 4] = [WINDOWS, SAMPLES, SLOW_WINDOWS, WINDOW_COUNTS];
/// What of a file goes into one section; the rest goes into more of them.
const PIECE_BYTES: u64 = 4 << 20;

/// Most sections that are walked over.
const MAX_SECTIONS: u32 = 100_000;
const MAX_NAME_BYTES: usize = 256;

/// The temporary file that holds a section's content while the recording goes on.
pub fn file(family: &Family, id: u16) -> PathBuf {
    family.file(&format!("own-{id:x}"))
}

/// How many bytes there are in such files.
pub fn bytes_in_files(family: &Family) -> u64 {
    let sizes = IN_FILES.iter().filter_map(|id| fs::metadata(file(family, *id)).ok());
    sizes.map(|metadata| metadata.len()).sum()
}

/// Makes sections of such files.
pub fn add_files(out: &mut Writer, family: &Family) -> io::Result<()> {
    IN_FILES.iter().try_for_each(|id| add_file(out, family, *id))
}

/// Makes sections of one of them, if it is there.
pub fn add_file(out: &mut Writer, family: &Family, id: u16) -> io::Result<()> {
    let mut content = match File::open(file(family, id)) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    loop {
        let mut payload = Vec::new();
        io::Read::take(&mut content, PIECE_BYTES).read_to_end(&mut payload)?;
        if payload.is_empty() {
            return Ok(());
        }
        out.unlisted(&Section { id, payload: payload.into() })?;
    }
}

/// A task got a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameChange {
    /// When, by the trace clock; 0 for a name from before the recording.
    pub ticks: u64,
    /// Which task.
    pub pid: i32,
    /// Its name from then on.
    pub name: Vec<u8>,
}

/// The names of tasks over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameChanges {
    /// The clock of the times.
    pub clock: String,
    /// Changes that are missing.
    pub lost: u64,
    /// The changes in order of time.
    pub changes: Vec<NameChange>,
}

/// Several clocks read at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockReading {
    /// The trace clock.
    pub ticks: u64,
    /// CLOCK_REALTIME.
    pub realtime_ns: i64,
    /// CLOCK_MONOTONIC.
    pub monotonic_ns: i64,
    /// How long the reading took: twice the greatest error.
    pub width_ns: u64,
}

/// The trace clock beside others, at the start and at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClockReadings {
    /// The trace clock's name.
    pub clock: String,
    /// The readings in order of time.
    pub readings: Vec<ClockReading>,
}

impl NameChanges {
    /// The section's payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = text(&self.clock);
        out.extend(u64_bytes(self.lost));
        out.extend(u64_bytes(self.changes.len() as u64));
        for change in &self.changes {
            out.extend(u64_bytes(change.ticks));
            out.extend(u64_bytes(i64::from(change.pid) as u64));
            out.extend(change.name.iter().filter(|byte| **byte != 0));
            out.push(0);
        }
        out
    }

    fn decode(take: &mut Take<'_>) -> Option<NameChanges> {
        let clock = take.cstr()?.to_vec();
        let (lost, count) = (take.u64()?, take.u64()?);
        let mut changes = Vec::new();
        for _ in 0..count {
            let (ticks, pid) = (take.u64()?, take.u64()? as i64);
            let name = take.cstr()?.to_vec();
            changes.push(NameChange { ticks, pid: i32::try_from(pid).ok()?, name });
        }
        Some(NameChanges { clock: String::from_utf8_lossy(&clock).into_owned(), lost, changes })
    }
}

impl ClockReadings {
    /// The section's payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = text(&self.clock);
        out.extend(u64_bytes(self.readings.len() as u64));
        for reading in &self.readings {
            for word in [reading.ticks, reading.realtime_ns as u64, reading.monotonic_ns as u64, reading.width_ns] {
                out.extend(u64_bytes(word));
            }
        }
        out
    }

    fn decode(take: &mut Take<'_>) -> Option<ClockReadings> {
        let clock = take.cstr()?.to_vec();
        let count = take.u64()?;
        let mut readings = Vec::new();
        for _ in 0..count {
            readings.push(ClockReading {
                ticks: take.u64()?,
                realtime_ns: take.u64()? as i64,
                monotonic_ns: take.u64()? as i64,
                width_ns: take.u64()?,
            });
        }
        Some(ClockReadings { clock: String::from_utf8_lossy(&clock).into_owned(), readings })
    }
}

impl Dat {
    /// The names of tasks over time, if the file has them.
    pub fn name_changes(&self) -> Option<NameChanges> {
        let block = self.own_section(NAMES)?;
        NameChanges::decode(&mut Take::new(&block, self.abi))
    }

    /// The trace clock beside others, if the file has it.
    pub fn clock_readings(&self) -> Option<ClockReadings> {
        let block = self.own_section(CLOCKS)?;
        ClockReadings::decode(&mut Take::new(&block, self.abi))
    }

    /// The payload of a section, such as [`WINDOWS`], if the file has it; that of several of one id is one.
    pub fn own_payload(&self, id: u16) -> Option<Vec<u8>> {
        self.own_section(id)
    }

    /// Walks from section to section, and takes what those of the id hold.
    fn own_section(&self, wanted: u16) -> Option<Vec<u8>> {
        let mut found: Option<Vec<u8>> = None;
        let mut at = self.first_section()?;
        for _ in 0..MAX_SECTIONS {
            let Some(head) = v7::section(self, at) else { break };
            let Some(offset) = at.checked_add(ids::SECTION_HEADER_BYTES) else { break };
            if head.id == wanted {
                let compressed = head.flags & ids::FLAG_COMPRESSED != 0;
                // What comes after a damaged piece cannot be understood without it.
                let Ok(mut piece) = self.block(Place { offset, bytes: head.bytes, compressed }) else { break };
                found.get_or_insert_default().append(&mut piece);
            }
            let Some(next) = offset.checked_add(head.bytes) else { break };
            at = next;
        }
        found
    }

    /// Where the header of a version 7 file ends.
    fn first_section(&self) -> Option<u64> {
        if self.version != 7 {
            return None;
        }
        let mut cursor = Cursor::new(self.source(), self.abi, ids::MAGIC.len() as u64);
        cursor.cstr(64)?;
        cursor.skip(2 + 4)?;
        cursor.cstr(MAX_NAME_BYTES)?;
        cursor.cstr(MAX_NAME_BYTES)?;
        cursor.skip(8)?;
        Some(cursor.at())
    }
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn u64_bytes(value: u64) -> [u8; 8] {
    let mut bytes = [0; 8];
    byteorder::NativeEndian::write_u64(&mut bytes, value);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::abi::Abi;

    #[test]
    fn names_and_readings_come_back_as_they_were() {
        let change = |ticks, pid, name: &[u8]| NameChange { ticks, pid, name: name.to_vec() };
        let names = NameChanges {
            clock: "local".into(),
            lost: 3,
            changes: vec![change(0, 7, b"sh"), change(90, 7, b"a b"), change(91, -1, b"")],
        };
        let bytes = names.encode();
        assert_eq!(NameChanges::decode(&mut Take::new(&bytes, Abi::HOST)), Some(names));
        for cut in 0..bytes.len() {
            assert_eq!(NameChanges::decode(&mut Take::new(&bytes[..cut], Abi::HOST)), None);
        }
        let reading = ClockReading { ticks: 1, realtime_ns: -2, monotonic_ns: 3, width_ns: 4 };
        let clocks = ClockReadings { clock: "mono".into(), readings: vec![reading; 2] };
        assert_eq!(ClockReadings::decode(&mut Take::new(&clocks.encode(), Abi::HOST)), Some(clocks));
    }
}
