//! `rouge`: ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum (Lin 2004) as `rouge_score` 0.1.2 counts them. Knows no model.

use spec::metric::{self, RougeTokenizer};

use super::meaning::{Meaning, Meanings};
use super::text::{Vocabulary, lcs, ngrams, porter, python, russian};
use super::texts::{Statistics, TextMetric, TextRow, Whole, percentages};
use super::uncertainty::Drawn;
use super::{Counted, Figures, Signature};

/// What the figures mean.
pub(super) const MEANINGS: Meanings = &[
    ("rouge1", Meaning::percent("ROUGE-1")),
    ("rouge2", Meaning::percent("ROUGE-2")),
    ("rougeL", Meaning::percent("ROUGE-L")),
    ("rougeLsum", Meaning::percent("ROUGE-Lsum")),
];

const HEADLINE: &[&str] = &["rouge1", "rouge2", "rougeL", "rougeLsum"];

/// ROUGE, with a tokenizer that the references may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rouge {
    tokenizer: RougeTokenizer,
}

impl Rouge {
    /// The metric with a pipeline's settings.
    pub fn new(settings: &metric::Rouge) -> Self {
        Self { tokenizer: settings.tokenizer }
    }

    /// It with the words that these rows ask for.
    fn for_rows(&self, rows: &[TextRow]) -> WithWords {
        let is_foreign = |c: char| !c.is_ascii() && python::is_letter(c);
        let is_auto = self.tokenizer == RougeTokenizer::Auto;
        let tokenizer = match self.tokenizer {
            RougeTokenizer::Auto
                if rows.iter().flat_map(|row| &row.references).any(|text| text.contains(is_foreign)) =>
            {
                RougeTokenizer::UnicodeStem
            }
            RougeTokenizer::Auto => RougeTokenizer::Google,
            chosen => chosen,
        };
        let words = match tokenizer {
            RougeTokenizer::Auto | RougeTokenizer::Google => google,
            RougeTokenizer::GoogleStem => google_stem,
            RougeTokenizer::Unicode => unicode,
            RougeTokenizer::UnicodeStem => unicode_stem,
            RougeTokenizer::Whitespace => whitespace,
        };
        let name = match tokenizer {
            RougeTokenizer::Auto | RougeTokenizer::Google => "google",
            RougeTokenizer::GoogleStem => "google_stem",
            RougeTokenizer::Unicode => "unicode",
            RougeTokenizer::UnicodeStem => "unicode_stem",
            RougeTokenizer::Whitespace => "whitespace",
        };
        let name = if is_auto { format!("{name}[auto]") } else { name.to_owned() };
        WithWords { words, name }
    }
}

impl TextMetric for Rouge {
    fn count(&self, rows: &[TextRow]) -> Counted {
        self.for_rows(rows).count(rows)
    }

    fn drawn(&self, rows: &[TextRow]) -> Drawn<'static> {
        self.for_rows(rows).drawn(rows)
    }

    fn headline(&self) -> &'static [&'static str] {
        HEADLINE
    }

    fn wants_references(&self) -> bool {
        true
    }
}

/// Runs of `a` to `z` and `0` to `9` in lower case.
fn google(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit()));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn google_stem(text: &str) -> Vec<String> {
    google(text).into_iter().map(|word| if word.len() > 3 { porter::stem(&word) } else { word }).collect()
}

/// Lower case without controls, divided at white space and at punctuation.
fn unicode(text: &str) -> Vec<String> {
    let is_white = |c: char| matches!(c, '\t' | '\n' | '\r') || python::is_space_separator(c);
    let clean: String = text
        .to_lowercase()
        .chars()
        .filter(|c| is_white(*c) || !(python::is_other(*c) || *c == '\u{fffd}'))
        .map(|c| if is_white(c) || c.is_ascii_punctuation() || python::is_punctuation(c) { ' ' } else { c })
        .collect();
    whitespace(&clean)
}

fn unicode_stem(text: &str) -> Vec<String> {
    let stemmed = |word: String| if word.chars().count() > 3 { russian::stem(&word) } else { word };
    unicode(text).into_iter().map(stemmed).filter(|word| !word.is_empty()).collect()
}

fn whitespace(text: &str) -> Vec<String> {
    python::split(text).map(str::to_owned).collect()
}

/// Precision, recall and F1.
type Score = [f64; 3];

/// ROUGE over the words that a function gives.
struct WithWords {
    words: fn(&str) -> Vec<String>,
    name: String,
}

fn score(common: u64, answer: usize, reference: usize) -> Score {
    let precision = common as f64 / answer.max(1) as f64;
    let recall = common as f64 / reference.max(1) as f64;
    let f1 = if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
    [precision, recall, f1]
}

/// N-grams in common, each as often as the side that has it less often.
fn of_ngrams(answer: &[u32], reference: &[u32], kinds: usize, order: usize) -> Score {
    let (mut ours, mut theirs, mut kinds) = (answer.to_vec(), reference.to_vec(), kinds);
    for order in 2..=order {
        let mut longer = ngrams::Longer::default();
        (ours, theirs) = (longer.of(&ours, answer, order), longer.of(&theirs, reference, order));
        kinds = longer.len();
    }
    let common = ngrams::common(&ngrams::counts(&ours, kinds), &ngrams::counts(&theirs, kinds));
    score(common, ours.len(), theirs.len())
}

/// Lines against lines: for each line of the reference the words of its common subsequences with all lines of the answer,
/// no word more often than either side has it.
fn of_lines(answer: &[Vec<u32>], reference: &[Vec<u32>], kinds: usize) -> Score {
    let (answer_words, reference_words) = (answer.concat(), reference.concat());
    let mut left = ngrams::counts(&answer_words, kinds);
    let mut theirs = ngrams::counts(&reference_words, kinds);
    let mut common = 0;
    for line in reference {
        let mut is_found = vec![false; line.len()];
        for other in answer {
            for place in lcs::places(line, other) {
                is_found[place] = true;
            }
        }
        for (word, _) in line.iter().zip(is_found).filter(|(_, is_found)| *is_found) {
            let word = *word as usize;
            if left[word] > 0 && theirs[word] > 0 {
                left[word] -= 1;
                theirs[word] -= 1;
                common += 1;
            }
        }
    }
    score(common, answer_words.len(), reference_words.len())
}

/// A text as words, and as the words of each line.
struct Text {
    words: Vec<String>,
    lines: Vec<Vec<String>>,
}

impl WithWords {
    fn text(&self, text: &str) -> Text {
        let lines: Vec<&str> = text.split('\n').filter(|line| !line.is_empty()).collect();
        let words = (self.words)(text);
        let lines = match lines.as_slice() {
            [line] if *line == text => vec![words.clone()],
            lines => lines.iter().map(|line| (self.words)(line)).collect(),
        };
        Text { words, lines }
    }

    fn compare<'t>(answer: &'t Text, reference: &'t Text) -> [Score; 4] {
        let mut vocabulary = Vocabulary::default();
        let mut numbers = |words: &'t [String]| vocabulary.numbers(words.iter().map(String::as_str));
        let (ours, theirs) = (numbers(&answer.words), numbers(&reference.words));
        let our_lines: Vec<Vec<u32>> = answer.lines.iter().map(|line| numbers(line)).collect();
        let their_lines: Vec<Vec<u32>> = reference.lines.iter().map(|line| numbers(line)).collect();
        let kinds = vocabulary.len();
        [
            of_ngrams(&ours, &theirs, kinds, 1),
            of_ngrams(&ours, &theirs, kinds, 2),
            score(lcs::length(&ours, &theirs) as u64, ours.len(), theirs.len()),
            of_lines(&our_lines, &their_lines, kinds),
        ]
    }
}

impl Statistics for WithWords {
    type Row = [Score; 4];

    const HEADLINE: &'static [&'static str] = HEADLINE;

    /// Of several references the one with the best F1, for each kind by itself, the first of equals.
    fn row(&self, row: &TextRow) -> [Score; 4] {
        let answer = self.text(row.prediction.as_deref().unwrap_or_default());
        let mut best: Option<[Score; 4]> = None;
        for reference in &row.references {
            let scores = Self::compare(&answer, &self.text(reference));
            let best = best.get_or_insert(scores);
            for (best, score) in best.iter_mut().zip(scores) {
                if score[2] > best[2] {
                    *best = score;
                }
            }
        }
        best.unwrap_or_default()
    }

    fn figures(&self, row: &[Score; 4]) -> Figures {
        HEADLINE.iter().zip(row).map(|(name, score)| ((*name).to_owned(), score[2])).collect()
    }

    fn whole(&self, rows: &[[Score; 4]]) -> Whole {
        let mut whole = percentages(
            rows,
            &[
                ("rouge1", |row| row[0][2]),
                ("rouge1_precision", |row| row[0][0]),
                ("rouge1_recall", |row| row[0][1]),
                ("rouge2", |row| row[1][2]),
                ("rouge2_precision", |row| row[1][0]),
                ("rouge2_recall", |row| row[1][1]),
                ("rougeL", |row| row[2][2]),
                ("rougeL_precision", |row| row[2][0]),
                ("rougeL_recall", |row| row[2][1]),
                ("rougeLsum", |row| row[3][2]),
                ("rougeLsum_precision", |row| row[3][0]),
                ("rougeLsum_recall", |row| row[3][1]),
            ],
        );
        whole.summary.insert("total".to_owned(), rows.len() as f64);
        whole
    }

    fn signature(&self) -> Signature {
        vec![("tok", self.name.clone()), ("like", "rouge_score-0.1.2".to_owned()), ("version", "1".to_owned())]
    }
}

#[cfg(test)]
mod tests;
