//! Debian packages unpacked beside the system, from the mirror the host's own apt uses.
//!
//! Owns: finding the mirror in apt's configuration, private apt roots (one a suite), downloads with all dependencies.
//! Does not own: what is done with the packages (see `kernels`, `peers`), or packages installed on the host (`host`).
//!
//! A private root has its own sources, lists, archives and an empty status file. So the system's apt is not touched,
//! nothing counts as installed, and a package is always fetched with the very libraries it was built against.
//! Proxies, credentials and certificates come from the host's apt configuration, which stays in force.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache;
use crate::error::{Error, Result};
use crate::host;

/// Suites of Debian's main archive: a source that names one of these is Debian's mirror.
const DEBIAN_SUITES: [&str; 9] =
    ["bookworm", "trixie", "forky", "sid", "unstable", "testing", "stable", "oldstable", "bullseye"];

/// Where Debian installs the keys its archives are signed with.
const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Debian's main mirror, as the host's apt knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mirror {
    uri: String,
    signed_by: Option<String>,
    trusted: bool,
}

/// One line or stanza of apt's sources.
#[derive(Debug, Default, Clone)]
struct Source {
    types: Vec<String>,
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
    trusted: bool,
    disabled: bool,
}

impl Source {
    fn as_mirror(&self) -> Option<Mirror> {
        let has = |list: &[String], word: &str| list.iter().any(|entry| entry == word);
        let debian = self.suites.iter().any(|suite| DEBIAN_SUITES.contains(&suite.as_str()));
        let usable = !self.disabled && has(&self.types, "deb") && has(&self.components, "main") && debian;
        let uri = self.uris.iter().find(|uri| !uri.contains("security"))?;
        usable.then(|| Mirror { uri: uri.clone(), signed_by: self.signed_by.clone(), trusted: self.trusted })
    }
}

/// Reads deb822 stanzas (`*.sources`).
fn parse_deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut current: Option<Source> = None;
    for line in text.lines() {
        if line.trim().is_empty() {
            sources.extend(current.take());
            continue;
        }
        // A line that begins with a space goes on with the field before: an inline key, which is not needed here.
        if line.starts_with(['#', ' ', '\t']) {
            continue;
        }
        let Some((field, value)) = line.split_once(':') else {
            continue;
        };
        set_field(current.get_or_insert_default(), field, value.trim());
    }
    sources.extend(current);
    sources
}

fn set_field(source: &mut Source, field: &str, value: &str) {
    let words = || value.split_whitespace().map(str::to_owned).collect();
    match field.to_ascii_lowercase().as_str() {
        "types" => source.types = words(),
        "uris" => source.uris = words(),
        "suites" => source.suites = words(),
        "components" => source.components = words(),
        "signed-by" => source.signed_by = Some(value.to_owned()).filter(|v| v.starts_with('/')),
        "trusted" => source.trusted = value.eq_ignore_ascii_case("yes"),
        "enabled" => source.disabled = value.eq_ignore_ascii_case("no"),
        _ => {}
    }
}

/// Reads one-line sources (`*.list`): `deb [option=value …] uri suite component…`.
fn parse_one_line(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_list_line).collect()
}

fn parse_list_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let (kind, rest) = line.split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(inside) => inside.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    let mut source = Source {
        types: vec![kind.to_owned()],
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
        ..Source::default()
    };
    for option in options.split_whitespace() {
        if let Some((name, value)) = option.split_once('=') {
            set_field(&mut source, name, value);
        }
    }
    Some(source)
}

/// Finds Debian's main mirror in the host's apt configuration.
fn mirror() -> Result<Mirror> {
    let files = source_files()?;
    for file in &files {
        let text = fs::read_to_string(file).map_err(|e| Error::io("apt's sources could not be read", file, e))?;
        let sources =
            if file.extension().is_some_and(|e| e == "sources") { parse_deb822(&text) } else { parse_one_line(&text) };
        if let Some(mirror) = sources.iter().find_map(Source::as_mirror) {
            return Ok(mirror);
        }
    }
    let looked_at = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join("\n");
    Err(Error::new("no Debian mirror in apt's sources")
        .fact("files", looked_at)
        .advice("the lab takes kernels and trace-cmd from Debian: add a source `deb <mirror> bookworm main`"))
}

/// The files apt reads its sources from, in the order in which apt reads them.
fn source_files() -> Result<Vec<PathBuf>> {
    let mut ask = Command::new("apt-config");
    ask.args(["shell", "LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d"]);
    let answer = host::text(&mut ask).map_err(|e| {
        e.advice("the lab takes its kernels through apt: run it on Debian, or fill the cache elsewhere")
    })?;
    let value = |name: &str| {
        let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(PathBuf::from(line.trim_matches('\'')))
    };
    let mut files: Vec<PathBuf> = value("LIST").into_iter().filter(|file| file.is_file()).collect();
    if let Some(folder) = value("PARTS") {
        let mut parts: Vec<PathBuf> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        parts.retain(|path| path.extension().is_some_and(|e| e == "sources" || e == "list"));
        parts.sort();
        files.extend(parts);
    }
    Ok(files)
}

/// A private apt root for one suite and its updates.
#[derive(Debug)]
pub struct Root {
    suite: String,
    folder: PathBuf,
    /// What the update of the lists complained about; `None` before it was tried.
    complaints: Option<String>,
}

impl Root {
    /// Opens the private root of a suite in the cache. Nothing is fetched yet.
    pub fn open(suite: &str) -> Result<Self> {
        let folder = cache::root()?.join("apt").join(suite);
        for part in ["lists/partial", "cache/archives/partial", "state"] {
            cache::create_folder(&folder.join(part))?;
        }
        cache::write_file(&folder.join("status"), "")?;
        cache::write_file(&folder.join("debian.sources"), sources_text(&mirror()?, &with_updates(suite)))?;
        Ok(Self { suite: suite.to_owned(), folder, complaints: None })
    }

    /// Fetches the suite's package lists; once a run. apt takes lists that it could not fetch for a mere warning, and
    /// so do we: those of an earlier run may be enough. What it said is kept for the error if they are not.
    fn update(&mut self) -> Result<()> {
        if self.complaints.is_none() {
            let update = host::output(self.command("apt-get").args(["update", "-q"]))?;
            self.complaints = Some(String::from_utf8_lossy(&update.stderr).into_owned());
        }
        Ok(())
    }

    /// Runs an apt program that gets packages; its failure is told with what the update complained about.
    fn fetch(&self, what: &str, command: &mut Command) -> Result<String> {
        let error = match host::text(command) {
            Ok(text) => return Ok(text),
            Err(error) => error,
        };
        let complaints = host::last_lines(self.complaints.as_deref().unwrap_or_default(), 6);
        Err(Error::new(format!("{what} of Debian {} could not be fetched", self.suite))
            .fact("update", if complaints.is_empty() { "went well".to_owned() } else { complaints })
            .fact("because", error.to_string())
            .advice("check that the host's own `apt-get update` works"))
    }

    /// The version apt would install.
    pub fn candidate(&mut self, package: &str) -> Result<String> {
        self.update()?;
        // Unlike `policy`, this fails for a package that the lists do not have.
        let text = self.fetch(package, self.command("apt-cache").args(["show", "--no-all-versions", package]))?;
        let version = text.lines().find_map(|line| line.strip_prefix("Version: "));
        version
            .map(str::to_owned)
            .ok_or_else(|| Error::new(format!("{package} of Debian {} has no version", self.suite)))
    }

    /// The package's direct dependencies, by name.
    pub fn depends(&mut self, package: &str) -> Result<Vec<String>> {
        self.update()?;
        let text = self.fetch(package, self.command("apt-cache").args(["depends", package]))?;
        let depends = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(depends.map(str::to_owned).collect())
    }

    /// Downloads one package alone; returns its file.
    pub fn download(&mut self, package: &str) -> Result<PathBuf> {
        self.update()?;
        let place = self.folder.join("single").join(package);
        cache::remove_folder(&place)?;
        cache::create_folder(&place)?;
        self.fetch(package, self.command("apt-get").args(["download", "-q", package]).current_dir(&place))?;
        let mut files = debs_in(&place)?;
        files.pop().ok_or_else(|| Error::new(format!("apt-get download {package} left no file")))
    }

    /// Downloads a package with everything it depends on; returns the files.
    pub fn download_closure(&mut self, package: &str) -> Result<Vec<PathBuf>> {
        self.update()?;
        let archives = self.folder.join("cache/archives");
        for old in debs_in(&archives)? {
            fs::remove_file(&old).map_err(|e| Error::io("an old package could not be removed", &old, e))?;
        }
        let mut command = self.command("apt-get");
        command.args(["install", "--download-only", "-y", "-q", "--no-install-recommends", package]);
        self.fetch(package, &mut command)?;
        debs_in(&archives)
    }

    /// Frees what was downloaded and is unpacked by now.
    pub fn clean(&self) -> Result<()> {
        cache::remove_folder(&self.folder.join("single"))?;
        host::output(self.command("apt-get").arg("clean")).map(drop)
    }

    /// An apt program told to live in this root.
    fn command(&self, program: &str) -> Command {
        let at = |part: &str| self.folder.join(part).display().to_string();
        let mut command = Command::new(program);
        command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
        for option in [
            format!("Dir::Etc::sourcelist={}", at("debian.sources")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferences=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            format!("Dir::State={}", at("state")),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            format!("Dir::Cache::archives={}", at("cache/archives")),
            "APT::Default-Release=".to_owned(),
            // The cache may lie in a home that apt's own user cannot enter.
            "APT::Sandbox::User=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }
}

/// Debian's stable releases are mended in a second suite, which belongs to the first.
fn with_updates(suite: &str) -> Vec<String> {
    let mut suites = vec![suite.to_owned()];
    if matches!(suite, "bookworm" | "trixie") {
        suites.push(format!("{suite}-updates"));
    }
    suites
}

/// The text of a root's own `.sources` file.
fn sources_text(mirror: &Mirror, suites: &[String]) -> String {
    let mut text = format!("Types: deb\nURIs: {}\nSuites: {}\nComponents: main\n", mirror.uri, suites.join(" "));
    // Debian's keyring knows the keys of all suites; the one a stanza names may be narrower.
    let keyring = if Path::new(DEBIAN_KEYRING).is_file() { Some(DEBIAN_KEYRING) } else { mirror.signed_by.as_deref() };
    if let Some(keyring) = keyring {
        text.push_str(&format!("Signed-By: {keyring}\n"));
    }
    if mirror.trusted {
        text.push_str("Trusted: yes\n");
    }
    text
}

/// The packages in a folder, in the order of their names.
fn debs_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io("a folder could not be read", folder, e))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "deb"));
    files.sort();
    Ok(files)
}

/// Unpacks a package's files below `root`, running none of its scripts.
pub fn unpack(package: &Path, root: &Path) -> Result<()> {
    host::output(Command::new("dpkg-deb").arg("-x").arg(package).arg(root)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_of_a_deb822_file_is_the_stanza_that_is_not_security() {
        let text = "Types: deb\nURIs: http://mirror.invalid/debian-security\nSuites: bookworm-security\nComponents: main\n\n\
                    # the main one\nTypes: deb deb-src\nURIs: http://mirror.invalid/debian\nSuites: bookworm bookworm-updates\n\
                    Components: main contrib\nSigned-By: /usr/share/keyrings/k.gpg\n";
        let mirror = parse_deb822(text).iter().find_map(Source::as_mirror).unwrap();
        assert_eq!(mirror.uri, "http://mirror.invalid/debian");
        assert_eq!(mirror.signed_by.as_deref(), Some("/usr/share/keyrings/k.gpg"));
    }

    #[test]
    fn a_disabled_stanza_and_an_inline_key_are_passed_over() {
        let text = "Types: deb\nEnabled: no\nURIs: http://off.invalid/\nSuites: trixie\nComponents: main\n\n\
                    Types: deb\nURIs: http://on.invalid/\nSuites: trixie\nComponents: main\nSigned-By:\n -----BEGIN\n .\n mQ: x\n";
        let mirror = parse_deb822(text).iter().find_map(Source::as_mirror).unwrap();
        assert_eq!((mirror.uri.as_str(), mirror.signed_by), ("http://on.invalid/", None));
    }

    #[test]
    fn one_line_sources_may_carry_options() {
        let text = "# deb http://old.invalid/ bookworm main\ndeb http://other.invalid/apt cloud main\n\
                    deb [arch=amd64 signed-by=/k.gpg trusted=yes] http://mirror.invalid/debian trixie main # here\n";
        let mirror = parse_one_line(text).iter().find_map(Source::as_mirror).unwrap();
        let expected = Mirror {
            uri: "http://mirror.invalid/debian".to_owned(),
            signed_by: Some("/k.gpg".to_owned()),
            trusted: true,
        };
        assert_eq!(mirror, expected);
    }
}
