//! What metrics do with texts before they count: white space and characters as Python sees them, words, stems, n-grams,
//! common subsequences. Knows no metric.

pub mod lcs;
pub mod ngrams;
pub mod nltk_words;
pub mod porter;
pub mod python;
pub mod russian;
pub mod squad;
pub mod wmt_words;

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// Numbers for words: equal words have equal numbers, from 0 on.
#[derive(Debug, Default)]
pub struct Vocabulary<'t> {
    numbers: HashMap<&'t str, u32, FixedState>,
}

impl<'t> Vocabulary<'t> {
    /// The numbers of words, in their order.
    pub fn numbers(&mut self, words: impl IntoIterator<Item = &'t str>) -> Vec<u32> {
        let number = |word| {
            let next = self.numbers.len() as u32;
            *self.numbers.entry(word).or_insert(next)
        };
        words.into_iter().map(number).collect()
    }

    /// How many different words there are.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }
}
