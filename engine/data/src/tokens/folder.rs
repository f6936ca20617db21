//! A tokenizer from a folder in Hugging Face's layout. Knows the file `tokenizer.json`; which token begins or ends a
//! text is found elsewhere.

use std::path::Path;

use spec::files;
use tokenizers::{Tokenizer, TruncationParams};

use crate::Error;

/// A tokenizer that encodes text as it stands: special tokens that a text spells out are text, nothing is added, cut or
/// filled up.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    /// As its file says, for what it adds by itself.
    original: Tokenizer,
    plain: Tokenizer,
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
    /// Makes a vocabulary of a tokenizer.
    ///
    /// # Errors
    /// When the tokenizer does not let its truncation be taken away.
    pub fn new(original: Tokenizer) -> Result<Self, Error> {
        let mut plain = original.clone();
        plain.with_truncation(None).map_err(|error| Error::new(format!("this tokenizer cannot be used: {error}")))?;
        plain.with_padding(None);
        plain.set_encode_special_tokens(true);
        Ok(Self { original, plain })
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// When the tokenizer cannot write the text, such as an unknown character without an unknown token.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self.plain.encode_fast(text, false).map_err(|error| unwritable(text, &error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The tokenizer as its file says, special tokens of its own template included, that cuts as `truncation` says: for
    /// texts that are read whole.
    ///
    /// # Errors
    /// When the tokenizer cannot be cut so short.
    pub fn templated(&self, truncation: Option<TruncationParams>) -> Result<Tokenizer, Error> {
        let mut templated = self.original.clone();
        templated.with_padding(None);
        templated.set_encode_special_tokens(true);
        templated
            .with_truncation(truncation)
            .map_err(|error| Error::new(format!("this tokenizer cannot cut texts so: {error}")))?;
        Ok(templated)
    }

    /// The ids of a text and their places in it.
    ///
    /// # Errors
    /// As [`Vocabulary::ids`].
    pub fn encode(&self, text: &str) -> Result<Encoded, Error> {
        let encoding = self.plain.encode(text, false).map_err(|error| unwritable(text, &error.to_string()))?;
        Ok(Encoded { ids: encoding.get_ids().to_vec(), places: encoding.get_offsets().to_vec() })
    }

    /// The text of ids, special tokens left out.
    ///
    /// # Errors
    /// When the tokenizer cannot decode.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        self.plain.decode(ids, true).map_err(|error| Error::new(format!("these tokens cannot be decoded: {error}")))
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
        let text = "a";
        let encoding = self.original.encode(text, true).map_err(|error| unwritable(text, &error.to_string()))?;
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

/// Reads the tokenizer of a folder.
///
/// # Errors
/// When the folder has no `tokenizer.json`, or it is none.
pub fn tokenizer(folder: &Path) -> Result<Vocabulary, Error> {
    let path = folder.join(files::TOKENIZER);
    if !path.is_file() {
        let other =
            ["tokenizer.model", "spiece.model", "vocab.txt"].into_iter().find(|name| folder.join(name).is_file());
        let hint = match other {
            Some(name) => {
                format!("it has `{name}`: convert it to `tokenizer.json` with transformers' `save_pretrained`")
            }
            None => "name a stage that leaves a `tokenizer.json`, or train one: `tokenizer: {bpe: {vocabulary: 4000}}`"
                .into(),
        };
        return Err(Error::new("there is no `tokenizer.json`").in_file(folder).hint(hint));
    }
    let read = Tokenizer::from_file(&path).map_err(|error| {
        Error::new(format!("this is no tokenizer: {error}")).in_file(&path).hint("was it cut while it was downloaded?")
    })?;
    Vocabulary::new(read).map_err(|error| error.in_file(&path))
}
