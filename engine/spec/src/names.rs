//! Which words may name a stage, an axis, a split or a variable.

/// What a name may be, as a hint.
pub const RULE: &str = "use letters, digits, `_` and `-`, beginning with a letter or `_`";

/// The same as a regular expression, for the JSON Schema.
pub const PATTERN: &str = r"^[\p{L}_][\p{L}\p{N}_-]*$";

/// Whether a word may name a stage, an axis, a split or a variable.
pub fn is_name(word: &str) -> bool {
    let mut characters = word.chars();
    characters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && characters.all(|c| c.is_alphanumeric() || c == '_' || c == '-')
}
