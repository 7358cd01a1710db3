//! One function per target: arbitrary bytes in, nothing out, claims checked on the way.

use std::io::{self, Write};
use std::sync::Arc;

use byteorder::{BigEndian, LittleEndian};
use rtrec::dat::{Dat, ids};
use rtrec::decode::{Compat, PluginSet};
use rtrec::plugins::REGISTRY;
use rtrec::probe::{Kind, Spec};
use rtrec::report::analysis::graph_stats::GraphStats;
use rtrec::report::analysis::summary::Summary;
use rtrec::report::text::lists;
use rtrec::report::{
    self, ExportSettings, FilterArg, Input, OwnedView, RawEvents, ReadSettings, Reading, Selection, Show, TextSettings,
    export,
};
use rtrec::spread::StoredSpread;
use rtrec::symbols::btf::Btf;
use rtrec::symbols::kernel_arguments::{self, FunctionPlace};
use rtrec::symbols::{Machine, usdt as static_probes};
use rtrec::windows::samples::Samples;
use rtrec::windows::spec::{self, SyscallWindowSpec, WindowSpec};
use rtrec::windows::{WindowConfig, marker};
use rtrec::wire::abi::{Abi, Endian};
use rtrec::wire::filter::{Filter, FilterContext, Grammar};
use rtrec::wire::format::{EventFormat, Field};
use rtrec::wire::print_fmt::{Flavor, Tables, compile_plain, fields};
use rtrec::wire::record::Record;
use rtrec::wire::subbuf::{Layout, Order};
use rtrec::wire::tables::{Cmdlines, Kallsyms, Names, PrintkFormats};

const LE64: Abi = Abi { endian: Endian::Little, long_bytes: 8 };
const BE32: Abi = Abi { endian: Endian::Big, long_bytes: 4 };
const FLAVORS: [Flavor; 3] = [Flavor::C, Flavor::Lte2022, Flavor::Lte2026];

/// A whole trace.dat file: every part, table, format, text and chunk.
pub fn dat(data: &[u8]) {
    let Ok(dat) = Dat::from_bytes(data) else { return };
    for id in 0..=ids::MODULES_FILE {
        let _ = dat.part(id);
    }
    let (formats, _) = dat.formats();
    for (system, text) in &formats {
        let _ = EventFormat::parse(system, text, dat.abi);
    }
    let table = |id| dat.table(id).and_then(Result::ok).unwrap_or_default();
    let kallsyms = Kallsyms::new(table(ids::KALLSYMS));
    assert!(kallsyms.iter().count() >= kallsyms.len() || kallsyms.is_empty());
    for address in [0, 1 << 32, u64::MAX] {
        let _ = (kallsyms.lookup(address), kallsyms.number(address));
    }
    let printk = PrintkFormats::new(table(ids::PRINTK));
    let cmdlines = Cmdlines::new(table(ids::CMDLINES));
    let cmdlines = Arc::new(cmdlines);
    let names = Names::new(Arc::clone(&cmdlines));
    for (address, _) in printk.iter().take(1000) {
        assert!(printk.get(address).is_some());
    }
    for (pid, name) in cmdlines.iter().take(1000) {
        names.learn(pid, name, 1);
        let _ = (names.at(pid, 0), names.known(pid, 2), cmdlines.get(pid));
    }
    for text in &dat.texts {
        let _ = dat.text(text);
    }
    let _ = dat.cpu_count();
    let mut bytes = Vec::new();
    for buffer in &dat.buffers {
        for cpu in &buffer.cpus {
            let mut chunks = dat.chunks(buffer, cpu);
            while let Some(chunk) = chunks.next(&dat) {
                let Ok(chunk) = chunk else { continue };
                if dat.read_chunk(&chunk, &mut bytes).is_ok() {
                    assert!(bytes.len() <= chunk.bytes as usize);
                    pages(&buffer.layout, &bytes);
                }
            }
        }
    }
}

/// Sub-buffers: the first byte chooses byte order, long size and sub-buffer size. The rest is also taken for the text
/// of a `header_page`.
pub fn subbuf(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else { return };
    let endian = if choice & 1 == 0 { Endian::Little } else { Endian::Big };
    let long_bytes = if choice & 2 == 0 { 8 } else { 4 };
    let layout = Layout::standard(Abi { endian, long_bytes }, 256 << (choice >> 2 & 7));
    pages(&layout, bytes);
    if let Ok(layout) = Layout::parse(bytes, endian) {
        pages(&layout, bytes);
    }
}

fn pages(layout: &Layout, bytes: &[u8]) {
    for page in bytes.chunks(layout.subbuf_bytes.max(1) as usize) {
        match layout.abi.endian {
            Endian::Little => walk::<LittleEndian>(layout, page),
            Endian::Big => walk::<BigEndian>(layout, page),
        }
    }
}

fn walk<E: Order>(layout: &Layout, page: &[u8]) {
    let Ok(head) = layout.head(page) else { return };
    let mut walk = layout.walk(&head);
    let mut after = 0;
    while let Some(found) = walk.next::<E>(page) {
        match found {
            Ok(found) => {
                assert!(found.start > after, "the walk steps back");
                after = found.start + found.len;
                assert!(after as usize <= page.len() && after <= head.end, "a record beyond its sub-buffer");
            }
            Err(_) => {
                assert!(walk.next::<E>(page).is_none(), "the walk goes on after damage");
                return;
            }
        }
    }
}

/// Text and record, parted by the first NUL.
fn parted(data: &[u8]) -> (&[u8], &[u8]) {
    let nul = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    (&data[..nul], data.get(nul + 1..).unwrap_or(&[]))
}

/// The text of a `format` file, NUL, a record of the event.
pub fn format(data: &[u8]) {
    let (text, record) = parted(data);
    for abi in [LE64, BE32] {
        if let Ok(format) = EventFormat::parse("fuzz", text, abi) {
            for field in format.common.iter().chain(&format.fields) {
                let _ = (field.value(record, abi), field.text(record, abi), field.int(record, abi));
            }
            print(&format, record, abi);
        }
    }
}

/// A `print fmt`, NUL, a record. Every `REC->name` becomes a field, whose kind follows from its name.
pub fn print_fmt(data: &[u8]) {
    let (text, record) = parted(data);
    let text = String::from_utf8_lossy(text).into_owned();
    for abi in [LE64, BE32] {
        let format = EventFormat {
            system: "fuzz".into(),
            name: "fuzz".into(),
            id: 1,
            common: Vec::new(),
            fields: fields_of(&text, abi),
            print_fmt: text.clone(),
        };
        print(&format, record, abi);
    }
}

fn fields_of(text: &str, abi: Abi) -> Vec<Field> {
    const DECLARATIONS: [(&str, &str, u16); 12] = [
        ("int ", "", 4),
        ("unsigned long ", "", 8),
        ("char ", "[16]", 16),
        ("__data_loc char[] ", "", 4),
        ("u8 ", "", 1),
        ("__data_loc unsigned int[] ", "", 4),
        ("__data_loc cpumask_t ", "", 4),
        ("const char * ", "", 8),
        ("__rel_loc char ", "[]", 4),
        ("unsigned long ", "[4]", 32),
        ("struct sockaddr_in6 ", "", 28),
        ("__data_loc char[][2] ", "", 8),
    ];
    let mut lines = String::from("name: fuzz\nID: 1\nformat:\n");
    let mut seen = Vec::new();
    let mut offset = 8;
    for rest in text.split("REC->").skip(1).take(50) {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = &rest[..end];
        if name.is_empty() || seen.contains(&name) {
            continue;
        }
        seen.push(name);
        let sum = name.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let (before, after, size) = DECLARATIONS[sum % DECLARATIONS.len()];
        let signed = sum / 16 % 2;
        lines.push_str(&format!("\tfield:{before}{name}{after};\toffset:{offset};\tsize:{size};\tsigned:{signed};\n"));
        offset += size;
    }
    EventFormat::parse("fuzz", lines.as_bytes(), abi).map(|format| format.fields).unwrap_or_default()
}

fn print(format: &EventFormat, record: &[u8], abi: Abi) {
    let kallsyms = Kallsyms::new(b"0000000000001000 T first\n0000000000002000 t second [module]\n".to_vec());
    let printk = PrintkFormats::new(b"0x1000 : \"text\"\n0x2000 : \"more %d\"\n".to_vec());
    let tables = Tables { kallsyms: &kallsyms, printk: &printk };
    let mut out = Vec::new();
    for flavor in FLAVORS {
        fields::all(format, record, abi, flavor, &mut out);
        match compile_plain(format, abi, flavor) {
            Ok(program) => {
                program.run(record, &tables, &mut out);
                program.run(&[], &tables, &mut out);
                let shown = fields::ShownField::all(format, Some(&program));
                fields::raw(format, &shown, Some(&program), (abi, flavor), record, &tables, &mut out);
            }
            Err(refusal) => assert!(!refusal.reason.is_empty()),
        }
    }
}

struct Around;

impl FilterContext for Around {
    fn comm(&self, _: &Record<'_>) -> &[u8] {
        b"kworker/0:1"
    }

    fn symbol(&self, address: u64) -> Option<&[u8]> {
        (address > 0xff).then_some(b"schedule")
    }
}

/// An event with fields of every kind, for filters.
const EVENT: &[u8] = b"name: sched_switch\nID: 7\nformat:\n\
    \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
    \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n\
    \tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;\n\
    \tfield:pid_t prev_pid;\toffset:24;\tsize:4;\tsigned:1;\n\
    \tfield:long prev_state;\toffset:28;\tsize:8;\tsigned:1;\n\
    \tfield:u8 flags;\toffset:36;\tsize:1;\tsigned:0;\n\
    \tfield:__data_loc char[] name;\toffset:40;\tsize:4;\tsigned:0;\n\
    \tfield:unsigned long ip;\toffset:44;\tsize:8;\tsigned:0;\n\
    \tfield:__data_loc cpumask_t mask;\toffset:52;\tsize:4;\tsigned:0;\n\n\
    print fmt: \"\"\n";

/// A filter's text, NUL, a record.
pub fn filter(data: &[u8]) {
    let (text, record) = parted(data);
    let Ok(text) = std::str::from_utf8(text) else { return };
    let event = EventFormat::parse("sched", EVENT, LE64).expect("the event is well formed");
    for grammar in [Grammar::C, Grammar::LeftToRight] {
        match Filter::parse(text, grammar) {
            Ok(filter) => {
                let _ = filter.describe(&event);
                if let Some(bound) = filter.bind(&event, LE64) {
                    let record = Record { ticks: 1, cpu: 3, data: record };
                    assert!(bound.test(&record, &Around) || !bound.passes_all());
                }
            }
            Err(error) => {
                assert!(text.is_char_boundary(error.at), "the place of the fault is not in the text");
                assert!(!error.to_string().is_empty());
            }
        }
    }
}

/// Counts what is written and mixes it into a sum, so that two outputs can be compared without keeping them.
#[derive(Debug, PartialEq, Eq)]
struct Digest {
    bytes: u64,
    sum: u64,
}

impl Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        for byte in bytes {
            self.sum = (self.sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Two bytes that choose the options, and a whole file: its report with one thread and with two.
pub fn report(data: &[u8]) {
    let Some((choice, file)) = data.split_at_checked(2) else { return };
    let Ok(dat) = Dat::from_bytes(file) else { return };
    let inputs = vec![Input::new(dat, "fuzz.dat".into(), "fuzz.dat".into())];
    let one = report_with(&inputs, (choice[0], choice[1]), 1);
    let two = report_with(&inputs, (choice[0], choice[1]), 2);
    assert_eq!(one, two, "the output depends on the number of threads");
    if choice[1] & 0x80 != 0 {
        views(&inputs);
    }
}

fn view(first: u8) -> OwnedView {
    let bit = |at: u8| first >> at & 1 != 0;
    let export = |name| {
        let mut settings = ExportSettings::default();
        settings.heading = true;
        OwnedView::Export(export::named(name).expect("it is in the registry"), settings)
    };
    let bare = Show::Text { cpus: false, versions: false };
    match first & 7 {
        1 => export("json"),
        2 => export("csv"),
        3 => OwnedView::Analysis(Box::new(Summary::default()), bare),
        4 => OwnedView::Analysis(Box::new(GraphStats::default()), bare),
        _ => {
            let mut settings = TextSettings::default();
            settings.heading = true;
            settings.columns.full_time = bit(3);
            settings.columns.latency = bit(4);
            settings.columns.diff = bit(5);
            if bit(6) {
                settings.columns.raw = RawEvents::all();
            }
            settings.boundaries = bit(7);
            OwnedView::Text(settings)
        }
    }
}

fn settings(second: u8, threads: usize) -> ReadSettings {
    let mut settings = ReadSettings::default();
    settings.threads = threads;
    settings.style.compat = match second & 3 {
        1 => Compat::V31,
        2 => Compat::V34,
        _ => Compat::Rtrec,
    };
    if second & 4 != 0 {
        settings.style.plugins = PluginSet::None;
    }
    settings.align = second & 8 != 0;
    settings.tail = (second & 16 != 0).then_some(10);
    settings.check_order = second & 8 != 0;
    settings
}

fn report_with(inputs: &[Input], (first, second): (u8, u8), threads: usize) -> Digest {
    let mut digest = Digest { bytes: 0, sum: 0xcbf2_9ce4_8422_2325 };
    let mut selection = Selection::default();
    if second & 32 != 0 {
        selection = Selection { pids: vec![1, 1000], follow_children: true, ..Selection::default() };
        if second & 64 != 0 {
            let text = "sched,irq: common_pid > 0 || COMM =~ \"k\"".into();
            selection.pids.clear();
            selection.filters.push(FilterArg { text, negative: false, file: None });
        }
    }
    let reading = Reading::new(inputs.to_vec(), REGISTRY, settings(second, threads), &selection);
    let Ok(mut reading) = reading else { return digest };
    let outcome = report::print(&mut reading, view(first).view(), &mut digest).expect("the digest takes everything");
    // Notes are for people: there are never very many.
    assert!(outcome.notes.len() < 100_000);
    digest
}

fn views(inputs: &[Input]) {
    let mut sink = io::sink();
    for input in inputs {
        lists::functions(input, &mut sink).expect("a sink takes all");
        lists::printk(input, &mut sink).expect("a sink takes all");
        lists::events(input, &mut sink).expect("a sink takes all");
        lists::formats(input, None, &mut sink).expect("a sink takes all");
        let _ = lists::bad_events(input);
    }
    lists::stat(inputs, &mut sink).expect("a sink takes all");
}

/// What a user types for a probe: the first byte chooses the kind. What is taken apart can be taken apart again.
pub fn spec(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let kinds = [Kind::Uprobe, Kind::Usdt, Kind::Kprobe, Kind::Fprobe, Kind::Tprobe, Kind::Eprobe];
    let kind = kinds[usize::from(*choice) % kinds.len()];
    let Ok(spec) = Spec::parse(kind, text) else { return };
    assert_eq!(Spec::of(kind, &spec.text, spec.arguments.clone()).as_ref(), Ok(&spec));
    let _ = spec.is_glob();
    if let Ok(back) = spec.returning() {
        assert!(back.returns);
    }
}

/// Notes of static probes, and their arguments: the first byte chooses byte order and width of addresses.
pub fn usdt(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else { return };
    let abi = if choice & 1 == 0 { LE64 } else { BE32 };
    for probe in static_probes::parse(bytes, abi, choice & 2 == 0, (choice & 4 != 0).then_some(0x4000)) {
        for machine in [Machine::X86_64, Machine::Aarch64] {
            let fetched = static_probes::fetch_arguments(&probe, machine, |_| None);
            for argument in fetched.into_iter().flatten() {
                assert!(argument.starts_with("arg") && !argument.contains(char::is_whitespace), "{argument}");
            }
        }
    }
}

/// Types of a kernel, and a word for an argument in front of them: its length, then itself.
pub fn btf(data: &[u8]) {
    let Some((&length, rest)) = data.split_first() else { return };
    let Some((word, types)) = rest.split_at_checked(length.into()) else { return };
    let (Ok(word), Some(types)) = (std::str::from_utf8(word), Btf::new(types.to_vec(), LE64)) else { return };
    let words = [word.to_owned()];
    for place in
        [FunctionPlace::Entry("vfs_write"), FunctionPlace::Return("alloc_file"), FunctionPlace::Tracepoint("file_put")]
    {
        if let Ok(resolved) = kernel_arguments::resolve(&types, place, &words) {
            assert_eq!(resolved.len(), 1, "{word}");
        }
        for argument in kernel_arguments::all(&types, place).unwrap_or_default() {
            let text = argument.text;
            assert!(text.contains("$arg") || text.contains("$retval"), "{text}");
        }
    }
}

/// What files tell of windows, and words for them; the first byte chooses.
pub fn windows(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    match choice % 4 {
        0 => {
            let samples = Samples::decode(rest);
            for sample in samples.samples.iter().chain(&samples.outs) {
                for name in samples.stacks.get(sample.stack as usize).into_iter().flatten() {
                    let _ = samples.names.get(*name as usize);
                }
            }
        }
        1 => {
            let line = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            let (counts, lines) = rest.split_at(line);
            let session = WindowConfig::default().with_outcome(counts, lines);
            for tally in session.only_slow.iter().flat_map(|only_slow| only_slow.kinds.values()) {
                let Some(spread) = tally.spread.as_ref().and_then(StoredSpread::spread) else { continue };
                let drawn = spread.histogram();
                assert!(drawn.lines().count() < 80, "{drawn}");
                let _ = (spread.percentile(50.0), spread.average());
            }
        }
        2 => {
            let Some(session) = WindowConfig::decode(rest) else { return };
            assert_eq!(WindowConfig::decode(&session.encode()), Some(session));
        }
        _ => {
            let _ = marker::parse(rest);
            let Ok(text) = std::str::from_utf8(rest) else { return };
            let _ = (WindowSpec::parse(text), SyscallWindowSpec::parse(text), spec::time(text, Some(1)));
        }
    }
}
