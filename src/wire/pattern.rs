//! Patterns as users of trace-cmd write them: POSIX basic regular expressions without regard to case, and globs.
//!
//! Both become expressions of a linear-time engine, so no pattern can make a report hang.

use std::fmt;

use regex_lite::{Regex, RegexBuilder};

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
    text: String,
}

/// A pattern that is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no pattern: {}", self.pattern, self.what)
    }
}

impl std::error::Error for PatternError {}

impl Pattern {
    /// A basic regular expression that has to match all of the text.
    pub fn whole(pattern: &str) -> Result<Pattern, PatternError> {
        Pattern::build(pattern, &format!("^(?:{})$", modern(pattern)), true)
    }

    /// A basic regular expression that may match anywhere.
    pub fn anywhere(pattern: &str) -> Result<Pattern, PatternError> {
        Pattern::build(pattern, &modern(pattern), true)
    }

    /// A shell glob (`*`, `?`, `[...]`) that has to match all of the text, case included.
    pub fn glob(pattern: &str) -> Result<Pattern, PatternError> {
        Pattern::from_glob(pattern, false)
    }

    /// A shell glob that has to match all of the text in any case.
    pub fn glob_any_case(pattern: &str) -> Result<Pattern, PatternError> {
        Pattern::from_glob(pattern, true)
    }

    /// A regular expression as most tools have it, that may match anywhere.
    pub fn modern(pattern: &str, any_case: bool) -> Result<Pattern, PatternError> {
        Pattern::build(pattern, pattern, any_case)
    }

    fn from_glob(pattern: &str, any_case: bool) -> Result<Pattern, PatternError> {
        let mut regex = String::from("^");
        let mut rest = pattern.chars();
        while let Some(c) = rest.next() {
            match c {
                '*' => regex.push_str(".*"),
                '?' => regex.push('.'),
                '[' => {
                    let (set, after) = bracket(rest.as_str());
                    regex.push_str(&set);
                    rest = after.chars();
                }
                '\\' => escape(rest.next().unwrap_or('\\'), &mut regex),
                c => escape(c, &mut regex),
            }
        }
        regex.push('$');
        Pattern::build(pattern, &regex, any_case)
    }

    fn build(pattern: &str, regex: &str, any_case: bool) -> Result<Pattern, PatternError> {
        let built = RegexBuilder::new(regex)
            .case_insensitive(any_case)
            .dot_matches_new_line(true)
            .size_limit(1 << 20)
            .nest_limit(50)
            .build();
        match built {
            Ok(regex) => Ok(Pattern { regex, text: pattern.to_owned() }),
            Err(error) => Err(PatternError { pattern: pattern.to_owned(), what: error.to_string() }),
        }
    }

    /// Whether it matches. Bytes that are no UTF-8 match only what matches any character.
    pub fn matches(&self, text: &[u8]) -> bool {
        match std::str::from_utf8(text) {
            Ok(text) => self.regex.is_match(text),
            Err(_) => self.regex.is_match(&String::from_utf8_lossy(text)),
        }
    }

    /// As the user wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn escape(c: char, into: &mut String) {
    if c.is_ascii_punctuation() {
        into.push('\\');
    }
    into.push(c);
}

/// A bracket expression whose `[` was taken: as the engine wants it, and what follows.
fn bracket(rest: &str) -> (String, &str) {
    let negated = rest.starts_with(['^', '!']);
    let body_at = usize::from(negated);
    // A `]` that comes first is a member, and `[:class:]` has one of its own.
    let mut end = None;
    let mut at = body_at;
    while let Some(c) = rest[at..].chars().next() {
        if c == ']' && at > body_at {
            end = Some(at);
            break;
        }
        if rest[at..].starts_with("[:")
            && let Some(close) = rest[at..].find(":]")
        {
            at += close + 2;
            continue;
        }
        at += c.len_utf8();
    }
    let Some(end) = end else { return ("\\[".to_owned(), rest) };
    let mut set = String::from(if negated { "[^" } else { "[" });
    let body = &rest[body_at..end];
    let mut at = 0;
    while let Some(c) = body[at..].chars().next() {
        if body[at..].starts_with("[:")
            && let Some(close) = body[at..].find(":]")
        {
            set.push_str(&body[at..at + close + 2]);
            at += close + 2;
            continue;
        }
        if matches!(c, '[' | ']' | '\\' | '&' | '~' | '^') {
            set.push('\\');
        }
        set.push(c);
        at += c.len_utf8();
    }
    set.push(']');
    (set, &rest[end + 1..])
}

/// A basic regular expression (with GNU's `\+ \? \|`) in the engine's syntax.
fn modern(pattern: &str) -> String {
    let mut out = String::new();
    let mut rest = pattern.chars();
    // At the start of an expression `*` is itself; so is a `^` that is not there.
    let mut start = true;
    while let Some(c) = rest.next() {
        let was_start = std::mem::replace(&mut start, false);
        match c {
            '\\' => match rest.next() {
                Some(c @ ('(' | '|')) => {
                    out.push(c);
                    start = true;
                }
                Some(c @ (')' | '{' | '}' | '+' | '?')) => out.push(c),
                Some(c @ ('w' | 'W' | 's' | 'S' | 'b' | 'B')) => {
                    out.push('\\');
                    out.push(c);
                }
                Some('<' | '>') => out.push_str("\\b"),
                Some(c) => escape(c, &mut out),
                None => out.push_str("\\\\"),
            },
            '[' => {
                let (set, after) = bracket(rest.as_str());
                out.push_str(&set);
                rest = after.chars();
            }
            '*' if was_start => out.push_str("\\*"),
            '^' if was_start => {
                out.push('^');
                start = true;
            }
            '^' => out.push_str("\\^"),
            '$' => {
                let after = rest.as_str();
                out.push_str(if after.is_empty() || after.starts_with("\\)") || after.starts_with("\\|") {
                    "$"
                } else {
                    "\\$"
                });
            }
            '.' | '*' => out.push(c),
            c => escape(c, &mut out),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_expressions_mean_what_posix_says() {
        let whole = |pattern: &str, text: &str| Pattern::whole(pattern).unwrap().matches(text.as_bytes());
        assert!(whole("sched_.*", "SCHED_switch"));
        assert!(!whole("sched", "sched_switch"));
        assert!(whole("a+b(c)", "a+b(c)"));
        assert!(whole("a\\+\\(b\\|c\\)", "aaac"));
        assert!(whole("*x", "*x"));
        assert!(whole("x\\{2\\}", "xx"));
        assert!(whole("[]a]*", "]a]"));
        assert!(whole("[^0-9]*", "abc") && !whole("[^0-9]*", "a1"));
        assert!(whole("[[:digit:]]*", "42"));
        assert!(Pattern::anywhere("^kw").unwrap().matches(b"kworker/0:1"));
        assert!(Pattern::anywhere("0:1$").unwrap().matches(b"kworker/0:1"));
        assert!(!Pattern::anywhere("^orker").unwrap().matches(b"kworker"));
        assert!(Pattern::whole("\\(").is_err());
    }

    #[test]
    fn globs_match_all_of_the_text_and_mind_case() {
        let glob = |pattern: &str, text: &str| Pattern::glob(pattern).unwrap().matches(text.as_bytes());
        assert!(glob("sched_*", "sched_switch") && !glob("sched_*", "Sched_switch"));
        assert!(glob("kworker/?:[0-9]", "kworker/1:2") && !glob("kworker", "kworker/1"));
        assert!(glob("a.b+", "a.b+") && !glob("a.b", "axb"));
        assert!(glob("[!a]b", "cb") && !glob("[!a]b", "ab"));
    }
}
