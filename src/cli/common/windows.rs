//! Options about response-time windows, the same for `record`, `rt` and `report`.

use clap::{Args, ValueEnum};

use crate::windows::spec::{self, PointSpec, SyscallWindowSpec, WindowSpec};
use crate::windows::syscalls::{self, Machine};
use crate::windows::{DEFAULT_THRESHOLD_NS, Point, Threshold, WindowConfig, WindowDefinition, WindowSource};

/// Which windows there are.
#[derive(Args, Debug, Clone, Default)]
pub(in crate::cli) struct WindowArgs {
    /// Define a window from START to STOP, or around a function: START..STOP or FUNCTION, then [@PID][:THRESHOLD]
    ///
    /// START and STOP are events, SYSTEM:EVENT or SYSTEM:EVENT[FILTER] with the brackets written, or places for
    /// probes.
    #[arg(long, value_name = "WINDOW", help_heading = "Windows")]
    pub(in crate::cli) window: Vec<String>,
    /// Define a window around a system call: PID:NAME or PID:NUMBER, then [:THRESHOLD]; PID 0 is the command
    #[arg(long, value_name = "PID:CALL", help_heading = "Windows")]
    pub(in crate::cli) window_syscall: Vec<String>,
    /// Read windows from text in trace_marker: start [TID] [TIME] [LABEL], stop [TID] [LABEL]
    #[arg(long, help_heading = "Windows")]
    pub(in crate::cli) window_marker: bool,
    /// Read windows from the system calls 761203101 and 761203102 of programs built for diagnose-tools
    #[arg(long, help_heading = "Windows")]
    pub(in crate::cli) window_magic: bool,
    /// Call a window slow if it lasts this long: 20ms, 500us, 2s; milliseconds without a unit [default: 500ms]
    ///
    /// A threshold in the definition of a window, or at its start, takes precedence.
    #[arg(long, value_name = "TIME", value_parser = threshold, help_heading = "Windows")]
    pub(in crate::cli) threshold: Option<u64>,
}

/// A time with its unit; the original's bare numbers are milliseconds.
pub(in crate::cli) fn threshold(word: &str) -> Result<u64, String> {
    spec::time(word, Some(1_000_000)).map_err(|error| error.to_string())
}

/// What windows need of whoever knows the events.
pub(in crate::cli) trait EventLookup {
    /// Whether there is such an event.
    fn has_event(&self, system: &str, event: &str) -> bool;

    /// The events at a place that is no tracepoint: of its entry and, for a function without a stop, of its return.
    fn probe(&mut self, place: &PointSpec, returns: bool, window: &WindowSpec) -> Result<Point, String>;
}

impl WindowArgs {
    /// Whether any windows are asked for.
    pub(in crate::cli) fn any(&self) -> bool {
        !self.window.is_empty() || !self.window_syscall.is_empty() || self.window_marker || self.window_magic
    }

    /// The windows, as far as they can be defined.
    pub(in crate::cli) fn session(
        &self,
        machine: Option<Machine>,
        resolve: &mut dyn EventLookup,
    ) -> Result<WindowConfig, String> {
        let mut definitions = Vec::new();
        for text in &self.window {
            let window = WindowSpec::parse(text).map_err(|error| format!("--window {error}"))?;
            definitions.push(define(&window, resolve)?);
        }
        for text in &self.window_syscall {
            let window = SyscallWindowSpec::parse(text).map_err(|error| format!("--window-syscall {error}"))?;
            let Some(nr) = syscalls::number(&window.call, machine) else {
                return Err(format!("--window-syscall {text:?}: there is no system call {:?}", window.call));
            };
            let call = machine.and_then(|machine| machine.name(nr)).map_or_else(|| nr.to_string(), str::to_owned);
            definitions.push(WindowDefinition {
                name: match window.process {
                    0 => format!("syscall {call}"),
                    process => format!("syscall {call}@{process}"),
                },
                source: WindowSource::Syscall { nr },
                process: Some(window.process),
                threshold: window.threshold,
            });
        }
        let plain = |name: &str, source| WindowDefinition {
            name: name.to_owned(),
            source,
            process: None,
            threshold: Threshold::Session,
        };
        definitions.extend(self.window_marker.then(|| plain("marker", WindowSource::Marker)));
        definitions.extend(self.window_magic.then(|| plain("magic", WindowSource::Magic)));
        Ok(WindowConfig {
            definitions,
            threshold_ns: self.threshold.unwrap_or(DEFAULT_THRESHOLD_NS),
            ..WindowConfig::default()
        })
    }
}

fn define(window: &WindowSpec, resolve: &mut dyn EventLookup) -> Result<WindowDefinition, String> {
    let mut point = |place: &PointSpec, returns: bool| match tracepoint(place, resolve) {
        Some(point) => Ok(point),
        None => resolve.probe(place, returns, window),
    };
    let start = point(&window.start, false)?;
    let stop = match &window.stop {
        Some(stop) => point(stop, false)?,
        None => point(&window.start, true)?,
    };
    let text = window.text.as_str();
    let name = match &window.threshold {
        Threshold::Session => text,
        _ => text.rsplit_once(':').map_or(text, |(name, _)| name),
    };
    Ok(WindowDefinition {
        name: name.to_owned(),
        source: WindowSource::Points { start: vec![start], stop: vec![stop] },
        process: window.process,
        threshold: window.threshold.clone(),
    })
}

fn tracepoint(place: &PointSpec, resolve: &dyn EventLookup) -> Option<Point> {
    let (system, event) = place.word.split_once(':')?;
    let known = resolve.has_event(system, event);
    known.then(|| Point { system: system.to_owned(), event: event.to_owned(), filter: place.filter.clone() })
}

/// How windows are shown.
#[derive(Args, Debug, Clone, Default)]
pub(in crate::cli) struct ViewArgs {
    /// Show only windows that lasted at least this long, whatever their threshold
    #[arg(long, value_name = "TIME", value_parser = threshold, help_heading = "Windows")]
    pub(in crate::cli) min: Option<u64>,
    /// Show only the N longest windows
    #[arg(long, value_name = "N", help_heading = "Windows")]
    pub(in crate::cli) top: Option<usize>,
    /// Sort the windows, or the steps of each window [default: start]
    #[arg(long, value_enum, value_name = "ORDER", help_heading = "Windows")]
    pub(in crate::cli) sort: Option<SortArg>,
    /// Group the tables by this [default: kind]
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Windows")]
    pub(in crate::cli) by: Option<ByArg>,
    /// Show every entry and exit of interrupts and timers, even if it changed nothing
    #[arg(long, help_heading = "Windows")]
    pub(in crate::cli) all_steps: bool,
    /// With --format folded or flamegraph: show this time of slow windows [default: wall]
    #[arg(long, value_enum, value_name = "TIME", help_heading = "Windows")]
    pub(in crate::cli) time: Option<TimeArg>,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum SortArg {
    /// Windows in the order in which they began
    Start,
    /// The longest windows first
    Duration,
    /// In each window, the longest steps first
    Gap,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum ByArg {
    /// The definition of the window
    Kind,
    /// The thread
    Thread,
    /// The label of the marker
    Label,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum TimeArg {
    /// Time on a CPU, by samples
    OnCpu,
    /// Time from leaving a CPU to running again
    OffCpu,
    /// Both
    Wall,
}
