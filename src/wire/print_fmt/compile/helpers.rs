//! Calls: the kernel's `__get_…` and `__print_…`, byte orders, and the functions that plugins teach.

use super::super::parse::Expr;
use super::super::program::{Arg, MAX_ARGS, Mem, MemNode, NumNode, Op2, Table, TxtNode, Ty, Word};
use super::super::{Flavor, Helper, Refusal};
use super::{Compiler, Elem, INT, LONG_LONG, Result, U64, Val, refuse};

impl Compiler<'_> {
    pub(super) fn call(&mut self, name: &str, args: &[Expr]) -> Result<Val> {
        if name.starts_with("__get_")
            && let Some(value) = self.dynamic_field(name, args)?
        {
            return Ok(value);
        }
        let arg = |index: usize| args.get(index).ok_or_else(|| Refusal::new("an argument is missing"));
        match name {
            "__print_flags" | "__print_flags_u64" => self.flags(name, args),
            "__print_symbolic" | "__print_symbolic_u64" => self.symbolic(name, args),
            "__print_hex" | "__print_hex_str" => {
                let mem = self.bytes(arg(0)?)?;
                if self.lte && matches!(arg(1)?, Expr::Sizeof(_)) {
                    return refuse("sizeof as a length");
                }
                let count = self.number(arg(1)?)?.0;
                Ok(Val::Txt(self.push_txt(TxtNode::Hex(mem, count, name == "__print_hex"))?))
            }
            "__print_array" => {
                let mem = self.bytes(arg(0)?)?;
                let (count, elem) = (self.number(arg(1)?)?.0, self.number(arg(2)?)?.0);
                Ok(Val::Txt(self.push_txt(TxtNode::Array { mem, count, elem })?))
            }
            "__print_dynamic_array" => {
                if self.setting.flavor == Flavor::Lte2022 {
                    return refuse("`__print_dynamic_array` is unknown");
                }
                let (field, bytes) = self.dynamic(args.first())?;
                let Val::Mem(mem, _) = bytes else { return refuse("a dynamic array is expected") };
                let elem = self.number(arg(1)?)?.0;
                let length = self.push_num(NumNode::Length(field.offset))?;
                let count = self.push_num(NumNode::Op(Op2::Div, length, elem, U64))?;
                Ok(Val::Txt(self.push_txt(TxtNode::Array { mem, count, elem })?))
            }
            "__builtin_expect" => self.value(arg(0)?),
            "__builtin_constant_p" => Ok(Val::Num(self.constant(0)?, if self.lte { U64 } else { INT })),
            _ if self.lte => self.helper(name, args)?.ok_or_else(|| Refusal::new(&format!("`{name}` is unknown"))),
            "__print_hex_dump" => {
                let Expr::Str(prefix) = arg(0)? else { return refuse("the prefix of a hex dump") };
                let prefix = self.literal(prefix);
                let kind = match arg(1)? {
                    Expr::Name(name) if name == "DUMP_PREFIX_NONE" => self.constant(0)?,
                    Expr::Name(name) if name.starts_with("DUMP_PREFIX") => self.constant(2)?,
                    other => self.number(other)?.0,
                };
                let (row, group) = (self.number(arg(2)?)?.0, self.number(arg(3)?)?.0);
                let (mem, count) = (self.bytes(arg(4)?)?, self.number(arg(5)?)?.0);
                let ascii = self.number(arg(6)?)?.0;
                Ok(Val::Txt(self.push_txt(TxtNode::Dump { prefix, kind, row, group, mem, count, ascii })?))
            }
            "__print_ns_to_secs" | "__print_ns_without_secs" => {
                let (num, _) = self.number(arg(0)?)?;
                let second = self.constant(1_000_000_000)?;
                let op = if name == "__print_ns_to_secs" { Op2::Div } else { Op2::Rem };
                Ok(Val::Num(self.push_num(NumNode::Op(op, num, second, U64))?, U64))
            }
            _ => {
                if let Some(value) = self.byte_order(name, args)? {
                    return Ok(value);
                }
                if let Some(value) = self.helper(name, args)? {
                    return Ok(value);
                }
                self.unknown(name, args)
            }
        }
    }

    /// A macro that reads a dynamic field; `None` if there is none of that name.
    fn dynamic_field(&mut self, name: &str, args: &[Expr]) -> Result<Option<Val>> {
        Ok(Some(match name {
            "__get_str" | "__get_rel_str" => {
                if self.lte && !self.names_field(args.first()) {
                    return Ok(Some(Val::Txt(self.literal_text(b"")?)));
                }
                let mem = self.dynamic_bytes(args.first())?;
                Val::Txt(self.push_txt(TxtNode::Bytes(mem))?)
            }
            "__get_dynamic_array" | "__get_rel_dynamic_array" | "__get_sockaddr" | "__get_rel_sockaddr" => {
                if self.lte && name == "__get_rel_sockaddr" {
                    return refuse("`__get_rel_sockaddr` is unknown");
                }
                match self.dynamic(args.first())?.1 {
                    Val::Mem(mem, elem) => Val::Mem(mem, Elem { total: 0, ..elem }),
                    other => other,
                }
            }
            "__get_dynamic_array_len" | "__get_rel_dynamic_array_len" => {
                let (field, _) = self.dynamic(args.first())?;
                let num = self.push_num(NumNode::Length(field.offset))?;
                Val::Num(num, if self.lte { U64 } else { INT })
            }
            "__get_bitmask" | "__get_rel_bitmask" => {
                let mem = self.dynamic_bytes(args.first())?;
                Val::Txt(self.push_txt(TxtNode::Mask(mem))?)
            }
            "__get_cpumask" | "__get_rel_cpumask" => {
                let mem = self.dynamic_bytes(args.first())?;
                Val::Txt(self.push_txt(TxtNode::Cpus(mem))?)
            }
            "__get_stacktrace" | "__get_rel_stacktrace" => {
                if self.setting.flavor == Flavor::Lte2022 {
                    return refuse("`__get_stacktrace` is unknown");
                }
                let mem = self.dynamic_bytes(args.first())?;
                Val::Txt(self.push_txt(TxtNode::Stack(mem))?)
            }
            _ => return Ok(None),
        }))
    }

    fn names_field(&self, arg: Option<&Expr>) -> bool {
        match arg {
            Some(Expr::Name(name) | Expr::Field(name)) => self.field(name).is_some(),
            _ => true,
        }
    }

    /// A function nobody knows: shown as a call with its numbers.
    fn unknown(&mut self, name: &str, args: &[Expr]) -> Result<Val> {
        let mut numbers = Vec::new();
        for arg in args {
            match self.number(arg) {
                Ok((num, _)) => numbers.push(num),
                Err(_) => return refuse(&format!("`{name}` is unknown")),
            }
        }
        if numbers.is_empty() || numbers.len() > MAX_ARGS {
            return refuse(&format!("`{name}` is unknown"));
        }
        let name = self.literal(name.as_bytes());
        Ok(Val::Txt(self.push_txt(TxtNode::Unknown { name, args: numbers })?))
    }

    fn helper(&mut self, name: &str, args: &[Expr]) -> Result<Option<Val>> {
        let Some(helper) = (self.setting.helpers)(name) else { return Ok(None) };
        if args.len() > MAX_ARGS {
            return refuse("a helper has too many arguments");
        }
        let mut values = [Arg::None; MAX_ARGS];
        for (slot, arg) in values.iter_mut().zip(args) {
            *slot = match arg {
                // The sequence that texts are written to; no value of the record.
                Expr::Name(name) if name == "p" => Arg::None,
                other => match self.value(other)? {
                    Val::Mem(mem, _) => Arg::Mem(mem),
                    other => Arg::Num(self.number_of(other)?.0),
                },
            };
        }
        let count = args.len() as u8;
        Ok(Some(match helper {
            Helper::Number(function) => {
                let num = self.push_num(NumNode::Call(function, values, count))?;
                Val::Num(num, if self.lte { U64 } else { LONG_LONG })
            }
            Helper::Text(function) => Val::Txt(self.push_txt(TxtNode::Call(function, values, count))?),
        }))
    }

    /// `be16_to_cpu(x)`, `__le32_to_cpup(&x)`, `ntohs(x)`, `get_unaligned_be32(p)`.
    fn byte_order(&mut self, name: &str, args: &[Expr]) -> Result<Option<Val>> {
        let bare = name.trim_start_matches("__");
        let (bits, big, pointer) = match bare {
            "ntohs" | "htons" => (16, true, false),
            "ntohl" | "htonl" => (32, true, false),
            _ => {
                let rest = bare.strip_prefix("get_unaligned_").map(|rest| (rest, true));
                let (rest, unaligned) = rest.unwrap_or((bare, false));
                let rest = rest.strip_prefix("cpu_to_").unwrap_or(rest);
                let (big, digits) = match (rest.strip_prefix("be"), rest.strip_prefix("le")) {
                    (Some(digits), _) => (true, digits),
                    (_, Some(digits)) => (false, digits),
                    _ => return Ok(None),
                };
                let (digits, pointer) = match digits.strip_suffix("_to_cpup") {
                    Some(digits) => (digits, true),
                    None => (digits.strip_suffix("_to_cpu").unwrap_or(digits), unaligned),
                };
                match digits {
                    "16" => (16, big, pointer),
                    "32" => (32, big, pointer),
                    "64" => (64, big, pointer),
                    _ => return Ok(None),
                }
            }
        };
        let Some(arg) = args.first() else { return refuse("an argument is missing") };
        let ty = Ty { bytes: bits / 8, signed: false };
        if pointer {
            let Val::Mem(mem, _) = self.value(arg)? else { return refuse("bytes are expected") };
            let word = Word { ty, big };
            return Ok(Some(Val::Num(self.push_num(NumNode::Read(mem, word))?, ty)));
        }
        let (num, from) = self.number(arg)?;
        let num = self.fitted(num, from, ty)?;
        let host_big = self.abi.endian == crate::wire::abi::Endian::Big;
        let num = if big == host_big { num } else { self.push_num(NumNode::Swap(num, ty.bytes))? };
        Ok(Some(Val::Num(num, ty)))
    }

    /// An expression that must be bytes.
    fn bytes(&mut self, expr: &Expr) -> Result<Mem> {
        match self.value(expr)? {
            Val::Mem(mem, _) => Ok(mem),
            Val::Txt(txt) => match self.program.txts.get(txt as usize) {
                Some(&TxtNode::Bytes(mem)) => Ok(mem),
                Some(&TxtNode::Literal(at, len)) => self.push_mem(MemNode::Literal(at, len)),
                _ => refuse("bytes are expected"),
            },
            _ => refuse("bytes are expected"),
        }
    }

    /// Value and text of each entry that has a constant value.
    fn table(&mut self, entries: &[Expr], mask: u64) -> Result<Table> {
        let mut table = Table { mask, ..Table::default() };
        for entry in entries {
            let Expr::List(pair) = entry else { return refuse("a table entry without braces") };
            let [value, text, ..] = pair.as_slice() else {
                if self.lte {
                    return refuse("an empty table entry");
                }
                continue;
            };
            let text: &[u8] = match text {
                Expr::Str(text) => text,
                Expr::Name(name) if name != "NULL" => name.as_bytes(),
                Expr::Name(_) => continue,
                // `{ 0, NULL }`, with NULL spelled in any way, ends a table.
                Expr::Number { value: 0, .. } | Expr::Cast(..) => continue,
                _ => return refuse("a table entry whose text is computed"),
            };
            let negative = matches!(value, Expr::Unary("-", _));
            let unknown_names = self.unknown_names;
            self.in_table = true;
            let evaluated = self.value(value);
            self.in_table = false;
            let value = match evaluated {
                Ok(Val::Num(..)) if !self.lte && self.unknown_names > unknown_names => None,
                Ok(Val::Num(num, _)) => self.known(num),
                Ok(_) => None,
                Err(refusal) if self.lte => return Err(refusal),
                Err(_) => None,
            };
            let value = match value {
                // To libtraceevent each negative number and each unknown name in a table is -1.
                None if self.lte => u64::MAX,
                Some(_) if self.lte && negative => u64::MAX,
                Some(value) => value,
                None => continue,
            };
            let (at, len) = self.literal(text);
            table.entries.push((value & mask, at, len));
        }
        Ok(table)
    }

    fn table_mask(&self, name: &str) -> u64 {
        if self.abi.long_bytes == 4 && !name.ends_with("_u64") && !self.lte { u64::from(u32::MAX) } else { u64::MAX }
    }

    fn flags(&mut self, name: &str, args: &[Expr]) -> Result<Val> {
        if self.lte && name.ends_with("_u64") {
            return refuse("`__print_flags_u64` is unknown");
        }
        let [value, delim, entries @ ..] = args else { return refuse("an argument is missing") };
        let (value, ty) = self.number(value)?;
        let delim = match delim {
            Expr::Str(text) => self.literal(text),
            _ => return refuse("a delimiter that is computed"),
        };
        let mut table = self.table(entries, self.table_mask(name))?;
        table.shown = Ty { signed: false, ..ty }.fit(u64::MAX);
        self.program.tables.push(table);
        let table = self.program.tables.len() as u32 - 1;
        Ok(Val::Txt(self.push_txt(TxtNode::Flags { value, delim, table })?))
    }

    fn symbolic(&mut self, name: &str, args: &[Expr]) -> Result<Val> {
        if self.lte && name.ends_with("_u64") {
            return refuse("`__print_symbolic_u64` is unknown");
        }
        let [value, entries @ ..] = args else { return refuse("an argument is missing") };
        let (value, ty) = self.number(value)?;
        let mut table = self.table(entries, self.table_mask(name))?;
        table.shown = Ty { signed: false, ..ty }.fit(u64::MAX);
        table.index_small();
        self.program.tables.push(table);
        let table = self.program.tables.len() as u32 - 1;
        Ok(Val::Txt(self.push_txt(TxtNode::Symbolic { value, table })?))
    }
}
