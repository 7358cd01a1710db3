//! What mac80211 tells a driver about the network a wireless interface is in.

use crate::wire::format::EventFormat;
use crate::wire::record::Record;
use crate::wire::text;

use crate::decode::field::{Int, Text};
use crate::decode::{Compat, Context, Family, Plugin, Scene, Then};

/// The registry's entry.
pub const FAMILY: Family = Family {
    name: "mac80211",
    about: "Prints drv_bss_info_changed in four lines.",
    bind: |context, format| bind(context, format),
    ..Family::NONE
};

/// Blanks before what the lines after the first say.
const INDENT: usize = 65;

/// How a value is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Base {
    Ten,
    Sixteen,
}

use Base::{Sixteen, Ten};

/// The lines after the first: fields, as long as the kernel has them, and whether a blank ends the line.
const LINES: [(&[(&str, Base)], bool); 3] = [
    (&[("assoc", Ten), ("aid", Ten), ("cts", Ten), ("shortpre", Ten), ("shortslot", Ten), ("dtimper", Ten)], true),
    (&[("bcnint", Ten), ("assoc_cap", Sixteen), ("basic_rates", Sixteen), ("enable_beacon", Ten)], false),
    (&[("ht_operation_mode", Ten)], false),
];

fn bind(context: &Context<'_>, format: &EventFormat) -> Option<Box<dyn Plugin>> {
    if format.system != "mac80211" || format.name != "drv_bss_info_changed" {
        return None;
    }
    let abi = context.trace.abi;
    let text = |name| Text::find(format, name, abi);
    let fields = |line: &[(&str, Base)]| line.iter().map(|(name, _)| Int::find(format, name, abi)).collect();
    Some(Box::new(BssInfo {
        lte: context.compat != Compat::Rtrec,
        wiphy: text("wiphy_name")?,
        vif: text("vif_name")?,
        vif_type: Int::find(format, "vif_type", abi)?,
        lines: LINES.map(|(line, _)| fields(line)),
    }))
}

struct BssInfo {
    lte: bool,
    wiphy: Text,
    vif: Text,
    vif_type: Int,
    lines: [Vec<Option<Int>>; LINES.len()],
}

impl Plugin for BssInfo {
    fn text(&self, record: &Record<'_>, _: &Scene<'_>, out: &mut Vec<u8>) -> Then {
        self.wiphy.put(record.data, out);
        out.extend_from_slice(b" vif:");
        self.vif.put(record.data, out);
        out.push(b'(');
        text::signed(out, i64::from(self.vif_type.raw(record.data) as i32));
        out.push(b')');
        for ((names, blank), fields) in LINES.iter().zip(&self.lines) {
            out.push(b'\n');
            out.resize(out.len() + INDENT, b' ');
            for (number, ((name, base), field)) in names.iter().zip(fields).enumerate() {
                if number > 0 {
                    out.push(b' ');
                }
                if let Some(field) = field {
                    out.extend_from_slice(name.as_bytes());
                    out.push(b':');
                    self.value(field, *base, record.data, out);
                }
            }
            if *blank {
                out.push(b' ');
            }
        }
        Then::Done
    }
}

impl BssInfo {
    fn value(&self, field: &Int, base: Base, data: &[u8], out: &mut Vec<u8>) {
        match base {
            Ten if self.lte => text::signed(out, i64::from(field.raw(data) as i32)),
            Ten => field.put(data, false, out),
            Sixteen => {
                let value = if self.lte { field.raw(data) & u64::from(u32::MAX) } else { field.raw(data) };
                if value != 0 {
                    out.extend_from_slice(b"0x");
                }
                text::hex(out, value);
            }
        }
    }
}
