//! `rtrec report`: trace.dat files as text, JSON or CSV.
//!
//! The letters are trace-cmd's. Options whose place counts (`-i`, `-F`, `-v`, `--ts-offset`, `--ts2secs`) are put in order
//! by their position on the command line.
//!
//! | file | what is inside |
//! | --- | --- |
//! | `mod.rs` | the steps: open, look for listings, print |
//! | `args` | what clap sees, and its order |
//! | `settings`, `moment` | from words to settings of reading and text; points in time as people write them |
//! | `view`, `windows` | which analysis or format is asked for; which windows |
//! | `listings` | what files hold besides records |
//!
//! Imported by `cli`; imports `cli::common` and no other subcommand. The next analysis: a line of `ANALYSES` in `view` and a flag
//! in `args`. The next list without records: in `listings`.

mod args;
mod listings;
mod moment;
mod settings;
mod view;
mod windows;

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

pub use args::ReportArgs;
use args::{FormatArg, Options, plan};

use settings::is_terminal;

use super::common::explain::{Explained, report as explain};
use super::common::pager::Pager;
use super::common::say::say;
use crate::dat::own;
use crate::plugins::REGISTRY;
use crate::report::reading::select::describe;
use crate::report::text::lists;
use crate::report::{self, Input, OwnedView, Reading, Selection, export};
use crate::symbols::names::UserNames;

/// Runs `rtrec report`.
pub fn run(args: ReportArgs) -> ExitCode {
    let mut out = Stdout { failed: None, pager: None, wants_pager: is_terminal() && !args.options.run.no_pager };
    let result = report(&args, &mut out);
    // Nobody reads what is said behind a pager.
    out.finish();
    match (result, out.failed) {
        // Whoever reads us has seen enough.
        (_, Some(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        (_, Some(error)) => {
            Explained::new("the output could not be written").row("system", error.to_string()).print("report");
            ExitCode::from(2)
        }
        (Ok(code), None) => code,
        (Err(failure), None) => {
            failure.print("report");
            ExitCode::from(2)
        }
    }
}

/// Standard output that remembers its first error.
struct Stdout {
    failed: Option<io::Error>,
    pager: Option<Pager>,
    /// One is to be started once there is something to show.
    wants_pager: bool,
}

impl Stdout {
    /// All is written: waits until a pager has shown it.
    fn finish(&mut self) {
        self.pager = None;
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.wants_pager) {
            self.pager = Pager::start();
        }
        // Sizes are ours: nothing between us and the descriptor that would cut them into lines.
        let own = io::stdout();
        let fd = self.pager.as_ref().and_then(Pager::input).unwrap_or_else(|| own.as_fd());
        match nix::unistd::write(fd, bytes) {
            Ok(n) => Ok(n),
            Err(nix::errno::Errno::EINTR) => Err(ErrorKind::Interrupted.into()),
            Err(errno) => {
                let error = io::Error::from(errno);
                self.failed = Some(io::Error::from(errno));
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lets user addresses have names, by the maps and build ids that the files store.
fn name_users(inputs: &mut [Input]) {
    for input in inputs {
        let maps: Vec<String> =
            input.dat.options.proc_maps.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
        let ids = input.dat.own_payload(own::BUILD_IDS).unwrap_or_default();
        let users = Arc::new(UserNames::new(maps.iter().map(String::as_str), &String::from_utf8_lossy(&ids)));
        if users.is_empty() && input.dat.own_payload(own::SAMPLES).is_none() {
            let tip = "so user addresses have no names (rtrec record --proc-map stores them)";
            say!("rtrec report: {} stores no memory maps, {tip}", input.path);
        }
        input.name_users(users);
    }
}

/// The durations of the calls in a file, as `rtrec report --latency` tells them.
pub(in crate::cli) fn durations(path: &Path, threshold: Option<u64>, json: bool) -> ExitCode {
    let mut options = Options::default();
    options.analysis.latency = true;
    options.files.files = vec![path.to_owned()];
    options.analysis.window.threshold = threshold;
    if json {
        options.layout.format = export::named("json").map_or(FormatArg::Text, FormatArg::Export);
    }
    run(ReportArgs { options, placed: Vec::new() })
}

fn report(args: &ReportArgs, out: &mut Stdout) -> Result<ExitCode, Explained> {
    let options = &args.options;
    let plan = plan(args)?;
    let mut inputs = Vec::new();
    for path in &plan.paths {
        inputs.push(open(path)?);
    }
    if let Some(path) = &options.files.kallsyms {
        add_symbols(&mut inputs, path)?;
    }
    if options.files.user_symbols {
        name_users(&mut inputs);
    }
    let settings = settings::read_settings(options, &plan)?;
    let windows = options.shows_windows().then(|| windows::window_settings(options, &inputs)).transpose()?;
    let compat = settings.style.compat;
    let mut view = view::view(options, compat, windows)?;
    // Errors of writing are kept in `out`.
    if let Some(code) = listings::file_lists(options, &inputs, out)? {
        return Ok(code);
    }
    let selection = settings::selection(options, &plan)?;
    if options.shows_windows()
        && !(selection.comms.is_empty() && selection.filters.is_empty() && selection.events.is_empty())
    {
        return Err(Explained::new("windows need all records of the file")
            .row("try", "--pid PID for the windows of a thread or process, --min and --top for fewer of them"));
    }
    if options.lists.filter_test {
        let lines = describe(&inputs, &selection, compat).map_err(|error| explain::selection(&error))?;
        for line in lines {
            let _ = writeln!(out, " '{line}'");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let reading = Reading::new(inputs, REGISTRY, settings, &Selection::default());
    let mut reading = reading.map_err(|error| explain::error(error.into()))?;
    if options.lists.cpus || options.lists.first_event || options.lists.last_event {
        let _ = lists::cpus(
            reading.opened(),
            (options.lists.first_event, options.lists.last_event),
            options.layout.full_time,
            out,
        );
        return Ok(ExitCode::SUCCESS);
    }
    print_records(options, &mut reading, selection, &mut view, out)
}

fn print_records(
    options: &Options,
    reading: &mut Reading,
    mut selection: Selection,
    view: &mut OwnedView,
    out: &mut Stdout,
) -> Result<ExitCode, Explained> {
    let time = |text: &Option<String>| text.as_ref().map(|text| moment::resolve(text, reading.opened())).transpose();
    selection.from = time(&options.select.from)?.unwrap_or(0);
    let to = time(&options.select.to)?;
    reading.select(&selection, to).map_err(|error| explain::error(error.into()))?;
    let outcome = report::print(reading, view.view(), out).map_err(explain::error)?;
    out.finish();
    if options.run.quiet {
        return Ok(ExitCode::SUCCESS);
    }
    let inputs = reading.opened().inputs;
    for missing in inputs.iter().filter_map(|input| input.trace.user.as_ref()).flat_map(|users| users.missing()) {
        say!("rtrec report: no names: {missing}");
    }
    for (file, note) in &outcome.notes {
        say!("rtrec report: {}: {note}", inputs[*file].path);
    }
    Ok(if outcome.notes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn open(path: &Path) -> Result<Input, Explained> {
    let opened = match path.as_os_str() == "-" {
        true => Input::from_pipe(&mut io::stdin().lock(), "-"),
        false => Input::open(path),
    };
    opened.map_err(|error| {
        let failure = Explained::new(format!("{} could not be read", path.display())).row("reason", error.to_string());
        let cpu0 = path.with_file_name(format!(
            "{}.cpu0",
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        ));
        if cpu0.exists() {
            failure.row("note", format!("{} exists: the recording is going on, or was killed", cpu0.display()))
        } else {
            failure
        }
    })
}

fn add_symbols(inputs: &mut [Input], path: &Path) -> Result<(), Explained> {
    let more = fs::read(path).map_err(|error| {
        Explained::new(format!("{} could not be read", path.display())).row("reason", error.to_string())
    })?;
    inputs.iter_mut().for_each(|input| input.add_symbols(&more));
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use std::path::PathBuf;

    use super::args::Plan;
    use super::settings::cpu_list;
    use super::*;

    #[derive(Parser, Debug)]
    struct Cli {
        #[command(flatten)]
        report: ReportArgs,
    }

    fn planned(line: &str) -> Plan {
        let words = line.split(' ').filter(|word| !word.is_empty());
        plan(&Cli::parse_from(["report"].into_iter().chain(words)).report)
            .unwrap_or_else(|failure| panic!("{}", failure.what()))
    }

    #[test]
    fn filters_belong_to_the_file_before_them_and_invert_after_v() {
        let plan = planned("-F a -i one -F b -v -F c -i two --ts-offset -5 -F d");
        let told: Vec<_> = plan.filters.iter().map(|f| (f.text.as_str(), f.negative, f.file)).collect();
        assert_eq!(told, [("a", false, None), ("b", false, Some(0)), ("c", true, Some(0)), ("d", true, Some(1))]);
        assert_eq!(plan.offsets, [0, -5]);
        assert_eq!(planned("--ts2secs 100 x y").hz, [Some(100), Some(100)]);
        assert_eq!(planned("").paths, [PathBuf::from("trace.dat")]);
    }

    #[test]
    fn clap_finds_nothing_wrong_with_the_arguments() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(cpu_list("0,2-4"), Some(vec![0, 2, 3, 4]));
        assert_eq!(cpu_list("4-2"), None);
    }
}
