//! Counting the hits of each event, without looking into them.

use std::collections::BTreeMap;
use std::io::Write;

use byteorder::NativeEndian;

use super::super::common::say::say;
use crate::record::{Receiver, Round, StreamMetadata};
use crate::wire::abi::Abi;

/// Counts records by event.
pub(super) struct Counter {
    name: &'static str,
    events: BTreeMap<u16, (String, u64)>,
    damaged: u64,
}

impl Counter {
    pub(super) fn new(name: &'static str) -> Self {
        Counter { name, events: BTreeMap::new(), damaged: 0 }
    }

    /// Prints what was counted, the most first.
    pub(super) fn print(&self) {
        let mut counts: Vec<&(String, u64)> = self.events.values().collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let mut out = std::io::stdout().lock();
        for (event, count) in counts {
            let _ = writeln!(out, "{count:>12}  {event}");
        }
        if self.damaged > 0 {
            say!("rtrec {}: {} sub-buffers were damaged; their hits are not counted", self.name, self.damaged);
        }
    }

    fn count(&mut self, id: u16) {
        // The kernel's own records, of which a buffer for probes has none, are no hits.
        if let Some((_, count)) = self.events.get_mut(&id) {
            *count += 1;
        }
    }
}

impl Receiver for Counter {
    fn begin(&mut self, texts: StreamMetadata) {
        for (system, text) in texts.formats.iter().filter(|(system, _)| system != "ftrace") {
            let text = String::from_utf8_lossy(text);
            let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
            let Some(id) = value("ID:").and_then(|id| id.parse().ok()) else { continue };
            self.events.insert(id, (format!("{system}:{}", value("name:").unwrap_or("?")), 0));
        }
    }

    fn round(&mut self, round: Round) -> bool {
        for buffer in round.buffers {
            let layout = buffer.layout;
            for (_, bytes) in buffer.cpus {
                for page in bytes.chunks(layout.subbuf_bytes as usize) {
                    let Ok(head) = layout.head(page) else {
                        self.damaged += 1;
                        continue;
                    };
                    let mut walk = layout.walk(&head);
                    while let Some(found) = walk.next::<NativeEndian>(page) {
                        let Ok(found) = found else {
                            self.damaged += 1;
                            break;
                        };
                        let id = page.get(found.start as usize..).and_then(|data| Abi::HOST.u16(data));
                        id.into_iter().for_each(|id| self.count(id));
                    }
                }
            }
        }
        true
    }
}
