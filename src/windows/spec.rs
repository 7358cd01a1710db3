//! The words for windows on a command line.
//!
//! ```text
//!   WINDOW     START..STOP[@PID][:THRESHOLD]     between two points
//!              FUNCTION[@PID][:THRESHOLD]        from a function's entry to its return
//!   SYSCALL    PID:NAME|NR[:THRESHOLD]
//!   START      SYSTEM:EVENT[FILTER]              a tracepoint; the brackets are written
//!              anything else                     a place for a probe
//!   THRESHOLD  20ms, 500us, 2s, or FIELD/UNIT: what that field of the start event says
//! ```
//! Only `--window` insists on a unit: `prog:file.c:120` ends in a line, not in a threshold.

use std::fmt;

use super::Threshold;

/// A place as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointSpec {
    /// All of it but the filter.
    pub word: String,
    /// What the brackets hold.
    pub filter: Option<String>,
}

/// A window between two places, or around a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    /// All of it, as written.
    pub text: String,
    /// Where it begins.
    pub start: PointSpec,
    /// Where it ends; `None`: at the function's return.
    pub stop: Option<PointSpec>,
    /// Only threads of this process.
    pub process: Option<i32>,
    /// From when on it is slow.
    pub threshold: Threshold,
}

/// A window around a system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyscallWindowSpec {
    /// All of it, as written.
    pub text: String,
    /// The process; 0 is the command.
    pub process: i32,
    /// Name or number.
    pub call: String,
    /// From when on it is slow.
    pub threshold: Threshold,
}

/// Why a word was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// The word.
    pub word: String,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.word, self.what)
    }
}

impl std::error::Error for SpecError {}

fn refuse<T>(word: &str, what: &'static str) -> Result<T, SpecError> {
    Err(SpecError { word: word.to_owned(), what })
}

/// Nanoseconds of one unit.
fn unit(word: &str) -> Option<u64> {
    Some(match word {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" | "sec" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        _ => return None,
    })
}

/// A time in nanoseconds; `bare` is the unit of a number without one.
pub fn time(word: &str, bare: Option<u64>) -> Result<u64, SpecError> {
    let digits = word.trim_end_matches(|c: char| c.is_alphabetic());
    let scale = match &word[digits.len()..] {
        "" => bare,
        name => unit(name),
    };
    let Some(scale) = scale else { return refuse(word, "a time needs a unit: ns, us, ms, s or min") };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && digits.bytes().any(|b| b != b'.');
    if !plain {
        return refuse(word, "is no time");
    }
    let Ok(number) = digits.parse::<f64>() else { return refuse(word, "is no time") };
    let ns = number * scale as f64;
    if ns > 1e18 { refuse(word, "is longer than a trace can be") } else { Ok(ns.round() as u64) }
}

fn threshold(word: &str, bare: Option<u64>) -> Option<Threshold> {
    if let Some((field, unit_word)) = word.split_once('/') {
        let named = field.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && field.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !named {
            return None;
        }
        return unit(unit_word).map(|unit_ns| Threshold::Field { name: field.to_owned(), unit_ns });
    }
    time(word, bare).ok().map(Threshold::Fixed)
}

impl WindowSpec {
    /// Reads `START..STOP[@PID][:THRESHOLD]`.
    pub fn parse(text: &str) -> Result<WindowSpec, SpecError> {
        let outside = OutsideBrackets::of(text)?;
        let (mut rest, mut limit) = (text, Threshold::Session);
        if let Some(colon) = outside.last(b':', rest.len())
            && let Some(found) = threshold(&rest[colon + 1..], None)
        {
            (rest, limit) = (&rest[..colon], found);
        }
        let mut process = None;
        if let Some(at) = outside.last(b'@', rest.len())
            && let Ok(pid) = rest[at + 1..].parse::<i32>()
        {
            if pid < 0 {
                return refuse(text, "a process number is not negative");
            }
            (rest, process) = (&rest[..at], Some(pid));
        }
        let dots = (0..rest.len()).find(|at| {
            let here = outside.is(*at, b'.') && outside.is(at + 1, b'.');
            // `../bin` and `/a/../b` are paths.
            here && *at + 2 <= rest.len() && !rest[at + 2..].starts_with('/') && !rest[..*at].ends_with('/')
        });
        let (start, stop) = match dots {
            Some(at) => (PointSpec::parse(&rest[..at])?, Some(PointSpec::parse(&rest[at + 2..])?)),
            None => (PointSpec::parse(rest)?, None),
        };
        if stop.is_none() && start.filter.is_some() {
            return refuse(text, "a tracepoint lasts no time; write START..STOP");
        }
        Ok(WindowSpec { text: text.to_owned(), start, stop, process, threshold: limit })
    }
}

impl PointSpec {
    fn parse(text: &str) -> Result<PointSpec, SpecError> {
        let (word, filter) = match text.strip_suffix(']').and_then(|rest| rest.split_once('[')) {
            Some((word, filter)) => (word, Some(filter.trim().to_owned())),
            None => (text, None),
        };
        if word.trim().is_empty() {
            return refuse(text, "the place where a window begins or ends is missing");
        }
        Ok(PointSpec { word: word.trim().to_owned(), filter: filter.filter(|filter| !filter.is_empty()) })
    }
}

impl SyscallWindowSpec {
    /// Reads `PID:NAME|NR[:THRESHOLD]`, or the original's `PID NR MS`.
    pub fn parse(text: &str) -> Result<SyscallWindowSpec, SpecError> {
        let parts: Vec<&str> = text.split([':', ' ']).filter(|part| !part.is_empty()).collect();
        let [process, call, rest @ ..] = &parts[..] else {
            return refuse(text, "write PID:NAME or PID:NAME:THRESHOLD; PID 0 is the command");
        };
        let Some(process) = process.parse::<i32>().ok().filter(|pid| *pid >= 0) else {
            return refuse(text, "begins with the number of a process; 0 is the command");
        };
        let limit = match rest {
            [] => Threshold::Session,
            [word] => match time(word, Some(1_000_000)) {
                Ok(ns) => Threshold::Fixed(ns),
                Err(_) => return refuse(text, "the threshold is a time such as 20ms"),
            },
            _ => return refuse(text, "there is more than PID:NAME:THRESHOLD"),
        };
        Ok(SyscallWindowSpec { text: text.to_owned(), process, call: (*call).to_owned(), threshold: limit })
    }
}

/// Which bytes lie outside of brackets.
struct OutsideBrackets<'a> {
    text: &'a [u8],
    inside: Vec<bool>,
}

impl<'a> OutsideBrackets<'a> {
    fn of(text: &'a str) -> Result<OutsideBrackets<'a>, SpecError> {
        let (mut depth, mut inside) = (0_u32, Vec::with_capacity(text.len()));
        for byte in text.bytes() {
            depth += u32::from(byte == b'[');
            inside.push(depth > 0);
            if byte == b']' {
                let Some(less) = depth.checked_sub(1) else {
                    return refuse(text, "a bracket is closed that was not opened");
                };
                depth = less;
            }
        }
        if depth > 0 {
            refuse(text, "a bracket is not closed")
        } else {
            Ok(OutsideBrackets { text: text.as_bytes(), inside })
        }
    }

    fn is(&self, at: usize, byte: u8) -> bool {
        self.text.get(at) == Some(&byte) && !self.inside[at]
    }

    fn last(&self, byte: u8, before: usize) -> Option<usize> {
        (0..before).rev().find(|at| self.is(*at, byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, Option<String>, Option<i32>, Threshold) {
        let window = WindowSpec::parse(text).unwrap_or_else(|error| panic!("{error}"));
        let place = |place: PointSpec| match place.filter {
            Some(filter) => format!("{}|{filter}", place.word),
            None => place.word,
        };
        (place(window.start), window.stop.map(place), window.process, window.threshold)
    }

    #[test]
    fn windows_between_two_places() {
        let ms = |ms: u64| Threshold::Fixed(ms * 1_000_000);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(parsed("./win:a..b@12:20ms"), ("./win:a".into(), some("b"), Some(12), ms(20)));
        assert_eq!(parsed("./win:a..b"), ("./win:a".into(), some("b"), None, Threshold::Session));
        assert_eq!(parsed("../win:x.c:12..x.c:30"), ("../win:x.c:12".into(), some("x.c:30"), None, Threshold::Session));
        assert_eq!(parsed("/a/../w:f:5us"), ("/a/../w:f".into(), None, None, Threshold::Fixed(5000)));
        assert_eq!(parsed("vfs_write:0ms"), ("vfs_write".into(), None, None, ms(0)));
        let by_field = Threshold::Field { name: "thr".into(), unit_ns: 1_000_000 };
        assert_eq!(parsed("w:a..w:b:thr/ms"), ("w:a".into(), some("w:b"), None, by_field));
        let both = parsed("sched:sched_switch[prev_pid == 1 || a[0]..@3:5ms]..sched:sched_waking[pid == 1]@0");
        assert_eq!(both.0, "sched:sched_switch|prev_pid == 1 || a[0]..@3:5ms");
        assert_eq!((both.1, both.2), (some("sched:sched_waking|pid == 1"), Some(0)));
    }

    #[test]
    fn windows_of_system_calls() {
        let call = SyscallWindowSpec::parse("0:clock_nanosleep:20ms").unwrap();
        assert_eq!(
            (call.process, call.call.as_str(), call.threshold),
            (0, "clock_nanosleep", Threshold::Fixed(20_000_000))
        );
        let call = SyscallWindowSpec::parse("4711 230 1.5").unwrap();
        assert_eq!((call.process, call.call.as_str(), call.threshold), (4711, "230", Threshold::Fixed(1_500_000)));
        for bad in ["", "read", "x:read", "-1:read", "1:read:", "1:read:5x", "1:read:5ms:6"] {
            assert!(SyscallWindowSpec::parse(bad).is_err() == (bad != "1:read:"), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for bad in ["", "..", "a..", "..b", "a[x", "a]x", "s:e[x==1]", "a..b@-4"] {
            assert!(WindowSpec::parse(bad).is_err(), "{bad}");
        }
        for bad in ["", "ms", "5", "-5ms", "5 ms", "5lightyears", "1e3ms", "9999999999999s"] {
            assert!(time(bad, None).is_err(), "{bad}");
        }
        assert_eq!(time("1.5ms", None), Ok(1_500_000));
    }
}
