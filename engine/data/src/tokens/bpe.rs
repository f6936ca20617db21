//! A byte-level BPE tokenizer, trained from texts. The same texts give the same file, whatever the number of threads.
//! Knows texts, not rows.
//!
//! The tokenizers crate has a trainer, but among pairs of equal count its choice can follow the order of a hash table
//! that is seeded anew in each run; the choice here is by count, then by the pair's ids, and by nothing else.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
};

use rayon::prelude::*;
use tokenizers::{
    AddedToken, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer,
    models::bpe::{BPE, Vocab},
    pre_tokenizers::byte_level::ByteLevel,
    processors::template::TemplateProcessing,
};

use crate::Error;

/// Fills up a batch: id 0.
pub const PAD: &str = "<pad>";
/// Begins a text: id 1. The tokenizer adds it by itself.
pub const BOS: &str = "<s>";
/// Ends a text: id 2.
pub const EOS: &str = "</s>";

/// Two pieces that stand side by side, by their ids.
type Pair = (u32, u32);

/// Trains a tokenizer of at most `vocabulary` pieces: the special tokens, the 256 bytes, then pairs that occur at least
/// `min_frequency` times, the most frequent first (Sennrich et al. 2016, "Neural Machine Translation of Rare Words with
/// Subword Units", on bytes as GPT-2 does).
///
/// # Errors
/// When the tokenizer refuses what was learned.
pub fn train(texts: &[String], vocabulary: usize, min_frequency: u64) -> Result<Tokenizer, Error> {
    let failed = |error: tokenizers::Error| Error::new(format!("the tokenizer could not be trained: {error}"));
    let bytes = ByteLevel::new(false, true, true);
    let words = words(texts, bytes).map_err(failed)?;
    let mut letters: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    letters.sort_unstable();
    let mut pieces: Vec<String> = [PAD, BOS, EOS].map(String::from).to_vec();
    pieces.extend(letters.into_iter().map(String::from));
    let mut known: HashMap<String, u32> = pieces.iter().cloned().zip(0..).collect();
    let mut merges = Vec::new();
    let mut learner = Learner::new(&words, &pieces);
    while pieces.len() < vocabulary {
        let Some(pair) = learner.most_frequent(min_frequency.max(1)) else { break };
        let (left, right) = (pieces[pair.0 as usize].clone(), pieces[pair.1 as usize].clone());
        let joined = format!("{left}{right}");
        // Two ways to the same piece are one piece with two merges.
        let id = *known.entry(joined).or_insert_with_key(|joined| {
            pieces.push(joined.clone());
            pieces.len() as u32 - 1
        });
        merges.push((left, right));
        learner.merge(pair, id);
    }
    let ids: Vocab = pieces.into_iter().zip(0..).collect();
    let model = BPE::builder().vocab_and_merges(ids, merges).build().map_err(failed)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(bytes));
    tokenizer.with_decoder(Some(bytes));
    tokenizer.add_special_tokens([PAD, BOS, EOS].map(|token| AddedToken::from(token, true))).map_err(failed)?;
    let begins = TemplateProcessing::builder()
        .try_single(format!("{BOS} $A"))
        .map_err(|error| Error::new(error.to_string()))?
        .special_tokens(vec![(BOS, 1)])
        .build()
        .map_err(|error| Error::new(error.to_string()))?;
    tokenizer.with_post_processor(Some(begins));
    Ok(tokenizer)
}

/// The words of the texts, in letters that stand for bytes, with how often each occurs.
fn words(texts: &[String], bytes: ByteLevel) -> Result<BTreeMap<String, u64>, tokenizers::Error> {
    let of_text = |mut words: HashMap<String, u64>, text: &String| {
        let mut parts = PreTokenizedString::from(text.as_str());
        bytes.pre_tokenize(&mut parts)?;
        for (word, _, _) in parts.get_splits(OffsetReferential::Original, OffsetType::None) {
            *words.entry(word.to_owned()).or_default() += 1;
        }
        Ok::<_, tokenizers::Error>(words)
    };
    let join = |mut one: HashMap<String, u64>, other: HashMap<String, u64>| {
        for (word, count) in other {
            *one.entry(word).or_default() += count;
        }
        Ok(one)
    };
    let all = texts.par_iter().try_fold(HashMap::new, of_text).try_reduce(HashMap::new, join)?;
    Ok(all.into_iter().collect())
}

/// Words as pieces, and how often each pair of pieces stands side by side.
struct Learner {
    words: Vec<(Vec<u32>, u64)>,
    counts: HashMap<Pair, u64>,
    /// Words that hold a pair, or held it once.
    places: HashMap<Pair, Vec<usize>>,
    /// Pairs by count, the smaller ids first among equals; an entry whose count is no longer right is passed over.
    queue: BinaryHeap<(u64, Reverse<Pair>)>,
}

impl Learner {
    fn new(words: &BTreeMap<String, u64>, pieces: &[String]) -> Self {
        let letters: HashMap<&str, u32> = pieces.iter().map(String::as_str).zip(0..).collect();
        let letter = |c: char| letters.get(c.encode_utf8(&mut [0; 4]) as &str).copied();
        let words = words.iter().map(|(word, count)| (word.chars().filter_map(letter).collect(), *count)).collect();
        let mut learner = Self { words, counts: HashMap::new(), places: HashMap::new(), queue: BinaryHeap::new() };
        for word in 0..learner.words.len() {
            learner.add(word);
        }
        learner.queue = learner.counts.iter().map(|(pair, count)| (*count, Reverse(*pair))).collect();
        learner
    }

    fn add(&mut self, word: usize) -> Vec<Pair> {
        let (pieces, count) = &self.words[word];
        let pairs: Vec<Pair> = pieces.windows(2).map(|pair| (pair[0], pair[1])).collect();
        for pair in &pairs {
            *self.counts.entry(*pair).or_default() += count;
            let places = self.places.entry(*pair).or_default();
            if places.last() != Some(&word) {
                places.push(word);
            }
        }
        pairs
    }

    fn most_frequent(&mut self, least: u64) -> Option<Pair> {
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            if self.counts.get(&pair) == Some(&count) {
                return (count >= least).then_some(pair);
            }
        }
        None
    }

    /// Makes every occurrence of the pair one piece, from left to right.
    fn merge(&mut self, pair: Pair, piece: u32) {
        let mut changed = Vec::new();
        let mut places = self.places.remove(&pair).unwrap_or_default();
        places.sort_unstable();
        places.dedup();
        for word in places {
            let (pieces, count) = &mut self.words[word];
            if !pieces.windows(2).any(|window| (window[0], window[1]) == pair) {
                continue;
            }
            for window in pieces.windows(2) {
                let before = (window[0], window[1]);
                if let Some(total) = self.counts.get_mut(&before) {
                    *total -= *count;
                    changed.push(before);
                }
            }
            let mut joined = Vec::with_capacity(pieces.len());
            let mut rest = pieces.iter().copied().peekable();
            while let Some(one) = rest.next() {
                if one == pair.0 && rest.next_if_eq(&pair.1).is_some() {
                    joined.push(piece);
                } else {
                    joined.push(one);
                }
            }
            *pieces = joined;
            changed.extend(self.add(word));
        }
        changed.sort_unstable();
        changed.dedup();
        for pair in changed {
            match self.counts.get(&pair) {
                Some(0) => {
                    self.counts.remove(&pair);
                }
                Some(count) => self.queue.push((*count, Reverse(pair))),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_pair_comes_first_and_ties_by_id() {
        let texts: Vec<String> = ["abab abab ab", "cd cd", "ef ef"].map(String::from).to_vec();
        let tokenizer = train(&texts, 263, 2).unwrap();
        let piece = |id| tokenizer.id_to_token(id).unwrap();
        // `ab` occurs five times; then `cd`, `ef`, ` a`, … all occur twice: the smaller ids win.
        assert_eq!(piece(259), "ab");
        assert_eq!(piece(260), "cd");
        assert_eq!(piece(261), "ef");
        assert_eq!(tokenizer.encode("ab cd", true).unwrap().get_ids()[..2], [1, 259]);
        assert_eq!(tokenizer.get_vocab_size(true), 263);
    }

    #[test]
    fn rare_pairs_are_no_pieces() {
        let texts = vec!["xy zz zz".to_owned()];
        let tokenizer = train(&texts, 1000, 2).unwrap();
        assert_eq!(tokenizer.get_vocab_size(true), 261);
        assert_eq!(tokenizer.encode("xy zz", false).unwrap().get_tokens(), ["x", "y", "Ġzz"]);
        assert_eq!(tokenizer.decode(tokenizer.encode("x\n🙂 é", true).unwrap().get_ids(), true).unwrap(), "x\n🙂 é");
    }
}
