//! Names of events, from names of functions.

use std::collections::HashSet;

use super::spec::Spec;
use crate::tracefs::events::EventName;

/// The kernel takes names of fewer than 64 letters; room is left for what makes them unique.
const MAX: usize = 48;

/// Gives each probe a name of its own.
#[derive(Debug)]
pub(super) struct Namer {
    group: String,
    taken: HashSet<EventName>,
}

impl Namer {
    pub(super) fn new(group: String) -> Self {
        Namer { group, taken: HashSet::new() }
    }

    /// Names that are taken.
    pub(super) fn avoid(&mut self, names: impl Iterator<Item = EventName>) {
        self.taken.extend(names);
    }

    /// The name of a probe at `stem`; the spec's own name comes first.
    pub(super) fn name(&mut self, spec: &Spec, stem: &str) -> EventName {
        let system = spec.group.clone().unwrap_or_else(|| self.group.clone());
        let mut base = spec.event.clone().unwrap_or_else(|| word(stem));
        if spec.returns && spec.event.is_none() {
            base.push_str("__return");
        }
        let mut event = base.clone();
        let mut number = 0;
        loop {
            let name = EventName { system: system.clone(), event };
            if self.taken.insert(name.clone()) {
                return name;
            }
            number += 1;
            event = format!("{base}_{number}");
        }
    }
}

/// A word the kernel takes: letters, digits and `_`, no digit in front.
pub(super) fn word(text: &str) -> String {
    let bare = crate::symbols::demangle::without_parameters(text);
    let mut out = String::new();
    for c in bare.chars().take(MAX) {
        out.push(if c.is_ascii_alphanumeric() { c } else { '_' });
    }
    if !out.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        out.insert(0, '_');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::spec::Kind;

    #[test]
    fn names_are_words_and_unique() {
        let mut namer = Namer::new("rtrec_7".into());
        let spec = Spec::parse(Kind::Uprobe, "p:f").unwrap();
        assert_eq!(namer.name(&spec, "ns::f<int>(char)").to_string(), "rtrec_7:ns__f_int_");
        assert_eq!(namer.name(&spec, "ns::f<int>(long)").to_string(), "rtrec_7:ns__f_int__1");
        let spec = Spec::parse(Kind::Uprobe, "p:f%return").unwrap();
        assert_eq!(namer.name(&spec, "7up").to_string(), "rtrec_7:_7up__return");
        let spec = Spec::parse(Kind::Uprobe, "mine/x=p:f%return").unwrap();
        assert_eq!(namer.name(&spec, "f").to_string(), "mine:x");
        assert_eq!(namer.name(&spec, "f").to_string(), "mine:x_1");
    }
}
