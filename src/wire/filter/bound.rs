//! A filter bound to an event, and the test of a record.

use super::tree::{Cmp, Expr, Op, Value};
use crate::wire::abi::Abi;
use crate::wire::format::{EventFormat, Field, FieldKind};
use crate::wire::record::Record;

pub(super) fn bind(expr: &Expr, format: &EventFormat) -> Expr<Field> {
    let both = |a: &Expr, b: &Expr| (Box::new(bind(a, format)), Box::new(bind(b, format)));
    match expr {
        Expr::Any(a, b) => {
            let (a, b) = both(a, b);
            Expr::Any(a, b)
        }
        Expr::All(a, b) => {
            let (a, b) = both(a, b);
            Expr::All(a, b)
        }
        Expr::Not(inner) => Expr::Not(Box::new(bind(inner, format))),
        Expr::Compare(a, cmp, b) => match (bind_value(a, format), bind_value(b, format)) {
            (Some(a), Some(b)) => Expr::Compare(a, *cmp, b),
            // A word on the right that is no field is a text without its quotes.
            (Some(a), None) => match b {
                Value::Field(word) if is_text(&a) => Expr::Compare(a, *cmp, Value::Text(word.clone())),
                _ => Expr::Never,
            },
            _ => Expr::Never,
        },
        Expr::Match(value, pattern, way) => match bind_value(value, format) {
            Some(value) => Expr::Match(value, pattern.clone(), *way),
            None => Expr::Never,
        },
        Expr::True(value) => bind_value(value, format).map_or(Expr::Never, Expr::True),
        Expr::Never => Expr::Never,
    }
}

pub(super) fn is_text(value: &Value<Field>) -> bool {
    match value {
        Value::Comm | Value::Text(_) => true,
        Value::Field(field) => field.is_text(),
        _ => false,
    }
}

pub(super) fn bind_value(value: &Value<String>, format: &EventFormat) -> Option<Value<Field>> {
    let boxed = |value: &Value<String>| bind_value(value, format).map(Box::new);
    Some(match value {
        Value::Field(name) => {
            let common = || format.common.iter().find(|field| field.name == *name);
            Value::Field(format.field(name).or_else(common)?.clone())
        }
        Value::Comm => Value::Comm,
        Value::Cpu => Value::Cpu,
        Value::Number(number) => Value::Number(*number),
        Value::Text(text) => Value::Text(text.clone()),
        Value::Negative(inner) => Value::Negative(boxed(inner)?),
        Value::Inverse(inner) => Value::Inverse(boxed(inner)?),
        Value::Op(a, op, b) => Value::Op(boxed(a)?, *op, boxed(b)?),
    })
}

/// What a filter may ask besides the record's bytes.
pub trait Surroundings {
    /// Name of the task that the record is of.
    fn comm(&self, record: &Record<'_>) -> &[u8];
    /// Name of the function at an address.
    fn symbol(&self, address: u64) -> Option<&[u8]>;
}

/// A filter for one event.
#[derive(Clone, Debug)]
pub struct Bound {
    pub(super) expr: Option<Expr<Field>>,
    pub(super) abi: Abi,
}

impl Bound {
    /// Whether every record of the event passes.
    pub fn passes_all(&self) -> bool {
        self.expr.is_none()
    }

    /// Whether the record passes.
    pub fn test(&self, record: &Record<'_>, around: &dyn Surroundings) -> bool {
        self.expr.as_ref().is_none_or(|expr| Test { record, abi: self.abi, around }.expr(expr))
    }
}

pub(super) struct Test<'r> {
    record: &'r Record<'r>,
    abi: Abi,
    around: &'r dyn Surroundings,
}

impl<'r> Test<'r> {
    fn expr(&self, expr: &'r Expr<Field>) -> bool {
        match expr {
            Expr::Any(a, b) => self.expr(a) || self.expr(b),
            Expr::All(a, b) => self.expr(a) && self.expr(b),
            Expr::Not(inner) => !self.expr(inner),
            Expr::Compare(a, cmp, b) => self.compare(a, *cmp, b),
            Expr::Match(value, pattern, way) => match self.text(value) {
                Some(text) => way.is_met(pattern.matches(text)),
                None => self.number(value).is_some_and(|n| way.is_met(pattern.matches(n.to_string().as_bytes()))),
            },
            Expr::True(value) => self.number(value).map_or_else(|| self.text(value).is_some(), |number| number != 0),
            Expr::Never => false,
        }
    }

    fn compare(&self, a: &'r Value<Field>, cmp: Cmp, b: &'r Value<Field>) -> bool {
        let order = if is_text(a) || is_text(b) {
            match (self.text(a), self.text(b)) {
                (Some(a), Some(b)) => a.cmp(b),
                _ => return false,
            }
        } else {
            match (self.number(a), self.number(b)) {
                // Bits count for equality: -1 and 0xffffffffffffffff are the same long.
                (Some(a), Some(b)) if matches!(cmp, Cmp::Eq | Cmp::Ne) => (a as u64).cmp(&(b as u64)),
                (Some(a), Some(b)) => a.cmp(&b),
                _ => return false,
            }
        };
        match cmp {
            Cmp::Eq => order.is_eq(),
            Cmp::Ne => order.is_ne(),
            Cmp::Lt => order.is_lt(),
            Cmp::Gt => order.is_gt(),
            Cmp::Le => order.is_le(),
            Cmp::Ge => order.is_ge(),
        }
    }

    /// The value as text; an address as the name of its function.
    fn text(&self, value: &'r Value<Field>) -> Option<&'r [u8]> {
        match value {
            Value::Text(text) => Some(text.as_bytes()),
            Value::Comm => Some(self.around.comm(self.record)),
            Value::Field(field) if field.is_text() || field.kind == FieldKind::Texts => {
                Some(field.text(self.record.data, self.abi))
            }
            Value::Field(field) if field.size == u16::from(self.abi.long_bytes) => {
                self.around.symbol(field.int(self.record.data, self.abi)?)
            }
            _ => None,
        }
    }

    fn number(&self, value: &Value<Field>) -> Option<i128> {
        match value {
            Value::Number(number) => Some(*number),
            Value::Cpu => Some(i128::from(self.record.cpu)),
            Value::Field(field) => {
                let number = field.int(self.record.data, self.abi)?;
                Some(if field.signed { i128::from(number as i64) } else { i128::from(number) })
            }
            Value::Negative(inner) => self.number(inner)?.checked_neg(),
            Value::Inverse(inner) => Some(i128::from(!(self.number(inner)? as u64))),
            Value::Op(a, op, b) => operate(self.number(a)?, *op, self.number(b)?),
            Value::Comm | Value::Text(_) => None,
        }
    }
}

pub(super) fn operate(a: i128, op: Op, b: i128) -> Option<i128> {
    match op {
        Op::Mul => a.checked_mul(b),
        Op::Div => a.checked_div(b),
        Op::Rem => a.checked_rem(b),
        Op::Add => a.checked_add(b),
        Op::Sub => a.checked_sub(b),
        Op::Shl => Some(i128::from((a as u64).checked_shl(u32::try_from(b).ok()?).unwrap_or(0))),
        Op::Shr => Some(i128::from((a as u64).checked_shr(u32::try_from(b).ok()?).unwrap_or(0))),
        Op::And => Some(a & b),
        Op::Xor => Some(a ^ b),
        Op::Or => Some(a | b),
    }
}
