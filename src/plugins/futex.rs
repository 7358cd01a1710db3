//! The futex system call, by operation.

use crate::wire::format::EventFormat;
use crate::wire::record::Record;
use crate::wire::text;

use crate::decode::field::Int;
use crate::decode::{Context, Family, Plugin, Scene, Then};

/// The registry's entry.
pub const FAMILY: Family = Family {
    name: "futex",
    about: "Prints sys_enter_futex with the name of the operation and only the arguments it has.",
    bind: |context, format| bind(context, format),
    ..Family::NONE
};

const PRIVATE: u64 = 128;
const CLOCK_REALTIME: u64 = 256;

/// An argument and how it is printed.
#[derive(Clone, Copy)]
enum FutexArg {
    ValHex,
    Val,
    Utime,
    /// The fourth argument where it is a number.
    Val2,
    Uaddr2,
    Val3,
}

use FutexArg::{Uaddr2, Utime, Val, Val2, Val3, ValHex};

/// Operations by number.
const OPERATIONS: [(&str, &[FutexArg]); 13] = [
    ("FUTEX_WAIT", &[ValHex, Utime]),
    ("FUTEX_WAKE", &[Val]),
    ("FUTEX_FD", &[Val]),
    ("FUTEX_REQUEUE", &[Val, Val2, Uaddr2]),
    ("FUTEX_CMP_REQUEUE", &[Val, Val2, Uaddr2, Val3]),
    ("FUTEX_WAKE_OP", &[Val, Val2, Uaddr2, Val3]),
    ("FUTEX_LOCK_PI", &[Utime]),
    ("FUTEX_UNLOCK_PI", &[]),
    ("FUTEX_TRYLOCK_PI", &[]),
    ("FUTEX_WAIT_BITSET", &[ValHex, Utime, Val3]),
    ("FUTEX_WAKE_BITSET", &[Val, Val3]),
    ("FUTEX_WAIT_REQUEUE_PI", &[ValHex, Utime, Uaddr2, Val3]),
    ("FUTEX_CMP_REQUEUE_PI", &[Val, Val2, Uaddr2, Val3]),
];

fn bind(context: &Context<'_>, format: &EventFormat) -> Option<Box<dyn Plugin>> {
    if format.system != "syscalls" || format.name != "sys_enter_futex" {
        return None;
    }
    let int = |name| Int::find(format, name, context.trace.abi);
    Some(Box::new(Futex {
        op: int("op")?,
        uaddr: int("uaddr")?,
        val: int("val")?,
        utime: int("utime")?,
        uaddr2: int("uaddr2")?,
        val3: int("val3")?,
    }))
}

struct Futex {
    op: Int,
    uaddr: Int,
    val: Int,
    utime: Int,
    uaddr2: Int,
    val3: Int,
}

impl Plugin for Futex {
    fn text(&self, record: &Record<'_>, _: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        let data = record.data;
        let op = self.op.raw(data);
        let command = usize::try_from(op & !(PRIVATE | CLOCK_REALTIME)).ok();
        let Some((name, shows)) = command.and_then(|command| OPERATIONS.get(command)) else { return Then::Generic };
        out.extend_from_slice(b"op=");
        out.extend_from_slice(name.as_bytes());
        if op & PRIVATE != 0 {
            out.extend_from_slice(b"|FUTEX_PRIVATE_FLAG");
        }
        if op & CLOCK_REALTIME != 0 {
            out.extend_from_slice(b"|FUTEX_CLOCK_REALTIME");
        }
        hex(b" uaddr=", self.uaddr.raw(data), out);
        for show in *shows {
            match show {
                ValHex => hex(b" val=", self.val.raw(data), out),
                Val => dec(b" val=", self.val.raw(data), out),
                Utime => hex(b" utime=", self.utime.raw(data), out),
                Val2 => dec(b" val2=", self.utime.raw(data), out),
                Uaddr2 => hex(b" uaddr2=", self.uaddr2.raw(data), out),
                Val3 => hex(b" val3=", self.val3.raw(data), out),
            }
        }
        Then::Done
    }
}

fn hex(name: &[u8], value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b"0x");
    text::hex_zeros(out, value, 8);
}

fn dec(name: &[u8], value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    text::dec(out, value);
}

#[cfg(test)]
mod tests {
    use crate::plugins::testing::Look;

    fn enter(op: i64) -> String {
        let look = Look::of("6.12", &["syscalls:sys_enter_futex"]);
        let fields = [("uaddr", 0x1000), ("op", op), ("val", 5), ("utime", 0x2000), ("uaddr2", 0x3000), ("val3", 7)];
        let record = look.record("syscalls:sys_enter_futex", &fields);
        look.text(record)
    }

    #[test]
    fn each_operation_shows_the_arguments_it_has() {
        // The operations and their arguments are those of futex(2).
        let texts = [
            (0, "op=FUTEX_WAIT uaddr=0x00001000 val=0x00000005 utime=0x00002000"),
            (1, "op=FUTEX_WAKE uaddr=0x00001000 val=5"),
            (2, "op=FUTEX_FD uaddr=0x00001000 val=5"),
            (3, "op=FUTEX_REQUEUE uaddr=0x00001000 val=5 val2=8192 uaddr2=0x00003000"),
            (4, "op=FUTEX_CMP_REQUEUE uaddr=0x00001000 val=5 val2=8192 uaddr2=0x00003000 val3=0x00000007"),
            (5, "op=FUTEX_WAKE_OP uaddr=0x00001000 val=5 val2=8192 uaddr2=0x00003000 val3=0x00000007"),
            (6, "op=FUTEX_LOCK_PI uaddr=0x00001000 utime=0x00002000"),
            (7, "op=FUTEX_UNLOCK_PI uaddr=0x00001000"),
            (8, "op=FUTEX_TRYLOCK_PI uaddr=0x00001000"),
            (9, "op=FUTEX_WAIT_BITSET uaddr=0x00001000 val=0x00000005 utime=0x00002000 val3=0x00000007"),
            (10, "op=FUTEX_WAKE_BITSET uaddr=0x00001000 val=5 val3=0x00000007"),
            (
                11,
                "op=FUTEX_WAIT_REQUEUE_PI uaddr=0x00001000 val=0x00000005 utime=0x00002000 uaddr2=0x00003000 val3=0x00000007",
            ),
            (12, "op=FUTEX_CMP_REQUEUE_PI uaddr=0x00001000 val=5 val2=8192 uaddr2=0x00003000 val3=0x00000007"),
        ];
        for (op, text) in texts {
            assert_eq!(enter(op), text);
        }
    }

    #[test]
    fn flags_follow_the_name_of_the_operation() {
        assert_eq!(enter(128 | 1), "op=FUTEX_WAKE|FUTEX_PRIVATE_FLAG uaddr=0x00001000 val=5");
        let text = enter(256 | 128);
        assert!(text.starts_with("op=FUTEX_WAIT|FUTEX_PRIVATE_FLAG|FUTEX_CLOCK_REALTIME uaddr="), "{text}");
    }

    #[test]
    fn an_unknown_operation_is_shown_by_the_print_fmt() {
        let text = enter(13);
        assert!(text.starts_with("uaddr: 0x00001000, op: 0x0000000d, val: 0x00000005, "), "{text}");
    }
}
