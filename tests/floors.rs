//! The house: who imports whom, read from the code itself.
//!
//! Paths that begin with `crate`, `super` or `self`, and those that begin with a module's own children, are followed through
//! re-exports to the file that defines the name. Tests inside of files and comments do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The floors from the ground up: a folder, or a file, of `src` may import those of lower floors. What stands on one line
/// does not know each other.
const FLOORS: &[&[&str]] = &[
    &["wire", "spread"],
    &["tracefs", "dat", "symbols"],
    &["decode"],
    &["plugins", "windows", "probe"],
    &["setup", "report"],
    &["control"],
    &["record"],
    &["rt"],
    &["live"],
    &["cli"],
    &["lib", "main"],
];

/// Pairs that must not know each other although one floor lies above the other.
const STRANGERS: &[(&str, &str)] = &[
    ("report", "plugins"),
    ("record", "plugins"),
    ("setup", "plugins"),
    ("control", "windows"),
    ("record", "report"),
    ("record", "windows"),
    ("rt", "report"),
    ("rt", "plugins"),
];

/// Files that may hold each other in a circle.
const MOST_IN_A_CIRCLE: usize = 4;

/// A file of `src`: the modules on the way to it, and what it imports.
struct File {
    path: String,
    module: Vec<String>,
    /// Absolute paths, as modules and a name.
    paths: BTreeSet<Vec<String>>,
    /// Names that the file takes from elsewhere, for whoever asks the file for them.
    taken: BTreeMap<String, Vec<String>>,
}

struct House {
    files: Vec<File>,
    by_module: BTreeMap<Vec<String>, usize>,
}

/// The code without comments, the insides of texts and the tests at the end.
fn bare(text: &str) -> String {
    let text = match text.find("#[cfg(test)]\nmod ") {
        Some(at) if !text[at..].lines().nth(1).is_some_and(|line| line.ends_with(';')) => &text[..at],
        _ => text,
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(raw) = rest.strip_prefix("r#\"") {
            raw.find("\"#").map_or(rest.len(), |end| end + 5)
        } else if next == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("'\"'") {
            3
        } else if rest.starts_with("'\\\"'") {
            4
        } else {
            out.push(next);
            next.len_utf8()
        };
        rest = &rest[skipped..];
    }
    out
}

/// Words, `::`, and single characters.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let len = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(&rest[..len]);
        rest = rest[len..].trim_start();
    }
    tokens
}

impl File {
    /// Reads the paths of a use tree or of an expression from `at` on; adds what they come to, returns where they end.
    fn tree(&mut self, tokens: &[&str], mut at: usize, before: &[String], is_use: bool) -> usize {
        let mut path = before.to_vec();
        loop {
            match tokens.get(at) {
                Some(&"{") if is_use => {
                    at += 1;
                    while tokens.get(at).is_some_and(|token| *token != "}") {
                        at = self.tree(tokens, at, &path, true);
                        if tokens.get(at) == Some(&",") {
                            at += 1;
                        }
                    }
                    return at + 1;
                }
                Some(&"*") if is_use => {
                    self.paths.insert(path);
                    return at + 1;
                }
                Some(word) if word.chars().all(|c| c.is_alphanumeric() || c == '_') => {
                    match *word {
                        "crate" => path.clear(),
                        "self" if path.len() > before.len() || !before.is_empty() => {}
                        "self" => path.clone_from(&self.module),
                        "super" if path.is_empty() => {
                            path.clone_from(&self.module);
                            path.pop();
                        }
                        "super" => drop(path.pop()),
                        word => path.push(word.to_owned()),
                    }
                    at += 1;
                    if tokens.get(at) == Some(&"::") {
                        at += 1;
                        continue;
                    }
                }
                _ => {}
            }
            break;
        }
        if path.is_empty() {
            return at.max(1);
        }
        let mut name = path.last().cloned().unwrap_or_default();
        if is_use && tokens.get(at) == Some(&"as") {
            name = tokens.get(at + 1).map_or(name, |word| (*word).to_owned());
            at += 2;
        }
        if is_use {
            self.taken.insert(name, path.clone());
        }
        self.paths.insert(path);
        at
    }

    fn read(path: String, module: Vec<String>, children: &BTreeSet<String>, text: &str) -> File {
        let mut file = File { path, module, paths: BTreeSet::new(), taken: BTreeMap::new() };
        let code = bare(text);
        let tokens = tokens(&code);
        let mut at = 0;
        while at < tokens.len() {
            let (word, after) = (tokens[at], tokens.get(at + 1).copied());
            let begins = |word: &str| matches!(word, "crate" | "super" | "self");
            // `pub(in crate::report)` says who may look, not what is looked at.
            let follows = at > 0 && matches!(tokens[at - 1], "::" | "in");
            if word == "use" {
                let own = after.is_some_and(|word| children.contains(word));
                let before = if own { file.module.clone() } else { Vec::new() };
                // What begins otherwise is another crate.
                at = match after {
                    Some(word) if own || begins(word) => file.tree(&tokens, at + 1, &before, true),
                    _ => at + 1,
                };
            } else if begins(word) && after == Some("::") && !follows {
                at = file.tree(&tokens, at, &[], false);
            } else if children.contains(word) && after == Some("::") && !follows {
                let before = file.module.clone();
                at = file.tree(&tokens, at, &before, false);
            } else {
                at += 1;
            }
        }
        file
    }
}

impl House {
    fn read() -> House {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let (mut texts, mut folders) = (Vec::new(), vec![src.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let name = path.strip_prefix(&src).unwrap().with_extension("");
                    let mut module: Vec<String> = name.iter().map(|part| part.to_string_lossy().into_owned()).collect();
                    if module.last().is_some_and(|last| last == "mod") {
                        module.pop();
                    }
                    let shown = path.strip_prefix(&src).unwrap().to_string_lossy().into_owned();
                    if !shown.ends_with("tests.rs") {
                        texts.push((shown, module, fs::read_to_string(&path).unwrap()));
                    }
                }
            }
        }
        texts.sort();
        let modules: Vec<Vec<String>> = texts.iter().map(|(_, module, _)| module.clone()).collect();
        let files = texts.into_iter().map(|(path, module, text)| {
            let is_child = |other: &&Vec<String>| other.len() == module.len() + 1 && other.starts_with(&module);
            let children = modules.iter().filter(is_child).filter_map(|child| child.last().cloned()).collect();
            let root = BTreeSet::new();
            let is_root = matches!(path.as_str(), "lib.rs" | "main.rs");
            File::read(path, module, if is_root { &root } else { &children }, &text)
        });
        let files: Vec<File> = files.collect();
        let by_module = files.iter().enumerate().map(|(number, file)| (file.module.clone(), number)).collect();
        House { files, by_module }
    }

    /// The file that defines what the path names.
    fn defines(&self, path: &[String], depth: usize) -> Option<usize> {
        let (file, rest) =
            (1..=path.len()).rev().find_map(|len| Some((*self.by_module.get(&path[..len])?, &path[len..])))?;
        let taken = rest.first().and_then(|name| self.files[file].taken.get(name));
        match taken {
            Some(from) if depth < 8 && from.as_slice() != path => {
                let further: Vec<String> = from.iter().chain(&rest[1..]).cloned().collect();
                self.defines(&further, depth + 1).or(Some(file))
            }
            _ => Some(file),
        }
    }

    /// For each file, those it imports.
    fn imports(&self) -> Vec<BTreeSet<usize>> {
        let of = |(number, file): (usize, &File)| {
            let named = file.paths.iter().filter_map(|path| self.defines(path, 0));
            named.filter(|other| *other != number).collect()
        };
        self.files.iter().enumerate().map(of).collect()
    }

    fn room(&self, file: usize) -> &str {
        let path = &self.files[file].path;
        path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
    }
}

/// Groups of nodes that reach each other.
fn circles(edges: &[BTreeSet<usize>]) -> Vec<Vec<usize>> {
    let reach = |from: usize| {
        let (mut seen, mut left) = (BTreeSet::new(), vec![from]);
        while let Some(node) = left.pop() {
            for next in &edges[node] {
                if seen.insert(*next) {
                    left.push(*next);
                }
            }
        }
        seen
    };
    let reached: Vec<BTreeSet<usize>> = (0..edges.len()).map(reach).collect();
    let mut done = BTreeSet::new();
    let mut circles = Vec::new();
    for node in 0..edges.len() {
        if reached[node].contains(&node) && !done.contains(&node) {
            let circle: Vec<usize> =
                reached[node].iter().copied().filter(|other| reached[*other].contains(&node)).collect();
            done.extend(circle.iter().copied());
            circles.push(circle);
        }
    }
    circles
}

#[test]
fn imports_point_down() {
    let house = House::read();
    let floor = |room: &str| FLOORS.iter().position(|rooms| rooms.contains(&room));
    let mut wrong = BTreeSet::new();
    for (number, imports) in house.imports().iter().enumerate() {
        let from = house.room(number);
        let Some(own) = floor(from) else { panic!("{from} stands on no floor") };
        for other in imports {
            let to = house.room(*other);
            let strangers = STRANGERS.contains(&(from, to));
            if from != to && (strangers || floor(to).is_none_or(|below| below >= own)) {
                wrong.insert(format!("{} imports {}", house.files[number].path, house.files[*other].path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn circles_of_files_are_small_and_stay_in_one_folder() {
    let house = House::read();
    let folder = |file: &usize| house.files[*file].path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    let mut wrong = Vec::new();
    let imports = house.imports();
    for circle in circles(&imports) {
        let folders: BTreeSet<String> = circle.iter().map(folder).collect();
        if circle.len() > MOST_IN_A_CIRCLE || folders.len() > 1 {
            let ties = circle.iter().flat_map(|file| {
                imports[*file].iter().filter(|other| circle.contains(other)).map(|other| (*file, *other))
            });
            let paths = |(from, to): (usize, usize)| format!("{} -> {}", house.files[from].path, house.files[to].path);
            wrong.push(ties.map(paths).collect::<Vec<_>>());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn folders_beside_each_other_hold_no_circle() {
    let house = House::read();
    let parents: BTreeSet<&[String]> =
        house.files.iter().flat_map(|file| (0..file.module.len()).map(|len| &file.module[..len])).collect();
    let imports = house.imports();
    let mut wrong = Vec::new();
    for parent in parents {
        // A folder is a module with modules inside.
        let inside = |file: &File| {
            (file.module.len() > parent.len() + 1 && file.module.starts_with(parent))
                .then(|| file.module[parent.len()].clone())
        };
        let names: Vec<String> = house.files.iter().filter_map(inside).collect::<BTreeSet<_>>().into_iter().collect();
        let child = |file: usize| {
            let module = &house.files[file].module;
            let name = module.get(parent.len()).filter(|_| module.starts_with(parent))?;
            names.iter().position(|other| other == name)
        };
        let mut edges = vec![BTreeSet::new(); names.len()];
        for (file, others) in imports.iter().enumerate() {
            for other in others {
                if let (Some(from), Some(to)) = (child(file), child(*other))
                    && from != to
                {
                    edges[from].insert(to);
                }
            }
        }
        for circle in circles(&edges) {
            wrong.push((parent.to_vec(), circle.iter().map(|at| names[*at].clone()).collect::<Vec<_>>()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Lines of a file, of a function, and fields of a struct: what is longer has parts that want names of their own.
const MOST_LINES: usize = 600;
const MOST_LINES_OF_A_FUNCTION: usize = 80;
const MOST_FIELDS: usize = 25;

/// Lines from one that opens a block to the one that closes it; the code is formatted, so both are indented alike.
fn block<'l>(lines: &'l [&'l str]) -> &'l [&'l str] {
    let indent = lines[0].len() - lines[0].trim_start().len();
    let closes = |line: &&str| line.starts_with(&format!("{}}}", " ".repeat(indent)));
    let declared = lines.iter().position(|line| line.ends_with(';') || line.ends_with('{') || line.ends_with('}'));
    match declared {
        Some(end) if !lines[end].ends_with('{') => &lines[..=end],
        _ => &lines[..=lines.iter().position(closes).unwrap_or(lines.len() - 1)],
    }
}

/// The line without what stands before `fn` or `struct`.
fn item(line: &str) -> &str {
    let mut rest = line.trim_start();
    while let Some(word) = ["pub ", "const ", "async ", "unsafe "].iter().find(|word| rest.starts_with(**word)) {
        rest = &rest[word.len()..];
    }
    rest.strip_prefix("pub(").and_then(|rest| rest.split_once(") ")).map_or(rest, |(_, rest)| rest)
}

#[test]
fn files_functions_and_structs_are_short() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in House::read().files {
        let text = fs::read_to_string(src.join(&file.path)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > MOST_LINES {
            wrong.push(format!("{} has {} lines", file.path, lines.len()));
        }
        // What clap reads is as wide as the command line.
        let arguments = file.path.ends_with("args.rs");
        for (at, line) in lines.iter().enumerate() {
            let (block, item) = (block(&lines[at..]), item(line));
            if item.starts_with("fn ") && block.len() > MOST_LINES_OF_A_FUNCTION {
                wrong.push(format!("{}:{} has {} lines: {item}", file.path, at + 1, block.len()));
            }
            let fields = block.iter().skip(1).filter(|line| {
                let name = self::item(line).split_once(": ").map_or("", |(name, _)| name);
                let deeper = line.len() - line.trim_start().len() == lines[at].len() - lines[at].trim_start().len() + 4;
                deeper && !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')
            });
            if item.starts_with("struct ") && !arguments && fields.count() > MOST_FIELDS {
                wrong.push(format!("{}:{} has too many fields: {item}", file.path, at + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
