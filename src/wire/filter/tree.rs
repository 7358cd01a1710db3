//! The tree of an expression, before and after it is bound to an event, and how it is written out.

use crate::wire::format::Field;
use crate::wire::pattern::Pattern;

#[derive(Clone, Debug)]
pub(super) enum Named {
    Both(Pattern, Pattern),
    Either(Pattern),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cmp {
    Eq,
    Ne,
    Lt,
    Gt,
    Le,
    Ge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Mul,
    Div,
    Rem,
    Add,
    Sub,
    Shl,
    Shr,
    And,
    Xor,
    Or,
}

/// How a text is held against a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) token: &'static str,
    /// What the pattern was between.
    pub(super) quotes: (&'static str, &'static str),
}

impl Way {
    pub(super) fn is_met(self, matches: bool) -> bool {
        matches != (self.token == "!~")
    }
}

#[derive(Clone, Debug)]
pub(super) enum Expr<F = String> {
    Any(Box<Expr<F>>, Box<Expr<F>>),
    All(Box<Expr<F>>, Box<Expr<F>>),
    Not(Box<Expr<F>>),
    Compare(Value<F>, Cmp, Value<F>),
    Match(Value<F>, Pattern, Way),
    True(Value<F>),
    /// A clause about a field that the event lacks.
    Never,
}

#[derive(Clone, Debug)]
pub(super) enum Value<F> {
    Field(F),
    Comm,
    Cpu,
    Number(i128),
    Text(String),
    Negative(Box<Value<F>>),
    Inverse(Box<Value<F>>),
    Op(Box<Value<F>>, Op, Box<Value<F>>),
}

pub(super) const CMPS: [(&str, Cmp); 6] =
    [("==", Cmp::Eq), ("!=", Cmp::Ne), ("<=", Cmp::Le), (">=", Cmp::Ge), ("<", Cmp::Lt), (">", Cmp::Gt)];

/// Operators by how tight they bind, tightest first.
pub(super) const OPS: [&[(&str, Op)]; 4] = [
    &[("*", Op::Mul), ("/", Op::Div), ("%", Op::Rem)],
    &[("+", Op::Add), ("-", Op::Sub)],
    &[("<<", Op::Shl), (">>", Op::Shr)],
    &[("&", Op::And), ("^", Op::Xor), ("|", Op::Or)],
];

/// `None` for what is never true.
pub(super) fn describe(expr: &Expr<Field>) -> Option<String> {
    Some(match expr {
        Expr::Any(a, b) => match (describe(a), describe(b)) {
            (Some(a), Some(b)) => format!("({a}) || ({b})"),
            (one, other) => one.or(other)?,
        },
        Expr::All(a, b) => format!("({}) && ({})", describe(a)?, describe(b)?),
        Expr::Not(inner) => describe(inner).map_or_else(|| "TRUE".to_owned(), |inner| format!("!({inner})")),
        Expr::Compare(a, cmp, b) => {
            let token = CMPS.iter().find(|(_, other)| other == cmp).map_or("?", |(token, _)| token);
            format!("{} {token} {}", describe_value(a), describe_value(b))
        }
        Expr::Match(value, pattern, way) => {
            let Way { token, quotes: (open, close) } = way;
            format!("{} {token} {open}{}{close}", describe_value(value), pattern.text())
        }
        Expr::True(value) => describe_value(value),
        Expr::Never => return None,
    })
}

fn describe_value(value: &Value<Field>) -> String {
    match value {
        Value::Field(field) => field.name.clone(),
        Value::Comm => "COMM".to_owned(),
        Value::Cpu => "CPU".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => format!("\"{text}\""),
        Value::Negative(inner) => format!("-{}", describe_value(inner)),
        Value::Inverse(inner) => format!("~{}", describe_value(inner)),
        Value::Op(a, op, b) => {
            let token = OPS.iter().copied().flatten().find(|(_, other)| other == op).map_or("?", |(token, _)| token);
            format!("({} {token} {})", describe_value(a), describe_value(b))
        }
    }
}
