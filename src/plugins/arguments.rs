//! Arguments of traced functions, as the tracers' `funcgraph-args` and `func-args` options record them.

use crate::wire::abi::Abi;
use crate::wire::text;

use super::Trace;

/// Appends `(a, b, c)`; nothing is known about the arguments but their bits.
pub(super) fn put(trace: &Trace, function: u64, args: &[u8], abi: Abi, out: &mut Vec<u8>) {
    let _ = (trace, function);
    out.push(b'(');
    for (index, arg) in args.chunks_exact(usize::from(abi.long_bytes.max(1))).enumerate() {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        text::hex(out, abi.ulong(arg).unwrap_or(0));
    }
    out.push(b')');
}
