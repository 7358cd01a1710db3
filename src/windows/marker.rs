//! Windows that are started and stopped by texts in `trace_marker`.
//!
//! ```text
//!   start [LABEL]             stop [LABEL]
//!   start TIME [LABEL]        stop TID [LABEL]
//!   start TID TIME [LABEL]
//! ```
//! A bare TIME is in milliseconds; `250us`, `20ms` and `1.5s` are understood. A LABEL begins with a letter or an
//! underscore. Any other text is no marker of ours.

use super::spec;

/// What a text says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkerText {
    /// A window begins.
    Start {
        /// Of which thread; the writer's if none is named.
        tid: Option<i32>,
        /// From when on it is slow.
        threshold_ns: Option<u64>,
        /// Its label.
        label: Option<String>,
    },
    /// A window ends.
    Stop {
        /// Of which thread.
        tid: Option<i32>,
        /// Its label.
        label: Option<String>,
    },
}

/// Reads a text.
pub fn parse(text: &[u8]) -> Option<MarkerText> {
    let text = std::str::from_utf8(text).ok()?;
    let mut words: Vec<&str> = text.split_ascii_whitespace().collect();
    let verb = *words.first()?;
    let is_label = |word: &str| word.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let label = words[1..].last().is_some_and(|word| is_label(word)).then(|| words.pop()).flatten().map(str::to_owned);
    let tid = |word: &str| word.parse::<i32>().ok().filter(|tid| *tid > 0);
    let time = |word: &str| spec::time(word, Some(1_000_000)).ok();
    match (verb, &words[1..]) {
        ("start", []) => Some(MarkerText::Start { tid: None, threshold_ns: None, label }),
        ("start", [ms]) => Some(MarkerText::Start { tid: None, threshold_ns: Some(time(ms)?), label }),
        ("start", [who, ms]) => Some(MarkerText::Start { tid: Some(tid(who)?), threshold_ns: Some(time(ms)?), label }),
        ("stop", []) => Some(MarkerText::Stop { tid: None, label }),
        ("stop", [who]) => Some(MarkerText::Stop { tid: Some(tid(who)?), label }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(tid: Option<i32>, ms: Option<u64>, label: Option<&str>) -> Option<MarkerText> {
        Some(MarkerText::Start { tid, threshold_ns: ms.map(|ms| ms * 1_000_000), label: label.map(str::to_owned) })
    }

    #[test]
    fn the_grammar_of_the_original_and_labels() {
        assert_eq!(parse(b"start\n"), start(None, None, None));
        assert_eq!(parse(b"start 20"), start(None, Some(20), None));
        assert_eq!(parse(b"start 0"), start(None, Some(0), None));
        assert_eq!(parse(b"start 4711 20\n"), start(Some(4711), Some(20), None));
        assert_eq!(parse(b"start 2s login"), start(None, Some(2000), Some("login")));
        assert_eq!(parse(b"start login"), start(None, None, Some("login")));
        assert_eq!(parse(b"stop 4711"), Some(MarkerText::Stop { tid: Some(4711), label: None }));
        assert_eq!(parse(b" stop login\n"), Some(MarkerText::Stop { tid: None, label: Some("login".into()) }));
    }

    #[test]
    fn other_texts_are_none_of_ours() {
        for text in [&b"started"[..], b"", b"start -5", b"start 1 2 3", b"stop 20 ms x", b"restart 5", b"\xff"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
