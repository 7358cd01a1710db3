//! Files of either byte order and size of `long` against the text of trace-cmd for the same files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/byte-orders")
}

/// Unpacks a file for the length of a test.
fn unpacked(name: &str) -> (tempfile::TempDir, PathBuf) {
    let bytes = zstd::decode_all(fs::File::open(folder().join(format!("{name}.dat.zst"))).unwrap()).unwrap();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("trace.dat");
    fs::write(&path, bytes).unwrap();
    (place, path)
}

fn rtrec(arguments: &[&str], file: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rtrec")).arg("report").args(arguments).arg(file).output().unwrap()
}

fn text(arguments: &[&str], file: &Path) -> String {
    let output = rtrec(arguments, file);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const FILES: [(&str, &str); 6] =
    [("be64-v6", "64"), ("be64-v7", "64"), ("be32-v6", "32"), ("be32-v7", "32"), ("le32-v6", "32"), ("le32-v7", "32")];

#[test]
fn every_order_and_size_gives_trace_cmds_text() {
    for (name, long) in FILES {
        let (_place, file) = unpacked(name);
        let theirs = fs::read_to_string(folder().join(format!("{long}.report"))).unwrap();
        assert_eq!(text(&["--compat", "3.4"], &file), theirs, "{name}");
    }
}

#[test]
fn dumps_are_trace_cmds_too() {
    let (_place, file) = unpacked("be32-v6");
    let theirs = fs::read_to_string(folder().join("be32-v6.report-debug")).unwrap();
    assert_eq!(text(&["--compat", "3.4", "--debug"], &file), theirs);
}

#[test]
fn without_compat_numbers_have_their_sign_and_stacks_their_end() {
    for (name, _) in FILES {
        let (_place, file) = unpacked(name);
        let ours = text(&[], &file);
        assert!(ours.contains("sys_exit:             NR 257 = -2\n"), "{name}: {ours}");
        assert!(ours.contains("function_19 (") && !ours.contains("=> 0\n"), "{name}: {ours}");
        assert!(ours.contains("function=function_3/0x10 "), "{name}: {ours}");
    }
}

#[test]
fn files_say_their_order_and_give_the_same_numbers() {
    let mut values: Vec<(String, String)> = Vec::new();
    for (name, long) in FILES {
        let (_place, file) = unpacked(name);
        let order = if name.starts_with("be") { "big" } else { "little" };
        assert!(text(&["-e"], &file).starts_with(&format!("file is {order} endian")), "{name}");
        values.push((long.to_owned(), text(&["--format", "json"], &file)));
        assert!(text(&["--profile"], &file).contains("Event: softirq_entry:RCU (1) Total: 90 "), "{name}");
    }
    let of =
        |long: &str| values.iter().filter(|value| value.0 == long).map(|value| value.1.clone()).collect::<Vec<_>>();
    for long in ["64", "32"] {
        assert!(of(long).windows(2).all(|pair| pair[0] == pair[1]), "{long}");
    }
}
