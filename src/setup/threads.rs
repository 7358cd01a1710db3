//! The threads of processes, by `/proc`: the kernel's pid lists hold thread ids.

/// The numbers among the names in a folder.
fn numbers(folder: &str) -> Vec<i32> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The threads of a process, as quickly as can be; none if it is gone.
pub fn of_process(pid: i32) -> Vec<i32> {
    numbers(&format!("/proc/{pid}/task"))
}

/// The threads of all processes, each with the process it belongs to.
pub fn of_all_processes() -> impl Iterator<Item = (i32, i32)> {
    numbers("/proc").into_iter().flat_map(|pid| of_process(pid).into_iter().map(move |tid| (pid, tid)))
}

/// All threads of this process, those of rayon's pool included, which are started for that.
pub fn of_rtrec() -> Vec<i32> {
    rayon::broadcast(|_| ());
    of_process(std::process::id() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_thread_is_among_those_of_its_process() {
        let (pid, tid) = (std::process::id() as i32, nix::unistd::gettid().as_raw());
        assert!(of_process(pid).contains(&tid) && of_rtrec().contains(&tid));
        assert!(of_all_processes().any(|both| both == (pid, tid)));
        assert!(of_process(-1).is_empty());
    }
}
