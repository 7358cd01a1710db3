//! Records that come while they are recorded, merged by time by the same code as those of files.
//!
//! Sub-buffers come in rounds. A record is handed out in the round in which nothing older than it can come any more, that
//! is, up to the cut: the time at which all buffers were known to be emptied. Sub-buffers with younger records are kept:
//! ```text
//!   CPU 0   [ a b c d ]  [ e | f g ]          | is the cut of this round: f, g, 3 and 4 wait,
//!   CPU 1   [ 1 ]  [ 2       | 3 4 ]            and their sub-buffers are looked at again
//! ```
//! Whatever keeps state from record to record keeps it from round to round: selection, trackers, numbers of records and
//! streams, names that were learned.

use std::sync::Arc;

use byteorder::NativeEndian;

use super::error::ReadError;
use super::input::Input;
use super::lane;
use super::select::Selection;
use super::settings::ReadSettings;
use super::{Gate, Reading};
use crate::dat::{Dat, LiveBuffer, Tsc2Nsec};
use crate::decode::{Registry, Trace};
use crate::wire::subbuf::Layout;
use crate::wire::tables::Cmdlines;

/// What is known of a trace before its records come.
pub struct LiveTrace {
    /// Formats and tables.
    pub trace: Trace,
    /// How sub-buffers of the top buffer are laid out.
    pub layout: Layout,
    /// From cycles to nanoseconds, if times are cycles.
    pub tsc2nsec: Option<Tsc2Nsec>,
}

/// What is kept between rounds.
pub(super) struct Live {
    tsc: Option<Tsc2Nsec>,
    selection: Selection,
    /// Sub-buffers that have records to come.
    kept: Vec<LiveBuffer>,
}

impl Reading {
    /// Reads records that [`Reading::feed`] brings.
    pub fn live(
        live: LiveTrace,
        registry: Registry,
        settings: ReadSettings,
        selection: &Selection,
    ) -> Result<Reading, ReadError> {
        let input = Input::live(live.trace, live.layout);
        let mut reading = Reading::new(vec![input], registry, settings, selection)?;
        reading.live = Some(Live { tsc: live.tsc2nsec, selection: selection.clone(), kept: Vec::new() });
        Ok(reading)
    }

    /// Takes what has come since the last time. The next pass hands out records up to `cut` (in ticks) or, at the end,
    /// all of them. `names` is the kernel's table of names of tasks.
    pub fn feed(&mut self, come: Vec<LiveBuffer>, names: Vec<u8>, cut: Option<u64>) -> Result<(), ReadError> {
        let Some(live) = &mut self.live else { return Ok(()) };
        let mut buffers = std::mem::take(&mut live.kept);
        for buffer in come {
            append(&mut buffers, buffer);
        }
        live.kept = cut.map_or_else(Vec::new, |cut| buffers.iter().map(|buffer| after(buffer, cut)).collect());
        let Some(input) = self.inputs.first_mut() else { return Ok(()) };
        let mut dat = Dat::of_subbufs(input.dat.layout, buffers);
        dat.options.tsc2nsec = live.tsc;
        input.dat = Arc::new(dat);
        let is_first = self.lanes.is_empty();
        if is_first {
            // What corrects times is known from now on.
            self.lanes = lane::lanes(&self.inputs, self.registry, &self.settings)?;
            self.gate =
                Gate::new(&self.inputs, &live.selection, self.settings.style.compat).map_err(ReadError::Select)?;
            self.rewind();
        } else {
            lane::follow(&self.inputs, &mut self.lanes, self.registry, &self.settings)?;
        }
        let table = Arc::new(Cmdlines::new(names));
        if let Some(lane) = self.lanes.first() {
            let names = Arc::new(lane.names.renewed(table));
            self.lanes.iter_mut().for_each(|lane| lane.names = Arc::clone(&names));
        }
        if let Some(before) = self.settings.to {
            self.gate.go_on_from(before.saturating_add(1));
        }
        let time = |ticks| self.lanes.first().map_or(ticks, |lane| lane.correction.apply(ticks, 0));
        self.settings.to = cut.map(time);
        Ok(())
    }
}

/// Adds what has come to what was kept.
fn append(buffers: &mut Vec<LiveBuffer>, come: LiveBuffer) {
    let Some(buffer) = buffers.iter_mut().find(|buffer| buffer.name == come.name) else { return buffers.push(come) };
    for (cpu, data) in come.cpus {
        match buffer.cpus.iter_mut().find(|known| known.0 == cpu) {
            Some(known) => known.1.extend(data),
            None => buffer.cpus.push((cpu, data)),
        }
    }
    buffer.cpus.sort_by_key(|cpu| cpu.0);
}

/// The sub-buffers that have records after the cut. A loss that has been reported is taken out of them.
fn after(buffer: &LiveBuffer, cut: u64) -> LiveBuffer {
    let size = buffer.layout.subbuf_bytes as usize;
    let cpus = buffer.cpus.iter().map(|(cpu, data)| {
        let mut kept = Vec::new();
        for page in data.chunks(size) {
            let (first, last) = times(&buffer.layout, page);
            if last > cut {
                let start = kept.len();
                kept.extend_from_slice(page);
                if first <= cut {
                    forget_loss(&mut kept[start..], &buffer.layout);
                }
            }
        }
        (*cpu, kept)
    });
    LiveBuffer { cpus: cpus.collect(), ..buffer.clone() }
}

/// Times of the first and of the last record.
fn times(layout: &Layout, page: &[u8]) -> (u64, u64) {
    let Ok(head) = layout.head(page) else { return (0, 0) };
    let mut walk = layout.walk(&head);
    let (mut first, mut last) = (None, 0);
    while let Some(Ok(found)) = walk.next::<NativeEndian>(page) {
        first.get_or_insert(found.ticks);
        last = found.ticks;
    }
    (first.unwrap_or(0), last)
}

/// Clears the bits of the commit word that mark a loss: the uppermost two of its low half.
fn forget_loss(page: &mut [u8], layout: &Layout) {
    let place = if cfg!(target_endian = "big") { usize::from(layout.abi.long_bytes) - 4 } else { 3 };
    if let Some(byte) = page.get_mut(usize::from(layout.commit_offset) + place) {
        *byte &= 0x3f;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::REGISTRY;
    use crate::report::reading::testing::*;
    use crate::wire::subbuf::Lost;

    fn reading(settings: ReadSettings, selection: &Selection) -> Reading {
        let live = LiveTrace { trace: trace(), layout: LAYOUT, tsc2nsec: None };
        Reading::live(live, REGISTRY, settings, selection).unwrap()
    }

    /// Feeds a round of the top buffer; gives what is handed out.
    fn round(reading: &mut Reading, cpus: &[(u32, &[Vec<u8>])], cut: Option<u64>) -> Vec<String> {
        reading.feed(vec![buffer("", cpus)], Vec::new(), cut).unwrap();
        read(reading).0
    }

    #[test]
    fn records_after_the_cut_wait_for_the_next_round() {
        let mut reading = reading(settings(), &Selection::default());
        let first = round(&mut reading, &[(0, &[exits(&[10, 30])]), (1, &[exits(&[20])])], Some(25));
        assert_eq!(times_of(&first), [10, 20]);
        let second = round(&mut reading, &[(1, &[exits(&[28, 40])])], Some(35));
        assert_eq!(times_of(&second), [28, 30]);
        assert_eq!(times_of(&round(&mut reading, &[], None)), [40]);
        assert_eq!(times_of(&round(&mut reading, &[], None)), [0_u64; 0]);
    }

    #[test]
    fn a_record_at_the_cut_comes_before_it() {
        let mut reading = reading(settings(), &Selection::default());
        assert_eq!(times_of(&round(&mut reading, &[(0, &[exits(&[10, 20, 21])])], Some(20))), [10, 20]);
        assert_eq!(times_of(&round(&mut reading, &[], Some(30))), [21]);
    }

    #[test]
    fn records_are_numbered_from_round_to_round() {
        let mut reading = reading(settings(), &Selection::default());
        let mut numbers = Vec::new();
        for (times, cut) in [(&[10, 20, 30][..], Some(25)), (&[40], Some(50)), (&[60], None)] {
            reading.feed(vec![buffer("", &[(0, &[exits(times)])])], Vec::new(), cut).unwrap();
            reading.each(|record| numbers.push((record.time(), record.seq, record.stream)));
        }
        assert_eq!(numbers, [(10, 0, 0), (20, 1, 0), (30, 2, 0), (40, 3, 0), (60, 4, 0)]);
    }

    #[test]
    fn a_loss_is_told_once() {
        let mut reading = reading(settings(), &Selection::default());
        let exit = |time: u64| (time, record(EXIT, 7, &[]));
        let pages = [lossy(Lost::Count(3), &[exit(10), exit(30)])];
        let first = round(&mut reading, &[(0, &pages)], Some(20));
        assert_eq!(first, ["lost 3 before 10", "10 0 7 sched_process_exit"]);
        assert_eq!(round(&mut reading, &[], Some(40)), ["30 0 7 sched_process_exit"]);
    }

    #[test]
    fn a_loss_before_records_that_nobody_wants_waits_for_the_next_one() {
        let selection = Selection { events: vec!["sched_waking".into()], ..Selection::default() };
        let waking = |time: u64| (time, record(WAKING, 7, &[]));
        let mut reading = reading(settings(), &selection);
        let pages = [lossy(Lost::Count(3), &[(10, record(EXIT, 7, &[])), waking(30)])];
        assert_eq!(round(&mut reading, &[(0, &pages)], Some(20)), [""; 0]);
        assert_eq!(round(&mut reading, &[], Some(40)), ["lost 3 before 30", "30 0 7 sched_waking"]);
        let pages = [lossy(Lost::Count(2), &[(50, record(EXIT, 7, &[]))]), page(&[waking(70)])];
        assert_eq!(round(&mut reading, &[(0, &pages)], Some(60)), [""; 0]);
        assert_eq!(round(&mut reading, &[], Some(80)), ["lost 2 before 70", "70 0 7 sched_waking"]);
    }

    #[test]
    fn a_loss_before_records_that_wait_waits_with_them() {
        let mut reading = reading(settings(), &Selection::default());
        let pages = [exits(&[10]), lossy(Lost::Count(3), &[(30, record(EXIT, 7, &[]))])];
        assert_eq!(round(&mut reading, &[(0, &pages)], Some(20)), ["10 0 7 sched_process_exit"]);
        assert_eq!(round(&mut reading, &[], Some(40)), ["lost 3 before 30", "30 0 7 sched_process_exit"]);
    }

    #[test]
    fn names_that_were_learned_stay_known() {
        let mut reading = reading(settings(), &Selection::default());
        let name = i64::from_le_bytes(*b"seven\0\0\0");
        let switch = page(&[(10, record(SWITCH, 9, &[("next_pid", 7), ("next_comm", name)]))]);
        let mut names = Vec::new();
        for (pages, cut) in [(switch, 15), (exits(&[20]), 25)] {
            reading.feed(vec![buffer("", &[(0, &[pages])])], Vec::new(), Some(cut)).unwrap();
            reading.each(|record| names.push(String::from_utf8_lossy(record.comm()).into_owned()));
        }
        assert_eq!(names, ["<...>", "seven"]);
    }

    #[test]
    fn the_kernels_table_of_names_is_that_of_the_round() {
        let mut reading = reading(settings(), &Selection::default());
        let mut names = Vec::new();
        for (time, table) in [(10, &b"7 one\n"[..]), (20, b"7 two\n")] {
            reading.feed(vec![buffer("", &[(0, &[exits(&[time])])])], table.to_vec(), Some(time + 5)).unwrap();
            reading.each(|record| names.push(String::from_utf8_lossy(record.comm()).into_owned()));
        }
        assert_eq!(names, ["one", "two"]);
    }

    #[test]
    fn a_buffer_that_appears_later_is_read_along() {
        let mut reading = reading(settings(), &Selection::default());
        assert_eq!(times_of(&round(&mut reading, &[(0, &[exits(&[10, 30])])], Some(20))), [10]);
        let buffers = vec![buffer("second", &[(0, &[exits(&[25, 35])])]), buffer("", &[(0, &[exits(&[40])])])];
        reading.feed(buffers, Vec::new(), None).unwrap();
        let mut found = Vec::new();
        reading.each(|record| {
            let prefix = String::from_utf8_lossy(&record.lane.prefix).into_owned();
            found.push((record.time(), record.stream, prefix));
        });
        let wanted = [(25, 1, "second: "), (30, 0, "        "), (35, 1, "second: "), (40, 0, "        ")];
        assert_eq!(found, wanted.map(|(time, stream, prefix)| (time, stream, prefix.to_owned())));
    }

    #[test]
    fn a_cpu_that_appears_later_gets_the_next_number() {
        let mut reading = reading(settings(), &Selection::default());
        let mut streams = Vec::new();
        for (cpu, time) in [(3, 10), (1, 20)] {
            let buffers = vec![buffer("", &[(cpu, &[exits(&[time])])])];
            reading.feed(buffers, Vec::new(), Some(time + 5)).unwrap();
            reading.each(|record| streams.push((record.cpu(), record.stream)));
        }
        assert_eq!(streams, [(3, 0), (1, 1)]);
    }

    #[test]
    fn children_are_followed_from_round_to_round() {
        let selection = Selection { pids: vec![5], follow_children: true, ..Selection::default() };
        let mut reading = reading(settings(), &selection);
        let fork = page(&[(10, record(FORK, 5, &[("parent_pid", 5), ("child_pid", 7)]))]);
        assert_eq!(times_of(&round(&mut reading, &[(0, &[fork])], Some(15))), [10]);
        assert_eq!(times_of(&round(&mut reading, &[(0, &[exits(&[20])])], Some(25))), [20]);
    }
}
