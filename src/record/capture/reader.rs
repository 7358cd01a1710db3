//! One CPU's reader: waits, takes whole sub-buffers out of the kernel, packs them into a file of its own.
//!
//! Owns: the three ways out (mapping, splice, read), assembling sub-buffers that come in pieces, the wake-ups.
//! Does not own: the raw buffer (see `tracefs::buffer`), chunks (see `dat::chunks`).
//!
//! A mapped sub-buffer on which the writer still is comes in pieces. Its copy stays open in the staging slot and
//! grows until the kernel moves on to the next one, so the file holds each sub-buffer once and whole:
//! ```text
//!   piece 1 ─┐   piece 2 ───┐        next sub-buffer
//!   [head|aaaaa.....]  →  [head|aaaaabbbbbbb]  → kept, slot reopened
//! ```
//! A mapped sub-buffer that follows a loss says so, but its number of lost records has no room after the padding
//! that fills its end. The padding is dropped and the number, known from the meta page, is stored.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Instant;

use byteorder::{ByteOrder, NativeEndian};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::priority::ReaderScheduling;
use crate::record::file::segments::SegmentFiles;
use crate::record::observer::ReadMethod;
use crate::record::settings::{Pace, ReaderChoice};
use crate::record::taken::{CpuResult, HandedOver, ReaderCounters};
use crate::tracefs;
use crate::tracefs::buffer::{RawBuffer, SplicePipe};
use crate::tracefs::mapped::{MappedBuffer, Piece};
use crate::wire::subbuf::{COMMIT_BYTES, COMMIT_LOST as LOST, COMMIT_LOST_STORED as LOST_COUNTED, Layout};

/// What the coordinator wants of all readers.
#[derive(Debug, Default)]
pub struct ReaderControl {
    /// How often the trace was cut so far.
    pub cuts: AtomicU64,
    /// Leave at once, taking nothing more.
    pub abandon: AtomicBool,
}

/// Where a reader hands its data over.
#[derive(Clone, Debug)]
pub struct Handover {
    /// Which buffer it reads.
    pub buffer: usize,
    /// The way to the coordinator.
    pub to_coordinator: Sender<HandedOver>,
}

enum Transport {
    Mapped(MappedBuffer),
    Spliced(SplicePipe),
    Read,
}

/// A reader that is ready to run.
pub struct CpuReader {
    cpu: u32,
    // Declared before `raw`: the mapping must go before its file is closed.
    transport: Transport,
    raw: RawBuffer,
    segments: SegmentFiles,
    layout: Layout,
    pace: Pace,
    /// The sub-buffer in the slot that may still grow.
    growing: Option<GrowingSubbuf>,
    /// Records overwritten, as of the last sub-buffer that followed a loss.
    overrun: u64,
    wakeups: u64,
}

/// What is known about the sub-buffer in the slot besides its bytes.
#[derive(Clone, Copy)]
struct GrowingSubbuf {
    /// Records lost before it.
    lost: u64,
}

/// The longest sleep: a second chance should a wake-up be missed.
const LONGEST_SLEEP_MS: u16 = 1000;
/// After a wake-up that brought less than a sub-buffer the reader lets the buffer fill: kernels that
/// ignore `buffer_percent` in poll would wake it for every record.
const PAUSE_MS: u16 = 10;
/// A mapped buffer's reader page is given back by walking over its records, in the kernel and with interrupts off, which
/// a page that is spliced away spares: 0.5 ms for each MB on 6.18. Above this rate that counts for more than the calm that
/// the mapping gives to a quiet system.
const STORM_BYTES_PER_SECOND: f64 = 16e6;
/// Room for 256 pages, the most an ordinary user's pipe may hold.
const PIPE_BYTES: usize = 1 << 20;

impl CpuReader {
    /// Opens the way out that `choice` wants and the kernel offers; says why when it is not the mapping.
    pub fn new(
        cpu: u32,
        raw: RawBuffer,
        layout: Layout,
        segments: SegmentFiles,
        choice: ReaderChoice,
        pace: Pace,
    ) -> (Self, Option<String>) {
        let (transport, because) = match choice {
            ReaderChoice::Best => match raw.map() {
                // Somebody has read part of the first sub-buffer; reads go on where he stopped.
                Ok(mapped) if mapped.was_read_before() => {
                    (Transport::Read, Some("it was partly read before".to_owned()))
                }
                Ok(mapped) => (Transport::Mapped(mapped), None),
                Err(error) => (spliced(), Some(format!("mmap: {}", error.source))),
            },
            ReaderChoice::Splice => (spliced(), Some("asked for".to_owned())),
            ReaderChoice::Read => (Transport::Read, Some("asked for".to_owned())),
        };
        (CpuReader { cpu, transport, raw, segments, layout, pace, growing: None, overrun: 0, wakeups: 0 }, because)
    }

    /// The way it takes.
    pub fn method(&self) -> ReadMethod {
        match self.transport {
            Transport::Mapped(_) => ReadMethod::Mapped,
            Transport::Spliced(_) => ReadMethod::Spliced,
            Transport::Read => ReadMethod::Read,
        }
    }

    /// The CPU it reads.
    pub fn cpu(&self) -> u32 {
        self.cpu
    }

    /// Takes data until `stop` becomes readable, then the rest, to the last partial sub-buffer.
    pub fn run(
        mut self,
        stop: BorrowedFd<'_>,
        control: &ReaderControl,
        handover: &Handover,
        counters: &ReaderCounters,
    ) -> io::Result<CpuResult> {
        let (mut cuts, mut looked) = (0, Instant::now());
        let mut scheduling = ReaderScheduling::new(self.pace.reader_priority(), Some(self.cpu))?;
        while !self.wait(stop)? {
            self.wakeups += 1;
            let before = self.segments.raw_bytes();
            self.take(&mut scheduling, false, control)?;
            let now = Instant::now();
            scheduling.update(now);
            self.segments.update(now)?;
            let rate = (self.segments.raw_bytes() - before) as f64 / now.duration_since(looked).as_secs_f64();
            looked = now;
            if rate > STORM_BYTES_PER_SECOND && matches!(self.transport, Transport::Mapped(_)) {
                self.switch_to_splice()?;
            }
            let wanted = control.cuts.load(Ordering::Acquire);
            if wanted > cuts {
                cuts = wanted;
                self.hand_over(cuts, handover, counters)?;
            }
            self.publish(counters);
            let taken = self.segments.raw_bytes() - before;
            if taken < u64::from(self.layout.subbuf_bytes)
                && self.pace.may_pause()
                && is_readable(stop, PollTimeout::from(PAUSE_MS))?
            {
                break;
            }
        }
        self.take(&mut scheduling, true, control)?;
        self.finish_growing()?;
        self.publish(counters);
        let data = self.segments.finish()?;
        Ok(CpuResult { cpu: self.cpu, data, passed_bytes: 0, wakeups: self.wakeups, lowered: scheduling.lowered })
    }

    /// Hands over what was taken up to now. The sub-buffer that may still grow belongs to what comes next.
    fn hand_over(&mut self, cut: u64, handover: &Handover, counters: &ReaderCounters) -> io::Result<()> {
        let data = self.segments.hand_over(Instant::now())?;
        counters.segment.store(self.segments.chunks().segment(), Ordering::Release);
        let handed_over = HandedOver { buffer: handover.buffer, cpu: self.cpu, cut, data };
        handover.to_coordinator.send(handed_over).map_err(|_| io::Error::other("nobody takes what was recorded"))
    }

    fn publish(&self, counters: &ReaderCounters) {
        counters.bytes.store(self.segments.raw_bytes(), Ordering::Relaxed);
        counters.written.store(self.segments.written_bytes(), Ordering::Relaxed);
        if let Transport::Mapped(mapped) = &self.transport {
            counters.overrun.store(mapped.overrun(), Ordering::Relaxed);
        }
    }

    /// Sleeps until the buffer is filled by `buffer_percent`; `true` when it is time to stop.
    fn wait(&self, stop: BorrowedFd<'_>) -> io::Result<bool> {
        if self.pace.poll {
            return is_readable(stop, PollTimeout::ZERO);
        }
        let mut fds = [PollFd::new(stop, PollFlags::POLLIN), PollFd::new(self.raw.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, self.pace.longest_sleep(LONGEST_SLEEP_MS)) {
            Ok(_) => Ok(fds[0].any().unwrap_or(false)),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Takes what there is. Before the end, the sub-buffer that the writer is on is left to fill.
    fn take(&mut self, scheduling: &mut ReaderScheduling, to_the_end: bool, control: &ReaderControl) -> io::Result<()> {
        if matches!(self.transport, Transport::Mapped(_)) {
            match self.take_mapped(scheduling, to_the_end, control) {
                Err(TakeError::Kernel) => self.switch_to_splice()?,
                Err(TakeError::Output(error)) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
        if matches!(self.transport, Transport::Spliced(_)) {
            self.take_spliced(scheduling, control)?;
            if !to_the_end {
                return Ok(());
            }
        }
        self.take_by_read(scheduling, control)
    }

    /// Goes on by splice, in a storm or where the mapping fails: what it has handed out is consumed, the rest is still there.
    fn switch_to_splice(&mut self) -> io::Result<()> {
        self.finish_growing()?;
        self.transport = spliced();
        Ok(())
    }

    fn take_mapped(
        &mut self,
        scheduling: &mut ReaderScheduling,
        to_the_end: bool,
        control: &ReaderControl,
    ) -> Result<(), TakeError> {
        let mut first = true;
        loop {
            let Transport::Mapped(mapped) = &mut self.transport else { return Ok(()) };
            let Some(piece) = mapped.advance().map_err(|_| TakeError::Kernel)? else { return Ok(()) };
            // A second piece of one sub-buffer means that the writer has been caught up with.
            let caught_up = !first && piece.from > 0;
            let chunks = self.segments.chunks();
            if piece.from == 0 {
                if let Some(open) = self.growing.take() {
                    count_losses(chunks.slot(), open.lost, &self.layout);
                    chunks.keep().map_err(TakeError::Output)?;
                }
                let follows_a_loss = commit_of(piece.subbuf, &self.layout) & LOST != 0;
                let overrun = piece.overrun;
                let lost = if follows_a_loss { overrun - std::mem::replace(&mut self.overrun, overrun) } else { 0 };
                self.growing = Some(GrowingSubbuf { lost });
            }
            add_piece(chunks.slot(), &piece, &self.layout);
            first = false;
            if caught_up && !to_the_end || control.abandon.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.update(scheduling).map_err(TakeError::Output)?;
        }
    }

    /// What has to be seen to while there is always more to take.
    fn update(&mut self, scheduling: &mut ReaderScheduling) -> io::Result<()> {
        let now = Instant::now();
        scheduling.update(now);
        if self.segments.is_due() { self.segments.update(now) } else { Ok(()) }
    }

    /// Keeps the sub-buffer that could have grown.
    fn finish_growing(&mut self) -> io::Result<()> {
        let Some(open) = self.growing.take() else { return Ok(()) };
        let chunks = self.segments.chunks();
        count_losses(chunks.slot(), open.lost, &self.layout);
        chunks.keep()
    }

    fn take_spliced(&mut self, scheduling: &mut ReaderScheduling, control: &ReaderControl) -> io::Result<()> {
        loop {
            let Transport::Spliced(pipe) = &mut self.transport else { return Ok(()) };
            let bytes = pipe.fill(&self.raw).map_err(|e| e.source)?;
            if bytes == 0 {
                return Ok(());
            }
            let subbuf_bytes = self.layout.subbuf_bytes as usize;
            let mut left = bytes / subbuf_bytes;
            while left > 0 {
                let chunks = self.segments.chunks();
                let slots = chunks.slots(left);
                let taken = slots.len() / subbuf_bytes;
                pipe.take(slots)?;
                chunks.keep_many(taken)?;
                left -= taken;
            }
            if control.abandon.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.update(scheduling)?;
        }
    }

    fn take_by_read(&mut self, scheduling: &mut ReaderScheduling, control: &ReaderControl) -> io::Result<()> {
        while !control.abandon.load(Ordering::Relaxed) {
            let chunks = self.segments.chunks();
            if !self.raw.read_subbuf(chunks.slot()).map_err(|e: tracefs::Error| e.source)? {
                return Ok(());
            }
            chunks.keep()?;
            self.update(scheduling)?;
        }
        Ok(())
    }
}

/// Which side of a reader failed.
enum TakeError {
    Kernel,
    Output(io::Error),
}

fn spliced() -> Transport {
    SplicePipe::new(PIPE_BYTES).map_or(Transport::Read, Transport::Spliced)
}

/// Whether `fd` becomes readable within the time.
fn is_readable(fd: BorrowedFd<'_>, timeout: PollTimeout) -> io::Result<bool> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    match poll(&mut fds, timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Copies a piece into the slot and makes the slot a well-formed sub-buffer of what has come so far.
fn add_piece(slot: &mut [u8], piece: &Piece<'_>, layout: &Layout) {
    let data_offset = usize::from(layout.data_offset);
    let (from, to) = (data_offset + piece.from, (data_offset + piece.to).min(slot.len()));
    if piece.from == 0 {
        slot[..data_offset].copy_from_slice(&piece.subbuf[..data_offset]);
        slot[to..].fill(0);
    }
    slot[from..to].copy_from_slice(&piece.subbuf[from..to]);
    let commit = commit_of(piece.subbuf, layout);
    let mut flags = commit & LOST; // stays in the kernel's page for all its pieces
    // The kernel stores the count of lost records right after the valid bytes of a complete sub-buffer.
    let complete = (commit & COMMIT_BYTES) as usize == piece.to;
    if commit & LOST_COUNTED != 0 && complete && to + COUNT_BYTES <= slot.len() {
        slot[to..to + COUNT_BYTES].copy_from_slice(&piece.subbuf[to..to + COUNT_BYTES]);
        flags |= LOST_COUNTED;
    }
    set_commit(slot, flags | piece.to as u32, layout);
}

/// Stores the number of records lost before this sub-buffer after its records, if it is not there and has room.
fn count_losses(slot: &mut [u8], lost: u64, layout: &Layout) {
    let commit = commit_of(slot, layout);
    if lost == 0 || commit & LOST == 0 || commit & LOST_COUNTED != 0 {
        return;
    }
    let Some(end) = end_of_records(slot, layout).filter(|end| end + COUNT_BYTES <= slot.len()) else { return };
    slot[end..].fill(0);
    NativeEndian::write_uint(&mut slot[end..], lost, COUNT_BYTES);
    let bytes = (end - usize::from(layout.data_offset)) as u32;
    set_commit(slot, bytes | LOST | LOST_COUNTED, layout);
}

/// Where the last record ends, padding left out.
fn end_of_records(subbuf: &[u8], layout: &Layout) -> Option<usize> {
    let mut walk = layout.walk(&layout.head(subbuf).ok()?);
    let mut end = usize::from(layout.data_offset);
    while let Some(found) = walk.next::<NativeEndian>(subbuf) {
        found.ok()?;
        end = walk.offset() as usize;
    }
    Some(end)
}

/// The count of lost records is one kernel long.
const COUNT_BYTES: usize = size_of::<usize>();

fn commit_of(subbuf: &[u8], layout: &Layout) -> u32 {
    NativeEndian::read_u32(&subbuf[commit_low(layout)..])
}

fn set_commit(subbuf: &mut [u8], commit: u32, layout: &Layout) {
    NativeEndian::write_u32(&mut subbuf[commit_low(layout)..], commit);
}

/// Where the low 32 bits of the commit word are.
fn commit_low(layout: &Layout) -> usize {
    let high_first = if cfg!(target_endian = "big") { usize::from(layout.abi.long_bytes) - 4 } else { 0 };
    usize::from(layout.commit_offset) + high_first
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout =
        Layout { abi: crate::wire::abi::Abi::HOST, commit_offset: 8, data_offset: 16, subbuf_bytes: 64 };

    fn subbuf(commit: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xee; 64];
        NativeEndian::write_u64(&mut bytes, 7);
        NativeEndian::write_u64(&mut bytes[8..], u64::from(commit));
        bytes[16..16 + data.len()].copy_from_slice(data);
        bytes
    }

    #[test]
    fn pieces_grow_into_one_sub_buffer_and_stale_bytes_stay_out() {
        let bytes = subbuf(LOST | 8, b"aaaabbbb");
        let mut slot = vec![0x11; 64];
        add_piece(&mut slot, &Piece { subbuf: &bytes, from: 0, to: 4, overrun: 0 }, &LAYOUT);
        assert_eq!(NativeEndian::read_u32(&slot[8..]), LOST | 4);
        assert!(slot[20..].iter().all(|&b| b == 0));
        add_piece(&mut slot, &Piece { subbuf: &bytes, from: 4, to: 8, overrun: 0 }, &LAYOUT);
        assert_eq!(&slot[16..24], b"aaaabbbb");
        assert_eq!(NativeEndian::read_u32(&slot[8..]), LOST | 8);
        assert!(slot[24..].iter().all(|&b| b == 0));
    }

    #[test]
    fn a_count_of_lost_records_is_kept_only_behind_a_complete_sub_buffer() {
        let mut bytes = subbuf(LOST | LOST_COUNTED | 8, b"aaaabbbb");
        NativeEndian::write_u64(&mut bytes[24..], 1936);
        let mut slot = vec![0; 64];
        add_piece(&mut slot, &Piece { subbuf: &bytes, from: 0, to: 4, overrun: 0 }, &LAYOUT);
        assert_eq!(NativeEndian::read_u32(&slot[8..]), LOST | 4);
        add_piece(&mut slot, &Piece { subbuf: &bytes, from: 4, to: 8, overrun: 0 }, &LAYOUT);
        assert_eq!(NativeEndian::read_u32(&slot[8..]), LOST | LOST_COUNTED | 8);
        assert_eq!(NativeEndian::read_u64(&slot[24..]), 1936);
    }

    #[test]
    fn the_number_of_lost_records_takes_the_place_of_the_padding() {
        // A record of 4 bytes, then padding of 0x20 bytes after its header, as the kernel fills the end of a sub-buffer.
        let mut data = [0; 48];
        NativeEndian::write_u32(&mut data, 1);
        NativeEndian::write_u32(&mut data[8..], 29 | 1 << 5);
        NativeEndian::write_u32(&mut data[12..], 36);
        let mut slot = subbuf(LOST | 48, &data);
        count_losses(&mut slot, 1936, &LAYOUT);
        assert_eq!(NativeEndian::read_u32(&slot[8..]), LOST | LOST_COUNTED | 8);
        assert_eq!(NativeEndian::read_u64(&slot[24..]), 1936);
        assert!(slot[32..].iter().all(|&b| b == 0));
    }

    #[test]
    fn without_room_the_loss_stays_uncounted() {
        let mut data = [0; 48];
        NativeEndian::write_u32(&mut data, 11); // a record that takes the whole sub-buffer
        let mut slot = subbuf(LOST | 48, &data);
        count_losses(&mut slot, 7, &LAYOUT);
        assert_eq!(NativeEndian::read_u32(&slot[8..]), LOST | 48);
    }
}
