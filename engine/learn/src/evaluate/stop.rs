//! Texts that end where they hold a certain string. Knows a tokenizer; no model.

use tokenizers::Tokenizer;

use super::decode;
use crate::error::Result;

/// Strings that end a text.
pub struct StopStrings<'a> {
    tokenizer: &'a Tokenizer,
    strings: &'a [String],
    /// How many tokens of a text's end are looked at: a string that has just come in ends in the last one, and each token
    /// is a byte at least. Some more, since special tokens are none, and the first one's space may be lost.
    tail: usize,
}

impl<'a> StopStrings<'a> {
    /// Those strings, in texts of this tokenizer.
    pub fn new(tokenizer: &'a Tokenizer, strings: &'a [String]) -> Self {
        let longest = strings.iter().map(String::len).max().unwrap_or(0);
        Self { tokenizer, strings, tail: longest + 8 }
    }

    /// Whether the last of these new tokens has brought one in.
    pub fn met(&self, tokens: &[i64]) -> Result<bool> {
        if self.strings.is_empty() {
            return Ok(false);
        }
        let tail = tokens.get(tokens.len().saturating_sub(self.tail)..).unwrap_or_default();
        let text = decode(self.tokenizer, tail.iter().copied())?;
        Ok(self.strings.iter().any(|string| text.contains(string.as_str())))
    }

    /// The text up to the first of them.
    pub fn cut<'t>(&self, text: &'t str) -> &'t str {
        let end = self.strings.iter().filter_map(|string| text.find(string.as_str())).min();
        end.and_then(|end| text.get(..end)).unwrap_or(text)
    }
}
