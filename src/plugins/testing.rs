//! For tests: what records of a trace look like.

use std::sync::Arc;

use super::REGISTRY;
use crate::decode::testing::{self, Set};
use crate::decode::{Compat, Decoders, PluginSetting, Scene, Style, Trace};
use crate::symbols::names::UserNames;
use crate::wire::record::Record;
use crate::wire::tables::{Cmdlines, Kallsyms, Names, PrintkFormats};

/// Kernel symbols.
pub(super) const SYMBOLS: &str = "ffffffff81000000 T fa\nffffffff81000100 T fb\nffffffff81000200 T fc\n\
    ffffffff81000300 T fd\nffffffff81000400 T fe\nffffffff81000500 T zend\n";

/// The address of `fa`; the other functions follow, 0x100 bytes each.
pub(super) const FA: i64 = 0xffff_ffff_8100_0000_u64 as i64;
pub(super) const FB: i64 = FA + 0x100;
pub(super) const FC: i64 = FA + 0x200;
pub(super) const FD: i64 = FA + 0x300;
pub(super) const FE: i64 = FA + 0x400;

/// A trace, and how its reader wants it to look.
pub(super) struct Look {
    trace: Trace,
    style: Style,
}

impl Look {
    /// These events of a kernel of `tests/fixtures/formats`, given as `SYSTEM:EVENT`.
    pub(super) fn of(kernel: &str, events: &[&str]) -> Look {
        Look { trace: testing::trace(kernel, events), style: Style::default() }
    }

    /// An event more, by its own text.
    pub(super) fn format(mut self, system: &str, text: &str) -> Look {
        self.trace.formats.push(system, text.as_bytes()).unwrap();
        self
    }

    /// With kernel symbols: lines as in `/proc/kallsyms`.
    pub(super) fn symbols(mut self, lines: &str) -> Look {
        self.trace.kallsyms = Kallsyms::new(lines.as_bytes().to_vec());
        self
    }

    /// With formats of trace_printk: lines as in `printk_formats`.
    pub(super) fn printk(mut self, lines: &str) -> Look {
        self.trace.printk = PrintkFormats::new(lines.as_bytes().to_vec());
        self
    }

    /// With names of tasks: lines as in `saved_cmdlines`.
    pub(super) fn tasks(mut self, lines: &str) -> Look {
        self.trace.cmdlines = Arc::new(Cmdlines::new(lines.as_bytes().to_vec()));
        self
    }

    /// With the kernel's types.
    pub(super) fn types(mut self, btf: Vec<u8>) -> Look {
        self.trace.btf = Some(btf);
        self
    }

    /// With names of the addresses of programs.
    pub(super) fn users(mut self, users: UserNames) -> Look {
        self.trace.user = Some(Arc::new(users));
        self
    }

    /// As trace-cmd prints it.
    pub(super) fn compat(mut self, compat: Compat) -> Look {
        self.style.compat = compat;
        self
    }

    /// With an option, as after `-O`.
    pub(super) fn option(mut self, text: &str) -> Look {
        self.style.options.push(PluginSetting::parse(text));
        self
    }

    /// A record of one of its events whose other fields are 0.
    pub(super) fn record(&self, event: &str, fields: &[(&str, i64)]) -> Vec<u8> {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, Set::Int(*value))).collect();
        self.record_of(event, &fields)
    }

    /// A record of one of its events whose other fields are 0.
    pub(super) fn record_of(&self, event: &str, fields: &[(&str, Set<'_>)]) -> Vec<u8> {
        let (system, name) = event.split_once(':').unwrap();
        let id = self.trace.formats.find(system, name).unwrap();
        testing::record(self.trace.formats.get(id).unwrap(), fields)
    }

    /// The text of one record.
    pub(super) fn text(self, data: Vec<u8>) -> String {
        self.texts(&[(0, 0, data)]).remove(0)
    }

    /// The texts of records in order of time, each with its CPU and ticks; an exit is folded into its entry if it comes next.
    pub(super) fn texts(self, records: &[(u32, u64, Vec<u8>)]) -> Vec<String> {
        self.texts_and_names(records).0
    }

    /// The same, and the names of tasks that are known then.
    pub(super) fn texts_and_names(self, records: &[(u32, u64, Vec<u8>)]) -> (Vec<String>, Names) {
        let trace = Arc::new(self.trace);
        let decoders = Decoders::new(Arc::clone(&trace), REGISTRY, self.style).unwrap();
        let names = Names::new(Arc::clone(&trace.cmdlines));
        let mut trackers = decoders.trackers();
        let records: Vec<_> =
            records.iter().map(|(cpu, ticks, data)| Record { ticks: *ticks, cpu: *cpu, data }).collect();
        let (mut texts, mut at) = (Vec::new(), 0);
        while let Some(record) = records.get(at) {
            let id = trace.abi.u16(record.data).unwrap();
            let mut scene = Scene { trace: &trace, names: &names, seq: at as u64, exit: None, aux: 0 };
            for tracked in trackers.iter_mut().filter(|tracked| tracked.ids.contains(&id)) {
                scene.aux |= tracked.tracker.observe(record, &scene);
            }
            let pairing = decoders.pairing();
            let is_own = |exit: &&Record<'_>| exit.cpu == record.cpu && pairing.matches(record, exit);
            scene.exit = records.get(at + 1).filter(|exit| pairing.is_entry(id) && is_own(exit)).copied();
            let mut text = Vec::new();
            decoders.get(id).unwrap().text(record, &scene, &mut text);
            texts.push(String::from_utf8(text).unwrap());
            at += 1 + usize::from(scene.exit.is_some());
        }
        (texts, names)
    }
}
