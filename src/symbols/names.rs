//! Addresses to names: function, inlined functions, source lines, for files and for processes.
//!
//! Owns: binaries opened once, what a process has mapped where.
//! A file that is missing or damaged is reported once for each address, never guessed.
//! Units: addresses of a process, or as in [`Binary`]; offsets of files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::binary::Binary;
use super::dwarf::{Dwarf, Frame};
use super::error::BinaryError;
use super::functions::Functions;

/// What is at an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedAddress {
    /// The functions, the innermost first; all but the last were inlined.
    pub frames: Vec<Frame>,
    /// How far into the last function.
    pub offset: Option<u64>,
}

impl NamedAddress {
    /// The function that the code belongs to.
    pub fn function(&self) -> Option<&str> {
        self.frames.last()?.function.as_deref()
    }

    /// `function+0xoff (file.c:line)`, as far as it is known; the file without its folder.
    pub fn text(&self) -> Option<String> {
        let mut text = self.function()?.to_owned();
        if let Some(offset) = self.offset {
            text.push_str(&format!("+{offset:#x}"));
        }
        // The line is that of the innermost function: where the program is.
        if let Some(line) = self.frames.first().and_then(line_of) {
            text.push_str(&format!(" ({line})"));
        }
        Some(text)
    }
}

/// `file.c:12`.
pub fn line_of(frame: &Frame) -> Option<String> {
    let file = frame.file.as_deref()?;
    let file = file.rsplit('/').next().unwrap_or(file);
    Some(frame.line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}")))
}

struct CachedBinary {
    binary: Binary,
    dwarf: Option<Dwarf>,
}

/// Binaries by path, opened when first asked for.
#[derive(Default)]
pub struct Names {
    cached: HashMap<PathBuf, Result<CachedBinary, String>>,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("binaries", &self.cached.len()).finish()
    }
}

impl Names {
    /// No binaries yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn cached(&mut self, path: &Path, build_id: Option<&[u8]>) -> Result<&CachedBinary, &str> {
        if !self.cached.contains_key(path) {
            self.cached.insert(path.to_owned(), open(path, build_id));
        }
        self.cached[path].as_ref().map_err(String::as_str)
    }

    /// What is at an address of a file; `build_id` is the build that is meant, if that is known.
    pub fn at(&mut self, path: &Path, address: u64, build_id: Option<&[u8]>) -> Result<NamedAddress, &str> {
        self.cached(path, build_id).map(|cached| cached.name(address))
    }

    /// What is at an offset of a file.
    pub fn at_offset(&mut self, path: &Path, offset: u64, build_id: Option<&[u8]>) -> Result<NamedAddress, &str> {
        let cached = self.cached(path, build_id)?;
        Ok(cached.binary.code_address(offset).map_or_else(NamedAddress::default, |address| cached.name(address)))
    }

    /// Where the first byte of a file is loaded, counted in the file's addresses.
    pub fn first_address(&mut self, path: &Path, build_id: Option<&[u8]>) -> Result<u64, &str> {
        let cached = self.cached(path, build_id)?;
        let starts = cached.binary.segments().iter().map(|segment| segment.address);
        // A mapping begins with a whole page.
        Ok(starts.min().unwrap_or(0) & !0xfff)
    }
}

fn open(path: &Path, build_id: Option<&[u8]>) -> Result<CachedBinary, String> {
    let binary = Binary::open(path).map_err(|error: BinaryError| error.to_string())?;
    if let (Some(wanted), Some(found)) = (build_id, binary.build_id())
        && wanted != found
    {
        return Err(format!("{} is another build than the one that ran", path.display()));
    }
    let dwarf = Dwarf::of(&binary).and_then(Result::ok);
    Ok(CachedBinary { binary, dwarf })
}

impl CachedBinary {
    fn name(&self, address: u64) -> NamedAddress {
        let function = self.binary.functions().at(address);
        let mut frames = self.dwarf.as_ref().map(|dwarf| dwarf.frames(address)).unwrap_or_default();
        if frames.is_empty() {
            frames.extend(function.map(|_| Frame { function: None, file: None, line: None }));
        }
        // The symbol's name has what distinguishes clones, and exists without debug information.
        if let (Some(last), Some(function)) = (frames.last_mut(), function) {
            last.function.get_or_insert_with(|| Functions::display_name(function));
        }
        NamedAddress { frames, offset: function.map(|function| address - function.address) }
    }
}

/// Names of the user addresses of a trace, from the memory maps it stores. May be asked by many threads.
#[derive(Debug, Default)]
pub struct UserNames {
    spaces: BTreeMap<i32, MappedFiles>,
    build_ids: HashMap<PathBuf, Vec<u8>>,
    asked: Mutex<Lookup>,
}

#[derive(Debug, Default)]
struct Lookup {
    names: Names,
    cached: HashMap<(i32, u64), Option<String>>,
    missing: BTreeSet<String>,
}

impl UserNames {
    /// From the texts of the maps, and lines of build id and path.
    pub fn new<'t>(maps: impl Iterator<Item = &'t str>, build_ids: &str) -> UserNames {
        let ids = build_ids.lines().filter_map(|line| line.split_once(' '));
        UserNames {
            spaces: maps.filter_map(MappedFiles::of_stored).collect(),
            build_ids: ids.filter_map(|(id, path)| Some((PathBuf::from(path), bytes_of(id)?))).collect(),
            asked: Mutex::default(),
        }
    }

    /// Whether no process has maps.
    pub fn is_empty(&self) -> bool {
        self.spaces.is_empty()
    }

    /// `function+0xoff (file.c:line)`. A thread has the maps of its process, which is found by the address where only the
    /// thread is known; where two processes differ there, none is guessed.
    pub fn text(&self, pid: i32, address: u64) -> Option<String> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = asked.cached.get(&(pid, address)) {
            return cached.clone();
        }
        let text = match self.spaces.get(&pid) {
            Some(areas) => self.in_space(areas, address, &mut asked),
            None => {
                let mut texts = self.spaces.values().filter_map(|areas| self.in_space(areas, address, &mut asked));
                let first = texts.next();
                first.filter(|first| texts.all(|other| other == *first))
            }
        };
        asked.cached.insert((pid, address), text.clone());
        text
    }

    fn in_space(&self, areas: &MappedFiles, address: u64, asked: &mut Lookup) -> Option<String> {
        areas.find(address)?;
        match areas.name(address, &mut asked.names, &self.build_ids) {
            Ok(named) => named.text(),
            Err(why) => {
                asked.missing.insert(why);
                None
            }
        }
    }

    /// Why addresses have no names: binaries that are not here, or are other builds.
    pub fn missing(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).missing.iter().cloned().collect()
    }
}

/// The bytes of a build id in hexadecimal.
pub fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// What a process has mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappedFiles {
    /// By address.
    areas: Vec<MappedFile>,
}

/// A mapped part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedFile {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Offset of the file; none where only addresses were stored.
    pub offset: Option<u64>,
    /// The file.
    pub path: PathBuf,
}

impl MappedFiles {
    /// Reads `/proc/PID/maps`; files are named as they can be opened from here.
    pub fn of_process(pid: i32) -> std::io::Result<MappedFiles> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let mut areas: Vec<MappedFile> = text.lines().filter_map(area).collect();
        for area in &mut areas {
            let inside = root.join(area.path.strip_prefix("/").unwrap_or(&area.path));
            if inside.exists() && !area.path.exists() {
                area.path = inside;
            }
        }
        Ok(MappedFiles { areas })
    }

    /// The maps that a trace.dat file stores: `start end path` after a line about the process.
    pub fn of_stored(text: &str) -> Option<(i32, MappedFiles)> {
        let mut lines = text.trim_end_matches('\0').lines();
        let pid = i32::from_str_radix(lines.next()?.split(' ').next()?, 16).ok()?;
        let hex = |text: &str| u64::from_str_radix(text, 16).ok();
        let areas = lines.filter_map(|line| {
            let mut parts = line.splitn(3, ' ');
            let (start, end) = (hex(parts.next()?)?, hex(parts.next()?)?);
            Some(MappedFile { start, end, offset: None, path: PathBuf::from(parts.next()?) })
        });
        Some((pid, MappedFiles { areas: areas.collect() }))
    }

    /// The area of an address.
    pub fn find(&self, address: u64) -> Option<&MappedFile> {
        let after = self.areas.partition_point(|area| area.start <= address);
        self.areas[..after].last().filter(|area| address < area.end)
    }

    /// Where the first area of a file begins.
    pub fn first_of(&self, path: &Path) -> Option<u64> {
        self.areas.iter().find(|area| area.path == path).map(|area| area.start)
    }

    /// The mapped files, each once.
    pub fn files(&self) -> Vec<&Path> {
        let mut files: Vec<&Path> = Vec::new();
        for area in &self.areas {
            if !files.contains(&area.path.as_path()) {
                files.push(&area.path);
            }
        }
        files
    }

    /// What is at an address of the process; `build_ids` are those of the files that were mapped, where known.
    pub fn name(
        &self,
        address: u64,
        names: &mut Names,
        build_ids: &HashMap<PathBuf, Vec<u8>>,
    ) -> Result<NamedAddress, String> {
        let area = self.find(address).ok_or_else(|| "no file is mapped there".to_owned())?;
        let id = build_ids.get(&area.path).map(Vec::as_slice);
        if let Some(offset) = area.offset {
            return names.at_offset(&area.path, address - area.start + offset, id).map_err(str::to_owned);
        }
        let first = names.first_address(&area.path, id).map_err(str::to_owned)?;
        let start = self.first_of(&area.path).unwrap_or(area.start);
        names.at(&area.path, address.wrapping_sub(start).wrapping_add(first), id).map_err(str::to_owned)
    }
}

/// A line of `/proc/PID/maps` about a file.
fn area(line: &str) -> Option<MappedFile> {
    let mut parts = line.splitn(6, ' ');
    let (start, end) = parts.next()?.split_once('-')?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let offset = hex(parts.nth(1)?)?;
    let path = parts.nth(2)?.trim_start();
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let is_file = path.starts_with('/');
    is_file.then(|| Some(MappedFile { start: hex(start)?, end: hex(end)?, offset: Some(offset), path: path.into() }))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_function_of_this_program_is_named() {
        let areas = MappedFiles::of_process(std::process::id() as i32).unwrap();
        let mut names = Names::new();
        let here = the_address_of_a_function_of_this_program_is_named as fn() as usize as u64;
        let named = areas.name(here, &mut names, &HashMap::new()).unwrap();
        let function = named.function().unwrap();
        assert!(function.ends_with("the_address_of_a_function_of_this_program_is_named"), "{function}");
        assert!(named.text().unwrap().contains("names.rs:"), "{:?}", named.text());
        assert!(areas.name(16, &mut names, &HashMap::new()).is_err());
        // As a report asks, with maps from the file.
        let stored: String =
            areas.areas.iter().map(|a| format!("{:x} {:x} {}\n", a.start, a.end, a.path.display())).collect();
        let stored = format!("2a {:x} x\n{stored}", areas.areas.len());
        let id = |id: &str| format!("{id} {}\n", std::env::current_exe().unwrap().display());
        let users = UserNames::new([stored.as_str()].into_iter(), "");
        assert_eq!(users.text(42, here), named.text());
        assert_eq!(users.text(43, here), named.text(), "a thread of it");
        let others = UserNames::new([stored.as_str()].into_iter(), &id("0102"));
        let has_id = Binary::open(&std::env::current_exe().unwrap()).unwrap().build_id().is_some();
        assert_eq!((others.text(42, here).is_none(), others.missing().len()), (has_id, usize::from(has_id)));
        // As it would be stored in a file, without offsets.
        let stored: String =
            areas.areas.iter().map(|a| format!("{:x} {:x} {}\n", a.start, a.end, a.path.display())).collect();
        let (pid, stored) = MappedFiles::of_stored(&format!("2a {:x} x\n{stored}", areas.areas.len())).unwrap();
        assert_eq!((pid, stored.name(here, &mut names, &HashMap::new()).unwrap()), (42, named));
    }

    #[test]
    fn another_build_is_no_answer() {
        let path = std::env::current_exe().unwrap();
        let error = Names::new().at(&path, 0x1000, Some(&[1, 2, 3])).map_err(str::to_owned);
        // A build without an id cannot be distinguished.
        assert!(
            error.is_err_and(|text| text.contains("another build"))
                || Binary::open(&path).unwrap().build_id().is_none()
        );
    }
}
