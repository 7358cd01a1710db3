//! `--changed`: which test targets the changed files call for.
//!
//! Where the next folder goes: a line of [`TABLE`]. Until it has one, a change in it runs everything.

use std::collections::BTreeSet;
use std::process::Command;

use crate::error::Result;
use crate::{host, project};

/// Targets that are slow or need the lab, so that they run only when a change calls for them. Others run always.
const SLOW: [&str; 4] = ["files", "fuzz_smoke", "live", "lab"];

/// What the beginning of a file's name calls for; the first line that fits counts.
const TABLE: [(&str, &[&str]); 29] = [
    ("tests/files/", &["files"]),
    ("tests/live/", &["live"]),
    ("tests/lab/", &["lab"]),
    ("tests/fixtures/", &["files", "fuzz_smoke"]),
    ("tests/fuzz_smoke.rs", &["fuzz_smoke"]),
    ("fuzz/", &["fuzz_smoke"]),
    ("examples/", &["files"]),
    ("benches/", &[]),
    ("man/", &["files"]),
    ("docs/", &["files"]),
    ("CHANGELOG.md", &[]),
    ("CONTRIBUTING.md", &[]),
    ("README.md", &[]),
    ("src/wire/", &["files", "fuzz_smoke", "live"]),
    ("src/dat/", &["files", "fuzz_smoke", "live"]),
    ("src/decode/", &["files", "fuzz_smoke", "live"]),
    ("src/plugins/", &["files", "live"]),
    ("src/windows/", &["files", "fuzz_smoke", "live"]),
    ("src/report/", &["files", "fuzz_smoke", "live"]),
    ("src/symbols/", &["files", "fuzz_smoke", "live"]),
    ("src/cli/report/", &["files", "live"]),
    ("src/cli/", &["files", "live", "lab"]),
    ("src/tracefs/", &["files", "live", "lab"]),
    ("src/probe/", &["files", "fuzz_smoke", "live", "lab"]),
    ("src/setup/", &["files", "live", "lab"]),
    ("src/control/", &["files", "live", "lab"]),
    ("src/record/", &["files", "live", "lab"]),
    ("src/rt/", &["files", "live", "lab"]),
    ("xtask/src/lab/", &["lab"]),
];

/// The test targets to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Chosen {
    /// All there are.
    #[default]
    All,
    /// Of the slow ones only these.
    Slow(BTreeSet<&'static str>),
}

impl Chosen {
    /// Chooses by the files that differ from where `origin/main` was left, and those that git does not know yet.
    pub fn by_changes() -> Result<Self> {
        let git = |words: &[&str]| host::text(Command::new("git").current_dir(project::root()).args(words));
        let base = git(&["merge-base", "HEAD", "origin/main"]).unwrap_or_else(|_| "HEAD".to_owned());
        let mut files = git(&["diff", "--name-only", "--no-renames", base.trim()])?;
        files += &git(&["ls-files", "--others", "--exclude-standard"])?;
        Ok(Self::by_files(files.lines()))
    }

    fn by_files<'a>(files: impl Iterator<Item = &'a str>) -> Self {
        let mut chosen = BTreeSet::new();
        for file in files {
            let Some((_, targets)) = TABLE.iter().find(|(beginning, _)| file.starts_with(beginning)) else {
                println!("{file} may concern everything");
                return Self::All;
            };
            chosen.extend(targets.iter().copied());
        }
        Self::Slow(chosen)
    }

    /// True if a target is to run.
    pub(super) fn has(&self, target: &str) -> bool {
        match self {
            Self::All => true,
            Self::Slow(chosen) => chosen.contains(target) || !SLOW.contains(&target),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[&str]) -> Chosen {
        Chosen::by_files(files.iter().copied())
    }

    #[test]
    fn a_change_calls_for_the_tests_of_its_folder() {
        let words = chosen(&["CHANGELOG.md", "src/plugins/sched.rs"]);
        assert!(words.has("files") && words.has("live") && !words.has("lab") && !words.has("fuzz_smoke"));
        assert!(words.has("a_target_of_its_own"), "quick ones always run");
        assert!(chosen(&["tests/lab/record.rs"]).has("lab"));
    }

    #[test]
    fn a_change_that_the_table_does_not_know_calls_for_everything() {
        for file in ["Cargo.toml", "src/new/mod.rs", "tests/common/mod.rs", "src/lib.rs"] {
            assert_eq!(chosen(&["README.md", file]), Chosen::All, "{file}");
        }
        assert!(SLOW.iter().all(|target| chosen(&["Cargo.lock"]).has(target)));
    }

    #[test]
    fn the_table_names_targets_that_are_slow() {
        assert!(TABLE.iter().flat_map(|(_, targets)| *targets).all(|target| SLOW.contains(target)));
    }
}
