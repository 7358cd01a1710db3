//! The records of a window.

/// One record of a window.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// When.
    pub time: u64,
    /// From which stream.
    pub stream: u32,
    /// Where its bytes are.
    pub at: u64,
    /// How many.
    pub len: u32,
}

/// The records of a window.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    /// In order of time.
    pub steps: Vec<Step>,
    /// Their bytes.
    pub bytes: Vec<u8>,
}

impl Steps {
    /// Time, stream and bytes of each.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u32, &[u8])> {
        self.steps.iter().map(|step| {
            let from = step.at as usize;
            (step.time, step.stream, self.bytes.get(from..from + step.len as usize).unwrap_or(&[]))
        })
    }
}
