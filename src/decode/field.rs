//! Fields as plugins need them: found once when a plugin is bound, read from each record.

use crate::wire::abi::Abi;
use crate::wire::bytes::until_nul;
use crate::wire::format::{EventFormat, Field, FieldKind};
use crate::wire::tables::Kallsyms;
use crate::wire::text;

/// An integer or an address in a record.
#[derive(Clone, Copy, Debug)]
pub struct Int {
    at: usize,
    size: usize,
    signed: bool,
    abi: Abi,
}

impl Int {
    /// The integer field called `name`.
    pub fn find(format: &EventFormat, name: &str, abi: Abi) -> Option<Int> {
        Int::of(format.field(name)?, abi)
    }

    /// The field, if it is an integer.
    pub fn of(field: &Field, abi: Abi) -> Option<Int> {
        if !matches!(field.kind, FieldKind::Int | FieldKind::Pointer) {
            return None;
        }
        Some(Int { at: field.offset.into(), size: field.size.into(), signed: field.signed, abi })
    }

    /// The value, sign-extended if it has a sign; 0 if the record is too short.
    #[inline]
    pub fn get(&self, data: &[u8]) -> u64 {
        let value = self.raw(data);
        if !self.signed {
            return value;
        }
        match self.size {
            4 => value as i32 as u64,
            2 => value as i16 as u64,
            1 => value as i8 as u64,
            _ => value,
        }
    }

    /// The value, never sign-extended.
    #[inline]
    pub fn raw(&self, data: &[u8]) -> u64 {
        data.get(self.at..self.at + self.size).and_then(|bytes| self.abi.uint(bytes)).unwrap_or(0)
    }

    /// Appends the value in decimal; by libtraceevent's rules without a sign.
    #[inline]
    pub fn put(&self, data: &[u8], lte: bool, out: &mut Vec<u8>) {
        if lte || !self.signed { text::dec(out, self.raw(data)) } else { text::signed(out, self.get(data) as i64) }
    }
}

/// Text in a record.
#[derive(Clone, Debug)]
pub struct Text {
    field: Field,
    abi: Abi,
}

impl Text {
    /// The field called `name`, if it holds text.
    pub fn find(format: &EventFormat, name: &str, abi: Abi) -> Option<Text> {
        let field = format.field(name).filter(|field| field.is_text())?;
        Some(Text { field: field.clone(), abi })
    }

    /// Appends it.
    #[inline]
    pub fn put(&self, data: &[u8], out: &mut Vec<u8>) {
        text::until_nul(out, self.field.bytes(data, self.abi));
    }

    /// Its bytes up to the first NUL.
    #[inline]
    pub fn get<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        until_nul(self.field.bytes(data, self.abi))
    }
}

/// Appends the name of the function at `address`, with its offset if asked for; false if it has none.
#[inline]
pub fn symbol(kallsyms: &Kallsyms, address: u64, offset: bool, out: &mut Vec<u8>) -> bool {
    kallsyms.put(address, offset, out)
}
