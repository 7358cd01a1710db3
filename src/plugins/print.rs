//! Text and bytes that programs and the kernel put into the trace: `bprint` and `raw_data`.
//!
//! `print` and `bputs` are shown by their print fmt. A `bprint` record holds the address of a constant format and its
//! arguments, packed: integers by the width of their conversion, 8-byte ones aligned to 4; texts in place, ended by
//! NUL; addresses as a long, but for those `%p` forms that the kernel had to resolve at once, which are texts.

use crate::wire::abi::Abi;
use crate::wire::bytes::until_nul;
use crate::wire::format::{EventFormat, sign_extend};
use crate::wire::print_fmt::{Base, Number, fit};
use crate::wire::record::Record;
use crate::wire::text;

use crate::decode::field::{Int, symbol};
use crate::decode::{Compat, Context, Family, Plugin, Scene, Then};

/// The registry's entry of bprint, which is decoded even without plugins.
pub const BPRINT: Family = Family {
    name: "bprint",
    about: "Prints trace_printk events from their stored format and packed arguments.",
    always: true,
    bind: |context, format| bind_bprint(context, format),
    ..Family::NONE
};

/// The registry's entry of raw_data.
pub const RAW_DATA: Family = Family {
    name: "raw_data",
    about: "Prints what was written to trace_marker_raw as hex bytes.",
    bind: |context, format| bind_raw(context, format),
    ..Family::NONE
};

fn bind_bprint(context: &Context<'_>, format: &EventFormat) -> Option<Box<dyn Plugin>> {
    let abi = context.trace.abi;
    if format.system != "ftrace" || format.name != "bprint" {
        return None;
    }
    Some(Box::new(Bprint {
        abi,
        compat: context.compat,
        ip: Int::find(format, "ip", abi)?,
        fmt: Int::find(format, "fmt", abi)?,
        buf: format.field("buf")?.offset.into(),
    }))
}

struct Bprint {
    abi: Abi,
    compat: Compat,
    ip: Int,
    fmt: Int,
    buf: usize,
}

impl Plugin for Bprint {
    fn text(&self, record: &Record<'_>, scene: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        let data = record.data;
        let ip = self.ip.raw(data);
        if !symbol(&scene.trace.kallsyms, ip, false, out) {
            text::hex0x(out, ip);
        }
        out.extend_from_slice(b": ");
        let address = self.fmt.raw(data);
        match scene.trace.printk.get(address) {
            Some(format) => {
                let args = PackedArgs { bytes: data.get(self.buf..).unwrap_or(&[]), at: 0, abi: self.abi };
                let pending = [None; 3];
                Formatter { args, compat: self.compat, format, scan: 0, pending, scene, out }.run();
            }
            None => {
                out.extend_from_slice(b"(NO FORMAT FOUND at ");
                text::hex(out, address);
                out.push(b')');
            }
        }
        Then::Done
    }
}

/// Arguments packed one after another.
struct PackedArgs<'a> {
    bytes: &'a [u8],
    at: usize,
    abi: Abi,
}

/// What an argument is stored as.
#[derive(Clone, Copy)]
enum ConversionKind {
    Int(usize),
    Text,
}

/// An argument.
#[derive(Clone, Copy)]
enum Arg<'a> {
    Int(u64),
    Text(&'a [u8]),
}

impl<'a> PackedArgs<'a> {
    fn next(&mut self, kind: ConversionKind) -> Option<Arg<'a>> {
        match kind {
            ConversionKind::Int(size) => {
                let align = size.min(4);
                let at = self.at.div_ceil(align) * align;
                let value = self.abi.uint(self.bytes.get(at..at + size)?)?;
                self.at = at + size;
                Some(Arg::Int(sign_extend(value, size as u32)))
            }
            ConversionKind::Text => {
                let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
                let text = until_nul(rest);
                self.at += text.len() + 1;
                Some(Arg::Text(text))
            }
        }
    }
}

/// A width or precision in a format.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IntWidth {
    None,
    Is(usize),
    /// `*`
    Next,
}

/// One conversion of a format.
struct Spec<'f> {
    number: Number,
    width: IntWidth,
    precision: IntWidth,
    /// Bytes of an integer.
    size: usize,
    conversion: u8,
    /// The letters after `%p`.
    letters: &'f [u8],
    /// Length of all but those letters.
    len: usize,
}

fn wide(text: &[u8]) -> (IntWidth, usize) {
    if text.first() == Some(&b'*') {
        return (IntWidth::Next, 1);
    }
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = text[..len].iter().fold(0usize, |value, digit| (value * 10 + usize::from(digit - b'0')).min(4096));
    (if len > 0 { IntWidth::Is(value) } else { IntWidth::None }, len)
}

impl<'f> Spec<'f> {
    /// Reads what follows a `%`.
    fn parse(text: &'f [u8], long: usize) -> Spec<'f> {
        let rest = |at: usize| text.get(at..).unwrap_or(&[]);
        let mut number = Number::PLAIN;
        let mut at = 0;
        while let Some(&flag) = text.get(at) {
            match flag {
                b'-' => number.minus = true,
                b'0' => number.zero = true,
                b'#' => number.alt = true,
                b'+' => number.plus = true,
                b' ' => number.space = true,
                _ => break,
            }
            at += 1;
        }
        let (width, len) = wide(rest(at));
        at += len;
        let mut precision = IntWidth::None;
        if text.get(at) == Some(&b'.') {
            let (value, len) = wide(rest(at + 1));
            precision = if value == IntWidth::None { IntWidth::Is(0) } else { value };
            at += 1 + len;
        }
        let length = rest(at).iter().take_while(|byte| b"hlLqzjt".contains(byte)).count();
        let size = match &rest(at)[..length] {
            b"" => 4,
            b"h" => 2,
            b"hh" => 1,
            b"l" | b"z" | b"t" => long,
            _ => 8,
        };
        number.bits = size as u8 * 8;
        at += length;
        let conversion = text.get(at).copied().unwrap_or(0);
        number.base = match conversion {
            b'u' => Base::Unsigned,
            b'x' => Base::Hex,
            b'X' => Base::HexUpper,
            b'o' => Base::Octal,
            _ => Base::Signed,
        };
        at += usize::from(conversion != 0);
        let letters = match conversion {
            b'p' => &rest(at)[..rest(at).iter().take_while(|byte| byte.is_ascii_alphanumeric()).count()],
            _ => &[],
        };
        Spec { number, width, precision, size, conversion, letters, len: at }
    }

    /// How the argument itself is stored, besides those for `*`.
    fn kind(&self, long: usize) -> Option<ConversionKind> {
        match self.conversion {
            b'd' | b'i' | b'u' | b'x' | b'X' | b'o' => Some(ConversionKind::Int(self.size)),
            b'c' => Some(ConversionKind::Int(1)),
            b's' => Some(ConversionKind::Text),
            b'p' => match self.letters.first() {
                None | Some(b'S' | b's' | b'F' | b'f' | b'B' | b'x' | b'K' | b'e') => Some(ConversionKind::Int(long)),
                Some(_) => Some(ConversionKind::Text),
            },
            _ => None,
        }
    }
}

struct Formatter<'a, 'f, 's, 'o> {
    args: PackedArgs<'a>,
    compat: Compat,
    format: &'f [u8],
    /// Where the search for the next argument's conversion goes on, in the compat modes.
    scan: usize,
    pending: [Option<ConversionKind>; 3],
    scene: &'s Scene<'s>,
    out: &'o mut Vec<u8>,
}

impl<'a> Formatter<'a, '_, '_, '_> {
    fn long(&self) -> usize {
        usize::from(self.args.abi.long_bytes)
    }

    fn run(&mut self) {
        let mut at = 0;
        while let Some(rest) = self.format.get(at..).filter(|rest| !rest.is_empty()) {
            let plain = memchr::memchr(b'%', rest).unwrap_or(rest.len());
            self.out.extend_from_slice(&rest[..plain]);
            at += plain;
            if plain < rest.len() {
                let spec = Spec::parse(&rest[plain + 1..], self.long());
                at += 1 + spec.len + self.put(&spec);
            }
        }
    }

    /// The next argument, which a conversion wants to be of `kind`.
    fn arg(&mut self, kind: ConversionKind) -> Option<Arg<'a>> {
        if self.compat == Compat::Rtrec {
            return self.args.next(kind);
        }
        // libtraceevent reads all arguments before it prints any, and passes over conversions it does not understand:
        // the conversions after them get each other's arguments.
        let kind = self.scanned()?;
        self.args.next(kind)
    }

    fn scanned(&mut self) -> Option<ConversionKind> {
        loop {
            if let Some(kind) = self.pending.iter_mut().find_map(Option::take) {
                return Some(kind);
            }
            let rest = self.format.get(self.scan..)?;
            let start = memchr::memchr(b'%', rest)? + 1;
            let spec = Spec::parse(rest.get(start..)?, self.long());
            self.scan += start + spec.len.max(1);
            let passed_over = spec.number.minus || spec.size < 4 || spec.conversion == b'c';
            if !passed_over {
                let star = |wide: IntWidth| if wide == IntWidth::Next { Some(ConversionKind::Int(4)) } else { None };
                self.pending = [star(spec.width), star(spec.precision), spec.kind(self.long())];
            }
        }
    }

    fn count(&mut self, wide: IntWidth) -> Option<i64> {
        match wide {
            IntWidth::None => None,
            IntWidth::Is(value) => i64::try_from(value).ok(),
            IntWidth::Next => match self.arg(ConversionKind::Int(4))? {
                Arg::Int(value) => Some(i64::from(value as i32)),
                Arg::Text(_) => None,
            },
        }
    }

    /// Prints one conversion; returns how many of its letters belong to it.
    fn put(&mut self, spec: &Spec<'_>) -> usize {
        let mut number = spec.number;
        let width = self.count(spec.width);
        number.minus |= width.is_some_and(|width| width < 0);
        number.width = width.map_or(0, |width| width.unsigned_abs() as usize);
        number.precision = self.count(spec.precision).and_then(|precision| usize::try_from(precision).ok());
        match spec.conversion {
            b'%' => self.out.push(b'%'),
            b'c' if self.compat == Compat::V31 => self.out.extend_from_slice(b">c<"),
            b'c' => match self.arg(ConversionKind::Int(1)) {
                Some(Arg::Int(value)) if value as u8 != 0 => self.out.push(value as u8),
                Some(_) => {}
                None => self.missing(b'c'),
            },
            b'p' => return self.pointer(spec, &number),
            conversion => match spec.kind(self.long()) {
                Some(kind) => match self.arg(kind) {
                    Some(Arg::Int(value)) => number.put(self.out, value),
                    Some(Arg::Text(text)) => self.text(text, &number),
                    None => self.missing(conversion),
                },
                None if conversion != 0 => self.out.extend_from_slice(&[b'>', conversion, b'<']),
                None => {}
            },
        }
        0
    }

    fn missing(&mut self, conversion: u8) {
        match self.compat {
            Compat::Rtrec => self.out.extend_from_slice(b"(missing)"),
            _ => self.out.push(conversion),
        }
    }

    fn text(&mut self, text: &[u8], number: &Number) {
        let start = self.out.len();
        self.out.extend_from_slice(text);
        fit(self.out, start, number.width, number.precision, number.minus);
    }

    fn pointer(&mut self, spec: &Spec<'_>, number: &Number) -> usize {
        let lte = self.compat != Compat::Rtrec;
        let first = spec.letters.first().copied().unwrap_or(0);
        let Some(kind) = spec.kind(self.long()) else { return 0 };
        let symbols = match first {
            b'S' | b'F' => Some(true),
            b's' | b'f' => Some(false),
            b'B' if !lte => Some(true),
            _ => None,
        };
        match self.arg(kind) {
            None => self.missing(b'p'),
            // The width of %*ph is a number of bytes.
            Some(Arg::Text(text)) if first == b'h' => self.out.extend_from_slice(text),
            Some(Arg::Text(text)) => self.text(text, number),
            Some(Arg::Int(address)) => match symbols {
                Some(offset) if symbol(&self.scene.trace.kallsyms, address, offset, self.out) => {}
                None if address == 0 => self.out.extend_from_slice(b"(nil)"),
                _ => text::hex0x(self.out, address),
            },
        }
        match (lte, kind) {
            (false, _) => spec.letters.len(),
            (true, ConversionKind::Int(_)) => usize::from(symbols.is_some()),
            (true, ConversionKind::Text) => lte_letters(spec.letters),
        }
    }
}

/// How many letters after `%p` libtraceevent knows to belong to it; it prints the others as they are.
fn lte_letters(letters: &[u8]) -> usize {
    let more =
        |from: usize, set: &[u8]| letters.get(from..).unwrap_or(&[]).iter().take_while(|b| set.contains(b)).count();
    match letters {
        [b'M' | b'm', ..] => 1 + more(1, b"RF").min(1),
        [b'I' | b'i', b'4', ..] => 2 + more(2, b"hnbl").min(1),
        [b'I' | b'i', b'6', ..] => 2 + more(2, b"c").min(1),
        [b'I' | b'i', b'S', ..] => 2 + more(2, b"pc"),
        [b'U', ..] => 1 + more(1, b"bBlL").min(1),
        [b'h', ..] => 1 + more(1, b"CDN").min(1),
        _ => 0,
    }
}

fn bind_raw(context: &Context<'_>, format: &EventFormat) -> Option<Box<dyn Plugin>> {
    if format.system != "ftrace" || format.name != "raw_data" {
        return None;
    }
    let buf = format.field("buf")?.offset.into();
    Some(Box::new(RawData { id: Int::find(format, "id", context.trace.abi)?, buf }))
}

struct RawData {
    id: Int,
    buf: usize,
}

impl Plugin for RawData {
    fn text(&self, record: &Record<'_>, _: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        out.extend_from_slice(b"# ");
        text::hex(out, self.id.raw(record.data));
        for byte in record.data.get(self.buf..).unwrap_or(&[]) {
            out.push(b' ');
            text::hex_byte(out, *byte);
        }
        Then::Done
    }
}

#[cfg(test)]
mod tests {
    use crate::decode::Compat;
    use crate::decode::testing::bytes;
    use crate::plugins::testing::{FA, FB, Look, SYMBOLS};

    /// A trace_printk of this format in `fa`, and its packed arguments.
    fn printk(compat: Compat, format: &str, arguments: &str) -> String {
        let table = format!("0x{:x} : \"{format}\"\n", FB);
        let look = Look::of("6.12", &["ftrace:bprint"]).symbols(SYMBOLS).printk(&table).compat(compat);
        let mut record = look.record("ftrace:bprint", &[("ip", FA + 5), ("fmt", FB)]);
        record.truncate(24);
        record.extend(bytes(arguments));
        look.text(record)
    }

    fn own(format: &str, arguments: &str) -> String {
        printk(Compat::Rtrec, format, arguments).strip_prefix("fa: ").unwrap().to_owned()
    }

    // What the kernel's bstr_printf makes of the same words is what the texts say.

    #[test]
    fn integers_and_texts_are_taken_in_turn() {
        assert_eq!(own("val %d %s end\\n", "fbffffff 68657900"), "val -5 hey end");
    }

    #[test]
    fn an_integer_is_as_wide_as_its_conversion() {
        let arguments = "fb00 f9ff f7ffffff f5ffffffffffffff f3ffffffffffffff 41";
        assert_eq!(own("%hhd %hd %d %ld %lld %c|", arguments), "-5 -7 -9 -11 -13 A|");
    }

    #[test]
    fn eight_bytes_are_aligned_to_four() {
        assert_eq!(own("%c %ld|", "41000000 0500000000000000"), "A 5|");
        assert_eq!(own("%d %ld|", "01000000 0500000000000000"), "1 5|");
    }

    #[test]
    fn flags_and_widths_are_those_of_printf() {
        let arguments = "fdffffff 04000000 05000000 bc0a0000 00000000 0700000000000000";
        assert_eq!(own("%5d|%-5d|%05d|%x|%#x|%lu", arguments), "   -3|4    |00005|abc|0|7");
    }

    #[test]
    fn a_star_takes_its_number_from_the_arguments() {
        let arguments = "06000000 2a000000 02000000 61626364656600 78797a7a7900 7700";
        assert_eq!(own("%*d|%.*s|%.3s|%10s|", arguments), "    42|ab|xyz|         w|");
    }

    #[test]
    fn pointers_are_addresses_or_functions() {
        let arguments = "04010081ffffffff 04020081ffffffff 04030081ffffffff";
        assert_eq!(own("%p %pS %ps|", arguments), "0xffffffff81000104 fc+0x4 fd|");
    }

    #[test]
    fn what_the_kernel_resolved_at_once_is_a_text() {
        assert_eq!(own("%pI4 %pM %pUb", "312e322e332e3400 61613a626200 7575696400"), "1.2.3.4 aa:bb uuid");
    }

    #[test]
    fn a_percent_sign_takes_no_argument() {
        assert_eq!(own("100%% of %d", "07000000"), "100% of 7");
    }

    #[test]
    fn arguments_that_are_not_there_are_said_to_be_missing() {
        assert_eq!(own("%d %d", "07000000"), "7 (missing)");
        // trace-cmd prints the conversion's letter.
        assert_eq!(printk(Compat::V34, "%d %d", "07000000"), "fa: 7 d");
    }

    #[test]
    fn a_format_that_the_file_has_not_is_said_to_be_missing() {
        let look = Look::of("6.12", &["ftrace:bprint"]).symbols(SYMBOLS);
        let record = look.record("ftrace:bprint", &[("ip", FA), ("fmt", 0x1234)]);
        assert_eq!(look.text(record), "fa: (NO FORMAT FOUND at 1234)");
    }

    #[test]
    fn what_a_program_wrote_stands_after_the_function_that_took_it() {
        // Records of 6.12.95 and what trace-cmd printed of them: tests/fixtures/v6-instances.
        let symbols = "ffffffff8182ac00 t update_max_tr_single\nffffffff8182b000 t end\n";
        let look = || Look::of("6.12", &["ftrace:print"]).symbols(symbols);
        let record = "05000000c1000000dfac8281ffffffff7374617274206f6620776f726b0a0000";
        assert_eq!(look().text(bytes(record)), "update_max_tr_single: start of work");
        let without_newline = "05000000c1000000dfac8281ffffffff6e6f206e65776c696e650a00";
        assert_eq!(look().text(bytes(without_newline)), "update_max_tr_single: no newline");
    }

    #[test]
    fn raw_data_is_hex_after_its_number() {
        // As in tests/fixtures/v6-instances, where `052 0 0 0 1 2 3 4 5` was written.
        let look = || Look::of("6.12", &["ftrace:raw_data"]);
        let record = "12000000c10000002a000000010203040500000000000000";
        let id = look().record("ftrace:raw_data", &[]);
        let record = [&id[..2], &bytes(record)[2..]].concat();
        assert_eq!(look().text(record), "# 2a 01 02 03 04 05 00 00 00 00 00 00 00");
    }
}
