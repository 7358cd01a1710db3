//! Reports on a terminal: colours, and a pager for what is long. Elsewhere they are plain text.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use nix::pty::openpty;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name).join("trace.dat")
}

fn rtrec(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rtrec"));
    command.arg("report").args(arguments).current_dir(folder).stdin(Stdio::null()).stderr(Stdio::null());
    for name in ["PAGER", "RTREC_PAGER", "NO_COLOR", "LESS"] {
        command.env_remove(name);
    }
    command.env("TERM", "xterm").envs(environment.iter().copied());
    command
}

/// What comes out where standard output is no terminal.
fn plain(folder: &Path, arguments: &[&str]) -> String {
    let output = rtrec(folder, arguments, &[]).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// What a terminal gets, and how the report ended.
fn on_terminal(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> (String, ExitStatus) {
    let pty = openpty(None, None).unwrap();
    let mut command = rtrec(folder, arguments, environment);
    let mut child = command.stdout(pty.slave).spawn().unwrap();
    drop(command);
    let mut screen = File::from(pty.master);
    let reader = thread::spawn(move || {
        let mut shown = Vec::new();
        // It ends with an error once nobody has the other side.
        let _ = screen.read_to_end(&mut shown);
        String::from_utf8(shown).unwrap().replace("\r\n", "\n")
    });
    let status = child.wait().unwrap();
    (reader.join().unwrap(), status)
}

fn without_colours(text: &str) -> String {
    let mut plain = String::new();
    for (index, part) in text.split("\x1b[").enumerate() {
        let shown = if index == 0 { part } else { part.split_once('m').expect("a colour ends with m").1 };
        plain.push_str(shown);
    }
    plain
}

#[test]
fn a_terminal_gets_colours_unless_they_are_unwanted() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["v7-fgraph-probes", "v7-zstd-events"] {
        let file = fixture(name);
        let file = file.to_str().unwrap();
        let expected = plain(folder, &["--head", "500", file]);
        assert!(!expected.contains('\x1b'));
        let (shown, status) = on_terminal(folder, &["--no-pager", "--head", "500", file], &[]);
        assert!(status.success());
        assert_eq!(shown.matches("\x1b[36m").count(), expected.lines().count() - 1);
        assert_eq!(without_colours(&shown), expected, "{name}");
        for (arguments, environment) in [
            (&["--no-pager", "--head", "500", file][..], ("NO_COLOR", "1")),
            (&["--no-pager", "--head", "500", file], ("TERM", "dumb")),
            (&["--no-pager", "--color", "never", "--head", "500", file], ("TERM", "xterm")),
            (&["--head", "500", "--color", "never", file], ("PAGER", "cat")),
        ] {
            let (shown, status) = on_terminal(folder, arguments, &[environment]);
            assert!(status.success());
            assert_eq!(shown, expected, "{name} {arguments:?} {environment:?}");
        }
        let always = plain(folder, &["--color", "always", "--head", "500", file]);
        assert_eq!(without_colours(&always), expected);
        let json = plain(folder, &["--color", "always", "--format", "json", "--head", "5", file]);
        assert!(!json.contains('\x1b'));
    }
}

#[test]
fn long_text_goes_through_the_pager_and_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = fixture("v7-zstd-events");
    let file = file.to_str().unwrap();
    let expected = plain(folder, &[file]);
    let (shown, status) = on_terminal(folder, &[file], &[("PAGER", "cat > shown.txt; echo the pager ends")]);
    assert!(status.success());
    assert_eq!(shown, "the pager ends\n");
    assert_eq!(without_colours(&fs::read_to_string(folder.join("shown.txt")).unwrap()), expected);
    // Another name comes first, and whoever leaves the pager early has seen enough.
    let pagers = [("PAGER", "false"), ("RTREC_PAGER", "head -n 1")];
    let (shown, status) = on_terminal(folder, &[file], &pagers);
    assert!(status.success());
    assert_eq!(shown.trim_end(), expected.lines().next().unwrap());
}

#[test]
fn what_cannot_be_shown_is_said_without_a_pager() {
    let folder = tempfile::tempdir().unwrap();
    let (shown, status) = on_terminal(folder.path(), &["no-such-file"], &[("PAGER", "cat; echo a pager")]);
    assert_eq!((shown.as_str(), status.code()), ("", Some(2)));
}
