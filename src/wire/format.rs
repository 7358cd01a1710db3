//! The text of an event's `format` file, as values.
//!
//! Owns: the grammar of the file, the kinds of fields, and taking a field's value out of a record's bytes.
//! Does not own: the meaning of `print fmt` (see `print_fmt`), or which event a record is (see `plugins`).
//! Units: offsets and sizes in bytes from the start of the record's data, common fields included.
//!
//! `size` and `signed` are what counts; the type's text is only a name, except where the size says nothing: the
//! element width of arrays, `char` (text), `long`, and pointers.

use std::fmt;

use super::abi::Abi;
use super::bytes::{Cursor, c_integer, clamp, find, until_nul};

/// Formats of one event larger than this are refused (the largest known is 12 KiB).
const MAX_TEXT: usize = 1 << 20;

/// Where a field's bytes are and how many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldPlace {
    /// At the field's offset, `size` bytes.
    Fixed,
    /// From the field's offset to the end of the record (`char buf[]` of size 0).
    Flexible,
    /// `__data_loc`: the field holds offset and length of bytes elsewhere in the record.
    DataLoc,
    /// `__rel_loc`: the same, with the offset counted from the end of this field.
    RelLoc,
}

/// What the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// One integer of `size` bytes.
    Int,
    /// One address.
    Pointer,
    /// Text: an array of `char`, ended by NUL or by the array's end.
    Text,
    /// An array of integers of `elem_bytes` each.
    Array,
    /// A set of bits, stored as longs (`__data_loc cpumask_t`, bit masks).
    Mask,
    /// Several texts, each with a location word of its own (`__data_loc char[][2]`).
    Texts,
    /// Bytes of a structure.
    Bytes,
}

/// One field of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type as the kernel wrote it, without name and brackets.
    pub type_name: String,
    /// What stood in the brackets after the name or type, if there were any.
    pub brackets: Option<String>,
    /// Offset of the field, or of its location word.
    pub offset: u16,
    /// Bytes of the field, or of its location word.
    pub size: u16,
    /// Whether its integers have a sign.
    pub signed: bool,
    /// What it holds.
    pub kind: FieldKind,
    /// Where its bytes are.
    pub place: FieldPlace,
    /// Width of one element; equal to `size` for plain integers.
    pub elem_bytes: u16,
}

/// The value of a field in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A signed integer.
    Int(i64),
    /// An unsigned integer or an address.
    Uint(u64),
    /// Text, cut at its first NUL.
    Text(&'a [u8]),
    /// An array of integers: its bytes and the width of one element.
    Array(&'a [u8], u16),
    /// A structure, a mask: bytes.
    Bytes(&'a [u8]),
    /// The record is too short to hold the field.
    Missing,
}

impl Field {
    /// The integer at the field, sign-extended if it has a sign; `None` if the record is too short or the field is no integer.
    #[inline]
    pub fn int(&self, data: &[u8], abi: Abi) -> Option<u64> {
        let at = usize::from(self.offset);
        let bytes = data.get(at..at + usize::from(self.size))?;
        let value = abi.uint(bytes)?;
        Some(if self.signed { sign_extend(value, u32::from(self.size)) } else { value })
    }

    /// The field's bytes, found through the location word where there is one, clamped to the record.
    #[inline]
    pub fn bytes<'a>(&self, data: &'a [u8], abi: Abi) -> &'a [u8] {
        let at = usize::from(self.offset);
        match self.place {
            FieldPlace::Fixed => clamp(data, at, usize::from(self.size)),
            FieldPlace::Flexible => data.get(at..).unwrap_or(&[]),
            FieldPlace::DataLoc | FieldPlace::RelLoc => self.located(data, abi, 0),
        }
    }

    /// The bytes that location word number `index` of this field points to.
    pub fn located<'a>(&self, data: &'a [u8], abi: Abi, index: usize) -> &'a [u8] {
        let word_at = usize::from(self.offset) + index * 4;
        if self.size == 2 {
            // Very old kernels: an offset only, the data runs to the record's end.
            let start = data.get(word_at..).and_then(|rest| abi.u16(rest));
            return start.and_then(|start| data.get(usize::from(start)..)).unwrap_or(&[]);
        }
        let Some(word) = data.get(word_at..).and_then(|rest| abi.u32(rest)) else {
            return &[];
        };
        let base = if self.place == FieldPlace::RelLoc { word_at + 4 } else { 0 };
        clamp(data, base + (word & 0xffff) as usize, (word >> 16) as usize)
    }

    /// The field's text up to its first NUL.
    #[inline]
    pub fn text<'a>(&self, data: &'a [u8], abi: Abi) -> &'a [u8] {
        until_nul(self.bytes(data, abi))
    }

    /// True if the field holds text.
    pub fn is_text(&self) -> bool {
        self.kind == FieldKind::Text
    }

    /// True if the bytes are not at the field's own place.
    pub fn is_dynamic(&self) -> bool {
        matches!(self.place, FieldPlace::DataLoc | FieldPlace::RelLoc)
    }

    /// The value in one record.
    pub fn value<'a>(&self, data: &'a [u8], abi: Abi) -> Value<'a> {
        if usize::from(self.offset) + usize::from(self.size) > data.len() {
            return Value::Missing;
        }
        match self.kind {
            FieldKind::Int | FieldKind::Pointer => match self.int(data, abi) {
                Some(value) if self.signed => Value::Int(value as i64),
                Some(value) => Value::Uint(value),
                None => Value::Bytes(self.bytes(data, abi)),
            },
            FieldKind::Text => Value::Text(self.text(data, abi)),
            FieldKind::Array => Value::Array(self.bytes(data, abi), self.elem_bytes),
            FieldKind::Texts => Value::Text(until_nul(self.located(data, abi, 0))),
            FieldKind::Mask | FieldKind::Bytes => Value::Bytes(self.bytes(data, abi)),
        }
    }
}

/// Extends the sign of an integer of `bytes` bytes to 64 bits.
#[inline]
pub fn sign_extend(value: u64, bytes: u32) -> u64 {
    if bytes == 0 || bytes >= 8 {
        return value;
    }
    let shift = 64 - bytes * 8;
    (((value << shift) as i64) >> shift) as u64
}

/// One event's format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFormat {
    /// The directory it was found in.
    pub system: String,
    /// Its name.
    pub name: String,
    /// The number that records of it start with.
    pub id: u16,
    /// The fields every event has.
    pub common: Vec<Field>,
    /// Its own fields.
    pub fields: Vec<Field>,
    /// What follows `print fmt:`, unparsed.
    pub print_fmt: String,
}

/// Why a format's text was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatError {
    /// The text is larger than any format can be.
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// No `name:` line.
    NoName,
    /// No `ID:` line, or one without a number below 65536.
    NoId,
    /// A field's line that could not be read.
    Field {
        /// Offset of the line in the text.
        offset: usize,
        /// What is missing or wrong.
        what: &'static str,
    },
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormatError::TooLarge { bytes } => {
                write!(f, "format of {bytes} bytes, at most {MAX_TEXT} are read")
            }
            FormatError::NoName => write!(f, "format without a name: line"),
            FormatError::NoId => write!(f, "format without an ID: line"),
            FormatError::Field { offset, what } => {
                write!(f, "field at byte {offset} of the format: {what}")
            }
        }
    }
}

impl std::error::Error for FormatError {}

impl EventFormat {
    /// Reads the text of a `format` file.
    pub fn parse(system: &str, text: &[u8], abi: Abi) -> Result<EventFormat, FormatError> {
        if text.len() > MAX_TEXT {
            return Err(FormatError::TooLarge { bytes: text.len() });
        }
        let mut format = EventFormat {
            system: system.to_owned(),
            name: String::new(),
            id: 0,
            common: Vec::new(),
            fields: Vec::new(),
            print_fmt: String::new(),
        };
        let (mut id, mut in_event_fields) = (None, false);
        let mut lines = Cursor::new(text, abi);
        loop {
            let offset = lines.offset();
            let Some(line) = lines.line() else { break };
            let trimmed = line.trim_ascii();
            if let Some(name) = trimmed.strip_prefix(b"name:") {
                format.name = lossy(name.trim_ascii());
            } else if let Some(number) = trimmed.strip_prefix(b"ID:") {
                id = c_integer(number).and_then(|id| u16::try_from(id).ok());
            } else if let Some(rest) = trimmed.strip_prefix(b"field") {
                let field = parse_field(rest, offset, abi)?;
                if in_event_fields || !field.name.starts_with("common_") {
                    format.fields.push(field);
                } else {
                    format.common.push(field);
                }
            } else if trimmed.starts_with(b"print fmt:") {
                let start = offset + find(line, b':').unwrap_or(0) + 1;
                format.print_fmt = lossy(text.get(start..).unwrap_or(&[]).trim_ascii());
                break;
            } else if trimmed.is_empty() && !format.common.is_empty() {
                in_event_fields = true;
            }
        }
        if format.name.is_empty() {
            return Err(FormatError::NoName);
        }
        format.id = id.ok_or(FormatError::NoId)?;
        Ok(format)
    }

    /// The field called `name`, own fields first.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().chain(&self.common).find(|field| field.name == name)
    }
}

/// Name and id of a format's text, without reading the rest.
pub fn peek(text: &[u8]) -> Option<(&[u8], u16)> {
    let (mut name, mut id) = (None, None);
    let mut lines = Cursor::new(text, Abi::HOST);
    for _ in 0..8 {
        let line = lines.line()?.trim_ascii();
        if let Some(text) = line.strip_prefix(b"name:") {
            name = Some(text.trim_ascii());
        } else if let Some(text) = line.strip_prefix(b"ID:") {
            id = c_integer(text).and_then(|id| u16::try_from(id).ok());
        }
        if let (Some(name), Some(id)) = (name, id) {
            return Some((name, id));
        }
    }
    None
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads what follows `field` (or `field special`): `:decl; offset:N; size:N; signed:N;`.
fn parse_field(rest: &[u8], line_offset: usize, abi: Abi) -> Result<Field, FormatError> {
    let wrong = |what| FormatError::Field { offset: line_offset, what };
    let colon = find(rest, b':').ok_or(wrong("no colon"))?;
    let mut parts = rest.get(colon + 1..).unwrap_or(&[]).split(|&byte| byte == b';');
    let decl = parts.next().ok_or(wrong("no declaration"))?;
    let (mut offset, mut size, mut signed) = (None, None, None);
    for part in parts {
        let Some(colon) = find(part, b':') else {
            continue;
        };
        let value = c_integer(&part[colon + 1..]);
        match part[..colon].trim_ascii() {
            b"offset" => offset = value.and_then(|value| u16::try_from(value).ok()),
            b"size" => size = value.and_then(|value| u16::try_from(value).ok()),
            b"signed" => signed = value,
            _ => {}
        }
    }
    let offset = offset.ok_or(wrong("no offset below 65536"))?;
    let size = size.ok_or(wrong("no size below 65536"))?;
    let decl = std::str::from_utf8(decl).map_err(|_| wrong("the declaration is not text"))?;
    let decl = Declaration::split(decl).ok_or(wrong("the declaration has no name"))?;
    let signed = signed.map_or_else(|| guess_signed(decl.type_name), |signed| signed != 0);
    Ok(decl.field(offset, size, signed, abi))
}

/// Kernels before 2.6.33 did not say `signed:`.
fn guess_signed(type_name: &str) -> bool {
    !type_name.contains('*')
        && !type_name.starts_with('u')
        && !type_name.contains("unsigned")
        && ["int", "long", "short", "char", "s8", "s16", "s32", "s64", "pid_t"]
            .iter()
            .any(|word| type_name.split(' ').any(|part| part == *word))
}

/// A declaration taken apart: `__data_loc char[][2] arg1`, `unsigned long caller[8]`, `const char * name`.
struct Declaration<'a> {
    place: Option<FieldPlace>,
    type_name: &'a str,
    name: &'a str,
    brackets: Option<String>,
}

impl<'a> Declaration<'a> {
    fn split(decl: &'a str) -> Option<Declaration<'a>> {
        let mut decl = decl.trim();
        let mut place = None;
        for (prefix, found) in [("__data_loc", FieldPlace::DataLoc), ("__rel_loc", FieldPlace::RelLoc)] {
            if let Some(rest) = decl.strip_prefix(prefix).filter(|rest| rest.starts_with(char::is_whitespace)) {
                (place, decl) = (Some(found), rest.trim_start());
            }
        }
        let (decl, mut brackets) = take_brackets(decl);
        let name_bytes = decl.bytes().rev().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        let start = decl.len() - name_bytes;
        let name = &decl[start..];
        if name.is_empty() {
            return None;
        }
        let mut type_name = decl[..start].trim();
        if brackets.is_none() {
            // `__data_loc char[] name`: the brackets belong to the type.
            (type_name, brackets) = take_brackets(type_name);
        }
        Some(Declaration { place, type_name, name, brackets })
    }

    fn field(self, offset: u16, size: u16, signed: bool, abi: Abi) -> Field {
        let place = match self.place {
            Some(place) => place,
            None if size == 0 && self.brackets.is_some() => FieldPlace::Flexible,
            None => FieldPlace::Fixed,
        };
        let element = element_bytes(self.type_name, abi);
        let counted = self.brackets.as_deref().and_then(|inner| inner.parse::<u16>().ok()).filter(|&n| n > 0);
        let is_pointer = self.type_name.ends_with('*');
        let is_char = !is_pointer && self.type_name.split(' ').any(|word| word == "char");
        let elem_bytes = match (&self.brackets, place) {
            (Some(_), FieldPlace::Fixed) => match counted {
                Some(count) if size.is_multiple_of(count) => size / count,
                _ => element.unwrap_or(if is_pointer { u16::from(abi.long_bytes) } else { 1 }),
            },
            (Some(_), _) => element.unwrap_or(1),
            (None, FieldPlace::DataLoc | FieldPlace::RelLoc) => element.unwrap_or(u16::from(abi.long_bytes)),
            (None, _) => size,
        };
        let kind = match (&self.brackets, place) {
            (Some(inner), FieldPlace::DataLoc | FieldPlace::RelLoc) if inner.contains("][") => FieldKind::Texts,
            (Some(_), _) if is_char => FieldKind::Text,
            (Some(_), _) => FieldKind::Array,
            (None, FieldPlace::DataLoc | FieldPlace::RelLoc) => FieldKind::Mask,
            (None, _) if is_pointer => FieldKind::Pointer,
            (None, _) if matches!(size, 1 | 2 | 4 | 8) => FieldKind::Int,
            (None, _) => FieldKind::Bytes,
        };
        Field {
            name: self.name.to_owned(),
            type_name: self.type_name.to_owned(),
            brackets: self.brackets,
            offset,
            size,
            signed,
            kind,
            place,
            elem_bytes: elem_bytes.max(1),
        }
    }
}

/// Cuts trailing `[...]` groups off; what is between the outermost brackets (`2`, `][2`, empty) is returned.
fn take_brackets(decl: &str) -> (&str, Option<String>) {
    let trimmed = decl.trim_end();
    if !trimmed.ends_with(']') {
        return (trimmed, None);
    }
    let Some(start) = trimmed.find('[') else {
        return (trimmed, None);
    };
    let inner = trimmed.get(start + 1..trimmed.len() - 1).unwrap_or("");
    (trimmed[..start].trim_end(), Some(inner.trim().to_owned()))
}

/// Width of one element by its type's name; `None` for names that only the kernel knows.
pub fn element_bytes(type_name: &str, abi: Abi) -> Option<u16> {
    if type_name.ends_with('*') {
        return Some(u16::from(abi.long_bytes));
    }
    let words = || type_name.split_ascii_whitespace().filter(|word| !matches!(*word, "const" | "volatile"));
    let longs = words().filter(|word| *word == "long").count();
    if longs == 1 {
        return Some(u16::from(abi.long_bytes));
    } else if longs > 1 {
        return Some(8);
    }
    let has = |names: &[&str]| words().any(|word| names.contains(&word));
    if has(&["char", "u8", "s8", "__u8", "__s8", "uint8_t", "int8_t", "bool", "_Bool", "unchar", "u_char", "uchar"]) {
        Some(1)
    } else if has(&["short", "u16", "s16", "__u16", "__s16", "uint16_t", "int16_t", "__le16", "__be16", "umode_t"]) {
        Some(2)
    } else if has(&["u64", "s64", "__u64", "__s64", "uint64_t", "int64_t", "__le64", "__be64", "loff_t", "dma_addr_t"])
    {
        Some(8)
    } else if has(&[
        "int", "unsigned", "signed", "u32", "s32", "__u32", "__s32", "uint32_t", "int32_t", "__le32", "__be32",
        "pid_t", "gfp_t", "dev_t", "uint", "u_int", "enum",
    ]) {
        Some(4)
    } else if has(&["size_t", "ssize_t", "uintptr_t", "intptr_t", "ptrdiff_t"]) {
        Some(u16::from(abi.long_bytes))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::abi::Endian;

    const ABI: Abi = Abi { endian: Endian::Little, long_bytes: 8 };

    fn field(decl: &str, size: u16) -> Field {
        let line = format!(":{decl};\toffset:8;\tsize:{size};\tsigned:0;");
        parse_field(line.as_bytes(), 0, ABI).unwrap()
    }

    #[test]
    fn a_whole_format_is_read() {
        let text = b"name: sched_thing\nID: 372\nformat:\n\
            \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
            \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n\
            \tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;\n\
            \tfield:pid_t prev_pid;\toffset:24;\tsize:4;\tsigned:1;\n\n\
            print fmt: \"a=%s\" \"b\", REC->prev_comm\n";
        let format = EventFormat::parse("sched", text, ABI).unwrap();
        assert_eq!((format.name.as_str(), format.id), ("sched_thing", 372));
        assert_eq!((format.common.len(), format.fields.len()), (2, 2));
        assert_eq!(format.print_fmt, "\"a=%s\" \"b\", REC->prev_comm");
        assert_eq!(peek(text), Some((&b"sched_thing"[..], 372)));
        assert!(format.field("prev_pid").unwrap().signed);
    }

    #[test]
    fn kinds_of_declarations() {
        let check = |decl: &str, size, kind, place, elem| {
            let field = field(decl, size);
            assert_eq!((field.kind, field.place, field.elem_bytes), (kind, place, elem), "{decl}");
        };
        check("int dfd", 8, FieldKind::Int, FieldPlace::Fixed, 8);
        check("char comm[16]", 16, FieldKind::Text, FieldPlace::Fixed, 1);
        check("char comm[TASK_COMM_LEN]", 16, FieldKind::Text, FieldPlace::Fixed, 1);
        check("unsigned long caller[8]", 64, FieldKind::Array, FieldPlace::Fixed, 8);
        check("xfs_foo_t blob[4]", 32, FieldKind::Array, FieldPlace::Fixed, 8);
        check("u16 first[]", 8, FieldKind::Array, FieldPlace::Fixed, 2);
        check("char buf[]", 0, FieldKind::Text, FieldPlace::Flexible, 1);
        check("unsigned long args[]", 0, FieldKind::Array, FieldPlace::Flexible, 8);
        check("const char *const * argv", 8, FieldKind::Pointer, FieldPlace::Fixed, 8);
        check("void __seg_gs * p", 8, FieldKind::Pointer, FieldPlace::Fixed, 8);
        check("const void* p", 8, FieldKind::Pointer, FieldPlace::Fixed, 8);
        check("struct sockaddr_in6 a", 28, FieldKind::Bytes, FieldPlace::Fixed, 28);
        check("__data_loc char[] name", 4, FieldKind::Text, FieldPlace::DataLoc, 1);
        check("__data_loc unsigned int[] v", 4, FieldKind::Array, FieldPlace::DataLoc, 4);
        check("__data_loc cpumask_t mask", 4, FieldKind::Mask, FieldPlace::DataLoc, 8);
        check("__data_loc char[][2] arg1", 8, FieldKind::Texts, FieldPlace::DataLoc, 1);
        check("__rel_loc char name[]", 4, FieldKind::Text, FieldPlace::RelLoc, 1);
        check("__rel_loc u8[] name", 4, FieldKind::Array, FieldPlace::RelLoc, 1);
        assert_eq!(field("const char *const * argv", 8).name, "argv");
        assert_eq!(field("const void* p", 8).type_name, "const void*");
    }

    #[test]
    fn locations_are_followed_and_clamped() {
        let mut data = vec![0u8; 20];
        data[8..12].copy_from_slice(&0x000d_000cu32.to_le_bytes());
        data[12..17].copy_from_slice(b"hello");
        let loc = field("__data_loc char[] name", 4);
        assert_eq!(loc.text(&data, ABI), b"hello");
        assert_eq!(loc.bytes(&data, ABI).len(), 8, "13 bytes stated, 8 left in the record");
        let rel = field("__rel_loc char[] name", 4);
        data[8..12].copy_from_slice(&0x0005_0000u32.to_le_bytes());
        assert_eq!(rel.text(&data, ABI), b"hello");
        data[8..12].copy_from_slice(&0xffff_ffffu32.to_le_bytes());
        assert_eq!(rel.text(&data, ABI), b"");
    }

    #[test]
    fn integers_follow_size_and_sign() {
        let mut pid = field("int pid", 4);
        let data = [0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(pid.int(&data, ABI), Some(0xffff_ffff));
        pid.signed = true;
        assert_eq!(pid.value(&data, ABI), Value::Int(-1));
        assert_eq!(pid.value(&data[..10], ABI), Value::Missing);
    }

    #[test]
    fn a_letter_that_c_does_not_know_ends_the_name_of_a_field() {
        // Found by fuzzing: the letter has two bytes, and the name was cut out of its middle.
        let found = field("unsigned short\u{75c}ommon_type", 2);
        assert_eq!((found.name.as_str(), found.type_name.as_str()), ("ommon_type", "unsigned short\u{75c}"));
    }

    #[test]
    fn damaged_texts_are_refused_with_a_reason() {
        assert_eq!(EventFormat::parse("s", b"", ABI), Err(FormatError::NoName));
        assert_eq!(EventFormat::parse("s", b"name: x\nID: 70000\n", ABI), Err(FormatError::NoId));
        let text = b"name: x\nID: 7\nformat:\n\tfield:int a;\tsize:4;\n";
        assert!(matches!(EventFormat::parse("s", text, ABI), Err(FormatError::Field { offset: 22, .. })));
    }
}
