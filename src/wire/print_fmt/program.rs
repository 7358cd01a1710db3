//! A compiled print fmt: a list of operations that append text; numbers, byte ranges and texts they need are nodes in
//! three flat arrays, addressed by index and checked when they were built. A node refers only to nodes built before it.

use std::cell::Cell;
use std::sync::OnceLock;

use super::conv::{Base, Number};
use super::pointer::Memory;
use super::{Flavor, HelperArg};
use crate::wire::abi::{Abi, Endian};
use crate::wire::format::sign_extend;
use crate::wire::tables::Kallsyms;

/// Position of a number's node.
pub(super) type Num = u32;
/// Position of a byte range's node.
pub(super) type Mem = u32;
/// Position of a text's node.
pub(super) type Txt = u32;

/// Width and sign of an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ty {
    pub(super) bytes: u8,
    pub(super) signed: bool,
}

impl Ty {
    /// Cuts a value to this type and extends it to 64 bits again.
    #[inline]
    pub(super) fn fit(self, value: u64) -> u64 {
        match self.bytes {
            1 if self.signed => value as i8 as u64,
            1 => u64::from(value as u8),
            2 if self.signed => value as i16 as u64,
            2 => u64::from(value as u16),
            4 if self.signed => value as i32 as u64,
            4 => u64::from(value as u32),
            _ => value,
        }
    }
}

/// How an integer lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) ty: Ty,
    pub(super) big: bool,
}

impl Word {
    pub(super) fn new(ty: Ty, abi: Abi) -> Word {
        Word { ty, big: abi.endian == Endian::Big }
    }

    /// Reads the integer at the start of `bytes`; 0 if they are too few.
    #[inline]
    pub(super) fn read(self, bytes: &[u8]) -> u64 {
        let value = match self.ty.bytes {
            4 => match bytes.first_chunk() {
                Some(word) => u64::from(if self.big { u32::from_be_bytes(*word) } else { u32::from_le_bytes(*word) }),
                None => 0,
            },
            8 => match bytes.first_chunk() {
                Some(word) => {
                    if self.big {
                        u64::from_be_bytes(*word)
                    } else {
                        u64::from_le_bytes(*word)
                    }
                }
                None => 0,
            },
            2 => match bytes.first_chunk() {
                Some(word) => u64::from(if self.big { u16::from_be_bytes(*word) } else { u16::from_le_bytes(*word) }),
                None => 0,
            },
            _ => bytes.first().map_or(0, |&byte| u64::from(byte)),
        };
        if self.ty.signed { sign_extend(value, u32::from(self.ty.bytes)) } else { value }
    }
}

/// Binary operators whose both sides are always evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op2 {
    Or,
    Xor,
    And,
    Eq,
    Ne,
    Lt,
    Gt,
    Le,
    Ge,
    Shl,
    Shr,
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

/// Applies `op` to operands of type `ty`, which were fitted to it.
#[inline]
pub(super) fn apply(op: Op2, a: u64, b: u64, ty: Ty, by_zero: &Cell<bool>) -> u64 {
    let (ia, ib) = (a as i64, b as i64);
    let shift_in = u64::from(ty.bytes) * 8;
    let value = match op {
        Op2::Or => a | b,
        Op2::Xor => a ^ b,
        Op2::And => a & b,
        Op2::Eq => return u64::from(a == b),
        Op2::Ne => return u64::from(a != b),
        Op2::Lt => return u64::from(if ty.signed { ia < ib } else { a < b }),
        Op2::Gt => return u64::from(if ty.signed { ia > ib } else { a > b }),
        Op2::Le => return u64::from(if ty.signed { ia <= ib } else { a <= b }),
        Op2::Ge => return u64::from(if ty.signed { ia >= ib } else { a >= b }),
        Op2::Shl if b < shift_in => a << b,
        Op2::Shr if b < shift_in && ty.signed => (ia >> b) as u64,
        Op2::Shr if b < shift_in => a >> b,
        Op2::Shl | Op2::Shr => 0,
        Op2::Add => a.wrapping_add(b),
        Op2::Sub => a.wrapping_sub(b),
        Op2::Mul => a.wrapping_mul(b),
        Op2::Div | Op2::Rem if b == 0 => {
            by_zero.set(true);
            0
        }
        Op2::Div if ty.signed => ia.wrapping_div(ib) as u64,
        Op2::Div => a / b,
        Op2::Rem if ty.signed => ia.wrapping_rem(ib) as u64,
        Op2::Rem => a % b,
    };
    ty.fit(value)
}

/// A number.
#[derive(Clone, Debug)]
pub(super) enum NumNode {
    Const(u64),
    /// The integer at an offset of the record.
    Load(u16, Word),
    /// The integer at the start of a byte range.
    Read(Mem, Word),
    Fit(Num, Ty),
    Neg(Num, Ty),
    Not(Num, Ty),
    IsZero(Num),
    Op(Op2, Num, Num, Ty),
    AndThen(Num, Num),
    OrElse(Num, Num),
    Choose(Num, Num, Num),
    /// Length of a dynamic array: the upper half of its location word.
    Length(u16),
    /// The address of a kernel symbol.
    Symbol(u32),
    /// Bytes reversed.
    Swap(Num, u8),
    Call(fn(Abi, &[HelperArg<'_>]) -> u64, [Arg; MAX_ARGS], u8),
}

/// Most arguments of a helper.
pub(super) const MAX_ARGS: usize = 6;

/// An argument of a helper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Arg {
    None,
    Num(Num),
    Mem(Mem),
}

/// A range of bytes.
#[derive(Clone, Debug)]
pub(super) enum MemNode {
    /// Offset and length.
    Fixed(u16, u16),
    /// From an offset to the record's end.
    Rest(u16),
    /// Behind the location word at an offset; true if relative to it.
    Located(u16, bool),
    /// Behind one of the location words that start at an offset.
    LocatedAt(u16, bool, Num),
    /// Behind a 16-bit offset: to the record's end.
    Short(u16),
    /// Part of another range: from element `Num` of so many bytes on.
    From(Mem, Num, u16),
    Choose(Num, Mem, Mem),
    /// Part of the literal pool.
    Literal(u32, u32),
}

/// A text.
#[derive(Clone, Debug)]
pub(super) enum TxtNode {
    /// Part of the literal pool.
    Literal(u32, u32),
    /// Bytes up to the first NUL.
    Bytes(Mem),
    Choose(Num, Txt, Txt),
    Flags {
        value: Num,
        delim: (u32, u32),
        table: u32,
    },
    Symbolic {
        value: Num,
        table: u32,
    },
    /// Bytes in hex; the number of them, and whether blanks stand between them.
    Hex(Mem, Num, bool),
    Array {
        mem: Mem,
        count: Num,
        elem: Num,
    },
    Mask(Mem),
    Cpus(Mem),
    /// A string at an address, if the tables know it.
    Address(Num),
    /// Addresses, one symbol a line.
    Stack(Mem),
    /// A dump: prefix, kind of prefix, bytes per row, bytes per group, bytes, their number, whether text follows.
    Dump {
        prefix: (u32, u32),
        kind: Num,
        row: Num,
        group: Num,
        mem: Mem,
        count: Num,
        ascii: Num,
    },
    Call(fn(Abi, &[HelperArg<'_>], &mut Vec<u8>), [Arg; MAX_ARGS], u8),
    /// `name(1,2)`: a call of a function nobody knows.
    Unknown {
        name: (u32, u32),
        args: Vec<Num>,
    },
}

/// A width or precision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Count {
    None,
    Is(u16),
    Num(Num),
}

/// How a text is fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fit {
    pub(super) width: Count,
    pub(super) precision: Count,
    pub(super) minus: bool,
}

impl Fit {
    pub(super) const NONE: Fit = Fit { width: Count::None, precision: Count::None, minus: false };
}

/// One operation: append something.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Emit {
    Literal(u32, u32),
    /// A field, without width or flags.
    Field(u16, Word, Base, u8),
    /// A number, without width or flags.
    Plain(Num, Base, u8),
    Number(Num, Number, Count, Count),
    /// A char array at an offset, without width.
    Chars(u16, u16),
    Text(Txt),
    FitText(Txt, Fit),
    Char(Num),
    /// Symbol of an address; whether with its offset.
    Symbol(Num, bool),
    Pointer(Num),
    Memory(Mem, Memory, Count),
}

/// A compiled print fmt.
#[derive(Debug)]
pub struct Program {
    pub(super) abi: Abi,
    pub(super) flavor: Flavor,
    pub(super) emits: Vec<Emit>,
    pub(super) nums: Vec<NumNode>,
    pub(super) mems: Vec<MemNode>,
    pub(super) txts: Vec<TxtNode>,
    pub(super) tables: Vec<Table>,
    pub(super) literals: Vec<u8>,
    pub(super) symbols: Vec<SymbolAddress>,
    pub(super) divides: bool,
}

/// A kernel symbol by name; its address is looked up when first needed.
#[derive(Debug)]
pub(super) struct SymbolAddress {
    name: String,
    address: OnceLock<u64>,
}

impl SymbolAddress {
    pub(super) fn new(name: String) -> Self {
        SymbolAddress { name, address: OnceLock::new() }
    }

    pub(super) fn get(&self, kallsyms: &Kallsyms) -> u64 {
        *self.address.get_or_init(|| kallsyms.address_of(self.name.as_bytes()).unwrap_or(0))
    }
}

/// The table of a `__print_flags` or `__print_symbolic`.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Value and text, in order.
    pub(super) entries: Vec<(u64, u32, u32)>,
    /// Position in `entries` plus one of each small value, for symbols.
    pub(super) small: Vec<u16>,
    /// The bits of a value that count.
    pub(super) mask: u64,
    /// The bits of what is left over that are shown: as many as the value has itself.
    pub(super) shown: u64,
}

impl Table {
    /// Prepares the look-up of symbols.
    pub(super) fn index_small(&mut self) {
        const SMALL: usize = 1024;
        for (position, entry) in self.entries.iter().enumerate() {
            let (Ok(value), Ok(position)) = (usize::try_from(entry.0), u16::try_from(position + 1)) else { continue };
            if value < SMALL {
                if self.small.len() <= value {
                    self.small.resize(value + 1, 0);
                }
                if self.small[value] == 0 {
                    self.small[value] = position;
                }
            }
        }
    }

    #[inline]
    pub(super) fn symbol(&self, value: u64) -> Option<(u32, u32)> {
        let entry = match self.small.get(usize::try_from(value).unwrap_or(usize::MAX)) {
            Some(0) => None,
            Some(&position) => self.entries.get(usize::from(position) - 1),
            None => self.entries.iter().find(|entry| entry.0 == value),
        };
        entry.map(|entry| (entry.1, entry.2))
    }
}
