//! The orchestrator: from settings to a sealed trace.dat or a stream, the kernel left as it was found.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

use super::capture::child::{HeldChild, RunningChild};
use super::capture::course::Course;
use super::capture::priority;
use super::capture::reader::ReaderControl;
use super::capture::second_signal::SecondSignal;
use super::capture::signals::{self, Caught, Signals};
use super::capture::user::{self, Identity};
use super::companion::{Accompanied, Alone, Companion};
use super::error::Error;
use super::file::output::Output;
use super::file::ownership;
use super::file::sealing::ClosingMetadata;
use super::observer::{Note, Observer};
use super::outcome::{Ending, Outcome, Stop};
use super::settings::{FileSettings, Settings};
use super::sink::{Scene, Sink};
use super::to_file::FileSink;
use super::to_stream::{Receiver, StreamSink};
use crate::control::{Leftover, StandaloneJournal};
use crate::setup::plan::{self, BufferPlan};
use crate::setup::{self, configure, root};
use crate::tracefs::events::EventName;
use crate::tracefs::{Instance, Undo};

/// Makes a recording in a file, with whoever takes part.
///
/// Whatever happens, the control files hold afterwards what they held before. No temporary file is left, unless a trace
/// could not be completed: then its files stay, for `rtrec restore` and `rtrec report`.
pub fn run<'c>(
    settings: &Settings,
    companion: &mut dyn Companion<'c>,
    observer: &dyn Observer,
) -> Result<Outcome, Error> {
    orchestrate(settings, Target::File, companion, observer)
}

/// Records to a receiver; a record reaches it within about `delay`.
pub fn stream(
    settings: &Settings,
    delay: Duration,
    observer: &dyn Observer,
    receiver: &mut dyn Receiver,
) -> Result<Outcome, Error> {
    orchestrate(settings, Target::Stream { receiver, delay, kept: false }, &mut Alone, observer)
}

/// The same, kept in the output file as well.
pub fn stream_and_keep(
    settings: &Settings,
    delay: Duration,
    observer: &dyn Observer,
    receiver: &mut dyn Receiver,
) -> Result<Outcome, Error> {
    orchestrate(settings, Target::Stream { receiver, delay, kept: true }, &mut Alone, observer)
}

/// Where records go.
enum Target<'r> {
    File,
    Stream { receiver: &'r mut dyn Receiver, delay: Duration, kept: bool },
}

/// Where the journal of what is changed lies: beside the file, if there is one.
enum Claimed {
    /// The file, until its sink has it.
    Output(Box<Output>, Option<File>),
    /// Where that cannot be done there is none.
    Nothing(Option<StandaloneJournal>),
}

impl Claimed {
    fn claim(settings: &FileSettings, target: &Target<'_>) -> Result<Claimed, Error> {
        match target {
            Target::Stream { kept: false, .. } => Ok(Claimed::Nothing(StandaloneJournal::new())),
            Target::File | Target::Stream { kept: true, .. } => {
                ownership::check_path(&settings.output)?;
                if let Some(folder) = &settings.temp {
                    ownership::check_path(&folder.join("x"))?;
                }
                let (output, file) = Output::claim(&settings.output, settings.temp.as_deref())?;
                ownership::hand_over(&file, settings.mode).map_err(Error::output(output.path()))?;
                Ok(Claimed::Output(Box::new(output), Some(file)))
            }
        }
    }

    fn undo(&self) -> Undo {
        match self {
            Claimed::Output(output, _) => output.journal().undo(),
            Claimed::Nothing(journal) => journal.as_ref().map_or_else(Undo::new, StandaloneJournal::undo),
        }
    }

    fn sink<'s, 'c: 's, 'r: 's>(&'s mut self, target: Target<'r>) -> Box<dyn Sink<'c> + 's> {
        let output = match self {
            Claimed::Output(output, file) => file.take().map(|file| (&mut **output, file)),
            Claimed::Nothing(_) => None,
        };
        match (target, output) {
            (Target::Stream { receiver, delay, .. }, output) => Box::new(StreamSink::new(receiver, delay, output)),
            (Target::File, Some((output, file))) => Box::new(FileSink::new(output, file)),
            (Target::File, None) => unreachable!("a file has been claimed"),
        }
    }
}

fn orchestrate<'c>(
    settings: &Settings,
    target: Target<'_>,
    companion: &mut dyn Companion<'c>,
    observer: &dyn Observer,
) -> Result<Outcome, Error> {
    user::refuse_elevated()?;
    let signals = Signals::block()?;
    let setup = settings.for_setup();
    let root = root::open_root(setup.tracefs.as_deref())?;
    let top = root.top();
    companion.check(&top)?;
    let plans = plan::check(&setup, &root)?;
    let processes = watch_processes(&setup)?;
    priority::check(settings.capture.pace.priority)?;
    let user = settings.capture.user.as_deref().map(Identity::of).transpose()?;
    if matches!(target, Target::File) {
        note_leftovers(observer);
    }
    let mut claimed = Claimed::claim(&settings.file, &target)?;
    let child = match settings.capture.command.as_slice() {
        [] => None,
        command => Some(HeldChild::spawn(command, user.as_ref())?),
    };
    let command = child.as_ref().map(|child| child.pid().as_raw());
    let scene = Scene { settings, plans: &plans, root: &root, top: &top, observer, command };
    // Probes are removed when everything that may hold them is put back, and even if the settings are to stay.
    let mut undo = UndoSteps { probes: claimed.undo(), settings: claimed.undo(), readers: claimed.undo() };
    let locks = root::claim_buffers(&plans)?;
    let mut sink = claimed.sink(target);
    let companion = Accompanied(companion);
    set_up(&scene, &mut *sink, &mut *companion.0, &mut undo)?;
    let control = ReaderControl::default();
    let second_signal = SecondSignal::new(&control)?;
    let course = Course {
        signals: &signals,
        processes,
        plans: &plans,
        observer,
        duration: settings.capture.duration,
        control: &control,
        recording_ended: second_signal.recording_ended(),
    };
    thread::scope(|scope| {
        let listening = second_signal.listen(scope, &signals);
        let captured = sink.capture(&scene, &course, child, &mut undo.readers);
        if captured.is_err() {
            // Nobody may hold the buffers or probes when they are put back.
            sink.close();
            companion.0.stop();
        }
        let (mut captured, child) = captured?;
        let mut closing = ClosingMetadata::read(&plans, &top);
        sink.close();
        drop(locks);
        companion.0.release_probes();
        if settings.keep {
            undo.settings.forget();
        }
        // The kernel waits for all CPUs again and again here; so does the file for its symbols.
        let putting_back = scope.spawn(move || undo.run());
        sink.gather(&scene, &mut *companion.0, &mut closing);
        let not_put_back = putting_back.join().unwrap_or_default();
        not_put_back.into_iter().for_each(|error| observer.note(Note::NotPutBack(error)));
        sink.settle(&scene, &mut closing, &mut captured);
        let mut outcome = closing.outcome(&plans, &captured);
        companion.0.correct(&mut outcome);
        sink.correct(&mut outcome);
        // The end of the command decides whether the trace is wanted; else it may go on while its trace is completed.
        let stop = captured.stop;
        let decides = settings.capture.limits.only_if_failed;
        let end = || child.and_then(|child| finish_command(child, stop, &signals));
        let ending = if decides { end() } else { None };
        let wanted = ending.is_none_or(|ending| ending.status() != 0);
        let file = sink.complete(&scene, &closing, &mut captured, wanted, &|| second_signal.signal())?;
        outcome.files = captured.rotated.into_iter().chain(file).collect();
        drop(listening);
        Ok(Outcome { ending: ending.or_else(end), trouble: captured.failure, ..outcome })
    })
}

/// What is put back at the end, last to first.
struct UndoSteps {
    probes: Undo,
    settings: Undo,
    /// Goes even if the settings are to stay: it was not part of what was asked for.
    readers: Undo,
}

impl UndoSteps {
    fn run(mut self) -> Vec<crate::tracefs::Error> {
        let steps = [&mut self.readers, &mut self.settings, &mut self.probes];
        steps.into_iter().flat_map(Undo::run).collect()
    }
}

impl Drop for UndoSteps {
    fn drop(&mut self) {
        for steps in [&mut self.readers, &mut self.settings, &mut self.probes] {
            steps.run();
        }
    }
}

/// Sets the kernel up, and opens the buffers.
fn set_up<'c>(
    scene: &Scene<'_>,
    sink: &mut dyn Sink<'c>,
    companion: &mut dyn Companion<'c>,
    undo: &mut UndoSteps,
) -> Result<(), Error> {
    sink.expect(scene, recorded_events(scene)?)?;
    let note = |note| scene.observer.note(Note::Setup(note));
    plan::define_probes(scene.plans, scene.top, &note, &mut undo.probes)?;
    sink.start(scene, companion, &mut undo.probes)?;
    for plan in scene.plans {
        configure::configure(plan, scene.command, &note, &mut undo.settings)?;
    }
    sink.open(scene, companion, &mut undo.settings)
}

/// Says so when recorders that were killed have left settings behind.
fn note_leftovers(observer: &dyn Observer) {
    let count = Leftover::registered().iter().filter(|leftover| leftover.needs_reset()).count();
    if count > 0 {
        observer.note(Note::Leftovers(count));
    }
}

/// Opens what tells when the processes of `-P` end; one that does not exist is an error now, not an empty trace later.
fn watch_processes(settings: &setup::Settings) -> Result<Vec<OwnedFd>, Error> {
    let watch = |pid| signals::pidfd(pid).map_err(|source| Error::NoProcess { pid, source });
    settings.pids().map(watch).collect()
}

/// The events whose formats are needed.
fn recorded_events(scene: &Scene<'_>) -> Result<BTreeSet<EventName>, Error> {
    let named = |plans: &[BufferPlan<'_>]| -> BTreeSet<EventName> {
        plans.iter().flat_map(|plan| &plan.events).flat_map(|event| event.events.iter().cloned()).collect()
    };
    // Probes are not there yet, so they are among the named ones only.
    let mut events = named(scene.plans);
    if scene.settings.file.all_formats {
        let all = scene.top.select_events("all").and_then(|all| scene.top.spell_out(&all));
        events.extend(all.map_err(Error::at("reading the list of events"))?);
    } else if scene.settings.setup.keep_before {
        for plan in scene.plans {
            let enabled: Result<_, _> = Instance::enabled_events(&plan.instance);
            events.extend(enabled.map_err(Error::at("reading the list of events"))?);
        }
    }
    Ok(events)
}

/// Waits for a command that outlives its recording. Another signal ends the wait.
fn finish_command(child: RunningChild, stop: Stop, signals: &Signals) -> Option<Ending> {
    if let Stop::CommandEnded(ending) = stop {
        return Some(ending);
    }
    loop {
        if let Some(ending) = child.ended() {
            return Some(ending);
        }
        let _ = signals::sleep_on(&[signals.as_fd()], Some(Duration::from_secs(1)));
        if let Some(Caught { signal, .. }) = signals.caught() {
            return Some(Ending::Killed(signal as i32));
        }
    }
}
