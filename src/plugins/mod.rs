//! Families of events and what they look like: one file a family, and the registry that lists them.
//!
//! | file | events |
//! | --- | --- |
//! | [`funcgraph`], [`function`] | the tracers `function_graph` and `function`; `arguments` prints what functions were called with |
//! | [`sched`] | the scheduler: who runs after whom, who wakes whom; names of tasks are learned here |
//! | [`stack`] | stacks of the kernel and of programs |
//! | [`print`](mod@print) | `trace_printk`, `bputs`, raw data, what programs write into `trace_marker` |
//! | [`probes`] | probes of functions |
//! | [`hrtimer`], [`kmem`], [`futex`], [`mac80211`], [`tlb`], [`kvm`], [`jbd2`], [`scsi`], [`xen`] | subsystems |
//! | `testing` | for tests: what records of a trace look like |
//!
//! Owns: the text of these events. Does not own: what a plugin is (see [`decode`](crate::decode)), the evaluation of
//! `print fmt` (see `wire::print_fmt`), the columns before the text (see `report`).
//!
//! May import: `decode`, `wire`, `symbols`. May be imported by: `live` and `cli`, which hand [`REGISTRY`] to whoever decodes;
//! by nobody else. A new family is a file here with a [`Family`](crate::decode::Family), and one line in the registry.

mod arguments;
pub mod funcgraph;
pub mod function;
pub mod futex;
pub mod hrtimer;
pub mod jbd2;
pub mod kmem;
pub mod kvm;
pub mod mac80211;
pub mod print;
pub mod probes;
pub mod sched;
pub mod scsi;
pub mod stack;
#[cfg(test)]
mod testing;
pub mod tlb;
pub mod xen;

use crate::decode::Registry;

/// Every plugin.
pub const REGISTRY: Registry = Registry {
    families: &[
        funcgraph::FAMILY,
        function::FAMILY,
        sched::FAMILY,
        stack::FAMILY,
        probes::FAMILY,
        print::BPRINT,
        print::RAW_DATA,
        hrtimer::FAMILY,
        kmem::FAMILY,
        futex::FAMILY,
        mac80211::FAMILY,
        tlb::FAMILY,
        kvm::FAMILY,
        jbd2::FAMILY,
        scsi::FAMILY,
        xen::FAMILY,
    ],
};
