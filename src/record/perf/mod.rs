//! Samples of traced threads: a clock of each thread's own CPU time rings, and the stacks are noted.
//!
//! Owns: the kernel's events for it ([`event`], [`returns`]), taking records out of their rings ([`ring`]), stacks with names
//! ([`spaces`]), and the file they are written to as they come. Does not own: what samples mean for windows.
//! Units: nanoseconds of CLOCK_MONOTONIC.
//!
//! One event for each thread and CPU, inherited by what the thread starts; all of a CPU share a ring. A thread of ours
//! empties the rings, unwinds and names at once, so that memory stays bounded and short-lived programs are still there.

pub mod event;
pub mod returns;
pub mod ring;
pub mod spaces;
pub mod symbols;
pub mod tables;
mod work;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use self::event::Opening;
use self::ring::Ring;
use self::spaces::Spaces;
pub use self::work::Total;
use self::work::Work;
use super::error::Error;
use super::own_files::Growing;
use super::settings::{UserStack, WindowSettings};
use super::sift::Shared;
use super::watch::{Note, Watch};

/// The kernel takes no samples faster than this.
const SHORTEST: Duration = Duration::from_micros(10);
/// Below this the samples slow the program down so much that they tell about themselves.
const COSTLY: Duration = Duration::from_micros(100);
/// Copies of stacks below this fill the disk and are mostly lost.
const COSTLY_STACKS: Duration = Duration::from_micros(500);

impl UserStack {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            UserStack::None => "none",
            UserStack::FramePointers => "fp",
            UserStack::Dwarf(_) => "dwarf",
        }
    }
}

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
    pub fn begin(
        windows: &WindowSettings,
        pids: &[i32],
        command: Option<i32>,
        calls: &[u64],
        shared: Option<Shared>,
        into: &Path,
        watch: &dyn Watch,
    ) -> Result<Option<Sampler>, Error> {
        let period = windows.sample;
        period.map_or(Ok(()), |period| judge(period, windows, watch))?;
        if pids.is_empty() {
            return Ok(None);
        }
        let mut tids: Vec<i32> = Vec::new();
        for pid in pids {
            let tasks = procfs::process::Process::new(*pid).and_then(|process| process.tasks());
            tids.extend(tasks.into_iter().flatten().flatten().map(|task| task.tid));
        }
        // A machine's worth of threads and CPUs is more descriptors than a shell allows by default.
        if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
        }
        let failed = Error::system("taking samples");
        let opening = Opening { period, user_stack: windows.user_stack };
        let (rings, mut fds) = match open_all(&tids, opening.ring_bytes(), |tid, cpu| opening.open(tid, cpu)) {
            Err(_) if period.is_none() => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        let mut call_rings = Vec::new();
        for id in calls {
            // Without it stacks in this function are not whole, which is told.
            let opened = open_all(&tids, returns::RING_BYTES, |tid, cpu| returns::open_calls(*id, tid, cpu));
            let Ok((rings, others)) = opened else { continue };
            call_rings.extend(rings);
            fds.extend(others);
        }
        let holds_probes = !call_rings.is_empty();
        // The command is ours until it runs its program, and that tells its maps itself.
        let known: Vec<i32> = pids.iter().copied().filter(|pid| Some(*pid) != command).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let user_stack = windows.user_stack;
        let file = Growing::create(into).map_err(|source| Error::Output { path: into.to_owned(), source })?;
        let run = move || {
            let mut spaces = Spaces::new();
            known.iter().filter(|_| period.is_some()).for_each(|pid| spaces.read(*pid));
            let mut work = Work::new(period, user_stack, spaces, shared, file);
            work.run(rings, call_rings, &told);
            drop(fds);
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
    windows.sample.is_some() && matches!(windows.user_stack, UserStack::Dwarf(_)) && returns::can_be_told()
}

/// What cannot be done is refused, what had better not be done is told.
fn judge(period: Duration, windows: &WindowSettings, watch: &dyn Watch) -> Result<(), Error> {
    if period < SHORTEST {
        return Err(Error::SampleTooOften { period, least: SHORTEST, stacks: false });
    }
    if matches!(windows.user_stack, UserStack::Dwarf(_)) && period < COSTLY_STACKS && !windows.forced {
        return Err(Error::SampleTooOften { period, least: COSTLY_STACKS, stacks: true });
    }
    if period < COSTLY {
        watch.note(Note::CostlySamples(period));
    }
    Ok(())
}

/// Opens an event for each thread on each CPU; those of one CPU share its ring.
fn open_all(
    tids: &[i32],
    ring_bytes: usize,
    open: impl Fn(i32, i32) -> io::Result<OwnedFd>,
) -> io::Result<(Vec<Ring>, Vec<OwnedFd>)> {
    let (mut rings, mut fds) = (Vec::new(), Vec::new());
    for cpu in online()? {
        let mut ring: Option<Ring> = None;
        for tid in tids {
            let fd = match open(*tid, cpu as i32) {
                Ok(fd) => fd,
                // It has ended meanwhile.
                Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => continue,
                Err(error) => return Err(error),
            };
            match &ring {
                None => ring = Some(Ring::map(fd, ring_bytes)?),
                Some(ring) => {
                    event::share(&fd, ring.as_fd())?;
                    fds.push(fd);
                }
            }
        }
        rings.extend(ring);
    }
    Ok((rings, fds))
}

fn online() -> io::Result<Vec<u32>> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |word: &str| word.parse::<u32>().map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
        cpus.extend(number(first)?..=number(last)?);
    }
    Ok(cpus)
}

fn cpu_time() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map(Duration::from).unwrap_or_default()
}
