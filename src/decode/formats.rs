//! The formats of a trace's events.
//!
//! Owns: looking a format up by id or name. Does not own: the grammar of a `format` file (see `wire::format`).

use std::sync::{Arc, OnceLock};

use crate::wire::abi::Abi;
use crate::wire::format::{self, EventFormat, FormatError};

/// The formats of all events in a trace, parsed when first asked for.
pub struct Formats {
    abi: Abi,
    texts: Vec<u8>,
    systems: Vec<String>,
    entries: Vec<StoredFormat>,
    /// Position in `entries` plus one, by event id.
    by_id: Vec<u32>,
}

struct StoredFormat {
    id: u16,
    system: u32,
    start: usize,
    end: usize,
    /// Where the name is in the texts.
    name: (usize, usize),
    parsed: OnceLock<Result<Arc<EventFormat>, FormatError>>,
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
        self.entries.push(StoredFormat { id, system, start, end: self.texts.len(), name, parsed: OnceLock::new() });
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

    /// The format of event `id`, for whoever keeps it.
    pub fn shared(&self, id: u16) -> Option<Arc<EventFormat>> {
        self.parsed(id)?.as_ref().ok().map(Arc::clone)
    }

    /// Ids are below this.
    pub fn id_bound(&self) -> usize {
        self.by_id.len()
    }

    /// The format of event `id`, or why its text was refused; `None` if there is no text.
    pub fn try_get(&self, id: u16) -> Option<Result<&EventFormat, &FormatError>> {
        self.parsed(id).map(|parsed| parsed.as_ref().map(Arc::as_ref))
    }

    fn parsed(&self, id: u16) -> Option<&Result<Arc<EventFormat>, FormatError>> {
        let entry = self.entries.get(self.slot(id)?)?;
        let text = self.texts.get(entry.start..entry.end)?;
        let system = self.systems.get(entry.system as usize)?;
        Some(entry.parsed.get_or_init(|| EventFormat::parse(system, text, self.abi).map(Arc::new)))
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

#[cfg(test)]
mod tests {
    use crate::decode::testing::{format_text, trace};

    const EVENTS: [&str; 3] = ["sched:sched_switch", "sched:sched_waking", "irq:softirq_entry"];

    #[test]
    fn an_event_is_found_by_system_and_name() {
        let formats = trace("6.12", &EVENTS).formats;
        assert_eq!(formats.find("sched", "sched_switch"), Some(310));
        assert_eq!(formats.find("irq", "sched_switch"), None);
        assert_eq!(formats.get(310).map(|format| format.name.as_str()), Some("sched_switch"));
    }

    #[test]
    fn events_come_in_the_order_they_were_added() {
        let formats = trace("6.12", &EVENTS).formats;
        let names: Vec<String> = formats.iter().map(|event| format!("{}:{}", event.system, event.name)).collect();
        assert_eq!((names, formats.len()), (EVENTS.map(str::to_owned).to_vec(), 3));
    }

    #[test]
    fn of_two_formats_with_one_id_the_first_counts() {
        let mut formats = trace("6.12", &EVENTS).formats;
        let other = format_text("6.12", "sched:sched_waking").replacen("ID: 313", "ID: 310", 1);
        assert_eq!(formats.push("sched", other.as_bytes()), Some(310));
        assert_eq!(formats.get(310).map(|format| format.name.as_str()), Some("sched_switch"));
    }

    #[test]
    fn a_text_without_name_or_id_is_no_format() {
        let mut formats = trace("6.12", &[]).formats;
        assert_eq!(formats.push("sched", b"ID: 7\nformat:\n"), None);
        assert_eq!(formats.push("sched", b"name: x\nformat:\n"), None);
        assert!(formats.is_empty() && formats.any().is_none());
    }

    #[test]
    fn a_text_that_cannot_be_read_is_refused_when_it_is_asked_for() {
        let mut formats = trace("6.12", &[]).formats;
        assert_eq!(formats.push("sched", b"name: broken\nID: 7\nformat:\n\tfield:nothing;\n"), Some(7));
        formats.push("sched", format_text("6.12", "sched:sched_switch").as_bytes()).unwrap();
        assert!(formats.try_get(7).unwrap().is_err() && formats.get(7).is_none());
        assert_eq!(formats.any().map(|format| format.id), Some(310), "one that can be read");
        assert!(formats.try_get(8).is_none());
    }
}
