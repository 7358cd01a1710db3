//! `-H`: two events that belong together.

use std::fmt;

/// `[SYSTEM:]EVENT,FIELD[,PID]/[SYSTEM:]EVENT,FIELD[,FLAGS]`: the second ends what the first began when the fields are
/// equal. `PID` is the field with the task that it is about, if that is not the task that it happened in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The event that begins.
    pub start: End,
    /// Its field with the task.
    pub pid: Option<String>,
    /// The event that ends.
    pub end: End,
    /// `g`: it belongs to no task; `p`: with `g`, to the CPU. `s` asks the recorder for stacks.
    pub flags: String,
}

/// One side of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Its system; any if not given.
    pub system: Option<String>,
    /// The event.
    pub event: String,
    /// The field that both must agree in.
    pub field: String,
}

/// What is wrong with a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HookError {
    /// It is not `START,FIELD/END,FIELD`.
    Shape(String),
    /// No file has both events.
    NoEvent(String),
    /// The event has no such field, or it is no number.
    NoField(String, String),
}

impl fmt::Display for HookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HookError::Shape(text) => write!(f, "{text:?} does not name two events and their fields"),
            HookError::NoEvent(events) => write!(f, "no file has the events of the hook: {events}"),
            HookError::NoField(event, field) => write!(f, "{event} has no field {field} that is a number"),
        }
    }
}

impl std::error::Error for HookError {}

impl Hook {
    /// Reads a hook.
    pub fn parse(text: &str) -> Result<Hook, HookError> {
        let wrong = || HookError::Shape(text.to_owned());
        let (start, end) = text.split_once('/').ok_or_else(wrong)?;
        let (start, pid) = side(start).ok_or_else(wrong)?;
        let (end, flags) = side(end).ok_or_else(wrong)?;
        Ok(Hook { start, pid, end, flags: flags.unwrap_or_default() })
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: char) -> bool {
        self.flags.chars().any(|letter| letter.eq_ignore_ascii_case(&flag))
    }

    /// The line that trace-cmd prints about it.
    pub fn line(&self) -> String {
        let or_null = |text: Option<&str>| text.unwrap_or("(null)").to_owned();
        let side = |end: &End| format!("{}:{}:{}", or_null(end.system.as_deref()), end.event, end.field);
        let flags = Some(self.flags.as_str()).filter(|flags| !flags.is_empty());
        let pid = or_null(self.pid.as_deref());
        format!("start {} ({pid}) end {} ({})\n", side(&self.start), side(&self.end), or_null(flags))
    }
}

fn side(text: &str) -> Option<(End, Option<String>)> {
    let mut words = text.split(',').map(str::trim);
    let name = words.next().filter(|name| !name.is_empty())?;
    let field = words.next().filter(|field| !field.is_empty())?.to_owned();
    let more = words.next().filter(|more| !more.is_empty()).map(str::to_owned);
    let (system, event) = match name.split_once(':') {
        Some((system, event)) => (Some(system.to_owned()), event.to_owned()),
        None => (None, name.to_owned()),
    };
    if words.next().is_some() || event.is_empty() {
        return None;
    }
    Some((End { system, event, field }, more))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_may_name_a_system_and_more() {
        let hook = Hook::parse("sched:sched_wakeup,pid,pid/sched_switch,next_pid,pG").unwrap();
        assert_eq!((hook.start.system.as_deref(), hook.end.system.as_deref()), (Some("sched"), None));
        assert_eq!(
            (hook.pid.as_deref(), hook.has('g'), hook.has('p'), hook.has('s')),
            (Some("pid"), true, true, false)
        );
        let line = "start sched:sched_wakeup:pid (pid) end (null):sched_switch:next_pid (pG)\n";
        assert_eq!(hook.line(), line);
    }

    #[test]
    fn what_lacks_a_side_or_a_field_is_refused() {
        for text in ["", "a,b", "a/b", "a,b/c", "a,b/c,d,e,f", ",b/c,d", "x:,b/c,d"] {
            assert_eq!(Hook::parse(text), Err(HookError::Shape(text.to_owned())), "{text}");
        }
    }
}
