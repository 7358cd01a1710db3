//! Names of Xen's hypercalls.

use crate::wire::print_fmt::Helper;

use crate::decode::Family;

/// The registry's entry.
pub const FAMILY: Family = Family {
    name: "xen",
    about: "Teaches print fmt xen_hypercall_name.",
    helpers: &[(
        "xen_hypercall_name",
        Helper::Text(|_, args, out| {
            let number = args.first().map_or(0, |arg| arg.number());
            let name =
                usize::try_from(number).ok().and_then(|number| NAMES.get(number)).filter(|name| !name.is_empty());
            if let Some(name) = name {
                out.push(b'(');
                out.extend_from_slice(name.as_bytes());
                out.push(b')');
            }
        }),
    )],
    ..Family::NONE
};

const NAMES: [&str; 56] = [
    "set_trap_table",
    "mmu_update",
    "set_gdt",
    "stack_switch",
    "set_callbacks",
    "fpu_taskswitch",
    "sched_op_compat",
    "dom0_op",
    "set_debugreg",
    "get_debugreg",
    "update_descriptor",
    "",
    "memory_op",
    "multicall",
    "update_va_mapping",
    "set_timer_op",
    "event_channel_op_compat",
    "xen_version",
    "console_io",
    "physdev_op_compat",
    "grant_table_op",
    "vm_assist",
    "update_va_mapping_otherdomain",
    "iret",
    "vcpu_op",
    "set_segment_base",
    "mmuext_op",
    "acm_op",
    "nmi_op",
    "sched_op",
    "callback_op",
    "xenoprof_op",
    "event_channel_op",
    "physdev_op",
    "hvm_op",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "arch_0",
    "arch_1",
    "arch_2",
    "arch_3",
    "arch_4",
    "arch_5",
    "arch_6",
    "arch_7",
];

#[cfg(test)]
mod tests {
    use crate::plugins::testing::Look;

    fn call(op: i64) -> String {
        let look = Look::of("6.12", &["xen:xen_mc_entry"]);
        let record = look.record("xen:xen_mc_entry", &[("op", op), ("nargs", 2)]);
        look.text(record)
    }

    #[test]
    fn a_hypercall_has_a_name() {
        // Numbers of Xen's public headers.
        assert_eq!(call(1), "op 1(mmu_update) args [0, 0, 0, 0, 0, 0]");
        assert_eq!(call(14), "op 14(update_va_mapping) args [0, 0, 0, 0, 0, 0]");
        assert_eq!(call(48), "op 48(arch_0) args [0, 0, 0, 0, 0, 0]");
    }

    #[test]
    fn a_number_without_a_hypercall_stays_a_number() {
        assert_eq!(call(11), "op 11 args [0, 0, 0, 0, 0, 0]");
        assert_eq!(call(35), "op 35 args [0, 0, 0, 0, 0, 0]");
        assert_eq!(call(56), "op 56 args [0, 0, 0, 0, 0, 0]");
        assert_eq!(call(-1), "op 4294967295 args [0, 0, 0, 0, 0, 0]");
    }
}
