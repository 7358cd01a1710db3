//! Places in the kernel: functions, tracepoints, events.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::Path;

use super::error::{Instead, ProbeError};
use super::names;
use super::spec::{Kind, Spec, Target, is_glob};
use super::{FieldValues, Probe, Resolver};
use crate::symbols::btf::Btf;
use crate::symbols::kernel_arguments::{self, Argument, FunctionPlace};
use crate::tracefs::dynamic::DefinitionFile;
use crate::tracefs::events::EventName;
use crate::tracefs::{Instance, file};
use crate::wire::abi::Abi;
use crate::wire::pattern::Pattern;

/// The kernel option that brings a kind of probe, and the file that takes it.
fn needs(kind: Kind) -> (&'static str, DefinitionFile) {
    match kind {
        Kind::Uprobe | Kind::Usdt => ("CONFIG_UPROBE_EVENTS", DefinitionFile::Uprobe),
        Kind::Kprobe => ("CONFIG_KPROBE_EVENTS", DefinitionFile::Kprobe),
        Kind::Fprobe => ("CONFIG_FPROBE_EVENTS (Linux 6.5)", DefinitionFile::Dynamic),
        Kind::Tprobe => ("CONFIG_FPROBE_EVENTS (Linux 6.5)", DefinitionFile::Dynamic),
        Kind::Eprobe => ("CONFIG_EPROBE_EVENTS (Linux 5.15)", DefinitionFile::Dynamic),
    }
}

/// The start of a definition as the kernel's own help has it.
fn in_readme(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Fprobe => &["f[:[<group>/]", "f[N][:[<group>/]"],
        Kind::Tprobe => &["t[:[<group>/]"],
        Kind::Eprobe => &["e[:[<group>/]"],
        Kind::Uprobe | Kind::Usdt | Kind::Kprobe => &[],
    }
}

pub(super) fn check_support(top: &Instance, kind: Kind) -> Result<(), ProbeError> {
    if has(top, kind) {
        return Ok(());
    }
    let (option, _) = needs(kind);
    Err(ProbeError::NoSupport { kind: kind.name(), option, instead: instead(top, kind) })
}

fn has(top: &Instance, kind: Kind) -> bool {
    let help = in_readme(kind);
    let is_listed = || {
        let readme = file::read_text(&top.top_path("README")).unwrap_or_default();
        help.iter().any(|start| readme.contains(start))
    };
    top.takes_definitions(needs(kind).1) && (help.is_empty() || is_listed())
}

/// What this kernel has in place of a missing kind.
fn instead(top: &Instance, kind: Kind) -> Vec<Instead> {
    let mut ways = Vec::new();
    if matches!(kind, Kind::Uprobe | Kind::Usdt) {
        return ways;
    }
    if kind != Kind::Fprobe && has(top, Kind::Fprobe) {
        ways.push(Instead::Fprobe);
    }
    if kind != Kind::Kprobe && has(top, Kind::Kprobe) {
        ways.push(Instead::Kprobe);
    }
    let tracers = top.available_tracers().unwrap_or_default();
    // A locked-down kernel lists the tracer, but lets nobody choose functions.
    if tracers.iter().any(|tracer| tracer == "function") && top.available_functions().is_ok() {
        ways.push(Instead::FunctionTracer);
    }
    let systems = top.event_systems().unwrap_or_default();
    if systems.iter().any(|system| system == "syscalls") {
        ways.push(Instead::SyscallEvents);
    }
    if !systems.is_empty() {
        ways.push(Instead::Events(systems.len()));
    }
    ways
}

impl Resolver {
    pub(super) fn kernel(&mut self, spec: &Spec) -> Result<Vec<Probe>, ProbeError> {
        match &spec.target {
            Target::Kernel { module, function, offset } => {
                let functions = self.functions(spec, module.as_deref(), function)?;
                self.check_count(spec, functions.len())?;
                functions.iter().map(|name| self.kernel_probe(spec, module.as_deref(), name, *offset)).collect()
            }
            Target::Tracepoint(name) => Ok(vec![self.simple(spec, "t", name.clone(), name)?]),
            Target::Event { system, event } => {
                self.check_event(system, event)?;
                Ok(vec![self.simple(spec, "e", format!("{system}.{event}"), event)?])
            }
            Target::User(..) => Ok(Vec::new()),
        }
    }

    fn kernel_probe(
        &mut self,
        spec: &Spec,
        module: Option<&str>,
        function: &str,
        offset: u64,
    ) -> Result<Probe, ProbeError> {
        let place = match offset {
            0 => function.to_owned(),
            offset => format!("{function}+{offset}"),
        };
        let stem = if offset > 0 { format!("{function}_{offset:#x}") } else { function.to_owned() };
        let shown = place.clone();
        if spec.kind == Kind::Fprobe {
            let place = if spec.returns { format!("{place}%return") } else { place };
            return self.simple(spec, "f", place, &stem);
        }
        let place = module.map_or(place.clone(), |module| format!("{module}:{place}"));
        let letter = match (spec.returns, spec.maxactive) {
            (false, _) => "p".to_owned(),
            (true, None) => "r".to_owned(),
            (true, Some(calls)) => format!("r{calls}"),
        };
        // Behind its beginning a function's parameters are anywhere.
        let arguments = match offset {
            0 => self.kernel_arguments(spec, module, function_place(spec, function))?,
            _ => Fetched::plain(&spec.arguments),
        };
        Ok(Probe {
            file: DefinitionFile::Kprobe,
            name: self.namer.name(spec, &stem),
            letter,
            place,
            arguments: arguments.texts,
            values: arguments.values,
            target: shown,
            notes: Vec::new(),
        })
    }

    /// A probe of `dynamic_events`.
    fn simple(&mut self, spec: &Spec, letter: &str, place: String, stem: &str) -> Result<Probe, ProbeError> {
        let arguments = match &spec.target {
            Target::Kernel { module, function, offset: 0 } => {
                self.kernel_arguments(spec, module.as_deref(), function_place(spec, function))?
            }
            Target::Tracepoint(name) => self.kernel_arguments(spec, None, FunctionPlace::Tracepoint(name))?,
            Target::Event { .. } => {
                let texts: Vec<String> = spec.arguments.iter().map(|argument| field_argument(argument)).collect();
                Fetched::plain(&texts)
            }
            _ => Fetched::plain(&spec.arguments),
        };
        Ok(Probe {
            file: DefinitionFile::Dynamic,
            name: self.namer.name(spec, stem),
            letter: letter.to_owned(),
            target: place.clone(),
            place,
            arguments: arguments.texts,
            values: arguments.values,
            notes: Vec::new(),
        })
    }

    /// The words for arguments in the kernel's own; all parameters where none were given and the types are known.
    fn kernel_arguments(
        &mut self,
        spec: &Spec,
        module: Option<&str>,
        place: FunctionPlace<'_>,
    ) -> Result<Fetched, ProbeError> {
        let Some(types) = self.types.of(module) else { return Ok(Fetched::plain(&spec.arguments)) };
        if spec.arguments.is_empty() {
            return Ok(Fetched::of(kernel_arguments::all(types, place).unwrap_or_default()));
        }
        let resolved = kernel_arguments::resolve(types, place, &spec.arguments);
        resolved.map(Fetched::of).map_err(|error| ProbeError::Argument {
            argument: spec.arguments.join(" "),
            place: spec.text.clone(),
            why: error.to_string(),
            known: error.known().to_vec(),
        })
    }

    fn check_event(&self, system: &str, event: &str) -> Result<(), ProbeError> {
        let name = EventName { system: system.to_owned(), event: event.to_owned() };
        if self.top.event_format(&name).is_ok() {
            return Ok(());
        }
        let word = name.to_string();
        let nearest = names::nearest(&word, self.top.event_names().iter().map(String::as_str));
        Err(ProbeError::NoEvent { word, nearest })
    }

    /// The functions that a word means; the kernel itself judges most plain names.
    fn functions(&self, spec: &Spec, module: Option<&str>, word: &str) -> Result<Vec<String>, ProbeError> {
        let traceable = match module {
            Some(module) => self.top.functions_of_module(module),
            None => self.top.available_functions(),
        }
        .unwrap_or_default();
        if is_glob(word) {
            let pattern = Pattern::glob(word).map_err(|_| unknown(word, &traceable))?;
            let mut found: Vec<String> =
                traceable.iter().filter(|name| pattern.matches(name.as_bytes())).cloned().collect();
            found.sort();
            found.dedup();
            return if found.is_empty() { Err(unknown(word, &traceable)) } else { Ok(found) };
        }
        if traceable.iter().any(|name| name == word) || !is_absent(word, module) {
            return check_blacklist(word).map(|()| vec![word.to_owned()]);
        }
        let mut error = unknown(word, &traceable);
        if let ProbeError::NoFunction { nearest, .. } = &mut error {
            let later = names::successors(word).into_iter().filter(|name| traceable.contains(name));
            *nearest = later.chain(std::mem::take(nearest)).take(6).collect();
        }
        let _ = spec;
        Err(error)
    }
}

/// A field of the event by its bare name, which the kernel wants with `$` in front.
fn field_argument(argument: &str) -> String {
    let (name, body) = match argument.split_once('=') {
        Some((name, body)) => (name, body),
        None => (argument.split([':', '(']).next().unwrap_or(argument), argument),
    };
    if !body.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return argument.to_owned();
    }
    format!("{name}=${body}")
}

/// Fetch arguments, and the names of the values of those that are enumerations.
struct Fetched {
    texts: Vec<String>,
    values: FieldValues,
}

impl Fetched {
    fn plain(arguments: &[String]) -> Self {
        Fetched { texts: arguments.to_vec(), values: Vec::new() }
    }

    fn of(arguments: Vec<Argument>) -> Self {
        let values = arguments.iter().filter_map(|argument| argument.values.clone()).collect();
        Fetched { texts: arguments.into_iter().map(|argument| argument.text).collect(), values }
    }
}

fn function_place<'f>(spec: &Spec, function: &'f str) -> FunctionPlace<'f> {
    if spec.returns { FunctionPlace::Return(function) } else { FunctionPlace::Entry(function) }
}

/// Types of the running kernel and of its modules, read when first asked for.
#[derive(Debug, Default)]
pub(super) struct Types {
    kernel: OnceCell<Option<Btf>>,
    modules: HashMap<String, Option<Btf>>,
}

impl Types {
    fn of(&mut self, module: Option<&str>) -> Option<&Btf> {
        let read = |name: &str| std::fs::read(Path::new("/sys/kernel/btf").join(name)).ok();
        let kernel = self.kernel.get_or_init(|| Btf::new(read("vmlinux")?, Abi::HOST)).as_ref()?;
        let Some(module) = module else { return Some(kernel) };
        let types = self.modules.entry(module.to_owned());
        types.or_insert_with(|| kernel.with_module(&read(module)?)).as_ref()
    }
}

fn unknown(word: &str, traceable: &[String]) -> ProbeError {
    let nearest = names::nearest(word, traceable.iter().map(String::as_str));
    ProbeError::NoFunction { word: word.to_owned(), why: "the kernel has no such function, or has inlined it", nearest }
}

/// Whether the kernel's symbols are there to be read and the name is not among them.
fn is_absent(word: &str, module: Option<&str>) -> bool {
    let Ok(text) = std::fs::read("/proc/kallsyms") else { return false };
    let tag = module.map(|module| format!("[{module}]"));
    let found = text.split(|&b| b == b'\n').any(|line| {
        let mut parts = line.split(|b| b.is_ascii_whitespace()).filter(|part| !part.is_empty()).skip(2);
        let name = parts.next().unwrap_or_default();
        name == word.as_bytes() && tag.as_ref().is_none_or(|tag| parts.next() == Some(tag.as_bytes()))
    });
    !text.is_empty() && !found
}

const BLACKLIST: &str = "/sys/kernel/debug/kprobes/blacklist";

/// The list of functions where a probe would stop the machine; there to be read only where debugfs is mounted.
fn check_blacklist(word: &str) -> Result<(), ProbeError> {
    let text = std::fs::read_to_string(Path::new(BLACKLIST)).unwrap_or_default();
    // `0xaddress-0xaddress<tab>name`
    let forbidden = text.lines().any(|line| line.split_ascii_whitespace().nth(1) == Some(word));
    if forbidden {
        return Err(ProbeError::NoFunction {
            word: word.to_owned(),
            why: "the kernel forbids probes in it, since handling a probe uses it (kprobes/blacklist in debugfs)",
            nearest: Vec::new(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracefs::Tracefs;

    fn kernel(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in files {
            std::fs::write(folder.path().join(file), text).unwrap();
        }
        folder
    }

    fn resolve(folder: &tempfile::TempDir, kind: Kind, text: &str) -> Result<Vec<String>, ProbeError> {
        let top = Tracefs::at(folder.path()).top();
        let mut resolver = Resolver::new(&top, "g".to_owned());
        Ok(resolver.resolve(&Spec::parse(kind, text).unwrap())?.iter().map(Probe::line).collect())
    }

    #[test]
    fn fields_of_events_get_the_kernel_s_mark() {
        assert_eq!(field_argument("pid"), "pid=$pid");
        assert_eq!(field_argument("pid:u16"), "pid=$pid:u16");
        assert_eq!(field_argument("x=next_comm:string"), "x=$next_comm:string");
        assert_eq!(field_argument("name=+0($filename):ustring"), "name=+0($filename):ustring");
        assert_eq!(field_argument("$comm"), "$comm");
    }

    #[test]
    fn a_kernel_without_probes_tells_what_it_has() {
        let functions = ("available_filter_functions", "vfs_read\n");
        let folder = kernel(&[("available_tracers", "function nop"), ("README", ""), functions]);
        let Err(ProbeError::NoSupport { option, instead, .. }) = resolve(&folder, Kind::Kprobe, "vfs_read") else {
            panic!()
        };
        assert_eq!(option, "CONFIG_KPROBE_EVENTS");
        assert_eq!(instead[0], Instead::FunctionTracer, "{instead:?}");
        let locked = kernel(&[("available_tracers", "function nop"), ("README", "")]);
        let Err(ProbeError::NoSupport { instead, .. }) = resolve(&locked, Kind::Kprobe, "vfs_read") else { panic!() };
        assert!(instead.is_empty(), "{instead:?}");
        let folder = kernel(&[("dynamic_events", ""), ("README", "\t           f[:[<group>/][<event>]] <func-name>")]);
        let Err(ProbeError::NoSupport { instead, .. }) = resolve(&folder, Kind::Kprobe, "x") else { panic!() };
        assert_eq!(instead[0], Instead::Fprobe, "{instead:?}");
    }

    #[test]
    fn globs_are_limited_and_unknown_functions_have_neighbours() {
        let functions = "vfs_read\nvfs_readv\nvfs_write\nzz_only_here\nzz_only_there\n";
        let folder = kernel(&[("kprobe_events", ""), ("README", ""), ("available_filter_functions", functions)]);
        let lines = resolve(&folder, Kind::Kprobe, "zz_only_*%return@8 x=%di").unwrap();
        assert_eq!(
            lines,
            ["r8:g/zz_only_here__return zz_only_here x=%di", "r8:g/zz_only_there__return zz_only_there x=%di"]
        );
        let top = Tracefs::at(folder.path()).top();
        let mut resolver = Resolver::new(&top, "g".to_owned()).limited_to(1);
        let refused = resolver.resolve(&Spec::parse(Kind::Kprobe, "zz_*").unwrap());
        assert!(matches!(refused, Err(ProbeError::TooMany { count: 2, limit: 1, .. })));
        let Err(ProbeError::NoFunction { nearest, .. }) = resolve(&folder, Kind::Kprobe, "yy_*") else { panic!() };
        assert!(nearest.is_empty());
    }
}
