//! Decoding, merging and printing of real fixtures, in bytes of sub-buffers and records a second.

use std::fs;
use std::path::Path;

use byteorder::LittleEndian;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rtrec::dat::Dat;
use rtrec::plugins::REGISTRY;
use rtrec::report::analysis::summary::Summary;
use rtrec::report::{
    self, ExportSettings, Input, OwnedView, ReadSettings, Reading, Selection, Show, TextSettings, export,
};

const FIXTURE: &str = "v7-zstd-events";
const RECORDS: u64 = 1516;

fn fixture() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(FIXTURE).join("trace.dat");
    fs::read(path).expect("the fixture is in the repository")
}

fn reading() -> Reading {
    let dat = Dat::from_bytes(fixture()).expect("the fixture is whole");
    let mut settings = ReadSettings::default();
    settings.threads = 1;
    let inputs = vec![Input::new(dat, FIXTURE.into(), FIXTURE.into())];
    Reading::new(inputs, REGISTRY, settings, &Selection::default()).expect("no option of a plugin is set")
}

fn view(name: &str) -> OwnedView {
    match name {
        "text" => OwnedView::Text(TextSettings::default()),
        "json" => OwnedView::Export(export::named("json").expect("it is built in"), ExportSettings::default()),
        _ => OwnedView::Analysis(Box::new(Summary::default()), Show::Text { cpus: false, versions: false }),
    }
}

fn walk(c: &mut Criterion) {
    let dat = Dat::from_bytes(fixture()).expect("the fixture is whole");
    let buffer = &dat.buffers[0];
    let mut pages = Vec::new();
    for data in &buffer.cpus {
        let (mut chunks, mut bytes) = (dat.chunks(buffer, data), Vec::new());
        while let Some(Ok(chunk)) = chunks.next(&dat) {
            dat.read_chunk(&chunk, &mut bytes).expect("the chunk is whole");
            pages.extend(bytes.chunks(buffer.layout.subbuf_bytes as usize).map(<[u8]>::to_vec));
        }
    }
    let mut group = c.benchmark_group("walk");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("records of sub-buffers", |b| {
        b.iter(|| {
            let mut sum = 0_u64;
            for page in &pages {
                let head = buffer.layout.head(page).expect("a good header");
                let mut walk = buffer.layout.walk(&head);
                while let Some(Ok(found)) = walk.next::<LittleEndian>(page) {
                    sum = sum.wrapping_add(found.ticks);
                }
            }
            sum
        });
    });
    group.finish();
}

fn print(c: &mut Criterion) {
    let mut reading = reading();
    let mut group = c.benchmark_group("report");
    group.throughput(Throughput::Elements(RECORDS));
    for name in ["text", "json", "summary"] {
        group.bench_function(name, |b| {
            b.iter(|| {
                reading.rewind();
                report::print(&mut reading, view(name).view(), &mut std::io::sink()).expect("a sink takes all")
            });
        });
    }
    group.finish();
}

fn open(c: &mut Criterion) {
    let bytes = fixture();
    c.bench_function("open", |b| b.iter(|| Dat::from_bytes(bytes.clone()).expect("the fixture is whole")));
}

criterion_group!(benches, walk, print, open);
criterion_main!(benches);
