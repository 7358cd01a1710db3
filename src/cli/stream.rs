//! `rtrec stream`: the set-up of `record`, printed live as `report` would.

use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgMatches, Args};

use super::common::explain;
use super::common::live::{Printer, RecordFormat, failure, format};
use super::common::recording::status;
use super::common::say::{say, say_raw};
use super::common::stderr::Stderr;
use super::common::units::duration;
use super::record::{SetupArgs, setup};
use crate::record;
use crate::report::{OwnedView, RawEvents, TextSettings};

/// Record and print records as they come
///
/// Sets up tracing as rtrec record does and prints records as rtrec report does, in order of time, until COMMAND ends;
/// without a command, until Ctrl-C or until the processes of -P end. It writes no file.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rtrec stream -e sched:sched_switch -F make\n  rtrec stream -e 'irq:*' --format json | head -100\n  rtrec stream -p function -l 'vfs_*' -P 4711 --delay 100ms"
)]
pub(super) struct StreamArgs {
    #[command(flatten)]
    setup: SetupArgs,
    /// Wait this long before printing a record, so that the records of all CPUs are in order of time
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "500ms", help_heading = "Layout")]
    delay: Duration,
    /// Print all nine decimals of the time
    #[arg(short = 't', long, help_heading = "Layout")]
    full_time: bool,
    /// Print the raw fields of all events
    #[arg(long, help_heading = "Layout")]
    raw: bool,
    /// Print the narrow layout of latency traces
    #[arg(long = "narrow", help_heading = "Layout")]
    narrow: bool,
    /// Add the time since the line before
    #[arg(long, help_heading = "Layout")]
    ts_diff: bool,
    /// Print in this format: text, json or csv
    #[arg(long, value_name = "FORMAT", value_parser = format, default_value = "text", help_heading = "Layout")]
    format: RecordFormat,
    /// With --format json or csv: print these fields of each record; commas separate several
    #[arg(long, value_delimiter = ',', value_name = "FIELD", help_heading = "Layout")]
    fields: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Options of `record` that shape its file; a stream has none.
#[derive(Debug, Args)]
struct OutputArgs {
    #[arg(short = 'o', long = "output", hide = true, value_name = "FILE")]
    output: Option<String>,
    #[arg(long, hide = true, value_name = "NAME")]
    compression: Option<String>,
    #[arg(long, hide = true, value_name = "6|7")]
    file_version: Option<String>,
    #[arg(long, hide = true, value_name = "DIR")]
    temp: Option<String>,
    #[arg(long, hide = true)]
    date: bool,
    #[arg(long, hide = true, value_name = "TICKS", allow_negative_numbers = true)]
    ts_offset: Option<i64>,
    #[arg(long, hide = true)]
    daemonize: bool,
    #[arg(long, hide = true)]
    proc_map: bool,
    #[arg(short = 'a', long = "all-formats", hide = true)]
    all_formats: bool,
    #[arg(long, hide = true, value_name = "OCTAL")]
    mode: Option<String>,
    #[arg(long, hide = true, value_name = "WAY")]
    reader: Option<String>,
    #[arg(long, hide = true)]
    nosplice: bool,
    #[arg(long, hide = true)]
    poll: bool,
    #[arg(short = 'k', hide = true)]
    keep: bool,
    #[arg(short = 'K', hide = true)]
    keep_before: bool,
}

impl OutputArgs {
    fn reason(&self) -> Result<(), String> {
        for (given, option) in [
            (self.output.is_some(), "-o"),
            (self.compression.is_some(), "--compression"),
            (self.file_version.is_some(), "--file-version"),
            (self.temp.is_some(), "--temp"),
            (self.date, "--date"),
            (self.ts_offset.is_some(), "--ts-offset"),
            (self.daemonize, "--daemonize"),
            (self.proc_map, "--proc-map"),
            (self.all_formats, "-a"),
            (self.mode.is_some(), "--mode"),
            (self.reader.is_some(), "--reader"),
            (self.nosplice, "--nosplice"),
            (self.poll, "--poll"),
            (self.keep, "-k"),
            (self.keep_before, "-K"),
        ] {
            if given {
                return Err(format!("{option} is refused: a stream writes no file; rtrec record takes it"));
            }
        }
        Ok(())
    }
}

/// Runs the subcommand.
pub(super) fn run(args: StreamArgs, matches: &ArgMatches, verbose: bool) -> ExitCode {
    let checked = args.output.reason().and_then(|()| setup(&args.setup, &[], matches));
    let (settings, unused_invert) = match checked {
        Ok((settings, _)) if settings.setup.buffers.iter().any(|buffer| buffer.keeps_worst_case()) => {
            say!("rtrec stream: a latency tracer keeps the worst case until the end; rtrec record stores it");
            return ExitCode::from(2);
        }
        Ok(checked) => checked,
        Err(sentence) => {
            say!("rtrec stream: {sentence}");
            return ExitCode::from(2);
        }
    };
    let quiet = args.setup.quiet;
    let verbose = !quiet && (verbose || args.setup.is_verbose() || unused_invert);
    let watch = Stderr { name: "stream", quiet, verbose, live: false, started: None };
    let mut printer = Printer::new(view(&args), args.setup.stderr, false);
    match record::stream(&settings, args.delay, &watch, &mut printer) {
        Ok(outcome) => {
            watch.print_summary(&outcome, &settings);
            ExitCode::from(printer.failed.as_ref().map_or_else(|| status(&outcome), |error| failure(error, &outcome)))
        }
        Err(error) => {
            let explained = explain::record::error(&error);
            say_raw(&explained.text("stream"));
            ExitCode::from(explained.status)
        }
    }
}

fn view(args: &StreamArgs) -> OwnedView {
    let mut text = TextSettings::default();
    text.columns.full_time = args.full_time;
    text.columns.latency = args.narrow;
    text.columns.diff = args.ts_diff;
    if args.raw {
        text.columns.raw = RawEvents::all();
    }
    args.format.view(text, args.fields.clone())
}
