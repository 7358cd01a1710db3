//! One occurrence of an event in a sub-buffer.

/// One record: when, where, and its bytes, common fields first.
///
/// `data` may be longer than all fields together: the ring buffer rounds up, and the padding is stale.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Ticks of the trace clock (nanoseconds for most clocks), before any correction by the file's options.
    pub ticks: u64,
    /// CPU whose buffer held it.
    pub cpu: u32,
    /// The payload, starting with `common_type`.
    pub data: &'a [u8],
}
