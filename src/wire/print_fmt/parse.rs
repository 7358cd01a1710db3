//! Tokens to a tree.
//!
//! The tree knows C's grammar and nothing of the event: names are resolved when it is compiled.

use super::lex::{Token, tokens};
use super::{Flavor, Unsupported};
use crate::wire::abi::Abi;
use crate::wire::format::element_bytes;

/// Expressions nested deeper than this are refused; real ones stay below 30.
const MAX_DEPTH: usize = 120;

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expr {
    Number {
        value: u64,
        unsigned: bool,
        long: bool,
        decimal: bool,
    },
    Char(u8),
    Str(Vec<u8>),
    Name(String),
    /// `REC->name`
    Field(String),
    /// `expr->name`, `expr.name`
    Member(Box<Expr>, String),
    Unary(&'static str, Box<Expr>),
    Binary(&'static str, Box<Expr>, Box<Expr>),
    /// `a ? b : c`; `a ?: c` has no middle.
    Cond(Box<Expr>, Option<Box<Expr>>, Box<Expr>),
    Cast(TypeName, Box<Expr>),
    Index(Box<Expr>, Box<Expr>),
    Call(String, Vec<Expr>),
    SizeofType(TypeName),
    Sizeof(Box<Expr>),
    /// `{ a, b }` in tables.
    List(Vec<Expr>),
    /// `({ type x = a; ...; value; })`
    Block(Vec<(TypeName, String, Expr)>, Box<Expr>),
}

/// A type as it stands in a cast: words, and how many stars.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TypeName {
    pub(super) words: Vec<String>,
    pub(super) stars: usize,
}

/// A whole print fmt: the format string and its arguments.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PrintFmt {
    pub(super) format: Vec<u8>,
    pub(super) args: Vec<Expr>,
}

/// Parses a print fmt, grouping operators by the rules of `flavor`.
pub(super) fn parse(text: &str, flavor: Flavor) -> Result<PrintFmt, Unsupported> {
    let mut parser = Parser { tokens: tokens(text, flavor)?, at: 0, depth: 0, flavor };
    let mut format = Vec::new();
    match parser.next() {
        Some(Token::Str(piece)) => format.extend(piece),
        _ => return Err(Unsupported::new("no format string")),
    }
    while let Some(Token::Str(piece)) = parser.peek() {
        format.extend(piece);
        parser.at += 1;
    }
    let mut args = Vec::new();
    while parser.at < parser.tokens.len() {
        parser.expect(",")?;
        args.push(parser.expr()?);
    }
    Ok(PrintFmt { format, args })
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    flavor: Flavor,
}

/// Binary operators by rising precedence.
const LEVELS: &[&[&str]] = &[
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<", ">", "<=", ">="],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];

/// How loosely an operator binds; a question mark most loosely.
fn lte_priority(op: &str) -> usize {
    LEVELS.iter().position(|level| level.contains(&op)).map_or(LEVELS.len() + 1, |level| LEVELS.len() - level)
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn peek_at(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn is(&self, op: &str) -> bool {
        matches!(self.peek(), Some(Token::Op(found)) if *found == op)
    }

    fn accept(&mut self, op: &str) -> bool {
        let found = self.is(op);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, op: &'static str) -> Result<(), Unsupported> {
        if self.accept(op) { Ok(()) } else { Err(Unsupported::new(&format!("expected `{op}`"))) }
    }

    fn expr(&mut self) -> Result<Expr, Unsupported> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Unsupported::new("nested too deeply"));
        }
        if self.flavor.is_lte() {
            let first = self.unary()?;
            let expr = self.lte_rest(first)?;
            self.depth -= 1;
            return Ok(expr);
        }
        let cond = self.binary(0)?;
        let expr = if self.accept("?") {
            let yes = if self.is(":") { None } else { Some(Box::new(self.expr()?)) };
            self.expect(":")?;
            Expr::Cond(Box::new(cond), yes, Box::new(self.expr()?))
        } else {
            cond
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn binary(&mut self, level: usize) -> Result<Expr, Unsupported> {
        let Some(ops) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        // A long chain on one level makes a tree as deep as it is long.
        let mut links = 0;
        while let Some(Token::Op(op)) = self.peek() {
            let Some(op) = ops.iter().find(|known| *known == op) else { break };
            self.at += 1;
            links += 1;
            if links > MAX_DEPTH {
                return Err(Unsupported::new("a chain of operators that is too long"));
            }
            let right = self.binary(level + 1)?;
            left = Expr::Binary(op, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    /// The operators after `left`, grouped as libtraceevent groups them.
    ///
    /// Found by experiment: an operator that binds no looser than the one before it takes over that one's right side,
    /// so `8 - 4 - 2` is 6; parentheses leave no trace, so a right side in parentheses whose operator binds looser
    /// gives up its left part: `a & (b | c)` is `(a & b) | c`.
    fn lte_rest(&mut self, left: Expr) -> Result<Expr, Unsupported> {
        let Some(op) = self.operator() else { return Ok(left) };
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Unsupported::new("nested too deeply"));
        }
        self.at += 1;
        let expr = if op == "?" { self.lte_cond(left)? } else { self.lte_binary(op, left)? };
        self.depth -= 1;
        Ok(expr)
    }

    fn lte_cond(&mut self, cond: Expr) -> Result<Expr, Unsupported> {
        let yes = self.expr()?;
        let bare = !matches!(self.tokens.get(self.at.saturating_sub(1)), Some(Token::Op(")")));
        if self.flavor == Flavor::Lte2026 && bare && matches!(yes, Expr::Cond(..)) {
            return Err(Unsupported::new("a condition within a condition"));
        }
        self.expect(":")?;
        let old = self.flavor == Flavor::Lte2022;
        let no = if old { self.unary()? } else { self.expr()? };
        let expr = Expr::Cond(Box::new(cond), Some(Box::new(yes)), Box::new(no));
        if old { self.lte_rest(expr) } else { Ok(expr) }
    }

    fn lte_binary(&mut self, op: &'static str, left: Expr) -> Result<Expr, Unsupported> {
        let looser_than = |next: Option<&'static str>, prio| next.is_some_and(|next| lte_priority(next) > prio);
        match self.unary()? {
            Expr::Binary(outer, a, b) if lte_priority(op) < lte_priority(outer) => {
                let mut inner = Expr::Binary(op, Box::new(left), a);
                if looser_than(self.operator(), lte_priority(outer)) {
                    return self.lte_rest(Expr::Binary(outer, Box::new(inner), b));
                }
                inner = self.lte_rest(inner)?;
                Ok(Expr::Binary(outer, Box::new(inner), b))
            }
            Expr::Cond(cond, yes, no) => {
                let inner = Expr::Binary(op, Box::new(left), cond);
                self.lte_rest(Expr::Cond(Box::new(inner), yes, no))
            }
            right => {
                if looser_than(self.operator(), lte_priority(op)) {
                    return self.lte_rest(Expr::Binary(op, Box::new(left), Box::new(right)));
                }
                let right = self.lte_rest(right)?;
                Ok(Expr::Binary(op, Box::new(left), Box::new(right)))
            }
        }
    }

    /// The binary operator or question mark at the cursor.
    fn operator(&self) -> Option<&'static str> {
        match self.peek() {
            Some(Token::Op("?")) => Some("?"),
            Some(Token::Op(op)) => LEVELS.iter().flat_map(|level| level.iter()).find(|known| *known == op).copied(),
            _ => None,
        }
    }

    fn unary(&mut self) -> Result<Expr, Unsupported> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Unsupported::new("nested too deeply"));
        }
        let expr = self.unary_inner();
        self.depth -= 1;
        expr
    }

    fn unary_inner(&mut self) -> Result<Expr, Unsupported> {
        for op in ["-", "+", "~", "!", "*", "&"] {
            if self.accept(op) {
                return Ok(Expr::Unary(op, Box::new(self.unary()?)));
            }
        }
        if matches!(self.peek(), Some(Token::Name(name)) if name == "sizeof") {
            self.at += 1;
            if self.is("(")
                && let Some((type_name, len)) = self.type_in_parens()
            {
                self.at += len;
                return Ok(Expr::SizeofType(type_name));
            }
            return Ok(Expr::Sizeof(Box::new(self.unary()?)));
        }
        if self.is("(")
            && let Some((type_name, len)) = self.type_in_parens()
            && self.starts_operand(len, &type_name)
        {
            self.at += len;
            return Ok(Expr::Cast(type_name, Box::new(self.unary()?)));
        }
        self.postfix()
    }

    /// `( words [*...] )` at the cursor: the type and the number of tokens.
    fn type_in_parens(&self) -> Option<(TypeName, usize)> {
        let (mut words, mut stars, mut ahead) = (Vec::new(), 0, 1);
        loop {
            match self.peek_at(ahead)? {
                Token::Name(name) if stars == 0 || name == "const" || name.starts_with("__") => {
                    words.push(name.clone());
                }
                Token::Op("*") if !words.is_empty() => stars += 1,
                Token::Op(")") if !words.is_empty() => break,
                _ => return None,
            }
            ahead += 1;
        }
        if words.len() == 1 && words[0] == "REC" {
            return None;
        }
        Some((TypeName { words, stars }, ahead + 1))
    }

    /// True if what stands `ahead` can be the operand of a cast to `type_name`.
    fn starts_operand(&self, ahead: usize, type_name: &TypeName) -> bool {
        match self.peek_at(ahead) {
            Some(Token::Name(_) | Token::Number { .. } | Token::Char(_) | Token::Str(_)) => true,
            Some(Token::Op("(")) => true,
            // `(x) - 1` is a difference unless `x` can only be a type.
            Some(Token::Op("-" | "+" | "*" | "&" | "~" | "!")) => {
                type_name.stars > 0 || type_name.words.len() > 1 || is_known_type(type_name)
            }
            _ => false,
        }
    }

    fn postfix(&mut self) -> Result<Expr, Unsupported> {
        let mut expr = self.primary()?;
        let mut links = 0;
        loop {
            links += 1;
            if links > MAX_DEPTH {
                return Err(Unsupported::new("a chain of members that is too long"));
            }
            if self.accept("[") {
                let index = self.expr()?;
                self.expect("]")?;
                expr = Expr::Index(Box::new(expr), Box::new(index));
            } else if self.is("->") || self.is(".") {
                self.at += 1;
                let Some(Token::Name(name)) = self.next() else {
                    return Err(Unsupported::new("a member without a name"));
                };
                expr = match expr {
                    Expr::Name(rec) if rec == "REC" => Expr::Field(name),
                    other => Expr::Member(Box::new(other), name),
                };
            } else if self.is("(") {
                let Expr::Name(name) = expr else { return Err(Unsupported::new("a call of no name")) };
                self.at += 1;
                expr = Expr::Call(name, self.list(")")?);
            } else {
                return Ok(expr);
            }
        }
    }

    /// Expressions separated by commas up to `end`; a trailing comma is allowed.
    fn list(&mut self, end: &'static str) -> Result<Vec<Expr>, Unsupported> {
        let mut items = Vec::new();
        while !self.accept(end) {
            items.push(if self.is("{") { self.braces()? } else { self.expr()? });
            if !self.accept(",") {
                self.expect(end)?;
                break;
            }
        }
        Ok(items)
    }

    fn braces(&mut self) -> Result<Expr, Unsupported> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Unsupported::new("nested too deeply"));
        }
        self.expect("{")?;
        let items = self.list("}")?;
        self.depth -= 1;
        Ok(Expr::List(items))
    }

    fn primary(&mut self) -> Result<Expr, Unsupported> {
        match self.next() {
            Some(Token::Number { value, unsigned, long, decimal }) => {
                Ok(Expr::Number { value, unsigned, long, decimal })
            }
            Some(Token::Char(byte)) => Ok(Expr::Char(byte)),
            Some(Token::Name(name)) => Ok(Expr::Name(name)),
            Some(Token::Str(mut text)) => {
                while let Some(Token::Str(piece)) = self.peek() {
                    text.extend(piece);
                    self.at += 1;
                }
                Ok(Expr::Str(text))
            }
            Some(Token::Op("(")) if self.is("{") => self.block(),
            Some(Token::Op("(")) => {
                let expr = self.expr()?;
                self.expect(")")?;
                Ok(expr)
            }
            Some(Token::Op(op)) => Err(Unsupported::new(&format!("unexpected `{op}`"))),
            None => Err(Unsupported::new("an expression is missing")),
        }
    }

    /// `{ type name = expr; ... expr; })`, the opening parenthesis being consumed.
    fn block(&mut self) -> Result<Expr, Unsupported> {
        self.expect("{")?;
        let mut locals = Vec::new();
        loop {
            if let Some((type_name, name, len)) = self.declaration() {
                self.at += len;
                let value = self.expr()?;
                self.expect(";")?;
                locals.push((type_name, name, value));
                continue;
            }
            let value = self.expr()?;
            let end = self.accept(";");
            if self.accept("}") {
                self.expect(")")?;
                return Ok(Expr::Block(locals, Box::new(value)));
            }
            let what = if end { "a statement that is no declaration" } else { "expected `;`" };
            return Err(Unsupported::new(what));
        }
    }

    /// `words [*] name =` at the cursor.
    fn declaration(&self) -> Option<(TypeName, String, usize)> {
        let (mut words, mut stars, mut ahead) = (Vec::new(), 0, 0);
        loop {
            match self.peek_at(ahead)? {
                Token::Name(name) => words.push(name.clone()),
                Token::Op("*") if !words.is_empty() => stars += 1,
                Token::Op("=") if words.len() >= 2 => break,
                _ => return None,
            }
            ahead += 1;
        }
        let name = words.pop()?;
        Some((TypeName { words, stars }, name, ahead + 1))
    }
}

/// True if a single word can only be a type.
fn is_known_type(type_name: &TypeName) -> bool {
    let text = type_name.words.join(" ");
    element_bytes(&text, Abi::HOST).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arg(text: &str) -> Expr {
        parse(&format!("\"%d\", {text}"), Flavor::C).unwrap().args.remove(0)
    }

    #[test]
    fn strings_join_and_arguments_follow() {
        let parsed = parse("\"a=%d\\n\" \" b\\x41\\101\\t\", REC->a, 1", Flavor::C).unwrap();
        assert_eq!(parsed.format, b"a=%d\n bAA\t");
        assert_eq!(parsed.args.len(), 2);
        assert_eq!(parsed.args[0], Expr::Field("a".into()));
    }

    #[test]
    fn the_mask_binds_before_the_question_mark() {
        assert!(
            matches!(arg("REC->a & 255 ? 1 : 2"), Expr::Cond(c, Some(_), _) if matches!(*c, Expr::Binary("&", ..)))
        );
        assert!(matches!(arg("1 + 2 * 3"), Expr::Binary("+", ..)));
        assert!(matches!(arg("8 - 4 - 2"), Expr::Binary("-", l, _) if matches!(*l, Expr::Binary("-", ..))));
    }

    #[test]
    fn casts_are_told_from_parentheses() {
        assert!(matches!(arg("(gfp_t)((REC->a))"), Expr::Cast(..)));
        assert!(matches!(arg("(unsigned long)-1"), Expr::Cast(..)));
        assert!(matches!(arg("(REC)->a"), Expr::Field(..)));
        assert!(matches!(arg("(HZ) - 1"), Expr::Binary("-", ..)));
        assert!(matches!(arg("((u8 *)__get_dynamic_array(x))[2]"), Expr::Index(b, _) if matches!(*b, Expr::Cast(..))));
        assert!(matches!(arg("sizeof(struct foo)"), Expr::SizeofType(..)));
        assert!(matches!(arg("sizeof(REC->a)"), Expr::Sizeof(..)));
    }

    #[test]
    fn blocks_with_locals_are_read_and_other_statements_refused() {
        assert!(matches!(arg("({ int x = (REC->a); x < 3 ? x : 3; })"), Expr::Block(l, _) if l.len() == 1));
        assert!(parse("\"%s\", ({ static const char *t[] = { \"a\" }; t[0]; })", Flavor::C).is_err());
        assert!(parse("\"%s\", ({ f(1); g(2); })", Flavor::C).is_err());
    }

    #[test]
    fn hostile_nesting_is_refused() {
        let deep = format!("\"%d\", {}1{}", "(".repeat(5000), ")".repeat(5000));
        for flavor in [Flavor::C, Flavor::Lte2022, Flavor::Lte2026] {
            refuses(&deep, flavor);
        }
    }

    fn refuses(deep: &str, flavor: Flavor) {
        let parse = |text: &str| parse(text, flavor);
        assert!(parse(deep).is_err());
        assert!(parse(&format!("\"%d\", 1{}", "?1:1".repeat(100_000))).is_err());
        assert!(parse(&format!("\"%d\", {}1", "-".repeat(100_000))).is_err());
        assert!(parse(&format!("\"%d\", 1{}", "+1".repeat(100_000))).is_err());
        assert!(parse(&format!("\"%d\", f({}", "{".repeat(100_000))).is_err());
        assert!(parse(&format!("\"%d\", a{}", "[0]".repeat(100_000))).is_err());
    }
}
