//! Options of `record` that bound a recording in time and space.

use clap::Args;

use super::units::{BytesOrDuration, bytes, bytes_or_duration, size_kb};
use crate::record::{Limits, Rotation, Tail};

#[derive(Debug, Default, Args)]
pub(in crate::cli) struct LimitArgs {
    /// Keep about the last N KiB of each CPU; also 64M, 1G
    #[arg(short = 'm', long = "max-cpu-size", value_name = "KB", value_parser = size_kb, conflicts_with = "tail",
        help_heading = "Limits")]
    max_cpu_size: Option<u64>,
    /// Flight recorder: keep at least the last part, as a time (30s, 10min) or a size over all CPUs (64M, 1G)
    #[arg(long, value_name = "TIME|SIZE", value_parser = bytes_or_duration, help_heading = "Limits")]
    tail: Option<BytesOrDuration>,
    /// Start a new file (FILE.0001, FILE.0002, …) each time this much time has passed or this much was written
    #[arg(long, value_name = "TIME|SIZE", value_parser = bytes_or_duration, conflicts_with_all = ["tail", "max_cpu_size"],
        help_heading = "Limits")]
    rotate: Option<BytesOrDuration>,
    /// With --rotate: keep the last N files and remove older ones
    #[arg(long, value_name = "N", requires = "rotate", value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Limits")]
    keep_files: Option<u32>,
    /// Stop when this much has been written to disk: 512K, 64M, 1G; bytes without a unit
    #[arg(long, value_name = "SIZE", value_parser = bytes, help_heading = "Limits")]
    max_size: Option<u64>,
    /// Stop when the disk has less free space than this [default: 64M, or 5 % of a small disk]
    #[arg(long, value_name = "SIZE", value_parser = bytes, help_heading = "Limits")]
    free_space: Option<u64>,
    /// Stop when this event happens: SYSTEM:EVENT, or 'SYSTEM:EVENT if FILTER'
    #[arg(long, value_name = "EVENT", help_heading = "Limits")]
    until: Option<String>,
    /// Remove the trace unless COMMAND fails
    #[arg(long, requires = "command", help_heading = "Limits")]
    only_if_failed: bool,
}

impl LimitArgs {
    /// Whether the recording is to be in several files.
    pub(in crate::cli) fn rotates(&self) -> bool {
        self.rotate.is_some()
    }

    /// What they mean on a machine of so many CPUs.
    pub(in crate::cli) fn settings(&self, cpus: u64) -> Limits {
        let rotation = self.rotate.map(|by| match by {
            BytesOrDuration::Bytes(bytes) => Rotation { bytes: Some(bytes), time: None, keep: self.keep_files },
            BytesOrDuration::Duration(time) => Rotation { bytes: None, time: Some(time), keep: self.keep_files },
        });
        let tail = match (self.tail, self.max_cpu_size) {
            (Some(BytesOrDuration::Bytes(bytes)), _) => Tail { bytes: Some(bytes.div_ceil(cpus.max(1))), time: None },
            (Some(BytesOrDuration::Duration(time)), _) => Tail { bytes: None, time: Some(time) },
            (None, kb) => Tail { bytes: kb.map(|kb| kb << 10), time: None },
        };
        let until = self.until.as_deref().map(|until| match until.split_once(" if ") {
            Some((event, filter)) => (event.trim().to_owned(), Some(filter.trim().to_owned())),
            None => (until.trim().to_owned(), None),
        });
        Limits {
            max_bytes: self.max_size,
            tail,
            rotation,
            free_bytes: self.free_space,
            until,
            only_if_failed: self.only_if_failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::{Command, FromArgMatches};

    use super::*;

    fn parse(line: &str) -> Result<Limits, clap::Error> {
        let words = std::iter::once("record").chain(line.split('|').filter(|word| !word.is_empty()));
        let command = clap::Arg::new("command");
        let matches = LimitArgs::augment_args(Command::new("record").arg(command)).try_get_matches_from(words)?;
        Ok(LimitArgs::from_arg_matches(&matches)?.settings(2))
    }

    #[test]
    fn a_unit_tells_times_from_sizes() {
        assert_eq!(parse("--tail|64M").unwrap().tail, Tail { bytes: Some(32 << 20), time: None });
        assert_eq!(parse("--tail|1.5min").unwrap().tail, Tail { bytes: None, time: Some(Duration::from_secs(90)) });
        assert_eq!(parse("-m|2048").unwrap().tail.bytes, Some(2 << 20));
        let rotation = parse("--rotate|1G|--keep-files|3").unwrap().rotation.unwrap();
        assert_eq!(rotation, Rotation { bytes: Some(1 << 30), time: None, keep: Some(3) });
        for bad in
            ["--tail|10", "--tail|10m", "--tail|x", "--rotate|0s", "--keep-files|2", "--tail|1M|-m|5", "--max-size|0"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_event_to_wait_for_may_have_a_filter() {
        let until = |text: &str| parse(text).unwrap().until.unwrap();
        assert_eq!(until("--until|sched:sched_switch"), ("sched:sched_switch".into(), None));
        let (event, filter) = until("--until|sched:sched_switch if prev_pid == 3");
        assert_eq!((event.as_str(), filter.as_deref()), ("sched:sched_switch", Some("prev_pid == 3")));
    }
}
