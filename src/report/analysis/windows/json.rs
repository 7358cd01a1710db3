//! Windows for programs: one JSON object a line. The fields are an interface, which `docs/json.md` describes.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::lines::{self, samples_of};
use super::page::{ShownWindow, WindowsReport};
use crate::windows::TimeSplit;
use crate::windows::engine::{Steps, Window};

/// The version of the schema: raised when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct WindowObject<'a> {
    schema: u32,
    window: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    kind: &'a str,
    label: Option<&'a str>,
    tid: i32,
    pid: Option<i32>,
    comm: String,
    #[serde(skip_serializing_if = "<[i32]>::is_empty")]
    inner_pids: &'a [i32],
    cgroup: Option<&'a str>,
    start: u64,
    duration: u64,
    threshold: u64,
    open: bool,
    /// False where the kernel had overwritten all of it.
    #[serde(skip_serializing_if = "Clone::clone")]
    recorded: bool,
    lost: u64,
    dropped: u64,
    split: TimeSplit,
    steps: Vec<StepObject>,
    samples: Vec<SampleObject<'a>>,
}

#[derive(Serialize)]
struct StepObject {
    offset: u64,
    since: u64,
    cpu: u32,
    step: String,
    text: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stack: Vec<String>,
    #[serde(skip_serializing_if = "is_one")]
    count: u64,
}

fn is_one(count: &u64) -> bool {
    *count == 1
}

#[derive(Serialize)]
struct SampleObject<'a> {
    count: u64,
    stack: Vec<&'a str>,
}

pub(super) fn print(page: &WindowsReport<'_>, out: &mut dyn Write) -> io::Result<()> {
    let shown_count = page.shown.len() + page.open.len();
    for (number, shown) in page.shown.iter().chain(&page.open).enumerate() {
        let mut line = serde_json::to_vec(&object(page, number + 1, shown))?;
        line.push(b'\n');
        out.write_all(&line)?;
    }
    for (number, one) in page.unrecorded().into_iter().enumerate() {
        let window = Window {
            definition: one.definition,
            label: None,
            tid: one.tid,
            tgid: page.engine.tgid(one.tid),
            start: one.start,
            end: one.end,
            threshold: 0,
            split: TimeSplit::default(),
            lost: 0,
            dropped: 0,
        };
        let shown = ShownWindow { window, steps: Steps::default(), open: false, place: usize::MAX };
        let object = WindowObject { recorded: false, ..object(page, shown_count + number + 1, &shown) };
        let mut line = serde_json::to_vec(&object)?;
        line.push(b'\n');
        out.write_all(&line)?;
    }
    Ok(())
}

fn object<'a>(page: &'a WindowsReport<'_>, number: usize, shown: &'a ShownWindow) -> WindowObject<'a> {
    let window = &shown.window;
    let task = page.session.tasks.iter().find(|task| task.tid == window.tid || Some(task.tid) == window.tgid);
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    let samples = page.samples.into_iter();
    samples.clone().flat_map(|all| samples_of(all, window)).for_each(|one| *counts.entry(one.stack).or_default() += 1);
    let stacks = samples.flat_map(|all| counts.iter().map(move |(stack, count)| (all, *stack, *count)));
    let mut stacks: Vec<SampleObject<'a>> =
        stacks.map(|(all, stack, count)| SampleObject { count, stack: lines::names(all, stack).collect() }).collect();
    stacks.sort_by_key(|one| std::cmp::Reverse(one.count));
    let steps = lines::lines(page, shown, false).into_iter().map(|line| StepObject {
        offset: line.offset,
        since: line.since,
        cpu: line.cpu,
        step: line.step,
        text: line.detail,
        stack: line.stack,
        count: line.count,
    });
    WindowObject {
        schema: SCHEMA,
        window: number,
        file: page.file,
        kind: page.kind(window.definition),
        label: window.label.as_deref(),
        tid: window.tid,
        pid: window.tgid,
        comm: page.comm(window.tid, window.end),
        inner_pids: task.map_or(&[], |task| &task.inner_pids),
        cgroup: task.and_then(|task| task.cgroup.as_deref()),
        start: window.start,
        duration: window.duration(),
        threshold: window.threshold,
        open: shown.open,
        recorded: true,
        lost: window.lost,
        dropped: window.dropped,
        split: window.split,
        steps: steps.collect(),
        samples: stacks,
    }
}
