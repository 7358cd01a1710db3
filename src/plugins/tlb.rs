//! Flushes of the translation look-aside buffer.

use crate::wire::format::EventFormat;
use crate::wire::record::Record;
use crate::wire::text;

use crate::decode::field::Int;
use crate::decode::{Compat, Context, Family, Plugin, Scene, Then};

/// The registry's entry.
pub const FAMILY: Family = Family {
    name: "tlb",
    about: "Prints tlb_flush with the name of the reason.",
    bind: |context, format| bind(context, format),
    ..Family::NONE
};

const REASONS: [&str; 6] = [
    "flush on task switch",
    "remote shootdown",
    "local shootdown",
    "local mm shootdown",
    "remote IPI send",
    "remote wrong CPU",
];

/// Reasons that trace-cmd knows.
const OLD_REASONS: usize = 4;

fn bind(context: &Context<'_>, format: &EventFormat) -> Option<Box<dyn Plugin>> {
    if format.system != "tlb" || format.name != "tlb_flush" {
        return None;
    }
    let int = |name| Int::find(format, name, context.trace.abi);
    let lte = context.compat != Compat::Rtrec;
    Some(Box::new(Tlb { lte, pages: int("pages")?, reason: int("reason")? }))
}

struct Tlb {
    lte: bool,
    pages: Int,
    reason: Int,
}

impl Plugin for Tlb {
    fn text(&self, record: &Record<'_>, _: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        let (pages, reason) = (self.pages.raw(record.data), self.reason.raw(record.data));
        let known = if self.lte { OLD_REASONS } else { REASONS.len() };
        out.extend_from_slice(b"pages=");
        if self.lte {
            text::signed(out, pages as i64)
        } else {
            self.pages.put(record.data, false, out)
        }
        out.extend_from_slice(b" reason=");
        let name = usize::try_from(reason).ok().filter(|&reason| reason < known).and_then(|reason| REASONS.get(reason));
        out.extend_from_slice(name.unwrap_or(&"").as_bytes());
        out.extend_from_slice(b" (");
        text::dec(out, reason);
        out.push(b')');
        Then::Done
    }
}

#[cfg(test)]
mod tests {
    use crate::decode::Compat;
    use crate::plugins::testing::Look;

    fn flush(compat: Compat, pages: i64, reason: i64) -> String {
        let look = Look::of("6.18", &["tlb:tlb_flush"]).compat(compat);
        let record = look.record("tlb:tlb_flush", &[("pages", pages), ("reason", reason)]);
        look.text(record)
    }

    #[test]
    fn a_flush_names_its_reason() {
        let text = |reason: i64| flush(Compat::Rtrec, 3, reason);
        assert_eq!(text(0), "pages=3 reason=flush on task switch (0)");
        assert_eq!(text(3), "pages=3 reason=local mm shootdown (3)");
        // By the kernel's own table.
        assert_eq!(text(4), "pages=3 reason=remote IPI send (4)");
        assert_eq!(text(5), "pages=3 reason=remote wrong CPU (5)");
        assert_eq!(text(6), "pages=3 reason= (6)");
    }

    #[test]
    fn trace_cmd_knows_four_reasons() {
        assert_eq!(flush(Compat::V34, 3, 3), "pages=3 reason=local mm shootdown (3)");
        assert_eq!(flush(Compat::V34, 4, 4), "pages=4 reason= (4)");
    }

    #[test]
    fn all_pages_are_minus_one() {
        // unsigned long in the kernel, `%ld` in its print fmt: TLB_FLUSH_ALL is all ones.
        assert_eq!(flush(Compat::V34, -1, 1), "pages=-1 reason=remote shootdown (1)");
    }
}
