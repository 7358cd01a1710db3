//! Text traces (of latency tracers), which few kernels can record: written by rtrec from a real one, read by rtrec and by
//! the real trace-cmd.

use std::path::Path;
use std::process::Command;

use rtrec::dat::chunks::Compression;
use rtrec::dat::writer::{BufferHead, Section, Writer};
use rtrec::dat::{Dat, ids, writer6};

/// The fixture's text many times over, so that it takes several chunks.
fn long_text(dat: &Dat) -> Vec<u8> {
    let text = dat.text(&dat.texts[0]).unwrap();
    text.repeat(100_000 / text.len() + 1)
}

fn write(dat: &Dat, text: &[u8], path: &Path, compression: Compression) {
    let mut out = Writer::create(std::fs::File::create(path).unwrap(), compression, 4096).unwrap();
    let parts = [ids::HEADER_INFO, ids::FTRACE_EVENTS, ids::EVENT_FORMATS, ids::KALLSYMS, ids::PRINTK, ids::CMDLINES];
    let section = |id| Section { id, payload: dat.part(id).unwrap().unwrap().into() };
    out.sections(&parts.map(section)).unwrap();
    out.option_u32(ids::CPUCOUNT, 2);
    out.end_options().unwrap();
    out.text_buffer(&BufferHead { name: String::new(), clock: "local".into(), subbuf_bytes: 4096 }, text).unwrap();
    out.seal().unwrap();
}

#[test]
fn a_text_trace_comes_back_as_it_was() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v7-text/trace.dat");
    let dat = Dat::open(&fixture).unwrap();
    let text = long_text(&dat);
    let folder = tempfile::tempdir().unwrap();
    for (name, compression) in [("zstd", Compression::Zstd), ("none", Compression::None)] {
        let path = folder.path().join(name);
        write(&dat, &text, &path, compression);
        let written = Dat::open(&path).unwrap();
        assert!(written.notes.is_empty(), "{name}: {:?}", written.notes);
        assert!(written.text(&written.texts[0]).unwrap() == text, "{name}");
    }
    let six = folder.path().join("six");
    writer6::rewrite(&folder.path().join("none"), &std::fs::File::create(&six).unwrap()).unwrap();
    let written = Dat::open(&six).unwrap();
    assert_eq!(written.version, 6);
    assert!(written.text(&written.texts[0]).unwrap() == text);
    for name in ["zstd", "none", "six"] {
        for peer in xtask::peers::TraceCmd::ALL.into_iter().filter_map(|peer| peer.program().ok()) {
            let output = Command::new(&peer).arg("report").arg("-i").arg(folder.path().join(name)).output().unwrap();
            let printed = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{name} {}", peer.display());
            assert_eq!(
                printed.matches("# tracer: nop").count(),
                String::from_utf8_lossy(&text).matches("# tracer: nop").count()
            );
        }
    }
}
