//! Arguments of traced functions, as the tracers' `funcgraph-args` and `func-args` options record them: the registers
//! that may hold some, as many as fit.

use std::sync::{Arc, OnceLock};

use crate::symbols::btf::{Btf, Shape};
use crate::wire::abi::Abi;
use crate::wire::format::sign_extend;
use crate::wire::text;

use crate::decode::{Compat, Context, Trace};

/// Prints the arguments of functions, by the kernel's types if the trace has them.
#[derive(Clone)]
pub(super) struct Arguments {
    abi: Abi,
    lte: bool,
    btf: Arc<OnceLock<Option<Btf>>>,
}

impl Arguments {
    pub(super) fn new(context: &Context<'_>) -> Arguments {
        Arguments { abi: context.trace.abi, lte: context.compat != Compat::Rtrec, btf: Arc::new(OnceLock::new()) }
    }

    /// Appends `(a=1, p=0xffff888003f2a000)`, or `(1, ffff888003f2a000)` if nothing is known but bits.
    pub(super) fn put(&self, trace: &Trace, function: u64, args: &[u8], out: &mut Vec<u8>) {
        let long = usize::from(self.abi.long_bytes.max(1));
        let mut args = args.chunks_exact(long).map(|arg| self.abi.ulong(arg).unwrap_or(0));
        let btf = self.btf.get_or_init(|| Btf::new(trace.btf.clone()?, self.abi)).as_ref();
        let params = btf.zip(trace.kallsyms.lookup(function)).and_then(|(btf, symbol)| btf.params(symbol.name));
        out.push(b'(');
        let Some(params) = params else {
            for (index, arg) in args.enumerate() {
                if index > 0 {
                    out.extend_from_slice(b", ");
                }
                text::hex(out, arg);
            }
            return out.push(b')');
        };
        for (index, param) in params.enumerate() {
            if index > 0 {
                out.extend_from_slice(b", ");
            }
            let Some(value) = args.next() else {
                out.extend_from_slice(b"...");
                break;
            };
            out.extend_from_slice(param.name);
            out.push(b'=');
            self.value(param.shape, value, &mut args, out);
        }
        out.push(b')');
    }

    fn value(&self, shape: Shape, value: u64, more: &mut impl Iterator<Item = u64>, out: &mut Vec<u8>) {
        let cut = |bytes: u32| if bytes < 8 { value & ((1 << (bytes * 8)) - 1) } else { value };
        match shape {
            // trace-cmd does not extend the sign of narrow integers.
            Shape::Int(bytes, true) | Shape::Enum(bytes, true) if !self.lte || bytes >= 8 => {
                text::signed(out, sign_extend(cut(bytes), bytes) as i64);
            }
            Shape::Int(bytes, true) | Shape::Enum(bytes, _) => text::dec(out, cut(bytes)),
            Shape::Int(bytes, false) => text::hex0x(out, cut(bytes)),
            Shape::Pointer => text::hex0x(out, value),
            Shape::Other(kind, bytes) => {
                out.push(b'(');
                out.extend_from_slice(kind.as_bytes());
                out.extend_from_slice(b")[");
                text::hex0x(out, value);
                let words = bytes.div_ceil(u32::from(self.abi.long_bytes.max(1)));
                for word in more.take(words.saturating_sub(1) as usize) {
                    out.push(b':');
                    text::hex0x(out, word);
                }
                out.push(b']');
            }
            Shape::Nothing => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::decode::Compat;
    use crate::plugins::testing::Look;

    /// What an entry with these registers looks like by the types of tests/fixtures/btf/kernel.c.
    fn call(compat: Compat, function: &str, registers: &[i64]) -> String {
        let btf = include_bytes!("../../tests/fixtures/btf/kernel.btf").to_vec();
        let symbols = format!("ffffffff81000000 T {function}\n");
        let entry = "ftrace:funcgraph_entry";
        let look = Look::of("6.18", &[entry]).symbols(&symbols).types(btf).compat(compat);
        let mut record = look.record(entry, &[("func", crate::plugins::testing::FA)]);
        record.truncate(24);
        record.extend(registers.iter().flat_map(|register| register.to_le_bytes()));
        let text = look.text(record);
        text.trim_start_matches(['|', ' ']).trim_end_matches(" {").to_owned()
    }

    #[test]
    fn parameters_are_shown_by_name_and_kind() {
        let text = call(Compat::Rtrec, "vfs_write", &[0x1000, 0x2000, 16, 0x3000]);
        assert_eq!(text, "vfs_write(file=0x1000, buf=0x2000, count=0x10, pos=0x3000)");
    }

    #[test]
    fn narrow_integers_have_their_sign() {
        // AT_FDCWD in the lower half of a register whose upper half is anything.
        let text = call(Compat::Rtrec, "do_sys_openat2", &[0x7_ffff_ff9c, 0x2000, 0x3000]);
        assert_eq!(text, "do_sys_openat2(dfd=-100, filename=0x2000, how=0x3000)");
        let text = call(Compat::V34, "do_sys_openat2", &[0x7_ffff_ff9c, 0x2000, 0x3000]);
        assert_eq!(text, "do_sys_openat2(dfd=4294967196, filename=0x2000, how=0x3000)");
    }

    #[test]
    fn parameters_that_were_not_recorded_are_dots() {
        let text = call(Compat::Rtrec, "vfs_write", &[0x1000, 0x2000]);
        assert_eq!(text, "vfs_write(file=0x1000, buf=0x2000, ...)");
    }

    #[test]
    fn a_function_without_parameters_has_none_whatever_was_recorded() {
        assert_eq!(call(Compat::Rtrec, "alloc_file", &[1, 2]), "alloc_file()");
    }

    #[test]
    fn a_function_that_the_types_do_not_know_shows_its_registers() {
        assert_eq!(call(Compat::Rtrec, "other", &[1, 0x2f]), "other(1, 2f)");
    }

    #[test]
    fn suffixes_of_the_compiler_do_not_count() {
        let text = call(Compat::Rtrec, "put_file.isra.0", &[0x1000]);
        assert!(text.starts_with("put_file.isra.0(file=0x1000"), "{text}");
    }
}
