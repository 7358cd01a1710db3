//! How types are laid out: members, pointers, arrays, and the prototypes of functions and tracepoints.

use super::{
    ARRAY, Btf, CONST, ENUM, ENUM64, FLOAT, FUNC_PROTO, Header, INT, MAX_CHAIN, PTR, RESTRICT, STRUCT, TYPE_TAG,
    TYPEDEF, UNION, VOLATILE, hash,
};
use crate::wire::bytes::Cursor;

/// Number of a type in a [`Btf`]; 0 is `void`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeId(u32);

/// What a type is, once names and qualifiers are taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `void`, or something that is not known.
    Void,
    /// An integer of so many bytes, its sign, and whether it is a character.
    Int {
        /// Its size.
        bytes: u32,
        /// Whether it has a sign.
        signed: bool,
        /// Whether it is one byte of text.
        is_char: bool,
    },
    /// An enumeration.
    Enum {
        /// Its size.
        bytes: u32,
        /// Whether it has a sign.
        signed: bool,
    },
    /// A floating point number of so many bytes.
    Float(u32),
    /// An address of something.
    Pointer(TypeId),
    /// An array.
    Array {
        /// What it consists of.
        of: TypeId,
        /// How many.
        count: u32,
    },
    /// A structure or union.
    Composite(TypeId),
}

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its type.
    pub of: TypeId,
    /// Where it begins.
    pub bit_offset: u32,
    /// Its width, if it is a bit field.
    pub bits: Option<u32>,
}

/// A function's parameters and what it returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prototype {
    /// Names and types, in order.
    pub parameters: Vec<(String, TypeId)>,
    /// What it returns.
    pub returns: TypeId,
}

/// The deepest nesting of structures without a name that is searched.
const MAX_NESTING: usize = 16;

impl Btf {
    /// The prototype of a function; the compiler's suffixes (`.isra.0`) do not count.
    pub fn prototype(&self, name: &str) -> Option<Prototype> {
        self.prototype_but(name, 0)
    }

    /// What a tracepoint hands to those who hook into it, after a parameter of the tracer's own.
    ///
    /// The functions that call them carry the names of the parameters; the type `btf_trace_NAME` has none.
    pub fn tracepoint(&self, name: &str) -> Option<Prototype> {
        let callers = ["__probestub", "__traceiter"];
        callers.iter().find_map(|caller| self.prototype_but(&format!("{caller}_{name}"), 1))
    }

    fn prototype_but(&self, name: &str, skipped: usize) -> Option<Prototype> {
        let name = name.split('.').next().unwrap_or_default();
        let function = self.header(*self.functions.get(&hash(name.as_bytes()))?)?;
        (self.string(function.name) == name.as_bytes()).then(|| self.prototype_of(function.size, skipped))?
    }

    fn prototype_of(&self, id: u32, skipped: usize) -> Option<Prototype> {
        let proto = self.header(id).filter(|proto| proto.kind() == FUNC_PROTO)?;
        let parameter = |index: usize| {
            let mut cursor = Cursor::new(self.bytes.get(proto.rest + index * 8..)?, self.abi);
            let (name, id) = (cursor.u32()?, cursor.u32()?);
            // Three dots: neither name nor type.
            (name != 0 || id != 0).then(|| (self.text(name), TypeId(id)))
        };
        let parameters = (skipped..proto.count()).map_while(parameter).collect();
        Some(Prototype { parameters, returns: TypeId(proto.size) })
    }

    /// What a type is.
    pub fn layout(&self, of: TypeId) -> Layout {
        let mut id = of.0;
        for _ in 0..MAX_CHAIN {
            let Some(header) = self.header(id) else { return Layout::Void };
            let bytes = header.size;
            match header.kind() {
                TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => id = header.size,
                INT => {
                    let encoding = self.word(header.rest).unwrap_or(0);
                    let is_char = encoding >> 25 & 1 == 1 || bytes == 1 && self.is_named_char(header);
                    return Layout::Int { bytes, signed: encoding >> 24 & 1 == 1, is_char };
                }
                ENUM | ENUM64 => return Layout::Enum { bytes, signed: header.flag() },
                FLOAT => return Layout::Float(bytes),
                PTR => return Layout::Pointer(TypeId(header.size)),
                ARRAY => {
                    let (of, count) = (self.word(header.rest), self.word(header.rest + 8));
                    return Layout::Array { of: TypeId(of.unwrap_or(0)), count: count.unwrap_or(0) };
                }
                STRUCT | UNION => return Layout::Composite(TypeId(id)),
                _ => return Layout::Void,
            }
        }
        Layout::Void
    }

    /// The member of a structure by its name; those of nested structures without a name count as its own.
    pub fn member(&self, composite: TypeId, name: &str) -> Option<Member> {
        self.find_member(composite, name, 0)
    }

    fn find_member(&self, composite: TypeId, name: &str, depth: usize) -> Option<Member> {
        if depth > MAX_NESTING {
            return None;
        }
        let mut inner = None;
        for (given, member) in self.members(composite) {
            if given == name {
                return Some(member);
            }
            if given.is_empty()
                && inner.is_none()
                && let Layout::Composite(nested) = self.layout(member.of)
                && let Some(found) = self.find_member(nested, name, depth + 1)
            {
                let bit_offset = member.bit_offset.saturating_add(found.bit_offset);
                inner = Some(Member { bit_offset, ..found });
            }
        }
        inner
    }

    /// Names and places of a structure's members.
    pub fn members(&self, composite: TypeId) -> Vec<(String, Member)> {
        let Some(header) = self.header(composite.0).filter(|header| matches!(header.kind(), STRUCT | UNION)) else {
            return Vec::new();
        };
        let member = |index: usize| {
            let mut cursor = Cursor::new(self.bytes.get(header.rest + index * 12..)?, self.abi);
            let (name, id, offset) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
            // With the flag the upper byte is the width of a bit field, or 0.
            let (bit_offset, bits) = if header.flag() {
                (offset & 0x00ff_ffff, Some(offset >> 24).filter(|&bits| bits > 0))
            } else {
                (offset, None)
            };
            Some((self.text(name), Member { of: TypeId(id), bit_offset, bits }))
        };
        (0..header.count()).map_while(member).collect()
    }

    /// Values and names of an enumeration.
    pub fn enumerators(&self, of: TypeId) -> Vec<(i64, String)> {
        let mut id = of.0;
        for _ in 0..MAX_CHAIN {
            let Some(header) = self.header(id) else { return Vec::new() };
            match header.kind() {
                TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => id = header.size,
                ENUM | ENUM64 => {
                    return (0..header.count()).map_while(|index| self.enumerator(header, index)).collect();
                }
                _ => return Vec::new(),
            }
        }
        Vec::new()
    }

    fn enumerator(&self, header: Header, index: usize) -> Option<(i64, String)> {
        let wide = header.kind() == ENUM64;
        let at = header.rest + index * if wide { 12 } else { 8 };
        let (name, low) = (self.word(at)?, self.word(at + 4)?);
        let value = match (wide, header.flag()) {
            (true, _) => (u64::from(self.word(at + 8)?) << 32 | u64::from(low)) as i64,
            (false, true) => i64::from(low as i32),
            (false, false) => i64::from(low),
        };
        Some((value, self.text(name)))
    }

    /// Size in bytes; 0 where arrays are nested deeper than anybody writes.
    pub fn size(&self, of: TypeId) -> u32 {
        self.size_within(of, MAX_NESTING)
    }

    fn size_within(&self, of: TypeId, depth: usize) -> u32 {
        match self.layout(of) {
            Layout::Void => 0,
            Layout::Int { bytes, .. } | Layout::Enum { bytes, .. } | Layout::Float(bytes) => bytes,
            Layout::Pointer(_) => u32::from(self.abi.long_bytes),
            Layout::Array { of, count } => {
                let one = depth.checked_sub(1).map_or(0, |depth| self.size_within(of, depth));
                one.saturating_mul(count)
            }
            Layout::Composite(id) => self.header(id.0).map_or(0, |header| header.size),
        }
    }

    /// The name of a structure, union, typedef or integer, with the stars and brackets of what refers to it.
    pub fn type_name(&self, of: TypeId) -> String {
        let (mut id, mut suffix) = (of.0, String::new());
        for _ in 0..MAX_CHAIN {
            let Some(header) = self.header(id) else { return format!("void{suffix}") };
            let name = self.text(header.name);
            let prefix = match header.kind() {
                STRUCT => "struct ",
                UNION => "union ",
                ENUM | ENUM64 => "enum ",
                _ => "",
            };
            match header.kind() {
                PTR => suffix.insert(0, '*'),
                ARRAY => suffix.push_str(&format!("[{}]", self.word(header.rest + 8).unwrap_or(0))),
                VOLATILE | CONST | RESTRICT | TYPE_TAG => {}
                _ => {
                    let space = if suffix.starts_with('*') { " " } else { "" };
                    return format!("{prefix}{name}{space}{suffix}");
                }
            }
            id = if header.kind() == ARRAY { self.word(header.rest).unwrap_or(0) } else { header.size };
        }
        suffix
    }

    /// The types of a module, which refer to those of the kernel.
    ///
    /// `split` is the content of `/sys/kernel/btf/MODULE`; its types and strings go on where the kernel's end.
    pub fn with_module(&self, split: &[u8]) -> Option<Btf> {
        let module = Btf::new(split.to_vec(), self.abi)?;
        let strings_len = self.strings_len;
        let mut bytes = Vec::with_capacity(self.bytes.len() + split.len());
        bytes.extend_from_slice(&self.bytes[..self.strings]);
        let shift = bytes.len().checked_sub(module.types_start)?;
        bytes.extend_from_slice(module.bytes.get(module.types_start..module.types_end)?);
        let types_end = bytes.len();
        let strings = bytes.len();
        bytes.extend_from_slice(self.bytes.get(self.strings..self.strings + strings_len)?);
        bytes.extend_from_slice(module.bytes.get(module.strings..module.strings + module.strings_len)?);
        let mut both = Btf {
            bytes,
            abi: self.abi,
            strings,
            strings_len: strings_len + module.strings_len,
            types_start: self.types_start,
            types_end,
            types: self.types.clone(),
            functions: self.functions.clone(),
        };
        both.index(module.types_start + shift, types_end);
        Some(both)
    }

    fn is_named_char(&self, header: Header) -> bool {
        matches!(self.string(header.name), b"char" | b"unsigned char" | b"signed char")
    }

    fn word(&self, at: usize) -> Option<u32> {
        self.abi.u32(self.bytes.get(at..)?)
    }

    fn text(&self, offset: u32) -> String {
        String::from_utf8_lossy(self.string(offset)).into_owned()
    }
}
