//! Every event format of whole kernels: parsed, compiled, and run over bytes that mean nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rtrec::decode::{Compat, Decoders, PluginSet, Scene, Style, Trace};
use rtrec::plugins::REGISTRY;
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

/// What is known of a kernel's formats.
struct Known {
    release: &'static str,
    events: usize,
    /// Print fmts that are refused by C's rules and by libtraceevent's of 2022 and 2026. By C's rules these are, in 6.18,
    /// kvmmmu's roles, which are statements with tables and calls; in the others calls of kernel functions that no plugin
    /// knows: the name of an NVMe disk (3), a descriptor of intel_iommu (1), entries of page tables in xen's events (6).
    /// With plugins even these calls are shown, with their numbers.
    refused: [usize; 3],
}

const KERNELS: [Known; 4] = [
    Known { release: "6.1", events: 1390, refused: [10, 18, 15] },
    Known { release: "6.12", events: 1552, refused: [10, 29, 20] },
    Known { release: "6.18", events: 2323, refused: [4, 18, 9] },
    Known { release: "7.2", events: 1646, refused: [10, 43, 30] },
];

#[test]
fn every_format_parses() {
    for known in KERNELS {
        let trace = trace(known.release, LITTLE);
        assert_eq!(trace.formats.len(), known.events, "{}", known.release);
        for event in trace.formats.iter() {
            let format = trace.formats.get(event.id).expect(event.name);
            assert_eq!(format.common.len(), 4, "{} {}", known.release, event.name);
            assert_eq!((format.name.as_str(), format.id), (event.name, event.id), "{}", known.release);
        }
    }
}

#[test]
fn nearly_every_print_fmt_compiles_and_libtraceevents_flavors_refuse_what_it_refuses() {
    let mut wrong = String::new();
    for known in KERNELS {
        let trace = trace(known.release, LITTLE);
        for (flavor, refused) in [Flavor::C, Flavor::Lte2022, Flavor::Lte2026].into_iter().zip(known.refused) {
            let reasons = refusals(&trace, flavor);
            if total(&reasons) != refused {
                wrong.push_str(&format!("{} {flavor:?}: {refused} expected, {reasons:#?}\n", known.release));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn reclaim_of_7_2_shows_the_task_of_the_record() {
    let trace = Arc::new(trace("7.2", LITTLE));
    let names = Names::new(Arc::clone(&trace.cmdlines));
    let id = trace.formats.find("vmscan", "mm_vmscan_direct_reclaim_end").unwrap();
    let mut data = vec![0; 24];
    data[..2].copy_from_slice(&id.to_le_bytes());
    data[4..8].copy_from_slice(&4711_i32.to_le_bytes());
    let decoders = Decoders::new(Arc::clone(&trace), REGISTRY, Style::default()).unwrap();
    let scene = Scene { trace: &trace, names: &names, seq: 0, exit: None, aux: 0 };
    let mut out = Vec::new();
    decoders.get(id).unwrap().text(&Record { ticks: 0, cpu: 0, data: &data }, &scene, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), "nr_reclaimed=0 pid=4711 memcg_id=0 ");
}

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
    let big = |long_bytes| Abi { endian: Endian::Big, long_bytes };
    let abis =
        [("6.18", LITTLE), ("6.18", big(8)), ("6.18", big(4)), ("6.1", LITTLE), ("6.12", big(4)), ("7.2", LITTLE)];
    for (release, abi) in abis {
        let trace = Arc::new(trace(release, abi));
        let names = Names::new(Arc::clone(&trace.cmdlines));
        for compat in [Compat::Rtrec, Compat::V31, Compat::V34] {
            for plugins in [PluginSet::All, PluginSet::None] {
                render(&trace, &names, Style { compat, plugins, ..Style::default() });
            }
        }
    }
    assert!(start.elapsed() < Duration::from_secs(300), "{:?}", start.elapsed());
}

fn render(trace: &Arc<Trace>, names: &Names, style: Style) {
    let decoders = Decoders::new(Arc::clone(trace), REGISTRY, style).unwrap();
    let mut trackers = decoders.trackers();
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let mut out = Vec::new();
    for (seq, event) in trace.formats.iter().enumerate() {
        let decoder = decoders.get(event.id).expect(event.name);
        for _ in 0..6 {
            let (data, other) = (noise.record(event.id, trace.abi), noise.record(event.id, trace.abi));
            let record = Record { ticks: noise.next(), cpu: noise.next() as u32 % 70_000, data: &data };
            let mut scene = Scene { trace, names, seq: seq as u64, exit: None, aux: 0 };
            for tracked in &mut trackers {
                if tracked.ids.contains(&event.id) {
                    scene.aux = tracked.tracker.observe(&record, &scene);
                }
            }
            scene.exit = Some(Record { data: &other, ..record }).filter(|_| noise.next() & 1 == 0);
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
    for known in KERNELS {
        damage(&trace(known.release, LITTLE));
    }
}

fn damage(trace: &Trace) {
    let mut noise = Noise(0x1234_5678_9abc_def1);
    for event in trace.formats.iter() {
        let mut text = event.text.to_vec();
        for _ in 0..3 {
            let at = noise.next() as usize % text.len();
            text[at] = b"(){}[]\"'%*&-?:,;0x~\\A"[noise.next() as usize % 21];
        }
        let mut damaged = Trace::new(LITTLE);
        let Some(id) = damaged.formats.push(event.system, &text) else { continue };
        let damaged = Arc::new(damaged);
        let names = Names::new(Arc::clone(&damaged.cmdlines));
        for compat in [Compat::Rtrec, Compat::V34] {
            let decoders = Decoders::new(Arc::clone(&damaged), REGISTRY, Style { compat, ..Style::default() }).unwrap();
            let Some(decoder) = decoders.get(id) else { continue };
            let data = noise.record(id, LITTLE);
            let record = Record { ticks: 0, cpu: 0, data: &data };
            let scene = Scene { trace: &damaged, names: &names, seq: 0, exit: None, aux: 0 };
            let mut out = Vec::new();
            decoder.text(&record, &scene, &mut out);
        }
    }
}
