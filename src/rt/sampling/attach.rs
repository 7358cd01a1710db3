//! Events for all threads of running processes, which start threads all the while.
//!
//! A thread that is born between the listing and the event of the thread that starts it has none. So the threads are listed
//! again, until all are known to have been born of threads whose events were all there. Those that may have got some on
//! their way get events of their own: of two on one CPU only one counts (see `work`).
//!
//! ```text
//!   parent   listed ... cpu0 opened ... cpu1 opened ...
//!   child            ^ has none       ^ has one        ^ has both: its birth is reported, later than that
//! ```

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::event::{self, Body, Entry, Opening};
use super::ring::Ring;
use crate::rt::window_states::now;
use crate::setup::threads;

/// How long threads are listed again and again, where each lives shorter than it takes to find it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Events that were opened.
pub struct Attached {
    /// For what.
    pub opening: Opening,
    /// One for each CPU.
    pub rings: Vec<Ring>,
    /// Events that write into the ring of another.
    pub fds: Vec<OwnedFd>,
    /// What has come already.
    pub entries: Vec<Entry>,
    /// Whether threads were still found that have not been known.
    pub hopeless: bool,
}

/// Opens events for each thread on each CPU; those of one CPU share its ring.
pub fn attach(opening: Opening, pids: &[i32]) -> io::Result<Attached> {
    let mut rings: Vec<(u32, Option<Ring>)> = online()?.into_iter().map(|cpu| (cpu, None)).collect();
    let mut attached = Attached { opening, rings: Vec::new(), fds: Vec::new(), entries: Vec::new(), hopeless: false };
    // Since when a thread has had all events.
    let mut complete: HashMap<i32, u64> = HashMap::new();
    let begun = Instant::now();
    loop {
        let mut new: Vec<i32> = pids.iter().flat_map(|pid| threads::of_process(*pid)).collect();
        // Births are reported when the child is there to be listed, or at once after.
        attached.learn(&mut rings, &mut complete);
        new.retain(|tid| !complete.contains_key(tid));
        attached.hopeless = !new.is_empty() && begun.elapsed() > PATIENCE;
        if new.is_empty() || attached.hopeless {
            break;
        }
        for tid in new {
            for (cpu, ring) in &mut rings {
                attached.open(tid, *cpu, ring)?;
            }
            complete.insert(tid, now());
        }
    }
    attached.rings.extend(rings.into_iter().filter_map(|(_, ring)| ring));
    Ok(attached)
}

impl Attached {
    fn open(&mut self, tid: i32, cpu: u32, ring: &mut Option<Ring>) -> io::Result<()> {
        let fd = match self.opening.open(tid, cpu as i32) {
            Ok(fd) => fd,
            // It has ended meanwhile.
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => return Ok(()),
            Err(error) => return Err(error),
        };
        match ring {
            None => *ring = Some(Ring::map(fd, self.opening.ring_bytes())?),
            Some(ring) => {
                event::share(&fd, ring.as_fd())?;
                self.fds.push(fd);
            }
        }
        Ok(())
    }

    /// Takes what is in the rings, and notes which threads were born with all events.
    fn learn(&mut self, rings: &mut [(u32, Option<Ring>)], complete: &mut HashMap<i32, u64>) {
        let first = self.entries.len();
        for ring in rings.iter_mut().filter_map(|(_, ring)| ring.as_mut()) {
            ring.take(|bytes| self.entries.extend(self.opening.parse(bytes)));
        }
        self.entries[first..].sort_by_key(|entry| entry.time);
        for entry in &self.entries[first..] {
            let (Body::Born { parent } | Body::Fork { parent }) = entry.body else { continue };
            if complete.get(&parent).is_some_and(|since| *since < entry.time) {
                complete.insert(entry.tid, entry.time);
            }
        }
    }
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
