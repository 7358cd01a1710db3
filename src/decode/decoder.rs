//! From the bytes of a record to text.
//!
//! A decoder is made when the first record of its event is printed and is then shared by all threads: rendering a record
//! needs only the record and its [`Scene`].

use std::sync::{Arc, OnceLock};

use super::flags::LatencyFlags;
use super::pairing::Pairing;
use super::plugin::{Context, Plugin, Registry, Scene, Switches, Then, Tracked};
use super::style::{PluginSet, Style, StyleError};
use super::trace::Trace;
use crate::wire::abi::Abi;
use crate::wire::format::{EventFormat, Field, Value};
use crate::wire::print_fmt::{self, Environment, Flavor, Helper, Program, fields};
use crate::wire::record::Record;

/// The decoders of a trace's events, made on first use.
pub struct Decoders {
    trace: Arc<Trace>,
    registry: Registry,
    style: Style,
    switches: Switches,
    slots: Vec<OnceLock<Option<Box<Decoder>>>>,
    pairing: Pairing,
}

impl Decoders {
    /// Decoders for `trace` in `style` with the plugins of `registry`; nothing is parsed yet.
    pub fn new(trace: Arc<Trace>, registry: Registry, style: Style) -> Result<Decoders, StyleError> {
        let switches = Switches::new(registry, &style)?;
        let slots = (0..trace.formats.id_bound()).map(|_| OnceLock::new()).collect();
        let mut decoders = Decoders { trace, registry, style, switches, slots, pairing: Pairing::default() };
        if decoders.style.plugins == PluginSet::All {
            let families = registry.families.iter();
            let pairings = families.map(|family| (family.pairing)(&decoders.context()));
            decoders.pairing = pairings.fold(Pairing::default(), Pairing::and);
        }
        Ok(decoders)
    }

    /// The decoder of event `id`; `None` if the trace has no readable format for it.
    #[inline]
    pub fn get(&self, id: u16) -> Option<&Decoder> {
        self.slots.get(usize::from(id))?.get_or_init(|| self.make(id).map(Box::new)).as_deref()
    }

    /// The trackers this trace needs in this style. Records that will not be printed must not be shown to them.
    pub fn trackers(&self) -> Vec<Tracked> {
        if self.style.plugins != PluginSet::All {
            return Vec::new();
        }
        let context = self.context();
        self.registry.families.iter().filter_map(|family| (family.tracker)(&context)).collect()
    }

    /// Which records open and close a function, for folding leaves.
    pub fn pairing(&self) -> &Pairing {
        &self.pairing
    }

    /// Whether an option of a plugin is on.
    pub fn is_on(&self, plugin: &str, option: &str) -> bool {
        self.switches.on(plugin, option)
    }

    /// The style these decoders were made for.
    pub fn style(&self) -> &Style {
        &self.style
    }

    fn context(&self) -> Context<'_> {
        Context {
            trace: &self.trace,
            compat: self.style.compat,
            nanoseconds: self.style.nanoseconds,
            style: &self.style,
            switches: &self.switches,
        }
    }

    fn make(&self, id: u16) -> Option<Decoder> {
        let format = self.trace.formats.shared(id)?;
        let wanted = self.style.plugins == PluginSet::All && !self.style.ignore.holds(&format);
        let context = self.context();
        let mut families = self.registry.families.iter().filter(|family| wanted || family.always);
        let bound = families.find_map(|family| Some(((family.bind)(&context, &format)?, family.always)));
        let (plugin, opaque) = bound.map_or((None, false), |(plugin, always)| (Some(plugin), always));
        let flavor = self.style.compat.flavor();
        let helpers: &dyn Fn(&str) -> Option<Helper> = match self.style.plugins {
            PluginSet::All => &|name| self.registry.helper(name),
            _ => &|_| None,
        };
        let abi = self.trace.abi;
        let program = print_fmt::compile(&format, &Environment { abi, flavor, helpers });
        let flags = LatencyFlags::new(&format, abi, self.style.compat);
        Some(Decoder { format, abi, flavor, plugin, opaque, program, flags, shown: OnceLock::new() })
    }
}

/// Turns records of one event into text.
pub struct Decoder {
    format: Arc<EventFormat>,
    abi: Abi,
    flavor: Flavor,
    plugin: Option<Box<dyn Plugin>>,
    /// The print fmt says nothing about the fields.
    opaque: bool,
    program: Result<Program, print_fmt::Unsupported>,
    flags: LatencyFlags,
    /// How fields are shown raw.
    shown: OnceLock<Vec<fields::ShownField>>,
}

impl Decoder {
    /// The event's format.
    pub fn format(&self) -> &EventFormat {
        &self.format
    }

    /// The column of latency flags.
    #[inline]
    pub fn flags(&self) -> &LatencyFlags {
        &self.flags
    }

    /// Why the event's print fmt could not be compiled, if so.
    pub fn refusal(&self) -> Option<&print_fmt::Unsupported> {
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
            Err(_) => fields::all(&self.format, record.data, self.abi, self.flavor, out),
        }
    }

    /// Appends ` name=value` for each of the event's own fields (`report -R`).
    pub fn raw_fields(&self, record: &Record<'_>, scene: &Scene<'_>, out: &mut Vec<u8>) {
        let program = if self.opaque { None } else { self.program.as_ref().ok() };
        let shown = self.shown.get_or_init(|| fields::ShownField::all(&self.format, program));
        fields::raw(&self.format, shown, program, (self.abi, self.flavor), record.data, &tables(scene), out);
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
