//! Where a variable is at an address: DWARF location expressions, as far as the kernel can follow them.
//!
//! Owns: location lists, the operations compilers write for parameters, the frame base and the canonical frame address
//! by call frame information.
//! Source: DWARF 5, chapters 2.5, 2.6 and 6.4.

use gimli::{AttributeValue, CfaRule, Operation, UnwindSection};

use super::binary::{Binary, Machine};
use super::dwarf::Slice;
use super::types::Die;

/// What an address is counted from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// A register, by DWARF's number.
    Register(u16),
    /// What lies at another address.
    Load(Box<Base>, i64),
    /// Nothing: an address of the file.
    File,
}

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// In a register.
    Register(u16),
    /// In memory.
    Memory(Base, i64),
    /// In memory of the function's own frame, which is not set up yet.
    OwnFrame,
    /// Known without looking.
    Constant(i64),
    /// In parts of so many bytes, some of them nowhere.
    Pieces(Vec<(Option<Location>, u64)>),
    /// Nowhere that the kernel could look.
    Nowhere(&'static str),
}

/// The place where variables are looked for.
pub(super) struct CodeAddress<'b> {
    pub(super) binary: &'b Binary,
    pub(super) address: u64,
    /// It is the first instruction of the function.
    pub(super) is_entry: bool,
}

const OPTIMISED: &str = "the compiler keeps it nowhere at this place";
const COMPUTED: &str = "the compiler describes it in a way that the kernel cannot follow";

impl CodeAddress<'_> {
    /// Where a variable is; `function` is the one it belongs to.
    pub(super) fn locate(&self, variable: &Die<'_>, function: &Die<'_>) -> Location {
        if let Some((_, value)) = variable.attribute(gimli::DW_AT_const_value) {
            let value = value.sdata_value().or_else(|| value.udata_value().map(|value| value as i64));
            return value.map_or(Location::Nowhere(COMPUTED), Location::Constant);
        }
        let value = variable.entry().and_then(|entry| entry.attr_value(gimli::DW_AT_location));
        let (expression, always) = match value {
            Some(AttributeValue::Exprloc(expression)) => (expression, true),
            Some(value) => match self.listed(variable, value) {
                Some(expression) => (expression, false),
                None => return Location::Nowhere(OPTIMISED),
            },
            None => return Location::Nowhere(OPTIMISED),
        };
        let location = self.evaluate(expression, variable, Some(function), 0);
        // A place that is said to hold everywhere holds what it should once the function has stored it there.
        match &location {
            Location::Memory(..) if always && self.is_entry && self.is_own_frame(&location, function) => {
                Location::OwnFrame
            }
            _ => location,
        }
    }

    /// The expression of a location list for this address.
    fn listed(&self, variable: &Die<'_>, value: AttributeValue<Slice>) -> Option<gimli::Expression<Slice>> {
        let mut list = variable.dwarf.sections().attr_locations(variable.unit, value).ok()??;
        while let Ok(Some(entry)) = list.next() {
            if entry.range.begin <= self.address && self.address < entry.range.end {
                return Some(entry.data);
            }
        }
        None
    }

    /// Whether memory is below what the caller has left: not yet written where the function begins.
    fn is_own_frame(&self, location: &Location, function: &Die<'_>) -> bool {
        let Location::Memory(base, offset) = location else { return false };
        match (self.frame_address(), base) {
            (Some((cfa, cfa_offset)), base) if *base == cfa => *offset < cfa_offset,
            // Counted from a frame pointer that is still the caller's.
            (_, Base::Register(_)) => function.attribute(gimli::DW_AT_frame_base).is_some(),
            _ => false,
        }
    }

    fn evaluate(
        &self,
        expression: gimli::Expression<Slice>,
        at: &Die<'_>,
        function: Option<&Die<'_>>,
        depth: u8,
    ) -> Location {
        if depth > 4 {
            return Location::Nowhere(COMPUTED);
        }
        let mut stack: Vec<(Base, i64)> = Vec::new();
        let mut whole: Option<Location> = None;
        let mut pieces = Vec::new();
        let mut operations = expression.operations(at.unit.encoding());
        loop {
            let operation = match operations.next() {
                Ok(Some(operation)) => operation,
                Ok(None) => break,
                Err(_) => return Location::Nowhere(COMPUTED),
            };
            match operation {
                Operation::Register { register } => whole = Some(Location::Register(register.0)),
                Operation::RegisterOffset { register, offset, .. } => stack.push((Base::Register(register.0), offset)),
                Operation::FrameOffset { offset } => match self.frame_base(function, depth) {
                    Some((base, start)) => stack.push((base, start.wrapping_add(offset))),
                    None => return Location::Nowhere(COMPUTED),
                },
                Operation::CallFrameCFA => match self.frame_address() {
                    Some(cfa) => stack.push(cfa),
                    None => return Location::Nowhere("there is no call frame information for this place"),
                },
                Operation::Address { address } => stack.push((Base::File, address as i64)),
                Operation::UnsignedConstant { value } => stack.push((Base::File, value as i64)),
                Operation::SignedConstant { value } => stack.push((Base::File, value)),
                Operation::PlusConstant { value } => match stack.last_mut() {
                    Some((_, offset)) => *offset = offset.wrapping_add(value as i64),
                    None => return Location::Nowhere(COMPUTED),
                },
                Operation::Deref { space: false, size, .. } if size == at.unit.encoding().address_size => {
                    match stack.pop() {
                        Some((base, offset)) => stack.push((Base::Load(Box::new(base), offset), 0)),
                        None => return Location::Nowhere(COMPUTED),
                    }
                }
                Operation::StackValue => match stack.pop() {
                    Some((Base::Register(register), 0)) => whole = Some(Location::Register(register)),
                    Some((Base::File, value)) => whole = Some(Location::Constant(value)),
                    // What is loaded from an address is the value that lies there.
                    Some((Base::Load(base, offset), 0)) => whole = Some(Location::Memory(*base, offset)),
                    _ => return Location::Nowhere(COMPUTED),
                },
                Operation::EntryValue { expression } if self.is_entry => {
                    let inner = self.evaluate(gimli::Expression(expression), at, function, depth + 1);
                    let Location::Register(register) = inner else { return Location::Nowhere(COMPUTED) };
                    stack.push((Base::Register(register), 0));
                }
                Operation::EntryValue { .. } => {
                    return Location::Nowhere("only its value at the function's entry is known");
                }
                Operation::Piece { size_in_bits, .. } => {
                    let part =
                        whole.take().or_else(|| stack.pop().map(|(base, offset)| Location::Memory(base, offset)));
                    pieces.push((part, size_in_bits / 8));
                }
                Operation::Nop => {}
                _ => return Location::Nowhere(COMPUTED),
            }
        }
        if !pieces.is_empty() {
            return Location::Pieces(pieces);
        }
        let on_stack = stack.pop().map(|(base, offset)| Location::Memory(base, offset));
        whole.or(on_stack).unwrap_or(Location::Nowhere(OPTIMISED))
    }

    /// What offsets in the function's frame are counted from.
    fn frame_base(&self, function: Option<&Die<'_>>, depth: u8) -> Option<(Base, i64)> {
        let function = function?;
        let (die, value) = function.attribute(gimli::DW_AT_frame_base)?;
        let expression = match value {
            AttributeValue::Exprloc(expression) => expression,
            value => self.listed(&die, value)?,
        };
        match self.evaluate(expression, &die, None, depth + 1) {
            // For a frame base a register means what it points to.
            Location::Register(register) => Some((Base::Register(register), 0)),
            Location::Memory(base, offset) => Some((base, offset)),
            _ => None,
        }
    }

    /// The canonical frame address here: a register and an offset.
    fn frame_address(&self) -> Option<(Base, i64)> {
        // Where a function begins the calling convention knows it too.
        let usual = match self.binary.machine() {
            Machine::X86_64 => Some((Base::Register(7), 8)),
            Machine::Aarch64 => Some((Base::Register(31), 0)),
            Machine::Other(_) => None,
        };
        match usual {
            Some(usual) if self.is_entry => Some(usual),
            _ => self.unwound(),
        }
    }

    fn unwound(&self) -> Option<(Base, i64)> {
        let (section, place) = (self.binary.section(".eh_frame"), self.binary.section_place(".eh_frame"));
        let text = self.binary.section_place(".text").map_or(0, |(address, _)| address);
        let endian = gimli::RunTimeEndian::Little;
        let mut context = gimli::UnwindContext::new();
        let mut rule = None;
        if let (Some(section), Some((address, _))) = (section, place) {
            let bases = gimli::BaseAddresses::default().set_eh_frame(address).set_text(text);
            let frames = gimli::EhFrame::new(section, endian);
            let row =
                frames.unwind_info_for_address(&bases, &mut context, self.address, gimli::EhFrame::cie_from_offset);
            rule = row.ok().map(|row| row.cfa().clone());
        }
        if rule.is_none() {
            let section = self.binary.with_dwarf()?.section(".debug_frame")?;
            let mut frames = gimli::DebugFrame::new(section, endian);
            frames.set_address_size(8);
            let bases = gimli::BaseAddresses::default();
            let row =
                frames.unwind_info_for_address(&bases, &mut context, self.address, gimli::DebugFrame::cie_from_offset);
            rule = row.ok().map(|row| row.cfa().clone());
        }
        match rule? {
            CfaRule::RegisterAndOffset { register, offset } => Some((Base::Register(register.0), offset)),
            CfaRule::Expression(_) => None,
        }
    }
}

/// The kernel's name of a register, by DWARF's number; none for those of floating point and the like.
pub(super) fn register_name(machine: Machine, number: u16) -> Option<String> {
    const X86_64: [&str; 16] =
        ["ax", "dx", "cx", "bx", "si", "di", "bp", "sp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
    match machine {
        Machine::X86_64 => X86_64.get(usize::from(number)).map(|name| format!("%{name}")),
        Machine::Aarch64 if number < 31 => Some(format!("%x{number}")),
        Machine::Aarch64 if number == 31 => Some("%sp".to_owned()),
        _ => None,
    }
}
