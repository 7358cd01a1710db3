//! The recorder: from settings to a sealed trace.dat, the kernel left as it was found.
//!
//! [`run`] is the list of the steps; each step has a file of its own.

pub mod along;
pub mod capture;
pub mod error;
pub mod file;
pub mod outcome;
pub mod privilege;
pub mod session;
pub mod settings;
mod stream;
mod tee;
pub mod watch;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::fcntl::Flock;

pub use error::Error;
pub use file::metadata::configured_cpus;
pub use outcome::{BufferOutcome, CpuOutcome, Emptiness, Outcome, Stop};
pub use settings::{
    BufferSettings, EventSettings, FileVersion, FunctionOff, FunctionWord, Limits, ReaderChoice, Rotation, Settings,
    Tail, UserStack, WindowSettings,
};
pub use stream::{Round, Sink, StreamTexts, stream, stream_and_keep};
pub use watch::{Note, Progress, Silent, Watch};

use crate::control::journal::Leftover;
use crate::rt::sampling as perf;
use crate::setup::configure;
use crate::setup::plan::{self, BufferPlan};
use along::gathered::Extra;
use capture::child::{HeldChild, RunningChild};
use capture::reader::{CpuHarvest, Orders};
use capture::second_signal::Hurry;
use capture::signals::{self, Caught, Signals};
use capture::{child, limits, priority};
use file::first_sections::{TextsThread, Wanted};
use file::metadata;
use file::output::Output;
use file::rotation::Rotor;
use file::seal::{self, Closing};
use privilege::Identity;
use session::{Harvest, Session, open_buffer};

use crate::dat::own;
use crate::dat::unsealed::{Begin, Entry};
use crate::dat::writer::{Move, Room, Writer};
use crate::dat::writer6;
use crate::tracefs::Instance;
use crate::tracefs::events::EventName;

/// Makes a recording.
///
/// Whatever happens, the control files hold afterwards what they held before. No temporary file is left, unless a trace
/// could not be completed: then its files stay, for `rtrec restore` and `rtrec report`.
pub fn run(settings: &Settings, watch: &dyn Watch) -> Result<Outcome, Error> {
    privilege::refuse_elevated()?;
    let signals = Signals::block()?;
    let root = plan::open_root(settings.tracefs.as_deref())?;
    let plans = plan::judge(settings, &root)?;
    let processes = watch_processes(settings)?;
    priority::judge(settings.priority)?;
    let user = settings.user.as_deref().map(Identity::of).transpose()?;
    tell_leftovers(watch);
    let (mut output, file) = claim_output(settings)?;
    let child = match settings.command.as_slice() {
        [] => None,
        command => Some(HeldChild::spawn(command, user.as_ref())?),
    };
    // Probes are removed when everything that may hold them is put back, and even if the settings are to stay.
    let mut probes = output.journal().undo();
    let mut undo = output.journal().undo();
    let locks = claim_buffers(&plans)?;
    let top = root.top();
    let events = recorded_events(settings, &plans, &top)?;
    begin_journal(&output, settings, &events).map_err(output_failed(&output))?;
    let names = output.family().file("names");
    let functions = plan::function_buffers(&plans).cloned().collect();
    let values = plan::named_values(&plans);
    let texts = TextsThread::begin(Wanted { top: top.clone(), functions, events, values, names })?;
    plan::define_probes(&plans, &top, watch, &mut probes)?;
    let calls = match &settings.windows {
        Some(windows) if perf::needs_calls(windows) => plan::define_calls(&plans, &top, &mut probes)?,
        _ => Vec::new(),
    };
    let command = child.as_ref().map(|child| child.pid().as_raw());
    let mut extras = Extra::begin(settings, &plans, &root, watch, &output, command, &calls)?;
    for plan in &plans {
        configure::configure(plan, child.as_ref().map(|child| child.pid().as_raw()), watch, &mut undo)?;
    }
    let mut buffers = plans
        .iter()
        .map(|plan| open_buffer(plan, settings, &output, watch, &extras, &mut undo))
        .collect::<Result<Vec<_>, _>>()?;
    let subbuf_bytes = top.subbuf_layout().map_err(Error::setup("reading the page header's layout"))?.subbuf_bytes;
    texts.tell_ready(Writer::create(file, settings.compression, subbuf_bytes).map_err(output_failed(&output))?);
    let orders = Orders::default();
    let hurry = Hurry::new(&orders)?;
    thread::scope(|scope| {
        let _listening = hurry.listen(scope, &signals);
        output.set_worth_keeping(true);
        let session = Session {
            signals: &signals,
            processes,
            plans: &plans,
            top: &top,
            watch,
            settings,
            output: &output,
            maps: extras.maps(),
            orders: &orders,
            closing: hurry.closing(),
        };
        // Not part of what was asked for, so it goes even if the settings are to stay.
        let mut own = output.journal().undo();
        let harvest = session.record(&mut buffers, child, &texts, &mut own);
        let mut harvest = harvest.inspect_err(|_| output.set_worth_keeping(false))?;
        let mut closing = Closing::ask(&plans, &top);
        drop(buffers);
        drop(locks);
        if settings.keep {
            undo.forget();
        }
        texts.wait_for_formats();
        extras.let_go_of_probes(watch);
        // The kernel waits for all CPUs again and again here; so does the file for its symbols.
        let put_back = move || own.run().into_iter().chain(undo.run()).chain(probes.run()).collect::<Vec<_>>();
        let putting_back = scope.spawn(put_back);
        closing.extras = extras.finish(settings, watch, &output);
        let not_put_back = putting_back.join().unwrap_or_default();
        not_put_back.into_iter().for_each(|error| watch.note(Note::NotPutBack(error)));
        let _ = output.journal().put_back();
        let texts = finish_texts(texts, &mut closing, &mut harvest, watch);
        let mut outcome = closing.outcome(&plans, &harvest);
        let Harvest { child, stop, failure, buffers, rotated, rotor, .. } = harvest;
        // The end of the command decides whether the trace is wanted; else it may go on while its trace is completed.
        let end = || child.and_then(|child| finish_command(child, stop, &signals));
        let ending = settings.limits.only_if_failed.then(end).flatten();
        outcome.files = rotated;
        if ending.is_some_and(|ending| ending.status() == 0) {
            output.set_worth_keeping(false);
        } else {
            let ready = Ready { settings, closing: &closing, texts, buffers, rotor, failure: failure.as_ref() };
            outcome.files.push(ready.complete(output, &hurry)?);
        }
        Ok(Outcome { ending: ending.or_else(end), trouble: failure, ..outcome })
    })
}

/// Waits for the first sections; without them the recording has failed.
fn finish_texts(texts: TextsThread, closing: &mut Closing, harvest: &mut Harvest, watch: &dyn Watch) -> Option<Writer> {
    match texts.finish() {
        Ok(texts) => {
            closing.name_threads(&texts.threads);
            if !texts.has_symbols {
                watch.note(Note::NoSymbols);
            }
            Some(texts.writer)
        }
        Err(error) => {
            harvest.failure.get_or_insert(error);
            None
        }
    }
}

/// All that goes into the file.
struct Ready<'a> {
    settings: &'a Settings,
    closing: &'a Closing,
    texts: Option<Writer>,
    buffers: Vec<Vec<CpuHarvest>>,
    rotor: Rotor,
    failure: Option<&'a Error>,
}

/// What completing a file may need besides the data itself.
const RESERVED_BYTES: u64 = 16 << 20;

impl Ready<'_> {
    /// Seals the file and gives it its name.
    fn complete(mut self, mut output: Output, hurry: &Hurry<'_>) -> Result<PathBuf, Error> {
        let mut path = output.path().to_owned();
        let data = self.buffers.iter().flatten().flat_map(|cpu| &cpu.data).map(|data| data.bytes);
        let bytes = data.sum::<u64>() + own::bytes_in_files(output.family());
        // After a failure an empty trace is of no use to anybody.
        output.set_worth_keeping(bytes > 0 || self.failure.is_none());
        let unsealed = |source: io::Error| match hurry.signal() {
            Some(signal) => Error::Abandoned { path: path.clone(), signal },
            None => Error::Unsealed { path: path.clone(), source },
        };
        let texts = self.texts.take().ok_or_else(|| unsealed(cause(self.failure)))?;
        let room = match limits::space(output.family().folder()) {
            Some((free, _)) if free < bytes + RESERVED_BYTES => Room::Short,
            _ => Room::Plenty,
        };
        let journal = output.journal().clone();
        let mut moving = |step: Move<'_>| {
            if hurry.signal().is_some() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            // Only where a stretch is given back piece by piece its place must be known.
            let noted = journal.note(&Entry::Moving(step.into()));
            if room == Room::Short { noted.map(|()| room) } else { Ok(room) }
        };
        let harvests = self.buffers.into_iter();
        let mut data = harvests.map(|cpus| cpus.into_iter().map(|cpu| (cpu.cpu, cpu.data)).collect()).collect();
        let file = seal::seal(texts, self.closing, &mut data, &mut moving).map_err(unsealed)?;
        let mut too_old = None;
        if self.settings.limits.rotation.is_some() {
            (path, too_old) = self.rotor.name_next();
            output.set_path(&path);
        }
        let file = match self.settings.file_version {
            FileVersion::V6 => output.rewrite(writer6::rewrite)?,
            FileVersion::V7 => file,
        };
        privilege::hand_over(&file, self.settings.mode).map_err(output_failed(&output))?;
        output.publish(&file)?;
        too_old.into_iter().for_each(|old| drop(std::fs::remove_file(old)));
        Ok(path)
    }
}

/// The system's answer at the bottom of an error.
fn cause(error: Option<&Error>) -> io::Error {
    let sources = std::iter::successors(error.map(|error| error as &dyn std::error::Error), |error| error.source());
    let errno = sources.filter_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error()).last();
    errno.map_or_else(|| io::Error::other("the formats could not be written"), io::Error::from_raw_os_error)
}

/// Says so when recorders that were killed have left settings behind.
fn tell_leftovers(watch: &dyn Watch) {
    let count = Leftover::registered().iter().filter(|leftover| leftover.needs_reset()).count();
    if count > 0 {
        watch.note(Note::Leftovers(count));
    }
}

/// Writes down what a restored trace needs to be known.
fn begin_journal(output: &Output, settings: &Settings, events: &BTreeSet<EventName>) -> io::Result<()> {
    let begin = Begin {
        elsewhere: settings.temp.is_some(),
        compression: settings.compression.name().to_owned(),
        uname: metadata::uname(),
        cpus: metadata::configured_cpus(),
        events: events.iter().map(ToString::to_string).collect(),
        ..Begin::here(std::path::absolute(output.path())?.to_string_lossy().into_owned())
    };
    output.journal().note(&Entry::Begin(begin))
}

/// Opens the output for whoever asked for it.
fn claim_output(settings: &Settings) -> Result<(Output, std::fs::File), Error> {
    privilege::judge_path(&settings.output)?;
    if let Some(folder) = &settings.temp {
        privilege::judge_path(&folder.join("x"))?;
    }
    let (output, file) = Output::claim(&settings.output, settings.temp.as_deref())?;
    privilege::hand_over(&file, settings.mode).map_err(output_failed(&output))?;
    Ok((output, file))
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
        let mut all = all.map_err(Error::setup("reading the list of events"))?;
        // Probes are not there yet.
        all.extend(plans.iter().flat_map(|plan| &plan.events).flat_map(|event| event.events.iter().cloned()));
        return Ok(all);
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
