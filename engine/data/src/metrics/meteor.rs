//! `meteor`: METEOR (Banerjee and Lavie 2005, Lavie and Agarwal 2007) as NLTK 3.10 counts it. Knows no model.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::FixedState;
use spec::metric::{self, MeteorStem, MeteorTokenizer};

use super::meaning::{Meaning, Meanings};
use super::text::{nltk_words, porter, python, russian};
use super::texts::{Statistics, TextMetric, TextRow, Whole, percentages};
use super::uncertainty::Drawn;
use super::{Counted, Figures, Signature};

/// What the figures mean.
pub(super) const MEANINGS: Meanings = &[("meteor", Meaning::percent("METEOR"))];

const HEADLINE: &[&str] = &["meteor"];

/// Words that may stand for each other.
pub trait Synonyms: Send + Sync {
    /// The synonyms of a word in lower case.
    fn of(&self, word: &str) -> Vec<String>;

    /// What they are from, for the signature.
    fn source(&self) -> String;
}

/// METEOR, with stems that the references may choose.
#[derive(Clone)]
pub struct Meteor {
    settings: metric::Meteor,
    synonyms: Option<Arc<dyn Synonyms>>,
}

impl Meteor {
    /// The metric with a pipeline's settings, without synonyms.
    pub fn new(settings: &metric::Meteor) -> Self {
        Self { settings: settings.clone(), synonyms: None }
    }

    /// The metric with synonyms.
    #[must_use]
    pub fn with_synonyms(self, synonyms: Arc<dyn Synonyms>) -> Self {
        Self { synonyms: Some(synonyms), ..self }
    }
}

impl Meteor {
    /// It with the stems that these rows ask for.
    fn for_rows(&self, rows: &[TextRow]) -> WithStems<'_> {
        let is_russian = || rows.iter().flat_map(|row| &row.references).any(|text| text.contains(russian::is_letter));
        let (stem, name): (fn(&str) -> String, &str) = match self.settings.stem {
            MeteorStem::Auto if is_russian() => (russian::stem, "russian[auto]"),
            MeteorStem::Auto => (porter::stem, "porter[auto]"),
            MeteorStem::Porter => (porter::stem, "porter"),
            MeteorStem::Russian => (russian::stem, "russian"),
            MeteorStem::None => (str::to_owned, "none"),
        };
        WithStems { metric: self, stem, name }
    }
}

impl TextMetric for Meteor {
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

/// METEOR over the stems that a function gives.
struct WithStems<'m> {
    metric: &'m Meteor,
    stem: fn(&str) -> String,
    name: &'static str,
}

type Positions<'w> = HashMap<&'w str, Vec<usize>, FixedState>;

/// Where each word stands, ascending.
fn positions<'w>(words: &'w [String], of: &[usize]) -> Positions<'w> {
    let mut positions = Positions::default();
    for at in of {
        positions.entry(words[*at].as_str()).or_default().push(*at);
    }
    positions
}

/// Matches words of an answer, from its end, each with one that is left in the reference; gives what is left of both.
fn matched(
    answer: &mut Vec<usize>,
    reference: &mut Vec<usize>,
    pairs: &mut Vec<(usize, usize)>,
    mut take: impl FnMut(usize) -> Option<usize>,
) {
    let mut taken = HashSet::new();
    let mut left = Vec::new();
    for at in answer.iter().rev() {
        match take(*at) {
            Some(place) => {
                taken.insert(place);
                pairs.push((*at, place));
            }
            None => left.push(*at),
        }
    }
    left.reverse();
    *answer = left;
    reference.retain(|place| !taken.contains(place));
}

/// Which word of the answer stands for which of the reference, in the answer's order: equal words, then equal stems, then
/// synonyms of stems.
fn align(
    answer: &[String],
    reference: &[String],
    stem: fn(&str) -> String,
    synonyms: Option<&dyn Synonyms>,
) -> Vec<(usize, usize)> {
    let mut ours: Vec<usize> = (0..answer.len()).collect();
    let mut theirs: Vec<usize> = (0..reference.len()).collect();
    let mut pairs = Vec::new();
    let mut places = positions(reference, &theirs);
    matched(&mut ours, &mut theirs, &mut pairs, |at| places.get_mut(answer[at].as_str())?.pop());
    let stems = |words: &[String], left: &[usize]| {
        let mut stems = vec![String::new(); words.len()];
        for at in left {
            stems[*at] = stem(&words[*at]);
        }
        stems
    };
    let (our_stems, their_stems) = (stems(answer, &ours), stems(reference, &theirs));
    let mut places = positions(&their_stems, &theirs);
    matched(&mut ours, &mut theirs, &mut pairs, |at| places.get_mut(our_stems[at].as_str())?.pop());
    if let Some(synonyms) = synonyms.filter(|_| !theirs.is_empty()) {
        let mut places = positions(&their_stems, &theirs);
        matched(&mut ours, &mut theirs, &mut pairs, |at| {
            let word = &our_stems[at];
            let mut words = synonyms.of(word);
            words.retain(|synonym| !synonym.contains('_'));
            words.push(word.clone());
            // Of all words that may stand for this one, the last that is left.
            let last = |word: &&String| places.get(word.as_str()).and_then(|places| places.last().copied());
            let best = words.iter().filter(|word| last(word).is_some()).max_by_key(last)?;
            places.get_mut(best.as_str())?.pop()
        });
    }
    pairs.sort_unstable();
    pairs
}

impl WithStems<'_> {
    fn words(&self, text: &str) -> Vec<String> {
        let words = match self.metric.settings.tokenizer {
            MeteorTokenizer::Nltk => nltk_words::words(text),
            MeteorTokenizer::Whitespace => python::split(text).map(str::to_owned).collect(),
        };
        words.into_iter().map(|word| word.to_lowercase()).collect()
    }

    /// The score against one reference, both in lower case.
    fn score(&self, answer: &[String], reference: &[String]) -> f64 {
        let pairs = align(answer, reference, self.stem, self.metric.synonyms.as_deref());
        if pairs.is_empty() {
            return 0.0;
        }
        let metric::Meteor { alpha, beta, gamma, .. } = self.metric.settings;
        let matches = pairs.len() as f64;
        let (precision, recall) = (matches / answer.len() as f64, matches / reference.len() as f64);
        let mean = (precision * recall) / (alpha * precision + (1.0 - alpha) * recall);
        let chunks = 1 + pairs.windows(2).filter(|two| two[1] != (two[0].0 + 1, two[0].1 + 1)).count();
        (1.0 - gamma * (chunks as f64 / matches).powf(beta)) * mean
    }
}

impl Statistics for WithStems<'_> {
    type Row = f64;

    const HEADLINE: &'static [&'static str] = HEADLINE;

    fn row(&self, row: &TextRow) -> f64 {
        let answer = self.words(row.prediction.as_deref().unwrap_or_default());
        row.references.iter().map(|reference| self.score(&answer, &self.words(reference))).fold(0.0, f64::max)
    }

    fn figures(&self, row: &f64) -> Figures {
        Figures::from([("meteor".to_owned(), *row)])
    }

    fn whole(&self, rows: &[f64]) -> Whole {
        let mut whole = percentages(rows, &[("meteor", |row| *row)]);
        whole.summary.insert("total".to_owned(), rows.len() as f64);
        whole
    }

    fn signature(&self) -> Signature {
        let metric::Meteor { alpha, beta, gamma, tokenizer, .. } = &self.metric.settings;
        let tokenizer = if *tokenizer == MeteorTokenizer::Nltk { "nltk" } else { "whitespace" };
        let synonyms = self.metric.synonyms.as_ref().map_or_else(|| "none".to_owned(), |synonyms| synonyms.source());
        vec![
            ("tok", tokenizer.to_owned()),
            ("stem", self.name.to_owned()),
            ("syn", synonyms),
            ("alpha", alpha.to_string()),
            ("beta", beta.to_string()),
            ("gamma", gamma.to_string()),
            ("like", "nltk-3.10.4".to_owned()),
            ("version", "1".to_owned()),
        ]
    }
}

#[cfg(test)]
mod tests;
