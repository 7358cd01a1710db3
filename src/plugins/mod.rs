//! What events look like as text: one file per family of events, and the registry that lists them.
//!
//! Owns: the choice of a decoder for an event, the options of `-O`, and the state that depends on order ([`Tracker`]).
//! Does not own: the grammar of formats (see `wire::format`), the evaluation of `print fmt` (see `wire::print_fmt`),
//! the columns before the event's text (see `report`).
//!
//! [`FAMILIES`] is the only list of plugins. A decoder is made when the first record of its event is printed and is
//! then shared by all threads: rendering a record needs only the record and its [`Scene`].

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::symbols::names::UserNames;
use crate::wire::abi::Abi;
use crate::wire::format::{self, EventFormat, Field, FormatError, Value};
use crate::wire::print_fmt::{self, Flavor, Helper, Program, Setting, fields};
use crate::wire::record::Record;
use crate::wire::tables::{Cmdlines, Kallsyms, Names, PrintkFormats};

mod arguments;
mod field;
pub mod funcgraph;
pub mod function;
pub mod futex;
pub mod hrtimer;
pub mod jbd2;
pub mod kmem;
pub mod kvm;
pub mod latency;
pub mod mac80211;
pub mod print;
pub mod probes;
pub mod sched;
pub mod scsi;
pub mod stack;
pub mod tlb;
pub mod xen;

pub use funcgraph::mark;
pub use latency::LatencyFlags;

/// The formats of all events in a trace, parsed when first asked for.
pub struct Formats {
    abi: Abi,
    texts: Vec<u8>,
    systems: Vec<String>,
    entries: Vec<Entry>,
    /// Position in `entries` plus one, by event id.
    by_id: Vec<u32>,
}

struct Entry {
    id: u16,
    system: u32,
    start: usize,
    end: usize,
    /// Where the name is in the texts.
    name: (usize, usize),
    parsed: OnceLock<Result<EventFormat, FormatError>>,
}

impl Formats {
    /// No formats.
    pub fn new(abi: Abi) -> Formats {
        Formats { abi, texts: Vec::new(), systems: Vec::new(), entries: Vec::new(), by_id: Vec::new() }
    }

    /// Makes room for `bytes` of text.
    pub fn reserve(&mut self, bytes: usize) {
        self.texts.reserve(bytes);
    }

    /// Adds the text of one `format` file; returns its id, or `None` if the text has no name or no id. Of several
    /// formats with the same id the first counts.
    pub fn push(&mut self, system: &str, text: &[u8]) -> Option<u16> {
        let (name, id) = format::peek(text)?;
        let system = match self.systems.iter().rposition(|known| known == system) {
            Some(at) => at,
            None => {
                self.systems.push(system.to_owned());
                self.systems.len() - 1
            }
        };
        let start = self.texts.len();
        self.texts.extend_from_slice(text);
        let system = u32::try_from(system).ok()?;
        // A slice of the text, so its place in the text is that of its bytes.
        let name_at = start + (name.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
        let name = (name_at, name_at + name.len());
        self.entries.push(Entry { id, system, start, end: self.texts.len(), name, parsed: OnceLock::new() });
        if self.by_id.len() <= usize::from(id) {
            self.by_id.resize(usize::from(id) + 1, 0);
        }
        if self.by_id[usize::from(id)] == 0 {
            self.by_id[usize::from(id)] = u32::try_from(self.entries.len()).ok()?;
        }
        Some(id)
    }

    /// How many formats there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The format of event `id`.
    pub fn get(&self, id: u16) -> Option<&EventFormat> {
        self.try_get(id)?.ok()
    }

    /// The format of event `id`, or why its text was refused; `None` if there is no text.
    pub fn try_get(&self, id: u16) -> Option<Result<&EventFormat, &FormatError>> {
        let entry = self.entries.get(self.slot(id)?)?;
        let text = self.texts.get(entry.start..entry.end)?;
        let system = self.systems.get(entry.system as usize)?;
        Some(entry.parsed.get_or_init(|| EventFormat::parse(system, text, self.abi)).as_ref())
    }

    /// The event called `name` in `system`.
    pub fn find(&self, system: &str, name: &str) -> Option<u16> {
        self.iter().find(|event| event.system == system && event.name == name).map(|event| event.id)
    }

    /// All events in the order they were added, unparsed.
    pub fn iter(&self) -> impl Iterator<Item = EventText<'_>> {
        self.entries.iter().filter_map(|entry| {
            let text = self.texts.get(entry.start..entry.end)?;
            let name = self.texts.get(entry.name.0..entry.name.1)?;
            let system = self.systems.get(entry.system as usize)?;
            Some(EventText { system, name: std::str::from_utf8(name).unwrap_or(""), id: entry.id, text })
        })
    }

    /// A format whose common fields stand for those of all events.
    pub fn any(&self) -> Option<&EventFormat> {
        self.entries.iter().find_map(|entry| self.get(entry.id))
    }

    fn slot(&self, id: u16) -> Option<usize> {
        (*self.by_id.get(usize::from(id))? as usize).checked_sub(1)
    }
}

/// One event of [`Formats::iter`].
#[derive(Clone, Copy, Debug)]
pub struct EventText<'a> {
    /// Its system.
    pub system: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its id.
    pub id: u16,
    /// The text of its `format` file.
    pub text: &'a [u8],
}

/// What decoding needs to know of a trace, besides its records.
pub struct Trace {
    /// Byte order and long size of the traced kernel.
    pub abi: Abi,
    /// Formats of its events.
    pub formats: Formats,
    /// Kernel symbols.
    pub kallsyms: Kallsyms,
    /// Constant strings.
    pub printk: PrintkFormats,
    /// Names of tasks.
    pub cmdlines: Cmdlines,
    /// BTF of the kernel, if stored.
    pub btf: Option<Vec<u8>>,
    /// `uname` of the traced machine, empty if not stored.
    pub uname: String,
    /// Names of user addresses, if they are wanted.
    pub user: Option<Arc<UserNames>>,
}

impl Trace {
    /// A trace that knows nothing yet.
    pub fn new(abi: Abi) -> Trace {
        Trace {
            abi,
            formats: Formats::new(abi),
            kallsyms: Kallsyms::new(Vec::new()),
            printk: PrintkFormats::new(Vec::new()),
            cmdlines: Cmdlines::new(Vec::new()),
            btf: None,
            uname: String::new(),
            user: None,
        }
    }
}

/// Whose text to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compat {
    /// rtrec's own: trace-cmd's text except where that is plainly wrong.
    #[default]
    Rtrec,
    /// What trace-cmd 3.1 prints.
    V31,
    /// What trace-cmd 3.4 prints.
    V34,
}

/// Which plugins are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PluginSet {
    /// All.
    #[default]
    All,
    /// Those outside the system's directory, which is none of those built in (`-L`).
    NoSystem,
    /// None (`-N`).
    None,
}

/// A test on (system, event name).
type EventTest = dyn Fn(&str, &str) -> bool + Send + Sync;

/// Events whose plugin is ignored (`-n`).
#[derive(Clone, Default)]
pub struct Ignore(Option<Arc<EventTest>>);

impl Ignore {
    /// Ignores the plugin of each event for which `test(system, name)` is true.
    pub fn when(test: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Ignore {
        Ignore(Some(Arc::new(test)))
    }

    fn holds(&self, format: &EventFormat) -> bool {
        self.0.as_ref().is_some_and(|test| test(&format.system, &format.name))
    }
}

impl fmt::Debug for Ignore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Ignore(..)" } else { "Ignore" })
    }
}

/// One `-O [plugin:]var[=value]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSetting {
    /// The plugin, or any that has the option.
    pub plugin: Option<String>,
    /// The option.
    pub name: String,
    /// The value; without one a switch is turned.
    pub value: Option<String>,
}

impl PluginSetting {
    /// Reads `[plugin:]var[=value]`.
    pub fn parse(text: &str) -> PluginSetting {
        let (left, value) = match text.split_once('=') {
            Some((left, value)) => (left, Some(value.to_owned())),
            None => (text, None),
        };
        match left.split_once(':') {
            Some((plugin, name)) => PluginSetting { plugin: Some(plugin.to_owned()), name: name.to_owned(), value },
            None => PluginSetting { plugin: None, name: left.to_owned(), value },
        }
    }
}

/// How the reader wants events to look.
#[derive(Clone, Debug, Default)]
pub struct Style {
    /// Whose text.
    pub compat: Compat,
    /// Which plugins.
    pub plugins: PluginSet,
    /// Events without their plugin.
    pub ignore: Ignore,
    /// Options of plugins.
    pub options: Vec<PluginSetting>,
    /// Whether times within texts have nine digits, too (`-t`).
    pub nanoseconds: bool,
}

/// What is wrong with a [`Style`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StyleError {
    /// No plugin of that name has an option of that name.
    UnknownOption(PluginSetting),
    /// The option is a switch and the value is not 0, 1, true or false.
    BadValue(PluginSetting),
}

impl fmt::Display for StyleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, setting) = match self {
            StyleError::UnknownOption(setting) => ("no plugin has the option", setting),
            StyleError::BadValue(setting) => ("expected 0, 1, true or false for the option", setting),
        };
        match &setting.plugin {
            Some(plugin) => write!(f, "{what} {plugin}:{}", setting.name),
            None => write!(f, "{what} {}", setting.name),
        }
    }
}

impl std::error::Error for StyleError {}

/// What surrounds one record while it is printed.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The trace.
    pub trace: &'a Trace,
    /// Names of tasks.
    pub names: &'a Names<'a>,
    /// The record's number in printing order.
    pub seq: u64,
    /// The exit that is folded into this entry of the function graph.
    pub exit: Option<Record<'a>>,
    /// What this event's tracker returned.
    pub aux: u32,
}

/// State that depends on the order of records, computed in one sequential pass before they are rendered in parallel.
pub trait Tracker: Send {
    /// Looks at a record that will be printed as number `seq`; what is returned comes back as [`Scene::aux`].
    fn observe(&mut self, record: &Record<'_>, seq: u64) -> u32;
}

/// A tracker and the events it wants to see.
pub struct Tracked<'n> {
    /// Ids of events, ascending.
    pub ids: Vec<u16>,
    /// The tracker.
    pub tracker: Box<dyn Tracker + 'n>,
    /// It learns names of tasks that the file has not, and nothing else.
    pub only_names: bool,
}

/// What a plugin did with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The text is complete.
    Done,
    /// The event's own print fmt is to follow.
    Generic,
}

/// A plugin bound to the format of one event.
pub trait Plugin: Send + Sync {
    /// Appends the event's text.
    fn text(&self, record: &Record<'_>, scene: &Scene<'_>, out: &mut Vec<u8>) -> Then;
}

/// An option of a plugin.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// The plugin's name on the command line.
    pub plugin: &'static str,
    /// The option's name.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// Its value when nothing is said.
    pub default: bool,
}

/// A family of events.
pub struct Family {
    /// The plugin's name.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// Its options.
    pub options: &'static [OptionSpec],
    /// Kernel functions it teaches to print fmt.
    pub helpers: &'static [(&'static str, Helper)],
    /// Whether it is used even without plugins, because the print fmt of its events says nothing.
    pub always: bool,
    /// Binds to an event's format, or declines.
    pub bind: fn(&Context<'_>, &EventFormat) -> Option<Box<dyn Plugin>>,
}

impl Family {
    /// A family of nothing, for the fields that an entry leaves out.
    pub const NONE: Family =
        Family { name: "", about: "", options: &[], helpers: &[], always: false, bind: |_, _| None };
}

/// What a plugin may ask while it is bound.
pub struct Context<'a> {
    /// The trace.
    pub trace: &'a Trace,
    /// Whose text.
    pub compat: Compat,
    /// Whether times have nine digits.
    pub nanoseconds: bool,
    switches: &'a Switches,
}

impl Context<'_> {
    /// The value of a switch.
    pub fn on(&self, plugin: &str, name: &str) -> bool {
        self.switches.on(plugin, name)
    }
}

/// Every plugin.
pub static FAMILIES: &[Family] = &[
    funcgraph::FAMILY,
    function::FAMILY,
    sched::FAMILY,
    stack::FAMILY,
    probes::FAMILY,
    print::BPRINT,
    print::RAW_DATA,
    hrtimer::FAMILY,
    kmem::FAMILY,
    futex::FAMILY,
    mac80211::FAMILY,
    tlb::FAMILY,
    kvm::FAMILY,
    jbd2::FAMILY,
    scsi::FAMILY,
    xen::FAMILY,
];

fn helper(name: &str) -> Option<Helper> {
    let all = FAMILIES.iter().flat_map(|family| family.helpers);
    all.into_iter().find(|helper| helper.0 == name).map(|helper| helper.1)
}

/// Every option of every plugin.
pub fn options() -> impl Iterator<Item = &'static OptionSpec> {
    FAMILIES.iter().flat_map(|family| family.options)
}

/// The options as set.
struct Switches(Vec<(&'static OptionSpec, bool)>);

impl Switches {
    /// trace-cmd takes no notice of options and values it does not know.
    fn new(settings: &[PluginSetting], compat: Compat) -> Result<Switches, StyleError> {
        let strict = compat == Compat::Rtrec;
        let mut switches = Switches(options().map(|spec| (spec, spec.default)).collect());
        for setting in settings {
            let value = match setting.value.as_deref() {
                None => None,
                Some("1" | "true") => Some(true),
                Some("0" | "false") => Some(false),
                Some(_) if strict => return Err(StyleError::BadValue(setting.clone())),
                Some(_) => continue,
            };
            let mut found = false;
            for (spec, on) in &mut switches.0 {
                if spec.name == setting.name && setting.plugin.as_deref().is_none_or(|plugin| plugin == spec.plugin) {
                    *on = value.unwrap_or(!*on);
                    found = true;
                }
            }
            if !found && strict {
                return Err(StyleError::UnknownOption(setting.clone()));
            }
        }
        Ok(switches)
    }

    fn on(&self, plugin: &str, name: &str) -> bool {
        self.0.iter().any(|(spec, on)| *on && spec.plugin == plugin && spec.name == name)
    }
}

/// The decoders of a trace's events, made on first use.
pub struct Decoders<'t> {
    trace: &'t Trace,
    style: Style,
    switches: Switches,
    slots: Vec<OnceLock<Option<Box<Decoder<'t>>>>>,
    funcgraph: funcgraph::Pairing,
}

impl<'t> Decoders<'t> {
    /// Decoders for `trace` in `style`; nothing is parsed yet.
    pub fn new(trace: &'t Trace, style: Style) -> Result<Decoders<'t>, StyleError> {
        let switches = Switches::new(&style.options, style.compat)?;
        let slots = (0..trace.formats.by_id.len()).map(|_| OnceLock::new()).collect();
        let funcgraph = funcgraph::Pairing::new(trace, &style);
        Ok(Decoders { trace, style, switches, slots, funcgraph })
    }

    /// The decoder of event `id`; `None` if the trace has no readable format for it.
    #[inline]
    pub fn get(&self, id: u16) -> Option<&Decoder<'t>> {
        self.slots.get(usize::from(id))?.get_or_init(|| self.make(id).map(Box::new)).as_deref()
    }

    /// The trackers this trace needs in this style. Records that will not be printed must not be shown to them.
    pub fn trackers<'n>(&self, names: &'n Names<'n>) -> Vec<Tracked<'n>>
    where
        't: 'n,
    {
        if self.style.plugins != PluginSet::All {
            return Vec::new();
        }
        let abi = self.trace.abi;
        let formats = |system: &str, events: &[&str]| -> Vec<&EventFormat> {
            let ids = events.iter().filter_map(|event| self.trace.formats.find(system, event));
            ids.filter_map(|id| self.trace.formats.get(id)).filter(|format| !self.style.ignore.holds(format)).collect()
        };
        let sched = formats("sched", &["sched_switch", "sched_wakeup", "sched_wakeup_new"]);
        let calls = match self.switches.on("ftrace", "indent") {
            true => formats("ftrace", &["function", "func_repeats"]),
            false => Vec::new(),
        };
        let trackers = [
            (sched::learner(abi, &sched, names), true),
            (function::indenter(abi, &calls, &self.trace.kallsyms), false),
        ];
        let tracked = |((ids, tracker), only_names)| Tracked { ids, tracker, only_names };
        trackers.into_iter().filter_map(|(tracker, names)| Some(tracked((tracker?, names)))).collect()
    }

    /// Which records open and close a function, for folding leaves.
    pub fn funcgraph(&self) -> &funcgraph::Pairing {
        &self.funcgraph
    }

    /// Whether an option of a plugin is on.
    pub fn is_on(&self, plugin: &str, option: &str) -> bool {
        self.switches.on(plugin, option)
    }

    /// The style these decoders were made for.
    pub fn style(&self) -> &Style {
        &self.style
    }

    fn make(&self, id: u16) -> Option<Decoder<'t>> {
        let format = self.trace.formats.get(id)?;
        let context = Context {
            trace: self.trace,
            compat: self.style.compat,
            nanoseconds: self.style.nanoseconds,
            switches: &self.switches,
        };
        let wanted = self.style.plugins == PluginSet::All && !self.style.ignore.holds(format);
        let families = FAMILIES.iter().filter(|family| wanted || family.always);
        let bound = families.into_iter().find_map(|family| Some(((family.bind)(&context, format)?, family.always)));
        let (plugin, opaque) = bound.map_or((None, false), |(plugin, always)| (Some(plugin), always));
        let flavor = flavor(self.style.compat);
        let helpers: &dyn Fn(&str) -> Option<Helper> = match self.style.plugins {
            PluginSet::All => &helper,
            _ => &|_| None,
        };
        let program = print_fmt::compile(format, &Setting { abi: self.trace.abi, flavor, helpers });
        let flags = LatencyFlags::new(format, self.trace.abi, self.style.compat);
        Some(Decoder { format, abi: self.trace.abi, flavor, plugin, opaque, program, flags, shown: OnceLock::new() })
    }
}

/// How `print fmt` is evaluated for a style.
fn flavor(compat: Compat) -> Flavor {
    match compat {
        Compat::Rtrec => Flavor::C,
        Compat::V31 => Flavor::Lte2022,
        Compat::V34 => Flavor::Lte2026,
    }
}

/// Turns records of one event into text.
pub struct Decoder<'t> {
    format: &'t EventFormat,
    abi: Abi,
    flavor: Flavor,
    plugin: Option<Box<dyn Plugin>>,
    /// The print fmt says nothing about the fields.
    opaque: bool,
    program: Result<Program, print_fmt::Refusal>,
    flags: LatencyFlags,
    /// How fields are shown raw.
    shown: OnceLock<Vec<fields::Shown>>,
}

impl<'t> Decoder<'t> {
    /// The event's format.
    pub fn format(&self) -> &'t EventFormat {
        self.format
    }

    /// The column of latency flags.
    #[inline]
    pub fn flags(&self) -> &LatencyFlags {
        &self.flags
    }

    /// Why the event's print fmt could not be compiled, if so.
    pub fn refusal(&self) -> Option<&print_fmt::Refusal> {
        self.program.as_ref().err()
    }

    /// Appends the event's text; one newline at its end is dropped.
    pub fn text(&self, record: &Record<'_>, scene: &Scene<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        match &self.plugin {
            Some(plugin) if plugin.text(record, scene, out) == Then::Done => {}
            _ => self.generic_text(record, scene, out),
        }
        if out.len() > start && out.last() == Some(&b'\n') {
            out.pop();
        }
    }

    /// Appends the text that the event's print fmt gives, without any plugin.
    pub fn generic_text(&self, record: &Record<'_>, scene: &Scene<'_>, out: &mut Vec<u8>) {
        match &self.program {
            Ok(program) => program.run(record.data, &tables(scene), out),
            Err(_) => fields::all(self.format, record.data, self.abi, self.flavor, out),
        }
    }

    /// Appends ` name=value` for each of the event's own fields (`report -R`).
    pub fn raw_fields(&self, record: &Record<'_>, scene: &Scene<'_>, out: &mut Vec<u8>) {
        let program = self.program.as_ref().ok().filter(|_| !self.opaque);
        let shown = self.shown.get_or_init(|| fields::Shown::all(self.format, program));
        fields::raw(self.format, shown, program, (self.abi, self.flavor), record.data, &tables(scene), out);
    }

    /// The values of the event's own fields.
    pub fn field_values<'a>(&'a self, record: &Record<'a>) -> impl Iterator<Item = (&'a Field, Value<'a>)> {
        let data = record.data;
        self.format.fields.iter().map(move |field| (field, field.value(data, self.abi)))
    }
}

fn tables<'a>(scene: &Scene<'a>) -> print_fmt::Tables<'a> {
    print_fmt::Tables { kallsyms: &scene.trace.kallsyms, printk: &scene.trace.printk }
}
