//! WordNet's sets of synonyms, from its own files (`index.*`, `data.*` and `*.exc`; the manual's `wndb(5WN)`), and the forms
//! under which it is asked (`morphy(7WN)`). Knows no metric.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use foldhash::fast::FixedState;

use super::meteor::Synonyms;
use crate::Error;

/// A part of speech: the suffix of its files, and what endings of a form may stand for.
type Part = (&'static str, &'static [(&'static str, &'static str)]);

const PARTS: [Part; 4] = [
    (
        "noun",
        &[
            ("s", ""),
            ("ses", "s"),
            ("ves", "f"),
            ("xes", "x"),
            ("zes", "z"),
            ("ches", "ch"),
            ("shes", "sh"),
            ("men", "man"),
            ("ies", "y"),
        ],
    ),
    ("verb", &[("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")]),
    ("adj", &[("er", ""), ("est", ""), ("er", "e"), ("est", "e")]),
    ("adv", &[]),
];

/// The files of one part of speech.
struct Words {
    endings: &'static [(&'static str, &'static str)],
    /// Where a word's sets stand in the data.
    index: HashMap<String, Vec<usize>, FixedState>,
    exceptions: HashMap<String, Vec<String>, FixedState>,
    data: String,
}

/// WordNet, in memory.
pub struct WordNet {
    parts: Vec<Words>,
    version: String,
}

/// The folder that holds WordNet's files: the given one, or the first below it that does.
fn folder(path: &Path) -> Option<PathBuf> {
    let holds = |folder: &Path| folder.join("index.noun").is_file();
    if holds(path) {
        return Some(path.to_owned());
    }
    let mut below: Vec<PathBuf> =
        std::fs::read_dir(path).ok()?.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    below.sort();
    below.iter().find_map(|path| folder(path))
}

fn read(path: &Path) -> Result<String, Error> {
    let bytes = std::fs::read(path).map_err(|error| {
        Error::io("read", path, &error).hint("give WordNet's folder `dict`, with index.noun, data.noun and noun.exc")
    })?;
    // The definitions hold a few letters of Latin-1, and nothing is taken from them: places must stay what they are.
    Ok(bytes.into_iter().map(|byte| if byte.is_ascii() { char::from(byte) } else { '?' }).collect())
}

fn malformed(path: &Path, line: usize, problem: &str) -> Error {
    Error::new(format!("is no file of WordNet: {problem}")).at(format!("{}:{line}", path.display()))
}

impl WordNet {
    /// Reads the files of WordNet, in this folder or one below it.
    ///
    /// # Errors
    /// Where there is no such folder, a file is missing, or a line is none of WordNet's.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let Some(folder) = folder(path) else {
            let hint = "give a stage that leaves WordNet's folder `dict`, with index.noun and data.noun";
            return Err(Error::new("no folder here holds WordNet's index.noun").in_file(path).hint(hint));
        };
        let part = |(name, endings): Part| {
            let index_path = folder.join(format!("index.{name}"));
            let mut index: HashMap<String, Vec<usize>, FixedState> = HashMap::default();
            for (number, line) in (1..).zip(read(&index_path)?.lines()).filter(|(_, line)| !line.starts_with(' ')) {
                let Some((word, places)) = index_line(line) else {
                    return Err(malformed(&index_path, number, "a line is no word with its sets"));
                };
                index.insert(word.to_owned(), places);
            }
            let exceptions = read(&folder.join(format!("{name}.exc")))?;
            let exception = |line: &str| {
                let mut words = line.split_ascii_whitespace().map(str::to_owned);
                Some((words.next()?, words.collect()))
            };
            let data = read(&folder.join(format!("data.{name}")))?;
            Ok(Words { endings, index, exceptions: exceptions.lines().filter_map(exception).collect(), data })
        };
        let parts = PARTS.into_iter().map(part).collect::<Result<Vec<_>, Error>>()?;
        let notice = parts.first().map(|words: &Words| words.data.as_str()).unwrap_or_default();
        let version = notice
            .lines()
            .take_while(|line| line.starts_with(' '))
            .find_map(|line| {
                line.split_once("WordNet ")?.1.split(' ').next().filter(|v| v.starts_with(char::is_numeric))
            })
            .unwrap_or("?")
            .to_owned();
        Ok(Self { parts, version })
    }
}

/// A line of an index: the word, its part, how many sets it is in, kinds of pointers, senses, sets.
fn index_line(line: &str) -> Option<(&str, Vec<usize>)> {
    let mut fields = line.split_ascii_whitespace();
    let word = fields.next()?;
    let sets: usize = fields.nth(1)?.parse().ok()?;
    let pointers: usize = fields.next()?.parse().ok()?;
    // Behind the pointers stand the senses, those that are ranked, and the sets.
    let places: Vec<usize> = fields.skip(pointers + 2).map_while(|place| place.parse().ok()).collect();
    (sets > 0 && places.len() == sets).then_some((word, places))
}

/// The words of the set at a place of the data: place, file, part, how many in hexadecimal, then each with its number.
fn set(data: &str, place: usize) -> Option<Vec<String>> {
    let mut fields = data.get(place..)?.lines().next()?.split_ascii_whitespace();
    let count = usize::from_str_radix(fields.nth(3)?, 16).ok()?;
    // An adjective may have a mark, as `galore(ip)`.
    let bare = |word: &str| word.split('(').next().unwrap_or(word).to_owned();
    Some(fields.step_by(2).take(count).map(bare).collect())
}

impl Words {
    /// The forms of a word that the index has: itself, and what it is a form of.
    fn forms(&self, word: &str) -> Vec<String> {
        let mut forms = vec![word.to_owned()];
        match self.exceptions.get(word) {
            Some(exceptions) => forms.extend(exceptions.iter().cloned()),
            None => forms.extend(
                self.endings.iter().filter_map(|(end, with)| Some(format!("{}{with}", word.strip_suffix(end)?))),
            ),
        }
        forms.retain(|form| self.index.contains_key(form));
        forms
    }
}

impl Synonyms for WordNet {
    fn of(&self, word: &str) -> Vec<String> {
        let mut words = Vec::new();
        for part in &self.parts {
            for form in part.forms(word) {
                let places = part.index.get(&form).map(Vec::as_slice).unwrap_or_default();
                words.extend(places.iter().filter_map(|place| set(&part.data, *place)).flatten());
            }
        }
        words
    }

    fn source(&self) -> String {
        format!("wordnet-{}", self.version)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    /// A WordNet of a few sets: (part, words), in WordNet's own form.
    fn small(folder: &Path, sets: &[(&str, &[&str])]) {
        for (part, _) in PARTS {
            let mut data = "  1 This is WordNet 3.1 Copyright\n  2 of nobody\n".to_owned();
            let mut index: std::collections::BTreeMap<String, Vec<usize>> = std::collections::BTreeMap::new();
            for (_, words) in sets.iter().filter(|(of, _)| *of == part) {
                let place = data.len();
                write!(data, "{place:08} 00 n {:02x}", words.len()).unwrap();
                for word in *words {
                    write!(data, " {word} 0").unwrap();
                    index.entry(word.split('(').next().unwrap().to_lowercase()).or_default().push(place);
                }
                data.push_str(" 001 @ 00001740 n 0000 | what it means\n");
            }
            let mut lines = "  1 This is WordNet 3.1\n".to_owned();
            for (word, places) in index {
                let places: Vec<String> = places.iter().map(|place| format!("{place:08}")).collect();
                let count = places.len();
                writeln!(lines, "{word} n {count} 2 @ ~ {count} 0 {}  ", places.join(" ")).unwrap();
            }
            std::fs::write(folder.join(format!("data.{part}")), data).unwrap();
            std::fs::write(folder.join(format!("index.{part}")), lines).unwrap();
            let exceptions = if part == "noun" { "mice mouse\n" } else { "" };
            std::fs::write(folder.join(format!("{part}.exc")), exceptions).unwrap();
        }
    }

    #[test]
    fn words_of_one_set_are_synonyms_of_all_forms() {
        let project = tempfile::tempdir().unwrap();
        let dict = project.path().join("wn/dict");
        std::fs::create_dir_all(&dict).unwrap();
        small(
            &dict,
            &[
                ("noun", &["car", "auto", "motor_car"]),
                ("noun", &["car", "railcar"]),
                ("noun", &["mouse", "rodent"]),
                ("verb", &["halt", "stop"]),
                ("adj", &["galore(ip)", "ample"]),
            ],
        );
        let wordnet = WordNet::open(project.path()).unwrap();
        assert_eq!(wordnet.of("car"), ["car", "auto", "motor_car", "car", "railcar"]);
        assert_eq!(wordnet.of("cars"), wordnet.of("car"));
        assert_eq!(wordnet.of("mice"), ["mouse", "rodent"]);
        assert_eq!(wordnet.of("stopping"), Vec::<String>::new());
        assert_eq!(wordnet.of("halting"), ["halt", "stop"]);
        assert_eq!(wordnet.of("galore"), ["galore", "ample"]);
        assert_eq!(wordnet.source(), "wordnet-3.1");
    }

    #[test]
    fn what_is_no_wordnet_is_said() {
        let project = tempfile::tempdir().unwrap();
        assert!(WordNet::open(project.path()).err().unwrap().message.contains("index.noun"));
        small(project.path(), &[("noun", &["car"])]);
        std::fs::write(project.path().join("index.verb"), "run v three\n").unwrap();
        let error = WordNet::open(project.path()).err().unwrap();
        assert!(error.place.unwrap().ends_with("index.verb:1"), "{}", error.message);
        std::fs::remove_file(project.path().join("index.verb")).unwrap();
        assert!(WordNet::open(project.path()).err().unwrap().hint.unwrap().contains("dict"));
    }
}
