//! Histograms that the kernel keeps (`hist` triggers), and snapshots of a buffer that it takes itself.
//!
//! Owns: the text of `hist` files, whether a snapshot was taken, taking one by hand, what a kernel lacks for either.
//! Does not own: what is counted or when a snapshot is worth taking (see `rt::in_kernel`).
//! Units: as in the histogram; keys of powers of two (`.log2`) are given by their exponent.
//! Source: Documentation/trace/histogram.rst, the files of 6.1 and 6.12.
//!
//! ```text
//!   # trigger info: hist:keys=def,dur.log2:vals=hitcount,dur:… [active]
//!   { def:          1, dur: ~ 2^25 } hitcount:          2  dur:   55831450
//!           max:  300709630  tid:        123                  only after entries of onmax()
//!   Totals:
//!       Hits: 7
//! ```

use super::buffer::RawBuffer;
use super::error::Error;
use super::events::EventName;
use super::file::{self, Mode};
use super::instance::Instance;

/// An entry of a histogram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistEntry {
    /// Names and texts of its keys.
    pub keys: Vec<(String, String)>,
    /// Names and numbers of its values, what was saved included.
    pub values: Vec<(String, u64)>,
}

impl HistEntry {
    /// The number of a key; of a power of two: its exponent.
    pub fn key(&self, name: &str) -> Option<u64> {
        let (_, text) = self.keys.iter().find(|(key, _)| key == name)?;
        text.strip_prefix("~ 2^").unwrap_or(text).trim().parse().ok()
    }

    /// A value.
    pub fn value(&self, name: &str) -> Option<u64> {
        self.values.iter().find(|(value, _)| value == name).map(|(_, number)| *number)
    }
}

/// A histogram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hist {
    /// The trigger as the kernel prints it.
    pub trigger: String,
    /// What it counted.
    pub entries: Vec<HistEntry>,
    /// Events it took.
    pub hits: u64,
    /// Entries in use.
    pub used: u64,
    /// Events for which there was no entry left.
    pub dropped: u64,
}

impl Hist {
    /// The histograms of a `hist` file, in the order of their triggers.
    pub fn parse(text: &str) -> Vec<Hist> {
        let mut hists: Vec<Hist> = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(trigger) = line.strip_prefix("# trigger info: ") {
                hists.push(Hist { trigger: trigger.to_owned(), ..Hist::default() });
                continue;
            }
            let Some(hist) = hists.last_mut() else { continue };
            let total = |name: &str| line.strip_prefix(name).and_then(|rest| rest.trim().parse().ok());
            if let Some((keys, values)) = line.strip_prefix('{').and_then(|line| line.split_once('}')) {
                hist.entries.push(HistEntry { keys: keys_of(keys), values: values_of(values) });
            } else if let Some(hits) = total("Hits:") {
                hist.hits = hits;
            } else if let Some(used) = total("Entries:") {
                hist.used = used;
            } else if let Some(dropped) = total("Dropped:") {
                hist.dropped = dropped;
            } else if let Some(entry) = hist.entries.last_mut() {
                entry.values.extend(values_of(line));
            }
        }
        hists
    }
}

fn keys_of(text: &str) -> Vec<(String, String)> {
    let pair = |part: &str| part.split_once(':').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    text.split(',').filter_map(pair).collect()
}

/// `hitcount:  2  dur:  5`: names and numbers by turns.
fn values_of(text: &str) -> Vec<(String, u64)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let pair = |pair: &[&str]| Some((pair[0].strip_suffix(':')?.to_owned(), pair[1].parse().ok()?));
    words.windows(2).filter_map(pair).collect()
}

/// What computing in the kernel needs, and a kernel may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lacks {
    /// Histograms (`CONFIG_HIST_TRIGGERS`).
    pub hist: bool,
    /// Synthetic events (`CONFIG_SYNTH_EVENTS`).
    pub synthetic: bool,
    /// Snapshots (`CONFIG_TRACER_SNAPSHOT`).
    pub snapshot: bool,
    /// Events of system calls by name (`CONFIG_FTRACE_SYSCALLS`).
    pub syscalls: bool,
}

impl Lacks {
    /// The options with which a kernel would have it.
    pub fn options(self) -> Vec<&'static str> {
        let all = [
            (self.hist, "CONFIG_HIST_TRIGGERS"),
            (self.synthetic, "CONFIG_SYNTH_EVENTS"),
            (self.snapshot, "CONFIG_TRACER_SNAPSHOT"),
            (self.syscalls, "CONFIG_FTRACE_SYSCALLS"),
        ];
        all.into_iter().filter(|(lacks, _)| *lacks).map(|(_, option)| option).collect()
    }
}

impl Instance {
    /// What this kernel lacks to compute and to take snapshots by itself.
    pub fn lacks(&self) -> Lacks {
        let event = |path: &str| self.top_path("events").join(path).exists();
        Lacks {
            hist: !event("sched/sched_process_exit/hist"),
            synthetic: !self.top_path("synthetic_events").exists(),
            snapshot: !self.top_path("snapshot").exists(),
            syscalls: !event("syscalls") || !event("raw_syscalls"),
        }
    }

    /// The histograms of an event.
    pub fn hists(&self, name: &EventName) -> Result<Vec<Hist>, Error> {
        Ok(Hist::parse(&file::read_text(&self.event_file(name, "hist"))?))
    }

    /// Whether the snapshot that an event was to take once has been taken.
    pub fn snapshot_was_taken(&self, name: &EventName) -> Result<bool, Error> {
        let text = file::read_text(&self.event_file(name, "trigger"))?;
        Ok(text.lines().any(|line| line.starts_with("snapshot:count=0")))
    }

    /// Writes a trigger, or with `!` in front its removal, with no note: whoever added it first has noted how it ends.
    pub fn renew_trigger(&self, name: &EventName, trigger: &str) -> Result<(), Error> {
        file::write(&self.event_file(name, "trigger"), &format!("{trigger}\n"), Mode::Append)
            .map_err(|error| self.explain(error))
    }

    /// Takes a snapshot now: the buffer and its spare change places.
    pub fn take_snapshot(&self) -> Result<(), Error> {
        file::write_value(&self.path("snapshot"), "1")
    }

    /// Opens what a snapshot has of a CPU. Reading consumes it.
    pub fn snapshot_buffer(&self, cpu: u32, subbuf_bytes: usize) -> Result<RawBuffer, Error> {
        RawBuffer::open(&self.path(&format!("per_cpu/cpu{cpu}/snapshot_raw")), subbuf_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // As Linux 6.1 wrote it.
    const TEXT: &str = "# event histogram
#
# trigger info: hist:keys=def,dur.log2:vals=hitcount,dur:sort=hitcount:size=2048 [active]
#

{ def:          1, dur: ~ 2^23 } hitcount:          1  dur:    8241320
{ def:          1, dur: ~ 2^25 } hitcount:          2  dur:   55831450

Totals:
    Hits: 3
    Entries: 2
    Dropped: 0


# event histogram
#
# trigger info: hist:keys=def:vals=hitcount:m=dur:sort=hitcount:size=2048:onmax($m).save(tid) [active]
#

{ def:          1 } hitcount:          7
	max:  300709630  tid:        123

Totals:
    Hits: 7
    Entries: 1
    Dropped: 4
";

    #[test]
    fn keys_values_and_what_was_saved_are_told() {
        let hists = Hist::parse(TEXT);
        assert_eq!(hists.len(), 2);
        let [spread, most] = &hists[..] else { panic!() };
        assert!(spread.trigger.starts_with("hist:keys=def,dur.log2:"));
        assert_eq!((spread.hits, spread.used, spread.dropped), (3, 2, 0));
        let entry = &spread.entries[1];
        assert_eq!((entry.key("def"), entry.key("dur")), (Some(1), Some(25)));
        assert_eq!((entry.value("hitcount"), entry.value("dur")), (Some(2), Some(55_831_450)));
        let entry = &most.entries[0];
        assert_eq!((entry.value("max"), entry.value("tid"), most.dropped), (Some(300_709_630), Some(123), 4));
        assert!(Hist::parse("").is_empty());
    }
}
