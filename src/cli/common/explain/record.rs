//! Errors and notes of the recorder in words: what failed, where and with what, what the kernel said, what to try.

use std::fmt::Write as _;
use std::io::ErrorKind;

use nix::errno::Errno;

use super::{Explained, io_text};
use crate::record::observer::ReadMethod;
use crate::record::{Emptiness, Error, Note};
use crate::rt::{self, Refusal};
use crate::{setup, tracefs};

/// An error of the recorder in words.
pub(in crate::cli) fn error(error: &Error) -> Explained {
    match error {
        Error::Setup(error) => setup_error(error),
        Error::Companion(error) => match error.downcast_ref::<rt::Error>() {
            Some(error) => window_error(error),
            None => Explained::new(error.to_string()),
        },
        Error::Output { path, source } => output(path, source),
        Error::Command { command, source } => {
            let status = if source.kind() == ErrorKind::NotFound { 127 } else { 126 };
            let command = command.to_string_lossy();
            let tip = match source.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOENT) => "check the spelling; a program outside PATH needs its path, as in ./program",
                Some(Errno::EACCES) => "it must be executable for this user, in a folder mounted without noexec",
                Some(Errno::EISDIR) => "name a program; options of rtrec come before the command",
                _ => "run the command by itself to see whether it works",
            };
            Explained::new(format!("{command} cannot be run"))
                .row("cause", io_text(source))
                .row("try", tip)
                .with_status(status)
        }
        Error::NoProcess { source, .. } => {
            Explained::new(error.to_string().split(':').next().unwrap_or_default()).row("cause", io_text(source))
        }
        Error::NoUser(_) => Explained::new(error.to_string()).row("try", "getent passwd, which lists the users"),
        Error::Elevated => Explained::new(error.to_string()).row("try", "sudo rtrec, which says who asks"),
        Error::Planted(_) => Explained::new(error.to_string()).row("try", "-o FILE in a folder of your own"),
        Error::Priority { .. } => Explained::new(format!("{error}"))
            .row("try", "a lower one, -r 0 for none, or running as root outside a container"),
        Error::Reader { cpu, source } => Explained::new(format!("the reader of CPU {cpu} stopped"))
            .row("cause", io_text(source))
            .row("kept", "what was recorded up to then"),
        Error::Unsealed { path, source } => Explained::new(format!("{} could not be completed", path.display()))
            .row("cause", io_text(source))
            .row("kept", "what was recorded, in temporary files beside it")
            .row(
                "try",
                format!("rtrec restore {} when the cause is gone; rtrec report {0} reads it as it is", path.display()),
            ),
        Error::Abandoned { path, signal } => Explained::new(error.to_string())
            .row("kept", "what was recorded, in temporary files beside it")
            .row("try", format!("rtrec restore {}", path.display()))
            .with_status(128u8.saturating_add(*signal as u8)),
        Error::Interrupted(signal) => {
            Explained::new(error.to_string()).with_status(128u8.saturating_add(*signal as u8))
        }
        Error::System { step, source } => Explained::new(format!("{step} failed")).row("cause", io_text(source)),
    }
}

/// An error of the set-up in words.
fn setup_error(error: &setup::Error) -> Explained {
    use setup::Error;
    match error {
        Error::NothingToRecord => {
            Explained::new(error.to_string())
                .row("try", "rtrec record -e sched COMMAND, or -p function_graph -g FUNCTION COMMAND")
                .row("note", "-v switches off the events of every later -e; --verbose says more")
        }
        Error::NoTracefs(source) => no_tracefs(source),
        Error::UnknownTracer { available, .. } => Explained::new(error.to_string())
            .row("known", available.join(", "))
            .row("try", "another kernel, if the tracer was left out of this one (CONFIG_FUNCTION_GRAPH_TRACER and the like)"),
        Error::UnknownClock { available, .. } => Explained::new(error.to_string()).row("known", available.join(", ")),
        Error::UnknownOption { nearest, source, .. } => {
            Explained::new(error.to_string()).tracefs(source).nearest(nearest, "cat trace_options in the tracefs folder")
        }
        Error::UnknownEvent { nearest, .. } => {
            Explained::new(error.to_string()).nearest(nearest, "cat available_events in the tracefs folder; a module may have to be loaded")
        }
        Error::UnknownFunction { list, nearest, .. } => Explained::new(error.to_string())
            .row("for", list.file())
            .nearest(nearest, "grep NAME available_filter_functions in the tracefs folder; it may be inlined or in a module not loaded"),
        Error::BadPattern { word, reason } => Explained::new(format!("{word} is no regular expression"))
            .row("cause", reason.lines().last().unwrap_or_default().trim())
            .row("try", "a name, or a glob of letters, digits, _ . * ?"),
        Error::FilterRefused { event, source } => {
            let tip = format!("the fields of {event} are in events/{}/{}/format in the tracefs folder", event.system, event.event);
            Explained::new(error.to_string()).tracefs(source).row("try", tip)
        }
        Error::TriggerRefused { source, .. } => Explained::new(error.to_string())
            .tracefs(source)
            .row("try", "reading the event's trigger file, which lists the triggers this kernel has"),
        Error::BufferBusy { consumers, source, .. } => {
            let by: Vec<String> = consumers.iter().map(|who| format!("{} (pid {})", who.comm, who.pid)).collect();
            let by = if by.is_empty() { "a process that could not be found".to_owned() } else { by.join(", ") };
            let explained = Explained::new(error.to_string()).row("by", by);
            let explained = source.iter().fold(explained, Explained::tracefs);
            explained.row("try", "ending it, or an instance of your own: -B NAME")
        }
        Error::FollowWhom => Explained::new("-c follows the children of traced processes, but none is chosen").row("try", "-F for the command, or -P PID"),
        Error::CannotFollow(option) => {
            Explained::new(format!("-c needs the trace option {option}, which this kernel does not have"))
            .row("try", "kernel 4.7 for events, 4.13 for functions; or -P with each process")
        }
        Error::AllFunctions(tracer) => Explained::new(format!("-p {tracer} without a limit traces every function of the system"))
            .row("try", "-l FUNC, -g FUNC, --module, --max-graph-depth N, -F or -P PID to trace less,")
            .row("", "--duration TIME to trace for a while, or --all-functions if that is meant"),
        Error::LatencyAlone(_) => Explained::new(error.to_string()).row("try", "two recordings, or the events of the same buffer: -e"),
        Error::FuncStackUnfiltered => Explained::new("--func-stack records a stack with every function, so it needs -p function and a filter: -l").row("try", "-p function -l FUNC"),
        Error::NoCycles(clock) => Explained::new(format!("--tsc2nsec stores how cycles become nanoseconds, but the clock {clock} counts none")).row("try", "-C x86-tsc, or -C tsc2nsec which is both"),
        Error::NoTsc { .. } => Explained::new(error.to_string()).row("try", "-C mono_raw, which counts nanoseconds by the same hardware"),
        Error::UnknownModule(module) => Explained::new(error.to_string())
            .row("try", format!("modprobe {module}; lsmod lists the loaded modules")),
        Error::FilterNotTaken { list, .. } => Explained::new(error.to_string())
            .row("for", list.file())
            .row("kept", "no tracer was switched on: without its filter it would have traced every function")
            .row("try", "once more, when nobody else changes that file"),
        Error::ControlFile { step, source } => control_file(step, source),
        Error::Probe(error) => super::probe::error(error),
    }
}

/// An error of windows in words.
fn window_error(error: &rt::Error) -> Explained {
    use rt::Error;
    match error {
        Error::InKernel(refusal) => {
            let what = match refusal {
                Refusal::Samples => {
                    "samples have to be read all the time, which --in-kernel is there to avoid".to_owned()
                }
                refusal => refusal.to_string(),
            };
            let tip = match refusal {
                Refusal::Samples => {
                    "leaving out --sample, or --only-slow, which reads all records and keeps those of slow windows"
                }
                _ => "--only-slow, which reads all records and keeps those of slow windows",
            };
            Explained::new(what).row("try", tip)
        }
        Error::SampleTooOften { stacks: true, .. } => Explained::new(error.to_string())
            .row("note", "each sample copies kilobytes: at this rate the disk fills up and most are lost")
            .row("try", "--sample 1ms, or --user-stack fp for programs built with frame pointers"),
        Error::SampleTooOften { .. } => Explained::new(error.to_string()).row("try", "--sample 1ms"),
    }
}

fn no_tracefs(source: &tracefs::Error) -> Explained {
    let explained = Explained::new("tracefs cannot be used").tracefs(source);
    let root = nix::unistd::geteuid().is_root();
    explained.row(
        "try",
        match source.errno() {
            Some(Errno::EACCES | Errno::EPERM) if !root => {
                "running as root: tracefs belongs to root unless mounted with gid="
            }
            Some(Errno::EACCES | Errno::EPERM) => {
                "outside the container, or without kernel lockdown: even root is refused here"
            }
            Some(Errno::ENODEV) => "a kernel with CONFIG_FTRACE: this one knows no tracefs",
            _ if !root => "running as root, which may mount it: mount -t tracefs nodev /sys/kernel/tracing",
            _ => "mount -t tracefs nodev /sys/kernel/tracing, or --tracefs DIR",
        },
    )
}

fn output(path: &std::path::Path, source: &std::io::Error) -> Explained {
    let folder =
        path.parent().filter(|dir| !dir.as_os_str().is_empty()).map_or(".".into(), |dir| dir.display().to_string());
    let explained = Explained::new(format!("{} cannot be written", path.display())).row("cause", io_text(source));
    match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOENT) => explained.row("try", format!("making the folder first: mkdir -p {folder}")),
        Some(Errno::EACCES | Errno::EPERM | Errno::EROFS) => {
            explained.row("try", format!("a folder that may be written, or rights on {folder}"))
        }
        Some(Errno::EISDIR) => explained.row("try", format!("a file in it: -o {}/trace.dat", path.display())),
        Some(Errno::ENOSPC | Errno::EDQUOT) => {
            explained.row("try", format!("freeing space in {folder}, or -o elsewhere"))
        }
        _ => explained.row("try", "-o FILE in a folder of an ordinary file system"),
    }
}

/// A control file that could not be read or written, in words.
pub(in crate::cli) fn control_file(step: &str, source: &tracefs::Error) -> Explained {
    let explained = Explained::new(format!("{step} failed")).tracefs(source);
    let file = source.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let functions =
        file.starts_with("set_ftrace") || file.starts_with("set_graph") || file == "available_filter_functions";
    match source.errno() {
        Some(Errno::EPERM) if functions || file == "current_tracer" => explained.row(
            "try",
            "events or user probes: this kernel forbids function tracing (lockdown, or ftrace_enabled cannot be changed)",
        ),
        Some(Errno::ENOENT) if file == "buffer_subbuf_size_kb" => {
            explained.row("try", "kernel 6.8 or newer, which has this file; or a larger buffer: -b KB")
        }
        Some(Errno::ENOENT) if functions || file == "max_graph_depth" => {
            explained.row("try", "a kernel with CONFIG_DYNAMIC_FTRACE and CONFIG_FUNCTION_GRAPH_TRACER: this one has no such file")
        }
        Some(Errno::ENOMEM) => explained.row("try", "a smaller buffer: -b KB"),
        Some(Errno::ENODEV | Errno::EPERM) if file == "current_tracer" => explained.row("try", "another tracer"),
        Some(Errno::EACCES | Errno::EPERM) => explained.row("try", "running as root"),
        _ => explained,
    }
}

/// A note in words; `None` when it is for `--verbose` only and that is not set.
pub(in crate::cli) fn note(note: &Note, verbose: bool) -> Option<String> {
    match note {
        Note::Setup(note) => setup_note(note, verbose),
        Note::ReadMethod { instance, cpu, method, because } => verbose.then(|| {
            let buffer = instance.as_deref().map_or(String::new(), |name| format!("{name} "));
            let because = because.as_deref().map_or(String::new(), |why| format!(" ({why})"));
            let detail = if *method == ReadMethod::Mapped { " of trace_pipe_raw" } else { "" };
            format!("{buffer}CPU {cpu} is read by {}{detail}{because}", method.name())
        }),
        Note::NoSymbols => Some(
            "/proc/kallsyms shows no addresses: functions will have no names in the report \
             (sysctl kernel.kptr_restrict=1 lets root see them)"
                .to_owned(),
        ),
        Note::NotPutBack(error) => Some(format!("could not be put back: {error}")),
        Note::Rotated(path) => verbose.then(|| format!("{} is complete", path.display())),
        Note::Leftovers(count) => Some(format!(
            "{count} recorder{} that no longer run{} left control files changed: rtrec reset --stale puts them back",
            if *count == 1 { "" } else { "s" },
            if *count == 1 { "s" } else { "" },
        )),
        Note::Started => None,
    }
}

const THREADS_MISSED: &str =
    "threads are born faster than they can be found: some, and those that they start, may be missing";

/// A note of the set-up in words.
fn setup_note(note: &setup::Note, verbose: bool) -> Option<String> {
    use setup::Note;
    match note {
        Note::Successor { name, successors, both } => {
            let later = successors.join(", ");
            Some(if *both {
                format!(
                    "on this kernel the work of {name} goes through {later}: tracing both (--exact traces {name} alone)"
                )
            } else {
                format!("this kernel has no {name}; tracing {later} instead (--exact makes that an error)")
            })
        }
        Note::Probe { target, note } => Some(format!("{target}: {note}")),
        Note::ThreadsMissed => Some(THREADS_MISSED.to_owned()),
        Note::Unavailable { what, source } => verbose.then(|| format!("{what}: {source}")),
    }
}

/// A note about windows in words.
pub(in crate::cli) fn window_note(note: &rt::Note, verbose: bool) -> Option<String> {
    use rt::Note;
    match note {
        Note::ThreadsMissed => Some(THREADS_MISSED.to_owned()),
        Note::Unwritten { what, source } => Some(format!("{what}: they could not be written: {source}")),
        Note::CostlySamples(period) => Some(format!(
            "a sample every {period:?} slows the program down, at 10us about twentyfold; 100us and more cost a few percent"
        )),
        Note::Sampled { samples, lost, incomplete, cost } => {
            let mut line =
                format!("{samples} samples, which took {:.0} ms of CPU time to gather", cost.as_secs_f64() * 1e3);
            if *lost > 0 {
                let _ =
                    write!(line, "; {lost} records were lost: take samples less often, or smaller copies of stacks");
            }
            if *incomplete > 0 {
                let _ = write!(line, "; {incomplete} stacks are not whole");
            }
            (verbose || *samples > 0 && (*lost > 0 || *incomplete > samples / 10)).then_some(line)
        }
        Note::WindowsSoFar(counts) => Some(window_counts(counts)),
        Note::WindowsOverwritten(count) => Some(format!(
            "{count} slow windows had been overwritten before a snapshot could be taken of them; a larger buffer would have helped: -b"
        )),
    }
}

/// Windows so far, in a line.
pub(in crate::cli) fn window_counts(counts: &crate::windows::WindowCounts) -> String {
    let sum = |of: fn(&crate::windows::DurationCounts) -> u64| counts.kinds.values().map(of).sum::<u64>();
    let (closed, slow) = (sum(|tally| tally.closed), sum(|tally| tally.slow));
    let (open, lost, dropped) = (counts.open, counts.lost, counts.dropped);
    let mut text = format!(
        "windows: {closed} closed, {slow} slow, {open} open, {lost} records lost, {dropped} records did not fit"
    );
    if let Some(kernel) = &counts.in_kernel {
        let unrecorded = kernel.unrecorded.len();
        text.push_str(&format!(", {} snapshots, {unrecorded} slow windows without records", kernel.snapshots));
    }
    text
}

/// Why a trace has no records.
pub(in crate::cli) fn emptiness(empty: &Emptiness) -> String {
    match empty {
        Emptiness::SwitchedOff => {
            "the trace is empty: the buffer was switched off by somebody else or by a trigger".to_owned()
        }
        Emptiness::NotCalled(names) => {
            format!("the trace is empty: nothing that was traced called {} while it was recording", names.join(", "))
        }
        Emptiness::OnlyThese { pids, children } => {
            let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
            let hint = if *children { "" } else { " (their children need -c)" };
            format!("the trace is empty: the processes {} did nothing that was asked for{hint}", pids.join(", "))
        }
        Emptiness::Filtered => "the trace is empty: no event passed its filter".to_owned(),
        Emptiness::Masked => "the trace is empty: nothing that was asked for happened on the CPUs of -M".to_owned(),
        Emptiness::Quiet => "the trace is empty: nothing that was asked for happened while it was recording".to_owned(),
    }
}
