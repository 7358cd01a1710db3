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
