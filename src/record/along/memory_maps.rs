//! Memory maps of traced processes, for names of user addresses.
//!
//! Those of `-P` are read at the start and, while they live, at the end. The command's are wanted as they are at its end:
//! it is watched with ptrace, which stops it in exit, before its memory goes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::symbols::Binary;

/// The maps of some processes, by process id.
#[derive(Debug, Default)]
pub struct Maps {
    texts: Mutex<BTreeMap<i32, String>>,
}

impl Maps {
    /// Reads the maps of a process; what was read before stays if it is gone.
    pub fn read(&self, pid: i32) {
        if let Some(text) = maps_of(pid) {
            self.texts.lock().unwrap_or_else(PoisonError::into_inner).insert(pid, text);
        }
    }

    /// Lines of build id and path for the mapped files that have one: what shows whether a file is still the one that ran.
    pub fn build_ids(&self) -> String {
        let texts = self.texts();
        let paths: BTreeSet<&str> = texts
            .iter()
            .flat_map(|text| text.lines().skip(1))
            .filter_map(|line| line.splitn(3, ' ').nth(2))
            .filter(|path| path.starts_with('/'))
            .collect();
        let line = |path: &str| {
            let binary = Binary::open(Path::new(path)).ok()?;
            let id: String = binary.build_id()?.iter().map(|byte| format!("{byte:02x}")).collect();
            Some(format!("{id} {path}\n"))
        };
        paths.into_iter().filter_map(line).collect()
    }

    /// The text of each process.
    pub fn texts(&self) -> Vec<String> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// `pid count name`, then `start end path` for each mapped file; all numbers hexadecimal.
fn maps_of(pid: i32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    let areas: Vec<(&str, &str, &str)> = text.lines().filter_map(area).collect();
    // A process that has ended, but not been waited for, has none any more.
    if areas.is_empty() {
        return None;
    }
    let name = program
        .map_or_else(|| areas.first().map_or("?".into(), |area| area.2.into()), |path| path.display().to_string());
    let mut out = format!("{pid:x} {:x} {name}\n", areas.len());
    for (start, end, path) in areas {
        out.push_str(&format!("{start} {end} {path}\n"));
    }
    Some(out)
}

/// Start, end and file of a line of `/proc/PID/maps`; none for memory without a file.
fn area(line: &str) -> Option<(&str, &str, &str)> {
    let (start, rest) = line.split_once('-')?;
    let (end, rest) = rest.split_once(' ')?;
    let path = rest.splitn(5, ' ').nth(4)?.trim_start();
    (!path.is_empty()).then_some((start, end, path))
}

/// Lets the kernel stop a child at its end. Nothing else of it changes.
pub fn watch_exit(pid: Pid) -> nix::Result<()> {
    ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACEEXIT)
}

/// A child was stopped by the kernel for us: at its end its maps are read. It goes on.
pub fn at_stop(pid: Pid, signal: Signal, event: i32, maps: &Maps) {
    // PTRACE_LISTEN: a process stopped by job control stays so, until it is made to go on.
    const LISTEN: nix::libc::c_uint = 0x4208;
    match event {
        nix::libc::PTRACE_EVENT_EXIT => {
            maps.read(pid.as_raw());
            go_on(pid, None);
        }
        nix::libc::PTRACE_EVENT_STOP if stops(signal) => {
            // SAFETY: the request takes no memory; the process is a stopped child of ours.
            unsafe { nix::libc::ptrace(LISTEN as _, pid.as_raw(), 0usize, 0usize) };
        }
        0 => go_on(pid, Some(signal)),
        _ => go_on(pid, None),
    }
}

fn stops(signal: Signal) -> bool {
    matches!(signal, Signal::SIGSTOP | Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU)
}

fn go_on(pid: Pid, signal: Option<Signal>) {
    // It may have been killed meanwhile.
    let _: Result<(), Errno> = ptrace::cont(pid, signal);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_areas_of_files_are_kept_and_numbers_are_hexadecimal() {
        assert_eq!(
            area("00400000-00401000 r-xp 00000000 08:01 1234                       /bin/busy box"),
            Some(("00400000", "00401000", "/bin/busy box"))
        );
        assert_eq!(area("7ffd-7ffe rw-p 00000000 00:00 0 "), None);
        let text = maps_of(std::process::id() as i32).unwrap();
        let head: Vec<&str> = text.lines().next().unwrap().splitn(3, ' ').collect();
        assert_eq!(i32::from_str_radix(head[0], 16).unwrap(), std::process::id() as i32);
        let maps = Maps::default();
        maps.read(std::process::id() as i32);
        assert!(maps.build_ids().lines().any(|line| line.contains(" /") && line.contains("libc")));
        assert_eq!(usize::from_str_radix(head[1], 16).unwrap(), text.lines().count() - 1);
    }
}
