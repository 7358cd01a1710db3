//! The function graph: entries, exits, leaves folded from both.
//!
//! Owns: which records open and close a function, whether two of them belong together, and their text.
//! Does not own: which records are neighbours (the merge in `report` decides that).

use crate::wire::abi::Abi;
use crate::wire::format::{EventFormat, Field};
use crate::wire::record::Record;

use super::{Context, Family, Plugin, PluginSet, Style, Trace};

/// The registry's entry.
pub const FAMILY: Family =
    Family { name: "function_graph", about: "Draws entries and exits of functions as a graph.", options: &[], bind };

fn bind(_: &Context<'_>, _: &EventFormat) -> Option<Box<dyn Plugin>> {
    None
}

/// Which events open and close a function, and where their pid and function are.
#[derive(Clone, Debug, Default)]
pub struct Pairing {
    abi: Option<Abi>,
    entries: Vec<Side>,
    exits: Vec<Side>,
}

#[derive(Clone, Debug)]
struct Side {
    id: u16,
    pid: Field,
    func: Field,
}

impl Pairing {
    /// What `trace` has; nothing if the style draws no graph.
    pub(super) fn new(trace: &Trace, style: &Style) -> Pairing {
        if style.plugins != PluginSet::All {
            return Pairing::default();
        }
        let sides = |names: &[&str]| names.iter().filter_map(|name| Side::find(trace, name)).collect();
        Pairing {
            abi: Some(trace.abi),
            entries: sides(&["funcgraph_entry", "fgraph_retaddr_entry"]),
            exits: sides(&["funcgraph_exit"]),
        }
    }

    /// True if records of event `id` open a function.
    #[inline]
    pub fn is_entry(&self, id: u16) -> bool {
        self.entries.iter().any(|side| side.id == id)
    }

    /// True if records of event `id` close a function.
    #[inline]
    pub fn is_exit(&self, id: u16) -> bool {
        self.exits.iter().any(|side| side.id == id)
    }

    /// True if `exit` closes what `entry` opened: same pid, same function. Being on the same CPU is the caller's to check.
    pub fn matches(&self, entry: &Record<'_>, exit: &Record<'_>) -> bool {
        let key = |sides: &[Side], record: &Record<'_>| {
            let abi = self.abi?;
            let id = abi.u16(record.data)?;
            let side = sides.iter().find(|side| side.id == id)?;
            Some((side.pid.int(record.data, abi)?, side.func.int(record.data, abi)?))
        };
        let entry = key(&self.entries, entry);
        entry.is_some() && entry == key(&self.exits, exit)
    }
}

impl Side {
    fn find(trace: &Trace, name: &str) -> Option<Side> {
        let id = trace.formats.find("ftrace", name)?;
        let format = trace.formats.get(id)?;
        Some(Side { id, pid: format.field("common_pid")?.clone(), func: format.field("func")?.clone() })
    }
}
