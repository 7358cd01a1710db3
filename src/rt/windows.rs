//! What is recorded for the sake of response-time windows, and what the file says about them.
//!
//! Everything of the traced threads that a time line is made of: switches with the stack of whoever leaves, wake-ups with
//! the stack of whoever wakes, system calls, interrupts, page faults, births and deaths. All of it in an instance of its
//! own, by the monotonic clock, which samples are taken by too.

use std::collections::{BTreeMap, BTreeSet};

use crate::dat::own;
use crate::dat::unsealed::Family;
use crate::probe::Spec;
use crate::record::error::Error;
use crate::record::file::beside::replace;
use crate::record::settings::{BufferSettings, EventSettings, WindowSettings};
use crate::record::watch::{Note, Watch};
use crate::rt::in_kernel;
use crate::rt::only_slow::Shared;
use crate::rt::sampling::{Sampler, Total};
use crate::setup::plan::BufferPlan;
use crate::tracefs::events::EventName;
use crate::windows::{Point, Session, Source, Task};

/// The clock that samples are taken by, too.
const CLOCK: &str = "mono";
/// Size of each CPU's buffer if nothing was said: a quiet second of a busy machine.
const SIZE_KB: u64 = 8 << 10;

/// Events that time lines are made of, each with a trigger perhaps.
const EVENTS: [(&str, Option<&str>); 18] = [
    ("sched:sched_switch", Some("stacktrace if prev_pid != 0")),
    ("sched:sched_waking", Some("stacktrace")),
    ("sched:sched_process_exit", None),
    ("sched:sched_process_fork", None),
    ("sched:sched_process_exec", None),
    ("task:task_newtask", None),
    ("task:task_rename", None),
    ("raw_syscalls:sys_enter", None),
    ("raw_syscalls:sys_exit", None),
    ("irq:irq_handler_entry", None),
    ("irq:irq_handler_exit", None),
    ("irq:softirq_entry", None),
    ("irq:softirq_exit", None),
    ("irq_vectors", None),
    ("timer:timer_expire_*", None),
    ("timer:hrtimer_expire_*", None),
    ("exceptions:page_fault_user", None),
    ("exceptions:page_fault_kernel", None),
];

/// The system of points whose events are probes that do not exist yet; the event's name is what [`WindowProbe::key`] says.
pub const PROBE: &str = "?probe";

/// A probe that a window needs.
#[derive(Clone, Debug)]
pub struct WindowProbe {
    /// What points call it.
    pub key: String,
    /// The probe.
    pub spec: Spec,
}

/// The buffer that a session needs, besides what `with` names.
pub fn buffer(
    instance: String,
    session: &Session,
    probes: &[WindowProbe],
    pids: &[i32],
    with: &[String],
) -> BufferSettings {
    let event = |word: &str, trigger: Option<&str>, optional| EventSettings {
        word: word.to_owned(),
        optional,
        triggers: trigger.map(str::to_owned).into_iter().collect(),
        ..EventSettings::default()
    };
    let mut events: Vec<EventSettings> = EVENTS.iter().map(|(word, trigger)| event(word, *trigger, true)).collect();
    let points = session.definitions.iter().flat_map(|definition| match &definition.source {
        Source::Points { start, stop } => start.iter().chain(stop).collect(),
        _ => Vec::new(),
    });
    let points = points.filter(|point| point.system != PROBE);
    let named: BTreeSet<String> = points.map(|point| format!("{}:{}", point.system, point.event)).collect();
    let known: BTreeSet<&str> = EVENTS.iter().map(|(word, _)| *word).collect();
    events.extend(named.iter().filter(|word| !known.contains(word.as_str())).map(|word| event(word, None, false)));
    let probe = |probe: &WindowProbe| EventSettings {
        word: probe.key.clone(),
        probe: Some(probe.spec.clone()),
        ..EventSettings::default()
    };
    events.extend(probes.iter().map(probe));
    events.extend(with.iter().map(|word| event(word, None, false)));
    let marker = session.definitions.iter().any(|definition| definition.source == Source::Marker);
    BufferSettings {
        instance: Some(instance),
        events,
        clock: Some(CLOCK.to_owned()),
        size_kb: Some(SIZE_KB),
        pids: pids.to_vec(),
        follows: true,
        // Texts of programs that know the top-level file only (6.16 on).
        optional_options: marker.then(|| "copy_trace_marker".to_owned()).into_iter().collect(),
        ..BufferSettings::default()
    }
}

/// What is at work while windows are recorded.
pub struct Watching {
    session: Session,
    pids: Vec<i32>,
    tasks: BTreeMap<i32, Task>,
    sampler: Option<Sampler>,
    shared: Option<Shared>,
}

impl Watching {
    /// Notes which threads there are, and begins to take samples; `calls` are events of calls of functions whose
    /// returns are probed.
    pub fn begin(
        windows: &WindowSettings,
        plans: &[BufferPlan<'_>],
        command: Option<i32>,
        calls: &[u64],
        family: &Family,
        watch: &dyn Watch,
    ) -> Result<Watching, Error> {
        let mut session = windows.session.clone();
        name_probes(&mut session, plans);
        if windows.in_kernel {
            in_kernel::recipe::as_points(&mut session);
        }
        session.command = command;
        session.sample_ns = windows.sample.map(|period| period.as_nanos() as u64);
        session.user_stack = windows.user_stack.name().to_owned();
        let of_plans = plans.iter().flat_map(|plan| plan.settings.pids.iter().copied());
        let mut pids: Vec<i32> = of_plans.chain(command).collect();
        pids.sort_unstable();
        pids.dedup();
        let shared = windows.only_slow.map(|_| Shared::default());
        let samples = own::file(family, own::SAMPLES);
        let sampler = match windows.in_kernel {
            // It would read all the time.
            true => None,
            false => Sampler::begin(windows, &pids, command, calls, shared.clone(), &samples, watch)?,
        };
        let mut watching = Watching { session, pids, tasks: BTreeMap::new(), sampler, shared };
        watching.look();
        // Whose threads they are decides whose windows they open.
        watching.session.tasks = watching.tasks.values().cloned().collect();
        // For whoever looks while the recording goes on, or after the recorder was killed.
        let path = own::file(family, own::WINDOWS);
        replace(&path, &watching.encode()).map_err(|source| Error::Output { path, source })?;
        Ok(watching)
    }

    fn encode(&self) -> Vec<u8> {
        Session { tasks: self.tasks.values().cloned().collect(), ..self.session.clone() }.encode()
    }

    /// What a buffer needs of which only slow windows are kept.
    pub fn sifted(&self) -> Option<(&Session, &Shared)> {
        Some((&self.session, self.shared.as_ref()?))
    }

    fn look(&mut self) {
        for pid in self.pids.clone() {
            for task in tasks(pid) {
                self.tasks.insert(task.tid, task);
            }
        }
    }

    /// Completes what goes into the file.
    pub fn finish(mut self, family: &Family, watch: &dyn Watch) {
        self.look();
        if let Err(source) = replace(&own::file(family, own::WINDOWS), &self.encode()) {
            watch.note(Note::Unwritten { what: "threads born while recording may have no process", source });
        }
        self.end_sampling(watch);
    }

    /// Ends the samples before probes are removed, if they use any.
    pub fn let_go_of_probes(&mut self, watch: &dyn Watch) {
        if self.sampler.as_ref().is_some_and(Sampler::holds_probes) {
            self.end_sampling(watch);
        }
    }

    fn end_sampling(&mut self, watch: &dyn Watch) {
        let Some(sampler) = self.sampler.take() else { return };
        let (total, cost) = sampler.finish();
        let Total { samples, lost, incomplete, failure } = total;
        if let Some(source) = failure {
            watch.note(Note::Unwritten { what: "samples are missing", source });
        }
        watch.note(Note::Sampled { samples, lost, incomplete, cost });
    }
}

/// Puts the events of probes, which have names by now, in the place of what stood for them.
fn name_probes(session: &mut Session, plans: &[BufferPlan<'_>]) {
    for definition in &mut session.definitions {
        let Source::Points { start, stop } = &mut definition.source else { continue };
        for points in [start, stop] {
            *points = std::mem::take(points)
                .into_iter()
                .flat_map(|point| match point.system.as_str() {
                    PROBE => events_of(&point.event, plans)
                        .iter()
                        .map(|name| Point { system: name.system.clone(), event: name.event.clone(), ..point.clone() })
                        .collect(),
                    _ => vec![point],
                })
                .collect();
        }
    }
}

/// The events of a probe.
fn events_of(key: &str, plans: &[BufferPlan<'_>]) -> BTreeSet<EventName> {
    let of_probes = plans.iter().flat_map(|plan| &plan.events).filter(|event| event.settings.probe.is_some());
    of_probes.filter(|event| event.settings.word == key).flat_map(|event| event.events.iter().cloned()).collect()
}

/// The threads of a process, and where it lives.
fn tasks(pid: i32) -> Vec<Task> {
    let Ok(process) = procfs::process::Process::new(pid) else { return Vec::new() };
    let inner_pids = process.status().ok().and_then(|status| status.nspid).filter(|pids| pids.len() > 1);
    let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok().and_then(|text| cgroup(&text));
    let task =
        |tid| Task { tid, tgid: pid, inner_pids: inner_pids.clone().unwrap_or_default(), cgroup: cgroup.clone() };
    process.tasks().map(|tasks| tasks.flatten().map(|one| task(one.tid)).collect()).unwrap_or_default()
}

/// The path in the unified hierarchy, else in the first that names one.
fn cgroup(text: &str) -> Option<String> {
    let path = |line: &str| line.splitn(3, ':').nth(2).filter(|path| *path != "/").map(str::to_owned);
    let unified = text.lines().find(|line| line.starts_with("0::")).and_then(path);
    unified.or_else(|| text.lines().find_map(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::{Definition, Threshold};

    #[test]
    fn events_of_points_are_recorded_once() {
        let point = |event: &str| Point { system: "sched".into(), event: event.into(), filter: None };
        let source = Source::Points { start: vec![point("sched_switch")], stop: vec![point("sched_migrate_task")] };
        let definition = Definition { name: "x".into(), source, process: None, threshold: Threshold::Session };
        let session = Session { definitions: vec![definition], ..Session::default() };
        let buffer = buffer("i".into(), &session, &[], &[7], &["block".into()]);
        let count = |word: &str| buffer.events.iter().filter(|event| event.word == word).count();
        assert_eq!((count("sched:sched_switch"), count("sched:sched_migrate_task"), count("block")), (1, 1, 1));
        assert!(buffer.follows && buffer.optional_options.is_empty() && buffer.pids == [7]);
    }

    #[test]
    fn the_unified_cgroup_is_told_unless_it_is_the_root() {
        assert_eq!(cgroup("0::/user.slice/a:b\n"), Some("/user.slice/a:b".into()));
        assert_eq!(cgroup("2:cpu:/x\n0::/\n"), Some("/x".into()));
        assert_eq!(cgroup("0::/\n"), None);
        assert!(tasks(std::process::id() as i32).iter().any(|task| task.tid == std::process::id() as i32));
    }
}
