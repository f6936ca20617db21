//! Characters as Python sees them, where Rust sees them otherwise: white space, `\w`, and the general categories of Unicode.
//! Knows no metric.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// What Python's `str.split`, `strip` and `\s` take as white space: Unicode's and four separators of ASCII.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The words between white space, as `str.split()` gives them.
pub fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// A text without white space at both ends, as `str.strip()` gives it.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// How many pieces `re.split(r"\s+", text)` gives: one more than there are runs of white space.
pub fn pieces(text: &str) -> u64 {
    let mut runs = 0;
    let mut inside = false;
    for c in text.chars() {
        runs += u64::from(is_space(c) && !inside);
        inside = is_space(c);
    }
    runs + 1
}

/// Whether Python's `\w` matches: letters, numbers, `_`. Rust's `\w` is another set: it holds marks.
pub fn is_word(c: char) -> bool {
    match c.is_ascii() {
        true => c.is_ascii_alphanumeric() || c == '_',
        false => has(c, LETTER | NUMBER),
    }
}

/// Whether a character is a letter.
pub fn is_letter(c: char) -> bool {
    has(c, LETTER)
}

/// Whether a character is a number.
pub fn is_number(c: char) -> bool {
    has(c, NUMBER)
}

/// Whether a character is punctuation.
pub fn is_punctuation(c: char) -> bool {
    has(c, PUNCTUATION)
}

/// Whether a character is a symbol.
pub fn is_symbol(c: char) -> bool {
    has(c, SYMBOL)
}

/// Whether a character is a control, a format character, of private use, or none.
pub fn is_other(c: char) -> bool {
    has(c, OTHER)
}

/// Whether a character is a space of some width.
pub fn is_space_separator(c: char) -> bool {
    has(c, SPACE)
}

const LETTER: u8 = 1;
const NUMBER: u8 = 2;
const PUNCTUATION: u8 = 4;
const SYMBOL: u8 = 8;
const OTHER: u8 = 16;
const SPACE: u8 = 32;

fn has(c: char, categories: u8) -> bool {
    CATEGORIES.get(c as usize).is_some_and(|found| found & categories != 0)
}

/// The category of each code point, one bit each.
static CATEGORIES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut categories = vec![0; char::MAX as usize + 1];
    for (pattern, bit) in [
        (r"\p{L}", LETTER),
        (r"\p{N}", NUMBER),
        (r"\p{P}", PUNCTUATION),
        (r"\p{S}", SYMBOL),
        (r"\p{C}", OTHER),
        (r"\p{Zs}", SPACE),
    ] {
        let Ok(parsed) = regex_syntax::parse(pattern) else { continue };
        let HirKind::Class(Class::Unicode(class)) = parsed.kind() else { continue };
        for range in class.ranges() {
            for category in &mut categories[range.start() as usize..=range.end() as usize] {
                *category |= bit;
            }
        }
    }
    categories
});

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn separators_of_ascii_are_white_space() {
        assert_eq!(split(" a\u{1c}b \u{a0}c\u{200b}").collect::<Vec<_>>(), ["a", "b", "c\u{200b}"]);
        assert_eq!(strip("\u{1f} a \u{85}"), "a");
    }

    #[test]
    fn marks_are_no_word_characters() {
        assert!(is_word('é') && is_word('²') && is_word('_') && is_word('Ⅷ') && is_word('中'));
        assert!(!is_word('\u{301}') && !is_word('-') && !is_word('\u{200d}'));
        assert!(is_punctuation('«') && is_symbol('€') && is_other('\u{200d}') && is_space_separator('\u{a0}'));
    }

    #[test]
    fn words_are_counted_as_lm_evaluation_harness_counts_them() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/lm_eval.json");
        let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let cases = vectors["counts"].as_array().unwrap();
        assert_eq!(cases.len(), 8);
        for case in cases {
            let text = case["text"].as_str().unwrap();
            let expected = (case["expected"]["words"].as_u64().unwrap(), case["expected"]["bytes"].as_u64().unwrap());
            assert_eq!((pieces(text), text.len() as u64), expected, "{text:?}");
        }
    }
}
