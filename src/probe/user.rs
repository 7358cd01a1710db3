//! Places in programs and libraries.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use super::arguments::{self, At};
use super::error::ProbeError;
use super::names;
use super::spec::{BinaryName, Place, Spec, Target, is_glob};
use super::{Probe, Resolver, find};
use crate::symbols::dwarf::{Dwarf, LineAnswer};
use crate::symbols::instructions::{Boundary, boundary};
use crate::symbols::usdt::{self, Usdt};
use crate::symbols::{Binary, Function, Functions, Machine};
use crate::tracefs::dynamic::DefinitionFile;
use crate::wire::pattern::Pattern;

/// A binary, and what was read of it.
#[derive(Debug)]
pub struct Opened {
    /// The binary.
    pub binary: Binary,
    dwarf: OnceCell<Option<Dwarf>>,
}

impl Opened {
    pub(super) fn new(binary: Binary) -> Self {
        Opened { binary, dwarf: OnceCell::new() }
    }

    /// Its debug information; damaged is as good as none here.
    pub fn dwarf(&self) -> Option<&Dwarf> {
        self.dwarf.get_or_init(|| Dwarf::of(&self.binary)?.ok()).as_ref()
    }

    fn path(&self) -> &Path {
        self.binary.path()
    }

    pub(super) fn needs_dwarf(&self, wanted: &str) -> Result<&Dwarf, ProbeError> {
        if let Some(Err(error)) = self.dwarf().is_none().then(|| Dwarf::of(&self.binary)).flatten() {
            return Err(error.into());
        }
        self.dwarf().ok_or_else(|| ProbeError::NoDwarf {
            path: self.path().to_owned(),
            wanted: wanted.to_owned(),
            tried: self.binary.debug_file().tried.clone(),
        })
    }
}

/// A place that was found.
struct Found {
    address: u64,
    /// Where the function begins, if it is known.
    entry: Option<u64>,
    /// What the event is called after.
    stem: String,
    /// In the user's words.
    shown: String,
    usdt: Option<Usdt>,
}

impl Resolver {
    pub(super) fn user(&mut self, spec: &Spec, name: &BinaryName, place: &Place) -> Result<Vec<Probe>, ProbeError> {
        let paths = match name {
            BinaryName::Named(name) => vec![find::by_name(name)?],
            BinaryName::Process(pid) => find::of_process(*pid)?,
        };
        let mut first = None;
        for path in &paths {
            match self.user_in(spec, path, place) {
                Ok(probes) => return Ok(probes),
                // Another mapped file may have it.
                Err(error) if paths.len() > 1 && is_absence(&error) => first = first.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        Err(self.nowhere(paths, place, first))
    }

    /// None of the files that a process has mapped has it.
    fn nowhere(&mut self, paths: Vec<PathBuf>, place: &Place, first: Option<ProbeError>) -> ProbeError {
        let Place::Symbol(word, _) = place else {
            return first.unwrap_or(ProbeError::NoSymbol {
                paths,
                word: String::new(),
                nearest: Vec::new(),
                tables: Vec::new(),
            });
        };
        let opened: Vec<_> = paths.iter().filter_map(|path| self.binary(path).ok()).collect();
        let nearest =
            names::nearest(word, opened.iter().flat_map(|opened| opened.binary.functions().all()).map(|f| f.name));
        ProbeError::NoSymbol { paths, word: word.clone(), nearest, tables: Vec::new() }
    }

    fn user_in(&mut self, spec: &Spec, path: &Path, place: &Place) -> Result<Vec<Probe>, ProbeError> {
        let opened = self.binary(path)?;
        let machine = opened.binary.machine();
        let text = path.to_string_lossy();
        if text.contains(char::is_whitespace) {
            return Err(ProbeError::Blank(path.to_owned()));
        }
        if machine != Machine::HOST {
            let machine = machine.name();
            return Err(ProbeError::OtherMachine { path: path.to_owned(), machine });
        }
        let found = match place {
            Place::Offset(offset) => vec![at_offset(&opened, *offset)?],
            Place::Symbol(word, 0) if is_glob(word) => by_glob(&opened, word)?,
            Place::Symbol(word, offset) => vec![by_symbol(&opened, word, *offset)?],
            Place::Line(file, line) => by_line(&opened, file, *line)?,
            Place::Static(provider, name) => statics(&opened, provider.as_deref(), name)?,
        };
        self.check_count(spec, found.len())?;
        found.into_iter().map(|found| self.user_probe(spec, &opened, found)).collect()
    }

    fn user_probe(&mut self, spec: &Spec, opened: &Opened, found: Found) -> Result<Probe, ProbeError> {
        let at = At {
            opened,
            address: found.address,
            entry: found.entry,
            shown: &found.shown,
            usdt: found.usdt.as_ref(),
            is_line: matches!(&spec.target, Target::User(_, Place::Line(..))),
        };
        let fetched = arguments::user(spec, &at)?;
        let address = fetched.address.unwrap_or(found.address);
        let offset = opened.binary.code_offset(address).ok_or_else(|| not_code(&opened.binary, address))?;
        let semaphore = found.usdt.as_ref().filter(|usdt| usdt.semaphore != 0);
        let semaphore = semaphore.and_then(|usdt| opened.binary.offset_of(usdt.semaphore));
        let path = opened.path().display();
        let place = match semaphore {
            Some(semaphore) => format!("{path}:{offset:#x}({semaphore:#x})"),
            None => format!("{path}:{offset:#x}"),
        };
        Ok(Probe {
            file: DefinitionFile::Uprobe,
            name: self.namer.name(spec, &found.stem),
            letter: if spec.returns { "r" } else { "p" }.to_owned(),
            place,
            arguments: fetched.arguments,
            target: found.shown,
            notes: fetched.notes,
            values: fetched.values,
        })
    }
}

fn is_absence(error: &ProbeError) -> bool {
    matches!(
        error,
        ProbeError::NoSymbol { .. }
            | ProbeError::NoFile { .. }
            | ProbeError::NoDwarf { .. }
            | ProbeError::NoStatic { .. }
            | ProbeError::NotCode { .. }
            | ProbeError::Binary(_)
    )
}

fn not_code(binary: &Binary, offset: u64) -> ProbeError {
    let code = binary.segments().iter().filter(|segment| segment.executable);
    let code = code.map(|segment| (segment.offset, segment.offset + segment.file_size)).collect();
    ProbeError::NotCode { path: binary.path().to_owned(), offset, code }
}

fn at_offset(opened: &Opened, offset: u64) -> Result<Found, ProbeError> {
    let binary = &opened.binary;
    let address = binary.code_address(offset).ok_or_else(|| not_code(binary, offset))?;
    let function = binary.functions().at(address);
    if let Some(function) = function {
        check_boundary(binary, function.address, address)?;
    }
    let file = binary.path().file_name().and_then(|name| name.to_str()).unwrap_or("probe");
    Ok(Found {
        address,
        entry: function.map(|function| function.address),
        stem: match function.filter(|function| function.address == address) {
            Some(function) => Functions::display_name(function),
            None => format!("{file}_{offset:#x}"),
        },
        shown: format!("{}:{offset:#x}", binary.path().display()),
        usdt: None,
    })
}

fn check_boundary(binary: &Binary, start: u64, address: u64) -> Result<(), ProbeError> {
    let Boundary::No { before, after } = boundary(binary, start, address) else { return Ok(()) };
    let offset = |address| binary.code_offset(address).unwrap_or(address);
    Err(ProbeError::NotBoundary {
        path: binary.path().to_owned(),
        offset: offset(address),
        nearest: (offset(before), offset(after)),
    })
}

fn by_symbol(opened: &Opened, word: &str, offset: u64) -> Result<Found, ProbeError> {
    let function = function_named(opened, word)?;
    let binary = &opened.binary;
    let shown = format!("{}:{}", binary.path().display(), word);
    let address = function.address.wrapping_add(offset);
    if offset > 0 {
        let size = binary.functions().end_of(function).map(|end| end - function.address);
        if let Some(size) = size.filter(|&size| offset >= size) {
            return Err(ProbeError::BehindFunction { word: format!("{word}+{offset:#x}"), size });
        }
        check_boundary(binary, function.address, address)?;
    }
    let stem = Functions::display_name(function);
    Ok(Found {
        address,
        entry: Some(function.address),
        stem: if offset > 0 { format!("{stem}_{offset:#x}") } else { stem },
        shown: if offset > 0 { format!("{shown}+{offset:#x}") } else { shown },
        usdt: None,
    })
}

/// The one function that a name means.
fn function_named<'o>(opened: &'o Opened, word: &str) -> Result<&'o Function, ProbeError> {
    let binary = &opened.binary;
    let functions = binary.functions();
    let mut named: Vec<(&Function, String)> =
        functions.named(word).into_iter().map(|function| (function, function.name.to_owned())).collect();
    if named.is_empty() {
        let demangled = functions.demangled_as(word);
        named = demangled.into_iter().map(|(function, name)| (function, name.to_owned())).collect();
    }
    // Constructors have several names for one address, and aliases too.
    named.sort_by_key(|(function, _)| function.address);
    named.dedup_by_key(|(function, _)| function.address);
    match named.as_slice() {
        [] => Err(no_symbol(opened, word)),
        [(function, _)] if function.indirect => Err(indirect(binary, word)),
        [(function, _)] => Ok(function),
        several => Err(ProbeError::Ambiguous {
            path: binary.path().to_owned(),
            word: word.to_owned(),
            choices: several
                .iter()
                .map(|(function, name)| format!("{:#x} {name}", binary.code_offset(function.address).unwrap_or(0)))
                .collect(),
        }),
    }
}

fn indirect(binary: &Binary, word: &str) -> ProbeError {
    let prefix = format!("__{word}_");
    let mut choices: Vec<String> = binary.functions().all().iter().map(|function| function.name.to_owned()).collect();
    choices.retain(|name| name.starts_with(&prefix) && !name.ends_with("_chk") && !name.ends_with("_ifunc"));
    choices.truncate(12);
    ProbeError::Indirect { path: binary.path().to_owned(), word: word.to_owned(), choices }
}

fn no_symbol(opened: &Opened, word: &str) -> ProbeError {
    let functions = opened.binary.functions();
    let path = opened.path().to_owned();
    let lines = opened.dwarf().map(|dwarf| dwarf.inlined_lines(word)).unwrap_or_default();
    if !lines.is_empty() {
        return ProbeError::Inlined { path, word: word.to_owned(), lines };
    }
    // What the optimiser has split off or made special keeps the name in front.
    let variant = format!("{word}.");
    let mut nearest: Vec<String> =
        functions.all().iter().filter(|f| f.name.starts_with(&variant)).map(|f| f.name.to_owned()).collect();
    nearest.extend(names::nearest(word, functions.names().map(|(_, name)| name)));
    nearest.truncate(6);
    ProbeError::NoSymbol { paths: vec![path], word: word.to_owned(), nearest, tables: functions.tables().to_vec() }
}

/// All functions of a glob, each address once. Those that only choose others are left out.
fn by_glob(opened: &Opened, word: &str) -> Result<Vec<Found>, ProbeError> {
    let Ok(pattern) = Pattern::glob(word) else { return Err(no_symbol(opened, word)) };
    let binary = &opened.binary;
    let mut found: Vec<Found> = Vec::new();
    let mut choosers = 0;
    for (function, name) in binary.functions().names() {
        let short = crate::symbols::demangle::without_parameters(name);
        let fits = [name, short, function.name].iter().any(|name| pattern.matches(name.as_bytes()));
        choosers += usize::from(fits && function.indirect);
        if !fits || function.indirect {
            continue;
        }
        // Of several names the plainest.
        if let Some(last) = found.last_mut().filter(|last| last.address == function.address) {
            if plainness(name) < plainness(&last.stem) {
                name.clone_into(&mut last.stem);
                last.shown = format!("{}:{name}", binary.path().display());
            }
            continue;
        }
        found.push(Found {
            address: function.address,
            entry: Some(function.address),
            stem: name.to_owned(),
            shown: format!("{}:{name}", binary.path().display()),
            usdt: None,
        });
    }
    match found.len() {
        0 if choosers > 0 => Err(indirect(binary, word)),
        0 => Err(no_symbol(opened, word)),
        _ => Ok(found),
    }
}

/// `malloc` comes before `__libc_malloc`.
fn plainness(name: &str) -> (bool, usize) {
    (name.starts_with('_'), name.len())
}

fn by_line(opened: &Opened, file: &str, line: u64) -> Result<Vec<Found>, ProbeError> {
    let dwarf = opened.needs_dwarf(&format!("{file}:{line}"))?;
    let path = opened.path().to_owned();
    let places = match dwarf.places_of(file, line) {
        LineAnswer::Code(places) => places,
        LineAnswer::NoCode { before, after } => {
            let nearest = before.into_iter().chain(after).collect();
            return Err(ProbeError::NoLine { path, file: file.to_owned(), line, nearest });
        }
        LineAnswer::NoFile(known) => {
            let known: Vec<String> =
                known.into_iter().map(|path| path.rsplit('/').next().unwrap_or(&path).to_owned()).collect();
            let nearest = names::nearest(file, known.iter().map(String::as_str));
            let nearest = if nearest.is_empty() { known.into_iter().take(5).collect() } else { nearest };
            return Err(ProbeError::NoFile { path, file: file.to_owned(), nearest });
        }
    };
    let base = Path::new(file).file_name().and_then(|name| name.to_str()).unwrap_or(file);
    let found = places.into_iter().map(|place| Found {
        address: place.address,
        entry: opened.binary.functions().at(place.address).map(|function| function.address),
        stem: format!("{base}_{line}"),
        shown: format!("{}:{file}:{line}", path.display()),
        usdt: None,
    });
    Ok(found.collect())
}

fn statics(opened: &Opened, provider: Option<&str>, name: &str) -> Result<Vec<Found>, ProbeError> {
    let all = usdt::probes(&opened.binary);
    let matches = |word: &str, text: &str| match Pattern::glob(word) {
        Ok(pattern) if is_glob(word) => pattern.matches(text.as_bytes()),
        _ => word == text,
    };
    let wanted = |usdt: &&Usdt| provider.is_none_or(|word| matches(word, &usdt.provider)) && matches(name, &usdt.name);
    let found: Vec<Found> = all
        .iter()
        .filter(wanted)
        .map(|usdt| Found {
            address: usdt.address,
            entry: None,
            stem: format!("{}_{}", usdt.provider, usdt.name),
            shown: format!("{}:{}:{}", opened.path().display(), usdt.provider, usdt.name),
            usdt: Some(usdt.clone()),
        })
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let known: Vec<String> = all.iter().map(|usdt| format!("{}:{}", usdt.provider, usdt.name)).collect();
    let word = provider.map_or_else(|| name.to_owned(), |provider| format!("{provider}:{name}"));
    let nearest = names::nearest(&word, known.iter().map(String::as_str));
    let known = if nearest.is_empty() { known.into_iter().take(10).collect() } else { nearest };
    Err(ProbeError::NoStatic { path: opened.path().to_owned(), word, known })
}

/// What of a binary could be probed.
#[derive(Debug)]
pub struct Symbols {
    /// The file.
    pub path: PathBuf,
    /// Offset of the file, whole name, and name without parameters, by offset.
    pub places: Vec<(u64, String, String)>,
}

/// The files that a word means: a path, a name to be searched for, or what a process has mapped.
pub fn binaries_of(word: &str) -> Result<Vec<PathBuf>, ProbeError> {
    match word.parse::<i32>() {
        Ok(pid) => find::of_process(pid),
        Err(_) => Ok(vec![find::by_name(word)?]),
    }
}

/// The functions of a binary or of what a process has mapped; static probes if `usdt:` stands in front.
pub fn symbols_of(word: &str) -> Result<Vec<Symbols>, ProbeError> {
    let (statics, name) = word.strip_prefix("usdt:").map_or((false, word), |name| (true, name));
    let paths = binaries_of(name)?;
    let several = paths.len() > 1;
    let mut all = Vec::new();
    for path in paths {
        match Binary::open(&path) {
            Ok(binary) if statics => all.push(Symbols { path, places: static_places(&binary) }),
            Ok(binary) => all.push(Symbols { path, places: function_places(&binary) }),
            Err(_) if several => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(all)
}

fn static_places(binary: &Binary) -> Vec<(u64, String, String)> {
    let place = |usdt: Usdt| {
        let name = format!("{}:{}", usdt.provider, usdt.name);
        let shown = if usdt.arguments.is_empty() { name.clone() } else { format!("{name}  {}", usdt.arguments) };
        Some((binary.code_offset(usdt.address)?, shown, name))
    };
    usdt::probes(binary).into_iter().filter_map(place).collect()
}

fn function_places(binary: &Binary) -> Vec<(u64, String, String)> {
    let places =
        binary.functions().names().filter(|(function, _)| !function.indirect).filter_map(|(function, name)| {
            let short = crate::symbols::demangle::without_parameters(name).to_owned();
            Some((binary.code_offset(function.address)?, name.to_owned(), short))
        });
    places.collect()
}
