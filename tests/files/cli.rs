//! The command line as a whole: its own consistency, its man pages, its exit codes.

use std::path::Path;
use std::process::Command;

#[test]
fn clap_finds_no_contradiction() {
    rtrec::cli::command().debug_assert();
}

/// The man pages are made from the same words as `--help`. `RTREC_BLESS=1` rewrites them.
#[test]
fn man_pages_say_what_help_says() {
    let man = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    let mut command = rtrec::cli::command();
    command.build();
    let pages = std::iter::once(command.clone())
        .chain(command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned());
    let mut stale = Vec::new();
    for page in pages {
        let name = if page.get_name() == "rtrec" { "rtrec".to_owned() } else { format!("rtrec-{}", page.get_name()) };
        let mut text = Vec::new();
        clap_mangen::Man::new(page.display_name(name.clone())).manual("rtrec").render(&mut text).unwrap();
        let path = man.join(format!("{name}.1"));
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
    for option in rtrec::plugins::options() {
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
