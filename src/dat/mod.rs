//! The trace.dat container, versions 6 and 7.
//!
//! Owns: header, sections, options, compression, where each CPU's sub-buffers are.
//! Does not own: what is in the sub-buffers and tables (see [`wire`](crate::wire)).
//! Units: offsets in bytes from the start of the file, in the file's own byte order throughout.
//!
//! Everything in a file is a claim by a stranger: lengths are compared with what is there before anything is
//! allocated, damage becomes a [`Note`] with its offset, and what is intact is kept.
//!
//! | file | what is inside |
//! | --- | --- |
//! | [`ids`], [`options`] | the numbers of the format; what options say about the whole file |
//! | [`source`], [`reader`] | where bytes come from; an opened file |
//! | `v6`, `v7` | finding the parts of either version |
//! | [`chunks`], [`chunk_list`], [`compress`] | packing a CPU's sub-buffers, stepping through them, compressed blocks |
//! | [`gradual`] | metadata that is expanded only as far as it is read |
//! | [`own`] | sections of rtrec's own |
//! | [`writer`], [`writer6`] | files of version 7; of version 6, from one of version 7 |
//! | [`unsealed`] | temporary files of a recording, and what is put together from them |
//! | [`error`] | what can be wrong |
//!
//! Imported by whoever reads or writes traces: `report`, `control`, `record`, `rt`, `cli`; imports `wire` only.
//!
//! The next section: its number in [`ids`] (or in [`own`] if no other tool knows it), read by [`reader`] and written by
//! [`writer`] or [`own`]. The next version: a file beside `v7`.

pub mod chunk_list;
pub mod chunks;
pub mod compress;
pub mod error;
pub mod gradual;
pub mod ids;
pub mod options;
pub mod own;
pub mod reader;
pub mod source;
pub mod unsealed;
mod v6;
mod v7;
pub mod writer;
pub mod writer6;

pub use chunk_list::{ChunkCursor, ChunkIndex};
pub use error::{DatError, Note};
pub use options::{Guest, Options, TimeShift, Tsc2Nsec};
pub use reader::{Buffer, ChunkAt, CpuData, Dat, LiveBuffer, TextBuffer};

#[cfg(test)]
mod tests {
    use byteorder::LittleEndian;

    use super::Dat;

    /// Fixture, buffer, CPU, records; counted by an independent decoder.
    const COUNTS: [(&str, &str, u32, usize); 11] = [
        ("v7-zstd-events", "", 0, 816),
        ("v7-zstd-events", "", 1, 700),
        ("v6-instances", "", 0, 652),
        ("v6-instances", "", 1, 263),
        ("v6-instances", "second", 0, 243),
        ("v6-instances", "second", 1, 251),
        ("v7-fgraph-probes", "", 1, 161),
        ("v7-none-multibuf-tsc", "", 0, 6),
        ("v7-none-multibuf-tsc", "", 1, 21),
        ("v7-lost-allformats", "", 0, 281),
        ("v7-lost-allformats", "", 1, 321),
    ];

    #[test]
    fn records_of_the_fixtures_are_as_many_as_an_independent_decoder_found() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
        for (fixture, name, cpu, expected) in COUNTS {
            let dat = Dat::open(format!("{root}/{fixture}/trace.dat").as_ref()).unwrap();
            assert!(dat.notes.is_empty(), "{fixture}: {:?}", dat.notes);
            let buffer = dat.buffers.iter().find(|buffer| buffer.name == name).unwrap();
            let data = buffer.cpus.iter().find(|data| data.cpu == cpu).unwrap();
            let mut chunks = dat.chunks(buffer, data);
            let (mut count, mut last, mut bytes) = (0, 0, Vec::new());
            while let Some(chunk) = chunks.next(&dat) {
                dat.read_chunk(&chunk.unwrap(), &mut bytes).unwrap();
                for page in bytes.chunks(buffer.layout.subbuf_bytes as usize) {
                    let head = buffer.layout.head(page).unwrap();
                    let mut walk = buffer.layout.walk(&head);
                    while let Some(found) = walk.next::<LittleEndian>(page) {
                        let found = found.unwrap();
                        assert!(found.ticks >= last);
                        last = found.ticks;
                        count += 1;
                    }
                }
            }
            assert_eq!(count, expected, "{fixture} {name:?} CPU {cpu}");
        }
    }

    #[test]
    fn a_text_trace_is_found() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
        let dat = Dat::open(format!("{root}/v7-text/trace.dat").as_ref()).unwrap();
        let text = dat.text(&dat.texts[0]).unwrap();
        assert!(text.starts_with(b"# tracer: nop\n") && text.ends_with(b"marker2\n"));
    }
}
