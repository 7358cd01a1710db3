//! `cargo xtask vm`: one command on one of the lab's kernels.

use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use crate::cache;
use crate::error::{Error, Result};
use crate::kernels::Kernel;
use crate::lab::{Guest, Request};
use crate::setup;

/// What to run where, and which files go along.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The kernel to boot.
    pub kernel: Kernel,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Files of the host to put into the guest's `/tmp`.
    pub put: Vec<PathBuf>,
    /// Files of the guest to bring out; relative names lie in `/tmp`.
    pub get: Vec<String>,
    /// The folder the files come to.
    pub out: PathBuf,
    /// How long the command may take.
    pub timeout: Duration,
}

/// Boots, runs the command, brings the files back, and passes the command's exit status on.
pub fn run(settings: &Settings) -> Result<ExitCode> {
    setup::lab(settings.kernel)?;
    let mut guest = Guest::boot(settings.kernel)?;
    for file in &settings.put {
        guest.put(file, &format!("/tmp/{}", name_of(file)?))?;
    }
    let request = Request::new(&settings.command).timeout(settings.timeout);
    let (status, timed_out) = guest.stream(&request, &mut Flushed(io::stdout()), &mut io::stderr())?;
    if timed_out {
        eprintln!("xtask: killed after {} s", settings.timeout.as_secs());
    }
    let brought = bring_out(&mut guest, settings);
    if status.success() {
        brought?;
    } else if let Err(error) = brought {
        // A command that failed may not have written its files: its own status says more.
        eprintln!("xtask: {error}");
    }
    Ok(ExitCode::from(passed_on(status)))
}

fn bring_out(guest: &mut Guest, settings: &Settings) -> Result<()> {
    cache::create_folder(&settings.out)?;
    for name in &settings.get {
        let path = if name.starts_with('/') { name.clone() } else { format!("/tmp/{name}") };
        let to = settings.out.join(name_of(Path::new(&path))?);
        guest.get(&path, &to)?;
        eprintln!("xtask: {name} is now {}", to.display());
    }
    Ok(())
}

fn name_of(path: &Path) -> Result<String> {
    let name = path.file_name().ok_or_else(|| Error::new(format!("{} is not a file's name", path.display())))?;
    Ok(name.to_string_lossy().into_owned())
}

/// The status as a shell would give it: the exit code, or 128 and the signal.
fn passed_on(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Standard output that does not wait for the end of a line.
struct Flushed(io::Stdout);

impl Write for Flushed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.0.write(bytes)?;
        self.0.flush()?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
