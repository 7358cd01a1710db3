//! What a recording is asked to be, by who uses it. Plain values; nothing here has looked at the machine.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use nix::poll::PollTimeout;

use crate::dat::chunks::Compression;
use crate::setup;

/// One recording.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Settings {
    /// What the kernel is asked for.
    pub setup: setup::Settings,
    /// How records are taken, and until when.
    pub capture: CaptureSettings,
    /// The file they go to.
    pub file: FileSettings,
    /// What the file says besides.
    pub along: AlongSettings,
    /// Leave the kernel's settings as the recording had them.
    pub keep: bool,
}

/// How records are taken, and until when.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CaptureSettings {
    /// The command to run and its arguments; empty: record until told to stop.
    pub command: Vec<OsString>,
    /// Run the command as this user.
    pub user: Option<String>,
    /// End the recording after this time.
    pub duration: Option<Duration>,
    /// What bounds it otherwise.
    pub limits: Limits,
    /// Which way data leaves the kernel.
    pub reader: ReaderChoice,
    /// How the readers work.
    pub pace: Pace,
}

/// The file to write.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileSettings {
    /// Its name.
    pub output: PathBuf,
    /// Where temporary files go.
    pub temp: Option<PathBuf>,
    /// Its permissions; 0600 if not given.
    pub mode: Option<u32>,
    /// Its version.
    pub version: FileVersion,
    /// How it is compressed.
    pub compression: Compression,
    /// Store the formats of all events, not only of the enabled ones.
    pub all_formats: bool,
}

impl Default for FileSettings {
    fn default() -> Self {
        FileSettings {
            output: PathBuf::from("trace.dat"),
            temp: None,
            mode: None,
            version: FileVersion::V7,
            compression: Compression::Zstd,
            all_formats: false,
        }
    }
}

/// What the file says besides the records.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AlongSettings {
    /// Store the wall clock's offset, for reports by date.
    pub date: bool,
    /// Ticks that a report is to add to every time.
    pub ts_offset: Option<i64>,
    /// Pairs of events whose distance `report --profile` measures.
    pub hooks: Vec<String>,
}

impl Settings {
    /// Whether something keeps the recording from growing without end.
    pub fn is_bounded(&self) -> bool {
        self.capture.duration.is_some() || self.capture.limits.bounds_size()
    }

    /// What the set-up has to know, of the other settings, too.
    pub fn for_setup(&self) -> setup::Settings {
        let mut setup = self.setup.clone();
        // A recording that ends by itself may trace all functions.
        setup.all_functions |= self.is_bounded();
        setup.wake_for_every_record |= self.capture.pace.interval.is_some_and(|interval| interval.is_zero());
        setup.until = setup.until.or_else(|| self.capture.limits.until.clone());
        setup
    }
}

/// What bounds a recording in time and space.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Limits {
    /// Stop when this many bytes were written.
    pub max_bytes: Option<u64>,
    /// Keep the last of it only.
    pub tail: Tail,
    /// Begin a new file now and then.
    pub rotation: Option<Rotation>,
    /// Stop when the disk has less left than this; `None`: when it is nearly full.
    pub free_bytes: Option<u64>,
    /// Stop when this event happens: its word, and the filter it must pass.
    pub until: Option<(String, Option<String>)>,
    /// Throw the trace away unless the command fails.
    pub only_if_failed: bool,
}

impl Limits {
    /// Whether something bounds the size of what is kept.
    pub fn bounds_size(&self) -> bool {
        self.max_bytes.is_some() || self.tail.bytes.is_some() || self.tail.time.is_some()
    }
}

/// How much of each CPU's records is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tail {
    /// Bytes of sub-buffers.
    pub bytes: Option<u64>,
    /// Time.
    pub time: Option<Duration>,
}

/// When a new file is begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rotation {
    /// When so many bytes were written.
    pub bytes: Option<u64>,
    /// When so much time has passed.
    pub time: Option<Duration>,
    /// How many files are kept; the oldest are removed.
    pub keep: Option<u32>,
}

/// How readers work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pace {
    /// The longest time a reader sleeps.
    pub interval: Option<Duration>,
    /// Readers look again and again instead of sleeping.
    pub poll: bool,
    /// SCHED_FIFO priority, 0 for none; without one it is raised as far as permitted.
    pub priority: Option<u32>,
}

impl Pace {
    /// The longest sleep; `usual` if nothing was said. Zero means that the kernel wakes for every record.
    pub fn longest_sleep(self, usual_ms: u16) -> PollTimeout {
        let asked = self.interval.filter(|interval| !interval.is_zero());
        let ms = asked.map_or(u128::from(usual_ms), |interval| interval.as_micros().div_ceil(1000));
        PollTimeout::try_from(ms.min(60_000)).unwrap_or(PollTimeout::from(usual_ms))
    }

    /// The priority as the readers take it: one that never sleeps is not raised unasked.
    pub fn reader_priority(self) -> Option<u32> {
        self.priority.or(self.poll.then_some(0))
    }

    /// Whether a reader may let the buffer fill after a wake-up that brought little.
    pub fn may_pause(self) -> bool {
        !self.poll && self.interval.is_none_or(|interval| !interval.is_zero())
    }
}

/// Version of a trace.dat file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileVersion {
    /// One sequence, nothing packed: for readers before trace-cmd 3.0.
    V6,
    /// Sections.
    #[default]
    V7,
}

/// Which way data leaves the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReaderChoice {
    /// The mapping where the kernel offers it, else splice, else read.
    #[default]
    Best,
    /// Splice, else read.
    Splice,
    /// Read only.
    Read,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_up_knows_what_bounds_the_recording_and_how_readers_are_woken() {
        let mut settings = Settings::default();
        let setup = settings.for_setup();
        assert!(!setup.all_functions && !setup.wake_for_every_record && setup.until.is_none());
        settings.capture.duration = Some(Duration::from_secs(1));
        settings.capture.pace.interval = Some(Duration::ZERO);
        settings.capture.limits.until = Some(("sched:sched_switch".to_owned(), None));
        let setup = settings.for_setup();
        assert!(setup.all_functions && setup.wake_for_every_record && setup.until == settings.capture.limits.until);
    }
}
