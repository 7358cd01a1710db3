//! Samples of traced threads: a clock of each thread's own CPU time rings, and the stacks are noted.
//!
//! Owns: the kernel's events for it, taking records out of their rings, stacks with names, and the file they are written to
//! as they come. Does not own: what samples mean for windows.
//! Units: nanoseconds of CLOCK_MONOTONIC.
//!
//! One event for each thread and CPU, inherited by what the thread starts; all of a CPU share a ring. A thread of ours
//! empties the rings, unwinds and names at once, so that memory stays bounded and short-lived programs are still there.
//!
//! | file | what is inside |
//! | --- | --- |
//! | `event`, `attach`, `ring` | the kernel's events, one for each thread and CPU, and the memory they write to |
//! | `sampler_thread` | the thread that empties the rings, and writes what is wanted |
//! | `address_spaces`, `symbols`, `return_addresses` | programs' memory, unwinding, names; returns that probes hide |
//! | `tables` | names and stacks, each kept once |
//!
//! Imported by the rest of `rt`; imports `rt`'s plain values, `record`'s files, `symbols` and what is below.
//! The next kind of event: an `Opening` in `event`, and what its records mean in `sampler_thread`.

mod address_spaces;
mod attach;
mod event;
mod return_addresses;
mod ring;
mod sampler_thread;
mod symbols;
mod tables;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use self::address_spaces::Spaces;
use self::attach::Attached;
use self::event::{Opening, When};
pub use self::sampler_thread::Total;
use self::sampler_thread::Work;
use super::error::Error as WindowError;
use super::note::{Note, WindowObserver};
use super::settings::{UserStack, WindowSettings};
use super::window_states::SharedWindowStates;
use crate::probe::{self, Probe};
use crate::record::Error;
use crate::record::capture::priority;
use crate::record::file::section_files::AppendFile;
use crate::setup;
use crate::setup::plan::BufferPlan;
use crate::tracefs::dynamic::DefinitionFile;
use crate::tracefs::events::EventName;
use crate::tracefs::{Instance, Undo};

/// The kernel takes no samples faster than this.
const SHORTEST: Duration = Duration::from_micros(10);
/// Below this the samples slow the program down so much that they tell about themselves.
const COSTLY: Duration = Duration::from_micros(100);
/// Copies of stacks below this fill the disk and are mostly lost.
const COSTLY_STACKS: Duration = Duration::from_micros(500);

/// Samples being taken.
pub struct Sampler {
    holds_probes: bool,
    stop: Arc<AtomicBool>,
    /// `None` once it was waited for.
    thread: Option<JoinHandle<(Total, Duration)>>,
}

impl Sampler {
    /// Begins to take samples of these processes, if any are wanted; `calls` are events of calls of functions whose
    /// returns are probed. Even without, threads that begin to run are noted where
    /// the kernel can: some kernels do not record every switch from idle, but perf sees them.
    pub fn start(
        windows: &WindowSettings,
        pids: &[i32],
        command: Option<i32>,
        calls: &[u64],
        states: Option<SharedWindowStates>,
        into: &Path,
        observer: &dyn WindowObserver,
    ) -> Result<Option<Sampler>, Error> {
        let period = windows.sample;
        period.map_or(Ok(()), |period| check(period, windows, observer))?;
        if pids.is_empty() {
            return Ok(None);
        }
        // A machine's worth of threads and CPUs is more descriptors than a shell allows by default.
        if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
        }
        let failed = Error::system("taking samples");
        let user_stack = windows.user_stack;
        let when = period.map_or(When::Never, When::Used);
        let mut attached = match attach::attach(Opening { when, user_stack }, pids) {
            Err(_) if period.is_none() => return Ok(None),
            opened => vec![opened.map_err(failed)?],
        };
        if attached[0].hopeless && period.is_some() {
            observer.window_note(Note::ThreadsMissed);
        }
        if period.is_some() && user_stack != UserStack::None {
            // Where threads wait is known without, but not on behalf of which function of the program.
            attached.extend(attach::attach(Opening { when: When::Leaving, user_stack }, pids).ok());
        }
        // Without these stacks in such functions are not whole, which is told.
        let openings = calls.iter().filter_map(|id| Opening::of_calls(*id));
        let calls: Vec<Attached> = openings.filter_map(|opening| attach::attach(opening, pids).ok()).collect();
        let holds_probes = !calls.is_empty();
        attached.extend(calls);
        // The command is ours until it runs its program, and that tells its maps itself.
        let known: Vec<i32> = pids.iter().copied().filter(|pid| Some(*pid) != command).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let file = AppendFile::create(into).map_err(|source| Error::Output { path: into.to_owned(), source })?;
        let run = move || {
            priority::raise_nice();
            let mut spaces = Spaces::new();
            if period.is_some() {
                known.iter().for_each(|pid| spaces.read(*pid));
            }
            let mut work = Work::new(period, spaces, states, file);
            work.run(attached, &stopped);
            (work.into_total(), cpu_time())
        };
        let thread = std::thread::Builder::new().name("rtrec/samples".to_owned()).spawn(run);
        let thread = thread.map_err(Error::system("starting a thread for samples"))?;
        Ok(Some(Sampler { holds_probes, stop, thread: Some(thread) }))
    }

    /// Whether it keeps events in use that cannot be removed meanwhile.
    pub fn holds_probes(&self) -> bool {
        self.holds_probes
    }

    /// Ends it: how many samples there were, and the CPU time that it took to gather them.
    pub fn finish(mut self) -> (Total, Duration) {
        self.end()
    }

    fn end(&mut self) -> (Total, Duration) {
        self.stop.store(true, Ordering::Release);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Sampler {
    /// Whatever happened, no event of ours outlives it: probes that are in use cannot be removed.
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether these samples need to be told of calls whose returns are probed.
pub fn needs_calls(windows: &WindowSettings) -> bool {
    windows.sample.is_some() && matches!(windows.user_stack, UserStack::Dwarf(_)) && Opening::of_calls(0).is_some()
}

/// Defines probes at the entries of functions of programs whose returns are probed, and returns the numbers of their events.
/// They are the sampler's alone: the kernel lets perf and ftrace not share one.
pub fn define_calls(plans: &[BufferPlan<'_>], top: &Instance, undo: &mut Undo) -> Result<Vec<u64>, Error> {
    let all = plans.iter().flat_map(|plan| &plan.events).flat_map(|event| &event.probes);
    let returns = all.filter(|probe| probe.file == DefinitionFile::Uprobe && probe.letter.starts_with('r'));
    let places: BTreeSet<&str> = returns.map(|probe| probe.place.as_str()).collect();
    let call = |(number, place): (usize, &str)| Probe {
        file: DefinitionFile::Uprobe,
        name: EventName { system: probe::session_group(), event: format!("rtrec_calls_{number}") },
        letter: "p".to_owned(),
        place: place.to_owned(),
        arguments: Vec::new(),
        target: place.to_owned(),
        values: Vec::new(),
        notes: Vec::new(),
    };
    let calls: Vec<Probe> = places.into_iter().enumerate().map(call).collect();
    probe::define(top, &calls, undo).map_err(setup::Error::probe)?;
    let id = |call: &Probe| top.event_id(&call.name);
    calls.iter().map(id).collect::<Result<_, _>>().map_err(Error::at("reading the number of an event"))
}

/// What cannot be done is refused, what had better not be done is told.
fn check(period: Duration, windows: &WindowSettings, observer: &dyn WindowObserver) -> Result<(), Error> {
    if period < SHORTEST {
        return Err(WindowError::SampleTooOften { period, least: SHORTEST, stacks: false }.into());
    }
    if matches!(windows.user_stack, UserStack::Dwarf(_)) && period < COSTLY_STACKS && !windows.forced {
        return Err(WindowError::SampleTooOften { period, least: COSTLY_STACKS, stacks: true }.into());
    }
    if period < COSTLY {
        observer.window_note(Note::CostlySamples(period));
    }
    Ok(())
}

fn cpu_time() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map(Duration::from).unwrap_or_default()
}
