//! The command line as a whole: its own consistency, its man pages, its exit codes.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use clap_mangen::roff::{Roff, bold, roman};
use rtrec::cli::manual::{PAGES, Page};

#[test]
fn clap_finds_no_contradiction() {
    rtrec::cli::command().debug_assert();
}

/// Every command by its name without `rtrec`, words separated by blanks, as [`Page::command`] has it.
fn commands() -> Vec<(String, clap::Command)> {
    let mut root = rtrec::cli::command().disable_help_subcommand(true);
    root.build();
    let named = |command: &clap::Command| (command.get_name().to_owned(), command.clone());
    let mut rest: Vec<(String, clap::Command)> = root.get_subcommands().map(named).collect();
    let mut all = vec![named(&root)];
    while let Some((name, command)) = rest.pop() {
        let below = command.get_subcommands();
        rest.extend(below.map(|below| (format!("{name} {}", below.get_name()), below.clone())));
        all.push((name, command));
    }
    all
}

/// The name of a man page: `rtrec`, `rtrec-record`, `rtrec-rt-start`.
fn title(command: &str) -> String {
    if command == "rtrec" { command.to_owned() } else { format!("rtrec-{}", command.replace(' ', "-")) }
}

/// A man page: what clap knows of a command, then the sections of its [`Page`].
fn man_page(command: &clap::Command, page: &Page) -> Vec<u8> {
    // Examples have a section of their own.
    let command = command.clone().display_name(title(page.command)).after_help(None::<&'static str>);
    let source = concat!("rtrec ", env!("CARGO_PKG_VERSION"));
    let mut text = Vec::new();
    clap_mangen::Man::new(command).source(source).manual("rtrec").render(&mut text).unwrap();
    text.extend_from_slice(further_sections(page).as_bytes());
    text
}

fn further_sections(page: &Page) -> String {
    let mut roff = Roff::new();
    let lists = [("EXIT STATUS", page.exit_status), ("ENVIRONMENT", page.environment), ("FILES", page.files)];
    for (heading, rows) in lists.into_iter().filter(|(_, rows)| !rows.is_empty()) {
        roff.control("SH", [heading]);
        for (term, sentence) in rows {
            roff.control("TP", []);
            roff.text([bold(*term)]);
            roff.text([roman(*sentence)]);
        }
    }
    roff.control("SH", ["EXAMPLES"]);
    for (what, line) in page.examples {
        roff.control("PP", []);
        roff.text([roman(*what)]);
        roff.control("RS", ["4"]);
        roff.control("nf", []);
        roff.text([roman(*line)]);
        roff.control("fi", []);
        roff.control("RE", []);
    }
    roff.control("SH", ["SEE ALSO"]);
    let mut references = Vec::new();
    for reference in page.see_also {
        let (name, section) = reference.split_once('(').unwrap();
        let comma = if references.is_empty() { "" } else { ", " };
        references.extend([roman(comma), bold(name), roman(format!("({section}"))]);
    }
    roff.text(references);
    // What every piece of roff begins with is there already.
    let (preamble, text) = (Roff::new().render(), roff.render());
    text.strip_prefix(&preamble).unwrap().to_owned()
}

/// The man pages are made from the same words as `--help`, and from [`PAGES`]. `RTREC_BLESS=1` rewrites them.
#[test]
fn man_pages_say_what_help_says() {
    let man = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let mut stale = Vec::new();
    for (name, command) in commands() {
        let page = PAGES.iter().find(|page| page.command == name).unwrap_or_else(|| panic!("{name} has no page"));
        let text = man_page(&command, page);
        let path = man.join(format!("{}.1", title(&name)));
        if std::env::var_os("RTREC_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        if std::fs::read(&path).ok().as_deref() != Some(text.as_slice()) {
            stale.push(name);
        }
    }
    assert!(stale.is_empty(), "stale man pages: {stale:?}; RTREC_BLESS=1 cargo test --test files cli:: rewrites them");
}

#[test]
fn every_command_has_a_man_page_and_every_page_a_command() {
    let names: Vec<String> = commands().into_iter().map(|(name, _)| name).collect();
    let titles: BTreeSet<String> = names.iter().map(|name| title(name)).collect();
    let pages: BTreeSet<String> = PAGES.iter().map(|page| title(page.command)).collect();
    assert_eq!(pages, titles);
    assert_eq!((PAGES.len(), names.len()), (pages.len(), titles.len()), "each is there once");
    let folder = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("man")).unwrap();
    let files: BTreeSet<String> = folder.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, titles.iter().map(|title| format!("{title}.1")).collect::<BTreeSet<_>>());
    for page in PAGES {
        let name = page.command;
        assert!(page.exit_status.first().is_some_and(|(status, _)| *status == "0"), "{name}");
        assert!(!page.examples.is_empty() && page.examples.iter().all(|(_, line)| line.contains("rtrec ")), "{name}");
        for reference in page.see_also {
            let (of_page, section) = reference.split_once('(').unwrap();
            assert!(section.ends_with(')') && of_page != title(name), "{name}: {reference}");
            assert!(!of_page.starts_with("rtrec") || titles.contains(of_page), "{name}: {reference}");
        }
    }
}

#[test]
fn every_option_stands_under_a_heading_and_says_what_it_does() {
    for (name, command) in commands() {
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let id = arg.get_id().as_str();
            assert!(arg.get_help().is_some_and(|help| !help.to_string().is_empty()), "{name}: {id}");
            let by_clap = ["help", "version"].contains(&id);
            assert!(by_clap || arg.is_positional() || arg.get_help_heading().is_some(), "{name}: {id}");
        }
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        after.lines().for_each(|line| assert!(line.chars().count() <= 100, "{name}: {line}"));
    }
}

#[test]
fn help_and_version_work_on_any_machine() {
    for words in [&["--help"][..], &["--version"], &["record", "--help"], &["stream", "--help"], &["report", "--help"]]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_rtrec")).args(words).env_clear().output().unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{words:?}");
    }
}

#[test]
fn help_names_every_option_of_every_plugin() {
    let output = Command::new(env!("CARGO_BIN_EXE_rtrec")).args(["report", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for option in rtrec::plugins::REGISTRY.options() {
        let name = format!("{}:{}", option.plugin, option.name);
        assert!(help.contains(&name), "{name}");
    }
}

#[test]
fn files_of_slow_windows_are_not_rotated() {
    for inside in ["--only-slow", "--in-kernel"] {
        let words = ["record", "--window-marker", inside, "--rotate", "1M", "true"];
        let output = Command::new(env!("CARGO_BIN_EXE_rtrec")).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{inside}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("--tail and --max-size"), "{inside}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for words in
        [&[][..], &["no-such-command"], &["record", "--no-such-option"], &["record", "-b", "0", "-e", "sched", "true"]]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_rtrec")).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(!output.stderr.is_empty(), "{words:?}");
    }
}
