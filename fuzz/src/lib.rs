//! What the fuzz targets and their smoke test on the stable toolchain share: the entries, their seeds, the ration.
//!
//! An entry takes any bytes. It must return, must not panic, and must not hold more memory than [`ration::allowed`].

pub mod entry;
pub mod ration;
pub mod seeds;

/// An entry.
pub type Entry = fn(&[u8]);

/// Every target by name.
pub const TARGETS: [(&str, Entry); 10] = [
    ("dat", entry::dat),
    ("subbuf", entry::subbuf),
    ("format", entry::format),
    ("print_fmt", entry::print_fmt),
    ("filter", entry::filter),
    ("report", entry::report),
    ("spec", entry::spec),
    ("usdt", entry::usdt),
    ("btf", entry::btf),
    ("windows", entry::windows),
];

/// Runs an entry within its ration of memory.
pub fn check(entry: Entry, data: &[u8]) {
    let held = ration::peak_while(|| entry(data));
    let allowed = ration::allowed(data.len());
    assert!(held <= allowed, "{held} bytes were held at once for {} bytes of input, {allowed} are allowed", data.len());
}
