//! A program or library: an ELF file with its segments, symbols and identity.
//!
//! Owns: virtual address <-> file offset by the program headers, the functions of all its symbol tables, build id and
//! debug link, machine code at an address.
//! Does not own: where separate debug files are (see `debug_file`), what DWARF says (see `dwarf`).
//! Units: addresses are those of the file, before it is loaded anywhere; offsets in bytes from the file's start.
//! Source: the System V ABI, its supplements for x86-64 and AArch64, and gdb's manual for `.gnu_debugdata`.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use object::{Architecture, Object, ObjectSection, ObjectSegment};

use super::debug_file::{self, DebugFileSearch};
use super::error::BinaryError;
use super::functions::{self, Functions};
use super::image;

/// What kind of machine code it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86-64.
    X86_64,
    /// AArch64.
    Aarch64,
    /// Something else.
    Other(&'static str),
}

impl Machine {
    /// The machine this program runs on.
    pub const HOST: Machine = if cfg!(target_arch = "x86_64") {
        Machine::X86_64
    } else if cfg!(target_arch = "aarch64") {
        Machine::Aarch64
    } else {
        Machine::Other("another machine")
    };

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Machine::X86_64 => "x86-64",
            Machine::Aarch64 => "AArch64",
            Machine::Other(name) => name,
        }
    }
}

/// A part of the file that is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it is loaded.
    pub address: u64,
    /// Where it is in the file.
    pub offset: u64,
    /// How much of it is in the file.
    pub file_size: u64,
    /// Whether it holds code.
    pub executable: bool,
}

impl Segment {
    fn has_address(&self, address: u64) -> bool {
        address.checked_sub(self.address).is_some_and(|into| into < self.file_size)
    }

    fn has_offset(&self, offset: u64) -> bool {
        offset.checked_sub(self.offset).is_some_and(|into| into < self.file_size)
    }
}

/// An ELF file.
pub struct Binary {
    path: PathBuf,
    file: object::File<'static>,
    data: &'static [u8],
    segments: Vec<Segment>,
    functions: OnceCell<Functions>,
    search: OnceCell<DebugFileSearch>,
}

impl std::fmt::Debug for Binary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Binary").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Binary {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Binary, BinaryError> {
        let data = image::open(path).map_err(|source| BinaryError::Open { path: path.to_owned(), source })?;
        Binary::of(path, data)
    }

    /// A binary of these bytes; `path` is its name.
    pub fn of(path: &Path, data: &'static [u8]) -> Result<Binary, BinaryError> {
        let not_elf = |what: String| BinaryError::NotElf { path: path.to_owned(), what };
        if !data.starts_with(b"\x7fELF") {
            return Err(not_elf(not_elf_words(data)));
        }
        let file = object::File::parse(data).map_err(|error| not_elf(error.to_string()))?;
        let segments = segments(&file);
        Ok(Binary { path: path.to_owned(), file, data, segments, functions: OnceCell::new(), search: OnceCell::new() })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &object::File<'static> {
        &self.file
    }

    /// All its bytes.
    pub fn data(&self) -> &'static [u8] {
        self.data
    }

    /// Whether numbers in it are little-endian.
    pub fn is_little_endian(&self) -> bool {
        self.file.is_little_endian()
    }

    /// Whether addresses have 64 bits.
    pub fn is_64(&self) -> bool {
        self.file.is_64()
    }

    /// The kind of code it holds.
    pub fn machine(&self) -> Machine {
        match self.file.architecture() {
            Architecture::X86_64 => Machine::X86_64,
            Architecture::Aarch64 => Machine::Aarch64,
            Architecture::I386 => Machine::Other("32-bit x86"),
            Architecture::X86_64_X32 => Machine::Other("x86-64 with 32-bit pointers"),
            Architecture::Arm => Machine::Other("32-bit ARM"),
            Architecture::Riscv64 => Machine::Other("RISC-V"),
            Architecture::PowerPc64 => Machine::Other("PowerPC"),
            Architecture::S390x => Machine::Other("s390x"),
            _ => Machine::Other("another machine"),
        }
    }

    /// What of it is loaded.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Where in the file the code of an address is.
    pub fn code_offset(&self, address: u64) -> Option<u64> {
        let segment = self.segments.iter().find(|segment| segment.executable && segment.has_address(address))?;
        Some(address - segment.address + segment.offset)
    }

    /// Where in the file an address is, code or not.
    pub fn offset_of(&self, address: u64) -> Option<u64> {
        let segment = self.segments.iter().find(|segment| segment.has_address(address))?;
        Some(address - segment.address + segment.offset)
    }

    /// The address of code at an offset of the file.
    pub fn code_address(&self, offset: u64) -> Option<u64> {
        let segment = self.segments.iter().find(|segment| segment.executable && segment.has_offset(offset))?;
        Some(offset - segment.offset + segment.address)
    }

    /// Up to `len` bytes at an address.
    pub fn bytes_at(&self, address: u64, len: u64) -> Option<&'static [u8]> {
        let segment = self.segments.iter().find(|segment| segment.has_address(address))?;
        let into = address - segment.address;
        let len = len.min(segment.file_size - into);
        let start = usize::try_from(segment.offset.checked_add(into)?).ok()?;
        self.data.get(start..start.checked_add(usize::try_from(len).ok()?)?)
    }

    /// What identifies this build.
    pub fn build_id(&self) -> Option<&[u8]> {
        self.file.build_id().ok().flatten()
    }

    /// Name and check sum of its separate debug file.
    pub fn debug_link(&self) -> Option<(&[u8], u32)> {
        self.file.gnu_debuglink().ok().flatten()
    }

    /// A section's bytes, unpacked; none if it is not there, or damaged.
    pub fn section(&self, name: &str) -> Option<&'static [u8]> {
        let section = self.file.section_by_name(name)?;
        match section.uncompressed_data().ok()? {
            std::borrow::Cow::Borrowed(data) => Some(data),
            std::borrow::Cow::Owned(data) => Some(image::leak(data)),
        }
    }

    /// Whether it has a section with something in it.
    pub fn has_section(&self, name: &str) -> bool {
        // Debug files keep the headers of what was left to the program.
        self.file.section_by_name(name).is_some_and(|section| section.file_range().is_some_and(|(_, size)| size > 0))
    }

    /// Address and size of a section.
    pub fn section_place(&self, name: &str) -> Option<(u64, u64)> {
        self.file.section_by_name(name).map(|section| (section.address(), section.size()))
    }

    /// Whether it holds DWARF.
    pub fn has_dwarf(&self) -> bool {
        self.has_section(".debug_info")
    }

    /// Whether it has the full symbol table.
    pub fn has_symtab(&self) -> bool {
        self.has_section(".symtab")
    }

    /// Its separate debug file, and where it was looked for.
    pub fn debug_file(&self) -> &DebugFileSearch {
        self.search.get_or_init(|| debug_file::find(self))
    }

    /// Where its DWARF is: here or in the separate file.
    pub fn with_dwarf(&self) -> Option<&Binary> {
        if self.has_dwarf() {
            return Some(self);
        }
        self.debug_file().found.as_deref().filter(|debug| debug.has_dwarf())
    }

    /// All its functions, from every table there is.
    pub fn functions(&self) -> &Functions {
        self.functions.get_or_init(|| functions::collect(self))
    }
}

/// What a file that is not ELF seems to be.
fn not_elf_words(data: &[u8]) -> String {
    if let Some(rest) = data.strip_prefix(b"#!") {
        let line = rest.split(|&b| b == b'\n').next().unwrap_or_default();
        let interpreter = String::from_utf8_lossy(&line[..line.len().min(200)]).trim().to_owned();
        return format!("it is a script; what runs is {interpreter}");
    }
    if data.is_empty() { "it is empty".to_owned() } else { "it is no ELF file".to_owned() }
}

fn segments(file: &object::File<'static>) -> Vec<Segment> {
    let of = |address, (offset, file_size), flags| Segment {
        address,
        offset,
        file_size,
        executable: matches!(flags, object::SegmentFlags::Elf { p_flags, .. } if p_flags & object::elf::PF_X != Default::default()),
    };
    file.segments().map(|segment| of(segment.address(), segment.file_range(), segment.flags())).collect()
}
