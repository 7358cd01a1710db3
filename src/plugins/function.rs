//! The function tracer: one line a call, indented by a guess at the depth.
//!
//! The guess: per CPU a chain of functions is remembered; a function whose parent is in the chain stands one deeper
//! than it and takes the place after it, any other starts the chain anew together with its parent. The chain depends
//! on the order of records, so a [`Tracker`] keeps it.

use super::arguments::Arguments;
use crate::decode::field::{Int, symbol};
use crate::decode::{Compat, Context, Family, OptionSpec, Plugin, Scene, Then, Tracked, Tracker};
use crate::wire::abi::Abi;
use crate::wire::format::{EventFormat, FieldKind, FieldPlace};
use crate::wire::record::Record;
use crate::wire::tables::Kallsyms;
use crate::wire::text;

/// The registry's entry.
pub const FAMILY: Family = Family {
    name: "function",
    about: "Prints calls of functions by name, indented by a guess at their depth.",
    options: &[
        OptionSpec {
            plugin: "ftrace",
            name: "parent",
            about: "Print parent of functions for function events",
            default: false,
        },
        OptionSpec {
            plugin: "ftrace",
            name: "indent",
            about: "Try to show function call indents, based on parents",
            default: true,
        },
        OptionSpec {
            plugin: "ftrace",
            name: "offset",
            about: "Show function names as well as their offsets",
            default: false,
        },
    ],
    bind: |context, format| bind(context, format),
    tracker: |context| indenter(context),
    ..Family::NONE
};

/// Levels of the guess; deeper chains start anew.
const MAX_DEPTH: usize = 200;

fn bind(context: &Context<'_>, format: &EventFormat) -> Option<Box<dyn Plugin>> {
    let abi = context.trace.abi;
    let int = |name| Int::find(format, name, abi);
    if format.system != "ftrace" {
        return None;
    }
    let repeats = match format.name.as_str() {
        "function" => None,
        "func_repeats" => {
            let (count, top, bottom) = (int("count")?, int("top_delta_ts")?, int("bottom_delta_ts")?);
            Some(Repeats { nanoseconds: context.nanoseconds, count, top, bottom })
        }
        _ => return None,
    };
    let args = format.field("args").filter(|args| args.kind == FieldKind::Array && args.place == FieldPlace::Flexible);
    Some(Box::new(Function {
        ip: int("ip")?,
        parent_ip: int("parent_ip")?,
        args: args.filter(|_| context.compat != Compat::V31).map(|args| (args.offset.into(), Arguments::new(context))),
        repeats,
        parent: context.on("ftrace", "parent"),
        offset: context.on("ftrace", "offset"),
    }))
}

struct Function {
    ip: Int,
    parent_ip: Int,
    args: Option<(usize, Arguments)>,
    repeats: Option<Repeats>,
    parent: bool,
    offset: bool,
}

struct Repeats {
    nanoseconds: bool,
    count: Int,
    top: Int,
    bottom: Int,
}

impl Plugin for Function {
    fn text(&self, record: &Record<'_>, scene: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        let data = record.data;
        text::blanks(out, (scene.aux as usize).min(MAX_DEPTH) * 3);
        self.name(&scene.trace.kallsyms, self.ip.raw(data), out);
        if let Some((at, arguments)) = &self.args
            && let Some(args) = data.get(*at..).filter(|args| !args.is_empty())
        {
            arguments.put(scene.trace, self.ip.raw(data), args, out);
        }
        if self.parent {
            out.extend_from_slice(b" <-- ");
            self.name(&scene.trace.kallsyms, self.parent_ip.raw(data), out);
        }
        if let Some(repeats) = &self.repeats {
            repeats.put(record, out);
        }
        Then::Done
    }
}

impl Function {
    #[inline]
    fn name(&self, kallsyms: &Kallsyms, address: u64, out: &mut Vec<u8>) {
        if !symbol(kallsyms, address, self.offset, out) {
            text::hex0x(out, address);
        } else if self.offset {
            out.push(b' ');
        }
    }
}

impl Repeats {
    fn put(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        let delta = self.top.raw(record.data) << 32 | self.bottom.raw(record.data);
        let nanos = record.ticks.wrapping_sub(delta);
        out.extend_from_slice(b" (count: ");
        text::dec(out, self.count.raw(record.data));
        out.extend_from_slice(b"  last_ts: ");
        let (unit, digits, time) = match self.nanoseconds {
            true => (1_000_000_000, 9, nanos),
            false => (1_000_000, 6, nanos.wrapping_add(500) / 1000),
        };
        text::dec_right(out, time / unit, 5);
        out.push(b'.');
        text::dec_zeros(out, time % unit, digits);
        out.push(b')');
    }
}

/// The chains of functions, one for each CPU.
struct Indent {
    abi: Abi,
    events: Vec<(u16, Int, Int)>,
    chains: Vec<Vec<Option<u32>>>,
}

impl Tracker for Indent {
    fn observe(&mut self, record: &Record<'_>, scene: &Scene<'_>) -> u32 {
        let id = self.abi.u16(record.data);
        let Some(&(_, ip, parent_ip)) = self.events.iter().find(|event| Some(event.0) == id) else { return 0 };
        let kallsyms = &scene.trace.kallsyms;
        let child = kallsyms.number(ip.raw(record.data));
        let Some(parent) = kallsyms.number(parent_ip.raw(record.data)) else { return 0 };
        let cpu = (record.cpu as usize).min(1 << 14);
        if self.chains.len() <= cpu {
            self.chains.resize_with(cpu + 1, Vec::new);
        }
        let Some(chain) = self.chains.get_mut(cpu) else { return 0 };
        let level = chain.iter().position(|&known| known == Some(parent)).filter(|&level| level < MAX_DEPTH);
        let level = level.unwrap_or_else(|| {
            put_at(chain, 0, Some(parent));
            0
        });
        put_at(chain, level + 1, child);
        level as u32
    }
}

fn put_at(chain: &mut Vec<Option<u32>>, level: usize, function: Option<u32>) {
    match chain.get_mut(level) {
        Some(slot) => *slot = function,
        None => chain.push(function),
    }
}

/// The tracker that guesses depths.
fn indenter(context: &Context<'_>) -> Option<Tracked> {
    if !context.on("ftrace", "indent") {
        return None;
    }
    let abi = context.trace.abi;
    let event =
        |format: &EventFormat| Some((format.id, Int::find(format, "ip", abi)?, Int::find(format, "parent_ip", abi)?));
    let formats = ["function", "func_repeats"].map(|name| context.format("ftrace", name));
    let events: Vec<_> = formats.into_iter().flatten().filter_map(event).collect();
    let mut ids: Vec<u16> = events.iter().map(|event| event.0).collect();
    ids.sort_unstable();
    let tracker = Box::new(Indent { abi, events, chains: Vec::new() });
    (!ids.is_empty()).then_some(Tracked { ids, tracker, only_names: false })
}
