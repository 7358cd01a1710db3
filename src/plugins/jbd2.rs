//! Helpers of the journal's events.

use crate::wire::print_fmt::Helper;
use crate::wire::text;

use crate::decode::Family;

/// The registry's entry.
pub const FAMILY: Family = Family {
    name: "jbd2",
    about: "Teaches print fmt jbd2_dev_to_name and jiffies_to_msecs (which stays in jiffies: a trace does not know HZ).",
    helpers: &[
        (
            "jbd2_dev_to_name",
            Helper::Text(|_, args, out| {
                let device = args.first().map_or(0, |arg| arg.number());
                text::dec(out, u64::from(device as u32 >> 20));
                out.push(b':');
                text::dec(out, device & 0xfffff);
            }),
        ),
        ("jiffies_to_msecs", Helper::Number(|_, args| args.first().map_or(0, |arg| arg.number()))),
    ],
    ..Family::NONE
};

#[cfg(test)]
mod tests {
    use crate::decode::testing::{TEXTS, bytes};
    use crate::plugins::testing::Look;

    #[test]
    fn a_device_is_its_two_numbers_and_jiffies_stay_jiffies() {
        // 20 bits of minor number, as in the kernel's MKDEV.
        let look = Look::of(TEXTS, &["jbd2:jb"]);
        assert_eq!(look.text(bytes("ed0300004d0000000300800000000000fa00000000000000")), "8:3 250");
    }
}
