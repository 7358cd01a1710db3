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
struct CallDepth {
    abi: Abi,
    events: Vec<(u16, Int, Int)>,
    chains: Vec<Vec<Option<u32>>>,
}

impl Tracker for CallDepth {
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
    let tracker = Box::new(CallDepth { abi, events, chains: Vec::new() });
    (!ids.is_empty()).then_some(Tracked { ids, tracker, only_names: false })
}

#[cfg(test)]
mod tests {
    use crate::decode::testing::bytes;
    use crate::plugins::testing::{FA, FB, FC, FD, FE, Look, SYMBOLS};

    const CALL: &str = "ftrace:function";

    fn texts(options: &[&str], calls: &[(u32, i64, i64)]) -> Vec<String> {
        let look = Look::of("6.12", &[CALL]).symbols(SYMBOLS);
        let look = options.iter().fold(look, |look, option| look.option(option));
        let record =
            |(cpu, ip, parent): &(u32, i64, i64)| (*cpu, 0, look.record(CALL, &[("ip", *ip), ("parent_ip", *parent)]));
        let records: Vec<_> = calls.iter().map(record).collect();
        look.texts(&records)
    }

    #[test]
    fn a_call_is_shown_by_the_name_of_the_function() {
        assert_eq!(texts(&[], &[(0, FA, FE + 1)]), ["fa"]);
        assert_eq!(texts(&[], &[(0, 0x77, FE + 1)]), ["0x77"]);
    }

    #[test]
    fn a_function_stands_one_deeper_than_its_parent() {
        let calls = [(0, FB, FA + 0x10), (0, FC, FB + 8), (0, FD, FC + 9), (0, FB, FA + 3)];
        assert_eq!(texts(&[], &calls), ["fb", "   fc", "      fd", "fb"]);
    }

    #[test]
    fn a_parent_that_is_further_up_ends_what_was_below_it() {
        let calls = [(0, FA, FE + 1), (0, FB, FA + 1), (0, FC, FB + 1), (0, FD, FB + 2), (0, FE, FD + 2)];
        assert_eq!(texts(&[], &calls), ["fa", "   fb", "      fc", "      fd", "         fe"]);
    }

    #[test]
    fn a_parent_that_was_not_seen_begins_anew() {
        let calls = [(0, FB, FA + 0x10), (0, FC, FB + 8), (0, FE, FD + 1), (0, FA, FE + 1)];
        assert_eq!(texts(&[], &calls), ["fb", "   fc", "fe", "   fa"]);
    }

    #[test]
    fn each_cpu_has_a_depth_of_its_own() {
        let calls = [(0, FB, FA), (1, FC, FB), (0, FC, FB), (1, FD, FC)];
        assert_eq!(texts(&[], &calls), ["fb", "fc", "   fc", "   fd"]);
    }

    #[test]
    fn without_indent_all_functions_stand_at_the_margin() {
        assert_eq!(texts(&["ftrace:indent=0"], &[(0, FB, FA), (0, FC, FB)]), ["fb", "fc"]);
    }

    #[test]
    fn the_parent_is_shown_on_request() {
        assert_eq!(texts(&["ftrace:parent"], &[(0, FB, FA + 1)]), ["fb <-- fa"]);
        assert_eq!(texts(&["ftrace:parent"], &[(0, FB, 0x8)]), ["fb <-- 0x8"]);
    }

    #[test]
    fn offsets_are_shown_on_request() {
        // trace-cmd ends each of them with a blank.
        assert_eq!(texts(&["ftrace:parent", "ftrace:offset"], &[(0, FB, FA + 1)]), ["fb+0x0  <-- fa+0x1 "]);
    }

    #[test]
    fn repeats_show_how_often_and_when_for_the_last_time() {
        // 1000 ns before the record, which was written after 5 ms.
        let look = Look::of("6.12", &["ftrace:func_repeats"]).symbols(SYMBOLS);
        let fields = [("ip", FC), ("parent_ip", FB + 3), ("count", 5), ("bottom_delta_ts", 1000)];
        let record = look.record("ftrace:func_repeats", &fields);
        let texts = look.texts(&[(0, 5_000_000, record)]);
        assert_eq!(texts, ["fc (count: 5  last_ts:     0.004999)"]);
    }

    #[test]
    fn a_call_with_arguments_shows_them() {
        let look = Look::of("6.18", &["ftrace:func_repeats"]).symbols(SYMBOLS).format("ftrace", ARGS);
        let record = "010000004d00000000000081ffffffff01040081ffffffff0500000000000000ffffffffffffffff";
        assert_eq!(look.text(bytes(record)), "fa(5, ffffffffffffffff)");
    }

    /// The format of a kernel with CONFIG_FUNCTION_TRACE_ARGS.
    const ARGS: &str = "name: function\nID: 1\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
        \tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n\
        \tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n\
        \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n\
        \tfield:unsigned long ip;\toffset:8;\tsize:8;\tsigned:0;\n\
        \tfield:unsigned long parent_ip;\toffset:16;\tsize:8;\tsigned:0;\n\
        \tfield:unsigned long args[];\toffset:24;\tsize:0;\tsigned:0;\n\n\
        print fmt: \" %ps <-- %ps\", (void *)REC->ip, (void *)REC->parent_ip\n";
}
