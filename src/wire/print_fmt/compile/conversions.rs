//! The format string: its conversions, and the letters after `%p`.

use super::super::Flavor;
use super::super::conv::{Base, Number};
use super::super::parse::Expr;
use super::super::pointer::{Ip6, Memory, SocketStyle};
use super::super::program::{Count, Emit, Fit, Mem, MemNode, NumNode, Txt, TxtNode};
use super::{Compiler, MAX_COST, Result, Val, refuse};

impl Compiler<'_> {
    /// A value as `%s` shows it.
    pub(super) fn text_of(&mut self, value: Val) -> Result<Txt> {
        match value {
            Val::Txt(txt) => Ok(txt),
            Val::Mem(mem, elem) if self.lte && elem.total == 0 && self.is_located(mem) => self.literal_text(b""),
            Val::Mem(mem, _) => self.push_txt(TxtNode::Bytes(mem)),
            Val::Num(num, _) => match self.program.nums.get(num as usize) {
                Some(&NumNode::Load(at, word)) if self.lte && word.ty.bytes < self.abi.long_bytes => {
                    let mem = self.push_mem(MemNode::Fixed(at, u16::from(word.ty.bytes)))?;
                    self.push_txt(TxtNode::Bytes(mem))
                }
                Some(NumNode::Const(0)) if !self.lte => self.literal_text(b"(null)"),
                _ => self.push_txt(TxtNode::Address(num)),
            },
            Val::Name(name) => self.literal_text(name.as_bytes()),
        }
    }

    fn is_located(&self, mem: Mem) -> bool {
        matches!(self.program.mems.get(mem as usize), Some(MemNode::Located(..) | MemNode::Short(_)))
    }

    fn emit_literal(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        let (at, len) = self.literal(text);
        if let Some(Emit::Literal(before, length)) = self.program.emits.last_mut()
            && *before + *length == at
        {
            *length += len;
            return;
        }
        self.program.emits.push(Emit::Literal(at, len));
    }

    pub(super) fn format_string(&mut self, format: &[u8], args: &[Expr]) -> Result<()> {
        let mut args = Args { args, next: 0 };
        let mut at = 0;
        while at < format.len() {
            let rest = format.get(at..).unwrap_or(&[]);
            let plain = rest.iter().position(|&byte| byte == b'%').unwrap_or(rest.len());
            self.emit_literal(&rest[..plain]);
            at += plain;
            if at < format.len() {
                at += 1;
                at += self.conversion(format.get(at..).unwrap_or(&[]), &mut args)?;
            }
            self.total = self.num_costs.len() as u64 + self.txt_costs.len() as u64;
            if self.program.emits.len() > 4096 || self.total > MAX_COST {
                return refuse("too much work");
            }
        }
        Ok(())
    }

    /// Compiles the conversion that starts after a `%`; returns its length.
    fn conversion(&mut self, text: &[u8], args: &mut Args<'_>) -> Result<usize> {
        let mut spec = Spec::default();
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            match byte {
                b'-' => spec.minus = true,
                b'0' => spec.zero = true,
                b'#' => spec.alt = true,
                b'+' if self.setting.flavor != Flavor::Lte2022 => spec.plus = !self.lte,
                b' ' if !self.lte => spec.space = true,
                b'\'' if !self.lte => {}
                _ => break,
            }
            at += 1;
        }
        at += self.count(text.get(at..).unwrap_or(&[]), args, &mut spec.width)?;
        if text.get(at) == Some(&b'.') {
            at += 1;
            let len = self.count(text.get(at..).unwrap_or(&[]), args, &mut spec.precision)?;
            if len == 0 {
                spec.precision = Count::Is(0);
            }
            at += len;
        }
        let length = text.get(at..).unwrap_or(&[]).iter().take_while(|byte| b"hlLqzjt".contains(byte)).count();
        let length_text = text.get(at..at + length).unwrap_or(&[]);
        at += length;
        spec.bits = match length_text {
            b"hh" => 8,
            b"h" => 16,
            b"l" | b"z" | b"t" => {
                if self.lte {
                    64
                } else {
                    self.abi.long_bytes * 8
                }
            }
            b"" => 32,
            _ => 64,
        };
        let Some(&conv) = text.get(at) else { return Ok(at) };
        at += 1;
        match conv {
            b'%' => self.emit_literal(b"%"),
            b'd' | b'i' | b'u' | b'x' | b'X' | b'o' => self.integer(conv, spec, args)?,
            b'c' if self.setting.flavor == Flavor::Lte2022 => self.emit_literal(b">c<"),
            b'c' => {
                let Some(arg) = self.next_arg(args)? else { return Ok(at) };
                let num = self.number_of(arg)?.0;
                self.program.emits.push(Emit::Char(num));
            }
            b's' => {
                let Some(arg) = self.next_arg(args)? else { return Ok(at) };
                self.string(arg, spec)?;
            }
            b'p' => at += self.pointer(text.get(at..).unwrap_or(&[]), spec, args)?,
            b'n' if !self.lte => {
                self.next_arg(args)?;
            }
            other => self.emit_literal(&[b'>', other, b'<']),
        }
        Ok(at)
    }

    /// A width or precision at the start of `text`; returns its length.
    fn count(&mut self, text: &[u8], args: &mut Args<'_>, count: &mut Count) -> Result<usize> {
        if text.first() == Some(&b'*') {
            if let Some(arg) = self.next_arg(args)? {
                *count = Count::Num(self.number_of(arg)?.0);
            }
            return Ok(1);
        }
        let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if len > 0 {
            let value = text[..len]
                .iter()
                .fold(0u16, |value, &digit| value.saturating_mul(10).saturating_add(u16::from(digit - b'0')));
            *count = Count::Is(value);
        }
        Ok(len)
    }

    /// The next argument; `None` if there is none, which is then said in the text.
    fn next_arg(&mut self, args: &mut Args<'_>) -> Result<Option<Val>> {
        let Some(arg) = args.args.get(args.next) else {
            if self.lte {
                return refuse("fewer arguments than conversions");
            }
            self.emit_literal(b"(missing)");
            return Ok(None);
        };
        args.next += 1;
        self.value(arg).map(Some)
    }

    fn integer(&mut self, conv: u8, spec: Spec, args: &mut Args<'_>) -> Result<()> {
        let base = match conv {
            b'd' | b'i' => Base::Signed,
            b'u' => Base::Unsigned,
            b'x' => Base::Hex,
            b'X' => Base::HexUpper,
            _ => Base::Octal,
        };
        let num = match self.next_arg(args)? {
            None => return Ok(()),
            // A text or an unknown name under %d: better shown than refused.
            Some(Val::Name(name)) if !self.lte => {
                self.emit_literal(name.as_bytes());
                return Ok(());
            }
            Some(Val::Txt(txt)) if !self.lte => {
                self.program.emits.push(Emit::Text(txt));
                return Ok(());
            }
            Some(value) => self.number_of(value)?.0,
        };
        let plain = spec.width == Count::None
            && spec.precision == Count::None
            && !(spec.alt && base != Base::Signed && base != Base::Unsigned)
            && !spec.plus
            && !spec.space;
        let emit = match self.program.nums.get(num as usize) {
            Some(&NumNode::Load(at, word)) if plain => Emit::Field(at, word, base, spec.bits),
            _ if plain => Emit::Plain(num, base, spec.bits),
            _ => {
                let number = Number {
                    base,
                    bits: spec.bits,
                    width: 0,
                    precision: None,
                    minus: spec.minus,
                    zero: spec.zero,
                    plus: spec.plus,
                    space: spec.space,
                    alt: spec.alt,
                };
                Emit::Number(num, number, spec.width, spec.precision)
            }
        };
        self.program.emits.push(emit);
        Ok(())
    }

    fn string(&mut self, arg: Val, spec: Spec) -> Result<()> {
        let fit = Fit { width: spec.width, precision: spec.precision, minus: spec.minus };
        let txt = self.text_of(arg)?;
        let emit = match self.program.txts.get(txt as usize) {
            Some(&TxtNode::Literal(at, len)) if fit == Fit::NONE => Emit::Literal(at, len),
            Some(&TxtNode::Bytes(mem)) if fit == Fit::NONE => match self.program.mems.get(mem as usize) {
                Some(&MemNode::Fixed(at, len)) => Emit::Chars(at, len),
                _ => Emit::Text(txt),
            },
            _ if fit == Fit::NONE => Emit::Text(txt),
            _ => Emit::FitText(txt, fit),
        };
        self.program.emits.push(emit);
        Ok(())
    }

    /// Compiles what follows `%p`; returns the number of letters that belong to it.
    fn pointer(&mut self, text: &[u8], spec: Spec, args: &mut Args<'_>) -> Result<usize> {
        let letters = text.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let extension = &text[..letters];
        let (kind, taken) = extension_of(extension, self.lte);
        // The kernel takes every letter after %p as part of the conversion.
        let taken = if self.lte { taken } else { letters };
        let Some(arg) = self.next_arg(args)? else { return Ok(taken) };
        match kind {
            Extension::Symbol(offset) => {
                let num = self.number_of(arg)?.0;
                self.program.emits.push(Emit::Symbol(num, offset));
            }
            Extension::Memory(memory) => match arg {
                Val::Mem(..) if self.lte && self.lte_wants_other(memory, &arg) => {
                    let number = if self.is_dynamic(&arg) { b"10" as &[u8] } else { b"2" };
                    self.emit_literal(b"ARG TYPE NOT FIELD BUT ");
                    self.emit_literal(number);
                }
                Val::Mem(mem, _) => {
                    let count = match spec.width {
                        Count::Is(_) if self.lte => Count::None,
                        count => count,
                    };
                    self.program.emits.push(Emit::Memory(mem, memory, count));
                }
                Val::Name(name) => self.emit_literal(name.as_bytes()),
                Val::Txt(txt) => self.program.emits.push(Emit::Text(txt)),
                Val::Num(num, _) => match (memory, self.program.nums.get(num as usize)) {
                    // A small field passed by its address in the source, by value in the text.
                    (_, Some(&NumNode::Load(at, word))) if word.ty.bytes < self.abi.long_bytes || self.lte => {
                        let mem = self.push_mem(MemNode::Fixed(at, u16::from(word.ty.bytes)))?;
                        self.program.emits.push(Emit::Memory(mem, memory, spec.width));
                    }
                    _ => self.program.emits.push(Emit::Pointer(num)),
                },
            },
            Extension::Address => match arg {
                Val::Name(name) if !self.lte => self.emit_literal(name.as_bytes()),
                Val::Txt(txt) if !self.lte => self.program.emits.push(Emit::Text(txt)),
                Val::Mem(mem, elem) if !self.lte && !matches!(elem.total, 1 | 2 | 4 | 8) => {
                    // The address of bytes that were copied into the record means nothing; the bytes do.
                    let all = self.constant(u64::MAX)?;
                    let txt = self.push_txt(TxtNode::Hex(mem, all, true))?;
                    self.program.emits.push(Emit::Text(txt));
                }
                value => {
                    let num = self.number_of(value)?.0;
                    self.program.emits.push(Emit::Pointer(num));
                }
            },
        }
        Ok(taken)
    }

    fn is_dynamic(&self, arg: &Val) -> bool {
        matches!(arg, Val::Mem(mem, _) if self.is_located(*mem))
    }

    /// libtraceevent takes some extensions from fixed fields only and others from dynamic ones only.
    fn lte_wants_other(&self, memory: Memory, arg: &Val) -> bool {
        match memory {
            Memory::Hex(_) => !self.is_dynamic(arg),
            Memory::Ip4(..) | Memory::Ip6(_) | Memory::Uuid(..) | Memory::Mac(..) => self.is_dynamic(arg),
            _ => false,
        }
    }
}

struct Args<'e> {
    args: &'e [Expr],
    next: usize,
}

#[derive(Clone, Copy)]
struct Spec {
    minus: bool,
    zero: bool,
    plus: bool,
    space: bool,
    alt: bool,
    width: Count,
    precision: Count,
    bits: u8,
}

impl Default for Spec {
    fn default() -> Self {
        Spec {
            minus: false,
            zero: false,
            plus: false,
            space: false,
            alt: false,
            width: Count::None,
            precision: Count::None,
            bits: 32,
        }
    }
}

/// What `%p` and its letters print.
enum Extension {
    Address,
    Symbol(bool),
    Memory(Memory),
}

/// The meaning of the letters after `%p`, and how many of them libtraceevent takes.
fn extension_of(letters: &[u8], lte: bool) -> (Extension, usize) {
    let has = |letter: u8| letters.contains(&letter);
    match letters {
        [b'S' | b'F', ..] => (Extension::Symbol(true), 1),
        [b'B', ..] if !lte => (Extension::Symbol(true), 1),
        [b'f', b'w', ..] if !lte => (Extension::Address, 2),
        [b's' | b'f', ..] => (Extension::Symbol(false), 1),
        [b'M', rest @ ..] => match rest {
            [b'R', ..] => (Extension::Memory(Memory::Mac(b':', true)), 2),
            [b'F', ..] => (Extension::Memory(Memory::Mac(b'-', false)), 2),
            _ => (Extension::Memory(Memory::Mac(b':', false)), 1),
        },
        [b'm', rest @ ..] => match rest {
            [b'R', ..] => (Extension::Memory(Memory::Mac(0, true)), 2),
            _ => (Extension::Memory(Memory::Mac(0, false)), 1),
        },
        [i @ (b'I' | b'i'), b'4', rest @ ..] => {
            let order = rest.first().copied().filter(|byte| b"hnbl".contains(byte));
            let reversed = matches!(order, Some(b'h' | b'l'));
            (Extension::Memory(Memory::Ip4(*i == b'i', reversed)), 2 + usize::from(order.is_some()))
        }
        [b'I', b'6', b'c', ..] => (Extension::Memory(Memory::Ip6(Ip6::Compressed)), 3),
        [b'I', b'6', ..] => (Extension::Memory(Memory::Ip6(Ip6::Full)), 2),
        [b'i', b'6', ..] => (Extension::Memory(Memory::Ip6(Ip6::Bare)), 2),
        [i @ (b'I' | b'i'), b'S', rest @ ..] => {
            let known = rest.iter().take_while(|byte| b"pc".contains(byte)).count();
            let ip6 = match (rest.contains(&b'c'), i) {
                (true, _) => Ip6::Compressed,
                (false, b'i') => Ip6::Bare,
                _ => Ip6::Full,
            };
            let style = SocketStyle {
                ip4_padded: *i == b'i',
                ip6,
                port: rest.contains(&b'p'),
                flow: rest.contains(&b'f') && !lte,
                scope: rest.contains(&b's') && !lte,
            };
            (Extension::Memory(Memory::Socket(style)), 2 + known)
        }
        [b'U', rest @ ..] => {
            let order = rest.first().copied().filter(|byte| b"bBlL".contains(byte));
            let (little, upper) = (matches!(order, Some(b'l' | b'L')), matches!(order, Some(b'B' | b'L')));
            (Extension::Memory(Memory::Uuid(little, upper)), 1 + usize::from(order.is_some()))
        }
        [b'h', rest @ ..] => {
            let style = rest.first().copied().filter(|byte| b"CDN".contains(byte));
            let separator = match style {
                Some(b'C') => b':',
                Some(b'D') => b'-',
                Some(_) => 0,
                None => b' ',
            };
            (Extension::Memory(Memory::Hex(separator)), 1 + usize::from(style.is_some()))
        }
        [b'b', ..] if !lte => (Extension::Memory(Memory::Bits(has(b'l'))), letters.len()),
        [b'a', rest @ ..] if !lte => {
            (Extension::Memory(Memory::Number(8)), 1 + usize::from(matches!(rest, [b'd' | b'p', ..])))
        }
        _ => (Extension::Address, 0),
    }
}
