//! An analysis of somebody else's: on a file, through a pipe, and while it is recorded.

use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;

use rtrec::report::analysis::{self, Analysis, Findings, Form, Wants};
use rtrec::report::{Input, Opened, ReadSettings, Reading, Record, Selection, Take};
use rtrec::{live, plugins::REGISTRY, record::NoObserver};

mod common;

/// How often tasks began another program.
#[derive(Default)]
struct Programs(u64);

impl Take for Programs {
    fn take(&mut self, record: &Record<'_>) {
        self.0 += u64::from(record.event() == "sched_process_exec");
    }
}

impl Analysis for Programs {
    fn wants(&self) -> Wants {
        Wants::of("sched", &["sched_process_exec"])
    }

    fn finish<'f>(&'f mut self, _: Opened<'f>) -> Box<dyn Findings + 'f> {
        Box::new(&*self)
    }
}

impl Findings for &Programs {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} programs", self.0)
    }
}

#[test]
fn it_works_on_a_file_on_a_pipe_and_on_a_recording() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v7-zstd-events/trace.dat").as_ref();
    let piped = Input::from_pipe(&mut File::open(path).unwrap(), "-").unwrap();
    for input in [Input::open(path).unwrap(), piped] {
        let mut reading = Reading::new(vec![input], REGISTRY, ReadSettings::default(), &Selection::default()).unwrap();
        let (mut programs, mut out) = (Programs::default(), Vec::new());
        analysis::run(&mut reading, &mut programs, Form::Text, &mut io::sink()).unwrap();
        programs.finish(reading.opened()).text(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "10 programs\n");
    }
    let alone = common::Alone::with_tracefs();
    let (before, mut programs) = (alone.snapshot(), Programs::default());
    let settings = live::settings_for(&programs, ["sh", "-c", "ls / >&2; ls /"].map(Into::into).to_vec());
    live::analyse(&settings, Duration::from_millis(50), &NoObserver, REGISTRY, &mut programs).unwrap();
    assert!(programs.0 >= 3, "{}", programs.0);
    alone.assert_as_before(&before);
}
