//! An instance: a buffer with its own control files. The top-level one is `Tracefs::top`.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::bracketed::Bracketed;
use super::buffer::{BufferStats, RawBuffer};
use super::error::{Error, Operation};
use super::error_log;
use super::file::{self, Mode};
use super::undo::{Step, Undo, add_lines};
use crate::wire::abi::Abi;
use crate::wire::subbuf::Layout;

/// A buffer and its control files.
#[derive(Clone, Debug)]
pub struct Instance {
    root: PathBuf,
    dir: PathBuf,
    name: Option<String>,
}

/// A list of process ids that the kernel filters by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PidList {
    /// `set_event_pid`: events of these threads only.
    Event,
    /// `set_ftrace_pid`: functions of these threads only.
    Function,
    /// `set_event_notrace_pid`: no events of these threads (5.7 on).
    NoEvent,
    /// `set_ftrace_notrace_pid`: no functions of these threads (5.7 on).
    NoFunction,
}

impl PidList {
    fn file(self) -> &'static str {
        match self {
            PidList::Event => "set_event_pid",
            PidList::Function => "set_ftrace_pid",
            PidList::NoEvent => "set_event_notrace_pid",
            PidList::NoFunction => "set_ftrace_notrace_pid",
        }
    }
}

impl Instance {
    pub(super) fn top(root: &Path) -> Self {
        Instance { root: root.to_owned(), dir: root.to_owned(), name: None }
    }

    pub(super) fn named(root: &Path, name: &str) -> Self {
        Instance { root: root.to_owned(), dir: root.join("instances").join(name), name: Some(name.to_owned()) }
    }

    /// An instance of its own beside this one, its name and a word.
    pub fn beside(&self, word: &str) -> Instance {
        Instance::named(&self.root, &format!("{}_{word}", self.name.as_deref().unwrap_or("top")))
    }

    /// Its name; `None` for the top-level buffer.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A control file of this instance.
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// A control file that exists at the top level only.
    pub fn top_path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// Makes the instance if it does not exist, noting its removal.
    pub fn make(&self, undo: &mut Undo) -> Result<(), Error> {
        if self.dir.is_dir() {
            return Ok(());
        }
        undo.push(Step::RemoveInstance { path: self.dir.clone() });
        std::fs::create_dir(&self.dir).map_err(|e| {
            undo.forget_last();
            Error::new(Operation::MakeInstance, &self.dir, e)
        })
    }

    /// Takes the advisory lock that keeps two recorders off one buffer; `None` when another process has it.
    ///
    /// The lock is on `tracing_on`'s inode, so it exists per instance and dies with its holder.
    pub fn lock(&self) -> Result<Option<Flock<std::fs::File>>, Error> {
        let path = self.path("tracing_on");
        let file = std::fs::File::open(&path).map_err(|e| Error::new(Operation::Open, &path, e))?;
        Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).ok())
    }

    /// Tracers this instance offers.
    pub fn available_tracers(&self) -> Result<Vec<String>, Error> {
        let text = file::read_text(&self.path("available_tracers"))?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    /// The tracer in use.
    pub fn current_tracer(&self) -> Result<String, Error> {
        file::read_trimmed(&self.path("current_tracer"))
    }

    /// Switches the tracer.
    pub fn set_tracer(&self, tracer: &str, undo: &mut Undo) -> Result<(), Error> {
        undo.set(&self.path("current_tracer"), tracer)
    }

    /// Clocks, the current one chosen.
    pub fn clocks(&self) -> Result<Bracketed, Error> {
        Ok(Bracketed::parse(&file::read_text(&self.path("trace_clock"))?))
    }

    /// Selects a clock; the kernel empties the buffer.
    pub fn set_clock(&self, clock: &str, undo: &mut Undo) -> Result<(), Error> {
        let old = self.clocks()?.chosen.unwrap_or_else(|| "local".to_owned());
        if old == clock {
            return Ok(());
        }
        undo.set_over(&self.path("trace_clock"), clock, &old)
    }

    /// Stops writing into the buffer, noting the state before, to which [`Instance::tracing_on`] does not add.
    pub fn stop_tracing(&self, undo: &mut Undo) -> Result<(), Error> {
        let path = self.path("tracing_on");
        undo.push(Step::value(path.clone(), file::read_trimmed(&path)?));
        file::write_value(&path, "0")
    }

    /// Lets the buffer fill, with no note: [`Instance::stop_tracing`] has noted the state before.
    pub fn tracing_on(&self) -> Result<(), Error> {
        file::write_value(&self.path("tracing_on"), "1")
    }

    /// Stops the buffer, with no note.
    pub fn tracing_off(&self) -> Result<(), Error> {
        file::write_value(&self.path("tracing_on"), "0")
    }

    /// Whether the buffer is being written.
    pub fn is_tracing(&self) -> Result<bool, Error> {
        Ok(file::read_trimmed(&self.path("tracing_on"))? != "0")
    }

    /// Empties the buffer.
    pub fn clear(&self) -> Result<(), Error> {
        file::write(&self.path("trace"), "", Mode::Truncate)
    }

    /// Sets the size of each CPU's buffer.
    pub fn set_buffer_size_kb(&self, size_kb: u64, undo: &mut Undo) -> Result<(), Error> {
        let path = self.path("buffer_size_kb");
        let text = file::read_text(&path)?;
        match parse_size_kb(&text) {
            Some(old) => undo.set_over(&path, &size_kb.to_string(), &old.to_string()),
            None => {
                // "X": the CPUs differ, so each has to be put back by itself.
                for cpu in self.cpus()? {
                    let path = self.dir.join(format!("per_cpu/cpu{cpu}/buffer_size_kb"));
                    if let Some(old) = parse_size_kb(&file::read_text(&path)?) {
                        undo.push(Step::value(path, old.to_string()));
                    }
                }
                file::write_value(&path, &size_kb.to_string())
            }
        }
    }

    /// Sets the size of a sub-buffer. The size of the buffers, which the kernel rounds anew, is noted too.
    pub fn set_subbuf_size_kb(&self, size_kb: u64, undo: &mut Undo) -> Result<(), Error> {
        let size = self.path("buffer_size_kb");
        if let Some(old) = parse_size_kb(&file::read_text(&size)?) {
            undo.push(Step::value(size, old.to_string()));
        }
        undo.set(&self.path("buffer_subbuf_size_kb"), &size_kb.to_string())
    }

    /// Whether somebody waits for every single record: readers are then woken for each.
    pub fn wake_for_every_record(&self, undo: &mut Undo) -> Result<(), Error> {
        undo.set(&self.path("buffer_percent"), "0")
    }

    /// Sees to it that readers are not woken for every single record, which would itself make records.
    pub fn fill_before_waking(&self, undo: &mut Undo) -> Result<(), Error> {
        let path = self.path("buffer_percent");
        // Kernels before 5.0 have no such file.
        if !path.exists() || file::read_trimmed(&path)? != "0" {
            return Ok(());
        }
        undo.set(&path, "50")
    }

    /// Sets a numeric or plain one-value control file.
    pub fn set_value(&self, file: &str, value: &str, undo: &mut Undo) -> Result<(), Error> {
        undo.set(&self.path(file), value)
    }

    /// Sets a trace option by the name that `trace_options` shows, `no` in front to switch it off.
    pub fn set_option(&self, option: &str, undo: &mut Undo) -> Result<(), Error> {
        let options = self.path("options");
        let (name, value) = match option.strip_prefix("no") {
            Some(name) if !options.join(option).exists() && options.join(name).exists() => (name, "0"),
            _ => (option, "1"),
        };
        let path = options.join(name);
        if path.exists() {
            return undo.set(&path, value);
        }
        // Options of a tracer that is not current, or a kernel without the folder: only the list file knows.
        let reverse = option.strip_prefix("no").map_or_else(|| format!("no{option}"), str::to_owned);
        let list = self.path("trace_options");
        file::write_value(&list, option)?;
        undo.push(Step::value(list, reverse));
        Ok(())
    }

    /// Names of all options of this instance.
    pub fn options(&self) -> Result<Vec<String>, Error> {
        let text = file::read_text(&self.path("trace_options"))?;
        Ok(text.lines().map(|line| line.strip_prefix("no").unwrap_or(line).to_owned()).collect())
    }

    /// Whether an option is switched on; `None` when there is none of that name.
    pub fn option(&self, name: &str) -> Option<bool> {
        file::read_trimmed(&self.path("options").join(name)).ok().map(|text| text == "1")
    }

    /// Whether this kernel has such a list.
    pub fn has_pid_list(&self, list: PidList) -> bool {
        self.path(list.file()).exists()
    }

    fn pids(&self, list: PidList) -> Result<Vec<String>, Error> {
        let text = file::read_text(&self.path(list.file()))?;
        // An empty list of functions' pids reads `no pid`.
        Ok(text.lines().filter(|line| line.trim().parse::<i64>().is_ok()).map(str::to_owned).collect())
    }

    /// Empties a pid list, noting what it held.
    pub fn clear_pids(&self, list: PidList, undo: &mut Undo) -> Result<(), Error> {
        let lines = self.pids(list)?;
        if lines.is_empty() {
            return Ok(());
        }
        undo.clear_list(&self.path(list.file()), lines)
    }

    /// Puts these threads alone in a list, noting what it held.
    pub fn set_pids(&self, list: PidList, pids: &[i32], undo: &mut Undo) -> Result<(), Error> {
        undo.clear_list(&self.path(list.file()), self.pids(list)?)?;
        self.append_pids(list, pids)
    }

    /// Adds these threads to a list, noting what it held.
    pub fn add_pids(&self, list: PidList, pids: &[i32], undo: &mut Undo) -> Result<(), Error> {
        undo.push(Step::List { path: self.path(list.file()), lines: self.pids(list)? });
        self.append_pids(list, pids)
    }

    /// Adds those of the threads that are not in a list yet, and returns how many that may have been: the kernel adds threads
    /// and takes those that have ended out, so the list is read before the threads are asked for, and after. The list is to be
    /// one that was set before.
    pub fn add_missing_pids(&self, list: PidList, pids: impl FnOnce() -> Vec<i32>) -> Result<usize, Error> {
        let known = || -> Result<HashSet<i32>, Error> {
            Ok(self.pids(list)?.iter().filter_map(|line| line.trim().parse().ok()).collect())
        };
        let (before, pids, after) = (known()?, pids(), known()?);
        let missing: Vec<i32> = pids.into_iter().filter(|pid| !before.contains(pid) && !after.contains(pid)).collect();
        let is_alive = |pid: &&i32| Path::new("/proc").join(pid.to_string()).exists();
        let alive: Vec<i32> = missing.iter().filter(is_alive).copied().collect();
        self.append_pids(list, &alive)?;
        Ok(missing.len())
    }

    fn append_pids(&self, list: PidList, pids: &[i32]) -> Result<(), Error> {
        let lines: Vec<String> = pids.iter().map(ToString::to_string).collect();
        add_lines(&self.path(list.file()), &lines).into_iter().try_for_each(Err)
    }

    /// CPUs that have a buffer here, ascending.
    pub fn cpus(&self) -> Result<Vec<u32>, Error> {
        let path = self.path("per_cpu");
        let entries = std::fs::read_dir(&path).map_err(|e| Error::new(Operation::Read, &path, e))?;
        let mut cpus: Vec<u32> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("cpu")?.parse().ok())
            .collect();
        cpus.sort_unstable();
        Ok(cpus)
    }

    /// CPUs that `tracing_cpumask` lets trace, ascending.
    pub fn traced_cpus(&self) -> Result<Vec<u32>, Error> {
        let mask = file::read_trimmed(&self.path("tracing_cpumask"))?;
        Ok(self.cpus()?.into_iter().filter(|&cpu| mask_has(&mask, cpu)).collect())
    }

    /// Opens a CPU's raw buffer.
    pub fn raw_buffer(&self, cpu: u32, subbuf_bytes: usize) -> Result<RawBuffer, Error> {
        RawBuffer::open(&self.dir.join(format!("per_cpu/cpu{cpu}/trace_pipe_raw")), subbuf_bytes)
    }

    /// Layout of this instance's sub-buffers.
    pub fn subbuf_layout(&self) -> Result<Layout, Error> {
        let path = self.header_page_path();
        Layout::parse(&file::read(&path)?, Abi::HOST.endian)
            .map_err(|e| Error::new(Operation::Read, &path, std::io::Error::other(e)))
    }

    /// `events/header_page`, the instance's own where the kernel has one.
    pub fn header_page_path(&self) -> PathBuf {
        let instance_file = self.path("events/header_page");
        if instance_file.exists() { instance_file } else { self.root.join("events/header_page") }
    }

    /// A CPU's counters, verbatim.
    pub fn stats_text(&self, cpu: u32) -> Result<String, Error> {
        file::read_text(&self.dir.join(format!("per_cpu/cpu{cpu}/stats")))
    }

    /// A CPU's counters.
    pub fn stats(&self, cpu: u32) -> Result<BufferStats, Error> {
        Ok(BufferStats::parse(&self.stats_text(cpu)?))
    }

    /// Adds the kernel's explanation to a refused write, when its log has one about this very text.
    pub fn explain(&self, mut error: Error) -> Error {
        if let Some(wrote) = &error.wrote {
            let logs = [self.path("error_log"), self.root.join("error_log")];
            error.log =
                logs.iter().find_map(|log| error_log::newest_about(&file::read_text(log).ok()?, wrote)).map(Box::new);
        }
        error
    }

    /// Processes that have a consuming file (`trace_pipe`, `trace_pipe_raw`) of this instance open, this one left out.
    pub fn consumers(&self) -> Vec<Consumer> {
        let me = std::process::id() as i32;
        let Ok(processes) = procfs::process::all_processes() else { return Vec::new() };
        processes
            .flatten()
            .filter(|process| process.pid != me)
            .filter(|process| process.fd().is_ok_and(|fds| fds.flatten().any(|fd| self.is_consuming(&fd.target))))
            .map(|process| Consumer {
                pid: process.pid,
                comm: process.stat().map(|stat| stat.comm).unwrap_or_default(),
            })
            .collect()
    }

    fn is_consuming(&self, target: &procfs::process::FDTarget) -> bool {
        let procfs::process::FDTarget::Path(path) = target else { return false };
        let Ok(rest) = path.strip_prefix(&self.dir) else { return false };
        !rest.starts_with("instances")
            && matches!(rest.file_name().and_then(|name| name.to_str()), Some("trace_pipe" | "trace_pipe_raw"))
    }

    /// Opens a file of this instance for writing text into the trace.
    pub fn marker(&self) -> Result<OwnedFd, Error> {
        let path = self.path("trace_marker");
        let file =
            std::fs::OpenOptions::new().write(true).open(&path).map_err(|e| Error::new(Operation::Open, &path, e))?;
        Ok(file.into())
    }
}

/// Another process that takes events out of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Its process id.
    pub pid: i32,
    /// Its name.
    pub comm: String,
}

/// `1408`, or `7 (expanded: 1408)` before the first use; `None` for `X` (CPUs differ).
fn parse_size_kb(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.split_once("(expanded: ") {
        Some((_, rest)) => rest.trim_end_matches(')').parse().ok(),
        None => text.parse().ok(),
    }
}

/// Whether a `tracing_cpumask` (32-bit groups in hex, most significant first, commas between) has a CPU.
fn mask_has(mask: &str, cpu: u32) -> bool {
    let digits: Vec<u8> = mask.bytes().filter(u8::is_ascii_hexdigit).collect();
    let place = (cpu / 4) as usize;
    let Some(&digit) = digits.len().checked_sub(place + 1).and_then(|index| digits.get(index)) else { return false };
    (digit as char).to_digit(16).is_some_and(|bits| bits & (1 << (cpu % 4)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_back_in_three_forms() {
        assert_eq!(parse_size_kb("1408\n"), Some(1408));
        assert_eq!(parse_size_kb("7 (expanded: 1408)\n"), Some(1408));
        assert_eq!(parse_size_kb("X\n"), None);
    }

    #[test]
    fn masks_of_many_cpus_have_commas() {
        assert!(mask_has("3", 0) && mask_has("3", 1) && !mask_has("3", 2));
        let mask = "80000000,00000000,00000000,00000001";
        assert!(mask_has(mask, 0) && mask_has(mask, 127) && !mask_has(mask, 126) && !mask_has(mask, 128));
    }
}
