//! Texts as ids a word at a time: what a tokenizer made of a word is kept, since texts repeat their words. Knows which
//! tokenizers part every text before its spaces; not how they encode.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::BuildHasher,
    sync::Mutex,
};

use foldhash::fast::RandomState;
use tokenizers::{
    AddedToken, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer,
    pre_tokenizers::split::SplitPattern,
};

use crate::Error;

/// The words that all threads together keep at once; some 80 bytes each.
const MOST: usize = 1 << 18;

/// The longest word that is kept, in bytes, and the most ids of one.
const LONGEST: usize = 48;

/// Patterns of `Split` that never match a space behind anything but white space: those of Llama 3, Qwen and GPT-2.
const PATTERNS: [&str; 3] = [
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
];

/// The words of a tokenizer that gives a text's ids word by word, as far as they were met; for each thread its own.
#[derive(Debug)]
pub(super) struct Words {
    kept: Vec<Mutex<Kept>>,
}

impl Words {
    /// Nothing where the tokenizer's ids of a text may differ from those of its words.
    pub fn of(tokenizer: &Tokenizer) -> Option<Self> {
        let is_random = match tokenizer.get_model() {
            ModelWrapper::BPE(model) => model.dropout.is_some_and(|dropout| dropout > 0.0),
            ModelWrapper::Unigram(model) => model.alpha.is_some() || model.nbest_size.is_some(),
            _ => false,
        };
        let parts = parts_before_spaces(tokenizer.get_normalizer(), tokenizer.get_pre_tokenizer()?);
        let added: Vec<AddedToken> = tokenizer.get_added_tokens_decoder().into_values().collect();
        let are_found = |token: &AddedToken| !(token.special && tokenizer.get_encode_special_tokens());
        let fits = |token: &AddedToken| {
            let is_rewritten = token.normalized && tokenizer.get_normalizer().is_some();
            let is_one = words(&token.content).nth(1).is_none();
            is_one && !token.lstrip && !token.rstrip && !is_rewritten
        };
        let added_fit = !added.iter().any(are_found) || added.iter().all(fits);
        let is_changed_whole = tokenizer.get_padding().is_some() || tokenizer.get_truncation().is_some();
        let threads = rayon::current_num_threads();
        let kept = || Mutex::new(Kept::new(MOST / threads));
        (parts && added_fit && !is_random && !is_changed_whole)
            .then(|| Self { kept: (0..threads).map(|_| kept()).collect() })
    }

    /// The ids of a text, of which `encode` gives those of the words that are not kept.
    ///
    /// # Errors
    /// When a word cannot be encoded.
    pub fn ids(&self, text: &str, encode: impl Fn(&str) -> Result<Vec<u32>, Error>) -> Result<Vec<u32>, Error> {
        let thread = rayon::current_thread_index().unwrap_or_default() % self.kept.len();
        // Of two threads that are no pool's, one does without.
        let Ok(mut kept) = self.kept[thread].try_lock() else { return encode(text) };
        let mut ids = Vec::with_capacity(text.len() / 3);
        for word in words(text) {
            kept.add(word, &mut ids, &encode)?;
        }
        Ok(ids)
    }
}

/// The ids of words. A word and its ids stand side by side, since most of the time here goes into fetching them.
#[derive(Debug)]
struct Kept {
    most: usize,
    /// Of the hash of a word.
    places: HashMap<u64, Place, RandomState>,
    bytes: Vec<u8>,
}

/// Where a word's bytes begin, and how long it and its ids are.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: u32,
    word: u16,
    ids: u16,
}

impl Kept {
    fn new(most: usize) -> Self {
        Self { most, places: HashMap::default(), bytes: Vec::new() }
    }

    fn add(
        &mut self,
        word: &str,
        ids: &mut Vec<u32>,
        encode: impl Fn(&str) -> Result<Vec<u32>, Error>,
    ) -> Result<(), Error> {
        let hash = self.places.hasher().hash_one(word);
        if let Some(place) = self.places.get(&hash) {
            let (known, own) = self.bytes[place.start as usize..].split_at(place.word as usize);
            if known == word.as_bytes() {
                let own = own[..4 * place.ids as usize].chunks_exact(4);
                ids.extend(own.map(|id| u32::from_le_bytes([id[0], id[1], id[2], id[3]])));
                return Ok(());
            }
        }
        let own = encode(word)?;
        ids.extend_from_slice(&own);
        if word.len() > LONGEST || own.len() > LONGEST {
            return Ok(());
        }
        if self.places.len() >= self.most {
            self.places.clear();
            self.bytes.clear();
        }
        let place = Place { start: self.bytes.len() as u32, word: word.len() as u16, ids: own.len() as u16 };
        // Of two words with one hash the first is kept.
        if let Entry::Vacant(entry) = self.places.entry(hash) {
            self.bytes.extend_from_slice(word.as_bytes());
            self.bytes.extend(own.iter().flat_map(|id| id.to_le_bytes()));
            entry.insert(place);
        }
        Ok(())
    }
}

/// A text in parts: each space that stands behind a character that is none begins one.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_solid =
        |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '\u{180e}' | '\u{200b}' | '\u{feff}');
    let begins = move |at: &usize| text[..*at].chars().next_back().is_some_and(is_solid);
    let mut starts = text.match_indices(' ').map(|(at, _)| at).filter(begins);
    let mut start = Some(0);
    std::iter::from_fn(move || {
        let from = start?;
        start = starts.next();
        Some(&text[from..start.unwrap_or(text.len())])
    })
}

/// Whether a tokenizer's first steps part every text before such spaces, and what they make of one side does not depend on
/// the other.
fn parts_before_spaces(normalizer: Option<&NormalizerWrapper>, rule: &PreTokenizerWrapper) -> bool {
    use PreTokenizerWrapper as Rule;
    match rule {
        // These take white space out: what stands on both sides of it is never seen together.
        Rule::BertPreTokenizer(_) | Rule::Whitespace(_) | Rule::WhitespaceSplit(_) => keeps_spaces(normalizer),
        Rule::ByteLevel(bytes) => bytes.use_regex && composes_at_most(normalizer),
        Rule::Metaspace(space) => space.get_split() && composes_at_most(normalizer),
        Rule::Split(split) => {
            let is_known =
                matches!(&split.pattern, SplitPattern::Regex(pattern) if PATTERNS.contains(&pattern.as_str()));
            let is_isolated = split.behavior == SplitDelimiterBehavior::Isolated && !split.invert;
            is_known && is_isolated && composes_at_most(normalizer)
        }
        // The first rule that parts before spaces leaves nothing to those behind it that stands on both sides of one.
        Rule::Sequence(rules) => {
            let is_of_letters = |rule: &&Rule| !matches!(rule, Rule::Digits(_) | Rule::Punctuation(_));
            rules.as_ref().iter().find(is_of_letters).is_some_and(|rule| parts_before_spaces(normalizer, rule))
        }
        _ => false,
    }
}

/// Whether a normalizer changes characters by those beside them at most as Unicode composes them, which it never does with
/// a space, and takes no space away.
fn keeps_spaces(normalizer: Option<&NormalizerWrapper>) -> bool {
    match normalizer {
        None => true,
        Some(NormalizerWrapper::Sequence(steps)) => steps.as_ref().iter().all(|step| keeps_spaces(Some(step))),
        Some(step) => matches!(
            step,
            NormalizerWrapper::BertNormalizer(_)
                | NormalizerWrapper::Lowercase(_)
                | NormalizerWrapper::StripAccents(_)
                | NormalizerWrapper::NFC(_)
                | NormalizerWrapper::NFD(_)
        ),
    }
}

/// Whether a normalizer, besides, makes no white space of other characters and takes none away.
fn composes_at_most(normalizer: Option<&NormalizerWrapper>) -> bool {
    matches!(normalizer, None | Some(NormalizerWrapper::NFC(_) | NormalizerWrapper::NFD(_)))
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, fs, path::Path};

    use rand_chacha::{
        ChaCha8Rng,
        rand_core::{RngCore, SeedableRng},
    };
    use serde_json::{Value, json};

    use super::*;

    /// The tokenizer of a golden folder with other rules.
    fn tokenizer(kind: &str, changes: &Value) -> Tokenizer {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(kind).join("tokenizer.json");
        let mut file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        for (key, value) in changes.as_object().unwrap() {
            file[key] = value.clone();
        }
        let mut tokenizer = Tokenizer::from_bytes(file.to_string()).unwrap();
        tokenizer.with_padding(None).with_truncation(None).unwrap();
        tokenizer.set_encode_special_tokens(true);
        tokenizer
    }

    fn split(pattern: &str) -> Value {
        json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false })
    }

    fn sequence(rules: &[Value]) -> Value {
        json!({ "pre_tokenizer": { "type": "Sequence", "pretokenizers": rules } })
    }

    fn bytes(use_regex: bool, add_prefix_space: bool) -> Value {
        json!({ "type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": use_regex })
    }

    fn metaspace(scheme: &str, split: bool) -> Value {
        json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split })
    }

    fn added(content: &str, special: bool, lstrip: bool) -> Value {
        let flags = json!({ "single_word": false, "rstrip": false, "normalized": false });
        let mut token = json!({ "id": 3, "content": content, "special": special, "lstrip": lstrip });
        token.as_object_mut().unwrap().extend(flags.as_object().unwrap().clone());
        token
    }

    /// What a text may be made of: letters of several kinds, marks, white space, and characters that only look like it.
    const PARTS: [&str; 32] = [
        " ", " ", " ", " ", " ", "  ", "\n", "\t", "\r\n", "\u{85}", "\u{a0}", "\u{3000}", "\u{200b}", "\u{180e}",
        "\u{1c}", "a", "the", "It's", "Was", "é", "e\u{301}", "\u{301}", "я", "中", "🙂", "▁", "17", "2", ".", ",",
        "<s>", "[gap]",
    ];

    #[test]
    fn the_ids_of_words_are_those_of_the_text() {
        let nfc = json!({ "type": "NFC" });
        let mut cases = vec![
            ("byte_level", json!({})),
            ("byte_level", json!({ "pre_tokenizer": bytes(true, true), "normalizer": nfc })),
            ("byte_level", sequence(&[json!({ "type": "Digits", "individual_digits": true }), bytes(true, false)])),
            ("byte_level", sequence(&[json!({ "type": "Punctuation", "behavior": "Contiguous" }), bytes(true, false)])),
            ("byte_level", json!({ "added_tokens": [added("[gap]", false, false), added("  ", false, false)] })),
            ("byte_level", json!({ "added_tokens": [added("a b", true, true)] })),
            ("word_piece", json!({})),
            ("word_piece", json!({ "pre_tokenizer": { "type": "WhitespaceSplit" } })),
            ("word_piece", json!({ "pre_tokenizer": { "type": "Whitespace" }, "normalizer": null })),
        ];
        for pattern in PATTERNS {
            cases.push(("byte_level", sequence(&[split(pattern), bytes(false, false)])));
        }
        for scheme in ["always", "first", "never"] {
            cases.push(("llama", json!({ "normalizer": null, "pre_tokenizer": metaspace(scheme, true) })));
            let mut parted = sequence(&[json!({ "type": "WhitespaceSplit" }), metaspace(scheme, true)]);
            parted["normalizer"] = nfc.clone();
            cases.push(("llama", parted));
        }
        let mut random = ChaCha8Rng::seed_from_u64(0);
        for (kind, changes) in cases {
            let tokenizer = tokenizer(kind, &changes);
            let words = Words::of(&tokenizer).unwrap_or_else(|| panic!("{kind} {changes}"));
            let whole = |text: &str| Ok(tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec());
            for _ in 0..3000 {
                let length = random.next_u32() % 12;
                let text: String = (0..length).map(|_| PARTS[random.next_u32() as usize % PARTS.len()]).collect();
                assert_eq!(words.ids(&text, whole).unwrap(), whole(&text).unwrap(), "{kind} {changes}: {text:?}");
            }
        }
    }

    #[test]
    fn where_words_may_depend_on_each_other_texts_are_left_whole() {
        for (kind, changes) in [
            ("llama", json!({})),
            ("llama", json!({ "normalizer": null, "pre_tokenizer": metaspace("first", false) })),
            ("byte_level", json!({ "pre_tokenizer": bytes(false, false) })),
            ("byte_level", json!({ "normalizer": { "type": "NFKC" } })),
            ("byte_level", sequence(&[split(r"\w+ \w+"), bytes(false, false)])),
            ("byte_level", json!({ "added_tokens": [added("a b", false, false)] })),
            ("byte_level", json!({ "added_tokens": [added("[gap]", false, true)] })),
            ("byte_level", json!({ "added_tokens": [added("[gap]", false, false), added("<a b>", true, false)] })),
        ] {
            assert!(Words::of(&tokenizer(kind, &changes)).is_none(), "{kind} {changes}");
        }
    }

    #[test]
    fn a_word_is_asked_for_once_and_no_more_words_are_kept_than_may_be() {
        let asked = Cell::new(0);
        let count = |_: &str| {
            asked.set(asked.get() + 1);
            Ok(vec![7])
        };
        let mut kept = Kept::new(1000);
        let mut ids = Vec::new();
        for _ in 0..3 {
            kept.add(" again", &mut ids, count).unwrap();
        }
        assert_eq!((asked.get(), ids), (1, vec![7, 7, 7]));
        for word in 0..2500 {
            kept.add(&word.to_string(), &mut Vec::new(), count).unwrap();
            assert!(kept.places.len() <= 1000 && kept.bytes.len() <= 1000 * 8, "{word}");
        }
        let before = kept.places.len();
        kept.add(&"long".repeat(LONGEST), &mut Vec::new(), count).unwrap();
        assert_eq!(kept.places.len(), before);
        assert_eq!(words("a  b c ").collect::<Vec<_>>(), ["a", "  b", " c", " "]);
    }
}
