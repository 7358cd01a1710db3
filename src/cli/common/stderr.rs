//! rtrec's words on stderr while it records, and at the end.

use std::io::Write;

use super::explain;
use super::say::{say, say_raw};
use super::units::human_bytes;
use crate::record::{Note, Observer, Outcome, Progress, Settings, Stop};
use crate::rt::{self, WindowObserver};

/// rtrec's own words, on stderr: stdout belongs to the command.
pub(in crate::cli) struct Stderr {
    /// The subcommand, for the start of each line.
    pub(in crate::cli) name: &'static str,
    pub(in crate::cli) quiet: bool,
    pub(in crate::cli) verbose: bool,
    pub(in crate::cli) live: bool,
    /// To be called once recording is running.
    pub(in crate::cli) started: Option<Box<dyn Fn() + Sync>>,
}

impl Observer for Stderr {
    fn note(&self, note: Note) {
        if let (Note::Started, Some(started)) = (&note, &self.started) {
            started();
        }
        match note {
            Note::Started if self.live => say!("recording; Ctrl-C ends it"),
            note => {
                let text = if self.quiet { None } else { explain::record::note(&note, self.verbose) };
                text.into_iter().for_each(|line| say!("rtrec {}: {line}", self.name));
            }
        }
    }

    fn progress(&self, progress: &Progress) {
        let seconds = progress.elapsed.as_secs_f64();
        let mut line = format!("\r{seconds:7.1} s  {:>9}", human_bytes(progress.bytes));
        if progress.lost > 0 {
            line.push_str(&format!("  {} events lost", progress.lost));
        }
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "{line}\x1b[K").and_then(|()| err.flush());
    }

    fn wants_progress(&self) -> bool {
        self.live
    }
}

impl WindowObserver for Stderr {
    fn window_note(&self, note: rt::Note) {
        if !self.quiet
            && let Some(line) = explain::record::window_note(&note, self.verbose)
        {
            say!("rtrec {}: {line}", self.name);
        }
    }
}

impl Stderr {
    pub(in crate::cli) fn clear_live(&self) {
        if self.live {
            say_raw("\r\x1b[K");
        }
    }

    /// The closing words: what was written, what was lost and what would have helped.
    pub(in crate::cli) fn print_summary(&self, outcome: &Outcome, settings: &Settings) {
        self.clear_live();
        if self.quiet {
            return;
        }
        if self.verbose {
            self.print_counters(outcome);
        }
        for buffer in &outcome.buffers {
            for cpu in buffer.cpus.iter().filter(|cpu| cpu.stats.lost() > 0) {
                let name = buffer.instance.as_deref().map_or(String::new(), |name| format!("{name} "));
                say!("rtrec {}: {name}CPU {}: {} events lost", self.name, cpu.cpu, lost_kinds(&cpu.stats));
            }
        }
        if outcome.lost() > 0 {
            let now = settings.setup.buffers.iter().find_map(|buffer| buffer.size_kb).unwrap_or(1408);
            say!("rtrec {}: a larger buffer would have helped: -b {}", self.name, now.saturating_mul(8));
        }
        if let Some(empty) = &outcome.empty {
            say!("rtrec {}: {}", self.name, explain::record::emptiness(empty));
        }
        if self.name != "record" {
            return;
        }
        let files: Vec<String> = outcome.files.iter().map(|path| path.display().to_string()).collect();
        let files = if files.is_empty() { "nothing kept".to_owned() } else { files.join(", ") };
        if let Some(why) = stop_words(outcome.stop, !settings.capture.command.is_empty()) {
            say!("rtrec record: {why}; {files} holds what was recorded up to then");
        }
        if settings.capture.command.is_empty() || self.verbose {
            let raw: u64 = outcome.cpus().map(|cpu| cpu.raw_bytes).sum();
            let seconds = outcome.elapsed.as_secs_f64();
            say!("rtrec record: {} of trace data in {seconds:.1} s, in {files}", human_bytes(raw));
        }
    }

    fn print_counters(&self, outcome: &Outcome) {
        for buffer in &outcome.buffers {
            let name = buffer.instance.as_deref().map_or(String::new(), |name| format!("{name} "));
            for cpu in &buffer.cpus {
                say!(
                    "rtrec {}: {name}CPU {}: {} events read, {} left, {} lost; {} raw, {} in the file, {} wake-ups",
                    self.name,
                    cpu.cpu,
                    cpu.stats.read,
                    cpu.stats.entries,
                    cpu.stats.lost(),
                    human_bytes(cpu.raw_bytes),
                    human_bytes(cpu.file_bytes),
                    cpu.wakeups
                );
                if cpu.lowered > 0 {
                    say!(
                        "rtrec {}: {name}CPU {}: the reader took most of its CPU; its priority was lowered {} times",
                        self.name,
                        cpu.cpu,
                        cpu.lowered
                    );
                }
            }
        }
    }
}

/// Why a recording ended before its time, if it did.
fn stop_words(stop: Stop, has_command: bool) -> Option<String> {
    match stop {
        Stop::Signal(signal) => has_command.then(|| format!("stopped by signal {signal}")),
        Stop::SizeReached => Some("stopped at the size of --max-size".to_owned()),
        Stop::DiskNearlyFull { free } => Some(format!("stopped, since the disk has only {} left", human_bytes(free))),
        Stop::Triggered => Some("stopped by the event of --until, or by whoever switched the buffer off".to_owned()),
        Stop::Swamped => {
            Some("stopped, since tracing functions left the machine no time (-l, -g, -F or -P trace less)".to_owned())
        }
        _ => None,
    }
}

/// `12 (overrun) + 3 (dropped)`, in the kernel's words.
fn lost_kinds(stats: &crate::tracefs::buffer::BufferStats) -> String {
    let kinds = [("overrun", stats.overrun), ("commit overrun", stats.commit_overrun), ("dropped", stats.dropped)];
    let parts: Vec<String> =
        kinds.iter().filter(|(_, count)| *count > 0).map(|(kind, count)| format!("{count} ({kind})")).collect();
    parts.join(" + ")
}
