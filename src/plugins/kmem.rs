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

#[cfg(test)]
mod tests {
    use crate::plugins::testing::{FB, Look, SYMBOLS};

    const PTR: i64 = 0xffff_8880_0000_1000_u64 as i64;

    fn free(call_site: i64) -> String {
        let look = Look::of("6.12", &["kmem:kfree"]).symbols(SYMBOLS);
        let record = look.record("kmem:kfree", &[("call_site", call_site), ("ptr", PTR)]);
        look.text(record)
    }

    #[test]
    fn who_frees_stands_before_the_events_own_text() {
        assert_eq!(free(FB + 4), "(fb+0x4) call_site=fb+0x4 ptr=0xffff888000001000");
    }

    #[test]
    fn a_caller_without_a_name_is_not_shown_twice() {
        assert_eq!(free(5), "call_site=0x5 ptr=0xffff888000001000");
    }

    #[test]
    fn who_allocates_stands_before_the_events_own_text() {
        let look = Look::of("6.12", &["kmem:kmalloc"]).symbols(SYMBOLS);
        let fields = [("call_site", FB + 4), ("ptr", PTR), ("bytes_req", 24), ("bytes_alloc", 32), ("node", -1)];
        let record = look.record("kmem:kmalloc", &fields);
        let text = "(fb+0x4) call_site=fb+0x4 ptr=0xffff888000001000 bytes_req=24 bytes_alloc=32 gfp_flags=none node=-1 accounted=false";
        assert_eq!(look.text(record), text);
    }

    #[test]
    fn events_of_pages_are_left_to_their_print_fmt() {
        let look = Look::of("6.12", &["kmem:mm_page_free"]).symbols(SYMBOLS);
        let record = look.record("kmem:mm_page_free", &[("pfn", 0x40), ("order", 2)]);
        let text = look.text(record);
        assert!(text.ends_with("pfn=0x40 order=2"), "{text}");
        assert!(text.starts_with("page="), "{text}");
    }
}
