//! Windows that the kernel judges (`--in-kernel`): histograms compute their durations, a slow one takes a snapshot of the
//! buffer, which nobody reads otherwise.
//!
//! Owns: setting that up, what the kernel counts, which threads it is about, arming and taking snapshots. Does not own: the
//! words of the triggers (see [`hist_triggers`]), what is kept of a snapshot (see `rt::only_slow`).
//! Units: nanoseconds of the monotonic clock.
//!
//! ```text
//!   instance        events, overwritten for ever ──snapshot at a slow window──> spare buffer ──> what belongs to it is kept
//!   instance_slow   slow windows only: thread, start, duration ──> rtrec wakes
//! ```
//! While one snapshot is being read the kernel takes no other: rtrec takes the next one itself as soon as it can. The
//! buffer goes on meanwhile, so a slow window is lost only if it has been overwritten by then, and that is said.
//!
//! | file | what is inside |
//! | --- | --- |
//! | `mod.rs` | what is set up, who is counted, when a snapshot is taken |
//! | [`hist_triggers`] | from windows to the triggers and synthetic events that judge them |
//!
//! Imported by the rest of `rt`; imports `record`'s error, `setup`, `tracefs`, `windows` and what is below. The next thing a
//! kernel may be asked to judge is a trigger there.

pub mod hist_triggers;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::record::Error;
use crate::rt::error::Refusal;
use crate::rt::settings::WindowSettings;
use crate::setup::{self, threads};
use crate::tracefs::buffer::RawBuffer;
use crate::tracefs::dynamic::DefinitionFile;
use crate::tracefs::events::{EventName, Selection};
use crate::tracefs::hist::{Hist, HistEntry};
use crate::tracefs::instance::PidList;
use crate::tracefs::{self, Instance, Undo};
use crate::windows::{DurationCounts, WindowConfig};
use crate::wire::abi::Abi;
use crate::wire::common::Common;
use crate::wire::format::{EventFormat, Field};
use crate::wire::subbuf::Layout;
use byteorder::NativeEndian;
use hist_triggers::{LONG, Recipe, Set, THREADS, Trigger};

/// Checks what was asked for, before anything is changed.
pub fn check(windows: &WindowSettings, top: &Instance) -> Result<(), Refusal> {
    if windows.sample.is_some() {
        return Err(Refusal::Samples);
    }
    hist_triggers::check(&windows.session)?;
    let options = top.lacks().options();
    if options.is_empty() { Ok(()) } else { Err(Refusal::Lacks(options)) }
}

/// A slow window, as the event of the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    /// Index of its definition.
    pub definition: usize,
    /// Its thread.
    pub tid: i32,
    /// When it began.
    pub start: u64,
    /// When it ended.
    pub end: u64,
}

/// The fields of the event for a slow window.
struct Fields {
    id: u16,
    tid: Field,
    start: Field,
    dur: Field,
    def: Field,
}

/// The kernel at work.
pub struct Judge {
    instance: Instance,
    recipe: Recipe,
    /// The buffer with the events for slow windows, and nothing else.
    slow_windows: Vec<RawBuffer>,
    layout: Layout,
    common: Common,
    fields: Fields,
    names: Vec<String>,
    /// What was in tables that were emptied since.
    before: Tables,
}

fn add(instance: &Instance, trigger: &Trigger, undo: &mut Undo) -> Result<(), Error> {
    instance
        .add_trigger(&trigger.event, &trigger.text, undo)
        .map_err(|source| Error::from(setup::Error::TriggerRefused { event: trigger.event.clone(), source }))
}

impl Judge {
    /// What is readable when the kernel has written the event for a slow window.
    pub fn wake_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.slow_windows.iter().map(AsFd::as_fd)
    }

    /// Sets everything up. The instance records from here on, since threads become members by what they do.
    pub fn start(instance: &Instance, session: &WindowConfig, cpus: &[u32], undo: &mut Undo) -> Result<Judge, Error> {
        let recipe = Recipe::new(session, std::process::id())?;
        for line in &recipe.synthetic {
            instance
                .define(DefinitionFile::Dynamic, line, undo)
                .map_err(Error::at("defining the event that tells windows"))?;
        }
        let slow_instance = slow_instance(instance, &recipe.window, undo)?;
        let set_up = Error::at("reading the format of the event that tells windows");
        let text = instance.event_format(&recipe.window).map_err(set_up)?;
        let format = EventFormat::parse("synthetic", &text, Abi::HOST).map_err(|error| Error::System {
            step: "reading the format of an event",
            source: io::Error::other(error),
        })?;
        let layout = slow_instance.subbuf_layout().map_err(Error::at("reading the page header's layout"))?;
        let open = |cpu: &u32| slow_instance.raw_buffer(*cpu, layout.subbuf_bytes as usize);
        let slow_windows =
            cpus.iter().map(open).collect::<Result<_, _>>().map_err(Error::at("opening a CPU's buffer"))?;
        for set in &recipe.sets {
            set.triggers.iter().try_for_each(|trigger| add(instance, trigger, undo))?;
        }
        instance.tracing_on().map_err(Error::at("starting the buffer"))?;
        seed(instance, &recipe.sets, undo)?;
        if instance.has_pid_list(PidList::NoEvent) {
            // What rtrec does is nobody's window. It is left out later anyway, but windows are judged from here on.
            let set_up = Error::at("setting the pid filter");
            instance.add_pids(PidList::NoEvent, &threads::of_rtrec(), undo).map_err(set_up)?;
        }
        recipe.counts.iter().chain(&recipe.windows).try_for_each(|trigger| add(instance, trigger, undo))?;
        let snapshot = Trigger { event: recipe.window.clone(), text: recipe.snapshot.clone() };
        // However often it is armed again, this is how it ends.
        add(instance, &snapshot, undo)?;
        Ok(Judge {
            instance: instance.clone(),
            fields: Fields::of(&format).ok_or(Error::System {
                step: "reading the format of an event",
                source: io::Error::other("the event that tells windows has other fields than it was given"),
            })?,
            common: Common::of(Some(&format), Abi::HOST),
            slow_windows,
            layout,
            names: session.definitions.iter().map(|definition| definition.name.clone()).collect(),
            recipe,
            before: Tables::default(),
        })
    }

    /// Slow windows since the last time, in the order of their ends, those of rtrec itself left out.
    pub fn slow(&mut self) -> io::Result<Vec<Slow>> {
        let mut slow = Vec::new();
        let mut page = vec![0; self.layout.subbuf_bytes as usize];
        for raw in &mut self.slow_windows {
            while raw.read_subbuf(&mut page).map_err(|error| error.source)? {
                let Ok(head) = self.layout.head(&page) else { continue };
                let mut walk = self.layout.walk(&head);
                while let Some(Ok(found)) = walk.next::<NativeEndian>(&page) {
                    let data = page.get(found.start as usize..(found.start + found.len) as usize).unwrap_or(&[]);
                    if self.common.id(data) == self.fields.id {
                        slow.extend(self.fields.read(data));
                    }
                }
            }
        }
        slow.retain(|slow: &Slow| !std::path::Path::new(&format!("/proc/self/task/{}", slow.tid)).exists());
        slow.sort_by_key(|slow| slow.end);
        Ok(slow)
    }

    /// What the kernel has counted, by definition.
    pub fn figures(&self) -> Result<Vec<(String, DurationCounts)>, tracefs::Error> {
        let hists = self.instance.hists(&self.recipe.window)?;
        let [spread, longest, shortest, slow] = &hists[..] else { return Ok(Vec::new()) };
        let mut kinds = Vec::new();
        for (number, name) in self.names.iter().enumerate() {
            let of = |entry: &&HistEntry| entry.key("def") == Some(number as u64);
            let one = |hist: &Hist, value: &str| {
                hist.entries.iter().find(of).and_then(|entry| entry.value(value)).unwrap_or(0)
            };
            let mut tally = DurationCounts {
                slow: one(slow, "hitcount"),
                max_ns: one(longest, "max"),
                ..DurationCounts::default()
            };
            for entry in spread.entries.iter().filter(of) {
                let count = entry.value("hitcount").unwrap_or(0);
                tally.closed += count;
                tally.total_ns = tally.total_ns.saturating_add(entry.value("dur").unwrap_or(0));
                let power = entry.key("dur").unwrap_or(0) as u32;
                *tally.powers.entry(power).or_default() += count;
            }
            tally.min_ns = if tally.closed > 0 { LONG.saturating_sub(one(shortest, "max")) } else { 0 };
            kinds.push((name.clone(), tally));
        }
        Ok(kinds)
    }

    /// How full the tables of threads are. The kernel sorts and prints all of them for that.
    pub fn tables(&self) -> Result<Tables, tracefs::Error> {
        let mut tables = self.before;
        for trigger in &self.recipe.windows {
            let Some(hist) = self.table(trigger)? else { continue };
            tables.unseen += hist.dropped;
            tables.full |= hist.used > THREADS / 4 * 3;
            tables.began += if self.recipe.starts.contains(trigger) { hist.hits } else { 0 };
            tables.discarded += if self.recipe.exits.contains(trigger) { hist.hits } else { 0 };
        }
        // A process that has had so many threads has members that are not known.
        for trigger in self.recipe.sets.iter().flat_map(|set| &set.triggers) {
            tables.members_unseen += self.table(trigger)?.map_or(0, |hist| hist.dropped);
        }
        Ok(tables)
    }

    /// The histogram of a trigger.
    fn table(&self, trigger: &Trigger) -> Result<Option<Hist>, tracefs::Error> {
        let variable = trigger.text.split([':', ',']).find(|part| part.contains('=') && !part.starts_with("keys="));
        let hists = self.instance.hists(&trigger.event)?;
        Ok(hists.into_iter().find(|hist| variable.is_some_and(|variable| hist.trigger.contains(variable))))
    }

    /// Makes room for more threads: the kernel empties no table that others read. Windows that are open then are not seen.
    pub fn empty_tables(&mut self) -> Result<(), Error> {
        let now = self.tables().map_err(Error::at("reading the kernel's tables"))?;
        self.before = Tables { full: false, members_unseen: 0, ..now };
        let renew = |trigger: &Trigger, text: &str| {
            let renewed = self.instance.renew_trigger(&trigger.event, text);
            renewed.map_err(|source| Error::from(setup::Error::TriggerRefused { event: trigger.event.clone(), source }))
        };
        let tables = &self.recipe.windows;
        tables.iter().rev().try_for_each(|table| renew(table, &format!("!{}", table.text)))?;
        tables.iter().try_for_each(|table| renew(table, &table.text))
    }

    /// Whether the kernel has taken its snapshot.
    pub fn has_fired(&self) -> Result<bool, tracefs::Error> {
        self.instance.snapshot_was_taken(&self.recipe.window)
    }

    /// No snapshot is taken any more but by [`Judge::snap`].
    pub fn disarm(&self) -> Result<(), tracefs::Error> {
        self.instance.renew_trigger(&self.recipe.window, "!snapshot")
    }

    /// The next slow window takes a snapshot again.
    pub fn arm(&self) -> Result<(), tracefs::Error> {
        self.instance.renew_trigger(&self.recipe.window, &self.recipe.snapshot)
    }

    /// Takes a snapshot.
    pub fn snap(&self) -> Result<(), tracefs::Error> {
        self.instance.take_snapshot()
    }
}

/// What the tables of threads say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tables {
    /// Windows that began.
    pub began: u64,
    /// Windows whose thread ended.
    pub discarded: u64,
    /// Events for which there was no room in a table.
    pub unseen: u64,
    /// The same of tables that are never emptied.
    pub members_unseen: u64,
    /// A table fills up.
    pub full: bool,
}

impl Fields {
    fn of(format: &EventFormat) -> Option<Fields> {
        let field = |name: &str| format.field(name).cloned();
        Some(Fields {
            id: format.id,
            tid: field("tid")?,
            start: field("start")?,
            dur: field("dur")?,
            def: field("def")?,
        })
    }

    fn read(&self, data: &[u8]) -> Option<Slow> {
        let int = |field: &Field| field.int(data, Abi::HOST);
        let start = int(&self.start)?;
        Some(Slow {
            definition: int(&self.def)? as usize,
            tid: int(&self.tid)? as u32 as i32,
            start,
            end: start + int(&self.dur)?,
        })
    }
}

/// The instance whose buffer holds the events for slow windows, and nothing else.
fn slow_instance(instance: &Instance, window: &EventName, undo: &mut Undo) -> Result<Instance, Error> {
    let slow = instance.beside("slow");
    slow.make(undo).map_err(Error::at("making the instance"))?;
    slow.set_clock("mono", undo).map_err(Error::at("setting the clock"))?;
    slow.wake_for_every_record(undo).map_err(Error::at("setting the wake-up mark"))?;
    slow.set_event_filter(window, Some(hist_triggers::SLOW), undo)
        .map_err(|source| Error::from(setup::Error::FilterRefused { event: window.clone(), source }))?;
    let selection = Selection { events: [window.clone()].into(), ..Selection::default() };
    slow.enable_events(&selection, true).map_err(Error::at("enabling events"))?;
    slow.tracing_on().map_err(Error::at("starting the buffer"))?;
    Ok(slow)
}

/// Makes the threads that there are members of their sets.
fn seed(instance: &Instance, sets: &[Set], undo: &mut Undo) -> Result<(), Error> {
    if sets.is_empty() {
        return Ok(());
    }
    let set_up = || Error::at("setting the pid filter");
    let this_thread = [nix::unistd::gettid().as_raw()];
    // What this thread does counts only while it is traced.
    instance.add_pids(PidList::Event, &this_thread, undo).map_err(set_up())?;
    let before = undo.steps().len();
    for set in sets {
        let seed = set.seed();
        add(instance, &seed, undo)?;
        let mut known = BTreeSet::new();
        loop {
            // Whoever is born meanwhile is added to the lists by the kernel, unless its parent was not yet known.
            let new: Vec<i32> = threads::of_process(set.process).into_iter().filter(|tid| known.insert(*tid)).collect();
            for tid in &new {
                // Only the call itself is wanted.
                let _ = nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(*tid)));
            }
            if new.is_empty() {
                break;
            }
        }
        let refused = |source| Error::from(setup::Error::TriggerRefused { event: seed.event.clone(), source });
        undo.run_back_to(before).into_iter().next().map_or(Ok(()), |source| Err(refused(source)))?;
    }
    Ok(())
}
