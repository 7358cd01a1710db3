//! The host: running its programs, and installing what a chore needs.
//!
//! Owns: starting a program with closed standard input and a checked status, the list of packages a chore may install.
//! Does not own: packages unpacked beside the system, which come from `apt` and live in the cache.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::error::{Error, Result};

/// How much of a failed program's output an error quotes.
const QUOTED_LINES: usize = 30;

/// The command line as a reader would type it, for messages.
#[must_use]
pub fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program()];
    words.extend(command.get_args());
    words.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// One word, quoted for a shell if it needs it.
#[must_use]
pub fn quoted(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref().to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Runs a program to its end, keeping its output; anything but status 0 is an error that quotes what it said.
pub fn output(command: &mut Command) -> Result<Output> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| cannot_start(command, e))?;
    if output.status.success() {
        return Ok(output);
    }
    let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stdout));
    Err(Error::new(format!("{} failed", program_name(command)))
        .fact("ran", shown(command))
        .fact("ended", output.status.to_string())
        .fact("said", last_lines(&said, QUOTED_LINES)))
}

/// Runs a program to its end and returns its standard output as text.
pub fn text(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&output(command)?.stdout).into_owned())
}

/// Runs a program whose output goes straight to ours; anything but status 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().map_err(|e| cannot_start(command, e))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::new(format!("{} failed", program_name(command)))
        .fact("ran", shown(command))
        .fact("ended", status.to_string()))
}

/// The error for a program that could not even be started.
#[must_use]
pub fn cannot_start(command: &Command, error: std::io::Error) -> Error {
    Error::new(format!("{} could not be started", program_name(command)))
        .fact("ran", shown(command))
        .fact("system", error.to_string())
}

fn program_name(command: &Command) -> String {
    Path::new(command.get_program()).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The last `count` lines of a text: the end is where programs say why.
#[must_use]
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Looks a program up on `PATH` and in the folders where Debian keeps root's programs.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// True if this process may install packages and mount file systems.
#[must_use]
pub fn is_root() -> bool {
    // The kernel gives a process's folder to its effective user.
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// A thing the host must have, and the Debian package that brings it.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// The name in messages.
    pub name: &'static str,
    /// The Debian package.
    pub package: &'static str,
    present: fn() -> bool,
}

/// QEMU, which boots the lab's kernels.
pub const QEMU: Tool = Tool {
    name: "qemu-system-x86_64",
    package: "qemu-system-x86",
    present: || find_program("qemu-system-x86_64").is_some(),
};
/// The C compiler, for the small programs that tests trace.
pub const CC: Tool = Tool { name: "cc", package: "gcc", present: || find_program("cc").is_some() };
/// The C++ compiler, for libFuzzer.
pub const CXX: Tool = Tool { name: "c++", package: "g++", present: || find_program("c++").is_some() };
/// The C library to link against, its static half included.
pub const LIBC_DEV: Tool = Tool { name: "libc.a", package: "libc6-dev", present: static_libc_present };
/// The system's own trace-cmd: the oldest peer of the comparison tests.
pub const TRACE_CMD: Tool =
    Tool { name: "trace-cmd", package: "trace-cmd", present: || find_program("trace-cmd").is_some() };
fn static_libc_present() -> bool {
    let mut ask = Command::new("cc");
    ask.arg("-print-file-name=libc.a").stdin(Stdio::null()).stderr(Stdio::null());
    // gcc answers with the bare name when it does not know the file.
    ask.output().is_ok_and(|o| Path::new(String::from_utf8_lossy(&o.stdout).trim()).is_absolute())
}

/// Makes sure the tools are there: installs what is missing when root, else says what to install.
pub fn need(tools: &[Tool]) -> Result<()> {
    let missing: Vec<Tool> = tools.iter().copied().filter(|tool| !(tool.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    let names: Vec<&str> = missing.iter().map(|tool| tool.name).collect();
    let command_line = format!("apt-get install --no-install-recommends {}", packages.join(" "));
    if find_program("apt-get").is_none() {
        return Err(Error::new(format!("this host lacks {}", names.join(", ")))
            .fact("system", "there is no apt-get here")
            .advice(format!("install what Debian has as: {}", packages.join(" "))));
    }
    if !is_root() {
        return Err(
            Error::new(format!("this host lacks {}", names.join(", "))).advice(format!("as root: {command_line}"))
        );
    }
    eprintln!("xtask: installing {}", packages.join(" "));
    install(&packages)?;
    match missing.iter().find(|tool| !(tool.present)()) {
        None => Ok(()),
        Some(tool) => Err(Error::new(format!("{} is installed, but {} is not there", tool.package, tool.name))
            .fact("ran", command_line)),
    }
}

/// Installs packages on the host; a first failure is taken to mean that the package lists are old or absent.
fn install(packages: &[&str]) -> Result<()> {
    let attempt = || {
        let mut command = apt_get();
        command.args(["install", "-y", "-q", "--no-install-recommends"]).args(packages);
        output(&mut command)
    };
    if attempt().is_ok() {
        return Ok(());
    }
    output(apt_get().args(["update", "-q"]))?;
    attempt().map(drop)
}

/// `apt-get` that asks nothing and waits for another apt to finish.
fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-o", "DPkg::Lock::Timeout=300"]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_program_is_quoted_with_its_status_and_words() {
        let error = output(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains("sh -c 'echo why >&2; exit 3'"), "{shown}");
        assert!(shown.contains("exit status: 3") && shown.contains("said    why"), "{shown}");
    }

    #[test]
    fn a_word_with_a_quote_survives_a_shell() {
        let word = "it's $HOME";
        let echoed = text(Command::new("sh").arg("-c").arg(format!("printf %s {}", quoted(word)))).unwrap();
        assert_eq!(echoed, word);
    }
}
