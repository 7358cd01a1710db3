//! Separate debug files: where they are looked for, by build id and by debug link.
//!
//! Source: gdb's manual, "Debugging Information in Separate Files"; `.gnu_debuglink` has the file's CRC-32.

use std::path::{Path, PathBuf};

use super::binary::Binary;

/// Where distributions put debug files.
const GLOBAL: &str = "/usr/lib/debug";

/// Why a file that was looked at was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchResult {
    /// There is none.
    Missing,
    /// It is not readable, or no ELF file.
    Unreadable,
    /// It belongs to another build.
    OtherBuild,
    /// It is the one.
    Taken,
}

/// A search for a debug file.
#[derive(Debug, Default)]
pub struct DebugFileSearch {
    /// The debug file.
    pub found: Option<Box<Binary>>,
    /// Where it was looked for, and with what result.
    pub tried: Vec<(PathBuf, SearchResult)>,
}

/// Looks for the debug file of a binary.
pub(super) fn find(binary: &Binary) -> DebugFileSearch {
    let mut search = DebugFileSearch::default();
    for (path, crc) in candidates(binary) {
        let verdict = search.look(binary, &path, crc);
        search.tried.push((path, verdict));
        if verdict == SearchResult::Taken {
            break;
        }
    }
    search
}

impl DebugFileSearch {
    fn look(&mut self, binary: &Binary, path: &Path, crc: Option<u32>) -> SearchResult {
        if !path.exists() {
            return SearchResult::Missing;
        }
        let Ok(debug) = Binary::open(path) else { return SearchResult::Unreadable };
        let same = match (binary.build_id(), debug.build_id()) {
            (Some(wanted), Some(found)) => wanted == found,
            _ => crc.is_none_or(|crc| crc == crc32(debug.data())),
        };
        if !same {
            return SearchResult::OtherBuild;
        }
        self.found = Some(Box::new(debug));
        SearchResult::Taken
    }
}

/// All places, the surest first. A binary seen through `/proc/PID/root` is looked for there, then here.
fn candidates(binary: &Binary) -> Vec<(PathBuf, Option<u32>)> {
    let mut all = Vec::new();
    let (root, inside) = split_root(binary.path());
    let mut roots = vec![root];
    if roots[0] != Path::new("/") {
        roots.push(PathBuf::from("/"));
    }
    for root in roots {
        let global = root.join(GLOBAL.trim_start_matches('/'));
        if let Some(id) = binary.build_id().filter(|id| id.len() > 1) {
            let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
            all.push((global.join(".build-id").join(&hex[..2]).join(format!("{}.debug", &hex[2..])), None));
        }
        let Some((name, crc)) = binary.debug_link() else { continue };
        let name = String::from_utf8_lossy(name).into_owned();
        let folder = inside.parent().unwrap_or(Path::new("/"));
        let relative = folder.strip_prefix("/").unwrap_or(folder);
        let beside = if folder.is_absolute() { root.join(relative) } else { folder.to_owned() };
        for path in [beside.join(&name), beside.join(".debug").join(&name), global.join(relative).join(&name)] {
            if path != binary.path() {
                all.push((path, Some(crc)));
            }
        }
    }
    all
}

/// `/proc/PID/root` and the path below it; `/` and the whole path for others.
fn split_root(path: &Path) -> (PathBuf, PathBuf) {
    let mut parts = path.components();
    let head: PathBuf = parts.by_ref().take(4).collect();
    if path.starts_with("/proc") && head.ends_with("root") {
        return (head, Path::new("/").join(parts.as_path()));
    }
    let whole = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    (PathBuf::from("/"), whole)
}

fn crc32(data: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(data);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_s_files_are_looked_for_in_the_container() {
        let (root, inside) = split_root(Path::new("/proc/42/root/usr/bin/x"));
        assert_eq!((root.as_path(), inside.as_path()), (Path::new("/proc/42/root"), Path::new("/usr/bin/x")));
        assert_eq!(split_root(Path::new("/no/such/file")).0, Path::new("/"));
    }

    #[test]
    fn the_check_sum_is_the_one_of_debug_links() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
