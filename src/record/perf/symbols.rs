//! A program or library on disk: what unwinding needs of it, and the names of its functions.
//!
//! Names come from its symbol tables, or from those of its separate debug file, found by build-id where Debian keeps them.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use framehop::ExplicitModuleSectionInfo;
use memmap2::Mmap;
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, SymbolKind};

use crate::symbols::demangle::demangle;

/// Where debug files are kept.
const DEBUG_FILES: &str = "/usr/lib/debug/.build-id";

/// Bytes of a file, or of the kernel's own page of code that programs have mapped.
enum Bytes {
    File(Mmap),
    Memory(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::File(map) => map,
            Bytes::Memory(bytes) => bytes,
        }
    }
}

/// A piece of a file.
#[derive(Clone)]
pub struct Piece {
    file: Arc<Bytes>,
    range: Range<usize>,
}

impl Default for Piece {
    fn default() -> Piece {
        Piece { file: Arc::new(Bytes::Memory(Vec::new())), range: 0..0 }
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.file.get(self.range.clone()).unwrap_or(&[])
    }
}

/// A loadable piece: where in the file, at which address.
struct Load {
    offset: u64,
    size: u64,
    address: u64,
}

/// A function.
struct Symbol {
    address: u64,
    size: u64,
    name: String,
}

/// A program or library.
pub struct Binary {
    bytes: Arc<Bytes>,
    loads: Vec<Load>,
    symbols: Vec<Symbol>,
}

impl Binary {
    /// Opens the file; the kernel's page of code is that of this process, which is the same in all.
    pub fn open(path: &str) -> Option<Binary> {
        let bytes = if path == "[vdso]" { Bytes::Memory(vdso()?) } else { map(Path::new(path))? };
        let bytes = Arc::new(bytes);
        let file = object::File::parse(&**bytes).ok()?;
        let loads = file
            .segments()
            .map(|segment| {
                let (offset, size) = segment.file_range();
                Load { offset, size, address: segment.address() }
            })
            .collect();
        let mut symbols = functions(&file);
        if let Some(debug) = debug_file(&file).and_then(|path| map(&path))
            && let Ok(file) = object::File::parse(&*debug)
        {
            symbols.extend(functions(&file));
        }
        // Of several names of one place the first in the order of letters counts, but those of the public come first.
        symbols.sort_by(|a, b| {
            (a.address, b.size, underscores(&a.name), &a.name).cmp(&(b.address, a.size, underscores(&b.name), &b.name))
        });
        symbols.dedup_by_key(|symbol| symbol.address);
        drop(file);
        Some(Binary { bytes, loads, symbols })
    }

    /// What is to be added to the file's addresses when the byte at `offset` is at `start`.
    pub fn bias(&self, offset: u64, start: u64) -> Option<u64> {
        let holds = |load: &&Load| offset < load.offset + load.size && offset + 0x1_0000 > load.offset;
        let load = self.loads.iter().filter(holds).min_by_key(|load| load.offset.abs_diff(offset))?;
        Some(start.wrapping_sub(load.address.wrapping_add(offset.wrapping_sub(load.offset))))
    }

    /// What the unwinder is given.
    pub fn sections(&self) -> ExplicitModuleSectionInfo<Piece> {
        let Ok(file) = object::File::parse(&**self.bytes) else { return ExplicitModuleSectionInfo::default() };
        let range = |name: &str| {
            let section = file.section_by_name(name)?;
            Some(section.address()..section.address() + section.size())
        };
        let piece = |name: &str| {
            let (offset, size) = file.section_by_name(name)?.file_range()?;
            let range = offset as usize..offset.checked_add(size)? as usize;
            Some(Piece { file: Arc::clone(&self.bytes), range })
        };
        ExplicitModuleSectionInfo {
            base_svma: 0,
            text_svma: range(".text"),
            text: piece(".text"),
            got_svma: range(".got"),
            eh_frame_svma: range(".eh_frame"),
            eh_frame: piece(".eh_frame"),
            eh_frame_hdr_svma: range(".eh_frame_hdr"),
            eh_frame_hdr: piece(".eh_frame_hdr"),
            ..ExplicitModuleSectionInfo::default()
        }
    }

    /// The function that holds an address of the file.
    pub fn name(&self, address: u64) -> Option<&str> {
        let at = self.symbols.partition_point(|symbol| symbol.address <= address).checked_sub(1)?;
        // A function of assembly may have no size; it ends where the next begins.
        let symbol = &self.symbols[at];
        (symbol.size == 0 || address < symbol.address + symbol.size).then_some(symbol.name.as_str())
    }
}

fn underscores(name: &str) -> usize {
    name.bytes().take_while(|byte| *byte == b'_').count()
}

fn functions<'d>(file: &object::File<'d>) -> Vec<Symbol> {
    let all = file.symbols().chain(file.dynamic_symbols());
    let code = all.filter(|symbol| symbol.is_definition() && symbol.kind() == SymbolKind::Text);
    let named = code.filter_map(|symbol| {
        let name = symbol.name().ok().filter(|name| !name.is_empty())?;
        Some(Symbol {
            address: symbol.address(),
            size: symbol.size(),
            name: demangle(name).unwrap_or_else(|| name.to_owned()),
        })
    });
    named.collect()
}

fn debug_file(file: &object::File<'_>) -> Option<PathBuf> {
    let id = file.build_id().ok().flatten().filter(|id| id.len() > 2)?;
    let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Path::new(DEBUG_FILES).join(&hex[..2]).join(format!("{}.debug", &hex[2..])))
}

fn map(path: &Path) -> Option<Bytes> {
    let file = File::open(path).ok().filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()))?;
    // SAFETY: the mapping is only read. Who overwrites a program's file while it runs gets wrong names, or this process
    // a SIGBUS if it is cut short; the kernel refuses to write to files that are being executed.
    unsafe { Mmap::map(&file) }.ok().map(Bytes::File)
}

/// The kernel's page of code in this process.
fn vdso() -> Option<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]"))?;
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    let mut bytes = vec![0; usize::try_from(end.checked_sub(start)?).ok()?];
    File::open("/proc/self/mem").ok()?.read_exact_at(&mut bytes, start).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn landmark() -> u32 {
        std::hint::black_box(7)
    }

    #[test]
    fn this_programs_functions_have_names() {
        let path = std::env::current_exe().unwrap();
        let binary = Binary::open(path.to_str().unwrap()).unwrap();
        let address = landmark as *const () as u64;
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let maps = super::super::spaces::parse_maps(&maps);
        let map = maps.iter().find(|map| (map.start..map.end).contains(&address)).unwrap();
        let bias = binary.bias(map.offset, map.start).unwrap();
        assert!(binary.name(address - bias).unwrap().ends_with("landmark"));
        assert!(binary.sections().eh_frame.is_some_and(|piece| !piece.is_empty()));
        assert_eq!(binary.name(0), None);
        assert_eq!(landmark(), 7);
    }

    #[test]
    fn the_page_of_code_of_the_kernel_is_a_library() {
        let vdso = Binary::open("[vdso]").unwrap();
        assert!(vdso.symbols.iter().any(|symbol| symbol.name.contains("clock_gettime")));
        assert!(Binary::open("/no/such/file").is_none() && Binary::open("/etc/passwd").is_none());
    }
}
