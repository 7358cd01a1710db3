//! Types of a program, as its debug information describes them: only as far as values have to be found and shown.
//!
//! Source: DWARF 5, chapter 5.

use gimli::{AttributeValue, DebuggingInformationEntry, DwAt, UnitOffset};

use super::dwarf::{Dwarf, Slice};

/// The longest chain of names and qualifiers that is followed.
const MAX_CHAIN: usize = 32;

/// An entry of the debug information.
#[derive(Clone, Copy)]
pub(super) struct Die<'d> {
    pub(super) dwarf: &'d Dwarf,
    pub(super) unit: &'d gimli::Unit<Slice>,
    pub(super) offset: UnitOffset,
}

/// What a type is, once names and qualifiers are taken off.
#[derive(Clone)]
pub(super) enum Type<'d> {
    /// A number of so many bytes, with a sign or not.
    Int(u64, bool),
    /// One byte of text.
    Char(bool),
    /// An enumeration of so many bytes, and where its names are.
    Enum(u64, bool, Die<'d>),
    /// A floating-point number of so many bytes.
    Float(u64),
    /// The address of something; of nothing known for `void *`.
    Pointer(Option<Die<'d>>),
    /// The same, but the language hides it.
    Reference(Option<Die<'d>>),
    /// Members at places.
    Struct(Die<'d>),
    /// So many of something.
    Array(Option<Die<'d>>, u64),
    /// Nothing that can be shown.
    Other,
}

/// A member of a structure.
pub(super) struct Member<'d> {
    pub(super) name: Option<String>,
    pub(super) place: u64,
    /// Width and first bit, for members that are not whole bytes.
    pub(super) bits: Option<(u64, u64)>,
    pub(super) type_of: Option<Die<'d>>,
}

impl<'d> Die<'d> {
    pub(super) fn entry(&self) -> Option<DebuggingInformationEntry<Slice>> {
        self.unit.entry(self.offset).ok()
    }

    /// An attribute, also if it stands where this entry refers to.
    pub(super) fn attribute(&self, name: DwAt) -> Option<(Die<'d>, AttributeValue<Slice>)> {
        let mut die = *self;
        for _ in 0..MAX_CHAIN {
            let entry = die.entry()?;
            if let Some(value) = entry.attr_value(name) {
                return Some((die, value));
            }
            let origin = [gimli::DW_AT_abstract_origin, gimli::DW_AT_specification];
            die = die.refer(origin.iter().find_map(|name| entry.attr_value(*name))?)?;
        }
        None
    }

    /// The entry that a value refers to, in whichever unit.
    pub(super) fn refer(&self, value: AttributeValue<Slice>) -> Option<Die<'d>> {
        match value {
            AttributeValue::UnitRef(offset) => Some(Die { offset, ..*self }),
            AttributeValue::DebugInfoRef(offset) => {
                let mut units = self.dwarf.units().iter();
                units.find_map(|unit| Some(Die { unit, offset: offset.to_unit_offset(&unit.header)?, ..*self }))
            }
            _ => None,
        }
    }

    pub(super) fn name(&self) -> Option<String> {
        let (die, value) = self.attribute(gimli::DW_AT_name)?;
        let text = self.dwarf.sections().attr_string(die.unit, value).ok()?;
        Some(text.to_string_lossy().into_owned())
    }

    /// The entry of its type.
    pub(super) fn type_of(&self) -> Option<Die<'d>> {
        let (die, value) = self.attribute(gimli::DW_AT_type)?;
        die.refer(value)
    }

    fn number(&self, name: DwAt) -> Option<u64> {
        self.attribute(name)?.1.udata_value()
    }

    /// The entries below it.
    pub(super) fn children(&self) -> Vec<Die<'d>> {
        let mut all = Vec::new();
        let Ok(mut tree) = self.unit.entries_tree(Some(self.offset)) else { return all };
        let Ok(root) = tree.root() else { return all };
        let mut children = root.children();
        while let Ok(Some(child)) = children.next() {
            all.push(Die { offset: child.entry().offset(), ..*self });
        }
        all
    }

    /// What it is, as a type.
    pub(super) fn resolved(&self) -> Type<'d> {
        let mut die = *self;
        for _ in 0..MAX_CHAIN {
            let Some(entry) = die.entry() else { return Type::Other };
            let size = die.number(gimli::DW_AT_byte_size);
            match entry.tag() {
                gimli::DW_TAG_base_type => return die.base(size.unwrap_or(0)),
                gimli::DW_TAG_pointer_type => return Type::Pointer(die.type_of()),
                gimli::DW_TAG_reference_type | gimli::DW_TAG_rvalue_reference_type => {
                    return Type::Reference(die.type_of());
                }
                gimli::DW_TAG_structure_type | gimli::DW_TAG_union_type | gimli::DW_TAG_class_type => {
                    return Type::Struct(die);
                }
                gimli::DW_TAG_enumeration_type => {
                    let of = die.type_of().map(|base| base.resolved());
                    return Type::Enum(size.unwrap_or(4), matches!(of, Some(Type::Int(_, true))), die);
                }
                gimli::DW_TAG_array_type => return Type::Array(die.type_of(), die.count()),
                gimli::DW_TAG_typedef
                | gimli::DW_TAG_const_type
                | gimli::DW_TAG_volatile_type
                | gimli::DW_TAG_restrict_type
                | gimli::DW_TAG_atomic_type => match die.type_of() {
                    Some(next) => die = next,
                    None => return Type::Other,
                },
                _ => return Type::Other,
            }
        }
        Type::Other
    }

    fn base(&self, size: u64) -> Type<'d> {
        let encoding = match self.attribute(gimli::DW_AT_encoding) {
            Some((_, AttributeValue::Encoding(encoding))) => encoding,
            _ => return Type::Other,
        };
        match encoding {
            gimli::DW_ATE_signed_char => Type::Char(true),
            gimli::DW_ATE_unsigned_char if self.name().is_some_and(|name| name.contains("char")) => Type::Char(false),
            gimli::DW_ATE_signed => Type::Int(size, true),
            gimli::DW_ATE_float => Type::Float(size),
            gimli::DW_ATE_unsigned
            | gimli::DW_ATE_unsigned_char
            | gimli::DW_ATE_boolean
            | gimli::DW_ATE_address
            | gimli::DW_ATE_UTF => Type::Int(size, false),
            _ => Type::Other,
        }
    }

    /// How many elements an array has; 0 if nobody says.
    fn count(&self) -> u64 {
        let ranges = self
            .children()
            .into_iter()
            .filter(|child| child.entry().is_some_and(|e| e.tag() == gimli::DW_TAG_subrange_type));
        let counts = ranges.map(|range| {
            range
                .number(gimli::DW_AT_count)
                .or_else(|| range.number(gimli::DW_AT_upper_bound)?.checked_add(1))
                .unwrap_or(0)
        });
        counts.fold(1, u64::saturating_mul)
    }

    /// Values and names of an enumeration.
    pub(super) fn enumerators(&self, signed: bool) -> Vec<(i64, String)> {
        let named = self.children().into_iter().filter_map(|child| {
            child.entry().filter(|entry| entry.tag() == gimli::DW_TAG_enumerator)?;
            let (_, value) = child.attribute(gimli::DW_AT_const_value)?;
            let number = if signed { value.sdata_value() } else { value.udata_value().map(|value| value as i64) };
            Some((number?, child.name()?))
        });
        named.collect()
    }

    /// Bytes of a value of this type.
    pub(super) fn size(&self) -> u64 {
        match self.resolved() {
            Type::Int(size, _) | Type::Enum(size, ..) | Type::Float(size) => size,
            Type::Char(_) => 1,
            Type::Pointer(_) | Type::Reference(_) => u64::from(self.unit.encoding().address_size),
            Type::Struct(die) => die.number(gimli::DW_AT_byte_size).unwrap_or(0),
            Type::Array(element, count) => element.map_or(0, |element| element.size()).saturating_mul(count),
            Type::Other => 0,
        }
    }

    /// The members of a structure, those of unnamed ones and of bases as its own.
    pub(super) fn members(&self) -> Vec<Member<'d>> {
        let mut all = Vec::new();
        self.add_members(0, 0, &mut all);
        all
    }

    fn add_members(&self, base: u64, depth: usize, all: &mut Vec<Member<'d>>) {
        for child in self.children() {
            let tag = child.entry().map(|entry| entry.tag());
            let is_base = tag == Some(gimli::DW_TAG_inheritance);
            if !is_base && tag != Some(gimli::DW_TAG_member) {
                continue;
            }
            // Static members have no place.
            if child.attribute(gimli::DW_AT_external).is_some() {
                continue;
            }
            let place = base + child.number(gimli::DW_AT_data_member_location).unwrap_or(0);
            let type_of = child.type_of();
            let name = if is_base { None } else { child.name() };
            if name.is_none()
                && let Some(Type::Struct(inner)) = type_of.map(|inner| inner.resolved())
            {
                if depth < MAX_CHAIN {
                    inner.add_members(place, depth + 1, all);
                }
                continue;
            }
            let (place, bits) = child.bits(place, type_of.map_or(0, |inner| inner.size()));
            all.push(Member { name, place, bits, type_of });
        }
    }

    /// Where a bit field is: its storage unit, and width and first bit in it.
    fn bits(&self, place: u64, unit_bytes: u64) -> (u64, Option<(u64, u64)>) {
        let Some(width) = self.number(gimli::DW_AT_bit_size) else { return (place, None) };
        if let Some(first) = self.number(gimli::DW_AT_data_bit_offset) {
            let unit_bits = unit_bytes.max(1) * 8;
            return (place + first / unit_bits * unit_bytes.max(1), Some((width, first % unit_bits)));
        }
        // Before DWARF 4 bits were counted from the most significant one.
        let from_top = self.number(gimli::DW_AT_bit_offset).unwrap_or(0);
        (place, Some((width, (unit_bytes * 8).saturating_sub(from_top + width))))
    }
}
