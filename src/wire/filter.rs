//! Filter expressions of `report -F`: `EVENTS [: EXPR]`, applied to the raw values of fields.
//!
//! Owns: the grammar, and the test of a record. Does not own: which filters there are and how they add up (`report`).
//!
//! ```text
//! EVENTS  SYSTEM/EVENT or WORD, separated by commas; a WORD is matched against system or event
//! EXPR    EXPR || EXPR, EXPR && EXPR, !EXPR, (EXPR), VALUE CMP VALUE, VALUE
//! CMP     == != < > <= >=   and for text =~ !~ (a pattern, anywhere), ~ (a glob, all of it, as in the kernel's filters)
//! PATTERN "text" (basic regular expression, any case), /text/ (regular expression with ( ) | + ? { }), /text/i (any case)
//! VALUE   field, number, "text", COMM, CPU, VALUE OP VALUE with OP one of * / % + - << >> & ^ |, -VALUE, ~VALUE
//! ```
//!
//! Precedence is C's, except that `& ^ |` bind tighter than comparisons, so that `flags & 4 == 4` asks what it seems to.
//! trace-cmd takes `&&` and `||` from left to right; [`Grammar::LeftToRight`] does so too. A comparison with a field that
//! the event lacks is false.

use std::fmt;

use super::abi::Abi;
use super::format::{EventFormat, Field, FieldKind};
use super::pattern::{Pattern, PatternError};
use super::record::Record;

/// Nesting of parentheses and signs that is followed.
const MAX_DEPTH: u32 = 100;

/// How `&&` and `||` bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grammar {
    /// `&&` before `||`.
    #[default]
    C,
    /// Whichever comes first, as in trace-cmd.
    LeftToRight,
}

/// Why a filter was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// Offset in the filter's text.
    pub at: usize,
    /// What is wrong there.
    pub what: FilterFault,
}

/// Kinds of [`FilterError`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterFault {
    /// No event is named.
    NoEvent,
    /// Something else was expected.
    Expected(&'static str),
    /// A text without its closing quote.
    OpenQuote,
    /// A number that does not fit.
    Number,
    /// Too many parentheses inside each other.
    TooDeep,
    /// A bad pattern.
    Pattern(PatternError),
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            FilterFault::NoEvent => f.write_str("no event is named"),
            FilterFault::Expected(what) => write!(f, "expected {what}"),
            FilterFault::OpenQuote => f.write_str("a quote is not closed"),
            FilterFault::Number => f.write_str("the number does not fit into 64 bits"),
            FilterFault::TooDeep => f.write_str("nested too deep"),
            FilterFault::Pattern(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for FilterError {}

/// A parsed filter.
#[derive(Clone, Debug)]
pub struct Filter {
    events: Vec<Named>,
    expr: Option<Expr>,
}

#[derive(Clone, Debug)]
enum Named {
    Both(Pattern, Pattern),
    Either(Pattern),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cmp {
    Eq,
    Ne,
    Lt,
    Gt,
    Le,
    Ge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
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
struct Way {
    token: &'static str,
    /// What the pattern was between.
    quotes: (&'static str, &'static str),
}

impl Way {
    fn is_met(self, matches: bool) -> bool {
        matches != (self.token == "!~")
    }
}

#[derive(Clone, Debug)]
enum Expr<F = String> {
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
enum Value<F> {
    Field(F),
    Comm,
    Cpu,
    Number(i128),
    Text(String),
    Negative(Box<Value<F>>),
    Inverse(Box<Value<F>>),
    Op(Box<Value<F>>, Op, Box<Value<F>>),
}

const CMPS: [(&str, Cmp); 6] =
    [("==", Cmp::Eq), ("!=", Cmp::Ne), ("<=", Cmp::Le), (">=", Cmp::Ge), ("<", Cmp::Lt), (">", Cmp::Gt)];

/// Operators by how tight they bind, tightest first.
const OPS: [&[(&str, Op)]; 4] = [
    &[("*", Op::Mul), ("/", Op::Div), ("%", Op::Rem)],
    &[("+", Op::Add), ("-", Op::Sub)],
    &[("<<", Op::Shl), (">>", Op::Shr)],
    &[("&", Op::And), ("^", Op::Xor), ("|", Op::Or)],
];

impl Filter {
    /// Reads `EVENTS [: EXPR]`.
    pub fn parse(text: &str, grammar: Grammar) -> Result<Filter, FilterError> {
        let (events, expr) = match text.find(':') {
            Some(colon) => (&text[..colon], Some(colon + 1)),
            None => (text, None),
        };
        let events = named(events)?;
        let expr = match expr.filter(|at| !text[*at..].trim().is_empty()) {
            Some(at) => Some(Parser { text, at, grammar, depth: 0 }.all()?),
            None => None,
        };
        Ok(Filter { events, expr })
    }

    /// Whether the filter speaks of this event.
    pub fn names(&self, system: &str, name: &str) -> bool {
        self.events.iter().any(|event| match event {
            Named::Both(a, b) => a.matches(system.as_bytes()) && b.matches(name.as_bytes()),
            Named::Either(word) => word.matches(system.as_bytes()) || word.matches(name.as_bytes()),
        })
    }

    /// The filter for one event; `None` if it does not speak of it.
    pub fn bind(&self, format: &EventFormat, abi: Abi) -> Option<Bound> {
        if !self.names(&format.system, &format.name) {
            return None;
        }
        Some(Bound { expr: self.expr.as_ref().map(|expr| bind(expr, format)), abi })
    }
}

fn named(text: &str) -> Result<Vec<Named>, FilterError> {
    let mut events = Vec::new();
    let mut at = 0;
    for part in text.split(',') {
        let word = part.trim();
        let pattern =
            |text: &str| Pattern::whole(text.trim()).map_err(|e| FilterError { at, what: FilterFault::Pattern(e) });
        if word.is_empty() {
            return Err(FilterError { at, what: FilterFault::NoEvent });
        }
        events.push(match word.split_once('/') {
            Some((system, event)) => Named::Both(pattern(system)?, pattern(event)?),
            None => Named::Either(pattern(word)?),
        });
        at += part.len() + 1;
    }
    Ok(events)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    grammar: Grammar,
    depth: u32,
}

impl Parser<'_> {
    fn fault<T>(&self, what: FilterFault) -> Result<T, FilterError> {
        Err(FilterError { at: self.at, what })
    }

    fn rest(&mut self) -> &str {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        &self.text[self.at..]
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn deeper(&mut self) -> Result<(), FilterError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { self.fault(FilterFault::TooDeep) } else { Ok(()) }
    }

    fn all(mut self) -> Result<Expr, FilterError> {
        let expr = self.any()?;
        if self.rest().is_empty() { Ok(expr) } else { self.fault(FilterFault::Expected("&&, || or the end")) }
    }

    fn any(&mut self) -> Result<Expr, FilterError> {
        let mut left = self.both()?;
        loop {
            if self.eat("||") {
                left = Expr::Any(Box::new(left), Box::new(self.both()?));
            } else if self.grammar == Grammar::LeftToRight && self.eat("&&") {
                left = Expr::All(Box::new(left), Box::new(self.both()?));
            } else {
                return Ok(left);
            }
        }
    }

    fn both(&mut self) -> Result<Expr, FilterError> {
        let mut left = self.clause()?;
        while self.grammar == Grammar::C && self.eat("&&") {
            left = Expr::All(Box::new(left), Box::new(self.clause()?));
        }
        Ok(left)
    }

    fn clause(&mut self) -> Result<Expr, FilterError> {
        self.deeper()?;
        let clause = self.clause_here();
        self.depth -= 1;
        clause
    }

    fn clause_here(&mut self) -> Result<Expr, FilterError> {
        let start = self.at;
        if !self.rest().starts_with("!~") && !self.rest().starts_with("!=") && self.eat("!") {
            return Ok(Expr::Not(Box::new(self.clause()?)));
        }
        // A parenthesis opens an expression or a value: try the expression first.
        let mut fault = None;
        if self.eat("(") {
            fault = match self.any() {
                Ok(inner) if self.eat(")") => {
                    if self.ends_clause() {
                        return Ok(inner);
                    }
                    None
                }
                Ok(_) => Some(FilterError { at: self.at, what: FilterFault::Expected(")") }),
                Err(error) => Some(error),
            };
            self.at = start;
        }
        let left = match (self.value(OPS.len()), fault) {
            (Ok(left), _) => left,
            // Whichever reading got further knows better what is wrong.
            (Err(one), Some(other)) if other.at > one.at => return Err(other),
            (Err(one), _) => return Err(one),
        };
        for token in ["=~", "!~", "~"] {
            if self.eat(token) {
                let (pattern, quotes) = self.pattern(token == "~")?;
                return Ok(Expr::Match(left, pattern, Way { token, quotes }));
            }
        }
        for (token, cmp) in CMPS {
            if self.eat(token) {
                return Ok(Expr::Compare(left, cmp, self.value(OPS.len())?));
            }
        }
        if self.rest().starts_with('=') { self.fault(FilterFault::Expected("== or =~")) } else { Ok(Expr::True(left)) }
    }

    fn ends_clause(&mut self) -> bool {
        let rest = self.rest();
        rest.is_empty() || [")", "&&", "||"].iter().any(|token| rest.starts_with(token))
    }

    fn pattern(&mut self, glob: bool) -> Result<(Pattern, (&'static str, &'static str)), FilterError> {
        let slash = !glob && self.rest().starts_with('/');
        let at = self.at;
        if slash {
            let Value::Text(text) = self.quoted('/')? else { return self.fault(FilterFault::OpenQuote) };
            let any_case = self.text[self.at..].starts_with('i');
            self.at += usize::from(any_case);
            let pattern = Pattern::modern(&text, any_case);
            let pattern = pattern.map_err(|error| FilterError { at, what: FilterFault::Pattern(error) })?;
            return Ok((pattern, ("/", if any_case { "/i" } else { "/" })));
        }
        let text = match self.value(0)? {
            Value::Text(text) | Value::Field(text) => text,
            Value::Number(n) => n.to_string(),
            _ => return self.fault(FilterFault::Expected("a text after =~")),
        };
        let pattern = if glob { Pattern::glob(&text) } else { Pattern::anywhere(&text) };
        let pattern = pattern.map_err(|error| FilterError { at, what: FilterFault::Pattern(error) })?;
        Ok((pattern, ("\"", "\"")))
    }

    fn value(&mut self, level: usize) -> Result<Value<String>, FilterError> {
        let Some(level) = level.checked_sub(1) else { return self.atom() };
        let mut left = self.value(level)?;
        'more: loop {
            for (token, op) in OPS[level] {
                let rest = self.rest();
                let logical = rest.starts_with("&&") || rest.starts_with("||");
                if !logical && self.eat(token) {
                    left = Value::Op(Box::new(left), *op, Box::new(self.value(level)?));
                    continue 'more;
                }
            }
            return Ok(left);
        }
    }

    fn atom(&mut self) -> Result<Value<String>, FilterError> {
        self.deeper()?;
        let atom = self.atom_here();
        self.depth -= 1;
        atom
    }

    fn atom_here(&mut self) -> Result<Value<String>, FilterError> {
        let first = self.rest().chars().next();
        match first {
            Some('(') => {
                self.at += 1;
                let value = self.value(OPS.len())?;
                if self.eat(")") { Ok(value) } else { self.fault(FilterFault::Expected(")")) }
            }
            Some('-') => {
                self.at += 1;
                Ok(Value::Negative(Box::new(self.atom()?)))
            }
            Some('~') => {
                self.at += 1;
                Ok(Value::Inverse(Box::new(self.atom()?)))
            }
            Some(quote @ ('"' | '\'')) => self.quoted(quote),
            Some(c) if c.is_ascii_digit() => self.number(),
            Some(c) if c.is_alphabetic() || c == '_' => Ok(self.word()),
            _ => self.fault(FilterFault::Expected("a field, a number or a text")),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Value<String>, FilterError> {
        let mut text = String::new();
        let mut chars = self.text[self.at + 1..].char_indices();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.at += at + 2;
                return Ok(Value::Text(text));
            }
            match (c, chars.clone().next()) {
                // Only the quote itself is escaped: other backslashes belong to patterns.
                ('\\', Some((_, next))) if next == quote => {
                    text.push(quote);
                    chars.next();
                }
                _ => text.push(c),
            }
        }
        self.fault(FilterFault::OpenQuote)
    }

    fn number(&mut self) -> Result<Value<String>, FilterError> {
        let rest = &self.text[self.at..];
        let len = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let digits = &rest[..len];
        let parsed = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            u64::from_str_radix(hex, 16)
        } else if digits.len() > 1 && digits.starts_with('0') {
            u64::from_str_radix(digits, 8)
        } else {
            digits.parse()
        };
        match parsed {
            Ok(number) => {
                self.at += len;
                Ok(Value::Number(i128::from(number)))
            }
            Err(_) => self.fault(FilterFault::Number),
        }
    }

    fn word(&mut self) -> Value<String> {
        let rest = &self.text[self.at..];
        let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
        let len = rest.find(|c: char| !part(c)).unwrap_or(rest.len());
        self.at += len;
        match &rest[..len] {
            "COMM" => Value::Comm,
            "CPU" => Value::Cpu,
            name => Value::Field(name.to_owned()),
        }
    }
}

fn bind(expr: &Expr, format: &EventFormat) -> Expr<Field> {
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

fn is_text(value: &Value<Field>) -> bool {
    match value {
        Value::Comm | Value::Text(_) => true,
        Value::Field(field) => field.is_text(),
        _ => false,
    }
}

fn bind_value(value: &Value<String>, format: &EventFormat) -> Option<Value<Field>> {
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
    expr: Option<Expr<Field>>,
    abi: Abi,
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

struct Test<'r> {
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

fn operate(a: i128, op: Op, b: i128) -> Option<i128> {
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

// ------------------------------------------------------------------------------------------------------- text

impl Filter {
    /// The expression as it was understood, for one event; `FALSE` when it can never be true.
    pub fn describe(&self, format: &EventFormat) -> Option<String> {
        if !self.names(&format.system, &format.name) {
            return None;
        }
        Some(match &self.expr {
            None => "TRUE".to_owned(),
            Some(expr) => describe(&bind(expr, format)).unwrap_or_else(|| "FALSE".to_owned()),
        })
    }
}

/// `None` for what is never true.
fn describe(expr: &Expr<Field>) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::abi::Endian;

    const ABI: Abi = Abi { endian: Endian::Little, long_bytes: 8 };

    struct Around;

    impl Surroundings for Around {
        fn comm(&self, _: &Record<'_>) -> &[u8] {
            b"sh"
        }
        fn symbol(&self, address: u64) -> Option<&[u8]> {
            (address == 0x1000).then_some(b"schedule")
        }
    }

    fn format() -> EventFormat {
        let text = b"name: thing\nID: 7\nformat:\n\
            \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
            \tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n\
            \tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n\
            \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n\
            \tfield:int prio;\toffset:8;\tsize:4;\tsigned:1;\n\
            \tfield:char name[8];\toffset:12;\tsize:8;\tsigned:1;\n\
            \tfield:unsigned long ip;\toffset:24;\tsize:8;\tsigned:0;\n\n\
            print fmt: \"%d\", REC->prio\n";
        EventFormat::parse("sys", text, ABI).unwrap()
    }

    fn passes(filter: &str) -> bool {
        passes_in(filter, Grammar::C)
    }

    fn passes_in(filter: &str, grammar: Grammar) -> bool {
        let mut data = vec![7, 0, 4, 0];
        data.extend_from_slice(&42_i32.to_le_bytes());
        data.extend_from_slice(&(-3_i32).to_le_bytes());
        data.extend_from_slice(b"kworker\0");
        data.extend_from_slice(&[0; 4]);
        data.extend_from_slice(&0x1000_u64.to_le_bytes());
        let record = Record { ticks: 0, cpu: 3, data: &data };
        let filter = Filter::parse(filter, grammar).unwrap();
        filter.bind(&format(), ABI).is_some_and(|bound| bound.test(&record, &Around))
    }

    #[test]
    fn events_are_named_by_system_by_name_or_by_both() {
        assert!(passes("thing") && passes("sys") && passes("sys/thing") && passes("other, SYS/th.*"));
        assert!(!passes("th") && !passes("thing/sys"));
    }

    #[test]
    fn values_compare_by_sign_and_by_bits() {
        assert!(passes("thing: prio < 0") && passes("thing:prio==-3") && !passes("thing:prio>5"));
        assert!(passes("thing:prio == 0xfffffffffffffffd"));
        assert!(passes("thing: common_flags & 4 == 4") && passes("thing: !(common_flags & 3)"));
        assert!(passes("thing: (common_pid + 2) * 2 == 88") && passes("thing: common_pid >> 1 == 21"));
        assert!(passes("thing:CPU == 3 && COMM == \"sh\""));
        assert!(!passes("thing: common_pid / 0 == 1"));
    }

    #[test]
    fn texts_compare_whole_or_by_pattern() {
        assert!(passes("thing: name == \"kworker\"") && passes("thing: name == kworker"));
        assert!(passes("thing: name =~ \"^KW\"") && passes("thing: name !~ \"swapper\""));
        assert!(passes("thing: ip == \"schedule\"") && passes("thing: ip == 4096"));
        assert!(passes("thing: name ~ \"kwork*\"") && passes("thing: name ~ 'k?o[q-s]ker'"));
        assert!(!passes("thing: name ~ \"worker\"") && !passes("thing: name ~ 'KW*'"));
        assert!(passes("thing: name =~ /^(bash|kw.+r)$/") && passes("thing: name =~ /^KW/i && common_pid == 42"));
        assert!(!passes("thing: name =~ /^KW/") && passes("thing: name !~ /a\\/b|^x/"));
    }

    #[test]
    fn a_field_that_is_missing_makes_its_clause_false() {
        assert!(!passes("thing: nosuch == 1") && !passes("thing: nosuch != 1"));
        assert!(passes("thing: nosuch == 1 || common_pid == 42"));
    }

    #[test]
    fn the_two_grammars_differ_in_and_before_or() {
        let filter = "thing: common_pid == 42 || prio == 1 && prio == 2";
        assert!(passes_in(filter, Grammar::C));
        assert!(!passes_in(filter, Grammar::LeftToRight));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let error = |text: &str| Filter::parse(text, Grammar::C).unwrap_err();
        assert_eq!(error("thing: prio = 1").what, FilterFault::Expected("== or =~"));
        assert_eq!(error("thing: prio == ").at, 15);
        assert_eq!(error("thing: name == \"x").what, FilterFault::OpenQuote);
        assert_eq!(error("thing: name =~ /x").what, FilterFault::OpenQuote);
        assert!(matches!(error("thing: name =~ /(/").what, FilterFault::Pattern(_)));
        assert_eq!(error(": prio == 1").what, FilterFault::NoEvent);
        assert_eq!(error("thing: (prio == 1").at, 17);
        assert_eq!(error(&format!("thing: {}1", "(".repeat(5000))).what, FilterFault::TooDeep);
        assert_eq!(error(&format!("thing: {}1", "!".repeat(5000))).what, FilterFault::TooDeep);
        assert!(Filter::parse("thing: 99999999999999999999 == 1", Grammar::C).is_err());
    }

    #[test]
    fn what_was_understood_can_be_shown() {
        let filter = Filter::parse("thing: prio<1&&!(nosuch==2)||name=~\"a\"", Grammar::C).unwrap();
        assert_eq!(filter.describe(&format()).unwrap(), "((prio < 1) && (TRUE)) || (name =~ \"a\")");
        let filter = Filter::parse("thing:name~'a*'||name=~/(a|b)/i", Grammar::C).unwrap();
        assert_eq!(filter.describe(&format()).unwrap(), "(name ~ \"a*\") || (name =~ /(a|b)/i)");
        assert_eq!(Filter::parse("thing:nosuch", Grammar::C).unwrap().describe(&format()).unwrap(), "FALSE");
    }
}
