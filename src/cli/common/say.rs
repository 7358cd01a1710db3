//! Words on stderr and stdout. A closed stream is no reason to lose a recording or to panic.

use std::io::Write;

/// Writes to stderr as it is. Nobody reading it is no reason to lose a recording.
pub(in crate::cli) fn say_raw(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A line for stderr, as `eprintln!`, that survives a closed stderr.
macro_rules! say {
    ($($arg:tt)*) => {
        $crate::cli::common::say::say_raw(&format!("{}\n", format_args!($($arg)*)))
    };
}
pub(in crate::cli) use say;

/// Writes a line to stdout.
pub(in crate::cli) fn print_line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
