//! A stream that is kept in a file as well: the sub-buffers are written as they pass.

use std::fs::File;
use std::io;
use std::time::Instant;

use super::error::Error;
use super::file::metadata::Metadata;
use super::file::output::Output;
use super::file::segments::{SegmentFiles, SegmentNames};
use super::settings::Settings;
use super::taken::CpuResult;
use crate::dat::unsealed::{BufferEntry, JournalEntry};
use crate::dat::writer::Writer;

/// A file being written.
pub(super) struct FileCopy {
    /// With its first sections.
    pub(super) writer: Writer,
    cpus: Vec<Vec<(u32, SegmentFiles)>>,
}

impl FileCopy {
    /// Writes the first sections and opens a file for each CPU.
    pub(super) fn begin(
        output: &mut Output,
        file: File,
        settings: &Settings,
        buffers: Vec<BufferEntry>,
        metadata: &Metadata,
    ) -> Result<FileCopy, Error> {
        let begin = || -> io::Result<FileCopy> {
            let subbuf_bytes = buffers.first().map_or(4096, |buffer| buffer.subbuf_bytes);
            let mut writer = Writer::create(file, settings.file.compression, subbuf_bytes)?;
            writer.sections(&metadata.sections())?;
            let mut cpus = Vec::new();
            for entry in buffers {
                output.journal().note(&JournalEntry::Buffer(entry.clone()))?;
                cpus.push(open(output, settings, &entry)?);
            }
            Ok(FileCopy { writer, cpus })
        };
        let copy = begin().map_err(Error::output(output.path()))?;
        output.keep_on_drop(true);
        Ok(copy)
    }

    /// Writes a sub-buffer of a CPU.
    pub(super) fn write(&mut self, buffer: usize, cpu: u32, subbuf: &[u8]) -> io::Result<()> {
        let cpus = self.cpus.get_mut(buffer).into_iter().flatten();
        let Some((_, files)) = cpus.into_iter().find(|(known, _)| *known == cpu) else { return Ok(()) };
        files.chunks().slot()[..subbuf.len()].copy_from_slice(subbuf);
        files.chunks().keep()?;
        files.update(Instant::now())
    }

    /// Ends writing; what each CPU has brought.
    pub(super) fn finish(&mut self) -> io::Result<Vec<Vec<CpuResult>>> {
        let one =
            |(cpu, files): (u32, SegmentFiles)| Ok(CpuResult { cpu, data: files.finish()?, ..CpuResult::default() });
        std::mem::take(&mut self.cpus).into_iter().map(|cpus| cpus.into_iter().map(one).collect()).collect()
    }
}

fn open(output: &Output, settings: &Settings, buffer: &BufferEntry) -> io::Result<Vec<(u32, SegmentFiles)>> {
    let begin = |&cpu: &u32| {
        let names = SegmentNames::new(output.family().clone(), &buffer.name, cpu);
        let (compression, tail) = (settings.file.compression, settings.capture.limits.tail);
        Ok((cpu, SegmentFiles::begin(names, compression, buffer.subbuf_bytes as usize, tail)?))
    };
    buffer.cpus.iter().map(begin).collect()
}
