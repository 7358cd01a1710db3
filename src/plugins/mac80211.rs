//! What mac80211 says to a driver about the network a wireless interface is in.

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

#[cfg(test)]
mod tests {
    use crate::decode::testing::{TEXTS, bytes};
    use crate::plugins::testing::Look;

    // The records and what trace-cmd prints of them are those of tests/fixtures/texts.
    const STATION: &str = "e80300004d00000070687930000000000000000000000000000000000000000000000000000000007500060002000000\
        341200000000000000000000000000001b000000000000000100000001c001000100030064003104000000000000000000000000000000005f01\
        0000110000000000000001776c616e300000";

    fn look() -> Look {
        Look::of(TEXTS, &["mac80211:drv_bss_info_changed#1000"])
    }

    #[test]
    fn a_station_is_told_of_its_network_in_four_lines() {
        let text = look().text(bytes(STATION));
        let lines: Vec<&str> = text.split('\n').collect();
        assert_eq!(lines[0], "phy0 vif:wlan0(2)");
        assert_eq!(lines[1].trim_start(), "assoc:1 aid:49153 cts:1 shortpre:0 shortslot:1 dtimper:3 ");
        assert_eq!(lines[2].trim_start(), "bcnint:100 assoc_cap:0x431 basic_rates:0x15f enable_beacon:0");
        assert_eq!(lines[3].trim_start(), "ht_operation_mode:17");
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn the_lines_after_the_first_begin_below_each_other() {
        let text = look().text(bytes(STATION));
        let indents: Vec<usize> = text.lines().map(|line| line.len() - line.trim_start().len()).collect();
        assert_eq!(indents, [0, 65, 65, 65]);
    }

    #[test]
    fn a_capability_of_zero_has_no_prefix() {
        let point = "e80300004d00000070687930000000000000000000000000000000000000000000000000000000007500060003\
            00000000000000000000000000000000000000000200000000000000000000ffff000000010200ffff000000000000000000\
            000000000000000000ffffffffffff00000000000000776c616e300000";
        let text = look().text(bytes(point));
        assert!(text.contains("bcnint:65535 assoc_cap:0 basic_rates:0xffffffff enable_beacon:1\n"), "{text}");
    }
}
