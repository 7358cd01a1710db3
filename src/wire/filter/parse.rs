//! From the text of a filter to its tree.

use super::tree::{CMPS, Expr, Named, OPS, Value, Way};
use super::{FilterError, FilterFault, Grammar};
use crate::wire::pattern::Pattern;

/// Nesting of parentheses and signs that is followed.
const MAX_DEPTH: u32 = 100;

pub(super) fn named(text: &str) -> Result<Vec<Named>, FilterError> {
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

pub(super) struct Parser<'t> {
    pub(super) text: &'t str,
    pub(super) at: usize,
    pub(super) grammar: Grammar,
    pub(super) depth: u32,
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

    pub(super) fn all(mut self) -> Result<Expr, FilterError> {
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
