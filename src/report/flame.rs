//! Flame graphs: stacks with their time as a picture that a browser shows and lets be looked at closer.
//!
//! Owns: the tree of frames, its layout, the SVG and the script in it. Does not own: where stacks and their time come from.
//! Units: time in nanoseconds; the picture in pixels. A frame is as wide as its share of all time, exactly: what is narrower
//! than a pixel is there too, for whoever looks closer.
//!
//! The crate that is commonly used for this, inferno, has a licence (CDDL) that this program's do not go with.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

const WIDTH: f64 = 1200.0;
const MARGIN: f64 = 10.0;
/// Height of a frame, and where the lowest line of its text is.
const ROW: f64 = 17.0;
const BASELINE: f64 = 12.5;
/// Height of a line of the heading.
const HEADING: f64 = 18.0;
/// Width of a letter.
const LETTER: f64 = 7.2;

/// What stands above the picture.
#[derive(Clone, Debug, Default)]
pub struct Heading {
    /// The first line.
    pub title: String,
    /// More of them: what the widths mean.
    pub about: Vec<String>,
}

/// A function and what it called.
#[derive(Debug, Default)]
struct Frame<'n> {
    ns: u64,
    callees: BTreeMap<&'n str, Frame<'n>>,
}

impl Frame<'_> {
    fn depth(&self) -> usize {
        1 + self.callees.values().map(Frame::depth).max().unwrap_or(0)
    }
}

/// Draws stacks (names with `;` between them, the outermost first) with the time of each.
pub fn draw(stacks: &BTreeMap<String, u64>, heading: &Heading, out: &mut dyn Write) -> io::Result<()> {
    let mut all = Frame::default();
    for (stack, ns) in stacks.iter().filter(|(_, ns)| **ns > 0) {
        all.ns += ns;
        let mut frame = &mut all;
        for name in stack.split(';') {
            frame = frame.callees.entry(name).or_default();
            frame.ns += ns;
        }
    }
    let top = MARGIN + HEADING * (heading.about.len() + 2) as f64;
    let height = top + ROW * all.depth() as f64 + MARGIN;
    let mut picture = Picture { out, total: all.ns.max(1), bottom: height - MARGIN - ROW };
    picture.begin(heading, height)?;
    picture.frame("all", &all, 0, 0)?;
    writeln!(picture.out, "</svg>")
}

struct Picture<'o> {
    out: &'o mut dyn Write,
    total: u64,
    /// Upper edge of the lowest row.
    bottom: f64,
}

impl Picture<'_> {
    fn begin(&mut self, heading: &Heading, height: f64) -> io::Result<()> {
        let out = &mut self.out;
        writeln!(
            out,
            r#"<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" data-total="{}">
<style>text {{ font: 12px monospace; fill: black; }} .f {{ cursor: pointer; }} .f:hover rect {{ stroke: black; }}
.found rect {{ fill: orchid; }} #title {{ font-size: 15px; }}</style>
<rect width="100%" height="100%" fill="whitesmoke"/>"#,
            self.total
        )?;
        let line = |id: &str, number: usize, text: &str| {
            let y = MARGIN + HEADING * (number as f64 + 0.7);
            format!(r#"<text id="{id}" x="{MARGIN}" y="{y:.1}">{}</text>"#, escaped(text))
        };
        writeln!(out, "{}", line("title", 0, &heading.title))?;
        for (number, text) in heading.about.iter().enumerate() {
            writeln!(out, "{}", line("about", number + 1, text).replacen(r#" id="about""#, "", 1))?;
        }
        writeln!(out, "{}", line("said", heading.about.len() + 1, "click: closer, escape: all, /: find"))?;
        writeln!(out, "<script><![CDATA[{SCRIPT}]]></script>")
    }

    fn frame(&mut self, name: &str, frame: &Frame<'_>, from: u64, depth: usize) -> io::Result<()> {
        let share = |ns: u64| ns as f64 / self.total as f64;
        let (x, width) = (MARGIN + share(from) * (WIDTH - 2.0 * MARGIN), share(frame.ns) * (WIDTH - 2.0 * MARGIN));
        let y = self.bottom - ROW * depth as f64;
        let percent = share(frame.ns) * 100.0;
        writeln!(
            self.out,
            r#"<g class="f" data-from="{from}" data-ns="{}"><title>{} ({}, {percent:.2}%)</title><rect x="{x:.4}" y="{y:.1}" width="{width:.4}" height="{:.1}" fill="{}"/><text x="{:.4}" y="{:.1}">{}</text></g>"#,
            frame.ns,
            escaped(name),
            told(frame.ns),
            ROW - 1.0,
            colour(name),
            x + 3.0,
            y + BASELINE,
            escaped(&label(name, width)),
        )?;
        let mut from = from;
        for (name, callee) in &frame.callees {
            self.frame(name, callee, from, depth + 1)?;
            from += callee.ns;
        }
        Ok(())
    }
}

/// As much of a name as there is room for.
fn label(name: &str, width: f64) -> String {
    let room = ((width - 6.0) / LETTER).max(0.0) as usize;
    match name.chars().count() {
        count if count <= room => name.to_owned(),
        _ if room < 3 => String::new(),
        _ => name.chars().take(room - 2).chain("..".chars()).collect(),
    }
}

/// `1.234 ms`.
fn told(ns: u64) -> String {
    format!("{}.{:06} ms", ns / 1_000_000, ns % 1_000_000)
}

/// The same for the same name: warm for what ran, cold for what waited.
fn colour(name: &str) -> String {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let (hue, light) = (hash % 45, 62 + (hash >> 8) % 12);
    let hue = if name.starts_with('[') && name.ends_with(']') { 195 + hue / 2 } else { 10 + hue };
    format!("hsl({hue},80%,{light}%)")
}

/// A text as XML has it; characters that XML does not know become spaces.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.push(' '),
            '\x7f'..='\u{9f}' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// A click on a frame makes it as wide as the picture; what is found by its name is told by its share.
const SCRIPT: &str = r#"
(function () {
  const svg = document.documentElement, total = Number(svg.dataset.total), margin = 10, wide = 1180;
  const frames = Array.from(document.querySelectorAll("g.f")).map(function (g) {
    return { g: g, rect: g.querySelector("rect"), text: g.querySelector("text"), from: Number(g.dataset.from),
      ns: Number(g.dataset.ns), full: g.querySelector("title").textContent.replace(/ \([^(]*\)$/, "") };
  });
  const said = document.getElementById("said"), hint = said.textContent;
  function show(from, ns) {
    frames.forEach(function (f) {
      const left = Math.max(f.from, from), right = Math.min(f.from + f.ns, from + ns);
      const width = (right - left) / ns * wide, x = margin + (left - from) / ns * wide;
      f.g.style.display = width > 0 ? "" : "none";
      if (width <= 0) return;
      f.rect.setAttribute("x", x);
      f.rect.setAttribute("width", width);
      f.text.setAttribute("x", x + 3);
      const room = Math.floor((width - 6) / 7.2);
      f.text.textContent = f.full.length <= room ? f.full : room < 3 ? "" : f.full.slice(0, room - 2) + "..";
    });
  }
  function find(word) {
    let end = 0, sum = 0;
    frames.map(function (f) {
      const found = word !== "" && f.full.includes(word);
      f.g.classList.toggle("found", found);
      return found ? f : null;
    }).filter(Boolean).sort(function (a, b) { return a.from - b.from || b.ns - a.ns; }).forEach(function (f) {
      const from = Math.max(f.from, end);
      if (f.from + f.ns > from) { sum += f.from + f.ns - from; end = f.from + f.ns; }
    });
    said.textContent = word === "" ? hint : word + ": " + (sum / total * 100).toFixed(2) + "%";
  }
  frames.forEach(function (f) { f.g.addEventListener("click", function () { show(f.from, f.ns); }); });
  window.addEventListener("keydown", function (event) {
    if (event.key === "Escape") { show(0, total); find(""); }
    if (event.key === "/") { event.preventDefault(); find(prompt("part of a name") || ""); }
  });
})();
"#;

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, depth from the bottom, beginning and width of each frame, in shares of the whole.
    fn frames(text: &str) -> Vec<(String, i64, f64, f64)> {
        let document = roxmltree::Document::parse(text).unwrap();
        let groups = document.descendants().filter(|node| node.attribute("class") == Some("f"));
        let bottom = |rect: &roxmltree::Node<'_, '_>| rect.attribute("y").unwrap().parse::<f64>().unwrap();
        let mut lowest = None;
        groups
            .map(|group| {
                let child = |name: &str| group.children().find(|child| child.has_tag_name(name)).unwrap();
                let (rect, title) = (child("rect"), child("title").text().unwrap().to_owned());
                let number = |key: &str| rect.attribute(key).unwrap().parse::<f64>().unwrap();
                let lowest = *lowest.get_or_insert(bottom(&rect));
                let depth = ((lowest - bottom(&rect)) / ROW).round() as i64;
                let all = WIDTH - 2.0 * MARGIN;
                let name = title.rsplit_once(" (").unwrap().0.to_owned();
                (name, depth, (number("x") - MARGIN) / all, number("width") / all)
            })
            .collect()
    }

    fn drawn(stacks: &[(&str, u64)]) -> String {
        let stacks = stacks.iter().map(|(stack, ns)| ((*stack).to_owned(), *ns)).collect();
        let heading = Heading { title: "a < b & \"c\"\u{1}".into(), about: vec!["one".into(), "two".into()] };
        let mut out = Vec::new();
        draw(&stacks, &heading, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn frames_lie_on_their_callers_and_are_as_wide_as_their_time() {
        let text =
            drawn(&[("p;main;a", 250), ("p;main", 250), ("p;main;b<int>;[blocked]", 500), ("q", 1000), ("z", 0)]);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-6;
        let wanted = [
            ("all", 0, 0.0, 1.0),
            ("p", 1, 0.0, 0.5),
            ("main", 2, 0.0, 0.5),
            ("a", 3, 0.0, 0.125),
            ("b<int>", 3, 0.125, 0.25),
            ("[blocked]", 4, 0.125, 0.25),
            ("q", 1, 0.5, 0.5),
        ];
        let found = frames(&text);
        assert_eq!(found.len(), wanted.len(), "{found:?}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert_eq!((found.0.as_str(), found.1), (wanted.0, wanted.1));
            assert!(close(found.2, wanted.2) && close(found.3, wanted.3), "{found:?}");
        }
        let document = roxmltree::Document::parse(&text).unwrap();
        let title = document.descendants().find(|node| node.attribute("id") == Some("title")).unwrap();
        assert_eq!(title.text(), Some("a < b & \"c\" "));
    }

    #[test]
    fn a_picture_of_nothing_is_a_picture() {
        assert_eq!(frames(&drawn(&[])).len(), 1);
    }

    #[test]
    fn names_are_cut_where_there_is_no_room() {
        assert_eq!(["abcdef", "abcdefgh"].map(|name| label(name, 6.0 + 6.0 * LETTER)), ["abcdef", "abcd.."]);
        assert_eq!(label("abcdef", 10.0), "");
    }

    #[test]
    fn what_waited_is_of_another_colour() {
        let hue = |name: &str| -> u32 { colour(name)[4..].split(',').next().unwrap().parse().unwrap() };
        assert!(hue("main") < 60 && hue("[blocked]") > 180);
        assert_eq!(colour("main"), colour("main"));
    }
}
