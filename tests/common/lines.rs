//! Lines of a report.

/// A line without the name of its task: from the pid on, which stands before the CPU or a number.
pub fn unnamed(line: &str) -> &str {
    let is_pid = |at: &usize| {
        let rest = &line.as_bytes()[at + 1..];
        let pid = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let gap = rest[pid..].iter().take_while(|byte| **byte == b' ').count();
        let next = rest.get(pid + gap).is_some_and(|byte| *byte == b'[' || byte.is_ascii_digit());
        pid > 0 && gap > 0 && next
    };
    let dashes = line.bytes().take(41).enumerate().filter(|(_, byte)| *byte == b'-').map(|(at, _)| at);
    dashes.rev().find(is_pid).map_or(line, |at| &line[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_loses_its_task_s_name_and_nothing_else() {
        assert_eq!(unnamed("        a-1 b-77    [001]  12.345678: x: y-1 2"), "77    [001]  12.345678: x: y-1 2");
        assert_eq!(unnamed("cpus=2"), "cpus=2");
        assert_eq!(unnamed("   <idle>-0     [000]  12.0: sched_switch: a-1"), "0     [000]  12.0: sched_switch: a-1");
    }
}
