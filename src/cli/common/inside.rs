//! What is recorded inside of windows: options of `record` and `rt`, and the buffer that windows need.

use std::time::Duration;

use clap::Args;

use super::units::size_kb;
use super::windows::{EventLookup, WindowArgs};
use crate::probe::{Kind, Spec};
use crate::record::Settings;
use crate::rt::{UserStack, WindowProbe, WindowSettings, buffer};
use crate::tracefs::Tracefs;
use crate::windows::Point;
use crate::windows::spec::{PointSpec, WindowSpec, time};
use crate::windows::syscalls::Machine;

/// Bytes of a program's stack that go with a sample.
const STACK_BYTES: u32 = 8 << 10;
/// What a thread's records may take while a window is open, if nothing was said.
const WINDOW_BUFFER_KB: u64 = 200;
/// The most that the kernel copies.
const MAX_STACK_BYTES: u32 = 65_528;

/// What is recorded inside of windows.
#[derive(Args, Debug, Clone, Default)]
pub(in crate::cli) struct InsideArgs {
    /// Sample the stacks of a thread each time it has used this much CPU time: 1ms; at least 10us
    #[arg(long, value_name = "TIME", value_parser = period, help_heading = "Windows")]
    sample: Option<Duration>,
    /// Record user stacks in samples and where threads leave their CPU: none, fp or dwarf[,BYTES]
    ///
    /// fp follows frame pointers; dwarf copies BYTES of the stack (8192 by default), for programs without frame
    /// pointers.
    #[arg(long, value_name = "HOW", value_parser = user_stack, default_value = "fp", help_heading = "Windows")]
    user_stack: UserStack,
    /// Sample as often as --sample says, whatever it costs
    #[arg(long, requires = "sample", help_heading = "Windows")]
    force_sample: bool,
    /// Keep only the records of slow windows: runs for days in constant memory; SIGUSR1 prints the counts so far
    #[arg(long, help_heading = "Windows")]
    only_slow: bool,
    /// Let the kernel judge which windows are slow; rtrec reads only a snapshot of the buffer for each slow one
    #[arg(long, conflicts_with = "only_slow", help_heading = "Windows")]
    in_kernel: bool,
    /// Keep at most this many KiB of records for a thread in an open window, 200 to 10240 [default: 200]
    ///
    /// Needs --only-slow or --in-kernel.
    #[arg(long, value_name = "KB", value_parser = window_buffer, help_heading = "Windows")]
    window_buffer: Option<u64>,
}

impl InsideArgs {
    /// Whether only what happened in slow windows is kept.
    pub(in crate::cli) fn keeps_slow_only(&self) -> bool {
        self.only_slow || self.in_kernel
    }
}

fn period(word: &str) -> Result<Duration, String> {
    match time(word, None) {
        Ok(0) => Err("samples need a distance; leave the option out for none".to_owned()),
        Ok(ns) => Ok(Duration::from_nanos(ns)),
        Err(error) => Err(error.to_string()),
    }
}

fn window_buffer(word: &str) -> Result<u64, String> {
    let kb = size_kb(word)?;
    if (200..=10_240).contains(&kb) { Ok(kb) } else { Err("a thread's records may take 200 KiB to 10 MiB".to_owned()) }
}

fn user_stack(word: &str) -> Result<UserStack, String> {
    let bytes = |text: &str| {
        let number: u32 = text.parse().map_err(|_| format!("{text:?} is no number of bytes"))?;
        match number {
            512..=MAX_STACK_BYTES => Ok(UserStack::Dwarf(number / 8 * 8)),
            _ => Err(format!("a copy of a stack has 512 to {MAX_STACK_BYTES} bytes")),
        }
    };
    match word.split_once(',') {
        None if word == "none" => Ok(UserStack::None),
        None if word == "fp" => Ok(UserStack::FramePointers),
        None if word == "dwarf" => Ok(UserStack::Dwarf(STACK_BYTES)),
        Some(("dwarf", size)) => bytes(size),
        _ => Err("there are none, fp and dwarf[,BYTES]".to_owned()),
    }
}

/// Finds events in the kernel, and makes probes of places.
struct KernelEvents {
    root: Option<Tracefs>,
    probes: Vec<WindowProbe>,
}

impl EventLookup for KernelEvents {
    fn has_event(&self, system: &str, event: &str) -> bool {
        self.root
            .as_ref()
            .is_some_and(|root| root.top().path("events").join(system).join(event).join("format").exists())
    }

    fn probe(&mut self, place: &PointSpec, returns: bool, window: &WindowSpec) -> Result<Point, String> {
        let mut spec = probe_spec(&place.word, &window.start.word)?;
        if returns {
            spec = spec.returning().map_err(|error| error.to_string())?;
        }
        let key = place.word.clone() + if returns { "%return" } else { "" };
        if !self.probes.iter().any(|probe| probe.key == key) {
            self.probes.push(WindowProbe { key: key.clone(), spec });
        }
        Ok(WindowProbe::point(key, place.filter.clone()))
    }
}

/// What a place means: with a colon a program's, else a function of the kernel. `file.c:12` and, after a place in a program,
/// a bare name are of the same program.
fn probe_spec(word: &str, start: &str) -> Result<Spec, String> {
    let target = word.split_whitespace().next().unwrap_or_default();
    let is_line = |target: &str| {
        target.split_once(':').is_some_and(|(file, line)| {
            !file.contains('/')
                && file.contains('.')
                && !line.is_empty()
                && line.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let program = start.split_once(':').map(|(program, _)| program).filter(|_| !is_line(start));
    let word = match program {
        Some(program) if word != start && (!target.contains(':') || is_line(target)) => format!("{program}:{word}"),
        _ => word.to_owned(),
    };
    let (kind, rest) = match word.split_once(':') {
        Some(("usdt", rest)) => (Kind::Usdt, rest),
        Some(("kprobe", rest)) => (Kind::Kprobe, rest),
        Some(("fprobe", rest)) => (Kind::Fprobe, rest),
        Some(("uprobe", rest)) => (Kind::Uprobe, rest),
        Some(_) => (Kind::Uprobe, word.as_str()),
        None => (Kind::Kprobe, word.as_str()),
    };
    Spec::parse(kind, rest).map_err(|error| error.to_string())
}

/// The session and the probes it needs; an error is a sentence.
fn plan(
    windows: &WindowArgs,
    inside: &InsideArgs,
    tracefs: Option<&std::path::Path>,
) -> Result<(WindowSettings, Vec<WindowProbe>), String> {
    // Without tracefs the recorder says so better.
    let root = Tracefs::open(tracefs).ok();
    let mut kernel_events = KernelEvents { root, probes: Vec::new() };
    let session = windows.session(Machine::here(), &mut kernel_events)?;
    let keeps_slow_only = inside.keeps_slow_only();
    if inside.window_buffer.is_some() && !keeps_slow_only {
        return Err("--window-buffer bounds what --only-slow or --in-kernel keeps, but neither is there".to_owned());
    }
    let settings = WindowSettings {
        session,
        instance: format!("rtrec_rt_{}", std::process::id()),
        sample: inside.sample,
        user_stack: inside.user_stack,
        forced: inside.force_sample,
        only_slow: keeps_slow_only.then_some(inside.window_buffer.unwrap_or(WINDOW_BUFFER_KB) << 10),
        in_kernel: inside.in_kernel,
        status: None,
    };
    Ok((settings, kernel_events.probes))
}

/// Adds windows and the buffer they need to a recording; an error is a sentence.
pub(in crate::cli) fn add(
    mut settings: Settings,
    windows: &WindowArgs,
    inside: &InsideArgs,
    pids: &[i32],
    with: &[String],
) -> Result<(Settings, WindowSettings), String> {
    let (windows, probes) = plan(windows, inside, settings.setup.tracefs.as_deref())?;
    if let Some(definition) = windows.session.definitions.iter().find(|definition| definition.process == Some(0))
        && settings.capture.command.is_empty()
    {
        return Err(format!("the window {:?} is about the command, but there is none", definition.name));
    }
    // The processes that windows name are recorded without being named twice.
    let named = windows.session.definitions.iter().filter_map(|definition| definition.process);
    let mut pids: Vec<i32> = named.filter(|pid| *pid > 0).chain(pids.iter().copied()).collect();
    pids.sort_unstable();
    pids.dedup();
    if windows.sample.is_some() && pids.is_empty() && settings.capture.command.is_empty() {
        return Err("--sample takes samples of a command or of processes, but there are none".to_owned());
    }
    settings.setup.buffers.push(buffer(windows.instance.clone(), &windows.session, &probes, &pids, with));
    Ok((settings, windows))
}
