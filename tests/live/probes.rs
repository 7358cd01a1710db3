//! Probes by name on the running kernel: every hit counted, arguments right, nothing left behind.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Alone, Recorder, listing, records, run, stderr, stdout, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/calls.c");

/// The program, built in some way.
fn built(folder: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let program = folder.join(name);
    let status = Command::new("cc").args(flags).arg("-o").arg(&program).arg(SOURCE).status().expect("cc starts");
    assert!(status.success(), "{name}");
    program
}

/// What probes touch: definitions for programs of a folder, the events that are on, the instances that are made.
fn touched(alone: &Alone, folder: &Path) -> Vec<String> {
    let mut all: Vec<String> = ["set_event", "tracing_on"].map(|file| alone.read(file)).to_vec();
    let definitions = alone.read("uprobe_events");
    let of_folder = definitions.lines().filter(|line| line.contains(&*folder.to_string_lossy()));
    all.extend(of_folder.map(str::to_owned));
    let instances = std::fs::read_dir(alone.root.join("instances")).unwrap().flatten();
    let names = instances.filter_map(|entry| entry.file_name().into_string().ok());
    let pid = |name: &str| name.strip_prefix("rtrec_").is_some_and(|pid| pid.bytes().all(|b| b.is_ascii_digit()));
    all.extend(names.filter(|name| pid(name) || name == "other"));
    all
}

/// The number of the first line of the source that contains a text.
fn line_of(text: &str) -> usize {
    let source = std::fs::read_to_string(SOURCE).unwrap();
    source.lines().position(|line| line.contains(text)).expect("the source has it") + 1
}

/// What `--count` counted, in all.
fn counted(folder: &Path, words: &[&str]) -> u64 {
    let output = run(folder, words);
    assert!(output.status.success(), "{words:?}: {}", stderr(&output));
    let lines = stdout(&output);
    let hits = lines.lines().filter(|line| line.contains("  rtrec_"));
    hits.filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok()).sum()
}

fn hits(folder: &Path, words: &[&str]) -> Vec<String> {
    let output = run(folder, words);
    assert!(output.status.success(), "{words:?}: {}", stderr(&output));
    stdout(&output).lines().filter(|line| line.contains(": ")).map(str::to_owned).collect()
}

fn failed(folder: &Path, words: &[&str]) -> String {
    let output = run(folder, words);
    assert_eq!(output.status.code(), Some(2), "{words:?}: {}", stdout(&output));
    stderr(&output)
}

#[test]
fn every_way_to_name_a_place_counts_what_the_program_counts() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let before = touched(&alone, folder.path());
    let line = format!("calls.c:{}", line_of("sum += t->id"));
    for (name, flags) in [
        ("plain", &["-O2"][..]),
        ("debug", &["-O2", "-g"]),
        ("slow", &["-O0", "-g"]),
        ("fixed", &["-O2", "-g", "-no-pie"]),
        ("static", &["-O2", "-g", "-static", "-no-pie"]),
        ("stripped", &["-O2", "-s"]),
    ] {
        built(dir, name, flags);
        let program = format!("./{name}");
        let mut places = vec![];
        if name != "stripped" {
            places.extend(["work".to_owned(), "work%return".to_owned(), "wor?".to_owned()]);
            let list = stdout(&run(dir, &["uprobe", "--list", "work", &program]));
            let offset = list.split_whitespace().next().and_then(|place| place.rsplit_once(':')).unwrap().1.to_owned();
            places.push(offset);
        } else {
            // The same code as that of the plain one.
            let list = stdout(&run(dir, &["uprobe", "--list", "work", "./plain"]));
            places.push(list.split_whitespace().next().and_then(|place| place.rsplit_once(':')).unwrap().1.to_owned());
        }
        if flags.contains(&"-g") {
            places.push(line.clone());
        }
        for place in places {
            let target = format!("{program}:{place}");
            let count = counted(dir, &["uprobe", "--count", &target, "--", &program, "10"]);
            assert_eq!(count, 10, "{target}");
        }
    }
    assert_eq!(before, touched(&alone, folder.path()));
}

#[test]
fn arguments_have_the_values_that_the_program_passed() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let before = touched(&alone, folder.path());
    for (name, flags) in [("fast", &["-O2", "-g"][..]), ("slow", &["-O0", "-g"]), ("static", &["-O1", "-g", "-static"])]
    {
        let program = built(dir, name, flags);
        let target = |place: &str| format!("./{name}:{place}");
        let (command, work) = (program.to_str().unwrap(), target("work"));
        let named = ["n", "t->id", "t->name", "t->in.label", "deep=t->next->label", "text", "c", "t->in.tag:x16"];
        let words = ["uprobe", work.as_str()].into_iter().chain(named).chain(["--", command, "2"]).collect::<Vec<_>>();
        let lines = hits(dir, &words);
        assert_eq!(lines.len(), 2, "{name}");
        let rest = "name=\"thing-name\" label=\"inside\" deep=\"deep\" text=\"hello\"";
        assert!(lines[0].contains(&format!("n=0 id=0 {rest} c=RED tag=0x3")), "{name}: {}", lines[0]);
        assert!(lines[1].contains(&format!("n=1 id=1 {rest} c=GREEN tag=0x3")), "{name}: {}", lines[1]);
        // Without words all parameters are captured, and what is returned.
        let lines = hits(dir, &["uprobe", &target("work"), "--", command, "1"]);
        assert!(lines[0].contains("n=0 t=0x") && lines[0].contains("text=\"hello\" c=RED"), "{name}: {}", lines[0]);
        let lines = hits(dir, &["uprobe", "-r", &target("name_of"), "--", command, "2"]);
        assert!(lines[1].contains("retval=\"name-1\""), "{name}: {}", lines[1]);
        // By the calling convention, of a function's very beginning.
        let lines = hits(dir, &["uprobe", &target("work"), "$arg1:s32", "text=+0($arg3):string", "--", command, "2"]);
        assert!(lines[1].contains("arg1=1 text=\"hello\""), "{name}: {}", lines[1]);
    }
    // A structure that is passed by value.
    let lines = hits(dir, &["uprobe", "./slow:byvalue", "--", "./slow", "2"]);
    assert!(lines[1].contains("in_tag=3 in_label=\"inside\" small=1"), "{}", lines[1]);
    assert_eq!(before, touched(&alone, folder.path()));
}

#[test]
fn errors_name_what_would_work() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    built(dir, "calls", &["-O2", "-g"]);
    built(dir, "stripped", &["-O2", "-s"]);
    let before = touched(&alone, folder.path());
    std::fs::write(dir.join("script"), "#!/bin/sh\ntrue\n").unwrap();
    for (target, said) in [
        ("./calls:wrok", "nearest work"),
        ("./calls:inlined_one", "inlined wherever it is called"),
        ("./stripped:work", "it is stripped"),
        ("./calls:work+0x10000", "behind the function"),
        ("./calls:0x4", "has no code at 0x4"),
        ("./calls:calls.c:1", "nearest"),
        ("./calls:clals.c:3", "calls.c"),
        ("./script:main", "it is a script; what runs is /bin/sh"),
        ("./nothing:main", "there is no program or library ./nothing"),
        ("999999999:main", "cannot be seen"),
        ("./calls:*", "--max-probes"),
    ] {
        let limit = if target.ends_with('*') { "2" } else { "50" };
        let text = failed(dir, &["uprobe", "--max-probes", limit, target, "--", "./calls"]);
        // A stripped file is told in its own words.
        let said = if target.starts_with("./stripped") { "the file is stripped" } else { said };
        assert!(text.contains(said), "{target}: {text}");
    }
    // Some instruction has more than one byte.
    let inside = (1..16).map(|offset| run(dir, &["uprobe", "--dry-run", &format!("./calls:work+{offset}")]));
    assert!(inside.filter(|output| stderr(output).contains("no instruction of")).count() > 3);
    let text = failed(dir, &["uprobe", "./calls:work", "nn", "--", "./calls"]);
    assert!(text.contains("no variable of that name") && text.contains("text"), "{text}");
    let text = failed(dir, &["uprobe", "./calls:work", "t->nmae", "--", "./calls"]);
    assert!(text.contains("known   id, name, in, next"), "{text}");
    let text = failed(dir, &["uprobe", "./calls:work", "x=%nosuch", "--", "./calls"]);
    assert!(text.contains("refused the probe") && text.contains("^"), "{text}");
    assert_eq!(before, touched(&alone, folder.path()));
}

#[test]
fn a_refused_probe_takes_its_siblings_with_it() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    built(dir, "calls", &["-O2", "-g"]);
    let before = touched(&alone, folder.path());
    let words = ["record", "--uprobe", "./calls:work", "--uprobe", "./calls:name_of x=%nosuch", "./calls"];
    assert!(failed(dir, &words).contains("refused the probe"));
    assert_eq!(before, touched(&alone, folder.path()));
    assert_eq!(listing(dir), ["calls"]);
}

#[test]
fn probes_are_events_of_a_recording() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    built(dir, "calls", &["-O2", "-g"]);
    let before = touched(&alone, folder.path());
    let words = [
        "record",
        "-q",
        "--uprobe",
        "odd=./calls:work n",
        "-f",
        "n == 1",
        "-e",
        "sched:sched_process_exec",
        "-B",
        "other",
        "--uprobe",
        "./calls:name_of%return",
        "./calls",
        "5",
    ];
    let output = run(dir, &words);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(before, touched(&alone, folder.path()));
    let text = stdout(&run(dir, &["report"]));
    let of = |word: &str| text.lines().filter(|line| line.contains(word)).count();
    assert_eq!((of(" odd: "), of("n=1"), of("name_of__return:")), (1, 1, 3), "{text}");
    assert!(text.lines().filter(|line| line.contains("name_of__return")).all(|line| line.contains("other:")), "{text}");
    // The stream that is kept says the same in its file.
    let printed = hits(dir, &["uprobe", "-q", "-F", "-o", "kept.dat", "./calls:work", "n", "--", "./calls", "20"]);
    assert_eq!(printed.len(), 20);
    let kept = stdout(&run(dir, &["report", "kept.dat"]));
    let kept: Vec<&str> = kept.lines().filter(|line| line.contains("work:")).collect();
    assert_eq!(kept, printed.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn static_probes_are_found_with_their_arguments_and_semaphores() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/usdt.c");
    let status = Command::new("cc").args(["-O2", "-o"]).arg(dir.join("usdt")).arg(source).status().unwrap();
    assert!(status.success());
    let before = touched(&alone, folder.path());
    let output = run(dir, &["uprobe", "usdt:./usdt:demo:req_sem", "--", "./usdt"]);
    let text = stdout(&output);
    assert!(text.contains("sem at end 1"), "{text}{}", stderr(&output));
    assert_eq!(text.lines().filter(|line| line.contains("demo_req_sem: ")).count(), 5, "{text}");
    assert!(text.contains("arg1=4 arg2=") && text.contains("arg3=4000"), "{text}");
    assert_eq!(counted(dir, &["uprobe", "--count", "usdt:./usdt:req", "--", "./usdt"]), 5);
    let list = stdout(&run(dir, &["uprobe", "--list", "demo:*", "usdt:./usdt"]));
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(failed(dir, &["uprobe", "usdt:./usdt:demo:rqe"]).contains("nearest demo:req"));
    assert_eq!(before, touched(&alone, folder.path()));
}

#[test]
fn probes_of_a_killed_recorder_are_removed_and_those_of_others_stay() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let program = built(dir, "calls", &["-O2", "-g"]);
    let before = touched(&alone, folder.path());
    let theirs = format!("p:theirs/foreign {}:0x1000\n", program.display());
    let events = alone.root.join("uprobe_events");
    let append = |text: &str| {
        let mut file = std::fs::File::options().append(true).open(&events).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes())
    };
    append(&theirs).unwrap();
    let here = || touched(&alone, folder.path());
    let with_theirs = here();
    for words in [&["record", "-q", "--uprobe", "./calls:work"][..], &["uprobe", "./calls:work", "-o", "trace.dat"]] {
        let recorder = Recorder::start(dir, words);
        let instance = alone.root.join(format!("instances/rtrec_{}/set_event", recorder.0.id()));
        let is_on = || std::fs::read_to_string(&instance).is_ok_and(|text| text.contains("work"));
        wait_until("it records", || records(dir) || is_on());
        recorder.killed();
        assert_ne!(here(), with_theirs);
        let output = run(dir, &["probe", "del", "--stale"]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(here(), with_theirs);
        let _ = run(dir, &["restore", "trace.dat"]);
        listing(dir).iter().filter(|name| *name != "calls").for_each(|name| drop(std::fs::remove_file(dir.join(name))));
    }
    assert!(!run(dir, &["probe", "del", "foreign"]).status.success(), "it is not in our group");
    assert!(run(dir, &["probe", "del", "--all"]).status.success());
    assert_eq!(here(), with_theirs);
    append("-:theirs/foreign\n").unwrap();
    assert_eq!(before, touched(&alone, folder.path()));
}

#[test]
fn probes_that_were_added_stay_until_they_are_removed() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    built(dir, "calls", &["-O2", "-g"]);
    let before = touched(&alone, folder.path());
    assert_eq!(stdout(&run(dir, &["probe", "add", "./calls:work", "n"])), "rtrec:work\n");
    assert_eq!(stdout(&run(dir, &["probe", "add", "./calls:work"])), "rtrec:work_1\n");
    let output = run(dir, &["record", "-q", "-e", "rtrec:work", "./calls", "3"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&run(dir, &["report"]));
    assert_eq!(text.lines().filter(|line| line.contains(" work: ")).count(), 3, "{text}");
    assert!(stdout(&run(dir, &["probe", "show", "work"])).contains("field    s32 n"));
    let list = || stdout(&run(dir, &["probe", "list"])).lines().filter(|line| line.starts_with("rtrec:")).count();
    assert_eq!(list(), 2);
    assert!(run(dir, &["probe", "del", "work*"]).status.success());
    assert_eq!(list(), 0);
    assert_eq!(before, touched(&alone, folder.path()));
}

#[test]
fn a_process_is_probed_where_it_has_its_program() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    built(dir, "calls", &["-O2", "-g"]);
    let before = touched(&alone, folder.path());
    // Only this process sees the file.
    let script = "mount -t tmpfs none /mnt && cp calls /mnt/hidden && exec /mnt/hidden 2000000000";
    let mut child = Command::new("unshare").args(["-m", "sh", "-c", script]).current_dir(dir).spawn().unwrap();
    let pid = child.id();
    let runs = || std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("hidden"));
    wait_until("the hidden program runs", runs);
    let target = format!("{pid}:work");
    let output = run(dir, &["uprobe", "--dry-run", &target]);
    let line = stdout(&output);
    let counted = run(dir, &["uprobe", "-q", "--count", "--duration", "300ms", &target]);
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
    let _ = child.wait();
    assert!(line.contains(&format!("/proc/{pid}/root/mnt/hidden:0x")), "{line}{}", stderr(&output));
    let hits: u64 = stdout(&counted).split_whitespace().next().and_then(|count| count.parse().ok()).unwrap_or(0);
    assert!(hits > 0, "{}{}", stdout(&counted), stderr(&counted));
    assert_eq!(before, touched(&alone, folder.path()));
}

#[test]
fn user_addresses_have_names_by_what_the_file_stores() {
    let _alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    built(dir, "calls", &["-O2", "-g"]);
    let words = [
        "record",
        "-q",
        "-F",
        "--proc-map",
        "--uprobe",
        "./calls:work n",
        "--uprobe",
        "./calls:name_of%return",
        "./calls",
        "3",
    ];
    let output = run(dir, &words);
    assert!(output.status.success(), "{}", stderr(&output));
    let plain = stdout(&run(dir, &["report"]));
    assert!(!plain.contains("calls.c") && plain.contains(" work: "), "{plain}");
    let named = stdout(&run(dir, &["report", "--user-symbols"]));
    let at = |text: &str| format!("calls.c:{}", line_of(text) + 1);
    assert!(named.contains(&format!("work+0x0 ({}) (", at("long work("))), "{named}");
    assert!(named.contains(&format!("name_of+0x0 ({}) <- main+0x", at("char *name_of("))), "{named}");
    // Another build of that name is not taken for it.
    built(dir, "calls", &["-O1", "-g"]);
    let output = run(dir, &["report", "--user-symbols"]);
    assert!(stderr(&output).contains("another build") && !stdout(&output).contains("calls.c"), "{}", stderr(&output));
}

#[test]
fn a_kernel_without_kprobes_says_so() {
    let alone = Alone::with_tracefs();
    if alone.root.join("kprobe_events").exists() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let text = failed(folder.path(), &["kprobe", "vfs_read", "--", "true"]);
    assert!(text.contains("CONFIG_KPROBE_EVENTS") && text.contains("try"), "{text}");
    let text = failed(folder.path(), &["record", "--kprobe", "vfs_read", "true"]);
    assert!(text.contains("CONFIG_KPROBE_EVENTS"), "{text}");
}

#[test]
fn calls_are_timed_each_return_with_its_own_entry() {
    let alone = Alone::with_tracefs();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let before = touched(&alone, dir);
    // Calls itself: three calls are open at once.
    let source = dir.join("nested.c");
    let text = "__attribute__((noinline)) int deep(int n) { volatile int m = n; return m ? deep(m - 1) + 1 : 0; }\n\
                int main(void) { int i; for (i = 0; i < 5; i++) deep(2); return 0; }\n";
    std::fs::write(&source, text).unwrap();
    assert!(Command::new("cc").args(["-O0", "-o"]).arg(dir.join("nested")).arg(&source).status().unwrap().success());
    let output = run(dir, &["uprobe", "./nested:deep", "--latency", "--format", "json", "--", "./nested"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let figures: serde_json::Value = serde_json::from_str(stdout(&output).trim()).unwrap();
    assert_eq!(figures["calls"], 15);
    assert_eq!([&figures["open"], &figures["without_entry"], &figures["without_return"]], [0, 0, 0]);
    let [min, p50, max] = ["min", "p50", "max"].map(|name| figures[name].as_u64().unwrap());
    assert!(0 < min && min <= p50 && p50 <= max, "{figures}");
    // The same from a file, and each of the slow ones.
    let kept =
        run(dir, &["uprobe", "./nested:deep", "--latency", "--threshold", "1us", "-o", "a.dat", "--", "./nested"]);
    let told = stdout(&kept).lines().filter(|line| line.contains(":deep: ")).count();
    let again = stdout(&run(dir, &["report", "--latency", "--format", "json", "a.dat"]));
    assert!(told > 0 && again.contains("\"calls\":15,"), "{}{again}", stdout(&kept));
    assert_eq!(before, touched(&alone, dir));
}
