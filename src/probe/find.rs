//! Where a program or library is: by path, in `PATH`, in the loader's folders, or mapped by a process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::error::ProbeError;
use super::names;

/// The file that a word means: a path, a program in `PATH`, a library (`libc`, `libc.so.6`), a file right here.
pub fn by_name(name: &str) -> Result<PathBuf, ProbeError> {
    if name.contains('/') {
        return if Path::new(name).is_file() { absolute(Path::new(name)) } else { Err(missing(name, Vec::new())) };
    }
    let programs = program_folders();
    let libraries = library_folders();
    let in_path = programs.iter().map(|folder| folder.join(name)).find(|path| is_program(path));
    let found = in_path.or_else(|| libraries.iter().find_map(|folder| library(folder, name)));
    let found = found.or_else(|| Some(PathBuf::from(name)).filter(|path| path.is_file()));
    match found {
        Some(path) => absolute(&path),
        None => Err(missing(name, programs.into_iter().chain(libraries).collect())),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, ProbeError> {
    std::fs::canonicalize(path)
        .map_err(|source| ProbeError::Binary(crate::symbols::BinaryError::Open { path: path.to_owned(), source }))
}

fn missing(name: &str, searched: Vec<PathBuf>) -> ProbeError {
    let folders = match Path::new(name).parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => vec![folder.to_owned()],
        None => searched.clone(),
    };
    let names: BTreeSet<String> = folders
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let bare = Path::new(name).file_name().and_then(|name| name.to_str()).unwrap_or(name);
    let nearest = names::nearest(bare, names.iter().map(String::as_str));
    ProbeError::NoBinary { name: name.to_owned(), searched, nearest }
}

fn program_folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin:/usr/sbin:/sbin".into());
    std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect()
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// The folders of the dynamic loader: `LD_LIBRARY_PATH`, those of `ld.so.conf`, and the built-in ones.
fn library_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::env::var_os("LD_LIBRARY_PATH").iter().flat_map(std::env::split_paths).collect();
    configured(Path::new("/etc/ld.so.conf"), &mut folders, 0);
    let triple = match std::env::consts::ARCH {
        "x86_64" => "x86_64-linux-gnu",
        "aarch64" => "aarch64-linux-gnu",
        other => other,
    };
    for root in ["/lib", "/usr/lib"] {
        folders.extend([format!("{root}/{triple}"), format!("{root}64"), root.to_owned()].map(PathBuf::from));
    }
    let mut seen = BTreeSet::new();
    folders.retain(|folder| folder.is_absolute() && seen.insert(folder.clone()));
    folders
}

/// Files that include each other are followed so far.
const MAX_DEPTH: u8 = 4;

/// Folders of `ld.so.conf`, its includes followed.
fn configured(file: &Path, folders: &mut Vec<PathBuf>, depth: u8) {
    let Ok(text) = std::fs::read_to_string(file) else { return };
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        if let Some(pattern) = line.strip_prefix("include ").map(str::trim) {
            let Some((folder, glob)) = pattern.rsplit_once('/') else { continue };
            let Ok(glob) = crate::wire::pattern::Pattern::glob(glob) else { continue };
            if depth >= MAX_DEPTH {
                continue;
            }
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            files.sort();
            for file in &files {
                if file.file_name().is_some_and(|name| glob.matches(name.as_encoded_bytes())) {
                    configured(file, folders, depth + 1);
                }
            }
        } else if line.starts_with('/') {
            folders.push(PathBuf::from(line));
        }
    }
}

/// A library of a folder by the name given, or with `.so` and a version behind it; `lib` in front may be left out.
fn library(folder: &Path, name: &str) -> Option<PathBuf> {
    let exact = folder.join(name);
    if exact.is_file() {
        return Some(exact);
    }
    if name.contains(".so") {
        return None;
    }
    let mut found: Vec<(usize, String)> = Vec::new();
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let Ok(file) = entry.file_name().into_string() else { continue };
        for (cost, stem) in [name.to_owned(), format!("lib{name}")].iter().enumerate() {
            let Some(rest) = file.strip_prefix(stem.as_str()).and_then(|rest| rest.strip_prefix(".so")) else {
                continue;
            };
            // `libc.so` may be a script for the linker; `libc.so.6` is what is loaded.
            if is_elf(&entry.path()) && (rest.is_empty() || rest.starts_with('.')) {
                found.push((cost * 1000 + rest.len(), file.clone()));
            }
        }
    }
    found.into_iter().min().map(|(_, file)| folder.join(file))
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic)).is_ok()
        && magic == *b"\x7fELF"
}

/// The files with code that a process has mapped, its program first, each as it can be opened from here.
pub fn of_process(pid: i32) -> Result<Vec<PathBuf>, ProbeError> {
    let failed = |source| ProbeError::NoProcess { pid, source };
    let text = std::fs::read_to_string(format!("/proc/{pid}/maps")).map_err(failed)?;
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).map_err(failed)?;
    let mut files: Vec<(bool, PathBuf)> = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(6, ' ');
        let (Some(range), Some(rights)) = (parts.next(), parts.next()) else { continue };
        let path = parts.nth(3).map_or("", str::trim_start);
        if !rights.contains('x') || !path.starts_with('/') {
            continue;
        }
        let is_program = Path::new(path) == program;
        let inside = PathBuf::from(format!("/proc/{pid}/root{path}"));
        // A file that was replaced since is still there behind its mapping.
        let file = if path.ends_with(" (deleted)") || !inside.is_file() {
            PathBuf::from(format!("/proc/{pid}/map_files/{}", plain_range(range)))
        } else if same_file(&inside, Path::new(path)) {
            PathBuf::from(path)
        } else {
            inside
        };
        if !files.iter().any(|(_, known)| *known == file) {
            files.push((!is_program, file));
        }
    }
    files.sort_by_key(|(later, _)| *later);
    Ok(files.into_iter().map(|(_, file)| file).collect())
}

fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |path: &Path| path.metadata().ok().map(|file| (file.dev(), file.ino()));
    id(a).is_some() && id(a) == id(b)
}

/// `map_files` writes addresses without leading zeros.
fn plain_range(range: &str) -> String {
    let plain = |part: &str| part.trim_start_matches('0').to_owned();
    range.split_once('-').map_or_else(|| range.to_owned(), |(start, end)| format!("{}-{}", plain(start), plain(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_path_and_as_libraries() {
        assert!(by_name("sh").unwrap().is_absolute());
        let libc = by_name("libc").unwrap();
        assert!(libc.file_name().unwrap().to_str().unwrap().starts_with("libc"), "{libc:?}");
        assert_eq!(by_name("libc.so.6").unwrap(), libc);
        let Err(ProbeError::NoBinary { searched, .. }) = by_name("no-such-program-here") else { panic!() };
        assert!(!searched.is_empty());
        assert!(matches!(by_name("./no/such"), Err(ProbeError::NoBinary { .. })));
    }

    #[test]
    fn a_process_s_program_comes_first() {
        let files = of_process(std::process::id() as i32).unwrap();
        assert_eq!(files[0], std::env::current_exe().unwrap());
        assert!(files.iter().any(|file| file.to_string_lossy().contains("libc")), "{files:?}");
        assert!(matches!(of_process(i32::MAX), Err(ProbeError::NoProcess { .. })));
    }
}
