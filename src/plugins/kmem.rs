//! Allocations: who asked, before what the event says itself.

use crate::wire::format::EventFormat;
use crate::wire::record::Record;

use crate::decode::field::{Int, symbol};
use crate::decode::{Context, Family, Plugin, Scene, Then};

/// The registry's entry.
pub const FAMILY: Family = Family {
    name: "kmem",
    about: "Prints the calling function before allocations and frees.",
    bind: |context, format| bind(context, format),
    ..Family::NONE
};

fn bind(context: &Context<'_>, format: &EventFormat) -> Option<Box<dyn Plugin>> {
    let known = ["kmalloc", "kmalloc_node", "kmem_cache_alloc", "kmem_cache_alloc_node", "kmem_cache_free", "kfree"];
    if format.system != "kmem" || !known.contains(&format.name.as_str()) {
        return None;
    }
    Some(Box::new(Kmem { call_site: Int::find(format, "call_site", context.trace.abi)? }))
}

struct Kmem {
    call_site: Int,
}

impl Plugin for Kmem {
    fn text(&self, record: &Record<'_>, scene: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        let start = out.len();
        out.push(b'(');
        if symbol(&scene.trace.kallsyms, self.call_site.raw(record.data), true, out) {
            out.extend_from_slice(b") ");
        } else {
            out.truncate(start);
        }
        Then::Generic
    }
}
