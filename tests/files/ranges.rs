//! Parts of a trace: what `--from`, `--to`, `--tail`, `--head` and `--cpu` print is what stands there in the whole text, however
//! much of the file was skipped to get there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn text(arguments: &[&str], file: &Path) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_rtrec")).args(["report", "-q"]).args(arguments).arg(file).output().unwrap();
    assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The same with one thread and with three.
fn both(arguments: &[&str], file: &Path) -> String {
    let one = text(&[arguments, &["--threads", "1"]].concat(), file);
    let three = text(&[arguments, &["--threads", "3"]].concat(), file);
    assert!(one == three, "{} {arguments:?}", file.display());
    one
}

/// Lines of records, each with its time in nanoseconds.
fn timed(text: &str) -> Vec<(u64, &str)> {
    let time = |line: &str| {
        let words = line.split_whitespace().filter_map(|word| word.strip_suffix(':')?.split_once('.'));
        words.filter_map(|(s, ns)| Some(s.parse::<u64>().ok()? * 1_000_000_000 + ns.parse::<u64>().ok()?)).next()
    };
    text.lines().filter_map(|line| Some((time(line)?, line))).collect()
}

fn seconds(time: u64) -> String {
    format!("{}.{:09}", time / 1_000_000_000, time % 1_000_000_000)
}

/// `v6-instances` many times over: some thousand sub-buffers.
fn grown(folder: &Path) -> PathBuf {
    let path = folder.join("grown.dat");
    xtask::bench::grow(&path, 40).unwrap();
    path
}

/// The compressed fixtures have few chunks, but real ones.
fn files(folder: &Path) -> Vec<PathBuf> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let real = ["v7-zstd-events", "v7-wakeup", "v7-fgraph-probes", "v6-instances"];
    let real = real.iter().map(|name| fixtures.join(name).join("trace.dat"));
    real.chain([grown(folder)]).collect()
}

#[test]
fn a_range_of_time_is_that_part_of_the_text() {
    let folder = tempfile::tempdir().unwrap();
    for file in files(folder.path()) {
        let whole = both(&["-t", "-N", "-R"], &file);
        let lines = timed(&whole);
        for part in 0..10 {
            let from = lines[lines.len() * part / 10].0;
            let to = lines[(lines.len() * (part + 1) / 10).min(lines.len() - 1)].0;
            let expected: Vec<&str> = lines.iter().filter(|line| line.0 >= from && line.0 <= to).map(|l| l.1).collect();
            let part = both(&["-t", "-N", "-R", "--from", &seconds(from), "--to", &seconds(to)], &file);
            let found: Vec<&str> = timed(&part).iter().map(|line| line.1).collect();
            assert!(found == expected, "{} from {from} to {to}", file.display());
            // Any CPU may have the first record, or the last.
            let (first, last) = (lines.iter().map(|l| l.0).min().unwrap(), lines.iter().map(|l| l.0).max().unwrap());
            let after = |time: u64| format!("+{}s", seconds(time - first));
            assert!(part == both(&["-t", "-N", "-R", "--from", &after(from), "--to", &after(to)], &file));
            let before = |time: u64| format!("-{}", seconds(last - time));
            assert!(part == both(&["-t", "-N", "-R", "--from", &before(from), "--to", &before(to)], &file));
        }
    }
}

#[test]
fn the_last_records_are_the_end_of_the_text() {
    let folder = tempfile::tempdir().unwrap();
    for file in files(folder.path()) {
        for view in [&["-t"][..], &["-t", "--ts-diff"], &["-t", "--cpu", "1"], &["-t", "-F", "sched_*,*funcgraph*"]] {
            let Some(whole) = possible(view, &file) else { continue };
            let lines = timed(&whole);
            for count in [1, 7, 100, 900, 5000, 1_000_000] {
                let tail = both(&[view, &["--tail", &count.to_string()]].concat(), &file);
                let found: Vec<&str> = timed(&tail).iter().map(|line| line.1).collect();
                let expected: Vec<&str> =
                    lines[lines.len().saturating_sub(count)..].iter().map(|line| line.1).collect();
                assert!(found == expected, "{} {view:?} --tail {count}", file.display());
            }
        }
    }
}

/// The text, unless the file has no event of that name.
fn possible(arguments: &[&str], file: &Path) -> Option<String> {
    let output =
        Command::new(env!("CARGO_BIN_EXE_rtrec")).args(["report", "-q"]).args(arguments).arg(file).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn nothing_is_skipped_where_the_clock_was_set_back() {
    const PAGE: usize = 4096;
    let folder = tempfile::tempdir().unwrap();
    let path = grown(folder.path());
    let mut bytes = fs::read(&path).unwrap();
    // From the middle of the first CPU on, the clock shows what it showed at the start.
    let data = bytes.windows(10).position(|window| window == b"flyrecord\0").unwrap() + 10;
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let (start, size) = (word(&bytes, data) as usize, word(&bytes, data + 8) as usize);
    let middle = start + size / PAGE / 2 * PAGE;
    let back = word(&bytes, middle) - word(&bytes, start);
    for page in (middle..start + size).step_by(PAGE) {
        let time = word(&bytes, page) - back;
        bytes[page..page + 8].copy_from_slice(&time.to_le_bytes());
    }
    fs::write(&path, &bytes).unwrap();

    let whole = both(&["-t"], &path);
    let lines = timed(&whole);
    assert!(lines.windows(2).any(|pair| pair[0].0 > pair[1].0), "the clock goes back");
    let (least, most) = (lines.iter().map(|l| l.0).min().unwrap(), lines.iter().map(|l| l.0).max().unwrap());
    for (from, to) in [(least, least + (most - least) / 8), (least + (most - least) / 3, most)] {
        let mut expected: Vec<&str> =
            lines.iter().filter(|line| line.0 >= from && line.0 <= to).map(|line| line.1).collect();
        let part = both(&["-t", "--from", &seconds(from), "--to", &seconds(to)], &path);
        let mut found: Vec<&str> = timed(&part).iter().map(|line| line.1).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert!(found == expected, "{} of {} records", found.len(), expected.len());
    }
    let tail = both(&["-t", "--tail", "500"], &path);
    assert!(whole.ends_with(tail.split_once('\n').unwrap().1));
}
