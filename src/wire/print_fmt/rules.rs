//! What all steps share: whose rules hold, what a program looks up, what plugins teach, why a print fmt is refused.

use std::fmt;

use crate::wire::abi::Abi;
use crate::wire::tables::{Kallsyms, PrintkFormats};

/// By whose rules expressions are evaluated and numbers are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// C's: widths, signs and promotions, as the kernel itself would print.
    C,
    /// libtraceevent's of 2022: everything is an unsigned 64-bit number, and many oddities.
    Lte2022,
    /// libtraceevent's of 2026: the same with fewer of them.
    Lte2026,
}

impl Flavor {
    /// True for the rules of libtraceevent.
    #[inline]
    pub fn is_lte(self) -> bool {
        self != Flavor::C
    }
}

/// What a program looks up while it runs.
#[derive(Clone, Copy)]
pub struct Tables<'a> {
    /// Kernel symbols.
    pub kallsyms: &'a Kallsyms,
    /// Constant strings.
    pub printk: &'a PrintkFormats,
}

/// An argument of a [`Helper`].
#[derive(Clone, Copy, Debug)]
pub enum HelperArg<'a> {
    /// A number.
    Number(u64),
    /// Bytes of the record.
    Bytes(&'a [u8]),
}

impl<'a> HelperArg<'a> {
    /// The number, or 0 for bytes.
    pub fn number(self) -> u64 {
        match self {
            HelperArg::Number(value) => value,
            HelperArg::Bytes(_) => 0,
        }
    }

    /// The bytes, or none for a number.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            HelperArg::Number(_) => &[],
            HelperArg::Bytes(bytes) => bytes,
        }
    }
}

/// A kernel function that some events call in their print fmt, taught to the evaluator by a plugin.
#[derive(Clone, Copy, Debug)]
pub enum Helper {
    /// It returns a number.
    Number(fn(Abi, &[HelperArg<'_>]) -> u64),
    /// It returns text.
    Text(fn(Abi, &[HelperArg<'_>], &mut Vec<u8>)),
}

/// Everything that compiling needs to know besides the format.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// The traced machine.
    pub abi: Abi,
    /// The rules.
    pub flavor: Flavor,
    /// Looks up a helper by name.
    pub helpers: &'a dyn Fn(&str) -> Option<Helper>,
}

/// Why a print fmt could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The reason, as a phrase.
    pub reason: String,
}

impl Unsupported {
    pub(crate) fn new(reason: &str) -> Unsupported {
        Unsupported { reason: reason.to_owned() }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "print fmt: {}", self.reason)
    }
}

impl std::error::Error for Unsupported {}
