//! Arguments in, settings out; errors become words and exit codes here and nowhere else.
//!
//! One file per subcommand. Only this module knows clap and writes to standard output.

use std::process::ExitCode;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    ExitCode::from(2)
}
