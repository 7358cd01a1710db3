//! Names and numbers of system calls.
//!
//! Source: the tables of the `syscalls` crate, made from the kernel's.

use syscalls::{aarch64, x86_64};

/// Machines whose system calls have names here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86-64.
    X86_64,
    /// AArch64.
    Aarch64,
}

impl Machine {
    /// By its name in `uname`.
    pub fn named(name: &str) -> Option<Machine> {
        match name {
            "x86_64" => Some(Machine::X86_64),
            "aarch64" | "arm64" => Some(Machine::Aarch64),
            _ => None,
        }
    }

    /// The machine this program was built for.
    pub fn here() -> Option<Machine> {
        Machine::named(std::env::consts::ARCH)
    }

    /// By the last word of a trace's `sysname nodename release machine`.
    pub fn of_uname(uname: &[u8]) -> Option<Machine> {
        let text = String::from_utf8_lossy(uname);
        Machine::named(text.trim_matches(['\0', ' ', '\n']).split_whitespace().last()?)
    }

    /// The name of a number.
    pub fn name(self, nr: u64) -> Option<&'static str> {
        let nr = usize::try_from(nr).ok()?;
        match self {
            Machine::X86_64 => x86_64::Sysno::new(nr).map(|call| call.name()),
            Machine::Aarch64 => aarch64::Sysno::new(nr).map(|call| call.name()),
        }
    }

    /// The number of a name.
    pub fn number(self, name: &str) -> Option<u64> {
        match self {
            Machine::X86_64 => name.parse().ok().map(|call: x86_64::Sysno| call.id() as u64),
            Machine::Aarch64 => name.parse().ok().map(|call: aarch64::Sysno| call.id() as u64),
        }
    }
}

/// What `NAME` or `NR` means on this machine.
pub fn number(word: &str, machine: Option<Machine>) -> Option<u64> {
    word.parse().ok().or_else(|| machine?.number(word.strip_prefix("sys_").unwrap_or(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_between_machines() {
        let nanosleep = |machine: Machine| machine.number("clock_nanosleep");
        assert_eq!((nanosleep(Machine::X86_64), nanosleep(Machine::Aarch64)), (Some(230), Some(115)));
        assert_eq!(Machine::X86_64.name(0), Some("read"));
        assert_eq!(Machine::Aarch64.name(63), Some("read"));
        assert_eq!(number("sys_read", Some(Machine::X86_64)), Some(0));
        assert_eq!(number("7", None), Some(7));
        assert_eq!(number("no_such_call", Some(Machine::X86_64)), None);
        assert_eq!(Machine::of_uname(b"Linux vm 6.18.44 x86_64\0"), Some(Machine::X86_64));
    }
}
