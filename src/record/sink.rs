//! Where records go: what the orchestrator asks of a sink, and what it hands it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::capture::child::{HeldChild, RunningChild};
use super::capture::course::Course;
use super::companion::Companion;
use super::error::Error;
use super::file::sealing::ClosingMetadata;
use super::observer::Observer;
use super::outcome::Outcome;
use super::settings::Settings;
use super::taken::Captured;
use crate::setup::plan::BufferPlan;
use crate::tracefs::events::EventName;
use crate::tracefs::{Instance, Tracefs, Undo};

/// What is recorded, for whom.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) settings: &'a Settings,
    pub(super) plans: &'a [BufferPlan<'a>],
    pub(super) root: &'a Tracefs,
    pub(super) top: &'a Instance,
    pub(super) observer: &'a dyn Observer,
    /// The command, which is held.
    pub(super) command: Option<i32>,
}

/// Where records go. The methods are called in this order.
pub(super) trait Sink<'c> {
    /// These events are going to be recorded; nothing in the kernel has been changed.
    fn expect(&mut self, scene: &Scene<'_>, events: BTreeSet<EventName>) -> Result<(), Error>;

    /// Probes are defined, buffers are not set up.
    fn start(&mut self, scene: &Scene<'_>, companion: &mut dyn Companion<'c>, probes: &mut Undo) -> Result<(), Error>;

    /// Buffers are set up: opens them.
    fn open(&mut self, scene: &Scene<'_>, companion: &dyn Companion<'c>, undo: &mut Undo) -> Result<(), Error>;

    /// Runs the course and takes all records; `undo` is for what goes back even if the settings are to stay.
    fn capture(
        &mut self,
        scene: &Scene<'_>,
        course: &Course<'_>,
        child: Option<HeldChild>,
        undo: &mut Undo,
    ) -> Result<(Captured, Option<RunningChild>), Error>;

    /// The kernel's settings are going to be put back: closes the buffers and waits until all is read that goes with them.
    fn close(&mut self);

    /// Completes what was gathered along the recording, while the settings are being put back.
    fn gather(&mut self, scene: &Scene<'_>, companion: &mut dyn Companion<'c>, closing: &mut ClosingMetadata);

    /// The settings are put back. What could not be read is a failure from now on.
    fn settle(&mut self, scene: &Scene<'_>, closing: &mut ClosingMetadata, captured: &mut Captured);

    /// Completes the file, if there is one and it is `wanted`.
    fn complete(
        &mut self,
        scene: &Scene<'_>,
        closing: &ClosingMetadata,
        captured: &mut Captured,
        wanted: bool,
        second_signal: &dyn Fn() -> Option<i32>,
    ) -> Result<Option<PathBuf>, Error>;

    /// Says what the outcome means for this sink.
    fn correct(&self, _outcome: &mut Outcome) {}
}
