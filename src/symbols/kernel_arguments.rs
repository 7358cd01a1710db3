//! Words for the arguments of kernel functions, turned into what the kernel fetches.
//!
//! Owns: the grammar of such words, the walk through structures, the types of what is fetched.
//! Does not own: the types themselves (see `btf`), who defines probes (see `probe`).
//!
//! ```text
//!   [NAME=]PARAMETER { ->MEMBER | .MEMBER | [INDEX] } [:TYPE]
//!   file->f_path.dentry->d_name.name:string   becomes   name=+0(+40(+24($arg1))):string
//! ```
//! `$retval` takes the place of a parameter where a function returns. Words that begin like the kernel's own (`%di`,
//! `+8(%si)`, `@symbol`, `$stack2`, `\1`) are passed on as they are. Numbers of bytes are those of the traced kernel's BTF.
//! Source: Documentation/trace/kprobetrace.rst of Linux 6.12 for what the kernel takes.

use std::fmt;

use super::btf::{Btf, Layout, Prototype, TypeId};

/// The most elements the kernel fetches of an array.
const MAX_ELEMENTS: u32 = 64;

/// What the arguments belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionPlace<'a> {
    /// A function's entry.
    Entry(&'a str),
    /// A function's return.
    Return(&'a str),
    /// A tracepoint.
    Tracepoint(&'a str),
}

/// Why a word could not be turned into a fetch argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelArgumentError {
    /// The kernel's types do not know the function or tracepoint.
    NoPrototype(String),
    /// It has no such parameter.
    NoParameter {
        /// The word.
        name: String,
        /// Those it has.
        known: Vec<String>,
    },
    /// The structure has no such member.
    NoMember {
        /// The word.
        name: String,
        /// The structure.
        of: String,
        /// Those it has.
        known: Vec<String>,
    },
    /// Something else than a structure has no members, something else than an address is not followed.
    NotApplicable {
        /// What was to be done: `->name`, `.name` or `[0]`.
        step: String,
        /// To what.
        of: String,
    },
    /// A structure is no value: one of its members has to be named.
    Whole {
        /// Its type.
        of: String,
        /// Its members.
        known: Vec<String>,
    },
    /// The word does not follow the grammar, from this part on.
    Grammar(String),
}

impl KernelArgumentError {
    /// The names that would have been understood.
    pub fn known(&self) -> &[String] {
        match self {
            Self::NoParameter { known, .. } | Self::NoMember { known, .. } | Self::Whole { known, .. } => known,
            _ => &[],
        }
    }
}

impl fmt::Display for KernelArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPrototype(name) => write!(f, "the kernel's types (BTF) do not tell the parameters of {name}"),
            Self::NoParameter { name, known } if known.is_empty() => {
                write!(f, "there is no parameter {name}, nor any other")
            }
            Self::NoParameter { name, known } => {
                write!(f, "there is no parameter {name}; there is {}", known.join(", "))
            }
            Self::NoMember { name, of, known } => write!(f, "{of} has no member {name}; it has {}", some(known)),
            Self::NotApplicable { step, of } => write!(f, "{step} does not apply to {of}"),
            Self::Whole { of, known } => write!(f, "{of} is no single value; name one of its members: {}", some(known)),
            Self::Grammar(rest) => write!(f, "PARAMETER->MEMBER.MEMBER[INDEX]:TYPE is understood, not {rest:?}"),
        }
    }
}

impl std::error::Error for KernelArgumentError {}

/// The first names of a list that may be long.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

/// A fetch argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// What the kernel is given: `flags=+0($arg3):u64`.
    pub text: String,
    /// The name of its field and those of its values, if it is an enumeration.
    pub values: Option<(String, Vec<(i64, String)>)>,
}

impl Argument {
    /// A word that is passed on.
    fn plain(word: &str) -> Self {
        Argument { text: word.to_owned(), values: None }
    }
}

/// Turns the words for one probe's arguments into fetch arguments.
pub fn resolve(btf: &Btf, place: FunctionPlace<'_>, words: &[String]) -> Result<Vec<Argument>, KernelArgumentError> {
    let mut names: Vec<String> = Vec::new();
    let mut resolved = Vec::new();
    for word in words {
        let parsed = ArgumentText::parse(word)?;
        let Some(parsed) = parsed else {
            resolved.push(Argument::plain(word));
            continue;
        };
        let prototype = match prototype(btf, place) {
            // The kernel can fetch it without knowing its type.
            Err(_) if parsed.is_plain_return_value() => {
                resolved.push(Argument::plain(word));
                continue;
            }
            prototype => prototype?,
        };
        let (fetched, values) = fetch(btf, place, &prototype, &parsed)?;
        let name = parsed.name.clone().unwrap_or_else(|| parsed.usual_name(&names));
        names.push(name.clone());
        let values = values.filter(|values| !values.is_empty()).map(|values| (name.clone(), values));
        resolved.push(Argument { text: format!("{name}={fetched}"), values });
    }
    Ok(resolved)
}

/// Fetch arguments for all parameters, structures passed by value left out.
pub fn all(btf: &Btf, place: FunctionPlace<'_>) -> Result<Vec<Argument>, KernelArgumentError> {
    let prototype = prototype(btf, place)?;
    let words: Vec<String> = match place {
        FunctionPlace::Return(_) if matches!(btf.layout(prototype.returns), Layout::Void) => Vec::new(),
        FunctionPlace::Return(_) => vec!["ret=$retval".to_owned()],
        _ => {
            prototype.parameters.iter().filter(|(name, _)| is_identifier(name)).map(|(name, _)| name.clone()).collect()
        }
    };
    let one = |word: &String| resolve(btf, place, std::slice::from_ref(word));
    Ok(words.iter().filter_map(|word| one(word).ok()).flatten().collect())
}

fn prototype(btf: &Btf, place: FunctionPlace<'_>) -> Result<Prototype, KernelArgumentError> {
    let (found, name) = match place {
        FunctionPlace::Entry(name) | FunctionPlace::Return(name) => (btf.prototype(name), name),
        FunctionPlace::Tracepoint(name) => (btf.tracepoint(name), name),
    };
    found.ok_or_else(|| KernelArgumentError::NoPrototype(name.to_owned()))
}

/// One step through a structure.
#[derive(Clone, Debug, PartialEq, Eq)]
enum MemberStep {
    Arrow(String),
    Dot(String),
    Index(u32),
}

impl fmt::Display for MemberStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemberStep::Arrow(name) => write!(f, "->{name}"),
            MemberStep::Dot(name) => write!(f, ".{name}"),
            MemberStep::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A word taken apart.
#[derive(Debug, PartialEq, Eq)]
struct ArgumentText {
    name: Option<String>,
    parameter: String,
    steps: Vec<MemberStep>,
    kind: Option<String>,
}

impl ArgumentText {
    /// `None`: it is in the kernel's own words.
    fn parse(word: &str) -> Result<Option<ArgumentText>, KernelArgumentError> {
        let (name, body) = match word.split_once('=') {
            Some((name, body)) => (Some(name.to_owned()), body),
            None => (None, word),
        };
        let goes_on = |rest: &str| rest.is_empty() || rest.starts_with(['-', '.', '[', ':']);
        let returned = body.strip_prefix("$retval").is_some_and(goes_on);
        if body.starts_with(['%', '$', '@', '+', '-', '\\']) && !returned {
            return Ok(None);
        }
        let start = if returned { "$retval".len() } else { identifier(body) };
        if start == 0 || name.as_deref().is_some_and(|name| !is_identifier(name)) {
            return Err(KernelArgumentError::Grammar(word.to_owned()));
        }
        let mut parsed = ArgumentText { name, parameter: body[..start].to_owned(), steps: Vec::new(), kind: None };
        let mut rest = &body[start..];
        while !rest.is_empty() {
            let wrong = || KernelArgumentError::Grammar(rest.to_owned());
            if let Some(kind) = rest.strip_prefix(':') {
                parsed.kind = Some(kind.to_owned()).filter(|kind| !kind.is_empty());
                parsed.kind.as_ref().ok_or_else(wrong)?;
                break;
            }
            let (step, after) = if let Some(index) = rest.strip_prefix('[') {
                let (index, after) = index.split_once(']').ok_or_else(wrong)?;
                (MemberStep::Index(index.parse().map_err(|_| wrong())?), after)
            } else {
                let (arrow, after) = match rest.strip_prefix("->") {
                    Some(after) => (true, after),
                    None => (false, rest.strip_prefix('.').ok_or_else(wrong)?),
                };
                let end = identifier(after);
                let name = after.get(..end).filter(|name| !name.is_empty()).ok_or_else(wrong)?.to_owned();
                (if arrow { MemberStep::Arrow(name) } else { MemberStep::Dot(name) }, &after[end..])
            };
            parsed.steps.push(step);
            rest = after;
        }
        Ok(Some(parsed))
    }

    fn is_plain_return_value(&self) -> bool {
        self.parameter == "$retval" && self.steps.is_empty()
    }

    /// The last name in it; with those before it if that one is taken.
    fn usual_name(&self, taken: &[String]) -> String {
        let mut parts = vec![self.parameter.trim_start_matches('$').to_owned()];
        for step in &self.steps {
            match step {
                MemberStep::Arrow(name) | MemberStep::Dot(name) => parts.push(name.clone()),
                MemberStep::Index(index) => {
                    if let Some(last) = parts.last_mut() {
                        last.push_str(&format!("_{index}"));
                    }
                }
            }
        }
        let mut from = parts.len() - 1;
        while from > 0 && taken.contains(&parts[from..].join("_")) {
            from -= 1;
        }
        let name = parts[from..].join("_");
        if name == "retval" { "ret".to_owned() } else { name }
    }
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty() && identifier(text) == text.len()
}

/// Length of the identifier at the start.
fn identifier(text: &str) -> usize {
    let is_part = |(at, c): (usize, char)| c == '_' || c.is_ascii_alphabetic() || at > 0 && c.is_ascii_digit();
    text.char_indices().find(|&part| !is_part(part)).map_or(text.len(), |(at, _)| at)
}

/// A value on the way through structures.
#[derive(Clone, Debug)]
enum ResolvedField {
    /// It is in a register.
    Register { fetch: String, of: TypeId },
    /// It is in memory, so many bits after the address that `base` fetches.
    Memory { base: String, bit_offset: u64, of: TypeId, bits: Option<u32> },
}

impl ResolvedField {
    fn of(&self) -> TypeId {
        match self {
            ResolvedField::Register { of, .. } | ResolvedField::Memory { of, .. } => *of,
        }
    }

    /// What fetches it, as a number.
    fn fetch(&self) -> String {
        match self {
            ResolvedField::Register { fetch, .. } => fetch.clone(),
            ResolvedField::Memory { base, bit_offset, .. } => format!("+{}({base})", bit_offset / 8),
        }
    }
}

/// What fetches a value, and the names of its values if it is an enumeration.
type FetchText = (String, Option<Vec<(i64, String)>>);

fn fetch(
    btf: &Btf,
    place: FunctionPlace<'_>,
    prototype: &Prototype,
    word: &ArgumentText,
) -> Result<FetchText, KernelArgumentError> {
    let mut found = first(place, prototype, word)?;
    for step in &word.steps {
        found = follow(btf, found, step)?;
    }
    let text = typed(btf, &found, word.kind.as_deref())?;
    let is_enum = word.kind.is_none() && matches!(btf.layout(found.of()), Layout::Enum { .. });
    Ok((text, is_enum.then(|| btf.enumerators(found.of()))))
}

fn first(
    place: FunctionPlace<'_>,
    prototype: &Prototype,
    word: &ArgumentText,
) -> Result<ResolvedField, KernelArgumentError> {
    if word.parameter == "$retval" && matches!(place, FunctionPlace::Return(_)) {
        return Ok(ResolvedField::Register { fetch: "$retval".to_owned(), of: prototype.returns });
    }
    let index = prototype.parameters.iter().position(|(name, _)| *name == word.parameter);
    let Some(index) = index else {
        let mut known: Vec<String> = prototype.parameters.iter().map(|(name, _)| name.clone()).collect();
        if matches!(place, FunctionPlace::Return(_)) {
            known.push("$retval".to_owned());
        }
        return Err(KernelArgumentError::NoParameter { name: word.parameter.clone(), known });
    };
    Ok(ResolvedField::Register { fetch: format!("$arg{}", index + 1), of: prototype.parameters[index].1 })
}

fn follow(btf: &Btf, found: ResolvedField, step: &MemberStep) -> Result<ResolvedField, KernelArgumentError> {
    let refused = || KernelArgumentError::NotApplicable { step: step.to_string(), of: btf.type_name(found.of()) };
    let layout = btf.layout(found.of());
    match (step, layout, &found) {
        (MemberStep::Arrow(name), Layout::Pointer(to), _) => {
            let Layout::Composite(composite) = btf.layout(to) else { return Err(refused()) };
            let member = member(btf, composite, name)?;
            let bit_offset = u64::from(member.bit_offset);
            Ok(ResolvedField::Memory { base: found.fetch(), bit_offset, of: member.of, bits: member.bits })
        }
        (MemberStep::Dot(name), Layout::Composite(composite), ResolvedField::Memory { base, bit_offset, .. }) => {
            let member = member(btf, composite, name)?;
            let bit_offset = bit_offset.saturating_add(member.bit_offset.into());
            Ok(ResolvedField::Memory { base: base.clone(), bit_offset, of: member.of, bits: member.bits })
        }
        (MemberStep::Index(index), Layout::Array { of, count }, ResolvedField::Memory { base, bit_offset, .. })
            if *index < count || count == 0 =>
        {
            let bit_offset = bit_offset.saturating_add(element_bits(btf, of, *index));
            Ok(ResolvedField::Memory { base: base.clone(), bit_offset, of, bits: None })
        }
        (MemberStep::Index(index), Layout::Pointer(of), _) => {
            let bit_offset = element_bits(btf, of, *index);
            Ok(ResolvedField::Memory { base: found.fetch(), bit_offset, of, bits: None })
        }
        _ => Err(refused()),
    }
}

/// Where an element of an array begins.
fn element_bits(btf: &Btf, of: TypeId, index: u32) -> u64 {
    u64::from(index).saturating_mul(btf.size(of).into()).saturating_mul(8)
}

fn member(btf: &Btf, composite: TypeId, name: &str) -> Result<super::btf::Member, KernelArgumentError> {
    btf.member(composite, name).ok_or_else(|| KernelArgumentError::NoMember {
        name: name.to_owned(),
        of: btf.type_name(composite),
        known: names(btf, composite),
    })
}

fn names(btf: &Btf, composite: TypeId) -> Vec<String> {
    btf.members(composite).into_iter().map(|(name, _)| name).filter(|name| !name.is_empty()).collect()
}

/// Adds the type, the user's or the one that fits.
fn typed(btf: &Btf, found: &ResolvedField, kind: Option<&str>) -> Result<String, KernelArgumentError> {
    let fetch = found.fetch();
    let layout = btf.layout(found.of());
    let is_text = |of: TypeId| matches!(btf.layout(of), Layout::Int { is_char: true, .. });
    // Texts are fetched from an address: that of an array, or the one a pointer holds.
    let text = |kind: &str| match layout {
        Layout::Pointer(_) => format!("+0({fetch}):{kind}"),
        _ => format!("{fetch}:{kind}"),
    };
    if let Some(kind) = kind {
        let is_string =
            matches!(kind, "string" | "ustring") || kind.starts_with("string[") || kind.starts_with("ustring[");
        return Ok(if is_string { text(kind) } else { format!("{fetch}:{kind}") });
    }
    if let ResolvedField::Memory { base, bit_offset, bits: Some(bits), .. } = found {
        let container = u64::from(btf.size(found.of())).max(1) * 8;
        let start = bit_offset / container * container;
        return Ok(format!("+{}({base}):b{bits}@{}/{container}", start / 8, bit_offset - start));
    }
    let number = |bytes: u32, signed: bool| format!("{}{}", if signed { 's' } else { 'u' }, u64::from(bytes) * 8);
    match layout {
        Layout::Int { bytes, signed, .. } if bytes <= 8 => Ok(format!("{fetch}:{}", number(bytes, signed))),
        Layout::Enum { bytes, signed } if bytes <= 8 => Ok(format!("{fetch}:{}", number(bytes, signed))),
        Layout::Pointer(to) if is_text(to) => Ok(text("string")),
        Layout::Array { of, count } if count > 0 && is_text(of) => Ok(text("string")),
        Layout::Array { of, count }
            if (1..=MAX_ELEMENTS).contains(&count) && matches!(found, ResolvedField::Memory { .. }) =>
        {
            match btf.layout(of) {
                Layout::Int { bytes, signed, .. } | Layout::Enum { bytes, signed } if bytes <= 8 => {
                    Ok(format!("{fetch}:{}[{count}]", number(bytes, signed)))
                }
                Layout::Pointer(_) => Ok(format!("{fetch}:x64[{count}]")),
                _ => Err(KernelArgumentError::Whole { of: btf.type_name(found.of()), known: vec!["[0]".to_owned()] }),
            }
        }
        Layout::Composite(composite) => {
            Err(KernelArgumentError::Whole { of: btf.type_name(composite), known: names(btf, composite) })
        }
        Layout::Array { .. } => {
            Err(KernelArgumentError::Whole { of: btf.type_name(found.of()), known: vec!["[0]".to_owned()] })
        }
        Layout::Pointer(_) | Layout::Int { .. } | Layout::Enum { .. } | Layout::Float(_) | Layout::Void => {
            Ok(format!("{fetch}:x64"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::abi::{Abi, Endian};

    const ABI: Abi = Abi { endian: Endian::Little, long_bytes: 8 };

    fn btf() -> Btf {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/btf/kernel.btf");
        Btf::new(std::fs::read(path).unwrap(), ABI).unwrap()
    }

    fn one(place: FunctionPlace<'_>, word: &str) -> Result<String, KernelArgumentError> {
        resolve(&btf(), place, &[word.to_owned()]).map(|mut all| all.remove(0).text)
    }

    const WRITE: FunctionPlace<'_> = FunctionPlace::Entry("vfs_write");

    #[test]
    fn members_are_reached_through_pointers_and_structures() {
        for (word, fetch) in [
            ("file->f_path.dentry->d_name.name:string", "name=+0(+24(+16($arg1))):string"),
            ("file->f_path.dentry->d_name.name", "name=+0(+24(+16($arg1))):string"),
            ("file->f_path.dentry->d_iname", "d_iname=+32(+16($arg1)):string"),
            ("file->f_path.dentry->d_parent->d_flags", "d_flags=+0(+8(+16($arg1))):u32"),
            // Through a union and a structure that have no names.
            ("file->f_path.dentry->d_name.len", "len=+20(+16($arg1)):u32"),
            ("flags=file->f_mode:x16", "flags=+0($arg1):x16"),
            ("file->f_state", "f_state=+28($arg1):u32"),
            ("file->f_ids", "f_ids=+32($arg1):s32[4]"),
            ("file->f_ids[3]", "f_ids_3=+44($arg1):s32"),
            ("file->f_more[1].dentry", "dentry=+72($arg1):x64"),
            ("file->f_share", "f_share=+80($arg1):x64"),
            ("count", "count=$arg3:u64"),
            ("buf:ustring", "buf=+0($arg2):ustring"),
            ("file", "file=$arg1:x64"),
            ("pos[0]", "pos_0=+0($arg4):s64"),
        ] {
            assert_eq!(one(WRITE, word).as_deref(), Ok(fetch), "{word}");
        }
    }

    #[test]
    fn bit_fields_are_fetched_from_their_container() {
        assert_eq!(one(WRITE, "file->f_low").as_deref(), Ok("f_low=+24($arg1):b3@0/32"));
        assert_eq!(one(WRITE, "file->f_mid").as_deref(), Ok("f_mid=+24($arg1):b7@3/32"));
    }

    #[test]
    fn the_kernels_own_words_are_passed_on() {
        for word in ["dfd=%di:s32", "$stack2", "+8(%si):string", "@jiffies_64", "x=\\7", "$comm", "$arg2:x64"] {
            assert_eq!(one(WRITE, word).as_deref(), Ok(word));
        }
        let returned = FunctionPlace::Return("vfs_write");
        assert_eq!(one(returned, "$retval").as_deref(), Ok("ret=$retval:s64"));
        assert_eq!(one(returned, "got=$retval:s32").as_deref(), Ok("got=$retval:s32"));
        assert_eq!(
            one(FunctionPlace::Return("alloc_file"), "$retval->f_mode").as_deref(),
            Ok("f_mode=+0($retval):u32")
        );
        assert_eq!(one(FunctionPlace::Return("not_there"), "$retval").as_deref(), Ok("$retval"));
    }

    #[test]
    fn tracepoints_have_parameters_too() {
        let place = FunctionPlace::Tracepoint("file_put");
        assert_eq!(one(place, "file->f_mode").as_deref(), Ok("f_mode=+0($arg1):u32"));
        assert_eq!(one(place, "last").as_deref(), Ok("last=$arg2:u8"));
    }

    #[test]
    fn two_members_of_one_name_are_told_apart() {
        let words = ["file->f_path.dentry", "file->f_more[0].dentry"].map(str::to_owned);
        let both = resolve(&btf(), WRITE, &words).unwrap();
        let both: Vec<String> = both.into_iter().map(|argument| argument.text).collect();
        assert_eq!(both, ["dentry=+16($arg1):x64", "f_more_0_dentry=+56($arg1):x64"]);
    }

    #[test]
    fn all_parameters_are_taken_when_nothing_is_said() {
        let all_of =
            |place| all(&btf(), place).unwrap().into_iter().map(|argument| argument.text).collect::<Vec<String>>();
        assert_eq!(
            all_of(FunctionPlace::Entry("do_sys_openat2")),
            ["dfd=$arg1:s32", "filename=+0($arg2):string", "how=$arg3:x64"]
        );
        assert_eq!(all_of(FunctionPlace::Return("vfs_write")), ["ret=$retval:s64"]);
        assert!(all_of(FunctionPlace::Return("put_file")).is_empty());
        assert_eq!(all_of(FunctionPlace::Entry("put_file")), ["file=$arg1:x64"]);
    }

    #[test]
    fn what_does_not_fit_is_said_with_what_would() {
        for (word, text) in [
            ("fil", "there is no parameter fil; there is file, buf, count, pos"),
            ("$retval->f_mode", "there is no parameter $retval; there is file, buf, count, pos"),
            (
                "file->mode",
                "struct file has no member mode; it has f_mode, f_path, f_low, f_mid, f_state, f_ids, f_more, f_share",
            ),
            ("file.f_mode", ".f_mode does not apply to struct file *"),
            ("file->f_path->dentry", "->dentry does not apply to struct path"),
            ("file->f_path", "struct path is no single value; name one of its members: mnt, dentry"),
            ("file->f_ids[4]", "[4] does not apply to int[4]"),
            ("count->x", "->x does not apply to long unsigned int"),
            ("file->", "PARAMETER->MEMBER.MEMBER[INDEX]:TYPE is understood, not \"->\""),
            ("file:", "PARAMETER->MEMBER.MEMBER[INDEX]:TYPE is understood, not \":\""),
            ("", "PARAMETER->MEMBER.MEMBER[INDEX]:TYPE is understood, not \"\""),
        ] {
            assert_eq!(one(WRITE, word).map_err(|error| error.to_string()), Err(text.to_owned()), "{word}");
        }
        let unknown = one(FunctionPlace::Entry("not_there"), "x").unwrap_err().to_string();
        assert_eq!(unknown, "the kernel's types (BTF) do not tell the parameters of not_there");
    }

    #[test]
    fn enumerations_bring_the_names_of_their_values() {
        let words = ["file->f_state", "state=file->f_state", "file->f_state:x32"].map(str::to_owned);
        let values = |field: &str| Some((field.to_owned(), vec![(0, "IDLE".to_owned()), (7, "BUSY".to_owned())]));
        let resolved = resolve(&btf(), WRITE, &words).unwrap();
        let values_of: Vec<_> = resolved.into_iter().map(|argument| argument.values).collect();
        assert_eq!(values_of, [values("f_state"), values("state"), None]);
    }

    #[test]
    fn sizes_that_no_machine_has_are_survived() {
        // Types 1: an enumeration of 4 GB; 2: an array of itself; 3: a prototype with both; 4: the function `f(a, b)`.
        let words: [u32; 19] =
            [0, 6 << 24, u32::MAX, 0, 3 << 24, 0, 2, 2, 9, 0, 13 << 24 | 2, 0, 3, 1, 5, 2, 1, 12 << 24, 3];
        let (types, strings) = (words.map(u32::to_le_bytes).concat(), b"\0f\0a\0b\0");
        let mut file = vec![0x9f, 0xeb, 1, 0];
        for number in [24, 0, types.len(), types.len(), strings.len()] {
            file.extend((number as u32).to_le_bytes());
        }
        file.extend(types);
        file.extend(strings);
        let btf = Btf::new(file, ABI).unwrap();
        let words = ["a", "b", "b[3]"].map(str::to_owned);
        let one = |word: &String| resolve(&btf, FunctionPlace::Entry("f"), std::slice::from_ref(word));
        assert_eq!(one(&words[0]).unwrap()[0].text, "a=$arg1:x64");
        assert!(one(&words[1]).is_err() && one(&words[2]).is_err());
        assert_eq!(all(&btf, FunctionPlace::Entry("f")).unwrap().len(), 1);
    }

    #[test]
    fn damaged_types_are_survived() {
        let good = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/btf/kernel.btf")).unwrap();
        let words = ["file->f_path.dentry->d_name.len", "file->f_mid", "pos[0]"].map(str::to_owned);
        for at in 0..good.len() {
            for bit in [0, 3, 7] {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                if let Some(btf) = Btf::new(bad, ABI) {
                    let _ = resolve(&btf, WRITE, &words);
                    let _ = all(&btf, FunctionPlace::Tracepoint("file_put"));
                }
            }
        }
    }
}
