//! Which events are the beginning and the end of one thing, as their names tell.

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
