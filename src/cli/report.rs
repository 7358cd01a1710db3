//! `rtrec report`: trace.dat files as text.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::plugins::{Compat, PluginSet};
use crate::report::{self, Gate, Input, ReportError, Settings};

/// Arguments of `rtrec report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// File to read; may be repeated
    #[arg(short = 'i', value_name = "FILE")]
    pub input: Vec<PathBuf>,
    /// Files to read
    #[arg(value_name = "FILES")]
    pub files: Vec<PathBuf>,
    /// Use no plugins at all
    #[arg(short = 'N')]
    pub no_plugins: bool,
    /// Print nine digits of time
    #[arg(short = 't')]
    pub full_time: bool,
    /// Print what this version of trace-cmd prints
    #[arg(long, value_parser = ["3.1", "3.4"])]
    pub compat: Option<String>,
    /// Threads to use
    #[arg(long)]
    pub threads: Option<usize>,
}

/// Runs `rtrec report`.
pub fn run(args: ReportArgs) -> ExitCode {
    let mut paths = args.input.clone();
    paths.extend(args.files.iter().cloned());
    if paths.is_empty() {
        paths.push("trace.dat".into());
    }
    let mut inputs = Vec::new();
    for path in &paths {
        match Input::open(path) {
            Ok(input) => inputs.push(input),
            Err(error) => {
                eprintln!("rtrec report: {} could not be opened\n  {error}", path.display());
                return ExitCode::from(2);
            }
        }
    }
    let mut settings = Settings::default();
    if let Some(n) = args.threads {
        settings.threads = n.max(1);
    }
    settings.columns.full_time = args.full_time;
    settings.style.compat = match args.compat.as_deref() {
        Some("3.1") => Compat::V31,
        Some("3.4") => Compat::V34,
        _ => Compat::Rtrec,
    };
    if args.no_plugins {
        settings.style.plugins = PluginSet::None;
    }
    let names = report::names(&inputs);
    let result = report::lanes(&inputs, &names, &settings).and_then(|lanes| {
        let gate = Gate { open: true, ..Gate::default() };
        report::run(&inputs, &lanes, gate, &settings, &mut io::stdout().lock())
    });
    match result {
        Ok(outcome) => {
            for (file, note) in &outcome.notes {
                eprintln!("rtrec report: {} {note}", inputs[*file].path);
            }
            if outcome.notes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(ReportError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rtrec report: {error}");
            ExitCode::from(2)
        }
    }
}
