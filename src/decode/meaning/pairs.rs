//! Which events are the beginning and the end of one thing, as their names say.

use crate::decode::formats::{EventText, Formats};

/// The end of a return probe's name.
pub const RETURN: &str = "__return";

/// Two events, each as `SYSTEM:EVENT`: what begins with the first ends with the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPair {
    /// The entry.
    pub start: String,
    /// The return.
    pub stop: String,
}

/// The pairs among a trace's events: `NAME` and `NAME__return`, `sys_enter_NAME` and `sys_exit_NAME`.
pub fn by_name(formats: &Formats) -> Vec<NamedPair> {
    let entry = |event: &EventText<'_>| match event.name.strip_suffix(RETURN) {
        Some(entry) => Some(entry.to_owned()),
        None if event.system == "syscalls" => {
            event.name.strip_prefix("sys_exit_").map(|call| format!("sys_enter_{call}"))
        }
        None => None,
    };
    let pair = |event: EventText<'_>| {
        let (system, entry) = (event.system, entry(&event)?);
        formats.find(system, &entry)?;
        Some(NamedPair { start: format!("{system}:{entry}"), stop: format!("{system}:{}", event.name) })
    };
    let mut pairs: Vec<NamedPair> = Vec::new();
    for pair in formats.iter().filter_map(pair) {
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    pairs
}

/// Whether the events are the entry and the exit of the same system call.
pub fn is_syscall(start: &str, stop: &str) -> bool {
    start.strip_prefix("sys_enter_").is_some_and(|call| stop.strip_prefix("sys_exit_") == Some(call))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::testing;

    fn pairs(events: &[&str], probes: &[&str]) -> Vec<String> {
        let mut trace = testing::trace("6.12", events);
        let made = testing::format_text("6.12", "sched:sched_process_exit");
        for (number, name) in probes.iter().enumerate() {
            let text = made.replacen("name: sched_process_exit", &format!("name: {name}"), 1);
            let id = made.lines().nth(1).unwrap();
            trace.formats.push("probe", text.replacen(id, &format!("ID: {}", 2000 + number), 1).as_bytes()).unwrap();
        }
        by_name(&trace.formats).into_iter().map(|pair| format!("{} {}", pair.start, pair.stop)).collect()
    }

    #[test]
    fn the_entry_and_the_exit_of_a_system_call_belong_together() {
        let events = ["syscalls:sys_enter_futex", "syscalls:sys_exit_futex", "syscalls:sys_exit_read"];
        assert_eq!(pairs(&events, &[]), ["syscalls:sys_enter_futex syscalls:sys_exit_futex"]);
    }

    #[test]
    fn a_probe_and_its_return_belong_together() {
        assert_eq!(pairs(&[], &["open", "open__return", "close__return"]), ["probe:open probe:open__return"]);
    }

    #[test]
    fn names_of_system_calls_count_in_their_system_alone() {
        assert!(pairs(&[], &["sys_enter_futex", "sys_exit_futex"]).is_empty());
    }

    #[test]
    fn both_names_must_be_of_the_same_call() {
        assert!(is_syscall("sys_enter_read", "sys_exit_read"));
        assert!(!is_syscall("sys_enter_read", "sys_exit_write"));
        assert!(!is_syscall("open", "open__return"));
    }
}
