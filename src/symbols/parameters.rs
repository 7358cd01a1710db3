//! Variables of a program as the kernel's fetch arguments: `t->name` becomes `name=+4(%si):string`.
//!
//! Owns: which variables there are at an address, the expressions over them, the text the kernel takes.
//! Does not own: where they are (see `locations`), what they are (see `types`).
//!
//! ```text
//! expression  [*…] NAME { ->MEMBER | .MEMBER | [NUMBER] } [:TYPE]     TYPE is one of the kernel's: u32, x64, string, …
//! ```

use super::binary::Binary;
use super::dwarf::Dwarf;
use super::locations::{Base, Location, Spot, register_name};
use super::types::{Die, Type};

/// The most elements of an array that are captured.
const MAX_ELEMENTS: u64 = 64;
/// The most members of a structure that are captured when nothing was said.
const MAX_MEMBERS: usize = 16;

/// Why a variable cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VariableError {
    /// No variable, or no member, of this name; these there are.
    Unknown {
        /// What was looked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// It is there, but cannot be fetched.
    Nowhere(String),
    /// It is there once the function has set up its frame: behind this address.
    Later,
    /// It is a structure; one of these members has to be named.
    Whole(Vec<String>),
    /// The expression cannot be meant.
    Syntax(&'static str),
}

/// A fetch argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The name of the field.
    pub name: String,
    /// What the kernel is told: `+4(%si):string`.
    pub text: String,
    /// Names of its values, if it is an enumeration.
    pub values: Vec<(i64, String)>,
}

/// The variables that can be seen at an address.
pub struct Scope<'d> {
    binary: &'d Binary,
    address: u64,
    is_entry: bool,
    function: Die<'d>,
    /// Those of inner blocks last; a parameter or not.
    variables: Vec<(String, Die<'d>, bool)>,
}

/// Where a value is, in the kernel's words.
#[derive(Clone, Debug)]
enum Place {
    /// The text of a value: `%di`, `\5`.
    Value(String),
    /// Some bytes of a value.
    Part(String, u64),
    /// Memory at an offset from the text of an address.
    Memory(String, i64),
    /// Memory of the file, at an address of it.
    File(i64),
}

impl Place {
    /// The text that fetches a value of the type that follows.
    fn text(&self, offset_of_file: impl Fn(i64) -> Option<i64>) -> Option<String> {
        match self {
            Place::Value(text) | Place::Part(text, _) => Some(text.clone()),
            Place::Memory(base, offset) => Some(format!("{offset:+}({base})")),
            Place::File(address) => offset_of_file(*address).map(|offset| format!("@+{offset}")),
        }
    }
}

impl Dwarf {
    /// The variables that can be seen at an address. `entry` is where its function begins.
    pub fn scope<'d>(&'d self, binary: &'d Binary, address: u64, entry: Option<u64>) -> Option<Scope<'d>> {
        let unit = self.unit_of(address)?;
        let function = self.function_at(unit, address)?;
        let is_entry = entry == Some(address);
        let mut scope = Scope { binary, address, is_entry, function, variables: Vec::new() };
        scope.collect(&function, 0);
        Some(scope)
    }

    fn function_at<'d>(&'d self, unit: &'d gimli::Unit<super::dwarf::Slice>, address: u64) -> Option<Die<'d>> {
        let mut entries = unit.entries();
        while let Ok(Some(entry)) = entries.next_dfs() {
            if entry.tag() == gimli::DW_TAG_subprogram {
                let die = Die { dwarf: self, unit, offset: entry.offset() };
                if die.covers(address) {
                    return Some(die);
                }
            }
        }
        None
    }
}

impl Die<'_> {
    /// Whether its code has this address.
    fn covers(&self, address: u64) -> bool {
        let Some(entry) = self.entry() else { return false };
        let Ok(mut ranges) = self.dwarf.sections().die_ranges(self.unit, &entry) else { return false };
        while let Ok(Some(range)) = ranges.next() {
            if range.begin <= address && address < range.end {
                return true;
            }
        }
        false
    }
}

impl<'d> Scope<'d> {
    fn collect(&mut self, block: &Die<'d>, depth: usize) {
        for child in block.children() {
            let Some(tag) = child.entry().map(|entry| entry.tag()) else { continue };
            let parameter = tag == gimli::DW_TAG_formal_parameter;
            if parameter || tag == gimli::DW_TAG_variable {
                self.variables.extend(child.name().map(|name| (name, child, parameter)));
            }
            let inlined = tag == gimli::DW_TAG_inlined_subroutine;
            // What is inlined at the very beginning is not what a probe of the function means.
            let inner = tag == gimli::DW_TAG_lexical_block || inlined && !self.is_entry;
            if inner && depth < 64 && child.covers(self.address) {
                if inlined {
                    // Its parameters come in place of those of the function around it.
                    self.variables.iter_mut().for_each(|(_, _, parameter)| *parameter = false);
                }
                self.collect(&child, depth + 1);
            }
        }
    }

    /// The name of the function.
    pub fn function(&self) -> Option<String> {
        self.function.name()
    }

    /// The names of all variables.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.variables.iter().map(|(name, ..)| name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// All parameters, each with what it is fetched by, or why it cannot be.
    pub fn parameters(&self) -> Vec<(String, Result<Vec<Fetch>, VariableError>)> {
        let parameters = self.variables.iter().filter(|(_, _, parameter)| *parameter);
        parameters.map(|(name, die, _)| (name.clone(), self.whole(name, die))).collect()
    }

    /// What the function returns, in the kernel's words; none if that is nothing.
    pub fn returned(&self) -> Option<Fetch> {
        let of = self.function.type_of()?;
        let text = match of.resolved() {
            Type::Pointer(Some(to)) if is_char(&to) => "+0($retval):string".to_owned(),
            Type::Struct(_) | Type::Array(..) | Type::Float(_) | Type::Other => return None,
            kind => format!("$retval:{}", scalar(&kind)?),
        };
        Some(Fetch { name: "retval".to_owned(), text, values: values(&of) })
    }

    /// All of a variable: itself, or the members of a structure.
    fn whole(&self, name: &str, die: &Die<'d>) -> Result<Vec<Fetch>, VariableError> {
        let of = die.type_of().ok_or_else(|| VariableError::Nowhere("its type is not known".to_owned()))?;
        let of_struct = match of.resolved() {
            Type::Struct(of_struct) => of_struct,
            Type::Reference(Some(to)) => match to.resolved() {
                Type::Struct(of_struct) => of_struct,
                _ => return self.fetch(name).map(|fetch| vec![fetch]),
            },
            _ => return self.fetch(name).map(|fetch| vec![fetch]),
        };
        let members: Vec<String> = of_struct.members().into_iter().filter_map(|member| member.name).collect();
        let mut fetched = Vec::new();
        let mut first = None;
        for member in members.iter().take(MAX_MEMBERS) {
            match self.fetch(&format!("{name}.{member}")) {
                Ok(fetch) => fetched.push(Fetch { name: format!("{}_{}", word(name), fetch.name), ..fetch }),
                Err(VariableError::Later) => return Err(VariableError::Later),
                Err(error) => first = first.or(Some(error)),
            }
        }
        match first {
            Some(error) if fetched.is_empty() => Err(error),
            _ => Ok(fetched),
        }
    }

    /// What an expression is fetched by.
    pub fn fetch(&self, expression: &str) -> Result<Fetch, VariableError> {
        let (path, cast) = split_cast(expression);
        let steps = parse(path)?;
        let (mut place, mut of) = self.start(&steps.name)?;
        let mut name = steps.name.clone();
        let mut bits = None;
        for step in &steps.steps {
            bits = None;
            match step {
                Step::Member(member, arrow) => {
                    let found = self.member(&mut place, of, member, *arrow)?;
                    (of, bits) = (found.0, found.1);
                    name.clone_from(member);
                }
                Step::Index(index) => of = self.element(&mut place, of, *index)?,
            }
        }
        for _ in 0..steps.derefs {
            of = self.pointed(&mut place, of)?;
        }
        let text = self.finish(place, of, bits, cast)?;
        let values = match of {
            Some(of) if cast.is_none() => values(&of),
            _ => Vec::new(),
        };
        Ok(Fetch { name: word(&name), text, values })
    }

    fn start(&self, name: &str) -> Result<(Place, Option<Die<'d>>), VariableError> {
        let found = self.variables.iter().rev().find(|(known, ..)| known == name);
        let Some((_, die, _)) = found else {
            return Err(VariableError::Unknown { name: name.to_owned(), known: self.names() });
        };
        let spot = Spot { binary: self.binary, address: self.address, is_entry: self.is_entry };
        let place = self.place(spot.locate(die, &self.function))?;
        Ok((place, die.type_of()))
    }

    fn place(&self, location: Location) -> Result<Place, VariableError> {
        match location {
            Location::Register(number) => self.register(number).map(Place::Value),
            Location::Memory(Base::File, address) => Ok(Place::File(address)),
            Location::Memory(base, offset) => Ok(Place::Memory(self.base(&base)?, offset)),
            Location::OwnFrame => Err(VariableError::Later),
            Location::Constant(value) => Ok(Place::Value(format!("\\{value}"))),
            Location::Pieces(pieces) => match pieces.into_iter().next() {
                // The other pieces are found by the members in them.
                Some((Some(first), _)) => self.place(first),
                _ => Err(VariableError::Nowhere("only a part of it is kept at this place".to_owned())),
            },
            Location::Nowhere(why) => Err(VariableError::Nowhere(why.to_owned())),
        }
    }

    fn register(&self, number: u16) -> Result<String, VariableError> {
        register_name(self.binary.machine(), number).ok_or_else(|| {
            VariableError::Nowhere("it is in a register that the kernel does not keep for probes".to_owned())
        })
    }

    fn base(&self, base: &Base) -> Result<String, VariableError> {
        match base {
            Base::Register(number) => self.register(*number),
            Base::Load(inner, offset) if **inner == Base::File => {
                let offset = self.file_offset(*offset);
                offset
                    .map(|offset| format!("@+{offset}"))
                    .ok_or(VariableError::Syntax("its address is not in the file"))
            }
            Base::Load(inner, offset) => Ok(format!("{offset:+}({})", self.base(inner)?)),
            Base::File => Err(VariableError::Syntax("its address is not in the file")),
        }
    }

    /// What the kernel has to be told for an address of the file: it adds where the probed segment was loaded, and
    /// counts as if everything were mapped as that one is.
    fn file_offset(&self, address: i64) -> Option<i64> {
        let probed = self.binary.code_offset(self.address)?;
        let offset = address.wrapping_sub(self.address as i64).wrapping_add(probed as i64);
        (offset >= 0).then_some(offset)
    }

    /// Goes to what a pointer points to.
    fn pointed(&self, place: &mut Place, of: Option<Die<'d>>) -> Result<Option<Die<'d>>, VariableError> {
        match of.map(|of| of.resolved()) {
            Some(Type::Pointer(to) | Type::Reference(to)) => {
                let text = self.text(place)?;
                *place = Place::Memory(text, 0);
                Ok(to)
            }
            _ => Err(VariableError::Syntax("only a pointer points to something")),
        }
    }

    fn text(&self, place: &Place) -> Result<String, VariableError> {
        place.text(|address| self.file_offset(address)).ok_or(VariableError::Syntax("its address is not in the file"))
    }

    #[allow(clippy::type_complexity)]
    fn member(
        &self,
        place: &mut Place,
        of: Option<Die<'d>>,
        name: &str,
        arrow: bool,
    ) -> Result<(Option<Die<'d>>, Option<(u64, u64)>), VariableError> {
        let mut of = of;
        let hidden = matches!(of.map(|of| of.resolved()), Some(Type::Reference(_)));
        if arrow || hidden {
            of = self.pointed(place, of)?;
        }
        let Some(Type::Struct(of_struct)) = of.map(|of| of.resolved()) else {
            let pointer = matches!(of.map(|of| of.resolved()), Some(Type::Pointer(_)));
            return Err(VariableError::Syntax(if pointer {
                "it is a pointer; its members are behind ->"
            } else {
                "it has no members"
            }));
        };
        let members = of_struct.members();
        let Some(member) = members.iter().find(|member| member.name.as_deref() == Some(name)) else {
            let known = members.iter().filter_map(|member| member.name.clone()).collect();
            return Err(VariableError::Unknown { name: name.to_owned(), known });
        };
        let into = member.place;
        match place {
            Place::Memory(_, offset) | Place::File(offset) => *offset = offset.wrapping_add(into as i64),
            Place::Value(text) if into < 8 => *place = Place::Part(text.clone(), into),
            Place::Part(_, before) if *before + into < 8 => *before += into,
            _ => return Err(VariableError::Nowhere("it is not in the first register of a structure".to_owned())),
        }
        Ok((member.type_of, member.bits))
    }

    fn element(&self, place: &mut Place, of: Option<Die<'d>>, index: u64) -> Result<Option<Die<'d>>, VariableError> {
        let element = match of.map(|of| of.resolved()) {
            Some(Type::Array(element, _)) => element,
            Some(Type::Pointer(_)) => self.pointed(place, of)?,
            _ => return Err(VariableError::Syntax("only an array or a pointer has elements")),
        };
        let size = element.map_or(0, |element| element.size());
        let into = i64::try_from(size.saturating_mul(index)).unwrap_or(i64::MAX);
        match place {
            Place::Memory(_, offset) | Place::File(offset) => *offset = offset.saturating_add(into),
            _ => return Err(VariableError::Nowhere("elements are fetched from memory only".to_owned())),
        }
        Ok(element)
    }

    /// The text with its type.
    fn finish(
        &self,
        place: Place,
        of: Option<Die<'d>>,
        bits: Option<(u64, u64)>,
        cast: Option<&str>,
    ) -> Result<String, VariableError> {
        let mut place = place;
        let mut kind = of.map_or(Type::Other, |of| of.resolved());
        if let Type::Reference(to) = kind {
            let text = self.text(&place)?;
            place = Place::Memory(text, 0);
            kind = to.map_or(Type::Other, |to| to.resolved());
        }
        let wants_text = cast.is_none_or(|cast| cast.ends_with("string") || cast.starts_with("string["));
        if let Type::Pointer(Some(to)) = &kind
            && wants_text
            && (cast.is_some() || is_char(to))
        {
            let text = self.text(&place)?;
            place = Place::Memory(text, 0);
            return Ok(format!("{}:{}", self.text(&place)?, cast.unwrap_or("string")));
        }
        let text = self.text(&place)?;
        if let Some(cast) = cast {
            return Ok(format!("{text}:{cast}"));
        }
        if let (Some((width, first)), Some(of)) = (bits, of) {
            return Ok(format!("{text}:b{width}@{first}/{}", of.size() * 8));
        }
        if let Place::Part(_, into) = place {
            let size = of.map_or(0, |of| of.size());
            return match scalar(&kind) {
                Some(_) if into + size <= 8 => Ok(format!("{text}:b{}@{}/64", size * 8, into * 8)),
                _ => Err(VariableError::Nowhere("it is spread over several registers".to_owned())),
            };
        }
        match &kind {
            Type::Array(Some(element), count) if is_char(element) && *count > 0 => Ok(format!("{text}:string")),
            Type::Array(Some(element), count) if matches!(place, Place::Memory(..) | Place::File(_)) => {
                let of = if *count > 0 { scalar(&element.resolved()) } else { None };
                of.map(|of| format!("{text}:{of}[{}]", (*count).min(MAX_ELEMENTS)))
                    .ok_or_else(|| VariableError::Nowhere("its elements are no numbers; name one: [0]".to_owned()))
            }
            Type::Struct(die) => {
                let members: Vec<String> = die.members().into_iter().filter_map(|member| member.name).collect();
                Err(VariableError::Whole(members))
            }
            Type::Float(size) if matches!(place, Place::Memory(..) | Place::File(_)) => {
                Ok(format!("{text}:x{}", size * 8))
            }
            Type::Float(_) => Err(VariableError::Nowhere("it is a floating-point number in a register".to_owned())),
            kind => scalar(kind)
                .map(|of| format!("{text}:{of}"))
                .ok_or_else(|| VariableError::Nowhere("its type is not one that the kernel shows".to_owned())),
        }
    }
}

/// Names of the values of an enumeration.
fn values(of: &Die<'_>) -> Vec<(i64, String)> {
    match of.resolved() {
        Type::Enum(_, signed, die) => die.enumerators(signed),
        _ => Vec::new(),
    }
}

fn is_char(of: &Die<'_>) -> bool {
    matches!(of.resolved(), Type::Char(_))
}

/// The kernel's name for a type of one value.
fn scalar(kind: &Type<'_>) -> Option<String> {
    let (size, letter) = match kind {
        Type::Int(size, signed) | Type::Enum(size, signed, _) => (*size, if *signed { 's' } else { 'u' }),
        Type::Char(signed) => (1, if *signed { 's' } else { 'u' }),
        Type::Pointer(_) | Type::Reference(_) => (8, 'x'),
        _ => return None,
    };
    matches!(size, 1 | 2 | 4 | 8).then(|| format!("{letter}{}", size * 8))
}

/// A word that the kernel takes as the name of a field.
fn word(name: &str) -> String {
    let word: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(31).collect();
    if word.starts_with(|c: char| c.is_ascii_digit()) { format!("_{word}") } else { word }
}

enum Step {
    Member(String, bool),
    Index(u64),
}

struct Steps {
    derefs: usize,
    name: String,
    steps: Vec<Step>,
}

/// `t->name:string` is cut before its type; `a::b` is not.
fn split_cast(expression: &str) -> (&str, Option<&str>) {
    match expression.rsplit_once(':') {
        Some((path, cast)) if !path.ends_with(':') && !cast.is_empty() => (path, Some(cast)),
        _ => (expression, None),
    }
}

fn parse(path: &str) -> Result<Steps, VariableError> {
    let bare = path.trim_start_matches('*');
    let derefs = path.len() - bare.len();
    let (name, mut rest) = take_name(bare)?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("->") {
            let (member, after) = take_name(after)?;
            steps.push(Step::Member(member.to_owned(), true));
            rest = after;
        } else if let Some(after) = rest.strip_prefix('.') {
            let (member, after) = take_name(after)?;
            steps.push(Step::Member(member.to_owned(), false));
            rest = after;
        } else if let Some((index, after)) = rest.strip_prefix('[').and_then(|after| after.split_once(']')) {
            let index = index.parse().map_err(|_| VariableError::Syntax("an index is a number"))?;
            steps.push(Step::Index(index));
            rest = after;
        } else {
            return Err(VariableError::Syntax("write NAME, NAME->MEMBER, NAME.MEMBER, NAME[NUMBER] or *NAME"));
        }
    }
    Ok(Steps { derefs, name: name.to_owned(), steps })
}

fn take_name(text: &str) -> Result<(&str, &str), VariableError> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(text.len());
    if end == 0 {
        return Err(VariableError::Syntax("a name is missing"));
    }
    Ok(text.split_at(end))
}
