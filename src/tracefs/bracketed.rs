//! Word lists with the chosen one in brackets, such as `trace_clock`: `[local] global counter`.

/// A parsed list of choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bracketed {
    /// All words, in the kernel's order.
    pub choices: Vec<String>,
    /// The one in brackets.
    pub chosen: Option<String>,
}

impl Bracketed {
    /// Parses one line.
    pub fn parse(text: &str) -> Self {
        let mut chosen = None;
        let choices = text
            .split_whitespace()
            .map(|word| match word.strip_prefix('[').and_then(|w| w.strip_suffix(']')) {
                Some(inner) => {
                    chosen = Some(inner.to_owned());
                    inner.to_owned()
                }
                None => word.to_owned(),
            })
            .collect();
        Bracketed { choices, chosen }
    }

    /// Whether `word` is one of the choices.
    pub fn offers(&self, word: &str) -> bool {
        self.choices.iter().any(|choice| choice == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bracketed_word_is_the_chosen_one() {
        let clocks = Bracketed::parse("local [global] counter x86-tsc\n");
        assert_eq!(clocks.chosen.as_deref(), Some("global"));
        assert!(clocks.offers("x86-tsc") && clocks.offers("global") && !clocks.offers("[global]"));
    }
}
