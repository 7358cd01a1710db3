//! The first inputs of every target, taken from the fixtures.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use byteorder::LittleEndian;
use rtrec::dat::{Dat, ids};
use rtrec::windows::samples::{Sample, SampleBlock};
use rtrec::wire::format::{self, EventFormat};

/// Names and bytes of the seeds of a target. Panics where the fixtures cannot be read.
pub fn of(target: &str, fixtures: &Path) -> Vec<(String, Vec<u8>)> {
    let cases = cases(fixtures);
    let mut seeds = Vec::new();
    for (name, bytes) in &cases {
        let dat = Dat::from_bytes(bytes.as_slice()).expect("the fixture is whole");
        match target {
            "dat" | "report" => {
                let choices: &[[u8; 2]] = if target == "dat" { &[[0; 2]] } else { &CHOICES };
                for (number, choice) in choices.iter().enumerate() {
                    let prefix = if target == "dat" { &[][..] } else { &choice[..] };
                    let mut add = |what: &str, file: &[u8]| {
                        seeds.push((format!("{name}-{what}-{number}"), [prefix, file].concat()));
                    };
                    add("v6", &small(&dat, 6));
                    add("v7", &small(&dat, 7));
                    if number == 0 && bytes.len() < 65_000 {
                        add("whole", bytes);
                    }
                }
            }
            "subbuf" => {
                seeds.push((format!("{name}-head"), [&[0], &*dat.header_texts().unwrap_or_default().0].concat()));
                for (number, page) in pages(&dat, 2).into_values().flatten().enumerate() {
                    seeds.push((format!("{name}-{number}"), [&[16], page.as_slice()].concat()));
                }
            }
            "format" | "print_fmt" => formats(target, &dat, &mut seeds),
            "filter" | "spec" | "usdt" | "btf" | "windows" => {}
            other => panic!("no target is called {other}"),
        }
    }
    if target == "spec" {
        seeds.extend(SPECS.iter().enumerate().map(|(number, text)| (format!("{number}"), text.as_bytes().to_vec())));
    }
    if target == "btf" {
        let types = fs::read(fixtures.join("btf/kernel.btf")).expect("the fixture is there");
        let of = |word: &str| [&[word.len() as u8], word.as_bytes(), &types].concat();
        seeds.extend(KERNEL_WORDS.iter().enumerate().map(|(number, word)| (format!("{number}"), of(word))));
    }
    if target == "windows" {
        seeds.extend(WINDOWS.iter().enumerate().map(|(number, text)| (format!("{number}"), text.as_bytes().to_vec())));
        seeds.push(("samples".to_owned(), samples()));
    }
    if target == "usdt" {
        seeds.extend(ARGUMENTS.iter().enumerate().map(|(number, text)| (format!("{number}"), note(text))));
    }
    if target == "filter" {
        let filters = FILTERS.iter().enumerate();
        seeds.extend(filters.map(|(number, text)| (format!("{number}"), [text.as_bytes(), &[0; 60]].concat())));
    }
    seeds
}

/// First bytes of the seeds of `report`.
const CHOICES: [[u8; 2]; 6] = [[0, 0], [1, 1], [2, 2], [3, 0x80], [0xf8, 0x6c], [4, 0x31]];

/// The first byte chooses the kind.
const SPECS: [&str; 12] = [
    "0operator==x:operator==",
    "01:0x1",
    "0grp/name=./prog:main+0x10 a=%di:u32 +8(%si):string",
    "0libc:mem*%return $retval",
    "042:ns::Thing<int>::f(char const*, int) this->x.y[3]:x32",
    "0prog:dir/file.c:120 n t->name",
    "1usdt:/usr/bin/x:prov:name",
    "2ext4:ext4_open%return@64 file->f_path.dentry->d_name.name:string",
    "2vfs_read+0x4",
    "3vfs_*%return",
    "4sched:sched_switch prev next",
    "5sched:sched_switch who=next_pid",
];

const ARGUMENTS: [&str; 12] = [
    "-4@%edi 8@%rsi -1@$-3 2@-8(%rbp)",
    "8@16+8(%rsp) 1@%r10b 4@global(%rip)",
    "-4@w0 8@[sp, 24] 4@[x0] -8@-5",
    "8@8(%rax,%rbx,4)",
    "4@%r9d",
    "-2@%ax",
    "8@$0x10",
    "8f@%xmm0",
    "8@[x29, -16] -4@x3",
    "1@%ah",
    "%rdi %rsi",
    "",
];

/// A note of a static probe, behind a byte that chooses byte order and width.
fn note(arguments: &str) -> Vec<u8> {
    let mut text: Vec<u8> = [0x1000u64, 0x3000, 0x5000].iter().flat_map(|word| word.to_le_bytes()).collect();
    text.extend_from_slice(b"demo\0req\0");
    text.extend_from_slice(arguments.as_bytes());
    text.push(0);
    let mut note = vec![0];
    note.extend([8, text.len() as u32, 3].iter().flat_map(|word| word.to_le_bytes()));
    note.extend_from_slice(b"stapsdt\0");
    note.extend(text);
    note
}

const FILTERS: [&str; 14] = [
    "sched_switch",
    "sched/sched_switch, irq: prev_pid != 0",
    "sched_switch: prev_pid == 0x10 && (prev_state & 3 != 0 || !flags)",
    "sched_.*: prev_comm =~ \"^k.*[0-9]$\" || COMM !~ 'a'",
    "sched_switch: name == \"text\" && CPU >= 1",
    "sched_switch: -prev_pid < ~3 % 7 * 2 + 1 - 4",
    "sched_switch: prev_state << 3 >> 1 ^ 5 | 2",
    "sched_switch: ip == schedule",
    "*: common_pid > 018446744073709551615",
    "sched: !(!(!(prev_pid)))",
    "sched_switch: prev_comm =~ \"\\\\(a*\\\\)*b\\\\{2,3\\\\}\"",
    "sched_switch: nosuch == 1 || prev_pid",
    "sched_switch: mask & 1",
    "sched_switch: prev_pid = 1",
];

fn cases(fixtures: &Path) -> Vec<(String, Vec<u8>)> {
    let mut cases: Vec<(String, Vec<u8>)> = fs::read_dir(fixtures)
        .expect("the folder of fixtures")
        .flatten()
        .filter_map(|entry| {
            let bytes = fs::read(entry.path().join("trace.dat")).ok()?;
            Some((entry.file_name().to_string_lossy().into_owned(), bytes))
        })
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "there are no fixtures");
    cases
}

/// The first sub-buffers of every CPU of the first buffer that hold something.
fn pages(dat: &Dat, most: usize) -> BTreeMap<u32, Vec<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let Some(buffer) = dat.buffers.first() else { return found };
    for data in &buffer.cpus {
        let (mut chunks, mut bytes) = (dat.chunks(buffer, data), Vec::new());
        let mut pages = Vec::new();
        while let Some(Ok(chunk)) = chunks.next(dat) {
            dat.read_chunk(&chunk, &mut bytes).expect("the fixture is whole");
            pages.extend(bytes.chunks(buffer.layout.subbuf_bytes as usize).map(<[u8]>::to_vec));
        }
        pages.truncate(most);
        found.insert(data.cpu, pages);
    }
    found
}

/// The records of a few sub-buffers, by event id.
fn records(dat: &Dat) -> BTreeMap<u16, Vec<u8>> {
    let mut records = BTreeMap::new();
    let Some(buffer) = dat.buffers.first() else { return records };
    for page in pages(dat, usize::MAX).into_values().flatten() {
        let Ok(head) = buffer.layout.head(&page) else { continue };
        let mut walk = buffer.layout.walk(&head);
        while let Some(Ok(found)) = walk.next::<LittleEndian>(&page) {
            let data = &page[found.start as usize..(found.start + found.len) as usize];
            if let Some(id) = dat.abi.u16(data) {
                records.entry(id).or_insert_with(|| data.to_vec());
            }
        }
    }
    records
}

fn formats(target: &str, dat: &Dat, seeds: &mut Vec<(String, Vec<u8>)>) {
    let records = records(dat);
    let nothing = vec![0; 64];
    for (_, text) in dat.formats().0 {
        let Ok(format) = EventFormat::parse("", &text, dat.abi) else { continue };
        let record = records.get(&format.id).unwrap_or(&nothing);
        let text = if target == "format" { text } else { format.print_fmt.into_bytes() };
        // The corpus is one folder: an event of several fixtures is one seed.
        let seed = (format.name, [text.as_slice(), &[0], record].concat());
        if !seeds.iter().any(|(name, _)| *name == seed.0) {
            seeds.push(seed);
        }
    }
}

/// A small uncompressed file with the first sub-buffer of each CPU and only the formats that it needs.
fn small(dat: &Dat, version: u8) -> Vec<u8> {
    let pages = pages(dat, 1);
    let wanted: BTreeSet<u16> = records(dat).into_keys().collect();
    let (mut ftrace, mut systems) = (Vec::new(), BTreeMap::<String, Vec<Vec<u8>>>::new());
    for (system, text) in dat.formats().0 {
        if format::peek(&text).is_some_and(|(_, id)| wanted.contains(&id)) {
            if system == "ftrace" {
                ftrace.push(text);
            } else {
                systems.entry(system).or_default().push(text);
            }
        }
    }
    let (page, event) = dat.header_texts().unwrap_or_default();
    let mut head = b"header_page\0".to_vec();
    long(&mut head, page.len());
    head.extend_from_slice(&page);
    head.extend_from_slice(b"header_event\0");
    long(&mut head, event.len());
    head.extend_from_slice(&event);
    let mut events = Vec::new();
    word(&mut events, systems.len());
    for (system, texts) in &systems {
        events.extend_from_slice(system.as_bytes());
        events.push(0);
        list(&mut events, texts);
    }
    let mut of_ftrace = Vec::new();
    list(&mut of_ftrace, &ftrace);
    let table = |id, most| {
        let text = dat.table(id).and_then(Result::ok).unwrap_or_default();
        let end = text.split_inclusive(|byte| *byte == b'\n').take(most).map(<[u8]>::len).sum();
        text[..end].to_vec()
    };
    let sized = |text: Vec<u8>| [&(text.len() as u32).to_le_bytes()[..], &text].concat();
    let cmdlines = table(ids::CMDLINES, 30);
    let tables = [
        (ids::HEADER_INFO, head),
        (ids::FTRACE_EVENTS, of_ftrace),
        (ids::EVENT_FORMATS, events),
        (ids::KALLSYMS, sized(table(ids::KALLSYMS, 20))),
        (ids::PRINTK, sized(table(ids::PRINTK, 5))),
        (ids::CMDLINES, [&(cmdlines.len() as u64).to_le_bytes()[..], &cmdlines].concat()),
    ];
    let clock = dat.options.trace_clock.clone().unwrap_or_else(|| b"[local]".to_vec());
    let mut common = Vec::new();
    option(&mut common, ids::TRACECLOCK, &[&clock[..], &[0]].concat());
    option(&mut common, ids::CPUCOUNT, &(pages.len() as u32).to_le_bytes());
    option(&mut common, ids::OFFSET, b"-17\0");
    let mut file = ids::MAGIC.to_vec();
    file.extend_from_slice(&[b'0' + version, 0, 0, 8]);
    word(&mut file, dat.layout.subbuf_bytes as usize);
    if version == 6 {
        v6(&mut file, &tables, &common, &pages, &clock);
    } else {
        v7(&mut file, &tables, common, &pages, dat.layout.subbuf_bytes);
    }
    file
}

type Pages = BTreeMap<u32, Vec<Vec<u8>>>;

fn v6(file: &mut Vec<u8>, tables: &[(u16, Vec<u8>)], options: &[u8], pages: &Pages, clock: &[u8]) {
    for (_, table) in tables {
        file.extend_from_slice(table);
    }
    word(file, pages.len());
    file.extend_from_slice(&ids::V6_OPTIONS);
    file.extend_from_slice(options);
    file.extend_from_slice(&ids::DONE.to_le_bytes());
    file.extend_from_slice(&ids::V6_FLYRECORD);
    let mut offset = file.len() + 16 * pages.len() + 8 + clock.len();
    for pages in pages.values() {
        let bytes = pages.iter().map(Vec::len).sum();
        long(file, offset);
        long(file, bytes);
        offset += bytes;
    }
    long(file, clock.len());
    file.extend_from_slice(clock);
    pages.values().flatten().for_each(|page| file.extend_from_slice(page));
}

fn v7(file: &mut Vec<u8>, tables: &[(u16, Vec<u8>)], mut options: Vec<u8>, pages: &Pages, subbuf_bytes: u32) {
    file.extend_from_slice(b"none\0\0");
    let first_options = file.len();
    long(file, 0);
    for (id, table) in tables {
        option(&mut options, *id, &(file.len() as u64).to_le_bytes());
        section(file, *id, table);
    }
    let mut buffer = (file.len() as u64).to_le_bytes().to_vec();
    buffer.extend_from_slice(b"\0local\0");
    word(&mut buffer, subbuf_bytes as usize);
    word(&mut buffer, pages.len());
    let mut offset = file.len() + 16;
    for (cpu, pages) in pages {
        let bytes = pages.iter().map(Vec::len).sum();
        word(&mut buffer, *cpu as usize);
        long(&mut buffer, offset);
        long(&mut buffer, bytes);
        offset += bytes;
    }
    section(file, ids::BUFFER, &pages.values().flatten().flatten().copied().collect::<Vec<u8>>());
    option(&mut options, ids::BUFFER, &buffer);
    option(&mut options, ids::DONE, &[0; 8]);
    let at = (file.len() as u64).to_le_bytes();
    file[first_options..first_options + 8].copy_from_slice(&at);
    section(file, ids::SECTION_OPTIONS, &options);
}

fn section(file: &mut Vec<u8>, id: u16, bytes: &[u8]) {
    file.extend_from_slice(&id.to_le_bytes());
    file.extend_from_slice(&[0; 2]);
    file.extend_from_slice(&ids::NO_DESCRIPTION.to_le_bytes());
    long(file, bytes.len());
    file.extend_from_slice(bytes);
}

fn option(into: &mut Vec<u8>, id: u16, data: &[u8]) {
    into.extend_from_slice(&id.to_le_bytes());
    word(into, data.len());
    into.extend_from_slice(data);
}

fn list(into: &mut Vec<u8>, texts: &[Vec<u8>]) {
    word(into, texts.len());
    for text in texts {
        long(into, text.len());
        into.extend_from_slice(text);
    }
}

fn word(into: &mut Vec<u8>, value: usize) {
    into.extend_from_slice(&(value as u32).to_le_bytes());
}

fn long(into: &mut Vec<u8>, value: usize) {
    into.extend_from_slice(&(value as u64).to_le_bytes());
}

/// Arguments of kernel functions, for `btf`.
const KERNEL_WORDS: [&str; 12] = [
    "file->f_path.dentry->d_name.name:string",
    "file->f_path.dentry->d_name.len",
    "file->f_path.dentry->d_iname",
    "file->f_mid",
    "file->f_ids[3]",
    "file->f_ids",
    "file->f_more[1].dentry->d_parent->d_flags:x32",
    "pos[0]",
    "buf:ustring",
    "name=file->f_share",
    "file->f_path",
    "$retval->f_mode",
];

/// The first byte chooses what it is.
const WINDOWS: [&str; 11] = [
    concat!(
        r#"1{"buffer_bytes":204800,"kinds":{"x":{"closed":3,"slow":1,"total_ns":9,"min_ns":1,"max_ns":5,"spread":{"unit":1000,"#,
        r#""digits":2,"total":9,"min":1,"max":5,"rows":[[0,3]],"values":[[1,1],[3,1],[5,1]]}}},"stray_stops":1,"restarts":0,"#,
        r#""discarded":0,"open":1,"dropped":0,"lost":0}"#,
        "\n",
        r#"{"tid":3,"tgid":2,"start":1,"end":9,"definition":0,"split":{"on_cpu":1,"blocked":7,"runnable":0,"interrupts":0},"lost":0,"dropped":0}"#
    ),
    concat!(
        r#"2{"definitions":[{"name":"a..b","source":{"Syscall":{"nr":230}},"process":0,"threshold":{"Fixed":5}},{"name":"m","#,
        r#""source":"Marker","process":null,"threshold":"Session"}],"threshold_ns":5,"tasks":[{"tid":3,"tgid":2}]}"#
    ),
    "3start 4711 20 label",
    "3./prog:main.c:12 n..stop[x == 3]@7:20ms",
    "3sched:sched_waking[pid == 7]..sched:sched_switch[next_pid == 7]",
    "30:fsync:1.5ms",
    "3start",
    "3./prog:main%return..usdt:./prog:app:done:thr=id*ms",
    "34711:no_such_call",
    "312.5us",
    "3stop 9",
];

/// Samples as a recorder writes them.
fn samples() -> Vec<u8> {
    let sample = |time, stack| Sample { time, tid: 3, tgid: 2, cpu: 1, stack };
    let block = SampleBlock {
        period_ns: 1000,
        samples: vec![sample(5, 0), sample(9, 1)],
        outs: vec![sample(7, 0)],
        switches: vec![(4, 3), (8, 3)],
        ..SampleBlock::default()
    };
    [&[0], block.encode().as_slice()].concat()
}
