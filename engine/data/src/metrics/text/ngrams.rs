//! N-grams as numbers, so that texts of any length are counted in linear time. Knows no text.

use std::collections::HashMap;

use foldhash::fast::FixedState;

/// Numbers for the n-grams of one order: equal ones have equal numbers, from 0 on.
#[derive(Debug, Default)]
pub struct Longer {
    numbers: HashMap<u64, u32, FixedState>,
}

impl Longer {
    /// The n-grams of a text, from those that are one shorter and from its words: the one at each place is the shorter one
    /// there and the word behind it.
    pub fn of(&mut self, shorter: &[u32], words: &[u32], order: usize) -> Vec<u32> {
        let number = |(first, last): (&u32, &u32)| {
            let next = self.numbers.len() as u32;
            *self.numbers.entry((u64::from(*first) << 32) | u64::from(*last)).or_insert(next)
        };
        shorter.iter().zip(words.iter().skip(order - 1)).map(number).collect()
    }

    /// How many different n-grams there are.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }
}

/// How often each number occurs.
pub fn counts(numbers: &[u32], kinds: usize) -> Vec<u32> {
    let mut counts = vec![0; kinds];
    for number in numbers {
        counts[*number as usize] += 1;
    }
    counts
}

/// How much two counts have in common: the sum of the smaller of each.
pub fn common(one: &[u32], other: &[u32]) -> u64 {
    one.iter().zip(other).map(|(one, other)| u64::from(*one.min(other))).sum()
}

/// For each order from 1 to `most`: how many n-grams of the answer are in a reference, each at most as often as in the
/// reference that has it most often, and how many the answer has. Words are numbers below `kinds`.
pub fn clipped(answer: &[u32], references: &[Vec<u32>], kinds: usize, most: usize) -> Vec<(u64, u64)> {
    let mut ours = answer.to_vec();
    let mut theirs = references.to_vec();
    let mut kinds = kinds;
    (1..=most)
        .map(|order| {
            if order > 1 {
                let mut longer = Longer::default();
                ours = longer.of(&ours, answer, order);
                for (ngrams, words) in theirs.iter_mut().zip(references) {
                    *ngrams = longer.of(ngrams, words, order);
                }
                kinds = longer.len();
            }
            let mut best = vec![0; kinds];
            for reference in &theirs {
                for (most, count) in best.iter_mut().zip(counts(reference, kinds)) {
                    *most = count.max(*most);
                }
            }
            (common(&counts(&ours, kinds), &best), ours.len() as u64)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ngrams_have_equal_numbers() {
        let words = [0, 1, 0, 1, 2];
        let mut pairs = Longer::default();
        let two = pairs.of(&words, &words, 2);
        assert_eq!((two.as_slice(), pairs.len()), (&[0, 1, 0, 2][..], 3));
        let mut triples = Longer::default();
        assert_eq!(triples.of(&two, &words, 3), [0, 1, 2]);
        assert_eq!(Longer::default().of(&[0], &[0], 2), Vec::<u32>::new());
        assert_eq!(common(&counts(&two, 3), &counts(&[0, 0, 0], 3)), 2);
    }
}
