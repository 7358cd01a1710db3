//! Functions whose work moved to another name.
//!
//! Recipes outlive kernels: `do_sys_open` still exists, but openat(2) enters `do_sys_openat2` since 5.6. For each old name
//! stand the names that took over its work, oldest first, with the release. A successor counts when the
//! running kernel can trace it; which of them it has is asked of the kernel, not guessed from its version. The outermost
//! functions of interrupts and faults must not be traced since 5.8, so the first traceable ones below them stand there too.

/// Old name, then what took over its work.
const MOVED: &[(&str, &[&str])] = &[
    ("do_sys_open", &["do_sys_openat2"]),                    // 5.6
    ("do_fork", &["_do_fork", "kernel_clone"]),              // 4.2, 5.10
    ("_do_fork", &["kernel_clone"]),                         // 5.10
    ("do_IRQ", &["common_interrupt", "__common_interrupt"]), // 5.8
    ("smp_apic_timer_interrupt", &["sysvec_apic_timer_interrupt", "__sysvec_apic_timer_interrupt"]), // 5.8
    ("smp_reschedule_interrupt", &["sysvec_reschedule_ipi", "sched_ttwu_pending"]), // 5.8
    ("smp_call_function_single_interrupt", &["sysvec_call_function_single", "__sysvec_call_function_single"]), // 5.8
    ("do_page_fault", &["exc_page_fault", "do_user_addr_fault", "handle_mm_fault"]), // 5.8
    ("__do_page_fault", &["do_user_addr_fault", "handle_mm_fault"]), // 5.8
    ("do_mmap_pgoff", &["do_mmap"]),                         // 5.9
    ("do_munmap", &["do_vmi_munmap"]),                       // 6.2
    ("__do_munmap", &["do_vmi_munmap"]),                     // 6.2
    ("generic_make_request", &["submit_bio_noacct"]),        // 5.9
    ("generic_file_aio_read", &["generic_file_read_iter"]),  // 3.16
    ("generic_file_aio_write", &["generic_file_write_iter"]), // 3.16
    ("vfs_readdir", &["iterate_dir"]),                       // 3.11
    ("do_execve", &["do_execveat_common", "do_execveat_common.isra.0", "bprm_execve"]), // 3.19, 5.9
    ("__do_execve_file", &["bprm_execve"]),                  // 5.9
    ("do_sync_read", &["new_sync_read"]),                    // 3.16
    ("do_sync_write", &["new_sync_write"]),                  // 3.16
    ("scheduler_tick", &["sched_tick"]),                     // 6.10
    ("tick_sched_timer", &["tick_nohz_handler"]),            // 6.9
    ("__do_softirq", &["handle_softirqs"]),                  // 6.10
    ("__alloc_pages_nodemask", &["__alloc_pages", "__alloc_pages_noprof", "__alloc_frozen_pages_noprof"]), // 5.13, 6.10, 6.15
    ("__alloc_pages", &["__alloc_pages_noprof", "__alloc_frozen_pages_noprof"]),                           // 6.10, 6.15
    ("__kmalloc", &["__kmalloc_noprof"]),                                                                  // 6.10
    ("kmem_cache_alloc", &["kmem_cache_alloc_noprof"]),                                                    // 6.10
    ("kmalloc_trace", &["__kmalloc_cache_noprof"]),                                                        // 6.10
    ("vmalloc", &["vmalloc_noprof"]),                                                                      // 6.10
    ("mark_page_accessed", &["folio_mark_accessed"]),                                                      // 5.16
    ("add_to_page_cache_lru", &["filemap_add_folio"]),                                                     // 5.16
    ("wait_on_page_bit", &["folio_wait_bit"]),                                                             // 5.16
    ("wait_on_page_writeback", &["folio_wait_writeback"]),                                                 // 5.16
];

/// System call entries since 4.17 carry the architecture's prefix: `sys_open` and `SyS_open` became `__x64_sys_open`.
const SYSCALL_PREFIXES: &[&str] = &["__x64_sys_", "__arm64_sys_", "__riscv_sys_", "__s390x_sys_"];

/// The names that may have taken over the work of `name`, oldest first; empty for most.
pub fn successors(name: &str) -> Vec<String> {
    if let Some((_, later)) = MOVED.iter().find(|(old, _)| *old == name) {
        return later.iter().map(|&name| name.to_owned()).collect();
    }
    let call = ["sys_", "SyS_", "SYSC_"].iter().find_map(|prefix| name.strip_prefix(prefix));
    match call {
        Some(call) => SYSCALL_PREFIXES.iter().map(|prefix| format!("{prefix}{call}")).collect(),
        None => Vec::new(),
    }
}

/// The up to five names nearest to `name` among `known`, best first.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let wanted = name.to_ascii_lowercase();
    let mut ranked: Vec<(u32, &str)> = known
        .filter_map(|candidate| {
            let lower = candidate.to_ascii_lowercase();
            let contained = wanted.len() >= 4 && lower.contains(&wanted);
            let likeness = strsim::jaro_winkler(&wanted, &lower);
            let rank = if contained { 0.9 + likeness / 10.0 } else { likeness };
            (rank > 0.82).then_some(((rank * 100_000.0) as u32, candidate))
        })
        .collect();
    ranked.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    ranked.dedup_by(|a, b| a.1 == b.1);
    ranked.into_iter().take(5).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_calls_got_their_architecture_in_front() {
        assert_eq!(successors("sys_openat")[0], "__x64_sys_openat");
        assert_eq!(successors("SyS_openat"), successors("sys_openat"));
        assert!(successors("vfs_read").is_empty());
        assert_eq!(successors("do_sys_open"), ["do_sys_openat2"]);
    }

    #[test]
    fn the_nearest_name_comes_first_and_strangers_do_not() {
        let known = ["sched:sched_switch", "sched:sched_swap_numa", "irq:softirq_entry"];
        assert_eq!(nearest("sched:sched_swich", known.into_iter())[0], "sched:sched_switch");
        assert!(nearest("zzz", known.into_iter()).is_empty());
    }

    #[test]
    fn no_name_succeeds_itself() {
        for (old, later) in MOVED {
            assert!(!later.is_empty() && !later.contains(old), "{old}");
        }
    }
}
