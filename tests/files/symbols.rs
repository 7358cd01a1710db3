//! Symbols, lines, debug files and instructions of real programs, built here in several ways.

use std::path::{Path, PathBuf};
use std::process::Command;

use rtrec::symbols::dwarf::{Dwarf, LineAnswer};
use rtrec::symbols::instructions::{Boundary, boundary};
use rtrec::symbols::names::Names;
use rtrec::symbols::{Binary, Function, SearchResult, usdt};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/calls.c");

fn ran(program: &str, words: &[&str], folder: &Path) {
    let status = Command::new(program).args(words).current_dir(folder).status().expect("it starts");
    assert!(status.success(), "{program} {words:?}");
}

fn built(folder: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let words: Vec<&str> = flags.iter().copied().chain(["-o", name, SOURCE]).collect();
    ran("cc", &words, folder);
    folder.join(name)
}

fn only<'b>(binary: &'b Binary, name: &str) -> &'b Function {
    let found = binary.functions().named(name);
    assert_eq!(found.len(), 1, "{name} in {:?}", binary.path());
    found[0]
}

fn line_of(text: &str) -> u64 {
    let source = std::fs::read_to_string(SOURCE).unwrap();
    source.lines().position(|line| line.contains(text)).expect("the source has it") as u64 + 1
}

#[test]
fn addresses_and_offsets_agree_in_every_kind_of_program() {
    let folder = tempfile::tempdir().unwrap();
    for (name, flags) in [
        ("pie", &["-O2", "-g"][..]),
        ("fixed", &["-O2", "-g", "-no-pie"]),
        ("static", &["-O2", "-g", "-static"]),
        ("shared", &["-O2", "-g", "-shared", "-fPIC"]),
    ] {
        let path = built(folder.path(), name, flags);
        let bytes = std::fs::read(&path).unwrap();
        let binary = Binary::open(&path).unwrap();
        let work = only(&binary, "work");
        let offset = binary.code_offset(work.address).unwrap();
        assert_eq!(binary.code_address(offset), Some(work.address), "{name}");
        let code = binary.bytes_at(work.address, work.size).unwrap();
        assert_eq!(code, &bytes[offset as usize..][..work.size as usize], "{name}");
        assert_eq!(binary.functions().at(work.address + work.size - 1).unwrap().name, "work", "{name}");
        assert_eq!(binary.code_address(1), None, "{name}: the header is no code");
        let mut names = Names::new();
        let named = names.at(&path, work.address, None).unwrap();
        let line = line_of("long work(") + 1;
        assert_eq!(named.text().unwrap(), format!("work+0x0 (calls.c:{line})"), "{name}");
    }
}

#[test]
fn a_line_is_found_wherever_it_is_inlined() {
    let folder = tempfile::tempdir().unwrap();
    let source = "static volatile long sink;\n\
                  static inline __attribute__((always_inline)) void step(long v)\n{\n\tsink += v * 3;\n}\n\
                  __attribute__((noinline)) void one(long v)\n{\n\tstep(v);\n}\n\
                  __attribute__((noinline)) void two(long v)\n{\n\tstep(v);\n\tsink++;\n\tstep(v + 1);\n}\n\
                  int main(void)\n{\n\tone(1);\n\ttwo(2);\n\treturn 0;\n}\n";
    std::fs::write(folder.path().join("inlined.c"), source).unwrap();
    ran("cc", &["-O1", "-g", "-o", "inlined", "inlined.c"], folder.path());
    let binary = Binary::open(&folder.path().join("inlined")).unwrap();
    let dwarf = Dwarf::of(&binary).unwrap().unwrap();
    let LineAnswer::Code(places) = dwarf.places_of("inlined.c", 4) else { panic!() };
    let functions: Vec<&str> = places.iter().map(|place| binary.functions().at(place.address).unwrap().name).collect();
    assert_eq!(functions.iter().filter(|name| **name == "one").count(), 1, "{functions:?}");
    assert_eq!(functions.iter().filter(|name| **name == "two").count(), 2, "{functions:?}");
    let frames = dwarf.frames(places[0].address);
    assert_eq!(frames.iter().filter_map(|frame| frame.function.as_deref()).next(), Some("step"));
    assert_eq!(dwarf.places_of("inlined.c", 1), LineAnswer::NoCode { before: None, after: Some(2) });
    assert!(matches!(dwarf.places_of("other.c", 1), LineAnswer::NoFile(_)));
    assert_eq!(dwarf.inlined_lines("step"), ["inlined.c:2"]);
}

#[test]
fn instructions_begin_where_the_decoder_says() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let binary = Binary::open(&built(folder.path(), "calls", &["-O2"])).unwrap();
    let main = only(&binary, "main");
    let mut starts = vec![main.address];
    let mut inside = 0;
    for address in main.address + 1..main.address + main.size {
        match boundary(&binary, main.address, address) {
            Boundary::Yes => starts.push(address),
            Boundary::No { before, after } => {
                inside += 1;
                assert_eq!(Some(&before), starts.last());
                assert!(after > address && boundary(&binary, main.address, after) == Boundary::Yes);
            }
            Boundary::Unknown => panic!("{address:#x} is code"),
        }
    }
    assert!(starts.len() > 20 && inside > 20, "{} {inside}", starts.len());
}

#[test]
fn separate_debug_files_are_found_and_those_of_other_builds_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    built(dir, "calls", &["-O2", "-g"]);
    ran("objcopy", &["--only-keep-debug", "calls", "calls.debug"], dir);
    ran("objcopy", &["--strip-all", "--add-gnu-debuglink=calls.debug", "calls", "stripped"], dir);
    let binary = Binary::open(&dir.join("stripped")).unwrap();
    assert!(!binary.has_symtab() && !binary.has_dwarf());
    only(&binary, "work");
    assert_eq!(binary.debug_file().tried.last().unwrap().1, SearchResult::Taken);
    let dwarf = Dwarf::of(&binary).unwrap().unwrap();
    assert!(matches!(dwarf.places_of("calls.c", line_of("sum += t->id")), LineAnswer::Code(_)));
    // A file of that name from another build is none of ours.
    built(dir, "other", &["-O1", "-g"]);
    ran("objcopy", &["--only-keep-debug", "other", "calls.debug"], dir);
    let binary = Binary::open(&dir.join("stripped")).unwrap();
    assert!(binary.debug_file().found.is_none());
    assert!(binary.debug_file().tried.iter().any(|(_, verdict)| *verdict == SearchResult::OtherBuild));
    assert!(binary.functions().named("work").is_empty());
}

#[test]
fn small_debug_information_inside_the_file_is_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    built(dir, "calls", &["-O2"]);
    ran("objcopy", &["--strip-debug", "calls", "mini"], dir);
    let mut packed = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(6)).unwrap();
    std::io::Write::write_all(&mut packed, &std::fs::read(dir.join("mini")).unwrap()).unwrap();
    std::fs::write(dir.join("mini.xz"), packed.finish().unwrap()).unwrap();
    ran("objcopy", &["--strip-all", "--add-section", ".gnu_debugdata=mini.xz", "calls", "stripped"], dir);
    let whole = Binary::open(&dir.join("calls")).unwrap();
    let binary = Binary::open(&dir.join("stripped")).unwrap();
    assert_eq!(only(&binary, "work"), only(&whole, "work"));
    assert_eq!(binary.functions().tables(), [".gnu_debugdata"]);
}

#[test]
fn damaged_programs_give_errors_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = built(folder.path(), "calls", &["-O0", "-g"]);
    let whole = std::fs::read(&path).unwrap();
    let line = line_of("sum += t->id");
    let look = |bytes: Vec<u8>| {
        let Ok(binary) = Binary::of(&path, Box::leak(bytes.into_boxed_slice())) else { return };
        let functions = binary.functions();
        for function in functions.all().iter().take(40) {
            let _ = (functions.end_of(function), functions.at(function.address), binary.code_offset(function.address));
            let _ = boundary(&binary, function.address, function.address.wrapping_add(5));
        }
        let _ = usdt::probes(&binary);
        let Some(Ok(dwarf)) = Dwarf::of(&binary) else { return };
        let _ = dwarf.places_of("calls.c", line);
        for function in functions.named("work") {
            let _ = dwarf.frames(function.address);
            for entry in [Some(function.address), None] {
                let Some(scope) = dwarf.scope(&binary, function.address, entry) else { continue };
                let _ = (scope.parameters(), scope.returned(), scope.fetch("t->in.label"), scope.fetch("t->next->tag"));
            }
        }
    };
    look(whole.clone());
    for cut in (0..whole.len()).step_by(whole.len() / 60) {
        look(whole[..cut].to_vec());
    }
    // The same damage every time.
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    for _ in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..8 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let at = (seed % bytes.len() as u64) as usize;
            bytes[at] = (seed >> 40) as u8;
        }
        look(bytes);
    }
    assert!(Binary::of(&path, b"").is_err() && Binary::of(&path, b"\x7fELF").is_err());
}
