//! Flame graphs: stacks with their time as a picture that a browser shows and lets be looked at closer.
//!
//! Owns: what stands around the picture, colours. Does not own: the picture itself, which is inferno's; where stacks and their
//! time come from.
//! Units: microseconds. A frame is as wide as its share of all time.

use std::io::{self, Write};

use inferno::flamegraph::color::{BasicPalette, MultiPalette, Palette};
use inferno::flamegraph::{Options, TextTruncateDirection, from_lines};

use super::format::Format;
use super::stacks::Stacks;

/// The registry's entry.
pub(super) const FORMAT: Format = Format {
    name: "flamegraph",
    about: "The same stacks as an SVG picture; with --windows",
    stacks: Some(draw),
    ..Format::NONE
};

fn draw(stacks: &Stacks, out: &mut dyn Write) -> io::Result<()> {
    let mut options = Options::default();
    options.title.clone_from(&stacks.title);
    options.subtitle = Some(stacks.about.join("; ")).filter(|about| !about.is_empty());
    "us".clone_into(&mut options.count_name);
    // What is narrower than this share of a percent can be found by looking closer, but would make pictures of megabytes.
    options.min_width = 0.001;
    options.text_truncate_direction = TextTruncateDirection::Right;
    options.deterministic = true;
    options.colors =
        if stacks.off_cpu { Palette::Basic(BasicPalette::Blue) } else { Palette::Multi(MultiPalette::Perl) };
    if stacks.stacks.is_empty() {
        // A picture of nothing is one, too.
        return writeln!(out, "{}", nothing(&stacks.title));
    }
    let lines: Vec<String> = stacks.lines().collect();
    from_lines(&mut options, lines.iter().map(String::as_str), out)
}

fn nothing(title: &str) -> String {
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<?xml version=\"1.0\" standalone=\"no\"?>\n<svg version=\"1.1\" width=\"600\" height=\"40\" \
         xmlns=\"http://www.w3.org/2000/svg\"><text x=\"10\" y=\"24\">{title}</text></svg>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(stacks: &[(&str, u64)]) -> String {
        let stacks = Stacks {
            stacks: stacks.iter().map(|(stack, us)| ((*stack).to_owned(), *us)).collect(),
            title: "<time>".into(),
            about: vec!["a & b".into()],
            off_cpu: false,
        };
        let mut out = Vec::new();
        draw(&stacks, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn frames_are_as_wide_as_their_time() {
        let text = drawn(&[("main;a<T>;b", 30), ("main;c", 10)]);
        let document = roxmltree::Document::parse_with_options(
            &text,
            roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() },
        );
        let titles: Vec<String> = document
            .unwrap()
            .descendants()
            .filter(|node| node.has_tag_name("title"))
            .filter_map(|node| node.text().map(str::to_owned))
            .collect();
        for wanted in ["all (40 us, 100%)", "main (40 us, 100.00%)", "a<T> (30 us, 75.00%)", "c (10 us, 25.00%)"] {
            assert!(titles.iter().any(|title| title == wanted), "{wanted}: {titles:?}");
        }
        assert!(text.contains("&lt;time&gt;") && text.contains("a &amp; b"));
    }

    #[test]
    fn a_picture_of_nothing_is_a_picture() {
        let text = drawn(&[]);
        assert!(
            roxmltree::Document::parse_with_options(
                &text,
                roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() },
            )
            .is_ok()
        );
        assert!(text.contains("&lt;time"));
    }
}
