//! The project's own folders and what is built from them for the lab.
//!
//! Owns: where the workspace and its `target` are, the static rtrec, the static test programs and the guest's agent.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cache::{create_folder, remove_folder};
use crate::error::{Error, Result};
use crate::host;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The root of the workspace.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// A folder for what chores build and leave, below `target`.
#[must_use]
pub fn target(name: &str) -> PathBuf {
    root().join("target").join(name)
}

/// Cargo as the one that runs us.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // Set for us by the cargo that runs us; a build script that looks at them would be built again and again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "CARGO_BIN_NAME" {
            command.env_remove(&name);
        }
    }
    command
}

/// True once what is built for guests is to be measured there, not only tested.
static MEASURED: AtomicBool = AtomicBool::new(false);

/// Has [`static_rtrec`] build a program that is as fast as a release, from now on.
pub fn measure_in_guests() {
    MEASURED.store(true, Ordering::Relaxed);
}

/// Builds rtrec without any shared library, in a target folder of its own; returns the program.
///
/// Unless it is to be measured it is optimised a little only: an emulated processor runs it as fast, and it is compiled
/// in three quarters of the time. Not optimised it would take twice as long for a recording, and seven times for a report.
pub fn static_rtrec() -> Result<PathBuf> {
    let (folder, level, units) = match MEASURED.load(Ordering::Relaxed) {
        true => (target("static-measured"), "3", "4"),
        false => (target("static"), "1", "16"),
    };
    let mut command = cargo();
    command
        .args(["build", "--quiet", "--release", "--package", "rtrec", "--bin", "rtrec", "--target", TARGET])
        .arg("--target-dir")
        .arg(&folder)
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", level)
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", units)
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C strip=debuginfo")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    host::output(&mut command)?;
    Ok(folder.join(TARGET).join("release/rtrec"))
}

/// Builds the guest's agent: one file of Rust that needs only the standard library.
pub fn agent() -> Result<PathBuf> {
    let source = root().join("xtask/src/lab/agent.rs");
    let program = target("lab/agent");
    let inputs = [source.clone(), root().join("xtask/src/lab/frame.rs")];
    build_if_older(&program, &inputs, |to| {
        let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        command
            .args(["--edition", "2024", "--crate-name", "lab_agent", "--target", TARGET])
            .args(["-C", "opt-level=2", "-C", "strip=symbols", "-C", "target-feature=+crt-static", "-o"])
            .arg(to)
            .arg(&source)
            .current_dir(root());
        command
    })?;
    Ok(program)
}

/// Builds the small C programs that tests trace. Each is there twice: `NAME`, static, and `NAME-pie`, with shared libc.
pub fn test_programs() -> Result<Vec<PathBuf>> {
    let folder = root().join("tests/programs");
    let entries = fs::read_dir(&folder).map_err(|e| Error::io("the test programs could not be read", &folder, e))?;
    let mut sources: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    sources.retain(|path| path.extension().is_some_and(|e| e == "c"));
    sources.sort();
    let mut programs = Vec::new();
    for source in sources {
        let name = source.file_stem().expect("a C file has a name").to_string_lossy().into_owned();
        for (suffix, flags) in [("", ["-static", "-no-pie"]), ("-pie", ["-fPIE", "-pie"])] {
            let program = target("lab/programs").join(format!("{name}{suffix}"));
            build_if_older(&program, std::slice::from_ref(&source), |to| {
                let mut command = Command::new("cc");
                command.args(["-O1", "-g", "-fno-omit-frame-pointer", "-pthread"]).args(flags);
                command.arg("-o").arg(to).arg(&source);
                command
            })?;
            programs.push(program);
        }
    }
    Ok(programs)
}

/// Runs a compiler if the program is absent or one of its sources is newer.
///
/// One build at a time, those of other processes included, in a folder of its own that is gone afterwards: what a
/// compiler leaves beside its output has names that another run of it would use too. The finished program is renamed,
/// so that nobody reads half of one.
fn build_if_older(program: &Path, sources: &[PathBuf], compiler: impl FnOnce(&Path) -> Command) -> Result<()> {
    if !is_older(program, sources) {
        return Ok(());
    }
    let folder = program.parent().expect("a program lies in a folder");
    let place = folder.join(".build");
    create_folder(folder)?;
    let lock = folder.join(".lock");
    let refused = |e| Error::io("the lock for building programs could not be taken", &lock, e);
    let held = File::create(&lock).map_err(refused)?;
    held.lock().map_err(refused)?;
    // Somebody else may have built it meanwhile.
    if is_older(program, sources) {
        remove_folder(&place)?;
        create_folder(&place)?;
        let beside = place.join(program.file_name().expect("a program has a name"));
        host::output(&mut compiler(&beside))?;
        fs::rename(&beside, program).map_err(|e| Error::io("a built program could not be put in place", program, e))?;
        remove_folder(&place)?;
    }
    Ok(())
}

/// True if the program is absent or one of its sources is newer.
fn is_older(program: &Path, sources: &[PathBuf]) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
    let Some(built) = changed(program) else {
        return true;
    };
    sources.iter().any(|source| changed(source).is_none_or(|time| time > built))
}
