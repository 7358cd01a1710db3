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

#[cfg(test)]
mod tests {
    use crate::decode::Compat;
    use crate::plugins::testing::{FB, Look, SYMBOLS};

    fn start(compat: Compat, function: i64) -> String {
        let look = Look::of("6.12", &["timer:hrtimer_start"]).symbols(SYMBOLS).compat(compat);
        let fields = [("hrtimer", 0x5000), ("function", function), ("expires", 1000), ("softexpires", 900)];
        let record = look.record("timer:hrtimer_start", &fields);
        look.text(record)
    }

    #[test]
    fn a_start_shows_the_function_and_both_times() {
        let text = start(Compat::Rtrec, FB);
        assert_eq!(text, "hrtimer=0x5000 function=fb/0x0 expires=1000 softexpires=900");
    }

    #[test]
    fn a_function_is_shown_with_its_offset() {
        let text = start(Compat::Rtrec, FB + 4);
        assert_eq!(text, "hrtimer=0x5000 function=fb/0x4 expires=1000 softexpires=900");
        // trace-cmd's own subtraction.
        let text = start(Compat::V34, FB + 4);
        assert_eq!(text, "hrtimer=0x5000 function=fb/0xfffffffffffffffc expires=1000 softexpires=900");
    }

    #[test]
    fn a_function_without_a_name_is_an_address() {
        let text = start(Compat::Rtrec, 0x77);
        assert_eq!(text, "hrtimer=0x5000 function=0x00000077 expires=1000 softexpires=900");
    }

    #[test]
    fn an_expiry_shows_the_time_before_the_function() {
        let look = Look::of("6.12", &["timer:hrtimer_expire_entry"]).symbols(SYMBOLS);
        let fields = [("hrtimer", 0x5000), ("now", 123_456_789), ("function", FB)];
        let record = look.record("timer:hrtimer_expire_entry", &fields);
        assert_eq!(look.text(record), "hrtimer=0x5000 now=123456789 function=fb/0x0");
    }

    #[test]
    fn a_cancelled_timer_is_left_to_its_print_fmt() {
        let look = Look::of("6.12", &["timer:hrtimer_cancel"]).symbols(SYMBOLS);
        let record = look.record("timer:hrtimer_cancel", &[("hrtimer", 0xffff_8880_0000_1000_u64 as i64)]);
        assert_eq!(look.text(record), "hrtimer=0xffff888000001000");
    }
}
