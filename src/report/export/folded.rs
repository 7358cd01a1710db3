//! Stacks as folded lines: `outer;inner microseconds` each, as flame graph tools read them.

use std::io::{self, Write};

use super::format::Format;
use super::stacks::Stacks;

/// The registry's entry.
pub(super) const FORMAT: Format = Format {
    name: "folded",
    about: "Stacks with their time, a line each; with --windows",
    stacks: Some(print),
    ..Format::NONE
};

fn print(stacks: &Stacks, out: &mut dyn Write) -> io::Result<()> {
    stacks.lines().try_for_each(|line| writeln!(out, "{line}"))
}
