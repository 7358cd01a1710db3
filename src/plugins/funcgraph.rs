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
    let draw = GraphText {
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
            Some(Box::new(GraphEntry {
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
        "funcgraph_exit" => Some(Box::new(GraphExit { draw, fields: ExitFields::find(format, abi)? })),
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

struct GraphText {
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

struct GraphEntry {
    draw: GraphText,
    func: Int,
    level: Int,
    retaddr: Option<Int>,
    args: Option<(usize, Arguments)>,
    exit: Option<ExitFields>,
}

impl Plugin for GraphEntry {
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

struct GraphExit {
    draw: GraphText,
    fields: ExitFields,
}

impl Plugin for GraphExit {
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

impl GraphText {
    fn level(&self, level: u64, out: &mut Vec<u8>) {
        if self.depth {
            out.extend_from_slice(b" (");
            text::signed(out, i64::from(level as i32));
            out.push(b')');
        }
    }

    #[inline]
    fn retval(&self, retval: Option<Int>, data: &[u8], out: &mut Vec<u8>) {
        if self.retval == Retval::Skip {
            return;
        }
        let Some(retval) = retval else { return };
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

#[cfg(test)]
mod tests {
    use crate::decode::Compat;
    use crate::decode::testing::{TEXTS, bytes};
    use crate::plugins::testing::{FA, Look, SYMBOLS};
    use crate::wire::record::Record;

    const EVENTS: [&str; 2] = ["ftrace:funcgraph_entry", "ftrace:funcgraph_exit"];

    // Records of 6.12.95 and what trace-cmd printed of them: tests/fixtures/v7-fgraph-probes.
    const ENTRY: &str = "0b000001d0000000c4c22882ffffffff00000000";
    const EXIT: &str = "0a000000d0000000c4c22882ffffffff00000000000000000813feca07000000433efeca07000000\
        00000000000000000000000000000000";
    const DEEP_ENTRY: &str = "0b000003d000000074378081ffffffff03000000";
    const DEEP_EXIT: &str = "0a000002d000000074378081ffffffff03000000000000009873c5cb07000000878fc5cb07000000\
        00000000000000000000000000000000";
    const SLOW_EXIT: &str = "0a000002d0000000d4338081ffffffff0200000000000000c769c5cb070000004f31c8cb07000000\
        00000000000000000000000000000000";

    fn look() -> Look {
        Look::of("6.12", &EVENTS).symbols(
            "ffffffff81803370 t audit_kill_trees\nffffffff8228c2c0 T mutex_unlock\n\
            ffffffff8228d000 T end\n",
        )
    }

    fn texts(look: Look, records: &[&str]) -> Vec<String> {
        let records: Vec<_> = records.iter().map(|hex| (1, 0, bytes(hex))).collect();
        look.texts(&records)
    }

    /// A call of `fa` that took that many nanoseconds.
    fn call(look: Look, nanos: i64) -> Vec<String> {
        let entry = look.record(EVENTS[0], &[("func", FA)]);
        let exit = look.record(EVENTS[1], &[("func", FA), ("calltime", 5000), ("rettime", 5000 + nanos)]);
        look.texts(&[(0, 0, entry), (0, 0, exit)])
    }

    #[test]
    fn an_entry_alone_opens_a_brace_below_its_caller() {
        assert_eq!(texts(look(), &[ENTRY]), ["             |  mutex_unlock() {"]);
        assert_eq!(texts(look(), &[DEEP_ENTRY]), ["             |        audit_kill_trees() {"]);
    }

    #[test]
    fn an_exit_alone_closes_the_brace_and_says_how_long_it_took() {
        assert_eq!(texts(look(), &[DEEP_EXIT]), ["  7.151 us   |        }"]);
        assert_eq!(texts(look(), &[SLOW_EXIT]), ["! 182.152 us |      }"]);
    }

    #[test]
    fn a_leaf_is_one_line_with_its_exit() {
        assert_eq!(texts(look(), &[ENTRY, EXIT]), ["+ 11.067 us  |  mutex_unlock();"]);
        let leaf = "  7.151 us   |        audit_kill_trees();";
        assert_eq!(texts(look(), &[DEEP_ENTRY, DEEP_EXIT]), [leaf]);
    }

    #[test]
    fn an_entry_keeps_its_brace_before_the_exit_of_another_function() {
        let lines = ["             |  mutex_unlock() {", "  7.151 us   |        }"];
        assert_eq!(texts(look(), &[ENTRY, DEEP_EXIT]), lines);
    }

    #[test]
    fn an_exit_of_another_task_is_not_its_own() {
        let other = EXIT.replacen("d0000000", "d1000000", 1);
        assert_eq!(texts(look(), &[ENTRY, &other]).len(), 2);
    }

    #[test]
    fn marks_say_how_slow_a_function_was() {
        // Beyond 10 us, 100 us, 1 ms, 10 ms, 100 ms and 1 s: the marks of the kernel's trace file.
        let mark = |compat: Compat, nanos: i64| {
            let look = Look::of("6.12", &EVENTS).symbols(SYMBOLS).compat(compat);
            call(look, nanos).remove(0).chars().next().unwrap()
        };
        let nanos = [10_000, 10_001, 100_001, 1_000_001, 10_000_001, 100_000_001, 1_000_000_001];
        assert_eq!(nanos.map(|nanos| mark(Compat::Rtrec, nanos)), [' ', '+', '!', '#', '*', '@', '$']);
        // trace-cmd knows none between a millisecond and a second.
        assert_eq!(nanos.map(|nanos| mark(Compat::V34, nanos)), [' ', '+', '!', '#', '#', '#', '$']);
    }

    #[test]
    fn a_duration_has_seven_columns() {
        let look = || Look::of("6.12", &EVENTS).symbols(SYMBOLS);
        assert_eq!(call(look(), 1), ["  0.001 us   |  fa();"]);
        assert_eq!(call(look(), 12_345), ["+ 12.345 us  |  fa();"]);
        assert_eq!(call(look(), 123_456), ["! 123.456 us |  fa();"]);
    }

    #[test]
    fn the_depth_is_shown_on_request() {
        let text = texts(look().option("fgraph:depth"), &[DEEP_ENTRY, DEEP_EXIT]);
        assert_eq!(text, ["  7.151 us   |        audit_kill_trees(); (3)"]);
        let text = texts(look().option("fgraph:depth"), &[DEEP_ENTRY]);
        assert_eq!(text, ["             |        audit_kill_trees() { (3)"]);
    }

    #[test]
    fn the_name_stands_behind_the_closing_brace_on_request() {
        let text = texts(look().option("fgraph:tailprint"), &[DEEP_EXIT]);
        assert_eq!(text, ["  7.151 us   |        } /* audit_kill_trees */"]);
    }

    #[test]
    fn a_function_without_a_name_is_an_address() {
        let look = || Look::of("6.12", &EVENTS);
        assert_eq!(texts(look(), &[ENTRY]), ["             |  ffffffff8228c2c4() {"]);
        // trace-cmd 3.4 loses it.
        assert_eq!(texts(look().compat(Compat::V34), &[ENTRY]), ["             |  ) {"]);
    }

    /// A call of `fa` that returned `value`, in a kernel that records what functions return.
    fn returned(options: &[&str], value: i64) -> String {
        let common = "field:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
            field:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n\
            field:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n\
            field:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n";
        // The fields of a kernel with CONFIG_FUNCTION_GRAPH_RETVAL.
        let own = "field:unsigned long func;\toffset:8;\tsize:8;\tsigned:0;\n\
            field:unsigned long retval;\toffset:16;\tsize:8;\tsigned:0;\n\
            field:int depth;\toffset:24;\tsize:4;\tsigned:1;\n\
            field:unsigned int overrun;\toffset:28;\tsize:4;\tsigned:0;\n\
            field:unsigned long long calltime;\toffset:32;\tsize:8;\tsigned:0;\n\
            field:unsigned long long rettime;\toffset:40;\tsize:8;\tsigned:0;\n\n";
        let exit = format!("name: funcgraph_exit\nID: 10\nformat:\n{common}{own}print fmt: \"\"\n");
        let look = Look::of("6.12", &EVENTS[..1]).format("ftrace", &exit).symbols(SYMBOLS);
        let look = options.iter().fold(look, |look, option| look.option(option));
        let entry = look.record(EVENTS[0], &[("func", FA)]);
        let exit = look.record(EVENTS[1], &[("func", FA), ("retval", value), ("rettime", 100)]);
        look.texts(&[(0, 0, entry), (0, 0, exit)]).remove(0)
    }

    #[test]
    fn errors_are_returned_in_decimal_and_all_else_in_hex() {
        assert_eq!(returned(&[], 5), "  0.100 us   |  fa(); (ret=0x5)");
        assert_eq!(returned(&[], -1), "  0.100 us   |  fa(); (ret=-1)");
        assert_eq!(returned(&[], -4095), "  0.100 us   |  fa(); (ret=-4095)");
        assert_eq!(returned(&[], -4096), "  0.100 us   |  fa(); (ret=0xfffffffffffff000)");
    }

    #[test]
    fn options_decide_how_returned_values_are_spelled() {
        assert_eq!(returned(&["fgraph:retval-dec"], 26), "  0.100 us   |  fa(); (ret=26)");
        assert_eq!(returned(&["fgraph:retval-hex"], -1), "  0.100 us   |  fa(); (ret=0xffffffffffffffff)");
        assert_eq!(returned(&["fgraph:retval-skip", "fgraph:retval-dec"], 26), "  0.100 us   |  fa();");
    }

    // Records and texts of tests/fixtures/texts.
    const RETADDR_CALL: [&str; 2] = [
        "0c0000004d00000000000081ffffffff0000000008010081ffffffff",
        "0a0000004d00000000000081ffffffff0000000000000000e8030000000000004c04000000000000",
    ];

    #[test]
    fn who_called_stands_behind_the_function() {
        let look = || Look::of(TEXTS, &["ftrace:fgraph_retaddr_entry"]).symbols(SYMBOLS).format("ftrace", exit_text());
        assert_eq!(texts(look(), &RETADDR_CALL), ["  0.100 us   |  fa(); /* <-fb */"]);
        assert_eq!(texts(look(), &RETADDR_CALL[..1]), ["             |  fa() /* <-fb */ {"]);
        let nobody = "0c0000004d00000000040081ffffffff020000000500000000000000";
        assert_eq!(texts(look(), &[nobody]), ["             |      fe() {"], "an address without a name says nothing");
    }

    fn exit_text() -> &'static str {
        crate::decode::testing::format_text("6.12", "ftrace:funcgraph_exit")
    }

    #[test]
    fn arguments_stand_in_the_parentheses() {
        let look = Look::of("6.18", &EVENTS).symbols(SYMBOLS);
        let record =
            "0b0000004d00000000000081ffffffff000000000000000001000000 00000000ffffffffffffffff001000008088ffff";
        let text = "             |  fa(1, ffffffffffffffff, ffff888000001000) {";
        assert_eq!(texts(look, &[record]), [text]);
        let look = Look::of("6.18", &EVENTS).symbols(SYMBOLS);
        let without = "0b0000004d00000000000081ffffffff0000000000000000";
        assert_eq!(texts(look, &[without]), ["             |  fa() {"]);
    }

    #[test]
    fn the_graphs_own_events_open_and_close_functions() {
        let trace =
            std::sync::Arc::new(crate::decode::testing::trace("6.12", &[EVENTS[0], EVENTS[1], "ftrace:function"]));
        let decoders = crate::decode::Decoders::new(trace, crate::plugins::REGISTRY, Default::default()).unwrap();
        let pairing = decoders.pairing();
        assert_eq!([1, 10, 11].map(|id| pairing.is_entry(id)), [false, false, true]);
        assert_eq!([1, 10, 11].map(|id| pairing.is_exit(id)), [false, true, false]);
        let (entry, exit) = (bytes(ENTRY), bytes(EXIT));
        let record = |data| Record { ticks: 0, cpu: 1, data };
        assert!(pairing.matches(&record(&entry), &record(&exit)));
        assert!(!pairing.matches(&record(&exit), &record(&entry)));
    }
}
