//! How the reader wants events to look.

use std::fmt;
use std::sync::Arc;

use crate::wire::format::EventFormat;
use crate::wire::print_fmt::Flavor;

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

impl Compat {
    /// How `print fmt` is evaluated.
    pub fn flavor(self) -> Flavor {
        match self {
            Compat::Rtrec => Flavor::C,
            Compat::V31 => Flavor::Lte2022,
            Compat::V34 => Flavor::Lte2026,
        }
    }
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

    /// Whether the plugin of this event is ignored.
    pub fn holds(&self, format: &EventFormat) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_has_a_plugin_a_name_and_a_value() {
        let setting = |plugin: Option<&str>, name: &str, value: Option<&str>| PluginSetting {
            plugin: plugin.map(str::to_owned),
            name: name.to_owned(),
            value: value.map(str::to_owned),
        };
        assert_eq!(PluginSetting::parse("parent"), setting(None, "parent", None));
        assert_eq!(PluginSetting::parse("ftrace:parent=1"), setting(Some("ftrace"), "parent", Some("1")));
        assert_eq!(PluginSetting::parse("parent="), setting(None, "parent", Some("")));
        assert_eq!(PluginSetting::parse("a=b:c"), setting(None, "a", Some("b:c")), "a colon in a value is none");
    }

    #[test]
    fn an_error_names_the_option_as_it_was_given() {
        let error = |text: &str| StyleError::UnknownOption(PluginSetting::parse(text)).to_string();
        assert_eq!(error("ftrace:nothing=1"), "no plugin has the option ftrace:nothing");
        assert_eq!(error("nothing"), "no plugin has the option nothing");
    }

    #[test]
    fn events_are_ignored_by_system_and_name() {
        let format = crate::decode::testing::format("6.12", "sched:sched_switch");
        assert!(!Ignore::default().holds(&format));
        assert!(Ignore::when(|system, name| system == "sched" && name == "sched_switch").holds(&format));
        assert!(!Ignore::when(|system, _| system == "irq").holds(&format));
    }
}
