//! Running a compiled print fmt over a record.
//!
//! A node refers only to nodes built before it, so evaluation ends. A field that lies beyond the record's end reads as 0
//! or as no bytes.

use std::cell::Cell;

use super::conv::{self, fit};
use super::pointer;
use super::program::{
    Arg, Count, Emit, Fit, MAX_ARGS, Mem, MemNode, Num, NumNode, Program, Txt, TxtNode, Ty, Word, apply,
};
use super::{Flavor, HelperArg, Tables};
use crate::wire::abi::Abi;
use crate::wire::bytes::{clamp, until_nul};
use crate::wire::text;

/// Elements of one printed array and bytes of one hex dump; more than any record holds.
const MAX_ELEMENTS: usize = 1 << 16;

/// Where a program shows a field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spelling {
    at: usize,
    prefixed: bool,
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
