//! From windows to the triggers that compute them.
//!
//! Owns: the words of the triggers and their order. Does not own: writing them (see the module above).
//! Units: nanoseconds of the instance's clock, which the histograms must be given or they change it.
//! Source: Documentation/trace/histogram.rst; what a kernel does where it is silent was tried on 6.1 and 6.12.
//!
//! ```text
//!   start event  ts = now                    only if the thread is a member, where windows are about one process
//!   stop event   now - ts -> a window        reading ts in an expression empties it, so a second stop is none
//!   thread exit  now - ts                    empties it too: such windows are discarded
//!
//!   getpgid(T) by rtrec -> member T          how threads that exist become members
//!   new thread, exec of a member -> member   how others do
//! ```
//! Which processes are traced at all is said by the instance's list of pids, which histograms heed.

use std::collections::BTreeSet;

use crate::rt::error::Refusal;
use crate::tracefs::events::EventName;
use crate::windows::{
    MARKER_SYSCALL_START, MARKER_SYSCALL_STOP, Point, Threshold, WindowConfig, WindowDefinition, WindowSource,
};

/// Threads that a table has room for; it is emptied before it is full.
pub const THREADS: u64 = 1 << 14;
/// Flag of clone: the child is a thread of the same process.
const CLONE_THREAD: u64 = 0x0001_0000;
/// A time that no window lasts; what is left of it is the shortest.
pub const LONG: u64 = 1_000_000_000_000_000_000;
/// Windows that took as long as they may or longer: the difference has not wrapped.
pub const SLOW: &str = "over < 9223372036854775808";

/// A trigger of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// The event.
    pub event: EventName,
    /// What is written.
    pub text: String,
}

/// The threads of a process, of which the kernel keeps a list.
#[derive(Clone, Debug)]
pub struct Set {
    /// The process.
    pub process: i32,
    /// The event that makes a thread a member.
    pub event: EventName,
    /// What makes and keeps the list.
    pub triggers: Vec<Trigger>,
    number: usize,
}

/// All that has to be set.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Synthetic events, as they are defined.
    pub synthetic: Vec<String>,
    /// Lists of threads.
    pub sets: Vec<Set>,
    /// What computes the windows, in order.
    pub windows: Vec<Trigger>,
    /// What counts them: how they spread, the longest, the shortest, the slow ones.
    pub counts: Vec<Trigger>,
    /// The event for a slow window.
    pub window: EventName,
    /// The one snapshot.
    pub snapshot: String,
    /// What counts windows that began.
    pub starts: Vec<Trigger>,
    /// What counts windows whose thread ended.
    pub exits: Vec<Trigger>,
}

fn event(system: &str, event: &str) -> EventName {
    EventName { system: system.to_owned(), event: event.to_owned() }
}

fn trigger(system: &str, name: &str, text: String) -> Trigger {
    Trigger { event: event(system, name), text }
}

/// Windows that the kernel can judge are those between two points; the marker system calls become such, by their exits,
/// which a seccomp filter leaves too.
pub fn as_points(session: &mut WindowConfig) {
    let point = |nr: u64| {
        let (system, event) = ("raw_syscalls".to_owned(), "sys_exit".to_owned());
        vec![Point { system, event, filter: Some(format!("id == {nr}")) }]
    };
    for definition in session.definitions.iter_mut().filter(|definition| definition.source == WindowSource::Magic) {
        definition.source =
            WindowSource::Points { start: point(MARKER_SYSCALL_START), stop: point(MARKER_SYSCALL_STOP) };
    }
}

/// The points of a definition.
fn points(definition: &WindowDefinition) -> Result<(Point, Point), Refusal> {
    let name = || definition.name.clone();
    match &definition.source {
        WindowSource::Points { start, stop } => match (&start[..], &stop[..]) {
            ([start], [stop]) => Ok((start.clone(), stop.clone())),
            _ => Err(Refusal::ManyPlaces(name(), start.len().max(stop.len()))),
        },
        WindowSource::Syscall { nr } => {
            let point = |event: &str| Point {
                system: "raw_syscalls".to_owned(),
                event: event.to_owned(),
                filter: Some(format!("id == {nr}")),
            };
            Ok((point("sys_enter"), point("sys_exit")))
        }
        WindowSource::Marker | WindowSource::Magic => Err(Refusal::Texts),
    }
}

/// Windows that no kernel can judge.
pub fn check(session: &WindowConfig) -> Result<(), Refusal> {
    for definition in &session.definitions {
        if definition.source == WindowSource::Marker {
            return Err(Refusal::Texts);
        }
        if let WindowSource::Points { start, stop } = &definition.source
            && start.iter().any(|start| stop.contains(start))
        {
            return Err(Refusal::SamePoint(definition.name.clone()));
        }
    }
    Ok(())
}

fn filtered(text: String, filter: Option<&str>) -> String {
    filter.map_or_else(|| text.clone(), |filter| format!("{text} if {filter}"))
}

impl Recipe {
    /// For the session's windows, under names that nobody else has who has another number.
    pub fn new(session: &WindowConfig, rtrec_pid: u32) -> Result<Recipe, Refusal> {
        check(session)?;
        let window = event("synthetic", &format!("rtrec_{rtrec_pid}_window"));
        let of = |definition: &WindowDefinition| {
            if definition.process == Some(0) { session.command } else { definition.process }
        };
        let all: BTreeSet<i32> = session.definitions.iter().filter_map(of).collect();
        let sets: Vec<Set> =
            all.into_iter().enumerate().map(|(number, process)| Set::new(number, process, rtrec_pid)).collect();
        let mut recipe = Recipe {
            synthetic: vec![format!("s:synthetic/{} int tid; u64 start; u64 dur; u64 over; u64 def", window.event)],
            windows: Vec::new(),
            counts: counts(&window),
            snapshot: format!("snapshot:1 if {SLOW}"),
            starts: Vec::new(),
            exits: Vec::new(),
            window,
            sets,
        };
        recipe.synthetic.extend(recipe.sets.iter().map(|set| format!("s:synthetic/{} pid_t tid", set.event.event)));
        for (number, definition) in session.definitions.iter().enumerate() {
            let set = recipe.sets.iter().position(|set| Some(set.process) == of(definition));
            recipe.add(number, definition, session.threshold_ns, set)?;
        }
        Ok(recipe)
    }

    fn add(&mut self, n: usize, definition: &WindowDefinition, usual: u64, set: Option<usize>) -> Result<(), Refusal> {
        let (start, stop) = points(definition)?;
        let member = set.map_or_else(String::new, |set| format!(",own{n}=$mem{set}"));
        let (threshold, limit) = match &definition.threshold {
            Threshold::Session => (String::new(), usual.to_string()),
            Threshold::Fixed(ns) => (String::new(), ns.to_string()),
            Threshold::Field { name, unit_ns } => (format!(",thr{n}={name}*{unit_ns}"), format!("$thr{n}")),
        };
        let begins =
            format!("hist:keys=common_pid:ts{n}=common_timestamp{member}{threshold}:size={THREADS}:clock=mono");
        let begins = trigger(&start.system, &start.event, filtered(begins, start.filter.as_deref()));
        let ends = format!(
            "hist:keys=common_pid:dur{n}=common_timestamp-$ts{n},over{n}=common_timestamp-$ts{n}-{limit},\
             start{n}=$ts{n},def{n}={n}:size={THREADS}:clock=mono:onmatch({}.{}).trace({},common_pid,$start{n},$dur{n},$over{n},$def{n})",
            start.system, start.event, self.window.event
        );
        let ends = trigger(&stop.system, &stop.event, filtered(ends, stop.filter.as_deref()));
        let gone = format!("hist:keys=common_pid:gone{n}=common_timestamp-$ts{n}:size={THREADS}:clock=mono");
        let gone = trigger("sched", "sched_process_exit", gone);
        self.starts.push(begins.clone());
        self.exits.push(gone.clone());
        self.windows.extend([begins, ends, gone]);
        Ok(())
    }
}

impl Set {
    fn new(k: usize, process: i32, rtrec_pid: u32) -> Set {
        let event = event("synthetic", &format!("rtrec_{rtrec_pid}_member{k}"));
        let name = event.event.clone();
        let born = format!(
            "hist:keys=common_pid:born{k}=$mem{k}:size={THREADS}:onmatch(synthetic.{name}).trace({name},pid) \
             if clone_flags & {CLONE_THREAD}"
        );
        let triggers = vec![
            Trigger {
                event: event.clone(),
                text: format!("hist:keys=tid:mem{k}=common_timestamp:size={THREADS}:clock=mono"),
            },
            trigger("task", "task_newtask", born),
            // Whichever thread calls it, the program goes on under the number of its process.
            trigger(
                "sched",
                "sched_process_exec",
                format!("hist:keys=old_pid:exec{k}=$mem{k}:size={THREADS}:onmatch(synthetic.{name}).trace({name},pid)"),
            ),
            trigger(
                "sched",
                "sched_process_exit",
                format!("hist:keys=common_pid:left{k}=common_timestamp-$mem{k}:size={THREADS}:clock=mono"),
            ),
        ];
        Set { process, event, triggers, number: k }
    }

    /// What makes threads members that this thread asks for by getpgid, as long as it is there.
    pub fn seed(&self) -> Trigger {
        let (k, name, tid) = (self.number, &self.event.event, nix::unistd::gettid());
        let text = format!(
            "hist:keys=pid:seed{k}=common_timestamp:size={THREADS}:clock=mono:onmax($seed{k}).trace({name},pid) \
             if common_pid == {tid}"
        );
        trigger("syscalls", "sys_enter_getpgid", text)
    }
}

fn counts(window: &EventName) -> Vec<Trigger> {
    let texts = [
        "hist:keys=def,dur.log2:vals=hitcount,dur:size=2048".to_owned(),
        "hist:keys=def:longest=dur:size=256:onmax($longest).save(tid)".to_owned(),
        format!("hist:keys=def:shortest={LONG}-dur:size=256:onmax($shortest).save(tid)"),
        format!("hist:keys=def:size=256 if {SLOW}"),
    ];
    texts.into_iter().map(|text| Trigger { event: window.clone(), text }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(event: &str, filter: Option<&str>) -> Point {
        Point { system: "p".into(), event: event.into(), filter: filter.map(str::to_owned) }
    }

    fn session(source: WindowSource, process: Option<i32>, threshold: Threshold) -> WindowConfig {
        let definition = WindowDefinition { name: "w".into(), source, process, threshold };
        WindowConfig { definitions: vec![definition], threshold_ns: 20, command: Some(77), ..WindowConfig::default() }
    }

    #[test]
    fn a_window_is_a_start_a_stop_and_the_end_of_its_thread() {
        let source = WindowSource::Points { start: vec![point("a", Some("x > 1"))], stop: vec![point("b", None)] };
        let recipe = Recipe::new(&session(source, None, Threshold::Session), 5).unwrap();
        let texts: Vec<(String, &str)> =
            recipe.windows.iter().map(|trigger| (trigger.event.to_string(), trigger.text.as_str())).collect();
        assert_eq!(
            texts,
            [
                ("p:a".to_owned(), "hist:keys=common_pid:ts0=common_timestamp:size=16384:clock=mono if x > 1"),
                (
                    "p:b".to_owned(),
                    "hist:keys=common_pid:dur0=common_timestamp-$ts0,over0=common_timestamp-$ts0-20,start0=$ts0,def0=0\
                     :size=16384:clock=mono:onmatch(p.a).trace(rtrec_5_window,common_pid,$start0,$dur0,$over0,$def0)"
                ),
                (
                    "sched:sched_process_exit".to_owned(),
                    "hist:keys=common_pid:gone0=common_timestamp-$ts0:size=16384:clock=mono"
                ),
            ]
        );
        assert!(recipe.sets.is_empty());
    }

    #[test]
    fn threads_of_a_process_and_thresholds_of_the_start_are_in_the_trigger() {
        let threshold = Threshold::Field { name: "ms".into(), unit_ns: 1_000_000 };
        let recipe = Recipe::new(&session(WindowSource::Syscall { nr: 230 }, Some(0), threshold), 5).unwrap();
        assert_eq!(recipe.sets.iter().map(|set| set.process).collect::<Vec<_>>(), [77]);
        assert!(recipe.sets[0].triggers[1].text.ends_with(" if clone_flags & 65536"));
        let start = &recipe.windows[0].text;
        assert!(
            start.contains(":ts0=common_timestamp,own0=$mem0,thr0=ms*1000000:") && start.ends_with(" if id == 230")
        );
        assert!(recipe.windows[1].text.contains(",over0=common_timestamp-$ts0-$thr0,"));
    }

    #[test]
    fn what_no_kernel_can_judge_is_refused() {
        let same = WindowSource::Points { start: vec![point("a", None)], stop: vec![point("a", None)] };
        let many =
            WindowSource::Points { start: vec![point("a", None), point("b", None)], stop: vec![point("c", None)] };
        let refused = |source| Recipe::new(&session(source, None, Threshold::Session), 5).unwrap_err();
        assert_eq!(refused(WindowSource::Marker), Refusal::Texts);
        assert_eq!(refused(same), Refusal::SamePoint("w".into()));
        assert_eq!(refused(many), Refusal::ManyPlaces("w".into(), 2));
        let mut magic = session(WindowSource::Magic, None, Threshold::Session);
        as_points(&mut magic);
        assert!(Recipe::new(&magic, 5).is_ok());
    }
}
