//! A tokenizer from a folder in Hugging Face's layout, and what is asked of it: its rules come from others, so each call is
//! guarded. Knows the file `tokenizer.json`; what other files say is read, and which token begins or ends a text is found,
//! elsewhere.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use spec::files;
use tokenizers::{
    EncodeInput, Encoding, PreTokenizerWrapper, Tokenizer, TruncationParams, pre_tokenizers::metaspace::PrependScheme,
};

use super::{convert, limits, words::Words};
use crate::{Error, library::guarded};

/// A tokenizer that encodes text as it stands: special tokens that a text spells out are text, nothing is added, cut or
/// filled up.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    /// As its file says, for what it adds by itself.
    original: Tokenizer,
    plain: Tokenizer,
    /// Those of `plain`.
    words: Option<Arc<Words>>,
    place: PathBuf,
    /// Whether it is just what the `tokenizer.json` at its place says.
    as_file: bool,
}

/// A tokenizer for parts of a text.
#[derive(Debug, Clone)]
pub(super) struct PartTokenizer {
    tokenizer: Tokenizer,
    words: Option<Arc<Words>>,
    place: PathBuf,
}

impl PartTokenizer {
    /// The ids of a part.
    ///
    /// # Errors
    /// As [`Vocabulary::ids`].
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, Error> {
        ids(&self.tokenizer, self.words.as_deref(), &self.place, text)
    }
}

/// A tokenizer with the special tokens of its own template, which cuts texts where that was asked for.
#[derive(Debug, Clone)]
pub struct Templated {
    tokenizer: Tokenizer,
    place: PathBuf,
}

impl Templated {
    /// A text, or one with a second behind it, as tokens.
    ///
    /// # Errors
    /// When the tokenizer cannot write a text, or not cut it so short.
    pub fn encode<'a>(&self, texts: impl Into<EncodeInput<'a>>) -> Result<Encoding, Error> {
        let encoding = asked(&self.place, || self.tokenizer.encode(texts, true))?;
        encoding.map_err(|error| {
            Error::new(format!("the tokenizer cannot encode this row: {error}"))
                .hint("give the tokenizer that belongs to the model")
        })
    }
}

/// What a library's tokenizer gives; where it gives up, an error that names its file.
fn asked<T>(place: &Path, call: impl FnOnce() -> T) -> Result<T, Error> {
    guarded(place, call).map_err(|error| {
        error.hint(
            "a rule of the tokenizer does not come to an end on this text, or leads nowhere: take the file from a \
                    source you trust",
        )
    })
}

fn ids(tokenizer: &Tokenizer, words: Option<&Words>, place: &Path, text: &str) -> Result<Vec<u32>, Error> {
    let encode = |text: &str| {
        let encoding = asked(place, || tokenizer.encode_fast(text, false))?;
        Ok(encoding.map_err(|error| unwritable(text, &error.to_string()))?.get_ids().to_vec())
    };
    match words {
        // A mistake is told of the whole text.
        Some(words) => words.ids(text, encode).or_else(|_| encode(text)),
        None => encode(text),
    }
}

/// Token ids, and where in the text each token stands: its first byte and the byte after its last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Encoded {
    /// The ids.
    pub ids: Vec<u32>,
    /// The places.
    pub places: Vec<(usize, usize)>,
}

impl Vocabulary {
    /// Makes a vocabulary of a tokenizer whose files are at `place`.
    ///
    /// # Errors
    /// When the tokenizer does not let its truncation be taken away, or could make texts endless.
    pub fn new(original: Tokenizer, place: &Path) -> Result<Self, Error> {
        limits::check_growth(&original)?;
        let mut plain = original.clone();
        plain.with_truncation(None).map_err(|error| Error::new(format!("this tokenizer cannot be used: {error}")))?;
        plain.with_padding(None);
        plain.set_encode_special_tokens(true);
        let words = Words::of(&plain).map(Arc::new);
        Ok(Self { original, plain, words, place: place.to_owned(), as_file: false })
    }

    /// Whether it is just what the `tokenizer.json` of its folder says: nothing of other files.
    pub fn is_as_file(&self) -> bool {
        self.as_file
    }

    /// The tokenizer as a `tokenizer.json`.
    ///
    /// # Errors
    /// When it has no such form.
    pub fn to_json(&self) -> Result<String, Error> {
        self.original.to_string(true).map_err(|error| Error::new(error.to_string()))
    }

    /// The ids of a text as transformers gives them, without what it adds: a special token that the text spells out is
    /// that token.
    ///
    /// # Errors
    /// As [`Vocabulary::ids`].
    pub fn ids_with_special(&self, text: &str) -> Result<Vec<u32>, Error> {
        let mut whole = self.plain.clone();
        whole.set_encode_special_tokens(false);
        ids(&whole, None, &self.place, text)
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// When the tokenizer cannot write the text, such as an unknown character without an unknown token.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, Error> {
        ids(&self.plain, self.words.as_deref(), &self.place, text)
    }

    /// The tokenizer as its file says, special tokens of its own template included, that cuts as `truncation` says: for
    /// texts that are read whole.
    ///
    /// # Errors
    /// When the tokenizer cannot be cut so short.
    pub fn templated(&self, truncation: Option<TruncationParams>) -> Result<Templated, Error> {
        let mut templated = self.original.clone();
        templated.with_padding(None);
        templated.set_encode_special_tokens(true);
        templated
            .with_truncation(truncation)
            .map_err(|error| Error::new(format!("this tokenizer cannot cut texts so: {error}")))?;
        Ok(Templated { tokenizer: templated, place: self.place.clone() })
    }

    /// The tokenizer for a part of a longer text: one that `begins` it, or follows other parts, before which no space is
    /// put. With `special`, special tokens that the part spells out are tokens, else text.
    pub(super) fn for_parts(&self, begins: bool, special: bool) -> PartTokenizer {
        let mut tokenizer = self.plain.clone();
        tokenizer.set_encode_special_tokens(!special);
        if let (false, Some(PreTokenizerWrapper::Metaspace(metaspace))) = (begins, tokenizer.get_pre_tokenizer())
            && metaspace.get_prepend_scheme() == PrependScheme::First
        {
            let mut metaspace = metaspace.clone();
            metaspace.set_prepend_scheme(PrependScheme::Never);
            tokenizer.with_pre_tokenizer(Some(metaspace));
        }
        let words = Words::of(&tokenizer).map(Arc::new);
        PartTokenizer { tokenizer, words, place: self.place.clone() }
    }

    /// The special tokens with their ids.
    pub(super) fn special_tokens(&self) -> Vec<(String, u32)> {
        let added = self.plain.get_added_tokens_decoder();
        added.into_iter().filter(|(_, token)| token.special).map(|(id, token)| (token.content, id)).collect()
    }

    /// The ids of a text and their places in it.
    ///
    /// # Errors
    /// As [`Vocabulary::ids`].
    pub fn encode(&self, text: &str) -> Result<Encoded, Error> {
        let encoding = asked(&self.place, || self.plain.encode(text, false))?;
        let encoding = encoding.map_err(|error| unwritable(text, &error.to_string()))?;
        Ok(Encoded { ids: encoding.get_ids().to_vec(), places: encoding.get_offsets().to_vec() })
    }

    /// The text of ids, special tokens left out.
    ///
    /// # Errors
    /// When the tokenizer cannot decode.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        let text = asked(&self.place, || self.plain.decode(ids, true))?;
        text.map_err(|error| Error::new(format!("these tokens cannot be decoded: {error}")))
    }

    /// The token that an id stands for, as the vocabulary writes it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.plain.id_to_token(id)
    }

    /// The id of a token, as the vocabulary writes it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.plain.token_to_id(token)
    }

    /// One more than the greatest id: how many rows an embedding needs.
    pub fn size(&self) -> usize {
        self.plain.get_vocab(true).values().map(|id| *id as usize + 1).max().unwrap_or_default()
    }

    /// The special tokens that the tokenizer by itself puts before a text.
    pub(super) fn added_in_front(&self) -> Result<Vec<u32>, Error> {
        let encoding = self.templated(None)?.encode("a")?;
        let special = encoding.get_special_tokens_mask().iter().map(|mask| *mask == 1);
        Ok(encoding.get_ids().iter().zip(special).take_while(|(_, special)| *special).map(|(id, _)| *id).collect())
    }

    /// All tokens, special ones included.
    pub fn tokens(&self) -> impl Iterator<Item = String> {
        self.plain.get_vocab(true).into_keys()
    }
}

fn unwritable(text: &str, error: &str) -> Error {
    let begins: String = text.chars().take(40).collect();
    Error::new(format!("the tokenizer cannot encode the text that begins `{begins}`: {error}"))
}

/// Reads the tokenizer of a folder: its `tokenizer.json`, else its SentencePiece model, `vocab.json` and `merges.txt`, or
/// `vocab.txt`; in each case with the special and added tokens that the files beside it name.
///
/// # Errors
/// When the folder has none of these files, or one is damaged or not of a kind that is known.
pub fn tokenizer(folder: &Path) -> Result<Vocabulary, Error> {
    let path = folder.join(files::TOKENIZER);
    if !path.is_file() {
        return match convert::tokenizer(folder)? {
            Some(made) => Vocabulary::new(made, folder).map_err(|error| error.in_file(folder)),
            None => Err(Error::new("there are no files of a tokenizer").in_file(folder).hint(
                "name a stage that leaves a `tokenizer.json`, a SentencePiece model, `vocab.json` with `merges.txt`, or \
                 `vocab.txt`; or train one: `tokenizer: {bpe: {vocabulary: 4000}}`",
            )),
        };
    }
    let text = fs::read(&path).map_err(|error| Error::io("read", &path, &error))?;
    limits::check_file(&text).map_err(|error| error.in_file(&path))?;
    let read = guarded(&path, || Tokenizer::from_bytes(&text))?;
    let mut read = read.map_err(|error| {
        Error::new(format!("this is no tokenizer: {error}")).in_file(&path).hint("was it cut while it was downloaded?")
    })?;
    let joined = guarded(&path, || convert::join(folder, &mut read))??;
    let vocabulary = Vocabulary::new(read, &path).map_err(|error| error.in_file(&path))?;
    Ok(Vocabulary { as_file: !joined, ..vocabulary })
}
