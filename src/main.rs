//! The `rtrec` binary: parse, call the library, exit.

use std::process::ExitCode;

fn main() -> ExitCode {
    rtrec::cli::main()
}
