//! The recorder: from settings to a sealed trace.dat, the kernel left as it was found.
//!
//! [`run`] is the list of the steps; each step has a file of its own.

pub mod child;
mod configure;
pub mod cpu;
mod error;
mod extras;
mod history;
mod maps;
mod metadata;
pub mod names;
mod outcome;
mod output;
mod plan;
mod priority;
mod privilege;
mod seal;
mod session;
pub mod settings;
mod signals;
mod stream;
mod tsc;
mod watch;

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::fcntl::Flock;

pub use error::Error;
pub use outcome::{BufferOutcome, CpuOutcome, Emptiness, Outcome, Stop};
pub use settings::{BufferSettings, EventSettings, FileVersion, FunctionOff, FunctionWord, ReaderChoice, Settings};
pub use stream::{Round, Sink, StreamTexts, stream};
pub use watch::{Note, Progress, Silent, Watch};

use child::{HeldChild, RunningChild};
use extras::Extra;
use output::Output;
use plan::BufferPlan;
use privilege::Identity;
use session::{Harvest, Session, open_buffer};
use signals::{Caught, Signals};

use crate::dat::writer::Writer;
use crate::dat::writer6;
use crate::tracefs::events::EventName;
use crate::tracefs::{Instance, Undo};

/// Makes a recording.
///
/// Whatever happens, the control files hold afterwards what they held before, and no temporary file is left.
pub fn run(settings: &Settings, watch: &dyn Watch) -> Result<Outcome, Error> {
    privilege::refuse_elevated()?;
    let signals = Signals::block()?;
    let root = plan::open_root(settings.tracefs.as_deref())?;
    let plans = plan::judge(settings, &root)?;
    let processes = watch_processes(settings)?;
    priority::judge(settings.priority)?;
    let user = settings.user.as_deref().map(Identity::of).transpose()?;
    let (mut output, file) = claim_output(settings)?;
    let child = match settings.command.as_slice() {
        [] => None,
        command => Some(HeldChild::spawn(command, user.as_ref())?),
    };
    let mut undo = Undo::new();
    let locks = claim_buffers(&plans)?;
    let extras = Extra::begin(settings, &plans, &root, watch)?;
    for plan in &plans {
        configure::configure(plan, child.as_ref().map(|child| child.pid().as_raw()), watch, &mut undo)?;
    }
    let mut buffers =
        plans.iter().map(|plan| open_buffer(plan, settings, &mut output, watch)).collect::<Result<Vec<_>, _>>()?;
    let top = root.top();
    let events = recorded_events(settings, &plans, &top)?;
    let page_bytes = top.subbuf_layout().map_err(Error::setup("reading the page header's layout"))?.subbuf_bytes;
    let writer = Writer::create(file, settings.compression, page_bytes).map_err(output_failed(&output))?;
    let duration = settings.duration;
    let session =
        Session { signals: &signals, processes, plans: &plans, top: &top, watch, duration, maps: extras.maps() };
    // Not part of what was asked for, so it goes even if the settings are to stay.
    let mut own = Undo::new();
    let harvest = session.record(&mut buffers, child, writer, &events, &mut own)?;
    let mut report = seal::collect(&plans, &top, &harvest);
    drop(buffers);
    drop(locks);
    own.run().into_iter().for_each(|error| watch.note(Note::NotPutBack(error)));
    // Before the settings are put back: what others have set may watch for an instance being removed.
    report.extras = extras.finish(settings);
    if settings.keep {
        undo.forget();
    }
    undo.run().into_iter().for_each(|error| watch.note(Note::NotPutBack(error)));
    let Harvest { child, stop, failure, texts, buffers, .. } = harvest;
    let sealed = seal::seal(texts, report, buffers).map_err(output_failed(&output));
    let sealed = sealed.and_then(|outcome| publish(output, settings).map(|()| outcome));
    let ending = child.and_then(|child| finish_command(child, stop, &signals));
    match (failure, sealed) {
        (Some(failure), _) => Err(failure),
        (None, Err(error)) => Err(error),
        (None, Ok(outcome)) => Ok(Outcome { ending, stop, ..outcome }),
    }
}

/// Opens the output for whoever asked for it.
fn claim_output(settings: &Settings) -> Result<(Output, std::fs::File), Error> {
    privilege::judge_path(&settings.output)?;
    let (mut output, file) = Output::claim(&settings.output)?;
    privilege::hand_over(&file, settings.mode).map_err(output_failed(&output))?;
    if let Some(folder) = &settings.temp {
        privilege::judge_path(&folder.join("x"))?;
        output.use_folder(folder)?;
    }
    Ok((output, file))
}

/// Gives the complete file its name, in the version that was asked for.
fn publish(mut output: Output, settings: &Settings) -> Result<(), Error> {
    if settings.file_version == FileVersion::V6 {
        let file = output.rewrite(writer6::rewrite)?;
        privilege::hand_over(&file, settings.mode).map_err(output_failed(&output))?;
    }
    output.publish()
}

fn output_failed(output: &Output) -> impl FnOnce(std::io::Error) -> Error {
    let path = output.path().to_owned();
    move |source| Error::Output { path, source }
}

/// Opens what tells when the processes of `-P` end; one that does not exist is an error now, not an empty trace later.
fn watch_processes(settings: &Settings) -> Result<Vec<OwnedFd>, Error> {
    let pids = settings.buffers.iter().flat_map(|buffer| &buffer.pids);
    pids.map(|&pid| signals::pidfd(pid).map_err(|source| Error::NoProcess { pid, source })).collect()
}

/// Makes sure that nobody else takes events out of the buffers.
fn claim_buffers(plans: &[BufferPlan<'_>]) -> Result<Vec<Flock<std::fs::File>>, Error> {
    let mut locks = Vec::new();
    for plan in plans.iter().filter(|plan| plan.instance.dir().is_dir()) {
        let lock = plan.instance.lock().map_err(Error::setup("claiming the buffer"))?;
        let consumers = plan.instance.consumers();
        match lock {
            Some(lock) if consumers.is_empty() => locks.push(lock),
            _ => {
                let instance = plan.instance.name().map(str::to_owned);
                return Err(Error::BufferBusy { instance, consumers, source: None });
            }
        }
    }
    Ok(locks)
}

/// The events whose formats the file needs.
fn recorded_events(
    settings: &Settings,
    plans: &[BufferPlan<'_>],
    top: &Instance,
) -> Result<BTreeSet<EventName>, Error> {
    if settings.all_formats {
        let all = top.select_events("all").and_then(|all| top.spell_out(&all));
        return all.map_err(Error::setup("reading the list of events"));
    }
    let mut events: BTreeSet<EventName> =
        plans.iter().flat_map(|plan| &plan.events).flat_map(|event| event.events.iter().cloned()).collect();
    for plan in plans.iter().filter(|_| settings.keep_before) {
        events.extend(plan.instance.enabled_events().map_err(Error::setup("reading the list of events"))?);
    }
    Ok(events)
}

/// Waits for a command that outlives its recording. Another signal ends the wait.
fn finish_command(child: RunningChild, stop: Stop, signals: &Signals) -> Option<child::Ending> {
    if let Stop::CommandEnded(ending) = stop {
        return Some(ending);
    }
    loop {
        if let Some(ending) = child.ended() {
            return Some(ending);
        }
        let _ = signals::sleep_on(&[signals.as_fd()], Some(Duration::from_secs(1)));
        if let Some(Caught { signal, .. }) = signals.caught() {
            return Some(child::Ending::Killed(signal as i32));
        }
    }
}
