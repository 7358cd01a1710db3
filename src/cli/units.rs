//! Sizes as people write them.

/// KiB from `512`, `512K`, `64M` or `1G`; a bare number is KiB, as trace-cmd's `-b` takes it.
pub(super) fn size_kb(text: &str) -> Result<u64, String> {
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

/// `1.4 MB` and the like, for people.
pub(super) fn human_bytes(bytes: u64) -> String {
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
    fn a_bare_number_is_kib() {
        assert_eq!(size_kb("512"), Ok(512));
        assert_eq!(size_kb("64M"), Ok(64 << 10));
        assert_eq!(size_kb("1GiB"), Ok(1 << 20));
        assert!(size_kb("0").is_err() && size_kb("-1").is_err() && size_kb("3x").is_err() && size_kb("").is_err());
    }
}
