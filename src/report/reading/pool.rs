//! Threads: chunks are fetched ahead and batches rendered by a few workers, while one thread merges and writes.
//!
//! ```text
//!   merge (main thread) --batch n--> [ render queue ] --> worker --> text of batch n --\
//!        ^                                                                              > written in order
//!        '---- chunk <-- [ fetch queue, served first ] --> worker                      /   by the main thread
//! ```
//!
//! The main thread never idles while there is work: when too many batches are under way it renders one itself. With one
//! thread there are no workers and the same code does everything in turn, so the bytes are the same.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::stream::{Chunk, Finder};
use crate::dat::ChunkAt;

enum FetchState {
    Waiting,
    Running,
    Done(Arc<Chunk>),
    Taken,
}

/// A chunk that is wanted soon.
pub(super) struct Fetch {
    finder: Finder,
    at: ChunkAt,
    state: Mutex<FetchState>,
    done: Condvar,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fetch {
    pub(super) fn new(finder: Finder, at: ChunkAt) -> Arc<Fetch> {
        Arc::new(Fetch { finder, at, state: Mutex::new(FetchState::Waiting), done: Condvar::new() })
    }

    /// Where the chunk is.
    pub(super) fn place(&self) -> ChunkAt {
        self.at
    }

    /// Reads the chunk and finds its records, unless somebody else has begun.
    fn run(&self) {
        let mut state = lock(&self.state);
        if !matches!(*state, FetchState::Waiting) {
            return;
        }
        *state = FetchState::Running;
        drop(state);
        let mut guard = FetchGuard { fetch: self, chunk: Arc::default() };
        guard.chunk = Arc::new(self.finder.find(&self.at));
    }

    /// The chunk; fetched here and now if nobody has begun.
    pub(super) fn take(&self) -> Arc<Chunk> {
        self.run();
        let mut state = lock(&self.state);
        while matches!(*state, FetchState::Running) {
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match std::mem::replace(&mut *state, FetchState::Taken) {
            FetchState::Done(chunk) => chunk,
            _ => Arc::default(),
        }
    }
}

/// Hands the chunk over when it is dropped: also, empty, when finding its records panicked, since somebody may wait.
struct FetchGuard<'f> {
    fetch: &'f Fetch,
    chunk: Arc<Chunk>,
}

impl Drop for FetchGuard<'_> {
    fn drop(&mut self) {
        *lock(&self.fetch.state) = FetchState::Done(std::mem::take(&mut self.chunk));
        self.fetch.done.notify_all();
    }
}

struct Queues<B> {
    fetches: VecDeque<Arc<Fetch>>,
    renders: VecDeque<(u64, B)>,
    /// Outputs in order, from batch `first` on.
    done: VecDeque<Option<Vec<u8>>>,
    first: u64,
    spare: Vec<Vec<u8>>,
    closed: bool,
    /// A worker panicked.
    dead: bool,
}

/// The queues that workers and the main thread share.
pub(in crate::report) struct Pool<B> {
    queues: Mutex<Queues<B>>,
    /// There is something to do, or it is over.
    work: Condvar,
    /// An output is ready.
    ready: Condvar,
    threads: usize,
}

/// Makes `batch` text.
pub(in crate::report) trait Render<B>: Sync {
    fn render(&self, batch: &B, out: &mut Vec<u8>);
}

/// Tells the main thread when a worker dies, so that it does not wait for ever.
struct Alarm<'p, B>(&'p Pool<B>);

impl<B> Drop for Alarm<'_, B> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.0.queues).dead = true;
            self.0.ready.notify_all();
        }
    }
}

impl<B: Send> Pool<B> {
    pub(in crate::report) fn new(threads: usize) -> Pool<B> {
        Pool {
            queues: Mutex::new(Queues {
                fetches: VecDeque::new(),
                renders: VecDeque::new(),
                done: VecDeque::new(),
                first: 0,
                spare: Vec::new(),
                closed: false,
                dead: false,
            }),
            work: Condvar::new(),
            ready: Condvar::new(),
            threads: threads.max(1),
        }
    }

    /// Asks for a chunk ahead of its use.
    pub(super) fn prefetch(&self, fetch: &Arc<Fetch>) {
        if self.threads > 1 {
            lock(&self.queues).fetches.push_back(Arc::clone(fetch));
            self.work.notify_one();
        }
    }

    fn worker(&self, render: &dyn Render<B>) {
        let _alarm = Alarm(self);
        let mut queues = lock(&self.queues);
        loop {
            if let Some(fetch) = queues.fetches.pop_front() {
                drop(queues);
                fetch.run();
                queues = lock(&self.queues);
            } else if let Some((number, batch)) = queues.renders.pop_front() {
                let mut out = queues.spare.pop().unwrap_or_default();
                drop(queues);
                render.render(&batch, &mut out);
                drop(batch);
                queues = lock(&self.queues);
                queues.finish(number, out);
                self.ready.notify_one();
            } else if queues.closed {
                return;
            } else {
                queues = self.work.wait(queues).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Takes batches from `next` until there is none, and writes their texts in order. Stops at the first error of
    /// `out`.
    pub(super) fn run(
        &self,
        mut next: impl FnMut() -> Option<B>,
        render: &dyn Render<B>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        std::thread::scope(|scope| {
            for _ in 1..self.threads {
                scope.spawn(|| self.worker(render));
            }
            let result = self.drive(&mut next, render, out);
            self.close();
            result
        })
    }

    /// Takes batches from `next` one by one, while workers fetch ahead.
    pub(super) fn consume(&self, mut next: impl FnMut() -> Option<B>, mut each: impl FnMut(B)) {
        struct Nothing;
        impl<B> Render<B> for Nothing {
            fn render(&self, _: &B, _: &mut Vec<u8>) {}
        }
        std::thread::scope(|scope| {
            for _ in 1..self.threads {
                scope.spawn(|| self.worker(&Nothing));
            }
            while let Some(batch) = next() {
                each(batch);
            }
            self.close();
        });
        // Whoever runs next starts its own workers.
        lock(&self.queues).closed = false;
    }

    fn close(&self) {
        let mut queues = lock(&self.queues);
        queues.closed = true;
        queues.renders.clear();
        queues.fetches.clear();
        drop(queues);
        self.work.notify_all();
    }

    fn drive(
        &self,
        next: &mut dyn FnMut() -> Option<B>,
        render: &dyn Render<B>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let most = if self.threads == 1 { 1 } else { 2 * self.threads + 2 };
        let mut number = 0;
        while let Some(batch) = next() {
            let mut queues = lock(&self.queues);
            queues.renders.push_back((number, batch));
            queues.done.push_back(None);
            drop(queues);
            self.work.notify_one();
            number += 1;
            self.settle(most - 1, render, out)?;
        }
        self.settle(0, render, out)
    }

    /// Writes what is ready; while more than `most` batches are under way, helps or waits.
    fn settle(&self, most: usize, render: &dyn Render<B>, out: &mut dyn Write) -> io::Result<()> {
        let mut queues = lock(&self.queues);
        loop {
            if queues.dead {
                return Err(io::Error::other("a thread of the report failed"));
            }
            if let Some(Some(_)) = queues.done.front() {
                let text = queues.done.pop_front().flatten().unwrap_or_default();
                queues.first += 1;
                drop(queues);
                out.write_all(&text)?;
                queues = lock(&self.queues);
                queues.recycle(text);
            } else if queues.done.len() <= most {
                return Ok(());
            } else if let Some((number, batch)) = queues.renders.pop_front() {
                let mut text = queues.spare.pop().unwrap_or_default();
                drop(queues);
                render.render(&batch, &mut text);
                drop(batch);
                queues = lock(&self.queues);
                queues.finish(number, text);
            } else {
                queues = self.ready.wait(queues).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl<B> Queues<B> {
    fn finish(&mut self, number: u64, text: Vec<u8>) {
        let at = number.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(slot) = at.and_then(|at| self.done.get_mut(at)) {
            *slot = Some(text);
        }
    }

    fn recycle(&mut self, mut text: Vec<u8>) {
        text.clear();
        if self.spare.len() < 16 {
            self.spare.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_whose_fetch_panicked_is_empty_and_nobody_waits_for_it() {
        let dat =
            crate::dat::Dat::open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v7-text/trace.dat").as_ref());
        let input = super::super::input::Input::new(dat.unwrap(), String::new(), String::new());
        let (layout, common) = (input.dat.layout, input.common);
        let finder = Finder { dat: input.dat, layout, common, wants: Arc::new([]) };
        let fetch = Fetch::new(finder, ChunkAt { offset: 0, packed: 0, bytes: 4096 });
        *lock(&fetch.state) = FetchState::Running;
        std::thread::scope(|scope| {
            let panics = scope.spawn(|| {
                let _guard = FetchGuard { fetch: &fetch, chunk: Arc::default() };
                std::panic::resume_unwind(Box::new(()));
            });
            assert!(fetch.take().records.is_empty());
            assert!(panics.join().is_err());
        });
    }
}
