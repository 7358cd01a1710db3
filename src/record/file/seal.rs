//! The end of a recording: the kernel's counters, the last texts, the file's closing sections.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use crate::dat::unsealed::Family;
use crate::dat::writer::{self, BufferHead, Moving, Section, Writer};
use crate::dat::{ids, own};
use crate::record::along::names::Story;
use crate::record::capture::reader::CpuHarvest;
use crate::record::file::metadata;
use crate::record::file::rotation::BufferData;
use crate::record::outcome::{BufferOutcome, CpuOutcome, Emptiness, Outcome};
use crate::record::session::Harvest;
use crate::record::settings::TSC2NSEC;
use crate::setup::plan::BufferPlan;
use crate::tracefs::buffer::BufferStats;
use crate::tracefs::functions::FunctionList;
use crate::tracefs::{Instance, file};

/// What has to be asked of the kernel before its settings are put back, or whenever a file is closed.
pub struct Closing {
    trace_clock: String,
    command_lines: Vec<u8>,
    buffers: Vec<BufferReport>,
    /// What the extra options have brought.
    pub extras: Extras,
}

/// Options and sections that only some recordings have.
#[derive(Default)]
pub struct Extras {
    /// Option ids and their data.
    pub options: Vec<(u16, Vec<u8>)>,
    /// Names over time, and the trace clock beside others.
    pub story: Option<Story>,
    /// Sections of rtrec's own and their payload.
    pub sections: Vec<(u16, Vec<u8>)>,
    /// Whose files hold what is to be sections of rtrec's own; all of them, or this one.
    pub own: Option<(Family, Option<u16>)>,
}

struct BufferReport {
    head: BufferHead,
    stats: Vec<(u32, String)>,
    /// What a latency tracer has, instead of records.
    text: Option<Vec<u8>>,
}

impl Closing {
    /// Asks the kernel. What it does not tell is left out: the records are more important.
    pub fn ask(plans: &[BufferPlan<'_>], top: &Instance) -> Self {
        Closing {
            trace_clock: file::read_text(&top.path("trace_clock")).unwrap_or_default(),
            command_lines: metadata::saved_names(top),
            buffers: plans.iter().map(report_buffer).collect(),
            extras: Extras::default(),
        }
    }

    /// Adds the names of threads that the kernel has forgotten.
    pub fn name_threads(&mut self, threads: &BTreeMap<i32, Vec<u8>>) {
        self.command_lines = metadata::merge_names(&self.command_lines, threads);
    }

    /// What the recording has brought, by the kernel's counters.
    pub fn outcome(&self, plans: &[BufferPlan<'_>], harvest: &Harvest) -> Outcome {
        let buffers: Vec<BufferOutcome> = plans
            .iter()
            .zip(&self.buffers)
            .zip(&harvest.buffers)
            .map(|((plan, report), cpus)| BufferOutcome {
                instance: plan.instance.name().map(str::to_owned),
                cpus: cpus.iter().map(|cpu| cpu_outcome(cpu, report)).map(|cpu| overwritten(plan, cpu)).collect(),
            })
            .collect();
        let quiet = |cpu: &CpuOutcome| cpu.stats.read == 0 && cpu.file_bytes == 0;
        let texts = self.buffers.iter().any(|buffer| buffer.text.is_some());
        // Where the kernel judges windows, no news is good news.
        let judged = plans.iter().any(BufferPlan::is_judged);
        let empty = !texts
            && !judged
            && harvest.rotated.is_empty()
            && buffers.iter().all(|buffer| buffer.cpus.iter().all(quiet));
        Outcome {
            trouble: None,
            files: Vec::new(),
            ending: None,
            stop: harvest.stop,
            elapsed: harvest.elapsed,
            empty: empty.then(|| why_empty(plans, harvest)),
            buffers,
        }
    }

    /// Lets the only buffer of a file be its main one, whatever instance it was.
    pub fn make_lone_buffer_main(&mut self) {
        if let [buffer] = self.buffers.as_mut_slice() {
            buffer.head.name.clear();
        }
    }

    /// The buffers' clocks and layouts, in the order of the plans.
    pub fn heads(&self) -> impl Iterator<Item = &BufferHead> {
        self.buffers.iter().map(|buffer| &buffer.head)
    }
}

/// A buffer in which the kernel judges windows is there to be overwritten: that is no loss.
fn overwritten(plan: &BufferPlan<'_>, mut cpu: CpuOutcome) -> CpuOutcome {
    if plan.is_judged() {
        (cpu.stats.overrun, cpu.stats.commit_overrun, cpu.stats.dropped) = (0, 0, 0);
    }
    cpu
}

fn report_buffer(plan: &BufferPlan<'_>) -> BufferReport {
    let instance = &plan.instance;
    let clock = instance.clocks().ok().and_then(|clocks| clocks.chosen).unwrap_or_else(|| "local".to_owned());
    let clock = if plan.settings.clock.as_deref() == Some(TSC2NSEC) { TSC2NSEC.to_owned() } else { clock };
    let latency = plan.settings.keeps_worst_case();
    let cpus = instance.cpus().unwrap_or_default();
    BufferReport {
        head: BufferHead {
            name: instance.name().unwrap_or_default().to_owned(),
            clock,
            subbuf_bytes: instance.subbuf_layout().map_or(4096, |layout| layout.subbuf_bytes),
        },
        text: latency.then(|| file::read(&instance.path("trace")).unwrap_or_default()),
        stats: cpus.into_iter().filter_map(|cpu| Some((cpu, instance.stats_text(cpu).ok()?))).collect(),
    }
}

fn cpu_outcome(harvest: &CpuHarvest, report: &BufferReport) -> CpuOutcome {
    let text = report.stats.iter().find(|(cpu, _)| *cpu == harvest.cpu).map_or("", |(_, text)| text);
    CpuOutcome {
        cpu: harvest.cpu,
        stats: BufferStats::parse(text),
        raw_bytes: harvest.data.iter().map(|data| data.raw_bytes).sum(),
        file_bytes: harvest.data.iter().map(|data| data.bytes).sum(),
        wakeups: harvest.wakeups,
        lowered: harvest.lowered,
    }
}

fn why_empty(plans: &[BufferPlan<'_>], harvest: &Harvest) -> Emptiness {
    let graph_functions: Vec<String> = plans
        .iter()
        .filter(|plan| plan.functions.iter().any(|(list, _)| *list == FunctionList::Graph))
        .flat_map(|plan| plan.instance.functions(FunctionList::Graph).unwrap_or_default())
        .collect();
    let pids: Vec<i32> = plans.iter().flat_map(|plan| plan.settings.pids.iter().copied()).collect();
    let filtered = plans.iter().flat_map(|plan| &plan.settings.events).any(|event| event.filter.is_some());
    if harvest.was_switched_off {
        Emptiness::SwitchedOff
    } else if !graph_functions.is_empty() {
        Emptiness::NotCalled(graph_functions)
    } else if !pids.is_empty() {
        Emptiness::OnlyThese { pids, children: plans.iter().any(|plan| plan.follows_children()) }
    } else if filtered {
        Emptiness::Filtered
    } else if plans.iter().any(|plan| plan.settings.cpumask.is_some()) {
        Emptiness::Masked
    } else {
        Emptiness::Quiet
    }
}

/// Writes what is missing and moves each CPU's data in.
pub fn seal(mut out: Writer, closing: &Closing, data: &mut BufferData, moving: &mut Moving<'_>) -> io::Result<File> {
    let payload = writer::long_text(&closing.command_lines).into();
    out.sections(&[Section { id: ids::CMDLINES, payload }])?;
    out.option_text(ids::TRACECLOCK, &closing.trace_clock);
    out.option_text(ids::UNAME, &metadata::uname());
    out.option_text(ids::VERSION, concat!("rtrec ", env!("CARGO_PKG_VERSION")));
    out.option_u64(ids::TRACEID, metadata::trace_id());
    for buffer in &closing.buffers {
        if !buffer.head.name.is_empty() {
            out.option_text(ids::CPUSTAT, &format!("\nBuffer: {}\n\n", buffer.head.name));
        }
        for (cpu, text) in &buffer.stats {
            out.option_text(ids::CPUSTAT, &format!("CPU: {cpu}\n{text}"));
        }
    }
    for (id, data) in &closing.extras.options {
        out.option(*id, data);
    }
    if let Some(story) = &closing.extras.story {
        let names = Section { id: own::NAMES, payload: story.names.encode().into() };
        let clocks = Section { id: own::CLOCKS, payload: story.clocks.encode().into() };
        [names, clocks].iter().try_for_each(|section| out.unlisted(section))?;
    }
    for (id, payload) in &closing.extras.sections {
        out.unlisted(&Section { id: *id, payload: payload.as_slice().into() })?;
    }
    match &closing.extras.own {
        Some((family, None)) => own::add_files(&mut out, family)?,
        Some((family, Some(id))) => own::add_file(&mut out, family, *id)?,
        None => {}
    }
    out.option_u32(ids::CPUCOUNT, metadata::configured_cpus());
    out.end_options()?;
    // Readers expect a top-level buffer, if an empty one.
    if closing.heads().all(|head| !head.name.is_empty()) {
        let clock = "local".to_owned();
        let subbuf_bytes = closing.heads().next().map_or(4096, |head| head.subbuf_bytes);
        out.buffer(&BufferHead { name: String::new(), clock, subbuf_bytes }, &mut [], moving)?;
    }
    for (buffer, cpus) in closing.buffers.iter().zip(data) {
        match &buffer.text {
            Some(text) => out.text_buffer(&buffer.head, text)?,
            None => out.buffer(&buffer.head, cpus, moving)?,
        }
    }
    out.seal()
}
