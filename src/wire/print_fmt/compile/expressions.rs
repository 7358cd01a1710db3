//! Operators, names, literals and elements of arrays.

use std::cell::Cell;

use super::super::Flavor;
use super::super::parse::{Expr, TypeName};
use super::super::program::{Mem, MemNode, Num, NumNode, Op2, SymbolAddress, TxtNode, Ty, apply};
use super::{Compiler, Elem, INT, Result, U64, UINT, Val, refuse};

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

impl Compiler<'_> {
    /// An expression that must be a number.
    pub(super) fn number(&mut self, expr: &Expr) -> Result<(Num, Ty)> {
        let value = self.value(expr)?;
        self.number_of(value)
    }

    pub(super) fn number_of(&mut self, value: Val) -> Result<(Num, Ty)> {
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

    pub(super) fn value(&mut self, expr: &Expr) -> Result<Val> {
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
    pub(super) fn fitted(&mut self, num: Num, from: Ty, to: Ty) -> Result<Num> {
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
}
