//! Snowball's stems of Russian words as NLTK has them: it writes a word in Latin letters, takes endings off, and writes it
//! back. So the stems are those that Python's metrics count, with what NLTK has of its own: `-ующая` keeps its `ующ`, half of
//! an `ъ` at the end goes, and Latin letters within a Russian word become Russian. Knows no text.

/// The stem of a word in lower case. A word without a character beyond Latin-1 stays.
pub fn stem(word: &str) -> String {
    if word.chars().all(|c| c <= '\u{ff}') {
        return word.to_owned();
    }
    let mut word = Word::new(word);
    if !word.take_off(GERUNDS, &["v", "vshi", "vshis'"]) {
        word.take_off(&["si^a", "s'"], &[]);
        if !word.take_off_adjective() && !word.take_off(VERBS, VERBS_BEHIND_A) {
            word.take_off(NOUNS, &[]);
        }
    }
    word.finish();
    LETTERS_BACK.iter().fold(word.letters, |letters, (latin, russian)| letters.replace(latin, russian))
}

/// Whether a character is a letter of Russian.
pub fn is_letter(c: char) -> bool {
    matches!(c, 'А'..='я' | 'Ё' | 'ё')
}

/// How a letter is written in Latin ones.
fn latin(c: char) -> Option<&'static str> {
    Some(match c {
        'а' | 'А' => "a",
        'б' | 'Б' => "b",
        'в' | 'В' => "v",
        'г' | 'Г' => "g",
        'д' | 'Д' => "d",
        'е' | 'Е' | 'ё' | 'Ё' => "e",
        'ж' | 'Ж' => "zh",
        'з' | 'З' => "z",
        'и' | 'И' => "i",
        'й' | 'Й' => "i`",
        'к' | 'К' => "k",
        'л' | 'Л' => "l",
        'м' | 'М' => "m",
        'н' | 'Н' => "n",
        'о' | 'О' => "o",
        'п' | 'П' => "p",
        'р' | 'Р' => "r",
        'с' | 'С' => "s",
        'т' | 'Т' => "t",
        'у' | 'У' => "u",
        'ф' | 'Ф' => "f",
        'х' | 'Х' => "kh",
        'ц' | 'Ц' => "t^s",
        'ч' | 'Ч' => "ch",
        'ш' | 'Ш' => "sh",
        'щ' | 'Щ' => "shch",
        'ъ' | 'Ъ' => "''",
        'ы' | 'Ы' => "y",
        'ь' | 'Ь' => "'",
        'э' | 'Э' => "e`",
        'ю' | 'Ю' => "i^u",
        'я' | 'Я' => "i^a",
        _ => return None,
    })
}

/// How Latin letters are written back, in this order.
const LETTERS_BACK: &[(&str, &str)] = &[
    ("i^u", "ю"),
    ("i^a", "я"),
    ("shch", "щ"),
    ("kh", "х"),
    ("t^s", "ц"),
    ("ch", "ч"),
    ("e`", "э"),
    ("i`", "й"),
    ("sh", "ш"),
    ("k", "к"),
    ("e", "е"),
    ("zh", "ж"),
    ("a", "а"),
    ("b", "б"),
    ("v", "в"),
    ("g", "г"),
    ("d", "д"),
    ("z", "з"),
    ("i", "и"),
    ("l", "л"),
    ("m", "м"),
    ("n", "н"),
    ("o", "о"),
    ("p", "п"),
    ("r", "р"),
    ("s", "с"),
    ("t", "т"),
    ("u", "у"),
    ("f", "ф"),
    ("''", "ъ"),
    ("y", "ы"),
    ("'", "ь"),
];

const GERUNDS: &[&str] = &["ivshis'", "yvshis'", "vshis'", "ivshi", "yvshi", "vshi", "iv", "yv", "v"];

const ADJECTIVES: &[&str] = &[
    "i^ui^u", "i^ai^a", "imi", "ymi", "ego", "ogo", "emu", "omu", "ikh", "ykh", "ui^u", "ai^a", "oi^u", "ei^u", "ee",
    "ie", "ye", "oe", "ei`", "ii`", "yi`", "oi`", "em", "im", "ym", "om",
];

/// What may stand before an adjective's ending: the first three anywhere, the others only behind `а` or `я`.
const PARTICIPLES: &[&str] = &["ivsh", "yvsh", "ui^ushch", "em", "nn", "vsh", "i^ushch", "shch"];
const FREE_PARTICIPLES: usize = 3;

const VERBS: &[&str] = &[
    "esh'", "ei`te", "ui`te", "ui^ut", "ish'", "ete", "i`te", "i^ut", "nno", "ila", "yla", "ena", "ite", "ili", "yli",
    "ilo", "ylo", "eno", "i^at", "uet", "eny", "it'", "yt'", "ui^u", "la", "na", "li", "em", "lo", "no", "et", "ny",
    "t'", "ei`", "ui`", "il", "yl", "im", "ym", "en", "it", "yt", "i^u", "i`", "l", "n",
];

const VERBS_BEHIND_A: &[&str] =
    &["la", "na", "ete", "i`te", "li", "i`", "l", "em", "n", "lo", "no", "et", "i^ut", "ny", "t'", "esh'", "nno"];

const NOUNS: &[&str] = &[
    "ii^ami", "ii^akh", "i^ami", "ii^am", "i^akh", "ami", "iei`", "i^am", "iem", "akh", "ii^u", "'i^u", "ii^a", "'i^a",
    "ev", "ov", "ie", "'e", "ei", "ii", "ei`", "oi`", "ii`", "em", "am", "om", "i^u", "i^a", "a", "e", "i", "i`", "o",
    "u", "y", "'",
];

/// A word in Latin letters, and where its regions begin: behind the first vowel, and Porter's second region.
struct Word {
    letters: String,
    behind_vowel: usize,
    second: usize,
}

impl Word {
    fn new(word: &str) -> Self {
        let mut letters = String::with_capacity(word.len());
        for c in word.chars() {
            match latin(c) {
                Some(latin) => letters.push_str(latin),
                None => letters.push(c),
            }
        }
        // The sounds: where each ends, and whether it is a vowel. `i^a`, `i^u` and `` e` `` are one.
        let mut sounds: Vec<(usize, bool)> = Vec::new();
        let mut at = 0;
        while let Some(c) = letters[at..].chars().next() {
            let one = ["i^a", "i^u", "e`"].iter().find(|sound| letters[at..].starts_with(**sound));
            at += one.map_or(c.len_utf8(), |sound| sound.len());
            sounds.push((at, one.is_some() || matches!(c, 'a' | 'e' | 'i' | 'o' | 'u' | 'y')));
        }
        let end = letters.len();
        // Behind the first sound that is no vowel and follows one, of those from a place on.
        let region = |from: usize| {
            let pair = sounds.get(from..)?.windows(2).position(|two| two[0].1 && !two[1].1)?;
            Some(from + pair + 2)
        };
        let second = region(0).and_then(region).and_then(|sound| Some(sounds.get(sound - 1)?.0)).unwrap_or(end);
        let behind_vowel = sounds.iter().find(|(_, is_vowel)| *is_vowel).map_or(end, |(at, _)| *at);
        Self { letters, behind_vowel, second }
    }

    /// Where the word ends without an ending that stands behind the first vowel.
    fn without(&self, end: usize, ending: &str) -> Option<usize> {
        let at = self.letters[..end].strip_suffix(ending)?.len();
        (at >= self.behind_vowel).then_some(at)
    }

    /// Whether an `а` or `я` stands before a place, behind the first vowel.
    fn is_behind_a(&self, at: usize) -> bool {
        self.letters[self.behind_vowel..at].ends_with('a')
    }

    /// Takes the first ending off that the word has; some only behind `а` or `я`.
    fn take_off(&mut self, endings: &[&str], behind_a: &[&str]) -> bool {
        let end = self.letters.len();
        let at = endings.iter().find_map(|ending| {
            self.without(end, ending).filter(|at| !behind_a.contains(ending) || self.is_behind_a(*at))
        });
        at.inspect(|at| self.letters.truncate(*at)).is_some()
    }

    /// Takes the longest ending of an adjective off, with that of a participle.
    fn take_off_adjective(&mut self) -> bool {
        let end = self.letters.len();
        let mut shortest = None;
        for ending in ADJECTIVES {
            let Some(bare) = self.without(end, ending) else { continue };
            let participle = |(index, participle): (usize, &&str)| {
                let at = self.without(bare, participle)?;
                let is_missing = *participle == "ui^ushch" && *ending == "ai^a";
                (!is_missing && (index < FREE_PARTICIPLES || self.is_behind_a(at))).then_some(at)
            };
            let at = PARTICIPLES.iter().enumerate().filter_map(participle).min().unwrap_or(bare);
            shortest = Some(shortest.map_or(at, |shortest: usize| shortest.min(at)));
        }
        shortest.inspect(|at| self.letters.truncate(*at)).is_some()
    }

    /// Steps 2 to 4: an `и`, what makes nouns of adjectives, superlatives, a double `н`, a soft sign.
    fn finish(&mut self) {
        if self.letters.len() > self.behind_vowel && self.letters.ends_with('i') {
            self.letters.pop();
        }
        let is_in_second =
            |word: &Self, ending: &str| word.letters.strip_suffix(ending).map(str::len).filter(|at| *at >= word.second);
        if let Some(at) = ["ost'", "ost"].iter().find_map(|ending| is_in_second(self, ending)) {
            self.letters.truncate(at);
        }
        if self.letters.ends_with("nn") {
            self.letters.pop();
            return;
        }
        let superlative = ["ei`she", "ei`sh"].iter().find_map(|ending| self.letters.strip_suffix(ending).map(str::len));
        if let Some(at) = superlative {
            self.letters.truncate(at);
        }
        if self.letters.ends_with("nn") {
            self.letters.pop();
        }
        if superlative.is_none() && self.letters.ends_with('\'') {
            self.letters.pop();
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
            assert_eq!(stem(word), case["nltk_snowball_russian"].as_str().unwrap(), "{word}");
        }
    }

    #[test]
    fn whatever_a_word_is_made_of() {
        for word in ["ъ", "я", "\u{301}а", "'''ь", "ость", "中文", "aя^`'", "i^ия", "😀s'"] {
            stem(word);
        }
    }
}
