//! Tokens of a print fmt: C after preprocessing.

use super::{Flavor, Unsupported};

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Number { value: u64, unsigned: bool, long: bool, decimal: bool },
    Char(u8),
    Str(Vec<u8>),
    Op(&'static str),
}

/// Operators and punctuation, longest first.
const OPS: &[&str] = &[
    "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "->", "(", ")", "[", "]", "{", "}", ",", ";", "?", ":", ".", "+",
    "-", "*", "/", "%", "&", "|", "^", "~", "!", "<", ">", "=",
];

/// Cuts a text into tokens.
pub(super) fn tokens(text: &str, flavor: Flavor) -> Result<Vec<Token>, Unsupported> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let (token, len) = match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b'\\' => {
                at += 1;
                continue;
            }
            b'"' => string(&bytes[at..], b'"', flavor)?,
            b'\'' => {
                let (token, len) = string(&bytes[at..], b'\'', flavor)?;
                let Token::Str(inner) = token else { return Err(Unsupported::new("a character constant")) };
                (Token::Char(inner.first().copied().unwrap_or(0)), len)
            }
            b'0'..=b'9' => number(&bytes[at..])?,
            b'_' | b'$' | b'a'..=b'z' | b'A'..=b'Z' => name(&bytes[at..]),
            _ => match OPS.iter().find(|op| bytes[at..].starts_with(op.as_bytes())) {
                Some(op) => (Token::Op(op), op.len()),
                None => return Err(Unsupported::new("a character that is no C")),
            },
        };
        tokens.push(token);
        at += len;
    }
    Ok(tokens)
}

fn is_name(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$')
}

fn name(bytes: &[u8]) -> (Token, usize) {
    let len = bytes.iter().take_while(|byte| is_name(byte)).count();
    (Token::Name(String::from_utf8_lossy(&bytes[..len]).into_owned()), len)
}

fn number(bytes: &[u8]) -> Result<(Token, usize), Unsupported> {
    let len = bytes.iter().take_while(|byte| is_name(byte)).count();
    let text = String::from_utf8_lossy(&bytes[..len]).to_ascii_lowercase();
    let digits = text.trim_end_matches(['u', 'l']);
    let suffix = &text[digits.len()..];
    let value = if let Some(hex) = digits.strip_prefix("0x") {
        u64::from_str_radix(hex, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        u64::from_str_radix(digits, 8)
    } else {
        digits.parse()
    };
    let value = value.map_err(|_| Unsupported::new("a number that is none"))?;
    let decimal = !digits.starts_with('0');
    Ok((Token::Number { value, unsigned: suffix.contains('u'), long: suffix.contains('l'), decimal }, len))
}

/// A literal in quotes.
fn string(bytes: &[u8], quote: u8, flavor: Flavor) -> Result<(Token, usize), Unsupported> {
    let mut at = 1;
    loop {
        match bytes.get(at) {
            None => return Err(Unsupported::new("a string without an end")),
            Some(b'\\') => at += 2,
            Some(&byte) if byte == quote => break,
            Some(b'\t') if flavor == Flavor::Lte2022 => return Err(Unsupported::new("a tab in a string")),
            Some(_) => at += 1,
        }
    }
    Ok((Token::Str(unescape(&bytes[1..at], flavor)), at + 1))
}

/// Resolves C's escapes; libtraceevent does not know the numeric ones and drops their backslash.
fn unescape(text: &[u8], flavor: Flavor) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        let Some(&escape) = text.get(at) else { break };
        at += 1;
        match escape {
            b'n' => plain.push(b'\n'),
            b't' => plain.push(b'\t'),
            b'r' => plain.push(b'\r'),
            b'a' => plain.push(7),
            b'e' => plain.push(27),
            b'x' if !flavor.is_lte() => {
                let (value, len) = digits(&text[at..], 16, 2);
                plain.push(value);
                at += len;
            }
            b'0'..=b'7' if !flavor.is_lte() => {
                let (value, len) = digits(&text[at - 1..], 8, 3);
                plain.push(value);
                at += len - 1;
            }
            other => plain.push(other),
        }
    }
    plain
}

fn digits(text: &[u8], radix: u32, most: usize) -> (u8, usize) {
    let (mut value, mut len) = (0u32, 0);
    while let Some(digit) = text.get(len).filter(|_| len < most).and_then(|&byte| (byte as char).to_digit(radix)) {
        value = value * radix + digit;
        len += 1;
    }
    (value as u8, len)
}
