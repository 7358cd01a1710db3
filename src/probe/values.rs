//! Enumerations by name: the kernel's print fmt of a probe, which shows numbers, taught the names of their values.
//!
//! The stored format is what every reader goes by, so names are shown by trace-cmd and KernelShark too.

use super::FieldValues;

/// Names that one field may have; more make a format that nobody can read.
const MOST: usize = 256;

/// The text of an event's format with names for the values of these fields. A field that is not found stays a number.
pub fn with_enum_names(format: &[u8], fields: &FieldValues) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(format) else { return format.to_vec() };
    let Some(at) = text.find("\nprint fmt: \"") else { return format.to_vec() };
    let mut print = text[at..].to_owned();
    for (field, values) in fields {
        if let Some(named) = named(&print, field, values) {
            print = named;
        }
    }
    format!("{}{print}", &text[..at]).into_bytes()
}

/// `… c=%u", …, REC->c` becomes `… c=%s", …, __print_symbolic(REC->c, { 0, "RED" })`.
fn named(print: &str, field: &str, values: &[(i64, String)]) -> Option<String> {
    let start = print.find(&format!(" {field}=%")).map(|at| at + field.len() + 2)?;
    let length = print[start..].find([' ', '"'])?;
    let quote = start + print[start..].find('"')?;
    let record = format!("REC->{field}");
    let ends = |rest: &str| rest.is_empty() || rest.starts_with([',', '\n']);
    let used = |at: &usize| ends(&print[at + record.len()..]);
    let argument = print.match_indices(&record).map(|(at, _)| at).find(|at| *at > quote && used(at))?;
    let names: Vec<String> =
        values.iter().take(MOST).map(|(value, name)| format!("{{ {value}, \"{name}\" }}")).collect();
    let symbolic = format!("__print_symbolic({record}, {})", names.join(", "));
    let end = argument + record.len();
    Some([&print[..start], "%s", &print[start + length..argument], &symbolic, &print[end..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: &str = "name: work\nID: 2310\nformat:\n\tfield:u32 c;\toffset:8;\tsize:4;\tsigned:0;\n\n\
        print fmt: \"(%lx) n=%d c=%u cc=%u\", REC->__probe_ip, REC->n, REC->c, REC->cc\n";

    #[test]
    fn a_field_gets_the_names_of_its_values() {
        let values = vec![(0, "RED".to_owned()), (-7, "GREEN".to_owned())];
        let named_text = with_enum_names(FORMAT.as_bytes(), &vec![("c".to_owned(), values)]);
        let named_text = String::from_utf8(named_text).unwrap();
        assert!(named_text.starts_with("name: work\nID: 2310\nformat:\n\tfield:u32 c;"), "{named_text}");
        assert!(
            named_text.ends_with(
                "\nprint fmt: \"(%lx) n=%d c=%s cc=%u\", REC->__probe_ip, REC->n, \
                 __print_symbolic(REC->c, { 0, \"RED\" }, { -7, \"GREEN\" }), REC->cc\n"
            ),
            "{named_text}"
        );
    }

    #[test]
    fn what_is_not_there_stays_as_it_is() {
        let values = vec![(0, "RED".to_owned())];
        for format in [FORMAT, "name: x\n", "print fmt: \"", ""] {
            let named_text = with_enum_names(format.as_bytes(), &vec![("colour".to_owned(), values.clone())]);
            assert_eq!(named_text, format.as_bytes());
        }
        assert_eq!(with_enum_names(b"\xff", &vec![("c".to_owned(), values)]), b"\xff");
    }
}
