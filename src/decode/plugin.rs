//! What a plugin is: a family of events, its options, its text, and what it keeps from record to record.
//!
//! Owns: the traits [`Plugin`] and [`Tracker`] and the [`Registry`] that lists families. Does not own: any family (see
//! `plugins`).

use super::pairing::Pairing;
use super::style::{Compat, Style, StyleError};
use super::trace::Trace;
use crate::wire::format::EventFormat;
use crate::wire::print_fmt::Helper;
use crate::wire::record::Record;
use crate::wire::tables::Names;

/// What surrounds one record while it is printed.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The trace.
    pub trace: &'a Trace,
    /// Names of tasks.
    pub names: &'a Names,
    /// The record's number in printing order.
    pub seq: u64,
    /// The exit that is folded into this entry of the function graph.
    pub exit: Option<Record<'a>>,
    /// What this event's tracker returned.
    pub aux: u32,
}

/// State that depends on the order of records, computed in one sequential pass before they are rendered in parallel.
pub trait Tracker: Send {
    /// Looks at a record that will be printed as number `scene.seq`; what is returned comes back as [`Scene::aux`].
    fn observe(&mut self, record: &Record<'_>, scene: &Scene<'_>) -> u32;
}

/// A tracker and the events it wants to see.
pub struct Tracked {
    /// Ids of events, ascending.
    pub ids: Vec<u16>,
    /// The tracker.
    pub tracker: Box<dyn Tracker>,
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
    /// Its tracker for a trace, if what its events look like depends on records before them. Asked only where plugins are
    /// used.
    pub tracker: fn(&Context<'_>) -> Option<Tracked>,
    /// Which of its events begin and end a function. Asked only where plugins are used.
    pub pairing: fn(&Context<'_>) -> Pairing,
}

impl Family {
    /// A family of nothing, for the fields that an entry leaves out.
    pub const NONE: Family = Family {
        name: "",
        about: "",
        options: &[],
        helpers: &[],
        always: false,
        bind: |_, _| None,
        tracker: |_| None,
        pairing: |_| Pairing::default(),
    };
}

/// The families that there are.
#[derive(Clone, Copy)]
pub struct Registry {
    /// In the order in which they are asked to bind an event.
    pub families: &'static [Family],
}

impl Registry {
    /// A registry without plugins: events are printed by their own print fmt.
    pub const EMPTY: Registry = Registry { families: &[] };

    /// Every option of every plugin.
    pub fn options(self) -> impl Iterator<Item = &'static OptionSpec> {
        self.families.iter().flat_map(|family| family.options)
    }

    /// The kernel function that a plugin teaches to print fmt.
    pub(super) fn helper(self, name: &str) -> Option<Helper> {
        let mut all = self.families.iter().flat_map(|family| family.helpers);
        all.find(|helper| helper.0 == name).map(|helper| helper.1)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.families.iter().map(|family| family.name)).finish()
    }
}

/// What a plugin may ask while it is bound.
pub struct Context<'a> {
    /// The trace.
    pub trace: &'a Trace,
    /// Whose text.
    pub compat: Compat,
    /// Whether times have nine digits.
    pub nanoseconds: bool,
    pub(super) style: &'a Style,
    pub(super) switches: &'a Switches,
}

impl<'a> Context<'a> {
    /// The format of an event whose plugin is not ignored.
    pub fn format(&self, system: &str, event: &str) -> Option<&'a EventFormat> {
        let format = self.trace.formats.get(self.trace.formats.find(system, event)?)?;
        (!self.style.ignore.holds(format)).then_some(format)
    }

    /// The value of a switch.
    pub fn on(&self, plugin: &str, name: &str) -> bool {
        self.switches.on(plugin, name)
    }
}

/// The options as set.
pub(super) struct Switches(Vec<(&'static OptionSpec, bool)>);

impl Switches {
    /// trace-cmd takes no notice of options and values it does not know.
    pub(super) fn new(registry: Registry, style: &Style) -> Result<Switches, StyleError> {
        let strict = style.compat == Compat::Rtrec;
        let mut switches = Switches(registry.options().map(|spec| (spec, spec.default)).collect());
        for setting in &style.options {
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

    pub(super) fn on(&self, plugin: &str, name: &str) -> bool {
        self.0.iter().any(|(spec, on)| *on && spec.plugin == plugin && spec.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::style::PluginSetting;

    const fn option(plugin: &'static str, name: &'static str, default: bool) -> OptionSpec {
        OptionSpec { plugin, name, about: "", default }
    }

    const ONE: Family = Family { options: &[option("one", "same", false), option("one", "own", true)], ..Family::NONE };
    const TWO: Family = Family { options: &[option("two", "same", false)], ..Family::NONE };
    const REGISTRY: Registry = Registry { families: &[ONE, TWO] };

    fn switches(compat: Compat, options: &[&str]) -> Result<Switches, StyleError> {
        let options = options.iter().map(|text| PluginSetting::parse(text)).collect();
        Switches::new(REGISTRY, &Style { compat, options, ..Style::default() })
    }

    #[test]
    fn options_have_their_default() {
        let switches = switches(Compat::Rtrec, &[]).unwrap();
        assert!(switches.on("one", "own") && !switches.on("one", "same"));
        assert!(!switches.on("two", "own"), "that plugin has none of that name");
    }

    #[test]
    fn an_option_without_a_value_is_turned() {
        assert!(!switches(Compat::Rtrec, &["own"]).unwrap().on("one", "own"));
        assert!(switches(Compat::Rtrec, &["own", "one:own"]).unwrap().on("one", "own"), "twice is as before");
    }

    #[test]
    fn an_option_with_a_value_is_set() {
        for (value, on) in [("1", true), ("true", true), ("0", false), ("false", false)] {
            let switches = switches(Compat::Rtrec, &[&format!("same={value}")]).unwrap();
            assert_eq!(
                (switches.on("one", "same"), switches.on("two", "same")),
                (on, on),
                "of all plugins that have it"
            );
        }
    }

    #[test]
    fn a_plugins_name_tells_options_of_one_name_apart() {
        let switches = switches(Compat::Rtrec, &["two:same"]).unwrap();
        assert!(switches.on("two", "same") && !switches.on("one", "same"));
    }

    #[test]
    fn what_no_plugin_has_is_refused() {
        let unknown = switches(Compat::Rtrec, &["nothing"]).err();
        assert_eq!(unknown, Some(StyleError::UnknownOption(PluginSetting::parse("nothing"))));
        let elsewhere = switches(Compat::Rtrec, &["two:own=1"]).err();
        assert_eq!(elsewhere, Some(StyleError::UnknownOption(PluginSetting::parse("two:own=1"))));
        let value = switches(Compat::Rtrec, &["own=maybe"]).err();
        assert_eq!(value, Some(StyleError::BadValue(PluginSetting::parse("own=maybe"))));
    }

    #[test]
    fn as_trace_cmd_what_no_plugin_has_is_passed_over() {
        let switches = switches(Compat::V34, &["nothing", "own=maybe", "same=1"]).unwrap();
        assert!(switches.on("one", "own") && switches.on("two", "same"));
    }
}
