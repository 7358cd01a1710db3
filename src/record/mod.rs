//! The recorder: from settings to a sealed trace.dat, the kernel left as it was found.
//!
//! [`run`] is the list of the steps; each step has a file of its own.

pub mod child;
mod configure;
pub mod cpu;
mod error;
mod metadata;
pub mod names;
mod outcome;
mod output;
mod plan;
mod seal;
mod session;
pub mod settings;
mod signals;
mod watch;

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::fcntl::Flock;

pub use error::Error;
pub use outcome::{BufferOutcome, CpuOutcome, Emptiness, Outcome, Stop};
pub use settings::{BufferSettings, EventSettings, ReaderChoice, Settings};
pub use watch::{Note, Progress, Silent, Watch};

use child::{HeldChild, RunningChild};
use output::Output;
use plan::BufferPlan;
use session::{Harvest, Session, open_buffer};
use signals::{Caught, Signals};

use crate::dat::writer::Writer;
use crate::tracefs::events::EventName;
use crate::tracefs::{Instance, Undo};

/// Makes a recording.
///
/// Whatever happens, the control files hold afterwards what they held before, and no temporary file is left.
pub fn run(settings: &Settings, watch: &dyn Watch) -> Result<Outcome, Error> {
    let signals = Signals::block()?;
    let root = plan::open_root(settings.tracefs.as_deref())?;
    let plans = plan::judge(settings, &root)?;
    let processes = watch_processes(settings)?;
    let (mut output, file) = Output::claim(&settings.output)?;
    let child = if settings.command.is_empty() { None } else { Some(HeldChild::spawn(&settings.command)?) };
    let mut undo = Undo::new();
    let locks = claim_buffers(&plans)?;
    for plan in &plans {
        configure::configure(plan, settings, child.as_ref().map(|child| child.pid().as_raw()), watch, &mut undo)?;
    }
    let mut buffers =
        plans.iter().map(|plan| open_buffer(plan, settings, &mut output, watch)).collect::<Result<Vec<_>, _>>()?;
    let top = root.top();
    let events = recorded_events(settings, &plans, &top)?;
    let page_bytes = top.subbuf_layout().map_err(Error::setup("reading the page header's layout"))?.subbuf_bytes;
    let writer = Writer::create(file, settings.compression, page_bytes).map_err(output_failed(&output))?;
    let session = Session { signals: &signals, processes, plans: &plans, top: &top, watch };
    let harvest = session.record(&mut buffers, child, writer, &events, &mut undo)?;
    let report = seal::collect(&plans, &top, &harvest);
    drop(buffers);
    drop(locks);
    undo.run().into_iter().for_each(|error| watch.note(Note::NotPutBack(error)));
    let Harvest { child, stop, failure, texts, buffers, .. } = harvest;
    let sealed = seal::seal(texts, report, buffers).map_err(output_failed(&output));
    let sealed = sealed.and_then(|outcome| output.publish().map(|()| outcome));
    let ending = child.and_then(|child| finish_command(child, stop, &signals));
    match (failure, sealed) {
        (Some(failure), _) => Err(failure),
        (None, Err(error)) => Err(error),
        (None, Ok(outcome)) => Ok(Outcome { ending, stop, ..outcome }),
    }
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
    Ok(plans.iter().flat_map(|plan| &plan.events).flat_map(|event| event.events.iter().cloned()).collect())
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
