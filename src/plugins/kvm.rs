//! KVM: exits, entries, emulated instructions, shadow pages.
//!
//! Source of the reasons' numbers: the processors' manuals (VMX basic exit reasons, SVM exit codes).

use crate::wire::format::EventFormat;
use crate::wire::print_fmt::Helper;
use crate::wire::record::Record;
use crate::wire::text;

use crate::decode::field::Int;
use crate::decode::{Context, Family, Plugin, Scene, Then};

/// The registry's entry.
pub const FAMILY: Family = Family {
    name: "kvm",
    about: "Prints exits by the name of their reason, emulated instructions, and the roles of shadow pages.",
    helpers: &[("is_writable_pte", Helper::Number(|_, args| args.first().map_or(0, |arg| arg.number() & 2)))],
    bind: |context, format| bind(context, format),
    ..Family::NONE
};

#[rustfmt::skip]
const VMX: &[(u64, &str)] = &[
    (0, "EXCEPTION_NMI"), (1, "EXTERNAL_INTERRUPT"), (2, "TRIPLE_FAULT"), (7, "PENDING_INTERRUPT"), (8, "NMI_WINDOW"),
    (9, "TASK_SWITCH"), (10, "CPUID"), (12, "HLT"), (13, "INVD"), (14, "INVLPG"), (15, "RDPMC"), (16, "RDTSC"),
    (18, "VMCALL"), (19, "VMCLEAR"), (20, "VMLAUNCH"), (21, "VMPTRLD"), (22, "VMPTRST"), (23, "VMREAD"),
    (24, "VMRESUME"), (25, "VMWRITE"), (26, "VMOFF"), (27, "VMON"), (28, "CR_ACCESS"), (29, "DR_ACCESS"),
    (30, "IO_INSTRUCTION"), (31, "MSR_READ"), (32, "MSR_WRITE"), (36, "MWAIT_INSTRUCTION"),
    (39, "MONITOR_INSTRUCTION"), (40, "PAUSE_INSTRUCTION"), (41, "MCE_DURING_VMENTRY"), (43, "TPR_BELOW_THRESHOLD"),
    (44, "APIC_ACCESS"), (45, "EOI_INDUCED"), (48, "EPT_VIOLATION"), (49, "EPT_MISCONFIG"), (50, "INVEPT"),
    (52, "PREEMPTION_TIMER"), (54, "WBINVD"), (55, "XSETBV"), (56, "APIC_WRITE"), (58, "INVPCID"), (62, "PML_FULL"),
    (63, "XSAVES"), (64, "XRSTORS"),
];

#[rustfmt::skip]
const SVM: &[(u64, &str)] = &[
    (0, "EXIT_READ_CR0"), (3, "EXIT_READ_CR3"), (4, "EXIT_READ_CR4"), (8, "EXIT_READ_CR8"), (16, "EXIT_WRITE_CR0"),
    (19, "EXIT_WRITE_CR3"), (20, "EXIT_WRITE_CR4"), (24, "EXIT_WRITE_CR8"), (32, "EXIT_READ_DR0"),
    (33, "EXIT_READ_DR1"), (34, "EXIT_READ_DR2"), (35, "EXIT_READ_DR3"), (36, "EXIT_READ_DR4"), (37, "EXIT_READ_DR5"),
    (38, "EXIT_READ_DR6"), (39, "EXIT_READ_DR7"), (48, "EXIT_WRITE_DR0"), (49, "EXIT_WRITE_DR1"),
    (50, "EXIT_WRITE_DR2"), (51, "EXIT_WRITE_DR3"), (52, "EXIT_WRITE_DR4"), (53, "EXIT_WRITE_DR5"),
    (54, "EXIT_WRITE_DR6"), (55, "EXIT_WRITE_DR7"), (64, "EXIT_EXCP_DE"), (65, "EXIT_EXCP_DB"), (67, "EXIT_EXCP_BP"),
    (68, "EXIT_EXCP_OF"), (69, "EXIT_EXCP_BR"), (70, "EXIT_EXCP_UD"), (71, "EXIT_EXCP_NM"), (72, "EXIT_EXCP_DF"),
    (74, "EXIT_EXCP_TS"), (75, "EXIT_EXCP_NP"), (76, "EXIT_EXCP_SS"), (77, "EXIT_EXCP_GP"), (78, "EXIT_EXCP_PF"),
    (80, "EXIT_EXCP_MF"), (81, "EXIT_EXCP_AC"), (82, "EXIT_EXCP_MC"), (83, "EXIT_EXCP_XF"),
    (96, "EXIT_INTR"), (97, "EXIT_NMI"), (98, "EXIT_SMI"), (99, "EXIT_INIT"), (100, "EXIT_VINTR"),
    (101, "EXIT_CR0_SEL_WRITE"), (102, "EXIT_IDTR_READ"), (103, "EXIT_GDTR_READ"), (104, "EXIT_LDTR_READ"),
    (105, "EXIT_TR_READ"), (106, "EXIT_IDTR_WRITE"), (107, "EXIT_GDTR_WRITE"), (108, "EXIT_LDTR_WRITE"),
    (109, "EXIT_TR_WRITE"), (110, "EXIT_RDTSC"), (111, "EXIT_RDPMC"), (112, "EXIT_PUSHF"), (113, "EXIT_POPF"),
    (114, "EXIT_CPUID"), (115, "EXIT_RSM"), (116, "EXIT_IRET"), (117, "EXIT_SWINT"), (118, "EXIT_INVD"),
    (119, "EXIT_PAUSE"), (120, "EXIT_HLT"), (121, "EXIT_INVLPG"), (122, "EXIT_INVLPGA"), (123, "EXIT_IOIO"),
    (124, "EXIT_MSR"), (125, "EXIT_TASK_SWITCH"), (126, "EXIT_FERR_FREEZE"), (127, "EXIT_SHUTDOWN"),
    (128, "EXIT_VMRUN"), (129, "EXIT_VMMCALL"), (130, "EXIT_VMLOAD"), (131, "EXIT_VMSAVE"), (132, "EXIT_STGI"),
    (133, "EXIT_CLGI"), (134, "EXIT_SKINIT"), (135, "EXIT_RDTSCP"), (136, "EXIT_ICEBP"), (137, "EXIT_WBINVD"),
    (138, "EXIT_MONITOR"), (139, "EXIT_MWAIT"), (140, "EXIT_MWAIT_COND"), (141, "EXIT_XSETBV"), (1024, "EXIT_NPF"),
    (1025, "EXIT_AVIC_INCOMPLETE_IPI"), (1026, "EXIT_AVIC_UNACCELERATED_ACCESS"), (0xffff_ffff, "EXIT_ERR"),
];

fn bind(context: &Context<'_>, format: &EventFormat) -> Option<Box<dyn Plugin>> {
    let abi = context.trace.abi;
    let int = |name| Int::find(format, name, abi);
    match (format.system.as_str(), format.name.as_str()) {
        ("kvm", "kvm_exit") => Some(Box::new(KvmExit {
            reason: Reason { code: int("exit_reason")?, isa: int("isa") },
            rip: int("guest_rip")?,
            info: int("info1").zip(int("info2")),
        })),
        ("kvm", "kvm_entry") => Some(Box::new(KvmEntry { vcpu: int("vcpu_id")?, rip: int("rip")? })),
        ("kvm", "kvm_nested_vmexit" | "kvm_nested_vmexit_inject") => {
            let inject = format.name.ends_with("inject");
            Some(Box::new(Nested {
                rip: if inject { None } else { Some(int("rip")?) },
                reason: Reason { code: int("exit_code")?, isa: int("isa") },
                infos: [int("exit_info1")?, int("exit_info2")?, int("exit_int_info")?, int("exit_int_info_err")?],
            }))
        }
        ("kvm", "kvm_emulate_insn") => Some(Box::new(Emulate {
            rip: int("rip")?,
            csbase: int("csbase")?,
            len: int("len")?,
            insn: format.field("insn")?.offset.into(),
            failed: int("failed")?,
        })),
        ("kvmmmu", name) => {
            let gets = name == "kvm_mmu_get_page";
            let zaps = ["kvm_mmu_sync_page", "kvm_mmu_unsync_page", "kvm_mmu_zap_page", "kvm_mmu_prepare_zap_page"];
            if !gets && !zaps.contains(&name) {
                return None;
            }
            Some(Box::new(ShadowPage {
                created: if gets { Some((int("created")?, int("gfn")?)) } else { None },
                role: int("role")?,
                root_count: int("root_count")?,
                unsync: int("unsync")?,
                little: abi.endian == crate::wire::abi::Endian::Little,
            }))
        }
        _ => None,
    }
}

struct Reason {
    code: Int,
    isa: Option<Int>,
}

impl Reason {
    fn put(&self, data: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"reason ");
        let code = self.code.raw(data);
        let table = match self.isa.map_or(1, |isa| isa.raw(data)) {
            1 => VMX,
            2 => SVM,
            _ => return out.extend_from_slice(b"UNKNOWN-ISA"),
        };
        match table.iter().find(|entry| entry.0 == code) {
            Some((_, name)) => out.extend_from_slice(name.as_bytes()),
            None => {
                out.extend_from_slice(b"UNKNOWN (");
                text::dec(out, code);
                out.push(b')');
            }
        }
    }
}

struct KvmExit {
    reason: Reason,
    rip: Int,
    info: Option<(Int, Int)>,
}

impl Plugin for KvmExit {
    fn text(&self, record: &Record<'_>, _: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        self.reason.put(record.data, out);
        out.extend_from_slice(b" rip ");
        text::hex0x(out, self.rip.raw(record.data));
        if let Some((info1, info2)) = self.info {
            out.extend_from_slice(b" info ");
            text::hex(out, info1.raw(record.data));
            out.push(b' ');
            text::hex(out, info2.raw(record.data));
        }
        Then::Done
    }
}

struct KvmEntry {
    vcpu: Int,
    rip: Int,
}

impl Plugin for KvmEntry {
    fn text(&self, record: &Record<'_>, _: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        out.extend_from_slice(b" vcpu ");
        text::dec(out, self.vcpu.raw(record.data));
        out.extend_from_slice(b" rip ");
        text::hex0x(out, self.rip.raw(record.data));
        Then::Done
    }
}

struct Nested {
    rip: Option<Int>,
    reason: Reason,
    infos: [Int; 4],
}

impl Plugin for Nested {
    fn text(&self, record: &Record<'_>, _: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        let data = record.data;
        if let Some(rip) = self.rip {
            // No blank follows: that is how trace-cmd has it.
            out.extend_from_slice(b" rip ");
            text::hex(out, rip.raw(data));
        }
        self.reason.put(data, out);
        for (name, info) in [" info1 ", " info2 ", " int_info ", " int_info_err "].iter().zip(self.infos) {
            out.extend_from_slice(name.as_bytes());
            text::hex(out, info.raw(data));
        }
        Then::Done
    }
}

struct Emulate {
    rip: Int,
    csbase: Int,
    len: Int,
    insn: usize,
    failed: Int,
}

impl Plugin for Emulate {
    fn text(&self, record: &Record<'_>, _: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        let data = record.data;
        text::hex(out, self.csbase.raw(data));
        out.push(b':');
        text::hex(out, self.rip.raw(data));
        out.push(b':');
        let insn = data.get(self.insn..).unwrap_or(&[]);
        let len = usize::try_from(self.len.raw(data)).unwrap_or(0).min(insn.len()).min(15);
        for byte in &insn[..len] {
            out.push(b' ');
            text::hex_byte(out, *byte);
        }
        if self.failed.raw(data) != 0 {
            out.extend_from_slice(b" FAIL");
        }
        Then::Done
    }
}

struct ShadowPage {
    /// Whether the page is new, and its frame.
    created: Option<(Int, Int)>,
    role: Int,
    root_count: Int,
    unsync: Int,
    little: bool,
}

impl Plugin for ShadowPage {
    fn text(&self, record: &Record<'_>, _: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        let data = record.data;
        if !self.little {
            // The role is a bit field; its layout on big-endian machines is another.
            return Then::Generic;
        }
        if let Some((created, gfn)) = self.created {
            out.extend_from_slice(if created.raw(data) != 0 { b"new" } else { b"existing" });
            out.extend_from_slice(b" sp gfn ");
            text::hex(out, gfn.raw(data));
            out.push(b' ');
        }
        role(self.role.raw(data), out);
        out.extend_from_slice(b" root ");
        text::dec(out, self.root_count.raw(data));
        out.extend_from_slice(if self.unsync.raw(data) != 0 { b" unsync" } else { b" sync" });
        Then::Done
    }
}

/// Appends a shadow page's role: level, quadrant, access rights, the mode it was made in.
fn role(role: u64, out: &mut Vec<u8>) {
    let bit = |bit: u32| role >> bit & 1 == 1;
    text::dec(out, role & 15);
    out.extend_from_slice(b" q");
    text::dec(out, role >> 5 & 3);
    if bit(7) {
        out.extend_from_slice(b" direct");
    }
    out.push(b' ');
    for (at, letter) in [(9, b'w'), (10, b'u'), (8, b'x')] {
        out.push(if bit(at) { letter } else { b'-' });
    }
    if bit(11) {
        out.extend_from_slice(b" invalid");
    }
    for (at, name) in [(4, "pae"), (12, "nxe"), (13, "wp")] {
        out.extend_from_slice(if bit(at) { b" " } else { b" !" });
        out.extend_from_slice(name.as_bytes());
    }
    for (set, name) in [(bit(14), " smep"), (bit(15), " smap"), (role >> 24 & 0xff != 0, " smm")] {
        if set {
            out.extend_from_slice(name.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::decode::testing::{Set, TEXTS, bytes};
    use crate::plugins::testing::Look;

    const RIP: i64 = 0xffff_ffff_8100_0104_u64 as i64;

    fn exit(isa: i64, reason: i64) -> String {
        let look = Look::of("6.18", &["kvm:kvm_exit"]);
        let fields = [("exit_reason", reason), ("guest_rip", RIP), ("isa", isa), ("info1", 0x1f), ("info2", 2)];
        let record = look.record("kvm:kvm_exit", &fields);
        look.text(record)
    }

    #[test]
    fn an_exit_is_named_by_its_reason_on_intel() {
        assert_eq!(exit(1, 30), "reason IO_INSTRUCTION rip 0xffffffff81000104 info 1f 2");
        assert_eq!(exit(1, 48), "reason EPT_VIOLATION rip 0xffffffff81000104 info 1f 2");
    }

    #[test]
    fn an_exit_is_named_by_its_reason_on_amd() {
        assert_eq!(exit(2, 0x7b), "reason EXIT_IOIO rip 0xffffffff81000104 info 1f 2");
        assert_eq!(exit(2, 0x400), "reason EXIT_NPF rip 0xffffffff81000104 info 1f 2");
    }

    #[test]
    fn an_exit_for_an_unknown_reason_shows_its_number() {
        assert_eq!(exit(1, 3000), "reason UNKNOWN (3000) rip 0xffffffff81000104 info 1f 2");
        assert_eq!(exit(3, 30), "reason UNKNOWN-ISA rip 0xffffffff81000104 info 1f 2");
    }

    #[test]
    fn the_reasons_are_those_of_the_kernels_own_tables() {
        // `{ 30, "IO_INSTRUCTION" }` in the print fmt; the kernel renamed some that trace-cmd still calls by the old name.
        let renamed = ["INTERRUPT_WINDOW", "VMOFF", "VMON", "VMXOFF", "VMXON", "PREEMPTION_TIMER"];
        let text = crate::decode::testing::format_text("6.18", "kvm:kvm_exit");
        let own = &text[text.find("isa == 1)").unwrap()..];
        let vmx = &own[..own.find("})").unwrap()];
        let mut compared = 0;
        for entry in vmx.split("{ ").skip(1) {
            let (number, rest) = entry.split_once(", \"").unwrap();
            let (name, _) = rest.split_once('"').unwrap();
            let ours = super::VMX.iter().find(|reason| reason.0 == number.parse::<u64>().unwrap());
            if let Some((_, ours)) = ours.filter(|_| !renamed.contains(&name)) {
                assert_eq!(*ours, name);
                compared += 1;
            }
        }
        assert!(compared > 35, "{compared}");
    }

    #[test]
    fn an_exit_of_an_old_kernel_has_no_isa_and_no_info() {
        let common = "field:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
            field:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n";
        let fields = "field:unsigned int exit_reason;\toffset:8;\tsize:4;\tsigned:0;\n\
            field:unsigned long guest_rip;\toffset:16;\tsize:8;\tsigned:0;\n\n";
        let text = format!("name: kvm_exit\nID: 1007\nformat:\n{common}{fields}print fmt: \"x\"\n");
        let look = Look::of("6.18", &[]).format("kvm", &text);
        // Record and text are those of tests/fixtures/texts.
        let record = bytes("ef0300004d0000000a000000000000000010000000000000");
        assert_eq!(look.text(record), "reason CPUID rip 0x1000");
    }

    #[test]
    fn an_entry_shows_the_cpu_of_the_guest_and_where_it_goes_on() {
        let look = Look::of("6.18", &["kvm:kvm_entry"]);
        let record = look.record("kvm:kvm_entry", &[("vcpu_id", 5), ("rip", RIP)]);
        assert_eq!(look.text(record), " vcpu 5 rip 0xffffffff81000104");
    }

    #[test]
    fn an_injected_nested_exit_shows_its_four_words() {
        let look = Look::of("6.18", &["kvm:kvm_nested_vmexit_inject"]);
        let fields = [("exit_code", 30), ("exit_info1", 0x11), ("exit_info2", 2), ("exit_int_info", 3)];
        let mut fields = fields.to_vec();
        fields.extend([("exit_int_info_err", 4), ("isa", 1)]);
        let record = look.record("kvm:kvm_nested_vmexit_inject", &fields);
        assert_eq!(look.text(record), "reason IO_INSTRUCTION info1 11 info2 2 int_info 3 int_info_err 4");
    }

    #[test]
    fn a_nested_exit_with_the_fields_of_an_exit_is_left_to_its_print_fmt() {
        let look = Look::of("6.18", &["kvm:kvm_nested_vmexit"]);
        let record = look.record("kvm:kvm_nested_vmexit", &[("exit_reason", 10), ("isa", 1), ("vcpu_id", 5)]);
        let text = look.text(record);
        assert!(text.starts_with("vcpu 5 reason CPUID rip 0x0 info1 0x0000000000000000 "), "{text}");
    }

    #[test]
    fn an_emulated_instruction_shows_as_many_bytes_as_it_has() {
        let text = |failed: i64| {
            let look = Look::of("6.18", &["kvm:kvm_emulate_insn"]);
            let insn = Set::Bytes(&[0x0f, 0x01, 0xc1, 0x90]);
            let fields = [("rip", RIP), ("csbase", 0x10), ("len", 3), ("failed", failed)];
            let mut fields = fields.map(|(name, value)| (name, Set::Int(value))).to_vec();
            fields.push(("insn", insn));
            let record = look.record_of("kvm:kvm_emulate_insn", &fields);
            look.text(record)
        };
        assert_eq!(text(0), "10:ffffffff81000104: 0f 01 c1");
        assert_eq!(text(1), "10:ffffffff81000104: 0f 01 c1 FAIL");
    }

    #[test]
    fn a_shadow_page_shows_its_role_bit_by_bit() {
        let text = |event: &str, role: i64, more: &[(&str, i64)]| {
            let look = Look::of("6.18", &[event]);
            let mut fields = vec![("gfn", 0x123), ("role", role), ("root_count", 2)];
            fields.extend_from_slice(more);
            let record = look.record(event, &fields);
            look.text(record)
        };
        // What trace-cmd printed for each of these bits alone is in tests/fixtures/texts.
        let get = |role: i64| text("kvmmmu:kvm_mmu_get_page", role, &[("created", 1), ("unsync", 1)]);
        assert_eq!(get(2), "new sp gfn 123 2 q0 --- !pae !nxe !wp root 2 unsync");
        assert_eq!(get(0x20), "new sp gfn 123 0 q1 --- !pae !nxe !wp root 2 unsync");
        assert_eq!(get(0x80), "new sp gfn 123 0 q0 direct --- !pae !nxe !wp root 2 unsync");
        assert_eq!(get(0x200), "new sp gfn 123 0 q0 w-- !pae !nxe !wp root 2 unsync");
        assert_eq!(get(0x800), "new sp gfn 123 0 q0 --- invalid !pae !nxe !wp root 2 unsync");
        assert_eq!(get(0x2000), "new sp gfn 123 0 q0 --- !pae !nxe wp root 2 unsync");
        assert_eq!(get(0x8000), "new sp gfn 123 0 q0 --- !pae !nxe !wp smap root 2 unsync");
        let sync = text("kvmmmu:kvm_mmu_sync_page", 0x4711, &[]);
        assert_eq!(sync, "1 q0 wux pae !nxe !wp smep root 2 sync");
        let existing = text("kvmmmu:kvm_mmu_get_page", 0x10, &[]);
        assert_eq!(existing, "existing sp gfn 123 0 q0 --- pae !nxe !wp root 2 sync");
    }

    #[test]
    fn print_fmt_learns_is_writable_pte() {
        let text = |value: u8| {
            let look = Look::of(TEXTS, &["kvm:wr"]);
            look.text(bytes(&format!("ec0300004d000000{value:02x}00000000000000")))
        };
        // Bit 1 of a page table's entry, as a number.
        assert_eq!((text(0), text(1), text(2), text(0xff)), ("0".into(), "0".into(), "2".into(), "2".into()));
    }
}
