//! What is known of a trace besides its records.

use std::sync::Arc;

use super::formats::Formats;
use crate::symbols::names::UserNames;
use crate::wire::abi::Abi;
use crate::wire::tables::{Cmdlines, Kallsyms, PrintkFormats};

/// What decoding needs to know of a trace, besides its records.
pub struct Trace {
    /// Byte order and long size of the traced kernel.
    pub abi: Abi,
    /// Formats of its events.
    pub formats: Formats,
    /// Kernel symbols.
    pub kallsyms: Kallsyms,
    /// Constant strings.
    pub printk: PrintkFormats,
    /// Names of tasks.
    pub cmdlines: Arc<Cmdlines>,
    /// BTF of the kernel, if stored.
    pub btf: Option<Vec<u8>>,
    /// `uname` of the traced machine, empty if not stored.
    pub uname: String,
    /// Names of user addresses, if they are wanted.
    pub user: Option<Arc<UserNames>>,
}

impl Trace {
    /// A trace that knows nothing yet.
    pub fn new(abi: Abi) -> Trace {
        Trace {
            abi,
            formats: Formats::new(abi),
            kallsyms: Kallsyms::new(Vec::new()),
            printk: PrintkFormats::new(Vec::new()),
            cmdlines: Arc::new(Cmdlines::new(Vec::new())),
            btf: None,
            uname: String::new(),
            user: None,
        }
    }
}
