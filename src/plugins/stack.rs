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
            size: Int::find(format, "size", abi).filter(|_| compat == Compat::Rtrec),
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
