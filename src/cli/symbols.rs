//! `rtrec symbolize` and `rtrec debuginfo`: names of addresses, and what is there to find them by.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::common::explain;
use super::common::say::{say, say_raw};
use crate::probe::{ProbeError, binaries_of};
use crate::symbols::names::{MappedFiles, NamedAddress, Names, line_of};
use crate::symbols::{Binary, SearchResult};

/// Turn addresses into functions, inlined functions and source lines
///
/// Reads lines from stdin. For a line of addresses, prints a line for each address: its function, offset and source
/// line, with inlined functions below. In folded stacks (frames joined by ; and a count at the end), replaces
/// addresses by names and leaves the rest. Addresses are those of process PID, or those in the file BINARY before it
/// is loaded. NAME+0xOFFSET is an address too, if NAME is a mapped file or BINARY.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  echo 0x401136 | rtrec symbolize ./prog\n  rtrec symbolize -p 4711 --lines < stacks.folded > named.folded"
)]
pub(super) struct SymbolizeArgs {
    /// Look addresses up in this process
    #[arg(
        short = 'p',
        long,
        value_name = "PID",
        required_unless_present = "binary",
        conflicts_with = "binary",
        help_heading = "Selection"
    )]
    pid: Option<i32>,
    /// In folded stacks: add source lines to the names
    #[arg(long, help_heading = "Layout")]
    lines: bool,
    /// Leave inlined functions out
    #[arg(long, help_heading = "Layout")]
    no_inlines: bool,
    /// Program or library in which addresses are looked up
    #[arg(value_name = "BINARY")]
    binary: Option<String>,
}

/// Show which programs and libraries have symbols and debug information
///
/// Prints for each mapped file of a process, or for each BINARY, its symbol tables, its debug information and its
/// build id. If the debug information is missing, prints the places where rtrec looked for a debug file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  rtrec debuginfo -p 4711\n  rtrec debuginfo bash libc")]
pub(super) struct DebuginfoArgs {
    /// Show the files that this process has mapped
    #[arg(short = 'p', long, value_name = "PID", required_unless_present = "binaries", help_heading = "Selection")]
    pid: Option<i32>,
    /// Programs and libraries: paths, or names as rtrec uprobe takes them
    #[arg(value_name = "BINARY")]
    binaries: Vec<String>,
}

/// Where addresses are looked up.
enum AddressSpace {
    Process(MappedFiles),
    File(PathBuf),
}

struct Resolver {
    space: AddressSpace,
    names: Names,
    cache: HashMap<(u64, bool), Option<NamedAddress>>,
    args: SymbolizeArgs,
    /// What could not be opened, reported once.
    reported_errors: Vec<String>,
}

/// Runs `rtrec symbolize`.
pub(super) fn symbolize(args: SymbolizeArgs) -> ExitCode {
    let space = match (&args.pid, &args.binary) {
        (Some(pid), _) => MappedFiles::of_process(*pid)
            .map(AddressSpace::Process)
            .map_err(|source| ProbeError::NoProcess { pid: *pid, source }),
        (None, word) => {
            binaries_of(word.as_deref().unwrap_or_default()).map(|mut paths| AddressSpace::File(paths.remove(0)))
        }
    };
    let opened = space.and_then(|space| match &space {
        AddressSpace::File(path) => Binary::open(path).map(|_| space).map_err(ProbeError::from),
        AddressSpace::Process(_) => Ok(space),
    });
    let space = match opened {
        Ok(space) => space,
        Err(error) => return refused("symbolize", &error),
    };
    let mut resolver =
        Resolver { space, names: Names::new(), cache: HashMap::new(), args, reported_errors: Vec::new() };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().split(b'\n') {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line);
        let text = resolver.line(&line);
        if writeln!(out, "{text}").is_err() {
            return ExitCode::SUCCESS;
        }
    }
    let flushed = out.flush();
    ExitCode::from(u8::from(flushed.is_ok() && !resolver.reported_errors.is_empty()))
}

fn refused(command: &str, error: &ProbeError) -> ExitCode {
    let explained = explain::probe::error(error);
    say_raw(&explained.text(command));
    ExitCode::from(explained.status)
}

impl Resolver {
    fn line(&mut self, line: &str) -> String {
        match line.rsplit_once(' ') {
            Some((stack, count)) if count.parse::<u64>().is_ok() && !is_address(stack) => {
                format!("{} {count}", self.folded(stack))
            }
            _ if line.contains(';') => self.folded(line),
            _ => {
                let words: Vec<String> = line.split_whitespace().map(|word| self.word(word)).collect();
                words.join("\n")
            }
        }
    }

    /// An address with all that is known of it.
    fn word(&mut self, word: &str) -> String {
        let Some(named) = self.address_of(word).and_then(|address| self.named(address, false)) else {
            return word.to_owned();
        };
        let text = named.text().unwrap_or_else(|| "??".to_owned());
        let mut out = format!("{word}  {text}");
        if self.args.no_inlines {
            return out;
        }
        for pair in named.frames.windows(2) {
            let name = pair[0].function.as_deref().unwrap_or("??");
            let called = line_of(&pair[1]).map_or_else(String::new, |line| format!(", called at {line}"));
            out.push_str(&format!("\n    inlined {name}{called}"));
        }
        out
    }

    fn folded(&mut self, stack: &str) -> String {
        let frames: Vec<&str> = stack.split(';').collect();
        let mut out = Vec::new();
        for (at, frame) in frames.iter().enumerate() {
            // All but the innermost are return addresses: the call is before them.
            let returns = at + 1 < frames.len();
            let named = self.address_of(frame).and_then(|address| self.named(address, returns));
            match named {
                Some(named) if named.function().is_some() => out.extend(self.frames(&named)),
                _ => out.push((*frame).to_owned()),
            }
        }
        out.join(";")
    }

    /// Names of an address, the outermost first, as folded stacks have them.
    fn frames(&self, named: &NamedAddress) -> Vec<String> {
        let skip = if self.args.no_inlines { named.frames.len() - 1 } else { 0 };
        let names = named.frames.iter().skip(skip).rev().map(|frame| {
            let name = frame.function.as_deref().unwrap_or("??").replace(';', ":");
            match line_of(frame) {
                Some(line) if self.args.lines => format!("{name} ({line})"),
                _ => name,
            }
        });
        names.collect()
    }

    /// The address that a word is, in the space that was asked for.
    fn address_of(&mut self, word: &str) -> Option<u64> {
        let bare = word.trim_start_matches('[').trim_end_matches(']');
        if let Some(address) = address(bare) {
            return Some(address);
        }
        let (file, offset) = bare.rsplit_once("+0x")?;
        let offset = u64::from_str_radix(offset, 16).ok()?;
        let is_it = |path: &Path| path == Path::new(file) || path.file_name().is_some_and(|name| name == file);
        match &self.space {
            AddressSpace::File(path) => is_it(path).then_some(offset),
            AddressSpace::Process(areas) => {
                let path = areas.files().into_iter().find(|path| is_it(path))?.to_owned();
                let start = areas.first_of(&path)?;
                let first = self.names.first_address(&path, None).ok()?;
                Some(start.wrapping_add(offset).wrapping_sub(first))
            }
        }
    }

    fn named(&mut self, address: u64, returns: bool) -> Option<NamedAddress> {
        if let Some(known) = self.cache.get(&(address, returns)) {
            return known.clone();
        }
        let wanted = if returns { address.wrapping_sub(1) } else { address };
        let named = match &self.space {
            AddressSpace::Process(areas) => areas.name(wanted, &mut self.names, &HashMap::new()),
            AddressSpace::File(path) => self.names.at(path, wanted, None).map_err(str::to_owned),
        };
        if let Err(why) = &named
            && why.contains('/')
            && !self.reported_errors.contains(why)
        {
            say!("rtrec symbolize: {why}");
            self.reported_errors.push(why.clone());
        }
        let named = named.ok();
        self.cache.insert((address, returns), named.clone());
        named
    }
}

/// A hexadecimal number: with `0x`, or so long that it is no word.
fn address(word: &str) -> Option<u64> {
    match word.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None if (6..=16).contains(&word.len()) && word.bytes().any(|b| b.is_ascii_digit()) => {
            u64::from_str_radix(word, 16).ok()
        }
        None => None,
    }
}

fn is_address(word: &str) -> bool {
    address(word).is_some() && !word.contains(';')
}

/// Runs `rtrec debuginfo`.
pub(super) fn debuginfo(args: &DebuginfoArgs) -> ExitCode {
    let mut paths = Vec::new();
    let words = args.pid.iter().map(ToString::to_string).chain(args.binaries.iter().cloned());
    for word in words {
        match binaries_of(&word) {
            Ok(more) => paths.extend(more),
            Err(error) => return refused("debuginfo", &error),
        }
    }
    let mut out = std::io::stdout().lock();
    let mut status = ExitCode::SUCCESS;
    for path in paths {
        let text = match Binary::open(&path) {
            Ok(binary) => describe(&binary),
            Err(error) => {
                say!("rtrec debuginfo: {error}");
                status = ExitCode::from(1);
                continue;
            }
        };
        if out.write_all(text.as_bytes()).is_err() {
            break;
        }
    }
    status
}

fn describe(binary: &Binary) -> String {
    let functions = binary.functions();
    let tables = functions.tables();
    let symbols = match tables {
        [] => "none".to_owned(),
        [".dynsym"] => format!("{} exported functions only", functions.all().len()),
        tables => format!("{} functions in {}", functions.all().len(), tables.join(", ")),
    };
    let dwarf = match binary.with_dwarf() {
        Some(holder) if holder.path() == binary.path() => "in the file".to_owned(),
        Some(holder) => format!("in {}", holder.path().display()),
        None => "none".to_owned(),
    };
    let id =
        binary.build_id().map_or_else(|| "none".to_owned(), |id| id.iter().map(|byte| format!("{byte:02x}")).collect());
    let mut text =
        format!("{}\n  symbols   {symbols}\n  debug     {dwarf}\n  build id  {id}\n", binary.path().display());
    if binary.with_dwarf().is_none() {
        for (path, verdict) in &binary.debug_file().tried {
            let verdict = match verdict {
                SearchResult::Missing => "not there",
                SearchResult::Unreadable => "no ELF file, or not to be read",
                SearchResult::OtherBuild => "of another build",
                SearchResult::Taken => "symbols only",
            };
            text.push_str(&format!("  looked    {}: {verdict}\n", path.display()));
        }
    }
    text
}
