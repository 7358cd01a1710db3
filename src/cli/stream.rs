//! `rtrec stream`: the set-up of `record`, printed live as `report` would.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgMatches, Args};

use super::record::{SetupArgs, Stderr, setup, status};
use super::units::duration;
use super::{explain, say, say_raw};
use crate::plugins::Trace;
use crate::record::{self, Outcome, Receiver, Round, StreamMetadata};
use crate::report::live::{Live, LiveError};
use crate::report::{Format, RawEvents, ReportError, Selection, Settings};
use crate::wire::abi::Abi;
use crate::wire::tables::{Kallsyms, PrintkFormats};

/// Record and print at once
///
/// Sets the kernel up as `rtrec record` does and prints what comes as `rtrec report` would, in order of time, until
/// COMMAND ends; without a command, until Ctrl-C or until the processes of -P end. Nothing is written to a file.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  rtrec stream -e sched:sched_switch -F make\n  rtrec stream -e 'irq:*' --format json | head -100\n  rtrec stream -p function -l 'vfs_*' -P 4711 --delay 100ms"
)]
pub(super) struct StreamArgs {
    #[command(flatten)]
    setup: SetupArgs,
    /// How late a record may be printed, so that all CPUs' records are in order
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "500ms", help_heading = "Layout")]
    delay: Duration,
    /// Print all digits of the time
    #[arg(short = 't', long, help_heading = "Layout")]
    full_time: bool,
    /// Print raw fields of all events
    #[arg(long, help_heading = "Layout")]
    raw: bool,
    /// Narrow layout
    #[arg(long = "narrow", help_heading = "Layout")]
    narrow: bool,
    /// Add the time since the line before
    #[arg(long, help_heading = "Layout")]
    ts_diff: bool,
    /// text, json or csv
    #[arg(long, value_name = "FORMAT", value_parser = format, default_value = "text", help_heading = "Layout")]
    format: Format,
    /// Fields of each record for --format json or csv; comma separated
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

pub(super) fn format(word: &str) -> Result<Format, String> {
    match word {
        "text" => Ok(Format::Text),
        "json" => Ok(Format::Json),
        "csv" => Ok(Format::Csv),
        _ => Err("there are text, json and csv".to_owned()),
    }
}

/// Runs the subcommand.
pub(super) fn run(args: StreamArgs, matches: &ArgMatches, verbose: bool) -> ExitCode {
    let judged = args.output.reason().and_then(|()| setup(&args.setup, &[], matches));
    let (settings, idle_invert) = match judged {
        Ok((settings, _)) if settings.setup.buffers.iter().any(|buffer| buffer.keeps_worst_case()) => {
            say!("rtrec stream: a latency tracer keeps the worst case until the end; rtrec record stores it");
            return ExitCode::from(2);
        }
        Ok(judged) => judged,
        Err(sentence) => {
            say!("rtrec stream: {sentence}");
            return ExitCode::from(2);
        }
    };
    let quiet = args.setup.quiet;
    let verbose = !quiet && (verbose || args.setup.is_verbose() || idle_invert);
    let watch = Stderr { name: "stream", quiet, verbose, live: false, started: None };
    let mut printer =
        Printer { settings: layout(&args), live: None, to_stderr: args.setup.stderr, failed: None, nameless: false };
    match record::stream(&settings, args.delay, &watch, &mut printer) {
        Ok(outcome) => {
            watch.tell(&outcome, &settings);
            ExitCode::from(printer.failed.as_ref().map_or_else(|| status(&outcome), |error| failure(error, &outcome)))
        }
        Err(error) => {
            let explained = explain::record_error(&error);
            say_raw(&explained.text("stream"));
            ExitCode::from(explained.status)
        }
    }
}

/// Whoever read us has seen enough, or something is wrong.
pub(super) fn failure(error: &LiveError, outcome: &Outcome) -> u8 {
    match error {
        LiveError::Report(ReportError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => {
            outcome.ending.filter(|_| outcome.stop != record::Stop::OutputClosed).map_or(0, |_| status(outcome))
        }
        LiveError::Report(error) => {
            say!("rtrec: {error}");
            2
        }
        LiveError::Select(_) => 2,
    }
}

fn layout(args: &StreamArgs) -> Settings {
    // Threads that come and go would be in the trace.
    let mut settings = Settings { threads: 1, format: args.format, fields: args.fields.clone(), ..Settings::default() };
    settings.columns.full_time = args.full_time;
    settings.columns.latency = args.narrow;
    settings.columns.diff = args.ts_diff;
    if args.raw {
        settings.columns.raw = RawEvents::all();
    }
    settings.heading = args.format == Format::Csv;
    settings
}

/// Prints the rounds.
pub(super) struct Printer {
    pub(super) settings: Settings,
    pub(super) live: Option<Live>,
    pub(super) to_stderr: bool,
    pub(super) failed: Option<LiveError>,
    /// Lines do not say which buffer they are from.
    pub(super) nameless: bool,
}

impl Receiver for Printer {
    fn begin(&mut self, texts: StreamMetadata) {
        let mut trace = Trace::new(Abi::HOST);
        for (system, text) in &texts.formats {
            trace.formats.push(system, text);
        }
        trace.printk = PrintkFormats::new(texts.printk);
        trace.kallsyms = Kallsyms::new(texts.kallsyms);
        trace.btf = Some(texts.types).filter(|types| !types.is_empty());
        let settings = self.settings.clone();
        self.live = Some(Live::new(trace, texts.layout, settings, Selection::default(), texts.tsc2nsec));
    }

    fn round(&mut self, mut round: Round) -> bool {
        round.buffers.iter_mut().filter(|_| self.nameless).for_each(|buffer| buffer.name.clear());
        let Some(live) = &mut self.live else { return false };
        let mut text = Vec::new();
        let printed = live.round(round.buffers, round.names, round.cut, &mut text).and_then(|_| {
            let written = if self.to_stderr { io::stderr().write_all(&text) } else { write_out(&text) };
            written.map_err(|error| LiveError::Report(ReportError::Write(error)))
        });
        self.failed = printed.err();
        self.failed.is_none()
    }
}

/// Nothing is left in a buffer of ours when a round is over.
fn write_out(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush())
}
