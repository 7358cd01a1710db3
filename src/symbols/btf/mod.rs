//! BTF: the types of the traced kernel, as far as the arguments of its functions need them.
//!
//! Owns: finding a function's prototype by name and saying of each parameter what it is called and how wide it is; how
//! types are laid out (`layout`).
//! Does not own: where arguments were recorded (see `plugins`), words for them (see `kernel_arguments`).
//! Units: offsets in bytes from the start of the type or string section.
//! Source: Documentation/bpf/btf.rst of Linux 6.12.
//!
//! | file | what is inside |
//! | --- | --- |
//! | `mod.rs` | the container, and functions by name |
//! | `layout` | members, pointers, arrays, prototypes of functions and tracepoints |
//!
//! Imported by `plugins`, `probe` and `symbols::kernel_arguments`; imports `wire` only. The next kind of type: a constant and its
//! length here, what it is made of in `layout`.

use std::collections::HashMap;
use std::fmt;

mod layout;

pub use layout::{Layout, Member, Prototype, TypeId};

use crate::wire::abi::Abi;
use crate::wire::bytes::{Cursor, until_nul};

const MAGIC: u16 = 0xeb9f;

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const FLOAT: u32 = 16;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// The longest chain of typedefs and qualifiers that is followed.
const MAX_CHAIN: usize = 32;

/// Types of a kernel, with an index of its functions.
pub struct Btf {
    bytes: Vec<u8>,
    abi: Abi,
    strings: usize,
    strings_len: usize,
    types_start: usize,
    types_end: usize,
    /// Offset of each type's header in `bytes`; type 1 comes first.
    types: Vec<u32>,
    /// Prototype of each function, by a hash of its name; the name itself is compared when asked.
    functions: HashMap<u64, u32>,
}

/// What a parameter is, once names and qualifiers are taken off its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An integer, a bool or a char of so many bytes, with or without a sign.
    Int(u32, bool),
    /// An enumeration of so many bytes.
    Enum(u32, bool),
    /// An address.
    Pointer,
    /// Something else of so many bytes: the kind's name.
    Other(&'static str, u32),
    /// The three dots of a variadic function, or damage.
    Nothing,
}

/// One parameter of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param<'b> {
    /// Its name.
    pub name: &'b [u8],
    /// What it is.
    pub shape: Shape,
}

/// A type's header.
#[derive(Clone, Copy)]
struct Header {
    name: u32,
    info: u32,
    /// Its size, or the type it refers to.
    size: u32,
    /// Offset of what follows the header.
    rest: usize,
}

impl Header {
    fn kind(self) -> u32 {
        self.info >> 24 & 0x1f
    }

    fn count(self) -> usize {
        (self.info & 0xffff) as usize
    }

    fn flag(self) -> bool {
        self.info >> 31 == 1
    }

    /// Bytes after the header that belong to the type; `None` for kinds not known.
    fn rest_bytes(self) -> Option<usize> {
        Some(match self.kind() {
            INT | VAR | DECL_TAG => 4,
            ARRAY => 12,
            STRUCT | UNION | DATASEC | ENUM64 => 12 * self.count(),
            ENUM | FUNC_PROTO => 8 * self.count(),
            PTR | 7..=FUNC | FLOAT | TYPE_TAG => 0,
            _ => return None,
        })
    }
}

impl fmt::Debug for Btf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Btf({} types)", self.types.len())
    }
}

impl Btf {
    /// Indexes the content of a BTF file; `None` if it is none. Types after a damaged one are left out.
    pub fn new(bytes: Vec<u8>, abi: Abi) -> Option<Btf> {
        let mut cursor = Cursor::new(&bytes, abi);
        if cursor.u16()? != MAGIC {
            return None;
        }
        cursor.take(2)?;
        let header = cursor.u32()? as usize;
        let (types_at, types_len) = (cursor.u32()? as usize, cursor.u32()? as usize);
        let (strings_at, strings_len) = (cursor.u32()? as usize, cursor.u32()? as usize);
        let start = header.checked_add(types_at)?;
        let end = start.checked_add(types_len)?;
        let strings = header.checked_add(strings_at)?;
        bytes.get(start..end)?;
        bytes.get(strings..strings.checked_add(strings_len)?)?;
        let mut btf = Btf {
            bytes,
            abi,
            strings,
            strings_len,
            types_start: start,
            types_end: end,
            types: Vec::new(),
            functions: HashMap::new(),
        };
        btf.index(start, end);
        Some(btf)
    }

    fn index(&mut self, start: usize, end: usize) {
        // Of several with one name the first counts, but a module's before the kernel's.
        let mut functions = HashMap::new();
        let mut at = start;
        while at < end {
            let Some(header) = self.header_at(at) else { break };
            let Some(rest) = header.rest_bytes() else { break };
            let Ok(offset) = u32::try_from(at) else { break };
            self.types.push(offset);
            if header.kind() == FUNC {
                let hash = hash(self.string(header.name));
                functions.entry(hash).or_insert(self.types.len() as u32);
            }
            at = header.rest.saturating_add(rest);
        }
        self.functions.extend(functions);
    }

    fn header_at(&self, at: usize) -> Option<Header> {
        let mut cursor = Cursor::new(self.bytes.get(at..)?, self.abi);
        Some(Header { name: cursor.u32()?, info: cursor.u32()?, size: cursor.u32()?, rest: at + 12 })
    }

    fn header(&self, id: u32) -> Option<Header> {
        self.header_at(*self.types.get((id as usize).checked_sub(1)?)? as usize)
    }

    fn string(&self, offset: u32) -> &[u8] {
        let at = self.strings.saturating_add(offset as usize);
        until_nul(self.bytes.get(at..).unwrap_or(&[]))
    }

    /// The parameters of the function called `name`; the compiler's suffixes (`.isra.0`) do not count.
    pub fn params(&self, name: &[u8]) -> Option<impl Iterator<Item = Param<'_>>> {
        let end = name.iter().position(|&byte| byte == b'.').unwrap_or(name.len());
        let name = &name[..end];
        let function = self.header(*self.functions.get(&hash(name))?)?;
        if self.string(function.name) != name {
            return None;
        }
        let proto = self.header(function.size).filter(|proto| proto.kind() == FUNC_PROTO)?;
        Some((0..proto.count()).map_while(move |index| {
            let mut cursor = Cursor::new(self.bytes.get(proto.rest + index * 8..)?, self.abi);
            let (name, id) = (cursor.u32()?, cursor.u32()?);
            Some(Param { name: self.string(name), shape: self.shape(id) })
        }))
    }

    fn shape(&self, mut id: u32) -> Shape {
        for _ in 0..MAX_CHAIN {
            let Some(header) = self.header(id) else { return Shape::Nothing };
            let size = header.size;
            match header.kind() {
                TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => id = size,
                INT => {
                    let encoding = self.bytes.get(header.rest..).and_then(|rest| self.abi.u32(rest)).unwrap_or(0);
                    return Shape::Int(size, encoding >> 24 & 1 == 1);
                }
                PTR => return Shape::Pointer,
                ENUM => return Shape::Enum(size, header.flag()),
                STRUCT => return Shape::Other("STRUCT", size),
                UNION => return Shape::Other("UNION", size),
                FLOAT => return Shape::Other("FLOAT", size),
                ENUM64 => return Shape::Other("ENUM64", size),
                _ => return Shape::Nothing,
            }
        }
        Shape::Nothing
    }
}

/// FNV-1a.
fn hash(name: &[u8]) -> u64 {
    name.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::abi::Endian;

    const ABI: Abi = Abi { endian: Endian::Little, long_bytes: 8 };

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// `int fa(int a, const char *p)`
    fn file() -> Vec<u8> {
        let strings = b"\0int\0char\0a\0p\0fa\0";
        let types = words(&[
            1,
            1 << 24,
            4,
            1 << 24 | 32, // 1: int
            5,
            1 << 24,
            1,
            2 << 24 | 8, // 2: char
            0,
            10 << 24,
            2, // 3: const char
            0,
            2 << 24,
            3, // 4: pointer to it
            0,
            13 << 24 | 2,
            1,
            10,
            1,
            12,
            4, // 5: prototype
            14,
            12 << 24 | 1,
            5, // 6: fa
        ]);
        let mut file = vec![0x9f, 0xeb, 1, 0];
        file.extend(words(&[24, 0, types.len() as u32, types.len() as u32, strings.len() as u32]));
        file.extend(types);
        file.extend(strings);
        file
    }

    #[test]
    fn a_function_is_found_with_its_parameters() {
        let btf = Btf::new(file(), ABI).unwrap();
        for name in [&b"fa"[..], b"fa.isra.0"] {
            let params: Vec<Param<'_>> = btf.params(name).unwrap().collect();
            let want = [(&b"a"[..], Shape::Int(4, true)), (b"p", Shape::Pointer)];
            assert_eq!(params, want.map(|(name, shape)| Param { name, shape }));
        }
        assert!(btf.params(b"fb").is_none());
    }

    #[test]
    fn damage_is_survived() {
        let good = file();
        assert!(Btf::new(good[..20].to_vec(), ABI).is_none());
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                if let Some(btf) = Btf::new(bad, ABI)
                    && let Some(params) = btf.params(b"fa")
                {
                    assert!(params.count() < 70_000);
                }
            }
        }
    }
}
