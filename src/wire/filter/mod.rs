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
//!
//! | file | what is inside |
//! | --- | --- |
//! | `mod.rs` | [`Filter`], and why one is refused |
//! | `tree` | the expression as a tree |
//! | `parse` | from text to tree |
//! | `bound` | the tree bound to an event, and the test of a record |
//!
//! Imported by `report::reading` and `windows`; imports its neighbours in `wire` only. The next operator: in `parse`, `tree` and
//! `bound`.

mod bound;
mod parse;
mod tree;

use std::fmt;

pub use bound::{Bound, Surroundings};

use super::abi::Abi;
use super::format::EventFormat;
use super::pattern::PatternError;
use bound::bind;
use parse::{Parser, named};
use tree::{Expr, Named, describe};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::abi::Endian;
    use crate::wire::record::Record;

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
