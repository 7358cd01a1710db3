//! `cargo xtask bench`: rtrec beside every release of trace-cmd that is here, on the same files.
//!
//! Owns: making the files (`files`), running the commands in turn and the table (`views`).
//! Does not own: benches of single functions, which are criterion's (`benches/`).
//!
//! The commands take turns, so that a machine whose speed drifts is as slow to one as to the other; the median counts.
//! Each is started by a process of its own ([`measure`]), which can then ask for the peak memory of its only child.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::error::{Error, Result};
use crate::peers::TraceCmd;
use crate::{cache, host, licences, project};

pub(crate) mod files;
pub(crate) mod views;

pub use files::grow;
pub use views::measure;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Files to report; recorded if there are none.
    pub files: Vec<PathBuf>,
    /// Record about 500 MB of sub-buffers instead of 50 MB.
    pub big: bool,
    /// Runs of each command.
    pub runs: usize,
}

/// Measures reports and prints the table.
pub fn report(settings: &Settings) -> Result<ExitCode> {
    let rtrec = release_rtrec()?;
    let folder = project::target("bench");
    cache::create_folder(&folder)?;
    let peers = peers();
    let subjects = files::subjects(settings, &rtrec, &folder, &peers)?;
    let counts = subjects.iter().map(|subject| files::events(&rtrec, &subject.path)).collect::<Result<Vec<u64>>>()?;
    let mut entries = views::entries(&subjects, &rtrec, &peers);
    let program = std::env::current_exe().map_err(|e| Error::io("this program is gone", Path::new("/proc/self"), e))?;
    for round in 0..settings.runs.max(1) {
        eprintln!("xtask: round {} of {}", round + 1, settings.runs.max(1));
        for entry in entries.iter_mut().filter(|entry| entry.failed.is_none()) {
            views::run_once(&program, entry)?;
        }
    }
    views::print(&subjects, &counts, &entries);
    Ok(ExitCode::SUCCESS)
}

/// Builds rtrec as it is released, or as the environment's `CARGO_PROFILE_RELEASE_…` says.
pub(crate) fn release_rtrec() -> Result<PathBuf> {
    host::run(project::cargo().args(["build", "--quiet", "--release", "--package", "rtrec", "--bin", "rtrec"]))?;
    let metadata = licences::metadata(&["--no-deps"])?;
    let target = metadata["target_directory"].as_str().map(PathBuf::from);
    Ok(target.unwrap_or_else(|| project::target("")).join("release/rtrec"))
}

/// Every trace-cmd: the fetched releases, and the one on `PATH`.
fn peers() -> Vec<(String, PathBuf)> {
    let fetched = TraceCmd::ALL.into_iter().filter_map(|peer| peer.program().ok());
    let mut peers: Vec<(String, PathBuf)> = Vec::new();
    for program in fetched.chain(host::find_program("trace-cmd")) {
        let said = Command::new(&program).arg("--version").stdin(Stdio::null()).output();
        let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let version = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        let Some(version) = version else {
            eprintln!("xtask: {} does not run here", program.display());
            continue;
        };
        let place = if program.starts_with("/usr") { " (PATH)" } else { "" };
        peers.push((format!("trace-cmd {version}{place}"), program));
    }
    if peers.is_empty() {
        eprintln!("xtask: there is no trace-cmd to compare with; cargo xtask setup fetches it");
    }
    peers
}
