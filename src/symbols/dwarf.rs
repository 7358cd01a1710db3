//! DWARF: lines to addresses, addresses to functions, inlined ones included, and lines.
//!
//! Owns: loading the sections, the line tables of a file by its name, frames of an address.
//! Does not own: functions' parameters (see `parameters`).
//! Units: addresses as in [`Binary`].
//! Source: DWARF 5, through gimli and addr2line.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use gimli::{EndianSlice, RunTimeEndian};

use super::binary::Binary;
use super::demangle::demangle;
use super::error::BinaryError;

/// How sections are read.
pub(super) type Slice = EndianSlice<'static, RunTimeEndian>;

/// The debug information of a binary.
pub struct Dwarf {
    sections: Arc<gimli::Dwarf<Slice>>,
    context: addr2line::Context<Slice>,
    path: std::path::PathBuf,
    units: OnceCell<Vec<gimli::Unit<Slice>>>,
}

impl std::fmt::Debug for Dwarf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dwarf").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A function at an address, an inlined one or the one that the code belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its name, demangled.
    pub function: Option<String>,
    /// The source file.
    pub file: Option<String>,
    /// The line.
    pub line: Option<u32>,
}

/// A piece of code that a source line begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinePlace {
    /// Where.
    pub address: u64,
    /// The source file.
    pub file: String,
}

/// What a source line has become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineAnswer {
    /// Code, once for each place it is inlined into.
    Code(Vec<LinePlace>),
    /// No code, but these lines near it have some: the last before and the first after.
    NoCode {
        /// The last line before it.
        before: Option<u64>,
        /// The first line after it.
        after: Option<u64>,
    },
    /// No such file; these are some that there are.
    NoFile(Vec<String>),
}

impl Dwarf {
    /// Loads the debug information of a binary: its own or that of its debug file. None if there is none.
    pub fn of(binary: &Binary) -> Option<Result<Dwarf, BinaryError>> {
        let holder = binary.with_dwarf()?;
        let endian = if holder.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
        let failed =
            |error: gimli::Error| BinaryError::Dwarf { path: holder.path().to_owned(), what: error.to_string() };
        let load = |id: gimli::SectionId| -> Result<Slice, gimli::Error> {
            Ok(EndianSlice::new(holder.section(id.name()).unwrap_or_default(), endian))
        };
        let made = gimli::Dwarf::load(load).and_then(|sections| {
            let sections = Arc::new(sections);
            let context = addr2line::Context::from_arc_dwarf(Arc::clone(&sections))?;
            Ok(Dwarf { sections, context, path: holder.path().to_owned(), units: OnceCell::new() })
        });
        Some(made.map_err(failed))
    }

    pub(super) fn sections(&self) -> &gimli::Dwarf<Slice> {
        &self.sections
    }

    /// All units that can be read.
    pub(super) fn units(&self) -> &[gimli::Unit<Slice>] {
        self.units.get_or_init(|| {
            let mut units = Vec::new();
            let mut headers = self.sections.units();
            while let Ok(Some(header)) = headers.next() {
                units.extend(self.sections.unit(header));
            }
            units
        })
    }

    /// The unit that an address belongs to.
    pub(super) fn unit_of(&self, address: u64) -> Option<&gimli::Unit<Slice>> {
        let addr2line::LookupResult::Output(found) = self.context.find_dwarf_and_unit(address) else { return None };
        found.map(|unit| unit.unit)
    }

    /// The functions at an address, the innermost first.
    pub fn frames(&self, address: u64) -> Vec<Frame> {
        let addr2line::LookupResult::Output(Ok(mut frames)) = self.context.find_frames(address) else {
            // Only split debug information asks for more; there is nobody to give it.
            return Vec::new();
        };
        let mut all = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
            let (file, line) = frame.location.map_or((None, None), |at| (at.file.map(str::to_owned), at.line));
            all.push(Frame {
                function: name.map(|name| demangle(&name).unwrap_or_else(|| name.into_owned())),
                file,
                line,
            });
        }
        all
    }

    /// File and line of an address.
    pub fn line_of(&self, address: u64) -> Option<(String, u32)> {
        let location = self.context.find_location(address).ok()??;
        Some((location.file?.to_owned(), location.line?))
    }

    /// The places of a source line. `file` is a name, or the end of a path.
    pub fn places_of(&self, file: &str, line: u64) -> LineAnswer {
        let mut search = LineSearch { line, ..LineSearch::default() };
        for unit in self.units() {
            search.unit(&self.sections, unit, file);
        }
        if !search.found.is_empty() {
            return LineAnswer::Code(self.one_per_copy(search.found));
        }
        if search.seen_file {
            return LineAnswer::NoCode { before: search.before, after: search.after };
        }
        LineAnswer::NoFile(search.files.into_iter().take(20).collect())
    }

    /// Of each copy of the line, in its function or where that is inlined, the first address.
    fn one_per_copy(&self, found: BTreeMap<u64, String>) -> Vec<LinePlace> {
        let mut copies: Vec<Vec<Option<String>>> = Vec::new();
        let mut places = Vec::new();
        for (address, file) in found {
            let frames = self.frames(address);
            let mut copy: Vec<Option<String>> = frames.iter().map(|frame| frame.function.clone()).collect();
            // Two calls in one function are distinguished by the lines of the calls.
            copy.extend(frames.iter().skip(1).map(|frame| frame.line.map(|line| line.to_string())));
            if frames.is_empty() || !copies.contains(&copy) {
                copies.push(copy);
                places.push(LinePlace { address, file });
            }
        }
        places
    }

    /// Where the code of a function's first statement begins: after what sets up its frame.
    pub fn after_prologue(&self, start: u64, end: u64) -> Option<u64> {
        let mut rows = self.unit_of(start)?.line_program.clone()?.rows();
        let mut first = None;
        while let Ok(Some((_, row))) = rows.next_row() {
            let inside = row.address() > start && row.address() < end && !row.end_sequence();
            if inside && row.is_stmt() && first.is_none_or(|first| row.address() < first) {
                first = Some(row.address());
            }
        }
        first
    }

    /// The source lines where a function begins that was inlined wherever it is called.
    pub fn inlined_lines(&self, name: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for unit in self.units() {
            let mut entries = unit.entries();
            while let Ok(Some(entry)) = entries.next_dfs() {
                let inlined = matches!(
                    entry.attr_value(gimli::DW_AT_inline),
                    Some(gimli::AttributeValue::Inline(gimli::DW_INL_inlined | gimli::DW_INL_declared_inlined))
                );
                if entry.tag() != gimli::DW_TAG_subprogram || !inlined {
                    continue;
                }
                let text = |value| self.sections.attr_string(unit, value).ok().map(|text| text.to_string_lossy());
                let named = entry.attr_value(gimli::DW_AT_name).and_then(text).is_some_and(|found| found == name);
                if named {
                    let line = entry.attr_value(gimli::DW_AT_decl_line).and_then(|value| value.udata_value());
                    let file = self.declared_in(unit, entry);
                    lines.extend(line.zip(file).map(|(line, file)| format!("{file}:{line}")));
                }
            }
        }
        lines.sort();
        lines.dedup();
        lines
    }

    fn declared_in(
        &self,
        unit: &gimli::Unit<Slice>,
        entry: &gimli::DebuggingInformationEntry<Slice>,
    ) -> Option<String> {
        let index = match entry.attr_value(gimli::DW_AT_decl_file)? {
            gimli::AttributeValue::FileIndex(index) => index,
            value => value.udata_value()?,
        };
        let header = unit.line_program.as_ref()?.header();
        let path = file_path(&self.sections, unit, header, index)?;
        Some(path.rsplit('/').next().unwrap_or(&path).to_owned())
    }
}

#[derive(Default)]
struct LineSearch {
    line: u64,
    found: BTreeMap<u64, String>,
    before: Option<u64>,
    after: Option<u64>,
    seen_file: bool,
    files: std::collections::BTreeSet<String>,
}

impl LineSearch {
    fn unit(&mut self, sections: &gimli::Dwarf<Slice>, unit: &gimli::Unit<Slice>, wanted: &str) {
        let Some(program) = unit.line_program.clone() else { return };
        let mut paths: BTreeMap<u64, String> = BTreeMap::new();
        let header = program.header();
        for index in 0..=header.file_names().len() as u64 {
            let Some(path) = file_path(sections, unit, header, index) else { continue };
            if is_end_of(&path, wanted) {
                paths.insert(index, path);
            } else if !path.is_empty() && self.files.len() < 4096 {
                self.files.insert(path);
            }
        }
        if paths.is_empty() {
            return;
        }
        self.seen_file = true;
        let mut rows = program.rows();
        while let Ok(Some((_, row))) = rows.next_row() {
            if row.end_sequence() || !row.is_stmt() {
                continue;
            }
            let (Some(path), Some(line)) = (paths.get(&row.file_index()), row.line()) else { continue };
            // What the linker has dropped is at zero.
            if row.address() == 0 {
                continue;
            }
            let line = line.get();
            match line.cmp(&self.line) {
                std::cmp::Ordering::Equal => drop(self.found.entry(row.address()).or_insert_with(|| path.clone())),
                std::cmp::Ordering::Less => self.before = self.before.max(Some(line)),
                std::cmp::Ordering::Greater => self.after = Some(self.after.map_or(line, |after| after.min(line))),
            }
        }
    }
}

fn file_path(
    sections: &gimli::Dwarf<Slice>,
    unit: &gimli::Unit<Slice>,
    header: &gimli::LineProgramHeader<Slice>,
    index: u64,
) -> Option<String> {
    let file = header.file(index)?;
    let text = |value| sections.attr_string(unit, value).ok().map(|text| text.to_string_lossy().into_owned());
    let name = text(file.path_name())?;
    let folder = file.directory(header).and_then(text).filter(|folder| !folder.is_empty() && !name.starts_with('/'));
    Some(folder.map_or(name.clone(), |folder| format!("{}/{name}", folder.trim_end_matches('/'))))
}

/// Whether a path ends in these parts.
fn is_end_of(path: &str, wanted: &str) -> bool {
    let wanted = wanted.trim_start_matches("./");
    path.strip_suffix(wanted).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}
