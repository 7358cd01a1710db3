//! The end of a recording: the kernel's counters, the last texts, the file's closing sections.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use super::metadata;
use crate::dat::unsealed::Family;
use crate::dat::writer::{self, BufferHead, Moving, Section, Writer};
use crate::dat::{ids, rtrec_sections};
use crate::record::along::optional_parts::OptionalSections;
use crate::record::outcome::{BufferOutcome, CpuOutcome, Emptiness, Outcome};
use crate::record::taken::{BufferData, Captured, CpuResult};
use crate::setup::plan::BufferPlan;
use crate::setup::settings::TSC2NSEC;
use crate::tracefs::buffer::BufferStats;
use crate::tracefs::functions::FunctionList;
use crate::tracefs::{Instance, file};

/// What has to be asked of the kernel before its settings are put back, or whenever a file is closed.
pub struct ClosingMetadata {
    trace_clock: String,
    command_lines: Vec<u8>,
    buffers: Vec<ClosingBuffer>,
    /// What only some recordings have.
    pub optional: OptionalSections,
    /// Whose files become sections of rtrec's own; all of them, or these.
    pub section_files: Option<(Family, Option<&'static [u16]>)>,
}

struct ClosingBuffer {
    head: BufferHead,
    stats: Vec<(u32, String)>,
    /// What a latency tracer has, instead of records.
    text: Option<Vec<u8>>,
}

impl ClosingMetadata {
    /// Asks the kernel. What it does not say is left out: the records are more important.
    pub fn read(plans: &[BufferPlan<'_>], top: &Instance) -> Self {
        ClosingMetadata {
            trace_clock: file::read_text(&top.path("trace_clock")).unwrap_or_default(),
            command_lines: metadata::saved_names(top),
            buffers: plans.iter().map(closing_buffer).collect(),
            optional: OptionalSections::default(),
            section_files: None,
        }
    }

    /// Adds the names of threads that the kernel has forgotten.
    pub fn name_threads(&mut self, threads: &BTreeMap<i32, Vec<u8>>) {
        self.command_lines = metadata::merge_names(&self.command_lines, threads);
    }

    /// What the recording has brought, by the kernel's counters.
    pub fn outcome(&self, plans: &[BufferPlan<'_>], captured: &Captured) -> Outcome {
        let buffers: Vec<BufferOutcome> = plans
            .iter()
            .zip(&self.buffers)
            .zip(&captured.buffers)
            .map(|((plan, report), cpus)| BufferOutcome {
                instance: plan.instance.name().map(str::to_owned),
                cpus: cpus.iter().map(|cpu| cpu_outcome(cpu, report)).collect(),
            })
            .collect();
        let quiet = |cpu: &CpuOutcome| cpu.stats.read == 0 && cpu.file_bytes == 0;
        let texts = self.buffers.iter().any(|buffer| buffer.text.is_some());
        let empty = !texts && captured.rotated.is_empty() && buffers.iter().all(|buffer| buffer.cpus.iter().all(quiet));
        Outcome {
            trouble: None,
            files: Vec::new(),
            ending: None,
            stop: captured.stop,
            elapsed: captured.elapsed,
            empty: empty.then(|| why_empty(plans, captured)),
            buffers,
        }
    }

    /// Lets the only buffer of a file be its main one, whatever instance it was.
    pub fn promote_single_buffer(&mut self) {
        if let [buffer] = self.buffers.as_mut_slice() {
            buffer.head.name.clear();
        }
    }

    /// The buffers' clocks and layouts, in the order of the plans.
    pub fn heads(&self) -> impl Iterator<Item = &BufferHead> {
        self.buffers.iter().map(|buffer| &buffer.head)
    }
}

fn closing_buffer(plan: &BufferPlan<'_>) -> ClosingBuffer {
    let instance = &plan.instance;
    let clock = instance.clocks().ok().and_then(|clocks| clocks.chosen).unwrap_or_else(|| "local".to_owned());
    let clock = if plan.settings.clock.as_deref() == Some(TSC2NSEC) { TSC2NSEC.to_owned() } else { clock };
    let latency = plan.settings.keeps_worst_case();
    let cpus = instance.cpus().unwrap_or_default();
    ClosingBuffer {
        head: BufferHead {
            name: instance.name().unwrap_or_default().to_owned(),
            clock,
            subbuf_bytes: instance.subbuf_layout().map_or(4096, |layout| layout.subbuf_bytes),
        },
        text: latency.then(|| file::read(&instance.path("trace")).unwrap_or_default()),
        stats: cpus.into_iter().filter_map(|cpu| Some((cpu, instance.stats_text(cpu).ok()?))).collect(),
    }
}

fn cpu_outcome(captured: &CpuResult, report: &ClosingBuffer) -> CpuOutcome {
    let text = report.stats.iter().find(|(cpu, _)| *cpu == captured.cpu).map_or("", |(_, text)| text);
    CpuOutcome {
        cpu: captured.cpu,
        stats: BufferStats::parse(text),
        raw_bytes: captured.passed_bytes + captured.data.iter().map(|data| data.raw_bytes).sum::<u64>(),
        file_bytes: captured.data.iter().map(|data| data.bytes).sum(),
        wakeups: captured.wakeups,
        lowered: captured.lowered,
    }
}

fn why_empty(plans: &[BufferPlan<'_>], captured: &Captured) -> Emptiness {
    let graph_functions: Vec<String> = plans
        .iter()
        .filter(|plan| plan.functions.iter().any(|(list, _)| *list == FunctionList::Graph))
        .flat_map(|plan| plan.instance.functions(FunctionList::Graph).unwrap_or_default())
        .collect();
    let pids: Vec<i32> = plans.iter().flat_map(|plan| plan.settings.pids.iter().copied()).collect();
    let filtered = plans.iter().flat_map(|plan| &plan.settings.events).any(|event| event.filter.is_some());
    if captured.was_switched_off {
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
pub fn seal(
    mut out: Writer,
    closing: &ClosingMetadata,
    data: &mut BufferData,
    moving: &mut Moving<'_>,
) -> io::Result<File> {
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
    for (id, data) in &closing.optional.options {
        out.option(*id, data);
    }
    if let Some(along) = &closing.optional.names {
        let names = Section { id: rtrec_sections::NAMES, payload: along.names.encode().into() };
        let clocks = Section { id: rtrec_sections::CLOCKS, payload: along.clocks.encode().into() };
        [names, clocks].iter().try_for_each(|section| out.unlisted(section))?;
    }
    for (id, payload) in &closing.optional.sections {
        out.unlisted(&Section { id: *id, payload: payload.as_slice().into() })?;
    }
    match &closing.section_files {
        Some((family, None)) => rtrec_sections::add_files(&mut out, family)?,
        Some((family, Some(ids))) => ids.iter().try_for_each(|id| rtrec_sections::add_file(&mut out, family, *id))?,
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
