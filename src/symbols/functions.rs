//! The functions of a binary by name and by address, from all of its symbol tables.
//!
//! Owns: `.symtab`, `.dynsym`, `.gnu_debugdata` and the tables of a separate debug file merged into one, demangled names,
//! and what a user's word for functions means in it.
//! Zero-size symbols (assembler) reach to the next one.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use object::{Object, ObjectSymbol, SymbolFlags, SymbolKind};

use super::binary::Binary;
use super::demangle::{demangle, without_parameters};
use super::image;
use crate::wire::abi::{Abi, Endian};

/// A function of a binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// As it stands in the table, mangled.
    pub name: &'static str,
    /// Where it begins.
    pub address: u64,
    /// Its size; 0 where the table does not say.
    pub size: u64,
    /// It only chooses, at load, the function that its callers get.
    pub indirect: bool,
}

/// All functions.
#[derive(Debug, Default)]
pub struct Functions {
    /// By address, then name.
    all: Vec<Function>,
    /// The tables they are from.
    tables: Vec<&'static str>,
    demangled: OnceCell<Vec<(String, usize)>>,
    by_name: OnceCell<HashMap<&'static str, Vec<usize>>>,
}

/// MiniDebugInfo is small; what unpacks to more is no such thing.
const MAX_MINI: u64 = 256 << 20;

const STT_GNU_IFUNC: u8 = 10;

/// Reads all tables of a binary and of its debug file.
pub(super) fn collect(binary: &Binary) -> Functions {
    let mut functions = Functions::default();
    let code: HashSet<usize> = code_sections(binary.file());
    functions.add(".symtab", binary.file().symbols(), &code);
    let hidden = hidden_versions(binary);
    let dynamic = binary.file().dynamic_symbols().filter(|symbol| !hidden.contains(&symbol.index().0));
    functions.add(".dynsym", dynamic, &code);
    if !binary.has_symtab() {
        if let Some(debug) = &binary.debug_file().found {
            functions.add("debug file", debug.file().symbols(), &code_sections(debug.file()));
        }
        if let Some(mini) = mini_debug_info(binary) {
            functions.add(".gnu_debugdata", mini.file().symbols(), &code_sections(mini.file()));
        }
    }
    functions.all.retain(|function| binary.code_offset(function.address).is_some());
    functions.all.sort_by(|a, b| (a.address, a.name, b.size).cmp(&(b.address, b.name, a.size)));
    functions.all.dedup_by(|a, b| a.address == b.address && a.name == b.name);
    functions
}

fn code_sections(file: &object::File<'static>) -> HashSet<usize> {
    use object::ObjectSection;
    let code = file.sections().filter(|section| section.kind() == object::SectionKind::Text);
    code.map(|section| section.index().0).collect()
}

/// Old versions of functions, which nothing that is linked today gets: those that have a newer one beside them.
fn hidden_versions(binary: &Binary) -> HashSet<usize> {
    const HIDDEN: u16 = 0x8000;
    let Some(versions) = binary.section(".gnu.version") else { return HashSet::new() };
    let endian = if binary.is_little_endian() { Endian::Little } else { Endian::Big };
    let abi = Abi { endian, ..Abi::HOST };
    let is_hidden =
        |index: usize| versions.get(index * 2..).and_then(|at| abi.u16(at)).is_some_and(|v| v & HIDDEN != 0);
    let symbols = || binary.file().dynamic_symbols().filter(|symbol| !symbol.is_undefined());
    let current: HashSet<&str> =
        symbols().filter(|symbol| !is_hidden(symbol.index().0)).filter_map(|symbol| symbol.name().ok()).collect();
    let old = symbols().filter(|symbol| is_hidden(symbol.index().0));
    old.filter(|symbol| symbol.name().is_ok_and(|name| current.contains(name))).map(|symbol| symbol.index().0).collect()
}

/// The little ELF file packed in `.gnu_debugdata`.
fn mini_debug_info(binary: &Binary) -> Option<Binary> {
    let packed = binary.section(".gnu_debugdata")?;
    let mut bytes = Vec::new();
    lzma_rust2::XzReader::new(packed, true).take(MAX_MINI).read_to_end(&mut bytes).ok()?;
    Binary::of(Path::new(".gnu_debugdata"), image::leak(bytes)).ok()
}

impl Functions {
    fn add<'f>(
        &mut self,
        table: &'static str,
        symbols: impl Iterator<Item = object::Symbol<'static, 'f>>,
        code: &HashSet<usize>,
    ) {
        let before = self.all.len();
        for symbol in symbols {
            let in_code = symbol.section_index().is_some_and(|section| code.contains(&section.0));
            let indirect =
                matches!(symbol.flags(), SymbolFlags::Elf { st_info, .. } if st_info.0 & 0xf == STT_GNU_IFUNC);
            let is_code = match symbol.kind() {
                SymbolKind::Text => true,
                // Assembler labels without a type.
                SymbolKind::Unknown | SymbolKind::Label => in_code,
                _ => false,
            };
            if !symbol.is_definition() && !is_code || symbol.is_undefined() || !(is_code || indirect) {
                continue;
            }
            let Ok(name) = symbol.name() else { continue };
            // `$x`, `$d`: marks for disassemblers of ARM.
            if name.is_empty() || name.starts_with('$') || name.starts_with(".L") {
                continue;
            }
            self.all.push(Function { name, address: symbol.address(), size: symbol.size(), indirect });
        }
        if self.all.len() > before {
            self.tables.push(table);
        }
    }

    /// All of them by address.
    pub fn all(&self) -> &[Function] {
        &self.all
    }

    /// The tables they were found in.
    pub fn tables(&self) -> &[&'static str] {
        &self.tables
    }

    /// Where a function ends: where its symbol says, else where the next begins.
    pub fn end_of(&self, function: &Function) -> Option<u64> {
        if function.size > 0 {
            return function.address.checked_add(function.size);
        }
        let next = self.all.partition_point(|other| other.address <= function.address);
        self.all.get(next).map(|next| next.address)
    }

    /// The function an address is in.
    pub fn at(&self, address: u64) -> Option<&Function> {
        let after = self.all.partition_point(|function| function.address <= address);
        // Aliases share an address; a local label inside a function does not hide it.
        let mut nearest = None;
        for function in self.all[..after].iter().rev().take(64) {
            if function.size > 0 {
                if address - function.address < function.size {
                    return Some(self.preferred(function));
                }
            } else if nearest.is_none() {
                nearest = Some(function);
            }
        }
        nearest.filter(|function| self.end_of(function).is_none_or(|end| address < end))
    }

    /// Of several names of one address the plainest.
    fn preferred<'f>(&'f self, function: &'f Function) -> &'f Function {
        let first = self.all.partition_point(|other| other.address < function.address);
        let same = self.all[first..].iter().take_while(|other| other.address == function.address);
        same.filter(|other| other.size > 0)
            .min_by_key(|other| (other.name.starts_with('_') && !other.name.starts_with("_Z"), other.name.len()))
            .unwrap_or(function)
    }

    /// The functions of exactly this name, as in the table.
    pub fn named(&self, name: &str) -> Vec<&Function> {
        let index = self.by_name.get_or_init(|| {
            let mut index: HashMap<&'static str, Vec<usize>> = HashMap::new();
            for (at, function) in self.all.iter().enumerate() {
                index.entry(function.name).or_default().push(at);
            }
            index
        });
        index.get(name).into_iter().flatten().map(|&at| &self.all[at]).collect()
    }

    /// Demangled names with the index of their function.
    fn demangled(&self) -> &[(String, usize)] {
        self.demangled.get_or_init(|| {
            let names = self.all.iter().enumerate();
            names.filter_map(|(at, function)| Some((demangle(function.name)?, at))).collect()
        })
    }

    /// The functions whose demangled name, with or without its parameters, is or ends in these parts:
    /// `run`, `Thing::run` and `ns::Thing::run(int)` all mean `ns::Thing::run(int)`.
    pub fn demangled_as(&self, word: &str) -> Vec<(&Function, &str)> {
        let ends =
            |name: &str| name.strip_suffix(word).is_some_and(|before| before.is_empty() || before.ends_with("::"));
        let fits = |name: &str| {
            ends(name) || ends(without_parameters(name)) || ends(&without_generics(without_parameters(name)))
        };
        let found = self.demangled().iter().filter(|(name, _)| fits(name));
        found.map(|(name, at)| (&self.all[*at], name.as_str())).collect()
    }

    /// Every function with the name it is matched by: demangled where there is one.
    pub fn names(&self) -> impl Iterator<Item = (&Function, &str)> {
        let mangled: HashMap<usize, &str> = self.demangled().iter().map(|(name, at)| (*at, name.as_str())).collect();
        self.all
            .iter()
            .enumerate()
            .map(move |(at, function)| (function, mangled.get(&at).copied().unwrap_or(function.name)))
    }

    /// A function's name for people.
    pub fn display_name(function: &Function) -> String {
        demangle(function.name).unwrap_or_else(|| function.name.to_owned())
    }
}

/// `a::B::f` of `a::B<int>::f<char>`.
fn without_generics(name: &str) -> String {
    let mut depth = 0usize;
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '<' => depth += 1,
            '>' if depth > 0 => depth -= 1,
            c if depth == 0 => out.push(c),
            _ => {}
        }
    }
    // Rust writes `Vec::<T>::push`, which leaves an empty part.
    out.replace("::::", "::")
}
