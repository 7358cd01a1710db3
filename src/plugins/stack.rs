//! Stack traces: `kernel_stack` and `user_stack`.

use crate::wire::abi::Abi;
use crate::wire::format::{EventFormat, sign_extend};
use crate::wire::record::Record;
use crate::wire::text;

use crate::decode::field::{Int, symbol};
use crate::decode::{Compat, Context, Family, Plugin, Scene, Then};

/// The registry's entry.
pub const FAMILY: Family = Family {
    name: "kernel_stack",
    about: "Prints stack traces, one function a line, with as many lines as there are entries.",
    bind: |context, format| bind(context, format),
    ..Family::NONE
};

fn bind(context: &Context<'_>, format: &EventFormat) -> Option<Box<dyn Plugin>> {
    if format.system != "ftrace" {
        return None;
    }
    let abi = context.trace.abi;
    let at = usize::from(format.field("caller")?.offset);
    match (format.name.as_str(), context.compat) {
        ("kernel_stack", compat) => Some(Box::new(KernelStack {
            abi,
            at,
            size: if compat == Compat::Rtrec { Int::find(format, "size", abi) } else { None },
            offset: context.on("ftrace", "offset"),
        })),
        // trace-cmd prints all eight slots by the print fmt, empty ones too.
        ("user_stack", Compat::Rtrec) => Some(Box::new(UserStack { abi, at, tgid: Int::find(format, "tgid", abi) })),
        _ => None,
    }
}

struct KernelStack {
    abi: Abi,
    at: usize,
    size: Option<Int>,
    offset: bool,
}

impl Plugin for KernelStack {
    fn text(&self, record: &Record<'_>, scene: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        let end = sign_extend(u64::from(u32::MAX), 4);
        let limit = self.size.map(|size| size.get(record.data) as usize).filter(|&size| size > 0);
        out.extend_from_slice(b"<stack trace >\n");
        let callers = record.data.get(self.at..).unwrap_or(&[]);
        for caller in callers.chunks_exact(usize::from(self.abi.long_bytes.max(1))).take(limit.unwrap_or(usize::MAX)) {
            let address = self.abi.ulong(caller).unwrap_or(0);
            if sign_extend(address, u32::from(self.abi.long_bytes)) == end {
                break;
            }
            out.extend_from_slice(b"=> ");
            if symbol(&scene.trace.kallsyms, address, self.offset, out) {
                out.extend_from_slice(if self.offset { b"  (" } else { b" (" });
                text::hex(out, address);
                out.push(b')');
            } else {
                text::hex(out, address);
            }
            out.push(b'\n');
        }
        Then::Done
    }
}

struct UserStack {
    abi: Abi,
    at: usize,
    tgid: Option<Int>,
}

impl Plugin for UserStack {
    fn text(&self, record: &Record<'_>, scene: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        let process = self.tgid.map(|tgid| tgid.get(record.data) as i32);
        let users = scene.trace.user.as_ref().zip(process);
        let callers = record.data.get(self.at..).unwrap_or(&[]);
        for (depth, caller) in callers.chunks_exact(usize::from(self.abi.long_bytes.max(1))).take(8).enumerate() {
            let address = self.abi.ulong(caller).unwrap_or(0);
            if address == 0 {
                break;
            }
            out.extend_from_slice(b"\t=> ");
            // Behind the first, the call is before the address that is returned to.
            let call = address.wrapping_sub(u64::from(depth > 0));
            match users.and_then(|(user, pid)| user.text(pid, call)) {
                Some(name) => {
                    out.extend_from_slice(name.as_bytes());
                    out.extend_from_slice(b" <");
                    text::hex0x(out, address);
                    out.push(b'>');
                }
                None => text::hex0x(out, address),
            }
            out.push(b'\n');
        }
        Then::Done
    }
}

#[cfg(test)]
mod tests {
    use crate::decode::Compat;
    use crate::decode::testing::bytes;
    use crate::plugins::testing::{FA, FB, FC, Look, SYMBOLS};

    const STACK: &str = "ftrace:kernel_stack";

    fn kernel_stack(compat: Compat, options: &[&str], size: i64, callers: &[i64]) -> String {
        let look = Look::of("6.12", &[STACK]).symbols(SYMBOLS).compat(compat);
        let look = options.iter().fold(look, |look, option| look.option(option));
        let mut record = look.record(STACK, &[("size", size)]);
        record.truncate(16);
        record.extend(callers.iter().flat_map(|caller| caller.to_le_bytes()));
        look.text(record)
    }

    #[test]
    fn a_stack_is_one_function_a_line_with_its_address() {
        // A record of 6.12.95 and what trace-cmd printed of it: tests/fixtures/v7-lost-allformats.
        let record = "04002504180100000b00000006040000e3747081ffffffffe3397181ffffffffe4746d81fffffffffb7e6d81ffffffffb38f6d81\
            ffffffff75a16c81ffffffff30a56c81ffffffffa8a56c81ffffffff019f6081ffffffff27ef2782ffffffff2f014082ffffffff";
        let symbols = "ffffffff8160a000 t no_function_before\nffffffff816ca000 t memcg_charge_kernel_stack.part.0\n\
            ffffffff816d7400 T file_ns_capable\nffffffff81707400 t rcu_expedited_show\nffffffff81713900 T schedule_tail\n\
            ffffffff8227e000 T file_dentry_name\nffffffff82400100 T _raw_spin_unlock_irq\n\
            ffffffff82401000 T end\n";
        let text = Look::of("6.12", &[STACK]).symbols(symbols).text(bytes(record));
        let lines = [
            "<stack trace >",
            "=> rcu_expedited_show (ffffffff817074e3)",
            "=> schedule_tail (ffffffff817139e3)",
            "=> file_ns_capable (ffffffff816d74e4)",
            "=> file_ns_capable (ffffffff816d7efb)",
            "=> file_ns_capable (ffffffff816d8fb3)",
            "=> memcg_charge_kernel_stack.part.0 (ffffffff816ca175)",
            "=> memcg_charge_kernel_stack.part.0 (ffffffff816ca530)",
            "=> memcg_charge_kernel_stack.part.0 (ffffffff816ca5a8)",
            "=> ffffffff81609f01",
            "=> file_dentry_name (ffffffff8227ef27)",
            "=> _raw_spin_unlock_irq (ffffffff8240012f)",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn a_stack_has_as_many_lines_as_the_record_counts() {
        let text = kernel_stack(Compat::Rtrec, &[], 2, &[FA + 5, FB, FC]);
        assert_eq!(text, "<stack trace >\n=> fa (ffffffff81000005)\n=> fb (ffffffff81000100)");
        // trace-cmd goes on to the end of the record.
        let text = kernel_stack(Compat::V34, &[], 2, &[FA + 5, FB, FC]);
        assert_eq!(text.lines().count(), 4);
    }

    #[test]
    fn a_word_of_all_ones_ends_a_stack() {
        let text = kernel_stack(Compat::Rtrec, &[], 8, &[FA + 5, -1, FB]);
        assert_eq!(text, "<stack trace >\n=> fa (ffffffff81000005)");
    }

    #[test]
    fn offsets_are_shown_on_request() {
        let text = kernel_stack(Compat::Rtrec, &["ftrace:offset"], 2, &[FA + 5, FB]);
        assert_eq!(text, "<stack trace >\n=> fa+0x5  (ffffffff81000005)\n=> fb+0x0  (ffffffff81000100)");
    }

    #[test]
    fn a_stack_of_a_program_ends_at_its_first_zero() {
        // Records of 6.12.95: tests/fixtures/v7-lost-allformats.
        let record = "0c000000010000000100000000000000a0b747000000000067bc470000000000000000000000000000000000000000000000000000\
            0000000000000000000000000000000000000000000000000000";
        let look = || Look::of("6.12", &["ftrace:user_stack"]);
        assert_eq!(look().text(bytes(record)), "\t=> 0x47b7a0\n\t=> 0x47bc67");
        // trace-cmd prints all eight, by the print fmt.
        let text = look().compat(Compat::V34).text(bytes(record));
        assert_eq!(text.lines().collect::<Vec<_>>()[1..3], ["\t=> 0x47bc67", "\t=> 0x0"]);
        assert_eq!(text.lines().count(), 8);
    }
}
