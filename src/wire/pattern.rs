//! Patterns in the forms trace-cmd's users know: shell globs and POSIX basic regular expressions, case ignored.

use regex::bytes::{Regex, RegexBuilder};

/// A glob of `*` and `?` that must match the whole text, case ignored.
pub fn glob_ignoring_case(glob: &str) -> Regex {
    let mut source = String::from("^");
    for c in glob.chars() {
        match c {
            '*' => source.push_str(".*"),
            '?' => source.push('.'),
            _ => source.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    source.push('$');
    build(&source).expect("an escaped glob is a valid expression")
}

/// A POSIX basic regular expression that must match the whole text, case ignored.
pub fn whole_basic_regex(basic: &str) -> Result<Regex, String> {
    let source = basic_to_extended(basic);
    let start = if source.starts_with('^') { "" } else { "^" };
    let end = if source.ends_with('$') && !source.ends_with("\\$") { "" } else { "$" };
    build(&format!("{start}{source}{end}"))
}

/// A POSIX basic regular expression that may match anywhere, case ignored.
pub fn basic_regex(basic: &str) -> Result<Regex, String> {
    build(&basic_to_extended(basic))
}

fn build(source: &str) -> Result<Regex, String> {
    RegexBuilder::new(source).case_insensitive(true).unicode(false).build().map_err(|e| e.to_string())
}

/// In basic expressions `( ) { } + ? |` are plain characters and their escaped forms are the operators.
fn basic_to_extended(basic: &str) -> String {
    let mut out = String::with_capacity(basic.len() + 8);
    let mut chars = basic.chars().peekable();
    let mut in_bracket = false;
    while let Some(c) = chars.next() {
        match c {
            _ if in_bracket => {
                in_bracket = c != ']';
                if c == '\\' || c == '[' || c == '&' || c == '~' {
                    out.push('\\');
                }
                out.push(c);
            }
            '\\' => match chars.next() {
                Some(op @ ('(' | ')' | '{' | '}' | '+' | '?' | '|')) => out.push(op),
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
                None => out.push_str("\\\\"),
            },
            '(' | ')' | '{' | '}' | '+' | '?' | '|' => {
                out.push('\\');
                out.push(c);
            }
            '[' => {
                in_bracket = true;
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                if chars.next_if_eq(&']').is_some() {
                    out.push_str("\\]");
                }
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_expressions_escape_their_operators() {
        assert!(whole_basic_regex("sys_\\(open\\|close\\)").unwrap().is_match(b"SYS_close"));
        assert!(whole_basic_regex("a+b").unwrap().is_match(b"a+b"));
        assert!(!whole_basic_regex("read").unwrap().is_match(b"vfs_read"));
        assert!(basic_regex("read").unwrap().is_match(b"vfs_read"));
        assert!(whole_basic_regex("[^]a]x").unwrap().is_match(b"bx"));
        assert!(whole_basic_regex("\\(").is_err());
    }
}
