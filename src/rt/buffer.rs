//! What is recorded for the sake of response-time windows.
//!
//! Everything of the traced threads that a time line is made of: switches with the stack of whoever leaves, wake-ups with
//! the stack of whoever wakes, system calls, interrupts, page faults, births and deaths. All of it in an instance of its
//! own, by the monotonic clock, which samples are taken by too.

use std::collections::BTreeSet;

use crate::probe::Spec;
use crate::setup::plan::BufferPlan;
use crate::setup::{BufferSettings, EventSettings};
use crate::tracefs::events::EventName;
use crate::windows::{Point, WindowConfig, WindowSource};

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

/// A probe that a window needs. Until it is made its events have no names.
#[derive(Clone, Debug)]
pub struct WindowProbe {
    /// What stands for it in points.
    pub key: String,
    /// The probe.
    pub spec: Spec,
}

impl WindowProbe {
    /// What stands for its events until they have names.
    pub fn point(key: String, filter: Option<String>) -> Point {
        Point { system: UNNAMED.to_owned(), event: key, filter }
    }
}

/// No system of the kernel's has no name.
const UNNAMED: &str = "";

/// The buffer that a session needs, besides what `with` names.
pub fn buffer(
    instance: String,
    session: &WindowConfig,
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
        WindowSource::Points { start, stop } => start.iter().chain(stop).collect(),
        _ => Vec::new(),
    });
    let points = points.filter(|point| point.system != UNNAMED);
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
    let marker = session.definitions.iter().any(|definition| definition.source == WindowSource::Marker);
    BufferSettings {
        instance: Some(instance),
        events,
        clock: Some(CLOCK.to_owned()),
        size_kb: Some(SIZE_KB),
        pids: pids.to_vec(),
        with_children: true,
        // Texts of programs that know the top-level file only (6.16 on).
        optional_options: marker.then(|| "copy_trace_marker".to_owned()).into_iter().collect(),
        ..BufferSettings::default()
    }
}

/// Puts the events of probes, which have names by now, in the place of what stood for them.
pub(super) fn name_probes(session: &mut WindowConfig, plans: &[BufferPlan<'_>]) {
    for definition in &mut session.definitions {
        let WindowSource::Points { start, stop } = &mut definition.source else { continue };
        for points in [start, stop] {
            *points = std::mem::take(points)
                .into_iter()
                .flat_map(|point| match point.system.as_str() {
                    UNNAMED => events_of(&point.event, plans)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::{Threshold, WindowDefinition};

    #[test]
    fn events_of_points_are_recorded_once() {
        let point = |event: &str| Point { system: "sched".into(), event: event.into(), filter: None };
        let source =
            WindowSource::Points { start: vec![point("sched_switch")], stop: vec![point("sched_migrate_task")] };
        let definition = WindowDefinition { name: "x".into(), source, process: None, threshold: Threshold::Session };
        let session = WindowConfig { definitions: vec![definition], ..WindowConfig::default() };
        let buffer = buffer("i".into(), &session, &[], &[7], &["block".into()]);
        let count = |word: &str| buffer.events.iter().filter(|event| event.word == word).count();
        assert_eq!((count("sched:sched_switch"), count("sched:sched_migrate_task"), count("block")), (1, 1, 1));
        assert!(buffer.with_children && buffer.optional_options.is_empty() && buffer.pids == [7]);
    }
}
