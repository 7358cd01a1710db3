//! High-resolution timers: `hrtimer_start` and `hrtimer_expire_entry`.

use crate::wire::format::EventFormat;
use crate::wire::record::Record;
use crate::wire::text;

use crate::decode::field::Int;
use crate::decode::{Compat, Context, Family, Plugin, Scene, Then};

/// The registry's entry.
pub const FAMILY: Family = Family {
    name: "hrtimer",
    about: "Prints the function of a high-resolution timer by name.",
    bind: |context, format| bind(context, format),
    ..Family::NONE
};

fn bind(context: &Context<'_>, format: &EventFormat) -> Option<Box<dyn Plugin>> {
    let int = |name| Int::find(format, name, context.trace.abi);
    if format.system != "timer" {
        return None;
    }
    let times = match format.name.as_str() {
        "hrtimer_expire_entry" => Times::Expire(int("now")?),
        "hrtimer_start" => Times::Start(int("expires")?, int("softexpires")?),
        _ => return None,
    };
    Some(Box::new(Hrtimer {
        lte: context.compat != Compat::Rtrec,
        timer: int("hrtimer").or_else(|| int("timer"))?,
        function: int("function")?,
        times,
    }))
}

enum Times {
    Expire(Int),
    Start(Int, Int),
}

struct Hrtimer {
    lte: bool,
    timer: Int,
    function: Int,
    times: Times,
}

impl Plugin for Hrtimer {
    fn text(&self, record: &Record<'_>, scene: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        let data = record.data;
        out.extend_from_slice(b"hrtimer=");
        text::hex0x(out, self.timer.raw(data));
        if let Times::Expire(now) = self.times {
            out.extend_from_slice(b" now=");
            text::dec(out, now.raw(data));
        }
        out.extend_from_slice(b" function=");
        self.function(data, scene, out);
        if let Times::Start(expires, softexpires) = self.times {
            out.extend_from_slice(b" expires=");
            text::dec(out, expires.raw(data));
            out.extend_from_slice(b" softexpires=");
            text::dec(out, softexpires.raw(data));
        }
        Then::Done
    }
}

impl Hrtimer {
    fn function(&self, data: &[u8], scene: &Scene<'_>, out: &mut Vec<u8>) {
        let address = self.function.raw(data);
        match scene.trace.kallsyms.lookup(address) {
            Some(symbol) => {
                out.extend_from_slice(symbol.name);
                out.extend_from_slice(b"/0x");
                // trace-cmd subtracts the other way round.
                text::hex(out, if self.lte { symbol.offset.wrapping_neg() } else { symbol.offset });
            }
            None => {
                out.extend_from_slice(b"0x");
                text::hex_zeros(out, address, 8);
            }
        }
    }
}
