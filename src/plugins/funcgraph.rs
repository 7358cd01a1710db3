//! The function graph: entries, exits, leaves folded from both.
//!
//! Owns: which events open and close a function, and their text. Does not own: whether two records belong together (see
//! [`Pairing`]), which records are neighbours (the merge in `report` decides that).

use crate::wire::abi::Abi;
use crate::wire::format::{EventFormat, FieldKind, FieldPlace};
use crate::wire::record::Record;
use crate::wire::text::{self, Digits};

use super::arguments::Arguments;
use crate::decode::field::{Int, symbol};
use crate::decode::{Compat, Context, Family, OptionSpec, Pairing, Plugin, Scene, Then};

/// The registry's entry.
pub const FAMILY: Family = Family {
    name: "function_graph",
    about: "Draws entries and exits of functions as a graph with durations.",
    options: &[
        switch("tailprint", "Print function name at function exit in function graph"),
        switch("depth", "Show the depth of each entry"),
        switch("retval-skip", "Skip printing function retval in function graph"),
        switch("retval-dec", "Print function retval in decimal at function exit in function graph"),
        switch("retval-hex", "Print function retval in hex at function exit in function graph"),
        switch("kernel", "Show the graph as the kernel's trace file does (not in trace-cmd)"),
        switch("abstime", "With kernel: a column with the time"),
        switch("proc", "With kernel: a column with the task"),
        OptionSpec { default: true, ..switch("cpu", "With kernel: a column with the CPU") },
        OptionSpec { default: true, ..switch("duration", "With kernel: a column with the duration") },
    ],
    bind: |context, format| bind(context, format),
    pairing: |context| pairing(context),
    ..Family::NONE
};

const fn switch(name: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec { plugin: "fgraph", name, about, default: false }
}

/// Levels that are indented; the kernel's stack of return addresses has 50.
const MAX_DEPTH: u64 = 250;

fn bind(context: &Context<'_>, format: &EventFormat) -> Option<Box<dyn Plugin>> {
    let abi = context.trace.abi;
    if format.system != "ftrace" {
        return None;
    }
    let old = context.compat == Compat::V31;
    let draw = Draw {
        abi,
        compat: context.compat,
        tailprint: context.on("fgraph", "tailprint"),
        depth: context.on("fgraph", "depth"),
        retval: match () {
            () if old || context.on("fgraph", "retval-skip") => Retval::Skip,
            () if context.on("fgraph", "retval-dec") => Retval::Dec,
            () if context.on("fgraph", "retval-hex") => Retval::Hex,
            () => Retval::Smart,
        },
    };
    match format.name.as_str() {
        "fgraph_retaddr_entry" if old => None,
        "funcgraph_entry" | "fgraph_retaddr_entry" => {
            let args = format.field("args").filter(|args| args.kind == FieldKind::Array);
            let exit = context.trace.formats.find("ftrace", "funcgraph_exit");
            let exit =
                exit.and_then(|id| context.trace.formats.get(id)).and_then(|format| ExitFields::find(format, abi));
            Some(Box::new(Entry {
                draw,
                func: Int::find(format, "func", abi)?,
                level: Int::find(format, "depth", abi)?,
                retaddr: Int::find(format, "retaddr", abi),
                args: args
                    .filter(|args| !old && args.place == FieldPlace::Flexible)
                    .map(|args| (args.offset.into(), Arguments::new(context))),
                exit,
            }))
        }
        "funcgraph_exit" => Some(Box::new(Exit { draw, fields: ExitFields::find(format, abi)? })),
        _ => None,
    }
}

/// How return values are spelled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retval {
    Skip,
    /// Decimal for errno values, else hex.
    Smart,
    Dec,
    Hex,
}

struct Draw {
    abi: Abi,
    compat: Compat,
    tailprint: bool,
    depth: bool,
    retval: Retval,
}

#[derive(Clone, Copy)]
struct ExitFields {
    func: Int,
    level: Int,
    calltime: Int,
    rettime: Int,
    retval: Option<Int>,
}

impl ExitFields {
    fn find(format: &EventFormat, abi: Abi) -> Option<ExitFields> {
        let int = |name| Int::find(format, name, abi);
        Some(ExitFields {
            func: int("func")?,
            level: int("depth")?,
            calltime: int("calltime")?,
            rettime: int("rettime")?,
            retval: int("retval"),
        })
    }
}

struct Entry {
    draw: Draw,
    func: Int,
    level: Int,
    retaddr: Option<Int>,
    args: Option<(usize, Arguments)>,
    exit: Option<ExitFields>,
}

impl Plugin for Entry {
    fn text(&self, record: &Record<'_>, scene: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        let data = record.data;
        let leaf = scene.exit.zip(self.exit);
        match leaf {
            Some((exit, fields)) => duration(&fields, exit.data, self.draw.compat, out),
            None => out.extend_from_slice(b"             |  "),
        }
        let level = indent(self.level, data, out);
        let func = self.func.raw(data);
        let known = symbol(&scene.trace.kallsyms, func, false, out);
        if !known {
            text::hex(out, func);
        }
        let bare = leaf.is_none() && !known && self.draw.compat == Compat::V34;
        if bare {
            // trace-cmd 3.4 loses the address of an open function that has no name.
            let digits = Digits::hex(func, false).as_bytes().len();
            out.truncate(out.len().saturating_sub(digits));
        }
        match &self.args {
            // trace-cmd shows `(...)` where none were recorded, if it knows that there are some.
            Some((at, arguments)) if known && (data.len() > *at || self.draw.compat != Compat::Rtrec) => {
                arguments.put(scene.trace, func, data.get(*at..).unwrap_or(&[]), out);
            }
            _ => out.extend_from_slice(if bare { b")" } else { b"()" }),
        }
        if leaf.is_some() {
            out.push(b';');
            self.draw.level(level, out);
        }
        if let Some(retaddr) = self.retaddr {
            let start = out.len();
            out.extend_from_slice(b" /* <-");
            if symbol(&scene.trace.kallsyms, retaddr.raw(data), false, out) {
                out.extend_from_slice(b" */");
            } else {
                out.truncate(start);
            }
        }
        match leaf {
            Some((exit, fields)) => self.draw.retval(fields.retval, exit.data, out),
            None => {
                out.extend_from_slice(b" {");
                self.draw.level(level, out);
            }
        }
        Then::Done
    }
}

struct Exit {
    draw: Draw,
    fields: ExitFields,
}

impl Plugin for Exit {
    fn text(&self, record: &Record<'_>, scene: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        let data = record.data;
        duration(&self.fields, data, self.draw.compat, out);
        let level = indent(self.fields.level, data, out);
        out.push(b'}');
        if self.draw.tailprint {
            let func = self.fields.func.raw(data);
            let start = out.len();
            out.extend_from_slice(b" /* ");
            if symbol(&scene.trace.kallsyms, func, false, out) {
                out.extend_from_slice(b" */");
            } else {
                out.truncate(start);
            }
        }
        self.draw.level(level, out);
        self.draw.retval(self.fields.retval, data, out);
        Then::Done
    }
}

impl Draw {
    fn level(&self, level: u64, out: &mut Vec<u8>) {
        if self.depth {
            out.extend_from_slice(b" (");
            text::signed(out, i64::from(level as i32));
            out.push(b')');
        }
    }

    #[inline]
    fn retval(&self, retval: Option<Int>, data: &[u8], out: &mut Vec<u8>) {
        let Some(retval) = retval.filter(|_| self.retval != Retval::Skip) else { return };
        let value = retval.raw(data);
        let long = crate::wire::format::sign_extend(value, u32::from(self.abi.long_bytes)) as i64;
        let decimal = match self.retval {
            Retval::Dec => true,
            Retval::Smart => (-4095..0).contains(&long),
            _ => false,
        };
        out.extend_from_slice(b" (ret=");
        if decimal {
            text::signed(out, long)
        } else {
            text::hex0x(out, value)
        }
        out.push(b')');
    }
}

/// Appends the overhead mark, the duration in microseconds and the bar: 13 columns and `|  `.
#[inline]
fn duration(fields: &ExitFields, data: &[u8], compat: Compat, out: &mut Vec<u8>) {
    let nanos = fields.rettime.raw(data).wrapping_sub(fields.calltime.raw(data));
    let mark = match text::duration_mark(nanos) {
        // trace-cmd knows no mark between a millisecond and a second.
        b'*' | b'@' if compat != Compat::Rtrec => b'#',
        mark => mark,
    };
    out.extend_from_slice(&[mark, b' ']);
    let start = out.len();
    text::dec(out, nanos / 1000);
    if out.len() - start < 7 {
        out.push(b'.');
        text::dec_zeros(out, nanos % 1000, 3);
    }
    let width = out.len() - start;
    out.extend_from_slice(b" us ");
    text::blanks(out, 7usize.saturating_sub(width));
    out.extend_from_slice(b"|  ");
}

/// Appends the indentation; returns the level.
#[inline]
fn indent(level: Int, data: &[u8], out: &mut Vec<u8>) -> u64 {
    let level = level.get(data);
    if level as i32 > 0 {
        text::blanks(out, 2 * (level & 0xffff_ffff).min(MAX_DEPTH) as usize);
    }
    level
}

/// Entries and exits of functions. trace-cmd 3.1 does not know entries with return addresses.
fn pairing(context: &Context<'_>) -> Pairing {
    let entries: &[&str] = match context.compat {
        Compat::V31 => &["funcgraph_entry"],
        _ => &["funcgraph_entry", "fgraph_retaddr_entry"],
    };
    let entries = entries.iter().filter_map(|event| context.format("ftrace", event));
    Pairing::new(context.trace.abi, entries, context.format("ftrace", "funcgraph_exit"))
}
