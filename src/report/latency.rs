//! How long calls take: pairs of events of one thread, such as a function's entry and its return.
//!
//! Owns: which events make a pair, pairing them, the table and the slow calls.
//!
//! Calls nest, and a return may be missing: a jump out of several functions, a probe that was not armed in time, a loss.
//! Where both events carry the stack pointer as a field `sp` each return finds its own entry, since the stack of a call
//! that was left lies below; else a return closes the last entry, and a loss forgets all that were open. What could not
//! be paired is counted.

use std::collections::HashMap;
use std::io::{self, Write};

use serde::Serialize;

use super::Lane;
use super::clock::Unit;
use super::line::{slice, write_time};
use super::merge::{Batch, Mark};
use crate::spread::Spread;
use crate::wire::format::{EventFormat, Field};

/// Calls that one thread may have open in one pair.
const MAX_OPEN: usize = 4096;
/// A return leaves the stack at most so far above the entry: the return address was taken off it.
const RETURNED: u64 = 16;
/// How much is collected before it is written.
const PIECE_BYTES: usize = 64 << 10;

/// Two events by their names, `[SYSTEM:]EVENT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairWord {
    /// The entry.
    pub start: String,
    /// The return.
    pub stop: String,
}

impl PairWord {
    /// `START..STOP`
    pub fn parse(text: &str) -> Option<PairWord> {
        let (start, stop) = text.split_once("..")?;
        let parts = [start.trim(), stop.trim()];
        let [start, stop] = parts.map(str::to_owned);
        (!start.is_empty() && !stop.is_empty()).then_some(PairWord { start, stop })
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct LatencySettings {
    /// Which pairs; none: all that the names of the file's events tell.
    pub pairs: Vec<PairWord>,
    /// Print the calls that took so long, in ticks of the clock.
    pub threshold: Option<u64>,
    /// As JSON lines.
    pub json: bool,
}

/// An event's part in a pair.
#[derive(Clone)]
struct Role {
    pair: usize,
    returns: bool,
    sp: Option<Field>,
}

struct Open {
    start: u64,
    sp: Option<u64>,
}

/// A pair and what was seen of it.
struct Pair {
    start: String,
    stop: String,
    took: Spread,
    slow: u64,
    /// Returns whose entry was not seen.
    without_entry: u64,
    /// Entries whose return was not seen, though it must have happened.
    without_return: u64,
}

/// One pair's figures, as JSON has them.
#[derive(Serialize)]
struct Figures<'p> {
    entry: &'p str,
    r#return: &'p str,
    calls: u64,
    slow: u64,
    open: u64,
    without_entry: u64,
    without_return: u64,
    min: u64,
    average: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

/// One slow call, as JSON has it.
#[derive(Serialize)]
struct Call<'p> {
    entry: &'p str,
    task: String,
    pid: i32,
    cpu: u32,
    time: u64,
    took: u64,
}

/// Durations of the calls in a trace.
pub(super) struct Latency<'a, 't> {
    lanes: &'a [Lane<'t>],
    origins: Vec<(u32, u32)>,
    settings: &'a LatencySettings,
    roles: HashMap<(usize, u16), Vec<Role>>,
    pairs: Vec<Pair>,
    open: HashMap<(usize, usize, i32), Vec<Open>>,
    text: Vec<u8>,
}

impl<'a, 't> Latency<'a, 't> {
    /// `Err`: the pairs that no file has.
    pub(super) fn new(
        lanes: &'a [Lane<'t>],
        origins: Vec<(u32, u32)>,
        settings: &'a LatencySettings,
    ) -> Result<Self, Vec<PairWord>> {
        let unit = if nanoseconds(lanes) { 1000 } else { 1 };
        let mut latency = Latency {
            lanes,
            origins,
            settings,
            roles: HashMap::new(),
            pairs: Vec::new(),
            open: HashMap::new(),
            text: Vec::new(),
        };
        let words = if settings.pairs.is_empty() { told_by_names(lanes) } else { settings.pairs.clone() };
        let missing: Vec<PairWord> = words.into_iter().filter(|word| !latency.know(word, unit)).collect();
        if latency.pairs.is_empty() || !missing.is_empty() && !settings.pairs.is_empty() {
            return Err(missing);
        }
        Ok(latency)
    }

    /// Learns which events of the files the words mean; `false`: none.
    fn know(&mut self, word: &PairWord, unit: u64) -> bool {
        let pair = self.pairs.len();
        let mut found = false;
        let mut files: Vec<usize> = self.lanes.iter().map(|lane| lane.file).collect();
        files.dedup();
        for file in files {
            let Some(lane) = self.lanes.iter().find(|lane| lane.file == file) else { continue };
            let formats = &lane.trace.formats;
            let of = |word: &str| -> Vec<&EventFormat> {
                let named = formats.iter().filter(|text| is_named(text.system, text.name, word));
                named.filter_map(|text| formats.get(text.id)).collect()
            };
            let (starts, stops) = (of(&word.start), of(&word.stop));
            if starts.is_empty() || stops.is_empty() {
                continue;
            }
            found = true;
            let both = starts.iter().chain(&stops).all(|format| format.field("sp").is_some());
            for (format, returns) in starts.iter().map(|f| (f, false)).chain(stops.iter().map(|f| (f, true))) {
                let sp = format.field("sp").filter(|_| both).cloned();
                self.roles.entry((file, format.id)).or_default().push(Role { pair, returns, sp });
            }
        }
        if found {
            let (start, stop) = (word.start.clone(), word.stop.clone());
            let took = Spread::new(unit);
            self.pairs.push(Pair { start, stop, took, slow: 0, without_entry: 0, without_return: 0 });
        }
        found
    }

    pub(super) fn take(&mut self, batch: &Batch, out: &mut dyn Write) -> io::Result<()> {
        let mut marks = batch.marks.iter().peekable();
        for (index, item) in batch.items.iter().enumerate() {
            while let Some((_, mark)) = marks.next_if(|(at, _)| *at as usize <= index) {
                if matches!(mark, Mark::Lost(_)) {
                    self.forget_doubtful();
                }
            }
            let Some(&(cpu, number)) = self.origins.get(item.stream as usize) else { continue };
            let lane = &self.lanes[number as usize];
            let data = slice(batch, item.chunk, item.start, item.len);
            let Some(roles) = self.roles.get(&(lane.file, lane.common.id(data))) else { continue };
            for role in roles.clone() {
                let sp = role.sp.as_ref().and_then(|field| field.int(data, lane.trace.abi));
                let key = (role.pair, lane.file, lane.common.pid(data));
                match role.returns {
                    false => self.enter(key, Open { start: item.time, sp }),
                    true => self.leave(key, item.time, sp, cpu, number),
                }
            }
        }
        if self.text.len() >= PIECE_BYTES { self.flush(out) } else { Ok(()) }
    }

    fn enter(&mut self, key: (usize, usize, i32), call: Open) {
        let pair = &mut self.pairs[key.0];
        let open = self.open.entry(key).or_default();
        // The stack has been left to where this call begins: what lies below it has ended unseen. Several calls have the
        // same place if each goes over into the next, which is when one return ends them all.
        if let Some(sp) = call.sp {
            let before = open.len();
            open.retain(|open| open.sp.is_none_or(|other| other >= sp));
            pair.without_return += (before - open.len()) as u64;
        }
        if open.len() == MAX_OPEN {
            open.remove(0);
            pair.without_return += 1;
        }
        open.push(call);
    }

    fn leave(&mut self, key: (usize, usize, i32), time: u64, sp: Option<u64>, cpu: u32, number: u32) {
        let pair = &mut self.pairs[key.0];
        let open = self.open.entry(key).or_default();
        let found = match sp {
            None => open.len().checked_sub(1),
            Some(sp) => open.iter().rposition(|open| open.sp.is_some_and(|own| (own..=own + RETURNED).contains(&sp))),
        };
        let Some(at) = found else {
            pair.without_entry += 1;
            return;
        };
        // Calls within the one that returns cannot be under way any more.
        pair.without_return += (open.len() - at - 1) as u64;
        open.truncate(at + 1);
        let Some(call) = open.pop() else { return };
        let took = time.saturating_sub(call.start);
        pair.took.add(took);
        if self.settings.threshold.is_some_and(|threshold| took >= threshold) {
            pair.slow += 1;
            self.tell(key, call.start, took, cpu, number);
        }
    }

    /// After a loss nobody knows which calls have returned, except where the stack tells.
    fn forget_doubtful(&mut self) {
        for ((pair, ..), open) in &mut self.open {
            let before = open.len();
            open.retain(|open| open.sp.is_some());
            self.pairs[*pair].without_return += (before - open.len()) as u64;
        }
    }

    fn tell(&mut self, (pair, _, pid): (usize, usize, i32), start: u64, took: u64, cpu: u32, number: u32) {
        let lane = &self.lanes[number as usize];
        let task = String::from_utf8_lossy(lane.names.at(pid, start)).into_owned();
        let name = &self.pairs[pair].start;
        if self.settings.json {
            let call = Call { entry: name, task, pid, cpu, time: start, took };
            self.text.extend(serde_json::to_vec(&call).unwrap_or_default());
        } else {
            self.text.extend(format!("{:>16}-{pid:<7} [{cpu:03}]", task).bytes());
            write_time(lane.unit, false, start, &mut self.text);
            self.text.extend(format!(" {name}: {}", duration(took, lane.unit)).bytes());
        }
        self.text.push(b'\n');
    }

    fn flush(&mut self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&std::mem::take(&mut self.text))
    }

    pub(super) fn print(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.flush(out)?;
        let mut still_open = vec![0_u64; self.pairs.len()];
        self.open.iter().for_each(|((pair, ..), open)| still_open[*pair] += open.len() as u64);
        let mut rows: Vec<(&Pair, u64)> = self.pairs.iter().zip(still_open).collect();
        rows.retain(|(pair, open)| pair.took.count() + pair.without_entry + pair.without_return + open > 0);
        rows.sort_by(|(a, _), (b, _)| b.took.total().cmp(&a.took.total()).then_with(|| a.start.cmp(&b.start)));
        if self.settings.json {
            return rows.iter().try_for_each(|(pair, open)| {
                let mut line = serde_json::to_vec(&pair.figures(*open))?;
                line.push(b'\n');
                out.write_all(&line)
            });
        }
        let us = nanoseconds(self.lanes);
        table(&rows, us, self.settings.threshold.is_some(), out)
    }
}

impl Pair {
    fn name(&self) -> String {
        let same = self.stop.strip_prefix(&self.start) == Some(RETURN)
            || is_syscall_exit(plain(&self.start), plain(&self.stop));
        if same { self.start.clone() } else { format!("{}..{}", self.start, self.stop) }
    }

    fn figures(&self, open: u64) -> Figures<'_> {
        let took = &self.took;
        Figures {
            entry: &self.start,
            r#return: &self.stop,
            calls: took.count(),
            slow: self.slow,
            open,
            without_entry: self.without_entry,
            without_return: self.without_return,
            min: took.min(),
            average: took.average(),
            p50: took.percentile(50.0),
            p90: took.percentile(90.0),
            p99: took.percentile(99.0),
            max: took.max(),
        }
    }
}

fn table(rows: &[(&Pair, u64)], us: bool, with_slow: bool, out: &mut dyn Write) -> io::Result<()> {
    let value = |ticks: u64| if us { micros(ticks) } else { ticks.to_string() };
    let unit = if us { "us" } else { "ticks" };
    write!(out, "{:>10} ", "calls")?;
    if with_slow {
        write!(out, "{:>9} ", "slow")?;
    }
    for name in ["min", "average", "p50", "p90", "p99", "max"] {
        write!(out, "{:>12} ", format!("{name} {unit}"))?;
    }
    writeln!(out, " call")?;
    for (pair, open) in rows {
        let took = &pair.took;
        write!(out, "{:>10} ", took.count())?;
        if with_slow {
            write!(out, "{:>9} ", pair.slow)?;
        }
        let percentiles = [50.0, 90.0, 99.0].map(|percent| took.percentile(percent));
        for ticks in [took.min(), took.average()].into_iter().chain(percentiles).chain([took.max()]) {
            write!(out, "{:>12} ", value(ticks))?;
        }
        write!(out, " {}", pair.name())?;
        let left = [
            (*open, "not returned yet"),
            (pair.without_return, "without a return"),
            (pair.without_entry, "returns without an entry"),
        ];
        let left: Vec<String> =
            left.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if !left.is_empty() {
            write!(out, " ({})", left.join(", "))?;
        }
        writeln!(out)?;
    }
    for (pair, _) in rows.iter().filter(|(pair, _)| pair.took.count() > 0) {
        writeln!(out, "\n{} ({unit})", pair.name())?;
        out.write_all(pair.took.histogram().as_bytes())?;
    }
    Ok(())
}

/// The end of a return probe's name.
const RETURN: &str = "__return";

/// Pairs that the names of events tell: `NAME` and `NAME__return`, `sys_enter_NAME` and `sys_exit_NAME`.
fn told_by_names(lanes: &[Lane<'_>]) -> Vec<PairWord> {
    let mut words: Vec<PairWord> = Vec::new();
    for lane in lanes {
        let formats = &lane.trace.formats;
        for format in formats.iter() {
            let system = &format.system;
            let entry = match format.name.strip_suffix(RETURN) {
                Some(entry) => entry.to_owned(),
                None => match format.name.strip_prefix("sys_exit_").filter(|_| *system == "syscalls") {
                    Some(call) => format!("sys_enter_{call}"),
                    None => continue,
                },
            };
            if formats.find(system, &entry).is_some() {
                let word = PairWord { start: format!("{system}:{entry}"), stop: format!("{system}:{}", format.name) };
                if !words.contains(&word) {
                    words.push(word);
                }
            }
        }
    }
    words
}

fn is_syscall_exit(start: &str, stop: &str) -> bool {
    start.strip_prefix("sys_enter_").is_some_and(|call| stop.strip_prefix("sys_exit_") == Some(call))
}

/// The event's name without its system.
fn plain(word: &str) -> &str {
    word.split_once(':').map_or(word, |(_, name)| name)
}

fn is_named(system: &str, event: &str, word: &str) -> bool {
    match word.split_once(':') {
        Some((of, name)) => system == of && event == name,
        None => event == word,
    }
}

fn nanoseconds(lanes: &[Lane<'_>]) -> bool {
    lanes.first().is_none_or(|lane| lane.unit == Unit::Nanoseconds)
}

fn micros(ns: u64) -> String {
    format!("{}.{:03}", ns / 1000, ns % 1000)
}

fn duration(took: u64, unit: Unit) -> String {
    match unit {
        Unit::Nanoseconds if took >= 1_000_000 => format!("{}.{:06} ms", took / 1_000_000, took % 1_000_000),
        Unit::Nanoseconds => format!("{} us", micros(took)),
        Unit::Raw => format!("{took} ticks"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency() -> Latency<'static, 'static> {
        static SETTINGS: LatencySettings = LatencySettings { pairs: Vec::new(), threshold: None, json: false };
        let took = Spread::new(1);
        let pair =
            Pair { start: "f".into(), stop: "f__return".into(), took, slow: 0, without_entry: 0, without_return: 0 };
        Latency {
            lanes: &[],
            origins: Vec::new(),
            settings: &SETTINGS,
            roles: HashMap::new(),
            pairs: vec![pair],
            open: HashMap::new(),
            text: Vec::new(),
        }
    }

    /// Entries are positive stack pointers, returns negative ones; a step of time each. Tells the durations' sum and
    /// number, what lacks an entry, what lacks a return.
    fn after(steps: &[i64]) -> (u128, u64, u64, u64) {
        let mut latency = latency();
        for (time, step) in steps.iter().enumerate() {
            let sp = (step.unsigned_abs() > 1).then_some(step.unsigned_abs());
            match step {
                0 => latency.forget_doubtful(),
                1.. => latency.enter((0, 0, 7), Open { start: time as u64, sp }),
                _ => latency.leave((0, 0, 7), time as u64, sp, 0, 0),
            }
        }
        let pair = &latency.pairs[0];
        (pair.took.total(), pair.took.count(), pair.without_entry, pair.without_return)
    }

    #[test]
    fn without_the_stack_a_return_ends_the_last_entry() {
        assert_eq!(after(&[1, 1, -1, -1]), (1 + 3, 2, 0, 0));
        assert_eq!(after(&[-1, 1, -1]), (1, 1, 1, 0));
        // A loss: nobody knows what the return belongs to.
        assert_eq!(after(&[1, 0, -1]), (0, 0, 1, 1));
    }

    #[test]
    fn the_stack_finds_the_entry_of_each_return() {
        // Recursion: each call lies 64 bytes lower, its return 8 above its entry.
        assert_eq!(after(&[1000, 936, -944, -1008]), (1 + 3, 2, 0, 0));
        // The inner return was missed: the outer one still gets its own entry.
        assert_eq!(after(&[1000, 936, -1008]), (2, 1, 0, 1));
        // A jump out of both, then another call from higher up.
        assert_eq!(after(&[1000, 936, 1100, -1108]), (1, 1, 0, 2));
        // One call goes over into the next: one return ends both.
        assert_eq!(after(&[1000, 1000, -1008, -1008]), (1 + 3, 2, 0, 0));
        // A loss takes nothing that the stack still tells.
        assert_eq!(after(&[1000, 0, -1008]), (2, 1, 0, 0));
        assert_eq!(after(&[-1008]), (0, 0, 1, 0));
    }

    #[test]
    fn pairs_are_two_names() {
        let pair = |start: &str, stop: &str| Some(PairWord { start: start.to_owned(), stop: stop.to_owned() });
        assert_eq!(PairWord::parse("a:b..c"), pair("a:b", "c"));
        assert_eq!([PairWord::parse("a"), PairWord::parse("..a"), PairWord::parse("a..")], [None, None, None]);
    }
}
