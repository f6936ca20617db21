//! Words of English sentences as NLTK's `NLTKWordTokenizer` cuts them, which follows the Penn Treebank. Knows no metric.

use std::sync::LazyLock;

use regex::Regex;

use super::python;

/// The words of a text.
pub fn words(text: &str) -> Vec<String> {
    let text = replaced(text.to_owned(), &OPENING);
    let text = replaced(quotes_before_words(&text), &PUNCTUATION);
    let text = replaced(format!(" {text} "), &CLOSING);
    let text = contractions(&text);
    python::split(&text).map(str::to_owned).collect()
}

type Rules = Vec<(Regex, &'static str)>;

fn rules(rules: &[(&str, &'static str)]) -> Rules {
    rules.iter().filter_map(|(pattern, with)| Some((Regex::new(pattern).ok()?, *with))).collect()
}

fn replaced(mut text: String, rules: &Rules) -> String {
    for (pattern, with) in rules {
        if let std::borrow::Cow::Owned(changed) = pattern.replace_all(&text, *with) {
            text = changed;
        }
    }
    text
}

static OPENING: LazyLock<Rules> = LazyLock::new(|| {
    rules(&[("[«“‘„]|`+", " $0 "), ("^\"", "``"), ("``", " $0 "), (r#"([ (\[{<])(?:"|'{2})"#, "$1 `` ")])
});

static PUNCTUATION: LazyLock<Rules> = LazyLock::new(|| {
    rules(&[
        (r#"([^.])\.([\])}>"'»”’ ]*)[\s\x1c-\x1f]*$"#, "$1 . $2 "),
        (r"([:,])(\D)", " $1 $2"),
        ("[:,]$", " $0 "),
        (r"\.{2,}", " $0 "),
        ("[;@#$%&]", " $0 "),
        (r"[\u{2012}-\u{2015}]", " $0 "),
        (r#"([^.])\.([\])}>"']*)[\s\x1c-\x1f]*$"#, "$1 .$2 "),
        ("[?!]", " $0 "),
        ("([^'])' ", "$1 ' "),
        ("[*]", " $0 "),
        (r"[\]\[(){}<>]", " $0 "),
        ("--", " $0 "),
    ])
});

static CLOSING: LazyLock<Rules> = LazyLock::new(|| {
    rules(&[
        ("[»”’]", " $0 "),
        ("''", " $0 "),
        ("\"", " '' "),
        (r"[\s\x1c-\x1f]+", " "),
        ("([^' ])('[sS]|'[mM]|'[dD]|') ", "$1 $2 "),
        ("([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", "$1 $2 "),
    ])
});

/// An apostrophe before a word stands alone, but not that of `'re`, `'s` and the like.
fn quotes_before_words(text: &str) -> String {
    if !text.contains('\'') {
        return text.to_owned();
    }
    let mut spaced = String::with_capacity(text.len() + 8);
    let mut before = None;
    for (at, c) in text.char_indices() {
        spaced.push(c);
        let behind = &text[at + c.len_utf8()..];
        if c == '\'' && !before.is_some_and(python::is_word) && behind.starts_with(python::is_word) {
            let is_clitic =
                ["re", "ve", "ll", "m", "t", "s", "d", "n"].iter().any(|clitic| begins_with_word(behind, clitic));
            if !is_clitic {
                spaced.push(' ');
            }
        }
        before = Some(c);
    }
    spaced
}

/// Whether a text begins with a word, in small or capital letters.
fn begins_with_word(text: &str, word: &str) -> bool {
    text.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word))
        && !text[word.len()..].starts_with(python::is_word)
}

/// Words that are two, and after how many letters the second begins.
const TWO: &[(&str, usize)] =
    &[("cannot", 3), ("d'ye", 1), ("gimme", 3), ("gonna", 3), ("gotta", 3), ("lemme", 3), ("more'n", 4), ("wanna", 3)];

/// Cuts the words that are two, where they stand alone; `wanna` only before white space.
fn contractions(text: &str) -> String {
    let mut spaced = text.to_owned();
    for (word, first) in TWO {
        if let Some(changed) = cut(&spaced, word, *first) {
            spaced = changed;
        }
    }
    spaced
}

fn cut(text: &str, word: &str, first: usize) -> Option<String> {
    let ends = |behind: &str| match word {
        "wanna" => behind.starts_with(python::is_space),
        _ => !behind.starts_with(python::is_word),
    };
    let is_word = |bytes: &[u8]| bytes.eq_ignore_ascii_case(word.as_bytes());
    let (mut spaced, mut done, mut at) = (String::new(), 0, 0);
    while let Some(found) = text.as_bytes()[at..].windows(word.len()).position(is_word) {
        let (begin, end) = (at + found, at + found + word.len());
        at = begin + 1;
        if !text[..begin].ends_with(python::is_word) && ends(&text[end..]) {
            spaced.push_str(&text[done..begin]);
            spaced.extend([" ", &text[begin..begin + first], " ", &text[begin + first..end], " "]);
            (done, at) = (end, end);
        }
    }
    (done > 0).then(|| spaced + &text[done..])
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_text_of_the_vectors() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/meteor.json");
        let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut compared = 0;
        let cases = vectors["cases"].as_array().unwrap();
        for case in cases.iter().filter(|case| case["tokenizer"] == "nltk_word" && case["pred_tokens"].is_array()) {
            let references = case["references"].as_array().unwrap().iter().zip(case["ref_tokens"].as_array().unwrap());
            for (text, tokens) in references.chain([(&case["prediction"], &case["pred_tokens"])]) {
                let wanted: Vec<&str> =
                    tokens.as_array().unwrap().iter().map(|token| token.as_str().unwrap()).collect();
                assert_eq!(words(text.as_str().unwrap()), wanted, "{}", case["id"]);
                compared += 1;
            }
        }
        assert_eq!(compared, 141);
    }

    #[test]
    fn words_that_are_two_are_cut() {
        let wanted = ["'", "Tis", "what", "I", "can", "not", "'", "say", "'", ",", "gon", "na"];
        assert_eq!(words("'Tis what I cannot 'say', gonna"), wanted);
        assert_eq!(words("more'n I wanna D'ye"), ["more", "'n", "I", "wan", "na", "D", "'ye"]);
        assert_eq!(words("wanna"), ["wan", "na"]);
        assert_eq!(words("(Wanna, cannots)"), ["(", "Wan", "na", ",", "cannots", ")"]);
    }
}
