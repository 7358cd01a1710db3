//! A stream that is kept in a file as well: the sub-buffers are written as they pass.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use crate::dat::unsealed::{BufferEntry, Entry};
use crate::dat::writer::{Move, Room, Writer};
use crate::record::error::Error;
use crate::record::file::metadata::{self, Texts};
use crate::record::file::output::Output;
use crate::record::file::rotation::BufferData;
use crate::record::file::seal::{self, Closing};
use crate::record::file::segments::{Files, Stretches};
use crate::record::settings::Settings;
use crate::record::{begin_journal, claim_output, output_failed, recorded_events};
use crate::setup::plan::BufferPlan;
use crate::tracefs::Instance;

/// A file to be, and whether its way is clear.
pub(crate) struct Claimed {
    output: Output,
    file: File,
}

impl Claimed {
    /// Opens it before anything in the kernel is changed.
    pub(crate) fn new(settings: &Settings) -> Result<Claimed, Error> {
        let (output, file) = claim_output(settings)?;
        Ok(Claimed { output, file })
    }

    /// The journal of what is changed in the kernel.
    pub(crate) fn undo(&self) -> crate::tracefs::Undo {
        self.output.journal().undo()
    }

    /// Notes what is going to be recorded.
    pub(crate) fn note(&self, settings: &Settings, plans: &[BufferPlan<'_>], top: &Instance) -> Result<(), Error> {
        let events = recorded_events(settings, plans, top)?;
        begin_journal(&self.output, settings, &events).map_err(output_failed(&self.output))
    }

    /// Writes the first sections and opens a file for each CPU.
    pub(crate) fn begin(self, settings: &Settings, buffers: Vec<BufferEntry>, texts: &Texts) -> Result<Keeper, Error> {
        let Claimed { mut output, file } = self;
        let failed = output_failed(&output);
        let made = || -> io::Result<_> {
            let subbuf_bytes = buffers.first().map_or(4096, |buffer| buffer.subbuf_bytes);
            let mut writer = Writer::create(file, settings.compression, subbuf_bytes)?;
            writer.sections(&texts.sections())?;
            let mut cpus = Vec::new();
            for entry in buffers {
                output.journal().note(&Entry::Buffer(entry.clone()))?;
                cpus.push(open(&output, settings, &entry)?);
            }
            Ok((writer, cpus))
        };
        let (writer, cpus) = made().map_err(failed)?;
        output.set_worth_keeping(true);
        Ok(Keeper { output, writer, cpus })
    }
}

fn open(output: &Output, settings: &Settings, buffer: &BufferEntry) -> io::Result<Vec<(u32, Stretches)>> {
    let begin = |&cpu: &u32| {
        let files = Files::new(output.family().clone(), &buffer.name, cpu);
        let bytes = buffer.subbuf_bytes as usize;
        Ok((cpu, Stretches::begin(files, settings.compression, bytes, settings.limits.tail)?))
    };
    buffer.cpus.iter().map(begin).collect()
}

/// A file being written.
pub(crate) struct Keeper {
    output: Output,
    writer: Writer,
    cpus: Vec<Vec<(u32, Stretches)>>,
}

impl Keeper {
    /// Keeps a sub-buffer of a CPU.
    pub(crate) fn keep(&mut self, buffer: usize, cpu: u32, page: &[u8]) -> io::Result<()> {
        let cpus = self.cpus.get_mut(buffer).into_iter().flatten();
        let Some((_, stretches)) = cpus.into_iter().find(|(known, _)| *known == cpu) else { return Ok(()) };
        stretches.chunks().slot()[..page.len()].copy_from_slice(page);
        stretches.chunks().keep()?;
        stretches.tend(Instant::now())
    }

    /// Completes the file: to be called while the instances are still there.
    pub(crate) fn complete(
        mut self,
        plans: &[BufferPlan<'_>],
        top: &Instance,
        threads: &BTreeMap<i32, Vec<u8>>,
        options: Vec<(u16, Vec<u8>)>,
    ) -> Result<PathBuf, Error> {
        let mut closing = Closing::ask(plans, top);
        closing.name_threads(threads);
        closing.extras.options = options;
        closing.make_lone_buffer_main();
        let path = self.output.path().to_owned();
        let unsealed = |source: io::Error| Error::Unsealed { path: path.clone(), source };
        let finish = |cpus: Vec<(u32, Stretches)>| -> io::Result<Vec<_>> {
            cpus.into_iter().map(|(cpu, stretches)| Ok((cpu, stretches.finish()?))).collect()
        };
        let data: io::Result<BufferData> = std::mem::take(&mut self.cpus).into_iter().map(finish).collect();
        let mut data = data.map_err(unsealed)?;
        let journal = self.output.journal().clone();
        let mut moving = |step: Move<'_>| journal.note(&Entry::Moving(step.into())).map(|()| Room::Short);
        let file = seal::seal(self.writer, &closing, &mut data, &mut moving).map_err(unsealed)?;
        crate::record::privilege::hand_over(&file, None).map_err(output_failed(&self.output))?;
        self.output.publish(&file)?;
        Ok(path)
    }
}

/// Names of living threads, for those that the kernel forgets.
pub(crate) fn threads() -> BTreeMap<i32, Vec<u8>> {
    metadata::living_threads()
}
