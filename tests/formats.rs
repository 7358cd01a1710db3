//! Every event format of whole kernels: parsed, compiled, and run over bytes that mean nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rtrec::plugins::{Compat, Decoders, PluginSet, Scene, Style, Trace};
use rtrec::wire::abi::{Abi, Endian};
use rtrec::wire::print_fmt::{Flavor, compile_plain};
use rtrec::wire::record::Record;
use rtrec::wire::tables::{Kallsyms, Names};

const LITTLE: Abi = Abi { endian: Endian::Little, long_bytes: 8 };

/// A trace that has nothing but the formats of a fixture.
fn trace(release: &str, abi: Abi) -> Trace {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats").join(format!("{release}.txt.zst"));
    let text = zstd::decode_all(fs::File::open(path).unwrap()).unwrap();
    let text = String::from_utf8(text).unwrap();
    let mut trace = Trace::new(abi);
    for part in text.split("system: ").skip(1) {
        let (system, format) = part.split_once('\n').unwrap();
        assert!(trace.formats.push(system, format.as_bytes()).is_some(), "{system}: {format}");
    }
    let symbols = (0..200).map(|n| format!("{:016x} T function_{n}\n", 0xffff_ffff_8100_0000u64 + n * 0x1000));
    trace.kallsyms = Kallsyms::new(symbols.collect::<String>().into_bytes());
    trace
}

/// How many print fmts are refused, by reason.
fn refusals(trace: &Trace, flavor: Flavor) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for event in trace.formats.iter() {
        let format = trace.formats.get(event.id).expect(event.name);
        if let Err(refusal) = compile_plain(format, trace.abi, flavor) {
            *reasons.entry(refusal.reason).or_default() += 1;
        }
    }
    reasons
}

fn total(reasons: &BTreeMap<String, usize>) -> usize {
    reasons.values().sum()
}

#[test]
fn every_format_of_6_18_parses_and_nearly_every_print_fmt_compiles() {
    let trace = trace("6.18", LITTLE);
    assert_eq!(trace.formats.len(), 2323);
    for event in trace.formats.iter() {
        let format = trace.formats.get(event.id).expect(event.name);
        assert_eq!(format.common.len(), 4, "{}", event.name);
        assert_eq!((format.name.as_str(), format.id), (event.name, event.id));
    }
    let reasons = refusals(&trace, Flavor::C);
    // The roles in kvmmmu's events are statements with tables and calls.
    assert_eq!(total(&reasons), REFUSED_C, "{reasons:#?}");
}

#[test]
fn what_libtraceevent_refuses_is_refused_in_its_flavors() {
    let trace = trace("6.18", LITTLE);
    let old = refusals(&trace, Flavor::Lte2022);
    assert_eq!(total(&old), REFUSED_2022, "{old:#?}");
    let new = refusals(&trace, Flavor::Lte2026);
    assert_eq!(total(&new), REFUSED_2026, "{new:#?}");
}

const REFUSED_C: usize = 4;
const REFUSED_2022: usize = 18;
const REFUSED_2026: usize = 9;

/// Numbers that look random and are the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Bytes of a record: small numbers, huge numbers and kernel addresses, cut anywhere.
    fn record(&mut self, id: u16, abi: Abi) -> Vec<u8> {
        let mut data = Vec::new();
        for _ in 0..self.next() % 40 {
            let word = match self.next() % 5 {
                0 => 0,
                1 => self.next() % 64,
                2 => 0xffff_ffff_8100_0000 + self.next() % 0x10_0000,
                3 => u64::from_le_bytes(*b"ab\x1b%s\xff\n\0"),
                _ => self.next(),
            };
            data.extend_from_slice(&word.to_le_bytes());
        }
        data.truncate((self.next() % 300) as usize);
        let id = if abi.endian == Endian::Little { id.to_le_bytes() } else { id.to_be_bytes() };
        data.splice(..data.len().min(2), id);
        data
    }
}

#[test]
fn any_bytes_render_in_every_style_without_panic_and_in_time() {
    let start = Instant::now();
    for abi in [LITTLE, Abi { endian: Endian::Big, long_bytes: 8 }, Abi { endian: Endian::Big, long_bytes: 4 }] {
        let trace = trace("6.18", abi);
        let names = Names::new(&trace.cmdlines);
        for compat in [Compat::Rtrec, Compat::V31, Compat::V34] {
            for plugins in [PluginSet::All, PluginSet::None] {
                render(&trace, &names, Style { compat, plugins, ..Style::default() });
            }
        }
    }
    assert!(start.elapsed() < Duration::from_secs(300), "{:?}", start.elapsed());
}

fn render(trace: &Trace, names: &Names<'_>, style: Style) {
    let decoders = Decoders::new(trace, style).unwrap();
    let mut trackers = decoders.trackers(names);
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut out = Vec::new();
    for (seq, event) in trace.formats.iter().enumerate() {
        let decoder = decoders.get(event.id).expect(event.name);
        for _ in 0..6 {
            let (data, other) = (noise.record(event.id, trace.abi), noise.record(event.id, trace.abi));
            let record = Record { ticks: noise.next(), cpu: noise.next() as u32 % 70_000, data: &data };
            let mut aux = 0;
            for tracked in &mut trackers {
                if tracked.ids.contains(&event.id) {
                    aux = tracked.tracker.observe(&record, seq as u64);
                }
            }
            let exit = Some(Record { data: &other, ..record }).filter(|_| noise.next() & 1 == 0);
            let scene = Scene { trace, names, seq: seq as u64, exit, aux };
            out.clear();
            decoder.text(&record, &scene, &mut out);
            decoder.raw_fields(&record, &scene, &mut out);
            assert!(decoder.field_values(&record).count() == decoder.format().fields.len());
            assert!(out.len() < 1 << 20, "{}: {} bytes of text", event.name, out.len());
        }
    }
}

#[test]
fn formats_with_flipped_bytes_are_refused_or_work() {
    let trace = trace("6.18", LITTLE);
    let mut noise = Noise(0x1234_5678_9abc_def1);
    for event in trace.formats.iter() {
        let mut text = event.text.to_vec();
        for _ in 0..3 {
            let at = noise.next() as usize % text.len();
            text[at] = b"(){}[]\"'%*&-?:,;0x~\\A"[noise.next() as usize % 21];
        }
        let mut damaged = Trace::new(LITTLE);
        let Some(id) = damaged.formats.push(event.system, &text) else { continue };
        let names = Names::new(&damaged.cmdlines);
        for compat in [Compat::Rtrec, Compat::V34] {
            let decoders = Decoders::new(&damaged, Style { compat, ..Style::default() }).unwrap();
            let Some(decoder) = decoders.get(id) else { continue };
            let data = noise.record(id, LITTLE);
            let record = Record { ticks: 0, cpu: 0, data: &data };
            let scene = Scene { trace: &damaged, names: &names, seq: 0, exit: None, aux: 0 };
            let mut out = Vec::new();
            decoder.text(&record, &scene, &mut out);
        }
    }
}
