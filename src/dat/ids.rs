//! The numbers of a trace.dat file: magic, section ids, option ids, flags.
//!
//! Sections and options share one number space. Source: the published trace-cmd.dat(5) page and files written by
//! trace-cmd 3.1.6 to 3.4.

/// First bytes of every trace.dat file.
pub const MAGIC: [u8; 10] = *b"\x17\x08\x44tracing";

/// Bytes of a section header: id, flags, description, size.
pub const SECTION_HEADER_BYTES: u64 = 16;
/// Bytes of an option header: id, size.
pub const OPTION_HEADER_BYTES: u64 = 6;
/// Section flag: the payload is compressed.
pub const FLAG_COMPRESSED: u16 = 1;
/// Description word of a section without description.
pub const NO_DESCRIPTION: u32 = u32::MAX;
/// Sub-buffers that trace-cmd puts in one chunk.
pub const SUBBUFS_PER_CHUNK: u32 = 10;

/// Id of an OPTIONS section.
pub const SECTION_OPTIONS: u16 = 0;

/// End of an OPTIONS section; its data is the offset of the next one, or 0.
pub const DONE: u16 = 0;
/// Text: microseconds to add to every timestamp.
pub const DATE: u16 = 1;
/// Text: statistics of one CPU's buffer.
pub const CPUSTAT: u16 = 2;
/// One buffer with raw data.
pub const BUFFER: u16 = 3;
/// Text: content of `trace_clock`.
pub const TRACECLOCK: u16 = 4;
/// Text: `sysname nodename release machine`.
pub const UNAME: u16 = 5;
/// Text: a hook of trace-cmd profile.
pub const HOOK: u16 = 6;
/// Text: units to add to every timestamp.
pub const OFFSET: u16 = 7;
/// u32: CPUs of the machine.
pub const CPUCOUNT: u16 = 8;
/// Text: version of the recorder.
pub const VERSION: u16 = 9;
/// Text: memory map of a process.
pub const PROCMAPS: u16 = 10;
/// u64: id of the recording, for matching host and guest.
pub const TRACEID: u16 = 11;
/// Clock correction of a guest.
pub const TIME_SHIFT: u16 = 12;
/// A guest of this host.
pub const GUEST: u16 = 13;
/// Cycles to nanoseconds: u32 mult, u32 shift, u64 offset.
pub const TSC2NSEC: u16 = 14;
/// Section only: descriptions of the other sections.
pub const STRINGS: u16 = 15;
/// `header_page` and `header_event`.
pub const HEADER_INFO: u16 = 16;
/// Formats of `events/ftrace`.
pub const FTRACE_EVENTS: u16 = 17;
/// Formats of all other systems.
pub const EVENT_FORMATS: u16 = 18;
/// `/proc/kallsyms`.
pub const KALLSYMS: u16 = 19;
/// `printk_formats`.
pub const PRINTK: u16 = 20;
/// `saved_cmdlines`.
pub const CMDLINES: u16 = 21;
/// A text trace (latency tracers).
pub const BUFFER_TEXT: u16 = 22;
/// `/sys/kernel/btf/vmlinux` (trace-cmd 3.4).
pub const BTF_FILE: u16 = 23;
/// Text: `instance:` and `last_boot_info` (trace-cmd 3.4).
pub const LAST_BOOT_INFO: u16 = 24;
/// `/proc/modules` (trace-cmd 3.4).
pub const MODULES_FILE: u16 = 25;

/// Tag of v6 before its options.
pub const V6_OPTIONS: [u8; 10] = *b"options  \0";
/// Tag of v6 before a text trace.
pub const V6_LATENCY: [u8; 10] = *b"latency  \0";
/// Tag of v6 before the table of CPUs.
pub const V6_FLYRECORD: [u8; 10] = *b"flyrecord\0";
