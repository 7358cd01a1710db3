//! Options whose meaning depends on those before them: from the order of the command line to settings.

use clap::ArgMatches;

use super::args::{RecordArgs, SetupArgs};
use crate::dat::chunks::Compression;
use crate::probe::{Kind, Spec};
use crate::record::{FileVersion, ReaderChoice, Settings, configured_cpus};
use crate::setup::{self, BufferSettings, EventSettings, FunctionOff, FunctionWord};

/// An option whose meaning depends on those before it.
enum OrderedArg {
    Instance(String),
    Event(String),
    Probe(Kind, String),
    Filter(String),
    Trigger(String),
    Invert,
    Tracer(String),
    Function(String),
    Notrace(String),
    Graph(String),
    Module(String),
    Option(String),
    Size(u64),
    SubbufSize(u64),
    Clock(String),
    Pid(i32),
    Mask(String),
    Depth(u32),
    Profile,
    Hook(String),
    ProcMap,
}

/// All of them in the order of the command line.
fn in_order(args: &SetupArgs, proc_map: &[bool], matches: &ArgMatches) -> Vec<OrderedArg> {
    let mut all: Vec<(usize, OrderedArg)> = Vec::new();
    fn add<T: Clone>(
        all: &mut Vec<(usize, OrderedArg)>,
        matches: &ArgMatches,
        id: &str,
        values: &[T],
        make: impl Fn(T) -> OrderedArg,
    ) {
        if values.is_empty() {
            return;
        }
        let places = matches.indices_of(id).into_iter().flatten();
        all.extend(places.zip(values).map(|(place, value)| (place, make(value.clone()))));
    }
    add(&mut all, matches, "instance", &args.instance, OrderedArg::Instance);
    add(&mut all, matches, "event", &args.event, OrderedArg::Event);
    let probes = &args.probes;
    for (id, specs, kind) in [
        ("kprobe", &probes.kprobe, Kind::Kprobe),
        ("uprobe", &probes.uprobe, Kind::Uprobe),
        ("usdt", &probes.usdt, Kind::Usdt),
        ("fprobe", &probes.fprobe, Kind::Fprobe),
        ("tprobe", &probes.tprobe, Kind::Tprobe),
        ("eprobe", &probes.eprobe, Kind::Eprobe),
    ] {
        add(&mut all, matches, id, specs, |spec| OrderedArg::Probe(kind, spec));
    }
    add(&mut all, matches, "filter", &args.filter, OrderedArg::Filter);
    add(&mut all, matches, "trigger", &args.trigger, OrderedArg::Trigger);
    add(&mut all, matches, "invert", &args.invert, |_| OrderedArg::Invert);
    add(&mut all, matches, "tracer", &args.tracer, OrderedArg::Tracer);
    add(&mut all, matches, "function", &args.function, OrderedArg::Function);
    add(&mut all, matches, "notrace", &args.notrace, OrderedArg::Notrace);
    add(&mut all, matches, "graph_function", &args.graph_function, OrderedArg::Graph);
    add(&mut all, matches, "module", &args.module, OrderedArg::Module);
    add(&mut all, matches, "option", &args.option, OrderedArg::Option);
    add(&mut all, matches, "stacktrace", &args.stacktrace, |_| OrderedArg::Option("stacktrace".to_owned()));
    add(&mut all, matches, "buffer_size", &args.buffer_size, OrderedArg::Size);
    add(&mut all, matches, "subbuf_size", &args.subbuf_size, OrderedArg::SubbufSize);
    add(&mut all, matches, "clock", &args.clock, OrderedArg::Clock);
    add(&mut all, matches, "pid", &args.pid, OrderedArg::Pid);
    add(&mut all, matches, "cpumask", &args.cpumask, OrderedArg::Mask);
    add(&mut all, matches, "max_graph_depth", &args.max_graph_depth, OrderedArg::Depth);
    add(&mut all, matches, "profile", &args.profile, |_| OrderedArg::Profile);
    add(&mut all, matches, "hook", &args.hook, OrderedArg::Hook);
    add(&mut all, matches, "proc_map", proc_map, |_| OrderedArg::ProcMap);
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, ordered_args)| ordered_args).collect()
}

/// The buffers as the options so far have made them.
struct Buffers {
    all: Vec<BufferSettings>,
    current: usize,
    invert: bool,
    /// A `-v` with no `-e` after it.
    unused_invert: bool,
    /// The module of the functions that follow, and whether there were any.
    module: Option<(String, bool)>,
    graph_functions: Vec<FunctionWord>,
    hooks: Vec<String>,
    /// Buffers with `--profile`.
    profiles: Vec<usize>,
}

impl Buffers {
    fn of(ordered_args: Vec<OrderedArg>) -> Result<Buffers, String> {
        let mut buffers = Buffers {
            all: vec![BufferSettings::default()],
            current: 0,
            invert: false,
            unused_invert: false,
            module: None,
            graph_functions: Vec::new(),
            hooks: Vec::new(),
            profiles: Vec::new(),
        };
        ordered_args.into_iter().try_for_each(|option| buffers.apply(option))?;
        buffers.end_module();
        Ok(buffers)
    }

    fn apply(&mut self, option: OrderedArg) -> Result<(), String> {
        let buffer = &mut self.all[self.current];
        match option {
            OrderedArg::Instance(name) => self.select_instance(name),
            OrderedArg::Event(word) => {
                self.unused_invert &= !self.invert;
                buffer.events.push(EventSettings { word, disable: self.invert, ..Default::default() });
            }
            OrderedArg::Probe(kind, spec) => {
                self.unused_invert &= !self.invert;
                if self.invert {
                    return Err(format!("-v switches events off; the probe {spec} would never be on"));
                }
                let probe = Spec::parse(kind, &spec).map_err(|error| error.to_string())?;
                buffer.events.push(EventSettings { word: spec, probe: Some(probe), ..Default::default() });
            }
            OrderedArg::Filter(filter) => {
                let event = buffer.events.last_mut().ok_or("-f is the filter of an event; put it after an -e")?;
                event.filter = Some(joined(event.filter.take(), &filter));
            }
            OrderedArg::Trigger(trigger) => {
                let event = buffer.events.last_mut().ok_or("-R is the trigger of an event; put it after an -e")?;
                event.triggers.push(trigger);
            }
            OrderedArg::Invert => (self.invert, self.unused_invert) = (true, true),
            OrderedArg::Tracer(tracer) => {
                if buffer.tracer.replace(tracer.trim().to_owned()).is_some() {
                    return Err("a buffer has one tracer; -p was given twice".to_owned());
                }
            }
            OrderedArg::Function(word) => buffer.function_filters.push(of_module(word, &mut self.module)),
            OrderedArg::Notrace(word) => buffer.function_notrace.push(of_module(word, &mut self.module)),
            OrderedArg::Graph(word) => self.graph_functions.push(of_module(word, &mut self.module)),
            OrderedArg::Module(module) => {
                self.end_module();
                self.module = Some((module, false));
            }
            OrderedArg::Option(option) => buffer.options.push(option),
            OrderedArg::Size(size_kb) => buffer.size_kb = Some(size_kb),
            OrderedArg::SubbufSize(size_kb) => buffer.subbuf_size_kb = Some(size_kb),
            OrderedArg::Clock(clock) => buffer.clock = Some(clock),
            OrderedArg::Pid(pid) => buffer.pids.push(pid),
            OrderedArg::Mask(mask) => buffer.cpumask = Some(cpumask(&mask)?),
            OrderedArg::Depth(depth) => buffer.max_graph_depth = Some(depth),
            OrderedArg::Profile => self.profiles.push(self.current),
            OrderedArg::Hook(hook) => {
                buffer.events.extend(hook_events(&hook)?);
                self.hooks.push(hook);
            }
            OrderedArg::ProcMap => buffer.proc_map = true,
        }
        Ok(())
    }

    /// Makes an instance the current one.
    fn select_instance(&mut self, name: String) {
        self.end_module();
        let known = self.all.iter().position(|buffer| buffer.instance.as_deref() == Some(name.as_str()));
        self.current = known.unwrap_or(self.all.len());
        if known.is_none() {
            self.all.push(BufferSettings { instance: Some(name), ..Default::default() });
        }
        self.invert = false;
    }

    /// A module of which no function was named stands for all its functions.
    fn end_module(&mut self) {
        if let Some((module, false)) = self.module.take() {
            let all = FunctionWord { word: "*".to_owned(), module: Some(module) };
            self.all[self.current].function_filters.push(all);
        }
    }
}

fn of_module(word: String, module: &mut Option<(String, bool)>) -> FunctionWord {
    let module = module.as_mut().map(|(name, used)| {
        *used = true;
        name.clone()
    });
    FunctionWord { word, module }
}

/// The two events of a hook.
fn hook_events(hook: &str) -> Result<Vec<EventSettings>, String> {
    let bad = || format!("{hook:?} is no hook; write [SYSTEM:]EVENT,FIELD[,PID]/[SYSTEM:]EVENT,FIELD[,FLAGS]");
    let (start, end) = hook.split_once('/').ok_or_else(bad)?;
    let event = |side: &str| {
        let parts: Vec<&str> = side.split(',').collect();
        let named = (2..=3).contains(&parts.len()) && parts.iter().all(|part| !part.is_empty());
        named.then(|| EventSettings { word: parts[0].to_owned(), ..Default::default() }).ok_or_else(bad)
    };
    let events = vec![event(start)?, event(end)?];
    let flags = end.split(',').nth(2).unwrap_or_default();
    if !flags.bytes().all(|flag| b"pPsSgG".contains(&flag)) {
        return Err(format!("{flags:?} are no flags of a hook; there are p, s and g"));
    }
    Ok(events)
}

/// What a profile is made of. What a kernel lacks is left out.
fn add_profile(buffer: &mut BufferSettings) {
    if buffer.tracer.is_none() {
        buffer.tracer = Some("function_graph".to_owned());
        buffer.optional_tracer = true;
        buffer.max_graph_depth.get_or_insert(1);
    }
    let event = |word: &str, triggers: &[&str]| EventSettings {
        word: word.to_owned(),
        optional: true,
        triggers: triggers.iter().map(|&trigger| trigger.to_owned()).collect(),
        ..Default::default()
    };
    buffer.events.extend([
        event("sched:sched_switch", &["stacktrace"]),
        event("sched:sched_wakeup", &["stacktrace"]),
        event("exceptions:page_fault_user", &[]),
        event("irq:irq_handler_entry", &[]),
        event("irq:irq_handler_exit", &[]),
        event("irq:softirq_entry", &[]),
        event("irq:softirq_exit", &[]),
        event("irq:softirq_raise", &[]),
        event("sched:sched_process_exec", &[]),
        event("raw_syscalls", &[]),
    ]);
}

/// What the options of the set-up say, and whether a `-v` asks for more words; an error is a sentence.
pub(in crate::cli) fn setup(
    args: &SetupArgs,
    proc_map: &[bool],
    matches: &ArgMatches,
) -> Result<(Settings, bool), String> {
    args.refused.reason()?;
    let mut buffers = Buffers::of(in_order(args, proc_map, matches))?;
    if args.profile_listed && buffers.profiles.is_empty() {
        return Err("-S belongs to --profile".to_owned());
    }
    if !args.profile_listed {
        buffers.profiles.iter().for_each(|at| add_profile(&mut buffers.all[*at]));
    }
    let mut all = buffers.all;
    // The first clock is the default of all instances.
    let clock = all.iter().find_map(|buffer| buffer.clock.clone());
    all.iter_mut().for_each(|buffer| buffer.clock = buffer.clock.take().or_else(|| clock.clone()));
    let setup = setup::Settings {
        tracefs: args.tracefs.clone(),
        buffers: all,
        graph_functions: buffers.graph_functions,
        only_command: args.only_command,
        follow_children: args.follow_children,
        exact_names: args.exact,
        ignore_unknown_events: args.ignore_unknown,
        func_stack: args.func_stack,
        function_off: match (args.no_functions_at_all, args.no_function_trace) {
            (true, _) => Some(FunctionOff::Both),
            (_, true) => Some(FunctionOff::Option),
            _ => None,
        },
        no_filter: args.no_filter,
        cmdlines_size: args.cmdlines_size,
        tsc2nsec: args.tsc2nsec,
        all_functions: args.all_functions,
        max_probes: args.probes.max_probes,
        ..setup::Settings::default()
    };
    let mut settings = Settings { setup, ..Settings::default() };
    settings.along.hooks = buffers.hooks;
    settings.capture.command = args.command.clone();
    settings.capture.user = args.user.clone();
    settings.capture.duration = args.duration;
    settings.capture.pace.interval = args.interval.map(std::time::Duration::from_micros);
    settings.capture.pace.priority = args.priority;
    if settings.setup.only_command && settings.capture.command.is_empty() {
        return Err("-F traces the command only, but there is no command".to_owned());
    }
    if settings.capture.user.is_some() && settings.capture.command.is_empty() {
        return Err("--user is whom the command runs as, but there is no command".to_owned());
    }
    Ok((settings, buffers.unused_invert))
}

/// What the options of `record` say; an error is a sentence.
pub(super) fn settings(args: &RecordArgs, matches: &ArgMatches) -> Result<(Settings, bool), String> {
    if args.tcp {
        return Err(
            "-t is refused: it is the protocol of -N, and recording over the network is not there yet".to_owned()
        );
    }
    let (mut settings, unused_invert) = setup(&args.setup, &args.proc_map, matches)?;
    if args.file_version == FileVersion::V6 && args.compression.is_some_and(|wanted| wanted != Compression::None) {
        return Err("--compression needs --file-version 7: files of version 6 are never compressed".to_owned());
    }
    if args.inside.keeps_slow_only() && args.limits.rotates() {
        return Err(
            "--rotate cuts what readers take, but only slow windows are kept; --tail and --max-size bound those"
                .to_owned(),
        );
    }
    if args.file_version == FileVersion::V6 && args.limits.rotates() {
        return Err("--rotate needs --file-version 7: files of version 6 are made from a complete one".to_owned());
    }
    if args.date && args.ts_offset.is_some() {
        return Err("--date and --ts-offset both say what to add to times; give one of them".to_owned());
    }
    let whose = settings.capture.command.is_empty() && settings.setup.pids().next().is_none();
    if whose && settings.setup.buffers.iter().any(|buffer| buffer.proc_map) {
        return Err("--proc-map stores the maps of a command or of -P, but there is neither".to_owned());
    }
    settings.file.output = args.output.clone();
    settings.file.mode = Some(args.mode);
    settings.file.temp = args.temp.clone();
    settings.file.version = args.file_version;
    settings.file.compression = match args.file_version {
        FileVersion::V6 => Compression::None,
        FileVersion::V7 => args.compression.unwrap_or(Compression::Zstd),
    };
    settings.file.all_formats = args.all_formats;
    settings.along.date = args.date;
    settings.along.ts_offset = args.ts_offset;
    settings.setup.keep_before = args.keep_before;
    settings.keep = args.keep || args.keep_before;
    settings.capture.limits = args.limits.settings(u64::from(configured_cpus()));
    settings.capture.reader = if args.nosplice { ReaderChoice::Read } else { args.reader.unwrap_or_default() };
    settings.capture.pace.poll = args.poll;
    Ok((settings, unused_invert))
}

/// `a`, then `(a)&&(b)`, as trace-cmd joins the filters of one event.
fn joined(before: Option<String>, filter: &str) -> String {
    match before {
        None => filter.to_owned(),
        Some(before) if before.contains("&&(") => format!("{before}&&({filter})"),
        Some(before) => format!("({before})&&({filter})"),
    }
}

/// `tracing_cpumask` takes hex digits; all ones stand for every CPU.
fn cpumask(mask: &str) -> Result<String, String> {
    if mask == "-1" {
        let count = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_CONF).ok().flatten().unwrap_or(1);
        let groups = (count as usize).div_ceil(32);
        let last = count as usize - (groups - 1) * 32;
        let first = if last >= 32 { u32::MAX } else { (1u32 << last) - 1 };
        let rest = std::iter::repeat_n(format!("{:08x}", u32::MAX), groups - 1);
        return Ok(std::iter::once(format!("{first:x}")).chain(rest).collect::<Vec<_>>().join(","));
    }
    let digits = mask.trim_start_matches("0x");
    let fits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit() || b == b',');
    fits.then(|| digits.to_owned())
        .ok_or_else(|| format!("{mask:?} is no mask of CPUs; write it in hex, or -1 for all"))
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    fn parse(line: &str) -> Result<(Settings, bool), String> {
        let words = std::iter::once("record").chain(line.split_whitespace());
        let matches =
            RecordArgs::augment_args(Command::new("record")).try_get_matches_from(words).map_err(|e| e.to_string())?;
        settings(&RecordArgs::from_arg_matches(&matches).unwrap(), &matches)
    }

    #[test]
    fn filters_and_triggers_belong_to_the_event_before_them() {
        let (settings, _) = parse("-e a -f x==1 -f y==2 -f z==3 -e b -R stacktrace -e c cmd").unwrap();
        let events = &settings.setup.buffers[0].events;
        assert_eq!(events[0].filter.as_deref(), Some("(x==1)&&(y==2)&&(z==3)"));
        assert_eq!(
            (events[1].filter.as_deref(), events[1].triggers.as_slice()),
            (None, &["stacktrace".to_owned()][..])
        );
        assert!(events[2].filter.is_none() && events[2].triggers.is_empty());
        assert!(parse("-f x==1 -e a cmd").is_err() && parse("-R x -e a cmd").is_err());
    }

    #[test]
    fn an_instance_takes_the_options_behind_it() {
        let (settings, _) =
            parse("-e a -b 64 -B one -e b -p function -C mono -B two -e c -b 1M -B one -e d cmd").unwrap();
        let [top, one, two] = &settings.setup.buffers[..] else { panic!() };
        assert_eq!((top.size_kb, one.size_kb, two.size_kb), (Some(64), None, Some(1024)));
        assert_eq!((one.instance.as_deref(), two.instance.as_deref()), (Some("one"), Some("two")));
        assert_eq!(one.events.iter().map(|event| event.word.as_str()).collect::<Vec<_>>(), ["b", "d"]);
        assert_eq!(one.tracer.as_deref(), Some("function"));
        assert!([top, one, two].iter().all(|buffer| buffer.clock.as_deref() == Some("mono")));
    }

    #[test]
    fn v_inverts_what_follows_until_the_next_instance() {
        let (settings, verbose) = parse("-e a -v -e b -B x -e c cmd").unwrap();
        assert!(!settings.setup.buffers[0].events[0].disable && settings.setup.buffers[0].events[1].disable);
        assert!(!settings.setup.buffers[1].events[0].disable && !verbose);
        let (settings, verbose) = parse("-e a -v cmd").unwrap();
        assert!(
            !settings.setup.buffers[0].events[0].disable && verbose,
            "with nothing to invert it asks for more words"
        );
    }

    #[test]
    fn a_module_restricts_the_functions_behind_it() {
        let (settings, _) = parse("-l a --module ext4 -l b -n c -g d --module xfs --module nfs -B x -l e cmd").unwrap();
        let shown = |words: &[FunctionWord]| -> Vec<String> {
            words.iter().map(|w| format!("{}:{}", w.word, w.module.as_deref().unwrap_or("-"))).collect()
        };
        let [top, x] = &settings.setup.buffers[..] else { panic!() };
        assert_eq!(shown(&top.function_filters), ["a:-", "b:ext4", "*:xfs", "*:nfs"]);
        assert_eq!(shown(&top.function_notrace), ["c:ext4"]);
        assert_eq!(shown(&settings.setup.graph_functions), ["d:ext4"]);
        assert_eq!(shown(&x.function_filters), ["e:-"]);
    }

    #[test]
    fn a_profile_brings_its_events_unless_they_are_listed() {
        let (settings, _) = parse("-B x --profile cmd").unwrap();
        let [top, x] = &settings.setup.buffers[..] else { panic!() };
        assert!(top.events.is_empty() && x.events.iter().any(|event| event.word == "raw_syscalls"));
        assert_eq!((x.tracer.as_deref(), x.max_graph_depth), (Some("function_graph"), Some(1)));
        let (settings, _) = parse("--profile -p function -l f cmd").unwrap();
        assert_eq!(
            (settings.setup.buffers[0].tracer.as_deref(), settings.setup.buffers[0].max_graph_depth),
            (Some("function"), None)
        );
        let (settings, _) = parse("--profile -S -H a:b,c/d,e cmd").unwrap();
        let words: Vec<&str> = settings.setup.buffers[0].events.iter().map(|event| event.word.as_str()).collect();
        assert_eq!(words, ["a:b", "d"]);
        assert_eq!(settings.along.hooks, ["a:b,c/d,e"]);
    }

    #[test]
    fn options_behind_the_command_are_the_commands() {
        let (settings, _) = parse("-e sched ls -l -e --verbose -- -o x").unwrap();
        assert_eq!(settings.capture.command, ["ls", "-l", "-e", "--verbose", "--", "-o", "x"]);
        assert_eq!(settings.setup.buffers[0].events.len(), 1);
        let (settings, _) = parse("-esched -p function -- -odd-name -x").unwrap();
        assert_eq!(settings.capture.command, ["-odd-name", "-x"]);
        assert!(parse("-e sched --no-such-option ls").is_err());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        assert!(parse("-p function -p nop cmd").is_err());
        assert!(parse("-e a -F").is_err());
        assert!(parse("-e a -M xyz cmd").is_err());
        assert!(parse("-e a -b 0 cmd").is_err());
        assert!(parse("-e a -P x cmd").is_err());
        assert_eq!(parse("-e a -P 1,2 -P 3 cmd").unwrap().0.setup.buffers[0].pids, [1, 2, 3]);
        assert_eq!(parse("-e a -M 0x3 cmd").unwrap().0.setup.buffers[0].cpumask.as_deref(), Some("3"));
    }
}
