//! What is at work while windows are recorded: it notes which threads there are, and has samples taken.

use std::collections::BTreeMap;

use super::buffer::name_probes;
use super::in_kernel;
use super::note::{Note, WindowObserver};
use super::sampling::{Sampler, Total};
use super::settings::WindowSettings;
use super::window_states::SharedWindowStates;
use crate::dat::own;
use crate::dat::unsealed::Family;
use crate::record::Error;
use crate::record::file::section_files::replace_atomically;
use crate::setup::plan::BufferPlan;
use crate::setup::threads;
use crate::windows::{Session, Task};

/// What is at work while windows are recorded.
pub struct WindowRecorder {
    session: Session,
    pids: Vec<i32>,
    tasks: BTreeMap<i32, Task>,
    sampler: Option<Sampler>,
    states: SharedWindowStates,
}

impl WindowRecorder {
    /// Notes which threads there are, and begins to take samples; `calls` are events of calls of functions whose
    /// returns are probed.
    pub fn start(
        windows: &WindowSettings,
        plans: &[BufferPlan<'_>],
        command: Option<i32>,
        calls: &[u64],
        family: &Family,
        observer: &dyn WindowObserver,
    ) -> Result<WindowRecorder, Error> {
        let mut session = windows.session.clone();
        name_probes(&mut session, plans);
        if windows.in_kernel {
            in_kernel::hist_triggers::as_points(&mut session);
        }
        session.command = command;
        session.sample_ns = windows.sample.map(|period| period.as_nanos() as u64);
        session.user_stack = windows.user_stack.name().to_owned();
        let of_plans = plans.iter().flat_map(|plan| plan.settings.pids.iter().copied());
        let mut pids: Vec<i32> = of_plans.chain(command).collect();
        pids.sort_unstable();
        pids.dedup();
        let states = SharedWindowStates::default();
        // Samples outside of slow windows are of no use where only those are kept.
        let for_samples = windows.only_slow.map(|_| SharedWindowStates::clone(&states));
        let samples = own::file(family, own::SAMPLES);
        let sampler = match windows.in_kernel {
            // It would read all the time.
            true => None,
            false => Sampler::start(windows, &pids, command, calls, for_samples, &samples, observer)?,
        };
        let mut recorder = WindowRecorder { session, pids, tasks: BTreeMap::new(), sampler, states };
        recorder.read_tasks();
        // Whose threads they are decides whose windows they open.
        recorder.session.tasks = recorder.tasks.values().cloned().collect();
        // For whoever looks while the recording goes on, or after the recorder was killed.
        let path = own::file(family, own::WINDOWS);
        replace_atomically(&path, &recorder.encode()).map_err(|source| Error::Output { path, source })?;
        Ok(recorder)
    }

    fn encode(&self) -> Vec<u8> {
        Session { tasks: self.tasks.values().cloned().collect(), ..self.session.clone() }.encode()
    }

    /// The windows, with probes by name.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// What is known of them while they are recorded.
    pub fn states(&self) -> &SharedWindowStates {
        &self.states
    }

    fn read_tasks(&mut self) {
        for pid in self.pids.clone() {
            for task in tasks(pid) {
                self.tasks.insert(task.tid, task);
            }
        }
    }

    /// Completes what goes into the file.
    pub fn finish(mut self, family: &Family, observer: &dyn WindowObserver) {
        self.read_tasks();
        if let Err(source) = replace_atomically(&own::file(family, own::WINDOWS), &self.encode()) {
            observer.window_note(Note::Unwritten { what: "threads born while recording may have no process", source });
        }
        self.end_sampling(observer);
    }

    /// Ends the samples before probes are removed, if they use any.
    pub fn release_probes(&mut self, observer: &dyn WindowObserver) {
        if self.sampler.as_ref().is_some_and(Sampler::holds_probes) {
            self.end_sampling(observer);
        }
    }

    fn end_sampling(&mut self, observer: &dyn WindowObserver) {
        let Some(sampler) = self.sampler.take() else { return };
        let (total, cost) = sampler.finish();
        let Total { samples, lost, incomplete, failure } = total;
        if let Some(source) = failure {
            observer.window_note(Note::Unwritten { what: "samples are missing", source });
        }
        observer.window_note(Note::Sampled { samples, lost, incomplete, cost });
    }
}

/// The threads of a process, and where it lives.
fn tasks(pid: i32) -> Vec<Task> {
    let Ok(process) = procfs::process::Process::new(pid) else { return Vec::new() };
    let inner_pids = process.status().ok().and_then(|status| status.nspid).filter(|pids| pids.len() > 1);
    let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok().and_then(|text| cgroup(&text));
    let task =
        |tid| Task { tid, tgid: pid, inner_pids: inner_pids.clone().unwrap_or_default(), cgroup: cgroup.clone() };
    threads::of_process(pid).into_iter().map(task).collect()
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

    #[test]
    fn the_unified_cgroup_is_told_unless_it_is_the_root() {
        assert_eq!(cgroup("0::/user.slice/a:b\n"), Some("/user.slice/a:b".into()));
        assert_eq!(cgroup("2:cpu:/x\n0::/\n"), Some("/x".into()));
        assert_eq!(cgroup("0::/\n"), None);
        assert!(tasks(std::process::id() as i32).iter().any(|task| task.tid == std::process::id() as i32));
    }
}
