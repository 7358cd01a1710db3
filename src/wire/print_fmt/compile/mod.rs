//! A tree to a program: fields become offsets, constants are folded, types are checked.
//!
//! By C's rules each number has a width and a sign and is kept fitted to it. By libtraceevent's rules every number is
//! an unsigned one of 64 bits and fields are zero-extended; what its parser refuses is refused here too.
//!
//! Here are the compiler's state, its nodes and what they cost, and fields of the record.
//!
//! | file | what is inside |
//! | --- | --- |
//! | `expressions` | operators, names, literals, elements of arrays |
//! | `types` | casts and sizes |
//! | `helpers` | calls |
//! | `conversions` | the format string |
//!
//! Imported by the rest of `print_fmt`; imports its tree (`parse`), its `program` and what is below. The next operator is a case
//! in `expressions`.

use crate::wire::abi::Abi;
use crate::wire::format::{EventFormat, Field, FieldKind, Place};

use super::parse::{Expr, parse};
use super::program::{Arg, MAX_ARGS, Mem, MemNode, Num, NumNode, Program, Txt, TxtNode, Ty, Word};
use super::{Refusal, Setting};

mod conversions;
mod expressions;
mod helpers;
mod types;

/// Evaluations of nodes that printing one record may take. Locals are shared in the tree but evaluated at each use, so
/// a hostile print fmt could double its work with each of them.
const MAX_COST: u64 = 20_000;

const INT: Ty = Ty { bytes: 4, signed: true };
const UINT: Ty = Ty { bytes: 4, signed: false };
const LONG_LONG: Ty = Ty { bytes: 8, signed: true };
const U64: Ty = Ty { bytes: 8, signed: false };

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
}
