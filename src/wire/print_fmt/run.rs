//! Running a compiled print fmt over a record.
//!
//! The program is a list of operations that append text; numbers, byte ranges and texts they need are nodes in three
//! flat arrays, addressed by index and checked when they were built. A node refers only to nodes built before it, so
//! evaluation ends. A field that lies beyond the record's end reads as 0 or as no bytes.

use std::cell::Cell;
use std::sync::OnceLock;

use crate::wire::abi::{Abi, Endian};
use crate::wire::bytes::{clamp, until_nul};
use crate::wire::format::sign_extend;
use crate::wire::tables::Kallsyms;
use crate::wire::text;

use super::conv::{self, Base, Number, fit};
use super::pointer::{self, Memory};
use super::{Flavor, HelperArg, Tables};

/// Position of a number's node.
pub(super) type Num = u32;
/// Position of a byte range's node.
pub(super) type Mem = u32;
/// Position of a text's node.
pub(super) type Txt = u32;

/// Elements of one printed array and bytes of one hex dump; more than any record holds.
const MAX_ELEMENTS: usize = 1 << 16;

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
    fn read(self, bytes: &[u8]) -> u64 {
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
    /// A string behind an address, if the tables know it.
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

/// Where a program shows a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spelling {
    at: usize,
    prefixed: bool,
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

    fn get(&self, kallsyms: &Kallsyms) -> u64 {
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
    fn symbol(&self, value: u64) -> Option<(u32, u32)> {
        let entry = match self.small.get(usize::try_from(value).unwrap_or(usize::MAX)) {
            Some(0) => None,
            Some(&position) => self.entries.get(usize::from(position) - 1),
            None => self.entries.iter().find(|entry| entry.0 == value),
        };
        entry.map(|entry| (entry.1, entry.2))
    }
}

impl Program {
    /// Appends the text of one record.
    pub fn run(&self, data: &[u8], tables: &Tables<'_>, out: &mut Vec<u8>) {
        let run = Run { program: self, data, tables, by_zero: Cell::new(false), cut: Cell::new(false) };
        for emit in &self.emits {
            run.emit(emit, out);
            if run.cut.get() {
                break;
            }
        }
    }
}

impl Program {
    /// The traced machine.
    pub fn abi(&self) -> Abi {
        self.abi
    }

    /// The rules it was compiled by.
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// How the print fmt spells the integer field at `offset`, if it shows that field alone.
    pub(super) fn spelling(&self, offset: u16) -> Option<Spelling> {
        let at = self.emits.iter().position(|emit| self.shows(emit, offset))?;
        // The `0x` that the print fmt puts before a number belongs to it.
        let before = at.checked_sub(1).and_then(|before| self.emits.get(before));
        let prefixed = match before {
            Some(&Emit::Literal(at, len)) => {
                self.literals.get(at as usize..(at + len) as usize).is_some_and(|text| text.ends_with(b"0x"))
            }
            _ => false,
        };
        Some(Spelling { at, prefixed })
    }

    /// Appends a field as [`Program::spelling`] found it.
    pub(super) fn run_spelling(&self, spelling: Spelling, data: &[u8], tables: &Tables<'_>, out: &mut Vec<u8>) {
        let Some(emit) = self.emits.get(spelling.at) else { return };
        let run = Run { program: self, data, tables, by_zero: Cell::new(false), cut: Cell::new(false) };
        if spelling.prefixed {
            out.extend_from_slice(b"0x");
        }
        let symbol = if let Emit::Symbol(num, _) = emit { Some(num) } else { None };
        // libtraceevent leaves the name out where there is none.
        let nameless = |num: &Num| tables.kallsyms.lookup(run.num(*num)).is_none();
        if self.flavor != Flavor::Lte2026 || !symbol.is_some_and(nameless) {
            run.emit(emit, out);
        }
        if let (Some(num), true) = (symbol, self.flavor != Flavor::Lte2022) {
            out.extend_from_slice(b" (");
            text::hex0x(out, run.num(*num));
            out.push(b')');
        }
    }

    fn shows(&self, emit: &Emit, offset: u16) -> bool {
        match *emit {
            Emit::Field(at, ..) => at == offset,
            Emit::Plain(num, ..) | Emit::Number(num, ..) | Emit::Symbol(num, _) | Emit::Pointer(num) => {
                let mut num = num;
                loop {
                    match self.nums.get(num as usize) {
                        Some(&NumNode::Load(at, _)) => return at == offset,
                        // A node refers to earlier ones only.
                        Some(&NumNode::Fit(inner, _)) if inner < num => num = inner,
                        _ => return false,
                    }
                }
            }
            _ => false,
        }
    }
}

struct Run<'p, 'r> {
    program: &'p Program,
    data: &'r [u8],
    tables: &'r Tables<'r>,
    by_zero: Cell<bool>,
    cut: Cell<bool>,
}

impl<'p, 'r> Run<'p, 'r>
where
    'p: 'r,
{
    #[inline]
    fn emit(&self, emit: &Emit, out: &mut Vec<u8>) {
        match *emit {
            Emit::Literal(at, len) => text::part(out, &self.program.literals, at as usize, len as usize),
            Emit::Field(at, cell, base, bits) => {
                let value = cell.read(self.data.get(usize::from(at)..).unwrap_or(&[]));
                conv::plain(out, value, base, bits);
            }
            Emit::Chars(at, len) => text::until_nul(out, clamp(self.data, at.into(), len.into())),
            Emit::Plain(num, base, bits) => {
                let value = self.num(num);
                if !self.divided_by_zero(out) {
                    conv::plain(out, value, base, bits);
                }
            }
            Emit::Text(txt) => self.txt(txt, Fit::NONE, out),
            Emit::Symbol(num, offset) => self.symbol(self.num(num), offset, out),
            _ => self.emit_rare(emit, out),
        }
    }

    fn emit_rare(&self, emit: &Emit, out: &mut Vec<u8>) {
        match *emit {
            Emit::Number(num, number, width, precision) => {
                let mut number = number;
                if let Some(width) = self.count(width) {
                    number.minus |= width < 0;
                    number.width = width.unsigned_abs() as usize;
                }
                number.precision = self.count(precision).and_then(|precision| usize::try_from(precision).ok());
                let value = self.num(num);
                if !self.divided_by_zero(out) {
                    number.put(out, value);
                }
            }
            Emit::FitText(txt, fit) => self.txt(txt, fit, out),
            // libtraceevent's text is a C string: a NUL in it is its end.
            Emit::Char(num) => match self.num(num) as u8 {
                0 => self.cut.set(self.program.flavor.is_lte()),
                byte => out.push(byte),
            },
            Emit::Pointer(num) => match self.num(num) {
                0 => out.extend_from_slice(b"(nil)"),
                value => text::hex0x(out, value),
            },
            Emit::Memory(mem, memory, count) => {
                let bytes = self.mem(mem);
                let count = self.count(count).map_or(1, |count| usize::try_from(count).unwrap_or(0));
                memory.put(bytes, count, self.program.abi, self.program.flavor, out);
            }
            _ => {}
        }
    }

    #[inline]
    fn divided_by_zero(&self, out: &mut Vec<u8>) -> bool {
        let yes = self.program.divides && self.by_zero.replace(false);
        if yes {
            out.extend_from_slice(b"(div by 0)");
        }
        yes
    }

    fn symbol(&self, address: u64, offset: bool, out: &mut Vec<u8>) {
        if !self.tables.kallsyms.put(address, offset, out) {
            text::hex0x(out, address);
        }
    }

    #[inline]
    fn literal(&self, at: u32, len: u32) -> &'p [u8] {
        self.program.literals.get(at as usize..(at + len) as usize).unwrap_or(&[])
    }

    fn count(&self, count: Count) -> Option<i32> {
        match count {
            Count::None => None,
            Count::Is(count) => Some(i32::from(count)),
            Count::Num(num) => Some(self.num(num) as i32),
        }
    }

    fn num(&self, num: Num) -> u64 {
        let Some(node) = self.program.nums.get(num as usize) else { return 0 };
        match *node {
            NumNode::Const(value) => value,
            NumNode::Load(at, cell) => cell.read(self.data.get(usize::from(at)..).unwrap_or(&[])),
            NumNode::Read(mem, cell) => cell.read(self.mem(mem)),
            NumNode::Fit(num, ty) => ty.fit(self.num(num)),
            NumNode::Neg(num, ty) => ty.fit(self.num(num).wrapping_neg()),
            NumNode::Not(num, ty) => ty.fit(!self.num(num)),
            NumNode::IsZero(num) => u64::from(self.num(num) == 0),
            NumNode::Op(op, a, b, ty) => apply(op, self.num(a), self.num(b), ty, &self.by_zero),
            NumNode::AndThen(a, b) => u64::from(self.num(a) != 0 && self.num(b) != 0),
            NumNode::OrElse(a, b) => u64::from(self.num(a) != 0 || self.num(b) != 0),
            NumNode::Choose(cond, yes, no) => self.num(if self.num(cond) != 0 { yes } else { no }),
            NumNode::Length(at) => self
                .program
                .abi
                .u32(self.data.get(usize::from(at)..).unwrap_or(&[]))
                .map_or(0, |word| (word >> 16).into()),
            NumNode::Symbol(at) => {
                self.program.symbols.get(at as usize).map_or(0, |symbol| symbol.get(self.tables.kallsyms))
            }
            NumNode::Swap(num, bytes) => self.num(num).swap_bytes() >> (64 - u32::from(bytes.clamp(1, 8)) * 8),
            NumNode::Call(function, ref args, count) => {
                let args = self.args(args);
                function(self.program.abi, args.get(..usize::from(count)).unwrap_or(&[]))
            }
        }
    }

    fn args(&self, args: &[Arg; MAX_ARGS]) -> [HelperArg<'r>; MAX_ARGS] {
        args.map(|arg| match arg {
            Arg::None => HelperArg::Number(0),
            Arg::Num(num) => HelperArg::Number(self.num(num)),
            Arg::Mem(mem) => HelperArg::Bytes(self.mem(mem)),
        })
    }

    fn mem(&self, mem: Mem) -> &'r [u8] {
        let Some(node) = self.program.mems.get(mem as usize) else { return &[] };
        match *node {
            MemNode::Fixed(at, len) => clamp(self.data, at.into(), len.into()),
            MemNode::Rest(at) => self.data.get(usize::from(at)..).unwrap_or(&[]),
            MemNode::Located(at, relative) => self.located(at.into(), relative),
            MemNode::LocatedAt(at, relative, index) => {
                let index = usize::try_from(self.num(index)).unwrap_or(usize::MAX);
                self.located(usize::from(at).saturating_add(index.saturating_mul(4)), relative)
            }
            MemNode::Short(at) => {
                let start = self.data.get(usize::from(at)..).and_then(|rest| self.program.abi.u16(rest));
                start.and_then(|start| self.data.get(usize::from(start)..)).unwrap_or(&[])
            }
            MemNode::From(mem, index, size) => {
                let start = self.num(index).saturating_mul(u64::from(size));
                usize::try_from(start).ok().and_then(|start| self.mem(mem).get(start..)).unwrap_or(&[])
            }
            MemNode::Choose(cond, yes, no) => self.mem(if self.num(cond) != 0 { yes } else { no }),
            MemNode::Literal(at, len) => self.literal(at, len),
        }
    }

    #[inline]
    fn located(&self, at: usize, relative: bool) -> &'r [u8] {
        let Some(word) = self.data.get(at..).and_then(|rest| self.program.abi.u32(rest)) else { return &[] };
        let base = if relative { at + 4 } else { 0 };
        clamp(self.data, base + (word & 0xffff) as usize, (word >> 16) as usize)
    }

    fn txt(&self, txt: Txt, want: Fit, out: &mut Vec<u8>) {
        let Some(node) = self.program.txts.get(txt as usize) else { return };
        let start = out.len();
        match *node {
            TxtNode::Choose(cond, yes, no) => {
                return self.txt(if self.num(cond) != 0 { yes } else { no }, want, out);
            }
            TxtNode::Literal(at, len) => text::part(out, &self.program.literals, at as usize, len as usize),
            TxtNode::Bytes(mem) => out.extend_from_slice(until_nul(self.mem(mem))),
            TxtNode::Flags { value, delim, table } => {
                if self.flags(value, delim, table, want, out) {
                    return;
                }
            }
            TxtNode::Symbolic { value, table } => {
                // As trace-cmd has it: a number in place of a name is not widened.
                if self.symbolic(value, table, out) {
                    return;
                }
            }
            TxtNode::Hex(mem, count, blanks) => {
                let bytes = self.mem(mem);
                let count = usize::try_from(self.num(count)).unwrap_or(0);
                for (index, byte) in bytes.get(..count).unwrap_or(bytes).iter().enumerate() {
                    if blanks && index > 0 {
                        out.push(b' ');
                    }
                    text::hex_byte(out, *byte);
                }
            }
            TxtNode::Array { mem, count, elem } => self.array(self.mem(mem), self.num(count), self.num(elem), out),
            TxtNode::Mask(mem) => {
                let bytes = self.mem(mem);
                pointer::mask(out, bytes, bytes.len() * 8, self.program.abi);
            }
            TxtNode::Cpus(mem) => {
                let bytes = self.mem(mem);
                pointer::ranges(out, bytes, bytes.len() * 8, self.program.abi);
            }
            TxtNode::Address(num) => {
                let address = self.num(num);
                match self.tables.printk.get(address) {
                    Some(text) => out.extend_from_slice(text),
                    None => text::hex(out, address),
                }
                if self.program.flavor.is_lte() {
                    return self.fit(out, start, Fit { width: Count::None, ..want });
                }
            }
            TxtNode::Stack(mem) => self.stack(self.mem(mem), out),
            TxtNode::Dump { .. } => self.dump(node, out),
            TxtNode::Call(function, ref args, count) => {
                let args = self.args(args);
                function(self.program.abi, args.get(..usize::from(count)).unwrap_or(&[]), out);
            }
            TxtNode::Unknown { name, ref args } => {
                out.extend_from_slice(self.literal(name.0, name.1));
                out.push(b'(');
                for (index, &arg) in args.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    text::signed(out, self.num(arg) as i64);
                }
                out.push(b')');
            }
        }
        self.fit(out, start, want);
    }

    #[inline]
    fn fit(&self, out: &mut Vec<u8>, start: usize, want: Fit) {
        if want == Fit::NONE {
            return;
        }
        let width = self.count(want.width).unwrap_or(0);
        let precision = self.count(want.precision).and_then(|precision| usize::try_from(precision).ok());
        fit(out, start, width.unsigned_abs() as usize, precision, want.minus || width < 0);
    }

    /// Appends the names of the bits set; true if the pieces are fitted already.
    fn flags(&self, value: Num, delim: (u32, u32), table: u32, want: Fit, out: &mut Vec<u8>) -> bool {
        let Some(table) = self.program.tables.get(table as usize) else { return false };
        let lte = self.program.flavor.is_lte();
        let mut left = self.num(value) & table.mask;
        let delim = self.literal(delim.0, delim.1);
        let mut first = true;
        for &(mask, at, len) in &table.entries {
            if lte {
                if left == 0 && (mask as i64) < 0 {
                    out.extend_from_slice(self.literal(at, len));
                    return true;
                }
                if mask as i64 <= 0 {
                    continue;
                }
            }
            if left == 0 && !lte {
                break;
            }
            if mask == 0 || left & mask != mask {
                continue;
            }
            left &= !mask;
            if !first {
                out.extend_from_slice(delim);
            }
            first = false;
            let start = out.len();
            text::part(out, &self.program.literals, at as usize, len as usize);
            if lte {
                self.fit(out, start, want);
            }
        }
        if left & table.shown != 0 {
            if !first {
                out.extend_from_slice(delim);
            }
            text::hex0x(out, left & table.shown);
        }
        lte
    }

    /// Appends the name of a value; true if it has none and its number was printed.
    fn symbolic(&self, value: Num, table: u32, out: &mut Vec<u8>) -> bool {
        let Some(table) = self.program.tables.get(table as usize) else { return true };
        let value = self.num(value) & table.mask;
        match table.symbol(value) {
            Some((at, len)) => {
                text::part(out, &self.program.literals, at as usize, len as usize);
                false
            }
            None => {
                text::hex0x(out, value & table.shown);
                true
            }
        }
    }

    fn array(&self, bytes: &[u8], count: u64, elem: u64, out: &mut Vec<u8>) {
        let old = self.program.flavor == Flavor::Lte2022;
        let count = usize::try_from(count).unwrap_or(MAX_ELEMENTS).min(MAX_ELEMENTS);
        let size = match elem {
            1 | 2 | 4 | 8 => elem as usize,
            _ => 1,
        };
        if !old {
            out.push(b'{');
        }
        let cell = Word::new(Ty { bytes: size as u8, signed: false }, self.program.abi);
        for (index, element) in bytes.chunks_exact(size).take(count).enumerate() {
            if index > 0 {
                out.push(if old { b' ' } else { b',' });
            }
            if old {
                text::dec(out, cell.read(element));
            } else {
                text::hex0x(out, cell.read(element));
            }
        }
        if !old {
            out.push(b'}');
        }
    }

    fn stack(&self, bytes: &[u8], out: &mut Vec<u8>) {
        let long = self.program.abi.long_bytes;
        for address in bytes.chunks_exact(usize::from(long.max(1))) {
            let address = self.program.abi.ulong(address).unwrap_or(0);
            if address == 0 || address == (Ty { bytes: long, signed: false }).fit(u64::MAX) {
                break;
            }
            out.extend_from_slice(b"=> ");
            self.symbol(address, true, out);
            out.push(b'\n');
        }
    }

    fn dump(&self, node: &TxtNode, out: &mut Vec<u8>) {
        let TxtNode::Dump { prefix, kind, row, group, mem, count, ascii } = *node else { return };
        let bytes = self.mem(mem);
        let count = usize::try_from(self.num(count)).unwrap_or(usize::MAX);
        let bytes = bytes.get(..count).unwrap_or(bytes);
        let row = if self.num(row) == 32 { 32 } else { 16 };
        let group = match self.num(group) {
            size @ (2 | 4 | 8) if bytes.len() % size as usize == 0 => size as usize,
            _ => 1,
        };
        let (kind, ascii) = (self.num(kind), self.num(ascii) != 0);
        let cell = Word::new(Ty { bytes: group as u8, signed: false }, self.program.abi);
        for (index, line) in bytes.chunks(row).enumerate() {
            if index > 0 {
                out.push(b'\n');
            }
            out.extend_from_slice(self.literal(prefix.0, prefix.1));
            if kind != 0 {
                text::hex_zeros(out, (index * row) as u64, 8);
                out.extend_from_slice(b": ");
            }
            let start = out.len();
            for (index, word) in line.chunks(group).enumerate() {
                if index > 0 {
                    out.push(b' ');
                }
                text::hex_zeros(out, cell.read(word), group * 2);
            }
            if ascii {
                let columns = row * 2 + row / group + 1;
                let used = out.len() - start;
                text::blanks(out, columns.saturating_sub(used));
                out.extend(line.iter().map(|&b| if b.is_ascii_graphic() || b == b' ' { b } else { b'.' }));
            }
        }
    }
}
