//! What the user typed for a probe, taken apart. Nothing here has looked at the machine.
//!
//! ```text
//! spec    [NAME=]TARGET [ARGUMENT …]          NAME is EVENT or GROUP/EVENT
//! uprobe  BINARY:PLACE[%return]               BINARY is a path, a name to search for, or a process id
//!         PLACE is 0xOFFSET, SYMBOL[+OFFSET], FILE:LINE, or a glob of symbols
//! usdt    [usdt:]BINARY:[PROVIDER:]NAME
//! kprobe  [MODULE:]FUNCTION[+OFFSET][%return[@MAXACTIVE]]
//! fprobe  FUNCTION[%return]
//! tprobe  TRACEPOINT
//! eprobe  SYSTEM:EVENT
//! ```

use std::fmt;

/// What kind of probe it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// In a program or library.
    Uprobe,
    /// One that a program or library brings along.
    Usdt,
    /// In the kernel, at any instruction.
    Kprobe,
    /// At entry and return of kernel functions, through ftrace.
    Fprobe,
    /// At a tracepoint of the kernel, with its raw arguments.
    Tprobe,
    /// At another event, with what its fields point to.
    Eprobe,
}

impl Kind {
    /// Its name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Uprobe => "uprobe",
            Kind::Usdt => "usdt",
            Kind::Kprobe => "kprobe",
            Kind::Fprobe => "fprobe",
            Kind::Tprobe => "tprobe",
            Kind::Eprobe => "eprobe",
        }
    }
}

/// Where a binary is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BinaryName {
    /// A path, or a name to be searched for.
    Named(String),
    /// Whatever a process has mapped.
    Process(i32),
}

/// A place in a binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An offset of the file.
    Offset(u64),
    /// A symbol, or a glob of symbols, and an offset after it.
    Symbol(String, u64),
    /// A source line.
    Line(String, u64),
    /// A static probe; without a provider: of any.
    Static(Option<String>, String),
}

/// What is to be probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A place in a program or library.
    User(BinaryName, Place),
    /// A function of the kernel.
    Kernel {
        /// Its module.
        module: Option<String>,
        /// Its name, or a glob.
        function: String,
        /// Where in it.
        offset: u64,
    },
    /// A tracepoint.
    Tracepoint(String),
    /// An event.
    Event {
        /// Its system.
        system: String,
        /// Its name.
        event: String,
    },
}

/// A probe as the user typed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// What kind.
    pub kind: Kind,
    /// The target's words.
    pub text: String,
    /// The group, if one was given.
    pub group: Option<String>,
    /// The event's name, if one was given.
    pub event: Option<String>,
    /// What is probed.
    pub target: Target,
    /// When the function returns, not when it is entered.
    pub returns: bool,
    /// How many calls may be under way at once.
    pub maxactive: Option<u32>,
    /// The arguments as typed.
    pub arguments: Vec<String>,
}

/// A spec that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// The words.
    pub text: String,
    /// What is wrong, and how it would be right.
    pub what: &'static str,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no probe: {}", self.text, self.what)
    }
}

impl std::error::Error for SpecError {}

impl Spec {
    /// Takes one text apart: the target, then its arguments.
    pub fn parse(kind: Kind, text: &str) -> Result<Spec, SpecError> {
        let mut words = words(text).into_iter();
        let target = words.next().unwrap_or_default();
        Spec::of(kind, &target, words.collect())
    }

    /// Takes a target apart that stands alone.
    pub fn of(kind: Kind, target: &str, arguments: Vec<String>) -> Result<Spec, SpecError> {
        let fail = |what| SpecError { text: target.to_owned(), what };
        let target = target.trim();
        let (name, bare) = split_name(target);
        let (bare, returns, maxactive) = split_return(bare).ok_or_else(|| fail("%return@N takes a number"))?;
        let (kind, bare) = match (kind, bare.strip_prefix("usdt:")) {
            (Kind::Uprobe | Kind::Usdt, Some(rest)) => (Kind::Usdt, rest),
            _ => (kind, bare),
        };
        if returns && !matches!(kind, Kind::Uprobe | Kind::Kprobe | Kind::Fprobe) {
            return Err(fail("only functions return; leave %return out"));
        }
        if maxactive.is_some() && kind != Kind::Kprobe {
            return Err(fail("only a return probe in the kernel has a number of calls under way"));
        }
        let checked = match kind {
            Kind::Uprobe => user(bare),
            Kind::Usdt => usdt(bare),
            Kind::Kprobe | Kind::Fprobe => kernel(bare),
            Kind::Tprobe => plain(bare).map(|name| Target::Tracepoint(name.to_owned())),
            Kind::Eprobe => event(bare),
        };
        let target_of = checked.map_err(fail)?;
        if returns && matches!(&target_of, Target::User(_, Place::Symbol(_, 1..) | Place::Line(..))) {
            return Err(fail("a return probe belongs to a whole function; name its beginning"));
        }
        if returns && matches!(target_of, Target::Kernel { offset: 1.., .. }) {
            return Err(fail("a return probe belongs to a whole function; leave the offset out"));
        }
        let (group, event) = name.map_or((None, None), |(group, event)| (group, Some(event)));
        Ok(Spec { kind, text: target.to_owned(), group, event, target: target_of, returns, maxactive, arguments })
    }

    /// The same place, when the function returns.
    pub fn returning(mut self) -> Result<Spec, SpecError> {
        if self.returns {
            return Ok(self);
        }
        self.text.push_str("%return");
        let arguments = std::mem::take(&mut self.arguments);
        let mut spec = Spec::of(self.kind, &self.text, arguments)?;
        (spec.group, spec.event) = (self.group, self.event);
        Ok(spec)
    }

    /// Whether it may stand for many places.
    pub fn is_glob(&self) -> bool {
        match &self.target {
            Target::User(_, Place::Symbol(word, _)) => is_glob(word),
            Target::User(_, Place::Static(provider, name)) => is_glob(name) || provider.as_deref().is_some_and(is_glob),
            Target::Kernel { function, .. } => is_glob(function),
            _ => false,
        }
    }
}

/// Whether a word is a glob. `operator*` and `f(char*)` are names of C++, not globs.
pub fn is_glob(word: &str) -> bool {
    word.contains(['*', '?', '[']) && !word.contains("operator") && !word.contains('(')
}

/// Splits at blanks, but not inside parentheses and angle brackets: C++ names have blanks.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut depth) = (Vec::new(), String::new(), 0i32);
    let mut last = ' ';
    for c in text.chars() {
        match c {
            '(' | '<' => depth += 1,
            // `->` is no bracket.
            '>' if last == '-' => {}
            ')' | '>' => depth = (depth - 1).max(0),
            _ => {}
        }
        if c.is_whitespace() && depth == 0 {
            words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
        } else {
            word.push(c);
        }
        last = c;
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// Group and event in front of `=`.
type Name = (Option<String>, String);

/// `NAME=rest`, where NAME can be an event's name.
fn split_name(text: &str) -> (Option<Name>, &str) {
    let Some((name, rest)) = text.split_once('=') else { return (None, text) };
    let (group, event) = match name.split_once('/') {
        Some((group, event)) => (Some(group), event),
        None => (None, name),
    };
    if is_identifier(event) && group.is_none_or(is_identifier) {
        return (Some((group.map(str::to_owned), event.to_owned())), rest);
    }
    (None, text)
}

/// Whether the kernel takes it as the name of an event or a field.
pub fn is_identifier(word: &str) -> bool {
    let starts = word.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    starts && word.len() < 64 && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Takes `%return` and `%return@N` off the end; none if N is no number.
fn split_return(text: &str) -> Option<(&str, bool, Option<u32>)> {
    if let Some(bare) = text.strip_suffix("%return") {
        return Some((bare, true, None));
    }
    match text.rsplit_once("%return@") {
        Some((bare, number)) => Some((bare, true, Some(number.parse().ok().filter(|&n| n > 0)?))),
        None => Some((text, false, None)),
    }
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn binary(name: &str) -> Result<BinaryName, &'static str> {
    if name.is_empty() {
        return Err("a program, library or process id stands before the colon");
    }
    let pid = name.bytes().all(|b| b.is_ascii_digit()).then(|| name.parse::<i32>());
    match pid {
        Some(Ok(pid)) if pid > 0 => Ok(BinaryName::Process(pid)),
        Some(_) => Err("that is no process id; write ./NAME for a file of that name"),
        None => Ok(BinaryName::Named(name.to_owned())),
    }
}

fn user(text: &str) -> Result<Target, &'static str> {
    let how = "write BINARY:0xOFFSET, BINARY:SYMBOL or BINARY:FILE:LINE";
    let (name, place) = text.split_once(':').ok_or(how)?;
    let binary = binary(name)?;
    if place.is_empty() {
        return Err(how);
    }
    if place.starts_with(|c: char| c.is_ascii_digit()) {
        let offset = number(place).ok_or("an offset is a number, as in BINARY:0x1139")?;
        return Ok(Target::User(binary, Place::Offset(offset)));
    }
    if let Some((file, line)) = place.rsplit_once(':')
        && !file.is_empty()
        && !file.ends_with(':')
        && line.bytes().all(|b| b.is_ascii_digit())
    {
        let line = line.parse().ok().filter(|&line| line > 0).ok_or("lines count from 1")?;
        return Ok(Target::User(binary, Place::Line(file.to_owned(), line)));
    }
    let (symbol, offset) = symbol(place)?;
    Ok(Target::User(binary, Place::Symbol(symbol.to_owned(), offset)))
}

/// `NAME+OFFSET`; names of C++ may have a `+` in them.
fn symbol(text: &str) -> Result<(&str, u64), &'static str> {
    match text.rsplit_once('+') {
        Some((name, offset)) if !name.is_empty() && offset.starts_with(|c: char| c.is_ascii_digit()) => {
            if is_glob(name) {
                return Err("an offset belongs to one function, not to a glob");
            }
            number(offset).map(|offset| (name, offset)).ok_or("the offset behind + is no number")
        }
        _ => Ok((text, 0)),
    }
}

fn usdt(text: &str) -> Result<Target, &'static str> {
    let how = "write BINARY:PROVIDER:NAME";
    let (name, probe) = text.split_once(':').ok_or(how)?;
    let binary = binary(name)?;
    let (provider, probe) = match probe.split_once(':') {
        Some((provider, probe)) => (Some(provider.to_owned()), probe),
        None => (None, probe),
    };
    if probe.is_empty() || provider.as_deref() == Some("") {
        return Err(how);
    }
    Ok(Target::User(binary, Place::Static(provider, probe.to_owned())))
}

fn kernel(text: &str) -> Result<Target, &'static str> {
    let (module, rest) = match text.split_once(':') {
        Some((module, rest)) => (Some(module.to_owned()), rest),
        None => (None, text),
    };
    let (function, offset) = symbol(rest)?;
    if function.is_empty() || module.as_deref() == Some("") || function.contains(['/', ' ', ':']) {
        return Err("write FUNCTION, FUNCTION+OFFSET or MODULE:FUNCTION");
    }
    Ok(Target::Kernel { module, function: function.to_owned(), offset })
}

fn plain(text: &str) -> Result<&str, &'static str> {
    // The system of a tracepoint is not part of its name.
    let name = text.rsplit(':').next().unwrap_or(text);
    if is_identifier(name) { Ok(name) } else { Err("write the name of a tracepoint, as in sched_switch") }
}

fn event(text: &str) -> Result<Target, &'static str> {
    let parts = text.split_once([':', '.', '/']);
    let (system, event) = parts.ok_or("write SYSTEM:EVENT, as in sched:sched_switch")?;
    if !is_identifier(event) || system.is_empty() {
        return Err("write SYSTEM:EVENT, as in sched:sched_switch");
    }
    Ok(Target::Event { system: system.to_owned(), event: event.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        let Target::User(_, place) = Spec::parse(Kind::Uprobe, text).unwrap().target else { panic!("{text}") };
        place
    }

    #[test]
    fn places_of_user_probes_are_told_apart() {
        assert_eq!(place("./prog:0x1139"), Place::Offset(0x1139));
        assert_eq!(place("prog:main"), Place::Symbol("main".into(), 0));
        assert_eq!(place("prog:main+0x10"), Place::Symbol("main".into(), 16));
        assert_eq!(place("prog:src/a.c:12"), Place::Line("src/a.c".into(), 12));
        assert_eq!(place("prog:ns::f"), Place::Symbol("ns::f".into(), 0));
        assert_eq!(place("prog:operator+"), Place::Symbol("operator+".into(), 0));
        assert_eq!(place("prog:ns::f(int, char)"), Place::Symbol("ns::f(int, char)".into(), 0));
        assert_eq!(place("usdt:libc:libc:setjmp"), Place::Static(Some("libc".into()), "setjmp".into()));
        let Target::User(binary, _) = Spec::parse(Kind::Uprobe, "42:main").unwrap().target else { panic!() };
        assert_eq!(binary, BinaryName::Process(42));
    }

    #[test]
    fn names_returns_and_arguments_are_taken_off() {
        let spec = Spec::parse(Kind::Uprobe, "mine/alloc=libc:malloc%return  p=$retval:x64 who=$comm").unwrap();
        assert_eq!((spec.group.as_deref(), spec.event.as_deref(), spec.returns), (Some("mine"), Some("alloc"), true));
        assert_eq!(spec.arguments, ["p=$retval:x64", "who=$comm"]);
        let spec = Spec::parse(Kind::Kprobe, "ext4:ext4_open%return@64").unwrap();
        assert_eq!(spec.maxactive, Some(64));
        assert_eq!(
            spec.target,
            Target::Kernel { module: Some("ext4".into()), function: "ext4_open".into(), offset: 0 }
        );
        let spec = Spec::parse(Kind::Uprobe, "prog:A::operator==").unwrap();
        assert_eq!(
            (spec.event, spec.target),
            (None, Target::User(BinaryName::Named("prog".into()), Place::Symbol("A::operator==".into(), 0)))
        );
        assert!(Spec::parse(Kind::Uprobe, "libc:mem*").unwrap().is_glob());
        assert_eq!(Spec::parse(Kind::Uprobe, "p:f").unwrap().returning().unwrap().text, "p:f%return");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (kind, text) in [
            (Kind::Uprobe, ""),
            (Kind::Uprobe, "prog"),
            (Kind::Uprobe, ":main"),
            (Kind::Uprobe, "prog:"),
            (Kind::Uprobe, "prog:0xzz"),
            (Kind::Uprobe, "prog:a.c:0"),
            (Kind::Uprobe, "prog:main+4%return"),
            (Kind::Uprobe, "prog:main%return@4"),
            (Kind::Uprobe, "prog:mem*+4"),
            (Kind::Usdt, "libc"),
            (Kind::Usdt, "libc:p:n%return"),
            (Kind::Kprobe, "vfs_read+4%return"),
            (Kind::Kprobe, "vfs_read%return@x"),
            (Kind::Tprobe, "sched_switch%return"),
            (Kind::Eprobe, "sched_switch"),
        ] {
            assert!(Spec::parse(kind, text).is_err(), "{text}");
        }
    }
}
