//! How long calls take: pairs of events of one thread, such as a function's entry and its return.
//!
//! Owns: which events make a pair, pairing them, the table and the slow calls.
//!
//! Calls nest, and a return may be missing: a jump out of several functions, a probe that was not armed in time, a loss.
//! Where both events carry the stack pointer as a field `sp` each return finds its own entry, since the stack of a call
//! that was left lies below; else a return closes the last entry, and a loss forgets all that were open. What could not
//! be paired is counted.
//!
//! | file | what is inside |
//! | --- | --- |
//! | `mod.rs` | the analysis: pairs, open calls, figures |
//! | `show` | them as text and JSON |
//!
//! Imported by `cli`. Which events are pairs by their names is said in `decode::meaning::pairs`.

use std::collections::HashMap;
use std::fmt;

use super::interface::{Analysis, AnalysisError, Findings, Form, Wants};
use crate::decode::meaning::pairs::{self, NamedPair};
use crate::report::reading::Take;
use crate::report::reading::clock::Unit;
use crate::report::reading::lane::Lane;
use crate::report::reading::record::{Loss, Opened, Record};
use crate::spread::Spread;
use crate::wire::format::{EventFormat, Field};
use show::{Call, Table};

mod show;

/// Calls that one thread may have open in one pair.
const MAX_OPEN: usize = 4096;
/// A return leaves the stack at most so far above the entry: the return address was taken off it.
const RETURNED: u64 = 16;

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
#[non_exhaustive]
pub struct LatencySettings {
    /// Which pairs; none: all that the names of the file's events tell.
    pub pairs: Vec<PairWord>,
    /// Print the calls that took so long, in ticks of the clock.
    pub threshold: Option<u64>,
}

/// No file has these pairs of events; none given: none has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoPair(pub Vec<PairWord>);

impl fmt::Display for NoPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.first() {
            None => f.write_str("there is no pair of events NAME and NAME__return"),
            Some(word) => write!(f, "there is no pair of events {} and {}", word.start, word.stop),
        }
    }
}

impl std::error::Error for NoPair {}

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

/// Whose calls are open: a pair, a file, a thread.
type Key = (usize, usize, i32);

/// Durations of the calls in a trace.
#[derive(Default)]
pub struct Latency {
    settings: LatencySettings,
    roles: HashMap<(usize, u16), Vec<Role>>,
    pairs: Vec<Pair>,
    /// The events of the pairs, as the files have them.
    events: Vec<(String, String)>,
    open: HashMap<Key, Vec<Open>>,
    /// Slow calls that are still to be printed.
    slow: Vec<Call>,
}

impl Latency {
    /// Nothing was seen yet.
    pub fn new(settings: LatencySettings) -> Latency {
        Latency { settings, ..Latency::default() }
    }

    /// Learns which events of the files the words mean; `false`: none.
    fn know(&mut self, word: &PairWord, opened: Opened<'_>, unit: u64) -> bool {
        let pair = self.pairs.len();
        let mut found = false;
        let mut files: Vec<usize> = opened.lanes.iter().map(|lane| lane.file).collect();
        files.dedup();
        for file in files {
            let Some(lane) = opened.lane_of(file) else { continue };
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
                self.events.push((format.system.clone(), format.name.clone()));
            }
        }
        if found {
            let (start, stop) = (word.start.clone(), word.stop.clone());
            let took = Spread::new(unit);
            self.pairs.push(Pair { start, stop, took, slow: 0, without_entry: 0, without_return: 0 });
        }
        found
    }

    fn enter(&mut self, key: Key, call: Open) {
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

    /// Closes a call; `Some`: when it began and how long it took, if it was slow.
    fn leave(&mut self, key: Key, time: u64, sp: Option<u64>) -> Option<(u64, u64)> {
        let pair = &mut self.pairs[key.0];
        let open = self.open.entry(key).or_default();
        let found = match sp {
            None => open.len().checked_sub(1),
            Some(sp) => open.iter().rposition(|open| open.sp.is_some_and(|own| (own..=own + RETURNED).contains(&sp))),
        };
        let Some(at) = found else {
            pair.without_entry += 1;
            return None;
        };
        // Calls within the one that returns cannot be under way any more.
        pair.without_return += (open.len() - at - 1) as u64;
        open.truncate(at + 1);
        let call = open.pop()?;
        let took = time.saturating_sub(call.start);
        pair.took.add(took);
        let is_slow = self.settings.threshold.is_some_and(|threshold| took >= threshold);
        pair.slow += u64::from(is_slow);
        is_slow.then_some((call.start, took))
    }

    /// After a loss nobody knows which calls have returned, except where the stack tells.
    fn forget_doubtful(&mut self) {
        for ((pair, ..), open) in &mut self.open {
            let before = open.len();
            open.retain(|open| open.sp.is_some());
            self.pairs[*pair].without_return += (before - open.len()) as u64;
        }
    }
}

impl Take for Latency {
    fn take(&mut self, record: &Record<'_>) {
        let (lane, data) = (record.lane, record.bytes.data);
        let id = (lane.file, record.id());
        let Some(count) = self.roles.get(&id).map(Vec::len) else { return };
        let int = |field: &Field| field.int(data, lane.trace.abi);
        for at in 0..count {
            let role = &self.roles[&id][at];
            let (returns, sp) = (role.returns, role.sp.as_ref().and_then(int));
            let key = (role.pair, lane.file, record.pid());
            if !returns {
                self.enter(key, Open { start: record.time(), sp });
            } else if let Some((start, took)) = self.leave(key, record.time(), sp) {
                let task = String::from_utf8_lossy(lane.names.at(key.2, start)).into_owned();
                let entry = self.pairs[key.0].start.clone();
                self.slow.push(Call { entry, task, pid: key.2, cpu: record.cpu(), time: start, took, unit: lane.unit });
            }
        }
    }

    fn lost(&mut self, _: &Loss<'_>) {
        self.forget_doubtful();
    }
}

impl Analysis for Latency {
    fn wants(&self) -> Wants {
        if !self.events.is_empty() {
            return Wants::Events(self.events.clone());
        }
        // A name without a system may be of any.
        let words = self.settings.pairs.iter().flat_map(|pair| [&pair.start, &pair.stop]);
        let split = |word: &String| word.split_once(':').map(|(system, event)| (system.to_owned(), event.to_owned()));
        let named: Option<Vec<(String, String)>> = words.map(split).collect();
        named.filter(|named| !named.is_empty()).map_or(Wants::All, Wants::Events)
    }

    /// Fails if no file has the pairs.
    fn begin(&mut self, opened: Opened<'_>) -> Result<(), AnalysisError> {
        let unit = if nanoseconds(opened.lanes) { 1000 } else { 1 };
        let words = match self.settings.pairs.as_slice() {
            [] => by_names(opened.lanes),
            asked => asked.to_vec(),
        };
        let missing: Vec<PairWord> = words.into_iter().filter(|word| !self.know(word, opened, unit)).collect();
        if self.pairs.is_empty() || !missing.is_empty() && !self.settings.pairs.is_empty() {
            return Err(Box::new(NoPair(missing)));
        }
        Ok(())
    }

    fn meanwhile(&mut self, form: Form, _: Opened<'_>, out: &mut Vec<u8>) {
        self.slow.drain(..).for_each(|call| call.put(form, out));
    }

    fn finish<'f>(&'f mut self, opened: Opened<'f>) -> Box<dyn Findings + 'f> {
        let mut still_open = vec![0_u64; self.pairs.len()];
        self.open.iter().for_each(|((pair, ..), open)| still_open[*pair] += open.len() as u64);
        let mut rows: Vec<(&Pair, u64)> = self.pairs.iter().zip(still_open).collect();
        rows.retain(|(pair, open)| pair.took.count() + pair.without_entry + pair.without_return + open > 0);
        rows.sort_by(|(a, _), (b, _)| b.took.total().cmp(&a.took.total()).then_with(|| a.start.cmp(&b.start)));
        Box::new(Table { rows, us: nanoseconds(opened.lanes), with_slow: self.settings.threshold.is_some() })
    }
}

/// Pairs that the names of events tell.
fn by_names(lanes: &[Lane]) -> Vec<PairWord> {
    let mut words: Vec<PairWord> = Vec::new();
    for NamedPair { start, stop } in lanes.iter().flat_map(|lane| pairs::by_name(&lane.trace.formats)) {
        let word = PairWord { start, stop };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

fn is_named(system: &str, event: &str, word: &str) -> bool {
    match word.split_once(':') {
        Some((of, name)) => system == of && event == name,
        None => event == word,
    }
}

fn nanoseconds(lanes: &[Lane]) -> bool {
    lanes.first().is_none_or(|lane| lane.unit == Unit::Nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency() -> Latency {
        let took = Spread::new(1);
        let pair =
            Pair { start: "f".into(), stop: "f__return".into(), took, slow: 0, without_entry: 0, without_return: 0 };
        Latency { pairs: vec![pair], ..Latency::default() }
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
                _ => drop(latency.leave((0, 0, 7), time as u64, sp)),
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
