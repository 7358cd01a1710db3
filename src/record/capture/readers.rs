//! The threads that read: one for each CPU of a buffer, or one for all of them that a companion brings.

use std::io;
use std::os::fd::BorrowedFd;
use std::thread::{self, Scope, ScopedJoinHandle};

use nix::sys::eventfd::EventFd;

use super::reader::{CpuReader, Handover, ReaderControl};
use crate::record::companion::BufferWork;
use crate::record::error::Error;
use crate::record::taken::{CpuResult, ReaderCounters};

/// What all readers share.
#[derive(Clone, Copy)]
pub struct ReaderContext<'scope> {
    /// Readable when it is time to take the rest and end.
    pub stop: BorrowedFd<'scope>,
    /// Made readable by a reader that ends before it should.
    pub alarm: &'scope EventFd,
    /// What the coordinator wants.
    pub control: &'scope ReaderControl,
}

/// Who empties a buffer.
pub enum BufferReaders<'c> {
    /// A reader for each CPU.
    PerCpu(Vec<CpuReader>),
    /// A companion, all of it.
    Companion(BufferWork<'c>),
}

/// Their threads.
pub enum ReaderThreads<'scope> {
    /// Each with its CPU.
    PerCpu(Vec<(u32, ScopedJoinHandle<'scope, io::Result<CpuResult>>)>),
    /// The one.
    Companion(ScopedJoinHandle<'scope, io::Result<Vec<CpuResult>>>),
}

impl<'c> BufferReaders<'c> {
    /// Starts their threads, each CPU with its counters.
    pub fn start<'scope, 'env>(
        self,
        scope: &'scope Scope<'scope, 'env>,
        counters: &'scope [ReaderCounters],
        context: ReaderContext<'scope>,
        handover: &Handover,
    ) -> Result<ReaderThreads<'scope>, Error>
    where
        'c: 'scope,
    {
        let failed = Error::system("starting a reader");
        match self {
            BufferReaders::PerCpu(readers) => {
                let start = |(reader, counters)| start_reader(scope, reader, counters, context, handover.clone());
                let threads: io::Result<_> = readers.into_iter().zip(counters).map(start).collect();
                Ok(ReaderThreads::PerCpu(threads.map_err(failed)?))
            }
            BufferReaders::Companion(work) => {
                let run = move || {
                    let alarm = WakeUnlessDone(context.alarm);
                    let results = work(context.stop, counters)?;
                    std::mem::forget(alarm);
                    Ok(results)
                };
                let thread = thread::Builder::new().name("rtrec/slow".to_owned()).spawn_scoped(scope, run);
                Ok(ReaderThreads::Companion(thread.map_err(failed)?))
            }
        }
    }
}

fn start_reader<'scope>(
    scope: &'scope Scope<'scope, '_>,
    reader: CpuReader,
    counters: &'scope ReaderCounters,
    context: ReaderContext<'scope>,
    handover: Handover,
) -> io::Result<(u32, ScopedJoinHandle<'scope, io::Result<CpuResult>>)> {
    let cpu = reader.cpu();
    let run = move || {
        let alarm = WakeUnlessDone(context.alarm);
        let result = reader.run(context.stop, context.control, &handover, counters)?;
        std::mem::forget(alarm);
        Ok(result)
    };
    Ok((cpu, thread::Builder::new().name(format!("rtrec/{cpu}")).spawn_scoped(scope, run)?))
}

impl ReaderThreads<'_> {
    /// Waits until they have taken the rest; the first failure is kept, and by `salvage` what a failed reader, by its place
    /// among the `cpus` of the buffer, has written.
    pub fn join(
        self,
        cpus: usize,
        salvage: impl Fn(usize) -> CpuResult,
        failure: &mut Option<Error>,
    ) -> Vec<CpuResult> {
        let mut failed = |cpu, source| {
            failure.get_or_insert(Error::Reader { cpu, source });
        };
        match self {
            ReaderThreads::PerCpu(threads) => {
                let join = |(index, (cpu, thread)): (usize, (u32, ScopedJoinHandle<'_, _>))| {
                    thread.join().unwrap_or_else(|_| Err(io::Error::other(PANICKED))).unwrap_or_else(|source| {
                        failed(cpu, source);
                        salvage(index)
                    })
                };
                threads.into_iter().enumerate().map(join).collect()
            }
            ReaderThreads::Companion(thread) => {
                thread.join().unwrap_or_else(|_| Err(io::Error::other(PANICKED))).unwrap_or_else(|source| {
                    failed(0, source);
                    (0..cpus).map(salvage).collect()
                })
            }
        }
    }
}

const PANICKED: &str = "the reader panicked";

/// Tells the readers to take the rest and end, however it is left.
pub struct StopOnDrop<'a>(pub &'a EventFd);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        let _ = self.0.write(1);
    }
}

/// Wakes the main thread when a reader ends before it should, by an error or a panic.
struct WakeUnlessDone<'a>(&'a EventFd);

impl Drop for WakeUnlessDone<'_> {
    fn drop(&mut self) {
        let _ = self.0.write(1);
    }
}
