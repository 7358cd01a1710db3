//! Texts of single events against what trace-cmd printed for the same bytes.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rtrec::decode::{Compat, Decoders, PluginSet, PluginSetting, Scene, Style, Trace};
use rtrec::plugins::REGISTRY;
use rtrec::wire::abi::{Abi, Endian};
use rtrec::wire::record::Record;
use rtrec::wire::tables::{Cmdlines, Kallsyms, Names, PrintkFormats};

const ABI: Abi = Abi { endian: Endian::Little, long_bytes: 8 };

#[derive(Default)]
struct Case {
    name: String,
    args: Vec<String>,
    kallsyms: Vec<u8>,
    printk: Vec<u8>,
    cmdlines: Option<Vec<u8>>,
    formats: Vec<(String, Vec<u8>)>,
    records: Vec<(u32, u64, Vec<u8>)>,
    old: Vec<Vec<u8>>,
    new: Vec<Vec<u8>>,
    own: Vec<Vec<u8>>,
}

fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find("\\x") {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        bytes.push(u8::from_str_radix(&rest[at + 2..at + 4], 16).unwrap());
        rest = &rest[at + 4..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

fn record(line: &str) -> (u32, u64, Vec<u8>) {
    let mut words = line.split(' ');
    let (cpu, time, hex) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
    (cpu.parse().unwrap(), time.parse().unwrap(), bytes.collect())
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/texts/cases.txt.zst");
    let text = String::from_utf8(zstd::decode_all(fs::File::open(path).unwrap()).unwrap()).unwrap();
    text.split("\n\n").filter(|block| !block.trim().is_empty()).map(case).collect()
}

fn case(block: &str) -> Case {
    let mut case = Case::default();
    for line in block.lines() {
        let (key, rest) = line.split_once(' ').unwrap();
        match key {
            "case" => case.name = rest.to_owned(),
            "args" => case.args = rest.split_whitespace().map(str::to_owned).collect(),
            "kallsyms" => case.kallsyms = unescape(rest),
            "printk" => case.printk = unescape(rest),
            "cmdlines" => case.cmdlines = Some(unescape(rest)),
            "format" => {
                let (system, text) = rest.split_once(' ').unwrap();
                case.formats.push((system.to_owned(), unescape(text)));
            }
            "record" => case.records.push(record(rest)),
            "3.1" => case.old.push(unescape(rest)),
            "3.4" => case.new.push(unescape(rest)),
            "rtrec" => case.own.push(unescape(rest)),
            other => panic!("{other}"),
        }
    }
    case
}

impl Case {
    fn trace(&self) -> Trace {
        let mut trace = Trace::new(ABI);
        for (system, text) in &self.formats {
            trace.formats.push(system, text).unwrap();
        }
        trace.kallsyms = Kallsyms::new(self.kallsyms.clone());
        trace.printk = PrintkFormats::new(self.printk.clone());
        trace.cmdlines = Arc::new(Cmdlines::new(self.cmdlines.clone().unwrap_or_else(|| b"77 task\n".to_vec())));
        trace
    }

    fn style(&self, compat: Compat) -> Style {
        let has = |arg: &str| self.args.iter().any(|found| found == arg);
        let plugins = match () {
            () if has("-N") => PluginSet::None,
            () if has("-L") => PluginSet::NoSystem,
            () => PluginSet::All,
        };
        let options = self.args.windows(2).filter(|pair| pair[0] == "-O").map(|pair| PluginSetting::parse(&pair[1]));
        Style { compat, plugins, options: options.collect(), ..Style::default() }
    }

    /// The texts of all printed records, leaves folded as trace-cmd does.
    fn texts(&self, compat: Compat) -> Vec<Vec<u8>> {
        let trace = Arc::new(self.trace());
        let Ok(decoders) = Decoders::new(Arc::clone(&trace), REGISTRY, self.style(compat)) else {
            return vec![b"STYLE ERROR".to_vec()];
        };
        let raw = self.args.iter().any(|arg| arg == "-R");
        let names = Names::new(Arc::clone(&trace.cmdlines));
        let mut trackers = decoders.trackers();
        let records: Vec<_> =
            self.records.iter().map(|(cpu, ticks, data)| Record { ticks: *ticks, cpu: *cpu, data }).collect();
        let (mut texts, mut at) = (Vec::new(), 0);
        while let Some(record) = records.get(at) {
            let id = ABI.u16(record.data).unwrap();
            let mut scene = Scene { trace: &trace, names: &names, seq: at as u64, exit: None, aux: 0 };
            for tracked in trackers.iter_mut().filter(|tracked| tracked.ids.contains(&id)) {
                scene.aux |= tracked.tracker.observe(record, &scene);
            }
            let graph = decoders.pairing();
            let exit = records
                .get(at + 1)
                .filter(|exit| !raw && graph.is_entry(id) && exit.cpu == record.cpu && graph.matches(record, exit));
            scene.exit = exit.copied();
            let decoder = decoders.get(id).unwrap();
            let mut text = Vec::new();
            match raw {
                true => decoder.raw_fields(record, &scene, &mut text),
                false => decoder.text(record, &scene, &mut text),
            }
            texts.push(text);
            at += 1 + usize::from(exit.is_some());
        }
        texts
    }
}

/// Lines that differ, readable.
fn differences(cases: &[Case], compat: Compat, want: impl Fn(&Case) -> &Vec<Vec<u8>>) -> (usize, Vec<String>) {
    let (mut compared, mut different) = (0, Vec::new());
    for case in cases.iter().filter(|case| !want(case).is_empty()) {
        compared += 1;
        let show = |text: &[u8]| String::from_utf8_lossy(text).trim_end_matches('\n').to_owned();
        let (ours, theirs) = (case.texts(compat), want(case));
        let ours: Vec<String> = ours.iter().map(|text| show(text)).collect();
        let theirs: Vec<String> = theirs.iter().map(|text| show(text)).collect();
        if ours != theirs {
            let line = ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs);
            different.push(format!("{} {:?}: {line:#?}", case.name, case.args));
        }
    }
    (compared, different)
}

#[test]
fn compat_modes_print_what_trace_cmd_printed() {
    let cases = cases();
    for (compat, least) in [(Compat::V31, 770), (Compat::V34, 768)] {
        let old = compat == Compat::V31;
        let (compared, different) = differences(&cases, compat, |case| if old { &case.old } else { &case.new });
        assert!(different.is_empty(), "{compat:?}\n{}", different.join("\n"));
        assert!(compared >= least, "{compat:?}: only {compared}");
    }
}

#[test]
fn own_texts_are_pinned() {
    let (compared, different) = differences(&cases(), Compat::Rtrec, |case| &case.own);
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(compared >= 790, "only {compared}");
}
