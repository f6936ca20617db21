//! Porter's stems of English words: Porter 1980, "An algorithm for suffix stripping", with the extensions that NLTK has by
//! default. Knows no text.

/// The stem of a word, in lower case.
pub fn stem(word: &str) -> String {
    let letters: Vec<char> = word.to_lowercase().chars().collect();
    let lower: String = letters.iter().collect();
    if let Some((_, stem)) = IRREGULAR.iter().find(|(form, _)| *form == lower) {
        return (*stem).to_owned();
    }
    if word.chars().count() <= 2 {
        return lower;
    }
    let word = Word(letters);
    let stemmed = word.plural().past().y().double_suffix().suffix().ending().last_e().last_l();
    stemmed.0.into_iter().collect()
}

/// Forms that no rule gets right.
const IRREGULAR: &[(&str, &str)] = &[
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// Suffixes of step 2 and what stands for them, where something with a vowel and a consonant stands before.
const DOUBLE_SUFFIXES: &[(&str, &str)] = &[
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
];

/// Those of step 3.
const SUFFIXES: &[(&str, &str)] =
    &[("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", "")];

/// Those of step 4, which go.
const ENDINGS: &[&str] = &[
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
];

/// A word or a part of one.
struct Word(Vec<char>);

impl Word {
    /// For each letter, whether it is a consonant: no vowel, and no `y` behind a consonant.
    fn consonants(letters: &[char]) -> Vec<bool> {
        let mut consonants: Vec<bool> = Vec::with_capacity(letters.len());
        for letter in letters {
            consonants.push(match letter {
                'a' | 'e' | 'i' | 'o' | 'u' => false,
                'y' => consonants.last().is_none_or(|before| !before),
                _ => true,
            });
        }
        consonants
    }

    /// Porter's measure: how often a consonant follows a vowel.
    fn measure(letters: &[char]) -> usize {
        Self::consonants(letters).windows(2).filter(|pair| !pair[0] && pair[1]).count()
    }

    /// Whether it ends in consonant, vowel, consonant, the last not `w`, `x` or `y`; of two letters, vowel and consonant.
    fn is_short(letters: &[char]) -> bool {
        match Self::consonants(letters).as_slice() {
            [.., true, false, true] => !letters.last().is_some_and(|last| matches!(last, 'w' | 'x' | 'y')),
            [false, true] => true,
            _ => false,
        }
    }

    /// What stands before a suffix.
    fn before(&self, suffix: &str) -> Option<&[char]> {
        let count = suffix.chars().count();
        let at = self.0.len().checked_sub(count)?;
        self.0[at..].iter().copied().eq(suffix.chars()).then(|| &self.0[..at])
    }

    fn with(stem: &[char], suffix: &str) -> Self {
        Self(stem.iter().copied().chain(suffix.chars()).collect())
    }

    /// Step 1a.
    fn plural(self) -> Self {
        if let Some(stem) = self.before("ies") {
            return Self::with(stem, if stem.len() == 1 { "ie" } else { "i" });
        }
        if let Some(stem) = self.before("sses") {
            return Self::with(stem, "ss");
        }
        match (self.before("ss"), self.before("s")) {
            (None, Some(stem)) => Self::with(stem, ""),
            _ => self,
        }
    }

    /// Step 1b.
    fn past(self) -> Self {
        if let Some(stem) = self.before("ied") {
            return Self::with(stem, if stem.len() == 1 { "ie" } else { "i" });
        }
        if let Some(stem) = self.before("eed") {
            return if Self::measure(stem) > 0 { Self::with(stem, "ee") } else { self };
        }
        let has_vowel = |stem: &&[char]| Self::consonants(stem).contains(&false);
        let Some(stem) = ["ed", "ing"].iter().find_map(|suffix| self.before(suffix).filter(has_vowel)) else {
            return self;
        };
        let stem = Self(stem.to_vec());
        for (suffix, whole) in [("at", "ate"), ("bl", "ble"), ("iz", "ize")] {
            if let Some(before) = stem.before(suffix) {
                return Self::with(before, whole);
            }
        }
        if let [before @ .., one, two] = stem.0.as_slice()
            && one == two
            && Self::consonants(&stem.0).last() == Some(&true)
        {
            return match two {
                'l' | 's' | 'z' => stem,
                _ => Self::with(before, &two.to_string()),
            };
        }
        match Self::measure(&stem.0) == 1 && Self::is_short(&stem.0) {
            true => Self::with(&stem.0, "e"),
            false => stem,
        }
    }

    /// Step 1c: behind a consonant that is not the first letter.
    fn y(self) -> Self {
        match self.before("y") {
            Some(stem) if stem.len() > 1 && Self::consonants(stem).last() == Some(&true) => Self::with(stem, "i"),
            _ => self,
        }
    }

    /// Step 2.
    fn double_suffix(self) -> Self {
        if let Some(stem) = self.before("alli").filter(|stem| Self::measure(stem) > 0) {
            return Self::with(stem, "al").double_suffix();
        }
        for (suffix, other) in DOUBLE_SUFFIXES {
            if let Some(stem) = self.before(suffix) {
                return if Self::measure(stem) > 0 { Self::with(stem, other) } else { self };
            }
        }
        match self.before("ogi").filter(|stem| stem.last() == Some(&'l')) {
            Some(stem) if Self::measure(stem) > 0 => Self::with(stem, "og"),
            _ => self,
        }
    }

    /// Step 3.
    fn suffix(self) -> Self {
        for (suffix, other) in SUFFIXES {
            if let Some(stem) = self.before(suffix) {
                return if Self::measure(stem) > 0 { Self::with(stem, other) } else { self };
            }
        }
        self
    }

    /// Step 4.
    fn ending(self) -> Self {
        for suffix in ENDINGS {
            if let Some(stem) = self.before(suffix) {
                let goes = Self::measure(stem) > 1
                    && (*suffix != "ion" || stem.last().is_some_and(|last| matches!(last, 's' | 't')));
                return if goes { Self::with(stem, "") } else { self };
            }
        }
        self
    }

    /// Step 5a.
    fn last_e(self) -> Self {
        match self.before("e") {
            Some(stem) if Self::measure(stem) > 1 || (Self::measure(stem) == 1 && !Self::is_short(stem)) => {
                Self::with(stem, "")
            }
            _ => self,
        }
    }

    /// Step 5b.
    fn last_l(self) -> Self {
        match self.before("ll") {
            Some(stem) if Self::measure(&self.0[..self.0.len() - 1]) > 1 => Self::with(stem, "l"),
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_case_of_the_vectors() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/stemmers.json");
        let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        assert_eq!(cases.len(), 391);
        for case in cases {
            let word = case["word"].as_str().unwrap();
            assert_eq!(stem(word), case["nltk_porter"].as_str().unwrap(), "{word}");
        }
    }
}
