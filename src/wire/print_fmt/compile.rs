//! A tree to a program: fields become offsets, constants are folded, types are checked.
//!
//! By C's rules each number has a width and a sign and is kept fitted to it. By libtraceevent's rules every number is
//! an unsigned one of 64 bits and fields are zero-extended; what its parser refuses is refused here too.

use std::cell::Cell;

use crate::wire::abi::Abi;
use crate::wire::format::{EventFormat, Field, FieldKind, Place, element_bytes};

use super::conv::{Base, Number};
use super::parse::{Expr, TypeName, parse};
use super::pointer::{Ip6, Memory, SocketStyle};
use super::run::{
    Arg, Count, Emit, Fit, MAX_ARGS, Mem, MemNode, Num, NumNode, Op2, Program, SymbolAddress, Table, Txt, TxtNode, Ty,
    Word, apply,
};
use super::{Flavor, Helper, Refusal, Setting};

/// Evaluations of nodes that printing one record may take. Locals are shared in the tree but evaluated at each use, so
/// a hostile print fmt could double its work with each of them.
const MAX_COST: u64 = 20_000;

const INT: Ty = Ty { bytes: 4, signed: true };
const UINT: Ty = Ty { bytes: 4, signed: false };
const LONG_LONG: Ty = Ty { bytes: 8, signed: true };
const U64: Ty = Ty { bytes: 8, signed: false };

/// Names that libtraceevent and rtrec know although no kernel exports them.
const CONSTANTS: &[(&str, u64)] = &[
    ("NULL", 0),
    ("false", 0),
    ("true", 1),
    ("HI_SOFTIRQ", 0),
    ("TIMER_SOFTIRQ", 1),
    ("NET_TX_SOFTIRQ", 2),
    ("NET_RX_SOFTIRQ", 3),
    ("BLOCK_SOFTIRQ", 4),
    ("IRQ_POLL_SOFTIRQ", 5),
    ("TASKLET_SOFTIRQ", 6),
    ("SCHED_SOFTIRQ", 7),
    ("HRTIMER_SOFTIRQ", 8),
    ("RCU_SOFTIRQ", 9),
    ("HRTIMER_NORESTART", 0),
    ("HRTIMER_RESTART", 1),
];

/// What an expression gives.
#[derive(Clone, Debug)]
enum Val {
    Num(Num, Ty),
    /// Bytes, and what an element of them is.
    Mem(Mem, Elem),
    Txt(Txt),
    /// A name that nobody resolves.
    Name(String),
}

#[derive(Clone, Copy, Debug)]
struct Elem {
    ty: Ty,
    /// Bytes of the whole, 0 if unknown.
    total: u16,
}

type Result<T> = std::result::Result<T, Refusal>;

fn refuse<T>(reason: &str) -> Result<T> {
    Err(Refusal::new(reason))
}

/// Compiles the print fmt of `format`.
pub fn compile(format: &EventFormat, setting: &Setting<'_>) -> Result<Program> {
    let parsed = parse(&format.print_fmt, setting.flavor)?;
    let mut compiler = Compiler::new(format, setting);
    compiler.format_string(&parsed.format, &parsed.args)?;
    // Room behind the last literal for copies of a fixed size.
    compiler.program.literals.extend_from_slice(&[0; 32]);
    Ok(compiler.program)
}

/// True if a single word can only be a type.
pub(super) fn is_known_type(type_name: &TypeName) -> bool {
    let text = type_name.words.join(" ");
    element_bytes(&text, Abi::HOST).is_some()
}

struct Compiler<'a> {
    format: &'a EventFormat,
    setting: &'a Setting<'a>,
    abi: Abi,
    lte: bool,
    locals: Vec<(String, Val)>,
    program: Program,
    num_costs: Vec<u64>,
    mem_costs: Vec<u64>,
    txt_costs: Vec<u64>,
    total: u64,
    /// Calls around the expression at hand.
    calls: u32,
    /// Names met so far whose value nobody knows.
    unknown_names: u32,
    /// Inside a table, whose values have to be constants.
    in_table: bool,
}

impl<'a> Compiler<'a> {
    fn new(format: &'a EventFormat, setting: &'a Setting<'a>) -> Self {
        let program = Program {
            abi: setting.abi,
            flavor: setting.flavor,
            emits: Vec::new(),
            nums: Vec::new(),
            mems: Vec::new(),
            txts: Vec::new(),
            tables: Vec::new(),
            literals: Vec::new(),
            symbols: Vec::new(),
            divides: false,
        };
        Compiler {
            format,
            setting,
            abi: setting.abi,
            lte: setting.flavor.is_lte(),
            locals: Vec::new(),
            program,
            num_costs: Vec::new(),
            mem_costs: Vec::new(),
            txt_costs: Vec::new(),
            total: 0,
            calls: 0,
            unknown_names: 0,
            in_table: false,
        }
    }

    fn long(&self, signed: bool) -> Ty {
        Ty { bytes: self.abi.long_bytes, signed }
    }

    // -------------------------------------------------------------------------------------------------- nodes

    fn cost(costs: &[u64], at: u32) -> u64 {
        costs.get(at as usize).copied().unwrap_or(MAX_COST)
    }

    fn push_num(&mut self, node: NumNode) -> Result<Num> {
        let (n, m) = (&self.num_costs, &self.mem_costs);
        let (num, mem) = (|at| Self::cost(n, at), |at| Self::cost(m, at));
        let cost = 1 + match &node {
            NumNode::Const(_) | NumNode::Load(..) | NumNode::Length(_) | NumNode::Symbol(_) => 0,
            NumNode::Read(at, _) => mem(*at),
            NumNode::Fit(at, _) | NumNode::Neg(at, _) | NumNode::Not(at, _) => num(*at),
            NumNode::IsZero(at) | NumNode::Swap(at, _) => num(*at),
            NumNode::Op(_, a, b, _) | NumNode::AndThen(a, b) | NumNode::OrElse(a, b) => num(*a) + num(*b),
            NumNode::Choose(a, b, c) => num(*a) + num(*b) + num(*c),
            NumNode::Call(_, args, _) => self.args_cost(args),
        };
        if cost > MAX_COST {
            return refuse("too much work");
        }
        self.num_costs.push(cost);
        self.program.nums.push(node);
        Ok(self.program.nums.len() as Num - 1)
    }

    fn push_mem(&mut self, node: MemNode) -> Result<Mem> {
        let (n, m) = (&self.num_costs, &self.mem_costs);
        let (num, mem) = (|at| Self::cost(n, at), |at| Self::cost(m, at));
        let cost = 1 + match &node {
            MemNode::LocatedAt(_, _, at) => num(*at),
            MemNode::From(base, at, _) => mem(*base) + num(*at),
            MemNode::Choose(a, b, c) => num(*a) + mem(*b) + mem(*c),
            _ => 0,
        };
        if cost > MAX_COST {
            return refuse("too much work");
        }
        self.mem_costs.push(cost);
        self.program.mems.push(node);
        Ok(self.program.mems.len() as Mem - 1)
    }

    fn push_txt(&mut self, node: TxtNode) -> Result<Txt> {
        let (n, m, t) = (&self.num_costs, &self.mem_costs, &self.txt_costs);
        let (num, mem, txt) = (|at| Self::cost(n, at), |at| Self::cost(m, at), |at| Self::cost(t, at));
        let cost = 1 + match &node {
            TxtNode::Literal(..) => 0,
            TxtNode::Bytes(at) | TxtNode::Mask(at) | TxtNode::Cpus(at) | TxtNode::Stack(at) => mem(*at),
            TxtNode::Choose(a, b, c) => num(*a) + txt(*b) + txt(*c),
            TxtNode::Flags { value, .. } | TxtNode::Symbolic { value, .. } | TxtNode::Address(value) => num(*value),
            TxtNode::Hex(bytes, count, _) => mem(*bytes) + num(*count),
            TxtNode::Array { mem: bytes, count, elem } => mem(*bytes) + num(*count) + num(*elem),
            TxtNode::Dump { kind, row, group, mem: bytes, count, ascii, .. } => {
                num(*kind) + num(*row) + num(*group) + mem(*bytes) + num(*count) + num(*ascii)
            }
            TxtNode::Call(_, args, _) => self.args_cost(args),
            TxtNode::Unknown { args, .. } => args.iter().map(|at| num(*at)).sum(),
        };
        if cost > MAX_COST {
            return refuse("too much work");
        }
        self.txt_costs.push(cost);
        self.program.txts.push(node);
        Ok(self.program.txts.len() as Txt - 1)
    }

    fn args_cost(&self, args: &[Arg; MAX_ARGS]) -> u64 {
        let cost = |arg: &Arg| match arg {
            Arg::None => 0,
            Arg::Num(at) => Self::cost(&self.num_costs, *at),
            Arg::Mem(at) => Self::cost(&self.mem_costs, *at),
        };
        args.iter().map(cost).sum()
    }

    fn literal(&mut self, text: &[u8]) -> (u32, u32) {
        let at = self.program.literals.len() as u32;
        self.program.literals.extend_from_slice(text);
        (at, text.len() as u32)
    }

    fn literal_text(&mut self, text: &[u8]) -> Result<Txt> {
        let (at, len) = self.literal(text);
        self.push_txt(TxtNode::Literal(at, len))
    }

    fn constant(&mut self, value: u64) -> Result<Num> {
        self.push_num(NumNode::Const(value))
    }

    fn known(&self, num: Num) -> Option<u64> {
        match self.program.nums.get(num as usize) {
            Some(NumNode::Const(value)) => Some(*value),
            _ => None,
        }
    }

    // ------------------------------------------------------------------------------------------------- fields

    fn field(&self, name: &str) -> Option<&'a Field> {
        self.format.field(name)
    }

    fn word(&self, ty: Ty) -> Word {
        Word::new(ty, self.abi)
    }

    /// The type in which a field of this size and sign enters an expression.
    fn load(&mut self, offset: u16, size: u16, signed: bool) -> Result<Val> {
        let ty = Ty { bytes: size as u8, signed: signed && !self.lte };
        let num = self.push_num(NumNode::Load(offset, self.word(ty)))?;
        Ok(Val::Num(num, if self.lte { U64 } else { ty }))
    }

    /// `REC->name`
    fn field_value(&mut self, name: &str) -> Result<Val> {
        let Some(field) = self.field(name) else { return Ok(Val::Name(name.to_owned())) };
        match (field.kind, field.place) {
            (FieldKind::Int | FieldKind::Pointer, _) => self.load(field.offset, field.size, field.signed),
            (_, Place::DataLoc | Place::RelLoc) => self.load(field.offset, field.size.min(4), false),
            _ => self.field_bytes(field),
        }
    }

    /// The bytes of a field, through its location word.
    fn field_bytes(&mut self, field: &Field) -> Result<Val> {
        let (at, size) = (field.offset, field.size);
        let node = match field.place {
            Place::Fixed => MemNode::Fixed(at, size),
            Place::Flexible => MemNode::Rest(at),
            Place::DataLoc if size == 2 => MemNode::Short(at),
            Place::DataLoc => MemNode::Located(at, false),
            Place::RelLoc => MemNode::Located(at, true),
        };
        let bytes = if matches!(field.elem_bytes, 1 | 2 | 4 | 8) { field.elem_bytes as u8 } else { 1 };
        let ty = Ty { bytes, signed: field.signed && !self.lte && field.kind == FieldKind::Array };
        let total = if field.place == Place::Fixed { size } else { 0 };
        Ok(Val::Mem(self.push_mem(node)?, Elem { ty, total }))
    }

    /// The dynamic field that an argument of a helper names: `name`, or `name[index]`.
    fn dynamic(&mut self, arg: Option<&Expr>) -> Result<(&'a Field, Val)> {
        let (name, index) = match arg {
            Some(Expr::Name(name) | Expr::Field(name)) => (name, None),
            Some(Expr::Index(base, index)) => match &**base {
                Expr::Name(name) => (name, Some(&**index)),
                _ => return refuse("an array field is expected"),
            },
            _ => return refuse("a field is expected"),
        };
        let Some(field) = self.field(name) else { return refuse("a dynamic array that is no field") };
        let Some(index) = index else { return Ok((field, self.field_bytes(field)?)) };
        if self.lte {
            return refuse("an array of dynamic arrays");
        }
        let index = self.number(index)?.0;
        let mem = self.push_mem(MemNode::LocatedAt(field.offset, field.place == Place::RelLoc, index))?;
        Ok((field, Val::Mem(mem, Elem { ty: Ty { bytes: 1, signed: false }, total: 0 })))
    }

    fn dynamic_bytes(&mut self, arg: Option<&Expr>) -> Result<Mem> {
        match self.dynamic(arg)?.1 {
            Val::Mem(mem, _) => Ok(mem),
            _ => refuse("a dynamic array is expected"),
        }
    }

    // -------------------------------------------------------------------------------------------- expressions

    /// An expression that must be a number.
    fn number(&mut self, expr: &Expr) -> Result<(Num, Ty)> {
        let value = self.value(expr)?;
        self.number_of(value)
    }

    fn number_of(&mut self, value: Val) -> Result<(Num, Ty)> {
        match value {
            Val::Num(num, ty) => Ok((num, ty)),
            Val::Mem(mem, elem) => {
                let bytes = match elem.total {
                    1 | 2 | 4 | 8 => elem.total as u8,
                    _ if self.lte => return Ok((self.constant(0)?, U64)),
                    _ => return refuse("an address of bytes is used as a number"),
                };
                let ty = Ty { bytes, signed: false };
                Ok((self.push_num(NumNode::Read(mem, self.word(ty)))?, if self.lte { U64 } else { ty }))
            }
            Val::Txt(_) if self.lte => Ok((self.constant(0)?, U64)),
            Val::Txt(_) => refuse("a text is used as a number"),
            // As trace-cmd has it: the address of the symbol of that name, or 0. It is not the variable's value, but
            // better `page=… pfn=42` with a wrong base than no text at all.
            Val::Name(name) => {
                self.unknown_names += 1;
                if self.in_table {
                    return Ok((self.constant(0)?, U64));
                }
                self.program.symbols.push(SymbolAddress::new(name));
                let at = self.program.symbols.len() as u32 - 1;
                Ok((self.push_num(NumNode::Symbol(at))?, U64))
            }
        }
    }

    fn value(&mut self, expr: &Expr) -> Result<Val> {
        match expr {
            Expr::Number { value, unsigned, long, decimal } => {
                let ty = self.literal_type(*value, *unsigned, *long, *decimal);
                Ok(Val::Num(self.constant(ty.fit(*value))?, ty))
            }
            Expr::Char(byte) => {
                let value = if self.setting.flavor == Flavor::Lte2022 { 0 } else { u64::from(*byte) };
                Ok(Val::Num(self.constant(value)?, if self.lte { U64 } else { INT }))
            }
            Expr::Str(text) => Ok(Val::Txt(self.literal_text(text)?)),
            Expr::Name(name) => self.name(name),
            Expr::Field(name) => self.field_value(name),
            // The record's head, which the format calls by other names.
            Expr::Member(base, name) if !self.lte && matches!(&**base, Expr::Field(of) if of == "ent") => {
                self.field_value(&format!("common_{name}"))
            }
            Expr::Member(..) => refuse("a member of a structure"),
            Expr::Unary(op, inner) => self.unary(op, inner),
            Expr::Binary(op, left, right) => self.binary(op, left, right),
            Expr::Cond(cond, yes, no) => self.cond(cond, yes.as_deref(), no),
            Expr::Cast(type_name, inner) => self.cast(type_name, inner),
            Expr::Index(base, index) => self.index(base, index),
            Expr::Call(name, args) => {
                self.calls += 1;
                let value = self.call(name, args);
                self.calls -= 1;
                value
            }
            Expr::SizeofType(_) if self.calls > 0 && self.setting.flavor == Flavor::Lte2022 => {
                refuse("sizeof in an argument")
            }
            Expr::SizeofType(type_name) => match self.size_of(type_name) {
                Some(bytes) => self.size(bytes),
                None => refuse("sizeof a type that only the kernel knows"),
            },
            Expr::Sizeof(inner) => self.sizeof(inner),
            Expr::List(_) => refuse("braces outside a table"),
            Expr::Block(locals, inner) => self.block(locals, inner),
        }
    }

    fn literal_type(&self, value: u64, unsigned: bool, long: bool, decimal: bool) -> Ty {
        if self.lte {
            return U64;
        }
        let fits_int = if decimal || !unsigned { value <= 0x7fff_ffff } else { value <= 0xffff_ffff };
        let int = Ty { bytes: 4, signed: !unsigned };
        let wide = if value > 0xffff_ffff {
            8
        } else if long {
            self.abi.long_bytes
        } else {
            8
        };
        match (long, unsigned) {
            (false, true) if value <= 0xffff_ffff => int,
            (false, false) if fits_int => int,
            (false, false) if !decimal && value <= 0xffff_ffff => UINT,
            (_, true) => Ty { bytes: wide, signed: false },
            (_, false) => Ty { bytes: wide, signed: value <= i64::MAX as u64 },
        }
    }

    fn name(&mut self, name: &str) -> Result<Val> {
        if let Some((_, value)) = self.locals.iter().rev().find(|local| local.0 == name) {
            return Ok(value.clone());
        }
        match CONSTANTS.iter().find(|constant| constant.0 == name) {
            Some((_, value)) => Ok(Val::Num(self.constant(*value)?, if self.lte { U64 } else { INT })),
            None => Ok(Val::Name(name.to_owned())),
        }
    }

    fn promoted(ty: Ty) -> Ty {
        if ty.bytes < 4 { INT } else { ty }
    }

    fn common(left: Ty, right: Ty) -> Ty {
        let (left, right) = (Self::promoted(left), Self::promoted(right));
        let bytes = left.bytes.max(right.bytes);
        let unsigned = |ty: Ty| ty.bytes == bytes && !ty.signed;
        Ty { bytes, signed: !unsigned(left) && !unsigned(right) }
    }

    /// `num` of type `from` as one of type `to`.
    fn fitted(&mut self, num: Num, from: Ty, to: Ty) -> Result<Num> {
        if from == to || to.bytes == 8 || (from.bytes < to.bytes && (!from.signed || to.signed)) {
            return Ok(num);
        }
        match self.known(num) {
            Some(value) => self.constant(to.fit(value)),
            None => self.push_num(NumNode::Fit(num, to)),
        }
    }

    fn unary(&mut self, op: &str, inner: &Expr) -> Result<Val> {
        if matches!(op, "&" | "*") && self.lte {
            return refuse("an address or what it points to");
        }
        if op == "&" {
            return self.address_of(inner);
        }
        if op == "*" {
            let Val::Mem(mem, elem) = self.value(inner)? else { return refuse("`*` of a number") };
            return self.element(mem, elem);
        }
        let (num, ty) = self.number(inner)?;
        let promoted = Self::promoted(ty);
        let known = self.known(num);
        let node = match (op, known) {
            ("+", _) => return Ok(Val::Num(num, promoted)),
            ("-", Some(value)) => NumNode::Const(promoted.fit(value.wrapping_neg())),
            ("~", Some(value)) => NumNode::Const(promoted.fit(!value)),
            ("!", Some(value)) => NumNode::Const(u64::from(value == 0)),
            ("-", None) => NumNode::Neg(num, promoted),
            ("~", None) => NumNode::Not(num, promoted),
            _ => NumNode::IsZero(num),
        };
        let ty = if op == "!" && !self.lte { INT } else { promoted };
        Ok(Val::Num(self.push_num(node)?, ty))
    }

    fn address_of(&mut self, inner: &Expr) -> Result<Val> {
        match inner {
            Expr::Field(name) => {
                let Some(field) = self.field(name) else { return refuse("the address of no field") };
                if field.is_dynamic() {
                    return refuse("the address of a location word");
                }
                self.field_bytes(field)
            }
            Expr::Index(base, index) => {
                let Val::Mem(mem, elem) = self.value(base)? else { return refuse("an element of a number") };
                self.offset(mem, elem, index)
            }
            _ => refuse("the address of an expression"),
        }
    }

    fn offset(&mut self, mem: Mem, elem: Elem, index: &Expr) -> Result<Val> {
        let (num, _) = self.number(index)?;
        // A known place within a fixed field: no need to compute it for each record.
        let place = match (self.known(num), self.program.mems.get(mem as usize)) {
            (Some(index), Some(&MemNode::Fixed(at, len))) => {
                let skip = index.checked_mul(u64::from(elem.ty.bytes)).and_then(|skip| u16::try_from(skip).ok());
                skip.filter(|&skip| skip < len).and_then(|skip| Some((at.checked_add(skip)?, len - skip)))
            }
            _ => None,
        };
        if let Some((at, len)) = place {
            let mem = self.push_mem(MemNode::Fixed(at, len))?;
            return Ok(Val::Mem(mem, Elem { total: 0, ..elem }));
        }
        let mem = self.push_mem(MemNode::From(mem, num, u16::from(elem.ty.bytes)))?;
        Ok(Val::Mem(mem, Elem { total: 0, ..elem }))
    }

    /// The element at the start of a range.
    fn element(&mut self, mem: Mem, elem: Elem) -> Result<Val> {
        let word = self.word(elem.ty);
        let node = match self.program.mems.get(mem as usize) {
            Some(&MemNode::Fixed(at, len)) if len >= u16::from(elem.ty.bytes) => NumNode::Load(at, word),
            _ => NumNode::Read(mem, word),
        };
        let num = self.push_num(node)?;
        Ok(Val::Num(num, if self.lte { U64 } else { elem.ty }))
    }

    fn index(&mut self, base: &Expr, index: &Expr) -> Result<Val> {
        if self.lte
            && let Expr::Field(name) = base
            && self.field(name).is_some_and(|field| {
                field.brackets.as_deref() == Some("") && !field.is_dynamic() && field.elem_bytes > 1
            })
        {
            // libtraceevent takes empty brackets for a dynamic array and finds nothing there.
            return Ok(Val::Num(self.constant(0)?, U64));
        }
        match self.value(base)? {
            Val::Mem(mem, elem) if self.lte && elem.total == 0 => {
                // libtraceevent counts bytes, not elements, in dynamic arrays.
                let (num, _) = self.number(index)?;
                let mem = self.push_mem(MemNode::From(mem, num, 1))?;
                self.element(mem, elem)
            }
            Val::Mem(mem, elem) => match self.offset(mem, elem, index)? {
                Val::Mem(mem, elem) => self.element(mem, elem),
                other => Ok(other),
            },
            Val::Txt(txt) => match self.program.txts.get(txt as usize) {
                Some(&TxtNode::Bytes(mem)) => {
                    let elem = Elem { ty: Ty { bytes: 1, signed: false }, total: 0 };
                    match self.offset(mem, elem, index)? {
                        Val::Mem(mem, elem) => self.element(mem, elem),
                        other => Ok(other),
                    }
                }
                _ => refuse("a character of a text that is computed"),
            },
            _ => refuse("an element of a number"),
        }
    }

    fn binary(&mut self, op: &str, left: &Expr, right: &Expr) -> Result<Val> {
        let a = self.value(left)?;
        if let (Val::Mem(mem, elem), "+") = (&a, op)
            && !self.lte
        {
            return self.offset(*mem, *elem, right);
        }
        let b = self.value(right)?;
        let ((a, a_ty), (b, b_ty)) = (self.number_of(a)?, self.number_of(b)?);
        let truth = if self.lte { U64 } else { INT };
        let logic = match op {
            "&&" => Some(NumNode::AndThen(a, b)),
            "||" => Some(NumNode::OrElse(a, b)),
            _ => None,
        };
        if let Some(node) = logic {
            return Ok(Val::Num(self.push_num(node)?, truth));
        }
        let op = match op {
            "|" => Op2::Or,
            "^" if self.lte => return Ok(Val::Num(self.constant(0)?, U64)),
            "^" => Op2::Xor,
            "&" => Op2::And,
            "==" => Op2::Eq,
            "!=" => Op2::Ne,
            "<" => Op2::Lt,
            ">" => Op2::Gt,
            "<=" => Op2::Le,
            ">=" => Op2::Ge,
            "<<" => Op2::Shl,
            ">>" => Op2::Shr,
            "+" => Op2::Add,
            "-" => Op2::Sub,
            "*" => Op2::Mul,
            "/" => Op2::Div,
            "%" => Op2::Rem,
            _ => return refuse("an unknown operator"),
        };
        let shift = matches!(op, Op2::Shl | Op2::Shr);
        let ty = if shift { Self::promoted(a_ty) } else { Self::common(a_ty, b_ty) };
        let a = self.fitted(a, a_ty, ty)?;
        let b = match shift {
            false => self.fitted(b, b_ty, ty)?,
            // What processors make of a count that is too large.
            true if self.lte => {
                let mask = self.constant(63)?;
                self.folded(Op2::And, b, mask, U64)?
            }
            true => b,
        };
        let compares = matches!(op, Op2::Eq | Op2::Ne | Op2::Lt | Op2::Gt | Op2::Le | Op2::Ge);
        let num = self.folded(op, a, b, ty)?;
        Ok(Val::Num(num, if compares { truth } else { ty }))
    }

    /// An operation, or its result if both sides are constants.
    fn folded(&mut self, op: Op2, a: Num, b: Num, ty: Ty) -> Result<Num> {
        self.program.divides |= matches!(op, Op2::Div | Op2::Rem);
        let by_zero = Cell::new(false);
        if let (Some(a), Some(b)) = (self.known(a), self.known(b)) {
            let value = apply(op, a, b, ty, &by_zero);
            if !by_zero.get() {
                return self.constant(value);
            }
        }
        self.push_num(NumNode::Op(op, a, b, ty))
    }

    fn cond(&mut self, cond: &Expr, yes: Option<&Expr>, no: &Expr) -> Result<Val> {
        let condition = self.value(cond)?;
        let (cond, cond_ty) = match condition {
            // The address of a part of the record is never zero.
            Val::Mem(..) | Val::Txt(_) if !self.lte => (self.constant(1)?, INT),
            other => self.number_of(other)?,
        };
        let yes = match yes {
            Some(yes) => self.value(yes)?,
            None => Val::Num(cond, cond_ty),
        };
        let no = self.value(no)?;
        match (yes, no) {
            (Val::Num(a, a_ty), Val::Num(b, b_ty)) => {
                let ty = if self.lte { U64 } else { Self::common(a_ty, b_ty) };
                let (a, b) = (self.fitted(a, a_ty, ty)?, self.fitted(b, b_ty, ty)?);
                Ok(Val::Num(self.push_num(NumNode::Choose(cond, a, b))?, ty))
            }
            (Val::Mem(a, elem), Val::Mem(b, _)) => {
                Ok(Val::Mem(self.push_mem(MemNode::Choose(cond, a, b))?, Elem { total: 0, ..elem }))
            }
            (a, b) => {
                let (a, b) = (self.text_of(a)?, self.text_of(b)?);
                Ok(Val::Txt(self.push_txt(TxtNode::Choose(cond, a, b))?))
            }
        }
    }

    fn block(&mut self, locals: &[(TypeName, String, Expr)], inner: &Expr) -> Result<Val> {
        if self.lte {
            return refuse("a statement expression");
        }
        let outer = self.locals.len();
        for (type_name, name, value) in locals {
            let value = match self.value(value)? {
                Val::Num(num, from) => {
                    let to = self.cast_type(type_name).unwrap_or(from);
                    Val::Num(self.fitted(num, from, to)?, to)
                }
                other => other,
            };
            self.locals.push((name.clone(), value));
        }
        let value = self.value(inner);
        self.locals.truncate(outer);
        value
    }

    // -------------------------------------------------------------------------------------------------- types

    /// Bytes of a type, pointers included.
    fn size_of(&self, type_name: &TypeName) -> Option<u16> {
        if type_name.stars > 0 {
            return Some(u16::from(self.abi.long_bytes));
        }
        element_bytes(&type_name.words.join(" "), self.abi)
    }

    /// The integer type of a cast; `None` if only the kernel knows it.
    fn cast_type(&self, type_name: &TypeName) -> Option<Ty> {
        if type_name.stars > 0 {
            return Some(self.long(false));
        }
        let bytes = u8::try_from(self.size_of(type_name)?).ok()?;
        let has = |name: &str| type_name.words.iter().any(|word| word == name);
        let first = type_name.words.iter().find(|word| *word != "const").map_or("", |word| word.as_str());
        let unsigned = has("unsigned")
            || has("bool")
            || has("_Bool")
            || first.starts_with('u')
            || first.starts_with("__u")
            || first.starts_with("__le")
            || first.starts_with("__be")
            || matches!(first, "size_t" | "gfp_t" | "dev_t" | "umode_t" | "dma_addr_t" | "char");
        Some(Ty { bytes, signed: !unsigned })
    }

    fn cast(&mut self, type_name: &TypeName, inner: &Expr) -> Result<Val> {
        let value = self.value(inner)?;
        let ty = self.cast_type(type_name);
        match value {
            Val::Num(num, from) => {
                let Some(to) = ty else { return Ok(Val::Num(num, from)) };
                if self.lte {
                    const CUTTING: &[&str] = &[
                        "u8",
                        "s8",
                        "char",
                        "unsigned char",
                        "u16",
                        "s16",
                        "short",
                        "unsigned short",
                        "u32",
                        "s32",
                        "int",
                        "unsigned int",
                    ];
                    // These names cut the value; none of them extends a sign.
                    let cuts = type_name.stars == 0 && CUTTING.contains(&type_name.words.join(" ").as_str());
                    let to = if cuts { Ty { signed: false, ..to } } else { U64 };
                    return Ok(Val::Num(self.fitted(num, U64, to)?, U64));
                }
                if type_name.words.iter().any(|word| word == "bool" || word == "_Bool") && type_name.stars == 0 {
                    let zero = self.push_num(NumNode::IsZero(num))?;
                    return Ok(Val::Num(self.push_num(NumNode::IsZero(zero))?, to));
                }
                Ok(Val::Num(self.fitted(num, from, to)?, to))
            }
            Val::Mem(mem, elem) if type_name.stars == 1 => {
                let pointee = self.cast_type(&TypeName { words: type_name.words.clone(), stars: 0 });
                let ty = pointee.map_or(elem.ty, |ty| Ty { signed: ty.signed && !self.lte, ..ty });
                Ok(Val::Mem(mem, Elem { ty, ..elem }))
            }
            Val::Mem(mem, elem) if type_name.stars > 1 => Ok(Val::Mem(mem, Elem { ty: self.long(false), ..elem })),
            Val::Mem(mem, elem) => {
                let (num, from) = self.number_of(Val::Mem(mem, elem))?;
                Ok(Val::Num(num, from))
            }
            Val::Txt(_) if self.lte => Ok(Val::Txt(self.literal_text(b"")?)),
            other => Ok(other),
        }
    }

    fn size(&mut self, bytes: u16) -> Result<Val> {
        let ty = if self.lte { U64 } else { self.long(false) };
        Ok(Val::Num(self.constant(u64::from(bytes))?, ty))
    }

    fn sizeof(&mut self, inner: &Expr) -> Result<Val> {
        let bytes = match inner {
            Expr::Field(name) => match self.field(name) {
                Some(field) => field.size,
                None => return refuse("sizeof no field"),
            },
            Expr::Name(name) => match self.size_of(&TypeName { words: vec![name.clone()], stars: 0 }) {
                Some(bytes) => bytes,
                None => return refuse("sizeof a type that only the kernel knows"),
            },
            Expr::Index(base, _) => match self.value(base)? {
                Val::Mem(_, elem) => u16::from(elem.ty.bytes),
                _ => return refuse("sizeof an element of a number"),
            },
            other => match self.value(other)? {
                Val::Num(_, ty) => u16::from(ty.bytes),
                Val::Mem(_, elem) if elem.total > 0 => elem.total,
                _ => return refuse("sizeof an expression"),
            },
        };
        self.size(bytes)
    }

    // -------------------------------------------------------------------------------------------------- calls

    fn call(&mut self, name: &str, args: &[Expr]) -> Result<Val> {
        let arg = |index: usize| args.get(index).ok_or_else(|| Refusal::new("an argument is missing"));
        match name {
            "__get_str" | "__get_rel_str" => {
                if self.lte && !self.names_field(args.first()) {
                    return Ok(Val::Txt(self.literal_text(b"")?));
                }
                let mem = self.dynamic_bytes(args.first())?;
                Ok(Val::Txt(self.push_txt(TxtNode::Bytes(mem))?))
            }
            "__get_dynamic_array" | "__get_rel_dynamic_array" | "__get_sockaddr" | "__get_rel_sockaddr" => {
                if self.lte && name == "__get_rel_sockaddr" {
                    return refuse("`__get_rel_sockaddr` is unknown");
                }
                match self.dynamic(args.first())?.1 {
                    Val::Mem(mem, elem) => Ok(Val::Mem(mem, Elem { total: 0, ..elem })),
                    other => Ok(other),
                }
            }
            "__get_dynamic_array_len" | "__get_rel_dynamic_array_len" => {
                let (field, _) = self.dynamic(args.first())?;
                let num = self.push_num(NumNode::Length(field.offset))?;
                Ok(Val::Num(num, if self.lte { U64 } else { INT }))
            }
            "__get_bitmask" | "__get_rel_bitmask" => {
                let mem = self.dynamic_bytes(args.first())?;
                Ok(Val::Txt(self.push_txt(TxtNode::Mask(mem))?))
            }
            "__get_cpumask" | "__get_rel_cpumask" => {
                let mem = self.dynamic_bytes(args.first())?;
                Ok(Val::Txt(self.push_txt(TxtNode::Cpus(mem))?))
            }
            "__get_stacktrace" | "__get_rel_stacktrace" => {
                if self.setting.flavor == Flavor::Lte2022 {
                    return refuse("`__get_stacktrace` is unknown");
                }
                let mem = self.dynamic_bytes(args.first())?;
                Ok(Val::Txt(self.push_txt(TxtNode::Stack(mem))?))
            }
            "__print_flags" | "__print_flags_u64" => self.flags(name, args),
            "__print_symbolic" | "__print_symbolic_u64" => self.symbolic(name, args),
            "__print_hex" | "__print_hex_str" => {
                let mem = self.bytes(arg(0)?)?;
                if self.lte && matches!(arg(1)?, Expr::Sizeof(_)) {
                    return refuse("sizeof as a length");
                }
                let count = self.number(arg(1)?)?.0;
                Ok(Val::Txt(self.push_txt(TxtNode::Hex(mem, count, name == "__print_hex"))?))
            }
            "__print_array" => {
                let mem = self.bytes(arg(0)?)?;
                let (count, elem) = (self.number(arg(1)?)?.0, self.number(arg(2)?)?.0);
                Ok(Val::Txt(self.push_txt(TxtNode::Array { mem, count, elem })?))
            }
            "__print_dynamic_array" => {
                if self.setting.flavor == Flavor::Lte2022 {
                    return refuse("`__print_dynamic_array` is unknown");
                }
                let (field, bytes) = self.dynamic(args.first())?;
                let Val::Mem(mem, _) = bytes else { return refuse("a dynamic array is expected") };
                let elem = self.number(arg(1)?)?.0;
                let length = self.push_num(NumNode::Length(field.offset))?;
                let count = self.push_num(NumNode::Op(Op2::Div, length, elem, U64))?;
                Ok(Val::Txt(self.push_txt(TxtNode::Array { mem, count, elem })?))
            }
            "__builtin_expect" => self.value(arg(0)?),
            "__builtin_constant_p" => Ok(Val::Num(self.constant(0)?, if self.lte { U64 } else { INT })),
            _ if self.lte => self.helper(name, args)?.ok_or_else(|| Refusal::new(&format!("`{name}` is unknown"))),
            "__print_hex_dump" => {
                let Expr::Str(prefix) = arg(0)? else { return refuse("the prefix of a hex dump") };
                let prefix = self.literal(prefix);
                let kind = match arg(1)? {
                    Expr::Name(name) if name == "DUMP_PREFIX_NONE" => self.constant(0)?,
                    Expr::Name(name) if name.starts_with("DUMP_PREFIX") => self.constant(2)?,
                    other => self.number(other)?.0,
                };
                let (row, group) = (self.number(arg(2)?)?.0, self.number(arg(3)?)?.0);
                let (mem, count) = (self.bytes(arg(4)?)?, self.number(arg(5)?)?.0);
                let ascii = self.number(arg(6)?)?.0;
                Ok(Val::Txt(self.push_txt(TxtNode::Dump { prefix, kind, row, group, mem, count, ascii })?))
            }
            "__print_ns_to_secs" | "__print_ns_without_secs" => {
                let (num, _) = self.number(arg(0)?)?;
                let second = self.constant(1_000_000_000)?;
                let op = if name == "__print_ns_to_secs" { Op2::Div } else { Op2::Rem };
                Ok(Val::Num(self.push_num(NumNode::Op(op, num, second, U64))?, U64))
            }
            _ => {
                if let Some(value) = self.byte_order(name, args)? {
                    return Ok(value);
                }
                if let Some(value) = self.helper(name, args)? {
                    return Ok(value);
                }
                self.unknown(name, args)
            }
        }
    }

    fn names_field(&self, arg: Option<&Expr>) -> bool {
        match arg {
            Some(Expr::Name(name) | Expr::Field(name)) => self.field(name).is_some(),
            _ => true,
        }
    }

    /// A function nobody knows: shown as a call with its numbers.
    fn unknown(&mut self, name: &str, args: &[Expr]) -> Result<Val> {
        let mut numbers = Vec::new();
        for arg in args {
            match self.number(arg) {
                Ok((num, _)) => numbers.push(num),
                Err(_) => return refuse(&format!("`{name}` is unknown")),
            }
        }
        if numbers.is_empty() || numbers.len() > MAX_ARGS {
            return refuse(&format!("`{name}` is unknown"));
        }
        let name = self.literal(name.as_bytes());
        Ok(Val::Txt(self.push_txt(TxtNode::Unknown { name, args: numbers })?))
    }

    fn helper(&mut self, name: &str, args: &[Expr]) -> Result<Option<Val>> {
        let Some(helper) = (self.setting.helpers)(name) else { return Ok(None) };
        if args.len() > MAX_ARGS {
            return refuse("a helper has too many arguments");
        }
        let mut values = [Arg::None; MAX_ARGS];
        for (slot, arg) in values.iter_mut().zip(args) {
            *slot = match arg {
                // The sequence that texts are written to; no value of the record.
                Expr::Name(name) if name == "p" => Arg::None,
                other => match self.value(other)? {
                    Val::Mem(mem, _) => Arg::Mem(mem),
                    other => Arg::Num(self.number_of(other)?.0),
                },
            };
        }
        let count = args.len() as u8;
        Ok(Some(match helper {
            Helper::Number(function) => {
                let num = self.push_num(NumNode::Call(function, values, count))?;
                Val::Num(num, if self.lte { U64 } else { LONG_LONG })
            }
            Helper::Text(function) => Val::Txt(self.push_txt(TxtNode::Call(function, values, count))?),
        }))
    }

    /// `be16_to_cpu(x)`, `__le32_to_cpup(&x)`, `ntohs(x)`, `get_unaligned_be32(p)`.
    fn byte_order(&mut self, name: &str, args: &[Expr]) -> Result<Option<Val>> {
        let bare = name.trim_start_matches("__");
        let (bits, big, pointer) = match bare {
            "ntohs" | "htons" => (16, true, false),
            "ntohl" | "htonl" => (32, true, false),
            _ => {
                let rest = bare.strip_prefix("get_unaligned_").map(|rest| (rest, true));
                let (rest, unaligned) = rest.unwrap_or((bare, false));
                let rest = rest.strip_prefix("cpu_to_").unwrap_or(rest);
                let (big, digits) = match (rest.strip_prefix("be"), rest.strip_prefix("le")) {
                    (Some(digits), _) => (true, digits),
                    (_, Some(digits)) => (false, digits),
                    _ => return Ok(None),
                };
                let (digits, pointer) = match digits.strip_suffix("_to_cpup") {
                    Some(digits) => (digits, true),
                    None => (digits.strip_suffix("_to_cpu").unwrap_or(digits), unaligned),
                };
                match digits {
                    "16" => (16, big, pointer),
                    "32" => (32, big, pointer),
                    "64" => (64, big, pointer),
                    _ => return Ok(None),
                }
            }
        };
        let Some(arg) = args.first() else { return refuse("an argument is missing") };
        let ty = Ty { bytes: bits / 8, signed: false };
        if pointer {
            let Val::Mem(mem, _) = self.value(arg)? else { return refuse("bytes are expected") };
            let word = Word { ty, big };
            return Ok(Some(Val::Num(self.push_num(NumNode::Read(mem, word))?, ty)));
        }
        let (num, from) = self.number(arg)?;
        let num = self.fitted(num, from, ty)?;
        let host_big = self.abi.endian == crate::wire::abi::Endian::Big;
        let num = if big == host_big { num } else { self.push_num(NumNode::Swap(num, ty.bytes))? };
        Ok(Some(Val::Num(num, ty)))
    }

    /// An expression that must be bytes.
    fn bytes(&mut self, expr: &Expr) -> Result<Mem> {
        match self.value(expr)? {
            Val::Mem(mem, _) => Ok(mem),
            Val::Txt(txt) => match self.program.txts.get(txt as usize) {
                Some(&TxtNode::Bytes(mem)) => Ok(mem),
                Some(&TxtNode::Literal(at, len)) => self.push_mem(MemNode::Literal(at, len)),
                _ => refuse("bytes are expected"),
            },
            _ => refuse("bytes are expected"),
        }
    }

    /// Value and text of each entry that has a constant value.
    fn table(&mut self, entries: &[Expr], mask: u64) -> Result<Table> {
        let mut table = Table { mask, ..Table::default() };
        for entry in entries {
            let Expr::List(pair) = entry else { return refuse("a table entry without braces") };
            let [value, text, ..] = pair.as_slice() else {
                if self.lte {
                    return refuse("an empty table entry");
                }
                continue;
            };
            let text: &[u8] = match text {
                Expr::Str(text) => text,
                Expr::Name(name) if name != "NULL" => name.as_bytes(),
                Expr::Name(_) => continue,
                // `{ 0, NULL }`, with NULL spelled in any way, ends a table.
                Expr::Number { value: 0, .. } | Expr::Cast(..) => continue,
                _ => return refuse("a table entry whose text is computed"),
            };
            let negative = matches!(value, Expr::Unary("-", _));
            let unknown_names = self.unknown_names;
            self.in_table = true;
            let evaluated = self.value(value);
            self.in_table = false;
            let value = match evaluated {
                Ok(Val::Num(..)) if !self.lte && self.unknown_names > unknown_names => None,
                Ok(Val::Num(num, _)) => self.known(num),
                Ok(_) => None,
                Err(refusal) if self.lte => return Err(refusal),
                Err(_) => None,
            };
            let value = match value {
                // To libtraceevent each negative number and each unknown name in a table is -1.
                None if self.lte => u64::MAX,
                Some(_) if self.lte && negative => u64::MAX,
                Some(value) => value,
                None => continue,
            };
            let (at, len) = self.literal(text);
            table.entries.push((value & mask, at, len));
        }
        Ok(table)
    }

    fn table_mask(&self, name: &str) -> u64 {
        if self.abi.long_bytes == 4 && !name.ends_with("_u64") && !self.lte { u64::from(u32::MAX) } else { u64::MAX }
    }

    fn flags(&mut self, name: &str, args: &[Expr]) -> Result<Val> {
        if self.lte && name.ends_with("_u64") {
            return refuse("`__print_flags_u64` is unknown");
        }
        let [value, delim, entries @ ..] = args else { return refuse("an argument is missing") };
        let (value, ty) = self.number(value)?;
        let delim = match delim {
            Expr::Str(text) => self.literal(text),
            _ => return refuse("a delimiter that is computed"),
        };
        let mut table = self.table(entries, self.table_mask(name))?;
        table.shown = Ty { signed: false, ..ty }.fit(u64::MAX);
        self.program.tables.push(table);
        let table = self.program.tables.len() as u32 - 1;
        Ok(Val::Txt(self.push_txt(TxtNode::Flags { value, delim, table })?))
    }

    fn symbolic(&mut self, name: &str, args: &[Expr]) -> Result<Val> {
        if self.lte && name.ends_with("_u64") {
            return refuse("`__print_symbolic_u64` is unknown");
        }
        let [value, entries @ ..] = args else { return refuse("an argument is missing") };
        let (value, ty) = self.number(value)?;
        let mut table = self.table(entries, self.table_mask(name))?;
        table.shown = Ty { signed: false, ..ty }.fit(u64::MAX);
        table.index_small();
        self.program.tables.push(table);
        let table = self.program.tables.len() as u32 - 1;
        Ok(Val::Txt(self.push_txt(TxtNode::Symbolic { value, table })?))
    }

    // -------------------------------------------------------------------------------------------- conversions

    /// A value as `%s` shows it.
    fn text_of(&mut self, value: Val) -> Result<Txt> {
        match value {
            Val::Txt(txt) => Ok(txt),
            Val::Mem(mem, elem) if self.lte && elem.total == 0 && self.is_located(mem) => self.literal_text(b""),
            Val::Mem(mem, _) => self.push_txt(TxtNode::Bytes(mem)),
            Val::Num(num, _) => match self.program.nums.get(num as usize) {
                Some(&NumNode::Load(at, word)) if self.lte && word.ty.bytes < self.abi.long_bytes => {
                    let mem = self.push_mem(MemNode::Fixed(at, u16::from(word.ty.bytes)))?;
                    self.push_txt(TxtNode::Bytes(mem))
                }
                Some(NumNode::Const(0)) if !self.lte => self.literal_text(b"(null)"),
                _ => self.push_txt(TxtNode::Address(num)),
            },
            Val::Name(name) => self.literal_text(name.as_bytes()),
        }
    }

    fn is_located(&self, mem: Mem) -> bool {
        matches!(self.program.mems.get(mem as usize), Some(MemNode::Located(..) | MemNode::Short(_)))
    }

    fn emit_literal(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        let (at, len) = self.literal(text);
        if let Some(Emit::Literal(before, length)) = self.program.emits.last_mut()
            && *before + *length == at
        {
            *length += len;
            return;
        }
        self.program.emits.push(Emit::Literal(at, len));
    }

    fn format_string(&mut self, format: &[u8], args: &[Expr]) -> Result<()> {
        let mut args = Args { args, next: 0 };
        let mut at = 0;
        while at < format.len() {
            let rest = format.get(at..).unwrap_or(&[]);
            let plain = rest.iter().position(|&byte| byte == b'%').unwrap_or(rest.len());
            self.emit_literal(&rest[..plain]);
            at += plain;
            if at < format.len() {
                at += 1;
                at += self.conversion(format.get(at..).unwrap_or(&[]), &mut args)?;
            }
            self.total = self.num_costs.len() as u64 + self.txt_costs.len() as u64;
            if self.program.emits.len() > 4096 || self.total > MAX_COST {
                return refuse("too much work");
            }
        }
        Ok(())
    }

    /// Compiles the conversion that starts after a `%`; returns its length.
    fn conversion(&mut self, text: &[u8], args: &mut Args<'_>) -> Result<usize> {
        let mut spec = Spec::default();
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            match byte {
                b'-' => spec.minus = true,
                b'0' => spec.zero = true,
                b'#' => spec.alt = true,
                b'+' if self.setting.flavor != Flavor::Lte2022 => spec.plus = !self.lte,
                b' ' if !self.lte => spec.space = true,
                b'\'' if !self.lte => {}
                _ => break,
            }
            at += 1;
        }
        at += self.count(text.get(at..).unwrap_or(&[]), args, &mut spec.width)?;
        if text.get(at) == Some(&b'.') {
            at += 1;
            let len = self.count(text.get(at..).unwrap_or(&[]), args, &mut spec.precision)?;
            if len == 0 {
                spec.precision = Count::Is(0);
            }
            at += len;
        }
        let length = text.get(at..).unwrap_or(&[]).iter().take_while(|byte| b"hlLqzjt".contains(byte)).count();
        let length_text = text.get(at..at + length).unwrap_or(&[]);
        at += length;
        spec.bits = match length_text {
            b"hh" => 8,
            b"h" => 16,
            b"l" | b"z" | b"t" => {
                if self.lte {
                    64
                } else {
                    self.abi.long_bytes * 8
                }
            }
            b"" => 32,
            _ => 64,
        };
        let Some(&conv) = text.get(at) else { return Ok(at) };
        at += 1;
        match conv {
            b'%' => self.emit_literal(b"%"),
            b'd' | b'i' | b'u' | b'x' | b'X' | b'o' => self.integer(conv, spec, args)?,
            b'c' if self.setting.flavor == Flavor::Lte2022 => self.emit_literal(b">c<"),
            b'c' => {
                let Some(arg) = self.next_arg(args)? else { return Ok(at) };
                let num = self.number_of(arg)?.0;
                self.program.emits.push(Emit::Char(num));
            }
            b's' => {
                let Some(arg) = self.next_arg(args)? else { return Ok(at) };
                self.string(arg, spec)?;
            }
            b'p' => at += self.pointer(text.get(at..).unwrap_or(&[]), spec, args)?,
            b'n' if !self.lte => {
                self.next_arg(args)?;
            }
            other => self.emit_literal(&[b'>', other, b'<']),
        }
        Ok(at)
    }

    /// A width or precision at the start of `text`; returns its length.
    fn count(&mut self, text: &[u8], args: &mut Args<'_>, count: &mut Count) -> Result<usize> {
        if text.first() == Some(&b'*') {
            if let Some(arg) = self.next_arg(args)? {
                *count = Count::Num(self.number_of(arg)?.0);
            }
            return Ok(1);
        }
        let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if len > 0 {
            let value = text[..len]
                .iter()
                .fold(0u16, |value, &digit| value.saturating_mul(10).saturating_add(u16::from(digit - b'0')));
            *count = Count::Is(value);
        }
        Ok(len)
    }

    /// The next argument; `None` if there is none, which is then said in the text.
    fn next_arg(&mut self, args: &mut Args<'_>) -> Result<Option<Val>> {
        let Some(arg) = args.args.get(args.next) else {
            if self.lte {
                return refuse("fewer arguments than conversions");
            }
            self.emit_literal(b"(missing)");
            return Ok(None);
        };
        args.next += 1;
        self.value(arg).map(Some)
    }

    fn integer(&mut self, conv: u8, spec: Spec, args: &mut Args<'_>) -> Result<()> {
        let base = match conv {
            b'd' | b'i' => Base::Signed,
            b'u' => Base::Unsigned,
            b'x' => Base::Hex,
            b'X' => Base::HexUpper,
            _ => Base::Octal,
        };
        let num = match self.next_arg(args)? {
            None => return Ok(()),
            // A text or an unknown name under %d: better shown than refused.
            Some(Val::Name(name)) if !self.lte => {
                self.emit_literal(name.as_bytes());
                return Ok(());
            }
            Some(Val::Txt(txt)) if !self.lte => {
                self.program.emits.push(Emit::Text(txt));
                return Ok(());
            }
            Some(value) => self.number_of(value)?.0,
        };
        let plain = spec.width == Count::None
            && spec.precision == Count::None
            && !(spec.alt && base != Base::Signed && base != Base::Unsigned)
            && !spec.plus
            && !spec.space;
        let emit = match self.program.nums.get(num as usize) {
            Some(&NumNode::Load(at, word)) if plain => Emit::Field(at, word, base, spec.bits),
            _ if plain => Emit::Plain(num, base, spec.bits),
            _ => {
                let number = Number {
                    base,
                    bits: spec.bits,
                    width: 0,
                    precision: None,
                    minus: spec.minus,
                    zero: spec.zero,
                    plus: spec.plus,
                    space: spec.space,
                    alt: spec.alt,
                };
                Emit::Number(num, number, spec.width, spec.precision)
            }
        };
        self.program.emits.push(emit);
        Ok(())
    }

    fn string(&mut self, arg: Val, spec: Spec) -> Result<()> {
        let fit = Fit { width: spec.width, precision: spec.precision, minus: spec.minus };
        let txt = self.text_of(arg)?;
        let emit = match self.program.txts.get(txt as usize) {
            Some(&TxtNode::Literal(at, len)) if fit == Fit::NONE => Emit::Literal(at, len),
            Some(&TxtNode::Bytes(mem)) if fit == Fit::NONE => match self.program.mems.get(mem as usize) {
                Some(&MemNode::Fixed(at, len)) => Emit::Chars(at, len),
                _ => Emit::Text(txt),
            },
            _ if fit == Fit::NONE => Emit::Text(txt),
            _ => Emit::FitText(txt, fit),
        };
        self.program.emits.push(emit);
        Ok(())
    }

    /// Compiles what follows `%p`; returns the number of letters that belong to it.
    fn pointer(&mut self, text: &[u8], spec: Spec, args: &mut Args<'_>) -> Result<usize> {
        let letters = text.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let extension = &text[..letters];
        let (kind, taken) = extension_of(extension, self.lte);
        // The kernel takes every letter after %p as part of the conversion.
        let taken = if self.lte { taken } else { letters };
        let Some(arg) = self.next_arg(args)? else { return Ok(taken) };
        match kind {
            Extension::Symbol(offset) => {
                let num = self.number_of(arg)?.0;
                self.program.emits.push(Emit::Symbol(num, offset));
            }
            Extension::Memory(memory) => match arg {
                Val::Mem(..) if self.lte && self.lte_wants_other(memory, &arg) => {
                    let number = if self.is_dynamic(&arg) { b"10" as &[u8] } else { b"2" };
                    self.emit_literal(b"ARG TYPE NOT FIELD BUT ");
                    self.emit_literal(number);
                }
                Val::Mem(mem, _) => {
                    let count = match spec.width {
                        Count::Is(_) if self.lte => Count::None,
                        count => count,
                    };
                    self.program.emits.push(Emit::Memory(mem, memory, count));
                }
                Val::Name(name) => self.emit_literal(name.as_bytes()),
                Val::Txt(txt) => self.program.emits.push(Emit::Text(txt)),
                Val::Num(num, _) => match (memory, self.program.nums.get(num as usize)) {
                    // A small field passed by its address in the source, by value in the text.
                    (_, Some(&NumNode::Load(at, word))) if word.ty.bytes < self.abi.long_bytes || self.lte => {
                        let mem = self.push_mem(MemNode::Fixed(at, u16::from(word.ty.bytes)))?;
                        self.program.emits.push(Emit::Memory(mem, memory, spec.width));
                    }
                    _ => self.program.emits.push(Emit::Pointer(num)),
                },
            },
            Extension::Address => match arg {
                Val::Name(name) if !self.lte => self.emit_literal(name.as_bytes()),
                Val::Txt(txt) if !self.lte => self.program.emits.push(Emit::Text(txt)),
                Val::Mem(mem, elem) if !self.lte && !matches!(elem.total, 1 | 2 | 4 | 8) => {
                    // The address of bytes that were copied into the record means nothing; the bytes do.
                    let all = self.constant(u64::MAX)?;
                    let txt = self.push_txt(TxtNode::Hex(mem, all, true))?;
                    self.program.emits.push(Emit::Text(txt));
                }
                value => {
                    let num = self.number_of(value)?.0;
                    self.program.emits.push(Emit::Pointer(num));
                }
            },
        }
        Ok(taken)
    }

    fn is_dynamic(&self, arg: &Val) -> bool {
        matches!(arg, Val::Mem(mem, _) if self.is_located(*mem))
    }

    /// libtraceevent takes some extensions from fixed fields only and others from dynamic ones only.
    fn lte_wants_other(&self, memory: Memory, arg: &Val) -> bool {
        match memory {
            Memory::Hex(_) => !self.is_dynamic(arg),
            Memory::Ip4(..) | Memory::Ip6(_) | Memory::Uuid(..) | Memory::Mac(..) => self.is_dynamic(arg),
            _ => false,
        }
    }
}

struct Args<'e> {
    args: &'e [Expr],
    next: usize,
}

#[derive(Clone, Copy)]
struct Spec {
    minus: bool,
    zero: bool,
    plus: bool,
    space: bool,
    alt: bool,
    width: Count,
    precision: Count,
    bits: u8,
}

impl Default for Spec {
    fn default() -> Self {
        Spec {
            minus: false,
            zero: false,
            plus: false,
            space: false,
            alt: false,
            width: Count::None,
            precision: Count::None,
            bits: 32,
        }
    }
}

/// What `%p` and its letters print.
enum Extension {
    Address,
    Symbol(bool),
    Memory(Memory),
}

/// The meaning of the letters after `%p`, and how many of them libtraceevent takes.
fn extension_of(letters: &[u8], lte: bool) -> (Extension, usize) {
    let has = |letter: u8| letters.contains(&letter);
    match letters {
        [b'S' | b'F', ..] => (Extension::Symbol(true), 1),
        [b'B', ..] if !lte => (Extension::Symbol(true), 1),
        [b'f', b'w', ..] if !lte => (Extension::Address, 2),
        [b's' | b'f', ..] => (Extension::Symbol(false), 1),
        [b'M', rest @ ..] => match rest {
            [b'R', ..] => (Extension::Memory(Memory::Mac(b':', true)), 2),
            [b'F', ..] => (Extension::Memory(Memory::Mac(b'-', false)), 2),
            _ => (Extension::Memory(Memory::Mac(b':', false)), 1),
        },
        [b'm', rest @ ..] => match rest {
            [b'R', ..] => (Extension::Memory(Memory::Mac(0, true)), 2),
            _ => (Extension::Memory(Memory::Mac(0, false)), 1),
        },
        [i @ (b'I' | b'i'), b'4', rest @ ..] => {
            let order = rest.first().copied().filter(|byte| b"hnbl".contains(byte));
            let reversed = matches!(order, Some(b'h' | b'l'));
            (Extension::Memory(Memory::Ip4(*i == b'i', reversed)), 2 + usize::from(order.is_some()))
        }
        [b'I', b'6', b'c', ..] => (Extension::Memory(Memory::Ip6(Ip6::Compressed)), 3),
        [b'I', b'6', ..] => (Extension::Memory(Memory::Ip6(Ip6::Full)), 2),
        [b'i', b'6', ..] => (Extension::Memory(Memory::Ip6(Ip6::Bare)), 2),
        [i @ (b'I' | b'i'), b'S', rest @ ..] => {
            let known = rest.iter().take_while(|byte| b"pc".contains(byte)).count();
            let ip6 = match (rest.contains(&b'c'), i) {
                (true, _) => Ip6::Compressed,
                (false, b'i') => Ip6::Bare,
                _ => Ip6::Full,
            };
            let style = SocketStyle {
                ip4_padded: *i == b'i',
                ip6,
                port: rest.contains(&b'p'),
                flow: rest.contains(&b'f') && !lte,
                scope: rest.contains(&b's') && !lte,
            };
            (Extension::Memory(Memory::Socket(style)), 2 + known)
        }
        [b'U', rest @ ..] => {
            let order = rest.first().copied().filter(|byte| b"bBlL".contains(byte));
            let (little, upper) = (matches!(order, Some(b'l' | b'L')), matches!(order, Some(b'B' | b'L')));
            (Extension::Memory(Memory::Uuid(little, upper)), 1 + usize::from(order.is_some()))
        }
        [b'h', rest @ ..] => {
            let style = rest.first().copied().filter(|byte| b"CDN".contains(byte));
            let separator = match style {
                Some(b'C') => b':',
                Some(b'D') => b'-',
                Some(_) => 0,
                None => b' ',
            };
            (Extension::Memory(Memory::Hex(separator)), 1 + usize::from(style.is_some()))
        }
        [b'b', ..] if !lte => (Extension::Memory(Memory::Bits(has(b'l'))), letters.len()),
        [b'a', rest @ ..] if !lte => {
            (Extension::Memory(Memory::Number(8)), 1 + usize::from(matches!(rest, [b'd' | b'p', ..])))
        }
        _ => (Extension::Address, 0),
    }
}
