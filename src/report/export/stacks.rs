//! Stacks with their time: what folded lines and flame graphs are made of.

/// Stacks and the time of each, and what they are about.
#[derive(Clone, Debug, Default)]
pub struct Stacks {
    /// The stack, `outer;inner`, and its time in microseconds.
    pub stacks: Vec<(String, u64)>,
    /// What all of them are: stands above a picture.
    pub title: String,
    /// What the times mean: stands below the title.
    pub about: Vec<String>,
    /// Whether the threads waited all that time.
    pub off_cpu: bool,
}

impl Stacks {
    /// One a line, `outer;inner microseconds`.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        self.stacks.iter().map(|(stack, us)| format!("{stack} {us}"))
    }
}
