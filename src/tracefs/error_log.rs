//! `error_log`: the kernel's own words about the last eight refused commands.
//!
//! An entry has three lines: time, subsystem and message; `  Command: ` and the command as the kernel re-joined it;
//! and a caret under the faulty token. Entries of other writers stay in the log, so one counts as ours
//! only if its command is the text we wrote, white space aside.

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Subsystem and message, e.g. `event filter parse error: error: Field not found`.
    pub message: String,
    /// The command the kernel complains of.
    pub command: String,
    /// Byte offset of the faulty token in `command`.
    pub caret: usize,
}

const COMMAND: &str = "  Command: ";

/// All entries of a log's text, oldest first.
pub fn parse(text: &str) -> Vec<LogEntry> {
    let mut entries = Vec::new();
    let mut message = None;
    let mut command: Option<String> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix(COMMAND) {
            command = Some(rest.to_owned());
        } else if let Some(column) = line.find('^').filter(|&c| line[..c].bytes().all(|b| b == b' ')) {
            if let (Some(message), Some(command)) = (message.take(), command.take()) {
                let caret = column.saturating_sub(COMMAND.len()).min(command.len());
                entries.push(LogEntry { message, command, caret });
            }
        } else if line.starts_with('[') {
            message = line.split_once("] ").map(|(_, rest)| rest.to_owned());
        }
    }
    entries
}

/// The newest entry about `written`.
pub fn newest_about(text: &str, written: &str) -> Option<LogEntry> {
    let wanted = bare(written);
    parse(text).into_iter().rev().find(|entry| bare(&entry.command) == wanted)
}

fn bare(command: &str) -> String {
    command.split_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "[    5.074464] trace_kprobe: error: Invalid register name\n  Command: p:kp/a vfs_read a=%xyz\n                             ^\n\
                       [   15.074464] event filter parse error: error: Field not found\n  Command: prev_pidd == 1\n           ^\n";

    #[test]
    fn the_caret_counts_from_the_command() {
        let entries = parse(LOG);
        assert_eq!(entries.len(), 2);
        assert_eq!(&entries[0].command[entries[0].caret..], "%xyz");
        assert_eq!(entries[1].message, "event filter parse error: error: Field not found");
        assert_eq!(entries[1].caret, 0);
    }

    #[test]
    fn an_entry_about_another_command_is_not_ours() {
        assert!(newest_about(LOG, "prev_pidd  ==  1\n").is_some());
        assert!(newest_about(LOG, "next_pid == 1").is_none());
    }
}
