//! Static probes that programs bring along (USDT), from `.note.stapsdt`.
//!
//! Owns: the notes, and turning their arguments into the kernel's fetch arguments.
//! Source: the wiki page "UserSpaceProbeImplementation" of SystemTap, and `sys/sdt.h`: a note holds the address of the
//! probe, the address that `.stapsdt.base` had when it was linked, the address of the semaphore, then three strings.
//! Units: addresses as in [`Binary`].

use super::binary::{Binary, Machine};
use crate::wire::abi::{Abi, Endian};
use crate::wire::bytes::{Cursor, until_nul};

/// A static probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usdt {
    /// Who provides it.
    pub provider: String,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: u64,
    /// The counter that says that somebody looks; 0 if there is none.
    pub semaphore: u64,
    /// Its arguments, as the assembler wrote them.
    pub arguments: String,
}

const SECTION: &str = ".note.stapsdt";
const BASE: &str = ".stapsdt.base";
const OWNER: &[u8] = b"stapsdt";
const TYPE: u32 = 3;

/// All static probes of a binary. A damaged note ends the list.
pub fn probes(binary: &Binary) -> Vec<Usdt> {
    let Some(bytes) = binary.section(SECTION) else { return Vec::new() };
    let abi = Abi { endian: if binary.is_little_endian() { Endian::Little } else { Endian::Big }, ..Abi::HOST };
    let base = binary.section_place(BASE).map(|(address, _)| address);
    parse(bytes, abi, binary.is_64(), base)
}

/// The probes in a section's bytes; `base` is where `.stapsdt.base` is now.
pub fn parse(bytes: &[u8], abi: Abi, is_64: bool, base: Option<u64>) -> Vec<Usdt> {
    let mut cursor = Cursor::new(bytes, abi);
    let mut found = Vec::new();
    while let Some((owner, kind, text)) = note(&mut cursor) {
        if until_nul(owner) == OWNER && kind == TYPE {
            found.extend(usdt(text, abi, is_64, base));
        }
    }
    found
}

fn note<'b>(cursor: &mut Cursor<'b>) -> Option<(&'b [u8], u32, &'b [u8])> {
    let name_len = cursor.u32()? as usize;
    let text_len = cursor.u32()? as usize;
    let kind = cursor.u32()?;
    let mut padded = |len: usize| {
        let bytes = cursor.take(len)?;
        // The last note need not be padded.
        let _ = cursor.take((4 - len % 4) % 4);
        Some(bytes)
    };
    let owner = padded(name_len)?;
    let text = padded(text_len)?;
    Some((owner, kind, text))
}

fn usdt(text: &[u8], abi: Abi, is_64: bool, base: Option<u64>) -> Option<Usdt> {
    let mut cursor = Cursor::new(text, abi);
    let mut address = || if is_64 { cursor.u64() } else { cursor.u32().map(u64::from) };
    let (place, linked_base, semaphore) = (address()?, address()?, address()?);
    let mut strings = text.get(if is_64 { 24 } else { 12 }..)?.split(|&b| b == 0);
    let mut string = || Some(String::from_utf8_lossy(strings.next()?).into_owned());
    let (provider, name, arguments) = (string()?, string()?, string()?);
    // What moved the file's addresses after linking (prelink) did not know the notes.
    let moved = match base {
        Some(base) if linked_base != 0 => base.wrapping_sub(linked_base),
        _ => 0,
    };
    let semaphore = if semaphore == 0 { 0 } else { semaphore.wrapping_add(moved) };
    Some(Usdt { provider, name, address: place.wrapping_add(moved), semaphore, arguments })
}

/// The fetch arguments of a static probe, `arg1=%di:s32` and so on; an error tells which could not be said.
pub fn fetch_arguments(
    usdt: &Usdt,
    machine: Machine,
    symbol: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, String> {
    split(&usdt.arguments)
        .into_iter()
        .enumerate()
        .map(|(at, text)| {
            fetch(text, machine, &symbol).map(|fetch| format!("arg{}={fetch}", at + 1)).ok_or_else(|| text.to_owned())
        })
        .collect()
}

/// Arguments are separated by blanks; those inside brackets or parentheses belong to one.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0i32, None);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ => {}
        }
        if c.is_ascii_whitespace() && depth <= 0 {
            parts.extend(start.take().map(|start: usize| &text[start..at]));
        } else if start.is_none() {
            start = Some(at);
        }
    }
    parts.extend(start.map(|start| &text[start..]));
    parts
}

/// `SIZE@OPERAND` as a fetch argument; a negative size is of a signed value.
fn fetch(text: &str, machine: Machine, symbol: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let (size, operand) = text.split_once('@').unwrap_or(("8", text));
    let kind = match size.trim_end_matches('f').parse::<i32>().ok()? {
        1 => "u8",
        2 => "u16",
        4 => "u32",
        8 => "u64",
        -1 => "s8",
        -2 => "s16",
        -4 => "s32",
        -8 => "s64",
        _ => return None,
    };
    let place = match machine {
        Machine::X86_64 => x86(operand, symbol)?,
        Machine::Aarch64 => aarch64(operand)?,
        Machine::Other(_) => return None,
    };
    Some(format!("{place}:{kind}"))
}

/// `%rdi`, `$5`, `-4(%rbp)`, `8+name(%rip)`. An index register cannot be said to the kernel.
fn x86(operand: &str, symbol: &impl Fn(&str) -> Option<String>) -> Option<String> {
    if let Some(constant) = operand.strip_prefix('$') {
        return number(constant).map(|value| format!("\\{value}"));
    }
    if let Some(register) = operand.strip_prefix('%') {
        return x86_register(register).map(|name| format!("%{name}"));
    }
    let (offset, rest) = operand.split_once('(')?;
    let base = rest.strip_suffix(')')?.strip_prefix('%')?;
    if base == "rip" {
        return symbol(offset);
    }
    let offset = if offset.is_empty() { 0 } else { number(offset)? };
    Some(format!("{offset:+}(%{})", x86_register(base)?))
}

/// `x0`, `w3`, `5`, `[sp, 8]`, `[x0]`.
fn aarch64(operand: &str) -> Option<String> {
    if let Some(inside) = operand.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let (base, offset) = inside.split_once(',').unwrap_or((inside, "0"));
        let offset = number(offset.trim().trim_start_matches('#'))?;
        return Some(format!("{offset:+}(%{})", aarch64_register(base.trim())?));
    }
    if let Some(name) = aarch64_register(operand) {
        return Some(format!("%{name}"));
    }
    number(operand.trim_start_matches('#')).map(|value| format!("\\{value}"))
}

fn aarch64_register(name: &str) -> Option<String> {
    match name {
        "sp" => Some("sp".to_owned()),
        "x30" | "lr" => Some("x30".to_owned()),
        _ => {
            let number: u8 = name.strip_prefix(['x', 'w'])?.parse().ok()?;
            (number < 31).then(|| format!("x{number}"))
        }
    }
}

/// The kernel's name of a register of any width: `ax` for `rax`, `eax`, `ax` and `al`. None for the high bytes.
pub fn x86_register(name: &str) -> Option<&'static str> {
    const NAMES: [(&str, [&str; 4]); 8] = [
        ("ax", ["rax", "eax", "ax", "al"]),
        ("bx", ["rbx", "ebx", "bx", "bl"]),
        ("cx", ["rcx", "ecx", "cx", "cl"]),
        ("dx", ["rdx", "edx", "dx", "dl"]),
        ("si", ["rsi", "esi", "si", "sil"]),
        ("di", ["rdi", "edi", "di", "dil"]),
        ("bp", ["rbp", "ebp", "bp", "bpl"]),
        ("sp", ["rsp", "esp", "sp", "spl"]),
    ];
    const NUMBERED: [&str; 8] = ["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
    if let Some((kernel, _)) = NAMES.iter().find(|(_, names)| names.contains(&name)) {
        return Some(kernel);
    }
    NUMBERED.iter().copied().find(|kernel| name.trim_end_matches(['d', 'w', 'b']) == *kernel)
}

/// A sum of numbers, as assemblers write offsets: `-4`, `8+16`, `0x10`.
fn number(text: &str) -> Option<i64> {
    let mut sum = 0i64;
    let mut rest = text;
    let mut first = true;
    while !rest.is_empty() {
        let (negative, digits) = match rest.as_bytes()[0] {
            b'-' => (true, &rest[1..]),
            b'+' => (false, &rest[1..]),
            _ if first => (false, rest),
            _ => return None,
        };
        let end = digits.find(['+', '-']).unwrap_or(digits.len());
        let digit = &digits[..end];
        let value = match digit.strip_prefix("0x") {
            Some(hex) => i64::try_from(u64::from_str_radix(hex, 16).ok()?).ok()?,
            None => digit.parse().ok()?,
        };
        sum = if negative { sum.checked_sub(value)? } else { sum.checked_add(value)? };
        (rest, first) = (&digits[end..], false);
    }
    (!first).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(arguments: &str, machine: Machine) -> Result<Vec<String>, String> {
        let usdt =
            Usdt { provider: "p".into(), name: "n".into(), address: 0, semaphore: 0, arguments: arguments.into() };
        fetch_arguments(&usdt, machine, |name| (name == "global").then(|| "@+64".to_owned()))
    }

    #[test]
    fn operands_of_x86_become_fetch_arguments() {
        assert_eq!(
            all("-4@%edi 8@%rsi -1@$-3 2@-8(%rbp) 8@16+8(%rsp) 1@%r10b 8@(%rax) 4@global(%rip)", Machine::X86_64)
                .unwrap(),
            [
                "arg1=%di:s32",
                "arg2=%si:u64",
                "arg3=\\-3:s8",
                "arg4=-8(%bp):u16",
                "arg5=+24(%sp):u64",
                "arg6=%r10:u8",
                "arg7=+0(%ax):u64",
                "arg8=@+64:u32"
            ]
        );
        assert_eq!(all("8@%rdi 8@8(%rax,%rbx,4)", Machine::X86_64).unwrap_err(), "8@8(%rax,%rbx,4)");
        assert_eq!(all("1@%ah", Machine::X86_64).unwrap_err(), "1@%ah");
        assert!(all("", Machine::X86_64).unwrap().is_empty());
    }

    #[test]
    fn operands_of_aarch64_become_fetch_arguments() {
        assert_eq!(
            all("-4@w0 8@x19 8@[sp, 24] 4@[x0] -8@-5 8@[x29, -16]", Machine::Aarch64).unwrap(),
            [
                "arg1=%x0:s32",
                "arg2=%x19:u64",
                "arg3=+24(%sp):u64",
                "arg4=+0(%x0):u32",
                "arg5=\\-5:s64",
                "arg6=-16(%x29):u64"
            ]
        );
    }

    #[test]
    fn a_note_is_moved_with_its_base_and_a_cut_one_ends_the_list() {
        let abi = Abi { endian: Endian::Little, ..Abi::HOST };
        let mut bytes = Vec::new();
        let mut text = Vec::new();
        for value in [0x1000u64, 0x3000, 0x5000] {
            text.extend(value.to_le_bytes());
        }
        text.extend(b"demo\0req\0-4@%edi\0");
        for value in [8u32, text.len() as u32, 3] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(b"stapsdt\0");
        bytes.extend(&text);
        let found = parse(&bytes, abi, true, Some(0x3010));
        assert_eq!(
            found,
            [Usdt {
                provider: "demo".into(),
                name: "req".into(),
                address: 0x1010,
                semaphore: 0x5010,
                arguments: "-4@%edi".into(),
            }]
        );
        for cut in 0..bytes.len() {
            assert!(parse(&bytes[..cut], abi, true, None).is_empty(), "cut at {cut}");
        }
    }
}
