//! Sizes and times as people write them.

use std::time::Duration;

/// Bytes from `512K`, `64M` or `1G`; a bare number is bytes.
pub(in crate::cli) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale: u64 = match text[digits.len()..].to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        unit => return Err(format!("{unit:?} is no unit of size; there are K, M, G and T")),
    };
    let number: f64 = digits.parse().map_err(|_| format!("{text:?} is no size; write 512K, 64M or 1G"))?;
    let bytes = number * scale as f64;
    if (1.0..1e18).contains(&bytes) { Ok(bytes as u64) } else { Err(format!("{text:?} is out of range")) }
}

/// A time from `250ms`, `30s`, `10min`, `2h` or `1d`; a bare number is seconds.
pub(in crate::cli) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match &text[digits.len()..] {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" | "sec" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        unit => return Err(format!("{unit:?} is no unit of time; there are ms, s, min, h and d")),
    };
    let number: f64 = digits.parse().map_err(|_| format!("{text:?} is no time; write 250ms, 30s, 10min or 2h"))?;
    Duration::try_from_secs_f64(number * scale)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(|| format!("{text:?} is out of range"))
}

/// A size or a time: the unit says which. A bare number or `m` is refused as ambiguous.
pub(in crate::cli) fn bytes_or_duration(text: &str) -> Result<BytesOrDuration, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    match unit {
        "" => Err(format!("{text:?} needs a unit: 64M and 1G are sizes, 30s and 10min are times")),
        "m" => Err(format!("{text:?} could be both; write {0}M or {0}min", text.trim_end_matches('m'))),
        "ns" | "us" | "ms" | "s" | "sec" | "min" | "h" | "d" => duration(text).map(BytesOrDuration::Duration),
        _ => bytes(text).map(BytesOrDuration::Bytes),
    }
}

/// What an option that takes a size or a time was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum BytesOrDuration {
    Bytes(u64),
    Duration(Duration),
}

/// KiB from `512`, `512K`, `64M` or `1G`; a bare number is KiB, as trace-cmd's `-b` takes it.
pub(in crate::cli) fn size_kb(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match text[digits.len()..].to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
        "" | "k" => 1,
        "m" => 1 << 10,
        "g" => 1 << 20,
        unit => return Err(format!("{unit:?} is no unit of size; there are K, M and G")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is no size; write 512, 512K, 64M or 1G"))?;
    match number.checked_mul(scale) {
        Some(0) | None => Err(format!("{text:?} is no size a buffer can have")),
        Some(size_kb) => Ok(size_kb),
    }
}

/// Permissions from three octal digits.
pub(in crate::cli) fn octal(text: &str) -> Result<u32, String> {
    let bad = || format!("{text:?} are no permissions; write three octal digits such as 640");
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777).ok_or_else(bad)
}

/// `1.4 MB` and the like, for people.
pub(in crate::cli) fn human_bytes(bytes: u64) -> String {
    match bytes {
        0..=999 => format!("{bytes} B"),
        1_000..=999_999 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..=999_999_999 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_permissions_are_octal() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("10min"), Ok(Duration::from_secs(600)));
        assert!(duration("0").is_err() && duration("-1s").is_err() && duration("3 days").is_err());
        assert_eq!(octal("640"), Ok(0o640));
        assert!(octal("888").is_err() && octal("1777").is_err());
    }

    #[test]
    fn a_bare_number_is_kib() {
        assert_eq!(size_kb("512"), Ok(512));
        assert_eq!(size_kb("64M"), Ok(64 << 10));
        assert_eq!(size_kb("1GiB"), Ok(1 << 20));
        assert!(size_kb("0").is_err() && size_kb("-1").is_err() && size_kb("3x").is_err() && size_kb("").is_err());
    }
}
