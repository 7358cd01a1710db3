//! Names as people write them: C++ and Rust symbols demangled.

use symbolic_common::{Language, Name, NameMangling};
use symbolic_demangle::{Demangle, DemangleOptions};

/// The longest name that is demangled: longer ones are made by machines, for machines.
const MAX: usize = 16 << 10;

/// A symbol's name without its encoding: `std::vec::push` for Rust (no hash), `ns::f(int)` for C++. None for C.
pub fn demangle(symbol: &str) -> Option<String> {
    if symbol.len() > MAX {
        return None;
    }
    let language = if symbol.starts_with("_R") || is_old_rust(symbol) { Language::Rust } else { Language::Cpp };
    let mangled = ["_R", "_Z", "___Z"].iter().any(|start| symbol.starts_with(start));
    let name = Name::new(symbol, NameMangling::Mangled, language);
    name.demangle(DemangleOptions::complete().return_type(false)).filter(|name| mangled && name != symbol)
}

/// `_ZN…17h0123456789abcdefE`: Rust's former encoding ends with a hash.
fn is_old_rust(symbol: &str) -> bool {
    let hash =
        symbol.strip_prefix("_ZN").and_then(|rest| rest.split('.').next()?.strip_suffix('E')?.rsplit_once("17h"));
    hash.is_some_and(|(_, hash)| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// `ns::f` of `ns::f(int, char) const`: what stands before the parameters.
pub fn without_parameters(name: &str) -> &str {
    let bytes = name.as_bytes();
    let mut depth = 0usize;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'<' if !is_operator(&name[..at]) => depth += 1,
            b'>' if depth > 0 && !name[..at].ends_with('-') => depth -= 1,
            b'(' if depth == 0 && at > 0 => {
                // `(anonymous namespace)::f` and `operator()`.
                if name[at..].starts_with("(anonymous namespace)") || name[..at].ends_with("operator") {
                    continue;
                }
                return &name[..at];
            }
            _ => {}
        }
    }
    name
}

fn is_operator(before: &str) -> bool {
    before.ends_with("operator") || before.ends_with("operator<")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_and_cpp_names_are_told_apart() {
        assert_eq!(
            demangle("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE").as_deref(),
            Some("core::fmt::Formatter::pad")
        );
        assert_eq!(demangle("_ZN2ns5Thing3runEiPKc").as_deref(), Some("ns::Thing::run(int, char const*)"));
        assert_eq!(demangle("_ZN4shop5twiceIiEET_S1_").as_deref(), Some("shop::twice<int>(int)"));
        assert_eq!(demangle("_RNvC6_123foo3bar").as_deref(), Some("123foo::bar"));
        assert_eq!(demangle("_RNvCs1234_7mycrate3foo").as_deref(), Some("mycrate::foo"));
        assert_eq!(demangle("main"), None);
        assert_eq!(demangle("_Znot"), None);
    }

    #[test]
    fn parameters_are_what_follows_the_name() {
        assert_eq!(without_parameters("ns::f<void (int)>(char) const"), "ns::f<void (int)>");
        assert_eq!(without_parameters("(anonymous namespace)::f(int)"), "(anonymous namespace)::f");
        assert_eq!(without_parameters("A::operator()(int)"), "A::operator()");
        assert_eq!(without_parameters("A::operator<(A const&)"), "A::operator<");
        assert_eq!(without_parameters("plain"), "plain");
    }
}
